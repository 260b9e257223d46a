//! Roles that are stored in tables of the engine.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::changes;
use crate::pg::spi::Session;
use crate::registry::handlers;

crate::pg::call::sql_function! {
    claimants_changed;
    refresh_handler_roles;
}

fn claimants_changed(_: &mut Call) -> Result<Output> {
    changes::tell(&changes::CLAIMANTS)?;
    // The protocol of triggers: a null pointer, and not SQL's NULL.
    Ok(Output::Trigger)
}

fn refresh_handler_roles(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    Ok(Output::from(handlers::refresh_roles(&session)? as i64))
}
