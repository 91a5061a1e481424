//! Credentials that stand in a fleet file as they are. A file is read by everyone who has the repository, and so is what is
//! printed of it: such a text is a mistake, and no diagnostic shows it, also not as the neighbour of another mistake.
//!
//! Found are forms that their makers gave a mark of its own, keys of PEM, and passwords in URLs. `book/src/guide/secrets.md`
//! lists them. What merely looks random is left alone: a digest or an id is no secret.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::packed::{self, Searcher};

use super::error::{Place, SpecError};
use super::map::SourceMap;
use super::tree::FileId;

/// A kind of credential: what it is called, how it begins, and how long it is from there, if it is one.
struct Form {
    name: &'static str,
    begins: &'static [&'static str],
    length: fn(&str) -> Option<usize>,
}

const FORMS: &[Form] = &[
    Form { name: "an AWS access key id", begins: &["AKIA", "ASIA"], length: aws },
    Form {
        name: "a GitHub token",
        begins: &["ghp_", "gho_", "ghs_", "ghu_", "ghr_"],
        length: |text| token(text, 4, 36, ALNUM),
    },
    Form { name: "a GitHub token", begins: &["github_pat_"], length: |text| token(text, 11, 22, WORD) },
    Form { name: "a GitLab token", begins: &["glpat-"], length: |text| token(text, 6, 20, WORD_OR_DASH) },
    Form {
        name: "a Slack token",
        begins: &["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"],
        length: |text| {
            token(text, 5, 10, WORD_OR_DASH).filter(|end| text[5..*end].contains(|c: char| c.is_ascii_digit()))
        },
    },
    Form { name: "a Stripe key", begins: &["sk_live_", "rk_live_"], length: |text| token(text, 8, 16, ALNUM) },
    Form { name: "an API key", begins: &["sk-"], length: api_key },
    Form { name: "a Google API key", begins: &["AIza"], length: |text| token(text, 4, 35, WORD_OR_DASH) },
    Form { name: "an npm token", begins: &["npm_"], length: |text| token(text, 4, 36, ALNUM) },
    Form {
        name: "a crates.io token",
        begins: &["cio"],
        length: |text| token(text, 3, 32, ALNUM).filter(|end| *end == 35 && is_mixed(&text[3..*end])),
    },
    Form { name: "a PyPI token", begins: &["pypi-"], length: |text| token(text, 5, 50, WORD_OR_DASH) },
    Form { name: "a JSON Web Token", begins: &["eyJ"], length: web_token },
    Form { name: "a private key", begins: &["-----BEGIN "], length: private_key },
];

/// Before a user and a password, plain and as JSON may escape it.
const AUTHORITY: [&str; 2] = ["://", ":\\/\\/"];
const IN_URL: &str = "a password in a URL";

const ALNUM: fn(u8) -> bool = |byte| byte.is_ascii_alphanumeric();
const WORD: fn(u8) -> bool = |byte| byte.is_ascii_alphanumeric() || byte == b'_';
const WORD_OR_DASH: fn(u8) -> bool = |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');

/// One that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub name: &'static str,
    pub at: Range<usize>,
}

/// All of a text, in its order.
pub(super) fn find(text: &str) -> Vec<Literal> {
    let mut found: Vec<Literal> = Vec::new();
    let Some(searcher) = searcher() else { return found };
    let mut from = 0;
    while let Some(hit) = searcher.find_in(text, (from..text.len()).into()) {
        from = hit.start() + 1;
        let literal = match hit.pattern().as_usize().checked_sub(AUTHORITY.len()) {
            None => in_url(text, hit.start(), hit.end()),
            Some(n) => begun(text, hit.start(), n),
        };
        if let Some(literal) = literal {
            from = literal.at.end.max(from);
            found.push(literal);
        }
        while !text.is_char_boundary(from) {
            from += 1;
        }
    }
    found
}

/// Linear and at memory speed, since every fleet file is looked through.
fn searcher() -> Option<Searcher> {
    let begins = FORMS.iter().flat_map(|form| form.begins);
    packed::Config::new().builder().extend(AUTHORITY.iter().chain(begins)).build()
}

/// The `n`th beginning of [`FORMS`].
fn begun(text: &str, start: usize, n: usize) -> Option<Literal> {
    // In the middle of a word it is something else.
    if text[..start].bytes().next_back().is_some_and(|byte| WORD_OR_DASH(byte) && !text[start..].starts_with('-')) {
        return None;
    }
    let form = FORMS.iter().flat_map(|form| form.begins.iter().map(move |_| form)).nth(n)?;
    let length = (form.length)(&text[start..])?;
    Some(Literal { name: form.name, at: start..start + length })
}

/// The text with every credential blotted out, and nothing moved: each byte has one in its place.
pub(super) fn blotted(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for literal in found {
        shown.push_str(&text[from..literal.at.start]);
        for c in text[literal.at.clone()].chars() {
            match c {
                '\n' | '\r' => shown.push(c),
                c => (0..c.len_utf8()).for_each(|_| shown.push('*')),
            }
        }
        from = literal.at.end;
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

/// As mistakes of the files.
pub(super) fn check(map: &SourceMap) -> Vec<SpecError> {
    let mut mistakes = Vec::new();
    for (n, source) in map.sources().iter().enumerate() {
        let Ok(n) = u32::try_from(n) else { break };
        for Literal { name, at } in find(&source.text) {
            mistakes.push(SpecError::LiteralSecret { what: name, at: Place { file: FileId(n), span: at } });
        }
    }
    mistakes
}

/// `skip` bytes, then at least `least` of some characters, and the end of a word.
fn token(text: &str, skip: usize, least: usize, is: fn(u8) -> bool) -> Option<usize> {
    let length = text.bytes().skip(skip).take_while(|byte| is(*byte)).count();
    (length >= least && text[skip..skip + length].bytes().any(ALNUM)).then_some(skip + length)
}

/// Documentation writes `AKIAIOSFODNN7EXAMPLE`.
fn aws(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let id = &text[..length];
    let is = length == 20 && !id.contains(|c: char| c.is_ascii_lowercase()) && !id.ends_with("EXAMPLE");
    is.then_some(length)
}

/// Of several makers. Without a second mark it has to look random, since `sk-` begins words too.
fn api_key(text: &str) -> Option<usize> {
    let rest = &text[3..];
    if ["proj-", "ant-", "svcacct-", "admin-", "or-"].iter().any(|mark| rest.starts_with(mark)) {
        return token(text, 3, 24, WORD_OR_DASH).filter(|end| text[3..*end].contains(|c: char| c.is_ascii_digit()));
    }
    token(text, 3, 32, ALNUM).filter(|end| is_mixed(&text[3..*end]))
}

fn is_mixed(text: &str) -> bool {
    let has = |is: fn(&u8) -> bool| text.as_bytes().iter().any(is);
    has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase)
}

/// Two objects of JSON and a signature.
fn web_token(text: &str) -> Option<usize> {
    let head = token(text, 3, 7, WORD_OR_DASH)?;
    let body = text[head..].strip_prefix(".eyJ").and_then(|body| token(body, 0, 7, WORD_OR_DASH))?;
    let body = head + 4 + body;
    let signature = text[body..].strip_prefix('.').and_then(|rest| token(rest, 0, 10, WORD_OR_DASH))?;
    Some(body + 1 + signature)
}

/// From its first line to its last; the first line alone is no secret.
fn private_key(text: &str) -> Option<usize> {
    /// As much of base64 as stands in no key by chance.
    const LEAST: usize = 40;
    let title = text.strip_prefix("-----BEGIN ")?;
    let end = title.find("-----")?;
    let kind = title[..end].trim_end_matches(" BLOCK");
    if !kind.ends_with("PRIVATE KEY") || !kind.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ')) {
        return None;
    }
    let begun = "-----BEGIN ".len() + end + "-----".len();
    let rest = &text[begun..];
    let closed = rest.find("-----END ").unwrap_or(rest.len());
    let length = if closed < rest.len() {
        let tail = &rest[closed + "-----END ".len()..];
        begun + closed + "-----END ".len() + tail.find("-----").map_or(0, |end| end + "-----".len())
    } else {
        // Without an end, the run of what a key is made of, line breaks and their escapes included.
        let key = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\\ \t\r\n:-,".contains(byte);
        begun + rest.bytes().take_while(key).count()
    };
    let digits = text[begun..length].bytes().filter(u8::is_ascii_alphanumeric).count();
    (digits >= LEAST).then_some(length)
}

/// `scheme://user:password@host`: the password. A reference is none, and a machine's own loopback has no secrets.
fn in_url(text: &str, start: usize, end: usize) -> Option<Literal> {
    if !text[..start].ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let rest = &text[end..];
    let authority =
        &rest[..rest.find(|c: char| c.is_whitespace() || "/?#\"'`<>\\,;|()".contains(c)).unwrap_or(rest.len())];
    let (login, host) = authority.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    let reference = |c: char| matches!(c, '$' | '{' | '}' | '%' | '*');
    let encoded = |text: &str| {
        text.match_indices('%')
            .all(|(at, _)| text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
    };
    let refers = password.contains(|c| reference(c) && (c != '%' || !encoded(password)));
    let name = if let Some(bracketed) = host.strip_prefix('[') {
        bracketed.split(']').next().unwrap_or("")
    } else {
        host.split(':').next().unwrap_or("")
    };
    let loopback = name == "localhost" || name == "::1" || name.starts_with("127.");
    if password.is_empty() || refers || loopback {
        return None;
    }
    let from = end + user.len() + 1;
    Some(Literal { name: IN_URL, at: from..from + password.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken apart, so that no scanner of repositories takes these for real.
    fn credentials() -> Vec<(String, &'static str)> {
        let alnum = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
        vec![
            (format!("AKIA{}", "ABCDEFGH12345678"), "an AWS access key id"),
            (format!("ASIA{}", "ABCDEFGH12345678"), "an AWS access key id"),
            (format!("ghp_{alnum}"), "a GitHub token"),
            (format!("ghs_{alnum}"), "a GitHub token"),
            (format!("github_pat_{alnum}_{alnum}"), "a GitHub token"),
            (format!("glpat-{}", "x1Y2-z3_4567890abcde"), "a GitLab token"),
            (format!("xoxb-{}", "123456789012-abcdefABCDEF"), "a Slack token"),
            (format!("sk_live_{}", "abcdefgh12345678"), "a Stripe key"),
            (format!("sk-{alnum}"), "an API key"),
            (format!("sk-ant-api03-{alnum}"), "an API key"),
            (format!("sk-proj-{alnum}"), "an API key"),
            (format!("AIza{}", &alnum[..35]), "a Google API key"),
            (format!("npm_{alnum}"), "an npm token"),
            (format!("cio{}", &alnum[..32]), "a crates.io token"),
            (format!("pypi-AgEIcHlwaS5vcmc{alnum}"), "a PyPI token"),
            (format!("eyJhbGciOiJI.eyJzdWIiOiIx.{alnum}"), "a JSON Web Token"),
            (
                format!("-----BEGIN RSA PRIVATE KEY-----\n{alnum}{alnum}\n-----END RSA PRIVATE KEY-----"),
                "a private key",
            ),
            (format!("-----BEGIN OPENSSH PRIVATE KEY-----\\n{alnum}{alnum}"), "a private key"),
        ]
    }

    #[test]
    fn credentials_are_found_and_blotted_out() {
        for (text, name) in credentials() {
            for whole in [text.clone(), format!("run = \"x --token={text}\"\nnext"), format!("'{text}'")] {
                let found = find(&whole);
                assert_eq!(found.len(), 1, "{whole}");
                assert_eq!((found[0].name, &whole[found[0].at.clone()]), (name, &*text), "{whole}");
                let shown = blotted(&whole);
                assert_eq!(shown.len(), whole.len());
                assert!(!shown.contains(&text[4..]), "{shown}");
                assert_eq!(shown.lines().count(), whole.lines().count());
            }
        }
    }

    #[test]
    fn passwords_in_urls_are_found() {
        for (text, password) in [
            ("https://me:hunter2@host.example/x", "hunter2"),
            ("postgres://app:p%40ss@db:5432/app", "p%40ss"),
            ("\"redis://:s3cret@10.0.0.1\"", "s3cret"),
            ("https:\\/\\/me:grüße@host.example", "grüße"),
        ] {
            let found = find(text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(&text[found[0].at.clone()], password);
            assert_eq!(blotted(text).len(), text.len());
        }
    }

    #[test]
    fn other_texts_are_left_alone() {
        let alnum = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
        for text in [
            "AKIAIOSFODNN7EXAMPLE",
            "xAKIAABCDEFGH12345678",
            "AKIAABCDEFGH123456789",
            "ghp_short",
            "sk-learn-integration-tests-2024-with-a-long-name",
            "sk-abcdefghijklmnopqrstuvwxyzabcdefgh",
            "a task-1234567890123456789012345678901234",
            "npm_config_cache",
            "ciondemaAAAABBBBCCCCDDDDEEEEFFFF",
            "pypi-publish",
            "eyJ.eyJ",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "grep -r -- '-----BEGIN PRIVATE KEY-----' src",
            "https://host.example:8080/a@b",
            "https://user@host.example",
            "https://me:$TOKEN@host.example",
            "https://me:${vars.token}@host.example",
            "postgres://postgres:postgres@localhost:5432/test",
            "redis://:pw@127.0.0.1 redis://:pw@[::1]:6379",
            "git@github.com:me/repo ssh://git@host.example:22/x",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "say :// and go",
        ] {
            assert_eq!(find(text), [], "{text}");
        }
        assert_eq!(find(&format!("v{alnum}")), []);
    }
}
