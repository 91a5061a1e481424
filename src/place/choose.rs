//! Which of the workers that fit gets a task now, and why none of the others. The scheduler orders them by
//! [`preference`], and [`decide`] tells its choice in full from the same order, so the two cannot disagree.

use std::cmp::Reverse;
use std::fmt;

use super::{Lack, lacks};
use crate::id::{IdMap, TaskId, WorkerId};
use crate::model::Fleet;

/// What the scheduler knows of a worker when it places a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub slots: u32,
    pub free: u32,
    /// Of the task's inputs, as far as they are known to be there already.
    pub bytes: u64,
    /// An attempt of the task failed there, and another worker is to have the next.
    pub avoided: bool,
}

/// Whether a worker can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health<'a> {
    Up,
    /// Nothing was placed there yet, so nobody has tried.
    #[default]
    Unknown,
    /// Gone, for this reason, and it may come back.
    Away(&'a str),
    /// Gone, for this reason, and for the rest of the run.
    Lost(&'a str),
}

/// Everything that is known of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    pub load: Load,
    pub health: Health<'a>,
}

/// Where a task goes, and what each worker is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub decision: Decision,
    pub workers: IdMap<WorkerId, Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Place(WorkerId, Because),
    /// All that fit and are not lost are busy, or away.
    Wait,
    /// All that fit are lost.
    Gone,
    /// None fits.
    Impossible,
}

/// What told one worker from the next best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Nothing else fits and is free.
    Only,
    /// More bytes of its inputs are there.
    Bytes(u64),
    /// A larger share of its slots is free.
    Share,
    /// It is declared first.
    Order,
}

/// What a worker is to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Chosen(Because),
    /// It fits and is free, and the chosen one was better in this.
    Free(Because),
    /// It fits, and has no slot left.
    Busy,
    /// It fits, and an attempt of the task failed there.
    Avoided,
    /// It fits, and is away.
    Away(Box<str>),
    /// It fits, and is lost.
    Lost(Box<str>),
    Lacks(Vec<Lack>),
}

/// The better of two workers that fit and are free has the higher one: most bytes there already, then the largest share
/// of its slots free, then the order of the file.
#[must_use]
pub fn preference(worker: WorkerId, load: Load) -> impl Ord + Copy + use<> {
    (load.bytes, share(load), Reverse(worker))
}

/// The free part of the slots, in parts of 2^32: equal for equal fractions.
fn share(load: Load) -> u64 {
    (u64::from(load.free) << 32) / u64::from(load.slots.max(1))
}

/// Decides with what is known of each worker, by its id.
#[must_use]
pub fn decide(fleet: &Fleet, task: TaskId, known: &IdMap<WorkerId, Known<'_>>) -> Placement {
    let request = fleet.tasks[task].worker.as_deref();
    let standing = |(id, worker): (WorkerId, _)| {
        let Known { load, health } = known[id];
        let lacks = request.map(|request| lacks(worker, request)).unwrap_or_default();
        match health {
            _ if !lacks.is_empty() => Standing::Lacks(lacks),
            Health::Lost(why) => Standing::Lost(why.into()),
            _ if load.avoided => Standing::Avoided,
            Health::Away(why) => Standing::Away(why.into()),
            _ if load.free == 0 => Standing::Busy,
            _ => Standing::Free(Because::Only),
        }
    };
    let mut workers: IdMap<WorkerId, Standing> = fleet.workers.iter().map(standing).collect::<Vec<_>>().into();
    // One that failed before is better than none at all.
    if !workers.values().any(|standing| matches!(standing, Standing::Free(_) | Standing::Busy | Standing::Away(_))) {
        for (id, standing) in workers.iter_mut().filter(|(_, standing)| **standing == Standing::Avoided) {
            *standing = match known[id].health {
                Health::Away(why) => Standing::Away(why.into()),
                _ if known[id].load.free == 0 => Standing::Busy,
                _ => Standing::Free(Because::Only),
            };
        }
    }
    let decision = choose(&mut workers, known);
    Placement { decision, workers }
}

fn choose(workers: &mut IdMap<WorkerId, Standing>, known: &IdMap<WorkerId, Known<'_>>) -> Decision {
    let free = |workers: &IdMap<WorkerId, Standing>| {
        let free = workers.iter().filter(|(_, standing)| matches!(standing, Standing::Free(_)));
        free.map(|(id, _)| id).collect::<Vec<_>>()
    };
    let mut order = free(workers);
    order.sort_by_key(|id| Reverse(preference(*id, known[*id].load)));
    let Some((&chosen, others)) = order.split_first() else {
        let any = |wanted: fn(&Standing) -> bool| workers.values().any(wanted);
        return match () {
            () if any(|standing| matches!(standing, Standing::Busy | Standing::Avoided | Standing::Away(_))) => {
                Decision::Wait
            }
            () if any(|standing| matches!(standing, Standing::Lost(_))) => Decision::Gone,
            () => Decision::Impossible,
        };
    };
    let better = |other: WorkerId| {
        let (one, two) = (known[chosen].load, known[other].load);
        match () {
            () if one.bytes > two.bytes => Because::Bytes(one.bytes),
            () if share(one) > share(two) => Because::Share,
            () => Because::Order,
        }
    };
    for &other in others {
        workers[other] = Standing::Free(better(other));
    }
    let because = others.first().map_or(Because::Only, |next| better(*next));
    workers[chosen] = Standing::Chosen(because);
    Decision::Place(chosen, because)
}

impl Placement {
    /// Each worker but the chosen one.
    pub fn others(&self) -> impl Iterator<Item = (WorkerId, &Standing)> {
        self.workers.iter().filter(|(_, standing)| !matches!(standing, Standing::Chosen(_)))
    }
}

impl Standing {
    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Chosen(_) => "chosen",
            Self::Free(_) => "free",
            Self::Busy => "busy",
            Self::Avoided => "avoided",
            Self::Away(_) => "away",
            Self::Lost(_) => "lost",
            Self::Lacks(_) => "lacks",
        }
    }
}

/// Why the chosen one, to be read after its name.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("nothing else fits and is free"),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes of its inputs are there already, more than elsewhere"),
            Self::Share => f.write_str("the largest share of its slots is free"),
            Self::Order => f.write_str("it is declared before others that are as good"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(because) => because.fmt(f),
            Self::Free(Because::Bytes(_)) => f.write_str("free, with less of its inputs"),
            Self::Free(Because::Share) => f.write_str("free, with a smaller share of its slots"),
            Self::Free(Because::Only | Because::Order) => f.write_str("free, and declared later"),
            Self::Busy => f.write_str("fits, but has no slot free"),
            Self::Avoided => f.write_str("fits, but an attempt failed there"),
            Self::Away(why) => write!(f, "fits, but is away: {why}"),
            Self::Lost(why) => write!(f, "fits, but is lost: {why}"),
            Self::Lacks(lacks) => {
                f.write_str("lacks ")?;
                for (n, lack) in lacks.iter().enumerate() {
                    let joint = if n == 0 {
                        ""
                    } else if n + 1 == lacks.len() {
                        " and "
                    } else {
                        ", "
                    };
                    write!(f, "{joint}{lack}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
