//! Shared memory of the background processes: which run, what they do, which queues they wait for, and how they are woken. It needs
//! shared_preload_libraries; without it every function here returns nothing.

mod databases;
mod events;
mod lost;
mod restarts;
mod slots;
mod wake;

use std::cell::Cell;
use std::sync::atomic::AtomicU64;

use pgrx::lwlock::PgLwLock;
use pgrx::{PgAtomic, pg_guard, pg_shmem_init, pg_sys};

use crate::pg::shmem::Piece;
use databases::DatabaseEntry;
use events::EventCells;

pub use databases::{
    duty_runs, judge_absent, keep_databases, may_stay, waiting_databases, wants_coordinator,
};
pub use events::{
    Heard, a_poll_waits, awaited, heard, listen, listen_for_polls, note_events, note_subscriber,
    poll_begins, poll_waits,
};
pub use lost::{Lost, last_lost, lost, settle_lost};
pub use restarts::{Restarts, record_ended, record_healthy, restarts};
pub use slots::{
    Kind, Name, Slot, State, WAITS, all, capacity, count_busy, count_step, enter, has_room, hear,
    leave, queue_bit, request_stop, set_busy, set_state, stop_requested, take_subscriber, wait_for,
};
pub use wake::{
    hold_database, note_duty, wake_after_prepared, wake_all_executors, wake_executors,
    wake_launcher,
};

const SLOTS: usize = 256;
const DATABASES: usize = 256;
/// The greatest number of pools with executors that ended unasked; a further one replaces the oldest.
const POOLS: usize = 128;
/// Executors that ended in the handler of a subscriber, until their coordinators have seen it; a further one replaces the oldest.
const LOST: usize = 64;
/// The duties of maintenance have the numbers from 1 to this.
pub const DUTIES: usize = 16;

/// Everything that is shared.
#[derive(Clone, Copy)]
pub struct Shared {
    slots: [Option<Slot>; SLOTS],
    databases: [DatabaseEntry; DATABASES],
    restarts: [Option<Restarts>; POOLS],
    lost: [Option<Lost>; LOST],
}

crate::pg::shmem::shareable! {
    struct Shared { slots, databases, restarts, lost }
}

impl Default for Shared {
    /// Copied from a static, whose unused bytes are zero: memcheck sees what its own process writes, and would take what
    /// other processes put there for undefined.
    fn default() -> Self {
        static NOTHING: Shared = Shared {
            slots: [None; SLOTS],
            restarts: [None; POOLS],
            lost: [None; LOST],
            databases: [DatabaseEntry::FREE; DATABASES],
        };
        NOTHING
    }
}

crate::pg::shmem::shared_memory! {
    static SHARED: PgLwLock<Shared> = c"tasker_background";
    /// The bits of all idle executors, which a call that releases steps reads first.
    static WAITED_FOR: PgAtomic<AtomicU64> = c"tasker_waited_for";
    static EVENTS: PgAtomic<EventCells> = c"tasker_events";
}

std::thread_local! {
    static PRELOADED: Cell<bool> = const { Cell::new(false) };
}

// The macro names a version of PostgreSQL that we do not have.
#[allow(unexpected_cfgs)]
/// Requests the memory. Call this only while PostgreSQL loads shared_preload_libraries. Children inherit what is set here.
pub fn request() {
    pg_shmem_init!(SHARED = Piece(Shared::default()));
    pg_shmem_init!(WAITED_FOR = Piece(AtomicU64::new(0)));
    pg_shmem_init!(EVENTS = Piece(EventCells::new()));
    PRELOADED.set(true);
}

/// Whether the library was preloaded, which background processes need.
pub fn is_preloaded() -> bool {
    PRELOADED.get()
}
