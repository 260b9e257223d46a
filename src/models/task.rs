//! Tasks with their request and state. Relation: view `tasker.tasks` over `tasker_engine.tasks`.

use tasker_rules::engine::state::TaskState;

use crate::error::{Error, Result};
use crate::orchestration::locked_task::unknown_task;
use crate::pg::call::{Call, Output};

crate::sql_function! {
    known_state;
    of_task;
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
            .hint("Write the state in lower case, such as 'in_progress'.")),
    }
}

fn of_task(call: &mut Call) -> Result<Output> {
    let task = call.uuid(1, "task_uuid")?;
    call.pass(0).ok_or_else(|| unknown_task(&task))
}
