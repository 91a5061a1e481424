//! Ten thousand damaged fleet files in three syntaxes. The generator is seeded, so a failure names the file and the
//! round that make it again.

use std::path::{Path, PathBuf};
use std::thread;

use fleet::spec::Syntax;

use super::meter::{Cost, measure};
use super::{Desk, LONGEST, MEMORY_MAX, hold};

const ROUNDS: u64 = 10_000;
const THREADS: u64 = 2;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }
}

/// Pieces that mean something in one of the syntaxes.
const WORDS: [&[u8]; 60] = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"\"\"\"",
    b"'''",
    b":",
    b": ",
    b"- ",
    b"\n",
    b"\r\n",
    b"\t",
    b"#",
    b"&a ",
    b"*a",
    b"<<: *a",
    b"!!str ",
    b"---\n",
    b"|",
    b">-",
    b"? ",
    b",",
    b"=",
    b".",
    b"[[",
    b"]]",
    b"\\u0000",
    b"\\",
    b"\xEF\xBB\xBF",
    b"\xFF",
    "ß".as_bytes(),
    "🚢".as_bytes(),
    b"null",
    b"1e999",
    b"99999999999999999999",
    b"2026-11-20",
    b"true",
    b"${vars.",
    b"${matrix.",
    b"${task.name}",
    b"$${",
    b"**/",
    b"{a,b}",
    b"[a-z]",
    b"!",
    b"../",
    b"./",
    b"/",
    b"tag:",
    b"(",
    b"(a|b)*",
    b"$..[?@",
    b"'\"\\",
    b"1h",
    b"9GiB",
    b"\n[tasks.more]\nrun = 'x'\n",
    b"include = ['*.toml']\n",
    b" needs = ['build', 'tag:ci']\n",
];

/// Puts one word of the file in the place of another: what comes of it is often still well written, and means nonsense.
fn exchange(bytes: &mut Vec<u8>, random: &mut Random) {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let mut word = || {
        let near = random.below(bytes.len());
        let start = near + bytes.get(near..)?.iter().position(is_word)?;
        let length = bytes[start..].iter().position(|b| !is_word(b)).unwrap_or(bytes.len() - start);
        Some(start..start + length)
    };
    if let (Some(from), Some(to)) = (word(), word()) {
        let taken = bytes[from].to_vec();
        bytes.splice(to, taken);
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(12) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
            2 => {
                let piece: Vec<u8> = bytes[at..(at + random.below(200)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            3 if !bytes.is_empty() => bytes[at.min(at.saturating_sub(1))] ^= 1 << random.below(8),
            4 => {
                let word = WORDS[random.below(WORDS.len())].repeat(random.below(300));
                bytes.splice(at..at, word);
            }
            5 => {
                let other = random.below(bytes.len() + 1);
                let (from, to) = (at.min(other), at.max(other));
                bytes[from..to].rotate_left((to - from) / 3);
            }
            6..=8 => exchange(bytes, random),
            _ => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
        }
    }
}

#[test]
fn damaged_files_are_read_or_refused_and_nothing_else() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fleets/valid");
    let mut seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    let share = |first: u64| {
        let seeds = &seeds;
        move || {
            (first..ROUNDS).step_by(usize::try_from(THREADS).unwrap()).map(|round| one(round, seeds)).fold(
                (0, Cost::default()),
                |(read, worst), (is_read, cost)| {
                    (
                        read + u64::from(is_read),
                        Cost { time: worst.time.max(cost.time), peak: worst.peak.max(cost.peak), kept: 0 },
                    )
                },
            )
        }
    };
    let parts = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(share(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no round fails")).collect::<Vec<_>>()
    });
    let read: u64 = parts.iter().map(|part| part.0).sum();
    let slowest = parts.iter().map(|part| part.1.time).max();
    let largest = parts.iter().map(|part| part.1.peak).max();
    println!("{read} of {ROUNDS} are still right; at most {slowest:?} and {largest:?} bytes");
    // A generator that breaks everything at the first byte would test nothing.
    assert!((ROUNDS / 100..ROUNDS).contains(&read), "{read} were still valid");
}

/// Whether the file of a round is still right, and what it cost to find out.
fn one(round: u64, seeds: &[PathBuf]) -> (bool, Cost) {
    let mut random = Random(round);
    let path = &seeds[random.below(seeds.len())];
    let mut bytes = std::fs::read(path).unwrap();
    mutate(&mut bytes, &mut random);
    let what = format!("round {round} of {}", path.display());
    let (checked, cost) = Desk::new().check(Syntax::of(path).unwrap(), &bytes);
    assert!(cost.time < LONGEST, "{what} took {:?}", cost.time);
    assert!(cost.peak < MEMORY_MAX, "{what} held {} bytes", cost.peak);
    if let Err((problems, map)) = &checked {
        let ((), cost) = measure(|| hold(problems, map, &what));
        assert!(cost.time < LONGEST && cost.peak < MEMORY_MAX, "{what} was shown at {cost:?}");
    }
    (checked.is_ok(), cost)
}
