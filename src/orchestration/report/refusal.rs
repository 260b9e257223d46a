//! Refused reports: the reason, and the error with it.

use pgrx::{PgSqlErrorCode as Code, pg_sys};
use tasker_rules::engine::state::StepState;

use super::{Outcome, Report};
use crate::error::{Error, Result};
use crate::orchestration::claimants::{Claimant, claimed_by};
use crate::orchestration::{Engine, StepKey, describe};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::Statement;
use crate::settings;

static WHY_REFUSED: Statement = Statement::new(
    concat!(
        "SELECT u.ord, s.claim_number, s.claim_id IS NOT NULL AND ",
        claimed_by!("$3"),
        ", s.state
     FROM unnest($1, $2) WITH ORDINALITY AS u (task_uuid, step_no, ord)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no"
    ),
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

/// A refused report was made before, came too late, or names a step that does not exist.
pub(super) fn explain_refusals(
    engine: &Engine,
    claimant: &Claimant,
    reports: &[Report],
    refused: &[usize],
    outcomes: &mut [Outcome],
) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let rows = engine.session.run(
        &WHY_REFUSED,
        &[
            datum::uuids(refused.iter().map(|index| &reports[*index].key.task)),
            datum::int2s(refused.iter().map(|index| reports[*index].key.no)),
            claimant.numbers(),
        ],
    )?;
    for row in rows.iter() {
        let index = refused[row.get::<i64>(1)? as usize - 1];
        let report = &reports[index];
        let state: StepState = row.get(4)?;
        // A reported step keeps the claim that reported it; taking a step away clears it.
        let said_before = row.get::<i32>(2)? == report.claim_number
            && row.get::<bool>(3)?
            && state == report.reported_state();
        outcomes[index] = if said_before {
            Outcome::Duplicate(state)
        } else {
            Outcome::Stale
        };
    }
    Ok(())
}

/// The error that `complete_step` and `fail_step` raise for a refused report.
pub fn refusal(key: &StepKey, claim_number: i32, outcome: &Outcome) -> Error {
    match outcome {
        Outcome::UnknownStep => Error::not_found(format!("no step has the uuid {}", describe(key)))
            .detail("The uuid leads to no task with a step of this number.")
            .hint("Use the step_uuid that claim_steps returned."),
        Outcome::Invalid(problem) => Error::check(problem.clone())
            .detail(format!("The results of step {} break its results_schema.", describe(key)))
            .hint("Report other results, or fail the step."),
        Outcome::Unchecked(problem) => Error::new(Code::ERRCODE_STATEMENT_TOO_COMPLEX, problem.clone())
            .detail(format!("The results of step {} could not be checked against its results_schema.", describe(key)))
            .hint("Report simpler results, or fail the step: tasker.fail_step. A $ref used twice at one level, or nested anyOf, doubles the work at every level of the document."),
        Outcome::TooLarge(size) => too_large(key, *size),
        Outcome::TooLong => too_long(key),
        _ => Error::stale(format!("the report for step {} is stale", describe(key)))
            .detail(format!(
                "Claim number {claim_number} is not the step's current claim, another role made it, or the step was ended otherwise."
            ))
            .hint("Drop the result: the step was released, expired, cancelled or resolved meanwhile. A longer lease or a heartbeat keeps a slow step. Report as the role that claimed."),
    }
}

fn too_large(key: &StepKey, size: usize) -> Error {
    let step = describe(key);
    Error::too_large(format!("the results of step {step} are too large"))
        .detail(format!(
            "They have {size} bytes; at most {} are allowed.",
            settings::max_results_size()
        ))
        .hint(
            "Keep the document elsewhere and report its address, or raise tasker.max_results_size.",
        )
}

fn too_long(key: &StepKey) -> Error {
    let step = describe(key);
    Error::too_large(format!("the results of step {step} are too long as a text"))
        .detail("No worker could read them: a text has at most 1 GB, and a number such as 1e131071 is printed with all its digits.")
        .hint("Give long numbers as texts.")
}

/// Refuses results that a person gives to a step if they cannot be stored or read by a worker (54000).
pub fn require_fitting(key: &StepKey, results: Jsonb) -> Result<()> {
    let size = datum::size(results);
    if size > settings::max_results_size() {
        return Err(too_large(key, size));
    }
    if datum::texts_are_too_long(&[results]) {
        return Err(too_long(key));
    }
    Ok(())
}
