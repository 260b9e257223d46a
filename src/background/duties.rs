//! Who runs a duty of maintenance, and when it last ran: what tasker_engine.run_duty needs of the server.

use super::shared;
use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::{backend, datum, lock};

crate::sql_function! {
    try_duty_lock;
    note_duty_run;
    duty_clocks;
}

/// Where the duty stands in the list, which is its part of the extension's lock as well.
fn number(call: &Call) -> Result<u16> {
    call.get::<i32>(0, "duty_no")?
        .try_into()
        .ok()
        .filter(|number| (1..=shared::DUTIES as u16).contains(number))
        .ok_or_else(|| Error::corrupt("no duty has this number"))
}

fn try_duty_lock(call: &mut Call) -> Result<Output> {
    Ok(Output::from(lock::try_part_of_extension(number(call)?)?))
}

fn note_duty_run(call: &mut Call) -> Result<Output> {
    Ok(Output::from(shared::note_duty(
        number(call)?.into(),
        call::clock(),
    )))
}

fn duty_clocks(call: &mut Call) -> Result<Output> {
    let Some((since, ran)) = shared::duty_runs(backend::database()) else {
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
