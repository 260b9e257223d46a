//! Applies the reports of workers about the steps that they hold, with all effects in one transaction.

mod failure;
mod hold;
mod logs;
mod refusal;
mod told;

use std::collections::BTreeMap;

use tasker_rules::engine::state::StepState;

use crate::error::Result;
use crate::metrics::Class;
use crate::orchestration::claimants::Claimant;
use crate::orchestration::leases::{GivenBack, Returned, lower_claims, put_back};
use crate::orchestration::propagate::Propagation;
use crate::orchestration::queue_entries::Entry;
use crate::orchestration::{Engine, StepKey, audit};
use crate::pg::datum::{self, Jsonb};
use crate::settings;
use failure::decide;
use hold::{Held, hold};
use refusal::explain_refusals;

pub use refusal::{refusal, require_fitting};

/// One report.
pub struct Report<'a> {
    pub key: StepKey,
    pub claim_number: i32,
    pub results: Option<Jsonb<'a>>,
    /// `None`: the step is complete, or given back.
    pub failure: Option<Failure<'a>>,
    /// The worker gives the step back instead of having run it.
    pub returned: Option<Returned>,
    /// An array of events to publish with it, as it was given.
    pub events: Option<Jsonb<'a>>,
    /// The log of the run, as it was given.
    pub logs: Option<Jsonb<'a>>,
}

impl Report<'_> {
    /// The state to which the step goes.
    fn reported_state(&self) -> StepState {
        match (&self.failure, &self.returned) {
            (Some(_), _) => StepState::Error,
            (None, Some(_)) => StepState::Pending,
            (None, None) => StepState::Complete,
        }
    }

    fn is_complete(&self) -> bool {
        self.reported_state() == StepState::Complete
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

/// The outcome of one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The step's new state.
    Accepted(StepState),
    /// The same report was accepted before; the state has not changed.
    Duplicate(StepState),
    /// The claim is not the current one, another role made it, or the step has ended otherwise.
    Stale,
    UnknownStep,
    /// The results break the step's results_schema; the text says where. Nothing was changed.
    Invalid(String),
    /// Checking the results against the results_schema takes too much work; the text says more. Nothing was changed.
    Unchecked(String),
    /// The results are larger than the limit. Nothing was changed.
    TooLarge(usize),
    /// The results are too long as a text. Nothing was changed.
    TooLong,
}

/// The outcome of a report that was accepted before.
pub const DUPLICATE: &str = "duplicate";

/// The word for results that are not taken.
const INVALID: &str = "invalid";

/// Applies reports and returns an outcome for each, in their order. If a step occurs twice, the first report wins.
/// A report for a step that the caller must not report is stale.
pub fn apply<'e>(
    engine: &mut Engine<'e>,
    claimant: &Claimant,
    reports: &[Report<'e>],
) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![Outcome::UnknownStep; reports.len()];
    let (mut order, repeated) = in_order_of_locks(reports);
    order.retain(|index| fits(&reports[*index], &mut outcomes[*index]));
    let mut propagation = Propagation::default();
    let mut claims: BTreeMap<i64, i32> = BTreeMap::new();
    let mut claim_of: BTreeMap<StepKey, i64> = BTreeMap::new();

    let held = hold(engine, claimant, reports, &order, &mut outcomes)?;
    let failures = decide(engine, reports, &held)?;
    let refused_events = told::publish(engine, reports, &held)?;
    logs::store(engine, reports, &held)?;
    for (&index, held) in &held {
        let report = &reports[index];
        let state = report.reported_state();
        let why = match (&report.failure, &report.returned) {
            (Some(_), _) => failures.get(&index).and_then(|failure| failure.metadata),
            (None, Some(returned)) => {
                returned.metadata(engine, &held.template, report.key, held.available_at)?
            }
            (None, None) => None,
        };
        let why = told::noted(why, refused_events.get(&index));
        let run = audit::RunKey {
            id: held.run_id,
            claim_number: report.claim_number,
        };
        let (template, attempts) = (held.template.id, held.attempts);
        let log = &mut engine.log;
        log.ended(template, report.key, run, None, attempts, state, why);
        if let Some(failure) = &report.failure {
            log.failed_with(Class::of(failure.class.as_deref()));
        }
        *claims.entry(held.claim_id).or_default() += 1;
        claim_of.insert(report.key, held.claim_id);
        outcomes[index] = Outcome::Accepted(state);
        if report.is_complete() {
            propagation.completed(
                engine,
                report.key,
                &held.template,
                held.priority,
                held.watched,
            )?;
        }
    }
    for (index, failure) in &failures {
        let (report, held) = (&reports[*index], &held[index]);
        match failure.retry_at {
            Some(available_at) => engine.queue_entries.push(Entry::of(
                &held.template,
                report.key,
                held.priority,
                available_at,
            )?),
            None => {
                propagation.failed_permanently(report.key, &held.template, held.watched);
            }
        }
    }
    put_back_returned(engine, reports, &held)?;
    propagation.settle(engine)?;
    let run_of_claim = lower_claims(engine, &claims)?;
    engine.log.credit(|key| {
        claim_of
            .get(key)
            .and_then(|claim| run_of_claim.get(claim).copied())
    });

    let refused: Vec<usize> = order
        .into_iter()
        .filter(|index| !held.contains_key(index) && outcomes[*index].refused() != Some(INVALID))
        .collect();
    explain_refusals(engine, claimant, reports, &refused, &mut outcomes)?;
    for (index, first) in repeated {
        outcomes[index] = outcomes[first].repeated();
    }
    Ok(outcomes)
}

/// Puts back into the queue what workers returned.
fn put_back_returned(
    engine: &mut Engine,
    reports: &[Report],
    held: &BTreeMap<usize, Held>,
) -> Result<()> {
    let given_back: Vec<GivenBack> = held
        .iter()
        .filter_map(|(index, held)| {
            Some(GivenBack {
                key: reports[*index].key,
                template: &held.template,
                priority: held.priority,
                returned: reports[*index].returned.as_ref()?,
            })
        })
        .collect();
    put_back(engine, &given_back)
}

/// The first report of each step, ascending by step, and the later ones with the place of the first.
fn in_order_of_locks(reports: &[Report]) -> (Vec<usize>, Vec<(usize, usize)>) {
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
    (firsts.into_values().collect(), repeated)
}

/// Whether the results of a success can be stored. A failure is always taken: it is stored without what does not fit.
fn fits(report: &Report, outcome: &mut Outcome) -> bool {
    let Some(results) = report.results.filter(|_| report.is_complete()) else {
        return true;
    };
    let size = datum::size(results);
    if size > settings::max_results_size() {
        *outcome = Outcome::TooLarge(size);
        return false;
    }
    if datum::texts_are_too_long(&[results]) {
        *outcome = Outcome::TooLong;
        return false;
    }
    true
}

impl Outcome {
    /// The outcome of a report that the same call has made before.
    fn repeated(&self) -> Self {
        match self {
            Outcome::Accepted(state) | Outcome::Duplicate(state) => Outcome::Duplicate(*state),
            other => other.clone(),
        }
    }

    /// The word for an accepted report.
    pub fn accepted(&self) -> Option<&'static str> {
        match self {
            // Only a report can give a step back, and its state alone would not say so.
            Outcome::Accepted(StepState::Pending) => Some("released"),
            Outcome::Accepted(state) => Some(state.as_str()),
            _ => None,
        }
    }

    /// The word for a refused report; `None` for an accepted one.
    pub fn refused(&self) -> Option<&'static str> {
        match self {
            Outcome::Accepted(_) => None,
            Outcome::Duplicate(_) => Some(DUPLICATE),
            Outcome::Stale => Some("stale"),
            Outcome::UnknownStep => Some("unknown_step"),
            Outcome::Invalid(_)
            | Outcome::Unchecked(_)
            | Outcome::TooLarge(_)
            | Outcome::TooLong => Some(INVALID),
        }
    }
}
