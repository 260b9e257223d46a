//! Handing out events, and what consumers say about them.

use pgrx::PgSqlErrorCode as Code;
use rustc_hash::FxHashSet;

use super::event_stream::{event_args, event_payload, format, formatted, most_events};
use crate::error::{Error, Result};
use crate::orchestration::resumption;
use crate::pg::call::{self, Call, Output};
use crate::pg::datum;
use crate::pg::rights;
use crate::pg::spi::Session;
use crate::processes;
use crate::stream::Event;
use crate::subscribers::{self, Ask, Delivered, Nack, Subscriber};

crate::pg::call::sql_function! {
    poll_events;
    ack_events;
    nack_events;
    extend_events;
}

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// As of the errors of steps.
const ERROR_CHARACTERS: usize = 2000;

/// Opens a call about events of a subscriber, and runs the body with the rights of the engine's owner.
fn of_subscriber<T>(
    call: &Call,
    body: impl FnOnce(&Session, &Subscriber) -> Result<T>,
) -> Result<T> {
    call::require_primary().map_err(|error| Error {
        hint: Some("SELECT * FROM tasker.read_events() reads events on a standby; keep the position of its last row.".to_owned()),
        ..error
    })?;
    let name: String = call.get(0, "subscriber")?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        resumption::require(&session)?;
        let subscriber = Subscriber::of_caller(&session, &name, caller)?;
        body(&session, &subscriber)
    })
}

fn lease(call: &Call, index: usize) -> Result<i64> {
    let lease = call.interval(index, "lease")?;
    if (SECOND_US..=DAY_US).contains(&lease) {
        return Ok(lease);
    }
    Err(Error::parameter("lease is out of range")
        .detail("A lease lasts from one second to one day.")
        .hint("Use extend_events() while the work on an event goes on."))
}

fn event_ids(call: &Call) -> Result<FxHashSet<i64>> {
    let ids: Vec<Option<i64>> = call.opt_array(1).ok_or_else(|| Error::null("event_ids"))?;
    Ok(ids.into_iter().flatten().collect())
}

fn poll_events(call: &mut Call) -> Result<Output> {
    let (most, lease_us) = (most_events(call, 1)?, lease(call, 2)?);
    let consumer = call.opt_text(3);
    let format = format(call, 4)?;
    let mut before = None;
    let events = of_subscriber(call, |session, subscriber| {
        before = processes::poll_begins(subscriber.topics());
        let ask = Ask {
            most,
            lease_us,
            consumer: consumer.as_deref(),
            alone: false,
        };
        let mut events = subscribers::poll(session, subscriber, &ask)?;
        formatted(session, format, events.iter_mut().map(|one| &mut one.event))?;
        if datum::client_has_other_encoding() {
            return carried(session, subscriber, events);
        }
        Ok(events)
    })?;
    if let Some(before) = before.filter(|_| events.is_empty()) {
        processes::poll_waits(before);
    }
    for delivered in &events {
        let (mut values, payload) = event_args(&delivered.event)?;
        values.extend([payload.arg(), datum::int4(delivered.delivery)]);
        call.row(&values)?;
    }
    Ok(Output::Rows)
}

/// The events that the client's encoding can carry. The others have failed, so that they stop none: a client with another encoding
/// gets them, or they become dead letters that say why.
fn carried(
    session: &Session,
    subscriber: &Subscriber,
    events: Vec<Delivered>,
) -> Result<Vec<Delivered>> {
    let mut kept = Vec::with_capacity(events.len());
    let mut failed = FxHashSet::default();
    let mut tasks = FxHashSet::default();
    for delivered in events {
        let event = &delivered.event;
        // What is behind it in its task goes back with it.
        if subscriber.is_ordered() && event.task.is_some_and(|task| tasks.contains(&task)) {
            continue;
        }
        if is_carried(event)? {
            kept.push(delivered);
        } else {
            failed.insert(event.id);
            tasks.extend(event.task);
        }
    }
    if !failed.is_empty() {
        let nack = Nack {
            retry_after_us: None,
            error: Some("client_encoding of the consumer cannot carry it"),
        };
        subscribers::nack(session, subscriber, &failed, &nack)?;
    }
    Ok(kept)
}

fn is_carried(event: &Event) -> Result<bool> {
    let texts = [
        Some(&*event.name),
        event.namespace.as_deref(),
        event.correlation_id.as_deref(),
    ];
    let mut texts = texts.into_iter().flatten();
    Ok(texts.all(|text| datum::client_can_read(text.as_bytes()))
        && datum::client_can_read(datum::jsonb_text(event_payload(event)?).as_bytes()))
}

fn ack_events(call: &mut Call) -> Result<Output> {
    let ids = event_ids(call)?;
    let done = of_subscriber(call, |session, subscriber| {
        subscribers::ack(session, subscriber, &ids)
    })?;
    Ok(Output::from(done as i32))
}

fn nack_events(call: &mut Call) -> Result<Output> {
    let ids = event_ids(call)?;
    let retry_after_us = call.opt_interval(2);
    if retry_after_us.is_some_and(|wait| !(0..=DAY_US).contains(&wait)) {
        return Err(Error::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            "retry_after is out of range",
        )
        .detail("An event waits for at most one day.")
        .hint("Leave it NULL for the backoff of the settings, such as tasker.default_backoff_seconds."));
    }
    let error = call.opt_text(3);
    let error: Option<String> = error.map(|text| text.chars().take(ERROR_CHARACTERS).collect());
    let failed = of_subscriber(call, |session, subscriber| {
        let nack = Nack {
            retry_after_us,
            error: error.as_deref(),
        };
        subscribers::nack(session, subscriber, &ids, &nack)
    })?;
    Ok(Output::from(failed as i32))
}

fn extend_events(call: &mut Call) -> Result<Output> {
    let (ids, lease_us) = (event_ids(call)?, lease(call, 2)?);
    let extended = of_subscriber(call, |session, subscriber| {
        subscribers::extend(session, subscriber, &ids, lease_us)
    })?;
    Ok(Output::from(extended as i32))
}
