//! Messages for the server's log, for the client, or for both, as PostgreSQL's level alone cannot say it.

use std::ffi::c_int;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode as Code, pg_sys};

/// PostgreSQL's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Log,
    Warning,
}

impl Severity {
    const fn level(self) -> PgLogLevel {
        match self {
            Self::Log => PgLogLevel::LOG,
            Self::Warning => PgLogLevel::WARNING,
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::Log => Code::ERRCODE_SUCCESSFUL_COMPLETION,
            Self::Warning => Code::ERRCODE_WARNING,
        }
    }
}

/// Writes a message to the log and to the client, as the settings of both say.
pub fn to_all(severity: Severity, message: &str) {
    ErrorReport::new(severity.code(), message.to_owned(), "tasker_ext").report(severity.level());
}

/// Writes a message to the log alone, without the statement and the functions in which it arises.
pub fn to_server(severity: Severity, message: &str) {
    let level = match severity {
        Severity::Log => PgLogLevel::LOG_SERVER_ONLY,
        Severity::Warning => PgLogLevel::WARNING,
    };
    // SAFETY: PostgreSQL's own variables.
    let _quiet = unsafe {
        (
            Instead::of(&raw mut pg_sys::client_min_messages, pg_sys::PANIC as c_int),
            Instead::of(
                &raw mut pg_sys::log_min_error_statement,
                pg_sys::PANIC as c_int,
            ),
            Instead::of(&raw mut pg_sys::error_context_stack, std::ptr::null_mut()),
        )
    };
    report(level, severity.code(), message);
}

/// Warns the client alone.
pub fn to_client(message: &str) {
    // SAFETY: PostgreSQL's own variable.
    let _quiet = unsafe { Instead::of(&raw mut pg_sys::log_min_messages, pg_sys::PANIC as c_int) };
    report(PgLogLevel::WARNING, Code::ERRCODE_WARNING, message);
}

fn report(level: PgLogLevel, code: Code, message: &str) {
    let message = message.replace('\0', "");
    // SAFETY: an error in it, say for lack of memory, becomes a panic of Rust, which gives the variables their values back.
    unsafe {
        pg_guard_ffi_boundary(|| ErrorReport::new(code, message, "tasker_ext").report(level));
    }
}

/// A variable of PostgreSQL that has another value while this lives.
struct Instead<T: Copy> {
    variable: *mut T,
    before: T,
}

impl<T: Copy> Instead<T> {
    /// # Safety
    /// The variable lives as long as the backend, and may have the value.
    unsafe fn of(variable: *mut T, value: T) -> Self {
        // SAFETY: as the caller says; a backend has one thread.
        unsafe {
            let before = variable.read();
            variable.write(value);
            Self { variable, before }
        }
    }
}

impl<T: Copy> Drop for Instead<T> {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { self.variable.write(self.before) };
    }
}
