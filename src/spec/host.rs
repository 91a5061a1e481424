//! Where a worker lives: what `ssh` and the container engines are told, held against what they could take it for.

use std::ops::Range;
use std::path::PathBuf;

use super::context::Context;
use super::error::{Place, SpecError};
use super::file::{ContainerRaw, HostRaw, HostTable, SshRaw, Text};
use super::map::Spot;
use super::paths::PathKind;
use super::{container, paths};
use crate::model::{Container, ContainerEngine, Host, Ssh, Trust};

/// Why a name of a machine or of a user is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMistake {
    /// `ssh` would take it for an option.
    Dash,
    /// A host with a user before it.
    At,
    /// White space and what cannot be seen.
    Space,
    /// Another character that no such name has.
    Character,
}

/// Why a path outside of the workspace is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarMistake {
    /// `~/` without a home folder of the caller.
    NoHome,
    /// `~` of somebody else.
    OthersHome,
    /// It must be absolute, or begin with `~/`.
    Relative,
    /// It must be absolute: `~` is not known before the machine is reached.
    NotAbsolute,
    /// It is `/`.
    Root,
    /// `..`, behind which links decide what is meant.
    Parent,
    /// A character that has a meaning for `ssh`, or is one that cannot be seen.
    Character,
}

/// `None` after reporting.
pub(super) fn host(cx: &Context<'_>, spot: &Spot<'_>, raw: &HostRaw) -> Option<Host> {
    let HostRaw::Table(table) = raw else { return Some(Host::Local) };
    match &**table {
        HostTable::Local(_) => Some(Host::Local),
        HostTable::Ssh(raw) => ssh(cx, spot, raw),
        HostTable::Docker(raw) | HostTable::Container(raw) => container(cx, spot, ContainerEngine::Docker, raw),
        HostTable::Podman(raw) => container(cx, spot, ContainerEngine::Podman, raw),
    }
}

fn ssh(cx: &Context<'_>, spot: &Spot<'_>, raw: &SshRaw) -> Option<Host> {
    let host = name(cx, &spot.key("host"), "host", &raw.host);
    let user = raw.user.as_ref().map(|user| name(cx, &spot.key("user"), "user", user));
    let path = |field: &'static str, text: &Option<Text>| {
        text.as_ref().map(|text| file(cx, &spot.key(field), field, text)).map(|path| path.ok_or(()))
    };
    let (identity, known_hosts) = (path("identity", &raw.identity), path("known_hosts", &raw.known_hosts));
    let fingerprint = raw.host_key_fingerprint.as_ref();
    let fingerprint = fingerprint.map(|text| fingerprint_of(cx, &spot.key("host_key_fingerprint"), text));
    let folder = raw.working_directory.as_ref();
    let folder = folder.map(|text| far_folder(cx, &spot.key("working_directory"), text));
    Some(Host::Ssh(Box::new(Ssh {
        host: host?.into(),
        user: user.map(|user| user.map(String::from)).map_or(Some(None), |user| user.map(Some))?,
        port: raw.port.map(u16::from),
        identity: identity.transpose().ok()?,
        known_hosts: known_hosts.transpose().ok()?,
        host_key_fingerprint: match fingerprint {
            Some(fingerprint) => Some(fingerprint?.into()),
            None => None,
        },
        working_directory: match folder {
            Some(folder) => Some(folder?),
            None => None,
        },
    })))
}

/// A host or a user: what `ssh` can take for nothing else, and what no shell of a user's `ProxyCommand` can either.
fn name(cx: &Context<'_>, spot: &Spot<'_>, field: &'static str, written: &str) -> Option<Box<str>> {
    let text = cx.word(&cx.scope(None, &[]), spot, field, written)?;
    let Some((at, why)) = bad_name(&text, field == "host") else { return Some(text) };
    cx.report(SpecError::SshName { field, at: cx.inside(spot, written, &at), why });
    None
}

fn bad_name(text: &str, is_host: bool) -> Option<(Range<usize>, NameMistake)> {
    if text.starts_with('-') {
        return Some((0..1, NameMistake::Dash));
    }
    let wrong = |c: char| match c {
        '@' if is_host => Some(NameMistake::At),
        c if c.is_whitespace() || c.is_control() => Some(NameMistake::Space),
        // Colons and `%` are of IPv6 addresses.
        ':' | '%' if is_host => None,
        '.' | '_' | '-' | '+' | '@' => None,
        c if c.is_alphanumeric() => None,
        _ => Some(NameMistake::Character),
    };
    text.char_indices().find_map(|(at, c)| Some((at..at + c.len_utf8(), wrong(c)?)))
}

/// A file that `ssh` reads: absolute, below the caller's home, or in the workspace.
fn file(cx: &Context<'_>, spot: &Spot<'_>, field: &'static str, written: &str) -> Option<PathBuf> {
    let text = cx.word(&cx.scope(None, &[]), spot, field, written)?;
    let path = if text.starts_with(['/', '~']) {
        home_or_absolute(cx, spot, field, &text, written)?
    } else if text.starts_with('-') {
        cx.report(SpecError::SshName { field, at: cx.inside(spot, written, &(0..1)), why: NameMistake::Dash });
        return None;
    } else {
        cx.workspace.join(&*cx.path(&cx.scope(None, &[]), spot, written, PathKind::One)?)
    };
    // `ssh` expands the first two, splits at white space, and reads quotes.
    let special = |c: char| matches!(c, '%' | '$' | '"' | '\'' | '\\') || c.is_whitespace() || c.is_control();
    if path.to_str().is_none_or(|text| text.contains(special)) {
        cx.report(SpecError::FarPath { field, at: cx.map.at(spot), why: FarMistake::Character });
        return None;
    }
    Some(path)
}

/// An absolute path, or one below the caller's home.
pub(super) fn home_or_absolute(
    cx: &Context<'_>,
    spot: &Spot<'_>,
    field: &'static str,
    text: &str,
    written: &str,
) -> Option<PathBuf> {
    let refuse = |why| {
        cx.report(SpecError::FarPath { field, at: cx.inside(spot, written, &(0..text.len())), why });
        None
    };
    if text.split('/').any(|part| part == "..") {
        return refuse(FarMistake::Parent);
    }
    if text.contains(char::is_control) {
        return refuse(FarMistake::Character);
    }
    match text.strip_prefix('~') {
        None if text.starts_with('/') => Some(PathBuf::from(text)),
        None => refuse(FarMistake::Relative),
        Some(below) if below.starts_with('/') => match cx.outside.home() {
            Some(home) => Some(PathBuf::from(format!("{}{below}", home.trim_end_matches('/')))),
            None => refuse(FarMistake::NoHome),
        },
        Some(_) => refuse(FarMistake::OthersHome),
    }
}

/// The folder on the other machine, in its one spelling.
fn far_folder(cx: &Context<'_>, spot: &Spot<'_>, written: &str) -> Option<String> {
    let text = cx.word(&cx.scope(None, &[]), spot, "working_directory", written)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let why = match &*text {
        text if !text.starts_with('/') => Some(FarMistake::NotAbsolute),
        _ if parts.is_empty() => Some(FarMistake::Root),
        _ if parts.contains(&"..") => Some(FarMistake::Parent),
        text if text.contains(char::is_control) => Some(FarMistake::Character),
        _ => None,
    };
    if let Some(why) = why {
        cx.report(SpecError::FarPath { field: "working_directory", at: cx.map.at(spot), why });
        return None;
    }
    Some(format!("/{}", parts.join("/")))
}

fn fingerprint_of(cx: &Context<'_>, spot: &Spot<'_>, written: &str) -> Option<Box<str>> {
    let text = cx.text(&cx.scope(None, &[]), spot, written)?;
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let right = text.strip_prefix("SHA256:").is_some_and(|rest| rest.len() == 43 && rest.bytes().all(is_base64));
    if !right {
        cx.report(SpecError::Fingerprint { at: cx.map.at(spot) });
        return None;
    }
    Some(text)
}

fn container(cx: &Context<'_>, spot: &Spot<'_>, engine: ContainerEngine, raw: &ContainerRaw) -> Option<Host> {
    let (scope, at) = (cx.scope(None, &[]), spot.key("image"));
    let image = cx.word(&scope, &at, "image", &raw.image)?;
    if let Err(bad) = container::image(&image) {
        cx.report(SpecError::Image { at: cx.inside(&at, &raw.image, &bad.at), why: bad.why });
        return None;
    }
    let args = spot.key("args");
    let texts = raw.args.as_ref().map_or(&[][..], |list| &list.0);
    let word = |(n, text): (usize, &Text)| {
        let at = args.index(n);
        let text = cx.text(&scope, &at, text)?;
        if text.contains('\0') {
            cx.report(SpecError::NulByte { at: cx.map.at(&at), field: "args" });
            return None;
        }
        Some(text.into())
    };
    // All of them, so that every wrong reference is reported.
    let words: Vec<Option<String>> = texts.iter().enumerate().map(word).collect();
    let args = words.into_iter().collect::<Option<Vec<String>>>()?;
    Some(Host::Container(Box::new(Container { engine, image: image.into(), args })))
}

/// Holds a container against the trust of its worker.
pub(super) fn hold(
    cx: &Context<'_>,
    spot: &Spot<'_>,
    worker: &str,
    container: &Container,
    trust: Trust,
    trust_at: Option<&Place>,
) {
    let worker = || worker.to_owned();
    if trust > Trust::Sandbox && !container.is_pinned() {
        let (at, image) = (cx.map.at(&spot.key("image")), container.image.clone());
        let engine = container.engine.name();
        cx.report(SpecError::ImageByTag { worker: worker(), image, engine, trust, at, trust_at: trust_at.cloned() });
    }
    let args = spot.key("args");
    let (sources, bad) = container::check(&container.args, trust);
    for bad in bad {
        let at = cx.map.at(&args.index(bad.index));
        cx.report(SpecError::ContainerArg { worker: worker(), flag: bad.flag, trust, at, why: bad.why });
    }
    for source in sources {
        let at = args.index(source.index);
        let inside = match source.path.strip_prefix('/') {
            // Held against the workspace's own spelling, without links.
            Some(_) => cx.workspace.to_str().and_then(|root| {
                let below = source.path.strip_prefix(root)?;
                (below.is_empty() || below.starts_with('/')).then(|| below.trim_start_matches('/'))
            }),
            None => Some(&*source.path),
        };
        let inside = inside.map(|path| if path.is_empty() { "." } else { path });
        let path = inside.and_then(|path| paths::checked(path, PathKind::One).ok());
        if !path.is_some_and(|path| cx.stays(&path)) {
            let why = container::ArgMistake::Beyond(Trust::Operator);
            cx.report(SpecError::ContainerArg { worker: worker(), flag: source.flag, trust, at: cx.map.at(&at), why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_ssh_takes_for_nothing_else() {
        for good in ["build.example", "build-1", "my_host", "::1", "fe80::1%eth0", "größe"] {
            assert_eq!(bad_name(good, true), None, "{good}");
        }
        for good in ["ci", "first.last", "a-b_c+d", "user@realm"] {
            assert_eq!(bad_name(good, false), None, "{good}");
        }
        for (bad, is_host, at, why) in [
            ("-oProxyCommand=x", true, 0..1, NameMistake::Dash),
            ("-l", false, 0..1, NameMistake::Dash),
            ("ci@build", true, 2..3, NameMistake::At),
            ("a b", true, 1..2, NameMistake::Space),
            ("a\u{a0}b", true, 1..3, NameMistake::Space),
            ("a\nb", false, 1..2, NameMistake::Space),
            ("a\u{7f}", true, 1..2, NameMistake::Space),
            ("a;b", true, 1..2, NameMistake::Character),
            ("$(x)", false, 0..1, NameMistake::Character),
            ("a/b", true, 1..2, NameMistake::Character),
            ("a%b", false, 1..2, NameMistake::Character),
            ("a:b", false, 1..2, NameMistake::Character),
        ] {
            assert_eq!(bad_name(bad, is_host), Some((at, why)), "{bad:?}");
        }
    }
}
