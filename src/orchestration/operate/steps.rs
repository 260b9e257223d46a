//! Operations on steps.

use serde_json::Value;
use tasker_rules::engine::readiness::unless_held;
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::failure::{Failure, Next};

use super::{move_step, parse, refused, start_over};
use crate::error::{Error, Result};
use crate::orchestration::claimants::Claimant;
use crate::orchestration::locked_task::LockedTask;
use crate::orchestration::workers::{self, MANUAL_WORKER};
use crate::orchestration::{Engine, StepKey, audit, describe, format_uuid, leases, report};
use crate::pg::datum::{self, Jsonb, Object};

const MANUAL_LEASE_US: i64 = 30_000_000;

fn hint_for_step(task: TaskState, from: StepState, to: StepState) -> Option<&'static str> {
    match (from, to) {
        (StepState::Error, StepState::Cancelled) if task.is_open() => {
            Some("Call resolve_step_manually or retry_step, or cancel the task with cancel_task.")
        }
        (StepState::Error, StepState::Cancelled) => Some(
            "Call resolve_step_manually or retry_step, or end the task with resolve_task_manually.",
        ),
        (StepState::InProgress, StepState::ResolvedManually) => Some(
            "transition_step(step_uuid, 'pending') takes it from its worker; then call resolve_step_manually.",
        ),
        _ => None,
    }
}

/// Refuses a pair that the state machine does not declare (55000).
fn allow_step(locked: &LockedTask, index: usize, to: StepState) -> Result<()> {
    let step = &locked.steps[index];
    if step.state.allowed(to) {
        return Ok(());
    }
    let allowed: Vec<String> = step
        .state
        .next_states()
        .iter()
        .map(ToString::to_string)
        .collect();
    let error = refused(
        "step",
        &locked.key(step.no).uuid(),
        step.state.as_str(),
        to.as_str(),
        &allowed,
    );
    let living = locked.state.is_open() || locked.state == TaskState::Error;
    Err(match hint_for_step(locked.state, step.state, to) {
        _ if !living && !allowed.is_empty() => error.hint(format!(
            "The task is {}: its steps no longer change. Create a new task.",
            locked.state
        )),
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// Steps change only while their task is open or in error (55000).
fn require_living_task(locked: &LockedTask) -> Result<()> {
    match locked.state {
        TaskState::Pending | TaskState::InProgress | TaskState::Error => Ok(()),
        ended => Err(Error::state(format!(
            "task {} is {ended}: its steps no longer change",
            format_uuid(&locked.uuid)
        ))
        .detail("Steps change only while their task is pending, in progress or in error.")
        .hint("Create a new task.")),
    }
}

/// Declares a pending or failed step done, with results its children can read.
pub fn resolve_step<'e>(
    engine: &mut Engine<'e>,
    key: StepKey,
    results: Option<Jsonb<'e>>,
    by: Option<&str>,
    reason: Option<&str>,
) -> Result<StepState> {
    if let Some(results) = results {
        report::require_fitting(&key, results)?;
    }
    step_to(
        engine,
        key,
        StepState::ResolvedManually,
        results,
        audit::texts(&[("resolved_by", by), ("reason", reason)]),
    )
}

pub fn cancel_step(engine: &mut Engine, key: StepKey, reason: Option<&str>) -> Result<StepState> {
    step_to(
        engine,
        key,
        StepState::Cancelled,
        None,
        audit::texts(&[("reason", reason)]),
    )
}

/// Makes a failed step ready now; with `reset` its attempts count from zero.
pub fn retry_step(engine: &mut Engine, key: StepKey, reset: bool) -> Result<StepState> {
    let (mut locked, index) = LockedTask::lock_step(engine, key)?;
    if locked.steps[index].state != StepState::Error {
        let state = locked.steps[index].state;
        return Err(refused("step", &key.uuid(), state.as_str(), "pending", &[])
            .hint("Only a step in error is retried."));
    }
    require_living_task(&locked)?;
    start_over(engine, &mut locked, index, reset, None)?;
    locked.settle(engine)?;
    Ok(StepState::Pending)
}

/// Changes the number of attempts; an exhausted step can become ready, and a waiting one exhausted.
pub fn set_retry_limit(engine: &mut Engine, key: StepKey, limit: i32) -> Result<StepState> {
    let limit = i16::try_from(limit)
        .ok()
        .filter(|limit| *limit >= 0)
        .ok_or_else(|| {
            Error::parameter(format!("retry_limit {limit} is out of range"))
                .detail("Limits are 0 to 32767.")
                .hint("It counts all attempts, the first one included.")
        })?;
    let (mut locked, index) = LockedTask::lock_step(engine, key)?;
    let step = &mut locked.steps[index];
    let raised = limit > step.retry_limit;
    step.retry_limit = limit;
    let state = step.state;
    if state == StepState::Error {
        require_living_task(&locked)?;
        let step = &mut locked.steps[index];
        // A retry that is scheduled already keeps its time; a held one runs if it is given more attempts.
        let keeps = step.available_at.filter(|_| !(step.held() && raised));
        // A run that had not begun when its lease ended was none: the first one is always allowed.
        let runs = step.attempts().may_run();
        step.available_at = runs.then(|| keeps.unwrap_or(engine.now));
    }
    locked.settle(engine)?;
    Ok(state)
}

/// A transition of a step by hand, with all effects of a claim or report that makes the same one.
pub fn transition_step<'e>(
    engine: &mut Engine<'e>,
    key: StepKey,
    to: &str,
    note: Option<Jsonb<'e>>,
) -> Result<StepState> {
    step_to(engine, key, parse::<StepState>(to)?, None, note)
}

fn step_to<'e>(
    engine: &mut Engine<'e>,
    key: StepKey,
    to: StepState,
    results: Option<Jsonb<'e>>,
    mut note: Option<Jsonb<'e>>,
) -> Result<StepState> {
    let (mut locked, index) = LockedTask::lock_step(engine, key)?;
    allow_step(&locked, index, to)?;
    require_living_task(&locked)?;
    let from = locked.steps[index].state;
    locked.take_away(index);
    let mut worker_no = audit::NO_WORKER;
    locked.steps[index].results = results;
    match to {
        StepState::InProgress => worker_no = start_by_hand(engine, &mut locked, index)?,
        StepState::Complete => {
            locked.steps[index].results = results.or_else(|| datum::jsonb_from_text("{}"))
        }
        StepState::Error => note = fail_by_hand(engine, &mut locked, index, note)?,
        StepState::Pending => locked.run_now(engine, index),
        StepState::Cancelled | StepState::ResolvedManually => {}
    }
    move_step(engine, &mut locked, index, to, worker_no, note)?;
    // Only then: the log says which attempt it was.
    if (from, to) == (StepState::InProgress, StepState::Pending) {
        let step = &mut locked.steps[index];
        step.attempts = step.attempts().without_this_run().made;
    }
    locked.settle(engine)?;
    Ok(to)
}

/// Counts an attempt and takes a lease of the worker `manual`.
fn start_by_hand<'e>(
    engine: &mut Engine<'e>,
    locked: &mut LockedTask<'e>,
    index: usize,
) -> Result<i32> {
    let no = locked.steps[index].no;
    if !locked.parents_good(no)? {
        return Err(Error::guard(format!(
            "step {} cannot start: not all of its parents are complete",
            describe(&locked.key(no))
        ))
        .detail("A step starts when every parent is complete or resolved manually.")
        .hint(
            "SELECT * FROM tasker.get_step_readiness_status(task_uuid) shows what it waits for.",
        ));
    }
    let claim_number = locked.steps[index].claim_number.checked_add(1);
    let claim_number = claim_number.ok_or_else(|| {
        Error::too_large(format!(
            "step {} cannot be claimed again",
            describe(&locked.key(no))
        ))
        .detail(format!(
            "It was claimed {} times, and each claim needs a number of its own.",
            i32::MAX
        ))
        .hint("Call tasker.resolve_step_manually or tasker.cancel_task, and create another task.")
    })?;
    let worker = workers::claiming(engine.session, &Claimant::engine(), MANUAL_WORKER)?;
    let claim_id = leases::next_claim_id(&worker)?;
    let timeout = locked.template.step(no)?.timeout_us;
    let lease = leases::Lease {
        claim_id,
        worker_no: worker.no,
        expires_at: engine.now + MANUAL_LEASE_US,
        timeout_at: timeout.map(|timeout| engine.now + timeout),
    };
    leases::open_claim(engine, &lease, &[locked.key(no)])?;
    let step = &mut locked.steps[index];
    step.claim_id = Some(claim_id);
    // Its start has a note, so it has a row.
    step.run_id = None;
    step.claim_number = claim_number;
    step.attempts = step.attempts.saturating_add(1);
    if locked.state == TaskState::Pending {
        locked.state = TaskState::InProgress;
    }
    Ok(worker.no)
}

/// Decides on a retry as a report would. Returns what the log says: the operator's own words stay, and what was decided comes behind.
fn fail_by_hand<'e>(
    engine: &Engine<'e>,
    locked: &mut LockedTask<'e>,
    index: usize,
    note: Option<Jsonb<'e>>,
) -> Result<Option<Jsonb<'e>>> {
    let no = locked.steps[index].no;
    let policy = locked.template.step(no)?.backoff;
    let step = &mut locked.steps[index];
    let again = engine.retry_after_failure(step.attempts(), &policy, None);
    step.available_at = unless_held(step.available_at, again);
    let said = note.and_then(Object::of);
    let text = |key: &str| said.as_ref()?.get(key)?.as_str();
    let (message, class) = (
        text("error_message").unwrap_or("set to error by hand"),
        text("error_class"),
    );
    step.results = audit::texts(&[("error_message", Some(message)), ("error_class", class)]);
    let mut decided = Failure {
        message,
        class,
        attempts: step.attempts(),
        next: Next::of(engine.now, step.available_at),
        backoff: Some(policy.name()),
        expired: false,
        backtrace: vec![],
    }
    .metadata();
    let says = |key: &str| said.as_ref().is_some_and(|said| said.get(key).is_some());
    decided.retain(|key, _| !(WORDS.contains(&key.as_str()) && says(key)));
    for key in DECISIONS.into_iter().filter(|key| says(key)) {
        decided.entry(key).or_insert(Value::Null);
    }
    Ok(audit::both(note, audit::object(decided)))
}

const WORDS: [&str; 2] = ["error_message", "error_class"];
/// Of these keys an operator's value would be taken for a decision.
const DECISIONS: [&str; 4] = ["retry_after_seconds", "backoff_type", "held", "expired"];
