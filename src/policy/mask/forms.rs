//! The forms in which a value is looked for. None has a line break, because they do not count.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::VALUE_BYTES_MIN;
use super::matcher::is_break;

/// The forms of a value, and of each of its lines that is long enough to be told from other text.
pub(super) fn of(value: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = Forms::default();
    forms.all(value);
    if value.contains(['\n', '\r']) {
        let lines = value.split(['\n', '\r']).map(str::trim);
        let tells = |line: &&str| line.bytes().filter(|byte| !byte.is_ascii_whitespace()).count() >= VALUE_BYTES_MIN;
        lines.filter(tells).for_each(|line| forms.all(line));
    }
    forms.0
}

#[derive(Default)]
struct Forms(BTreeSet<Vec<u8>>);

impl Forms {
    fn add(&mut self, form: impl Into<Vec<u8>>) {
        let mut form: Vec<u8> = form.into();
        form.retain(|byte| !is_break(*byte));
        if form.len() >= VALUE_BYTES_MIN {
            self.0.insert(form);
        }
    }

    fn all(&mut self, value: &str) {
        self.add(value);
        self.hex(value);
        self.base64(value.as_bytes());
        self.percent(value);
        self.json(value);
        self.xml(value);
        self.shell(value);
        self.add(value.escape_debug().collect::<String>());
    }

    /// As a word that a shell reads again.
    fn shell(&mut self, value: &str) {
        self.add(value.replace('\'', r"'\''"));
        self.add(value.replace('\'', r#"'"'"'"#));
        self.add(quotes_by_the_run(value));
        // In double quotes, as bash lists what is exported.
        self.add(escaped(value, |c, _| matches!(c, '$' | '`' | '"' | '\\')));
        // Without quotes, as `printf %q` has it, of old and of new, and Ruby's Shellwords.
        self.add(escaped(value, |c, _| needs_backslash(c)));
        self.add(escaped(value, |c, before| needs_backslash(c) || (c == '~' && matches!(before, ':' | '='))));
        self.add(escaped(value, |c, _| !c.is_ascii_alphanumeric() && !"_-.,:+/@".contains(c)));
        for ascii in [false, true] {
            self.add(dollar_quoted(value, ascii));
        }
    }

    fn hex(&mut self, value: &str) {
        for upper in [false, true] {
            let mut hex = String::with_capacity(value.len() * 2);
            value.bytes().for_each(|byte| push_hex(&mut hex, byte.into(), 2, upper));
            self.add(hex);
        }
    }

    /// Wherever the value stands in what was encoded: behind none, one or two bytes of a group of three. What shares a
    /// character with other bytes is left out, but for the end of the whole, which the value may be.
    fn base64(&mut self, value: &[u8]) {
        for url in [false, true] {
            for before in 0..3_usize {
                let hidden = if before == 0 { 0 } else { before + 1 };
                for after in [&b""[..], b"\n"] {
                    let whole: Vec<u8> = [&[0; 2][..before], value, after].concat();
                    let encoded = base64(&whole, url);
                    self.add(&encoded[hidden..]);
                    self.add(encoded[hidden..].trim_end_matches('='));
                }
                let certain = (before + value.len()) * 8 / 6;
                self.add(&base64(&[&[0; 2][..before], value].concat(), url)[hidden..certain]);
            }
        }
    }

    /// Encoders differ in what they leave as it is.
    fn percent(&mut self, value: &str) {
        /// Beside letters and digits.
        const KEPT: [&str; 8] = [
            "-._~",
            "-._~/",
            "-._~!'()*",
            "-._~!'()*;,/?:@&=+$#",
            "-._*",
            "-._",
            "-._~!$&'()*+,;=:@",
            "-._~!$&'()*+,;=:@/?",
        ];
        for upper in [true, false] {
            for kept in KEPT.map(Some).into_iter().chain([None]) {
                for plus in [false, true] {
                    let mut encoded = String::with_capacity(value.len() * 3);
                    for byte in value.bytes() {
                        let as_it_is =
                            kept.is_some_and(|kept| byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte));
                        if plus && byte == b' ' {
                            encoded.push('+');
                        } else if as_it_is {
                            encoded.push(char::from(byte));
                        } else {
                            encoded.push('%');
                            push_hex(&mut encoded, byte.into(), 2, upper);
                        }
                    }
                    self.add(encoded);
                }
            }
        }
    }

    /// Of the escapes that JSON knows, encoders choose.
    fn json(&mut self, value: &str) {
        for choice in 0..64_u8 {
            let chosen = |n: u8| choice & (1 << n) != 0;
            let [slash, html, ascii, long, upper, all] = [0, 1, 2, 3, 4, 5].map(chosen);
            let mut escaped = String::with_capacity(value.len() * 2);
            for c in value.chars() {
                let short = match c {
                    '"' => Some('"'),
                    '\\' => Some('\\'),
                    '/' if slash => Some('/'),
                    '\n' if !long => Some('n'),
                    '\r' if !long => Some('r'),
                    '\t' if !long => Some('t'),
                    '\u{8}' if !long => Some('b'),
                    '\u{c}' if !long => Some('f'),
                    _ => None,
                };
                let unit = all
                    || c < ' '
                    || (html && matches!(c, '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}'))
                    || (ascii && (!c.is_ascii() || c == '\u{7f}'));
                match short {
                    Some(short) if !all => escaped.extend(['\\', short]),
                    _ if unit => {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            escaped.push_str("\\u");
                            push_hex(&mut escaped, u32::from(*unit), 4, upper);
                        }
                    }
                    _ => escaped.push(c),
                }
            }
            self.add(escaped);
        }
    }

    /// Reports of tests are often XML.
    fn xml(&mut self, value: &str) {
        let basic = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let double = basic.replace('"', "&quot;");
        for quote in ["&apos;", "&#39;", "&#x27;"] {
            self.add(double.replace('\'', quote));
        }
        self.add(double.replace('"', "&#34;"));
        self.add(basic.replace('"', "&#34;").replace('\'', "&#39;"));
        self.add(value.replace('&', "&amp;").replace('<', "&lt;"));
        self.add(basic);
        self.add(double);
    }
}

/// In single quotes, which end for each run of them in the value: dash, and what is of its kind.
fn quotes_by_the_run(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() * 2);
    let mut rest = value;
    while let Some(at) = rest.find('\'') {
        let (text, behind) = rest.split_at(at);
        rest = behind.trim_start_matches('\'');
        quoted.extend([text, "'\"", &behind[..behind.len() - rest.len()], "\""]);
        // None are opened for what does not follow.
        if !rest.is_empty() {
            quoted.push('\'');
        }
    }
    quoted + rest
}

/// A backslash before each character for which that holds, given the one before.
fn escaped(value: &str, is_escaped: impl Fn(char, char) -> bool) -> String {
    let mut text = String::with_capacity(value.len() * 2);
    let mut before = '\0';
    for c in value.chars() {
        if is_escaped(c, before) {
            text.push('\\');
        }
        text.push(c);
        before = c;
    }
    text
}

/// What means something to bash wherever it stands in a word.
fn needs_backslash(c: char) -> bool {
    c == '\t' || " !\"$&'()*,;<>?[\\]^`{|}".contains(c)
}

/// In `$'…'`, as shells write what cannot be printed.
fn dollar_quoted(value: &str, ascii: bool) -> String {
    let mut text = String::with_capacity(value.len() * 2);
    for c in value.chars() {
        let short = match c {
            '\'' | '\\' => Some(c),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\x07' => Some('a'),
            '\x08' => Some('b'),
            '\x0b' => Some('v'),
            '\x0c' => Some('f'),
            '\x1b' => Some('E'),
            _ => None,
        };
        match short {
            Some(short) => text.extend(['\\', short]),
            None if c.is_ascii_control() || (ascii && !c.is_ascii()) => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Formatting into a String cannot fail.
                    let _ = write!(text, "\\{byte:03o}");
                }
            }
            None => text.push(c),
        }
    }
    text
}

fn push_hex(to: &mut String, number: u32, width: usize, upper: bool) {
    // Formatting into a String cannot fail.
    let _ = if upper { write!(to, "{number:0width$X}") } else { write!(to, "{number:0width$x}") };
}

/// With padding.
fn base64(bytes: &[u8], url: bool) -> String {
    const COMMON: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let last = if url { *b"-_" } else { *b"+/" };
    let digit = |six: u32| {
        let six = six as usize & 63;
        char::from(COMMON.get(six).copied().unwrap_or_else(|| last[six - 62]))
    };
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4_usize {
            encoded.push(if n <= group.len() { digit(bits >> (18 - 6 * n)) } else { '=' });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everyone() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes(), false), encoded);
        }
        assert_eq!((base64(b"\xfb\xff\xfe", false), base64(b"\xfb\xff\xfe", true)), ("+//+".into(), "-__-".into()));
    }

    #[test]
    fn a_plain_value_has_few_forms() {
        let count = of("correct-horse-battery").len();
        assert!(count < 60, "{count}");
    }
}
