//! How long ended tasks are kept where their namespace does not say.

use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::settings;

crate::pg::call::sql_function! {
    default_retention_text;
    max_subscriber_lag_text;
}

fn default_retention_text(_: &mut Call) -> Result<Output> {
    Ok(Output::Text(settings::default_retention()))
}

fn max_subscriber_lag_text(_: &mut Call) -> Result<Output> {
    Ok(Output::Text(settings::max_subscriber_lag()))
}
