//! The clock, for the expressions of views.

use crate::error::Result;
use crate::pg::call::{self, Call, Output};

crate::pg::call::sql_function! {
    engine_clock;
}

fn engine_clock(_: &mut Call) -> Result<Output> {
    Ok(Output::from(call::clock()))
}
