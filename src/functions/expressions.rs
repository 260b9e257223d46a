//! The clock and the keys of handlers, for the expressions of views and statements.

use crate::error::Result;
use crate::pg::call::{self, Call, Output};

crate::pg::call::sql_function! {
    engine_clock;
    handler_key;
}

fn engine_clock(_: &mut Call) -> Result<Output> {
    Ok(Output::from(call::clock()))
}

fn handler_key(call: &mut Call) -> Result<Output> {
    let handler: String = call.get(0, "handler")?;
    Ok(Output::from(
        tasker_rules::engine::handler_key::handler_key(&handler),
    ))
}
