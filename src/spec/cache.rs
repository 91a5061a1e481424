//! `[cache]`: the cache that is shared with others.

use super::context::Context;
use super::error::SpecError;
use super::file::{CacheRaw, RemoteMode, RemoteRaw};
use super::map::Spot;
use super::{names, url};
use crate::model::{CacheMode, CacheRemote};

/// The shared cache, if there is one without mistakes.
pub(super) fn remote(cx: &Context<'_>, raw: &CacheRaw) -> Option<CacheRemote> {
    let (section, scope) = (Spot::top("cache"), cx.scope(None, &[]));
    let Some(written) = &raw.remote else {
        if raw.trust_remote.is_some() {
            cx.report(SpecError::TrustWithoutRemote { at: cx.map.key_at(&section.key("trust_remote")) });
        }
        return None;
    };
    let spot = section.key("remote");
    let trusted = raw.trust_remote.unwrap_or(false);
    let (url, mode, token_ref) = match written {
        RemoteRaw::Url(text) => (read_url(cx, &spot, text), None, None),
        RemoteRaw::Table(table) => (read_url(cx, &spot.key("url"), &table.url), table.mode, table.token_ref.as_ref()),
    };
    let token_ref = match token_ref {
        None => None,
        Some(text) => {
            let name = cx.text(&scope, &spot.key("token_ref"), text)?;
            if !names::is_env_name(&name) {
                cx.report(SpecError::TokenRef { at: cx.map.at(&spot.key("token_ref")) });
                return None;
            }
            Some(name)
        }
    };
    let mode = match mode {
        Some(RemoteMode::ReadOnly) => CacheMode::ReadOnly,
        Some(RemoteMode::ReadWrite) | None => CacheMode::ReadWrite,
    };
    let remote = CacheRemote { url: url?, mode, token_ref, trusted };
    if remote.token_ref.is_some() && remote.url.starts_with("http://") && !remote.is_loopback() {
        let (at, url_at) = (cx.map.at(&spot.key("token_ref")), cx.map.at(&spot.key("url")));
        cx.report(SpecError::TokenInClear { at, url_at });
        return None;
    }
    Some(remote)
}

fn read_url(cx: &Context<'_>, spot: &Spot<'_>, text: &str) -> Option<Box<str>> {
    let read = cx.text(&cx.scope(None, &[]), spot, text)?;
    match url::checked(&read) {
        Ok(url) => Some(url),
        Err(bad) => {
            cx.report(SpecError::Url { at: cx.inside(spot, text, &bad.at), why: bad.why });
            None
        }
    }
}
