//! The table held against words as people write them, and against words that try to get past it.

use super::*;
use Trust::{Local, Operator, RemoteVerified, Sandbox};

/// The least trust that takes the words; `None` when none does.
fn least(args: &[&str]) -> Option<Trust> {
    Trust::ALL.into_iter().find(|trust| check(args, *trust).1.is_empty())
}

fn mistakes(args: &[&str], trust: Trust) -> Vec<(usize, String, ArgMistake)> {
    check(args, trust).1.into_iter().map(|bad| (bad.index, bad.flag, bad.why)).collect()
}

#[test]
fn what_a_trust_takes_a_higher_one_takes_too() {
    for (args, from) in [
        (&["--cpus=2"][..], Some(Sandbox)),
        (&["--cpus", "2"], Some(Sandbox)),
        (&["-m512m", "-c", "4", "-m=1g", "--memory-swap=1g"], Some(Sandbox)),
        (&["--pids-limit", "-1"], Some(Sandbox)),
        (&["--read-only", "--init=true", "--cap-drop=ALL", "--user", "0:0", "-u1", "-hbox"], Some(Sandbox)),
        (
            &["--tmpfs", "/tmp:size=64m", "--shm-size=64m", "--ulimit=nofile=64", "--platform=linux/arm64"],
            Some(Sandbox),
        ),
        (&["--network=none", "--net", "none"], Some(Sandbox)),
        (&["--security-opt=no-new-privileges"], Some(Sandbox)),
        (&["--mount", "type=tmpfs,target=/scratch"], Some(Sandbox)),
        (&["--network=bridge"], Some(Local)),
        (&["--net=ci_net-1"], Some(Local)),
        (&["--gpus", "all"], Some(Local)),
        (&["-v", "./data:/data:ro"], Some(Local)),
        (&["-v/ws/data:/data"], Some(Local)),
        (&["--volume=/ws/data:/data:rw,Z"], Some(Local)),
        (&["--mount", "type=bind,source=./data,target=/data,readonly"], Some(Local)),
        (&[], Some(Sandbox)),
    ] {
        assert_eq!(least(args), from, "{args:?}");
        for trust in Trust::ALL {
            assert_eq!(check(args, trust).1.is_empty(), from.is_some_and(|from| trust >= from), "{args:?} at {trust}");
        }
    }
}

#[test]
fn what_reaches_the_host_is_for_operators() {
    for args in [
        &["--privileged"][..],
        &["--privileged=true"],
        &["--network=host"],
        &["--network", "host"],
        &["--net=host"],
        &["--net", "container:other"],
        &["--network=ns:/proc/1/ns/net"],
        &["--network=name=host"],
        &["--network="],
        &["--pid=host"],
        &["--pid", "host"],
        &["--ipc=host"],
        &["--uts=host"],
        &["--userns=host"],
        &["--cgroupns=host"],
        &["--cap-add=SYS_ADMIN"],
        &["--cap-add", "ALL"],
        &["--security-opt=seccomp=unconfined"],
        &["--security-opt", "no-new-privileges:false"],
        &["--device=/dev/kvm"],
        &["--device-cgroup-rule=a *:* rwm"],
        &["--volumes-from", "other"],
        &["--env-file=/etc/shadow"],
        &["--add-host=a:1"],
        &["-e", "A=b"],
        &["-p8080:80", "-P"],
        &["--sysctl=net.x=1"],
        &["--runtime=other"],
        &["--something-new=1"],
        &["-v", "/var/run/docker.sock:/var/run/docker.sock"],
        &["-v", "./docker.sock:/s"],
        &["--mount=type=bind,src=/run/podman/podman.sock,dst=/s"],
        &["-v", "named:/data"],
        &["-v", "/data"],
        &["-v", "~/x:/x"],
        &["-v", "./a:/a:rshared"],
        &["-v", "./a:/a:U"],
        &["-v", "./a:/a:ro:more"],
        &["--mount", "source=named,target=/data"],
        &["--mount", "type=bind,source=./a,source=/etc,target=/data"],
        &["--mount", "type=bind,source=./a,target=/data,bind-propagation=shared"],
        &["--mount", "type=bind,\"source=./a\",target=/data"],
        &["--mount", "type=image,source=x,target=/data"],
        &["--mount", "type=bind,source=etc,target=/data"],
    ] {
        assert_eq!(least(args), Some(Operator), "{args:?}");
        assert!(matches!(check(args, RemoteVerified).1[0].why, ArgMistake::Beyond(Operator)), "{args:?}");
    }
}

#[test]
fn what_no_trust_takes() {
    for (args, flag, why) in [
        (&["--name=x"][..], "--name", ArgMistake::Ours),
        (&["-i"], "-i", ArgMistake::Ours),
        (&["--rm"], "--rm", ArgMistake::Ours),
        (&["-d=true"], "-d", ArgMistake::Ours),
        (&["--label", "a=b"], "--label", ArgMistake::Ours),
        (&["-w", "/"], "-w", ArgMistake::Ours),
        (&["--entrypoint=sh"], "--entrypoint", ArgMistake::Ours),
        (&["--restart=always"], "--restart", ArgMistake::Ours),
        (&["evil/image"], "evil/image", ArgMistake::Stray),
        (&["--"], "--", ArgMistake::Stray),
        (&["-"], "-", ArgMistake::Stray),
        (&[""], "", ArgMistake::Stray),
        (&["--cpus"], "--cpus", ArgMistake::NoValue),
        (&["--cap-add"], "--cap-add", ArgMistake::NoValue),
        (&["-m"], "-m", ArgMistake::NoValue),
        (&["--read-only=yes"], "--read-only", ArgMistake::NotBoolean),
        (&["-x"], "-x", ArgMistake::Unknown),
        (&["-Px"], "-x", ArgMistake::Unknown),
        // Its value could be the name of our image.
        (&["--something-new"], "--something-new", ArgMistake::Unknown),
    ] {
        assert_eq!(mistakes(args, Operator), [(0, flag.to_owned(), why)], "{args:?}");
        assert!(!check(args, Sandbox).1.is_empty(), "{args:?}");
    }
    let both = [(0, "-i".to_owned(), ArgMistake::Ours), (0, "-t".to_owned(), ArgMistake::Ours)];
    assert_eq!(mistakes(&["-it"], Operator), both);
    // The value of a flag is no flag, and what follows a flag without one is none.
    assert_eq!(mistakes(&["--hostname", "--privileged"], Sandbox), []);
    let stray = mistakes(&["--init", "other"], Operator);
    assert_eq!(stray, [(1, "other".to_owned(), ArgMistake::Stray)]);
}

#[test]
fn sources_are_answered_where_they_have_to_lie_in_the_workspace() {
    let args = ["--cpus=1", "-v", "/etc:/etc", "--mount", "type=bind,src=./a,dst=/a"];
    let sources = |trust| {
        let (sources, bad) = check(&args, trust);
        (sources.into_iter().map(|source| (source.index, source.path)).collect::<Vec<_>>(), bad.len())
    };
    let both = vec![(1, "/etc".to_owned()), (3, "./a".to_owned())];
    assert_eq!(sources(Local), (both.clone(), 0));
    assert_eq!(sources(RemoteVerified), (both, 0));
    assert_eq!(sources(Operator), (vec![], 0));
    assert_eq!(sources(Sandbox), (vec![], 2));
}

#[test]
fn no_name_stands_twice_in_the_table() {
    let mut seen = std::collections::BTreeSet::new();
    for name in FLAGS.iter().flat_map(Flag::names) {
        assert!(seen.insert(name.clone()), "{name}");
    }
}

#[test]
fn images_are_names_that_engines_take() {
    let digest = "a".repeat(64);
    for good in [
        "rust".to_owned(),
        "rust:1.85-slim".to_owned(),
        "library/rust".to_owned(),
        "ghcr.io/owner/app_x.y-z:v1".to_owned(),
        "localhost:5000/app".to_owned(),
        "localhost/app:latest".to_owned(),
        format!("rust@sha256:{digest}"),
        format!("reg.example:443/a/b:tag@sha256:{digest}"),
        format!("sha256:{digest}"),
    ] {
        assert_eq!(image(&good), Ok(()), "{good}");
    }
    for (bad, at, why) in [
        ("-v", 0..1, ImageMistake::Dash),
        ("Rust", 0..4, ImageMistake::UpperCase),
        ("a b", 0..3, ImageMistake::Name),
        ("a//b", 2..2, ImageMistake::Name),
        ("rust:", 5..5, ImageMistake::Name),
        ("rust:a:b", 5..8, ImageMistake::Name),
        ("rust@sha256:abc", 5..15, ImageMistake::Digest),
        ("rust@", 5..5, ImageMistake::Digest),
        ("sha256:abc", 0..10, ImageMistake::Digest),
        ("docker://rust", 0..7, ImageMistake::Name),
        ("rust\n", 0..5, ImageMistake::Name),
        ("", 0..0, ImageMistake::Name),
    ] {
        assert_eq!(image(bad), Err(BadImage { at, why }), "{bad:?}");
    }
}
