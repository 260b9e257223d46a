//! Whether steps may run and when, and the execution status of tasks. The rules are `tasker_rules::engine::readiness` and
//! `tasker_rules::engine::backoff`.

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys;
use tasker_rules::engine::backoff::{self, Kind, Policy};
use tasker_rules::engine::ids;
use tasker_rules::engine::readiness::backoff_seconds;
use tasker_rules::engine::state::{StepState, TaskState};

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output, shortened};
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::readiness::{self, TaskReading, Tasks};
use crate::settings;

crate::pg::call::sql_function! {
    calculate_backoff;
    get_step_readiness_status;
    get_step_readiness_status_batch;
    get_task_execution_context;
    get_task_execution_contexts_batch;
}

fn calculate_backoff(call: &mut Call) -> Result<Output> {
    let attempt: i32 = call.get(0, "attempt")?;
    let kind = call
        .opt_text(1)
        .map(|kind| {
            kind.parse::<Kind>().map_err(|_| {
                Error::parameter(format!("unknown kind of backoff {:?}", shortened(&kind)))
                    .detail("It is not one of the four kinds.")
                    .hint(format!(
                        "Use one of {}.",
                        Kind::ALL.map(Kind::as_str).join(", ")
                    ))
            })
        })
        .transpose()?;
    let milliseconds = |index: usize, name: &str| match call.opt::<i32>(index) {
        Some(value) if value < 0 => Err(Error::parameter(format!("{name} {value} is negative"))
            .detail("Milliseconds count from 0.")
            .hint("Leave it NULL for the configured value.")),
        value => Ok(value.map(i64::from)),
    };
    let policy = Policy {
        kind,
        base_ms: milliseconds(2, "base_ms")?,
        max_ms: milliseconds(3, "max_ms")?,
        jitter: share(call, 5, "jitter")?,
    };
    let retry_after_ms = call.opt_interval(4).map(|microseconds| microseconds / 1000);
    let delay = backoff::delay_ms(
        attempt,
        &policy,
        &settings::backoff(),
        retry_after_ms,
        fastrand::f64(),
    );
    Ok(Output::Interval(delay.saturating_mul(1000)))
}

/// A numeric parameter between 0 and 1.
fn share(call: &Call, index: usize, name: &str) -> Result<Option<f64>> {
    match call.opt::<datum::Numeric>(index).map(|number| number.0) {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(Error::parameter(format!("{name} is out of range"))
                .detail("It is negative, above 1 or not a number.")
                .hint("A share is between 0 and 1; 0.1 is ten percent."))
        }
        value => Ok(value),
    }
}

// ---- steps ---------------------------------------------------------------------------------------------------------

fn get_step_readiness_status(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let wanted: Option<HashSet<Uuid>> = call
        .opt_uuids(1, "step_uuids")?
        .map(|uuids| uuids.into_iter().collect());
    let session = Session::open()?;
    let now = call::clock();
    // All steps are read even if the caller asks for few, because parents decide about readiness.
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

// ---- tasks ---------------------------------------------------------------------------------------------------------

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
    let mut states: HashMap<Uuid, TaskState> = HashMap::new();
    for row in tasks.run(&session, &TASK_STATE, &TASK_STATES)?.iter() {
        states.insert(row.get(1)?, row.get(2)?);
    }
    for reading in &readiness::read(&session, tasks)? {
        let Some(state) = states.get(&reading.task) else {
            continue;
        };
        let counts = reading.counts(now);
        let execution = counts.execution(*state);
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
            datum::opt(execution.recommended_action(*state), datum::text),
            hundredths(counts.completion_hundredths()),
            datum::text(counts.health(*state)),
            datum::int8(counts.cancelled),
        ])?;
    }
    Ok(Output::Rows)
}

/// A numeric with two decimals.
fn hundredths(value: i64) -> Arg<'static> {
    datum::numeric(&format!("{}.{:02}", value / 100, value % 100))
}
