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
    fail_events;
}

fn take_events(call: &mut Call) -> Result<Output> {
    let subscriber: i64 = call.get(0, "subscriber_id")?;
    let consumer = call.opt_text(1);
    let events = handler::take(&Session::open()?, subscriber, consumer.as_deref())?;
    for (delivered, depth) in &events {
        let (mut values, payload) = event_args(&delivered.event)?;
        values.extend([
            payload.arg(),
            datum::int4(delivered.delivery),
            datum::int4(i32::from(*depth)),
        ]);
        call.row(&values)?;
    }
    Ok(Output::Rows)
}

fn run_events(call: &mut Call) -> Result<Output> {
    let subscriber: i64 = call.get(0, "subscriber_id")?;
    let ids = event_ids(call)?;
    let argument = call.jsonb(2, "events")?;
    let depth: i32 = call.get(3, "depth")?;
    let failed = handler::run(
        &Session::open()?,
        subscriber,
        &ids,
        argument,
        depth.clamp(0, i32::from(i16::MAX)) as i16,
    )?;
    Ok(failed.map_or(Output::Null, Output::Text))
}

fn fail_events(call: &mut Call) -> Result<Output> {
    let subscriber: i64 = call.get(0, "subscriber_id")?;
    let ids = event_ids(call)?;
    let error: String = call.get(2, "error")?;
    let failed = handler::fail(&Session::open()?, subscriber, &ids, &error)?;
    Ok(Output::from(failed as i32))
}

fn event_ids(call: &Call) -> Result<FxHashSet<i64>> {
    let ids: Vec<Option<i64>> = call.opt_array(1).ok_or_else(|| Error::null("event_ids"))?;
    Ok(ids.into_iter().flatten().collect())
}
