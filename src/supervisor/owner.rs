//! Whose a folder or a control group is that a supervisor makes outside of the state directory: its name holds its
//! maker, so that whoever comes later can tell what a dead one left from what a live one uses.

use std::fs;

use super::process::Process;

/// `<pid>-<start in ms since boot>-<pid namespace>` of this process.
pub(super) fn name() -> String {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let start_ms = Process::read(me).map_or(0, |process| process.start_ms);
    format!("{me}-{start_ms}-{}", pid_namespace())
}

/// Whether a name was made by [`name`] in a process that is no more. What was made in another pid namespace, whose
/// processes we may not see, is never said to be gone.
pub(super) fn is_gone(name: &str) -> bool {
    let mut parts = name.splitn(3, '-');
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (Some(pid), Some(start_ms)) = (number(), number()) else { return false };
    let Ok(pid) = i32::try_from(pid) else { return false };
    parts.next() == Some(&pid_namespace())
        && Process::read(pid).is_none_or(|now| now.start_ms != start_ms || now.zombie)
}

fn pid_namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_keep_what_is_theirs() {
        let mine = name();
        assert!(!is_gone(&mine), "{mine}");
        let parts: Vec<_> = mine.split('-').collect();
        let [pid, start, namespace] = parts[..] else { panic!("{mine}") };
        assert!(is_gone(&format!("{pid}-{}-{namespace}", start.parse::<u64>().unwrap() + 10)), "its number is reused");
        assert!(is_gone(&format!("{}-{start}-{namespace}", i32::MAX)));
        for strange in [&format!("{}-{start}-1", i32::MAX), "", "x", "1-2", "a-b-c", "-1-2-3"] {
            assert!(!is_gone(strange), "{strange}");
        }
    }
}
