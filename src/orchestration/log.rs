//! The audit log: every change of a state appends one row, in the transaction of the change.

use super::StepKey;
use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::pg::append::append;
use crate::pg::call::Sequence;
use crate::pg::datum::{self, Jsonb, Timestamp, Uuid};
use crate::pg::xact;
use crate::storage;

/// Who a transition is credited to when no worker is involved.
pub const NO_WORKER: i32 = 0;

/// Who ran a step, and since when.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub worker_no: i32,
    pub started_at: Timestamp,
}

struct Transition<'e> {
    key: StepKey,
    worker_no: i32,
    /// When the run began that this change ends.
    started_at: Option<Timestamp>,
    attempt: i16,
    from: u8,
    to: u8,
    metadata: Option<Jsonb<'e>>,
    /// The run ended because its lease did.
    expired: bool,
}

/// Transitions of one call, in the order they happened.
#[derive(Default)]
pub struct Log<'e> {
    rows: Vec<Transition<'e>>,
    task_metadata: Option<Jsonb<'e>>,
}

impl<'e> Log<'e> {
    pub fn step(&mut self, key: StepKey, worker_no: i32, attempt: i16, from: u8, to: u8) {
        self.step_with(key, worker_no, attempt, from, to, None);
    }

    pub fn step_with(
        &mut self,
        key: StepKey,
        worker_no: i32,
        attempt: i16,
        from: u8,
        to: u8,
        metadata: Option<Jsonb<'e>>,
    ) {
        self.rows.push(Transition {
            key,
            worker_no,
            started_at: None,
            attempt,
            from,
            to,
            metadata,
            expired: false,
        });
    }

    pub fn task(&mut self, task: Uuid, from: u8, to: u8) {
        let (key, metadata) = (StepKey { task, no: 0 }, self.task_metadata);
        self.rows.push(Transition {
            key,
            worker_no: NO_WORKER,
            started_at: None,
            attempt: 0,
            from,
            to,
            metadata,
            expired: false,
        });
    }

    /// What the next transitions of tasks carry: an operator's reason.
    pub fn next_task_metadata(&mut self, metadata: Option<Jsonb<'e>>) {
        self.task_metadata = metadata;
    }

    /// A lease ended before the step was reported.
    pub fn lost(&mut self, key: StepKey, run: Run, attempt: i16, why: Option<Jsonb<'e>>) {
        self.rows.push(Transition {
            key,
            worker_no: run.worker_no,
            started_at: Some(run.started_at),
            attempt,
            from: b'i',
            to: b'e',
            metadata: why,
            expired: true,
        });
    }

    /// Credits the transitions of these steps that have no worker yet.
    pub fn credit(&mut self, run_of: impl Fn(&StepKey) -> Option<Run>) {
        let open = |row: &&mut Transition| row.worker_no == NO_WORKER && row.key.no > 0;
        for row in self.rows.iter_mut().filter(open) {
            if let Some(run) = run_of(&row.key) {
                row.worker_no = run.worker_no;
                row.started_at = Some(run.started_at);
            }
        }
    }

    /// Appends the rows and counts what they say; whether there were any.
    pub fn flush(self, now: Timestamp) -> Result<bool> {
        if self.rows.is_empty() {
            return Ok(false);
        }
        metrics::batch(|batch| self.rows.iter().for_each(|row| count(batch, row, now)));
        let nothing = datum::jsonb_from_text("{}")
            .ok_or_else(|| Error::corrupt("an empty object is JSON"))?;
        let xid = xact::id();
        let ids = Sequence::named(c"transitions_id_seq")?;
        let rows = self
            .rows
            .iter()
            .map(|row| {
                Ok([
                    datum::int8(ids.next()?),
                    datum::uuid(&row.key.task),
                    datum::timestamp(now),
                    datum::opt(row.started_at, datum::timestamp),
                    datum::xid8(xid),
                    datum::int4(row.worker_no),
                    datum::int2(row.key.no),
                    datum::int2(row.attempt),
                    datum::state(row.from),
                    datum::state(row.to),
                    row.metadata.unwrap_or(nothing).arg(),
                ])
            })
            .collect::<Result<Vec<_>>>()?;
        append(&storage::TRANSITIONS, &rows)?;
        Ok(true)
    }
}

fn count(batch: &mut metrics::Batch, row: &Transition, now: Timestamp) {
    let metric = match (row.key.no > 0, row.from, row.to) {
        (true, b'p', b'i') => Metric::StepsClaimed,
        (true, b'i', b'c') => Metric::StepsCompleted,
        (true, b'i', b'e') if row.expired => Metric::StepsExpired,
        (true, b'i', b'e') => Metric::StepsFailed,
        (true, b'i', b'p') => Metric::StepsReleased,
        (true, b'e', b'p') => Metric::StepsRetried,
        (true, _, b'x') => Metric::StepsCancelled,
        (true, _, b'r') => Metric::StepsResolved,
        (false, b'p', b'i') => Metric::TasksStarted,
        (false, _, b'c') => Metric::TasksCompleted,
        (false, _, b'e') => Metric::TasksFailed,
        (false, _, b'x') => Metric::TasksCancelled,
        (false, _, b'r') => Metric::TasksResolved,
        (false, b'e', b'p') => Metric::TasksReopened,
        _ => return,
    };
    batch.count_for(row.worker_no, metric);
    if let (Metric::StepsCompleted | Metric::StepsFailed, Some(started_at)) =
        (metric, row.started_at)
    {
        batch.observe(Metric::StepRun, now - started_at);
    }
}

/// `{"key": "value", ...}` of the given texts, without the missing ones: what a transition carries.
pub fn texts(pairs: &[(&str, Option<&str>)]) -> Option<Jsonb<'static>> {
    let map: serde_json::Map<String, serde_json::Value> = pairs
        .iter()
        .filter_map(|(key, value)| value.map(|value| ((*key).to_owned(), value.into())))
        .collect();
    if map.is_empty() {
        return None;
    }
    datum::jsonb_from_text(&serde_json::Value::Object(map).to_string())
}
