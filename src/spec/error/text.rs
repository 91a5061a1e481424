//! The words of every mistake: its code, its message, what to say at each place, and what to type instead.

use super::super::map::SourceMap;
use super::super::paths::PathMistake;
use super::super::quantity::UnitMistake;
use super::super::shell::ShellSyntax;
use super::super::vars::ReferenceMistake;
use super::draft::{Draft, assign, circle, draft, list, number};
use super::{Place, Problem, SpecError};

impl SpecError {
    /// The mistake in words. `map` knows which syntax a file has, so that the help can be typed as it stands.
    ///
    /// # Panics
    /// Never: the group named for a variant has its row, and a test shows each of them.
    #[must_use]
    pub fn problem(&self, map: &SourceMap) -> Problem {
        let draft = match self {
            Self::Unreadable { .. }
            | Self::IncludeMissing { .. }
            | Self::IncludeNothing { .. }
            | Self::IncludeUnreadable { .. }
            | Self::IncludeCycle { .. }
            | Self::TooManyFiles { .. }
            | Self::DefinedTwice { .. }
            | Self::MissingName { .. }
            | Self::UnsupportedVersion { .. }
            | Self::NoTasks { .. }
            | Self::Reference { .. }
            | Self::VarsCycle { .. }
            | Self::UnknownSet { .. } => self.of_files(),
            Self::NoAction { .. }
            | Self::TwoActions { .. }
            | Self::Shell { .. }
            | Self::OpenQuote { .. }
            | Self::LoneBackslash { .. }
            | Self::EmptyCommand { .. }
            | Self::NulByte { .. }
            | Self::ShellWithoutScript { .. } => self.of_commands(map),
            Self::UnknownNeed { .. }
            | Self::UnknownTag { .. }
            | Self::SelfNeed { .. }
            | Self::NeedOnHandler { .. }
            | Self::NeedTwice { .. }
            | Self::TooManyNeeds { .. }
            | Self::UnknownHandler { .. }
            | Self::SelfHandler { .. }
            | Self::HandlerField { .. } => self.of_graph(map),
            Self::MatrixValueTwice { .. }
            | Self::BadMatrixValue { .. }
            | Self::UnknownAxis { .. }
            | Self::ExcludesNothing { .. }
            | Self::ExcludesAll { .. }
            | Self::TooManyTasks { .. } => self.of_matrix(),
            Self::UnknownWorker { .. }
            | Self::UnknownPool { .. }
            | Self::UsesTooMuch { .. }
            | Self::UnknownPlatform { .. } => self.of_workers(map),
            Self::SshName { .. }
            | Self::FarPath { .. }
            | Self::Fingerprint { .. }
            | Self::Image { .. }
            | Self::ImageByTag { .. }
            | Self::ContainerArg { .. }
            | Self::TwoSlots { .. }
            | Self::FieldOfRemote { .. }
            | Self::Lease { .. }
            | Self::TrustOfHost { .. }
            | Self::AttemptSize { .. }
            | Self::MemoryLimit { .. }
            | Self::PidsLimit { .. }
            | Self::Grant { .. }
            | Self::GrantForNobody { .. } => self.of_places(map),
            Self::UnknownScorer { .. }
            | Self::ScorerCycle { .. }
            | Self::ScorerTwice { .. }
            | Self::TooManyScorers { .. }
            | Self::BadRegex { .. }
            | Self::BadJsonPath { .. }
            | Self::RegexSource { .. }
            | Self::QuorumTooLarge { .. }
            | Self::BadExitCode { .. }
            | Self::BoundsCrossed { .. } => self.of_scorers(),
            Self::BackoffCrossed { .. }
            | Self::BackoffTooLong { .. }
            | Self::TooManyAttempts { .. }
            | Self::RepeatQuorum { .. } => self.of_retries(map),
            Self::SecretKey { .. }
            | Self::SecretDelivery { .. }
            | Self::SecretVariable { .. }
            | Self::SecretNotAllowed { .. }
            | Self::SecretPassed { .. }
            | Self::SecretCommand { .. }
            | Self::LiteralSecret { .. } => self.of_secrets(map),
            Self::Url { .. } | Self::TokenRef { .. } | Self::TokenInClear { .. } | Self::TrustWithoutRemote { .. } => {
                self.of_cache(map)
            }
            Self::Path { .. }
            | Self::OnlyExclusions { .. }
            | Self::Duration { .. }
            | Self::Size { .. }
            | Self::IdleTooLong { .. }
            | Self::EnvName { .. }
            | Self::OwnVariable { .. }
            | Self::BadTag { .. }
            | Self::ItemTwice { .. }
            | Self::EmptyList { .. }
            | Self::EmptyText { .. }
            | Self::BadGlob { .. } => self.of_values(),
        };
        draft.expect("the group has a row for the variant").0
    }

    fn of_files(&self) -> Option<Draft> {
        Some(match self {
            Self::Unreadable { path, why } => {
                draft("fleet::unreadable_file", format!("`{path}` cannot be read: {why}"))
                    .help("name a fleet file with `-f FILE`, or make this one readable")
            }
            Self::IncludeMissing { at, path, near } => {
                draft("fleet::include_missing", format!("included file `{path}` does not exist"))
                    .at(at, "no such file, seen from the folder of this one")
                    .help(match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "paths in `include` are relative to the file they stand in".to_owned(),
                    })
            }
            Self::IncludeNothing { at, pattern } => {
                draft("fleet::include_nothing", format!("no file matches `{pattern}`"))
                    .at(at, "includes nothing")
                    .help("patterns in `include` are relative to the file they stand in; remove it if nothing is meant")
            }
            Self::IncludeUnreadable { at, path, why } => {
                draft("fleet::include_unreadable", format!("included file `{path}` cannot be read: {why}"))
                    .at(at, "included here")
                    .help("make the file readable, or remove it from `include`")
            }
            Self::IncludeCycle { along } => {
                let names: Vec<&str> = along.iter().map(|(_, name)| name.as_str()).collect();
                let mut draft = draft("fleet::include_cycle", format!("files include each other: {}", circle(&names)));
                for (at, name) in along {
                    draft = draft.at(at, format!("includes `{name}`"));
                }
                draft.help("remove one of these includes")
            }
            Self::TooManyFiles { at, limit } => {
                draft("fleet::too_many_files", format!("more than {limit} files are included"))
                    .at(at, "with this one")
                    .help("include fewer, larger files")
            }
            Self::DefinedTwice { what, name, first, again } => {
                draft("fleet::defined_twice", format!("{what} `{name}` is defined twice"))
                    .at(again, "here again")
                    .at(first, "first here")
                    .help("included files are merged into one: rename or remove one of the two")
            }
            Self::MissingName { at } => draft("fleet::missing_name", "the fleet has no name")
                .at(at, "`name` is missing")
                .help("add a name at the top, for example `name = \"release\"`"),
            Self::UnsupportedVersion { at, version } => {
                draft("fleet::unsupported_version", format!("version {version} of the format is not known"))
                    .at(at, "only 1 is")
                    .help("write 1, or use a newer `fleet`")
            }
            Self::NoTasks { at } => draft("fleet::no_tasks", "the fleet has no tasks")
                .at(at, "no task is declared here or in what it includes")
                .help("add one, for example `tasks.build.run = \"cargo build\"`"),
            Self::Reference { at, name, why } => reference(at, name, why),
            Self::VarsCycle { names, along } => {
                let names: Vec<String> = names.iter().map(|name| format!("vars.{name}")).collect();
                let shown: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut draft =
                    draft("fleet::vars_cycle", format!("variables refer to each other: {}", circle(&shown)));
                for (n, at) in along.iter().enumerate() {
                    draft = draft.at(at, format!("refers to `{}`", shown[(n + 1) % shown.len()]));
                }
                draft.help("give one of them a value that does not refer to the others")
            }
            Self::UnknownSet { name, near } => {
                draft("fleet::unknown_set", format!("`--set {name}=…` sets a variable that no file declares"))
                    .near(near, "declared here")
                    .help_near(near, "declare it under `[vars]` with the value it has without `--set`")
            }
            _ => return None,
        })
    }

    fn of_commands(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::NoAction { task, at } => draft("fleet::no_action", format!("task `{task}` has nothing to run"))
                .at(at, "neither `run` nor `sh`")
                .help(format!(
                    "add a command, {}, or a script, {}",
                    assign(map, at, "run", "cargo build"),
                    assign(map, at, "sh", "cargo build | tee log")
                )),
            Self::TwoActions { task, run, sh } => {
                draft("fleet::two_actions", format!("task `{task}` has both `run` and `sh`"))
                    .at(sh, "and this script")
                    .at(run, "this command")
                    .help("keep one; a second command is a second task, or one more line of the script")
            }
            Self::Shell { owner, found, text, script } => shell(map, owner, found, text, *script),
            Self::OpenQuote { at } => draft("fleet::open_quote", "a quote in the command is never closed")
                .at(at, "opened here")
                .help("close it, or write the words as a list: [\"program\", \"argument\"]"),
            Self::LoneBackslash { at } => draft("fleet::lone_backslash", "the command ends in a backslash")
                .at(at, "escapes nothing")
                .help("remove it, or double it when a backslash is meant"),
            Self::EmptyCommand { at } => draft("fleet::empty_command", "the command has no program")
                .at(at, "the first word is missing")
                .help("write the program first: \"cargo build\" or [\"cargo\", \"build\"]"),
            Self::NulByte { at, field } => draft("fleet::nul_byte", format!("`{field}` holds a NUL character"))
                .at(at, "no program can be given this")
                .help("remove the character with code 0"),
            Self::ShellWithoutScript { task, at, run } => {
                draft("fleet::shell_without_script", format!("task `{task}` chooses a shell, but `run` starts none"))
                    .at(at, "has no effect")
                    .at(run, "runs without a shell")
                    .help("remove `shell`, or write `sh` instead of `run`")
            }
            _ => return None,
        })
    }

    fn of_graph(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::UnknownNeed { task, need, at, near } => {
                draft("fleet::unknown_need", format!("task `{task}` needs `{need}`, which is not a task"))
                    .at(at, "no task has this name")
                    .near(near, "declared here")
                    .help_near(near, "declare the task, or remove the need")
            }
            Self::UnknownTag { task, tag, at, near } => {
                draft("fleet::unknown_tag", format!("task `{task}` needs `tag:{tag}`, which no task has"))
                    .at(at, "no task has this tag")
                    .near(near, "used here")
                    .help_near(near, &format!("give a task the tag: {}", list(map, at, "tags", tag)))
            }
            Self::SelfNeed { task, at, tag } => draft("fleet::self_need", format!("task `{task}` needs itself"))
                .at(
                    at,
                    match tag {
                        Some(tag) => format!("the task has the tag `{tag}` itself"),
                        None => "its own name".to_owned(),
                    },
                )
                .help("remove the need, or the tag, from this task"),
            Self::NeedOnHandler { task, need, at, by } => draft(
                "fleet::need_on_handler",
                format!("task `{task}` needs `{need}`, which runs only after a failure"),
            )
            .at(at, "may never run")
            .at(by, "made a handler here")
            .help("remove the need, or take the task out of `on_failure`"),
            Self::NeedTwice { task, need, first, again } => {
                draft("fleet::need_twice", format!("task `{task}` needs `{need}` twice"))
                    .at(again, "here again")
                    .at(first, "first here")
                    .help("remove one of the two")
            }
            Self::TooManyNeeds { at, limit } => {
                draft("fleet::too_many_needs", format!("the tasks have more than {limit} needs in all"))
                    .at(at, "the limit is passed here")
                    .help("put one task in between: let it need the many, and let the many others need it")
            }
            Self::UnknownHandler { task, name, at, near } => draft(
                "fleet::unknown_handler",
                format!("task `{task}` names `{name}` in `on_failure`, which is not a task"),
            )
            .at(at, "no task has this name")
            .near(near, "declared here")
            .help_near(near, "declare the task, or remove the name"),
            Self::SelfHandler { task, at } => {
                draft("fleet::self_handler", format!("task `{task}` would handle its own failure"))
                    .at(at, "its own name")
                    .help("name another task; to try again is not the work of a handler")
            }
            Self::HandlerField { task, field, at, by } => draft(
                "fleet::handler_field",
                format!("task `{task}` runs only after a failure, so `{field}` has no effect"),
            )
            .at(at, "has no effect")
            .at(by, "made a handler here")
            .help(format!("remove `{field}`, or take the task out of `on_failure`")),
            _ => return None,
        })
    }

    fn of_matrix(&self) -> Option<Draft> {
        Some(match self {
            Self::MatrixValueTwice { axis, value, first, again } => {
                draft("fleet::matrix_value_twice", format!("axis `{axis}` has the value `{value}` twice"))
                    .at(again, "here again")
                    .at(first, "first here")
                    .help("remove one of the two: each makes a task of the same name")
            }
            Self::BadMatrixValue { axis, value, at } => draft(
                "fleet::bad_matrix_value",
                format!("value {value:?} of axis `{axis}` cannot be part of a task's name"),
            )
            .at(at, "not a name")
            .help("use letters, digits, `.`, `_` and `-`, a letter or digit first, at most 128 bytes"),
            Self::UnknownAxis { axis, at, near } => draft(
                "fleet::unknown_axis",
                format!("`exclude` speaks of `{axis}`, which is not an axis of this matrix"),
            )
            .at(at, "no such axis")
            .near(near, "declared here")
            .help_near(near, "exclude by axes of the same matrix only"),
            Self::ExcludesNothing { task, at, values } => {
                draft("fleet::excludes_nothing", format!("no instance of `{task}` has {values}"))
                    .at(at, "excludes nothing")
                    .help("correct the values, or remove the entry")
            }
            Self::ExcludesAll { task, at } => {
                draft("fleet::excludes_all", format!("`exclude` leaves no instance of `{task}`"))
                    .at(at, "every combination is excluded")
                    .help("remove an entry of `exclude`, or the task")
            }
            Self::TooManyTasks { at, limit } => {
                draft("fleet::too_many_tasks", format!("the fleet has more than {limit} tasks"))
                    .at(at, "the limit is passed here")
                    .help("shorten an axis, exclude combinations, or split the fleet")
            }
            _ => return None,
        })
    }

    fn of_workers(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::UnknownWorker { task, worker, at, near } => draft(
                "fleet::unknown_worker",
                format!("task `{task}` asks for worker `{worker}`, which is not declared"),
            )
            .at(at, "no worker has this name")
            .near(near, "declared here")
            .help_near(near, "declare it under `[workers]`, or ask by labels and capabilities"),
            Self::UnknownPool { task, pool, at, near } => {
                draft("fleet::unknown_pool", format!("task `{task}` uses pool `{pool}`, which is not declared"))
                    .at(at, "no pool has this name")
                    .near(near, "declared here")
                    .help_near(near, &format!("declare it under `policies.limits`: {}", number(map, at, pool, 1)))
            }
            Self::UsesTooMuch { task, pool, asks, size, at, size_at } => {
                draft("fleet::uses_too_much", format!("task `{task}` uses {asks} of pool `{pool}`, which has {size}"))
                    .at(at, "could never start")
                    .at(size_at, format!("{size} in all"))
                    .help(format!("use at most {size}, or enlarge the pool"))
            }
            Self::UnknownPlatform { what, name, at, near } => {
                draft("fleet::unknown_platform", format!("`{name}` is not a known {what}"))
                    .at(at, "would never be true")
                    .help_name(
                        near.as_deref(),
                        "write a name that Rust targets use, such as `linux`, `macos`, `x86_64` or `aarch64`",
                    )
            }
            _ => return None,
        })
    }

    fn of_scorers(&self) -> Option<Draft> {
        Some(match self {
            Self::UnknownScorer { name, at, near } => {
                draft("fleet::unknown_scorer", format!("scorer `{name}` is not declared"))
                    .at(at, "no scorer has this name")
                    .near(near, "declared here")
                    .help_near(near, "declare it under `[scorers]`, or write it in place as a table with a `kind`")
            }
            Self::ScorerCycle { names, along } => {
                let shown: Vec<&str> = names.iter().map(String::as_str).collect();
                let mut draft = draft("fleet::scorer_cycle", format!("scorers are made of each other: {}", circle(&shown)));
                for (n, at) in along.iter().enumerate() {
                    draft = draft.at(at, format!("made of `{}`", shown[(n + 1) % shown.len()]));
                }
                draft.help("remove one of these names from `of`")
            }
            Self::ScorerTwice { owner, name, first, again } => {
                draft("fleet::scorer_twice", format!("{owner} has two scorers called `{name}`"))
                    .at(again, "here again")
                    .at(first, "first here")
                    .help("remove one, or give one a `name` of its own")
            }
            Self::TooManyScorers { at, limit, deep } => {
                let message = match deep {
                    true => format!("scorers are nested more than {limit} deep"),
                    false => format!("a scorer is made of more than {limit} others"),
                };
                draft("fleet::too_many_scorers", message)
                    .at(at, "the limit is passed here")
                    .help("combine fewer scorers, or write one program that judges and use a `command` scorer")
            }
            Self::BadRegex { at, why } => draft("fleet::bad_regex", format!("the pattern is not a valid regular expression: {why}"))
                .at(at, why.clone())
                .help("the syntax is that of Rust's `regex`: no look-around, no back-references; `\\` escapes a special character"),
            Self::BadJsonPath { at, why } => draft("fleet::bad_json_path", format!("the query is not a valid JSONPath: {why}"))
                .at(at, why.clone())
                .help("write an RFC 9535 query such as `$.summary.passed` or `$.items[?@.ok == true]`"),
            Self::RegexSource { at, both } => match both {
                Some((path, stream)) => draft("fleet::regex_source", "a pattern looks in one place, not two")
                    .at(stream, "and in an output")
                    .at(path, "in a file")
                    .help("keep one of `path` and `stream`"),
                None => draft("fleet::regex_source", "the pattern has no place to look in")
                    .at(at, "neither `path` nor `stream`")
                    .help("add `path` with a file, or `stream` with \"stdout\" or \"stderr\""),
            },
            Self::QuorumTooLarge { least, of, at, of_at } => {
                draft("fleet::bad_quorum", format!("{least} of {of} scorers can never pass"))
                    .at(at, "more than there are")
                    .at(of_at, format!("{of} in all"))
                    .help(format!("ask for at most {of}"))
            }
            Self::BadExitCode { code, at } => draft("fleet::bad_exit_code", format!("{code} is not an exit code"))
                .at(at, "never happens")
                .help("exit codes go from 0 to 255"),
            Self::BoundsCrossed { least, most, at, other } => {
                draft("fleet::bounds_crossed", format!("no number is at least {least} and at most {most}"))
                    .at(at, "below the lower bound")
                    .at(other, "the lower bound")
                    .help("exchange the two, or remove one")
            }
            _ => return None,
        })
    }

    fn of_values(&self) -> Option<Draft> {
        Some(match self {
            Self::Path { at, path, why } => path_mistake(at, path, why),
            Self::OnlyExclusions { field, at } => {
                draft("fleet::only_exclusions", format!("`{field}` excludes files but names none"))
                    .at(at, "every entry begins with `!`")
                    .help("add what to take first, for example \"**\"")
            }
            Self::Duration { at, why, instead } => quantity("duration", at, *why, instead.as_deref()),
            Self::Size { at, why, instead } => quantity("size", at, *why, instead.as_deref()),
            Self::IdleTooLong { task, idle, timeout, at, timeout_at } => draft(
                "fleet::idle_timeout_too_long",
                format!("task `{task}` is over after {timeout}, so an idle time of {idle} is never reached"),
            )
            .at(at, "has no effect")
            .at(timeout_at, format!("ends the task after {timeout}"))
            .help("shorten `idle_timeout`, lengthen `timeout`, or remove one"),
            Self::EnvName { at, name, pattern } => {
                draft("fleet::bad_env_name", format!("{name:?} is not the name of an environment variable"))
                    .at(at, "not a name")
                    .help(if *pattern {
                        "use letters, digits and `_`, no digit first; `*` stands for any of them: \"MY_*\""
                    } else {
                        "use letters, digits and `_`, no digit first"
                    })
            }
            Self::OwnVariable { at, name } => {
                let mine = name.replacen("FLEET_", "MY_", 1);
                draft("fleet::own_variable", format!("`{name}` is a variable that fleet sets itself"))
                    .at(at, "already says something to every task")
                    .help(format!("choose another name, for example `{mine}`"))
            }
            Self::BadTag { at, tag } => draft("fleet::bad_tag", format!("{tag:?} is not a tag"))
                .at(at, "not a name")
                .help("use letters, digits, `.`, `_` and `-`, a letter or digit first, at most 128 bytes"),
            Self::ItemTwice { field, item, first, again } => {
                draft("fleet::item_twice", format!("`{field}` lists `{item}` twice"))
                    .at(again, "here again")
                    .at(first, "first here")
                    .help("remove one of the two")
            }
            Self::EmptyList { field, at } => draft("fleet::empty_list", format!("`{field}` is an empty list"))
                .at(at, "nothing in it")
                .help(format!("add an entry, or remove `{field}`")),
            Self::EmptyText { field, at } => draft("fleet::empty_text", format!("`{field}` holds an empty text"))
                .at(at, "nothing in it")
                .help(format!("write something, or remove it from `{field}`")),
            Self::BadGlob { at, why } => draft("fleet::bad_glob", format!("the pattern is not valid: {why}"))
                .at(at, why.clone())
                .help("`*`, `?`, `[a-z]` and `{a,b}` are special; `\\` before one makes it a plain character"),
            _ => return None,
        })
    }
}

fn reference(at: &Place, name: &str, why: &ReferenceMistake) -> Draft {
    match why {
        ReferenceMistake::Open => draft("fleet::open_reference", "a reference is never closed")
            .at(at, "no `}` follows")
            .help("close it, or write `$${` for a plain `${`"),
        ReferenceMistake::Unknown(near) => {
            draft("fleet::unknown_reference", format!("`${{{name}}}` refers to nothing"))
                .at(at, "nothing has this name")
                .help(match near {
                    Some(near) => format!("did you mean `${{{near}}}`? A plain `${{` is written `$${{`"),
                    None => {
                        "there are `${vars.NAME}`, `${matrix.AXIS}` and `${task.name}`; a plain `${` is written `$${`"
                            .to_owned()
                    }
                })
        }
        ReferenceMistake::NoMatrix => {
            draft("fleet::no_matrix", format!("`${{{name}}}` stands where there is no matrix"))
                .at(at, "no axis to take a value from")
                .help("give the task a `matrix` with this axis, or use a variable of `[vars]`")
        }
        ReferenceMistake::TooLarge => draft("fleet::value_too_large", format!("`{name}` grows too large"))
            .at(at, "filling this in passes the limit")
            .help("a variable holds at most 64 KiB and a fleet 128 MiB: put large content into a file"),
    }
}

fn shell(map: &SourceMap, owner: &str, found: &[(Place, ShellSyntax)], text: &str, script: bool) -> Draft {
    let what = found.first().map_or(ShellSyntax::Pipe, |(_, what)| *what);
    let message = match what {
        ShellSyntax::Builtin => format!("{owner} runs a word of the shell, but `run` starts no shell"),
        _ => format!("{owner} has shell syntax in `run`, which starts no shell"),
    };
    let mut draft = draft("fleet::shell_syntax", message);
    // Four places are enough to see what is meant.
    for (at, what) in found.iter().take(4) {
        draft = draft.at(at, what.text());
    }
    let quote = match what {
        ShellSyntax::Assignment => "set it with `env`",
        ShellSyntax::Builtin | ShellSyntax::NewLine => "name a program",
        _ => "quote it when it is meant as plain text",
    };
    let Some((at, _)) = found.first() else { return draft };
    if script {
        let multi_line = text.trim().contains('\n');
        let fix = if multi_line { "`sh` instead of `run`".to_owned() } else { assign(map, at, "sh", text.trim()) };
        draft.help(format!("for a shell, write {fix}; or {quote}"))
    } else {
        draft.help(format!("for a shell, write the words [\"sh\", \"-c\", \"…\"]; or {quote}"))
    }
}

fn path_mistake(at: &Place, path: &str, why: &PathMistake) -> Draft {
    let bad = |code, message: String, label: &str, help: &str| draft(code, message).at(at, label).help(help);
    let leaves = "fleet::leaves_workspace";
    match why {
        PathMistake::Empty => {
            bad("fleet::empty_path", "a path is empty".into(), "nothing in it", "write `.` for the workspace itself")
        }
        PathMistake::Absolute => bad(
            leaves,
            format!("`{path}` is an absolute path"),
            "begins at the root",
            "write the path as seen from the workspace, the folder of the fleet file",
        ),
        PathMistake::Home => bad(
            leaves,
            format!("`{path}` is in the home folder"),
            "only a shell knows `~`",
            "write the path as seen from the workspace, the folder of the fleet file",
        ),
        PathMistake::Parent => bad(
            leaves,
            format!("`{path}` may leave the workspace"),
            "goes up",
            "write the path as seen from the workspace, without `..`",
        ),
        PathMistake::Nul => bad(
            "fleet::nul_byte",
            "a path holds a NUL character".into(),
            "no path can hold this",
            "remove the character with code 0",
        ),
        PathMistake::NotOne => bad(
            "fleet::not_one_path",
            format!("`{path}` is a pattern where one path is meant"),
            "matches many",
            "write the one path in full",
        ),
        PathMistake::Exclusion => bad(
            "fleet::exclusion",
            format!("`{path}` excludes, but nothing can be excluded here"),
            "excludes",
            "remove the `!`; only `inputs`, `outputs` and `writable_paths` know exclusions",
        ),
        PathMistake::Glob(why) => draft("fleet::bad_glob", format!("the pattern is not valid: {why}"))
            .at(at, why.clone())
            .help("`*`, `?`, `[a-z]` and `{a,b}` are special; `\\` before one makes it a plain character"),
        PathMistake::Link(link, target) => draft(leaves, format!("`{path}` leaves the workspace through a link"))
            .at(at, format!("`{link}` leads to `{target}`"))
            .help("name a path that stays in the workspace, or move the files there"),
    }
}

fn quantity(what: &str, at: &Place, why: UnitMistake, instead: Option<&str>) -> Draft {
    let code = if what == "duration" { "fleet::bad_duration" } else { "fleet::bad_size" };
    let text = format!("this {what} {}", why.text());
    draft(code, format!("a {what} {}", why.text())).at(at, text).help(super::super::quantity::help(what, why, instead))
}

/// What to do when a mistake of syntax or shape has nothing more exact to say.
pub(super) fn general_help(code: &str) -> Option<&'static str> {
    Some(match code {
        "fleet::syntax" => "look for a missing quote, bracket or comma at this place or just before it",
        "fleet::too_deep" => "put content this deep into a file of its own",
        "fleet::yaml_key" => "write the key as text: `build:`",
        "fleet::missing_field" => "add it; `fleet schema` prints every table with its keys",
        "fleet::unknown_key" => "remove it; `fleet schema` prints every key with its meaning",
        "fleet::bad_value" | "fleet::wrong_type" | "fleet::unknown_value" => {
            "`fleet schema` prints what each key takes"
        }
        _ => return None,
    })
}
