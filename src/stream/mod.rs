//! Reads the log as a stream of events. A row of the log gives its events whenever it is read; nothing is stored for them.

mod payload;
mod rows;

use tasker_rules::events::pattern::Selection;
use tasker_rules::events::position::{Moment, Position, Snapshot};

use crate::error::{Error, Result};
use crate::pg::budget;
use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::pg::xact;
use rows::{Logged, Reader};

/// What a reader wants.
pub struct Wanted<'w> {
    pub selection: &'w Selection,
    /// `None`: all.
    pub namespaces: Option<&'w [String]>,
    pub most: usize,
}

/// An event.
pub struct Event {
    pub id: i64,
    pub name: &'static str,
    pub occurred_at: Timestamp,
    pub namespace: String,
    pub task: Uuid,
    pub step: Option<Uuid>,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
    pub payload: serde_json::Value,
    /// Where a reader is that has this event.
    pub position: String,
}

/// How many rows of the log one call looks at.
const MOST_SCANNED: usize = 100_000;

static NOW: Statement = Statement::new(
    "SELECT pg_current_snapshot()::text, pg_is_in_recovery(), pg_current_xact_id_if_assigned(),
            coalesce((SELECT max(l.id) FROM tasker_engine.transitions l), 0)",
    &[],
);

/// What the calling query sees, without its own transaction. A standby does not know which transactions run.
fn now(session: &Session) -> Result<Moment> {
    let rows = session.read(&NOW, &[])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt("a query without tables has a row"))?;
    let text: String = row.get(1)?;
    let mut snapshot =
        Snapshot::parse(&text).ok_or_else(|| Error::corrupt("a snapshot cannot be read"))?;
    // Once the snapshot is taken.
    let next = xact::next_id();
    if row.get(2)? {
        snapshot = snapshot.without_running();
    }
    if let Some(own) = row.opt(3) {
        snapshot = snapshot.before(own);
    }
    Ok(Moment {
        snapshot,
        last_id: row.get(4)?,
        next,
    })
}

/// The next events behind the position, which moves behind them, and behind all that it has looked at. None if the calling query does
/// not see all that was read before.
pub fn read(session: &Session, position: &mut Position, wanted: &Wanted) -> Result<Vec<Event>> {
    let mut events = vec![];
    if !position.begin(now(session)?) {
        return Ok(events);
    }
    let mut scanned = 0;
    let mut reader = Reader::new(session, wanted.selection);
    while scanned < MOST_SCANNED {
        budget::check_for_cancel();
        let page = reader.page(position.behind_id())?;
        for row in &page {
            if position.is_new(row.xid) && !add(&mut reader, row, position, wanted, &mut events)? {
                return Ok(events);
            }
            position.reached(row.id);
        }
        scanned += page.len();
        if page.len() < rows::PAGE {
            position.ended();
            break;
        }
    }
    if let Some(last) = events.last_mut() {
        last.position = position.to_string();
    }
    Ok(events)
}

/// Adds the events of a row that are wanted; false if there is no room for one of them.
fn add(
    reader: &mut Reader,
    row: &Logged,
    position: &mut Position,
    wanted: &Wanted,
    events: &mut Vec<Event>,
) -> Result<bool> {
    if !reader.is_of(row, wanted.namespaces)? {
        return Ok(true);
    }
    let story = reader.story(row)?;
    // By their number among all of the row, whatever is wanted: the next call may want others.
    for index in position.handed(row.id) as usize..story.events.len() {
        if !wanted.selection.matches(story.events[index].name) {
            continue;
        }
        if events.len() == wanted.most {
            return Ok(false);
        }
        position.hand(row.id, index as u32 + 1);
        events.push(reader.event(row, &story, index, position.to_string())?);
    }
    Ok(true)
}
