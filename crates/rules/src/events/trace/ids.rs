//! The ids of a trace and of its spans.

use super::context::{self, Parent, RANDOM, SAMPLED};
use crate::events::route;

/// What a span is about. The numbers never change: they are a part of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A task from its first start to its end; the next number after it was taken up again.
    Task = 1,
    /// A run of a step, by the number of its claim.
    Run = 2,
    /// The time in the queue before this run.
    Queued = 3,
    /// A retry of a step: the first one, the second one, ...
    Retry = 4,
    /// The creation of the task.
    Initialize = 5,
}

/// The trace of a task.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    /// Its id, not 0.
    pub id: u128,
    /// The span that came in.
    pub parent: Option<Parent>,
    seed: u64,
}

impl Trace {
    /// That of a task which was created with this traceparent. One that cannot be read counts as none.
    pub fn of(task: &[u8; 16], traceparent: Option<&str>) -> Self {
        let parent = traceparent.and_then(|text| Parent::parse(text).ok());
        let task = u128::from_be_bytes(*task);
        let (upper, lower) = ((task >> 64) as u64, task as u64);
        let first = mixed(mixed(upper.wrapping_add(STEP)) ^ lower);
        let second = mixed(first.wrapping_add(STEP) ^ lower);
        let own = u128::from(first) << 64 | u128::from(second);
        let id = parent.map_or(own.max(1), |parent| parent.trace_id);
        // Two tasks of one trace have different spans.
        let seed = mixed(second ^ id as u64).wrapping_add((id >> 64) as u64);
        Self { id, parent, seed }
    }

    /// The id of a span, not 0: within a task, each has its own.
    pub fn span(&self, kind: Kind, step_no: i16, number: i32) -> u64 {
        let key = (kind as u64) << 48 | u64::from(step_no as u16) << 32 | u64::from(number as u32);
        let id = mixed(self.seed ^ key.wrapping_mul(STEP));
        if id == 0 { u64::MAX } else { id }
    }

    /// The span of the task that is the root of its tree.
    pub fn root(&self) -> u64 {
        self.span(Kind::Task, 0, 0)
    }

    /// The span of a run.
    pub fn run(&self, step_no: i16, claim_number: i32) -> u64 {
        self.span(Kind::Run, step_no, claim_number)
    }

    /// Whether what has this share of the tasks is recorded of this task: the caller decides if it has said so, as long as there is a
    /// share.
    pub fn records(&self, share: f64, task: &[u8; 16]) -> bool {
        match self.parent {
            Some(parent) => parent.is_sampled() && share > 0.0,
            None => route::takes(share, task),
        }
    }

    /// The traceparent that names this span.
    pub fn traceparent(&self, span_id: u64, sampled: bool) -> String {
        let came_in = self.parent.map_or(0, |parent| parent.flags & RANDOM);
        let flags = came_in | if sampled { SAMPLED } else { 0 };
        context::traceparent(self.id, span_id, flags)
    }
}

/// Odd, so that a product with it loses nothing.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

// As splitmix64 does it: each value has one result, and each bit of it depends on each bit.
const fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const IN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    const KINDS: [Kind; 5] = [
        Kind::Task,
        Kind::Run,
        Kind::Queued,
        Kind::Retry,
        Kind::Initialize,
    ];

    fn task(number: u32) -> [u8; 16] {
        let mut task = [7; 16];
        task[12..].copy_from_slice(&number.to_be_bytes());
        task
    }

    #[test]
    fn the_trace_is_that_which_came_in_or_one_of_the_tasks_own() {
        let came = Trace::of(&task(1), Some(IN));
        assert_eq!(came.id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            came.parent.map(|parent| parent.span_id),
            Some(0x00f0_67aa_0ba9_02b7)
        );
        for none in [None, Some("t-1")] {
            let own = Trace::of(&task(1), none);
            assert_eq!((own.id, own.parent), (Trace::of(&task(1), None).id, None));
            assert_ne!(own.id, Trace::of(&task(2), None).id);
        }
    }

    /// Spans are stored nowhere, so their ids must not change with a version.
    #[test]
    fn ids_are_the_same_forever() {
        let own = Trace::of(&task(1), None);
        let came = Trace::of(&task(1), Some(IN));
        let ids = |trace: Trace| {
            let run = trace.traceparent(trace.run(2, 3), true);
            format!("{run} {:016x}", trace.root())
        };
        assert_eq!(
            ids(own),
            "00-fda6da70f1e44057072a8c08109cbbca-4236eebb95bf8001-01 80325491bac9d6ff"
        );
        assert_eq!(
            ids(came),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-5a9939d3e7ed8d5f-01 89e508b80bf7500c"
        );
    }

    #[test]
    fn two_tasks_of_one_trace_have_different_spans() {
        let spans = |number| Trace::of(&task(number), Some(IN)).root();
        let all: BTreeSet<u64> = (0..10_000).map(spans).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn traces_of_neighbours_share_no_half() {
        let ids: Vec<u128> = (0..10_000)
            .map(|number| Trace::of(&task(number), None).id)
            .collect();
        let upper: BTreeSet<u64> = ids.iter().map(|id| (id >> 64) as u64).collect();
        let lower: BTreeSet<u64> = ids.iter().map(|id| *id as u64).collect();
        assert_eq!((upper.len(), lower.len()), (10_000, 10_000));
    }

    #[test]
    fn the_caller_decides_what_is_recorded_if_it_says_so() {
        let records = |came, share| {
            (0..1000)
                .filter(|number| Trace::of(&task(*number), came).records(share, &task(*number)))
                .count()
        };
        assert_eq!(records(Some(IN), 0.1), 1000);
        assert_eq!(records(Some(IN), 0.0), 0);
        assert_eq!(records(Some(NOT_SAMPLED), 1.0), 0);
        assert_eq!(records(None, 1.0), 1000);
        assert_eq!(records(None, 0.0), 0);
        assert!((50..150).contains(&records(None, 0.1)));
    }

    #[test]
    fn the_flags_say_what_is_recorded_and_whether_the_id_is_random() {
        let random = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02";
        let flags = |came, sampled| {
            let trace = Trace::of(&task(1), came);
            trace.traceparent(trace.root(), sampled)[53..].to_owned()
        };
        assert_eq!(flags(Some(IN), true), "01");
        assert_eq!(flags(Some(IN), false), "00");
        assert_eq!(flags(Some(random), false), "02");
        assert_eq!(flags(None, true), "01");
    }

    proptest! {
        #[test]
        fn each_span_of_a_task_has_an_id_of_its_own(
            task: [u8; 16],
            keys in prop::collection::btree_set((0usize..5, 0i16.., 0i32..), 1..100),
            near in prop::collection::btree_set((0usize..5, 0i16..50, 0i32..50), 1..100),
        ) {
            for trace in [Trace::of(&task, None), Trace::of(&task, Some(IN))] {
                let keys: BTreeSet<_> = keys.iter().chain(&near).collect();
                let ids: BTreeSet<u64> = keys.iter()
                    .map(|(kind, step, number)| trace.span(KINDS[*kind], *step, *number))
                    .collect();
                prop_assert_eq!(ids.len(), keys.len());
                prop_assert!(!ids.contains(&0) && trace.id != 0);
            }
        }
    }
}
