//! Worker processes: their short number, whether they wait idle, and waking them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::ffi::c_void;

use pgrx::{PgXactCallbackEvent, pg_sys, register_xact_callback};

use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::orchestration::operational;
use crate::pg::datum::{self, Timestamp};
use crate::pg::scan;
use crate::pg::spi::{Session, Statement};

static FIND: Statement = Statement::new(
    "SELECT w.worker_no FROM tasker_engine.workers w WHERE w.worker_id = $1",
    &[pg_sys::TEXTOID],
);

static REGISTER: Statement = Statement::new(
    "INSERT INTO tasker_engine.workers (worker_id) VALUES ($1)
     ON CONFLICT (worker_id) DO UPDATE SET last_seen_at = pg_catalog.clock_timestamp()
     RETURNING worker_no",
    &[pg_sys::TEXTOID],
);

static SEEN: Statement = Statement::new(
    "UPDATE tasker_engine.workers SET last_seen_at = $2, namespaces = $3, idle_until = $4 WHERE worker_no = $1",
    &[
        pg_sys::INT4OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

// The namespaces of these queues in which somebody waits.
static WAITING: Statement = Statement::new(
    "SELECT n.name, max(w.last_seen_at)
     FROM tasker_engine.workers w, tasker_engine.queues q, tasker.task_namespaces n
     WHERE w.idle_until > $1 AND q.queue_id = ANY ($2)
       AND n.task_namespace_id = q.task_namespace_id AND n.name = ANY (w.namespaces)
     GROUP BY n.name",
    &[pg_sys::TIMESTAMPTZOID, pg_sys::INT4ARRAYOID],
);

static NOTIFY: Statement =
    Statement::new("SELECT pg_catalog.pg_notify($1, '')", &[pg_sys::TEXTOID]);

/// An idle worker is expected to come back within this time; its registration is renewed at half of it.
const IDLE_US: i64 = 60_000_000;
/// How often a busy worker's last_seen_at is brought up to date.
const SEEN_EVERY_US: i64 = 10_000_000;
/// At most one NOTIFY per namespace in this time, unless somebody became idle since the last one: each NOTIFY
/// serialises commits of the whole cluster.
const NOTIFY_EVERY_US: i64 = 50_000;

struct Known {
    worker_no: i32,
    idle_until: Option<Timestamp>,
    seen_at: Timestamp,
}

thread_local! {
    static KNOWN: RefCell<HashMap<String, Known>> = RefCell::new(HashMap::new());
    static NOTIFIED: RefCell<HashMap<String, Timestamp>> = RefCell::new(HashMap::new());
    /// Whether the transaction has told this backend something of workers.
    static CALLBACK: Cell<bool> = const { Cell::new(false) };
    static SAVEPOINTS: Cell<bool> = const { Cell::new(false) };
}

/// Forgets every worker: their rows may be gone.
pub fn forget() {
    KNOWN.with_borrow_mut(HashMap::clear);
    NOTIFIED.with_borrow_mut(HashMap::clear);
}

/// The channel on which workers of a namespace are woken; at most 63 bytes, as PostgreSQL wants it.
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

/// The number of a worker that is known already.
pub fn find(session: &Session, worker_id: &str) -> Result<Option<i32>> {
    if let Some(worker_no) =
        KNOWN.with_borrow(|known| known.get(worker_id).map(|known| known.worker_no))
    {
        return Ok(Some(worker_no));
    }
    let rows = session.run(&FIND, &[datum::text(worker_id)])?;
    rows.first().map(|row| row.get(1)).transpose()
}

/// The number of a worker; a new one is registered.
pub fn number(session: &Session, worker_id: &str) -> Result<i32> {
    let worker_no = match find(session, worker_id)? {
        Some(worker_no) => worker_no,
        None => {
            forget_on_abort();
            let rows = session.run(&REGISTER, &[datum::text(worker_id)])?;
            rows.first()
                .ok_or_else(|| Error::corrupt("the worker was not registered"))?
                .get(1)?
        }
    };
    KNOWN.with_borrow_mut(|known| {
        known.entry(worker_id.to_owned()).or_insert(Known {
            worker_no,
            idle_until: None,
            seen_at: 0,
        });
    });
    Ok(worker_no)
}

/// Remembers for NOTIFY whether the worker goes away empty-handed. Writes only when that changes, or seldom.
pub fn seen(
    session: &Session,
    worker_id: &str,
    namespaces: &[String],
    idle: bool,
    now: Timestamp,
) -> Result<()> {
    let Some((worker_no, idle_until, seen_at)) = KNOWN.with_borrow(|known| {
        known
            .get(worker_id)
            .map(|known| (known.worker_no, known.idle_until, known.seen_at))
    }) else {
        return Ok(());
    };
    let fresh = match (idle, idle_until) {
        (true, Some(until)) => until - now > IDLE_US / 2,
        (true, None) | (false, Some(_)) => false,
        (false, None) => now - seen_at < SEEN_EVERY_US,
    };
    if fresh {
        return Ok(());
    }
    let idle_until = idle.then_some(now + IDLE_US);
    session.run(
        &SEEN,
        &[
            datum::int4(worker_no),
            datum::timestamp(now),
            datum::texts(namespaces.iter().map(|name| Some(name.as_str()))),
            idle_until.and_then(datum::timestamp),
        ],
    )?;
    forget_on_abort();
    KNOWN.with_borrow_mut(|known| {
        known.insert(
            worker_id.to_owned(),
            Known {
                worker_no,
                idle_until,
                seen_at: now,
            },
        );
    });
    Ok(())
}

/// What this backend believes of workers may stem from the transaction or the savepoint that is being rolled back.
fn forget_on_abort() {
    if !SAVEPOINTS.replace(true) {
        // SAFETY: it lives as long as the backend.
        unsafe { pg_sys::RegisterSubXactCallback(Some(savepoint_ends), std::ptr::null_mut()) };
    }
    if !CALLBACK.replace(true) {
        register_xact_callback(PgXactCallbackEvent::Abort, || {
            CALLBACK.set(false);
            forget();
        });
        register_xact_callback(PgXactCallbackEvent::Commit, || CALLBACK.set(false));
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn savepoint_ends(
    event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB && CALLBACK.get() {
        forget();
    }
}

/// Notifies the namespaces of these queues in which an idle worker waits.
pub fn wake(session: &Session, queues: &BTreeSet<i32>, now: Timestamp) -> Result<()> {
    // Nobody is woken to be told that there is nothing for him; who opens the system again wakes all.
    if !scan::anybody_idle(now)? || operational::current()?.closed().is_some() {
        return Ok(());
    }
    let waiting = session.run(
        &WAITING,
        &[datum::timestamp(now), datum::int4s(queues.iter().copied())],
    )?;
    for row in waiting.iter() {
        let namespace: String = row.get(1)?;
        let idle_since: Timestamp = row.get(2)?;
        let due = NOTIFIED.with_borrow(|last| {
            last.get(&namespace)
                .is_none_or(|last| now - last >= NOTIFY_EVERY_US || idle_since >= *last)
        });
        if due {
            session.run(&NOTIFY, &[datum::text(&channel(&namespace))])?;
            metrics::count(Metric::Notifies, 1);
            NOTIFIED.with_borrow_mut(|last| last.insert(namespace, now));
        }
    }
    Ok(())
}
