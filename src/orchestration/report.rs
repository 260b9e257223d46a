//! Reports: what a worker says of the steps it holds, and everything that follows from it in one transaction.

use std::collections::BTreeMap;
use std::rc::Rc;

use pgrx::pg_sys;
use tasker_rules::engine::retry::Attempts;
use tasker_rules::engine::state::StepState;

use super::claimants::{Claimant, claimed_by};
use super::propagate::Consequences;
use super::queue_entries::Entry;
use super::{Engine, StepKey, audit, describe};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb, Timestamp};
use crate::pg::spi::{Row, Rows, Statement};
use crate::registry::{self, Template};

/// What one report says.
pub struct Report<'a> {
    pub key: StepKey,
    pub claim_number: i32,
    pub results: Option<Jsonb<'a>>,
    /// `None`: the step is complete.
    pub failure: Option<Failure<'a>>,
}

impl Report<'_> {
    /// The state to which the step goes.
    fn reported_state(&self) -> StepState {
        match self.failure {
            None => StepState::Complete,
            Some(_) => StepState::Error,
        }
    }
}

/// Why a run failed, and whether and when it may be tried again.
pub struct Failure<'a> {
    pub message: String,
    pub class: Option<String>,
    pub retryable: bool,
    pub retry_after_ms: Option<i64>,
    pub backtrace: Option<Jsonb<'a>>,
}

/// What became of one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The step's new state.
    Accepted(StepState),
    /// Said before; the state has not changed.
    Duplicate(StepState),
    /// Under another claim than the current one, or by another role, or the step has ended otherwise.
    Stale,
    UnknownStep,
    /// The results break the step's results_schema; the text says where. Nothing was changed.
    Invalid(String),
}

/// The row of a step whose report is accepted.
struct Held {
    template: Rc<Template>,
    claim_id: i64,
    attempts: i16,
    retry_limit: i16,
    retryable: bool,
    priority: i16,
    watched: bool,
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
     RETURNING u.ord, s.named_task_id, s.claim_id, s.attempts, s.retry_limit, s.retryable, s.priority, s.watched"
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
        "SELECT u.ord, s.named_task_id, s.claim_id, s.attempts, s.retry_limit, s.retryable, s.priority, s.watched
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

static FAIL: Statement = Statement::new(
    "UPDATE tasker_engine.steps s
     SET state = 'e', available_at = u.available_at, retryable = u.retryable,
         results = coalesce(u.results, '{}')
                   || pg_catalog.jsonb_build_object('error_message', u.message)
                   || CASE WHEN u.class IS NULL THEN '{}'::jsonb
                           ELSE pg_catalog.jsonb_build_object('error_class', u.class) END
                   || CASE WHEN u.backtrace IS NULL THEN '{}'::jsonb
                           ELSE pg_catalog.jsonb_build_object('backtrace', u.backtrace) END
     FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
          AS u (task_uuid, step_no, available_at, retryable, results, message, class, backtrace)
     WHERE s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::JSONBARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::JSONBARRAYOID,
    ],
);

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

// No join: between a table with a handful of live rows and a few parameters the planner may walk the whole index
// first, and after a vacuum that could remove nothing (a transaction left open elsewhere) that is every dead claim.
// A btree takes the ids of an array in ascending order, which is the order of locks.
static CLOSE_CLAIMS: Statement = Statement::new(
    "DELETE FROM tasker_engine.claims c
     WHERE c.claim_id = ANY ($1) AND c.remaining <= ($2)[pg_catalog.array_position($1, c.claim_id)]
     RETURNING c.claim_id, c.worker_no, c.claimed_at",
    &[pg_sys::INT8ARRAYOID, pg_sys::INT4ARRAYOID],
);

static LOWER_CLAIMS: Statement = Statement::new(
    "UPDATE tasker_engine.claims c
     SET remaining = c.remaining - ($2)[pg_catalog.array_position($1, c.claim_id)]
     WHERE c.claim_id = ANY ($1)
     RETURNING c.claim_id, c.worker_no, c.claimed_at, c.remaining",
    &[pg_sys::INT8ARRAYOID, pg_sys::INT4ARRAYOID],
);

/// Applies reports and returns an outcome for each, in their order. The same step twice: the first wins.
/// One of a step that the caller may not report is stale.
pub fn apply(engine: &mut Engine, claimant: &Claimant, reports: &[Report]) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![Outcome::UnknownStep; reports.len()];
    let mut firsts: BTreeMap<StepKey, usize> = BTreeMap::new();
    let mut repeated = Vec::new();
    for (index, report) in reports.iter().enumerate() {
        match firsts.get(&report.key) {
            None => {
                firsts.insert(report.key, index);
            }
            Some(first) => repeated.push((index, *first)),
        }
    }
    let order: Vec<usize> = firsts.into_values().collect();
    let mut consequences = Consequences::default();
    let mut claims: BTreeMap<i64, i32> = BTreeMap::new();
    let mut claim_of: BTreeMap<StepKey, i64> = BTreeMap::new();

    let held = hold(engine, claimant, reports, &order, &mut outcomes)?;
    let failures = decide(engine, reports, &held)?;
    for (&index, held) in &held {
        let report = &reports[index];
        let state = report.reported_state();
        // A later success overwrites the results: why this attempt failed stays in the log.
        let why = report.failure.as_ref().and_then(|failure| {
            audit::texts(&[
                ("error_message", Some(&failure.message)),
                ("error_class", failure.class.as_deref()),
            ])
        });
        engine.log.step_with(
            report.key,
            audit::NO_WORKER,
            held.attempts,
            StepState::InProgress,
            state,
            why,
        );
        *claims.entry(held.claim_id).or_default() += 1;
        claim_of.insert(report.key, held.claim_id);
        outcomes[index] = Outcome::Accepted(state);
        if report.failure.is_none() {
            consequences.completed(
                engine,
                report.key,
                &held.template,
                held.priority,
                held.watched,
            )?;
        }
    }
    for failure in failures {
        let (report, held) = (&reports[failure.index], &held[&failure.index]);
        match failure.retry_at {
            Some(available_at) => engine.queue_entries.push(Entry::of(
                &held.template,
                report.key,
                held.priority,
                available_at,
            )?),
            None => {
                consequences.failed_for_good(engine, report.key, &held.template, held.watched)?;
            }
        }
    }
    consequences.settle(engine)?;
    let run_of_claim = lower_claims(engine, &claims)?;
    engine.log.credit(|key| {
        claim_of
            .get(key)
            .and_then(|claim| run_of_claim.get(claim).copied())
    });

    let refused: Vec<usize> = order
        .into_iter()
        .filter(|index| {
            !held.contains_key(index) && !matches!(outcomes[*index], Outcome::Invalid(_))
        })
        .collect();
    explain_refusals(engine, claimant, reports, &refused, &mut outcomes)?;
    for (index, first) in repeated {
        outcomes[index] = match &outcomes[first] {
            Outcome::Accepted(state) | Outcome::Duplicate(state) => Outcome::Duplicate(*state),
            other => other.clone(),
        };
    }
    Ok(outcomes)
}

impl Outcome {
    /// The word for a refused report; `None` for an accepted one.
    pub fn refused(&self) -> Option<&'static str> {
        match self {
            Outcome::Accepted(_) => None,
            Outcome::Duplicate(_) => Some("duplicate"),
            Outcome::Stale => Some("stale"),
            Outcome::UnknownStep => Some("unknown_step"),
            Outcome::Invalid(_) => Some("invalid"),
        }
    }
}

fn keys_and_claims(reports: &[Report], order: &[usize]) -> Vec<datum::Arg<'static>> {
    vec![
        datum::uuids(order.iter().map(|index| &reports[*index].key.task)),
        datum::int2s(order.iter().map(|index| reports[*index].key.no)),
        datum::int4s(order.iter().map(|index| reports[*index].claim_number)),
    ]
}

/// Level 1: locks the steps whose reports are accepted, and completes those that did not fail.
fn hold(
    engine: &Engine,
    claimant: &Claimant,
    reports: &[Report],
    order: &[usize],
    outcomes: &mut [Outcome],
) -> Result<BTreeMap<usize, Held>> {
    if order.is_empty() {
        return Ok(BTreeMap::new());
    }
    if reports.iter().all(|report| report.failure.is_none()) {
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

/// Locks first, then completes what passes its results_schema.
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
    all.retain(|index, held| match broken_schema(&reports[*index], held) {
        Some(problem) => {
            outcomes[*index] = Outcome::Invalid(problem);
            false
        }
        None => true,
    });
    let completed: Vec<usize> = all
        .keys()
        .copied()
        .filter(|index| reports[*index].failure.is_none())
        .collect();
    let completed: Vec<usize> = order
        .iter()
        .copied()
        .filter(|index| completed.contains(index))
        .collect();
    if !completed.is_empty() {
        complete(engine, claimant, reports, &completed, true)?;
    }
    Ok(all)
}

fn broken_schema(report: &Report, held: &Held) -> Option<String> {
    if report.failure.is_some() {
        return None;
    }
    let schema = held
        .template
        .step(report.key.no)
        .ok()?
        .results_schema
        .as_ref()?;
    let text = report
        .results
        .map_or_else(|| "{}".to_owned(), datum::jsonb_text);
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    let problems = schema.validate("results", &value);
    problems
        .first()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
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
    })
}

struct Decided {
    index: usize,
    retry_at: Option<Timestamp>,
}

/// Decides for each failed run whether and when it is tried again, and writes it.
fn decide(
    engine: &Engine,
    reports: &[Report],
    held: &BTreeMap<usize, Held>,
) -> Result<Vec<Decided>> {
    let mut decided = Vec::new();
    let mut retryable = Vec::new();
    for (&index, held) in held {
        let Some(failure) = &reports[index].failure else {
            continue;
        };
        let attempts = Attempts {
            made: held.attempts,
            limit: held.retry_limit,
            retryable: failure.retryable && held.retryable,
        };
        let backoff = &held.template.step(reports[index].key.no)?.backoff;
        let retry_at = engine.retry_after_failure(attempts, backoff, failure.retry_after_ms);
        retryable.push(attempts.retryable);
        decided.push(Decided { index, retry_at });
    }
    if decided.is_empty() {
        return Ok(decided);
    }
    let report = |decided: &Decided| &reports[decided.index];
    let failures: Vec<&Failure> = decided
        .iter()
        .filter_map(|decided| report(decided).failure.as_ref())
        .collect();
    engine.session.run(
        &FAIL,
        &[
            datum::uuids(decided.iter().map(|decided| &report(decided).key.task)),
            datum::int2s(decided.iter().map(|decided| report(decided).key.no)),
            datum::timestamps(decided.iter().map(|decided| decided.retry_at)),
            datum::booleans(retryable),
            datum::jsonbs(decided.iter().map(|decided| report(decided).results)),
            datum::texts(
                failures
                    .iter()
                    .map(|failure| Some(failure.message.as_str())),
            ),
            datum::texts(failures.iter().map(|failure| failure.class.as_deref())),
            datum::jsonbs(failures.iter().map(|failure| failure.backtrace)),
        ],
    )?;
    Ok(decided)
}

/// Level 4: the claims hold fewer steps now; returns who held each.
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
        runs.insert(row.get(1)?, run(&row)?);
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
        runs.insert(row.get(1)?, run(&row)?);
        if row.get::<i32>(4)? <= 0 {
            empty.insert(row.get(1)?, 0);
        }
    }
    if !empty.is_empty() {
        engine.session.run(&CLOSE_CLAIMS, &args(&empty))?;
    }
    Ok(runs)
}

fn run(claim: &Row) -> Result<audit::Run> {
    Ok(audit::Run {
        worker_no: claim.get(2)?,
        started_at: claim.get(3)?,
    })
}

/// A refused report was said before, came too late, or names a step that is not there.
fn explain_refusals(
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
        // A reported step keeps the claim that reported it; whoever takes a step away clears it.
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
        _ => Error::stale(format!("the report for step {} is stale", describe(key)))
            .detail(format!(
                "Claim number {claim_number} is not the step's current claim, another role made it, or the step was ended otherwise."
            ))
            .hint("Drop the result: the step was released, expired, cancelled or resolved meanwhile. A longer lease or a heartbeat keeps a slow step. Report as the role that claimed."),
    }
}
