//! The words of mistakes about where tasks run and how far that is trusted.

use super::super::container::{ArgMistake, ImageMistake};
use super::super::host::{FarMistake, NameMistake};
use super::super::map::SourceMap;
use super::super::security::GrantMistake;
use super::draft::{Draft, assign, draft};
use super::{Place, SpecError};
use crate::model::Trust;

impl SpecError {
    pub(super) fn of_places(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::SshName { field, at, why } => ssh_name(field, at, *why),
            Self::FarPath { field, at, why } => far_path(field, at, *why),
            Self::Fingerprint { at } => {
                draft("fleet::bad_fingerprint", "`host_key_fingerprint` is not the fingerprint of a key")
                    .at(at, "not `SHA256:` and 43 characters")
                    .help("take it from the machine itself: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`")
            }
            Self::Image { at, why } => image(at, *why),
            Self::ImageByTag { worker, image, engine, trust, at, trust_at } => {
                let draft = draft(
                    "fleet::image_not_pinned",
                    format!("worker `{worker}` has the trust `{trust}`, and its image can be another one tomorrow"),
                )
                .at(at, "a tag, which its owner can move");
                let draft = trusted_here(draft, trust_at.as_ref(), *trust);
                draft.help(format!(
                    "pin it by digest, which `{engine} image inspect --format '{{{{index .RepoDigests 0}}}}' {image}` \
                     prints after a pull, or give the worker the trust `sandbox`"
                ))
            }
            Self::ContainerArg { worker, flag, trust, at, why } => container_arg(worker, flag, *trust, at, *why),
            Self::TwoSlots { at, other } => {
                draft("fleet::slots_twice", "`max_concurrent_tasks` is another name of `slots`")
                    .at(at, "says the same")
                    .at(other, "as this")
                    .help("remove one of the two")
            }
            Self::FieldOfRemote { field, at, host_at } => {
                draft("fleet::field_of_remote", format!("`{field}` means nothing on this machine"))
                    .at(at, "has no effect")
                    .at(host_at, "a local host")
                    .help(if matches!(*field, "lease" | "reconnect") {
                        "remove it: there is no connection that could be lost"
                    } else {
                        "remove it: tasks work in the workspace itself here, unless the worker has the trust `sandbox`"
                    })
            }
            Self::Lease { at, least, most } => draft("fleet::bad_lease", format!("a lease is from {least} to {most}"))
                .at(at, "outside of that")
                .help(format!("write {}; 30s unless said", assign(map, at, "lease", "30s"))),
            Self::TrustOfHost { worker, host, at } => draft(
                "fleet::trust_of_host",
                format!("worker `{worker}` cannot have the trust `remote_verified`: its host is {host}"),
            )
            .at(at, "only for a host of the kind `ssh`")
            .help(if *host == "local" {
                "write `local` or `operator`"
            } else {
                "write `sandbox`, `local` or `operator`"
            }),
            Self::AttemptSize { at } => draft("fleet::bad_limit", "the directory of an attempt takes at least 1MiB")
                .at(at, "no task fits into that")
                .help(format!(
                    "write more, for example {}; 20GiB unless said",
                    assign(map, at, "attempt_size", "5GiB")
                )),
            Self::MemoryLimit { at } => draft("fleet::bad_limit", "a memory limit is at least 1MiB")
                .at(at, "no program starts in that")
                .help(format!("write more, for example {}", assign(map, at, "memory", "512MiB"))),
            Self::PidsLimit { max, at } => draft("fleet::bad_limit", format!("a limit on processes is at most {max}"))
                .at(at, "no kernel counts so many")
                .help("write less, or leave `pids` out: what is not said is not bounded"),
            Self::Grant { at, capability, why } => grant(at, capability, why),
            Self::GrantForNobody { at, scope, near } => {
                draft("fleet::grant_for_nobody", format!("no task is named `{scope}`, so the grant is for nobody"))
                    .at(at, "matches no task")
                    .help_name(near.as_deref(), "write the name of a task, or a glob of names such as `publish:*`")
            }
            _ => return None,
        })
    }
}

fn trusted_here(draft: Draft, at: Option<&Place>, trust: Trust) -> Draft {
    match at {
        Some(at) => draft.at(at, format!("trust `{trust}` by this")),
        None => draft,
    }
}

fn ssh_name(field: &str, at: &Place, why: NameMistake) -> Draft {
    let bad = |message: String, label: &str, help: &str| draft("fleet::bad_ssh_name", message).at(at, label).help(help);
    match why {
        NameMistake::Dash => bad(
            format!("`{field}` begins with `-`"),
            "ssh would take this for an option",
            "write the name; options of ssh belong into its own configuration",
        ),
        NameMistake::At => bad(
            format!("`{field}` holds a user"),
            "a user, or nothing at all, before this",
            "put the user into `user`, and only the machine here",
        ),
        NameMistake::Space => bad(
            format!("`{field}` holds white space or a control character"),
            "no name has this",
            "remove it; what else ssh needs belongs into its own configuration",
        ),
        NameMistake::Character => bad(
            format!("`{field}` holds a character that no such name has"),
            "no name has this",
            "write the name alone: letters, digits, `.`, `_` and `-`",
        ),
    }
}

fn far_path(field: &str, at: &Place, why: FarMistake) -> Draft {
    let (message, label, help) = match why {
        FarMistake::NoHome => {
            ("begins with `~`, and `HOME` is not set", "below no home folder", "write the whole path, or set HOME")
        }
        FarMistake::OthersHome => {
            ("names the home folder of somebody else", "only `~/` is known", "write the whole path")
        }
        FarMistake::Relative => ("is not absolute", "relative to what?", "write the whole path, or begin it with `~/`"),
        FarMistake::NotAbsolute => (
            "is not absolute",
            "where this is, only the other machine knows",
            "write the whole path as it is there, such as `/srv/fleet`",
        ),
        FarMistake::Root => ("is the root of the machine", "no folder of ours", "name a folder, such as `/srv/fleet`"),
        FarMistake::Parent => ("goes up with `..`", "where this leads depends on links", "write the path without `..`"),
        FarMistake::Character => (
            "holds a character that would be read as something else",
            "white space, a quote, `%`, `$`, `\\` or a control character",
            "give the file a path without it",
        ),
    };
    draft("fleet::bad_host_path", format!("`{field}` {message}")).at(at, label).help(help)
}

fn image(at: &Place, why: ImageMistake) -> Draft {
    let (message, label, help) = match why {
        ImageMistake::Dash => (
            "`image` begins with `-`",
            "the engine would take this for a flag",
            "write the name of an image; flags belong into `args`",
        ),
        ImageMistake::UpperCase => {
            ("the name of an image has no capital letters", "not in lower case", "write it in lower case")
        }
        ImageMistake::Digest => (
            "the image has no valid digest",
            "not `sha256:` and 64 hex digits",
            "write all of it, as `docker image inspect` prints it under RepoDigests",
        ),
        ImageMistake::Name => (
            "this is not the name of an image",
            "no name has this",
            "write `name@sha256:…` or `name:tag`, with a registry before it if need be",
        ),
    };
    draft("fleet::bad_image", message).at(at, label).help(help)
}

fn container_arg(worker: &str, flag: &str, trust: Trust, at: &Place, why: ArgMistake) -> Draft {
    let bad =
        |message: String, label: String, help: String| draft("fleet::container_arg", message).at(at, label).help(help);
    let list = "the reference of the fleet file lists the flags by trust";
    match why {
        ArgMistake::Beyond(from) => bad(
            format!("`{flag}` is not for worker `{worker}`, which has the trust `{trust}`"),
            format!("only from the trust `{from}` on"),
            format!("remove it, or give the worker the trust `{from}`; {list}"),
        ),
        ArgMistake::Ours => {
            bad(format!("`{flag}` is set by fleet itself"), "not in `args`".to_owned(), "remove it".to_owned())
        }
        ArgMistake::Stray => bad(
            format!("`{flag}` in `args` of worker `{worker}` is no flag"),
            "the engine would take this for the image".to_owned(),
            "write a flag and its value as one word, for example `--cpus=2`".to_owned(),
        ),
        ArgMistake::NoValue => bad(
            format!("`{flag}` has no value"),
            "the engine would take the next word of ours for it".to_owned(),
            format!("write it as one word, `{flag}=…`, or remove it"),
        ),
        ArgMistake::NotBoolean => bad(
            format!("`{flag}` is on or off"),
            "neither `true` nor `false`".to_owned(),
            format!("write `{flag}` alone"),
        ),
        ArgMistake::Unknown => bad(
            format!("`{flag}` is not a flag that fleet knows"),
            "nobody can say whether it takes the next word for its value".to_owned(),
            if flag.starts_with("--") {
                format!("write it with its value as one word, `{flag}=…`; `{flag}=true` if it has none")
            } else {
                "write its long name with its value as one word, `--flag=…`".to_owned()
            },
        ),
    }
}

fn grant(at: &Place, capability: &str, why: &GrantMistake) -> Draft {
    let all = "a capability is `network`, `secrets`, `release` (both), or `write:` and a path";
    match why {
        GrantMistake::Unknown(near) => {
            let help = match near {
                Some("write") => "name what may be written: `write:dist/**`".to_owned(),
                Some(near) => format!("did you mean `{near}`?"),
                None => all.to_owned(),
            };
            draft("fleet::bad_grant", format!("`{capability}` is no capability that can be granted"))
                .at(at, "not one of the words for this")
                .help(help)
        }
        GrantMistake::Pattern => draft(
            "fleet::bad_grant",
            format!("`{capability}` has a pattern that nothing could hold a task to"),
        )
        .at(at, "files and whole folders can be opened, not patterns")
        .help("end with `/**` for all of a folder, such as `write:dist/**`, and grant each file or folder for itself"),
        GrantMistake::Path => draft("fleet::bad_grant", format!("`{capability}` names nothing that can be written"))
            .at(at, "not a path")
            .help("write a path that is absolute or relative to the workspace, without `..` and `~`"),
    }
}
