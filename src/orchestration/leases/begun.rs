//! What workers say about the steps that they have begun. Only a run that has begun counts when its lease ends.

use pgrx::pg_sys;

use super::key_args;
use crate::error::Result;
use crate::orchestration::claimants::Claimant;
use crate::orchestration::{Engine, StepKey, workers};
use crate::pg::datum;
use crate::pg::spi::Statement;

/// What a claim's row says has begun, with the steps of an array that belong to the claim. INTERSECT sorts; an array of all steps
/// costs no more than a look at each.
macro_rules! begun_with {
    ($steps:literal) => {
        concat!(
            "ARRAY(SELECT tasker.step_uuid(u.task_uuid, u.step_no)
                   FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
                   INTERSECT SELECT unnest(c.begun || ",
            $steps,
            "))"
        )
    };
}
pub(super) use begun_with;

// The only step of a claim counts as begun, so nothing is written for it. What another transaction holds ends with that one.
static BEGIN: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.claims c SET begun = ",
        begun_with!("$4"),
        "
     WHERE c.claim_id = ANY (ARRAY(
         SELECT l.claim_id FROM tasker_engine.claims l
         WHERE l.claim_id = ANY (ARRAY(
                   SELECT DISTINCT s.claim_id
                   FROM unnest($2, $3) AS u (task_uuid, step_no)
                   JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
                   WHERE s.state = 'i' AND s.claim_id IS NOT NULL))
           AND l.worker_no = $1 AND cardinality(l.task_uuids) > 1
         FOR NO KEY UPDATE SKIP LOCKED))"
    ),
    &[
        pg_sys::INT4OID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::UUIDARRAYOID,
    ],
);

/// The worker says that it has called the handlers of these steps.
pub fn begin(
    engine: &mut Engine,
    claimant: &Claimant,
    worker_id: &str,
    begun: &[StepKey],
) -> Result<()> {
    if begun.is_empty() {
        return Ok(());
    }
    let Some(worker_no) = workers::handled(engine.session, claimant, worker_id)? else {
        return Ok(());
    };
    let [tasks, numbers] = key_args(begun);
    let steps = step_uuids(begun);
    engine
        .session
        .run(&BEGIN, &[datum::int4(worker_no), tasks, numbers, steps])?;
    Ok(())
}

pub(super) fn step_uuids(keys: &[StepKey]) -> datum::Arg<'static> {
    let uuids: Vec<_> = keys.iter().map(StepKey::uuid).collect();
    datum::uuids(&uuids)
}
