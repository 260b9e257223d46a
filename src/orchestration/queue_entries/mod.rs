//! The ready queue: entries that a call releases, and finding the next ones to claim.
//!
//! An entry is a hint; the step's row decides.

mod aging;
mod due;
mod keys;
mod wanted;

use std::collections::BTreeSet;

use pgrx::pg_sys;

use crate::error::Result;
use crate::orchestration::StepKey;
use crate::pg::append::append;
use crate::pg::datum::{self, Timestamp};
use crate::pg::scan::{Compare, Walk};
use crate::pg::spi::{Session, Statement};
use crate::registry::Template;
use crate::storage;
use due::lower_mark;

pub use aging::age;
pub use due::{
    Found, Search, find, find_passed, forget_marks, has_passed, held_at_head, remember_held,
    remember_passed, remove,
};
pub use wanted::Wanted;

/// When a held step is available: never, until its task is taken up again. On a running step it says that the step is held when its
/// run ends.
pub const HELD: Timestamp = tasker_rules::engine::readiness::NEVER;

/// One entry of the queue.
#[derive(Debug, Clone)]
pub struct Entry {
    pub queue_id: i32,
    pub priority: i16,
    pub available_at: Timestamp,
    pub key: StepKey,
    /// `None`: written by an earlier version.
    pub handler_key: Option<i64>,
}

impl Entry {
    /// The entry of a step, in its queue and at its level.
    pub fn of(
        template: &Template,
        key: StepKey,
        task_priority: i16,
        available_at: Timestamp,
    ) -> Result<Self> {
        let step = template.step(key.no)?;
        Ok(Self {
            queue_id: step.queue_id,
            priority: step.priority.unwrap_or(task_priority),
            available_at,
            key,
            handler_key: Some(step.handler_key),
        })
    }
}

/// The entries that one call releases.
#[derive(Default)]
pub struct Releases {
    entries: Vec<Entry>,
    /// Queues that got due entries, with the handler's key, and were not emptied by this call's own claim.
    wake: BTreeSet<(i32, Option<i64>)>,
}

impl Releases {
    /// A held step has no entry.
    pub fn push(&mut self, entry: Entry) {
        if entry.available_at != HELD {
            self.entries.push(entry);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn truncate(&mut self, length: usize) {
        self.entries.truncate(length);
    }

    /// Due entries were written to this queue by other means; `None`: for any handler.
    pub fn released(&mut self, queue_id: i32, handler_key: Option<i64>) {
        self.wake.insert((queue_id, handler_key));
    }

    /// Writes the entries, so that the claim of the same call sees them.
    pub fn flush(&mut self, now: Timestamp) -> Result<()> {
        let entries = std::mem::take(&mut self.entries);
        fn row(entry: &Entry) -> [datum::Arg<'_>; 6] {
            [
                datum::timestamp(entry.available_at),
                datum::uuid(&entry.key.task),
                datum::int4(entry.queue_id),
                datum::int2(entry.priority),
                datum::int2(entry.key.no),
                datum::opt(entry.handler_key, datum::int8),
            ]
        }
        // `entries` lives until the rows are written: they point into it.
        append(
            &storage::QUEUE_ENTRIES,
            &entries.iter().map(row).collect::<Vec<_>>(),
        )?;
        for entry in &entries {
            if entry.available_at <= now {
                self.wake.insert((entry.queue_id, entry.handler_key));
            }
            lower_mark(entry);
        }
        Ok(())
    }

    /// The call's own claim returned fewer steps than it asked for, so no ready step of these handlers is left in this queue.
    pub fn emptied(&mut self, queue_id: i32, wanted: &Wanted) {
        let gone = |key: &Option<i64>| wanted.is_any() || key.is_some_and(|key| wanted.has(key));
        self.wake
            .retain(|(queue, key)| *queue != queue_id || !gone(key));
    }

    /// Wakes idle workers of the namespaces that still have ready steps.
    pub fn notify(&mut self, session: &Session, now: Timestamp) -> Result<()> {
        let queues = std::mem::take(&mut self.wake);
        if queues.is_empty() {
            Ok(())
        } else {
            let inside = |key: &Option<i64>| key.is_none_or(|key| Wanted::Inside.has(key));
            let executors = queues.iter().filter(|(_, key)| inside(key));
            crate::processes::wake_executors(executors.map(|(queue, _)| queue));
            super::waking::wake(session, &queues, now)
        }
    }
}

static IS_OPEN: Statement = Statement::new(
    "SELECT NOT q.paused FROM tasker_engine.queues q WHERE q.queue_id = $1",
    &[pg_sys::INT4OID],
);

/// Whether claims can take steps from the queue: it exists and its namespace is not paused.
pub fn is_open(session: &Session, queue_id: i32) -> Result<bool> {
    let table = &storage::QUEUES;
    let Some(walk) = Walk::to_read(table)? else {
        let rows = session.run(&IS_OPEN, &[datum::int4(queue_id)])?;
        return Ok(rows.first().and_then(|row| row.opt(1)) == Some(true));
    };
    let mut open = false;
    let this = walk.key(
        storage::queues::QUEUE_ID,
        Compare::Equal,
        datum::int4(queue_id),
    )?;
    walk.each([this], |row| {
        open = !row.get::<bool>(storage::queues::PAUSED)?;
        Ok(false)
    })?;
    Ok(open)
}
