//! Entries that have waited too long move up a level.

use pgrx::pg_sys;
use rustc_hash::FxHashMap;

use super::due::forget_marks_of;
use crate::error::Result;
use crate::pg::call;
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::Kept;
use crate::pg::spi::{Session, Statement};
use crate::settings;

// Entries that have waited `interval * level` move up a level: a few at a time, without waiting for a lock.
static AGE: Statement = Statement::new(
    "UPDATE tasker_engine.queue_entries r SET priority = (r.priority + 1)::int2
     WHERE r.ctid = ANY (ARRAY(
         SELECT e.tid FROM (
             SELECT * FROM (
                 SELECT a.ctid AS tid FROM tasker_engine.queue_entries a
                 WHERE a.queue_id = $1 AND a.priority = 3::int2 AND a.available_at < $2 - 3 * $3
                 ORDER BY a.available_at LIMIT 100 FOR UPDATE SKIP LOCKED) high
             UNION ALL
             SELECT * FROM (
                 SELECT a.ctid AS tid FROM tasker_engine.queue_entries a
                 WHERE a.queue_id = $1 AND a.priority = 2::int2 AND a.available_at < $2 - 2 * $3
                 ORDER BY a.available_at LIMIT 100 FOR UPDATE SKIP LOCKED) normal
             UNION ALL
             SELECT * FROM (
                 SELECT a.ctid AS tid FROM tasker_engine.queue_entries a
                 WHERE a.queue_id = $1 AND a.priority = 1::int2 AND a.available_at < $2 - $3
                 ORDER BY a.available_at LIMIT 100 FOR UPDATE SKIP LOCKED) low) e))",
    &[pg_sys::INT4OID, pg_sys::TIMESTAMPTZOID, pg_sys::INTERVALOID],
);

/// How often a backend searches a queue for entries that have waited too long.
const AGE_EVERY_US: i64 = 1_000_000;

/// The tick of the last search, by queue.
static AGED: Kept<FxHashMap<i32, i64>> = Kept::new();

/// Moves entries that have waited too long up a level, so that no step starves. Runs rarely, not in each claim.
pub fn age(session: &Session, queue_id: i32, now: Timestamp) -> Result<()> {
    let interval_us = settings::priority_aging_us();
    let tick = call::tick();
    let last = AGED.with(|aged| aged.insert(queue_id, tick));
    let Some(last) = last.filter(|_| interval_us > 0) else {
        return Ok(());
    };
    if tick - last < AGE_EVERY_US {
        AGED.with(|aged| aged.insert(queue_id, last));
        return Ok(());
    }
    let aged = session.run(
        &AGE,
        &[
            datum::int4(queue_id),
            datum::timestamp(now),
            datum::interval(interval_us),
        ],
    )?;
    if !aged.is_empty() {
        forget_marks_of(queue_id);
    }
    Ok(())
}
