//! The events that a row of the log gives. They depend on the row and on what never changes, so that they read the same each time.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::engine::state::{StepState, TaskState};

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A task; it was created if it comes from nowhere.
    Task(Option<TaskState>, TaskState),
    /// A step.
    Step(StepState, StepState),
}

impl Change {
    /// What a row stands for that ends a run: it tells the start as well.
    pub const RUN_STARTS: Self = Self::Step(StepState::Pending, StepState::InProgress);

    /// Whether the events depend on which steps the change releases; `done_at_creation`: as in [`Row`].
    pub fn asks_for_released(self, done_at_creation: bool) -> bool {
        match self {
            Self::Task(from, _) => from.is_none(),
            Self::Step(from, to) => from.allowed(to) && to.is_finished_good() && !done_at_creation,
        }
    }
}

/// What the metadata of a row say about its events.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Said {
    /// The number of seconds after which the step may run again; `None`: it does not by itself.
    pub retry_after_seconds: Option<f64>,
    /// A retry waits until the task is taken up again.
    pub held: bool,
    /// The limit of attempts when the run ended.
    pub retry_limit: Option<i64>,
    /// The run ended without a report.
    pub expired: bool,
    /// `repair_integrity` wrote the row.
    pub repair: bool,
}

/// How the reason of a row begins that `repair_integrity` wrote before rows said `repair`.
pub const REPAIR: &str = "repair_integrity: ";

impl Said {
    /// Reads the metadata of a row; what is missing or of another kind says nothing.
    pub fn of(metadata: &Value) -> Self {
        let is_set = |key: &str| metadata.get(key) == Some(&Value::Bool(true));
        let reason = metadata.get("reason").and_then(Value::as_str);
        Self {
            retry_after_seconds: metadata
                .get("retry_after_seconds")
                .and_then(Value::as_f64)
                .filter(|seconds| *seconds >= 0.0),
            held: is_set("held"),
            retry_limit: metadata.get("retry_limit").and_then(Value::as_i64),
            expired: is_set("expired"),
            repair: is_set("repair") || reason.is_some_and(|reason| reason.starts_with(REPAIR)),
        }
    }

    /// The step runs again, but not at once.
    pub fn waits(&self) -> bool {
        self.retry_after_seconds
            .is_some_and(|seconds| seconds > 0.0)
    }

    fn is_permanent(&self) -> bool {
        self.retry_after_seconds.is_none() && !self.held
    }
}

/// A row of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// What changed.
    pub change: Change,
    /// The number of the attempt; 0 for a task.
    pub attempt: i16,
    /// What its metadata say.
    pub said: Said,
    /// The step was done when its task was created: bypassed, or kept from another task.
    pub done_at_creation: bool,
    /// A step can run because of the row ([`released`], [`first`]). Counts only where [`Row::asks_for_released`].
    pub releases: bool,
}

/// An event of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Its place among all that a row can give, below [`PLACES`]: the same event has the same place in every row and every version.
    pub place: u8,
    /// The canonical name.
    pub name: &'static str,
}

/// The number of places.
pub const PLACES: u8 = 16;

const BEFORE: u8 = 0;
/// The place of the event that names the change itself.
pub const CHANGED: u8 = 1;
const VIABLE: u8 = 2;
const EXECUTED: u8 = 3;
const ATTEMPTS: u8 = 4;
const SKIPPED: u8 = 5;
const REENQUEUE: u8 = 6;
const REENQUEUED: u8 = 7;
const FINALIZED: u8 = 8;
const UNCLEAR: u8 = 9;

impl Row {
    /// Whether the events depend on which steps the row releases.
    pub fn asks_for_released(&self) -> bool {
        self.change.asks_for_released(self.done_at_creation)
    }
}

/// The events of a row, in the order in which they are handed out.
pub fn of(row: &Row) -> Vec<Event> {
    let mut events = vec![];
    let mut add = |place, name| events.push(Event { place, name });
    let declared = match row.change {
        Change::Task(None, TaskState::Pending) => Some(TaskState::CREATED),
        Change::Task(from, to) => from.and_then(|from| from.event(to)),
        Change::Step(from, to) => from.event(to),
    };
    if let Some(name) = declared {
        match row.change {
            Change::Task(None, _) => {}
            Change::Task(..) => add(BEFORE, "task.before_transition"),
            Change::Step(..) => add(BEFORE, "step.before_transition"),
        }
        add(CHANGED, name);
        if row.asks_for_released() {
            add(
                VIABLE,
                if row.releases {
                    "workflow.viable_steps_discovered"
                } else {
                    "workflow.no_viable_steps"
                },
            );
        }
        match row.change {
            Change::Task(from, to) => of_task(from, to, &mut add),
            Change::Step(from, to) => of_step(row, from, to, &mut add),
        }
    }
    if row.said.repair {
        add(UNCLEAR, "workflow.task_state_unclear");
    }
    events
}

/// The names of all events that rows of this change can give, whatever else they say.
pub fn names(change: Change) -> &'static [&'static str] {
    NAMES.get(&change).map_or(&[], Vec::as_slice)
}

/// The same of all changes.
pub(super) static NAMES: LazyLock<FxHashMap<Change, Vec<&'static str>>> = LazyLock::new(|| {
    let mut names: FxHashMap<Change, Vec<&'static str>> = FxHashMap::default();
    for row in all_rows() {
        let of_change = names.entry(row.change).or_default();
        for event in of(&row) {
            if !of_change.contains(&event.name) {
                of_change.push(event.name);
            }
        }
    }
    names
});

/// Every row that can occur, as far as [`of`] looks at it.
fn all_rows() -> impl Iterator<Item = Row> {
    let from = TaskState::ALL.map(Some).into_iter().chain([None]);
    let tasks = from.flat_map(|from| TaskState::ALL.map(|to| Change::Task(from, to)));
    let steps = StepState::ALL
        .into_iter()
        .flat_map(|from| StepState::ALL.map(|to| Change::Step(from, to)));
    let waits = [None, Some(0.0), Some(1.5)];
    tasks.chain(steps).flat_map(move |change| {
        (0..64u8).flat_map(move |bits| {
            let bit = move |which: u8| bits & (1 << which) != 0;
            waits.map(|retry_after_seconds| Row {
                change,
                attempt: 3,
                said: Said {
                    retry_after_seconds,
                    held: bit(0),
                    retry_limit: bit(1).then_some(3),
                    expired: bit(2),
                    repair: bit(3),
                },
                done_at_creation: bit(4),
                releases: bit(5),
            })
        })
    })
}

fn of_task(from: Option<TaskState>, to: TaskState, add: &mut impl FnMut(u8, &'static str)) {
    let Some(from) = from else {
        return;
    };
    if to == TaskState::Pending {
        add(REENQUEUE, "workflow.task_reenqueue_started");
        add(REENQUEUED, "workflow.task_reenqueue_requested");
    }
    let parked = (from, to) == (TaskState::InProgress, TaskState::Pending);
    if !to.is_open() || parked {
        add(FINALIZED, "workflow.task_finalization_completed");
    }
}

fn of_step(row: &Row, from: StepState, to: StepState, add: &mut impl FnMut(u8, &'static str)) {
    use StepState::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};
    let said = &row.said;
    if from == InProgress && matches!(to, Complete | Error) {
        add(EXECUTED, "workflow.steps_execution_completed");
    }
    if to == Error {
        let used_up = |limit| i64::from(row.attempt) >= limit;
        if said.waits() {
            add(ATTEMPTS, "observability.step.backoff");
        } else if said.is_permanent() && said.retry_limit.is_some_and(used_up) {
            add(ATTEMPTS, "observability.step.max_retries_reached");
        }
        if said.expired && said.is_permanent() {
            add(REENQUEUE, "workflow.task_reenqueue_failed");
        }
    }
    if from == Pending && matches!(to, Cancelled | ResolvedManually) {
        add(SKIPPED, "observability.step.skip");
    }
    if said.waits() && (to == Error || (from, to) == (InProgress, Pending)) {
        add(REENQUEUE, "workflow.task_reenqueue_delayed");
    }
}

/// The steps that can run because this one is done: its children that are not done, whose other parents all were done before.
/// `before` are the steps of the task that were done before this one: their rows have smaller ids, because the report that is the last
/// to take the lock of a common child takes its ids after the others have committed.
pub fn released<'p>(
    children: &[i16],
    parents_of: impl Fn(i16) -> &'p [i16],
    this: i16,
    before: &BTreeSet<i16>,
) -> Vec<i16> {
    let done = |no: &i16| *no == this || before.contains(no);
    let is_free = |child: &&i16| !before.contains(child) && parents_of(**child).iter().all(done);
    children.iter().filter(is_free).copied().collect()
}

/// The steps that can run when their task is created: not done then, and without a parent that is not. `parents` are those of the steps
/// 1, 2, ...; `done` are the steps that are bypassed or kept.
pub fn first(parents: &[&[i16]], done: &BTreeSet<i16>) -> Vec<i16> {
    (1i16..)
        .zip(parents)
        .filter(|(no, parents)| {
            !done.contains(no) && parents.iter().all(|parent| done.contains(parent))
        })
        .map(|(no, _)| no)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::events::catalog::{CATALOG, Source, entry};

    fn names(row: &Row) -> Vec<&'static str> {
        of(row).iter().map(|event| event.name).collect()
    }

    fn row(change: Change, metadata: &Value) -> Row {
        Row {
            change,
            attempt: 3,
            said: Said::of(metadata),
            done_at_creation: false,
            releases: false,
        }
    }

    #[test]
    fn every_event_of_rows_occurs_and_no_other_does() {
        let mut occurring: BTreeSet<&str> = all_rows().flat_map(|row| names(&row)).collect();
        for entry in CATALOG.iter().filter(|entry| entry.source == Source::Row) {
            assert!(occurring.remove(entry.name), "{} never occurs", entry.name);
        }
        assert_eq!(occurring, BTreeSet::new());
    }

    #[test]
    fn each_event_of_a_row_has_a_place_of_its_own_and_they_ascend() {
        for row in all_rows() {
            let events = of(&row);
            let ascend = events.windows(2).all(|two| two[0].place < two[1].place);
            assert!(ascend, "{row:?}: {events:?}");
            assert!(events.iter().all(|event| event.place < PLACES));
            assert!(events.iter().all(|event| entry(event.name).is_some()));
        }
    }

    #[test]
    fn a_task_gives_these_events() {
        use TaskState::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};
        let before = "task.before_transition";
        let end = "workflow.task_finalization_completed";
        let started = "workflow.task_reenqueue_started";
        let requested = "workflow.task_reenqueue_requested";
        for (from, to, expected) in [
            (
                Some(Pending),
                InProgress,
                vec![before, "task.start_requested"],
            ),
            (
                Some(InProgress),
                Complete,
                vec![before, "task.completed", end],
            ),
            (Some(InProgress), Error, vec![before, "task.failed", end]),
            (
                Some(Pending),
                Cancelled,
                vec![before, "task.cancelled", end],
            ),
            (
                Some(Error),
                ResolvedManually,
                vec![before, "task.resolved_manually", end],
            ),
            (
                Some(Error),
                Pending,
                vec![before, "task.retry_requested", started, requested],
            ),
            (
                Some(InProgress),
                Pending,
                vec![before, "task.initialize_requested", started, requested, end],
            ),
            (
                None,
                Pending,
                vec!["task.initialize_requested", "workflow.no_viable_steps"],
            ),
        ] {
            assert_eq!(names(&row(Change::Task(from, to), &json!({}))), expected);
        }
    }

    #[test]
    fn a_failure_says_whether_and_when_the_step_runs_again() {
        let failed = Change::Step(StepState::InProgress, StepState::Error);
        let common = [
            "step.before_transition",
            "step.failed",
            "workflow.steps_execution_completed",
        ];
        for (metadata, more) in [
            (json!({}), vec![]),
            (
                json!({"retry_after_seconds": 2.5, "retry_limit": 4}),
                vec![
                    "observability.step.backoff",
                    "workflow.task_reenqueue_delayed",
                ],
            ),
            // A lost run that had not begun is none, so the last attempt is made again.
            (
                json!({"retry_after_seconds": 0, "expired": true, "retry_limit": 3}),
                vec![],
            ),
            (json!({"retry_limit": 4}), vec![]),
            (
                json!({"retry_limit": 3}),
                vec!["observability.step.max_retries_reached"],
            ),
            (
                json!({"retry_limit": 3, "expired": true}),
                vec![
                    "observability.step.max_retries_reached",
                    "workflow.task_reenqueue_failed",
                ],
            ),
            (
                json!({"retry_limit": 4, "expired": true}),
                vec!["workflow.task_reenqueue_failed"],
            ),
            (
                json!({"retry_limit": 4, "expired": true, "held": true}),
                vec![],
            ),
        ] {
            let expected: Vec<&str> = common.into_iter().chain(more).collect();
            assert_eq!(names(&row(failed, &metadata)), expected, "{metadata}");
        }
    }

    #[test]
    fn a_step_that_is_given_back_delays_its_task_only_with_a_wait() {
        let back = Change::Step(StepState::InProgress, StepState::Pending);
        let common = ["step.before_transition", "step.released"];
        assert_eq!(names(&row(back, &json!({}))), common);
        let waits = row(back, &json!({"retry_after_seconds": 1.5}));
        assert_eq!(names(&waits)[2..], ["workflow.task_reenqueue_delayed"]);
    }

    #[test]
    fn a_step_without_a_run_is_skipped_and_releases_its_children_unless_it_was_done_at_creation() {
        let resolved = Change::Step(StepState::Pending, StepState::ResolvedManually);
        let mut bypassed = row(resolved, &json!({"reason": "bypassed"}));
        let common = ["step.before_transition", "step.resolved_manually"];
        bypassed.releases = true;
        assert_eq!(names(&bypassed)[..2], common);
        assert_eq!(
            names(&bypassed)[2..],
            [
                "workflow.viable_steps_discovered",
                "observability.step.skip"
            ]
        );
        bypassed.done_at_creation = true;
        assert_eq!(names(&bypassed)[2..], ["observability.step.skip"]);
    }

    #[test]
    fn a_repair_is_the_only_event_where_no_transition_leads() {
        let metadata = json!({"repair": true});
        let back = Change::Step(StepState::Complete, StepState::Pending);
        // Rows that were written before they said it have only the reason.
        let old =
            json!({"reason": "repair_integrity: the log did not lead to the state of the row"});
        for metadata in [&metadata, &old] {
            assert_eq!(names(&row(back, metadata)), ["workflow.task_state_unclear"]);
        }
        let failed = Change::Task(Some(TaskState::InProgress), TaskState::Error);
        assert_eq!(
            names(&row(failed, &metadata)),
            [
                "task.before_transition",
                "task.failed",
                "workflow.task_finalization_completed",
                "workflow.task_state_unclear"
            ]
        );
    }

    #[test]
    fn metadata_of_another_kind_say_nothing() {
        for metadata in [
            json!(null),
            json!([1]),
            json!({"retry_after_seconds": "soon", "held": 1, "retry_limit": "3", "expired": "yes", "reason": {}}),
            json!({"retry_after_seconds": "1.5"}),
            json!({"retry_after_seconds": -1, "repair": "no"}),
        ] {
            assert_eq!(Said::of(&metadata), Said::default(), "{metadata}");
        }
    }

    /// Parents of the steps 1, 2, ...: every one is before its child.
    fn graphs() -> impl Strategy<Value = Vec<Vec<i16>>> {
        prop::collection::vec(prop::collection::btree_set(0..8i16, 0..4), 1..9).prop_map(|graph| {
            let below = |no: i16, parents: BTreeSet<i16>| {
                parents.into_iter().filter(|p| *p >= 1 && *p < no).collect()
            };
            (1..)
                .zip(graph)
                .map(|(no, parents)| below(no, parents))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_row_gives_no_event_that_its_change_cannot_give(
            place in any::<prop::sample::Index>(), attempt in 0..9i16, wait in prop::option::of(0.0..9.0), limit in prop::option::of(0..9i64),
            bits in any::<[bool; 5]>(),
        ) {
            let changes: Vec<Change> = all_rows().map(|row| row.change).collect();
            let row = Row {
                change: *place.get(&changes),
                attempt,
                said: Said {
                    retry_after_seconds: wait,
                    held: bits[0],
                    retry_limit: limit,
                    expired: bits[1],
                    repair: bits[2],
                },
                done_at_creation: bits[3],
                releases: bits[4],
            };
            let possible = super::names(row.change);
            prop_assert!(names(&row).iter().all(|name| possible.contains(name)), "{:?}", row);
        }

        #[test]
        fn every_step_is_released_once_in_whatever_order_its_parents_end(
            graph in graphs(), kept in prop::collection::btree_set(1..9i16, 0..4), seed in any::<u64>(),
        ) {
            let steps = graph.len() as i16;
            let kept: BTreeSet<i16> = kept.into_iter().filter(|no| *no <= steps).collect();
            let parents: Vec<&[i16]> = graph.iter().map(Vec::as_slice).collect();
            let parents_of = |no: i16| parents[no as usize - 1];
            let mut ready: Vec<i16> = first(&parents, &kept);
            let mut done = kept.clone();
            let mut seen: BTreeSet<i16> = ready.iter().copied().collect();
            let mut random = seed;
            while !ready.is_empty() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let this = ready.swap_remove((random >> 33) as usize % ready.len());
                let children: Vec<i16> =
                    (1..=steps).filter(|no| parents_of(*no).contains(&this)).collect();
                for child in released(&children, parents_of, this, &done) {
                    prop_assert!(seen.insert(child), "step {} twice", child);
                    ready.push(child);
                }
                done.insert(this);
            }
            let all: BTreeSet<i16> = (1..=steps).filter(|no| !kept.contains(no)).collect();
            prop_assert_eq!(seen, all);
        }
    }
}
