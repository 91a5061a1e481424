//! `exit_code`: the code is one of `expect`. An attempt without a code never gets here.

use super::Finding;

pub(super) fn judge(expect: &[i32], code: i32) -> Finding {
    if expect.contains(&code) {
        return Finding::yes(format!("exit code {code}"));
    }
    let list = expect.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Finding::no(format!("exit code {code}, expected {list}"))
}
