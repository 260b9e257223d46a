//! Published events and facts, a page at a time: rows beside the log, each of which is one event.

use std::borrow::Cow;

use pgrx::pg_sys;
use serde_json::{Map, Value};
use tasker_rules::engine::ids;
use tasker_rules::events::position::Unseen;
use tasker_rules::events::rows::PLACES;

use super::Event;
use super::pages::{Page, Pages, pages};
use crate::error::{Error, Result};
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::{Row, Session, Statement};

macro_rules! facts_where {
    ($most:literal) => {
        facts_where!("e.id > $1", $most)
    };
    ($which:literal, $most:literal) => {
        concat!(
            "SELECT e.id, e.xid, e.created_at, e.task_uuid, e.step_no, e.name, e.namespace, e.correlation_id, e.traceparent, e.payload::text
             FROM tasker_engine.events e
             WHERE ",
            $which,
            " ORDER BY e.id LIMIT ",
            $most
        )
    };
}

static FACTS: Pages = pages!(facts_where);

static FACTS_OF_IDS: Statement = Statement::new(
    facts_where!("e.id = ANY ($1)", 1000),
    &[pg_sys::INT8ARRAYOID],
);

/// A row.
pub struct Fact {
    pub id: i64,
    pub xid: u64,
    pub at: Timestamp,
    pub task: Option<Uuid>,
    step_no: i16,
    pub name: String,
    namespace: Option<String>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    payload: String,
}

/// A page of rows, as [`Pages::read`] says.
pub fn page(
    session: &Session,
    behind: i64,
    rows: usize,
    unseen: Option<&Unseen>,
) -> Result<Page<Fact>> {
    let read = FACTS.read(session, behind, rows, unseen)?;
    let facts = read.rows.iter().map(|row| Fact::of(&row));
    Ok(Page {
        rows: facts.collect::<Result<_>>()?,
        last: read.last,
        others: read.passed_by,
    })
}

/// Those of these rows that exist, up to a page.
pub fn of_ids(session: &Session, ids: &[i64]) -> Result<Vec<Fact>> {
    let rows = session.read(&FACTS_OF_IDS, &[datum::int8s(ids.iter().copied())])?;
    rows.iter().map(|row| Fact::of(&row)).collect()
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
    pub fn event(self) -> Result<Event> {
        let step = |task: Uuid| (self.step_no > 0).then(|| ids::step_uuid(&task, self.step_no));
        Ok(Event {
            id: self.id * i64::from(PLACES),
            row_id: self.id,
            step: self.task.and_then(step),
            name: Cow::Owned(self.name),
            occurred_at: self.at,
            namespace: self.namespace,
            task: self.task,
            correlation_id: self.correlation_id,
            traceparent: self.traceparent,
            payload: serde_json::from_str::<Map<String, Value>>(&self.payload)
                .map_err(|_| Error::corrupt("the payload of an event cannot be read"))?
                .into(),
            position: String::new(),
        })
    }
}
