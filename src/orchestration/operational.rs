//! The operational state of the whole system: what it is, changing it, and telling workers that nothing is handed out.
//!
//! The rules are tasker_rules::operations::operational. The state is the last row of tasker_engine.operational_changes; a claim reads
//! it below the planner and locks nothing, so that neither waits for the other.

use pgrx::pg_sys::{self, panic::ErrorReport};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use serde_json::json;
use tasker_rules::operations::operational::{Change, OperationalState};

use super::{Engine, waking};
use crate::error::{Error, Result};
use crate::pg::datum;
use crate::pg::installation::Kept;
use crate::pg::scan::Walk;
use crate::pg::spi::{Session, Statement};
use crate::storage;

/// The outcome or status that workers receive while the system hands out no work.
pub const DRAINING: &str = "draining";
/// The name under which the coordinator ends a startup.
const COORDINATOR: &str = "coordinator";

/// The last change that this session was told about.
static TOLD: Kept<i64> = Kept::new();

/// The state, and the number of the change that led to it.
#[derive(Clone, Copy)]
pub struct Current {
    pub state: OperationalState,
    change_no: i64,
}

/// The state now, as committed, or as this transaction has set it.
pub fn current() -> Result<Current> {
    match last_change()? {
        None => Ok(Current {
            state: OperationalState::INITIAL,
            change_no: 0,
        }),
        Some((change_no, state)) => Ok(Current {
            state: state
                .parse()
                .map_err(|_| Error::corrupt("the operational state is unknown to this library"))?,
            change_no,
        }),
    }
}

static LAST_CHANGE: Statement = Statement::new(
    "SELECT c.change_no, c.to_state FROM tasker_engine.operational_changes c ORDER BY c.change_no DESC LIMIT 1",
    &[],
);

/// The last change of the operational state, if there was one: its number and the state.
fn last_change() -> Result<Option<(i64, String)>> {
    use storage::operational_changes::{CHANGE_NO, TO_STATE};
    let Some(walk) = Walk::to_read(&storage::OPERATIONAL_CHANGES)? else {
        let session = Session::open()?;
        let rows = session.run(&LAST_CHANGE, &[])?;
        return rows
            .first()
            .map(|row| Ok((row.get(1)?, row.get(2)?)))
            .transpose();
    };
    let mut last = None;
    walk.each_from_end(|row| {
        last = Some((row.get(CHANGE_NO)?, row.get(TO_STATE)?));
        Ok(false)
    })?;
    Ok(last)
}

impl Current {
    /// `Some(self)` if the state forbids claims.
    pub fn closed(self) -> Option<Self> {
        (!self.state.hands_out_work()).then_some(self)
    }

    /// Says why a claim stays empty, once per session and change of state.
    pub fn tell_once(&self) {
        if TOLD.replace(self.change_no) != self.change_no {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
                format!("no work is handed out: the system is in state {}", self.state),
                "claim_steps",
            )
            .set_hint("Finish and report what you hold, and claim rarely; tasker.operational_state() shows when the state changes.")
            .report(PgLogLevel::NOTICE);
        }
    }
}

// Two sessions that change the state follow each other; a session that reads it waits for neither.
static LOCK: Statement = Statement::new(
    "LOCK TABLE tasker_engine.operational_changes IN SHARE UPDATE EXCLUSIVE MODE",
    &[],
);

static RECORD: Statement = Statement::new(
    "INSERT INTO tasker_engine.operational_changes (changed_at, from_state, to_state, changed_by, reason, forced)
     VALUES ($1, $2, $3, $4, $5, $6)
     RETURNING change_no",
    &[
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::BOOLOID,
    ],
);

static FORGET_OLD: Statement = Statement::new(
    "DELETE FROM tasker_engine.operational_changes o WHERE o.change_no <= $1",
    &[pg_sys::INT8OID],
);

static QUEUES: Statement = Statement::new(
    "SELECT q.queue_id FROM tasker_engine.queues q WHERE NOT q.paused",
    &[],
);

/// How many changes are kept.
const KEPT: i64 = 1000;

/// Changes the state on request and returns it. Undeclared changes need force, which warns.
pub fn set(
    engine: &mut Engine,
    to: OperationalState,
    by: &str,
    reason: Option<&str>,
    force: bool,
) -> Result<OperationalState> {
    engine.session.run(&LOCK, &[])?;
    let from = current()?.state;
    match from.change(to) {
        Change::None => return Ok(to),
        Change::Declared => record(engine, from, to, by, reason, false)?,
        Change::Undeclared if force => {
            record(engine, from, to, by, reason, true)?;
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_WARNING,
                format!("the system was forced from {from} to {to}"),
                "set_operational_state",
            )
            .set_detail(allowed(from))
            .report(PgLogLevel::WARNING);
        }
        Change::Undeclared => {
            return Err(
                Error::state(format!("the system cannot go from {from} to {to}"))
                    .detail(allowed(from))
                    .hint("Go through one of these states, or set force => true."),
            );
        }
    }
    Ok(to)
}

fn allowed(from: OperationalState) -> String {
    let names: Vec<&str> = from
        .next_states()
        .iter()
        .map(|state| state.as_str())
        .collect();
    format!("From {from} it can go to {}.", names.join(", "))
}

/// A coordinator starts, and a system in normal operation starts with it. A state that an operator has set (a shutdown, an
/// emergency, a stop) outlives the coordinator.
pub fn begin_startup(engine: &mut Engine) -> Result<OperationalState> {
    engine.session.run(&LOCK, &[])?;
    let from = current()?.state;
    if from != OperationalState::Normal {
        return Ok(from);
    }
    let to = OperationalState::Startup;
    record(
        engine,
        from,
        to,
        COORDINATOR,
        Some("a coordinator has started"),
        false,
    )?;
    Ok(to)
}

fn record(
    engine: &mut Engine,
    from: OperationalState,
    to: OperationalState,
    by: &str,
    reason: Option<&str>,
    forced: bool,
) -> Result<()> {
    let rows = engine.session.run(
        &RECORD,
        &[
            datum::timestamp(engine.now),
            datum::text(from.as_str()),
            datum::text(to.as_str()),
            datum::text(by),
            datum::opt_text(reason),
            datum::boolean(forced),
        ],
    )?;
    let change_no: i64 = rows
        .first()
        .ok_or_else(|| Error::corrupt("the change was not recorded"))?
        .get(1)?;
    engine
        .session
        .run(&FORGET_OLD, &[datum::int8(change_no - KEPT)])?;
    let mut fact = json!({"state": to.as_str(), "previous_state": from.as_str(), "changed_by": by});
    if let Some(reason) = reason {
        fact["reason"] = reason.into();
    }
    let name = "operational_state.changed";
    engine
        .events
        .fact(engine.now, name, to.as_str(), None, fact)?;
    if to.hands_out_work() && !from.hands_out_work() {
        // A worker that was woken before the system closed has found nothing to claim.
        waking::forget_notified();
        for row in engine.session.run(&QUEUES, &[])?.iter() {
            engine.queue_entries.released(row.get(1)?, None);
        }
    }
    Ok(())
}

static STARTUP_SINCE: Statement = Statement::new(
    "SELECT o.changed_at FROM tasker_engine.operational_changes o ORDER BY o.change_no DESC LIMIT 1",
    &[],
);

/// Startup lasts this long at least, so that executors can come up.
const STARTUP_US: i64 = 10_000_000;

/// Ends the startup once it has lasted a while: maintenance, which calls this, runs. Returns whether it did.
pub fn end_startup(engine: &mut Engine) -> Result<bool> {
    if current()?.state != OperationalState::Startup {
        return Ok(false);
    }
    engine.session.run(&LOCK, &[])?;
    let from = current()?.state;
    let since: i64 = engine
        .session
        .run(&STARTUP_SINCE, &[])?
        .first()
        .ok_or_else(|| Error::corrupt("a state that was set has a change"))?
        .get(1)?;
    if from != OperationalState::Startup || (0..STARTUP_US).contains(&(engine.now - since)) {
        return Ok(false);
    }
    let to = OperationalState::Normal;
    record(
        engine,
        from,
        to,
        COORDINATOR,
        Some("maintenance is at work"),
        false,
    )?;
    Ok(true)
}
