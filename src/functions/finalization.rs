//! `finalize_task`: the check that every report makes, for external processors. The claims around it are plain SQL
//! (sql/functions/finalization.sql).

use pgrx::pg_sys;
use tasker_rules::engine::state::TaskState;

use crate::error::{Error, Result};
use crate::orchestration::{Engine, finalize, locked_task};
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

crate::pg::call::sql_function! {
    finalize_task;
}

static LOCK_TASK: Statement = Statement::new(
    "SELECT t.state FROM tasker_engine.tasks t WHERE t.task_uuid = $1 FOR UPDATE",
    &[pg_sys::UUIDOID],
);

static OUTCOME: Statement = Statement::new(
    "SELECT c.status, c.execution_status, c.completion_percentage, c.total_steps::integer, c.health_status
     FROM tasker.task_execution_contexts c
     WHERE c.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

fn finalize_task(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let locked: Option<TaskState> = engine
        .session
        .run(&LOCK_TASK, &[datum::uuid(&task)])?
        .first()
        .map(|row| row.get(1))
        .transpose()?;
    let state = locked.ok_or_else(|| locked_task::unknown_task(&task))?;
    let open = state.is_open();
    if open {
        let mut tasks = finalize::Tasks::default();
        tasks.check(task);
        tasks.settle(&mut engine)?;
    }
    {
        let rows = engine.session.run(&OUTCOME, &[datum::uuid(&task)])?;
        let row = rows
            .first()
            .ok_or_else(|| Error::corrupt("a locked task has a context"))?;
        let (state, execution): (String, String) = (row.get(1)?, row.get(2)?);
        let (action, reason) = match (open, state.as_str()) {
            (false, state) => ("no_action", format!("Task already {state}")),
            (true, "complete") => ("completed", execution),
            (true, "error") => ("failed", execution),
            (true, _) => ("pending", execution),
        };
        call.row(&[
            datum::text(action),
            row.arg(3),
            row.arg(4),
            row.arg(5),
            datum::text(&reason),
        ])?;
    }
    engine.close()?;
    Ok(Output::Rows)
}
