//! What a task reads.

use crate::behaviour::{Behaviour, Kind, On, alone, task};
use crate::seen::{holds, same};
use crate::stage::Stage;

/// Names that a shell, a list of lines, an archive or a URL would spoil.
const ODD: [&str; 9] =
    ["two words", "-dash", "quo'te\"s", "new\nline", "*star?", "back\\slash", "per%20cent", "$HOME", "#hash;&|"];

pub(super) fn prepare(mut stage: Stage) -> Stage {
    stage = stage
        .file("in/a.txt", "the text of a\n")
        .file("in/deep/er/b.txt", "the text of b\n")
        .file("in/tool", "#!/bin/sh\necho the tool ran\n")
        .mode("in/tool", 0o755)
        .file("in/not-in.bak", "left out\n")
        .file("undeclared.txt", "undeclared\n")
        .file("odd/grün/日本 🚀.txt", "not ASCII\n")
        .file("in/empty", "")
        .file("in/binary", (0..=255).collect::<Vec<u8>>())
        .file("links/target", "through a link\n")
        .link("links/near", "target")
        .link("links/broken", "nowhere at all")
        .file("must/be.here", "it is\n");
    for name in ODD {
        stage = stage.file(format!("odd/{name}"), format!("in {name}"));
    }
    stage
}

pub(super) const ROWS: &[Behaviour] = &[
    task(
        "inputs are there, with what is in them",
        "[tasks.reads]\nsh = 'cat in/a.txt in/deep/er/b.txt; wc -c < in/empty | tr -d \" \"'\ninputs = ['in/**', '!in/*.bak']\n",
        |seen| seen.task("reads")?.passes_with("the text of a\nthe text of b\n0\n"),
    ),
    task("inputs have every byte", "[tasks.reads-bytes]\nrun = 'cat in/binary'\ninputs = ['in/binary']\n", |seen| {
        seen.task("reads-bytes")?.passes_with((0..=255).collect::<Vec<u8>>())
    })
    .as_in_docker(),
    task(
        "an input that may be executed is, and others not",
        "[tasks.modes]\nsh = './in/tool; [ ! -x in/a.txt ] && echo plain'\ninputs = ['in/tool', 'in/a.txt']\n",
        |seen| seen.task("modes")?.passes_with("the tool ran\nplain\n"),
    ),
    task(
        "a link among inputs reads as what it leads to",
        "[tasks.links]\nsh = 'cat links/near'\ninputs = ['links/*']\n",
        |seen| seen.task("links")?.passes_with("through a link\n"),
    )
    .as_in_docker(),
    task(
        "a folder that is empty but for outputs is there",
        "[tasks.into]\nsh = 'echo made > must/made.txt'\noutputs = ['must/made.txt']\n",
        |seen| {
            seen.file_says("must/made.txt", "made\n")?;
            seen.task("into")?.is("pass")
        },
    ),
    task(
        "inputs with names that are not ASCII",
        "[tasks.umlaut-in]\nsh = 'cat odd/grün/*.txt'\ninputs = ['odd/grün/**']\n",
        |seen| seen.task("umlaut-in")?.passes_with("not ASCII\n"),
    )
    .as_in_docker(),
    task(
        "inputs with odd names",
        "[tasks.odd-in]\nsh = 'cd odd; for name in *; do [ -d \"$name\" ] || { cat -- \"./$name\"; echo; }; done'\ninputs = ['odd/*']\n",
        |seen| {
            let task = seen.task("odd-in")?.is("pass")?;
            let mut want = ODD.map(|name| format!("in {name}\n"));
            want.sort();
            let printed = String::from_utf8_lossy(&task.printed()?).into_owned();
            let missing: Vec<_> = want.iter().filter(|line| !printed.contains(*line)).collect();
            holds(&format!("these are missing: {missing:?}"), missing.is_empty())?;
            same("their bytes together", printed.len(), want.concat().len())?;
            Ok(task)
        },
    ),
    task(
        "what is not declared is not sent",
        "[tasks.undeclared]\nsh = '[ ! -e undeclared.txt ] && [ ! -e in/not-in.bak ] && cat in/a.txt'\ninputs = ['in/**', '!in/*.bak']\n",
        |seen| seen.task("undeclared")?.passes_with("the text of a\n"),
    )
    .not_on(&[(On::Only(Kind::LOCAL), "a local task without a sandbox works in the workspace itself")]),
    task(
        "required files are there",
        "[tasks.required]\nrun = 'cat must/be.here'\nrequired_files = ['must/be.here']\n",
        |seen| seen.task("required")?.passes_with("it is\n"),
    ),
    task(
        "a required file that is nowhere",
        "[tasks.required-not]\nrun = 'true'\nrequired_files = ['must/be.there']\n",
        |seen| seen.task("required-not")?.is("fail/transport: could not be started: the required file `must/be.there` does not exist"),
    )
    .as_in_docker(),
    task(
        "a program among the inputs",
        "[tasks.own-program]\nrun = './in/tool'\ninputs = ['in/tool']\n",
        |seen| seen.task("own-program")?.passes_with("the tool ran\n"),
    ),
    task(
        "an input that is changed there stays as it was here",
        "[tasks.spoils]\nsh = 'echo spoiled > in/deep/er/b.txt; cat in/deep/er/b.txt'\ninputs = ['in/deep/**']\n\
         [tasks.spoils-not]\nneeds = ['spoils']\nrun = 'cat in/deep/er/b.txt'\ninputs = ['in/deep/**']\n",
        |seen| {
            seen.task("spoils")?.passes_with("spoiled\n")?;
            seen.file_says("in/deep/er/b.txt", "the text of b\n")?;
            seen.task("spoils-not")?.passes_with("the text of b\n")
        },
    )
    .not_on(&[(On::Only(Kind::LOCAL), "a local task without a sandbox works in the workspace itself")]),
    alone("a task that changed nothing is not run again", |column| {
        let stage = Stage::new(column, "[tasks.a]\nsh = 'cat in.txt > out.txt; echo ran'\ninputs = ['in.txt']\noutputs = ['out.txt']\n")
            .file("in.txt", "one\n");
        let first = stage.run(&["run"]);
        first.exits(0)?;
        let first = first.task("a")?.receipt.clone();
        let again = stage.run(&["run"]);
        again.exits(0)?;
        let task = again.task("a")?.is("pass")?.says("/reused/run_id", first["run_id"].clone())?;
        task.says("/fingerprint", first["fingerprint"].clone())?;
        std::fs::remove_file(stage.path("out.txt")).map_err(|error| error.to_string())?;
        let back = stage.run(&["run"]);
        back.exits(0)?;
        holds("it was not reused", back.task("a")?.receipt["reused"].is_object())?;
        back.file_says("out.txt", "one\n")?;
        let stage = stage.file("in.txt", "two\n");
        let anew = stage.run(&["run"]);
        anew.task("a")?.passes_with("ran\n")?.says("/reused", ())?;
        anew.file_says("out.txt", "two\n")
    }),
];
