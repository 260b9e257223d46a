//! What happens at a time, or without an outside process: a policy over the same SQL functions that anybody can call.

pub mod activity;
mod coordinator;
mod duties;
mod executor;
pub mod handlers;
mod launcher;
pub mod process;
pub mod scaling;
pub mod shared;
mod utility;

use crate::pg::backend;

/// While shared_preload_libraries are loaded: shared memory, the launcher, and the hook that makes way for whoever wants a
/// database for himself.
pub fn start() {
    shared::request();
    // pg_upgrade wants every database without sessions, and its data as they are.
    if !backend::is_upgrading() {
        launcher::register();
    }
    utility::install();
}
