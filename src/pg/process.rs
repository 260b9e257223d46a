//! The process of a background worker: signals, waiting, transactions that survive an error, timeouts, its end.

use std::ffi::{CStr, CString, c_long};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgTryBuilder, pg_sys};

use crate::error::{Error, Result};
use crate::pg::call;
use crate::pg::datum::Timestamp;
use crate::pg::spi::Session;
use crate::pg::{installation, rights, search_path};

/// Exports `$body` as the function by which PostgreSQL starts a background worker; it is given the worker's argument.
macro_rules! background_process {
    ($name:ident => $body:path) => {
        // For the export of a name that no other symbol has.
        #[allow(unsafe_code)]
        const _: () = {
            #[unsafe(no_mangle)]
            #[pgrx::pg_guard]
            pub extern "C-unwind" fn $name(argument: pgrx::pg_sys::Datum) {
                $body(argument.value() as u32);
            }
        };
    };
}
pub(crate) use background_process;

/// Starts the process: PostgreSQL's own handlers, so that a running statement is interrupted by a fast shutdown, by
/// DROP DATABASE WITH (FORCE) and by pg_cancel_backend. `database` 0 is no database: shared catalogs only.
///
/// Before the process connects, it asks whether it may; if not, it ends with the given code. `leave` is called at every
/// kind of end.
pub fn begin(database: u32, leave: fn(), enter: impl FnOnce() -> std::result::Result<(), i32>) {
    // SAFETY: called once at the start of a background process, as PostgreSQL's own processes do it.
    unsafe {
        attach(pg_sys::SIGTERM as i32, die);
        attach(pg_sys::SIGHUP as i32, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(leave as usize));
        search_path::pin();
        if let Err(code) = enter() {
            pg_sys::proc_exit(code);
        }
        if database == 0 {
            pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
        } else {
            pg_sys::BackgroundWorkerInitializeConnectionByOid(
                database.into(),
                pg_sys::InvalidOid,
                0,
            );
            pin_settings();
        }
    }
}

/// What defaults of the database must not change in a background process: whether it can work, and for how long. Statements of
/// handlers see these values too. Its own statements are short: to compile them would take longer than to run them.
const PINNED: [(&CStr, &CStr); 11] = [
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"statement_timeout", c"0"),
    (c"lock_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"role", c"none"),
    (c"session_replication_role", c"origin"),
    (c"row_security", c"on"),
    (c"temp_file_limit", c"-1"),
    (c"jit", c"off"),
];

fn pin_settings() {
    for (name, value) in PINNED {
        // SAFETY: outside of a transaction, as a superuser; the values are valid in every version.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
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
unsafe extern "C-unwind" fn at_exit(_code: i32, leave: pg_sys::Datum) {
    // SAFETY: begin gave a function of this type.
    let leave = unsafe { std::mem::transmute::<usize, fn()>(leave.value()) };
    leave();
}

/// Handles pending signals; ends the process if it was asked to end.
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
    let milliseconds = time.as_millis().clamp(1, 3_600_000) as c_long;
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
        // A cancel that arrives after its statement has ended has no effect.
        (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
    }
    check_for_interrupts();
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

/// Runs the body in a transaction of its own, with the rights of the engine's owner. An error undoes it and is returned; the
/// process lives on.
pub fn transaction<T>(body: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: at the top level of a background process, outside of any transaction.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
    installation::observe();
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        let caller = rights::become_owner()?;
        // SAFETY: inside the transaction.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
        let value = {
            let session = Session::open()?;
            body(&session)?
        };
        // SAFETY: at the top of the transaction again, with the snapshot of above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        caller.resume();
        Ok(value)
    }))
    .catch_others(|cause| Err(describe(&cause)))
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

pub(super) fn describe(cause: &CaughtError) -> Error {
    let report = match cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    };
    let mut error = Error::new(report.sql_error_code(), report.message());
    error.detail = report.detail().map(str::to_owned);
    error.hint = report.hint().map(str::to_owned);
    error
}

/// Ends the process in order; outside of a transaction.
// Whether proc_exit is known not to return depends on the version of PostgreSQL.
#[allow(unreachable_code)]
pub fn end(code: i32) -> ! {
    // SAFETY: plain call.
    unsafe { pg_sys::proc_exit(code) };
    unreachable!("proc_exit does not return")
}

/// PostgreSQL's statement timeout around a part of a statement; an earlier one that is already armed stays.
pub struct Timeout {
    /// In ticks.
    ends: Option<i64>,
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
            let tick_ends = call::tick() + i64::from(milliseconds) * 1000;
            let armed = before.is_none_or(|before| ends < before);
            if armed {
                disable_timeout(STATEMENT_TIMEOUT, false);
                enable_timeout_after(STATEMENT_TIMEOUT, milliseconds);
            }
            Self {
                ends: armed.then_some(tick_ends),
                before,
            }
        }
    }

    /// Whether the timeout was reached.
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
        call::tick() >= ends
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
