//! The words of mistakes in `retry` and `repeat`.

use super::super::map::SourceMap;
use super::SpecError;
use super::draft::{Draft, assign, draft, number};

impl SpecError {
    pub(super) fn of_retries(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::BackoffCrossed { initial, max, at, max_at } => {
                let draft = draft(
                    "fleet::backoff_crossed",
                    format!("the first wait of {initial} is longer than the longest, {max}"),
                )
                .at(at, "longer than any wait may be");
                match max_at {
                    Some(max_at) => draft.at(max_at, "the longest wait").help("exchange the two, or remove one"),
                    None => draft.help(format!(
                        "`max_backoff` is {max} unless said: add {}, or shorten this one",
                        assign(map, at, "max_backoff", initial)
                    )),
                }
            }
            Self::BackoffTooLong { at, limit } => {
                draft("fleet::backoff_too_long", format!("a wait between two attempts is longer than {limit}"))
                    .at(at, "too long")
                    .help(format!("write at most \"{limit}\"; what takes longer is a run of its own"))
            }
            Self::TooManyAttempts { field, at, limit } => {
                draft("fleet::too_many_attempts", format!("`{field}` is more than {limit}"))
                    .at(at, "too many")
                    .help(format!("write at most {}", number(map, at, field, *limit)))
            }
            Self::RepeatQuorum { quorum, runs, at, runs_at } => {
                draft("fleet::repeat_quorum", format!("{quorum} of {runs} repetitions can never pass"))
                    .at(at, "more than there are")
                    .at(runs_at, format!("{runs} in all"))
                    .help(format!("ask for at most {}", number(map, at, "quorum", *runs)))
            }
            _ => return None,
        })
    }
}
