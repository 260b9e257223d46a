//! A plan that was made for a table of a few rows can walk over all of it, whatever it holds later: PostgreSQL makes plans again after
//! an ANALYZE, not when a table grows. So a session that planned while the tables were small looks how large they are.

use super::Engine;
use crate::error::Result;
use crate::pg::installation::Kept;
use crate::pg::spi::{Statement, make_plans_again};

/// Microseconds between two looks.
const EVERY_US: i64 = 1_000_000;
/// From this size on every plan looks up keys.
const LARGE_PAGES: i64 = 1000;

static PAGES: Statement = Statement::new(
    "SELECT (pg_relation_size('tasker_engine.tasks'::regclass) + pg_relation_size('tasker_engine.steps'::regclass))
            / current_setting('block_size')::bigint",
    &[],
);

/// When this backend has looked, and what it found then.
static SEEN: Kept<Option<(i64, i64)>> = Kept::new();

/// Has plans made again when the tables have doubled since. Large tables are not looked at any more.
pub fn heed(engine: &Engine) -> Result<()> {
    let seen = SEEN.get();
    if seen.is_some_and(|(at, pages)| pages >= LARGE_PAGES || engine.tick - at < EVERY_US) {
        return Ok(());
    }
    let rows = engine.session.run(&PAGES, &[])?;
    let pages = rows.first().map_or(Ok(0), |row| row.get::<i64>(1))?;
    if seen.is_some_and(|(_, before)| pages > 2 * before) {
        make_plans_again();
    }
    SEEN.set(Some((engine.tick, pages)));
    Ok(())
}
