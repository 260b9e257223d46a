//! The machine's clock is set back. Memory counts in ticks and does not notice; what is stored counts in wall-clock time: what was
//! due would be due again only when the clock has caught up, and a lease would last longer by the jump.
//!
//! So a row says how far the clock was before the ticks of this start of the machine. A session that finds the clock further back
//! moves what is stored by the difference, and updates the row. A jump forward only changes the row: everything is due earlier.

use pgrx::pg_sys;

use super::{Engine, queue_entries};
use crate::error::Result;
use crate::logging;
use crate::pg::call;
use crate::pg::datum;
use crate::pg::installation::Kept;
use crate::pg::lock;
use crate::pg::spi::{Session, Statement};

/// Less than this is no jump: the clock is being brought to the right time slowly.
const JUMP_US: i64 = 100_000;
/// The part of the extension that a session locks while it writes the row; duties have the parts up to 16.
const LOCK: u16 = 32;

static READ: Statement = Statement::new(
    "SELECT r.offset_us FROM tasker_engine.clock_readings r WHERE r.machine_start = $1",
    &[pg_sys::TEXTOID],
);

static WRITE: Statement = Statement::new(
    "INSERT INTO tasker_engine.clock_readings AS r (machine_start, offset_us) VALUES ($1, $2)
     ON CONFLICT (machine_start) DO UPDATE SET offset_us = excluded.offset_us",
    &[pg_sys::TEXTOID, pg_sys::INT8OID],
);

static FORGET: Statement = Statement::new(
    "DELETE FROM tasker_engine.clock_readings r WHERE r.machine_start <> $1",
    &[pg_sys::TEXTOID],
);

static SET_BACK: Statement = Statement::new(
    "SELECT tasker_engine.clock_was_set_back($1, $2)",
    &[pg_sys::TIMESTAMPTZOID, pg_sys::INTERVALOID],
);

/// The offset that this backend has last found in the row.
static SEEN: Kept<Option<i64>> = Kept::new();

/// Notices that the clock was set since the last call of any session. Reads two clocks, unless it was.
pub fn heed(engine: &mut Engine) -> Result<()> {
    let Some(offset) = call::clock_offset() else {
        return Ok(());
    };
    let is_near = |known: i64| (offset - known).abs() < JUMP_US;
    if SEEN.get().is_some_and(is_near) {
        return Ok(());
    }
    queue_entries::forget_marks();
    let start = call::machine_start();
    if let Some(known) = stored(engine.session, &start)?.filter(|known| is_near(*known)) {
        SEEN.set(Some(known));
        return Ok(());
    }
    // Never waits: until the other session has done it, this one works with what it sees.
    if !lock::try_part_of_extension(LOCK)? {
        return Ok(());
    }
    // This backend takes the row for granted only once it is committed: the next call reads it again.
    let known = stored(engine.session, &start)?;
    if known.is_some_and(is_near) {
        return Ok(());
    }
    if known.is_none() {
        engine.session.run(&FORGET, &[datum::text(&start)])?;
    }
    let write = [datum::text(&start), datum::int8(offset)];
    engine.session.run(&WRITE, &write)?;
    if let Some(back) = known.map(|known| known - offset).filter(|back| *back > 0) {
        logging::info(&format!(
            "the clock was set back by {} ms; what was due before is due now",
            back / 1000
        ));
        let args = [datum::timestamp(engine.now), datum::interval(back)];
        engine.session.run(&SET_BACK, &args)?;
    }
    Ok(())
}

fn stored(session: &Session, start: &str) -> Result<Option<i64>> {
    let rows = session.run(&READ, &[datum::text(start)])?;
    Ok(rows.first().and_then(|row| row.opt(1)))
}
