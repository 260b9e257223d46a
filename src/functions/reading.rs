//! Reading what needs no model: the uuids of steps, the clock, backoff.

use tasker_rules::engine::backoff::{self, Kind, Policy};
use tasker_rules::engine::ids;

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output, shortened};
use crate::pg::datum::{self, Timestamp};
use crate::settings;

crate::sql_function! {
    step_uuid;
    step_task_uuid;
    step_number;
    engine_clock;
    required;
    uuids_since;
    calculate_backoff;
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

fn engine_clock(_: &mut Call) -> Result<Output> {
    Ok(Output::from(call::clock()))
}

fn required(call: &mut Call) -> Result<Output> {
    let name = call.opt_text(1).unwrap_or_default();
    call.pass(0).ok_or_else(|| Error::null(&name))
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

// ---- backoff -------------------------------------------------------------------------------------------------------

fn calculate_backoff(call: &mut Call) -> Result<Output> {
    let attempt: i32 = call.get(0, "attempt")?;
    let kind = call
        .opt_text(1)
        .map(|kind| {
            kind.parse::<Kind>().map_err(|_| {
                Error::parameter(format!("unknown kind of backoff {:?}", shortened(&kind)))
                    .detail("It is none of the four kinds.")
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
                .hint("A share lies between 0 and 1; 0.1 is ten percent."))
        }
        value => Ok(value),
    }
}
