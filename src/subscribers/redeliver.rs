//! Events that are handed out again, or wait for an earlier one of their task: a row of `redeliveries` each.

use pgrx::pg_sys;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Now, Out};
use crate::error::Result;
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::stream::Key;

// The ends of the list bound the scan: the list alone can be a filter on all events of the subscriber, also of those that are gone.
macro_rules! among {
    () => {
        "r.event_id = ANY ($2)
         AND r.event_id BETWEEN (SELECT min(u.one) FROM unnest($2) AS u (one)) AND (SELECT max(u.one) FROM unnest($2) AS u (one))"
    };
}

static ADD: Statement = Statement::new(
    "INSERT INTO tasker_engine.redeliveries
         (subscriber_id, event_id, row_id, place, due_at, deliveries, task_uuid, former, error, failed_at, dead_at)
     SELECT $1, u.event_id, u.row_id, u.place, u.due_at, u.deliveries, u.task_uuid,
            CASE WHEN u.former = 0 THEN '{}' ELSE ARRAY[u.former] END,
            CASE WHEN u.deliveries > 0 THEN $10 END, CASE WHEN u.deliveries > 0 THEN $11 END, u.dead_at
     FROM unnest($2, $3, $4, $5, $6, $7, $8, $9) AS u (event_id, row_id, place, due_at, deliveries, task_uuid, former, dead_at)
     ON CONFLICT DO NOTHING",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static DUE: Statement = Statement::new(
    "SELECT r.event_id, r.row_id, r.place, r.deliveries, r.task_uuid, r.holder
     FROM tasker_engine.redeliveries r
     WHERE r.subscriber_id = $1 AND r.due_at <= $2 AND r.due_at < 'infinity'
     ORDER BY r.due_at, r.place LIMIT $3 FOR UPDATE SKIP LOCKED",
    &[pg_sys::INT8OID, pg_sys::TIMESTAMPTZOID, pg_sys::INT8OID],
);

// One task at a time: with a list the planner may walk over all events of the subscriber instead.
static OF_TASKS: Statement = Statement::new(
    "SELECT r.event_id, u.task_uuid, r.place
     FROM unnest($2) AS u (task_uuid)
     CROSS JOIN LATERAL (SELECT o.event_id, o.place FROM tasker_engine.redeliveries o
                         WHERE o.subscriber_id = $1 AND o.task_uuid = u.task_uuid AND o.dead_at IS NULL OFFSET 0) r",
    &[pg_sys::INT8OID, pg_sys::UUIDARRAYOID],
);

static HAND_OUT: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.redeliveries r
         SET deliveries = r.deliveries + 1, due_at = $3, holder = $4, former = r.former || $4, consumer = $5
         WHERE r.subscriber_id = $1 AND ",
        among!()
    ),
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
    ],
);

static DEFER: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.redeliveries r SET due_at = $3, holder = NULL WHERE r.subscriber_id = $1 AND ",
        among!()
    ),
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static REMOVE: Statement = Statement::new(
    concat!(
        "DELETE FROM tasker_engine.redeliveries r WHERE r.subscriber_id = $1 AND ",
        among!(),
        " RETURNING r.task_uuid"
    ),
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID],
);

// What an answer of this session is about: not what has been handed to another one since, and not what was never handed out.
macro_rules! answered {
    ($before:literal, $also:literal) => {
        concat!(
            $before,
            " WHERE r.subscriber_id = $1 AND ",
            among!(),
            " AND r.dead_at IS NULL AND r.deliveries > 0
                AND (r.holder IS NULL OR r.holder = $3 OR NOT $3 = ANY (r.former))",
            $also
        )
    };
}

static LOCK: Statement = Statement::new(
    answered!(
        "SELECT r.event_id, r.row_id, r.place, r.deliveries, r.task_uuid, r.holder FROM tasker_engine.redeliveries r",
        " ORDER BY r.event_id FOR UPDATE"
    ),
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID, pg_sys::INT8OID],
);

static EXTEND: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.redeliveries o SET due_at = $4 WHERE o.subscriber_id = $1 AND o.event_id = ANY (ARRAY(",
        answered!(
            "SELECT r.event_id FROM tasker_engine.redeliveries r",
            " AND r.holder IS NOT NULL FOR UPDATE SKIP LOCKED"
        ),
        "))"
    ),
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

static FAIL: Statement = Statement::new(
    concat!(
        "UPDATE tasker_engine.redeliveries r
         SET due_at = u.due_at, dead_at = u.dead_at, holder = NULL, error = $5, failed_at = $6
         FROM unnest($2, $3, $4) AS u (event_id, due_at, dead_at)
         WHERE r.subscriber_id = $1 AND r.event_id = u.event_id AND ",
        among!()
    ),
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

// It must not be done before the one that failed.
static GIVE_BACK: Statement = Statement::new(
    "UPDATE tasker_engine.redeliveries r
     SET due_at = $5, holder = NULL, deliveries = r.deliveries - 1
     WHERE r.subscriber_id = $1 AND r.holder = $4 AND r.dead_at IS NULL AND r.event_id = ANY (ARRAY(
         SELECT w.event_id
         FROM unnest($2, $3) AS u (task_uuid, place)
         CROSS JOIN LATERAL (SELECT o.event_id FROM tasker_engine.redeliveries o
                             WHERE o.subscriber_id = $1 AND o.task_uuid = u.task_uuid AND o.place > u.place OFFSET 0) w))",
    &[
        pg_sys::INT8OID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT8ARRAYOID,
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

// Those that another session holds come by themselves, a little later.
static WAKE: Statement = Statement::new(
    "UPDATE tasker_engine.redeliveries r SET due_at = $3
     WHERE r.subscriber_id = $1 AND r.event_id = ANY (ARRAY(
         SELECT w.event_id
         FROM unnest($2) AS u (task_uuid)
         CROSS JOIN LATERAL (SELECT o.event_id FROM tasker_engine.redeliveries o
                             WHERE o.subscriber_id = $1 AND o.task_uuid = u.task_uuid AND o.deliveries = 0 AND o.due_at > $3
                               AND o.dead_at IS NULL
                             FOR UPDATE SKIP LOCKED) w))",
    &[
        pg_sys::INT8OID,
        pg_sys::UUIDARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

/// An event that was handed out or held back, and when it may be handed out.
pub struct Due {
    pub out: Out,
    pub at: Timestamp,
    /// Not any more.
    pub dead: bool,
}

/// What dead events wait for.
const NEVER: Timestamp = Timestamp::MAX;

impl Due {
    fn at(&self) -> Option<Timestamp> {
        Some(if self.dead { NEVER } else { self.at })
    }

    fn dead_at(&self, now: &Now) -> Option<Timestamp> {
        self.dead.then_some(now.at)
    }
}

/// They have no row yet. The error is that of all that were handed out.
pub fn add(
    session: &Session,
    subscriber: i64,
    dues: &[Due],
    error: Option<&str>,
    now: &Now,
) -> Result<()> {
    if dues.is_empty() {
        return Ok(());
    }
    let outs = || dues.iter().map(|due| &due.out);
    let tasks: Vec<Uuid> = outs().filter_map(|out| out.task).collect();
    session.run(
        &ADD,
        &[
            datum::int8(subscriber),
            datum::int8s(outs().map(|out| out.key.event)),
            datum::int8s(outs().map(|out| out.key.row)),
            datum::int8s(outs().map(|out| out.place)),
            datum::timestamps(dues.iter().map(Due::at)),
            datum::int4s(outs().map(|out| out.deliveries)),
            if tasks.is_empty() {
                Arg::NULL
            } else {
                datum::uuids(&tasks)
            },
            datum::int8s(outs().map(|out| out.former.unwrap_or_default())),
            datum::timestamps(dues.iter().map(|due| due.dead_at(now))),
            datum::opt_text(error),
            datum::timestamp(now.at),
        ],
    )?;
    Ok(())
}

/// A row that is due.
pub struct Row {
    pub out: Out,
    /// A consumer had it, and its lease has ended.
    pub was_held: bool,
}

fn rows(rows: &crate::pg::spi::Rows) -> Result<Vec<Row>> {
    rows.iter()
        .map(|row| {
            let out = Out {
                key: Key {
                    event: row.get(1)?,
                    row: row.get(2)?,
                },
                place: row.get(3)?,
                deliveries: row.get(4)?,
                task: row.opt(5),
                former: None,
            };
            let was_held = row.opt::<i64>(6).is_some();
            Ok(Row { out, was_held })
        })
        .collect()
}

/// Locks rows that are due; never waits.
pub fn due(session: &Session, subscriber: i64, most: usize, now: &Now) -> Result<Vec<Row>> {
    let args = [
        datum::int8(subscriber),
        datum::timestamp(now.at),
        datum::int8(most as i64),
    ];
    rows(&session.run(&DUE, &args)?)
}

/// Events of these tasks that are not dead, each with its place.
pub fn of_tasks(
    session: &Session,
    subscriber: i64,
    tasks: &FxHashSet<Uuid>,
) -> Result<FxHashMap<Uuid, Vec<(i64, i64)>>> {
    let mut found: FxHashMap<Uuid, Vec<(i64, i64)>> = FxHashMap::default();
    if tasks.is_empty() {
        return Ok(found);
    }
    let args = [datum::int8(subscriber), datum::uuids(tasks)];
    for row in session.run(&OF_TASKS, &args)?.iter() {
        let events = found.entry(row.get(2)?).or_default();
        events.push((row.get(3)?, row.get(1)?));
    }
    Ok(found)
}

fn ids(rows: &[Row]) -> Arg<'static> {
    datum::int8s(rows.iter().map(|row| row.out.key.event))
}

pub fn hand_out(
    session: &Session,
    subscriber: i64,
    rows: &[Row],
    now: &Now,
    (lease_until, consumer): (Timestamp, Option<&str>),
) -> Result<()> {
    if !rows.is_empty() {
        session.run(
            &HAND_OUT,
            &[
                datum::int8(subscriber),
                ids(rows),
                datum::timestamp(lease_until),
                datum::int8(now.session),
                datum::opt_text(consumer),
            ],
        )?;
    }
    Ok(())
}

/// They wait for earlier events of their tasks.
pub fn defer(session: &Session, subscriber: i64, rows: &[Row], until: Timestamp) -> Result<()> {
    if !rows.is_empty() {
        let args = [datum::int8(subscriber), ids(rows), datum::timestamp(until)];
        session.run(&DEFER, &args)?;
    }
    Ok(())
}

/// Removes what is acknowledged or gone. Returns the tasks, as far as they are known, and how many there were.
pub fn remove(
    session: &Session,
    subscriber: i64,
    events: impl IntoIterator<Item = i64>,
) -> Result<(FxHashSet<Uuid>, usize)> {
    let args = [datum::int8(subscriber), datum::int8s(events)];
    let rows = session.run(&REMOVE, &args)?;
    Ok((
        rows.iter().filter_map(|row| row.opt(1)).collect(),
        rows.len(),
    ))
}

/// Locks those of the events about which this session can say that they failed.
pub fn lock(
    session: &Session,
    subscriber: i64,
    events: &FxHashSet<i64>,
    now: &Now,
) -> Result<Vec<Row>> {
    if events.is_empty() {
        return Ok(vec![]);
    }
    let args = [
        datum::int8(subscriber),
        datum::int8s(events.iter().copied()),
        datum::int8(now.session),
    ];
    rows(&session.run(&LOCK, &args)?)
}

/// Their delivery has failed.
pub fn fail(
    session: &Session,
    subscriber: i64,
    dues: &[Due],
    error: Option<&str>,
    now: &Now,
) -> Result<()> {
    if !dues.is_empty() {
        session.run(
            &FAIL,
            &[
                datum::int8(subscriber),
                datum::int8s(dues.iter().map(|due| due.out.key.event)),
                datum::timestamps(dues.iter().map(Due::at)),
                datum::timestamps(dues.iter().map(|due| due.dead_at(now))),
                datum::opt_text(error),
                datum::timestamp(now.at),
            ],
        )?;
    }
    Ok(())
}

/// The session gives back what it holds behind events of their tasks that failed, and that delivery does not count.
pub fn give_back(session: &Session, subscriber: i64, failed: &[Due], now: &Now) -> Result<()> {
    let behind = failed
        .iter()
        .filter_map(|due| Some((due.out.task?, due.out.place)));
    let (tasks, places): (Vec<Uuid>, Vec<i64>) = behind.unzip();
    if !tasks.is_empty() {
        let args = [
            datum::int8(subscriber),
            datum::uuids(&tasks),
            datum::int8s(places),
            datum::int8(now.session),
            datum::timestamp(now.at),
        ];
        session.run(&GIVE_BACK, &args)?;
    }
    Ok(())
}

/// Sets when the lease of those ends that this session holds; returns how many.
pub fn extend(
    session: &Session,
    subscriber: i64,
    events: &FxHashSet<i64>,
    until: Timestamp,
    now: &Now,
) -> Result<usize> {
    if events.is_empty() {
        return Ok(0);
    }
    let args = [
        datum::int8(subscriber),
        datum::int8s(events.iter().copied()),
        datum::int8(now.session),
        datum::timestamp(until),
    ];
    Ok(session.run(&EXTEND, &args)?.len())
}

/// What was held back behind events of these tasks may come.
pub fn wake(session: &Session, subscriber: i64, tasks: &FxHashSet<Uuid>, now: &Now) -> Result<()> {
    if !tasks.is_empty() {
        let args = [
            datum::int8(subscriber),
            datum::uuids(tasks),
            datum::timestamp(now.at),
        ];
        session.run(&WAKE, &args)?;
    }
    Ok(())
}
