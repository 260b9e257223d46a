//! What operators do to tasks and steps. Every operation locks the whole task first, decides, and settles.

use std::str::FromStr;

use tasker_rules::backoff;
use tasker_rules::state::{StepState, TaskState};

use super::claimants::Claimant;
use super::ready::HELD;
use super::whole::Whole;
use super::workers::{self, MANUAL_WORKER};
use super::{Engine, StepKey, leases, log};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb, Uuid};
use crate::settings;

const MANUAL_LEASE_US: i64 = 30_000_000;

fn refused(entity: &str, uuid: &Uuid, from: &str, to: &str, allowed: &[String]) -> Error {
    let uuid = super::format_uuid(uuid);
    let error = Error::state(format!("{entity} {uuid} cannot go from {from} to {to}"));
    let error = error.hint("docs/concepts.md shows both state machines.");
    if allowed.is_empty() {
        error.detail(format!("From {from} this operation leads nowhere."))
    } else {
        error.detail(format!(
            "From {from} it can go to {}.",
            allowed.join(" or ")
        ))
    }
}

fn hint_for_step(from: StepState, to: StepState) -> Option<&'static str> {
    match (from, to) {
        (StepState::Error, StepState::Cancelled) => Some(
            "A step in error never runs again by itself: resolve_step_manually, retry_step or cancel the task.",
        ),
        (StepState::InProgress, StepState::ResolvedManually) => {
            Some("Cancel or fail the step first, or wait for its lease to end.")
        }
        _ => None,
    }
}

/// Refuses a pair that the state machine does not declare (55000).
fn allow_step(whole: &Whole, index: usize, to: StepState) -> Result<()> {
    let step = &whole.steps[index];
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
        &whole.key(step.no).uuid(),
        step.state.as_str(),
        to.as_str(),
        &allowed,
    );
    Err(match hint_for_step(step.state, to) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

fn allow_task(whole: &Whole, to: TaskState) -> Result<()> {
    if whole.state.allowed(to) {
        return Ok(());
    }
    let allowed: Vec<String> = whole
        .state
        .next_states()
        .iter()
        .map(ToString::to_string)
        .collect();
    let error = refused(
        "task",
        &whole.uuid,
        whole.state.as_str(),
        to.as_str(),
        &allowed,
    );
    Err(
        if whole.state == TaskState::Error && to == TaskState::Cancelled {
            error.hint("A task in error runs no more: use resolve_task_manually, or retry_task and cancel it then.")
        } else {
            error
        },
    )
}

/// Steps change only while their task is open or in error (55000).
fn require_living_task(whole: &Whole) -> Result<()> {
    match whole.state {
        TaskState::Pending | TaskState::InProgress | TaskState::Error => Ok(()),
        ended => Err(Error::state(format!(
            "task {} is {ended}: its steps no longer change",
            super::format_uuid(&whole.uuid)
        ))
        .detail("Steps change only while their task is pending, in progress or in error.")
        .hint("Create a new task.")),
    }
}

/// Moves a step in memory and logs it.
fn move_step<'e>(
    engine: &mut Engine<'e>,
    whole: &mut Whole<'e>,
    index: usize,
    to: StepState,
    worker_no: i32,
    metadata: Option<Jsonb<'e>>,
) {
    let step = &mut whole.steps[index];
    let from = std::mem::replace(&mut step.state, to);
    let (no, attempts) = (step.no, step.attempts);
    engine.log.step_with(
        whole.key(no),
        worker_no,
        attempts,
        from.code(),
        to.code(),
        metadata,
    );
}

/// Cancels a task with its pending and running steps.
pub fn cancel_task(engine: &mut Engine, task: Uuid, reason: Option<&str>) -> Result<TaskState> {
    let whole = Whole::lock(engine, task)?;
    allow_task(&whole, TaskState::Cancelled)?;
    cancel_whole(engine, whole, log::texts(&[("reason", reason)]))
}

fn cancel_whole<'e>(
    engine: &mut Engine<'e>,
    mut whole: Whole<'e>,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    if matches!(whole.state, TaskState::Pending | TaskState::InProgress) {
        for index in 0..whole.steps.len() {
            match whole.steps[index].state {
                StepState::Pending | StepState::InProgress => {
                    whole.take_away(index);
                    move_step(
                        engine,
                        &mut whole,
                        index,
                        StepState::Cancelled,
                        log::NO_WORKER,
                        note,
                    );
                }
                // Stays in error, and its retry is off.
                StepState::Error => whole.steps[index].available_at = None,
                _ => {}
            }
        }
    }
    set_task(engine, whole, TaskState::Cancelled, note)
}

/// Ends a task that has taken too long. What runs fails for good, what waits is held: nothing of it starts any more unless
/// an operator takes the task up again.
pub fn time_out<'e>(
    engine: &mut Engine<'e>,
    mut whole: Whole<'e>,
    seconds: i64,
) -> Result<TaskState> {
    let message = format!("the task was not finished within its timeout of {seconds} s");
    let note = log::texts(&[
        ("error_message", Some(&message)),
        ("error_class", Some("TaskTimeout")),
    ]);
    for index in 0..whole.steps.len() {
        match whole.steps[index].state {
            StepState::InProgress => {
                whole.take_away(index);
                whole.steps[index].results = note;
                whole.steps[index].available_at = None;
                move_step(
                    engine,
                    &mut whole,
                    index,
                    StepState::Error,
                    log::NO_WORKER,
                    note,
                );
            }
            StepState::Pending => whole.steps[index].available_at = Some(HELD),
            // Its retry is off.
            StepState::Error => whole.steps[index].available_at = None,
            _ => {}
        }
    }
    set_task(engine, whole, TaskState::Error, note)
}

/// Sets the task's state with its metadata; its steps must not pull it elsewhere.
fn set_task<'e>(
    engine: &mut Engine<'e>,
    mut whole: Whole<'e>,
    to: TaskState,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    engine.log.next_task_metadata(note);
    whole.state = to;
    let state = whole.settle(engine)?;
    engine.log.next_task_metadata(None);
    Ok(state)
}

/// Takes a task in error up again: its failed steps start over, completed ones are kept.
pub fn retry_task(engine: &mut Engine, task: Uuid, reason: Option<&str>) -> Result<TaskState> {
    let mut whole = Whole::lock(engine, task)?;
    allow_task(&whole, TaskState::Pending)?;
    if whole.state != TaskState::Error {
        return Err(refused("task", &task, whole.state.as_str(), "pending", &[])
            .hint("Only a task in error is retried."));
    }
    let failed: Vec<usize> = (0..whole.steps.len())
        .filter(|index| whole.steps[*index].state == StepState::Error)
        .collect();
    let cancelled = whole
        .steps
        .iter()
        .any(|step| step.state == StepState::Cancelled);
    let held = whole
        .steps
        .iter()
        .any(|step| step.available_at == Some(HELD));
    if failed.is_empty() && !held {
        let error = Error::state(format!(
            "task {} has no failed step to retry",
            super::format_uuid(&task)
        ));
        return Err(if cancelled {
            error
                .detail("Only cancelled steps keep it from completing.")
                .hint("resolve_task_manually ends it; a cancelled step is final.")
        } else {
            error
                .detail("Every step of it is complete or resolved.")
                .hint("transition_task(task_uuid, 'pending') takes it up again.")
        });
    }
    let note = log::texts(&[("reason", reason)]);
    for index in failed {
        start_over(engine, &mut whole, index, true, note)?;
    }
    take_up(engine, &mut whole)?;
    engine.log.next_task_metadata(note);
    let state = whole.settle(engine)?;
    engine.log.next_task_metadata(None);
    Ok(state)
}

/// error -> pending, to run at once.
fn start_over<'e>(
    engine: &mut Engine<'e>,
    whole: &mut Whole<'e>,
    index: usize,
    reset: bool,
    note: Option<Jsonb<'e>>,
) -> Result<()> {
    let no = whole.steps[index].no;
    let retryable = whole.template.step(no)?.retryable;
    let step = &mut whole.steps[index];
    if reset {
        step.attempts = 0;
    }
    step.retryable = retryable;
    whole.run_now(engine, index);
    move_step(
        engine,
        whole,
        index,
        StepState::Pending,
        log::NO_WORKER,
        note,
    );
    Ok(())
}

/// Held steps wait no longer.
fn take_up<'e>(engine: &Engine<'e>, whole: &mut Whole<'e>) -> Result<()> {
    for index in 0..whole.steps.len() {
        if whole.steps[index].available_at == Some(HELD) {
            whole.steps[index].available_at = None;
            if whole.parents_good(whole.steps[index].no)? {
                whole.run_now(engine, index);
            }
        }
    }
    Ok(())
}

/// Declares a task in error done.
pub fn resolve_task(
    engine: &mut Engine,
    task: Uuid,
    by: Option<&str>,
    reason: Option<&str>,
) -> Result<TaskState> {
    let whole = Whole::lock(engine, task)?;
    allow_task(&whole, TaskState::ResolvedManually)?;
    set_task(
        engine,
        whole,
        TaskState::ResolvedManually,
        log::texts(&[("resolved_by", by), ("reason", reason)]),
    )
}

/// Declares a pending or failed step done, with results its children can read.
pub fn resolve_step<'e>(
    engine: &mut Engine<'e>,
    key: StepKey,
    results: Option<Jsonb<'e>>,
    by: Option<&str>,
    reason: Option<&str>,
) -> Result<StepState> {
    step_to(
        engine,
        key,
        StepState::ResolvedManually,
        results,
        log::texts(&[("resolved_by", by), ("reason", reason)]),
    )
}

pub fn cancel_step(engine: &mut Engine, key: StepKey, reason: Option<&str>) -> Result<StepState> {
    step_to(
        engine,
        key,
        StepState::Cancelled,
        None,
        log::texts(&[("reason", reason)]),
    )
}

/// Makes a failed step ready now; with `reset` its attempts count from zero.
pub fn retry_step(engine: &mut Engine, key: StepKey, reset: bool) -> Result<StepState> {
    let (mut whole, index) = Whole::lock_step(engine, key)?;
    if whole.steps[index].state != StepState::Error {
        let state = whole.steps[index].state;
        return Err(refused("step", &key.uuid(), state.as_str(), "pending", &[])
            .hint("Only a step in error is retried."));
    }
    require_living_task(&whole)?;
    start_over(engine, &mut whole, index, reset, None)?;
    whole.settle(engine)?;
    Ok(StepState::Pending)
}

/// Changes how many attempts a step may have; an exhausted one may become ready, a waiting one may be exhausted.
pub fn set_retry_limit(engine: &mut Engine, key: StepKey, limit: i32) -> Result<StepState> {
    let limit = i16::try_from(limit)
        .ok()
        .filter(|limit| *limit >= 0)
        .ok_or_else(|| {
            Error::parameter(format!("retry_limit {limit} is out of range"))
                .detail("Limits are 0 to 32767.")
                .hint("It counts all attempts, the first one included.")
        })?;
    let (mut whole, index) = Whole::lock_step(engine, key)?;
    let step = &mut whole.steps[index];
    step.retry_limit = limit;
    let state = step.state;
    if state == StepState::Error {
        require_living_task(&whole)?;
        let step = &mut whole.steps[index];
        match (step.available_at, step.retryable && step.attempts < limit) {
            (None, true) => whole.run_now(engine, index),
            (Some(_), false) => step.available_at = None,
            _ => {}
        }
    }
    whole.settle(engine)?;
    Ok(state)
}

/// The state machine of tasks by hand.
pub fn transition_task<'e>(
    engine: &mut Engine<'e>,
    task: Uuid,
    to: &str,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    let to = parse::<TaskState>(to)?;
    let mut whole = Whole::lock(engine, task)?;
    allow_task(&whole, to)?;
    match to {
        TaskState::Cancelled => cancel_whole(engine, whole, note),
        TaskState::Complete if !whole.all_good() => Err(unfinished(&whole)),
        TaskState::Error => {
            // Nothing of it starts any more; what runs may still report.
            for step in whole
                .steps
                .iter_mut()
                .filter(|step| step.state == StepState::Pending)
            {
                step.available_at = Some(HELD);
            }
            set_task(engine, whole, to, note)
        }
        TaskState::Pending => {
            take_up(engine, &mut whole)?;
            set_task(engine, whole, to, note)
        }
        _ => set_task(engine, whole, to, note),
    }
}

fn unfinished(whole: &Whole) -> Error {
    let open: Vec<&str> = whole
        .steps
        .iter()
        .filter(|step| !step.state.is_finished_good())
        .filter_map(|step| {
            whole
                .template
                .step(step.no)
                .ok()
                .map(|step| step.name.as_str())
        })
        .take(10)
        .collect();
    Error::guard(format!(
        "task {} cannot complete: not all of its steps are complete",
        super::format_uuid(&whole.uuid)
    ))
    .detail(format!("Unfinished steps: {}.", open.join(", ")))
    .hint("Complete, resolve or retry them first.")
}

/// The state machine of steps by hand, with everything that claim and report do for the same pair.
pub fn transition_step<'e>(
    engine: &mut Engine<'e>,
    key: StepKey,
    to: &str,
    note: Option<Jsonb<'e>>,
) -> Result<StepState> {
    step_to(engine, key, parse::<StepState>(to)?, None, note)
}

fn parse<S: FromStr>(state: &str) -> Result<S> {
    state.parse().map_err(|_| {
        Error::parameter(format!("unknown state \"{state}\""))
            .detail("It is none of the six states.")
            .hint(
            "States are pending, in_progress, error, complete, cancelled and resolved_manually.",
        )
    })
}

fn step_to<'e>(
    engine: &mut Engine<'e>,
    key: StepKey,
    to: StepState,
    results: Option<Jsonb<'e>>,
    note: Option<Jsonb<'e>>,
) -> Result<StepState> {
    let (mut whole, index) = Whole::lock_step(engine, key)?;
    allow_step(&whole, index, to)?;
    require_living_task(&whole)?;
    let from = whole.steps[index].state;
    whole.take_away(index);
    let mut worker_no = log::NO_WORKER;
    whole.steps[index].results = results;
    match to {
        StepState::InProgress => worker_no = start_by_hand(engine, &mut whole, index)?,
        StepState::Complete => {
            whole.steps[index].results = results.or_else(|| datum::jsonb_from_text("{}"))
        }
        StepState::Error => fail_by_hand(engine, &mut whole, index, note)?,
        StepState::Pending => {
            if from == StepState::InProgress {
                whole.steps[index].attempts -= 1;
            }
            whole.run_now(engine, index);
        }
        StepState::Cancelled | StepState::ResolvedManually => {}
    }
    move_step(engine, &mut whole, index, to, worker_no, note);
    whole.settle(engine)?;
    Ok(to)
}

/// Counts an attempt and takes a lease of the worker `manual`.
fn start_by_hand<'e>(engine: &mut Engine<'e>, whole: &mut Whole<'e>, index: usize) -> Result<i32> {
    let no = whole.steps[index].no;
    if !whole.parents_good(no)? {
        return Err(Error::guard(format!(
            "step {} cannot start: not all of its parents are complete",
            super::describe(&whole.key(no))
        ))
        .detail("A step starts when every parent is complete or resolved manually.")
        .hint(
            "SELECT * FROM tasker.get_step_readiness_status(task_uuid) shows what it waits for.",
        ));
    }
    let worker = workers::claiming(engine.session, &Claimant::engine(), MANUAL_WORKER)?;
    let claim_id = leases::next_claim_id(&worker)?;
    let timeout = whole.template.step(no)?.timeout_us;
    let lease = leases::Lease {
        claim_id,
        worker_no: worker.no,
        expires_at: engine.now + MANUAL_LEASE_US,
        timeout_at: timeout.map(|timeout| engine.now + timeout),
    };
    leases::open_claim(engine, &lease, &[whole.key(no)])?;
    let step = &mut whole.steps[index];
    step.claim_id = Some(claim_id);
    step.claim_number += 1;
    step.attempts += 1;
    if whole.state == TaskState::Pending {
        whole.state = TaskState::InProgress;
    }
    Ok(worker.no)
}

/// Decides on a retry as a report would.
fn fail_by_hand<'e>(
    engine: &Engine<'e>,
    whole: &mut Whole<'e>,
    index: usize,
    note: Option<Jsonb<'e>>,
) -> Result<()> {
    let no = whole.steps[index].no;
    let policy = whole.template.step(no)?.backoff;
    let step = &mut whole.steps[index];
    step.available_at = (step.retryable && step.attempts < step.retry_limit).then(|| {
        let delay = backoff::delay_ms(
            step.attempts.into(),
            &policy,
            &settings::backoff(),
            None,
            fastrand::f64(),
        );
        engine.now + delay * 1000
    });
    let note = note
        .map(datum::jsonb_text)
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let said = |key: &str| {
        note.as_ref()
            .and_then(|note| note.get(key)?.as_str().map(str::to_owned))
    };
    step.results = log::texts(&[
        (
            "error_message",
            Some(
                said("error_message")
                    .as_deref()
                    .unwrap_or("set to error by hand"),
            ),
        ),
        ("error_class", said("error_class").as_deref()),
    ]);
    Ok(())
}
