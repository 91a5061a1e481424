//! What a traced command did with files: the words that put `strace` around it, and the reading of what that writes.
//!
//! A line is `PID call(arguments) = result`; a call during which another process spoke is told in two lines. Every
//! descriptor has its path behind it (`3</w/a>`), so a file is known under the name that was used and as what it is.
//! What a line has that nobody asked about is passed over, and so is a line that cannot be understood.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::path::Path;

/// Calls that say which file, or who works where. `?`: not every machine has them all.
const CALLS: &str = "trace=%file,?fchdir,?clone,?clone3,?fork,?vfork";

/// Longest line that is read; the rest of a longer one is passed over. The longest path has 4096 bytes, four characters
/// each when escaped, and a call has two.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The words before the command to trace; the file for the trace goes behind `-o`. `fast` stops the command only where
/// something is written down, which not every machine can.
#[must_use]
pub fn command(program: &str, trace: &str, fast: bool) -> Vec<String> {
    let mut words: Vec<&str> = vec![program, "-f", "-qq", "-y", "-s", "1", "-e", "signal=none", "-e", CALLS];
    if fast {
        words.push("--seccomp-bpf");
    }
    words.extend(["-o", trace, "--"]);
    words.into_iter().map(str::to_owned).collect()
}

/// One thing that was done with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Absolute, without `.` and `..`, as the command named it.
    pub named: String,
    /// What the kernel opened, links followed; for an opened file only.
    pub real: Option<String>,
    pub did: Did,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It was there, and its content could be read from now on.
    Read,
    /// It was opened to be written; what was in it before may have been kept, and even read.
    Wrote { also_read: bool },
    /// Whatever is there now was made by the command.
    Made,
    /// Only asked about, listed, or not what was expected.
    Looked,
    /// Asked about, and there is none.
    Missed,
}

/// Reads a trace and hands over every access, in order. `cwd` is where the command was started.
///
/// # Errors
/// When the trace cannot be read.
pub fn follow(mut trace: impl BufRead, cwd: &str, each: &mut dyn FnMut(Access)) -> io::Result<()> {
    let mut follower = Follower { start: cwd, folders: HashMap::new(), open: HashMap::new(), forking: Vec::new() };
    let mut line = Vec::new();
    loop {
        line.clear();
        if next_line(&mut trace, &mut line)? == 0 {
            return Ok(());
        }
        follower.line(&String::from_utf8_lossy(&line), each);
    }
}

/// Reads a line, of which it keeps no more than [`LINE_BYTES_MAX`]. Answers how much there was.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let mut read = 0;
    loop {
        let piece = match from.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = memchr::memchr(b'\n', piece);
        let used = end.map_or(piece.len(), |at| at + 1);
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&piece[..end.unwrap_or(piece.len()).min(room)]);
        from.consume(used);
        read += used;
        if end.is_some() || used == 0 {
            return Ok(read);
        }
    }
}

/// Who works where, and which calls are half told.
struct Follower<'a> {
    start: &'a str,
    folders: HashMap<u32, String>,
    open: HashMap<u32, String>,
    /// Processes that are about to have a child. A child may speak before they do.
    forking: Vec<u32>,
}

impl Follower<'_> {
    fn line(&mut self, line: &str, each: &mut dyn FnMut(Access)) {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(pid) = line[..digits].parse::<u32>() else { return };
        let text = line[digits..].trim_start();
        if let Some(rest) = text.strip_prefix("+++ superseded by execve in pid ") {
            // Another thread took the place of this one with a new program, and its call is ended in our name.
            let other = rest.split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
            if let Some(begun) = other.and_then(|other| self.open.remove(&other)) {
                self.open.insert(pid, begun);
            }
        } else if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            if is_fork(begun) {
                self.forking.push(pid);
            }
            self.open.insert(pid, begun.trim_end().to_owned());
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let (Some(begun), Some((_, rest))) = (self.open.remove(&pid), rest.split_once(" resumed>")) else { return };
            self.forking.retain(|other| *other != pid);
            self.call(pid, &format!("{begun}{rest}"), each);
        } else {
            self.call(pid, text, each);
        }
    }

    /// Where a process works: what it said, else what its parent said.
    fn folder(&mut self, pid: u32) -> String {
        if let Some(folder) = self.folders.get(&pid) {
            return folder.clone();
        }
        let parent = self.forking.iter().rev().find_map(|parent| self.folders.get(parent));
        let folder = parent.map_or(self.start, String::as_str).to_owned();
        self.folders.insert(pid, folder.clone());
        folder
    }

    fn call(&mut self, pid: u32, text: &str, each: &mut dyn FnMut(Access)) {
        let Some(call) = Call::read(text) else { return };
        if let Some(told) = call.arguments.iter().find(|argument| argument.0.starts_with("AT_FDCWD<")) {
            self.folders.extend(told.described().map(|folder| (pid, folder)));
        }
        let folder = self.folder(pid);
        let at = |n: usize| call.named(n, &folder);
        let mut tell = |named: Option<String>, did: Did| {
            if let Some(named) = named {
                each(Access { named, real: None, did });
            }
        };
        let looked = if call.is_missing() { Did::Missed } else { Did::Looked };
        match call.name {
            "clone" | "clone3" | "fork" | "vfork" => {
                if let Some(child) = call.number().filter(|child| *child > 0) {
                    self.folders.entry(child).or_insert(folder);
                }
            }
            "chdir" | "fchdir" if call.number() == Some(0) => {
                let fchdir = call.name == "fchdir";
                let to = if fchdir { call.arguments.first().and_then(Argument::described) } else { at(0) };
                if let Some(to) = to {
                    self.folders.insert(pid, to);
                }
            }
            "open" | "creat" | "openat" | "openat2" => {
                let path = usize::from(call.name.starts_with("openat"));
                if let Some(named) = at(path) {
                    let flags = if call.name == "creat" { "O_WRONLY|O_CREAT|O_TRUNC" } else { call.flags(path + 1) };
                    let did = if call.number().is_some() { opened(flags) } else { looked };
                    each(Access { named, real: call.described(), did });
                }
            }
            "execve" if call.number() == Some(0) => tell(at(0), Did::Read),
            "execveat" if call.number() == Some(0) => tell(at(1), Did::Read),
            "rename" | "link" | "renameat" | "renameat2" | "linkat" if call.number() == Some(0) => {
                let (from, to) = if call.name.contains("at") { (1, 3) } else { (0, 1) };
                tell(at(from), Did::Read);
                tell(at(to), Did::Made);
            }
            "symlink" | "symlinkat" if call.number() == Some(0) => {
                tell(at(if call.name == "symlink" { 1 } else { 2 }), Did::Made);
            }
            "mkdir" | "mknod" if call.number() == Some(0) => tell(at(0), Did::Made),
            "mkdirat" | "mknodat" if call.number() == Some(0) => tell(at(1), Did::Made),
            "truncate" if call.number() == Some(0) => tell(at(0), Did::Wrote { also_read: false }),
            // The first path of whatever else is told of files.
            _ => tell(at(0).or_else(|| at(1)), looked),
        }
    }
}

fn is_fork(text: &str) -> bool {
    ["clone", "fork", "vfork"].iter().any(|call| text.starts_with(call))
}

/// What opening a file with these flags does.
fn opened(flags: &str) -> Did {
    let has = |flag: &str| flags.split('|').any(|one| one == flag);
    if has("O_PATH") || has("O_DIRECTORY") || has("O_TMPFILE") {
        return Did::Looked;
    }
    let writes = has("O_WRONLY") || has("O_RDWR");
    match (writes, has("O_TRUNC") || has("O_CREAT") && has("O_EXCL")) {
        (true, true) => Did::Made,
        (true, false) => Did::Wrote { also_read: has("O_RDWR") },
        (false, _) => Did::Read,
    }
}

/// A call, taken apart as far as we ask.
struct Call<'t> {
    name: &'t str,
    arguments: Vec<Argument<'t>>,
    /// What stands behind `=`.
    result: &'t str,
}

/// An argument as it stands there.
#[derive(Clone, Copy)]
struct Argument<'t>(&'t str);

impl<'t> Call<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let open = text.find('(')?;
        let name = &text[..open];
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let (arguments, rest) = arguments(&text[open + 1..])?;
        let result = rest.trim_start().strip_prefix("= ")?;
        Some(Self { name, arguments, result })
    }

    /// The result, where it is a number of ours; nothing for an error.
    fn number(&self) -> Option<u32> {
        let digits = self.result.bytes().take_while(u8::is_ascii_digit).count();
        self.result[..digits].parse().ok()
    }

    fn is_missing(&self) -> bool {
        self.result.contains(" ENOENT ") || self.result.contains(" ENOTDIR ")
    }

    /// The path behind the result.
    fn described(&self) -> Option<String> {
        Argument(self.result).described()
    }

    fn flags(&self, n: usize) -> &'t str {
        let Some(Argument(text)) = self.arguments.get(n) else { return "" };
        // `openat2` has them in a structure.
        let text = text.strip_prefix("{flags=").unwrap_or(text);
        text.split([',', '}']).next().unwrap_or_default()
    }

    /// The path that stands at `n`, made absolute by the folder before it or else by the one the process works in.
    fn named(&self, n: usize, folder: &str) -> Option<String> {
        let path = self.arguments.get(n)?.string()?;
        // Nothing but what the descriptor before it is.
        if path.is_empty() {
            return None;
        }
        if path.starts_with('/') {
            return Some(normal(&path));
        }
        let before = n.checked_sub(1).and_then(|before| self.arguments[before].described());
        Some(normal(&format!("{}/{path}", before.as_deref().unwrap_or(folder))))
    }
}

impl Argument<'_> {
    /// The content of a quoted string.
    fn string(self) -> Option<String> {
        let body = self.0.strip_prefix('"')?;
        let end = end_of_string(body)?;
        Some(unescaped(&body[..end]))
    }

    /// The path in `3</w/a>`.
    fn described(&self) -> Option<String> {
        let (descriptor, rest) = self.0.split_once('<')?;
        let is_descriptor = descriptor == "AT_FDCWD" || descriptor.bytes().all(|byte| byte.is_ascii_digit());
        let path = rest.split_once('>').map(|(path, _)| unescaped(path))?;
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        (is_descriptor && path.starts_with('/')).then(|| normal(path))
    }
}

/// Takes arguments up to the bracket that closes them. Answers what is behind it, too.
fn arguments(text: &str) -> Option<(Vec<Argument<'_>>, &str)> {
    let mut found = Vec::new();
    let (mut start, mut depth, mut at) = (0, 0_usize, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += 1 + end_of_string(&text[at + 1..])?,
            // A path may hold any bracket but this one.
            b'<' => at += text[at..].find('>')?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => {
                found.push(Argument(text[start..at].trim()));
                return Some((found, &text[at + 1..]));
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                found.push(Argument(text[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the quote is that ends a string.
fn end_of_string(body: &str) -> Option<usize> {
    let mut bytes = body.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// What stands for `\303\251`, `\n`, `\"` and the like. A path that is no text is kept as far as it is.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let octal = rest.iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
        if octal > 0 {
            let value = rest[..octal].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            bytes.push(u8::try_from(value & 0xff).unwrap_or_default());
            rest = &rest[octal..];
        } else if let (Some(b'x'), Some(value)) = (rest.first(), rest.get(1..3).and_then(hexadecimal)) {
            bytes.push(value);
            rest = &rest[3..];
        } else if let Some((&letter, after)) = rest.split_first() {
            bytes.push(match letter {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'v' => 0x0b,
                b'f' => 0x0c,
                other => other,
            });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// An absolute path without `.`, `..` and doubled slashes, by its text alone.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A path below a folder, as seen from there.
#[must_use]
pub fn below<'p>(path: &'p str, folder: &Path) -> Option<&'p str> {
    let rest = path.strip_prefix(folder.to_str()?.trim_end_matches('/'))?;
    rest.strip_prefix('/').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line for each access: what was done, the name, and what it really is where that differs.
    fn told(trace: &str) -> Vec<String> {
        let mut told = Vec::new();
        let mut each = |access: Access| {
            let real =
                access.real.filter(|real| *real != access.named).map_or(String::new(), |real| format!(" = {real}"));
            told.push(format!("{:?} {}{real}", access.did, access.named));
        };
        follow(trace.as_bytes(), "/w", &mut each).expect("a text can be read");
        told
    }

    /// As strace 6.1 wrote it for `sh -c 'cd sub; ./s.sh; cat a*/f nope; cat real > out; mv out out2; test -f real'`,
    /// with what lies outside taken out.
    const RECORDED: &str = r#"12633 execve("/bin/sh", ["/"..., ...], 0x7ffd0e030148 /* 35 vars */) = 0
12633 newfstatat(AT_FDCWD</w>, "/w", {st_mode=S_IFDIR|0755, st_size=4096, ...}, 0) = 0
12633 chdir("/w/sub")            = 0
12633 vfork( <unfinished ...>
12634 execve("./s.sh", ["."...], 0x55724e5bc598 /* 35 vars */ <unfinished ...>
12633 <... vfork resumed>)              = 12634
12634 <... execve resumed>)             = 0
12634 openat(AT_FDCWD</w/sub>, "./s.sh", O_RDONLY) = 3</w/sub/s.sh>
12634 vfork( <unfinished ...>
12635 openat(AT_FDCWD</w/sub>, "../link", O_RDONLY) = 3</w/real>
12635 newfstatat(3</w/real>, "", {st_mode=S_IFREG|0644, st_size=2, ...}, AT_EMPTY_PATH) = 0
12633 chdir("/w")                = 0
12633 openat(AT_FDCWD</w>, ".", O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY) = 3</w>
12636 openat(AT_FDCWD</w>, "a<b>\303\251/f", O_RDONLY) = 3</w/a\74b\76\303\251/f>
12636 openat(AT_FDCWD</w>, "nope", O_RDONLY) = -1 ENOENT (No such file or directory)
12633 openat(AT_FDCWD</w>, "out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/out>
12634 <... vfork resumed>)              = 12635
12633 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f5b0fb93a10) = 12640
12640 access("real", R_OK <unfinished ...>
12639 <... openat resumed>)             = -1 ENOENT (No such file or directory)
12640 <... access resumed>)             = 0
12641 renameat2(AT_FDCWD</w>, "out", AT_FDCWD</w>, "out2", RENAME_NOREPLACE) = 0
12633 newfstatat(AT_FDCWD</w>, "real", {st_mode=S_IFREG|0644, st_size=2, ...}, 0) = 0
12633 +++ exited with 0 +++
"#;

    #[test]
    fn a_recorded_trace_is_followed() {
        let expected = [
            "Read /bin/sh",
            "Looked /w",
            "Read /w/sub/s.sh",
            "Read /w/sub/s.sh",
            "Read /w/link = /w/real",
            "Looked /w",
            "Read /w/a<b>é/f",
            "Missed /w/nope",
            "Made /w/out",
            "Looked /w/real",
            "Read /w/out",
            "Made /w/out2",
            "Looked /w/real",
        ];
        assert_eq!(told(RECORDED), expected);
    }

    #[test]
    fn each_way_to_a_file_is_known() {
        for (line, expected) in [
            (r#"open("a", O_RDONLY) = 3</w/a>"#, &["Read /w/a"][..]),
            (r#"open("a", O_RDWR|O_CREAT, 0666) = 3</w/a>"#, &["Wrote { also_read: true } /w/a"]),
            (r#"open("a", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3</w/a>"#, &["Wrote { also_read: false } /w/a"]),
            (r#"open("a", O_RDWR|O_CREAT|O_EXCL, 0600) = 3</w/a>"#, &["Made /w/a"]),
            (r#"creat("a", 0666) = 3</w/a>"#, &["Made /w/a"]),
            (r#"openat(4</w/d>, "a", O_RDONLY|O_PATH) = 5</w/d/a>"#, &["Looked /w/d/a"]),
            (
                r#"openat2(4</w/d>, "../a", {flags=O_RDONLY|O_CLOEXEC, resolve=RESOLVE_BENEATH}, 24) = 5</w/a>"#,
                &["Read /w/a"],
            ),
            (r#"openat(AT_FDCWD</w>, "a, b) = 1", O_RDONLY) = 3</w/a, b) = 1>"#, &["Read /w/a, b) = 1"]),
            (r#"openat(AT_FDCWD</w>, "q\"\\\n\x41", O_RDONLY) = 3</w/q\"\\\nA>"#, &["Read /w/q\"\\\nA"]),
            (r#"openat(AT_FDCWD</w>, "gone", O_RDONLY) = 3</w/gone>(deleted)"#, &["Read /w/gone"]),
            (r#"openat(AT_FDCWD</w>, "gone", O_RDONLY) = 3</w/gone (deleted)>"#, &["Read /w/gone"]),
            (r#"openat(AT_FDCWD</w>, "secret", O_RDONLY) = -1 EACCES (Permission denied)"#, &["Looked /w/secret"]),
            (r#"openat(AT_FDCWD, "a", O_RDONLY) = 3"#, &["Read /w/a"]),
            (r#"execve("./a", ["./a"], 0x1 /* 3 vars */) = -1 ENOENT (No such file or directory)"#, &["Missed /w/a"]),
            (r#"execveat(3</w/d>, "a", ["a"], 0x1 /* 3 vars */, 0) = 0"#, &["Read /w/d/a"]),
            (r#"rename("a", "b") = 0"#, &["Read /w/a", "Made /w/b"]),
            (r#"linkat(AT_FDCWD</w>, "a", 3</w/d>, "b", 0) = 0"#, &["Read /w/a", "Made /w/d/b"]),
            (r#"symlink("a", "b") = 0"#, &["Made /w/b"]),
            (r#"symlinkat("a", 3</w/d>, "b") = 0"#, &["Made /w/d/b"]),
            (r#"mkdir("d", 0777) = 0"#, &["Made /w/d"]),
            (r#"readlink("l", "a"..., 4095) = 4"#, &["Looked /w/l"]),
            (
                r#"statx(AT_FDCWD</w>, "a", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=0x17, ...}) = 0"#,
                &["Looked /w/a"],
            ),
            (r#"unlinkat(AT_FDCWD</w>, "a", 0) = 0"#, &["Looked /w/a"]),
            (r#"getcwd("/w", 4096) = 3"#, &["Looked /w"]),
            (r"openat(AT_FDCWD</w>, 0x7ffd, O_RDONLY) = -1 EFAULT (Bad address)", &[]),
            (r#"openat(AT_FDCWD</w>, "a", O_RDONLY) = ?"#, &["Looked /w/a"]),
        ] {
            assert_eq!(told(&format!("7 {line}\n")), expected, "{line}");
        }
    }

    #[test]
    fn each_process_works_where_its_parent_did_until_it_moves() {
        let trace = "1 chdir(\"a\") = 0\n1 clone(child_stack=NULL, flags=SIGCHLD) = 2\n2 access(\"x\", R_OK) = 0\n\
            2 fchdir(3</w/b>) = 0\n2 access(\"x\", R_OK) = 0\n1 access(\"x\", R_OK) = 0\n\
            1 vfork( <unfinished ...>\n3 access(\"x\", R_OK) = 0\n1 <... vfork resumed>) = 3\n\
            2 chdir(\"gone\") = -1 ENOENT (No such file or directory)\n2 access(\"x\", R_OK) = 0\n4 access(\"x\", R_OK) = 0\n";
        let expected = ["/w/a/x", "/w/b/x", "/w/a/x", "/w/a/x", "/w/b/gone", "/w/b/x", "/w/x"];
        let told: Vec<String> =
            told(trace).iter().map(|line| line.split(' ').next_back().unwrap_or_default().to_owned()).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_thread_that_takes_over_ends_its_own_call() {
        let trace = "2 execve(\"b\", [\"b\"], 0x1 <unfinished ...>\n1 +++ superseded by execve in pid 2 +++\n\
            1 <... execve resumed>) = 0\n";
        assert_eq!(told(trace), ["Read /w/b"]);
    }

    #[test]
    fn what_is_no_trace_tells_nothing() {
        let long = format!("1 open(\"{}\", O_RDONLY) = 3\n1 open(\"a\", O_RDONLY) = 3\n", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(told(&long), ["Read /w/a"]);
        for text in [
            "",
            "\n",
            "1",
            "1 ",
            "x",
            "1 open",
            "1 open(",
            "1 open()",
            "1 open() = ",
            "1 (\"a\") = 0",
            "1 ,",
            "1 <... x",
            "1 <... open resumed>) = 3",
            "99999999999 open(\"a\", 0) = 3",
            "1 open(\"a\\",
            "1 open(\"\\",
            "1 +++ superseded by execve in pid",
        ] {
            assert_eq!(told(text), [] as [&str; 0], "{text}");
        }
    }

    #[test]
    fn a_path_below_a_folder() {
        assert_eq!(below("/w/a/b", Path::new("/w")), Some("a/b"));
        assert_eq!(below("/wa", Path::new("/w")), None);
        assert_eq!(below("/w", Path::new("/w")), None);
        assert_eq!(below("/a", Path::new("/")), Some("a"));
    }
}
