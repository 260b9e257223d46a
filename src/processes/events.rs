//! Commits that gave new events: they are counted, and the first one after a process has begun to listen wakes it. A commit takes no lock
//! otherwise.
//!
//! Databases share a cell by chance: then one hears the commits of the other, and finds nothing.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::slots::{self, Kind};
use super::{EVENTS, is_preloaded};
use crate::pg::xact::{self, End};
use crate::pg::{backend, call};

const CELLS: usize = 256;
/// How long a poll that found nothing counts as one that waits.
const WAITS_US: i64 = 60_000_000;

pub struct EventCell {
    /// Commits that wrote rows of the log or published events.
    commits: AtomicU64,
    /// Commits that may have given a handler events that are not new.
    changes: AtomicU64,
    /// Not 0: a process wants to be woken by the next commit.
    listened_to: AtomicU32,
    /// The tick until which a poll that found nothing counts as one that waits.
    waits_until: AtomicI64,
    /// The commits that the first of these polls had heard of.
    waits_from: AtomicU64,
}

pub struct EventCells {
    cells: [EventCell; CELLS],
}

crate::pg::shmem::shareable! {
    struct EventCell { commits, changes, listened_to, waits_until, waits_from }
    struct EventCells { cells }
}

impl EventCells {
    pub const fn new() -> Self {
        Self {
            cells: [const {
                EventCell {
                    commits: AtomicU64::new(0),
                    changes: AtomicU64::new(0),
                    listened_to: AtomicU32::new(0),
                    waits_until: AtomicI64::new(0),
                    waits_from: AtomicU64::new(0),
                }
            }; CELLS],
        }
    }
}

/// What was heard so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub commits: u64,
    pub changes: u64,
}

std::thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// What this transaction did.
    static WROTE: Cell<bool> = const { Cell::new(false) };
    static CHANGED: Cell<bool> = const { Cell::new(false) };
}

fn index(database: u32) -> usize {
    database as usize % CELLS
}

fn cell() -> &'static EventCell {
    &EVENTS.get().cells[index(backend::database())]
}

// ---- the transaction that gives events ------------------------------------------------------------------------------

/// This transaction writes rows of the log or publishes events.
pub fn note_events() {
    note(&WROTE);
}

/// This transaction gives a subscriber a handler, or changes what its handler gets.
pub fn note_subscriber() {
    note(&CHANGED);
}

fn note(what: &'static std::thread::LocalKey<Cell<bool>>) {
    if is_preloaded() && !what.replace(true) && !REGISTERED.replace(true) {
        xact::at_each_end(transaction_ends);
    }
}

/// What a savepoint took back is heard all the same.
fn transaction_ends(end: End) {
    let (wrote, changed) = (WROTE.take(), CHANGED.take());
    if end != End::Commit || !(wrote || changed) {
        return;
    }
    let cell = cell();
    if changed {
        cell.changes.fetch_add(1, Ordering::SeqCst);
        slots::wake(|slot| slot.kind == Kind::Executor && slot.database == backend::database());
    }
    if wrote {
        cell.commits.fetch_add(1, Ordering::SeqCst);
        wake_listeners(cell);
    }
}

fn wake_listeners(cell: &EventCell) {
    if cell.listened_to.load(Ordering::SeqCst) == 0
        || cell.listened_to.swap(0, Ordering::SeqCst) == 0
    {
        return;
    }
    let mine = index(backend::database());
    let waits = waits(cell);
    slots::wake(|slot| {
        index(slot.database) == mine
            && match slot.kind {
                Kind::Coordinator => waits,
                Kind::Executor => slot.hears,
                Kind::Launcher => false,
            }
    });
}

fn waits(cell: &EventCell) -> bool {
    cell.waits_until.load(Ordering::SeqCst) > call::tick()
}

// ---- those that hear of it ------------------------------------------------------------------------------------------

/// What was committed so far in this database; nothing without shared memory.
pub fn heard() -> Heard {
    if !is_preloaded() {
        return Heard {
            commits: 0,
            changes: 0,
        };
    }
    let cell = cell();
    Heard {
        commits: cell.commits.load(Ordering::SeqCst),
        changes: cell.changes.load(Ordering::SeqCst),
    }
}

/// The next commit that gives events wakes this process. What was committed before is not told: ask [`heard`] after this.
pub fn listen() {
    cell().listened_to.store(1, Ordering::SeqCst);
}

/// A poll found nothing: for a minute the coordinator notifies. What was committed since the poll had heard that is told, too.
pub fn wait_for_events(heard: Heard) {
    if !is_preloaded() {
        return;
    }
    let cell = cell();
    if !waits(cell) {
        cell.waits_from.store(heard.commits, Ordering::SeqCst);
    }
    let until = call::tick() + WAITS_US;
    cell.waits_until.store(until, Ordering::SeqCst);
    cell.listened_to.store(1, Ordering::SeqCst);
    if cell.commits.load(Ordering::SeqCst) != heard.commits {
        wake_listeners(cell);
    }
}

/// If a poll waits, the commits that the first one had heard of.
pub fn poll_waits() -> Option<u64> {
    let cell = cell();
    waits(cell).then(|| cell.waits_from.load(Ordering::SeqCst))
}
