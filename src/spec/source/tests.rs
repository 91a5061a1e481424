//! The readers: the same places in three syntaxes, and what is said about broken syntax.

use super::*;
use crate::spec::tree::Value::{self, Bool, Float, Integer, Null, Other, Text};
use crate::spec::tree::{Node, Seg};

fn tree(syntax: Syntax, text: &str) -> Tree {
    parse(FileId(0), syntax, text.as_bytes()).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

/// Each problem as `code: message @ 'first place' 'second place' …`.
fn refused(syntax: Syntax, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let show = |problem: &Problem| {
        let places: Vec<_> = problem
            .labels
            .iter()
            .map(|label| {
                let line = text[..label.span.start].matches('\n').count() + 1;
                format!("{line}:{:?}", &text[label.span.clone()])
            })
            .collect();
        format!("{}: {} @ {}", problem.code.trim_start_matches("fleet::"), problem.message, places.join(" "))
    };
    let problems = parse(FileId(0), syntax, bytes).expect_err("it is broken");
    problems.iter().map(show).collect::<Vec<_>>().join("\n")
}

const SAME: [(Syntax, &str); 3] = [
    (Syntax::Toml, "# ü\r\n[tasks.a]\r\nrun = [\"x\", \"ä\"]\r\nenv.K = 'v'\r\n"),
    (Syntax::Yaml, "# ü\r\ntasks:\r\n  a:\r\n    run:\r\n    - x\r\n    - \"ä\"\r\n    env: {K: 'v'}\r\n"),
    (Syntax::Json, "{\"tasks\": {\"a\":\r\n {\"run\": [\"x\", \"ä\"], \"env\": {\"K\": \"v\"}}}}\r\n"),
];

#[test]
fn keys_and_values_have_exact_places() {
    for (syntax, text) in SAME {
        let tree = tree(syntax, text);
        let path = |keys: &[&str]| keys.iter().map(|key| Seg::key(key)).collect::<Vec<_>>();
        let source = |span: Option<std::ops::Range<usize>>| &text[span.expect("it is there")];
        let bare = |text: &str| text.trim_matches(['"', '\'']).to_owned();
        let k = path(&["tasks", "a", "env", "K"]);
        assert_eq!(bare(source(tree.key_span(&k))), "K", "{syntax:?}");
        assert_eq!(bare(source(tree.value_span(&k))), "v", "{syntax:?}");
        let mut item = path(&["tasks", "a", "run"]);
        assert_eq!(bare(source(tree.key_span(&item))), "run", "{syntax:?}");
        item.push(Seg::Index(1));
        assert_eq!(bare(source(tree.value_span(&item))), "ä", "{syntax:?}");
        assert_eq!(tree.at(&item).unwrap().value(), Value::Text("ä"));
        assert_eq!(tree.at(&item).unwrap().path(), item, "{syntax:?}");
        assert!(tree.at(&path(&["tasks", "b"])).is_none());
        assert_eq!(tree.root().to_json(), self::tree(SAME[0].0, SAME[0].1).root().to_json());
    }
}

#[test]
fn windows_line_ends_are_no_part_of_a_text_of_several_lines() {
    let toml =
        "a = '''\r\none\r\ntwo\r\n'''\r\nb = \"\"\"\r\none\r\ntwo\r\n\"\"\"\r\nc = \"\"\"\r\none\\r\r\ntwo\"\"\"\r\n";
    let yaml = "a: |\r\n  one\r\n  two\r\nb: |\r\n  one\r\n  two\r\nc: \"one\\r\\r\\ntwo\"\r\n";
    for (syntax, text) in [(Syntax::Toml, toml), (Syntax::Yaml, yaml)] {
        let tree = tree(syntax, text);
        let value = |key: &str| tree.root().get(key).unwrap().as_str().unwrap();
        // An escape is meant as it is written.
        assert_eq!([value("a"), value("b"), value("c")], ["one\ntwo\n", "one\ntwo\n", "one\r\r\ntwo"], "{syntax:?}");
    }
}

#[test]
fn a_yaml_block_ends_with_its_last_value() {
    let text = "a:\n  b:\n    - x\n\n# far away\n\nc: 1\n";
    let span = tree(Syntax::Yaml, text).value_span(&["a".into()]).unwrap();
    assert_eq!(&text[span], "b:\n    - x");
}

#[test]
fn large_tables_are_searched_and_their_duplicates_found() {
    let mut text: String = (0..1000).fold("{".to_owned(), |text, i| text + &format!("\"k{i}\": {i}, "));
    let closed = text.clone() + "\"end\": 0}";
    let tree = tree(Syntax::Json, &closed);
    for i in (0..1000).step_by(37) {
        assert_eq!(tree.root().get(&format!("k{i}")).unwrap().value(), Value::Integer(i));
    }
    assert!(tree.root().get("k1000").is_none());
    text += "\n\"k500\": 1}";
    assert_eq!(
        refused(Syntax::Json, text.as_bytes()),
        "duplicate_key: `k500` is there twice @ 2:\"\\\"k500\\\"\" 1:\"\\\"k500\\\"\""
    );
}

#[test]
fn duplicate_keys_show_both_places() {
    let twice = "duplicate_key: `a` is there twice @";
    for (syntax, text, places) in [
        (Syntax::Toml, "a = 1\nb = 2\na = 3\n", "3:\"a\" 1:\"a\""),
        (Syntax::Toml, "[t.a]\nx = 1\n[t.b]\na = 2\n[t.a]\ny = 1\n", "5:\"a\" 1:\"a\""),
        (Syntax::Toml, "[t.b]\na = 2\n[t.c]\na = 1\nx = { a = 0 }\na = 3\n", "6:\"a\" 4:\"a\""),
        (Syntax::Toml, "a = 1\nx = { b = 1, a = 2, a = 3 }\n", "2:\"a\" 2:\"a\""),
        (Syntax::Toml, "[x]\nt.a = 1\nt.b = 1\nt.a = 2\n", "4:\"a\" 2:\"a\""),
        (Syntax::Yaml, "a: 1\nb: 2\n\"a\": 3\n", "3:\"\\\"a\\\"\" 1:\"a\""),
        (Syntax::Json, "{\"a\": 1,\n\"\\u0061\": 2}", "2:\"\\\"\\\\u0061\\\"\" 1:\"\\\"a\\\"\""),
    ] {
        assert_eq!(refused(syntax, text.as_bytes()), format!("{twice} {places}"), "{text}");
    }
    assert_eq!(
        refused(Syntax::Toml, b"a = 1\na = 2\n[b]\n[b]\n"),
        "duplicate_key: `a` is there twice @ 2:\"a\" 1:\"a\"\nduplicate_key: `b` is there twice @ 4:\"b\" 3:\"b\""
    );
}

#[test]
fn broken_syntax_is_explained() {
    for (syntax, bytes, says) in [
        (
            Syntax::Yaml,
            &b"a:\n\tb: 1\n"[..],
            "yaml_tab: YAML takes no tabs before the first character of a line @ 2:\"\\t\"",
        ),
        (Syntax::Yaml, b"a: 1\n---\nb: 1\n", "yaml_documents: a fleet file is one YAML document @ 2:\"---\""),
        (
            Syntax::Yaml,
            b"a: &x {b: 1}\nc:\n  <<: *x\n",
            "yaml_merge_key: merge keys are not part of YAML 1.2 and not read @ 3:\"<<\"",
        ),
        (Syntax::Yaml, b"a: !include x\n", "yaml_tag: the tag `!include` is not read @ 1:\"x\""),
        (Syntax::Yaml, b"a: *x\n", "yaml_alias: this alias has no anchor before it @ 1:\"*\""),
        (Syntax::Yaml, b"? [a]\n: 1\n", "yaml_key: a key is plain or quoted text @ 1:\"[\""),
        (Syntax::Json, b"{\"a\": 1,}", "syntax: this is not JSON: trailing commas are not allowed @ 1:\",\""),
        (Syntax::Json, b"{\"a\": 1 // x\n}", "syntax: this is not JSON: comments are not allowed @ 1:\"// x\""),
        (
            Syntax::Toml,
            b"a = b\n",
            "syntax: this is not TOML: string values must be quoted, expected literal string @ 1:\"b\"",
        ),
        (
            Syntax::Toml,
            b"a = 1\nb = \"\xE9\"\n",
            "not_utf8: the file is not UTF-8: byte 11 (line 2) does not start or continue a character @ 2:\"\"",
        ),
    ] {
        assert_eq!(refused(syntax, bytes), says);
    }
    let utf16 = parse(FileId(0), Syntax::Toml, b"\xFF\xFEa\0").unwrap_err();
    assert_eq!(utf16[0].message, "the file is UTF-16, and a fleet file is UTF-8");
}

#[test]
fn a_byte_order_mark_is_skipped_and_offsets_count_from_behind_it() {
    for (syntax, text) in SAME {
        let marked = tree(syntax, &format!("\u{feff}{text}"));
        assert_eq!(marked.value_span(&["tasks".into()]), tree(syntax, text).value_span(&["tasks".into()]));
        assert_eq!(&**marked.text(), text);
    }
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    let text = "[~, null, true, no, 0x1F, 0o17, 017, -3, +4, 1_000, 1.5, .5, 1e3, .inf, 0xZ, 1.2.3, 12e, '1', 2026-11-20, 9223372036854775808]";
    let tree = tree(Syntax::Yaml, text);
    let values: Vec<_> = tree.root().items().map(Node::value).collect();
    assert_eq!(
        values,
        [
            Null,
            Null,
            Bool(true),
            Text("no"),
            Integer(31),
            Integer(15),
            Integer(17),
            Integer(-3),
            Integer(4),
            Text("1_000"),
            Float(1.5),
            Float(0.5),
            Float(1000.0),
            Float(f64::INFINITY),
            Text("0xZ"),
            Text("1.2.3"),
            Text("12e"),
            Text("1"),
            Text("2026-11-20"),
            Other(crate::spec::tree::OUT_OF_RANGE),
        ]
    );
}

#[test]
fn an_empty_file_is_an_empty_table() {
    for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
        for text in ["", "\n", "\u{feff}"] {
            assert_eq!(tree(syntax, text).root().value(), Value::Table, "{syntax:?}");
        }
    }
}

#[test]
fn a_hundred_thousand_small_tables_fit() {
    let text = (0..100_000).fold("[".to_owned(), |text, i| text + &format!("{{\"run\":\"x\",\"needs\":[\"t{i}\"]}},"));
    let tree = tree(Syntax::Json, &format!("{}]", text.trim_end_matches(',')));
    assert!(tree.bytes() < 40 << 20, "{} bytes", tree.bytes());
}

#[test]
fn the_syntax_is_in_the_name() {
    for (name, syntax) in [
        ("fleet.toml", Some(Syntax::Toml)),
        ("a/fleet.toml.example", Some(Syntax::Toml)),
        ("x.yml", Some(Syntax::Yaml)),
        ("x.yaml.example", Some(Syntax::Yaml)),
        ("x.json", Some(Syntax::Json)),
        ("toml", None),
        ("x.example", None),
        ("x.txt", None),
    ] {
        assert_eq!(Syntax::of(Path::new(name)), syntax, "{name}");
    }
}
