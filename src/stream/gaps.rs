//! What a subscriber gets in the place of events that are gone: a row beside the log, which no other reader sees.

use std::borrow::Cow;

use pgrx::pg_sys;
use tasker_rules::events::rows::PLACES;
use tasker_rules::events::time::iso;

use super::Event;
use super::payload::Payload;
use crate::error::Result;
use crate::pg::datum::{self, Timestamp};
use crate::pg::spi::{Row, Session, Statement};

static GAPS: Statement = Statement::new(
    "SELECT g.id, g.events, g.first_at, g.last_at, g.noted_at FROM tasker_engine.event_gaps g WHERE g.id = ANY ($1)",
    &[pg_sys::INT8ARRAYOID],
);

/// Those of these rows that exist.
pub fn of_ids(session: &Session, ids: &[i64]) -> Result<Vec<Event>> {
    let rows = session.read(&GAPS, &[datum::int8s(ids.iter().copied())])?;
    rows.iter().map(|row| event(&row)).collect()
}

fn event(row: &Row) -> Result<Event> {
    let (id, events): (i64, i64) = (row.get(1)?, row.get(2)?);
    let (from, to): (Timestamp, Timestamp) = (row.get(3)?, row.get(4)?);
    Ok(Event {
        id: id * i64::from(PLACES),
        row_id: id,
        name: Cow::Borrowed("stream.gap"),
        occurred_at: row.get(5)?,
        namespace: None,
        task: None,
        step: None,
        correlation_id: None,
        traceparent: None,
        payload: Payload::from([
            ("from", iso(from).into()),
            ("to", iso(to).into()),
            ("events", events.into()),
        ]),
        position: String::new(),
    })
}
