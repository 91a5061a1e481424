//! `junit`: a test report, or several by glob, with at least `min_tests` tests that ran and no failures.
//! The value is passed tests of tests that ran, so `at_least = 0.95` allows one failure in twenty.
//!
//! The report is streamed, so its size costs no memory beyond its bytes. Entities of a document type are never expanded,
//! which makes expansion attacks harmless. A report that was not written is the task's failure; one that is not a
//! report is the scorer's trouble.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::files::{self, Content, Look};
use super::{Finding, Grade, shown};
use crate::model::task::is_glob;
use crate::store::Root;

/// What is counted in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// The first failures by name, at most [`FAILURES_NAMED_MAX`].
    failures: Vec<String>,
}

/// Failures that evidence names.
const FAILURES_NAMED_MAX: usize = 5;
/// Longest name of a test in evidence.
const NAME_BYTES_MAX: usize = 160;
/// Deepest nesting of elements in a report.
const DEPTH_MAX: usize = 128;
/// Most attributes of one element; the reader compares each with all before it to find doubles.
const ATTRIBUTES_MAX: usize = 100;
/// Most reports of one scorer.
const FILES_MAX: usize = 10_000;

pub(super) fn score(workspace: &Root, pattern: &str, min_tests: u64, max_bytes: u64) -> Finding {
    let paths = match files::expand(workspace, pattern) {
        Ok(paths) if paths.len() > FILES_MAX => {
            return Finding::broken(format!("`{pattern}` matches more than {FILES_MAX} files"));
        }
        Ok(paths) => paths,
        Err(error) => return Finding::broken(format!("`{pattern}` cannot be looked for: {error}")),
    };
    let mut tally = Tally::default();
    let mut read = 0;
    for path in &paths {
        let bytes = match files::open(workspace, path) {
            Look::Found(file) => match file.read(max_bytes) {
                Ok(Content::Whole(bytes)) => bytes,
                Ok(Content::OverBound) => {
                    return Finding::broken(format!("`{path}` has more than the {max_bytes} bytes that are read"));
                }
                Err(error) => return Finding::broken(format!("`{path}` cannot be read: {error}")),
            },
            // What a glob matched and is no file does not count; a path that was named must be one.
            Look::NoFile(_) if is_glob(pattern) => continue,
            Look::NoFile(why) => return Finding::no(format!("`{path}` {why}")),
            Look::Unreadable(error) => return Finding::broken(format!("`{path}` cannot be read: {error}")),
        };
        if let Err(why) = count(&bytes, &mut tally) {
            return Finding::broken(format!("`{path}` is not a test report: {why}"));
        }
        read += 1;
    }
    if read == 0 { Finding::no(format!("no file matches `{pattern}`")) } else { judge(&tally, read, min_tests) }
}

#[expect(clippy::cast_precision_loss, reason = "a report within its bound has far fewer than 2^52 tests")]
fn judge(tally: &Tally, files: usize, min_tests: u64) -> Finding {
    let executed = tally.passed.saturating_add(tally.failed);
    let counts = format!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    let places = if files > 1 { format!(" in {files} files") } else { String::new() };
    let short = if executed < min_tests { format!("; at least {min_tests} must run") } else { String::new() };
    let evidence = counts + &places + &short + &tally.named();
    // A test that had to run and did not is one that did not pass.
    let of = executed.max(min_tests);
    let (value, max) = if of == 0 { (1.0, 1.0) } else { (tally.passed as f64, of as f64) };
    let grade = if executed < min_tests { Grade::Decided(false) } else { Grade::Share };
    Finding { grade, value, max, evidence }
}

/// An element that is open.
struct Open {
    what: What,
    name: String,
    /// `<failure>` and `<error>` elements inside it so far.
    bad: u64,
    skipped: bool,
    /// Failures and errors that a suite's own attributes declare.
    declared: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Suites,
    Suite,
    Case,
    Other,
}

/// Adds a report's tests to a tally; `Err` says why it is none.
fn count(bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 at byte {}", e.valid_up_to()))?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut open: Vec<Open> = Vec::new();
    let mut seen_root = false;
    loop {
        let event = reader.read_event().map_err(|e| format!("{e} at byte {}", reader.error_position()))?;
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                if open.is_empty() && std::mem::replace(&mut seen_root, true) {
                    return Err("it has a second root element".into());
                }
                if open.len() >= DEPTH_MAX {
                    return Err(format!("it nests deeper than {DEPTH_MAX} elements"));
                }
                let element = begin(tag, &mut open, tally)?;
                open.push(element);
                if matches!(event, Event::Empty(_)) {
                    end(&mut open, tally);
                }
            }
            Event::End(_) => end(&mut open, tally),
            Event::Text(text) if open.is_empty() && !text.trim().is_empty() => {
                return Err("it has text outside its root element".into());
            }
            Event::CData(_) | Event::GeneralRef(_) if open.is_empty() => {
                return Err("it has text outside its root element".into());
            }
            Event::Eof if !open.is_empty() => return Err("it ends inside an element".into()),
            Event::Eof if !seen_root => return Err("it is empty".into()),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// What an element is, and what it tells the one around it.
fn begin(tag: &BytesStart<'_>, open: &mut [Open], tally: &mut Tally) -> Result<Open, String> {
    let local = tag.local_name();
    let what = match (local.as_ref(), open.last().map(|outer| outer.what)) {
        ("testsuites", None) => What::Suites,
        ("testsuite", None | Some(What::Suites | What::Suite)) => What::Suite,
        ("testcase", Some(What::Suites | What::Suite)) => What::Case,
        (other, None) => return Err(format!("its root element is `{}`", shown(other, NAME_BYTES_MAX))),
        (word, Some(around)) => {
            let outer = open.last_mut().expect("there is one around it");
            match word {
                "failure" | "error" if around == What::Case => outer.bad += 1,
                // A suite that could not be set up fails without a test of its own.
                "failure" | "error" if around != What::Other => {
                    outer.bad += 1;
                    tally.fail(1, &outer.name);
                }
                "skipped" | "disabled" if around == What::Case => outer.skipped = true,
                _ => {}
            }
            What::Other
        }
    };
    let mut element = Open { what, name: String::new(), bad: 0, skipped: false, declared: 0 };
    if what != What::Other {
        read_attributes(tag, &mut element)?;
    }
    Ok(element)
}

fn read_attributes(tag: &BytesStart<'_>, element: &mut Open) -> Result<(), String> {
    let (mut class, mut name) = (String::new(), String::new());
    for (index, attribute) in tag.attributes().enumerate() {
        if index >= ATTRIBUTES_MAX {
            return Err(format!("an element has more than {ATTRIBUTES_MAX} attributes"));
        }
        let attribute = attribute.map_err(|error| format!("an attribute: {error}"))?;
        // An entity that only a document type could explain is left as it stands.
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .map_or_else(|_| attribute.value.to_string(), std::borrow::Cow::into_owned);
        match (attribute.key.as_ref(), element.what) {
            ("name", _) => name = value,
            ("classname", What::Case) => class = value,
            // GoogleTest lists tests that it was told not to run.
            ("status", What::Case) => element.skipped |= value == "notrun",
            ("result", What::Case) => element.skipped |= matches!(value.as_str(), "suppressed" | "skipped"),
            ("failures" | "errors", What::Suite | What::Suites) => {
                let declared = value
                    .trim()
                    .parse::<u64>()
                    .map_err(|_| format!("`{}` is not a number of failures", shown(&value, NAME_BYTES_MAX)))?;
                element.declared = element.declared.saturating_add(declared);
            }
            _ => {}
        }
    }
    element.name = if class.is_empty() || class == name { name } else { format!("{class} {name}") };
    Ok(())
}

/// Counts the element that ends, and passes what is in it on to the one around it.
fn end(open: &mut Vec<Open>, tally: &mut Tally) {
    let Some(mut element) = open.pop() else { return };
    match element.what {
        What::Case if element.bad > 0 => tally.fail(1, &element.name),
        What::Case if element.skipped => tally.skipped += 1,
        What::Case => tally.passed += 1,
        // A suite that says of itself that more failed than it shows is believed: the worse of the two counts.
        What::Suite | What::Suites if element.declared > element.bad => {
            tally.fail(element.declared - element.bad, &element.name);
            element.bad = element.declared;
        }
        What::Suite | What::Suites | What::Other => {}
    }
    if let Some(outer) = open.last_mut() {
        outer.bad = outer.bad.saturating_add(element.bad);
    }
}

impl Tally {
    fn fail(&mut self, count: u64, name: &str) {
        self.failed = self.failed.saturating_add(count);
        if self.failures.len() < FAILURES_NAMED_MAX {
            self.failures.push(format!("`{}`", shown(name, NAME_BYTES_MAX)));
        }
    }

    /// The first failures by name, after a colon; empty when nothing failed.
    fn named(&self) -> String {
        let rest = self.failed - self.failures.len() as u64;
        match (self.failures.is_empty(), rest) {
            (true, _) => String::new(),
            (false, 0) => format!(": {}", self.failures.join(", ")),
            (false, rest) => format!(": {} and {rest} more", self.failures.join(", ")),
        }
    }
}
