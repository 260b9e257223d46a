//! Ends tasks whose clock (`orchestration/timeouts.rs`) has run out.

use pgrx::pg_sys;
use tasker_rules::engine::state::TaskState;

use super::tasks::time_out;
use crate::error::Result;
use crate::logging::Said;
use crate::orchestration::locked_task::LockedTask;
use crate::orchestration::{Engine, format_uuid};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::installation::Kept;
use crate::pg::spi::Statement;
use crate::pg::subtransaction;
use tasker_rules::events::log_line::Level;

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
    "SELECT d.task_uuid, d.deadline_at FROM tasker_engine.task_deadlines d
     WHERE d.deadline_at <= $1 AND d.deadline_at >= $2 AND (d.deadline_at, d.task_uuid) > ($2, $3)
     ORDER BY d.deadline_at, d.task_uuid LIMIT 100",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::UUIDOID,
    ],
);

// Once the task is locked: its clock may have started again meanwhile.
static STOP: Statement = Statement::new(
    "DELETE FROM tasker_engine.task_deadlines d WHERE d.task_uuid = $1 AND d.deadline_at <= $2",
    &[pg_sys::UUIDOID, pg_sys::TIMESTAMPTZOID],
);

/// How many tasks one call ends, and how many pages of late tasks it looks at: what others hold is passed by.
const MOST_ENDED: i64 = 100;
const MOST_PAGES: usize = 10;
/// The `LIMIT` of `DUE`.
const PAGE: usize = 100;

type Place = (Timestamp, Uuid);

const BEGINNING: Place = (Timestamp::MIN, [0; 16]);

/// Where the last call stopped, if it passed by as many late tasks as it may.
static BEHIND: Kept<Option<Place>> = Kept::new();

/// Ends tasks that have taken too long; returns how many clocks it has stopped. Never waits. An error leaves the task that it is
/// about, and the call goes on.
pub fn end_late_tasks(engine: &mut Engine) -> Result<i64> {
    if due(engine, BEGINNING)?.is_empty() {
        return Ok(0);
    }
    let forget = [datum::timestamp(engine.now)];
    let forgotten = engine.session.run(&FORGET, &forget)?.len() as i64;
    let mut ended = 0;
    let mut behind = BEHIND.get().unwrap_or(BEGINNING);
    for _ in 0..MOST_PAGES {
        let page = due(engine, behind)?;
        for place in &page {
            behind = *place;
            ended += i64::from(try_to_end(engine, place.1));
            if ended >= MOST_ENDED {
                BEHIND.set(None);
                return Ok(forgotten + ended);
            }
        }
        if page.len() < PAGE {
            BEHIND.set(None);
            return Ok(forgotten + ended);
        }
    }
    BEHIND.set(Some(behind));
    Ok(forgotten + ended)
}

fn due(engine: &Engine, behind: Place) -> Result<Vec<Place>> {
    let args = [
        datum::timestamp(engine.now),
        datum::timestamp(behind.0),
        datum::uuid(&behind.1),
    ];
    let rows = engine.session.run(&DUE, &args)?;
    rows.iter()
        .map(|row| Ok((row.get(2)?, row.get(1)?)))
        .collect()
}

/// Whether the clock of the task was stopped.
fn try_to_end(engine: &mut Engine, task: Uuid) -> bool {
    let before = engine.collected();
    let ended = match LockedTask::try_lock(engine, task) {
        Ok(None) => return false,
        Ok(Some(locked)) => subtransaction::attempt(|| end_late_task(engine, locked)),
        Err(problem) => Err(problem),
    };
    ended.unwrap_or_else(|problem| {
        engine.forget_since(before);
        let uuid = format_uuid(&task);
        let message = format!(
            "task {uuid} has exceeded its timeout and cannot be ended: {} ({})",
            problem.message,
            problem.sqlstate()
        );
        Said::new(Level::Warn, &message)
            .with("task_uuid", uuid)
            .error(&problem)
            .write();
        false
    })
}

fn end_late_task<'e>(engine: &mut Engine<'e>, locked: LockedTask<'e>) -> Result<bool> {
    let stop = [datum::uuid(&locked.uuid), datum::timestamp(engine.now)];
    if engine.session.run(&STOP, &stop)?.is_empty() {
        return Ok(false);
    }
    if let (TaskState::InProgress, Some(timeout)) = (locked.state, locked.template.timeout_us) {
        time_out(engine, locked, timeout / 1_000_000)?;
    }
    Ok(true)
}
