//! Reads the log, and the published events beside it, as a stream of events. A row of the log gives its events whenever it is read;
//! nothing is stored for them.

mod again;
mod cloud;
mod facts;
mod gaps;
mod merge;
mod pages;
mod payload;
mod place;
mod rows;
mod spans;

use std::borrow::Cow;

use serde_json::{Map, Value};
use tasker_rules::events::pattern::Selection;
use tasker_rules::events::position::{Epochs, Moment, Position, Snapshot};
use tasker_rules::events::sample;

use crate::error::{Error, Result};
use crate::pg::budget;
use crate::pg::call;
use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::pg::xact;
use facts::Fact;
use merge::{Looked, Merge, Next, Row};
use payload::Payload;
use rows::{Logged, Reader, Story};

pub use again::{Key, again};
pub use cloud::Sources;
pub use place::{Mark, count, mark, now_position, since_position};
pub use spans::{Span, Spans};

/// What a reader wants.
pub struct Wanted<'w> {
    pub selection: &'w Selection,
    /// `None`: all.
    pub namespaces: Option<&'w [String]>,
    /// What a payload must contain.
    pub filter: Option<&'w Map<String, Value>>,
    /// The share of tasks, and the subscriber whose share it is.
    pub sample: Option<(f64, &'w str)>,
    /// Rows that are older give nothing.
    pub since: Option<Timestamp>,
    pub most: usize,
    /// How many rows of the log the call looks at.
    pub scanned: usize,
    /// Taken before the call took a transaction id, if it did.
    pub mark: Option<Mark>,
    /// Whether each event says where the reader is.
    pub positions: bool,
}

impl<'w> Wanted<'w> {
    /// All events that these patterns select.
    pub fn all(selection: &'w Selection, most: usize) -> Self {
        Self {
            selection,
            namespaces: None,
            filter: None,
            sample: None,
            since: None,
            most,
            scanned: MOST_SCANNED,
            mark: None,
            positions: false,
        }
    }

    /// Whether a row of this time and task counts. What is of no task belongs to every share.
    fn takes(&self, at: Timestamp, task: Option<&Uuid>) -> bool {
        let in_share = |((rate, subscriber), task)| sample::takes(rate, subscriber, task);
        self.since.is_none_or(|since| at >= since) && self.sample.zip(task).is_none_or(in_share)
    }

    fn contains(&self, event: &Event) -> bool {
        self.filter
            .is_none_or(|filter| event.payload.contains(filter))
    }

    /// About how many rows give the rest, if they go on as those that were looked at.
    fn rows_to_read(&self, read: usize, found: usize) -> usize {
        let rest = self.most.saturating_sub(found) + 1;
        match found {
            0 if read > 0 => pages::PAGE,
            // A row gives more than two events.
            0 => rest / 2,
            _ => rest.saturating_mul(read) / found,
        }
    }

    /// The event with the position, if it is to say that.
    fn at(&self, event: Event, position: &Position) -> Event {
        let position = if self.positions {
            position.to_string()
        } else {
            String::new()
        };
        Event { position, ..event }
    }
}

/// An event.
pub struct Event {
    pub id: i64,
    /// The row that gives it: of the log, or a published event.
    pub row_id: i64,
    pub name: Cow<'static, str>,
    pub occurred_at: Timestamp,
    /// None: a published event without one.
    pub namespace: Option<String>,
    pub task: Option<Uuid>,
    pub step: Option<Uuid>,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
    pub payload: Payload,
    /// Where a reader is that has this event.
    pub position: String,
}

/// The last id that was taken.
macro_rules! last_id {
    () => {
        "(SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM tasker_engine.transitions_id_seq s)"
    };
}
use last_id;

/// How many rows a call of read_events looks at.
const MOST_SCANNED: usize = 100_000;

macro_rules! now {
    ($last_id:expr) => {
        concat!(
            "SELECT pg_current_snapshot()::text, pg_current_xact_id_if_assigned(), ",
            $last_id,
            ", ARRAY(SELECT e.epoch FROM tasker_engine.epochs e ORDER BY e.epoch),
               ARRAY(SELECT e.last_id_before FROM tasker_engine.epochs e ORDER BY e.epoch)"
        )
    };
}

// What takes an id after this takes a larger one.
static NOW: Statement = Statement::new(now!(last_id!()), &[]);

// The sequence of a standby is ahead of that of its primary.
static NOW_ON_STANDBY: Statement = Statement::new(
    now!(
        "greatest((SELECT max(l.id) FROM tasker_engine.transitions l), (SELECT max(e.id) FROM tasker_engine.events e), 0)"
    ),
    &[],
);

/// What the calling query sees, without its own transaction, and the epochs of the log. A standby does not know which transactions run.
fn now(session: &Session) -> Result<(Moment, Epochs)> {
    let standby = call::is_standby();
    let statement = if standby { &NOW_ON_STANDBY } else { &NOW };
    let rows = session.read(statement, &[])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt("a query without tables has a row"))?;
    let text: String = row.get(1)?;
    let mut snapshot =
        Snapshot::parse(&text).ok_or_else(|| Error::corrupt("a snapshot cannot be read"))?;
    // Once the snapshot is taken.
    let next = xact::next_id();
    if standby {
        snapshot = snapshot.without_running();
    }
    if let Some(own) = row.opt(2) {
        snapshot = snapshot.before(own);
    }
    let (names, last_ids): (Vec<i64>, Vec<i64>) = (row.get(4)?, row.get(5)?);
    let moment = Moment {
        snapshot,
        last_id: row.get(3)?,
        next,
    };
    Ok((moment, Epochs::new(names.into_iter().zip(last_ids))))
}

/// The next events behind the position, which moves behind them, and behind all that it has looked at. None if the calling query does
/// not see all that was read before.
pub fn read(session: &Session, position: &mut Position, wanted: &Wanted) -> Result<Vec<Event>> {
    let mut events = vec![];
    let (mut now, epochs) = now(session)?;
    if !position.is_of(&epochs) {
        return Err(of_no_epoch());
    }
    if let Some(mark) = wanted.mark {
        (now.last_id, now.next) = (mark.last_id, mark.next);
    }
    let mut looked = Looked::default();
    while looked.cost() < wanted.scanned
        && position.begin(now.clone(), &epochs)
        && read_batch(session, position, wanted, &epochs, &mut looked, &mut events)?
    {}
    if let Some(last) = events.last_mut().filter(|_| wanted.positions) {
        last.position = position.to_string();
    }
    Ok(events)
}

/// Reads on in the batch; whether another one is behind it.
fn read_batch(
    session: &Session,
    position: &mut Position,
    wanted: &Wanted,
    epochs: &Epochs,
    looked: &mut Looked,
    events: &mut Vec<Event>,
) -> Result<bool> {
    let last_id = position.last_id(epochs);
    let (behind, unseen) = (position.behind_id(), position.unseen());
    let mut rows = Merge::new(session, wanted.selection, behind, unseen)?;
    rows.looked = *looked;
    while !rows.must_read() || looked.cost() < wanted.scanned {
        budget::check_for_cancel();
        let left = wanted.scanned.saturating_sub(looked.cost());
        let wish = wanted.rows_to_read(looked.rows, events.len());
        let next = rows.next(wish.min(left))?;
        *looked = rows.looked;
        let row = match next {
            Next::Row(row) if row.id() <= last_id => row,
            Next::NothingUpTo(id) if id < last_id => {
                position.reached(id);
                continue;
            }
            _ => return Ok(!position.ended(epochs)),
        };
        let id = row.id();
        if position.is_new(id, row.xid(), epochs) {
            let has_room = match row {
                Row::Logged(row) => add(&rows.log, &row, position, wanted, events)?,
                Row::Fact(fact) => add_fact(fact, position, wanted, events)?,
            };
            if !has_room {
                return Ok(false);
            }
        }
        position.reached(id);
    }
    Ok(false)
}

fn of_no_epoch() -> Error {
    Error::parameter("the position is one of another database, or of rows that a restore has replaced")
        .detail("A position holds ids of transactions, which begin again in a restored database; tasker_engine.epochs lists the restores that this database knows.")
        .hint("Give read_events a position of this database, or NULL to begin with the oldest event.")
}

/// Adds the events of a row that are wanted; false if there is no room for one of them.
fn add(
    reader: &Reader,
    row: &Logged,
    position: &mut Position,
    wanted: &Wanted,
    events: &mut Vec<Event>,
) -> Result<bool> {
    if !is_wanted(reader, row, wanted)? {
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
        if is_contained(reader, row, &story, index, wanted)? {
            let event = reader.event(row, &story, index)?;
            position.hand(row.id, index as u32 + 1);
            events.push(wanted.at(event, position));
        }
    }
    Ok(true)
}

/// Whether the reader wants events of this row, whatever their names.
fn is_wanted(reader: &Reader, row: &Logged, wanted: &Wanted) -> Result<bool> {
    Ok(wanted.takes(row.at, Some(&row.task)) && reader.is_of(row, wanted.namespaces)?)
}

/// Whether the filter of the reader lets an event of a row pass.
fn is_contained(
    reader: &Reader,
    row: &Logged,
    story: &Story,
    index: usize,
    wanted: &Wanted,
) -> Result<bool> {
    let contains = |filter| reader.contains(row, story, index, filter);
    wanted.filter.map_or(Ok(true), contains)
}

/// The same for a published event, which is the only one of its row.
fn add_fact(
    fact: Fact,
    position: &mut Position,
    wanted: &Wanted,
    events: &mut Vec<Event>,
) -> Result<bool> {
    if position.handed(fact.id) > 0 || !is_wanted_fact(&fact, wanted) {
        return Ok(true);
    }
    if events.len() == wanted.most {
        return Ok(false);
    }
    let event = fact.event()?;
    if wanted
        .filter
        .is_none_or(|filter| event.payload.contains(filter))
    {
        position.hand(event.row_id, 1);
        events.push(wanted.at(event, position));
    }
    Ok(true)
}

/// Whether the reader wants a published event, whatever its payload.
fn is_wanted_fact(fact: &Fact, wanted: &Wanted) -> bool {
    wanted.takes(fact.at, fact.task.as_ref())
        && wanted.selection.matches(&fact.name)
        && fact.is_of(wanted.namespaces)
}
