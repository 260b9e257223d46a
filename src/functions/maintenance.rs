//! The locks and clocks of duties, and the duties `leases` and `task_timeouts`. Each other duty is in the file of its theme.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::logging;
use crate::orchestration::{Engine, clock, leases, operate};
use crate::pg::call::{self, Call, Output};
use crate::pg::spi::Session;
use crate::pg::{backend, datum, lock};
use crate::processes;

crate::pg::call::sql_function! {
    try_duty_lock;
    note_duty_run;
    note_duty_time;
    duty_clocks;
    duty_leases;
    duty_task_timeouts;
}

/// The number of the duty, which is also its part of the extension's lock.
fn number(call: &Call) -> Result<u16> {
    call.get::<i32>(0, "duty_no")?
        .try_into()
        .ok()
        .filter(|number| (1..=processes::DUTIES as u16).contains(number))
        .ok_or_else(|| Error::corrupt("no duty has this number"))
}

std::thread_local! {
    /// The tick at which the duty that runs has begun.
    static BEGAN: Cell<i64> = const { Cell::new(0) };
}

fn try_duty_lock(call: &mut Call) -> Result<Output> {
    BEGAN.set(call::tick());
    Ok(Output::from(lock::try_part_of_extension(number(call)?)?))
}

fn note_duty_time(call: &mut Call) -> Result<Output> {
    let duty: String = call.get(0, "duty")?;
    logging::note_slow(&format!("duty {duty}"), BEGAN.get());
    Ok(Output::Null)
}

fn note_duty_run(call: &mut Call) -> Result<Output> {
    Ok(Output::from(processes::note_duty(
        number(call)?.into(),
        call::clock(),
    )))
}

fn duty_clocks(call: &mut Call) -> Result<Output> {
    let Some((since, ran)) = processes::duty_runs(backend::database()) else {
        return Ok(Output::Rows);
    };
    for (number, at) in (1..).zip(ran) {
        call.row(&[
            datum::int4(number),
            datum::opt((at != 0).then_some(at), datum::timestamp),
            datum::timestamp(since),
        ])?;
    }
    Ok(Output::Rows)
}

fn duty_leases(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    clock::heed(&mut engine)?;
    let any = leases::take_over_expired(&mut engine, true)?;
    engine.close()?;
    Ok(Output::from(i64::from(any)))
}

fn duty_task_timeouts(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let stopped = operate::end_late_tasks(&mut engine)?;
    engine.close()?;
    Ok(Output::from(stopped))
}
