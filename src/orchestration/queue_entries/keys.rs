//! Entries of an earlier version, which have no handler's key.

use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

// A few thousand at a time, without waiting for a lock. An entry without a step gets a key that no handler has.
static SET_KEYS: Statement = Statement::new(
    "UPDATE tasker_engine.queue_entries r
     SET handler_key = coalesce((
         SELECT tasker_engine.handler_key(n.handler)
         FROM tasker_engine.steps s
         JOIN tasker.named_tasks_named_steps n ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
         WHERE s.task_uuid = r.task_uuid AND s.step_no = r.step_no), 0)
     WHERE r.ctid = ANY (ARRAY(
         SELECT e.ctid FROM tasker_engine.queue_entries e
         WHERE e.queue_id = $1 AND e.handler_key IS NULL
         LIMIT 5000 FOR UPDATE SKIP LOCKED))",
    &[pg_sys::INT4OID],
);

/// Sets the keys of entries of this queue that have none.
pub(super) fn set(session: &Session, queue_id: i32) -> Result<()> {
    session.run(&SET_KEYS, &[datum::int4(queue_id)])?;
    Ok(())
}
