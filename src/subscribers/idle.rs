//! Polls that find nothing, of consumers that wait. Such a poll writes and locks nothing: the session remembers how far it looked, and the
//! place of the subscriber moves once in a while.

use pgrx::pg_sys;
use rustc_hash::FxHashMap;
use tasker_rules::events::position::Position;

use super::{Now, Subscriber};
use crate::error::Result;
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::Kept;
use crate::pg::snapshot;
use crate::pg::spi::{Session, Statement};
use crate::stream::{self, Wanted};

/// More subscribers than this are forgotten together.
const MOST_REMEMBERED: usize = 1000;

/// The place moves at least this often: purge waits for it, and `tasker.subscribers` shows it.
const STORE_AFTER_US: i64 = 1_000_000;

/// A poll that has more to look at stores how far it came.
const MOST_LOOKED_AT: usize = 1000;

/// How far this session has looked, behind the place of this number.
struct Seen {
    place: i64,
    /// The position of that place: after a rollback another one can have the number.
    stored: String,
    position: Position,
    moved: bool,
}

static SEEN: Kept<FxHashMap<i64, Seen>> = Kept::new();

static PEEK: Statement = Statement::new(
    "SELECT p.place_no, p.moved_at, p.since, p.position,
            EXISTS (SELECT FROM tasker_engine.deliveries d
                    WHERE d.subscriber_id = $1 AND d.poll_no >= p.first_poll AND d.lease_until <= $2)
            OR EXISTS (SELECT FROM tasker_engine.redeliveries r WHERE r.subscriber_id = $1 AND r.due_at <= $2 AND r.due_at < 'infinity')
     FROM tasker_engine.subscriber_places p
     WHERE p.subscriber_id = $1 ORDER BY p.place_no DESC LIMIT 1",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

/// The last poll of this session has found nothing up to here, with the place of this number there.
pub fn remember(subscriber: i64, (place, stored): (i64, &Position), position: Position) {
    let stored = stored.to_string();
    SEEN.with(|seen| {
        if seen.len() >= MOST_REMEMBERED {
            seen.clear();
        }
        seen.insert(
            subscriber,
            Seen {
                place,
                stored,
                position,
                moved: false,
            },
        );
    });
}

/// Takes back what the session remembers of a subscriber: how far it has looked behind the place of this number.
pub fn take(subscriber: i64, place: i64, stored: &Position) -> Option<Position> {
    let seen = SEEN.with(|seen| seen.remove(&subscriber))?;
    (seen.place == place && seen.stored == stored.to_string()).then_some(seen.position)
}

/// Whether a consumer that found nothing the last time finds nothing again, and how far it looked need not be stored now.
pub fn is_idle(session: &Session, subscriber: &Subscriber, now: &Now) -> Result<bool> {
    let id = subscriber.id;
    if !SEEN.with(|seen| seen.contains_key(&id)) {
        return Ok(false);
    }
    let rows = session.run(&PEEK, &[datum::int8(id), datum::timestamp(now.at)])?;
    let Some(row) = rows.first() else {
        return Ok(false);
    };
    let (place, moved_at): (i64, Timestamp) = (row.get(1)?, row.get(2)?);
    let stored: String = row.get(4)?;
    let Some(mut position) = SEEN.with(|seen| {
        let seen = seen
            .get(&id)
            .filter(|seen| seen.place == place && seen.stored == stored)?;
        let is_due = seen.moved && now.at - moved_at >= STORE_AFTER_US;
        (!is_due).then(|| seen.position.clone())
    }) else {
        return Ok(false);
    };
    if row.get(5)? {
        return Ok(false);
    }
    let before = (position.behind_id(), position.read_to());
    let wanted = Wanted {
        since: row.opt(3),
        scanned: MOST_LOOKED_AT,
        ..subscriber.wanted(1)
    };
    let found = snapshot::with_latest(|| stream::read(session, &mut position, &wanted))?;
    if !found.is_empty() || position.is_inside() {
        return Ok(false);
    }
    let moved = (position.behind_id(), position.read_to()) != before;
    SEEN.with(|seen| {
        if let Some(seen) = seen.get_mut(&id) {
            seen.position = position;
            seen.moved |= moved;
        }
    });
    Ok(true)
}
