//! Functions that the script of the extension calls while it runs.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::rights;

crate::pg::call::sql_function! {
    record_privileges;
}

fn record_privileges(call: &mut Call) -> Result<Output> {
    rights::record_privileges(call.get(0, "record")?)?;
    Ok(Output::Null)
}
