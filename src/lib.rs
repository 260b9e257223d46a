//! tasker_ext: a workflow engine inside PostgreSQL.
//!
//! The rooms, each of which imports only from those before it: `error`; `pg`, the only one that touches PostgreSQL's C
//! interface; `settings`; `logging`, the lines of the server's log; `storage`, the tables below SQL; `processes`, the shared memory of background processes; `metrics`;
//! `registry`, the templates; `readiness`, which reads tasks for the rules; `stream`, which reads the log as events; `subscribers`, which hands them out; `orchestration`, the engine; `functions`, the
//! bodies of SQL functions; `background`, the processes. `schema` lists the SQL. The crate `tasker_rules` decides without a
//! database.

/// Shadows the standard macro: caches of a backend belong to one installation ([`pg::installation::Kept`]). A variable
/// that belongs to the process uses `std::thread_local!`.
#[allow(unused_macros)]
macro_rules! thread_local {
    ($($any:tt)*) => {
        compile_error!("use crate::pg::installation::Kept, or std::thread_local! for what outlives an installation");
    };
}

mod background;
mod error;
mod functions;
mod logging;
mod metrics;
mod orchestration;
mod pg;
mod processes;
mod readiness;
mod registry;
mod schema;
mod settings;
mod storage;
mod stream;
mod subscribers;

pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when the library is loaded.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    if pg::backend::is_preloading() {
        background::start();
        metrics::define();
    }
}
