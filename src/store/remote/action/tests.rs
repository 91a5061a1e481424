use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn output(path: &str, bytes: &[u8], mode: Option<u32>, kind: EntryKind) -> OutputRef {
    let (digest, size_bytes) = (Digest::of(bytes), bytes.len() as u64);
    OutputRef { path: path.into(), digest, size_bytes, mode: mode.map(Mode::of), kind }
}

fn key() -> Digest {
    Digest::of(b"what is done")
}

fn entry() -> RemoteEntry {
    let artifact = ArtifactRef {
        kind: "log".into(),
        path: "out/log".into(),
        checksum: Some(Digest::of(b"log")),
        mime_type: Some("text/plain".into()),
        size_bytes: Some(3),
    };
    RemoteEntry {
        outputs: vec![
            output("bin/app", b"\x7fELF", Some(0o4755), EntryKind::File),
            output("bin/link", b"app", None, EntryKind::Symlink),
            output("empty", b"", Some(0o750), EntryKind::Directory),
            output("grüße.txt", b"", Some(0o640), EntryKind::File),
            output("of no mode", b"x", None, EntryKind::File),
        ],
        artifacts: vec![artifact],
        extra: Extra {
            task: "build".into(),
            run_id: "20261120-a".into(),
            journal_seq: 42,
            attempt: 2,
            exit_code: Some(0),
            score: Some(Score { value: 0.1, max: Some(1.0), notes: None }),
            fleet_version: "0.1.0".into(),
        },
    }
}

fn encoded(entry: &RemoteEntry) -> Vec<u8> {
    encode(entry, &key(), |digest| (*digest == Digest::of(b"app")).then(|| "app".to_owned())).expect("links are there")
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(decode(&encoded(&entry()), &key()), Ok(entry()));
    let bare = RemoteEntry { outputs: Vec::new(), artifacts: Vec::new(), extra: Extra::default() };
    assert_eq!(decode(&encoded(&bare), &key()), Ok(bare));
    let mut failed = entry();
    failed.extra.exit_code = Some(-1);
    assert_eq!(decode(&encoded(&failed), &key()), Ok(failed));
}

/// A link whose text is lost cannot be told to anyone.
#[test]
fn a_link_needs_its_text() {
    assert_eq!(encode(&entry(), &key(), |_| None), None);
}

/// The bytes, field by field, as `protoc --decode build.bazel.remote.execution.v2.ActionResult` takes them.
#[test]
fn the_bytes_are_those_of_the_api() {
    let mut one = entry();
    one.outputs =
        vec![output("a", b"abc", Some(0o755), EntryKind::File), output("l", b"app", None, EntryKind::Symlink)];
    one.artifacts = Vec::new();
    one.extra.exit_code = Some(3);
    let bytes = encoded(&one);
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let file = [
        &b"\x0a\x01a"[..],   // path
        b"\x12\x44\x0a\x40", // digest { hash
        hex.as_bytes(),
        b"\x10\x03",                     // size_bytes }
        b"\x20\x01",                     // is_executable
        b"\x3a\x05\x1a\x03\x08\xed\x03", // node_properties { unix_mode { 0o755 } }
    ]
    .concat();
    let begin = [&[0x12, u8::try_from(file.len()).unwrap()][..], &file, b"\x20\x03\x4a"].concat();
    assert!(bytes.starts_with(&begin), "{bytes:x?}\n{begin:x?}");
    assert!(bytes.ends_with(b"\x62\x08\x0a\x01l\x12\x03app"), "{bytes:x?}");
}

/// Changes the JSON and reads it again.
fn with_extra(change: impl FnOnce(&mut serde_json::Value)) -> Result<RemoteEntry, BadAction> {
    let bytes = encoded(&entry());
    let mut outside = Message::default();
    for field in Fields(&bytes) {
        match field.unwrap() {
            (number::EXECUTION_METADATA, value) => {
                let mut extra = serde_json::from_slice(read_extra(value).unwrap().unwrap()).unwrap();
                let (mut any, mut metadata) = (Message::default(), Message::default());
                any.text(number::ANY_TYPE, EXTRA_TYPE);
                change(&mut extra);
                any.bytes(number::ANY_VALUE, extra.to_string().as_bytes());
                metadata.message(number::AUXILIARY, &any);
                outside.message(number::EXECUTION_METADATA, &metadata);
                break;
            }
            (field, Value::Bytes(bytes)) => outside.bytes(field, bytes),
            _ => {}
        }
    }
    decode(&outside.0, &key())
}

#[test]
fn an_entry_counts_only_for_its_fingerprint_and_as_a_pass() {
    assert!(with_extra(|_| {}).is_ok());
    assert_eq!(decode(&encoded(&entry()), &Digest::of(b"something else")), Err(BadAction::OtherFingerprint));
    assert_eq!(with_extra(|extra| extra["result"] = "partial".into()), Err(BadAction::NotAPass));
    assert!(matches!(with_extra(|extra| extra["v"] = 2.into()), Err(BadAction::Extra(_))));
    assert!(matches!(with_extra(|extra| extra["seq"] = "x".into()), Err(BadAction::Extra(_))));
    // What a later version may add.
    assert!(with_extra(|extra| extra["more"] = 2.into()).is_ok());
}

#[test]
fn an_entry_of_another_writer_is_none() {
    let mut action = Message::default();
    action.number(number::EXIT_CODE, 0);
    action.message(number::OUTPUT_FILES, &file(&output("a", b"abc", None, EntryKind::File)));
    assert_eq!(decode(&action.0, &key()), Err(BadAction::Foreign));
    assert_eq!(decode(b"", &key()), Err(BadAction::Foreign));
    assert!(matches!(decode(b"<html>", &key()), Err(BadAction::Malformed(_))));
    action.message(number::OUTPUT_DIRECTORIES, &Message::default());
    assert_eq!(decode(&action.0, &key()), Err(BadAction::Tree));
}

#[test]
fn unknown_fields_are_passed_over() {
    let mut bytes = encoded(&entry());
    let mut more = Message::default();
    more.number(1000, 7);
    more.text(999, "later");
    bytes.extend_from_slice(&more.0);
    bytes.extend_from_slice(b"\x0d\x01\x02\x03\x04");
    assert_eq!(decode(&bytes, &key()), Ok(entry()));
}

#[test]
fn no_path_leaves_the_workspace() {
    let long = "x".repeat(PATH_BYTES_MAX + 1);
    for path in ["", "/etc/passwd", "../x", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\0b", &long] {
        let mut bad = entry();
        bad.outputs[0].path = path.into();
        assert_eq!(decode(&encoded(&bad), &key()), Err(BadAction::Path), "{path}");
        let mut bad = entry();
        bad.outputs[1].path = path.into();
        assert_eq!(decode(&encoded(&bad), &key()), Err(BadAction::Path), "{path}");
        assert_eq!(with_extra(|extra| extra["folders"][0]["path"] = path.into()), Err(BadAction::Path), "{path}");
        assert_eq!(with_extra(|extra| extra["artifacts"][0]["path"] = path.into()), Err(BadAction::Path), "{path}");
    }
    for path in ["..a", "a..", "...", "-", " ", "a/b c/ü", "\u{202e}x"] {
        assert_eq!(workspace_path(path), Ok(path));
    }
}

#[test]
fn every_path_has_one_meaning() {
    for (one, other, fine) in [
        ("a", "a", false),
        ("a", "a/b", false),
        ("a/b/c", "a/b", false),
        ("a", "a-b", true),
        ("a", "ab", true),
        ("a/b", "a/c", true),
    ] {
        // The third lies between the two where paths are sorted by their bytes.
        let paths = [one, "a-z", other].map(|path| output(path, b"", None, EntryKind::File));
        assert_eq!(each_in_its_own_place(&paths).is_ok(), fine, "{one} {other}");
    }
}

#[test]
fn sizes_are_bounded() {
    for size in [BLOB_BYTES_MAX + 1, u64::MAX] {
        let mut bad = entry();
        bad.outputs[0].size_bytes = size;
        assert_eq!(decode(&encoded(&bad), &key()), Err(BadAction::Size));
        assert_eq!(with_extra(|extra| extra["artifacts"][0]["size_bytes"] = size.into()), Err(BadAction::Size));
    }
    let no_size = with_extra(|extra| extra["artifacts"][0]["size_bytes"] = serde_json::Value::Null);
    assert_eq!(no_size, Err(BadAction::Size));
}

/// Writers that give no mode still say who may execute.
#[test]
fn a_program_stays_one() {
    let mut message = file(&output("a", b"abc", None, EntryKind::File));
    message.number(number::FILE_IS_EXECUTABLE, 1);
    let read = read_file(Value::Bytes(&message.0)).unwrap();
    assert_eq!(read.mode, Some(Mode::of(0o755)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes, &key()).is_err());
    }

    /// A changed entry is refused, or is another entry of the same kind: its paths stay where they must.
    #[test]
    fn changed_bytes_are_refused_or_stay_within_bounds(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = encoded(&entry());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(read) = decode(&bytes, &key()) {
            for output in &read.outputs {
                prop_assert!(workspace_path(&output.path).is_ok() && output.size_bytes <= BLOB_BYTES_MAX);
            }
        }
    }

    #[test]
    fn any_entry_comes_back(files in proptest::collection::btree_map("[a-zü]{1,3}(/[a-z.-]{3}x){0,2}", (any::<Vec<u8>>(), 0..=0o7777_u32, 0..3), 0..12)) {
        let mut entry = RemoteEntry { outputs: Vec::new(), artifacts: Vec::new(), extra: Extra::default() };
        let mut links = HashMap::new();
        for (n, (path, (bytes, mode, kind))) in files.into_iter().enumerate() {
            let path = format!("{n}{path}");
            entry.outputs.push(match kind {
                0 => output(&path, &bytes, Some(mode), EntryKind::File),
                1 => output(&path, b"", Some(mode), EntryKind::Directory),
                _ => {
                    let text = format!("to/{n}");
                    links.insert(Digest::of(text.as_bytes()), text.clone());
                    output(&path, text.as_bytes(), None, EntryKind::Symlink)
                }
            });
        }
        entry.outputs.sort_by(|a, b| a.path.cmp(&b.path));
        let bytes = encode(&entry, &key(), |digest| links.get(digest).cloned()).unwrap();
        prop_assert_eq!(decode(&bytes, &key()), Ok(entry));
    }
}
