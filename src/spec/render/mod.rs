//! What people and machines see of problems: `human` on a terminal, `json` for programs, `sarif` for code hosts.
//! All three speak of lines and columns counted from 1, columns in characters.

use super::error::Problem;
use super::literal;

mod human;
mod machine;

pub use human::{Style, human};
pub use machine::{json, sarif};

/// A problem as it may be told: its words may repeat what the file says.
fn without_credentials(problem: &Problem) -> Problem {
    let blot = |text: &mut String| {
        if let std::borrow::Cow::Owned(blotted) = literal::blotted(text) {
            *text = blotted;
        }
    };
    let mut told = problem.clone();
    blot(&mut told.message);
    told.help.iter_mut().for_each(blot);
    told.labels.iter_mut().for_each(|label| blot(&mut label.text));
    told
}
