//! A container that one attempt has to itself, and what holds the attempt in it.

use crate::model::Limits;

/// What one of the lowest trust is started with, whatever else is said.
const SANDBOX_ARGS: [&str; 4] = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
/// And this, unless its task was granted the network.
const NO_NETWORK: [&str; 2] = ["--network", "none"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// It is held as the lowest trust is, but for this.
    pub sandbox: Option<Opened>,
    pub limits: Option<Limits>,
}

/// What single grants open to a task in the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub network: bool,
    /// Absolute paths of the engine's machine, which the container has at the same place.
    pub writes: Vec<String>,
}

impl Cell {
    /// A path that cannot be said: the engines read the option as a line of fields.
    #[must_use]
    pub fn unspeakable(&self) -> Option<&str> {
        let writes = self.sandbox.iter().flat_map(|opened| &opened.writes);
        writes.map(String::as_str).find(|path| path.contains([',', '"', '\n', '\r']))
    }

    /// What it is started with. Missing folders are an error of `--mount`, where `--volume` would make them.
    pub(super) fn args(&self) -> Vec<String> {
        let Some(opened) = &self.sandbox else { return Vec::new() };
        let network = if opened.network { &[] } else { &NO_NETWORK[..] };
        let mount = |path: &String| ["--mount".to_owned(), format!("type=bind,source={path},target={path}")];
        let plain = SANDBOX_ARGS.iter().chain(network).map(ToString::to_string);
        plain.chain(opened.writes.iter().flat_map(mount)).collect()
    }

    /// What it holds an attempt by, for the receipt.
    #[must_use]
    pub fn mechanisms(&self) -> Vec<&'static str> {
        let limits = self.limits.as_ref();
        let all = [
            (true, "container_per_attempt"),
            (self.sandbox.as_ref().is_some_and(|opened| !opened.network), "no_network"),
            (self.sandbox.is_some(), "no_capabilities"),
            (self.sandbox.is_some(), "no_new_privs"),
            (limits.is_some_and(|limits| limits.cpu_milli.is_some()), "container_cpu"),
            (limits.is_some_and(|limits| limits.memory_bytes.is_some()), "container_memory"),
            (limits.is_some_and(|limits| limits.pids.is_some()), "container_pids"),
        ];
        all.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_and_bounded_is_said_and_nothing_else() {
        let limits = Limits { cpu_milli: Some(1500), memory_bytes: None, pids: None };
        let bounded = Cell { sandbox: None, limits: Some(limits) };
        assert_eq!(bounded.args(), [] as [&str; 0]);
        assert_eq!(bounded.mechanisms(), ["container_per_attempt", "container_cpu"]);
        let closed = Cell { sandbox: Some(Opened::default()), limits: None };
        assert!(closed.args().join(" ").ends_with("--network none"));
        assert_eq!(closed.mechanisms(), ["container_per_attempt", "no_network", "no_capabilities", "no_new_privs"]);
        let opened = Opened { network: true, writes: vec!["/srv/a".to_owned()] };
        let opened = Cell { sandbox: Some(opened), limits: None };
        assert!(opened.args().join(" ").ends_with("--mount type=bind,source=/srv/a,target=/srv/a"));
        assert!(!opened.args().join(" ").contains("--network"));
        assert_eq!(opened.unspeakable(), None);
        let odd = Opened { network: false, writes: vec!["/srv".to_owned(), "/a,readonly".to_owned()] };
        assert_eq!(Cell { sandbox: Some(odd), limits: None }.unspeakable(), Some("/a,readonly"));
        assert_eq!(opened.mechanisms(), ["container_per_attempt", "no_capabilities", "no_new_privs"]);
    }
}
