//! What holds of every decision, and each reason once. That the scheduler decides the same is in its own simulation.

use proptest::prelude::*;

use super::*;
use crate::graph::testing::{fleet, id, worker};
use crate::id::Id as _;
use crate::model::WorkerRequest;

/// A fleet of one task that asks for a capability, and workers of which some have it.
fn world(able: &[bool]) -> Fleet {
    let request = WorkerRequest { capabilities: vec!["it".into()], ..WorkerRequest::default() };
    let mut fleet = fleet(&["t"]).with(0, |task| task.worker = Some(Box::new(request)));
    let declared = able.iter().enumerate().map(|(n, able)| {
        let mut worker = worker(&format!("w{n}"), 4);
        worker.capabilities.extend(able.then(|| "it".to_owned()));
        worker
    });
    fleet.workers = declared.collect::<Vec<_>>().into();
    fleet
}

fn known(slots: u32, free: u32, bytes: u64, avoided: bool, lost: bool) -> Known<'static> {
    let health = if lost { Health::Lost("the connection ended") } else { Health::Up };
    Known { load: Load { slots, free, bytes, avoided }, health }
}

/// As the scheduler has it: nothing is free on one that is not there.
fn away(known: Known<'static>) -> Known<'static> {
    Known { load: Load { free: 0, ..known.load }, health: Health::Away("the connection ended") }
}

fn some_worker() -> impl Strategy<Value = (bool, Known<'static>)> {
    let chance = |percent: f64| prop::bool::weighted(percent);
    (chance(0.8), 1..5_u32, 0..5_u32, 0..3_u64, chance(0.2), chance(0.2), chance(0.2)).prop_map(
        |(able, slots, free, bytes, avoided, lost, is_away)| {
            let known = known(slots, free.min(slots), bytes, avoided, lost);
            (able, if is_away && !lost { away(known) } else { known })
        },
    )
}

proptest! {
    #[test]
    fn a_decision_is_the_best_there_is_and_accounts_for_every_worker(all in prop::collection::vec(some_worker(), 1..6)) {
        let (able, loads): (Vec<bool>, Vec<Known<'static>>) = all.into_iter().unzip();
        let fleet = world(&able);
        let loads: IdMap<WorkerId, Known<'_>> = loads.into();
        let told = decide(&fleet, id(0), &loads);
        prop_assert_eq!(&told, &decide(&fleet, id(0), &loads), "the same every time");
        prop_assert_eq!(told.workers.len(), fleet.workers.len());

        let fits = |w: WorkerId| able[w.index()];
        let alive = |w: WorkerId| fits(w) && !matches!(loads[w].health, Health::Lost(_));
        let fresh = fleet.workers.ids().any(|w| alive(w) && !loads[w].load.avoided);
        let may = |w: WorkerId| alive(w) && !(fresh && loads[w].load.avoided) && loads[w].load.free > 0;
        match told.decision {
            Decision::Place(chosen, because) => {
                prop_assert!(may(chosen));
                prop_assert_eq!(&told.workers[chosen], &Standing::Chosen(because));
                for other in fleet.workers.ids().filter(|w| may(*w) && *w != chosen) {
                    let (one, two) = (loads[chosen].load, loads[other].load);
                    // Without a division.
                    let share = |load: Load, of: Load| u64::from(load.free) * u64::from(of.slots);
                    let better = (one.bytes, share(one, two), Reverse(chosen)) > (two.bytes, share(two, one), Reverse(other));
                    prop_assert!(better, "{:?} before {:?}", one, two);
                    prop_assert!(matches!(told.workers[other], Standing::Free(_)));
                }
            }
            Decision::Wait => {
                prop_assert!(!fleet.workers.ids().any(may) && fleet.workers.ids().any(alive));
            }
            Decision::Gone => {
                prop_assert!(!fleet.workers.ids().any(alive) && fleet.workers.ids().any(fits));
            }
            Decision::Impossible => prop_assert!(!fleet.workers.ids().any(fits)),
        }
        for (w, standing) in told.others() {
            prop_assert_eq!(matches!(standing, Standing::Lacks(_)), !fits(w));
            prop_assert_eq!(matches!(standing, Standing::Lost(_)), fits(w) && !alive(w));
            if matches!(standing, Standing::Away(_)) {
                prop_assert!(matches!(loads[w].health, Health::Away(_)), "{:?}", loads[w]);
            }
            if matches!(standing, Standing::Busy) {
                prop_assert!(loads[w].health == Health::Up, "{:?}", loads[w]);
            }
        }
        let chosen = told.workers.values().filter(|standing| matches!(standing, Standing::Chosen(_))).count();
        prop_assert_eq!(chosen, usize::from(matches!(told.decision, Decision::Place(..))));
    }
}

#[test]
fn each_reason_is_said() {
    let say = |all: &[(bool, Known<'static>)]| {
        let (able, loads): (Vec<bool>, Vec<Known<'static>>) = all.iter().copied().unzip();
        let told = decide(&world(&able), id(0), &loads.into());
        told.workers.values().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (free, busy, lost) = (known(2, 2, 0, false, false), known(2, 0, 9, false, false), known(2, 2, 9, false, true));
    assert_eq!(
        say(&[
            (true, free),
            (true, busy),
            (true, away(free)),
            (true, lost),
            (false, free),
            (true, known(2, 2, 9, true, false)),
        ]),
        [
            "nothing else fits and is free",
            "fits, but has no slot free",
            "fits, but is away: the connection ended",
            "fits, but is lost: the connection ended",
            "lacks the capability \"it\"",
            "fits, but an attempt failed there",
        ]
    );
    assert_eq!(
        say(&[(true, free), (true, known(4, 1, 7, false, false))]),
        ["free, with less of its inputs", "7 bytes of its inputs are there already, more than elsewhere"]
    );
    assert_eq!(
        say(&[(true, known(4, 3, 0, false, false)), (true, free)]),
        ["free, with a smaller share of its slots", "the largest share of its slots is free"]
    );
    assert_eq!(
        say(&[(true, free), (true, free)]),
        ["it is declared before others that are as good", "free, and declared later"]
    );
}

#[test]
fn to_wait_is_not_to_be_impossible() {
    let decision = |all: &[(bool, Known<'static>)]| {
        let (able, loads): (Vec<bool>, Vec<Known<'static>>) = all.iter().copied().unzip();
        decide(&world(&able), id(0), &loads.into()).decision
    };
    let (free, busy, lost) = (known(2, 2, 0, false, false), known(2, 0, 0, false, false), known(2, 2, 0, false, true));
    assert_eq!(decision(&[(false, free), (true, busy), (true, lost)]), Decision::Wait);
    assert_eq!(decision(&[(false, free), (true, lost)]), Decision::Gone);
    assert_eq!(decision(&[(false, free)]), Decision::Impossible);
    assert_eq!(decision(&[(true, away(free)), (true, lost)]), Decision::Wait, "it may come back");
    let avoided = known(2, 2, 0, true, false);
    assert_eq!(decision(&[(true, avoided), (true, away(free))]), Decision::Wait, "for a fresh one also then");
    assert_eq!(decision(&[(true, away(avoided)), (true, lost)]), Decision::Wait);
    assert_eq!(decision(&[(true, avoided), (true, busy)]), Decision::Wait, "the fresh one has the next turn");
    let only = Decision::Place(WorkerId::from_index(0), Because::Only);
    assert_eq!(decision(&[(true, avoided), (true, lost)]), only, "and when it is gone, the other is good enough");
}
