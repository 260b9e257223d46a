//! Subscribers: the role that calls, where one begins, and what lies between two places. The rest is in sql/functions/subscribers.sql.

use pgrx::pg_sys;
use tasker_rules::events::position::Position;

use super::event_stream::{event_args, parse_position, selection};
use crate::error::{Error, Result};
use crate::orchestration::resumption;
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, FromColumn, Timestamp, jsonb_text};
use crate::pg::rights;
use crate::pg::spi::{Session, Statement};
use crate::processes;
use crate::stream::{self, Key, Wanted};
use crate::subscribers;

crate::pg::call::sql_function! {
    subscribe;
    unsubscribe;
    pause_subscriber;
    resume_subscriber;
    seek_subscriber;
    redrive_events;
    grant_subscriber;
    revoke_subscriber;
    check_patterns;
    event_place;
    count_events;
    events_again;
}

static SUBSCRIBE: Statement = Statement::new(
    "SELECT tasker_engine.subscribe($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    &[
        pg_sys::OIDOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::JSONBOID,
        pg_sys::NUMERICOID,
        pg_sys::INT4OID,
        pg_sys::BOOLOID,
        pg_sys::BOOLOID,
        pg_sys::INT4OID,
        pg_sys::INT4OID,
    ],
);

static UNSUBSCRIBE: Statement =
    Statement::new("SELECT tasker_engine.unsubscribe($1)", &[pg_sys::TEXTOID]);

static PAUSE: Statement = Statement::new(
    "SELECT tasker_engine.pause_subscriber($1, true)",
    &[pg_sys::TEXTOID],
);

static RESUME: Statement = Statement::new(
    "SELECT tasker_engine.pause_subscriber($1, false)",
    &[pg_sys::TEXTOID],
);

static SEEK: Statement = Statement::new(
    "SELECT tasker_engine.seek_subscriber($1, $2)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

static REDRIVE: Statement = Statement::new(
    "SELECT tasker_engine.redrive_events($1, $2)",
    &[pg_sys::TEXTOID, pg_sys::INT8ARRAYOID],
);

static GRANT: Statement = Statement::new(
    "SELECT tasker_engine.grant_subscriber($1, $2, $3, true)",
    &[pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::NAMEOID],
);

static REVOKE: Statement = Statement::new(
    "SELECT tasker_engine.grant_subscriber($1, $2, $3, false)",
    &[pg_sys::OIDOID, pg_sys::TEXTOID, pg_sys::NAMEOID],
);

/// Passes the call to a function of the engine; one that takes a role as its first argument is told the caller.
fn pass<T: FromColumn>(call: &Call, statement: &Statement) -> Result<Option<T>> {
    rights::as_owner(|caller| {
        let session = Session::open()?;
        resumption::require(&session)?;
        let args = match statement.types() {
            [pg_sys::OIDOID, rest @ ..] => std::iter::once(datum::oid(caller))
                .chain(call.parameters(rest))
                .collect(),
            types => call.parameters(types),
        };
        let rows = session.run(statement, &args)?;
        Ok(rows.first().and_then(|row| row.opt(1)))
    })
}

fn number(number: Option<i64>) -> Output {
    number.map_or(Output::Null, Output::from)
}

fn subscribe(call: &mut Call) -> Result<Output> {
    rights::as_owner(|caller| {
        let session = Session::open()?;
        resumption::require(&session)?;
        let mut args = vec![datum::oid(caller)];
        args.extend(call.parameters(&SUBSCRIBE.types()[1..]));
        let id: i64 = session
            .run(&SUBSCRIBE, &args)?
            .first()
            .ok_or_else(|| Error::corrupt("subscribe returns a number"))?
            .get(1)?;
        if let Some(handler) = call.opt_text(3) {
            subscribers::handler::set(&session, caller, id, &handler)?;
        }
        processes::note_subscriber();
        Ok(Output::from(id))
    })
}

fn unsubscribe(call: &mut Call) -> Result<Output> {
    truth(pass(call, &UNSUBSCRIBE)?)
}

fn pause_subscriber(call: &mut Call) -> Result<Output> {
    state(pass(call, &PAUSE)?)
}

fn resume_subscriber(call: &mut Call) -> Result<Output> {
    processes::note_subscriber();
    state(pass(call, &RESUME)?)
}

fn state(state: Option<String>) -> Result<Output> {
    Ok(state.map_or(Output::Null, Output::Text))
}

fn seek_subscriber(call: &mut Call) -> Result<Output> {
    processes::note_subscriber();
    Ok(number(pass(call, &SEEK)?))
}

fn redrive_events(call: &mut Call) -> Result<Output> {
    processes::note_subscriber();
    Ok(number(pass(call, &REDRIVE)?))
}

fn grant_subscriber(call: &mut Call) -> Result<Output> {
    truth(pass(call, &GRANT)?)
}

fn revoke_subscriber(call: &mut Call) -> Result<Output> {
    truth(pass(call, &REVOKE)?)
}

fn truth(value: Option<bool>) -> Result<Output> {
    Ok(value.map_or(Output::Null, Output::from))
}

fn check_patterns(call: &mut Call) -> Result<Output> {
    selection(call.opt_array::<String>(0))?;
    Ok(Output::from(true))
}

/// Where a reader is that begins now, at the beginning, at a time, or at a position.
fn event_place(call: &mut Call) -> Result<Output> {
    let start: String = call.get(0, "start_at")?;
    let since: Option<Timestamp> = call.opt(1);
    let session = Session::open()?;
    let position = match (start.as_str(), since) {
        (_, Some(since)) => stream::since_position(&session, since)?,
        ("now", _) => stream::now_position(&session)?,
        ("beginning", _) => Position::beginning(),
        _ => parse_position("start_at", &start)?,
    };
    call.row(&[
        datum::text(&position.to_string()),
        datum::int8(position.behind_id()),
        datum::int8(position.read_to()),
    ])?;
    Ok(Output::Rows)
}

/// How many events lie between two positions.
fn count_events(call: &mut Call) -> Result<Output> {
    let from = parse_position("after", &call.get::<String>(0, "after")?)?;
    let upto = parse_position("upto", &call.get::<String>(1, "upto")?)?;
    let selection = selection(call.opt_array::<String>(2))?;
    let namespaces: Option<Vec<String>> = call
        .opt_array::<String>(3)
        .map(|names| names.into_iter().flatten().collect());
    let filter = call
        .opt_jsonb(4)
        .map(|filter| serde_json::from_str(&jsonb_text(filter)))
        .transpose()
        .map_err(|_| Error::corrupt("a jsonb is JSON"))?;
    let rate: Option<f64> = call.opt(5);
    let subscriber = call.opt_text(6);
    let session = Session::open()?;
    let wanted = Wanted {
        namespaces: namespaces.as_deref(),
        filter: filter.as_ref(),
        sample: rate.filter(|rate| *rate < 1.0).zip(subscriber.as_deref()),
        since: call.opt(7),
        ..Wanted::all(&selection, 0)
    };
    let count = stream::count(&session, &from, &upto, &wanted)?;
    Ok(Output::from(count))
}

/// Events by their ids and the rows of the log that give them.
fn events_again(call: &mut Call) -> Result<Output> {
    let ids: Vec<Option<i64>> = call.opt_array(0).unwrap_or_default();
    let rows: Vec<Option<i64>> = call.opt_array(1).unwrap_or_default();
    let keys: Vec<Key> = ids
        .into_iter()
        .zip(rows)
        .filter_map(|(event, row)| {
            Some(Key {
                event: event?,
                row: row?,
            })
        })
        .collect();
    let session = Session::open()?;
    for event in stream::again(&session, &keys)?.values() {
        let (mut values, payload) = event_args(event)?;
        values.push(payload.arg());
        call.row(&values)?;
    }
    Ok(Output::Rows)
}
