//! What every background process does alike: signals, waiting, transactions that survive an error, whose rights it has.

use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};

use super::shared::{self, Kind, State};
use crate::error::{Error, Result};
use crate::pg::call;
use crate::pg::datum::Timestamp;
use crate::pg::spi::{Session, Statement};
use crate::pg::{installation, rights, search_path};

/// Starts the process: PostgreSQL's own handlers, so that a running statement is interrupted by a fast shutdown, by
/// DROP DATABASE WITH (FORCE) and by pg_cancel_backend. `database` 0 is no database: shared catalogs only.
///
/// The process is in the shared list before it is connected: whoever wants the database alone finds it there, or it finds
/// the database held. If it may not be there it ends.
pub fn begin(kind: Kind, database: u32, pool: &str, worker_id: &str) {
    // SAFETY: called once at the start of a background process, as PostgreSQL's own processes do it.
    unsafe {
        attach(pg_sys::SIGTERM as i32, die);
        attach(pg_sys::SIGHUP as i32, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::before_shmem_exit(Some(leave), pg_sys::Datum::from(0));
        search_path::pin();
        if !shared::enter(kind, database, pool, worker_id) {
            // Only the launcher is started again by itself.
            pg_sys::proc_exit(i32::from(kind == Kind::Launcher));
        }
        if database == 0 {
            pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
        } else {
            pg_sys::BackgroundWorkerInitializeConnectionByOid(
                database.into(),
                pg_sys::InvalidOid,
                0,
            );
        }
    }
}

// Not pgrx's wrappers: a signal handler must not set a restore point.
unsafe extern "C-unwind" {
    fn die(signal: i32);
    fn SignalHandlerForConfigReload(signal: i32);
}

type Handler = unsafe extern "C-unwind" fn(i32);

unsafe fn attach(signal: i32, handler: Handler) {
    // SAFETY: a handler of PostgreSQL's own.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(signal, Some(handler));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn leave(_code: i32, _argument: pg_sys::Datum) {
    shared::leave();
}

/// Handles what was signalled; ends the process if it is to end.
pub fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
    // SAFETY: reads and clears PostgreSQL's own flag, as its processes do in their loops.
    unsafe {
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Waits until the latch is set or the time has passed. Ends the process with the postmaster.
pub fn wait(time: Duration) {
    report_activity(None);
    let milliseconds = time.as_millis().clamp(1, 3_600_000) as std::ffi::c_long;
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the process's own latch.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
        // A cancel that came after its statement had ended means nothing any more.
        (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
    }
    check_for_interrupts();
}

/// Whether this is a background process, and not somebody's session.
pub fn is_background() -> bool {
    // SAFETY: read of the backend's own variable.
    unsafe { !pg_sys::MyBgworkerEntry.is_null() }
}

/// What pg_stat_activity shows; `None`: idle.
pub fn report_activity(query: Option<&str>) {
    let text = query.and_then(|query| CString::new(query).ok());
    let (state, pointer) = match &text {
        Some(text) => (pg_sys::BackendState::STATE_RUNNING, text.as_ptr()),
        None => (pg_sys::BackendState::STATE_IDLE, std::ptr::null()),
    };
    // SAFETY: PostgreSQL copies the text.
    unsafe { pg_sys::pgstat_report_activity(state, pointer) };
}

/// Names the process in pg_stat_activity.
pub fn set_application_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: a setting that any session may change.
        unsafe {
            pg_sys::SetConfigOption(
                c"application_name".as_ptr(),
                name.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
            )
        };
    }
}

/// Runs the body in a transaction of its own, with the rights of the engine's owner. An error undoes it and is returned;
/// the process lives on. While the owner is not what it must be nothing is run.
pub fn transaction<T>(body: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    in_transaction(|session| {
        rights::require_sound_owner()?;
        body(session)
    })
}

fn in_transaction<T>(body: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: at the top level of a background process, outside of any transaction.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        installation::observe();
    }
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        let caller = rights::become_owner()?;
        // SAFETY: inside the transaction.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        let value = {
            let session = Session::open()?;
            body(&session)?
        };
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        caller.resume();
        Ok(value)
    }))
    .catch_others(|cause| Err(describe(cause)))
    .execute();
    if outcome.is_err() {
        // SAFETY: what is open is undone, with locks, snapshots and memory; the user of the start comes back.
        unsafe {
            disable_timeout(STATEMENT_TIMEOUT, false);
            pg_sys::AbortCurrentTransaction();
            pg_sys::SetUserIdAndSecContext(user, context);
        }
    }
    // SAFETY: outside of a transaction; else what the process did would show only when it ends.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::pgstat_report_stat(false);
        #[cfg(not(feature = "pg14"))]
        pg_sys::pgstat_report_stat(true);
    }
    outcome
}

fn describe(cause: CaughtError) -> Error {
    let report = match cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    };
    let mut error = Error::new(report.sql_error_code(), report.message());
    error.detail = report.detail().map(str::to_owned);
    error.hint = report.hint().map(str::to_owned);
    error
}

static EXTENSION: Statement = Statement::new(
    "SELECT e.oid, e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'tasker_ext'",
    &[],
);

/// The extension of this database: its oid, which a new CREATE EXTENSION changes, and its version.
pub fn extension(session: &Session) -> Result<Option<(u32, String)>> {
    let rows = session.read(&EXTENSION, &[])?;
    rows.first()
        .map(|row| Ok((row.get::<pg_sys::Oid>(1)?.to_u32(), row.get(2)?)))
        .transpose()
}

/// The extension, if it is there, and why nothing may be done with it, if so.
pub fn look() -> Result<Option<(u32, String, Result<()>)>> {
    in_transaction(|session| {
        Ok(extension(session)?
            .map(|(epoch, version)| (epoch, version, rights::require_sound_owner())))
    })
}

/// Writes an error of a background process into the server's log. That it may do nothing is said once, by the coordinator.
pub fn log_error(what: &str, error: &Error) {
    if !rights::is_refusal(error) {
        log_always(what, error);
    }
}

pub fn log_always(what: &str, error: &Error) {
    let detail = error.detail.as_deref().unwrap_or_default();
    let hint = error.hint.as_deref().unwrap_or_default();
    pgrx::log!("tasker_ext: {what}: {} {detail} {hint}", error.message);
}

/// Ends the process in order.
// Whether proc_exit is known not to return depends on the version of PostgreSQL.
#[allow(unreachable_code)]
pub fn end(code: i32) -> ! {
    shared::set_state(State::Stopping);
    // SAFETY: outside of a transaction.
    unsafe { pg_sys::proc_exit(code) };
    unreachable!("proc_exit does not return")
}

/// PostgreSQL's statement timeout around a part of a statement; one that is armed already and sooner stays.
pub struct Timeout {
    ends: Option<Timestamp>,
    before: Option<Timestamp>,
}

/// The ids of PostgreSQL's timeouts are the same in every version that is supported.
const STATEMENT_TIMEOUT: i32 = 3;

unsafe extern "C" {
    fn enable_timeout_after(id: i32, delay_ms: i32);
    fn enable_timeout_at(id: i32, at: Timestamp);
    fn disable_timeout(id: i32, keep_indicator: bool);
    fn get_timeout_active(id: i32) -> bool;
    fn get_timeout_finish_time(id: i32) -> Timestamp;
}

impl Timeout {
    /// 0: none.
    pub fn start(milliseconds: i32) -> Self {
        if milliseconds <= 0 {
            return Self {
                ends: None,
                before: None,
            };
        }
        // SAFETY: these only set timers, and raise nothing.
        unsafe {
            let before = get_timeout_active(STATEMENT_TIMEOUT)
                .then(|| get_timeout_finish_time(STATEMENT_TIMEOUT));
            let ends = call::clock() + i64::from(milliseconds) * 1000;
            let armed = before.is_none_or(|before| ends < before);
            if armed {
                disable_timeout(STATEMENT_TIMEOUT, false);
                enable_timeout_after(STATEMENT_TIMEOUT, milliseconds);
            }
            Self {
                ends: armed.then_some(ends),
                before,
            }
        }
    }

    /// Whether its time had come.
    pub fn stop(self) -> bool {
        let Some(ends) = self.ends else {
            return false;
        };
        // SAFETY: as above.
        unsafe {
            disable_timeout(STATEMENT_TIMEOUT, false);
            if let Some(before) = self.before {
                enable_timeout_at(STATEMENT_TIMEOUT, before);
            }
        }
        call::clock() >= ends
    }
}

/// Sends a signal to a process of this server.
pub fn signal(pid: i32, signal: i32) {
    unsafe extern "C" {
        fn kill(pid: i32, signal: i32) -> i32;
    }
    // SAFETY: a signal to a process of this server.
    unsafe { kill(pid, signal) };
}
