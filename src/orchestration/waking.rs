//! Waking idle workers: a NOTIFY per namespace, sent with the commit of the transaction that released a step.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgrx::pg_sys;

use super::operational;
use crate::error::Result;
use crate::metrics::{self, Metric};
use crate::pg::call;
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::Kept;
use crate::pg::notify::notify;
use crate::pg::scan::{Compare, Walk};
use crate::pg::spi::{Session, Statement};
use crate::pg::xact::{self, End, SavepointEnd};
use crate::storage;

static ANY_IDLE: Statement = Statement::new(
    "SELECT EXISTS (SELECT FROM tasker_engine.workers w WHERE w.idle_until > $1)",
    &[pg_sys::TIMESTAMPTZOID],
);

// The namespaces of these queues in which a worker waits for one of these handlers; key 0 stands for any. Where others cannot run them,
// the payload names those that can; otherwise it is empty.
static WAITING: Statement = Statement::new(
    "SELECT n.name, max(w.last_seen_at) FILTER (WHERE c.can),
            CASE WHEN bool_and(c.can) THEN ''
                 ELSE (jsonb_agg(w.worker_id ORDER BY w.worker_no) FILTER (WHERE c.can))::text END
     FROM tasker_engine.workers w
     JOIN tasker.task_namespaces n ON n.name = ANY (w.namespaces)
     CROSS JOIN LATERAL (
         SELECT bool_or(w.handler_keys IS NULL OR u.handler_key = 0 OR u.handler_key = ANY (w.handler_keys)) AS can
         FROM unnest($2, $3) AS u (queue_id, handler_key)
         JOIN tasker_engine.queues q ON q.queue_id = u.queue_id AND q.task_namespace_id = n.task_namespace_id) c
     WHERE w.idle_until > $1 AND c.can IS NOT NULL
     GROUP BY n.name
     HAVING bool_or(c.can)",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT8ARRAYOID,
    ],
);

/// At most one NOTIFY per namespace in this time, unless a worker became idle since the last one: each NOTIFY
/// serialises commits of the whole cluster.
const NOTIFY_EVERY_US: i64 = 50_000;
/// More than these are forgotten together.
const MOST_NOTIFIED: usize = 1000;
/// A longer list of workers, in bytes, is left out, which wakes all. PostgreSQL takes less than 8,000.
const LONGEST_PAYLOAD: usize = 4000;

/// A namespace and a payload. Another payload wakes other workers.
type Message = (String, String);

struct Wish {
    /// The level of the savepoint in which it arose.
    level: i32,
    /// The time of the call.
    now: Timestamp,
}

/// The last NOTIFY of each: its tick, and the time of the call.
static NOTIFIED: Kept<HashMap<Message, (i64, Timestamp)>> = Kept::new();
/// What this transaction sends when it commits. PREPARE drops it: PostgreSQL cannot keep a NOTIFY with a prepared transaction.
static WISHES: Kept<BTreeMap<Message, Wish>> = Kept::new();
std::thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The channel on which workers of a namespace are woken; at most 63 bytes, PostgreSQL's limit.
pub fn channel(namespace: &str) -> String {
    let mut name = format!("tasker_{namespace}");
    while name.len() > 63 {
        name.pop();
    }
    name
}

/// The next wake of each namespace is sent however short a time ago the last one was.
pub fn forget_notified() {
    NOTIFIED.clear();
}

/// Whether any worker waits for work; every call that leaves ready steps checks this.
fn any_idle(session: &Session, now: Timestamp) -> Result<bool> {
    let table = &storage::WORKERS;
    let Some(walk) = Walk::to_read(table)? else {
        let rows = session.run(&ANY_IDLE, &[datum::timestamp(now)])?;
        return Ok(rows.first().and_then(|row| row.opt(1)) == Some(true));
    };
    let mut idle = false;
    let later = walk.key(
        storage::workers::IDLE_UNTIL,
        Compare::Above,
        datum::timestamp(now),
    )?;
    walk.each([later], |_| {
        idle = true;
        Ok(false)
    })?;
    Ok(idle)
}

/// Notifies, at the commit, the namespaces of these queues in which an idle worker waits for one of these handlers.
pub fn wake(
    session: &Session,
    queues: &BTreeSet<(i32, Option<i64>)>,
    now: Timestamp,
) -> Result<()> {
    // Workers are not woken while the system hands out no work; the call that opens it again wakes all.
    if !any_idle(session, now)? || operational::current()?.closed().is_some() {
        return Ok(());
    }
    let waiting = session.run(
        &WAITING,
        &[
            datum::timestamp(now),
            datum::int4s(queues.iter().map(|(queue, _)| *queue)),
            datum::int8s(queues.iter().map(|(_, key)| key.unwrap_or(0))),
        ],
    )?;
    let tick = call::tick();
    for row in waiting.iter() {
        let (namespace, payload): (String, String) = (row.get(1)?, row.get(3)?);
        let payload = Some(payload).filter(|payload| payload.len() <= LONGEST_PAYLOAD);
        let message = (namespace, payload.unwrap_or_default());
        let idle_since: Timestamp = row.get(2)?;
        let due = NOTIFIED.with(|last| {
            last.get(&message)
                .is_none_or(|(at, last)| tick - at >= NOTIFY_EVERY_US || idle_since >= *last)
        });
        if due {
            wish(message, now);
        }
    }
    Ok(())
}

fn wish(message: Message, now: Timestamp) {
    if !REGISTERED.replace(true) {
        xact::before_each_commit(send);
        xact::at_each_savepoint(savepoint_ends);
        xact::at_each_end(transaction_ends);
    }
    let level = xact::level();
    WISHES.with(|wishes| {
        let wish = wishes.entry(message).or_insert(Wish { level, now });
        wish.now = now;
    });
}

fn send() {
    WISHES.with(|wishes| {
        for (namespace, payload) in wishes.keys() {
            notify(&channel(namespace), payload);
        }
        metrics::count(Metric::Notifies, wishes.len());
    });
}

fn savepoint_ends(end: SavepointEnd, level: i32) {
    WISHES.with(|wishes| match end {
        SavepointEnd::Release => wishes
            .values_mut()
            .for_each(|wish| wish.level = wish.level.min(level - 1)),
        SavepointEnd::Rollback => wishes.retain(|_, wish| wish.level < level),
    });
}

fn transaction_ends(end: End) {
    let wishes = WISHES.with(std::mem::take);
    if end != End::Commit || wishes.is_empty() {
        return;
    }
    let tick = call::tick();
    NOTIFIED.with(|notified| {
        if notified.len() + wishes.len() > MOST_NOTIFIED {
            notified.clear();
        }
        notified.extend(
            wishes
                .into_iter()
                .map(|(message, wish)| (message, (tick, wish.now))),
        );
    });
}
