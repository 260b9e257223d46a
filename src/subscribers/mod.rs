//! Subscribers: hand out the events of the stream, and remember which are acknowledged.
//!
//! Nothing here is updated again and again: a poll replaces the row of the subscriber's place, and adds a row for what it hands out;
//! what was acknowledged leaves that row. So polls and answers of several consumers meet only where they are about the same events, and a
//! snapshot that stays open does not make them slower. docs/design.md has the rest.

mod answer;
mod data;
pub mod depth;
pub mod handler;
mod idle;
mod in_flight;
pub mod log_lines;
mod place;
mod poll;
mod redeliver;

use pgrx::{PgSqlErrorCode as Code, pg_sys};
use serde_json::{Map, Value};
use tasker_rules::events::pattern::Selection;
use tasker_rules::events::topics::Topics;

use crate::error::{Error, Result};
use crate::pg::call;
use crate::pg::datum::{self, Numeric, Timestamp};
use crate::pg::rights;
use crate::pg::spi::{Row, Session, Statement};
use crate::stream::{Key, Wanted};

pub use answer::{Nack, ack, bury, extend, nack};
pub use poll::{Ask, Delivered, poll};

/// A subscriber with its settings.
pub struct Subscriber {
    pub id: i64,
    name: String,
    selection: Selection,
    namespaces: Option<Vec<String>>,
    filter: Option<Map<String, Value>>,
    sample_rate: f64,
    max_deliveries: i32,
    ordered: bool,
    include_data: bool,
    max_in_flight: Option<i32>,
    paused: bool,
}

/// An event that was handed out, or is to be.
#[derive(Debug, Clone)]
struct Out {
    key: Key,
    /// Only of a subscriber that is ordered.
    task: Option<datum::Uuid>,
    /// In the order in which the subscriber has read.
    place: i64,
    deliveries: i32,
    /// Sessions to which it was handed out.
    former: Option<i64>,
}

/// The session that calls, at this time.
struct Now {
    at: Timestamp,
    session: i64,
}

impl Now {
    fn here() -> Self {
        Self {
            at: call::clock(),
            session: crate::pg::backend::session(),
        }
    }
}

macro_rules! subscriber_where {
    ($condition:literal) => {
        concat!(
            "SELECT s.subscriber_id, s.patterns, s.namespaces, s.filter::text, s.sample_rate, s.max_deliveries, s.ordered,
                    s.include_data, s.max_in_flight, s.paused,
                    s.owner_oid::bigint || ARRAY(SELECT g.role_oid::bigint FROM tasker_engine.subscriber_grants g
                                                 WHERE g.subscriber_id = s.subscriber_id),
                    s.subscriber, s.batch_size
             FROM tasker_engine.subscribers s WHERE ",
            $condition
        )
    };
}

static SUBSCRIBER: Statement =
    Statement::new(subscriber_where!("s.subscriber = $1"), &[pg_sys::TEXTOID]);

static WITH_HANDLER: Statement = Statement::new(
    subscriber_where!(
        "s.subscriber_id = $1
         AND EXISTS (SELECT FROM tasker_engine.subscriber_handlers h WHERE h.subscriber_id = s.subscriber_id)"
    ),
    &[pg_sys::INT8OID],
);

impl Subscriber {
    /// The subscriber of this name, if the caller may take its events.
    pub fn of_caller(session: &Session, name: &str, caller: pg_sys::Oid) -> Result<Self> {
        let rows = session.run(&SUBSCRIBER, &[datum::text(name)])?;
        let row = rows.first().ok_or_else(|| unknown(name))?;
        let roles: Vec<i64> = row.get(11)?;
        let mut roles = roles.iter().map(|oid| pg_sys::Oid::from(*oid as u32));
        if !roles.any(|role| rights::has_rights_of(caller, role)) && !rights::is_superuser(caller) {
            return Err(refused(name, caller));
        }
        Self::of(&row)
    }

    /// A subscriber that has a handler, and how many events that gets at a time.
    fn with_handler(session: &Session, id: i64) -> Result<Option<(Self, usize)>> {
        let rows = session.run(&WITH_HANDLER, &[datum::int8(id)])?;
        let row = rows.first();
        row.map(|row| Ok((Self::of(&row)?, row.get::<i32>(13)? as usize)))
            .transpose()
    }

    fn of(row: &Row) -> Result<Self> {
        let patterns: Vec<String> = row.get(2)?;
        let filter: Option<String> = row.opt(4);
        let rate: Numeric = row.get(5)?;
        Ok(Self {
            id: row.get(1)?,
            name: row.get(12)?,
            selection: Selection::parse(patterns.iter().map(String::as_str))
                .map_err(|bad| Error::corrupt(bad.to_string()))?,
            namespaces: row.opt(3),
            filter: filter
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|_| Error::corrupt("the filter of a subscriber cannot be read"))?,
            sample_rate: rate.0,
            max_deliveries: row.get(6)?,
            ordered: row.get(7)?,
            include_data: row.get(8)?,
            max_in_flight: row.opt(9),
            paused: row.get(10)?,
        })
    }

    /// Whether the events of a task come one after another.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// What commits that give events for it are about.
    pub fn topics(&self) -> Topics {
        Topics::of_selection(&self.selection)
    }

    fn wanted(&self, most: usize) -> Wanted<'_> {
        Wanted {
            namespaces: self.namespaces.as_deref(),
            filter: self.filter.as_ref(),
            sample: (self.sample_rate < 1.0).then_some((self.sample_rate, self.name.as_str())),
            ..Wanted::all(&self.selection, most)
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::not_found(format!(
        "no subscriber has the name \"{}\"",
        call::shortened(name)
    ))
    .detail("There is none.")
    .hint("SELECT subscriber FROM tasker.subscribers lists them; subscribe() makes one.")
}

fn refused(name: &str, caller: pg_sys::Oid) -> Error {
    let role = rights::role_name(caller);
    Error::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("role {role} is not allowed to take the events of subscriber {name}"),
    )
    .detail("Its owner and the roles that it was granted to take them.")
    .hint("Let its owner call grant_subscriber().")
}
