//! The background processes as they are now: `tasker_engine.background_activity`.

use crate::call::{Call, Output};
use crate::error::Result;

crate::sql_function! {
    background_activity / pg_finfo_background_activity => list;
}

fn list(_: &mut Call) -> Result<Output> {
    Ok(Output::Rows)
}
