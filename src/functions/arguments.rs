//! Checks of arguments for scopes and functions that are written in SQL.

use tasker_rules::engine::state::TaskState;
use tasker_rules::names;

use crate::error::{Error, Result};
use crate::orchestration::locked_task::unknown_task;
use crate::orchestration::workers;
use crate::pg::call::{Call, Output};
use crate::pg::datum;

crate::pg::call::sql_function! {
    require_version;
    required;
    known_state;
    of_task;
    checked;
    shallow;
}

/// The opening of the call has checked the versions.
fn require_version(_: &mut Call) -> Result<Output> {
    Ok(Output::from(true))
}

fn required(call: &mut Call) -> Result<Output> {
    let name = call.opt_text(1).unwrap_or_default();
    call.pass(0).ok_or_else(|| Error::null(&name))
}

/// Tasks and steps have the same six states.
fn known_state(call: &mut Call) -> Result<Output> {
    let Some(text) = call.opt_text(0) else {
        return Ok(Output::Null);
    };
    match text.parse::<TaskState>() {
        Ok(state) => Ok(Output::from(state.as_str())),
        Err(error) => Err(Error::parameter(error.to_string())
            .detail("Tasks and steps have the same six states.")
            .hint("Write the state in lower case, such as 'in_progress'; list_tasks() and cancel_tasks() take 'open' too.")),
    }
}

fn of_task(call: &mut Call) -> Result<Output> {
    let task = call.uuid(1, "task_uuid")?;
    call.pass(0).ok_or_else(|| unknown_task(&task))
}

/// A document that can become part of an event.
fn shallow(call: &mut Call) -> Result<Output> {
    if let Some(document) = call.opt_jsonb(0) {
        datum::require_shallow(document, &call.get::<String>(1, "parameter")?)?;
    }
    Ok(call.pass(0).unwrap_or(Output::Null))
}

/// A name, by the rules that templates obey.
fn checked(call: &mut Call) -> Result<Output> {
    let (kind, parameter): (String, String) = (call.get(1, "kind")?, call.get(2, "parameter")?);
    let value: String = call.get(0, &parameter)?;
    let check = match kind.as_str() {
        "namespace" => names::check_namespace,
        "template" => names::check_task,
        "version" => names::check_version,
        "handler" => names::check_handler,
        "dependent system" => names::check_dependent_system,
        "annotation type" => names::check_annotation_type,
        "remote id" => names::check_remote_id,
        "worker id" => return workers::check_id(&value).map(|()| Output::Text(value)),
        "event" => names::check_event,
        "plugin" => names::check_plugin,
        "pool" => names::check_pool,
        "queue" => names::check_queue,
        "schedule" => names::check_schedule,
        "subscriber" => names::check_subscriber,
        "plugin version" => names::check_plugin_version,
        "description" => names::check_description,
        _ => {
            return Err(Error::corrupt(format!(
                "no kind of name is called {kind:?}"
            )));
        }
    };
    match check(&value) {
        Ok(()) => Ok(Output::Text(value)),
        Err(sentence) => Err(Error::parameter(sentence)
            .detail(format!("The call gave it for {parameter}."))
            .hint("Names are not blank, have no control characters, and are as long as templates allow.")),
    }
}
