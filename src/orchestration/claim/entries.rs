//! Starting the steps of queue entries.

use pgrx::pg_sys;
use rustc_hash::FxHashSet;

use super::start::start_steps;
use super::{Claimed, NewClaim};
use crate::error::Result;
use crate::metrics::{Class, Metric};
use crate::orchestration::queue_entries::{self, Found, Search};
use crate::orchestration::{Engine, StepKey, audit, labelled, leases};
use crate::pg::datum::{self, Arg};
use crate::pg::spi::Statement;
use crate::registry;

// The entries that still agree with their step's row, among those whose steps did not start.
static STILL_VALID: Statement = Statement::new(
    "SELECT u.ord, p.state = 'e' AND p.claim_id IS NULL
     FROM unnest($1, $2, $3) WITH ORDINALITY AS u (task_uuid, step_no, available_at, ord)
     JOIN tasker_engine.steps p ON p.task_uuid = u.task_uuid AND p.step_no = u.step_no
     WHERE tasker_engine.entry_agrees(p.state, p.available_at, u.available_at)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
    ],
);

fn entry_args(found: &[&Found]) -> Vec<Arg<'static>> {
    vec![
        datum::uuids(found.iter().map(|found| &found.entry.key.task)),
        datum::int2s(found.iter().map(|found| found.entry.key.no)),
        datum::timestamps(found.iter().map(|found| Some(found.entry.available_at))),
    ]
}

/// Starts the steps of the found entries. A step that was taken from its last worker comes alone: the claim ends with it. An
/// entry that the step's row contradicts is dropped; one whose step another session holds stays for the next claim and is
/// added to `held`. So is a step that comes alone where the claim has others; the next claim begins with it. Returns how many did
/// not start.
pub(super) fn start(
    engine: &mut Engine,
    search: Search,
    found: &[Found],
    taken: bool,
    claim: &mut NewClaim,
    held: &mut FxHashSet<StepKey>,
) -> Result<usize> {
    let entries: Vec<&Found> = found
        .iter()
        .filter(|found| !held.contains(&found.entry.key))
        .collect();
    if entries.is_empty() {
        return Ok(0);
    }
    if claim.claim_id == 0 {
        claim.claim_id = leases::next_claim_id(claim.worker)?;
    }
    let ids = audit::Ids::open()?;
    engine.log.number(&ids)?;
    let first = claim.steps.is_empty();
    let rows = start_steps(engine, &entries, claim.claim_id, first, &ids)?;
    let mut started = vec![false; entries.len()];
    let worker_no = claim.worker.no;
    labelled::record(|counts| {
        for row in &rows {
            let (key, template) = (&entries[row.index].entry.key, row.named_task_id);
            let waited = engine.now - entries[row.index].entry.available_at;
            let metric = Metric::StepsClaimed;
            counts.step(metric, worker_no, template, key, Class::UNKNOWN);
            counts.duration(Metric::StepWait, metric, template, key, waited);
        }
    })?;
    for row in rows {
        let key = entries[row.index].entry.key;
        started[row.index] = true;
        if let Some(id) = row.again_id {
            let template = row.named_task_id;
            engine
                .log
                .tries_again(id, template, key, worker_no, row.attempt - 1);
        }
        claim.steps.push(Claimed {
            key,
            template: registry::get(engine.session, row.named_task_id)?,
            claim_number: row.claim_number,
            attempt: row.attempt,
            retry_limit: row.retry_limit,
        });
        if row.alone {
            claim.max = 1;
        }
    }
    let refused: Vec<&Found> = entries
        .iter()
        .zip(&started)
        .filter(|(_, started)| !**started)
        .map(|(found, _)| *found)
        .collect();
    let valid = still_valid(engine, &refused)?;
    if claim.max > 1 && !claim.steps.is_empty() {
        let mut passed = valid.iter().filter(|(_, alone)| *alone);
        if let Some((found, _)) = passed.next() {
            queue_entries::remember_passed(search, &found.entry);
        }
    }
    held.extend(valid.iter().map(|(found, _)| found.entry.key));
    if taken {
        valid
            .iter()
            .for_each(|(found, _)| engine.queue_entries.push(found.entry.clone()));
    } else {
        let gone = entries
            .iter()
            .filter(|found| !held.contains(&found.entry.key));
        queue_entries::remove(engine.session, gone.map(|found| found.tid))?;
    }
    Ok(refused.len())
}

/// The entries that agree with their step's row, and whether the step comes alone: it did not start because another session holds
/// it, or because the claim has others.
fn still_valid<'a>(engine: &Engine, refused: &[&'a Found]) -> Result<Vec<(&'a Found, bool)>> {
    if refused.is_empty() {
        return Ok(vec![]);
    }
    let rows = engine.session.run(&STILL_VALID, &entry_args(refused))?;
    rows.iter()
        .map(|row| Ok((refused[row.get::<i64>(1)? as usize - 1], row.get(2)?)))
        .collect()
}
