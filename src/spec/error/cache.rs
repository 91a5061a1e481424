//! The words of mistakes about the shared cache. No message repeats a value that may be a secret.

use super::super::map::SourceMap;
use super::super::url::UrlMistake;
use super::draft::{Draft, assign, draft};
use super::{Place, SpecError};

impl SpecError {
    pub(super) fn of_cache(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::Url { at, why } => url(map, at, *why),
            Self::TokenRef { at } => {
                draft("fleet::bad_token_ref", "`token_ref` is not the name of a variable").at(at, "not a name").help(
                    "name the variable of the environment that holds the token, such as `CACHE_TOKEN`, not the token",
                )
            }
            Self::TokenInClear { at, url_at } => {
                draft("fleet::token_in_clear", "the token would be sent without encryption")
                    .at(at, "this token")
                    .at(url_at, "to another machine, without TLS")
                    .help("write `https://`, or remove `token_ref`")
            }
            Self::TrustWithoutRemote { at } => {
                draft("fleet::trust_without_remote", "`trust_remote` speaks of a shared cache, and there is none")
                    .at(at, "has no effect")
                    .help(format!(
                        "remove it, or name the cache: {}",
                        assign(map, at, "remote", "https://cache.example")
                    ))
            }
            _ => return None,
        })
    }
}

fn url(map: &SourceMap, at: &Place, why: UrlMistake) -> Draft {
    let bad = |text: &str, label: &str, help: &str| draft("fleet::bad_url", text).at(at, label).help(help);
    match why {
        UrlMistake::Scheme => bad(
            "the URL of the shared cache begins with neither `https://` nor `http://`",
            "no such scheme",
            "write all of it, for example `https://cache.example`",
        ),
        UrlMistake::Host => bad(
            "the URL of the shared cache has no valid host",
            "not a host",
            "write a name of letters, digits, `.` and `-`, an IPv4 address, or an IPv6 address in brackets",
        ),
        UrlMistake::Port => {
            bad("the URL of the shared cache has no valid port", "not a port", "write a number from 1 to 65535")
        }
        UrlMistake::Query => bad(
            "the URL of the shared cache ends in a query or a fragment",
            "nothing can follow this",
            "write the URL above `ac` and `cas`, without `?` and `#`",
        ),
        UrlMistake::Character => bad(
            "the URL of the shared cache has a character that no URL has",
            "not in a URL",
            "write it as `%` and two hex digits, or remove it",
        ),
        UrlMistake::UserInfo => draft("fleet::secret_in_url", "the URL of the shared cache holds a user or a password")
            .at(at, "readable by everyone who has this file")
            .help(format!(
                "remove it, put the token into a variable and name that one: {}",
                assign(map, at, "token_ref", "CACHE_TOKEN")
            )),
    }
}
