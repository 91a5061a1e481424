//! The URL of a server: scheme, host, port and path, and nothing else.

use std::net::Ipv6Addr;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlMistake {
    /// Neither `http://` nor `https://`.
    Scheme,
    Host,
    Port,
    /// `user:password@`
    UserInfo,
    /// `?…` or `#…`
    Query,
    /// A character that no URL has.
    Character,
}

/// A mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadUrl {
    pub(super) at: Range<usize>,
    pub(super) why: UrlMistake,
}

/// The URL without slashes at its end.
pub(super) fn checked(text: &str) -> Result<Box<str>, BadUrl> {
    let refuse = |at: Range<usize>, why| Err(BadUrl { at, why });
    let Some(start) =
        ["https://", "http://"].iter().find_map(|scheme| text.starts_with(scheme).then_some(scheme.len()))
    else {
        let end = text.find("://").map_or(text.len(), |n| n + 3);
        return refuse(0..end, UrlMistake::Scheme);
    };
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |n| start + n);
    // First, so that no other message shows a part of it.
    if let Some(at) = text[start..end].rfind('@') {
        return refuse(start..start + at + 1, UrlMistake::UserInfo);
    }
    let wrong = |c: char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    if let Some((n, c)) = text.char_indices().find(|(_, c)| wrong(*c)) {
        return refuse(n..n + c.len_utf8(), UrlMistake::Character);
    }
    if let Some(n) = text.find(['?', '#']) {
        return refuse(n..text.len(), UrlMistake::Query);
    }
    let authority = &text[start..end];
    let host_end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if !is_host(host) {
        return refuse(start..start + host_end.max(1).min(text.len() - start), UrlMistake::Host);
    }
    let number = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0);
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(number) {
        return refuse(start + host_end..end, UrlMistake::Port);
    }
    Ok(text.trim_end_matches('/').into())
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let part = |part: &str| {
        let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        !part.is_empty() && plain && !part.starts_with('-')
    };
    host.len() <= 253 && host.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_one_spelling() {
        for (text, url) in [
            ("https://cache.example", "https://cache.example"),
            ("https://cache.example/", "https://cache.example"),
            ("http://127.0.0.1:8080/team/a//", "http://127.0.0.1:8080/team/a"),
            ("https://[::1]:443/x", "https://[::1]:443/x"),
            ("https://build_cache/a%20b", "https://build_cache/a%20b"),
        ] {
            assert_eq!(checked(text).as_deref(), Ok(url));
        }
    }

    #[test]
    fn a_mistake_is_found_where_it_is() {
        for (text, part, why) in [
            ("", "", UrlMistake::Scheme),
            ("cache.example", "cache.example", UrlMistake::Scheme),
            ("ftp://cache.example", "ftp://", UrlMistake::Scheme),
            ("HTTPS://cache.example", "HTTPS://", UrlMistake::Scheme),
            ("https://", "", UrlMistake::Host),
            ("https:///x", "/", UrlMistake::Host),
            ("https://a..b/x", "a..b", UrlMistake::Host),
            ("https://-a", "-a", UrlMistake::Host),
            ("https://[::g]/", "[::g]", UrlMistake::Host),
            ("https://a:0", ":0", UrlMistake::Port),
            ("https://a:65536/x", ":65536", UrlMistake::Port),
            ("https://a:+1/x", ":+1", UrlMistake::Port),
            ("https://[::1]x/", "x", UrlMistake::Port),
            ("https://me:pa ss@a/x", "me:pa ss@", UrlMistake::UserInfo),
            ("https://token@a", "token@", UrlMistake::UserInfo),
            ("https://a/x?token=1", "?token=1", UrlMistake::Query),
            ("https://a#x", "#x", UrlMistake::Query),
            ("https://a b", " ", UrlMistake::Character),
            ("https://grüße.example", "ü", UrlMistake::Character),
            ("https://a\n", "\n", UrlMistake::Character),
        ] {
            let bad = checked(text).unwrap_err();
            assert_eq!((&text[bad.at], bad.why), (part, why), "{text}");
        }
    }

    /// Whatever passes here is a URI to the client as well, with the same host.
    #[test]
    fn the_client_reads_it_alike() {
        for text in ["https://cache.example", "http://127.0.0.1:8080/team", "https://[::1]:443/x", "https://a_b/%20~"] {
            let uri: ureq::http::Uri = checked(text).unwrap().parse().unwrap();
            assert!(text.contains(uri.host().unwrap()) && uri.authority().unwrap().as_str().find('@').is_none());
        }
    }
}
