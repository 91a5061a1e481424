//! What people and machines see of problems: `human` on a terminal, `json` for programs, `sarif` for code hosts.
//! All three speak of lines and columns counted from 1, columns in characters.

mod human;
mod machine;

pub use human::{Style, human};
pub use machine::{json, sarif};
