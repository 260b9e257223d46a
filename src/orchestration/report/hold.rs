//! Locks the steps whose reports are accepted, and completes those that did not fail.

use std::collections::BTreeMap;
use std::rc::Rc;

use pgrx::{PgSqlErrorCode as Code, pg_sys};

use super::{Outcome, Report};
use crate::error::{Error, Result};
use crate::orchestration::Engine;
use crate::orchestration::claimants::{Claimant, claimed_by};
use crate::pg::datum::{self, Timestamp};
use crate::pg::spi::{Row, Rows, Statement};
use crate::registry::{self, Template};

/// The row of a step whose report is accepted.
pub(super) struct Held {
    pub(super) template: Rc<Template>,
    pub(super) claim_id: i64,
    pub(super) attempts: i16,
    pub(super) retry_limit: i16,
    pub(super) retryable: bool,
    pub(super) priority: i16,
    pub(super) watched: bool,
    /// Says whether the step is held once its run has ended.
    pub(super) available_at: Option<Timestamp>,
    pub(super) run_id: Option<i64>,
}

const KEYS_AND_CLAIMS: [pg_sys::Oid; 3] = [
    pg_sys::UUIDARRAYOID,
    pg_sys::INT2ARRAYOID,
    pg_sys::INT4ARRAYOID,
];

static COMPLETE: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.steps s SET state = 'c', results = u.results
     FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
          AS u (task_uuid, step_no, claim_number, results, checked, ord)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no
       AND s.claim_number = u.claim_number AND s.state = 'i' AND (u.checked OR NOT s.checked)
       AND ", claimed_by!("$6"), "
     RETURNING u.ord, s.named_task_id, s.claim_id, s.attempts, s.retry_limit, s.retryable, s.priority, s.watched,
               s.available_at, s.run_id"
    ),
    &[
        KEYS_AND_CLAIMS[0],
        KEYS_AND_CLAIMS[1],
        KEYS_AND_CLAIMS[2],
        pg_sys::JSONBARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

// With a failure in the batch the decision needs the row first; all rows of the batch are locked in one order.
static HOLD: Statement = Statement::new(
    concat!(
        "SELECT u.ord, s.named_task_id, s.claim_id, s.attempts, s.retry_limit, s.retryable, s.priority, s.watched,
             s.available_at, s.run_id
     FROM unnest($1, $2, $3) WITH ORDINALITY AS u (task_uuid, step_no, claim_number, ord)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.claim_number = u.claim_number AND s.state = 'i' AND ", claimed_by!("$4"), "
     FOR UPDATE OF s"
    ),
    &[
        KEYS_AND_CLAIMS[0],
        KEYS_AND_CLAIMS[1],
        KEYS_AND_CLAIMS[2],
        pg_sys::INT8ARRAYOID,
    ],
);

fn keys_and_claims(reports: &[Report], order: &[usize]) -> Vec<datum::Arg<'static>> {
    vec![
        datum::uuids(order.iter().map(|index| &reports[*index].key.task)),
        datum::int2s(order.iter().map(|index| reports[*index].key.no)),
        datum::int4s(order.iter().map(|index| reports[*index].claim_number)),
    ]
}

/// Level 1: locks the steps whose reports are accepted, and completes those that did not fail.
pub(super) fn hold(
    engine: &Engine,
    claimant: &Claimant,
    reports: &[Report],
    order: &[usize],
    outcomes: &mut [Outcome],
) -> Result<BTreeMap<usize, Held>> {
    if order.is_empty() {
        return Ok(BTreeMap::new());
    }
    if reports.iter().all(Report::is_complete) {
        let mut all = complete(engine, claimant, reports, order, false)?;
        if all.len() < order.len() {
            let rest: Vec<usize> = order
                .iter()
                .copied()
                .filter(|index| !all.contains_key(index))
                .collect();
            all.extend(hold_and_check(engine, claimant, reports, &rest, outcomes)?);
        }
        return Ok(all);
    }
    hold_and_check(engine, claimant, reports, order, outcomes)
}

/// Locks first, then completes the steps whose results pass their results_schema.
fn hold_and_check(
    engine: &Engine,
    claimant: &Claimant,
    reports: &[Report],
    order: &[usize],
    outcomes: &mut [Outcome],
) -> Result<BTreeMap<usize, Held>> {
    let mut args = keys_and_claims(reports, order);
    args.push(claimant.numbers());
    let mut all = read_held(engine, &engine.session.run(&HOLD, &args)?, order)?;
    for &index in order {
        let Some(held) = all.get(&index) else {
            continue;
        };
        if let Some(refused) = broken_schema(&reports[index], held)? {
            outcomes[index] = refused;
            all.remove(&index);
        }
    }
    let completed: Vec<usize> = order
        .iter()
        .copied()
        .filter(|index| all.contains_key(index) && reports[*index].is_complete())
        .collect();
    if !completed.is_empty() {
        complete(engine, claimant, reports, &completed, true)?;
    }
    Ok(all)
}

/// Why the results of a success do not pass the schema of their step: the first way in which they break it, or why that cannot be
/// checked. A report of many is refused alone; a cancel ends the call.
fn broken_schema(report: &Report, held: &Held) -> Result<Option<Outcome>> {
    if !report.is_complete() {
        return Ok(None);
    }
    if let Some(why) = &held.template.unreadable {
        let name = held.template.full_name();
        return Ok(Some(Outcome::Invalid(format!(
            "results cannot be checked, because the stored template {name} cannot be read: {why}"
        ))));
    }
    let Some(schema) = &held.template.step(report.key.no)?.results_schema else {
        return Ok(None);
    };
    let results = report
        .results
        .or_else(|| datum::jsonb_from_text("{}"))
        .ok_or_else(|| Error::corrupt("an empty object is JSON"))?;
    match schema.problems("results", results) {
        Ok(problems) => Ok(problems
            .first()
            .map(|problem| Outcome::Invalid(format!("{}: {}", problem.path, problem.message)))),
        Err(error) if error.code == Code::ERRCODE_STATEMENT_TOO_COMPLEX => {
            Ok(Some(Outcome::Unchecked(error.described())))
        }
        Err(error) => Err(error),
    }
}

fn complete(
    engine: &Engine,
    claimant: &Claimant,
    reports: &[Report],
    order: &[usize],
    checked: bool,
) -> Result<BTreeMap<usize, Held>> {
    let mut args = keys_and_claims(reports, order);
    args.push(datum::jsonbs(
        order.iter().map(|index| reports[*index].results),
    ));
    args.push(datum::booleans(order.iter().map(|_| checked)));
    args.push(claimant.numbers());
    read_held(engine, &engine.session.run(&COMPLETE, &args)?, order)
}

fn read_held(engine: &Engine, rows: &Rows, order: &[usize]) -> Result<BTreeMap<usize, Held>> {
    rows.iter()
        .map(|row| Ok((order[row.get::<i64>(1)? as usize - 1], held(engine, &row)?)))
        .collect()
}

fn held(engine: &Engine, row: &Row) -> Result<Held> {
    Ok(Held {
        template: registry::get(engine.session, row.get(2)?)?,
        claim_id: row.opt(3).unwrap_or_default(),
        attempts: row.get(4)?,
        retry_limit: row.get(5)?,
        retryable: row.get(6)?,
        priority: row.get(7)?,
        watched: row.get(8)?,
        available_at: row.opt(9),
        run_id: row.opt(10),
    })
}
