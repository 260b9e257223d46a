//! What was handed out for the first time: a row of `deliveries` per poll.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use rustc_hash::FxHashSet;

use super::{Now, Out};
use crate::error::Result;
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::spi::{Row, Rows, Session, Statement};
use crate::stream::Key;

/// A row of `deliveries`.
pub struct Delivery {
    pub poll: i64,
    holder: i64,
    gone: BTreeSet<i16>,
    events: Vec<i64>,
    rows: Vec<i64>,
    tasks: Vec<Uuid>,
}

macro_rules! deliveries {
    ($rest:literal) => {
        concat!(
            "SELECT d.poll_no, d.holder, d.gone, d.event_ids, d.row_ids, d.task_uuids FROM tasker_engine.deliveries d ",
            $rest
        )
    };
}

static ADD: Statement = Statement::new(
    "INSERT INTO tasker_engine.deliveries
         (subscriber_id, poll_no, lease_until, holder, events, first_id, last_id, event_ids, row_ids, task_uuids, consumer)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8OID,
        pg_sys::INT4OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::TEXTOID,
    ],
);

// The arrays of most rows are never read: the ids say that they hold nothing of what is asked for.
static HOLDING: Statement = Statement::new(
    "SELECT d.poll_no, d.event_ids FROM tasker_engine.deliveries d
     WHERE d.subscriber_id = $1 AND d.poll_no >= $2 AND d.first_id <= $4 AND d.last_id >= $3
     ORDER BY d.poll_no",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
        pg_sys::INT8OID,
    ],
);

// The numbers ascend. Between the first and the last: an index scan that takes the list for a filter, as it can after ANALYZE, would visit
// every row of the subscriber that is gone and that a snapshot keeps.
static LOCK: Statement = Statement::new(
    deliveries!(
        "WHERE d.subscriber_id = $1 AND d.poll_no = ANY ($2) AND d.poll_no BETWEEN ($2)[1] AND ($2)[cardinality($2)]
         ORDER BY d.poll_no FOR UPDATE"
    ),
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID],
);

static LOCK_FREE: Statement = Statement::new(
    deliveries!(
        "WHERE d.subscriber_id = $1 AND d.poll_no = ANY ($2) AND d.poll_no BETWEEN ($2)[1] AND ($2)[cardinality($2)]
         ORDER BY d.poll_no FOR UPDATE SKIP LOCKED"
    ),
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID],
);

static ENDED: Statement = Statement::new(
    deliveries!(
        "WHERE d.subscriber_id = $1 AND d.poll_no >= $2 AND d.lease_until <= $3 ORDER BY d.poll_no LIMIT 4 FOR UPDATE SKIP LOCKED"
    ),
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

static ALIVE: Statement = Statement::new(
    deliveries!("WHERE d.subscriber_id = $1 AND d.poll_no >= $2"),
    &[pg_sys::INT8OID, pg_sys::INT8OID],
);

static REMOVE: Statement = Statement::new(
    "DELETE FROM tasker_engine.deliveries d
     WHERE d.subscriber_id = $1 AND d.poll_no = ANY ($2) AND d.poll_no BETWEEN ($2)[1] AND ($2)[cardinality($2)]",
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID],
);

static SHRINK: Statement = Statement::new(
    "UPDATE tasker_engine.deliveries d SET gone = u.gone::smallint[]
     FROM unnest($2, $3) AS u (poll_no, gone)
     WHERE d.subscriber_id = $1 AND d.poll_no = u.poll_no AND d.poll_no BETWEEN ($2)[1] AND ($2)[cardinality($2)]",
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID, pg_sys::TEXTARRAYOID],
);

static EXTEND: Statement = Statement::new(
    "UPDATE tasker_engine.deliveries d SET lease_until = $3
     WHERE d.subscriber_id = $1 AND d.poll_no = ANY ($2) AND d.poll_no BETWEEN ($2)[1] AND ($2)[cardinality($2)]",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static COUNT: Statement = Statement::new(
    "SELECT coalesce((SELECT sum(d.events - cardinality(d.gone)) FROM tasker_engine.deliveries d
                      WHERE d.subscriber_id = $1 AND d.poll_no >= $2), 0)
            + (SELECT count(*) FROM tasker_engine.redeliveries r
               WHERE r.subscriber_id = $1 AND r.due_at > $3 AND r.due_at < 'infinity' AND r.holder IS NOT NULL)",
    &[pg_sys::INT8OID, pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID],
);

/// Bits of a place that number the events of a poll.
const WITHIN_POLL: u32 = 20;

/// The place of an event in the order in which its subscriber has read.
pub fn place(poll: i64, index: usize) -> i64 {
    poll << WITHIN_POLL | index as i64
}

impl Delivery {
    fn of(row: &Row) -> Result<Self> {
        let gone: Vec<i16> = row.get(3)?;
        Ok(Self {
            poll: row.get(1)?,
            holder: row.get(2)?,
            gone: gone.into_iter().collect(),
            events: row.get(4)?,
            rows: row.get(5)?,
            tasks: row.opt(6).unwrap_or_default(),
        })
    }

    fn all(rows: &Rows) -> Result<Vec<Self>> {
        rows.iter().map(|row| Self::of(&row)).collect()
    }

    fn is_empty(&self) -> bool {
        self.gone.len() >= self.events.len()
    }

    /// The places in the arrays of what is still in flight.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.events.len()).filter(|index| !self.gone.contains(&(*index as i16)))
    }

    pub fn event(&self, index: usize) -> i64 {
        self.events[index]
    }

    pub fn task(&self, index: usize) -> Option<Uuid> {
        self.tasks.get(index).copied()
    }

    /// Takes an event out of the row.
    pub fn take(&mut self, index: usize) -> Out {
        self.gone.insert(index as i16);
        Out {
            key: Key {
                event: self.events[index],
                row: self.rows[index],
            },
            task: self.task(index),
            place: place(self.poll, index),
            deliveries: 1,
            former: Some(self.holder),
        }
    }
}

/// New events are in flight until the lease ends.
pub fn add(
    session: &Session,
    subscriber: i64,
    poll: i64,
    outs: &[Out],
    now: &Now,
    (lease_until, consumer): (Timestamp, Option<&str>),
) -> Result<()> {
    let ids = || outs.iter().map(|out| out.key.event);
    let (Some(first), Some(last)) = (ids().min(), ids().max()) else {
        return Ok(());
    };
    let tasks: Vec<Uuid> = outs.iter().filter_map(|out| out.task).collect();
    session.run(
        &ADD,
        &[
            datum::int8(subscriber),
            datum::int8(poll),
            datum::timestamp(lease_until),
            datum::int8(now.session),
            datum::int4(outs.len() as i32),
            datum::int8(first),
            datum::int8(last),
            datum::int8s(ids()),
            datum::int8s(outs.iter().map(|out| out.key.row)),
            if tasks.is_empty() {
                Arg::NULL
            } else {
                datum::uuids(&tasks)
            },
            datum::opt_text(consumer),
        ],
    )?;
    Ok(())
}

/// Locks the rows that hold some of these events.
pub fn lock(
    session: &Session,
    subscriber: i64,
    first_poll: i64,
    events: &FxHashSet<i64>,
) -> Result<Vec<Delivery>> {
    holding(session, &LOCK, subscriber, first_poll, events)
}

/// The same without those that another session has locked.
pub fn lock_free(
    session: &Session,
    subscriber: i64,
    first_poll: i64,
    events: &FxHashSet<i64>,
) -> Result<Vec<Delivery>> {
    holding(session, &LOCK_FREE, subscriber, first_poll, events)
}

fn holding(
    session: &Session,
    lock: &'static Statement,
    subscriber: i64,
    first_poll: i64,
    events: &FxHashSet<i64>,
) -> Result<Vec<Delivery>> {
    let (Some(least), Some(most)) = (events.iter().min(), events.iter().max()) else {
        return Ok(vec![]);
    };
    let rows = session.run(
        &HOLDING,
        &[
            datum::int8(subscriber),
            datum::int8(first_poll),
            datum::int8(*least),
            datum::int8(*most),
        ],
    )?;
    let mut polls: Vec<i64> = vec![];
    for row in rows.iter() {
        let ids: Vec<i64> = row.get(2)?;
        if ids.iter().any(|id| events.contains(id)) {
            polls.push(row.get(1)?);
        }
    }
    if polls.is_empty() {
        return Ok(vec![]);
    }
    Delivery::all(&session.run(lock, &[datum::int8(subscriber), datum::int8s(polls)])?)
}

/// Locks some rows whose lease has ended; never waits.
pub fn ended(
    session: &Session,
    subscriber: i64,
    first_poll: i64,
    now: &Now,
) -> Result<Vec<Delivery>> {
    let args = [
        datum::int8(subscriber),
        datum::int8(first_poll),
        datum::timestamp(now.at),
    ];
    Delivery::all(&session.run(&ENDED, &args)?)
}

/// Tasks of which an event is in flight in a row of `deliveries`.
pub fn tasks(session: &Session, subscriber: i64, first_poll: i64) -> Result<FxHashSet<Uuid>> {
    let args = [datum::int8(subscriber), datum::int8(first_poll)];
    let alive = Delivery::all(&session.run(&ALIVE, &args)?)?;
    Ok(alive
        .iter()
        .flat_map(|row| row.open().filter_map(|index| row.task(index)))
        .collect())
}

/// How many events are in flight.
pub fn count(session: &Session, subscriber: i64, first_poll: i64, now: &Now) -> Result<i64> {
    let args = [
        datum::int8(subscriber),
        datum::int8(first_poll),
        datum::timestamp(now.at),
    ];
    let rows = session.run(&COUNT, &args)?;
    rows.first().map_or(Ok(0), |row| row.get(1))
}

/// Stores that events were taken out of these rows, which are locked; empty ones go.
pub fn store(session: &Session, subscriber: i64, rows: &[Delivery]) -> Result<()> {
    let (empty, rest): (Vec<&Delivery>, Vec<&Delivery>) =
        rows.iter().partition(|row| row.is_empty());
    if !empty.is_empty() {
        let polls = datum::int8s(empty.iter().map(|row| row.poll));
        session.run(&REMOVE, &[datum::int8(subscriber), polls])?;
    }
    if !rest.is_empty() {
        let gone: Vec<String> = rest
            .iter()
            .map(|row| datum::array_literal(&row.gone.iter().copied().collect::<Vec<_>>()))
            .collect();
        session.run(
            &SHRINK,
            &[
                datum::int8(subscriber),
                datum::int8s(rest.iter().map(|row| row.poll)),
                datum::texts(gone.iter().map(|text| Some(text.as_str()))),
            ],
        )?;
    }
    Ok(())
}

/// These rows are held until another time.
pub fn extend(
    session: &Session,
    subscriber: i64,
    rows: &[Delivery],
    until: Timestamp,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    session.run(
        &EXTEND,
        &[
            datum::int8(subscriber),
            datum::int8s(rows.iter().map(|row| row.poll)),
            datum::timestamp(until),
        ],
    )?;
    Ok(())
}
