//! `table_access`: which tables the engine writes below SQL now, and why it does not for the others.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::storage;

crate::pg::call::sql_function! {
    table_access;
}

fn table_access(call: &mut Call) -> Result<Output> {
    for (table, operation, why) in storage::ways()? {
        let path = if why.is_none() { "direct" } else { "sql" };
        call.row(&[
            datum::text(&table),
            datum::text(operation),
            datum::text(path),
            datum::opt_text(why.as_deref()),
        ])?;
    }
    Ok(Output::Rows)
}
