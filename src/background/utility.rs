//! Some commands need a database, or the extension, for themselves: DROP DATABASE and CREATE DATABASE from a template fail while a
//! session is connected, DROP and ALTER EXTENSION could deadlock with processes that work. The background processes
//! end before such a command, and start again after its transaction if there is still work.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::process;
use crate::pg::{call, utility};
use crate::processes::{self, Slot};

/// How long a handler may still take; then its process is terminated.
const POLITE: Duration = Duration::from_millis(1500);
const FIRM: Duration = Duration::from_secs(3);

pub fn install() {
    utility::before_a_database_is_wanted_alone(send_away);
    utility::after_commit_prepared(processes::wake_after_prepared);
}

/// Keeps background processes out of the database until the transaction ends, and waits until the running ones have ended.
fn send_away(database: u32) {
    processes::hold_database(database);
    let here = |slot: &Slot| slot.database == database;
    processes::request_stop(here, call::tick() + POLITE.as_micros() as i64);
    let began = Instant::now();
    let mut terminated = false;
    while began.elapsed() < POLITE + FIRM && processes::all().iter().any(here) {
        if !terminated && began.elapsed() > POLITE {
            terminated = true;
            for slot in processes::all().iter().filter(|slot| here(slot)) {
                process::signal(slot.pid, pg_sys::SIGTERM as i32);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
        pgrx::check_for_interrupts!();
    }
}
