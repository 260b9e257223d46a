//! Subscribers whose events are handed to functions of this database.

use rustc_hash::FxHashSet;

use super::event_stream::event_args;
use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::datum;
use crate::pg::spi::Session;
use crate::subscribers::handler;

crate::pg::call::sql_function! {
    take_events;
    run_events;
}

fn take_events(call: &mut Call) -> Result<Output> {
    let subscriber: i64 = call.get(0, "subscriber_id")?;
    let events = handler::take(&Session::open()?, subscriber)?;
    for delivered in &events {
        let (mut values, payload) = event_args(&delivered.event)?;
        values.extend([payload.arg(), datum::int4(delivered.delivery)]);
        call.row(&values)?;
    }
    Ok(Output::Rows)
}

fn run_events(call: &mut Call) -> Result<Output> {
    let subscriber: i64 = call.get(0, "subscriber_id")?;
    let ids: Vec<Option<i64>> = call.opt_array(1).ok_or_else(|| Error::null("event_ids"))?;
    let ids: FxHashSet<i64> = ids.into_iter().flatten().collect();
    let argument = call.jsonb(2, "events")?;
    let failed = handler::run(&Session::open()?, subscriber, &ids, argument)?;
    Ok(failed.map_or(Output::Null, Output::Text))
}
