//! From whom results are taken, and to whom they are given.

// An address is only a number; it is a socket that does something.
use core::net::IpAddr;

/// A cache that is shared with others over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRemote {
    /// `http` or `https`, without user, query, fragment and trailing slash.
    pub url: Box<str>,
    pub mode: CacheMode,
    /// The variable of the caller's environment that holds the token.
    pub token_ref: Option<Box<str>>,
    /// Whether its results are used. Nothing proves yet who made them, so the file has to say so.
    pub trusted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    ReadOnly,
    #[default]
    ReadWrite,
}

impl CacheMode {
    /// As the fleet file writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        }
    }
}

impl CacheRemote {
    #[must_use]
    pub fn reads(&self) -> bool {
        self.trusted
    }

    #[must_use]
    pub fn writes(&self) -> bool {
        self.mode == CacheMode::ReadWrite
    }

    /// What someone who wrote this should know: sentences for warnings.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        match (self.reads(), self.writes()) {
            (true, _) => {}
            (false, true) => remarks.push(
                "results are uploaded to the shared cache but none are taken from it; `trust_remote = true` in `[cache]` \
                 takes them"
                    .to_owned(),
            ),
            (false, false) => remarks.push(
                "the shared cache is not used: it is read-only, and its results are taken only with \
                 `trust_remote = true` in `[cache]`"
                    .to_owned(),
            ),
        }
        if self.url.starts_with("http://") && !self.is_loopback() {
            remarks.push(
                "the shared cache is reached without TLS: whoever is on the way can read and replace results; use \
                 `https://`"
                    .to_owned(),
            );
        }
        remarks
    }

    /// Whether it is on this machine, where nobody is on the way.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(host(&self.url))
    }
}

/// The host of a URL that was checked; brackets of an IPv6 address included.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rfind(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Names are not resolved: what a resolver says of `localhost` is this machine by standard, of any other name it is not.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str, mode: CacheMode, trusted: bool) -> CacheRemote {
        CacheRemote { url: url.into(), mode, token_ref: None, trusted }
    }

    #[test]
    fn this_machine_is_known_by_name_and_by_number() {
        for url in ["http://localhost:80", "http://127.0.0.1/x", "http://127.9.9.9:1", "http://[::1]:8080/cache"] {
            assert!(remote(url, CacheMode::ReadWrite, true).is_loopback(), "{url}");
        }
        for url in ["http://localhost.evil.example", "http://10.0.0.1", "http://127.0.0.1.example", "http://[::2]"] {
            assert!(!remote(url, CacheMode::ReadWrite, true).is_loopback(), "{url}");
        }
    }

    #[test]
    fn a_cache_that_is_not_taken_from_is_remarked_on() {
        use CacheMode::{ReadOnly, ReadWrite};
        let says = |url, mode, trusted| remote(url, mode, trusted).remarks().join("\n");
        assert_eq!(says("https://c.example", ReadWrite, true), "");
        assert_eq!(says("http://127.0.0.1", ReadOnly, true), "");
        assert!(says("https://c.example", ReadWrite, false).contains("none are taken from it"));
        assert!(says("https://c.example", ReadOnly, false).contains("is not used"));
        assert!(says("http://c.example", ReadOnly, true).contains("without TLS"));
    }
}
