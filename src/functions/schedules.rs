//! Schedules: the role that calls, and cron expressions in the time zones of this server. The rule of the latter is in
//! tasker_rules::operations::schedule.

use pgrx::pg_sys;
use tasker_rules::operations::schedule::Schedule;

use crate::error::{Error, Result};
use crate::orchestration::resumption;
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Arg, FromColumn, Timestamp};
use crate::pg::rights;
use crate::pg::spi::{Session, Statement};
use crate::pg::zone::ServerZone;

crate::pg::call::sql_function! {
    next_occurrence;
    previous_occurrence;
    count_occurrences;
    schedule_task;
    unschedule_task;
    pause_schedule;
    resume_schedule;
}

/// PostgreSQL counts from 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

fn read(call: &Call) -> Result<(Schedule, ServerZone)> {
    let text: String = call.get(0, "cron")?;
    let zone: String = call.get(1, "time_zone")?;
    let schedule = Schedule::parse(&text).map_err(|problem| {
        Error::parameter(format!("invalid cron expression \"{}\"", crate::pg::call::shortened(&text)))
            .detail(problem)
            .hint("Five fields: minute, hour, day of month, month, day of week; six with the second in front; or @hourly, @daily, @weekly, @monthly, @yearly.")
    })?;
    let zone = ServerZone::open(&zone).ok_or_else(|| {
        Error::parameter(format!("unknown time zone \"{zone}\""))
            .detail("This server has no time zone of that name.")
            .hint("SELECT name FROM pg_timezone_names lists them, such as Europe/Berlin.")
    })?;
    Ok((schedule, zone))
}

/// A finite time in seconds since 1970, rounded down.
fn seconds(call: &Call, index: usize, name: &str) -> Result<i64> {
    let time: Timestamp = call.get(index, name)?;
    if time == i64::MIN || time == i64::MAX {
        return Err(Error::parameter(format!("{name} must be a finite time"))
            .detail("The call gave infinity.")
            .hint("Leave it NULL for now."));
    }
    Ok(time.div_euclid(1_000_000) + EPOCH_SECONDS)
}

fn timestamp(seconds: Option<i64>) -> Output {
    seconds.map_or(Output::Null, |seconds| {
        Output::from((seconds - EPOCH_SECONDS) * 1_000_000)
    })
}

fn next_occurrence(call: &mut Call) -> Result<Output> {
    let (schedule, zone) = read(call)?;
    let after = seconds(call, 2, "after")?;
    Ok(timestamp(schedule.next(&zone, after)))
}

fn previous_occurrence(call: &mut Call) -> Result<Output> {
    let (schedule, zone) = read(call)?;
    // Whole seconds: a time at this very second is not after it.
    let until = seconds(call, 2, "until")?;
    Ok(timestamp(schedule.previous(&zone, until + 1)))
}

fn count_occurrences(call: &mut Call) -> Result<Output> {
    let (schedule, zone) = read(call)?;
    let (since, until) = (seconds(call, 2, "since")?, seconds(call, 3, "until")?);
    let most: i32 = call.get(4, "most")?;
    Ok(Output::from(schedule.count(
        &zone,
        since,
        until,
        most.into(),
    )))
}

static SCHEDULE: Statement = Statement::new(
    "SELECT tasker_engine.schedule_task($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    &[
        pg_sys::OIDOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::BOOLOID,
        pg_sys::INT4OID,
        pg_sys::JSONBOID,
        pg_sys::BOOLOID,
    ],
);

static UNSCHEDULE: Statement = Statement::new(
    "SELECT tasker_engine.unschedule_task($1, $2)",
    &[pg_sys::OIDOID, pg_sys::TEXTOID],
);

static PAUSE: Statement = Statement::new(
    "SELECT tasker_engine.pause_schedule($1, $2)",
    &[pg_sys::OIDOID, pg_sys::TEXTOID],
);

static RESUME: Statement = Statement::new(
    "SELECT tasker_engine.resume_schedule($1, $2)",
    &[pg_sys::OIDOID, pg_sys::TEXTOID],
);

/// Passes the call to a function of the engine, with the caller as the first argument.
fn pass_on<T: FromColumn>(call: &Call, statement: &Statement) -> Result<Option<T>> {
    rights::as_owner(|caller| {
        let session = Session::open()?;
        resumption::require(&session)?;
        let args: Vec<Arg> = std::iter::once(datum::oid(caller))
            .chain(call.parameters(&statement.types()[1..]))
            .collect();
        let rows = session.run(statement, &args)?;
        Ok(rows.first().and_then(|row| row.opt(1)))
    })
}

fn schedule_task(call: &mut Call) -> Result<Output> {
    let first: Option<Timestamp> = pass_on(call, &SCHEDULE)?;
    Ok(first.map_or(Output::Null, Output::from))
}

fn unschedule_task(call: &mut Call) -> Result<Output> {
    let removed: Option<bool> = pass_on(call, &UNSCHEDULE)?;
    Ok(removed.map_or(Output::Null, Output::from))
}

fn pause_schedule(call: &mut Call) -> Result<Output> {
    state(pass_on(call, &PAUSE)?)
}

fn resume_schedule(call: &mut Call) -> Result<Output> {
    state(pass_on(call, &RESUME)?)
}

fn state(state: Option<String>) -> Result<Output> {
    Ok(state.map_or(Output::Null, Output::Text))
}
