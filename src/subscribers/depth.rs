//! How many handlers of events led to what happens now, one causing the next. A handler whose events call it again would never end
//! otherwise.

use std::cell::Cell;

use pgrx::pg_sys;
use rustc_hash::FxHashMap;

use super::Delivered;
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::{Session, Statement};

/// Events beyond this are dead letters.
pub const MOST: i16 = 16;
/// The depth of a task in the metadata of the row of its creation: all its events have it.
pub const KEY: &str = "event_depth";

std::thread_local! {
    static CURRENT: Cell<i16> = const { Cell::new(0) };
}

/// The depth of what this backend publishes and creates now; 0: no handler of events runs.
pub fn current() -> i16 {
    CURRENT.get()
}

/// While it lives, a handler of events of this depth runs.
pub struct Handling(i16);

impl Handling {
    pub fn begin(depth: i16) -> Self {
        Self(CURRENT.replace(depth.saturating_add(1)))
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

static OF_TASKS: Statement = Statement::new(
    "SELECT l.task_uuid, (l.metadata ->> 'event_depth')::smallint
     FROM tasker_engine.transitions l
     WHERE l.task_uuid = ANY ($1) AND l.step_no = 0 AND l.from_state IS NULL AND l.metadata ? 'event_depth'",
    &[pg_sys::UUIDARRAYOID],
);

static OF_EVENTS: Statement = Statement::new(
    "SELECT e.id, e.depth FROM tasker_engine.events e WHERE e.id = ANY ($1) AND e.depth > 0",
    &[pg_sys::INT8ARRAYOID],
);

/// The depths of these events, in their order: of one of the log that of its task, of a published one its own, or that of its task.
pub fn of(session: &Session, events: &[Delivered]) -> Result<Vec<i16>> {
    let tasks: Vec<Uuid> = events.iter().filter_map(|event| event.event.task).collect();
    let mut of_tasks: FxHashMap<Uuid, i16> = FxHashMap::default();
    if !tasks.is_empty() {
        for row in session.run(&OF_TASKS, &[datum::uuids(&tasks)])?.iter() {
            of_tasks.insert(row.get(1)?, row.get(2)?);
        }
    }
    let rows = events.iter().map(|event| event.event.row_id);
    let mut own: FxHashMap<i64, i16> = FxHashMap::default();
    for row in session.run(&OF_EVENTS, &[datum::int8s(rows)])?.iter() {
        own.insert(row.get(1)?, row.get(2)?);
    }
    let depth = |delivered: &Delivered| {
        let event = &delivered.event;
        let of_task = event.task.and_then(|task| of_tasks.get(&task));
        let of_task = of_task.copied().unwrap_or_default();
        own.get(&event.row_id)
            .copied()
            .unwrap_or_default()
            .max(of_task)
    };
    Ok(events.iter().map(depth).collect())
}
