//! Published events and facts, a page at a time: rows beside the log, each of which is one event.

use std::borrow::Cow;

use pgrx::pg_sys;
use tasker_rules::engine::ids;
use tasker_rules::events::rows::PLACES;

use super::Event;
use super::rows::PAGE;
use crate::error::{Error, Result};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::{Row, Session, Statement};

// The LIMIT is that of the pages of the log.
static FACTS: Statement = Statement::new(
    "SELECT e.id, e.xid, e.created_at, e.task_uuid, e.step_no, e.name, e.namespace, e.correlation_id, e.traceparent, e.payload::text
     FROM tasker_engine.events e
     WHERE e.id > $1
     ORDER BY e.id LIMIT 1000",
    &[pg_sys::INT8OID],
);

/// A row.
pub struct Fact {
    pub id: i64,
    pub xid: u64,
    at: Timestamp,
    task: Option<Uuid>,
    step_no: i16,
    pub name: String,
    namespace: Option<String>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    payload: String,
}

/// The rows behind an id, ascending, and whether there may be more.
pub fn page(session: &Session, behind: i64) -> Result<(Vec<Fact>, bool)> {
    let rows = session.read(&FACTS, &[datum::int8(behind)])?;
    let facts: Vec<Fact> = rows
        .iter()
        .map(|row| Fact::of(&row))
        .collect::<Result<_>>()?;
    let more = facts.len() == PAGE;
    Ok((facts, more))
}

impl Fact {
    fn of(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get(1)?,
            xid: row.get(2)?,
            at: row.get(3)?,
            task: row.opt(4),
            step_no: row.get(5)?,
            name: row.get(6)?,
            namespace: row.opt(7),
            correlation_id: row.opt(8),
            traceparent: row.opt(9),
            payload: row.get(10)?,
        })
    }

    /// Without a namespace it is of none of these.
    pub fn is_of(&self, namespaces: Option<&[String]>) -> bool {
        namespaces.is_none_or(|wanted| {
            self.namespace
                .as_ref()
                .is_some_and(|of| wanted.contains(of))
        })
    }

    /// The event as a reader gets it.
    pub fn event(self, position: String) -> Result<Event> {
        let step = |task: Uuid| (self.step_no > 0).then(|| ids::step_uuid(&task, self.step_no));
        Ok(Event {
            id: self.id * i64::from(PLACES),
            step: self.task.and_then(step),
            name: Cow::Owned(self.name),
            occurred_at: self.at,
            namespace: self.namespace,
            task: self.task,
            correlation_id: self.correlation_id,
            traceparent: self.traceparent,
            payload: serde_json::from_str(&self.payload)
                .map_err(|_| Error::corrupt("the payload of an event cannot be read"))?,
            position,
        })
    }
}
