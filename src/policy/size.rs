//! Two sizes in a sentence, of which one is more than the other and has to be read as that.

use std::fmt;

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// What something takes, to the next tenth: just over a bound is not printed as the bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct More(pub u64);

/// What is allowed, down to the last tenth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(pub u64);

/// A bound with room for as much again, as one writes it into a fleet file.
pub(super) fn roomy(bytes: u64) -> String {
    let twice = bytes.saturating_mul(2);
    let (unit, shift) = unit(twice).unwrap_or(("KiB", 10));
    format!("{}{unit}", twice.div_ceil(1 << shift))
}

/// The largest unit of which there is at least one.
fn unit(bytes: u64) -> Option<(&'static str, u32)> {
    UNITS.into_iter().find(|(_, shift)| bytes >> shift > 0)
}

fn written(f: &mut fmt::Formatter<'_>, bytes: u64, tenths: fn(u128, u128) -> u128) -> fmt::Result {
    let Some((unit, shift)) = unit(bytes) else { return write!(f, "{bytes} B") };
    let tenths = tenths(u128::from(bytes) * 10, 1 << shift);
    match tenths % 10 {
        0 => write!(f, "{} {unit}", tenths / 10),
        part => write!(f, "{}.{part} {unit}", tenths / 10),
    }
}

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(f, self.0, u128::div_ceil)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(f, self.0, |tenths, unit| tenths / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_never_reads_as_the_limit() {
        let gib = 1 << 30;
        for (bytes, more, limit) in [
            (0, "0 B", "0 B"),
            (1023, "1023 B", "1023 B"),
            (1536, "1.5 KiB", "1.5 KiB"),
            (20 * gib, "20 GiB", "20 GiB"),
            (20 * gib + 1, "20.1 GiB", "20 GiB"),
            (21 * gib - 1, "21 GiB", "20.9 GiB"),
            (u64::MAX, "16777216 TiB", "16777215.9 TiB"),
        ] {
            assert_eq!((More(bytes).to_string(), Limit(bytes).to_string()), (more.to_owned(), limit.to_owned()));
        }
        for (bytes, written) in [(gib + 1, "3GiB"), (600 << 20, "2GiB"), (5 << 20, "10MiB"), (1, "1KiB")] {
            assert_eq!(roomy(bytes), written);
        }
        assert_eq!(roomy(u64::MAX), "16777216TiB");
        proptest::proptest!(|(limit: u64, over in 1_u64..)| {
            let more = limit.saturating_add(over);
            proptest::prop_assert!(more == limit || More(more).to_string() != Limit(limit).to_string());
        });
    }
}
