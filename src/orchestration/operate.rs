//! What operators do to tasks and steps. Every operation locks the whole task first, decides, and settles.

use std::str::FromStr;

use tasker_rules::engine::retry::{self, Wait};
use tasker_rules::engine::state::{StepState, TaskState};

use super::claimants::Claimant;
use super::locked_task::LockedTask;
use super::queue_entries::HELD;
use super::workers::{self, MANUAL_WORKER};
use super::{Engine, StepKey, audit, leases};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb, Uuid};

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
    Err(match hint_for_step(step.state, to) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

fn allow_task(locked: &LockedTask, to: TaskState) -> Result<()> {
    if locked.state.allowed(to) {
        return Ok(());
    }
    let allowed: Vec<String> = locked
        .state
        .next_states()
        .iter()
        .map(ToString::to_string)
        .collect();
    let error = refused(
        "task",
        &locked.uuid,
        locked.state.as_str(),
        to.as_str(),
        &allowed,
    );
    Err(
        if locked.state == TaskState::Error && to == TaskState::Cancelled {
            error.hint("A task in error runs no more: use resolve_task_manually, or retry_task and cancel it then.")
        } else {
            error
        },
    )
}

/// Steps change only while their task is open or in error (55000).
fn require_living_task(locked: &LockedTask) -> Result<()> {
    match locked.state {
        TaskState::Pending | TaskState::InProgress | TaskState::Error => Ok(()),
        ended => Err(Error::state(format!(
            "task {} is {ended}: its steps no longer change",
            super::format_uuid(&locked.uuid)
        ))
        .detail("Steps change only while their task is pending, in progress or in error.")
        .hint("Create a new task.")),
    }
}

/// Moves a step in memory and logs it.
fn move_step<'e>(
    engine: &mut Engine<'e>,
    locked: &mut LockedTask<'e>,
    index: usize,
    to: StepState,
    worker_no: i32,
    metadata: Option<Jsonb<'e>>,
) {
    let step = &mut locked.steps[index];
    let from = std::mem::replace(&mut step.state, to);
    let (no, attempts) = (step.no, step.attempts);
    engine
        .log
        .step_with(locked.key(no), worker_no, attempts, from, to, metadata);
}

/// Cancels a task with its pending and running steps.
pub fn cancel_task(engine: &mut Engine, task: Uuid, reason: Option<&str>) -> Result<TaskState> {
    let locked = LockedTask::lock(engine, task)?;
    allow_task(&locked, TaskState::Cancelled)?;
    cancel_locked(engine, locked, audit::texts(&[("reason", reason)]))
}

fn cancel_locked<'e>(
    engine: &mut Engine<'e>,
    mut locked: LockedTask<'e>,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    if matches!(locked.state, TaskState::Pending | TaskState::InProgress) {
        for index in 0..locked.steps.len() {
            match locked.steps[index].state {
                StepState::Pending | StepState::InProgress => {
                    locked.take_away(index);
                    move_step(
                        engine,
                        &mut locked,
                        index,
                        StepState::Cancelled,
                        audit::NO_WORKER,
                        note,
                    );
                }
                // Stays in error, and its retry is off.
                StepState::Error => locked.steps[index].available_at = None,
                _ => {}
            }
        }
    }
    set_task(engine, locked, TaskState::Cancelled, note)
}

/// Ends a task that has taken too long. What runs fails for good, what waits is held: nothing of it starts any more unless
/// an operator takes the task up again.
pub fn time_out<'e>(
    engine: &mut Engine<'e>,
    mut locked: LockedTask<'e>,
    seconds: i64,
) -> Result<TaskState> {
    let message = format!("the task was not finished within its timeout of {seconds} s");
    let note = audit::texts(&[
        ("error_message", Some(&message)),
        ("error_class", Some("TaskTimeout")),
    ]);
    for index in 0..locked.steps.len() {
        match locked.steps[index].state {
            StepState::InProgress => {
                locked.take_away(index);
                locked.steps[index].results = note;
                locked.steps[index].available_at = None;
                move_step(
                    engine,
                    &mut locked,
                    index,
                    StepState::Error,
                    audit::NO_WORKER,
                    note,
                );
            }
            StepState::Pending => locked.steps[index].available_at = Some(HELD),
            // Its retry is off.
            StepState::Error => locked.steps[index].available_at = None,
            _ => {}
        }
    }
    set_task(engine, locked, TaskState::Error, note)
}

/// Sets the task's state with its metadata; its steps must not pull it elsewhere.
fn set_task<'e>(
    engine: &mut Engine<'e>,
    mut locked: LockedTask<'e>,
    to: TaskState,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    engine.log.next_task_metadata(note);
    locked.state = to;
    let state = locked.settle(engine)?;
    engine.log.next_task_metadata(None);
    Ok(state)
}

/// Takes a task in error up again: its failed steps start over, completed ones are kept.
pub fn retry_task(engine: &mut Engine, task: Uuid, reason: Option<&str>) -> Result<TaskState> {
    let mut locked = LockedTask::lock(engine, task)?;
    allow_task(&locked, TaskState::Pending)?;
    if locked.state != TaskState::Error {
        return Err(
            refused("task", &task, locked.state.as_str(), "pending", &[])
                .hint("Only a task in error is retried."),
        );
    }
    let failed: Vec<usize> = (0..locked.steps.len())
        .filter(|index| locked.steps[*index].state == StepState::Error)
        .collect();
    let cancelled = locked
        .steps
        .iter()
        .any(|step| step.state == StepState::Cancelled);
    let held = locked
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
    let note = audit::texts(&[("reason", reason)]);
    for index in failed {
        start_over(engine, &mut locked, index, true, note)?;
    }
    take_up(engine, &mut locked)?;
    engine.log.next_task_metadata(note);
    let state = locked.settle(engine)?;
    engine.log.next_task_metadata(None);
    Ok(state)
}

/// error -> pending, to run at once.
fn start_over<'e>(
    engine: &mut Engine<'e>,
    locked: &mut LockedTask<'e>,
    index: usize,
    reset: bool,
    note: Option<Jsonb<'e>>,
) -> Result<()> {
    let no = locked.steps[index].no;
    let retryable = locked.template.step(no)?.retryable;
    let step = &mut locked.steps[index];
    if reset {
        step.attempts = 0;
    }
    step.retryable = retryable;
    locked.run_now(engine, index);
    move_step(
        engine,
        locked,
        index,
        StepState::Pending,
        audit::NO_WORKER,
        note,
    );
    Ok(())
}

/// Held steps wait no longer.
fn take_up<'e>(engine: &Engine<'e>, locked: &mut LockedTask<'e>) -> Result<()> {
    for index in 0..locked.steps.len() {
        if locked.steps[index].available_at == Some(HELD) {
            locked.steps[index].available_at = None;
            if locked.parents_good(locked.steps[index].no)? {
                locked.run_now(engine, index);
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
    let locked = LockedTask::lock(engine, task)?;
    allow_task(&locked, TaskState::ResolvedManually)?;
    set_task(
        engine,
        locked,
        TaskState::ResolvedManually,
        audit::texts(&[("resolved_by", by), ("reason", reason)]),
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
    let (mut locked, index) = LockedTask::lock_step(engine, key)?;
    let step = &mut locked.steps[index];
    step.retry_limit = limit;
    let state = step.state;
    if state == StepState::Error {
        require_living_task(&locked)?;
        let step = &mut locked.steps[index];
        // A retry that is scheduled already keeps its time.
        let wait = Wait::Until(step.available_at.unwrap_or(engine.now));
        step.available_at = retry::next_run(step.attempts(), wait);
    }
    locked.settle(engine)?;
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
    let mut locked = LockedTask::lock(engine, task)?;
    allow_task(&locked, to)?;
    match to {
        TaskState::Cancelled => cancel_locked(engine, locked, note),
        TaskState::Complete if !locked.all_good() => Err(unfinished(&locked)),
        TaskState::Error => {
            // Nothing of it starts any more; what runs may still report.
            for step in locked
                .steps
                .iter_mut()
                .filter(|step| step.state == StepState::Pending)
            {
                step.available_at = Some(HELD);
            }
            set_task(engine, locked, to, note)
        }
        TaskState::Pending => {
            take_up(engine, &mut locked)?;
            set_task(engine, locked, to, note)
        }
        _ => set_task(engine, locked, to, note),
    }
}

fn unfinished(locked: &LockedTask) -> Error {
    let open: Vec<&str> = locked
        .steps
        .iter()
        .filter(|step| !step.state.is_finished_good())
        .filter_map(|step| {
            locked
                .template
                .step(step.no)
                .ok()
                .map(|step| step.name.as_str())
        })
        .take(10)
        .collect();
    Error::guard(format!(
        "task {} cannot complete: not all of its steps are complete",
        super::format_uuid(&locked.uuid)
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
        StepState::Error => fail_by_hand(engine, &mut locked, index, note)?,
        StepState::Pending => {
            if from == StepState::InProgress {
                locked.steps[index].attempts -= 1;
            }
            locked.run_now(engine, index);
        }
        StepState::Cancelled | StepState::ResolvedManually => {}
    }
    move_step(engine, &mut locked, index, to, worker_no, note);
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
            super::describe(&locked.key(no))
        ))
        .detail("A step starts when every parent is complete or resolved manually.")
        .hint(
            "SELECT * FROM tasker.get_step_readiness_status(task_uuid) shows what it waits for.",
        ));
    }
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
    step.claim_number += 1;
    step.attempts += 1;
    if locked.state == TaskState::Pending {
        locked.state = TaskState::InProgress;
    }
    Ok(worker.no)
}

/// Decides on a retry as a report would.
fn fail_by_hand<'e>(
    engine: &Engine<'e>,
    locked: &mut LockedTask<'e>,
    index: usize,
    note: Option<Jsonb<'e>>,
) -> Result<()> {
    let no = locked.steps[index].no;
    let policy = locked.template.step(no)?.backoff;
    let step = &mut locked.steps[index];
    step.available_at = engine.retry_after_failure(step.attempts(), &policy, None);
    let note = note
        .map(datum::jsonb_text)
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let said = |key: &str| {
        note.as_ref()
            .and_then(|note| note.get(key)?.as_str().map(str::to_owned))
    };
    step.results = audit::texts(&[
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
