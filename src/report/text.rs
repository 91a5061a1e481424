//! What tasks print, made safe to show on a terminal, and durations as people read them.
//! A task may print anything; shown as it is, it could move the cursor, retitle the window or write the clipboard.
//! Colours stay (SGR), every other escape sequence and control character goes, and bytes that are no text become `�`.

use std::fmt;
use std::time::Duration;

const ESC: char = '\x1b';

/// Appends a line, without its newline, as a terminal may see it. Returns whether a colour may still be on.
pub fn clean(line: &[u8], colors: bool, out: &mut Vec<u8>) -> bool {
    // A bare `\r` is a progress bar at work: what it wrote last is what a person would see.
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = line.iter().rposition(|b| *b == b'\r').map_or(line, |at| &line[at + 1..]);
    if line.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
        out.extend_from_slice(line);
        return false;
    }
    let text = String::from_utf8_lossy(line);
    let mut rest = &*text;
    let mut colored = false;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let sequence = &rest[..sequence_len(rest)];
        if colors && is_color(sequence) {
            out.extend_from_slice(sequence.as_bytes());
            colored = !matches!(sequence, "\x1b[m" | "\x1b[0m");
        }
        rest = &rest[sequence.len()..];
    }
    out.extend_from_slice(rest.as_bytes());
    colored
}

/// How many bytes the control sequence at the start of `text` has; a lone control character is one of its own, and so
/// is the start of a sequence that never ends, or one stray byte could hide the rest of a line.
fn sequence_len(text: &str) -> usize {
    let mut chars = text.chars();
    let first = chars.next().map_or(0, char::len_utf8);
    if !text.starts_with(ESC) {
        return first;
    }
    match chars.next() {
        Some('[') => {
            let end = text[2..].find(|c: char| !matches!(c, ' '..='?')).map(|at| at + 2);
            match end.and_then(|at| text[at..].chars().next().map(|c| (at, c))) {
                Some((at, '@'..='~')) => at + 1,
                _ => first,
            }
        }
        // OSC, DCS, SOS, PM, APC: text up to BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let bell = text.find('\x07').map(|at| at + 1);
            let string_end = text[2..].find("\x1b\\").map(|at| at + 4);
            bell.into_iter().chain(string_end).min().unwrap_or(first)
        }
        // Two characters, as `ESC c` (reset) or `ESC 7` (save the cursor).
        Some('0'..='Z' | '\\' | 'a'..='~') => 2,
        // Character sets: `ESC ( B`.
        Some(' '..='/') if text[2..].starts_with(|c: char| matches!(c, '0'..='~')) => 3,
        _ => first,
    }
}

fn is_color(sequence: &str) -> bool {
    let inner = sequence.strip_prefix("\x1b[").and_then(|s| s.strip_suffix('m'));
    inner.is_some_and(|codes| codes.bytes().all(|b| matches!(b, b'0'..=b'9' | b';' | b':')))
}

/// `12ms`, `1.2s`, `3m05s`, `2h07m`.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub Duration);

impl Span {
    #[must_use]
    pub fn ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = crate::time::millis(self.0);
        let s = ms / 1000;
        match s {
            0 => write!(f, "{ms}ms"),
            1..60 => write!(f, "{s}.{}s", ms % 1000 / 100),
            60..3600 => write!(f, "{}m{:02}s", s / 60, s % 60),
            _ => write!(f, "{}h{:02}m", s / 3600, s / 60 % 60),
        }
    }
}

/// `17 B`, `1.5 KiB`, `20.0 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1 << 10 {
            return write!(f, "{} B", self.0);
        }
        // What rounds up to 1024.0 of a unit is one of the next.
        let tenths = |shift: u32| (u128::from(self.0) * 10 + (1 << (shift - 1))) >> shift;
        let last = UNITS.len() - 1;
        let at = (0..last).find(|at| tenths(shift(*at)) < 10_240).unwrap_or(last);
        let tenths = tenths(shift(at));
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[at])
    }
}

/// Bits below the unit at that place.
fn shift(at: usize) -> u32 {
    10 * (u32::try_from(at).unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(line: &[u8], colors: bool) -> String {
        let mut out = Vec::new();
        clean(line, colors, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_colours_survive_of_what_a_task_prints() {
        for (line, shown) in [
            (&b"plain text\twith a tab"[..], "plain text\twith a tab"),
            ("größer → 漢字".as_bytes(), "größer → 漢字"),
            (b"\x1b[1;31mred\x1b[0m \x1b[38:5:1mx\x1b[m", "\x1b[1;31mred\x1b[0m \x1b[38:5:1mx\x1b[m"),
            (b"a\x1b[2Jb\x1b[1;1Hc\x1b[?25ld\x1b[>4;2me", "abcde"),
            (b"a\x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c\x1bPq\x1b\\d", "abcd"),
            (b"a\x1bcb\x1b7c\x1b(Bd\x1b=e\x1bMf", "abcdef"),
            (b"never \x1b]0;ends", "never ]0;ends"),
            (b"never \x1b[12", "never [12"),
            (b"esc at the end \x1b", "esc at the end "),
            (b"bell\x07 back\x08 nul\0 del\x7f.", "bell back nul del."),
            ("c1 \u{9b}2J \u{9d}0;x".as_bytes(), "c1 2J 0;x"),
            (b"not \xff text", "not \u{fffd} text"),
            (b"windows\r", "windows"),
            (b" 10%\r 20%\r100%", "100%"),
            (b"", ""),
        ] {
            assert_eq!(cleaned(line, true), shown, "{line:?}");
        }
        assert_eq!(cleaned(b"\x1b[31mred\x1b[0m", false), "red");
    }

    #[test]
    fn sizes_have_a_unit_that_suits_them() {
        let kib = 1 << 10;
        let table: [(u64, &str); 8] = [
            (0, "0 B"),
            (1023, "1023 B"),
            (kib, "1.0 KiB"),
            (kib * 3 / 2, "1.5 KiB"),
            (kib * kib - 1, "1.0 MiB"),
            (20 << 30, "20.0 GiB"),
            (5 << 50, "5120.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, shown) in table {
            assert_eq!(Bytes(bytes).to_string(), shown);
        }
    }

    #[test]
    fn it_is_known_whether_a_colour_is_still_on() {
        for (line, on) in [(&b"\x1b[31mred"[..], true), (b"\x1b[31mred\x1b[0m", false), (b"plain", false)] {
            assert_eq!(clean(line, true, &mut Vec::new()), on, "{line:?}");
        }
    }

    #[test]
    fn nothing_a_task_prints_gets_through_or_panics() {
        proptest::proptest!(|(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64))| {
            let shown = cleaned(&line, false);
            proptest::prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\t'), "{:?}", shown);
        });
    }

    #[test]
    fn durations_read_well() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (185_000, "3m05s"),
            (3_600_000, "1h00m"),
            (7_620_000, "2h07m"),
        ] {
            assert_eq!(Span::ms(ms).to_string(), text);
        }
    }
}
