//! `finalize_task`: the check that every report makes, of the whole task, for external processors. The claims around it are plain SQL
//! (sql/functions/finalization.sql).

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::orchestration::Engine;
use crate::orchestration::locked_task::LockedTask;
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

crate::pg::call::sql_function! {
    finalize_task;
}

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
    let locked = LockedTask::lock(&engine, task)?;
    let open = locked.state.is_open();
    if open {
        locked.settle(&mut engine)?;
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
