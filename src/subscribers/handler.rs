//! Subscribers whose events are handed to a function of this database: `subscribe(handler => 'sql:<schema.function>')`.
//!
//! The function runs as the handlers of steps do (functions/sql_handlers.rs), with the rights of the subscriber's owner. What it
//! did and the acknowledgement commit together.

use pgrx::{PgSqlErrorCode as Code, pg_sys};
use rustc_hash::FxHashSet;

use super::depth::{self, Handling};
use super::{Ask, Delivered, Nack, Subscriber, ack, bury, nack, poll};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::{Session, Statement};
use crate::pg::{backend, restricted, rights, subtransaction};
use crate::registry::handlers;
use crate::settings;

static REMOVE: Statement = Statement::new(
    "DELETE FROM tasker_engine.subscriber_handlers h WHERE h.subscriber_id = $1",
    &[pg_sys::INT8OID],
);

static OWNER: Statement = Statement::new(
    "SELECT r.oid FROM tasker_engine.subscribers s JOIN pg_roles r ON r.oid = s.owner_oid WHERE s.subscriber_id = $1",
    &[pg_sys::INT8OID],
);

// The stored oid identifies the role, which can have another name now.
static HANDLER: Statement = Statement::new(
    "SELECT h.handler, h.role_name,
            (SELECT r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = h.tableoid),
            (SELECT r.oid FROM pg_roles r WHERE r.oid = h.role_oid),
            h.function_owner_oid, tasker_engine.role_name(h.function_owner_oid, h.function_owner)
     FROM tasker_engine.subscriber_handlers h WHERE h.subscriber_id = $1",
    &[pg_sys::INT8OID],
);

static READ: Statement = Statement::new(
    "SELECT r.sqlstate, r.message, concat_ws(' ', r.detail, r.hint)
     FROM jsonb_to_record($1) AS r (sqlstate text, message text, detail text, hint text)",
    &[pg_sys::JSONBOID],
);

/// How much longer than the handler may run its events stay with it.
const MARGIN_US: i64 = 60_000_000;
/// The lease where handlers have no time limit.
const LONG_LEASE_US: i64 = 3_600_000_000;
const DAY_US: i64 = 86_400_000_000;
const QUERY_CANCELED: &str = "57014";
/// As of nack_events.
const ERROR_CHARACTERS: usize = 2000;

/// Says which function gets the events of a subscriber; an empty text removes it. Only a role with the rights of the subscriber's owner may:
/// the function runs with them.
pub fn set(session: &Session, caller: pg_sys::Oid, subscriber: i64, handler: &str) -> Result<()> {
    if handler.is_empty() {
        session.run(&REMOVE, &[datum::int8(subscriber)])?;
        return Ok(());
    }
    let rows = session.run(&OWNER, &[datum::int8(subscriber)])?;
    let owner: pg_sys::Oid = match rows.first() {
        Some(row) => row.get(1)?,
        None => return Err(ownerless("its owner")),
    };
    if !rights::has_rights_of(caller, owner) {
        return Err(Error::new(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!(
                "role {} has not the rights of role {}",
                rights::role_name(caller),
                rights::role_name(owner)
            ),
        )
        .detail("The handler would run with the rights of the owner of the subscriber.")
        .hint("Subscribe as its owner, or under another name."));
    }
    handlers::remember_subscriber(session, subscriber, handler, owner)
}

/// The next events for the handler of a subscriber, each with its depth.
pub fn take(
    session: &Session,
    subscriber: i64,
    consumer: Option<&str>,
) -> Result<Vec<(Delivered, i16)>> {
    let Some((subscriber, batch_size)) = Subscriber::with_handler(session, subscriber)? else {
        return Ok(vec![]);
    };
    let lease_us = match i64::from(settings::handler_timeout_ms()) {
        0 => LONG_LEASE_US,
        timeout_ms => (timeout_ms * 1000 + MARGIN_US).min(DAY_US),
    };
    let ask = Ask {
        // A batch that fails would take good events along if there is no second delivery.
        most: if subscriber.max_deliveries == 1 {
            1
        } else {
            batch_size
        },
        lease_us,
        consumer,
        alone: true,
    };
    loop {
        let events = poll(session, &subscriber, &ask)?;
        let depths = depth::of(session, &events)?;
        if depths.iter().all(|depth| *depth <= depth::MOST) {
            return Ok(events.into_iter().zip(depths).collect());
        }
        let (deep, rest): (Vec<_>, Vec<_>) = events
            .into_iter()
            .zip(depths)
            .partition(|(_, depth)| *depth > depth::MOST);
        let ids = deep.iter().map(|(delivered, _)| delivered.event.id);
        if bury(session, &subscriber, &ids.collect(), &too_deep())? == 0 {
            // redrive_events hands it out all the same.
            return Ok(deep);
        }
        if !rest.is_empty() {
            return Ok(rest);
        }
    }
}

fn too_deep() -> String {
    format!(
        "handlers of events have caused it through more than {} events, one causing the next",
        depth::MOST
    )
}

/// Calls the handler and acknowledges the events; returns its error, if it failed. Then nothing of the batch is acknowledged, and its events
/// come again.
pub fn run(
    session: &Session,
    subscriber: i64,
    events: &FxHashSet<i64>,
    argument: Jsonb,
    depth: i16,
) -> Result<Option<String>> {
    let Some((subscriber, _)) = Subscriber::with_handler(session, subscriber)? else {
        return Ok(Some(TAKEN_AWAY.to_owned()));
    };
    let done = subtransaction::attempt(|| {
        let handling = Handling::begin(depth);
        if let Some(error) = call(session, subscriber.id, argument)? {
            return Ok(Some(error));
        }
        drop(handling);
        if ack(session, &subscriber, events)? < events.len() {
            return Err(Error::stale(TAKEN_AWAY));
        }
        Ok(None)
    });
    let error = match done {
        Ok(None) => return Ok(None),
        Ok(Some(error)) => error,
        Err(error) if error.code == Code::ERRCODE_OBJECT_IN_USE => return Ok(Some(error.message)),
        Err(error) => error.described(),
    };
    let error: String = error.chars().take(ERROR_CHARACTERS).collect();
    give_back(session, &subscriber, events, &error)?;
    Ok(Some(error))
}

fn give_back(
    session: &Session,
    subscriber: &Subscriber,
    events: &FxHashSet<i64>,
    error: &str,
) -> Result<usize> {
    let answer = Nack {
        retry_after_us: None,
        error: Some(error),
    };
    nack(session, subscriber, events, &answer)
}

/// The handler failed, and what it did is undone already: its events come again. Returns how many.
pub fn fail(
    session: &Session,
    subscriber: i64,
    events: &FxHashSet<i64>,
    error: &str,
) -> Result<usize> {
    let Some((subscriber, _)) = Subscriber::with_handler(session, subscriber)? else {
        return Ok(0);
    };
    give_back(session, &subscriber, events, error)
}

/// What a handler did is undone if its events were acknowledged or moved by another session meanwhile.
const TAKEN_AWAY: &str = "the events were acknowledged or taken away meanwhile";

/// Calls the function as its role. Returns its error.
fn call(session: &Session, subscriber: i64, argument: Jsonb) -> Result<Option<String>> {
    let rows = session.run(&HANDLER, &[datum::int8(subscriber)])?;
    let row = rows.first().ok_or_else(|| Error::stale(TAKEN_AWAY))?;
    let (handler, role_name): (String, String) = (row.get(1)?, row.get(2)?);
    if row.opt::<bool>(3) != Some(true) {
        return Err(handlers::table_of_another(
            "tasker_engine.subscriber_handlers",
        ));
    }
    let role = row
        .opt::<pg_sys::Oid>(4)
        .ok_or_else(|| ownerless(&role_name))?;
    let owner = row.opt(5).unwrap_or(pg_sys::InvalidOid);
    let owner_name: String = row.get(6)?;
    let called = restricted::call(
        handlers::caller(session)?,
        role,
        settings::handler_timeout_ms(),
        [
            datum::text(handlers::function(&handler)),
            argument.arg(),
            datum::oid(owner),
            datum::text(&owner_name),
        ],
    );
    let rows = session.run(&READ, &[called.result.as_jsonb().arg()])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt("a record has a row"))?;
    let Some(class) = row.opt::<String>(1) else {
        return Ok(None);
    };
    let message: String = row.get(2)?;
    // The call of the session was cancelled, not the handler.
    if class == QUERY_CANCELED && !called.timed_out && !backend::is_background() {
        return Err(Error::new(Code::ERRCODE_QUERY_CANCELED, message)
            .detail("The batches that this call has run are as they were before it.")
            .hint("The events are still due."));
    }
    Ok(Some(match row.opt::<String>(3) {
        Some(detail) if !detail.is_empty() => format!("{class}: {message} ({detail})"),
        _ => format!("{class}: {message}"),
    }))
}

fn ownerless(role: &str) -> Error {
    Error::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!("role \"{role}\" does not exist"),
    )
    .detail("It owns the subscriber, and the handler runs with its rights. A role that was made under its name since is another role.")
    .hint("Unsubscribe, and subscribe again as the role with whose rights it must run.")
}
