//! What a task stands at, and what should be done about it. Relation: view `tasker.task_execution_contexts` over
//! `get_task_execution_context`. The rules are `tasker_rules::engine::readiness`.

use std::collections::HashMap;

use pgrx::pg_sys;
use tasker_rules::engine::state::TaskState;

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Arg, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::readiness::{self, Tasks};

crate::sql_function! {
    get_task_execution_context;
    get_task_execution_contexts_batch;
}

static TASK_STATE: Statement = Statement::new(
    "SELECT t.task_uuid, t.state FROM tasker_engine.tasks t WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

static TASK_STATES: Statement = Statement::new(
    "SELECT t.task_uuid, t.state FROM tasker_engine.tasks t WHERE t.task_uuid = ANY ($1)",
    &[pg_sys::UUIDARRAYOID],
);

fn get_task_execution_context(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    contexts(call, &Tasks::One(&task))
}

fn get_task_execution_contexts_batch(call: &mut Call) -> Result<Output> {
    let tasks = call
        .opt_uuids(0, "task_uuids")?
        .ok_or_else(|| Error::null("task_uuids"))?;
    contexts(call, &Tasks::Several(&tasks))
}

fn contexts(call: &mut Call, tasks: &Tasks) -> Result<Output> {
    let session = Session::open()?;
    let now = call::clock();
    let mut states: HashMap<Uuid, u8> = HashMap::new();
    for row in tasks.run(&session, &TASK_STATE, &TASK_STATES)?.iter() {
        states.insert(row.get(1)?, row.get(2)?);
    }
    for reading in &readiness::read(&session, tasks)? {
        let state = states
            .get(&reading.task)
            .and_then(|code| TaskState::from_code(*code));
        let Some(state) = state else { continue };
        let counts = reading.counts(now);
        let execution = counts.execution();
        call.row(&[
            datum::uuid(&reading.task),
            datum::int4(reading.facts.template.id),
            datum::text(state.as_str()),
            datum::int8(counts.total),
            datum::int8(counts.pending),
            datum::int8(counts.in_progress),
            datum::int8(counts.completed),
            datum::int8(counts.failed),
            datum::int8(counts.ready),
            datum::text(execution.as_str()),
            datum::text(execution.recommended_action()),
            hundredths(counts.completion_hundredths()),
            datum::text(counts.health()),
            datum::int8(counts.cancelled),
        ])?;
    }
    Ok(Output::Rows)
}

/// A numeric with two decimals.
fn hundredths(value: i64) -> Arg<'static> {
    datum::numeric(&format!("{}.{:02}", value / 100, value % 100))
}
