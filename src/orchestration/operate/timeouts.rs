//! Ends tasks whose clock (`orchestration/timeouts.rs`) has run out.

use pgrx::pg_sys;
use tasker_rules::engine::state::TaskState;

use super::tasks::time_out;
use crate::error::Result;
use crate::orchestration::Engine;
use crate::orchestration::locked_task::LockedTask;
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::Statement;

// The clock of a task that ended in time, or waits to be started again, has no meaning any more.
static FORGET: Statement = Statement::new(
    "WITH stopped AS (
         SELECT d.task_uuid
         FROM tasker_engine.task_deadlines d
         JOIN tasker_engine.tasks t ON t.task_uuid = d.task_uuid
         WHERE d.deadline_at <= $1 AND t.state <> 'i'
         ORDER BY d.deadline_at LIMIT 1000
         FOR UPDATE OF t SKIP LOCKED)
     DELETE FROM tasker_engine.task_deadlines d USING stopped s WHERE d.task_uuid = s.task_uuid",
    &[pg_sys::TIMESTAMPTZOID],
);

static DUE: Statement = Statement::new(
    "SELECT d.task_uuid FROM tasker_engine.task_deadlines d
     WHERE d.deadline_at <= $1 ORDER BY d.deadline_at LIMIT 100",
    &[pg_sys::TIMESTAMPTZOID],
);

// Once the task is locked: its clock may have started again meanwhile.
static STOP: Statement = Statement::new(
    "DELETE FROM tasker_engine.task_deadlines d WHERE d.task_uuid = $1 AND d.deadline_at <= $2",
    &[pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID],
);

/// Ends tasks that have taken too long; returns how many clocks it has stopped. Never waits.
pub fn end_late_tasks(engine: &mut Engine) -> Result<i64> {
    let now: Timestamp = engine.now;
    if due(engine, now)?.is_empty() {
        return Ok(0);
    }
    let forgotten = engine.session.run(&FORGET, &[datum::timestamp(now)])?.len();
    let mut stopped = forgotten as i64;
    for task in due(engine, now)? {
        let Some(locked) = LockedTask::try_lock(engine, task)? else {
            continue;
        };
        let stop = [datum::uuid(&task), datum::timestamp(now)];
        if engine.session.run(&STOP, &stop)?.is_empty() {
            continue;
        }
        stopped += 1;
        if let (TaskState::InProgress, Some(timeout)) = (locked.state, locked.template.timeout_us) {
            time_out(engine, locked, timeout / 1_000_000)?;
        }
    }
    Ok(stopped)
}

fn due(engine: &Engine, now: Timestamp) -> Result<Vec<Uuid>> {
    engine
        .session
        .run(&DUE, &[datum::timestamp(now)])?
        .iter()
        .map(|row| row.get(1))
        .collect()
}
