//! Where a subscriber is: the newest of its rows in `subscriber_places`. A poll that moves removes it and adds the next one.

use pgrx::pg_sys;
use tasker_rules::events::position::Position;

use crate::error::{Error, Result};
use crate::pg::datum::{self, Timestamp};
use crate::pg::spi::{Session, Statement};

/// The place of a subscriber, locked.
pub struct Place {
    pub no: i64,
    pub position: Position,
    pub since: Option<Timestamp>,
    /// No row of `deliveries` has a lower number.
    pub first_poll: i64,
    /// Whether the subscriber is ordered. A change of that moves the place.
    pub ordered: bool,
}

// By its number, so that a row which another session holds does not lead the walk over all that are gone.
static LOCK: Statement = Statement::new(
    "SELECT p.place_no, p.position, p.since, p.first_poll,
            (SELECT s.ordered FROM tasker_engine.subscribers s WHERE s.subscriber_id = $1)
     FROM tasker_engine.subscriber_places p
     WHERE p.subscriber_id = $1
       AND p.place_no = (SELECT o.place_no FROM tasker_engine.subscriber_places o
                         WHERE o.subscriber_id = $1 ORDER BY o.place_no DESC LIMIT 1)
     FOR UPDATE SKIP LOCKED",
    &[pg_sys::INT8OID],
);

static FIRST_POLL: Statement = Statement::new(
    "SELECT p.first_poll FROM tasker_engine.subscriber_places p
     WHERE p.subscriber_id = $1 ORDER BY p.place_no DESC LIMIT 1",
    &[pg_sys::INT8OID],
);

static MOVE: Statement = Statement::new(
    "WITH counted AS (
         DELETE FROM tasker_engine.delivery_counts c WHERE c.subscriber_id = $1
         RETURNING c.delivered, c.failed, c.missed, c.error, c.counted_at),
     summed AS (
         SELECT coalesce(sum(c.delivered), 0) AS delivered, coalesce(sum(c.failed), 0) AS failed, coalesce(sum(c.missed), 0) AS missed,
                (array_agg(c.error ORDER BY c.counted_at DESC) FILTER (WHERE c.error IS NOT NULL))[1] AS error,
                max(c.counted_at) FILTER (WHERE c.error IS NOT NULL) AS error_at,
                max(c.counted_at) FILTER (WHERE c.missed > 0) AS missed_at
         FROM counted c),
     old AS (
         DELETE FROM tasker_engine.subscriber_places p WHERE p.subscriber_id = $1 AND p.place_no = $2
         RETURNING p.since, p.first_poll, p.delivered, p.failed, p.missed_events, p.missed_until, p.last_error, p.last_error_at)
     INSERT INTO tasker_engine.subscriber_places
         (subscriber_id, place_no, position, reached, read_to, since, first_poll, delivered, failed, missed_events, missed_until,
          last_error, last_error_at)
     SELECT $1, $2 + 1, $3, $4, $5, o.since,
            coalesce((SELECT d.poll_no FROM tasker_engine.deliveries d
                      WHERE d.subscriber_id = $1 AND d.poll_no >= o.first_poll ORDER BY d.poll_no LIMIT 1), $2 + 1),
            o.delivered + s.delivered + $6, o.failed + s.failed, o.missed_events + s.missed, greatest(s.missed_at, o.missed_until),
            coalesce(s.error, o.last_error), coalesce(s.error_at, o.last_error_at)
     FROM old o CROSS JOIN summed s",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
    ],
);

static COUNT: Statement = Statement::new(
    "INSERT INTO tasker_engine.delivery_counts (subscriber_id, delivered, failed, missed, error, counted_at)
     VALUES ($1, $2, $3, 0, $4, $5)",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// How often the lock is tried: another poll may have moved the place since the statement looked.
const TRIES: usize = 3;

/// Locks the place; None while another transaction holds it. Never waits.
pub fn lock(session: &Session, subscriber: i64) -> Result<Option<Place>> {
    for _ in 0..TRIES {
        let rows = session.run(&LOCK, &[datum::int8(subscriber)])?;
        let Some(row) = rows.first() else { continue };
        let text: String = row.get(2)?;
        return Ok(Some(Place {
            no: row.get(1)?,
            position: Position::parse(&text)
                .ok_or_else(|| Error::corrupt("the position of a subscriber cannot be read"))?,
            since: row.opt(3),
            first_poll: row.get(4)?,
            ordered: row.opt(5).unwrap_or_default(),
        }));
    }
    Ok(None)
}

/// Where the rows of `deliveries` begin.
pub fn first_poll(session: &Session, subscriber: i64) -> Result<i64> {
    let rows = session.run(&FIRST_POLL, &[datum::int8(subscriber)])?;
    Ok(rows.first().and_then(|row| row.opt(1)).unwrap_or_default())
}

/// The place has moved to this position, with new events handed out.
pub fn go_on(
    session: &Session,
    subscriber: i64,
    no: i64,
    position: &Position,
    delivered: usize,
) -> Result<()> {
    session.run(
        &MOVE,
        &[
            datum::int8(subscriber),
            datum::int8(no),
            datum::text(&position.to_string()),
            datum::int8(position.behind_id()),
            datum::int8(position.read_to()),
            datum::int8(delivered as i64),
        ],
    )?;
    Ok(())
}

static MISS: Statement = Statement::new(
    "SELECT tasker_engine.note_gaps(ARRAY[$1], ARRAY[$2], ARRAY[$3], ARRAY[$3])",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

/// Events that were to come again are purged: the subscriber is told.
pub fn miss(session: &Session, subscriber: i64, events: usize, at: Timestamp) -> Result<()> {
    let args = [
        datum::int8(subscriber),
        datum::int8(events as i64),
        datum::timestamp(at),
    ];
    session.run(&MISS, &args)?;
    Ok(())
}

/// What happened beside the place.
#[derive(Default)]
pub struct Counts {
    pub delivered: usize,
    pub failed: usize,
    pub error: Option<String>,
}

impl Counts {
    pub fn add(&self, session: &Session, subscriber: i64, at: Timestamp) -> Result<()> {
        if self.delivered + self.failed == 0 {
            return Ok(());
        }
        session.run(
            &COUNT,
            &[
                datum::int8(subscriber),
                datum::int8(self.delivered as i64),
                datum::int8(self.failed as i64),
                datum::opt_text(self.error.as_deref()),
                datum::timestamp(at),
            ],
        )?;
        Ok(())
    }
}
