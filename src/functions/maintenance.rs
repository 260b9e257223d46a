//! The duties `leases` and `task_timeouts`. The other duties stand with what they are about.

use crate::error::Result;
use crate::orchestration::{Engine, leases, timeouts};
use crate::pg::call::{Call, Output};
use crate::pg::spi::Session;

crate::sql_function! {
    duty_leases;
    duty_task_timeouts;
}

fn duty_leases(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let any = leases::take_over_expired(&mut engine, true)?;
    engine.close()?;
    Ok(Output::from(i64::from(any)))
}

fn duty_task_timeouts(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let mut engine = Engine::open(&session)?;
    let stopped = timeouts::end_late_tasks(&mut engine)?;
    engine.close()?;
    Ok(Output::from(stopped))
}
