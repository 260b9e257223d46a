//! What all background processes share: a place in the list of processes, and transactions while `may_work` allows work.

use pgrx::pg_sys;

use tasker_rules::events::log_line::Level;

use crate::error::{Error, Result};
use crate::logging::{self, Said};
use crate::orchestration::resumption;
pub use crate::pg::process::{
    check_for_interrupts, report_activity, set_application_name, signal, wait,
};
use crate::pg::spi::{Session, Statement};
use crate::pg::{installation, process, rights};
use crate::processes::{self, Kind, State};

pub const SECOND_US: i64 = 1_000_000;
/// The longest pause before what failed is tried again.
pub const SLOWEST_RESTART_US: i64 = 60 * SECOND_US;

/// Starts the process. It enters the shared list before it connects: a command that needs the database alone finds the process
/// there, or the process finds the database held and ends.
pub fn begin(kind: Kind, database: u32, pool: &str, worker_id: &str) {
    logging::begin(kind.as_str());
    process::begin(database, processes::leave, || {
        if processes::enter(kind, database, pool, worker_id) {
            Ok(())
        } else {
            // PostgreSQL restarts only the launcher.
            Err(i32::from(kind == Kind::Launcher))
        }
    });
}

/// Runs the body in a transaction of its own, with the rights of the engine's owner. An error undoes it and is returned;
/// the process continues. While `may_work` refuses, the body does not run.
pub fn transaction<T>(body: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    process::transaction(|session| {
        may_work(session)?;
        body(session)
    })
}

/// Refuses work in this database if the extension has another version, its owner breaks the rules, or work is not resumed yet.
fn may_work(session: &Session) -> Result<()> {
    installation::require_same_version()?;
    rights::require_sound_owner()?;
    resumption::require(session)
}

/// Whether the error is a refusal of `may_work`.
pub fn is_refusal(error: &Error) -> bool {
    rights::is_refusal(error) || !installation::is_same_version() || !resumption::is_resumed()
}

static EXTENSION: Statement = Statement::new(
    "SELECT e.oid, e.extversion FROM pg_extension e WHERE e.extname = 'tasker_ext'",
    &[],
);

/// The extension of this database: its oid, which a new CREATE EXTENSION changes, and its version.
pub fn extension(session: &Session) -> Result<Option<(u32, String)>> {
    let rows = session.read(&EXTENSION, &[])?;
    rows.first()
        .map(|row| Ok((row.get::<pg_sys::Oid>(1)?.to_u32(), row.get(2)?)))
        .transpose()
}

/// The extension, if it exists, and the refusal of `may_work`, if there is one.
pub fn find_extension() -> Result<Option<(u32, String, Result<()>)>> {
    process::transaction(|session| {
        Ok(extension(session)?.map(|(epoch, version)| (epoch, version, may_work(session))))
    })
}

/// Writes an error of a background process to the server's log. The coordinator alone logs a refusal of `may_work`, once.
pub fn log_error(what: &str, error: &Error) {
    if !is_refusal(error) {
        log_always(what, error);
    }
}

pub fn log_always(what: &str, error: &Error) {
    let more = [&error.detail, &error.hint].into_iter().flatten();
    let sentences: String = more.map(|text| format!(" {text}")).collect();
    // A message has no full stop, a DETAIL and a HINT have.
    let stop = if sentences.is_empty() { "" } else { "." };
    let message = format!("{what}: {}{stop}{sentences}", error.message);
    Said::new(Level::Error, &message).error(error).write();
}

/// Ends the process in order.
pub fn end(code: i32) -> ! {
    processes::set_state(State::Stopping);
    process::end(code)
}
