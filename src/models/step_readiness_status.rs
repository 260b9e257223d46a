//! Whether each step may run, and if not, why. Relation: view `tasker.step_readiness_statuses` over
//! `get_step_readiness_status`. The rule is `tasker_rules::engine::readiness`.

use std::collections::HashSet;

use tasker_rules::engine::ids;
use tasker_rules::engine::readiness::backoff_seconds;
use tasker_rules::engine::state::StepState;

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::Session;
use crate::readiness::{self, TaskReading, Tasks};

crate::sql_function! {
    get_step_readiness_status;
    get_step_readiness_status_batch;
}

fn get_step_readiness_status(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let wanted: Option<HashSet<Uuid>> = call
        .opt_uuids(1, "step_uuids")?
        .map(|uuids| uuids.into_iter().collect());
    let session = Session::open()?;
    let now = call::clock();
    // All steps are read even if few are asked for: their parents decide.
    for reading in &readiness::read_with_runs(&session, &Tasks::One(&task))? {
        readiness_rows(call, reading, wanted.as_ref(), now)?;
    }
    Ok(Output::Rows)
}

fn get_step_readiness_status_batch(call: &mut Call) -> Result<Output> {
    let tasks = call
        .opt_uuids(0, "task_uuids")?
        .ok_or_else(|| Error::null("task_uuids"))?;
    let session = Session::open()?;
    let now = call::clock();
    for reading in &readiness::read_with_runs(&session, &Tasks::Several(&tasks))? {
        readiness_rows(call, reading, None, now)?;
    }
    Ok(Output::Rows)
}

fn readiness_rows(
    call: &mut Call,
    task: &TaskReading,
    wanted: Option<&HashSet<Uuid>>,
    now: Timestamp,
) -> Result<()> {
    for reading in &task.steps {
        let uuid = ids::step_uuid(&task.task, reading.no);
        if wanted.is_some_and(|wanted| !wanted.contains(&uuid)) {
            continue;
        }
        let step = &reading.step;
        let failed_at = reading.failed_at.filter(|_| step.state == StepState::Error);
        let next_retry_at = step.next_retry_at(now);
        let backoff = failed_at
            .zip(next_retry_at)
            .map(|(failed_at, next)| backoff_seconds(failed_at, next));
        call.row(&[
            datum::uuid(&uuid),
            datum::uuid(&task.task),
            datum::int4(task.facts.named_step_id(reading.no)?),
            datum::text(&task.facts.template.step(reading.no)?.name),
            datum::text(step.state.as_str()),
            datum::boolean(reading.dependencies_satisfied()),
            datum::boolean(step.retry_eligible()),
            datum::boolean(reading.ready(now)),
            datum::opt(failed_at, datum::timestamp),
            datum::opt(next_retry_at, datum::timestamp),
            datum::int4(reading.total_parents),
            datum::int4(reading.done_parents),
            datum::int4(step.attempts.into()),
            datum::int4(step.retry_limit.into()),
            datum::opt(backoff, datum::int4),
            datum::opt(reading.ended_at, datum::timestamp),
        ])?;
    }
    Ok(())
}
