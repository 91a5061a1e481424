//! Many needles at once: an Aho-Corasick automaton that is stepped by hand, so that it goes on from piece to piece and
//! tells how much of a needle the text so far ends with. Where no needle has begun, a vector search for the first bytes
//! of all needles passes over the text at memory speed.

use std::collections::HashMap;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous;
use aho_corasick::packed::{self, Searcher};
use aho_corasick::{Anchored, MatchKind, Span};

/// How much of each needle the vector search looks for.
const PREFIX: usize = 4;

pub(super) struct Matcher {
    /// `None` without needles.
    machine: Option<contiguous::NFA>,
    start: StateID,
    /// `None` where the processor or the number of needles forbids it.
    prefixes: Option<Searcher>,
    /// By needle.
    keys: Vec<usize>,
    /// How many bytes of a needle are behind a state.
    depths: HashMap<StateID, usize>,
}

/// Where in the needles the text so far has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct State(StateID);

/// A needle that ends in a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Behind its last byte, in the piece.
    pub end: usize,
    /// Its length.
    pub bytes: usize,
    pub key: usize,
}

/// Whether a byte is passed over.
pub(super) fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The bytes that count.
pub(super) fn without_breaks<'b>(bytes: &'b [u8], scratch: &'b mut Vec<u8>) -> &'b [u8] {
    let mut breaks = memchr::memchr2_iter(b'\n', b'\r', bytes);
    let Some(first) = breaks.next() else { return bytes };
    scratch.clear();
    scratch.reserve(bytes.len());
    scratch.extend_from_slice(&bytes[..first]);
    let mut from = first + 1;
    for at in breaks {
        scratch.extend_from_slice(&bytes[from..at]);
        from = at + 1;
    }
    scratch.extend_from_slice(&bytes[from..]);
    scratch
}

impl Matcher {
    /// Of needles with their keys; none is shorter than the prefix.
    pub(super) fn new(mut needles: Vec<(usize, Vec<u8>)>) -> Self {
        // The same form of two keys is that of the first.
        needles.sort_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
        needles.dedup_by(|b, a| a.1 == b.1);
        let texts = || needles.iter().map(|(_, needle)| needle);
        // What cannot be built has more needles than fit into memory; the bound of a value's length keeps far below.
        let machine = contiguous::NFA::builder().match_kind(MatchKind::Standard).prefilter(false).build(texts());
        let machine = machine.ok().filter(|_| !needles.is_empty());
        let start = machine.as_ref().and_then(|machine| machine.start_state(Anchored::No).ok());
        let mut this = Self {
            prefixes: prefixes(texts()),
            keys: needles.iter().map(|(key, _)| *key).collect(),
            depths: HashMap::new(),
            start: start.unwrap_or_default(),
            machine,
        };
        if let Some(machine) = &this.machine {
            for needle in texts() {
                let mut state = this.start;
                for (n, byte) in needle.iter().enumerate() {
                    // From the start, the state behind a part of a needle is that part and nothing shorter.
                    state = machine.next_state(Anchored::No, state, *byte);
                    this.depths.insert(state, n + 1);
                }
            }
        }
        this
    }

    pub(super) fn start(&self) -> State {
        State(self.start)
    }

    /// How many bytes at the end of the text may be the beginning of a needle, or are one.
    pub(super) fn depth(&self, state: State) -> usize {
        self.depths.get(&state.0).copied().unwrap_or(0)
    }

    /// Goes on with a piece, which has no line breaks, and tells of the longest needle at each place where one ends.
    pub(super) fn scan(&self, state: &mut State, piece: &[u8], tell: &mut dyn FnMut(Hit)) {
        let Some(machine) = &self.machine else { return };
        let (mut now, mut at) = (state.0, 0);
        while at < piece.len() {
            if now == self.start
                && let Some(prefixes) = &self.prefixes
            {
                let rest = Span::from(at..piece.len());
                at = match prefixes.find_in(piece, rest) {
                    Some(found) => found.start(),
                    // At the end there may be less of a needle than is looked for.
                    None => at.max(piece.len().saturating_sub(PREFIX - 1)),
                };
                if at == piece.len() {
                    break;
                }
            }
            now = machine.next_state(Anchored::No, now, piece[at]);
            at += 1;
            if machine.is_special(now) && machine.is_match(now) {
                let needles = (0..machine.match_len(now)).map(|n| machine.match_pattern(now, n));
                if let Some(needle) = needles.max_by_key(|needle| machine.pattern_len(*needle)) {
                    tell(Hit { end: at, bytes: machine.pattern_len(needle), key: self.keys[needle.as_usize()] });
                }
            }
        }
        state.0 = now;
    }
}

fn prefixes<'n>(needles: impl Iterator<Item = &'n Vec<u8>>) -> Option<Searcher> {
    let mut prefixes: Vec<&[u8]> = needles.map(|needle| &needle[..PREFIX]).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    packed::Config::new().builder().extend(prefixes).build()
}
