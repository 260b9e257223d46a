//! Work at given times and work without outside processes, by calls of SQL functions that a session can call as well.

mod coordinator;
mod duties;
mod executor;
mod handlers;
mod hints;
mod launcher;
mod pools;
mod process;
mod utility;

use crate::pg::backend;
use crate::processes;

/// Requests shared memory, registers the launcher, and installs the hook that sends our processes out of a database for
/// commands that need it alone. Call this while PostgreSQL loads shared_preload_libraries.
pub fn start() {
    processes::request();
    // pg_upgrade needs databases without other sessions and with unchanged data.
    if !backend::is_upgrading() {
        launcher::register();
    }
    utility::install();
}
