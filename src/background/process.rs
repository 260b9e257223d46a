//! What every background process does alike: its place in the shared list, and transactions while the engine's owner is sound.

use pgrx::pg_sys;

use crate::error::{Error, Result};
pub use crate::pg::process::{
    check_for_interrupts, report_activity, set_application_name, signal, wait,
};
use crate::pg::spi::{Session, Statement};
use crate::pg::{installation, process, rights};
use crate::processes::{self, Kind, State};

pub const SECOND_US: i64 = 1_000_000;
/// The longest pause before what failed is tried again.
pub const SLOWEST_RESTART_US: i64 = 60 * SECOND_US;

/// Starts the process. It is in the shared list before it is connected: a command that needs the database alone finds it there,
/// or it finds the database held. If it must not be there it ends.
pub fn begin(kind: Kind, database: u32, pool: &str, worker_id: &str) {
    process::begin(database, processes::leave, || {
        if processes::enter(kind, database, pool, worker_id) {
            Ok(())
        } else {
            // Only the launcher is started again by itself.
            Err(i32::from(kind == Kind::Launcher))
        }
    });
}

/// Runs the body in a transaction of its own, with the rights of the engine's owner. An error undoes it and is returned;
/// the process lives on. While work is not allowed nothing is run.
pub fn transaction<T>(body: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    process::transaction(|session| {
        may_work()?;
        body(session)
    })
}

/// Why nothing may be done in this database: the extension is of another version, or its owner is not what it must be.
fn may_work() -> Result<()> {
    installation::require_same_version()?;
    rights::require_sound_owner()
}

/// Whether it is the refusal of `may_work`.
pub fn is_refusal(error: &Error) -> bool {
    rights::is_refusal(error) || !installation::is_same_version()
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
pub fn find_extension() -> Result<Option<(u32, String, Result<()>)>> {
    process::transaction(|session| {
        Ok(extension(session)?.map(|(epoch, version)| (epoch, version, may_work())))
    })
}

/// Writes an error of a background process into the server's log. That it may do nothing is said once, by the coordinator.
pub fn log_error(what: &str, error: &Error) {
    if !is_refusal(error) {
        log_always(what, error);
    }
}

pub fn log_always(what: &str, error: &Error) {
    let detail = error.detail.as_deref().unwrap_or_default();
    let hint = error.hint.as_deref().unwrap_or_default();
    pgrx::log!("tasker_ext: {what}: {} {detail} {hint}", error.message);
}

/// Ends the process in order.
pub fn end(code: i32) -> ! {
    processes::set_state(State::Stopping);
    process::end(code)
}
