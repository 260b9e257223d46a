//! The clocks of tasks with a timeout. A clock runs from the moment a task goes to in_progress; only tasks whose template
//! has a timeout have a row here. A session that writes the row holds the task's lock, so no session waits for the row.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::Engine;
use crate::error::Result;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::Statement;

static START: Statement = Statement::new(
    "INSERT INTO tasker_engine.task_deadlines (task_uuid, deadline_at)
     SELECT u.task_uuid, u.deadline_at FROM unnest($1, $2) AS u (task_uuid, deadline_at)
     ON CONFLICT (task_uuid) DO UPDATE SET deadline_at = excluded.deadline_at",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZARRAYOID],
);

/// Starts the clocks of tasks that have just gone to in_progress and are locked; microseconds each.
pub fn start_clocks(engine: &Engine, timeouts: &BTreeMap<Uuid, i64>) -> Result<()> {
    if timeouts.is_empty() {
        return Ok(());
    }
    let deadlines = timeouts.values().map(|timeout| Some(engine.now + timeout));
    let args = [datum::uuids(timeouts.keys()), datum::timestamps(deadlines)];
    engine.session.run(&START, &args)?;
    Ok(())
}
