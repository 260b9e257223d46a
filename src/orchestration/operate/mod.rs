//! Operations on tasks and steps by hand. Each one locks the whole task, decides, and settles it.

mod many;
mod steps;
mod tasks;
mod timeouts;

use std::str::FromStr;

use serde_json::Map;
use tasker_rules::engine::state::StepState;

use crate::error::{Error, Result};
use crate::orchestration::locked_task::LockedTask;
use crate::orchestration::{Engine, audit};
use crate::pg::datum::{Jsonb, Uuid};

pub use many::{Many, Operation};
pub use steps::{cancel_step, resolve_step, retry_step, set_retry_limit, transition_step};
pub use tasks::{cancel_task, resolve_task, retry_task, transition_task};
pub use timeouts::end_late_tasks;

fn refused(entity: &str, uuid: &Uuid, from: &str, to: &str, allowed: &[String]) -> Error {
    let uuid = super::format_uuid(uuid);
    let error = Error::state(format!("{entity} {uuid} cannot go from {from} to {to}"));
    if allowed.is_empty() {
        error
            .detail(format!("From {from} this operation is not allowed."))
            .hint(format!(
                "A {entity} that is {from} is final. Create a new task."
            ))
    } else {
        error
            .detail(format!(
                "From {from} it can go to {}.",
                allowed.join(" or ")
            ))
            .hint("Retry, resolve or cancel what can still change.")
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
) -> Result<()> {
    let run = locked.run(engine, index)?;
    let step = &mut locked.steps[index];
    let from = std::mem::replace(&mut step.state, to);
    let (no, attempts) = (step.no, step.attempts);
    let ended = audit::RunKey {
        id: step.run_id,
        claim_number: step.claim_number,
    };
    let (key, template) = (locked.key(no), locked.template.id);
    if from == StepState::InProgress {
        engine
            .log
            .ended(template, key, ended, run, attempts, to, metadata);
    } else {
        engine
            .log
            .step(template, key, worker_no, attempts, from, to, metadata);
    }
    Ok(())
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
    let mut note = note;
    if reset {
        let before = std::mem::take(&mut step.attempts);
        let before = Map::from_iter([("previous_attempts".to_owned(), before.into())]);
        note = audit::both(note, audit::object(before));
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
    )?;
    Ok(())
}

fn parse<S: FromStr>(state: &str) -> Result<S> {
    state.parse().map_err(|_| {
        Error::parameter(format!("unknown state \"{state}\""))
            .detail("It is not one of the six states.")
            .hint(
            "States are pending, in_progress, error, complete, cancelled and resolved_manually.",
        )
    })
}
