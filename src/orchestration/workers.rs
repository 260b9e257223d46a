//! Worker processes: their short number, and whether they wait idle.

use std::cell::Cell;
use std::collections::HashMap;

use pgrx::{PgSqlErrorCode as Code, pg_sys};

use crate::error::{Error, Result};
use crate::orchestration::claim::ClaimRequest;
use crate::orchestration::claimants::Claimant;
use crate::pg::call::{self, shortened};
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::Kept;
use crate::pg::lock::BoundedWait;
use crate::pg::spi::{Row, Session, Statement};
use crate::pg::xact::{self, End, SavepointEnd};

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

// Nothing where an open transaction of another session has the row: a claim does not wait for it.
static SEEN: Statement = Statement::new(
    "UPDATE tasker_engine.workers SET last_seen_at = $2, namespaces = $3, idle_until = $4, handler_keys = $5, ended_at = NULL
     WHERE worker_no = (SELECT o.worker_no FROM tasker_engine.workers o WHERE o.worker_no = $1 FOR NO KEY UPDATE SKIP LOCKED)
     RETURNING worker_no",
    &[
        pg_sys::INT4OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8ARRAYOID,
    ],
);

static EXISTS: Statement = Statement::new(
    "SELECT w.worker_no FROM tasker_engine.workers w WHERE w.worker_no = $1",
    &[pg_sys::INT4OID],
);

// For a number whose row is gone: duty_workers removed it, or its transaction was rolled back after PREPARE. Where another session
// has registered the id again, the claim is repeated with that number; where the role has lost its number too, both get new ones.
static RESTORE: Statement = Statement::new(
    "INSERT INTO tasker_engine.workers (worker_no, worker_id, claimant_no)
     SELECT $1, $2, $3
     WHERE $3 = 0 OR EXISTS (SELECT FROM tasker_engine.claimants c WHERE c.claimant_no = $3)
     ON CONFLICT DO NOTHING",
    &[pg_sys::INT4OID, pg_sys::TEXTOID, pg_sys::INT2OID],
);

static END: Statement = Statement::new(
    "UPDATE tasker_engine.workers SET ended_at = $2, idle_until = NULL
     WHERE worker_no = (SELECT o.worker_no FROM tasker_engine.workers o WHERE o.worker_id = $1 FOR NO KEY UPDATE SKIP LOCKED)",
    &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
);

/// An idle worker is expected to come back within this time; its registration is renewed at half of it.
const IDLE_US: i64 = 60_000_000;
/// How often a busy worker's last_seen_at is brought up to date.
const SEEN_EVERY_US: i64 = 10_000_000;
/// A number is looked up again after this time: duty_workers removes no row of a worker that has ended less than a minute ago.
const TRUSTED_US: i64 = 30_000_000;
/// More than these are forgotten together.
const MOST_KNOWN: usize = 1000;
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
    /// The transaction that wrote its row and was prepared. Until that ends the row is locked or cannot be seen, and afterwards it is
    /// there or not.
    prepared: Option<u32>,
}

static KNOWN: Kept<HashMap<String, Known>> = Kept::new();
/// The workers about which this transaction has changed what the backend knows.
static LEARNED: Kept<Vec<String>> = Kept::new();
std::thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
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
        Some((known.worker, known.prepared, known.found_at))
    });
    match known {
        Some((worker, Some(xid), _)) if xact::is_in_progress(xid) => return Ok(Some(worker)),
        Some((worker, Some(_), _)) => {
            KNOWN.with(|known| known.remove(worker_id));
            restore(session, worker_id, worker)?;
        }
        Some((worker, None, found_at)) if call::tick() - found_at < TRUSTED_US => {
            return Ok(Some(worker));
        }
        _ => {}
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

/// Whether a prepared transaction of this session wrote the row of the worker.
fn is_prepared(worker_id: &str) -> bool {
    KNOWN.with(|known| {
        known
            .get(worker_id)
            .is_some_and(|known| known.prepared.is_some())
    })
}

/// Writes the row of a known number again if it is gone.
fn restore(session: &Session, worker_id: &str, worker: Worker) -> Result<()> {
    learn(worker_id);
    // Another session may register the id at this moment.
    let _bounded = BoundedWait::begin();
    session.run(
        &RESTORE,
        &[
            datum::int4(worker.no),
            datum::text(worker_id),
            datum::int2(worker.claimant),
        ],
    )?;
    Ok(())
}

/// The worker has said that it ends. Its next claim looks for its row. While another session has the row, it stays as it is: a worker
/// that does not call any more is silent after two minutes.
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
        } else if is_prepared(worker_id) {
            Err(Error::state(format!(
                "worker {} was registered in a transaction that is prepared",
                shortened(worker_id)
            ))
            .detail("So was its role, which had not claimed before.")
            .hint("COMMIT PREPARED or ROLLBACK PREPARED first; pg_prepared_xacts lists it."))
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
    learn(worker_id);
    let rows = {
        // A row that another session has not committed cannot be seen; the index alone knows it.
        let _bounded = BoundedWait::begin();
        session.run(&REGISTER, &[datum::text(worker_id), datum::int2(number)])?
    };
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
            prepared: None,
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
    let known = KNOWN.with(|known| {
        // A prepared transaction may hold the row for long, and a claim waits for no other transaction.
        let known = known
            .get(worker_id)
            .filter(|known| known.prepared.is_none())?;
        // A worker that now waits for other handlers does not wait yet.
        let idle_until = known
            .idle_until
            .filter(|_| !idle || known.handlers == handlers);
        Some((known.worker, idle_until, known.seen_at))
    });
    let Some((worker, idle_until, seen_at)) = known else {
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
    learn(worker_id);
    if session.run(&SEEN, &args)?.first().is_none() {
        if session.run(&EXISTS, &args[..1])?.first().is_some() {
            // The next claim tries again; nothing but the time of the last call is missing until then.
            return Ok(());
        }
        restore(session, worker_id, worker)?;
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
                prepared: None,
            },
        );
    });
    Ok(())
}

/// This transaction changes what the backend knows about a worker; that is forgotten if it is rolled back.
fn learn(worker_id: &str) {
    if !REGISTERED.replace(true) {
        xact::at_each_savepoint(|end, _| {
            if end == SavepointEnd::Rollback && LEARNED.with(|learned| !learned.is_empty()) {
                KNOWN.clear();
            }
        });
        xact::at_each_end(|end| {
            let learned = LEARNED.with(std::mem::take);
            match end {
                End::Abort if !learned.is_empty() => KNOWN.clear(),
                End::Abort | End::Commit => {}
                End::Prepare => doubt(&learned),
            }
        });
    }
    LEARNED.with(|learned| {
        if !learned.iter().any(|known| known == worker_id) {
            learned.push(worker_id.to_owned());
        }
    });
}

fn doubt(workers: &[String]) {
    let xid = xact::top_xid();
    KNOWN.with(|known| {
        for worker_id in workers {
            if let Some(known) = known.get_mut(worker_id) {
                known.prepared = Some(xid);
            }
        }
    });
}
