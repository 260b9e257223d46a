//! Which claims are due: their lease has ended, or one of their steps has run too long. A search costs little while nothing
//! is due, and passes by what other sessions hold: the next one goes on behind it.

use std::collections::BTreeMap;

use pgrx::pg_sys;

use super::take_over::Expired;
use crate::error::{Error, Result};
use crate::logging::Said;
use crate::orchestration::Engine;
use crate::pg::call;
use crate::pg::datum;
use crate::pg::installation::Kept;
use crate::pg::spi::Statement;
use tasker_rules::events::log_line::Level;

// Live claims are few; the walk begins at the first of them.
static FIND: Statement = Statement::new(
    "SELECT (SELECT c.claim_id FROM tasker_engine.claims c WHERE c.claim_id >= $1 ORDER BY c.claim_id LIMIT 1),
            ARRAY(SELECT c.claim_id FROM tasker_engine.claims c
                  WHERE c.claim_id >= $2 AND (c.lease_expires_at <= $3 OR c.timeout_at <= $3) ORDER BY c.claim_id LIMIT 100)",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

// Claims of which all steps are held by other sessions are passed by; those without a step are closed. A btree takes the ids of
// an array in ascending order.
static LOCK: Statement = Statement::new(
    "SELECT c.claim_id, c.claimed_at, c.worker_no, c.task_uuids, c.step_nos, c.begun, c.lease_expires_at <= $2
     FROM tasker_engine.claims c
     WHERE c.claim_id = ANY ($1) AND (c.lease_expires_at <= $2 OR c.timeout_at <= $2)
       AND (EXISTS (SELECT FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
                    JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
                    WHERE s.state = 'i' AND s.claim_id = c.claim_id
                    FOR UPDATE OF s SKIP LOCKED)
            OR NOT EXISTS (SELECT FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
                           JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
                           WHERE s.state = 'i' AND s.claim_id = c.claim_id))
     LIMIT 16
     FOR UPDATE OF c SKIP LOCKED",
    &[pg_sys::INT8ARRAYOID, pg_sys::TIMESTAMPTZOID],
);

/// The `LIMIT`s of the statements above: how many due claims one search looks at, and how many of them are taken over.
const MOST_LOOKED_AT: usize = 100;
const MOST_TAKEN: usize = 16;

/// Due claims are searched at most this often, and never with more than a fiftieth of the time.
const SEARCH_AGAIN_US: i64 = 20_000;

const SEARCH_SHARE: i64 = 50;

/// How often the walk over the claims starts again at the first one.
const FROM_FIRST_US: i64 = 1_000_000;

/// For how long a claim that could not be taken over is passed by.
const HELD_BACK_US: i64 = 10_000_000;

/// How many of them a backend remembers.
const MOST_HELD_BACK: usize = 1000;

#[derive(Clone, Copy, Default)]
struct Last {
    /// Ticks here and in `first_since`.
    at: i64,
    /// How long the search took, and how long the last one from the first claim took.
    us: i64,
    full_us: i64,
    /// The first live claim, and when the walk last began before it.
    first: i64,
    first_since: i64,
    /// The search goes on behind this claim; 0: it begins at the first one.
    behind: i64,
    /// It passed by many claims that other sessions hold.
    passed_many: bool,
}

static LAST: Kept<Last> = Kept::new();

/// With the tick until which each is passed by.
static HELD_BACK: Kept<BTreeMap<i64, i64>> = Kept::new();

/// Locks some due claims that can be taken over, if it is time to search. Never waits. With `idle` it is time even if the last
/// search was a moment ago, unless that met many claims that other sessions hold.
pub(super) fn lock_due(engine: &Engine, idle: bool) -> Result<Vec<Expired>> {
    let mut last = LAST.get();
    let at_once = idle && !last.passed_many;
    if last.at == engine.tick
        || !at_once && engine.tick - last.at < SEARCH_AGAIN_US.max(last.us * SEARCH_SHARE)
    {
        return Ok(vec![]);
    }
    let started = call::tick();
    let from_first =
        engine.tick - last.first_since > FROM_FIRST_US.max(last.full_us * SEARCH_SHARE);
    if from_first {
        (last.first, last.first_since) = (0, engine.tick);
    }
    let rows = engine.session.run(
        &FIND,
        &[
            datum::int8(last.first),
            datum::int8(last.first.max(last.behind + 1)),
            datum::timestamp(engine.now),
        ],
    )?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt("no row where one always is"))?;
    last.first = row.opt(1).unwrap_or(last.first);
    last.at = engine.tick;
    last.us = call::tick() - started;
    if from_first {
        last.full_us = last.us;
    }
    let found: Vec<i64> = row.get(2)?;
    let locked = lock(engine, &found)?;
    if !found.is_empty() {
        last.us = call::tick() - started;
    }
    let passed = found.len().saturating_sub(locked.len());
    last.passed_many = passed > MOST_TAKEN && locked.len() < MOST_TAKEN;
    last.behind = match found.last() {
        Some(end) if found.len() == MOST_LOOKED_AT && locked.len() < MOST_TAKEN => *end,
        _ => 0,
    };
    LAST.set(last);
    Ok(locked)
}

fn lock(engine: &Engine, found: &[i64]) -> Result<Vec<Expired>> {
    if found.is_empty() {
        return Ok(vec![]);
    }
    let wanted: Vec<i64> = HELD_BACK.with(|all| {
        all.retain(|_, until| engine.tick < *until);
        let free = found.iter().filter(|id| !all.contains_key(id));
        free.copied().collect()
    });
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let rows = engine
        .session
        .run(&LOCK, &[datum::int8s(wanted), datum::timestamp(engine.now)])?;
    let mut locked = Vec::new();
    for row in rows.iter() {
        match Expired::ended(&row) {
            Ok(expired) => locked.push(expired),
            Err(problem) => hold_back(engine, row.get(1)?, &problem),
        }
    }
    Ok(locked)
}

/// Nothing of these claims could be taken over: the next search goes on behind them.
pub(super) fn go_on_behind(claim_id: i64) {
    LAST.with(|last| last.behind = last.behind.max(claim_id));
}

/// A claim that could not be taken over is passed by for a while. `tasker.stale_claims` shows it.
pub(super) fn hold_back(engine: &Engine, claim_id: i64, problem: &Error) {
    HELD_BACK.with(|all| {
        if all.len() < MOST_HELD_BACK {
            all.insert(claim_id, engine.tick + HELD_BACK_US);
        }
    });
    let message = format!(
        "the steps of claim {claim_id} cannot be taken over: {} ({})",
        problem.message,
        problem.sqlstate()
    );
    Said::new(Level::Warn, &message)
        .with("claim_id", claim_id)
        .error(problem)
        .write();
}
