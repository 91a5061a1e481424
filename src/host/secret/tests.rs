use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A private folder with a private file.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("secrets");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o700);
    fs::write(folder.join("TOKEN"), "a value of a file\n").unwrap();
    mode(&folder.join("TOKEN"), 0o600);
    (parent, folder)
}

#[test]
fn a_variable_is_taken_as_it_is() {
    let caller = |name: &str| (name == "TOKEN").then(|| "a value \n".into());
    assert_eq!(from_env("TOKEN", caller).unwrap().as_str(), "a value \n");
    assert_eq!(from_env("OTHER", caller).unwrap_err(), "the variable `OTHER` is not set");
    let short = from_env("TOKEN", |_| Some("12345".into())).unwrap_err();
    assert_eq!(short, "the variable `TOKEN` is shorter than 6 bytes, and so short a value cannot be masked");
}

#[test]
fn a_private_file_in_a_private_folder_is_read() {
    let (_parent, folder) = folder();
    assert_eq!(from_file("TOKEN", Some(&folder)).unwrap().as_str(), "a value of a file");
    assert!(from_file("OTHER", Some(&folder)).unwrap_err().contains("cannot be opened"));
    fs::write(folder.join("TOKEN"), "two newlines\n\n").unwrap();
    assert_eq!(from_file("TOKEN", Some(&folder)).unwrap().as_str(), "two newlines\n");
    fs::write(folder.join("TOKEN"), b"not text \xff").unwrap();
    assert!(from_file("TOKEN", Some(&folder)).unwrap_err().ends_with("is not UTF-8"));
    fs::write(folder.join("TOKEN"), "a NUL\0 in it").unwrap();
    assert!(from_file("TOKEN", Some(&folder)).unwrap_err().ends_with("holds a NUL character"));
}

#[test]
fn what_others_may_open_is_refused() {
    for (of_folder, of_file, what) in [
        (0o750, 0o600, "mode 0750"),
        (0o701, 0o600, "mode 0701"),
        (0o700, 0o640, "mode 0640"),
        (0o700, 0o604, "mode 0604"),
    ] {
        let (_parent, folder) = folder();
        mode(&folder.join("TOKEN"), of_file);
        mode(&folder, of_folder);
        let error = from_file("TOKEN", Some(&folder)).unwrap_err();
        assert!(error.contains(what) && !error.contains("a value"), "{error}");
    }
}

#[test]
fn links_and_what_is_no_file_are_refused() {
    let (parent, folder) = folder();
    symlink(folder.join("TOKEN"), folder.join("LINK")).unwrap();
    assert!(from_file("LINK", Some(&folder)).is_err());
    symlink(&folder, parent.path().join("linked")).unwrap();
    assert!(from_file("TOKEN", Some(&parent.path().join("linked"))).is_err());
    fs::create_dir(folder.join("DIR")).unwrap();
    mode(&folder.join("DIR"), 0o700);
    assert!(from_file("DIR", Some(&folder)).unwrap_err().ends_with("is not a regular file"));
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("PIPE"), Mode::RUSR | Mode::WUSR).unwrap();
    assert!(from_file("PIPE", Some(&folder)).unwrap_err().ends_with("is not a regular file"));
}

#[test]
fn the_default_folder_is_that_of_configuration() {
    let of = |vars: &[(&str, &str)]| {
        default_folder(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    };
    assert_eq!(of(&[("HOME", "/h")]), Some("/h/.config/fleet/secrets".into()));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]), Some("/c/fleet/secrets".into()));
    assert_eq!(of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "c")]), Some("/h/.config/fleet/secrets".into()));
    assert_eq!(of(&[]), None);
}

fn ask(script: &str, time: Duration) -> Result<Value, String> {
    let words = ["-c".into(), script.into(), "name".into()];
    asked("TOKEN", "sh", &words, Path::new("/"), &["known-value"], time)
}

#[test]
fn a_program_is_given_the_key_and_prints_the_value() {
    let long = Duration::from_secs(20);
    assert_eq!(
        ask("printf 'value of %s\\n' \"$1\"; read -r x && echo \"$x\"; true", long).unwrap().as_str(),
        "value of TOKEN"
    );
    let failed = ask("echo printed-value; echo known-value printed-value is wrong >&2; exit 3", long).unwrap_err();
    assert!(failed.contains("exit status: 3") && failed.ends_with("is wrong"), "{failed}");
    assert!(!failed.contains("printed-value") && !failed.contains("known-value"), "{failed}");
    assert!(ask("echo short", long).unwrap_err().contains("shorter than 6 bytes"));
    assert!(ask("head -c 100000 /dev/zero | tr '\\0' x", long).unwrap_err().contains("longer than 64 KiB"));
    let missing = asked("TOKEN", "/nowhere/pass", &[], Path::new("/"), &[], long).unwrap_err();
    assert!(missing.contains("cannot be started"), "{missing}");
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let begun = Instant::now();
    for script in ["exec sleep 100", "echo a-value-of-it; exec >&- 2>&-; exec sleep 100"] {
        let late = ask(script, Duration::from_millis(300)).unwrap_err();
        assert!(late.contains("has not ended"), "{late}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_a_program_started_ends_with_it_when_its_time_is_up() {
    let dir = tempfile::tempdir().unwrap();
    let noted = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", noted.display());
    let mut pid = String::new();
    // On a busy machine it may not come to that in the shortest time.
    for time in [300, 3000, 30_000].map(Duration::from_millis) {
        let late = ask(&script, time).unwrap_err();
        assert!(late.contains("has not ended"), "{late}");
        pid = std::fs::read_to_string(&noted).unwrap_or_default();
        if pid.ends_with('\n') {
            break;
        }
    }
    // It was ended, and ends when it gets a processor.
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let begun = Instant::now();
    while !(state().is_empty() || state().contains(") Z ")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", state());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As an agent does that is started on the way.
#[test]
fn a_program_that_has_ended_is_not_waited_for_because_of_what_it_started() {
    let begun = Instant::now();
    let value = ask("sleep 5 & echo a-value-of-it", Duration::from_mins(1)).unwrap();
    assert_eq!((value.as_str(), begun.elapsed() < Duration::from_secs(5)), ("a-value-of-it", true));
}
