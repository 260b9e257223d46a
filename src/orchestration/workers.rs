//! Worker processes: their short number, whether they wait idle, and waking them.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

use pgrx::{PgSqlErrorCode as Code, pg_sys};

use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::orchestration::claim::ClaimRequest;
use crate::orchestration::claimants::Claimant;
use crate::orchestration::operational;
use crate::pg::call::{self, shortened};
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::Kept;
use crate::pg::scan::{Compare, Walk};
use crate::pg::spi::{Row, Session, Statement};
use crate::pg::xact::{self, End, SavepointEnd};
use crate::storage;

static FIND: Statement = Statement::new(
    "SELECT w.worker_no, w.claimant_no FROM tasker_engine.workers w WHERE w.worker_id = $1",
    &[pg_sys::TEXTOID],
);

static REGISTER: Statement = Statement::new(
    "INSERT INTO tasker_engine.workers AS w (worker_id, claimant_no) VALUES ($1, $2)
     ON CONFLICT (worker_id) DO UPDATE
     SET last_seen_at = clock_timestamp(), ended_at = NULL, claimant_no = coalesce(w.claimant_no, excluded.claimant_no)
     RETURNING w.worker_no, w.claimant_no",
    &[pg_sys::TEXTOID, pg_sys::INT2OID],
);

static SEEN: Statement = Statement::new(
    "UPDATE tasker_engine.workers SET last_seen_at = $2, namespaces = $3, idle_until = $4, handler_keys = $5, ended_at = NULL
     WHERE worker_no = $1
     RETURNING worker_no",
    &[
        pg_sys::INT4OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8ARRAYOID,
    ],
);

// For a number whose row is gone: duty_workers removed it, or its transaction was rolled back after PREPARE. Where another session
// has registered the id again, the claim is repeated with that number.
static RESTORE: Statement = Statement::new(
    "INSERT INTO tasker_engine.workers (worker_no, worker_id, claimant_no) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    &[pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::INT2OID],
);

static END: Statement = Statement::new(
    "UPDATE tasker_engine.workers SET ended_at = $2, idle_until = NULL WHERE worker_id = $1",
    &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

// The namespaces of these queues in which a worker waits for one of these handlers; key 0 stands for any. Where others cannot run them, the payload
// names those that do not, as far as it has room; otherwise it is empty.
static WAITING: Statement = Statement::new(
    "SELECT n.name, max(w.last_seen_at) FILTER (WHERE c.can),
            CASE WHEN bool_and(c.can) OR pg_column_size(jsonb_agg(w.worker_id) FILTER (WHERE c.can)) > 4000 THEN ''
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

static NOTIFY: Statement = Statement::new(
    "SELECT pg_notify($1, $2)",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

/// An idle worker is expected to come back within this time; its registration is renewed at half of it.
const IDLE_US: i64 = 60_000_000;
/// How often a busy worker's last_seen_at is brought up to date.
const SEEN_EVERY_US: i64 = 10_000_000;
/// A number is looked up again after this time: duty_workers removes no row of a worker that has ended less than a minute ago.
const TRUSTED_US: i64 = 30_000_000;
/// More than these are forgotten together.
const MOST_KNOWN: usize = 1000;
/// At most one NOTIFY per namespace in this time, unless a worker became idle since the last one: each NOTIFY
/// serialises commits of the whole cluster.
const NOTIFY_EVERY_US: i64 = 50_000;

/// A worker, and the number of the role that claims under its id.
#[derive(Clone, Copy)]
pub struct Worker {
    pub no: i32,
    pub claimant: i16,
}

/// The worker that holds steps which an operator started by hand.
pub const MANUAL_WORKER: &str = "manual";
/// The prefix of the ids of the engine's own workers.
const OWN_PREFIXES: [&str; 2] = ["tasker-executor/", "run_steps/"];

struct Known {
    worker: Worker,
    /// The tick at which its row was last seen.
    found_at: i64,
    /// Ticks.
    idle_until: Option<i64>,
    /// The handlers that it waits for: Wanted::number.
    handlers: u64,
    seen_at: Option<i64>,
}

static KNOWN: Kept<HashMap<String, Known>> = Kept::new();
/// The last NOTIFY of a namespace with a payload: its tick, and the time of the call.
static NOTIFIED: Kept<HashMap<(String, String), (i64, Timestamp)>> = Kept::new();
/// More than these are forgotten together.
const MOST_NOTIFIED: usize = 1000;
std::thread_local! {
    /// Whether the transaction has changed what this backend knows about workers.
    static LEARNED: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Forgets every worker: their rows may have been rolled back.
fn forget() {
    KNOWN.clear();
    NOTIFIED.clear();
}

/// The next wake of each namespace is sent however short a time ago the last one was.
pub fn forget_notified() {
    NOTIFIED.clear();
}

/// The channel on which workers of a namespace are woken; at most 63 bytes, PostgreSQL's limit.
pub fn channel(namespace: &str) -> String {
    let mut name = format!("tasker_{namespace}");
    while name.len() > 63 {
        name.pop();
    }
    name
}

pub fn check_id(worker_id: &str) -> Result<()> {
    if worker_id.trim().is_empty() {
        return Err(Error::parameter("worker_id must not be empty")
            .detail("The call gave an empty or blank worker_id.")
            .hint("Use a name that is unique for each start of a worker process, such as host-pid-random."));
    }
    if worker_id.chars().count() > 255 {
        return Err(
            Error::parameter("worker_id must have at most 255 characters")
                .detail(format!("It has {}.", worker_id.chars().count()))
                .hint("Host, process id and a short random part are enough."),
        );
    }
    Ok(())
}

/// A worker that has claimed before.
fn find(session: &Session, worker_id: &str) -> Result<Option<Worker>> {
    let known = KNOWN.with(|known| {
        let known = known.get(worker_id)?;
        (call::tick() - known.found_at < TRUSTED_US).then_some(known.worker)
    });
    if known.is_some() {
        return Ok(known);
    }
    let rows = session.run(&FIND, &[datum::text(worker_id)])?;
    let found = rows.first().map_or(Ok(None), |row| worker(&row))?;
    KNOWN.with(|known| match (known.get_mut(worker_id), found) {
        (Some(known), Some(found)) if known.worker.no == found.no => known.found_at = call::tick(),
        _ => {
            known.remove(worker_id);
        }
    });
    Ok(found)
}

/// The worker has said that it ends. Its next claim looks for its row.
pub fn end(session: &Session, worker_id: &str, now: Timestamp) -> Result<()> {
    KNOWN.with(|known| known.remove(worker_id));
    session.run(&END, &[datum::text(worker_id), datum::timestamp(now)])?;
    Ok(())
}

/// A worker that has only announced handlers belongs to no role yet.
fn worker(row: &Row) -> Result<Option<Worker>> {
    let no = row.get(1)?;
    Ok(row.opt(2).map(|claimant| Worker { no, claimant }))
}

/// The number of a worker whose leases the caller may extend and give back (42501). `None`: it has claimed nothing.
pub fn handled(session: &Session, claimant: &Claimant, worker_id: &str) -> Result<Option<i32>> {
    match find(session, worker_id)? {
        Some(worker) if !claimant.may_handle(session, worker.claimant)? => Err(foreign(worker_id)
            .hint("Call as the role that claims under this worker_id, as a member of it, or as a member of tasker_operator.")),
        found => Ok(found.map(|worker| worker.no)),
    }
}

/// The worker as which the caller claims; a new one is registered. 42501 where another role claims under the id.
pub fn claiming(session: &Session, claimant: &Claimant, worker_id: &str) -> Result<Worker> {
    let mine = |worker: Worker| {
        if claimant.owns(session, worker.claimant)? {
            Ok(worker)
        } else {
            Err(foreign(worker_id)
                .hint("Use another worker_id: one for each start of a worker process, such as host-pid-random."))
        }
    };
    if let Some(worker) = find(session, worker_id)? {
        mine(worker)?;
        remember(worker_id, worker);
        return Ok(worker);
    }
    let engines = worker_id == MANUAL_WORKER
        || OWN_PREFIXES
            .iter()
            .any(|prefix| worker_id.starts_with(prefix));
    if engines && !claimant.is_engine() {
        return Err(foreign(worker_id)
            .detail("The engine itself claims under such ids.")
            .hint("Use another worker_id, such as host-pid-random."));
    }
    let number = claimant.number(session)?;
    forget_on_abort();
    let rows = session.run(&REGISTER, &[datum::text(worker_id), datum::int2(number)])?;
    let worker = rows
        .first()
        .map_or(Ok(None), |row| worker(&row))?
        .ok_or_else(|| Error::corrupt("the worker was not registered"))?;
    if worker.claimant != number {
        mine(worker)?;
    }
    remember(worker_id, worker);
    Ok(worker)
}

fn remember(worker_id: &str, worker: Worker) {
    KNOWN.with(|known| {
        if known.len() >= MOST_KNOWN && !known.contains_key(worker_id) {
            known.clear();
        }
        known.entry(worker_id.to_owned()).or_insert(Known {
            worker,
            found_at: call::tick(),
            idle_until: None,
            handlers: 0,
            seen_at: None,
        });
    });
}

fn foreign(worker_id: &str) -> Error {
    Error::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("worker {} belongs to another role", shortened(worker_id)),
    )
    .detail("The first role that claims under a worker_id is the only one that does.")
}

/// Remembers for NOTIFY whether the worker got no step. Writes only when that changes, or rarely.
pub fn seen(session: &Session, request: &ClaimRequest, idle: bool, now: Timestamp) -> Result<()> {
    let worker_id = request.worker_id.as_str();
    let handlers = request.handlers.number();
    let Some((worker, idle_until, seen_at)) = KNOWN.with(|known| {
        known.get(worker_id).map(|known| {
            // A worker that now waits for other handlers does not wait yet.
            let idle_until = known
                .idle_until
                .filter(|_| !idle || known.handlers == handlers);
            (known.worker, idle_until, known.seen_at)
        })
    }) else {
        return Ok(());
    };
    let tick = call::tick();
    let fresh = match (idle, idle_until) {
        (true, Some(until)) => until - tick > IDLE_US / 2,
        (true, None) | (false, Some(_)) => false,
        (false, None) => seen_at.is_some_and(|seen_at| tick - seen_at < SEEN_EVERY_US),
    };
    if fresh {
        return Ok(());
    }
    let args = [
        datum::int4(worker.no),
        datum::timestamp(now),
        datum::texts(request.namespaces.iter().map(|name| Some(name.as_str()))),
        datum::opt(idle.then_some(now + IDLE_US), datum::timestamp),
        request.handlers.args()[0],
    ];
    forget_on_abort();
    if session.run(&SEEN, &args)?.first().is_none() {
        session.run(
            &RESTORE,
            &[
                datum::int4(worker.no),
                datum::text(worker_id),
                datum::int2(worker.claimant),
            ],
        )?;
        if session.run(&SEEN, &args)?.first().is_none() {
            KNOWN.with(|known| known.remove(worker_id));
            return Err(Error::new(
                Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
                format!(
                    "worker {} was registered again meanwhile",
                    shortened(worker_id)
                ),
            )
            .detail(
                "Its row was removed, and another session registered the id under another number.",
            )
            .hint("Claim again."));
        }
    }
    KNOWN.with(|known| {
        known.insert(
            worker_id.to_owned(),
            Known {
                worker,
                found_at: tick,
                idle_until: idle.then_some(tick + IDLE_US),
                handlers,
                seen_at: Some(tick),
            },
        );
    });
    Ok(())
}

/// What this backend knows about workers may come from the transaction or savepoint that is being rolled back.
fn forget_on_abort() {
    if !REGISTERED.replace(true) {
        xact::at_each_savepoint(|end, _| {
            if end == SavepointEnd::Rollback && LEARNED.get() {
                forget();
            }
        });
        xact::at_each_end(|end| match end {
            // What was prepared may still be rolled back; usually the session's next transaction ends it.
            End::Prepare => {}
            End::Commit => LEARNED.set(false),
            End::Abort => {
                if LEARNED.replace(false) {
                    forget();
                }
            }
        });
    }
    LEARNED.set(true);
}

static ANY_IDLE: Statement = Statement::new(
    "SELECT EXISTS (SELECT FROM tasker_engine.workers w WHERE w.idle_until > $1)",
    &[pg_sys::TIMESTAMPTZOID],
);

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

/// Notifies the namespaces of these queues in which an idle worker waits for one of these handlers.
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
        let namespace: String = row.get(1)?;
        let idle_since: Timestamp = row.get(2)?;
        let payload: String = row.get(3)?;
        // Another payload has woken other workers.
        let place = (namespace, payload);
        let due = NOTIFIED.with(|last| {
            if last.len() >= MOST_NOTIFIED {
                last.clear();
            }
            last.get(&place)
                .is_none_or(|(at, last)| tick - at >= NOTIFY_EVERY_US || idle_since >= *last)
        });
        if due {
            let (channel, payload) = (channel(&place.0), place.1.as_str());
            session.run(&NOTIFY, &[datum::text(&channel), datum::text(payload)])?;
            metrics::count(Metric::Notifies, 1);
            NOTIFIED.with(|last| last.insert(place, (tick, now)));
        }
    }
    Ok(())
}
