//! What happens at a time, or without an outside process: a policy over SQL functions that a session can call as well.

mod coordinator;
mod duties;
mod executor;
mod launcher;
mod pools;
mod process;
mod utility;

use crate::pg::backend;
use crate::processes;

/// While shared_preload_libraries are loaded: shared memory, the launcher, and the hook that clears a database for commands
/// that need it alone.
pub fn start() {
    processes::request();
    // pg_upgrade wants every database without sessions, and its data as they are.
    if !backend::is_upgrading() {
        launcher::register();
    }
    utility::install();
}
