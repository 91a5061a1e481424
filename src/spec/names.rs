//! What names of environment variables may look like.

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
