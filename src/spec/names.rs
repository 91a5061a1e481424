//! What names of environment variables may look like.

/// What a task is told by fleet, or known by to it. `book/src/reference/environment.md` lists them, and a test holds the two
/// against each other.
const OWN: [&str; 7] = [
    "FLEET_RUN_ID",
    "FLEET_WORKSPACE",
    "FLEET_TASK",
    "FLEET_ATTEMPT",
    "FLEET_ATTEMPT_DIR",
    "FLEET_ATTEMPT_ID",
    "FLEET_STATE_DIR",
];

/// Whether fleet sets that variable in a task, so that nobody else may.
#[must_use]
pub(super) fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// `[A-Za-z_][A-Za-z0-9_]*`
#[must_use]
pub(super) fn is_env_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && !bytes[0].is_ascii_digit() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// The same with `*` for any characters, as `pass_env` takes them.
#[must_use]
pub(super) fn is_env_pattern(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty()
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(*b, b'_' | b'*'))
}
