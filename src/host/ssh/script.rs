//! What the other side's shell is given: constant scripts, each in one line and without single quotes, for any login
//! shell. Names, paths and sizes follow as lines of their input. What they say begins with a mark on a line of its own; a
//! login may say what it likes before that.

use std::io::{self, Read};

use super::super::connect::Said;

/// Most bytes that a login may say before a script does.
const NOISE_BYTES_MAX: u64 = 64 << 10;

/// Finds the supervisor, or says that it is wanted and waits for it; then becomes it. What is made here is private; what
/// tasks make is what the login has it be. Input: the working directory (may be empty), the bundle's name, `room` when
/// kept files are to go before it is sent, and `go` when it was sent.
///
/// Before it is sent, what is left goes of sendings that died: nothing was written to it for minutes, in which a
/// connection would have ended.
pub(super) const BOOT: &str = concat!(
    "exec /bin/sh -c '",
    "mask=$(umask); umask 077; IFS= read -r dir; IFS= read -r name; IFS= read -r room; ",
    "[ -n \"$dir\" ] || dir=${XDG_CACHE_HOME:-$HOME/.cache}/fleet; ",
    "if ! mkdir -p \"$dir/bin\"; then echo; echo \"fleet-boot 1 error - - $dir\"; exit 1; fi; ",
    "b=$dir/bin/$name; is=have; [ -x \"$b/fleet\" ] || is=want; ",
    "if [ $is = want ]; then for left in \"$dir\"/bin/.in-*; do ",
    "if [ -d \"$left\" ] && new=$(find \"$left\" -mmin -5) && [ -z \"$new\" ]; then rm -rf \"$left\"; fi; done; ",
    "if [ \"$room\" = room ] && [ -d \"$dir/cas\" ]; then find \"$dir/cas\" -type f -mmin +1 -exec rm -f {} +; fi; fi; ",
    "echo; echo \"fleet-boot 1 $is $(uname -s) $(uname -m) $dir\"; ",
    "if [ $is = want ]; then IFS= read -r go; [ \"$go\" = go ] || exit 0; fi; umask $mask; ",
    "if [ -e \"$b/ld.so\" ]; then exec \"$b/ld.so\" --library-path \"$b\" \"$b/fleet\" guard; fi; ",
    "exec \"$b/fleet\" guard'"
);
pub(super) const BOOT_MARK: &str = "fleet-boot 1 ";

/// Writes the rest of its input to a file; of one that is cut short, or finds no room, the whole folder goes. Input: the
/// path, the number of bytes, and the bytes.
pub(super) const PUT: &str = concat!(
    "exec /bin/sh -c '",
    "umask 077; IFS= read -r to; IFS= read -r bytes; dir=${to%/*}; ",
    "if mkdir -p \"$dir\" && cat > \"$to\" && [ $(wc -c < \"$to\") -eq $bytes ] && chmod 700 \"$to\"; then exit 0; fi; ",
    "rm -rf \"$dir\"; exit 1'"
);

/// Has what was sent say its own digest, and gives it its name when that was right. Somebody else may do the same at any
/// moment, and then theirs counts: a folder that is there takes ours into itself. Input: the two folders, and `ok`.
pub(super) const KEEP: &str = concat!(
    "exec /bin/sh -c '",
    "IFS= read -r from; IFS= read -r to; ",
    "if [ -e \"$from/ld.so\" ]; then ",
    "digest=$(\"$from/ld.so\" --library-path \"$from\" \"$from/fleet\" guard --digest \"$from\" < /dev/null); ",
    "else digest=$(\"$from/fleet\" guard --digest \"$from\" < /dev/null); fi; ",
    "echo; echo \"fleet-kept 1 $digest\"; ",
    "IFS= read -r ok; if [ \"$ok\" = ok ] && [ ! -e \"$to\" ]; then mv \"$from\" \"$to\"; fi; ",
    "rm -rf \"$from\" \"$to/${from##*/}\"; [ -x \"$to/fleet\" ]'"
);
pub(super) const KEEP_MARK: &str = "fleet-kept 1 ";

/// What follows a mark on its line, and not a byte more is read: after it there may be frames. What was said before goes
/// to `heard`.
///
/// # Errors
/// When there is no such line, or none within a reasonable number of bytes.
pub(super) fn marked(from: &mut impl Read, mark: &str, heard: &Said) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    for _ in 0..NOISE_BYTES_MAX {
        match from.read(&mut byte) {
            Ok(1..) => line.push(byte[0]),
            ended => {
                heard.add(&line);
                return Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            }
        }
        if byte[0] == b'\n' {
            let text = String::from_utf8_lossy(&line);
            if let Some(rest) = text.strip_prefix(mark) {
                return Ok(rest.trim_end_matches('\n').to_owned());
            }
            heard.add(&line);
            line.clear();
        }
    }
    Err(io::Error::other("its login says more than can be passed over"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> (io::Result<String>, String, String) {
        let (said, mut rest) = (Said::default(), text.as_bytes());
        let found = marked(&mut rest, BOOT_MARK, &said);
        (found, said.text(), String::from_utf8_lossy(rest).into_owned())
    }

    #[test]
    fn a_login_may_say_what_it_likes_before_a_mark() {
        let (found, said, rest) = heard("welcome\nno end of line \nfleet-boot 1 have Linux x86_64 /a b\n\0frames");
        assert_eq!(found.unwrap(), "have Linux x86_64 /a b");
        assert_eq!((&*said, &*rest), ("welcome; no end of line", "\0frames"));
    }

    #[test]
    fn a_login_that_lets_nobody_in_is_heard() {
        let (found, said, _) = heard("This account is currently\nnot available.");
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(said, "This account is currently; not available.");
        assert!(heard(&"noise\n".repeat(20_000)).0.is_err());
    }
}
