//! What a container may be made of: the name of its image, and the words that a fleet file adds to the engine's `create`.
//! One table says from which trust on a flag is taken; what it does not have is for `operator` alone. The book prints the
//! table. Pure.

use std::ops::Range;

use crate::model::Trust;

/// A flag of `docker create` and `podman create`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// All its long names.
    pub long: &'static [&'static str],
    pub short: Option<char>,
    /// Whether a value follows; a flag without one may still be written `--flag=true`.
    pub takes_value: bool,
    pub rule: Rule,
}

/// From which trust on a flag is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Whatever its value is.
    From(Trust),
    /// `none` from `sandbox` on, the name of a network from `local` on, everything else for `operator`.
    Network,
    /// `no-new-privileges` from `sandbox` on, everything else for `operator`.
    SecurityOpt,
    /// A folder of the workspace from `local` on, everything else for `operator`.
    Volume,
    /// `type=tmpfs` from `sandbox` on, `type=bind` of a folder of the workspace from `local` on, else for `operator`.
    Mount,
    /// Never: `fleet` sets it itself.
    Ours,
}

const fn flag(long: &'static [&'static str], short: Option<char>, takes_value: bool, rule: Rule) -> Flag {
    Flag { long, short, takes_value, rule }
}

/// With a value.
const fn value(long: &'static [&'static str], rule: Rule) -> Flag {
    flag(long, None, true, rule)
}

/// Without one.
const fn plain(long: &'static [&'static str], rule: Rule) -> Flag {
    flag(long, None, false, rule)
}

const SANDBOX: Rule = Rule::From(Trust::Sandbox);
const LOCAL: Rule = Rule::From(Trust::Local);
const OPERATOR: Rule = Rule::From(Trust::Operator);

/// Every flag that is known. Those that are not are for `operator`, and take their value in the same word.
pub const FLAGS: &[Flag] = &[
    // ── what bounds the container, and what changes nothing outside of it ──
    value(&["cpus"], SANDBOX),
    flag(&["cpu-shares"], Some('c'), true, SANDBOX),
    value(&["cpuset-cpus"], SANDBOX),
    flag(&["memory"], Some('m'), true, SANDBOX),
    value(&["memory-swap"], SANDBOX),
    value(&["pids-limit"], SANDBOX),
    value(&["shm-size"], SANDBOX),
    value(&["ulimit"], SANDBOX),
    plain(&["read-only"], SANDBOX),
    value(&["cap-drop"], SANDBOX),
    value(&["platform"], SANDBOX),
    flag(&["user"], Some('u'), true, SANDBOX),
    flag(&["hostname"], Some('h'), true, SANDBOX),
    plain(&["init"], SANDBOX),
    value(&["tmpfs"], SANDBOX),
    // ── what a sandbox may not have ──
    value(&["gpus"], LOCAL),
    value(&["network", "net"], Rule::Network),
    value(&["security-opt"], Rule::SecurityOpt),
    flag(&["volume"], Some('v'), true, Rule::Volume),
    value(&["mount"], Rule::Mount),
    // ── what reaches the host ──
    plain(&["privileged"], OPERATOR),
    value(&["pid"], OPERATOR),
    value(&["ipc"], OPERATOR),
    value(&["uts"], OPERATOR),
    value(&["userns"], OPERATOR),
    value(&["cgroupns"], OPERATOR),
    value(&["cgroup-parent"], OPERATOR),
    value(&["volumes-from"], OPERATOR),
    value(&["volume-driver"], OPERATOR),
    value(&["device"], OPERATOR),
    value(&["device-cgroup-rule"], OPERATOR),
    value(&["cap-add"], OPERATOR),
    value(&["group-add"], OPERATOR),
    value(&["sysctl"], OPERATOR),
    value(&["runtime"], OPERATOR),
    flag(&["env"], Some('e'), true, OPERATOR),
    value(&["env-file"], OPERATOR),
    value(&["add-host"], OPERATOR),
    value(&["dns"], OPERATOR),
    flag(&["publish"], Some('p'), true, OPERATOR),
    flag(&["publish-all"], Some('P'), false, OPERATOR),
    flag(&["quiet"], Some('q'), false, OPERATOR),
    // ── what is ours ──
    value(&["name"], Rule::Ours),
    flag(&["label"], Some('l'), true, Rule::Ours),
    value(&["label-file"], Rule::Ours),
    value(&["entrypoint"], Rule::Ours),
    flag(&["detach"], Some('d'), false, Rule::Ours),
    flag(&["interactive"], Some('i'), false, Rule::Ours),
    flag(&["tty"], Some('t'), false, Rule::Ours),
    plain(&["rm"], Rule::Ours),
    flag(&["workdir"], Some('w'), true, Rule::Ours),
    flag(&["attach"], Some('a'), true, Rule::Ours),
    value(&["restart"], Rule::Ours),
    value(&["cidfile"], Rule::Ours),
    plain(&["help"], Rule::Ours),
];

impl Flag {
    /// `--memory`, `-m`
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let long = self.long.iter().map(|long| format!("--{long}"));
        long.chain(self.short.map(|short| format!("-{short}"))).collect()
    }
}

impl Rule {
    /// From which trust on it is taken, in the words of the book.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::From(trust) => format!("`{trust}`"),
            Self::Network => "`none`: `sandbox`; a network by name: `local`; anything else: `operator`".to_owned(),
            Self::SecurityOpt => "`no-new-privileges`: `sandbox`; anything else: `operator`".to_owned(),
            Self::Volume => "a folder of the workspace: `local`; anything else: `operator`".to_owned(),
            Self::Mount => {
                "`type=tmpfs`: `sandbox`; `type=bind` of a folder of the workspace: `local`; anything else: `operator`"
                    .to_owned()
            }
            Self::Ours => "never".to_owned(),
        }
    }
}

/// What is wrong with one of the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadArg {
    /// Which of the words.
    pub index: usize,
    /// The flag as it was written, without its value.
    pub flag: String,
    pub why: ArgMistake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgMistake {
    /// Only for this trust and above.
    Beyond(Trust),
    /// `fleet` sets it.
    Ours,
    /// A word that is neither a flag nor the value of one.
    Stray,
    /// Its value is missing.
    NoValue,
    /// A flag without a value has one that is neither `true` nor `false`.
    NotBoolean,
    /// A flag that is not known, so that nobody can say whether the next word is its value.
    Unknown,
}

/// What a value would mount from this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which of the words has it.
    pub index: usize,
    pub flag: String,
    pub path: String,
}

/// Holds the words against a trust. What they mount from this machine is answered for the caller to hold against the
/// workspace: it knows where that is and what leads out of it.
pub fn check(args: &[impl AsRef<str>], trust: Trust) -> (Vec<Source>, Vec<BadArg>) {
    let mut check = Check { trust, sources: Vec::new(), bad: Vec::new() };
    let mut words = args.iter().map(AsRef::as_ref).enumerate();
    while let Some((index, word)) = words.next() {
        let mut next = || words.next().map(|(_, word)| word);
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, given) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            check.long(index, name, given, &mut next);
        } else if let Some(shorts) = word.strip_prefix('-').filter(|shorts| !shorts.is_empty() && word != "--") {
            check.shorts(index, shorts, &mut next);
        } else {
            check.refuse(index, word, ArgMistake::Stray);
        }
    }
    (check.sources, check.bad)
}

struct Check {
    trust: Trust,
    sources: Vec<Source>,
    bad: Vec<BadArg>,
}

impl Check {
    fn refuse(&mut self, index: usize, flag: &str, why: ArgMistake) {
        self.bad.push(BadArg { index, flag: flag.to_owned(), why });
    }

    fn long<'w>(
        &mut self,
        index: usize,
        name: &str,
        given: Option<&'w str>,
        next: &mut dyn FnMut() -> Option<&'w str>,
    ) {
        let shown = format!("--{name}");
        match FLAGS.iter().find(|flag| flag.long.contains(&name)) {
            Some(flag) if flag.takes_value => self.valued(index, &shown, flag.rule, given.or_else(next)),
            Some(flag) => match given {
                None | Some("true" | "false") => self.judge(index, &shown, flag.rule, ""),
                Some(_) => self.refuse(index, &shown, ArgMistake::NotBoolean),
            },
            None if self.trust < Trust::Operator => self.refuse(index, &shown, ArgMistake::Beyond(Trust::Operator)),
            None if given.is_none() => self.refuse(index, &shown, ArgMistake::Unknown),
            None => {}
        }
    }

    /// Several flags of a letter in one word: `-it`, `-m512m`, `-m=512m`.
    fn shorts<'w>(&mut self, index: usize, shorts: &'w str, next: &mut dyn FnMut() -> Option<&'w str>) {
        for (at, short) in shorts.char_indices() {
            let shown = format!("-{short}");
            let rest = &shorts[at + short.len_utf8()..];
            match FLAGS.iter().find(|flag| flag.short == Some(short)) {
                Some(flag) if flag.takes_value => {
                    let given = if rest.is_empty() { next() } else { Some(rest.strip_prefix('=').unwrap_or(rest)) };
                    return self.valued(index, &shown, flag.rule, given);
                }
                Some(flag) => match rest.strip_prefix('=') {
                    None | Some("true" | "false") => {
                        self.judge(index, &shown, flag.rule, "");
                        if rest.starts_with('=') {
                            return;
                        }
                    }
                    Some(_) => return self.refuse(index, &shown, ArgMistake::NotBoolean),
                },
                None => return self.refuse(index, &shown, ArgMistake::Unknown),
            }
        }
    }

    fn valued(&mut self, index: usize, shown: &str, rule: Rule, value: Option<&str>) {
        match value {
            Some(value) => self.judge(index, shown, rule, value),
            None => self.refuse(index, shown, ArgMistake::NoValue),
        }
    }

    fn judge(&mut self, index: usize, shown: &str, rule: Rule, value: &str) {
        let from = match rule {
            Rule::Ours => return self.refuse(index, shown, ArgMistake::Ours),
            Rule::From(trust) => trust,
            Rule::Network => network(value),
            Rule::SecurityOpt => security_opt(value),
            Rule::Volume => self.mounted(index, shown, volume(value)),
            Rule::Mount => self.mounted(index, shown, mount(value)),
        };
        if from > self.trust {
            self.refuse(index, shown, ArgMistake::Beyond(from));
        }
    }

    /// Below `operator`, a source has to lie in the workspace.
    fn mounted(&mut self, index: usize, shown: &str, what: Mounted<'_>) -> Trust {
        match what {
            Mounted::Nothing => Trust::Sandbox,
            Mounted::Unclear => Trust::Operator,
            Mounted::Path(path) if is_socket(path) => Trust::Operator,
            Mounted::Path(path) => {
                if (Trust::Local..Trust::Operator).contains(&self.trust) {
                    self.sources.push(Source { index, flag: shown.to_owned(), path: path.to_owned() });
                }
                Trust::Local
            }
        }
    }
}

/// Whoever can talk to the engine can do on this machine what the engine can, wherever its socket lies.
fn is_socket(path: &str) -> bool {
    let name = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    ["docker.sock", "podman.sock", "containerd.sock", "crio.sock"].contains(&name)
}

fn network(value: &str) -> Trust {
    let is_name = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    match value {
        "none" => Trust::Sandbox,
        "host" => Trust::Operator,
        _ if is_name => Trust::Local,
        // `container:…`, `ns:…`, and what has options of its own.
        _ => Trust::Operator,
    }
}

fn security_opt(value: &str) -> Trust {
    match value {
        "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => Trust::Sandbox,
        _ => Trust::Operator,
    }
}

#[derive(Clone, Copy)]
enum Mounted<'v> {
    /// Memory of the container.
    Nothing,
    Path(&'v str),
    /// A volume, whose driver may mount anything, or an option that is not known.
    Unclear,
}

/// `SOURCE:TARGET[:OPTIONS]`
fn volume(value: &str) -> Mounted<'_> {
    let mut parts = value.split(':');
    let (source, target, options) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or("rw"));
    let known = options.split(',').all(|option| ["ro", "rw", "z", "Z"].contains(&option));
    let is_path = source.starts_with('/') || source.starts_with('.');
    if is_path && known && target.is_some_and(|target| target.starts_with('/')) && parts.next().is_none() {
        Mounted::Path(source)
    } else {
        Mounted::Unclear
    }
}

/// `type=bind,source=…,target=…[,readonly]`
fn mount(value: &str) -> Mounted<'_> {
    let (mut kind, mut source) = ("volume", None);
    for part in value.split(',') {
        match part.split_once('=').unwrap_or((part, "")) {
            ("type", named) => kind = named,
            // Said twice, engines do not agree on which one holds.
            ("source" | "src", path) if source.is_none() => source = Some(path),
            ("target" | "dst" | "destination" | "readonly" | "ro" | "tmpfs-size" | "tmpfs-mode", _) => {}
            _ => return Mounted::Unclear,
        }
    }
    match (kind, source) {
        // In quotes a comma would be part of a value.
        _ if value.contains('"') => Mounted::Unclear,
        ("tmpfs", None) => Mounted::Nothing,
        ("bind", Some(path)) if path.starts_with('/') || path.starts_with('.') => Mounted::Path(path),
        _ => Mounted::Unclear,
    }
}

/// What is wrong with the name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadImage {
    /// Bytes inside the text.
    pub at: Range<usize>,
    pub why: ImageMistake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageMistake {
    /// It begins with `-`, which the engine would take for a flag.
    Dash,
    /// A repository is written in lower case.
    UpperCase,
    /// `@` and what is no digest.
    Digest,
    /// Anything else that no name has.
    Name,
}

/// `[HOST[:PORT]/]PATH[:TAG][@sha256:HEX]`, or the `sha256:HEX` of an image that is here.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn image(text: &str) -> Result<(), BadImage> {
    let bad = |at: Range<usize>, why| Err(BadImage { at, why });
    if text.starts_with('-') {
        return bad(0..1, ImageMistake::Dash);
    }
    if text.starts_with("sha256:") {
        return if is_digest(text) { Ok(()) } else { bad(0..text.len(), ImageMistake::Digest) };
    }
    let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return bad(named.len() + 1..text.len(), ImageMistake::Digest);
    }
    let slash = named.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match named[slash..].split_once(':') {
        Some((last, tag)) => (&named[..slash + last.len()], Some(tag)),
        None => (named, None),
    };
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return bad(repository.len() + 1..repository.len() + 1 + tag.len(), ImageMistake::Name);
    }
    let mut start = 0;
    for (n, part) in repository.split('/').enumerate() {
        let at = start..start + part.len();
        start = at.end + 1;
        // The first of several parts is a registry when it looks like a machine.
        let is_host = n == 0 && repository.contains('/') && (part.contains(['.', ':']) || part == "localhost");
        if is_host && is_registry(part) || is_component(part) {
            continue;
        }
        let upper = is_component(&part.to_ascii_lowercase());
        return bad(at, if upper { ImageMistake::UpperCase } else { ImageMistake::Name });
    }
    Ok(())
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-'])
}

fn is_registry(text: &str) -> bool {
    let (machine, port) = text.split_once(':').map_or((text, None), |(machine, port)| (machine, Some(port)));
    !machine.is_empty()
        && !machine.starts_with('-')
        && machine.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    edge(part.chars().next())
        && edge(part.chars().last())
        && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| part.contains(pair))
}

#[cfg(test)]
mod tests;
