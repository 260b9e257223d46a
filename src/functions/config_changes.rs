//! The trigger that tells of a changed configuration.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::changes;

crate::pg::call::sql_function! {
    config_changed;
}

fn config_changed(_: &mut Call) -> Result<Output> {
    changes::tell(&changes::CONFIGURATION)?;
    Ok(Output::Trigger)
}
