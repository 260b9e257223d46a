//! The rules that the engine's owner breaks.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::{datum, rights};

crate::pg::call::sql_function! {
    owner_fault;
}

fn owner_fault(call: &mut Call) -> Result<Output> {
    if let Some(fault) = rights::fault() {
        call.row(&[datum::text(&fault.detail), datum::text(&fault.hint)])?;
    }
    Ok(Output::Rows)
}
