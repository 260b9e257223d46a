//! The duty that writes events to the server's log.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::spi::Session;
use crate::subscribers::log_lines;

crate::pg::call::sql_function! {
    duty_event_log;
}

fn duty_event_log(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let read = log_lines::write(&session)?;
    Ok(Output::from(read as i64))
}
