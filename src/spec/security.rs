//! `[policies.security]`: what bounds trust, and what some tasks may do beyond it.

use super::context::Context;
use super::error::SpecError;
use super::file::{GrantRaw, List, SandboxWord, SecurityRaw, Text, TrustRaw};
use super::map::Spot;
use super::{host, nearest, worker};
use crate::model::task::is_glob;
use crate::model::{Capability, Grant, SandboxLayer, Security};

/// Why a capability of a grant is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantMistake {
    /// No such word; the nearest one.
    Unknown(Option<&'static str>),
    /// `write:` with another pattern than `**` in the place of the last part of its path.
    Pattern,
    /// `write:` and a path that goes up, or has a character that no path has.
    Path,
}

/// Nothing here fails: what is wrong is reported, and then the whole is unfit for use.
pub(super) fn security(cx: &Context<'_>, raw: &SecurityRaw) -> Security {
    let policies = Spot::top("policies");
    let (spot, scope, plain) = (policies.key("security"), cx.scope(None, &[]), Security::plain());
    let trust = |raw: Option<TrustRaw>| raw.map(worker::trust);
    Security {
        default_trust: trust(raw.default_trust),
        max_trust: trust(raw.max_trust).unwrap_or(plain.max_trust),
        require_identity_verification: raw.require_identity_verification.unwrap_or(false),
        allowed_secrets: raw.allowed_secrets.as_ref().map(|list| keys(cx, &spot, list)).unwrap_or_default(),
        grants: grants(cx, &spot.key("grants"), raw.grants.as_deref().unwrap_or_default()),
        sandbox: raw.sandbox.as_deref().map_or(plain.sandbox, |words| layers(cx, &spot.key("sandbox"), words)),
        secrets_directory: raw.secrets_directory.as_ref().and_then(|written| {
            let (spot, field) = (spot.key("secrets_directory"), "secrets_directory");
            let text = cx.word(&scope, &spot, field, written)?;
            host::home_or_absolute(cx, &spot, field, &text, written)
        }),
        secrets_command: raw.secrets_command.as_ref().and_then(|run| {
            cx.command(&scope, &spot.key("secrets_command"), &|| "`secrets_command`".to_owned(), false, run)
        }),
    }
}

fn keys(cx: &Context<'_>, spot: &Spot<'_>, list: &List<Text>) -> Vec<Box<str>> {
    let (field, scope) = ("allowed_secrets", cx.scope(None, &[]));
    let spot = spot.key(field);
    let mut keys: Vec<Box<str>> = Vec::new();
    for (n, text) in list.iter().enumerate() {
        let at = spot.index(n);
        let Some(key) = cx.text(&scope, &at, text) else { continue };
        if !cx.env_name(|| cx.map.at(&at), &key, false) {
            continue;
        }
        twice(cx, &spot, field, n, keys.iter().position(|other| *other == key), &key);
        keys.push(key);
    }
    keys
}

fn layers(cx: &Context<'_>, spot: &Spot<'_>, words: &[SandboxWord]) -> Vec<SandboxLayer> {
    if words.is_empty() {
        cx.report(SpecError::EmptyList { field: "sandbox".to_owned(), at: cx.map.at(spot) });
    }
    let layer = |word: &SandboxWord| match word {
        SandboxWord::Bubblewrap => SandboxLayer::Bubblewrap,
        SandboxWord::Landlock => SandboxLayer::Landlock,
    };
    let layers: Vec<SandboxLayer> = words.iter().map(layer).collect();
    for (n, layer) in layers.iter().enumerate() {
        twice(cx, spot, "sandbox", n, layers[..n].iter().position(|other| other == layer), layer.name());
    }
    layers
}

fn twice(cx: &Context<'_>, spot: &Spot<'_>, field: &'static str, n: usize, first: Option<usize>, item: &str) {
    if let Some(first) = first {
        let (first, again) = (cx.map.at(&spot.index(first)), cx.map.at(&spot.index(n)));
        cx.report(SpecError::ItemTwice { field, item: item.to_owned(), first, again });
    }
}

fn grants(cx: &Context<'_>, spot: &Spot<'_>, list: &[GrantRaw]) -> Vec<Grant> {
    let scope = cx.scope(None, &[]);
    let grant = |(n, raw): (usize, &GrantRaw)| {
        let spot = spot.index(n);
        let word = |field: &'static str, text: &Text| cx.word(&scope, &spot.key(field), field, text);
        let capability = word("capability", &raw.capability);
        let (tasks, reason) = (word("scope", &raw.scope), word("reason", &raw.reason));
        let capability = capability.and_then(|text| {
            let why = match capability_of(&text) {
                Ok(capability) => return Some(capability),
                Err(why) => why,
            };
            let at = cx.map.at(&spot.key("capability"));
            cx.report(SpecError::Grant { at, capability: text.into(), why });
            None
        });
        let tasks = tasks.filter(|tasks| is_valid_scope(cx, &spot.key("scope"), tasks));
        Some(Grant { capability: capability?, scope: tasks?, reason: reason? })
    };
    list.iter().enumerate().filter_map(grant).collect()
}

fn is_valid_scope(cx: &Context<'_>, spot: &Spot<'_>, scope: &str) -> bool {
    match is_glob(scope).then(|| globset::Glob::new(scope)) {
        Some(Err(error)) => {
            cx.report(SpecError::BadGlob { at: cx.map.at(spot), why: error.kind().to_string() });
            false
        }
        _ => true,
    }
}

const CAPABILITIES: [&str; 4] = ["network", "secrets", "release", "write"];

fn capability_of(text: &str) -> Result<Capability, GrantMistake> {
    let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
    match (word, rest) {
        ("network", None) => Ok(Capability::Network),
        ("secrets", None) => Ok(Capability::Secrets),
        ("release", None) => Ok(Capability::Release),
        ("write", Some(glob)) => write(glob).map(Capability::Write),
        _ => Err(GrantMistake::Unknown(nearest::nearest(word, CAPABILITIES))),
    }
}

/// A path, absolute or relative to the workspace, or all that is below it: what holds a task opens files and folders, and
/// knows no patterns.
fn write(glob: &str) -> Result<Box<str>, GrantMistake> {
    let parts: Vec<&str> = glob.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let Some((last, folders)) = parts.split_last() else { return Err(GrantMistake::Path) };
    if parts.contains(&"..") || glob.starts_with(['~', '!']) || glob.contains(char::is_control) {
        return Err(GrantMistake::Path);
    }
    if folders.iter().any(|part| is_glob(part)) || is_glob(last) && *last != "**" {
        return Err(GrantMistake::Pattern);
    }
    if folders.is_empty() && *last == "**" && glob.starts_with('/') {
        return Err(GrantMistake::Path);
    }
    let root = if glob.starts_with('/') { "/" } else { "" };
    Ok(format!("{root}{}", parts.join("/")).into())
}

/// Every grant must be for a task that is there. `names` are the names of all, each with its base.
pub(super) fn check_scopes<'n, N: Iterator<Item = (Box<str>, &'n str)>>(
    cx: &Context<'_>,
    grants: &[Grant],
    names: impl Fn() -> N,
) {
    let policies = Spot::top("policies");
    let security = policies.key("security");
    let spot = security.key("grants");
    for (n, grant) in grants.iter().enumerate() {
        let covers = grant.covers();
        if names().any(|(name, base)| covers(&name, base)) {
            continue;
        }
        let near = nearest::nearest(&grant.scope, names().map(|(_, base)| base).take(NEAR_MAX)).map(str::to_owned);
        let (at, scope) = (cx.map.at(&spot.index(n).key("scope")), grant.scope.to_string());
        cx.report(SpecError::GrantForNobody { at, scope, near });
    }
}

/// Names a wrong scope is compared with.
const NEAR_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_words_and_folders() {
        for (text, capability) in [
            ("network", Capability::Network),
            ("secrets", Capability::Secrets),
            ("release", Capability::Release),
            ("write:dist/**", Capability::Write("dist/**".into())),
            ("write:./a//b/", Capability::Write("a/b".into())),
            ("write:/var/cache/x/**", Capability::Write("/var/cache/x/**".into())),
            ("write:**", Capability::Write("**".into())),
        ] {
            assert_eq!(capability_of(text), Ok(capability), "{text}");
        }
        for (text, why) in [
            ("netwrok", GrantMistake::Unknown(Some("network"))),
            ("network:tcp", GrantMistake::Unknown(Some("network"))),
            ("write", GrantMistake::Unknown(Some("write"))),
            ("root", GrantMistake::Unknown(None)),
            ("write:", GrantMistake::Path),
            ("write:/", GrantMistake::Path),
            ("write:../x", GrantMistake::Path),
            ("write:~/x", GrantMistake::Path),
            ("write:!x", GrantMistake::Path),
            ("write:*/x", GrantMistake::Pattern),
            ("write:**/*.rs", GrantMistake::Pattern),
            ("write:a/[", GrantMistake::Pattern),
            ("write:/var/cache/x/*.tar", GrantMistake::Pattern),
            ("write:*.log", GrantMistake::Pattern),
            ("write:out/*", GrantMistake::Pattern),
            ("write:/**", GrantMistake::Path),
        ] {
            assert_eq!(capability_of(text), Err(why), "{text}");
        }
    }
}
