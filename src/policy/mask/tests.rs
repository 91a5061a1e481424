use proptest::prelude::*;

use super::*;

fn masks(value: &str) -> Masks {
    Masks::new([("KEY", value)])
}

fn in_pieces(masks: &Masks, text: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut masker, mut out, mut rest) = (Masker::default(), Vec::new(), text);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).clamp(1, rest.len()));
        out.extend_from_slice(masker.push(masks, piece));
        rest = behind;
    }
    out.extend_from_slice(masker.finish(masks));
    out
}

/// Encoders written once more, the other way.
fn encodings(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let mut all = vec![value.to_owned()];
    all.push(bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat());
    all.push(bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().concat());
    all.push(bytes.iter().map(|b| format!("%{b:02X}")).collect::<Vec<_>>().concat());
    all.push(bytes.iter().map(|b| format!("%{b:02x}")).collect::<Vec<_>>().concat());
    let reserved = |b: u8| !(b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    let percent = |space: &str, b: u8| match b {
        b' ' => space.to_owned(),
        b if reserved(b) => format!("%{b:02X}"),
        b => char::from(b).to_string(),
    };
    all.push(bytes.iter().map(|b| percent("%20", *b)).collect());
    all.push(bytes.iter().map(|b| percent("+", *b)).collect());
    let json = serde_json::to_string(value).unwrap();
    all.push(json[1..json.len() - 1].to_owned());
    all.push(json[1..json.len() - 1].replace('/', "\\/"));
    all.push(value.split('\'').collect::<Vec<_>>().join("'\"'\"'"));
    if !value.contains('\n') {
        let plain = |c: char| c.is_alphanumeric() || !c.is_ascii() || "%+-./:=@_~#".contains(c);
        all.push(value.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\{c}") }).collect());
    }
    all.push(value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat());
    all.push(value.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<Vec<_>>().concat());
    all
}

fn base64_bits(bytes: &[u8], alphabet: &[u8], pad: bool) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    let mut out = String::new();
    for six in bits.chunks(6) {
        let value = six.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit)) << (6 - six.len());
        out.push(char::from(alphabet[value]));
    }
    while pad && !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

const STANDARD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// With a line break behind every `width` characters.
fn wrapped(text: &str, width: usize, line_break: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(width).map(|line| line.iter().collect::<String>()).collect::<Vec<_>>().join(line_break)
}

fn bare(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|b| !matcher::is_break(*b)).collect()
}

fn holds(text: &[u8], form: &str) -> bool {
    memchr::memmem::find(&bare(text), &bare(form.as_bytes())).is_some()
}

fn values() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9+/_=-]{6,60}",
        "[ -~]{6,40}",
        "[a-c]{6,14}",
        "[ -~é€😀\\n\"/&<]{8,40}".prop_filter("long enough", |v| check(v).is_ok()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn no_form_survives(
        value in values(), before in "[ -~\\n]{0,30}", after in "[ -~\\n]{0,30}",
        width in 1_usize..80, crlf: bool, sizes in prop::collection::vec(1_usize..40, 1..6),
    ) {
        let masks = masks(&value);
        for form in encodings(&value) {
            let line_break = if crlf { "\r\n" } else { "\n" };
            for text in [form.clone(), wrapped(&form, width, line_break)] {
                let whole = format!("{before}{text}{after}");
                let masked = in_pieces(&masks, whole.as_bytes(), &sizes);
                prop_assert!(!holds(&masked, &form), "{:?} in {:?}", form, String::from_utf8_lossy(&masked));
                prop_assert_eq!(masks.find(&masked), None);
                let masked = masks.text(&whole);
                prop_assert_eq!(masks.find(masked.as_bytes()), None);
            }
        }
    }

    #[test]
    fn no_base64_survives_wherever_the_value_stands(
        value in values(), before in prop::collection::vec(any::<u8>(), 0..8), after in prop::collection::vec(any::<u8>(), 0..8),
        width in 1_usize..80, sizes in prop::collection::vec(1_usize..40, 1..6), pad: bool,
    ) {
        let masks = masks(&value);
        let whole = [&before[..], value.as_bytes(), &after[..]].concat();
        for alphabet in [STANDARD, URL] {
            let text = wrapped(&base64_bits(&whole, alphabet, pad), width, "\n");
            let masked = in_pieces(&masks, text.as_bytes(), &sizes);
            // The characters that the value alone decides.
            let (from, to) = ((before.len() * 8).div_ceil(6), (before.len() + value.len()) * 8 / 6);
            let form = &base64_bits(&whole, alphabet, false)[from..to];
            prop_assert!(!holds(&masked, form), "{form} in {:?}", String::from_utf8_lossy(&masked));
        }
    }

    #[test]
    fn text_without_a_value_is_left_as_it_is(
        value in "[A-Z]{12,20}", text in "[ -@a-z\\n\\r]{0,300}", sizes in prop::collection::vec(1_usize..40, 1..6),
    ) {
        let masks = masks(&value);
        prop_assert_eq!(in_pieces(&masks, text.as_bytes(), &sizes), text.as_bytes());
        prop_assert!(matches!(masks.text(&text), Cow::Borrowed(_)));
    }

    #[test]
    fn pieces_make_no_difference(
        value in "[ab\\n]{8,14}".prop_filter("long enough", |v| check(v).is_ok()), other in "[abc]{6,9}",
        text in "[abc\\n]{0,200}", sizes in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let masks = Masks::new([("A", value.as_str()), ("B", other.as_str())]);
        let whole = in_pieces(&masks, text.as_bytes(), &[usize::MAX]);
        let pieces = in_pieces(&masks, text.as_bytes(), &sizes);
        // Values that touch may share a mark or have one each; nothing else may differ.
        let one = |bytes: &[u8]| {
            let mut text = String::from_utf8(bare(bytes)).unwrap();
            for mark in ["[secret A]", "[secret B]"] {
                text = text.replace(mark, "#");
            }
            while text.contains("##") {
                text = text.replace("##", "#");
            }
            text
        };
        prop_assert_eq!(one(&whole), one(&pieces));
    }
}

#[test]
fn a_value_gives_way_to_its_key() {
    let masks = Masks::new([("TOKEN", "hunter2-canary"), ("OTHER", "s3cr3t/value")]);
    for (text, masked) in [
        ("a hunter2-canary b", "a [secret TOKEN] b"),
        ("hunter2-\ncanary", "[secret TOKEN]"),
        ("hunter2-canaryhunter2-canary", "[secret TOKEN][secret TOKEN]"),
        ("x=s3cr3t%2Fvalue&", "x=[secret OTHER]&"),
        ("x=s3cr3t%2fvalue&", "x=[secret OTHER]&"),
        (r#""s3cr3t\/value""#, r#""[secret OTHER]""#),
        ("aHVudGVyMi1jYW5hcnk=", "[secret TOKEN]"),
        ("aHVudGVyMi1jYW5hcnkK", "[secret TOKEN]"),
        ("68756e746572322d63616e617279", "[secret TOKEN]"),
        ("hunter2-canar", "hunter2-canar"),
    ] {
        assert_eq!(masks.text(text), masked);
    }
}

#[test]
fn words_of_shells_are_found() {
    // What dash and bash, Python's `shlex` and Ruby's `shellwords` print; outer quotes are theirs.
    for (value, words) in [
        (
            "it's-a-horse battery",
            &[
                r#"'it'"'"'s-a-horse battery'"#,
                r"'it'\''s-a-horse battery'",
                r"it\'s-a-horse\ battery",
                r#""it's-a-horse battery""#,
            ][..],
        ),
        ("''it''s quoted''", &[r#"''"''"'it'"''"'s quoted'"''""#, r#"''"'"''"'"'it'"'"''"'"'s quoted'"'"''"'"''"#]),
        (
            "a~b:~c=~{d,e} $f\"g`h\\i#",
            &[
                "'a~b:~c=~{d,e} $f\"g`h\\i#'",
                r#"a~b:~c=~\{d\,e\}\ \$f\"g\`h\\i#"#,
                r#"a~b:\~c=\~\{d\,e\}\ \$f\"g\`h\\i#"#,
                r#""a~b:~c=~{d,e} \$f\"g\`h\\i#""#,
                r#"a\~b:\~c\=\~\{d,e\}\ \$f\"g\`h\\i\#"#,
            ],
        ),
        ("tab\there 'é'\x1b1m\x01end", &[r"$'tab\there \'é\'\E1m\001end'", r"$'tab\there \'\303\251\'\E1m\001end'"]),
    ] {
        let masks = masks(value);
        for word in words {
            let masked = masks.text(word).into_owned();
            let left = masked.replace("[secret KEY]", "");
            assert!(left.len() <= 4 && left.chars().all(|c| "'\"$\\".contains(c)), "{word}: {masked}");
        }
    }
}

#[test]
fn the_beginning_of_a_value_at_the_end_of_a_cut_text_is_masked() {
    let masks = masks("hunter2-canary-of-some-length");
    for (text, masked) in
        [("17 hunter2-canary-", "17 ***"), ("17 hunter2", "17 ***"), ("17 hunte", "17 hunte"), ("17 sleep", "17 sleep")]
    {
        assert_eq!(masks.cut_text(text), masked);
    }
}

#[test]
fn lines_of_a_value_are_values_too() {
    let masks = masks("-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nabc\n-----END KEY-----");
    assert_eq!(masks.text("got MIIEvQIBADANBgkq and abc"), "got [secret KEY] and abc");
    assert_eq!(masks.text("  MIIEvQIBADANBgkq\n  abc"), "  [secret KEY]\n  abc");
}

#[test]
fn only_what_may_become_a_value_is_held_back() {
    let masks = masks("QUICK-brown-fox");
    let mut masker = Masker::default();
    assert_eq!(masker.push(&masks, b"password: "), b"password: ");
    assert_eq!(masker.push(&masks, b"it is QUICK"), b"it is ");
    assert_eq!(masker.push(&masks, b"-brown"), b"");
    assert_eq!(masker.push(&masks, b"-\nfox"), b"[secret KEY]");
    assert_eq!(masker.push(&masks, b"\nQUICK-b"), b"\n");
    assert_eq!(masker.push(&masks, b"lack\n"), b"QUICK-black\n");
    assert_eq!(masker.push(&masks, b"QUICK"), b"");
    assert_eq!(masker.finish(&masks), b"QUICK");
    assert_eq!(masker.finish(&masks), b"");
}

#[test]
fn a_mark_holds_no_value() {
    for value in ["secret", "secret KEY", "[secret KEY]", "<[(***", "KEY]KEY"] {
        let masks = masks(value);
        let masked = masks.text(&format!("{value} {value}{value}")).into_owned();
        assert_eq!(masks.find(masked.as_bytes()), None, "{masked}");
    }
}

#[test]
fn short_values_are_refused() {
    for (value, refused) in [
        ("", Some(Unmaskable::TooShort)),
        ("12345", Some(Unmaskable::TooShort)),
        ("123\n\r45", Some(Unmaskable::TooShort)),
        ("123456", None),
        ("ééé", None),
    ] {
        assert_eq!(check(value).err(), refused, "{value:?}");
    }
    assert_eq!(check(&"x".repeat(VALUE_BYTES_MAX + 1)), Err(Unmaskable::TooLong));
}

#[test]
fn a_value_is_found_across_pieces_of_a_file() {
    let masks = masks("QUICK-brown-fox");
    let mut seeker = Seeker::default();
    assert_eq!(seeker.push(&masks, b"... QUICK-br"), None);
    assert_eq!(seeker.push(&masks, b"own-\r\nfo"), None);
    assert_eq!(seeker.push(&masks, b"x ..."), Some("KEY"));
}

#[test]
fn nothing_of_a_value_is_in_its_debug_form() {
    assert_eq!(format!("{:?}", masks("QUICK-brown-fox")), "[\"KEY\"]");
}
