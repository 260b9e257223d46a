//! Leases: a row per claim call, which counts the steps that are still held. This module opens, lowers and closes it.

mod begun;
mod due;
mod heartbeat;
mod release;
mod take_over;

use std::collections::BTreeMap;

use pgrx::pg_sys;

use crate::error::Result;
use crate::orchestration::workers::Worker;
use crate::orchestration::{Engine, StepKey, audit, claimants};
use crate::pg::append::append;
use crate::pg::call::Sequence;
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::{Row, Statement};
use crate::storage;

pub use begun::begin;
pub use heartbeat::heartbeat;
pub use release::{GivenBack, Returned, put_back, release};
pub use take_over::{take_over, take_over_expired};

static CLOSE: Statement = Statement::new(
    "DELETE FROM tasker_engine.claims c WHERE c.claim_id = ANY ($1)",
    &[pg_sys::INT8ARRAYOID],
);

/// The id of a claim to be opened.
pub fn next_claim_id(worker: &Worker) -> Result<i64> {
    let serial = Sequence::named(c"claims_claim_id_seq")?.next()?;
    Ok(claimants::claim_id(serial, worker.claimant))
}

/// The lease of one claim call. A heartbeat moves its end, never the timeout of a step.
pub struct Lease {
    pub claim_id: i64,
    pub worker_no: i32,
    pub expires_at: Timestamp,
    /// The earliest timeout of its steps.
    pub timeout_at: Option<Timestamp>,
}

/// Opens the lease.
pub fn open_claim(engine: &Engine, lease: &Lease, keys: &[StepKey]) -> Result<()> {
    let row = [
        datum::int8(lease.claim_id),
        datum::timestamp(engine.now),
        datum::timestamp(lease.expires_at),
        datum::opt(lease.timeout_at, datum::timestamp),
        datum::int4(lease.worker_no),
        datum::int4(keys.len() as i32),
        datum::uuids(keys.iter().map(|key| &key.task)),
        datum::int2s(keys.iter().map(|key| key.no)),
    ];
    append(&storage::CLAIMS, &[row])
}

fn step_keys(row: &Row, tasks: i32, numbers: i32) -> Result<Vec<StepKey>> {
    let tasks: Vec<Uuid> = row.get(tasks)?;
    let numbers: Vec<i16> = row.get(numbers)?;
    Ok(tasks
        .into_iter()
        .zip(numbers)
        .map(|(task, no)| StepKey { task, no })
        .collect())
}

fn key_args(keys: &[StepKey]) -> [datum::Arg<'static>; 2] {
    [
        datum::uuids(keys.iter().map(|key| &key.task)),
        datum::int2s(keys.iter().map(|key| key.no)),
    ]
}

// No join: between a table with a handful of live rows and a few parameters the planner may walk the whole index
// first, and after a vacuum that could remove nothing (a transaction left open elsewhere) that is every dead claim.
// A btree takes the ids of an array in ascending order, which is the order of locks. The array is in that order too, so
// width_bucket finds the place of an id without going through the array for each row.
static CLOSE_CLAIMS: Statement = Statement::new(
    "DELETE FROM tasker_engine.claims c
     WHERE c.claim_id = ANY ($1) AND c.remaining <= ($2)[width_bucket(c.claim_id, $1)]
     RETURNING c.claim_id, c.worker_no, c.claimed_at",
    &[pg_sys::INT8ARRAYOID, pg_sys::INT4ARRAYOID],
);

static LOWER_CLAIMS: Statement = Statement::new(
    "UPDATE tasker_engine.claims c
     SET remaining = c.remaining - ($2)[width_bucket(c.claim_id, $1)]
     WHERE c.claim_id = ANY ($1)
     RETURNING c.claim_id, c.worker_no, c.claimed_at, c.remaining",
    &[pg_sys::INT8ARRAYOID, pg_sys::INT4ARRAYOID],
);

/// Level 4: the claims hold fewer steps now; returns the worker of each.
pub(super) fn lower_claims(
    engine: &Engine,
    claims: &BTreeMap<i64, i32>,
) -> Result<BTreeMap<i64, audit::Run>> {
    let mut runs = BTreeMap::new();
    if claims.is_empty() {
        return Ok(runs);
    }
    let args = |claims: &BTreeMap<i64, i32>| {
        [
            datum::int8s(claims.keys().copied()),
            datum::int4s(claims.values().copied()),
        ]
    };
    for row in engine.session.run(&CLOSE_CLAIMS, &args(claims))?.iter() {
        runs.insert(row.get(1)?, run_of(&row)?);
    }
    let open: BTreeMap<i64, i32> = claims
        .iter()
        .filter(|(id, _)| !runs.contains_key(id))
        .map(|(id, n)| (*id, *n))
        .collect();
    if open.is_empty() {
        return Ok(runs);
    }
    let mut empty = BTreeMap::new();
    for row in engine.session.run(&LOWER_CLAIMS, &args(&open))?.iter() {
        runs.insert(row.get(1)?, run_of(&row)?);
        if row.get::<i32>(4)? <= 0 {
            empty.insert(row.get(1)?, 0);
        }
    }
    if !empty.is_empty() {
        engine.session.run(&CLOSE_CLAIMS, &args(&empty))?;
    }
    Ok(runs)
}

static RUNS: Statement = Statement::new(
    "SELECT c.claim_id, c.worker_no, c.claimed_at FROM tasker_engine.claims c WHERE c.claim_id = ANY ($1)",
    &[pg_sys::INT8ARRAYOID],
);

/// The worker of each of these claims, and when it claimed.
pub fn runs(
    engine: &Engine,
    claims: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, audit::Run>> {
    let rows = engine.session.run(&RUNS, &[datum::int8s(claims)])?;
    rows.iter()
        .map(|row| Ok((row.get(1)?, run_of(&row)?)))
        .collect()
}

fn run_of(claim: &Row) -> Result<audit::Run> {
    Ok(audit::Run {
        worker_no: claim.get(2)?,
        started_at: claim.get(3)?,
    })
}
