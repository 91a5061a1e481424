//! How to start this program again. Mostly by its own file, whatever became of the path it was started from; where it
//! runs under a dynamic loader of its own, as [`VARIABLE`] says.

use std::env;
use std::path::Path;

/// A JSON list of the words that start this program, when its own file alone does not: the loader and its options.
pub const VARIABLE: &str = "FLEET_PROGRAM";

/// The file that this process runs.
pub(super) const ITSELF: &str = "/proc/self/exe";

/// The words before the arguments; the first is an absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again(Vec<String>);

impl Again {
    pub(super) fn find() -> Self {
        let words = env::var(VARIABLE).ok().and_then(|text| serde_json::from_str::<Vec<String>>(&text).ok());
        Self(words.filter(|words| words.first().is_some_and(|word| word.starts_with('/'))).unwrap_or_default())
    }

    /// What to start, with arguments behind it.
    pub(super) fn words(&self, arguments: &[&str]) -> Vec<String> {
        let itself = self.is_itself().then(|| ITSELF.to_owned());
        let words = self.0.iter().cloned().chain(itself);
        words.chain(arguments.iter().map(|&word| word.to_owned())).collect()
    }

    /// Its own file is enough.
    pub(super) fn is_itself(&self) -> bool {
        self.0.is_empty()
    }

    /// The files and folders it takes, when its own file is not enough.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|word| word.split(':')).filter(|word| word.starts_with('/') && Path::new(word).exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_comes_before_the_program() {
        assert_eq!(Again(Vec::new()).words(&["confine"]), [ITSELF, "confine"]);
        let loaded = Again(["/bin/sh", "--library-path", "/usr:/none", "/bin/true"].map(str::to_owned).to_vec());
        assert_eq!(loaded.words(&["x"])[3..], ["/bin/true", "x"]);
        assert_eq!(loaded.files().collect::<Vec<_>>(), ["/bin/sh", "/usr", "/bin/true"]);
    }
}
