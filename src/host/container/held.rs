//! What an engine holds of the bounds that it was told: some take a bound, warn that they leave it out, and start the
//! container all the same.

use std::thread;
use std::time::{Duration, Instant};

use super::super::client::Client;
use super::super::connect::{CONNECT_MAX, Unreachable};
use super::args::Bounds;
use super::command_line::CommandLine;
use crate::model::ContainerEngine;

/// Docker says cores in billionths, podman perhaps only as a part of a period. What is not bounded is 0, or nothing that
/// could be read.
const FORMAT: &str = "{{.HostConfig.NanoCpus}}|{{.HostConfig.CpuQuota}}|{{.HostConfig.CpuPeriod}}|\
    {{.HostConfig.Memory}}|{{.HostConfig.PidsLimit}}";
/// Between two looks for a container that is being made.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits for the container to be there, and refuses it where one of its bounds is not held. One that does not start is
/// left for whoever greets it to tell of.
pub(super) fn check(line: CommandLine<'_>, name: &str, bounds: Bounds, client: &mut Client) -> Result<(), Unreachable> {
    let begin = Instant::now();
    loop {
        let error = match line.ask(&["container", "inspect", "--format", FORMAT, name]) {
            Ok(told) => return refuse(line.engine, &missing(bounds, &told), &client.said.text()),
            Err(error) => error,
        };
        if client.has_ended() {
            return Ok(());
        }
        if error.is_silent() || begin.elapsed() > CONNECT_MAX {
            return Err(line.about(&error, &"it does not say what holds a container"));
        }
        thread::sleep(PAUSE);
    }
}

/// The keys of `limits` that nothing holds.
fn missing(bounds: Bounds, told: &str) -> Vec<&'static str> {
    let numbers: Vec<u64> = told.split('|').map(|number| number.trim().parse().unwrap_or(0)).collect();
    let at = |n: usize| numbers.get(n).copied().unwrap_or(0);
    let nano = if at(0) > 0 { at(0) } else { at(1).saturating_mul(1_000_000_000).checked_div(at(2)).unwrap_or(0) };
    let is_held = |asked: u64, held: u64| (1..=asked).contains(&held);
    let all = [
        ("cpu", bounds.cpu_nano.is_none_or(|asked| is_held(asked, nano))),
        ("memory", bounds.memory_bytes.is_none_or(|asked| is_held(asked, at(3)))),
        ("pids", bounds.pids.is_none_or(|asked| is_held(asked, at(4)))),
    ];
    all.into_iter().filter(|(_, is_held)| !is_held).map(|(key, _)| key).collect()
}

fn refuse(engine: ContainerEngine, missing: &[&str], said: &str) -> Result<(), Unreachable> {
    if missing.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = missing.iter().map(|key| format!("`limits.{key}`")).collect();
    let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
    let advice = match engine {
        ContainerEngine::Docker => {
            "its kernel has no such controller of control groups, see the warnings of `docker info`; turn it on \
             there, or take the limit off the task"
        }
        ContainerEngine::Podman => {
            "podman without root holds limits only where the machine has cgroup v2 and hands the controllers down to \
             the user; use such a machine or podman as root, or take the limit off the task"
        }
    };
    let what = format!("{} does not hold {}{said}: {advice}", engine.name(), keys.join(", "));
    Err(Unreachable::new(what).of_the_attempt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_held_is_named() {
        let all = Bounds { cpu_nano: Some(1_500_000_000), memory_bytes: Some(1 << 20), pids: Some(84) };
        for told in [
            "1500000000|0|0|1048576|84",
            "0|150000|100000|1048576|84",
            "1500000000|150000|100000|1048576|84",
            // A stricter one holds as well.
            "500000000|0|0|4096|1",
        ] {
            assert_eq!(missing(all, told), [] as [&str; 0], "{told}");
        }
        for (told, keys) in [
            ("0|0|0|0|0", &["cpu", "memory", "pids"][..]),
            ("0|0|0|0|<no value>", &["cpu", "memory", "pids"]),
            ("", &["cpu", "memory", "pids"]),
            ("1500000000|0|0|1048576|-1", &["pids"]),
            ("2000000000|0|0|1048576|84", &["cpu"]),
            ("0|-1|100000|9999999|84", &["cpu", "memory"]),
        ] {
            assert_eq!(missing(all, told), keys, "{told}");
        }
        assert!(missing(Bounds::default(), "").is_empty());
    }
}
