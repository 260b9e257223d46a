//! Where a subscriber begins, and how much lies between two places.

use std::ops::Range;

use pgrx::pg_sys;
use tasker_rules::events::position::Position;

use super::merge::{Merge, Next, Row};
use super::pages::PAGE;
use super::rows::{Logged, Reader};
use super::{Wanted, is_contained, is_wanted, is_wanted_fact, last_id, now};
use crate::error::{Error, Result};
use crate::pg::budget;
use crate::pg::datum::{self, Timestamp};
use crate::pg::spi::{Session, Statement};
use crate::pg::xact;

/// No transaction from `next` on had begun when it was taken, so all of them take larger ids than this one. A call that takes a
/// transaction id itself takes the mark first; otherwise it would count as a transaction that may have taken any id.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub last_id: i64,
    pub next: u64,
}

static LAST: Statement = Statement::new(concat!("SELECT ", last_id!()), &[]);

// The place of any subscriber says which ids the transactions that run now cannot have.
static KNOWN: Statement = Statement::new(
    "SELECT p.position FROM tasker_engine.subscribers s
     CROSS JOIN LATERAL (SELECT p.position, p.read_to FROM tasker_engine.subscriber_places p
                         WHERE p.subscriber_id = s.subscriber_id ORDER BY p.place_no DESC LIMIT 1) p
     ORDER BY p.read_to DESC LIMIT 1",
    &[],
);

// With a sum, so that the index of the times is used and not a walk over the ids.
static SINCE: Statement = Statement::new(
    "SELECT least((SELECT min(l.id + 0) FROM tasker_engine.transitions l WHERE l.created_at >= $1),
                  (SELECT min(e.id + 0) FROM tasker_engine.events e WHERE e.created_at >= $1))",
    &[pg_sys::TIMESTAMPTZOID],
);

/// The mark of now.
pub fn mark(session: &Session) -> Result<Mark> {
    let rows = session.run(&LAST, &[])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::corrupt("a query without tables has a row"))?;
    Ok(Mark {
        last_id: row.get(1)?,
        next: xact::next_id(),
    })
}

/// The position of a reader that has read all that the calling query sees.
pub fn now_position(session: &Session) -> Result<Position> {
    let (moment, epochs) = now(session)?;
    let known = session.read(&KNOWN, &[])?;
    let text: Option<String> = known.first().and_then(|row| row.opt(1));
    let known = text.and_then(|text| Position::parse(&text));
    if let Some(mut position) = known
        && position.skip_to(moment.clone(), &epochs)
    {
        return Ok(position);
    }
    let mut position = Position::beginning();
    position.skip_to(moment, &epochs);
    Ok(position)
}

/// The position of a reader that has read the rows that are older than this time, and some more before them.
pub fn since_position(session: &Session, since: Timestamp) -> Result<Position> {
    let (here, (_, epochs)) = (now_position(session)?, now(session)?);
    let rows = session.read(&SINCE, &[datum::timestamp(since)])?;
    let first: Option<i64> = rows.first().and_then(|row| row.opt(1));
    Ok(match first {
        Some(first) => here.back_to(first - 1, &epochs),
        None => here.back_to(i64::MAX, &epochs),
    })
}

/// How many wanted events lie between two positions: behind `from`, and read at `upto`.
pub fn count(session: &Session, from: &Position, upto: &Position, wanted: &Wanted) -> Result<i64> {
    let (_, epochs) = now(session)?;
    let mut rows = Merge::new(session, wanted.selection, from.read_to(), None)?;
    let mut events = 0;
    loop {
        budget::check_for_cancel();
        let row = match rows.next(PAGE)? {
            Next::Row(row) => row,
            Next::NothingUpTo(_) => continue,
            Next::End => return Ok(events),
        };
        let (id, xid) = (row.id(), row.xid());
        if from.has(id, xid, &epochs) {
            continue;
        }
        // A position can lie between the events of a row.
        let first = from.handed(id) as usize;
        let end = match upto.has(id, xid, &epochs) {
            true => usize::MAX,
            false => upto.handed(id) as usize,
        };
        if first >= end {
            continue;
        }
        events += match row {
            Row::Logged(row) => count_row(&rows.log, &row, first..end, wanted)?,
            Row::Fact(_) if first > 0 => 0,
            Row::Fact(fact) => {
                i64::from(is_wanted_fact(&fact, wanted) && wanted.contains(&fact.event()?))
            }
        };
    }
}

/// Of the events of a row with these numbers.
fn count_row(reader: &Reader, row: &Logged, numbers: Range<usize>, wanted: &Wanted) -> Result<i64> {
    if !is_wanted(reader, row, wanted)? {
        return Ok(0);
    }
    let (story, mut events) = (reader.story(row)?, 0);
    for index in numbers.start..numbers.end.min(story.events.len()) {
        let named = wanted.selection.matches(story.events[index].name);
        let wants = named && is_contained(reader, row, &story, index, wanted)?;
        events += i64::from(wants);
    }
    Ok(events)
}
