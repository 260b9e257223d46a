//! How many handlers of events led to what happens now, one causing the next. A handler whose events call it again would never end
//! otherwise.

use std::cell::Cell;

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use tasker_rules::engine::ids;

use super::Delivered;
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::{Session, Statement};

/// Events beyond this are dead letters.
pub const MOST: i16 = 16;
/// The depth in the metadata of a row of the log. Later events of its task, or of its step, have it too.
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
    "SELECT u.row_id, max((l.metadata ->> 'event_depth')::smallint)
     FROM unnest($1, $2, $3) AS u (task_uuid, step_no, row_id)
     JOIN tasker_engine.transitions l ON l.task_uuid = u.task_uuid AND l.step_no = ANY (ARRAY[0, u.step_no])
     WHERE l.id <= u.row_id AND l.metadata ? 'event_depth'
     GROUP BY u.row_id",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

static OF_EVENTS: Statement = Statement::new(
    "SELECT e.id, e.depth FROM tasker_engine.events e WHERE e.id = ANY ($1) AND e.depth > 0",
    &[pg_sys::INT8ARRAYOID],
);

/// The depths of these events, in their order: what handlers had done to the task and the step by then, and of a published one its
/// own.
pub fn of(session: &Session, events: &[Delivered]) -> Result<Vec<i16>> {
    let of_task = |delivered: &Delivered| -> Option<(Uuid, i16, i64)> {
        let event = &delivered.event;
        let step = event.step.map_or(0, |step| ids::split(&step).1);
        Some((event.task?, step, event.row_id))
    };
    let tasks: Vec<(Uuid, i16, i64)> = events.iter().filter_map(of_task).collect();
    let mut of_tasks: FxHashMap<i64, i16> = FxHashMap::default();
    if !tasks.is_empty() {
        let args = [
            datum::uuids(tasks.iter().map(|(task, _, _)| task)),
            datum::int2s(tasks.iter().map(|(_, step, _)| *step)),
            datum::int8s(tasks.iter().map(|(_, _, row)| *row)),
        ];
        for row in session.run(&OF_TASKS, &args)?.iter() {
            of_tasks.insert(row.get(1)?, row.get(2)?);
        }
    }
    let rows = events.iter().map(|event| event.event.row_id);
    let mut own: FxHashMap<i64, i16> = FxHashMap::default();
    for row in session.run(&OF_EVENTS, &[datum::int8s(rows)])?.iter() {
        own.insert(row.get(1)?, row.get(2)?);
    }
    let depth = |delivered: &Delivered| {
        let of = |depths: &FxHashMap<i64, i16>| {
            let depth = depths.get(&delivered.event.row_id);
            depth.copied().unwrap_or_default()
        };
        of(&own).max(of(&of_tasks))
    };
    Ok(events.iter().map(depth).collect())
}
