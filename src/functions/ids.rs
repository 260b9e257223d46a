//! The uuid of a step holds its task and its number; the uuids of tasks ascend in time.

use tasker_rules::engine::ids;

use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::datum::Timestamp;

crate::pg::call::sql_function! {
    step_uuid;
    step_task_uuid;
    step_number;
    uuids_since;
}

fn step_uuid(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let no: i16 = call.get(1, "step_no")?;
    if no < 0 {
        return Err(Error::parameter(format!("step_no {no} is negative"))
            .detail("0 stands for the task itself.")
            .hint("The steps of a task count from 1."));
    }
    Ok(Output::Uuid(ids::step_uuid(&task, no)))
}

fn step_task_uuid(call: &mut Call) -> Result<Output> {
    Ok(Output::Uuid(ids::split(&call.uuid(0, "step_uuid")?).0))
}

fn step_number(call: &mut Call) -> Result<Output> {
    Ok(Output::from(ids::split(&call.uuid(0, "step_uuid")?).1))
}

/// How far the clock may have been set back between a task's request and its uuid.
const CLOCK_SLACK_US: i64 = 60_000_000;
/// From 1970, where uuids count from, to 2000, where PostgreSQL does.
const EPOCH_US: i64 = 946_684_800_000_000;

fn uuids_since(call: &mut Call) -> Result<Output> {
    match call.opt::<Timestamp>(0) {
        None => Ok(Output::Null),
        Some(since) => {
            let unix_us = since
                .saturating_add(EPOCH_US)
                .saturating_sub(CLOCK_SLACK_US);
            Ok(Output::Uuid(ids::first_task_uuid(unix_us / 1000)))
        }
    }
}
