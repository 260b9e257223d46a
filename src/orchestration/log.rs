//! The audit log: every change of a state appends one row, in the transaction of the change.

use pgrx::pg_sys;

use super::StepKey;
use crate::datum::{self, Jsonb, Timestamp, Uuid};
use crate::error::Result;
use crate::store::{Session, Statement};

/// Who a transition is credited to when no worker is involved.
pub const NO_WORKER: i32 = 0;

struct Transition {
    key: StepKey,
    worker_no: i32,
    attempt: i16,
    from: u8,
    to: u8,
    metadata: Option<Jsonb>,
}

/// Transitions of one call, in the order they happened.
#[derive(Default)]
pub struct Log {
    rows: Vec<Transition>,
    task_metadata: Option<Jsonb>,
}

static APPEND: Statement = Statement::new(
    "INSERT INTO tasker_engine.transitions
         (task_uuid, created_at, worker_no, step_no, attempt, from_state, to_state)
     SELECT u.task_uuid, $1, u.worker_no, u.step_no, u.attempt, u.from_state, u.to_state
     FROM unnest($2, $3, $4, $5, $6, $7)
          AS u (task_uuid, worker_no, step_no, attempt, from_state, to_state)",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::CHARARRAYOID,
    ],
);

static APPEND_WITH_METADATA: Statement = Statement::new(
    "INSERT INTO tasker_engine.transitions
         (task_uuid, created_at, worker_no, step_no, attempt, from_state, to_state, metadata)
     SELECT u.task_uuid, $1, u.worker_no, u.step_no, u.attempt, u.from_state, u.to_state,
            coalesce(u.metadata, '{}')
     FROM unnest($2, $3, $4, $5, $6, $7, $8)
          AS u (task_uuid, worker_no, step_no, attempt, from_state, to_state, metadata)",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::JSONBARRAYOID,
    ],
);

impl Log {
    pub fn step(&mut self, key: StepKey, worker_no: i32, attempt: i16, from: u8, to: u8) {
        self.rows.push(Transition { key, worker_no, attempt, from, to, metadata: None });
    }

    pub fn step_with(
        &mut self,
        key: StepKey,
        worker_no: i32,
        attempt: i16,
        from: u8,
        to: u8,
        metadata: Option<Jsonb>,
    ) {
        self.rows.push(Transition { key, worker_no, attempt, from, to, metadata });
    }

    pub fn task(&mut self, task: Uuid, from: u8, to: u8) {
        let (key, metadata) = (StepKey { task, no: 0 }, self.task_metadata);
        self.rows.push(Transition { key, worker_no: NO_WORKER, attempt: 0, from, to, metadata });
    }

    /// What the next transitions of tasks carry: an operator's reason.
    pub fn next_task_metadata(&mut self, metadata: Option<Jsonb>) {
        self.task_metadata = metadata;
    }

    /// Credits the transitions of these steps that have no worker yet.
    pub fn credit(&mut self, worker_of: impl Fn(&StepKey) -> Option<i32>) {
        for row in self.rows.iter_mut().filter(|row| row.worker_no == NO_WORKER && row.key.no > 0) {
            row.worker_no = worker_of(&row.key).unwrap_or(NO_WORKER);
        }
    }

    pub fn flush(self, session: &Session, now: Timestamp) -> Result<()> {
        let rows = self.rows;
        if rows.is_empty() {
            return Ok(());
        }
        let mut args = vec![
            datum::timestamp(now),
            datum::uuids(rows.iter().map(|row| &row.key.task)),
            datum::int4s(rows.iter().map(|row| row.worker_no)),
            datum::int2s(rows.iter().map(|row| row.key.no)),
            datum::int2s(rows.iter().map(|row| row.attempt)),
            datum::chars(rows.iter().map(|row| row.from)),
            datum::chars(rows.iter().map(|row| row.to)),
        ];
        if rows.iter().all(|row| row.metadata.is_none()) {
            session.run(&APPEND, &args)?;
        } else {
            args.push(datum::jsonbs(rows.iter().map(|row| row.metadata)));
            session.run(&APPEND_WITH_METADATA, &args)?;
        }
        Ok(())
    }
}
