//! Whether to colour, and the few colours there are. One rule for the whole program, after <https://no-color.org>
//! and <https://bixense.com/clicolors/>: what was asked for on the command line, then `CLICOLOR_FORCE`, then
//! `NO_COLOR`, then `CLICOLOR=0` and a dumb terminal, then whether it is a terminal at all.

use std::fmt;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal; `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM` are respected
    #[default]
    Auto,
    Always,
    Never,
}

impl ColorChoice {
    /// Whether to colour a stream. `env` looks up a variable; an empty one counts as not set.
    pub fn decide(self, terminal: bool, env: impl Fn(&str) -> Option<String>) -> Paint {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let on = match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Self::Auto if set("NO_COLOR").is_some() => false,
            Self::Auto if set("CLICOLOR").is_some_and(|value| value == "0") => false,
            Self::Auto => terminal && set("TERM").is_some_and(|term| term != "dumb"),
        };
        Paint { on }
    }
}

/// Puts colour on words, or does not. A value and no global state, so that two streams and two tests may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Red,
    Green,
    Yellow,
    Cyan,
    Bold,
    Dim,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

impl Paint {
    pub const OFF: Self = Self { on: false };
    pub const ON: Self = Self { on: true };

    #[must_use]
    pub fn is_on(self) -> bool {
        self.on
    }

    /// Displays `text` in that colour. Pad inside of `text`, for codes have no width.
    pub fn color<T: fmt::Display>(self, color: Color, text: T) -> Painted<T> {
        Painted { color: self.on.then_some(color), text }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Painted<T> {
    color: Option<Color>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.color {
            None => self.text.fmt(f),
            Some(color) => {
                write!(f, "\x1b[{}m", color.code())?;
                self.text.fmt(f)?;
                f.write_str("\x1b[0m")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(terminal: bool, vars: &[(&str, &str)]) -> bool {
        let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        ColorChoice::Auto.decide(terminal, env).is_on()
    }

    #[test]
    fn the_environment_decides_unless_the_command_line_did() {
        let term = ("TERM", "xterm");
        assert!(auto(true, &[term]));
        assert!(!auto(false, &[term]));
        assert!(!auto(true, &[]));
        assert!(!auto(true, &[("TERM", "dumb")]));
        assert!(!auto(true, &[term, ("NO_COLOR", "1")]));
        assert!(auto(true, &[term, ("NO_COLOR", "")]));
        assert!(!auto(true, &[term, ("CLICOLOR", "0")]));
        assert!(auto(true, &[term, ("CLICOLOR", "1")]));
        assert!(auto(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(auto(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(!auto(false, &[("CLICOLOR_FORCE", "0")]));
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        assert!(ColorChoice::Always.decide(false, no_color).is_on());
        assert!(!ColorChoice::Never.decide(true, |_| Some("1".to_owned())).is_on());
    }

    #[test]
    fn colour_goes_round_the_words() {
        assert_eq!(Paint::ON.color(Color::Red, "no").to_string(), "\x1b[31mno\x1b[0m");
        assert_eq!(Paint::OFF.color(Color::Red, "no").to_string(), "no");
        assert_eq!(Paint::ON.color(Color::Dim, format_args!("{:<4}", "a")).to_string(), "\x1b[2ma   \x1b[0m");
    }
}
