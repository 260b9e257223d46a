//! The launcher: one process per server, without a database. It starts a coordinator in every database and again when
//! one has ended; a coordinator that finds no extension says so and is not started again before CREATE EXTENSION.

use std::collections::HashMap;
use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker,
};
use pgrx::pg_sys;

use super::process::{self, SLOWEST_RESTART_US};
use crate::logging;
use crate::pg::{backend, call};
use crate::processes::{self, Kind, State};

/// The launcher searches for new databases this often: one made from a template that has the extension does not
/// notify the launcher.
const SCAN_EVERY: Duration = Duration::from_secs(5);
/// Databases probed at once: each probe takes one of max_worker_processes.
const PROBES: usize = 2;
const LIBRARY: &str = "tasker_ext";

/// Registers the launcher. Call this while PostgreSQL loads shared_preload_libraries.
pub fn register() {
    BackgroundWorkerBuilder::new("tasker_ext launcher")
        .set_type("tasker_ext launcher")
        .set_library(LIBRARY)
        .set_function("tasker_launcher_main")
        .enable_spi_access()
        // Not on a standby before it is promoted.
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// The starts of a coordinator in a database: how many in a row failed, and when the last one was.
#[derive(Default)]
struct StartHistory {
    failed: u32,
    /// A tick.
    started_at: Option<i64>,
}

crate::pg::process::background_process!(tasker_launcher_main => run);

fn run(_argument: u32) {
    process::begin(Kind::Launcher, 0, "", "");
    processes::set_state(State::Idle);
    let mut histories: HashMap<u32, StartHistory> = HashMap::new();
    let mut complained_at: Option<i64> = None;
    let mut started: Vec<DynamicBackgroundWorker> = vec![];
    let mut waited: Vec<String> = vec![];
    loop {
        let databases = backend::open_databases();
        let oids: Vec<u32> = databases.iter().map(|database| database.0).collect();
        processes::keep_databases(&oids);
        let waiting = processes::waiting_databases();
        histories.retain(|oid, _| oids.contains(oid));
        name_waiting(&databases, &waiting, &mut waited);
        let now = call::tick();
        let mut soon = false;
        for (oid, name) in databases {
            let processes = processes::all();
            let coordinators = processes
                .iter()
                .filter(|slot| slot.kind == Kind::Coordinator);
            if coordinators.clone().any(|slot| slot.database == oid) {
                continue;
            }
            started.retain(|handle| is_coming(handle, &processes));
            let room = processes::has_room(started.len() + 1);
            let Some(asked) = processes::wants_coordinator(oid, room) else {
                continue;
            };
            if asked {
                histories.remove(&oid);
            }
            let starting = coordinators
                .filter(|slot| slot.state == State::Starting)
                .count()
                + started.len();
            let history = histories.entry(oid).or_default();
            let pause = pause_us(history.failed);
            if history.started_at.is_some_and(|at| now - at < pause) {
                soon |= pause <= 1_000_000;
                continue;
            }
            // Without room one may look whether the database has the extension; it does not stay.
            if starting >= PROBES || !room && (starting > 0 || !processes::has_room(started.len()))
            {
                soon = true;
                continue;
            }
            // A coordinator that ran for a while did not fail at its start.
            history.failed = if history
                .started_at
                .is_none_or(|at| now - at > 2 * SLOWEST_RESTART_US)
            {
                1
            } else {
                history.failed.saturating_add(1)
            };
            history.started_at = Some(now);
            soon = true;
            match start("tasker_ext coordinator", "tasker_coordinator_main", oid, "") {
                Some(handle) => started.push(handle),
                None if room && complained_at.is_none_or(|at| now - at > 60_000_000) => {
                    complained_at = Some(now);
                    logging::warn(&format!(
                        "database {name} has no coordinator: other users hold the {} slots of max_worker_processes beside {} of tasker_ext",
                        backend::worker_slots(),
                        processes.len()
                    ));
                }
                None => {}
            }
        }
        let time = if soon {
            Duration::from_millis(500)
        } else {
            SCAN_EVERY
        };
        process::wait(time);
    }
}

/// Logs which databases wait for a slot, when others than before do.
fn name_waiting(databases: &[(u32, String)], waiting: &[u32], waited: &mut Vec<String>) {
    let names: Vec<String> = databases
        .iter()
        .filter(|database| waiting.contains(&database.0))
        .map(|database| database.1.clone())
        .collect();
    if names != *waited && !names.is_empty() {
        logging::warn(&format!(
            "no slot is left for the coordinators of {}: max_worker_processes {} carries {} processes of tasker_ext; tasker.validate_resources() says what to set",
            names.join(", "),
            backend::worker_slots(),
            processes::capacity()
        ));
    }
    *waited = names;
}

/// Whether the process was started and is not in the list yet.
fn is_coming(handle: &DynamicBackgroundWorker, processes: &[processes::Slot]) -> bool {
    match handle.pid() {
        Ok(pid) => !processes.iter().any(|slot| slot.pid == pid),
        Err(status) => matches!(status, BackgroundWorkerStatus::NotYetStarted),
    }
}

/// The pause before the n-th start in a row: none for the first two (an upgrade or a drop is no failure), then longer.
fn pause_us(failed: u32) -> i64 {
    if failed < 2 {
        return 0;
    }
    1_000_000_i64
        .saturating_mul(1 << (failed - 2).min(6))
        .min(SLOWEST_RESTART_US)
}

/// Starts a background process in a database.
pub fn start(
    name: &str,
    function: &str,
    database: u32,
    extra: &str,
) -> Option<DynamicBackgroundWorker> {
    BackgroundWorkerBuilder::new(name)
        .set_type(name)
        .set_library(LIBRARY)
        .set_function(function)
        .enable_spi_access()
        .set_restart_time(None)
        .set_argument(Some(pg_sys::Datum::from(database)))
        .set_extra(extra)
        // Woken when it ends, to start the next.
        .set_notify_pid(backend::pid())
        .load_dynamic()
        .ok()
}
