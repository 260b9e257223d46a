//! The audit log: every change of a state appends one row, in the transaction of the change.

use serde_json::{Map, Value};
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::failure::Failure;
use tasker_rules::events::rows::Change;
use tasker_rules::events::topics::Topics;

use super::{StepKey, labelled};
use crate::error::{Error, Result};
use crate::metrics::{Class, Metric};
use crate::pg::append::append;
use crate::pg::call::Sequence;
use crate::pg::datum::{self, Arg, Jsonb, Timestamp, Uuid};
use crate::pg::memory;
use crate::pg::xact;
use crate::processes;
use crate::storage;
use crate::subscribers::depth;

/// The number of a transition that no worker made.
pub const NO_WORKER: i32 = 0;

/// A run of a step: its worker, and its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub worker_no: i32,
    pub started_at: Timestamp,
}

/// What names a run: the id of its start in the log, if that has no row, and the number of its claim.
#[derive(Debug, Clone, Copy)]
pub struct RunKey {
    pub id: Option<i64>,
    pub claim_number: i32,
}

struct StepTransition<'e> {
    id: Option<i64>,
    key: StepKey,
    worker_no: i32,
    /// When the run began that this change ends.
    started_at: Option<Timestamp>,
    /// The run that this change ends.
    ended: Option<RunKey>,
    attempt: i16,
    from: StepState,
    to: StepState,
    metadata: Option<Jsonb<'e>>,
    /// The run ended because its lease ended.
    expired: bool,
    /// Its template.
    template: i32,
    /// Why the run failed.
    class: Class,
}

impl<'e> StepTransition<'e> {
    /// A change that ends no run.
    fn new(
        template: i32,
        key: StepKey,
        attempt: i16,
        from: StepState,
        to: StepState,
        metadata: Option<Jsonb<'e>>,
    ) -> Self {
        Self {
            id: None,
            key,
            worker_no: NO_WORKER,
            started_at: None,
            ended: None,
            attempt,
            from,
            to,
            metadata,
            expired: false,
            template,
            class: Class::UNKNOWN,
        }
    }
}

struct TaskTransition<'e> {
    id: Option<i64>,
    template: i32,
    task: Uuid,
    from: TaskState,
    to: TaskState,
    metadata: Option<Jsonb<'e>>,
}

enum Transition<'e> {
    Step(StepTransition<'e>),
    Task(TaskTransition<'e>),
}

impl Transition<'_> {
    fn topics(&self) -> Topics {
        match self {
            Self::Step(row) => {
                let own = Topics::of_change(Change::Step(row.from, row.to));
                row.ended
                    .and_then(|run| run.id)
                    .map_or(own, |_| own.with(Topics::of_change(Change::RUN_STARTS)))
            }
            Self::Task(row) => Topics::of_change(Change::Task(Some(row.from), row.to)),
        }
    }

    fn id(&mut self) -> &mut Option<i64> {
        match self {
            Self::Step(row) => &mut row.id,
            Self::Task(row) => &mut row.id,
        }
    }
}

/// The ids of the log. The start of a run takes one and writes no row: the step keeps it, and the row that ends the run names it.
pub struct Ids(Sequence);

impl Ids {
    pub fn open() -> Result<Self> {
        // A transaction that begins later takes later ids: a reader of the log relies on it.
        xact::id();
        Ok(Self(Sequence::named(c"transitions_id_seq")?))
    }

    pub fn next(&self) -> Result<i64> {
        self.0.next()
    }
}

/// The transitions of one call, in their order.
#[derive(Default)]
pub struct Log<'e> {
    rows: Vec<Transition<'e>>,
    /// How many of the rows have their ids.
    numbered: usize,
    task_metadata: Option<Jsonb<'e>>,
}

impl<'e> Log<'e> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn truncate(&mut self, length: usize) {
        self.rows.truncate(length);
        self.numbered = self.numbered.min(length);
    }

    /// Gives the rows their ids: what takes an id after this comes after them.
    pub fn number(&mut self, ids: &Ids) -> Result<()> {
        for row in &mut self.rows[self.numbered..] {
            let id = row.id();
            if id.is_none() {
                *id = Some(ids.next()?);
            }
        }
        self.numbered = self.rows.len();
        Ok(())
    }

    #[expect(clippy::too_many_arguments)] // A row of the log has them.
    pub fn step(
        &mut self,
        template: i32,
        key: StepKey,
        worker_no: i32,
        attempt: i16,
        from: StepState,
        to: StepState,
        metadata: Option<Jsonb<'e>>,
    ) {
        self.push_step(StepTransition {
            worker_no,
            ..StepTransition::new(template, key, attempt, from, to, metadata)
        });
    }

    /// A failed step is about to run again; the id was taken before that of its run.
    pub fn tries_again(
        &mut self,
        id: i64,
        template: i32,
        key: StepKey,
        worker_no: i32,
        attempt: i16,
    ) {
        self.push_step(StepTransition {
            id: Some(id),
            worker_no,
            ..StepTransition::new(
                template,
                key,
                attempt,
                StepState::Error,
                StepState::Pending,
                None,
            )
        });
    }

    /// A run ends. Without a `run` that is known yet, [`Self::credit`] adds it.
    #[expect(clippy::too_many_arguments)] // A row of the log has them.
    pub fn ended(
        &mut self,
        template: i32,
        key: StepKey,
        ended: RunKey,
        run: Option<Run>,
        attempt: i16,
        to: StepState,
        metadata: Option<Jsonb<'e>>,
    ) {
        self.push_step(StepTransition {
            worker_no: run.map_or(NO_WORKER, |run| run.worker_no),
            started_at: run.map(|run| run.started_at),
            ended: Some(ended),
            ..StepTransition::new(template, key, attempt, StepState::InProgress, to, metadata)
        });
    }

    /// A lease ended before the step was reported.
    pub fn lost(
        &mut self,
        template: i32,
        key: StepKey,
        ended: RunKey,
        run: Run,
        attempt: i16,
        why: Option<Jsonb<'e>>,
    ) {
        self.push_step(StepTransition {
            worker_no: run.worker_no,
            started_at: Some(run.started_at),
            ended: Some(ended),
            expired: true,
            ..StepTransition::new(
                template,
                key,
                attempt,
                StepState::InProgress,
                StepState::Error,
                why,
            )
        });
    }

    // Debug builds, which the tests use, refuse a transition that the rules do not declare.
    fn push_step(&mut self, row: StepTransition<'e>) {
        debug_assert!(
            row.from.allowed(row.to),
            "a step went from {} to {}",
            row.from,
            row.to
        );
        self.rows.push(Transition::Step(row));
    }

    pub fn task(&mut self, template: i32, task: Uuid, from: TaskState, to: TaskState) {
        self.task_with(template, task, from, to, None);
    }

    /// The class of the failure that ended the last run.
    pub fn failed_with(&mut self, class: Class) {
        if let Some(Transition::Step(row)) = self.rows.last_mut() {
            row.class = class;
        }
    }

    /// The same with metadata; what an operator said of it comes behind them.
    pub fn task_with(
        &mut self,
        template: i32,
        task: Uuid,
        from: TaskState,
        to: TaskState,
        metadata: Option<Jsonb<'e>>,
    ) {
        debug_assert!(from.allowed(to), "a task went from {from} to {to}");
        self.rows.push(Transition::Task(TaskTransition {
            id: None,
            template,
            task,
            from,
            to,
            metadata: both(metadata, self.task_metadata),
        }));
    }

    /// Sets the metadata of the next transitions of tasks: an operator's reason.
    pub fn next_task_metadata(&mut self, metadata: Option<Jsonb<'e>>) {
        self.task_metadata = metadata;
    }

    /// Credits the transitions of these steps that have no worker yet.
    pub fn credit(&mut self, run_of: impl Fn(&StepKey) -> Option<Run>) {
        for row in &mut self.rows {
            if let Transition::Step(row) = row
                && row.worker_no == NO_WORKER
                && let Some(run) = run_of(&row.key)
            {
                row.worker_no = run.worker_no;
                row.started_at = Some(run.started_at);
            }
        }
    }

    /// Appends the rows and counts them. Returns whether there were any.
    pub fn flush(mut self, now: Timestamp) -> Result<bool> {
        if self.rows.is_empty() {
            return Ok(false);
        }
        labelled::record(|counts| {
            self.rows.iter().for_each(|row| count(counts, row, now));
        })?;
        let nothing = datum::jsonb_from_text("{}")
            .ok_or_else(|| Error::corrupt("an empty object is JSON"))?;
        let depth = depth();
        let metadata = |own: Option<Jsonb<'e>>| match depth {
            Some(depth) => datum::jsonb_concat(own.unwrap_or(nothing), depth).arg(),
            None => own.unwrap_or(nothing).arg(),
        };
        let xid = datum::xid8(xact::id());
        self.number(&Ids::open()?)?;
        let now = datum::timestamp(now);
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| match row {
                Transition::Step(row) => [
                    datum::opt(row.id, datum::int8),
                    datum::uuid(&row.key.task),
                    now,
                    datum::opt(row.started_at, datum::timestamp),
                    xid,
                    datum::int4(row.worker_no),
                    datum::int2(row.key.no),
                    datum::int2(row.attempt),
                    datum::state(row.from),
                    datum::state(row.to),
                    metadata(row.metadata),
                    datum::opt(row.ended.and_then(|run| run.id), datum::int8),
                    datum::opt(row.ended.map(|run| run.claim_number), datum::int4),
                ],
                Transition::Task(row) => [
                    datum::opt(row.id, datum::int8),
                    datum::uuid(&row.task),
                    now,
                    Arg::NULL,
                    xid,
                    datum::int4(NO_WORKER),
                    datum::int2(0),
                    datum::int2(0),
                    datum::state(row.from),
                    datum::state(row.to),
                    metadata(row.metadata),
                    Arg::NULL,
                    Arg::NULL,
                ],
            })
            .collect();
        append(&storage::TRANSITIONS, &rows)?;
        processes::note_events(|| {
            let topics = self.rows.iter().map(Transition::topics);
            topics.fold(Topics::NONE, Topics::with)
        });
        Ok(true)
    }
}

fn count(counts: &mut labelled::Counts, row: &Transition, now: Timestamp) {
    match row {
        Transition::Step(row) => count_step(counts, row, now),
        Transition::Task(row) => {
            if let Some(metric) = metric_of_task(row.from, row.to) {
                counts.task(metric, row.template, &row.task, now);
            }
        }
    }
}

fn count_step(counts: &mut labelled::Counts, row: &StepTransition, now: Timestamp) {
    let Some(metric) = metric_of_step(row) else {
        return;
    };
    counts.step(metric, row.worker_no, row.template, &row.key, row.class);
    if let (Metric::StepsCompleted | Metric::StepsFailed, Some(started_at)) =
        (metric, row.started_at)
    {
        counts.duration(
            Metric::StepRun,
            metric,
            row.template,
            &row.key,
            now - started_at,
        );
    }
}

fn metric_of_step(row: &StepTransition) -> Option<Metric> {
    use StepState::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};
    Some(match (row.from, row.to) {
        (Pending, InProgress) => Metric::StepsClaimed,
        (InProgress, Complete) => Metric::StepsCompleted,
        (InProgress, Error) if row.expired => Metric::StepsExpired,
        (InProgress, Error) => Metric::StepsFailed,
        (InProgress, Pending) => Metric::StepsReleased,
        (Error, Pending) => Metric::StepsRetried,
        (_, Cancelled) => Metric::StepsCancelled,
        (_, ResolvedManually) => Metric::StepsResolved,
        _ => return None,
    })
}

fn metric_of_task(from: TaskState, to: TaskState) -> Option<Metric> {
    use TaskState::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};
    Some(match (from, to) {
        (Pending, InProgress) => Metric::TasksStarted,
        (_, Complete) => Metric::TasksCompleted,
        (_, Error) => Metric::TasksFailed,
        (_, Cancelled) => Metric::TasksCancelled,
        (_, ResolvedManually) => Metric::TasksResolved,
        (Error, Pending) => Metric::TasksReopened,
        _ => return None,
    })
}

/// `{"key": "value", ...}` of the given texts, without the missing ones: what a transition carries.
pub fn texts(pairs: &[(&str, Option<&str>)]) -> Option<Jsonb<'static>> {
    let given = || {
        pairs
            .iter()
            .filter_map(|(key, value)| Some((*key, (*value)?)))
    };
    given().next()?;
    memory::require_json(given().map(|(_, text)| text));
    object(
        given()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
    )
}

/// The same of values of any kind, whose size is bounded.
pub fn object(map: Map<String, Value>) -> Option<Jsonb<'static>> {
    datum::jsonb_from_text(&Value::Object(map).to_string())
}

/// What a row says if a handler of events causes it.
pub fn depth() -> Option<Jsonb<'static>> {
    let depth = depth::current();
    (depth > 0)
        .then(|| object(Map::from_iter([(depth::KEY.to_owned(), depth.into())])))
        .flatten()
}

/// What a row says of a failure.
pub fn failure(failure: &Failure) -> Option<Jsonb<'static>> {
    object(failure.metadata())
}

/// Both objects in one; a key that both have keeps the value of the second.
pub fn both<'e>(first: Option<Jsonb<'e>>, second: Option<Jsonb<'e>>) -> Option<Jsonb<'e>> {
    match (first, second) {
        (Some(first), Some(second)) => Some(datum::jsonb_concat(first, second)),
        (first, second) => first.or(second),
    }
}
