//! One operation on many tasks.

use crate::error::{Error, Result};
use crate::orchestration::operate::{Many, Operation};
use crate::orchestration::{Engine, audit};
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::pg::spi::Session;

crate::pg::call::sql_function! {
    change_tasks;
}

fn change_tasks(call: &mut Call) -> Result<Output> {
    let operation: String = call.get(0, "operation")?;
    let operation = match operation.as_str() {
        "retry" => Operation::Retry,
        "cancel" => Operation::Cancel {
            completed_too: call.get(3, "cancel_completed")?,
        },
        "resolve" => Operation::Resolve,
        _ => return Err(Error::corrupt("an operation that does not exist")),
    };
    let tasks = call
        .opt_uuids(1, "task_uuids")?
        .ok_or_else(|| Error::null("task_uuids"))?;
    let (by, reason) = (call.opt_text(4), call.opt_text(5));
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let mut many = Many {
        operation,
        dry_run: call.get(2, "dry_run")?,
        note: audit::texts(&[
            ("resolved_by", by.as_deref()),
            ("reason", reason.as_deref()),
        ]),
        steps: 0,
    };
    for task in tasks {
        let outcome = many.change(&mut engine, task)?;
        call.row(&[
            datum::uuid(&task),
            datum::text(outcome.word),
            datum::opt_text(outcome.detail.as_deref()),
        ])?;
    }
    engine.close()?;
    Ok(Output::Rows)
}
