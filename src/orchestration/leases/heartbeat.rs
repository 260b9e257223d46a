//! A worker extends its leases and learns which steps it still holds.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;
use tasker_rules::engine::state::StepState;

use super::begun::{begun_with, step_uuids};
use super::{CLOSE, key_args, step_keys};
use crate::error::Result;
use crate::orchestration::workers;
use crate::orchestration::{Engine, StepKey, claimants::Claimant};
use crate::pg::datum;
use crate::pg::spi::{Rows, Statement};

pub(super) static OF_WORKER: Statement = Statement::new(
    "SELECT c.claim_id, c.task_uuids, c.step_nos
     FROM tasker_engine.claims c
     WHERE c.claim_id >= 0 AND c.worker_no = $1
     ORDER BY c.claim_id",
    &[pg_sys::INT4OID],
);

// An open transaction with a report holds the row of its claim: the heartbeat passes it by, and all others are extended.
static EXTEND: Statement = Statement::new(
    "UPDATE tasker_engine.claims c SET lease_expires_at = $2
     WHERE c.claim_id = ANY (ARRAY(
         SELECT l.claim_id FROM tasker_engine.claims l WHERE l.claim_id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED))
     RETURNING c.claim_id",
    &[pg_sys::INT8ARRAYOID, pg_sys::TIMESTAMPTZOID],
);

static EXTEND_AND_BEGIN: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.claims c
     SET lease_expires_at = $2, begun = CASE WHEN cardinality(c.task_uuids) > 1 THEN ",
        begun_with!("$3"),
        " END
     WHERE c.claim_id = ANY (ARRAY(
         SELECT l.claim_id FROM tasker_engine.claims l WHERE l.claim_id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED))
     RETURNING c.claim_id"
    ),
    &[
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::UUIDARRAYOID,
    ],
);

static STATES: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.state, s.claim_id
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

/// What a heartbeat returns about a step that the worker has claimed and not reported.
pub struct Beat {
    pub key: StepKey,
    pub status: &'static str,
}

/// Extends every lease of the worker that no other transaction holds, and returns its steps. Never waits. `begun`: what it says that it has begun.
pub fn heartbeat(
    engine: &mut Engine,
    claimant: &Claimant,
    worker_id: &str,
    lease_us: i64,
    begun: &[StepKey],
) -> Result<Vec<Beat>> {
    let Some(worker_no) = workers::handled(engine.session, claimant, worker_id)? else {
        return Ok(vec![]);
    };
    let rows = engine.session.run(&OF_WORKER, &[datum::int4(worker_no)])?;
    let (claims, keys) = claims_and_keys(&rows)?;
    if claims.is_empty() {
        return Ok(vec![]);
    }
    let mut args = vec![
        datum::int8s(claims.iter().copied()),
        datum::timestamp(engine.now + lease_us),
    ];
    let mut extend = &EXTEND;
    if !begun.is_empty() {
        extend = &EXTEND_AND_BEGIN;
        args.push(step_uuids(begun));
    }
    let extended: BTreeSet<i64> = engine
        .session
        .run(extend, &args)?
        .iter()
        .map(|row| row.get(1))
        .collect::<Result<_>>()?;
    let [tasks, numbers] = key_args(&keys.keys().copied().collect::<Vec<_>>());
    let mut beats = Vec::new();
    let mut empty = extended.clone();
    for row in engine.session.run(&STATES, &[tasks, numbers])?.iter() {
        let key = StepKey {
            task: row.get(1)?,
            no: row.get(2)?,
        };
        let (state, claim_id) = (row.get::<StepState>(3)?, row.opt::<i64>(4));
        let mine = claim_id.filter(|id| keys.get(&key).is_some_and(|claims| claims.contains(id)));
        let status = match (state, mine) {
            (StepState::InProgress, Some(claim_id)) if extended.contains(&claim_id) => {
                empty.remove(&claim_id);
                "extended"
            }
            // Still this worker's: a report that is not committed yet, or a take-over, holds the lease.
            (StepState::InProgress, Some(_)) => "locked",
            // This worker has reported the step itself: no row.
            (StepState::Complete | StepState::Error, Some(_)) => continue,
            (StepState::Cancelled, _) => "cancelled",
            _ => "lost",
        };
        beats.push(Beat { key, status });
    }
    // These claims hold no step any more, and the worker knows it now.
    if !empty.is_empty() {
        engine.session.run(&CLOSE, &[datum::int8s(empty)])?;
    }
    Ok(beats)
}

pub(super) type ClaimsAndKeys = (Vec<i64>, BTreeMap<StepKey, Vec<i64>>);

pub(super) fn claims_and_keys(rows: &Rows) -> Result<ClaimsAndKeys> {
    let mut claims = Vec::new();
    let mut keys: BTreeMap<StepKey, Vec<i64>> = BTreeMap::new();
    for row in rows.iter() {
        let claim_id: i64 = row.get(1)?;
        claims.push(claim_id);
        for key in step_keys(&row, 2, 3)? {
            keys.entry(key).or_default().push(claim_id);
        }
    }
    Ok((claims, keys))
}
