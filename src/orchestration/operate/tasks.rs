//! Operations on tasks.

use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::failure::{Failure, Next};

use super::{move_step, parse, refused, start_over};
use crate::error::{Error, Result};
use crate::orchestration::locked_task::LockedTask;
use crate::orchestration::queue_entries::HELD;
use crate::orchestration::{Engine, audit, format_uuid};
use crate::pg::datum::{Jsonb, Uuid};

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
            error.hint("A task in error does not run. Call resolve_task_manually, which ends it.")
        } else {
            error
        },
    )
}

/// Cancels a task with its pending and running steps; a complete one only with `completed_too`.
pub fn cancel_task(
    engine: &mut Engine,
    task: Uuid,
    reason: Option<&str>,
    completed_too: bool,
) -> Result<TaskState> {
    let locked = LockedTask::lock(engine, task)?;
    may_cancel(&locked, completed_too)?;
    cancel_locked(engine, locked, audit::texts(&[("reason", reason)]))
}

pub(super) fn may_cancel(locked: &LockedTask, completed_too: bool) -> Result<()> {
    allow_task(locked, TaskState::Cancelled)?;
    if locked.state == TaskState::Complete && !completed_too {
        let uuid = format_uuid(&locked.uuid);
        return Err(Error::state(format!("task {uuid} is complete"))
            .detail("Its work is done, and cancelling takes nothing back.")
            .hint(format!(
                "SELECT tasker.cancel_task('{uuid}', cancel_completed => true) cancels it all the same."
            )));
    }
    Ok(())
}

pub(super) fn cancel_locked<'e>(
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
                    )?;
                }
                // The step stays in error, and its retry is cancelled.
                StepState::Error => locked.steps[index].available_at = None,
                _ => {}
            }
        }
    }
    set_task(engine, locked, TaskState::Cancelled, note)
}

/// Ends a task that has taken too long. Running steps fail; with attempts left they are held like those that wait: none of them starts
/// any more unless an operator takes the task up again.
pub fn time_out<'e>(
    engine: &mut Engine<'e>,
    mut locked: LockedTask<'e>,
    seconds: i64,
) -> Result<TaskState> {
    let message = format!("the task was not finished within its timeout of {seconds} s");
    let class = "TaskTimeout";
    let note = audit::texts(&[
        ("error_message", Some(&message)),
        ("error_class", Some(class)),
    ]);
    for index in 0..locked.steps.len() {
        if locked.steps[index].state == StepState::InProgress {
            locked.take_away(index);
            let step = &mut locked.steps[index];
            step.results = note;
            step.available_at = step.attempts().left().then_some(HELD);
            let why = audit::failure(&Failure {
                message: &message,
                class: Some(class),
                attempts: step.attempts(),
                next: Next::of(engine.now, step.available_at),
                backoff: None,
                expired: true,
                backtrace: vec![],
            });
            move_step(
                engine,
                &mut locked,
                index,
                StepState::Error,
                audit::NO_WORKER,
                why,
            )?;
        }
    }
    set_task(engine, locked, TaskState::Error, note)
}

/// Sets the task's state with its metadata, and goes on to what follows from its steps.
pub(super) fn set_task<'e>(
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
    let locked = LockedTask::lock(engine, task)?;
    may_retry(&locked)?;
    take_up(engine, locked, audit::texts(&[("reason", reason)]))
}

pub(super) fn may_retry(locked: &LockedTask) -> Result<()> {
    allow_task(locked, TaskState::Pending)?;
    if locked.state != TaskState::Error {
        return Err(
            refused("task", &locked.uuid, locked.state.as_str(), "pending", &[])
                .hint("Only a task in error is retried."),
        );
    }
    may_take_up(locked)
}

fn may_take_up(locked: &LockedTask) -> Result<()> {
    if locked.all_good() || locked.could_run_if_retried() {
        return Ok(());
    }
    Err(Error::state(format!(
        "task {} has no failed step to retry",
        format_uuid(&locked.uuid)
    ))
    .detail("Only cancelled steps keep it from completing.")
    .hint("Call resolve_task_manually, which ends it; a cancelled step is final."))
}

/// error -> pending: failed steps start over, held ones wait no longer. A task whose steps are all done goes on to complete.
pub(super) fn take_up<'e>(
    engine: &mut Engine<'e>,
    mut locked: LockedTask<'e>,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    for index in 0..locked.steps.len() {
        if locked.steps[index].state == StepState::Error {
            start_over(engine, &mut locked, index, true, note)?;
        }
    }
    set_task(engine, locked, TaskState::Pending, note)
}

pub(super) fn may_resolve(locked: &LockedTask) -> Result<()> {
    allow_task(locked, TaskState::ResolvedManually)
}

/// Declares a task in error done.
pub fn resolve_task(
    engine: &mut Engine,
    task: Uuid,
    by: Option<&str>,
    reason: Option<&str>,
) -> Result<TaskState> {
    let locked = LockedTask::lock(engine, task)?;
    may_resolve(&locked)?;
    set_task(
        engine,
        locked,
        TaskState::ResolvedManually,
        audit::texts(&[("resolved_by", by), ("reason", reason)]),
    )
}

/// A transition of a task by hand.
pub fn transition_task<'e>(
    engine: &mut Engine<'e>,
    task: Uuid,
    to: &str,
    note: Option<Jsonb<'e>>,
) -> Result<TaskState> {
    let to = parse::<TaskState>(to)?;
    let locked = LockedTask::lock(engine, task)?;
    allow_task(&locked, to)?;
    match to {
        TaskState::Cancelled => cancel_locked(engine, locked, note),
        TaskState::Complete if !locked.all_good() => Err(unfinished(&locked)),
        TaskState::Pending if locked.state == TaskState::Error => {
            may_take_up(&locked)?;
            take_up(engine, locked, note)
        }
        _ => set_task(engine, locked, to, note),
    }
}

fn unfinished(locked: &LockedTask) -> Error {
    let open_in = |state| locked.steps.iter().any(|step| step.state == state);
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
        format_uuid(&locked.uuid)
    ))
    .detail(format!("Unfinished steps: {}.", open.join(", ")))
    .hint(if open_in(StepState::Cancelled) {
        "A cancelled step is final. transition_task(task_uuid, 'error') stops the others; then call resolve_task_manually."
    } else if open_in(StepState::InProgress) {
        "Wait for the workers. transition_step(step_uuid, 'pending') takes a step from its worker; then call resolve_step_manually."
    } else {
        "Wait for workers, or call resolve_step_manually for each step."
    })
}
