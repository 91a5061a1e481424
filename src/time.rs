//! Two kinds of time: the wall's, for people and receipts, and the run's own, for every decision.
//! Values only: what reads the time is `clock`, so what decides can use these and still not know what time it is.

pub mod clock;

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Milliseconds of monotonic time since the run began. Decisions use this and never the wall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }

    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds, capped at the largest `u64`.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How a duration is written: `1h30m`.
#[must_use]
pub fn written(duration: Duration) -> String {
    let mut rest = millis(duration);
    let mut text = String::new();
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= scale {
            let _ = write!(text, "{}{unit}", rest / scale);
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A wall-clock moment in milliseconds since the Unix epoch; displays as RFC 3339 UTC with milliseconds and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub i64);

impl Stamp {
    /// `None` unless the text is an RFC 3339 timestamp.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }

    /// `20261120T105230Z`: sortable, and safe in a file name.
    #[must_use]
    pub fn compact(self) -> String {
        let (year, month, day) = self.date();
        let s = self.0.div_euclid(1000).rem_euclid(86_400);
        format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", s / 3600, s / 60 % 60, s % 60)
    }

    /// Days to civil date, after Howard Hinnant's `civil_from_days`. Written out because a run formats tens of
    /// thousands of stamps and the general formatter costs ten times as much.
    fn date(self) -> (i64, i64, i64) {
        let z = self.0.div_euclid(86_400_000) + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let ms = self.0.rem_euclid(86_400_000);
        let s = ms / 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z", s / 3600, s / 60 % 60, s % 60, ms % 1000)
    }
}

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 timestamp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_the_file_has_them() {
        for (ms, text) in
            [(0, "0s"), (600_000, "10m"), (5_401_500, "1h30m1s500ms"), (172_800_000, "2d"), (250, "250ms")]
        {
            assert_eq!(written(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn stamps_are_written_as_rfc_3339_says() {
        for ms in [0, 951_782_400_123, 1_795_171_950_999, -1, 4_102_444_800_000, 1_709_164_800_000] {
            let text = Stamp(ms).to_string();
            let other = jiff::Timestamp::from_millisecond(ms).unwrap();
            assert_eq!(text, format!("{other:.3}"));
            assert_eq!(Stamp::parse(&text), Some(Stamp(ms)));
        }
        assert_eq!(Stamp(1_795_171_950_000).compact(), "20261120T105230Z");
    }
}
