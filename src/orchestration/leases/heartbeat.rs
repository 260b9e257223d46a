//! Calls of a worker about its own leases: it extends them, or releases their steps.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;
use tasker_rules::engine::state::StepState;

use super::{CLOSE, key_args, lower_claims, step_keys};
use crate::error::Result;
use crate::orchestration::queue_entries::Entry;
use crate::orchestration::workers;
use crate::orchestration::{Engine, StepKey, claimants::Claimant};
use crate::pg::datum;
use crate::pg::spi::{Rows, Statement};
use crate::registry;

static OF_WORKER: Statement = Statement::new(
    "SELECT c.claim_id, c.task_uuids, c.step_nos
     FROM tasker_engine.claims c
     WHERE c.claim_id >= 0 AND c.worker_no = $1
     ORDER BY c.claim_id",
    &[pg_sys::INT4OID],
);

static EXTEND: Statement = Statement::new(
    "UPDATE tasker_engine.claims c SET lease_expires_at = $2
     WHERE c.claim_id = ANY ($1)
     RETURNING c.claim_id",
    &[pg_sys::INT8ARRAYOID, pg_sys::TIMESTAMPTZOID],
);

static STATES: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.state, s.claim_id
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

static LOCK_TO_RELEASE: Statement = Statement::new(
    "SELECT s.task_uuid, s.step_no, s.named_task_id, s.attempts, s.priority, s.claim_id
     FROM unnest($1, $2, $3) AS u (task_uuid, step_no, claim_id)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.state = 'i' AND s.claim_id = u.claim_id
     FOR UPDATE OF s",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

static RELEASE: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET state = 'p', claim_id = NULL, attempts = s.attempts - 1, available_at = $3
     FROM unnest($1, $2) AS u (task_uuid, step_no)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// What a heartbeat returns about a step that the worker has claimed and not reported.
pub struct Beat {
    pub key: StepKey,
    pub status: &'static str,
}

/// Extends every lease that the worker holds, and returns the steps that it no longer holds.
pub fn heartbeat(
    engine: &mut Engine,
    claimant: &Claimant,
    worker_id: &str,
    lease_us: i64,
) -> Result<Vec<Beat>> {
    let Some(worker_no) = workers::handled(engine.session, claimant, worker_id)? else {
        return Ok(vec![]);
    };
    let rows = engine.session.run(&OF_WORKER, &[datum::int4(worker_no)])?;
    let (claims, keys) = claims_and_keys(&rows)?;
    if claims.is_empty() {
        return Ok(vec![]);
    }
    let extended: BTreeSet<i64> = engine
        .session
        .run(
            &EXTEND,
            &[
                datum::int8s(claims.iter().copied()),
                datum::timestamp(engine.now + lease_us),
            ],
        )?
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

type ClaimsAndKeys = (Vec<i64>, BTreeMap<StepKey, Vec<i64>>);

fn claims_and_keys(rows: &Rows) -> Result<ClaimsAndKeys> {
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

/// Releases the steps that the worker has claimed and not reported; no attempt is counted.
pub fn release(engine: &mut Engine, claimant: &Claimant, worker_id: &str) -> Result<i32> {
    let Some(worker_no) = workers::handled(engine.session, claimant, worker_id)? else {
        return Ok(0);
    };
    let (claims, keys) =
        claims_and_keys(&engine.session.run(&OF_WORKER, &[datum::int4(worker_no)])?)?;
    if claims.is_empty() {
        return Ok(0);
    }
    let pairs: Vec<(StepKey, i64)> = keys
        .iter()
        .flat_map(|(key, claims)| claims.iter().map(|claim| (*key, *claim)))
        .collect();
    let rows = engine.session.run(
        &LOCK_TO_RELEASE,
        &[
            datum::uuids(pairs.iter().map(|(key, _)| &key.task)),
            datum::int2s(pairs.iter().map(|(key, _)| key.no)),
            datum::int8s(pairs.iter().map(|(_, claim)| *claim)),
        ],
    )?;
    let mut released: Vec<StepKey> = Vec::new();
    let mut lowered: BTreeMap<i64, i32> = BTreeMap::new();
    for row in rows.iter() {
        let key = StepKey {
            task: row.get(1)?,
            no: row.get(2)?,
        };
        let template = registry::get(engine.session, row.get(3)?)?;
        engine.log.step(
            key,
            worker_no,
            row.get(4)?,
            StepState::InProgress,
            StepState::Pending,
        );
        engine
            .queue_entries
            .push(Entry::of(&template, key, row.get(5)?, engine.now)?);
        *lowered.entry(row.get(6)?).or_default() += 1;
        released.push(key);
    }
    if !released.is_empty() {
        let [tasks, numbers] = key_args(&released);
        engine
            .session
            .run(&RELEASE, &[tasks, numbers, datum::timestamp(engine.now)])?;
        lower_claims(engine, &lowered)?;
    }
    Ok(released.len() as i32)
}
