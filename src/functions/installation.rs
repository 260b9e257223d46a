//! Whether work is done in this database, for functions in SQL.

use crate::error::Result;
use crate::orchestration::resumption;
use crate::pg::call::{Call, Output};
use crate::pg::spi::Session;
use crate::pg::{datum, rights};

crate::pg::call::sql_function! {
    require_resumed;
    installation_fault;
}

fn require_resumed(call: &mut Call) -> Result<Output> {
    let or_new: bool = call.get(0, "or_new")?;
    rights::as_owner(|_| {
        let session = Session::open()?;
        if or_new {
            resumption::require_or_new(&session)?;
        } else {
            resumption::require(&session)?;
        }
        Ok(Output::from(true))
    })
}

fn installation_fault(call: &mut Call) -> Result<Output> {
    rights::as_owner(|_| {
        let session = Session::open()?;
        if let Some(fault) = resumption::fault(&session)? {
            let detail = fault.detail.unwrap_or_default();
            call.row(&[
                datum::text(&detail),
                datum::text(&fault.hint.unwrap_or_default()),
            ])?;
        }
        Ok(Output::Rows)
    })
}
