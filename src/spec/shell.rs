//! Splits `run` into a program and its arguments, and finds what only a shell would understand.
//! `run` starts no shell, so a pipe in it would reach the program as an argument: better refused here, with the fix.
//! Pure; offsets are bytes inside the string.

use std::ops::Range;

/// Why a command line cannot be split into arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadCommand {
    Empty,
    /// The quote that is never closed.
    OpenQuote(usize),
    /// A backslash with nothing behind it.
    LoneBackslash(usize),
    /// Every piece of shell syntax that is not quoted; never empty.
    Shell(Vec<(Range<usize>, ShellSyntax)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShellSyntax {
    Pipe,
    Redirect,
    And,
    Or,
    Background,
    Sequence,
    NewLine,
    Subshell,
    Variable,
    Substitution,
    Glob,
    Home,
    Comment,
    Assignment,
    Builtin,
}

impl ShellSyntax {
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Pipe => "a pipe",
            Self::Redirect => "a redirection",
            Self::And => "runs the next command if this one passed",
            Self::Or => "runs the next command if this one failed",
            Self::Background => "runs in the background",
            Self::Sequence => "ends a command",
            Self::NewLine => "a second line",
            Self::Subshell => "a subshell",
            Self::Variable => "a shell variable",
            Self::Substitution => "a command substitution",
            Self::Glob => "a file pattern",
            Self::Home => "the home folder",
            Self::Comment => "a comment",
            Self::Assignment => "sets a variable",
            Self::Builtin => "a word of the shell, not a program",
        }
    }
}

/// Words that only a shell knows, or that have no effect outside one.
const BUILTINS: [&str; 24] = [
    ".", "alias", "case", "cd", "declare", "eval", "exec", "export", "for", "function", "if", "local", "popd", "pushd",
    "set", "shift", "shopt", "source", "trap", "ulimit", "umask", "unset", "while", "{",
];

/// The arguments of a command line, quotes removed. References of ours (`${vars.x}`) stay as they are, so that a value is
/// filled in after splitting and never becomes two arguments or syntax.
pub(super) fn split(text: &str) -> Result<Vec<String>, BadCommand> {
    let found = Scan::of(text).run()?;
    if !found.is_empty() {
        return Err(BadCommand::Shell(found));
    }
    // The scan refuses all that this one cannot split; a whole-string error stays as a net.
    let words = shell_words::split(text).map_err(|_| BadCommand::OpenQuote(0))?;
    if words.first().is_none_or(String::is_empty) {
        return Err(BadCommand::Empty);
    }
    Ok(words)
}

/// Whether what follows a `${` is a reference of ours: a word, a dot, and a closing brace somewhere.
/// No shell parameter has a dot in its name, so scripts keep all of theirs.
pub(super) fn is_reference(after_brace: &str) -> bool {
    let word = after_brace.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    word > 0 && after_brace.as_bytes().get(word) == Some(&b'.')
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where the current word began; `None` between words.
    word: Option<usize>,
    words: usize,
    /// Whether the current word is free of quotes so far.
    plain: bool,
    found: Vec<(Range<usize>, ShellSyntax)>,
}

impl<'a> Scan<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, word: None, words: 0, plain: true, found: Vec::new() }
    }

    fn run(mut self) -> Result<Vec<(Range<usize>, ShellSyntax)>, BadCommand> {
        // A newline at either end is only how the string was written down.
        let end = self.text.trim_end().len();
        while self.at < end {
            let byte = self.bytes[self.at];
            match byte {
                b' ' | b'\t' | b'\r' => self.end_word(),
                b'\n' => {
                    self.end_word();
                    if self.words > 0 {
                        self.found(1, ShellSyntax::NewLine);
                        continue;
                    }
                }
                b'\\' => {
                    if self.at + 1 >= self.bytes.len() {
                        return Err(BadCommand::LoneBackslash(self.at));
                    }
                    // A backslash before a newline joins the lines and starts no word.
                    if self.bytes[self.at + 1] != b'\n' {
                        self.begin_word();
                        self.plain = false;
                    }
                    self.at += 1;
                }
                b'\'' => self.single_quoted()?,
                b'"' => self.double_quoted()?,
                _ => {
                    if self.syntax(byte) {
                        continue;
                    }
                    self.begin_word();
                }
            }
            self.at += 1;
        }
        self.end_word();
        Ok(self.found)
    }

    fn begin_word(&mut self) {
        if self.word.is_none() {
            self.word = Some(self.at);
            self.plain = true;
        }
    }

    /// Looks at the first words as wholes: an assignment or a builtin can only stand there.
    fn end_word(&mut self) {
        let Some(start) = self.word.take() else { return };
        let word = &self.text[start..self.at.min(self.text.len())];
        self.words += 1;
        if self.words > 1 || !self.plain {
            return;
        }
        if BUILTINS.contains(&word) {
            self.found.push((start..self.at, ShellSyntax::Builtin));
        } else if let Some((name, _)) = word.split_once('=')
            && super::names::is_env_name(name)
        {
            self.found.push((start..start + name.len() + 1, ShellSyntax::Assignment));
            self.words = 0;
        }
    }

    fn found(&mut self, bytes: usize, what: ShellSyntax) {
        self.found.push((self.at..self.at + bytes, what));
        self.at += bytes;
    }

    fn single_quoted(&mut self) -> Result<(), BadCommand> {
        self.begin_word();
        self.plain = false;
        let open = self.at;
        let close = self.text[open + 1..].find('\'').ok_or(BadCommand::OpenQuote(open))?;
        self.at = open + 1 + close;
        Ok(())
    }

    fn double_quoted(&mut self) -> Result<(), BadCommand> {
        self.begin_word();
        self.plain = false;
        let open = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(BadCommand::OpenQuote(open)),
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.at += 2,
                Some(b'$' | b'`') if self.expansion() => {}
                Some(_) => self.at += 1,
            }
        }
    }

    /// `$NAME`, `${…}`, `$(…)` and backticks, which a shell expands inside double quotes too.
    /// Moves on and answers true when one stands here.
    fn expansion(&mut self) -> bool {
        let rest = &self.text[self.at..];
        if let Some(after) = rest.strip_prefix("$${") {
            // Our escape for a literal `${`.
            let close = after.find('}').map_or(3, |n| n + 4);
            self.at += close;
            return true;
        }
        if let Some(after) = rest.strip_prefix("${") {
            let close = after.find('}').map_or(rest.len(), |n| n + 3);
            if is_reference(after) {
                self.at += close;
            } else {
                self.found(close, ShellSyntax::Variable);
            }
            return true;
        }
        let quoted = rest.strip_prefix('`');
        if quoted.is_some() || rest.starts_with("$(") {
            let close = quoted.map_or_else(|| closing(rest), |inside| inside.find('`').map(|n| n + 2));
            self.found(close.unwrap_or(rest.len()), ShellSyntax::Substitution);
            return true;
        }
        let name = rest[1..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let special = rest[1..].starts_with(['?', '@', '*', '#', '$', '!', '-']);
        if name > 0 || special {
            self.found(1 + name.max(1), ShellSyntax::Variable);
            return true;
        }
        false
    }

    /// Whether shell syntax outside quotes stands here; then it is noted and passed.
    fn syntax(&mut self, byte: u8) -> bool {
        let rest = &self.bytes[self.at..];
        let next = rest.get(1).copied();
        let (bytes, what) = match byte {
            b'$' | b'`' => {
                self.begin_word();
                self.plain = false;
                return self.expansion();
            }
            b'|' if next == Some(b'|') => (2, ShellSyntax::Or),
            b'|' if next == Some(b'&') => (2, ShellSyntax::Pipe),
            b'|' => (1, ShellSyntax::Pipe),
            b'&' if next == Some(b'&') => (2, ShellSyntax::And),
            b'&' if next == Some(b'>') => (2, ShellSyntax::Redirect),
            b'&' => (1, ShellSyntax::Background),
            b';' if next == Some(b';') => (2, ShellSyntax::Sequence),
            b';' => (1, ShellSyntax::Sequence),
            b'<' | b'>' => return self.redirect(),
            b'(' | b')' => (1, ShellSyntax::Subshell),
            b'*' | b'?' => (1, ShellSyntax::Glob),
            b'[' if self.is_bracket() => (1, ShellSyntax::Glob),
            b'~' if self.word.is_none() && matches!(next, None | Some(b'/' | b' ')) => (1, ShellSyntax::Home),
            b'#' if self.word.is_none() => {
                let line = self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
                (line, ShellSyntax::Comment)
            }
            _ => return false,
        };
        if matches!(what, ShellSyntax::Glob | ShellSyntax::Home) {
            self.begin_word();
            self.plain = false;
        } else {
            self.end_word();
            // What stands behind an operator is a command of its own, of which nothing more need be said.
            self.words += 1;
        }
        self.found(bytes, what);
        true
    }

    fn redirect(&mut self) -> bool {
        // The number of a stream belongs to the operator: `2>&1`.
        let digit = self.word.is_some_and(|w| w + 1 == self.at && self.bytes[w].is_ascii_digit());
        let start = if digit { self.at - 1 } else { self.at };
        if digit {
            self.word = None;
        } else {
            self.end_word();
        }
        let mut end = self.at;
        while matches!(self.bytes.get(end), Some(b'<' | b'>')) {
            end += 1;
        }
        if self.bytes.get(end) == Some(&b'&') {
            end += 1;
            while self.bytes.get(end).is_some_and(|b| b.is_ascii_digit() || *b == b'-') {
                end += 1;
            }
        }
        self.found.push((start..end, ShellSyntax::Redirect));
        self.at = end;
        true
    }

    /// `[` begins a pattern when it is closed within the same word; `[` and `[[` alone are programs.
    fn is_bracket(&self) -> bool {
        let rest = &self.text[self.at + 1..];
        let word = rest.split(char::is_whitespace).next().unwrap_or("");
        word.find(']').is_some_and(|n| n > 0)
    }
}

/// The length of `$( … )` with nested parentheses.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_commands_are_split_as_a_shell_would() {
        for (text, words) in [
            ("cargo build --locked", vec!["cargo", "build", "--locked"]),
            ("echo 'a | b' \"c d\" e\\ f", vec!["echo", "a | b", "c d", "e f"]),
            ("cargo --profile ${vars.profile}", vec!["cargo", "--profile", "${vars.profile}"]),
            ("grep '$HOME' \"\\$x\"", vec!["grep", "$HOME", "$x"]),
            ("cc -DX=1 a=b", vec!["cc", "-DX=1", "a=b"]),
            ("echo a#b x[ ] $ 5$", vec!["echo", "a#b", "x[", "]", "$", "5$"]),
            ("\n  ls\n", vec!["ls"]),
            ("echo $${x}", vec!["echo", "$${x}"]),
            ("ls \\\n  -l", vec!["ls", "-l"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn what_a_shell_would_do_is_found_at_its_bytes() {
        use ShellSyntax::*;
        for (text, at, what) in [
            ("a | b", 2..3, Pipe),
            ("a && b", 2..4, And),
            ("a || b", 2..4, Or),
            ("a & b", 2..3, Background),
            ("a; b", 1..2, Sequence),
            ("a > b", 2..3, Redirect),
            ("a 2>&1", 2..6, Redirect),
            ("a >> b", 2..4, Redirect),
            ("a <<EOF", 2..4, Redirect),
            ("(a)", 0..1, Subshell),
            ("a $HOME/x", 2..7, Variable),
            ("a \"x ${HOME}\"", 5..12, Variable),
            ("a $?", 2..4, Variable),
            ("a `b c`", 2..7, Substitution),
            ("a $(b $(c))", 2..11, Substitution),
            ("ls *.rs", 3..4, Glob),
            ("ls [ab].rs", 3..4, Glob),
            ("ls ~/x", 3..4, Home),
            ("ls # all", 3..8, Comment),
            ("A=1 ls", 0..2, Assignment),
            ("cd src", 0..2, Builtin),
            ("a\nb", 1..2, NewLine),
            ("é | b", 3..4, Pipe),
        ] {
            match split(text) {
                Err(BadCommand::Shell(found)) => assert_eq!(found[0], (at, what), "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        assert_eq!(split(""), Err(BadCommand::Empty));
        assert_eq!(split("  "), Err(BadCommand::Empty));
        assert_eq!(split("''"), Err(BadCommand::Empty));
        assert_eq!(split("echo 'a"), Err(BadCommand::OpenQuote(5)));
        assert_eq!(split("echo \"a\\\""), Err(BadCommand::OpenQuote(5)));
        assert_eq!(split("echo \\"), Err(BadCommand::LoneBackslash(5)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_split_or_refused(text in "\\PC*|[ab '\"\\\\$`|&;<>()\\[\\]{}*?~#=.\n]*") {
            if let Err(BadCommand::Shell(found)) = split(&text) {
                for (at, _) in found {
                    proptest::prop_assert!(text.get(at.clone()).is_some_and(|t| !t.is_empty()), "{at:?}");
                }
            }
        }
    }
}
