//! Why a task runs, for programs and for people: the one object for a reason, wherever it is printed as JSON, and a line
//! that a terminal can show.

use serde_json::{Value, json};

use crate::plan::explain::Reason;
use crate::plan::fingerprint::{Change, Difference};

/// Most characters of a reason on its line; a command can be as long as it likes.
const LINE_CHARS_MAX: usize = 300;

/// `code` says which reason, `kind` and `name` of what; `change` is `added`, `removed` or `changed`, with the values
/// where they may be shown; `text` is the sentence. What a reason does not have is null.
#[must_use]
pub fn json(reason: &Reason) -> Value {
    let (kind, name) = match reason {
        Reason::Different(Difference { kind, name, .. }) => (Some(kind.name()), Some(&**name)),
        Reason::LastResult(result) => (Some("result"), Some(result.name())),
        Reason::NeedRuns(need) | Reason::NeedDidNotPass(need) => (Some("need"), Some(&**need)),
        Reason::Never(_)
        | Reason::Forced
        | Reason::NoCache
        | Reason::First
        | Reason::NotKept(_)
        | Reason::Lost(_)
        | Reason::Leftover(_)
        | Reason::Unreadable(_) => (None, None),
    };
    let (change, from, to) = match reason {
        Reason::Different(Difference { change: Change::Added, .. }) => (Some("added"), None, None),
        Reason::Different(Difference { change: Change::Removed, .. }) => (Some("removed"), None, None),
        Reason::Different(Difference { change: Change::Changed { from, to }, .. }) => {
            let shown = |value: &str| (!value.is_empty()).then(|| value.to_owned());
            (Some("changed"), shown(from), shown(to))
        }
        _ => (None, None, None),
    };
    // One without a name, as the command, is the only one of its kind.
    let name = name.filter(|name| !name.is_empty());
    json!({
        "code": reason.code(), "kind": kind, "name": name, "change": change, "from": from, "to": to,
        "text": reason.to_string(),
    })
}

/// On one line, without what could move a cursor.
#[must_use]
pub fn line(text: &str) -> String {
    let mut line: String = text.chars().take(LINE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LINE_CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fingerprint::Kind;

    #[test]
    fn a_reason_is_an_object_with_the_same_keys_whatever_it_is() {
        let change = Change::Changed { from: "cc a".into(), to: "cc -O a".into() };
        let command = Reason::Different(Difference { kind: Kind::Command, name: "".into(), change });
        let all: Vec<String> = [command, Reason::First, Reason::NeedRuns("gen".into())]
            .iter()
            .map(|reason| json(reason).to_string())
            .collect();
        insta::assert_snapshot!(all.join("\n"), @r#"
        {"code":"changed","kind":"command","name":null,"change":"changed","from":"cc a","to":"cc -O a","text":"the command changed from `cc a` to `cc -O a`"}
        {"code":"first_run","kind":null,"name":null,"change":null,"from":null,"to":null,"text":"it has no earlier result here"}
        {"code":"need_runs","kind":"need","name":"gen","change":null,"from":null,"to":null,"text":"it needs `gen`, which runs first"}
        "#);
    }

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(line("sh: a\nb \x1b[2Jc"), "sh: a b  [2Jc");
        assert_eq!(line(&"ö".repeat(LINE_CHARS_MAX)).chars().count(), LINE_CHARS_MAX);
        let long = line(&"ö".repeat(LINE_CHARS_MAX + 1));
        assert!(long.ends_with("ö…") && long.chars().count() == LINE_CHARS_MAX + 1);
    }
}
