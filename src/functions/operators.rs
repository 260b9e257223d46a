//! The functions of operators: cancel, retry, resolve, pause, and transitions by hand.

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result};
use crate::orchestration::{Engine, StepKey, operate, resumption};
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::{Session, Statement};

crate::pg::call::sql_function! {
    cancel_task;
    retry_task;
    resolve_task_manually;
    resolve_step_manually;
    retry_step;
    cancel_step;
    set_retry_limit;
    pause_namespace;
    resume_namespace;
    transition_task;
    transition_step;
    try_transition_task;
    try_transition_step;
}

fn key(call: &Call) -> Result<StepKey> {
    Ok(StepKey::from_uuid(&call.uuid(0, "step_uuid")?))
}

/// Runs one operation and returns the new state.
fn operation<S: std::fmt::Display>(run: impl FnOnce(&mut Engine) -> Result<S>) -> Result<Output> {
    let session = Session::open()?;
    within(&session, run)
}

/// The same in an open session, for operations that are given documents.
fn within<'e, S: std::fmt::Display>(
    session: &'e Session,
    run: impl FnOnce(&mut Engine<'e>) -> Result<S>,
) -> Result<Output> {
    let mut engine = Engine::open(session)?;
    let state = run(&mut engine)?;
    engine.close()?;
    Ok(Output::Text(state.to_string()))
}

fn cancel_task(call: &mut Call) -> Result<Output> {
    let (task, reason) = (call.uuid(0, "task_uuid")?, call.opt_text(1));
    let completed_too: bool = call.get(2, "cancel_completed")?;
    operation(|engine| operate::cancel_task(engine, task, reason.as_deref(), completed_too))
}

fn retry_task(call: &mut Call) -> Result<Output> {
    let (task, reason) = (call.uuid(0, "task_uuid")?, call.opt_text(1));
    operation(|engine| operate::retry_task(engine, task, reason.as_deref()))
}

fn resolve_task_manually(call: &mut Call) -> Result<Output> {
    let (task, by, reason) = (
        call.uuid(0, "task_uuid")?,
        call.opt_text(1),
        call.opt_text(2),
    );
    operation(|engine| operate::resolve_task(engine, task, by.as_deref(), reason.as_deref()))
}

fn resolve_step_manually(call: &mut Call) -> Result<Output> {
    let (key, results) = (key(call)?, call.opt_jsonb(1));
    if results.is_some_and(|results| !datum::is_object(results)) {
        return Err(Error::check("results must be a JSON object")
            .detail("The document given is an array or a single value.")
            .hint("Wrap another value as {\"result\": value}."));
    }
    let (by, reason) = (call.opt_text(2), call.opt_text(3));
    let session = Session::open()?;
    within(&session, |engine| {
        operate::resolve_step(engine, key, results, by.as_deref(), reason.as_deref())
    })
}

fn retry_step(call: &mut Call) -> Result<Output> {
    let (key, reset) = (key(call)?, call.get(1, "reset_attempts")?);
    operation(|engine| operate::retry_step(engine, key, reset))
}

fn cancel_step(call: &mut Call) -> Result<Output> {
    let (key, reason) = (key(call)?, call.opt_text(1));
    operation(|engine| operate::cancel_step(engine, key, reason.as_deref()))
}

fn set_retry_limit(call: &mut Call) -> Result<Output> {
    let (key, limit) = (key(call)?, call.get(1, "retry_limit")?);
    operation(|engine| operate::set_retry_limit(engine, key, limit))
}

static PAUSE: Statement = Statement::new(
    "WITH changed AS (
         UPDATE tasker.task_namespaces n
         SET paused = $2, updated_at = clock_timestamp()
         WHERE n.name = $1
         RETURNING n.task_namespace_id)
     UPDATE tasker_engine.queues q SET paused = $2
     FROM changed c
     WHERE q.task_namespace_id = c.task_namespace_id
     RETURNING q.queue_id",
    &[pg_sys::TEXTOID, pg_sys::BOOLOID],
);

static NAMESPACE: Statement = Statement::new(
    "SELECT FROM tasker.task_namespaces n WHERE n.name = $1",
    &[pg_sys::TEXTOID],
);

fn set_paused(call: &Call, paused: bool) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    operation(|engine| {
        let queues = engine
            .session
            .run(&PAUSE, &[datum::text(&name), datum::boolean(paused)])?;
        if queues.is_empty()
            && engine
                .session
                .run(&NAMESPACE, &[datum::text(&name)])?
                .is_empty()
        {
            return Err(
                Error::not_found(format!("no namespace has the name \"{name}\""))
                    .detail("A namespace exists once a template is registered in it.")
                    .hint("SELECT name FROM tasker.task_namespaces lists them."),
            );
        }
        if !paused {
            for row in queues.iter() {
                engine.queue_entries.released(row.get(1)?, None);
            }
        }
        Ok(if paused { "paused" } else { "active" })
    })
}

fn pause_namespace(call: &mut Call) -> Result<Output> {
    set_paused(call, true)
}

fn resume_namespace(call: &mut Call) -> Result<Output> {
    set_paused(call, false)
}

/// The target state and the metadata, which the functions for tasks and steps share.
fn target<'c>(call: &Call<'c>) -> Result<(String, Option<Jsonb<'c>>)> {
    let to: String = call.get(1, "to_state")?;
    let metadata = call.jsonb(2, "metadata")?;
    if !datum::is_object(metadata) {
        return Err(Error::parameter("metadata must be a JSON object")
            .detail("The document given is an array or a single value.")
            .hint("For example '{\"reason\": \"why\"}'."));
    }
    datum::require_shallow(metadata, "metadata")?;
    Ok((
        to,
        Some(metadata).filter(|metadata| datum::element_count(*metadata) > 0),
    ))
}

fn transition_task(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let (to, metadata) = target(call)?;
    let session = Session::open()?;
    within(&session, |engine| {
        operate::transition_task(engine, task, &to, metadata)
    })
}

fn transition_step(call: &mut Call) -> Result<Output> {
    let key = key(call)?;
    let (to, metadata) = target(call)?;
    let session = Session::open()?;
    within(&session, |engine| {
        operate::transition_step(engine, key, &to, metadata)
    })
}

/// False where the machine refuses: same state, undeclared pair, guard. Other errors stay errors.
fn tried(call: &mut Call, transition: fn(&mut Call) -> Result<Output>) -> Result<Output> {
    {
        let session = Session::open()?;
        resumption::require(&session)?;
    }
    match transition(call) {
        Ok(_) => Ok(Output::from(true)),
        Err(error)
            if error.code == PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
                || error.code == PgSqlErrorCode::ERRCODE_TRIGGERED_ACTION_EXCEPTION =>
        {
            Ok(Output::from(false))
        }
        Err(error) => Err(error),
    }
}

fn try_transition_task(call: &mut Call) -> Result<Output> {
    tried(call, transition_task)
}

fn try_transition_step(call: &mut Call) -> Result<Output> {
    tried(call, transition_step)
}
