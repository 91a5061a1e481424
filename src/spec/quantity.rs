//! Durations (`1h30m`) and sizes (`512MiB`) as text: the patterns that the schema publishes, the one reader of each, and
//! for what it does not read, where in the text that is wrong and what to type instead. Pure.

use std::ops::Range;
use std::time::Duration;

/// What a duration looks like; the schema publishes it.
pub(super) const DURATION_PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$";
/// What a size looks like; the schema publishes it.
pub(super) const SIZE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$";

/// What is wrong with a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadUnit {
    /// Bytes inside the text.
    pub at: Range<usize>,
    pub why: UnitMistake,
    /// What to type instead.
    pub instead: Option<String>,
}

impl BadUnit {
    /// What to do about it, for a "duration" or a "size".
    pub(super) fn help(&self, what: &str) -> String {
        help(what, self.why, self.instead.as_deref())
    }
}

/// What to do about a mistake in a "duration" or a "size".
pub(super) fn help(what: &str, why: UnitMistake, instead: Option<&str>) -> String {
    match (instead, why) {
        (Some(instead), _) => format!("write \"{instead}\""),
        (None, UnitMistake::Zero) => "remove it for no limit at all".to_owned(),
        (None, _) if what == "duration" => {
            "write a number and a unit, such as \"90s\", \"10m\" or \"1h30m\"".to_owned()
        }
        (None, _) => "write a number and a unit, such as \"512MiB\"".to_owned(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitMistake {
    Empty,
    /// A number is expected where something else stands.
    NoNumber,
    /// A number with nothing behind it.
    NoUnit,
    UnknownUnit,
    Space,
    Negative,
    Zero,
    TooLarge,
}

impl UnitMistake {
    /// Completes "this duration …".
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::NoNumber => "has no number where one belongs",
            Self::NoUnit => "has no unit",
            Self::UnknownUnit => "has an unknown unit",
            Self::Space => "has a space in it",
            Self::Negative => "is negative",
            Self::Zero => "is zero",
            Self::TooLarge => "is too large",
        }
    }
}

/// A duration as it is typed on a command line.
///
/// # Errors
/// What is wrong with it and what to type instead.
pub fn typed_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|bad| typed(&bad, "duration"))
}

/// A size as it is typed on a command line.
///
/// # Errors
/// What is wrong with it and what to type instead.
pub fn typed_size(text: &str) -> Result<u64, String> {
    size(text).map_err(|bad| typed(&bad, "size"))
}

fn typed(bad: &BadUnit, what: &str) -> String {
    format!("this {what} {}; {}", bad.why.text(), bad.help(what))
}

const TIMES: [&str; 5] = ["d", "h", "m", "s", "ms"];
const SIZES: [&str; 10] = ["B", "KiB", "MiB", "GiB", "TiB", "kB", "KB", "MB", "GB", "TB"];

/// Words people write for units of time, and the unit that is meant.
const TIME_WORDS: [(&str, &str); 18] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
];

/// A duration greater than zero.
///
/// # Errors
/// What is wrong with the text, and where in it.
pub(super) fn duration(text: &str) -> Result<Duration, BadUnit> {
    match read_duration(text) {
        Some(duration) if duration.is_zero() => {
            Err(BadUnit { at: 0..text.len(), why: UnitMistake::Zero, instead: None })
        }
        Some(duration) => Ok(duration),
        None => Err(explain(text, &TIMES, "s", |unit| {
            let unit = unit.to_lowercase();
            let word = TIME_WORDS.iter().find(|(word, _)| *word == unit).map(|(_, unit)| *unit);
            word.or_else(|| TIMES.into_iter().find(|known| *known == unit))
        })),
    }
}

/// A size in bytes.
///
/// # Errors
/// What is wrong with the text, and where in it.
pub(super) fn size(text: &str) -> Result<u64, BadUnit> {
    read_size(text).ok_or_else(|| {
        explain(text, &SIZES, "B", |unit| {
            let unit = unit.to_lowercase();
            // `512M` and `512m` are written for both meanings; the binary one is the commoner wish.
            SIZES.into_iter().find(|known| {
                let known = known.to_lowercase();
                known == unit || known.trim_end_matches("ib") == unit
            })
        })
    })
}

/// A hundred years; longer is a mistake.
const DURATION_MAX_S: f64 = 100.0 * 365.25 * 86_400.0;

/// Reads a duration: one or more numbers, each with `ms`, `s`, `m`, `h` or `d`. `None` for anything else, and above a
/// hundred years.
fn read_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let unit = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        seconds += number
            * match &after[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &after[unit..];
    }
    // Through milliseconds, so that 0.1 + 0.2 is what it looks like.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded just before")]
    (seconds <= DURATION_MAX_S).then(|| Duration::from_millis((seconds * 1000.0).round() as u64))
}

/// Reads a size in bytes: a number and a unit, `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`,
/// `TiB` (powers of 1024). `None` for anything else, and above 2^63.
fn read_size(text: &str) -> Option<u64> {
    let (number, unit) = number(text)?;
    let factor: u64 = match unit.strip_prefix(' ').unwrap_or(unit) {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    #[expect(clippy::cast_precision_loss, reason = "factors are powers far below 2^53 or powers of two")]
    let bytes = number * factor as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded just before")]
    (bytes < 9.2e18).then(|| bytes.round() as u64)
}

/// A decimal number at the start of `text`, and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let digits = |t: &str| t.bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(text);
    if end == 0 {
        return None;
    }
    if text[end..].starts_with('.') {
        let fraction = digits(&text[end + 1..]);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn explain(text: &str, units: &[&str], small: &str, guess: impl Fn(&str) -> Option<&'static str>) -> BadUnit {
    let all = 0..text.len();
    let bad = |at, why, instead| BadUnit { at, why, instead };
    if text.trim().is_empty() {
        return bad(all, UnitMistake::Empty, None);
    }
    if text.trim_start().starts_with('-') {
        return bad(all, UnitMistake::Negative, None);
    }
    let until = |from: usize, stop: &dyn Fn(char) -> bool| text[from..].find(stop).map_or(text.len(), |n| from + n);
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    let mut at = until(0, &|c| !c.is_whitespace());
    while at < text.len() {
        let start = at;
        at = until(at, &|c| !c.is_ascii_digit() && c != '.');
        if text[start..at].parse::<f64>().is_err() {
            return bad(start..until(at.max(start), &char::is_whitespace), UnitMistake::NoNumber, None);
        }
        let unit_at = until(at, &|c| !c.is_whitespace());
        at = until(unit_at, &|c| c.is_ascii_digit() || c.is_whitespace());
        let unit = &text[unit_at..at];
        if unit.is_empty() {
            return bad(start..at, UnitMistake::NoUnit, Some(format!("{}{small}", squeezed(text))));
        }
        if !units.contains(&unit) {
            let instead =
                guess(unit).map(|unit| format!("{}{unit}{}", squeezed(&text[..unit_at]), squeezed(&text[at..])));
            return bad(unit_at..at, UnitMistake::UnknownUnit, instead);
        }
        at = until(at, &|c| !c.is_whitespace());
    }
    if text.contains(char::is_whitespace) {
        return bad(all, UnitMistake::Space, Some(squeezed(text)));
    }
    bad(all, UnitMistake::TooLarge, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("90s", 90_000), ("1h30m", 5_400_000), ("250ms", 250), ("1.5h", 5_400_000), ("0s", 0), ("2d", 172_800_000)]
        {
            assert_eq!(read_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "90", "s", "1x", "1 s", "-1s", "1h30", "1.s", ".5s", "1H", "99999999999d", "1s ", "ä", "1é"]
        {
            assert_eq!(read_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512MiB", 512 << 20), ("1kB", 1000), ("1.5 KiB", 1536), ("0B", 0)] {
            assert_eq!(read_size(text), Some(bytes), "{text}");
        }
        for text in ["", "512", "MiB", "1 mib", "-1B", "1  B", "99999999999TiB"] {
            assert_eq!(read_size(text), None, "{text}");
        }
    }

    #[test]
    fn the_patterns_say_the_same() {
        let pattern = |p| regex::Regex::new(p).unwrap();
        let (durations, sizes) = (pattern(DURATION_PATTERN), pattern(SIZE_PATTERN));
        for text in
            ["90s", "1h30m", "250ms", "1.5h", "", "90", "s", "1x", "1 s", "-1s", "1h30", "1.s", ".5s", "1H", "5m ms"]
        {
            assert_eq!(durations.is_match(text), read_duration(text).is_some(), "{text}");
        }
        for text in ["512MiB", "1kB", "1.5 KiB", "0B", "", "512", "MiB", "1 mib", "-1B", "1  B", "1KB"] {
            assert_eq!(sizes.is_match(text), read_size(text).is_some(), "{text}");
        }
    }

    #[test]
    fn mistakes_in_durations_say_where_and_what_instead() {
        use UnitMistake::*;
        for (text, at, why, instead) in [
            ("", 0..0, Empty, None),
            ("90", 0..2, NoUnit, Some("90s")),
            ("1h30", 2..4, NoUnit, Some("1h30s")),
            ("10 minutes", 3..10, UnknownUnit, Some("10m")),
            ("10 m", 0..4, Space, Some("10m")),
            ("10x", 2..3, UnknownUnit, None),
            ("0s", 0..2, Zero, None),
            ("-5s", 0..3, Negative, None),
            ("soon", 0..4, NoNumber, None),
            ("1..5h", 0..5, NoNumber, None),
            ("99999999999999999999s", 0..21, TooLarge, None),
            ("10µs", 2..5, UnknownUnit, None),
            ("5M", 1..2, UnknownUnit, Some("5m")),
        ] {
            let instead = instead.map(str::to_owned);
            assert_eq!(duration(text), Err(BadUnit { at, why, instead }), "{text}");
        }
    }

    #[test]
    fn mistakes_in_sizes_say_what_instead() {
        assert_eq!(size("512").unwrap_err().instead.as_deref(), Some("512B"));
        assert_eq!(size("512M").unwrap_err().instead.as_deref(), Some("512MiB"));
        assert_eq!(size("512mb").unwrap_err().instead.as_deref(), Some("512MB"));
        assert_eq!(size("99999999999TiB").unwrap_err().why, UnitMistake::TooLarge);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_explained(text in "\\PC*|[0-9.smhd \u{b5}-]*") {
            for error in [duration(&text).err(), size(&text).err()].into_iter().flatten() {
                proptest::prop_assert!(text.get(error.at).is_some());
            }
        }
    }
}
