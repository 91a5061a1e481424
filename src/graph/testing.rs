//! Fleets by hand, for tests of the core.

use std::collections::BTreeMap;

use crate::id::{Id as _, IdMap, TaskId};
use crate::model::{Action, CachePolicy, Fleet, Need, Policies, Task, Worker};

/// A fleet of tasks that do nothing, on one local worker.
pub(crate) fn fleet(names: &[&str]) -> Fleet {
    Fleet {
        file: "/w/fleet.toml".into(),
        workspace: "/w".into(),
        name: "test".into(),
        description: None,
        seed: 1,
        labels: BTreeMap::new(),
        metadata: BTreeMap::new(),
        tasks: names.iter().map(|name| task(name)).collect::<Vec<_>>().into(),
        workers: vec![worker("local", 2)].into(),
        pools: IdMap::new(),
        policies: Policies::default(),
        cache: CachePolicy::default(),
    }
}

/// `count` tasks named `t0`, `t1`, …
pub(crate) fn numbered(count: usize) -> Fleet {
    let mut fleet = fleet(&[]);
    for number in 0..count {
        fleet.tasks.push(task(&format!("t{number}")));
    }
    fleet
}

pub(crate) fn id(number: usize) -> TaskId {
    TaskId::from_index(number)
}

pub(crate) fn worker(name: &str, slots: u32) -> Worker {
    Worker::local(name, slots)
}

pub(crate) fn need(task: TaskId) -> Need {
    Need { task, accept_partial: false, order_only: false }
}

pub(crate) fn list(texts: &[&str]) -> Box<[Box<str>]> {
    texts.iter().map(|text| Box::from(*text)).collect()
}

pub(crate) fn task(name: &str) -> Task {
    Task {
        base: name.split(':').next().unwrap_or(name).into(),
        action: Action::Run(Box::new(["true".into()])),
        ..crate::samples::task(name)
    }
}

impl Fleet {
    /// Adds needs, as indexes of tasks.
    pub(crate) fn needs(mut self, task: usize, needs: &[usize]) -> Self {
        let mut all: Vec<Need> = needs.iter().map(|&n| need(id(n))).collect();
        all.sort_unstable();
        self.tasks[id(task)].needs = all.into();
        self
    }

    pub(crate) fn files(mut self, task: usize, inputs: &[&str], outputs: &[&str]) -> Self {
        self.tasks[id(task)].inputs = Some(list(inputs));
        self.tasks[id(task)].outputs = list(outputs);
        self
    }

    pub(crate) fn writable(mut self, task: usize, paths: &[&str]) -> Self {
        self.tasks[id(task)].writable_paths = Some(list(paths));
        self
    }

    pub(crate) fn on_failure(mut self, task: usize, handlers: &[usize]) -> Self {
        self.tasks[id(task)].on_failure = handlers.iter().map(|&n| id(n)).collect();
        self
    }

    pub(crate) fn with(mut self, task: usize, change: impl FnOnce(&mut Task)) -> Self {
        change(&mut self.tasks[id(task)]);
        self
    }
}

/// A small generator of numbers, so that a seed in a message is a bug report.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below a usize")
    }
}
