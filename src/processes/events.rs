//! Commits that gave new events: they are counted, and the first one after a process has begun to listen wakes it. A commit takes no lock
//! otherwise. Polls that wait are told only of commits about a topic of theirs.
//!
//! Databases share a cell by chance: then one hears the commits of the other, and finds nothing.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use tasker_rules::events::topics::Topics;

use super::slots::{self, Kind, Slot};
use super::{EVENTS, is_preloaded};
use crate::pg::xact::{self, End};
use crate::pg::{backend, call};

const CELLS: usize = 256;
const TOPICS: usize = 64;
/// How long a poll that found nothing counts as one that waits.
const WAITS_US: i64 = 60_000_000;

pub struct EventCell {
    /// Commits that wrote rows of the log or published events.
    commits: AtomicU64,
    /// Commits that may have given a handler events that are not new.
    changes: AtomicU64,
    /// Not 0: an executor wants to be woken by the next commit.
    heard_by_executors: AtomicU32,
    /// Not 0: a coordinator wants to be woken by the next commit about a topic for which a poll waits.
    heard_by_coordinator: AtomicU32,
    /// Those about a topic for which a poll waits.
    awaited: AtomicU64,
    /// By topic, the tick until which a poll that found nothing counts as one that waits for it.
    waits_until: [AtomicI64; TOPICS],
}

pub struct EventCells {
    cells: [EventCell; CELLS],
}

crate::pg::shmem::shareable! {
    struct EventCell { commits, changes, heard_by_executors, heard_by_coordinator, awaited, waits_until }
    struct EventCells { cells }
}

impl EventCells {
    pub const fn new() -> Self {
        Self {
            cells: [const {
                EventCell {
                    commits: AtomicU64::new(0),
                    changes: AtomicU64::new(0),
                    heard_by_executors: AtomicU32::new(0),
                    heard_by_coordinator: AtomicU32::new(0),
                    awaited: AtomicU64::new(0),
                    waits_until: [const { AtomicI64::new(0) }; TOPICS],
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
    static WROTE: Cell<Topics> = const { Cell::new(Topics::NONE) };
    static CHANGED: Cell<bool> = const { Cell::new(false) };
}

fn index(database: u32) -> usize {
    database as usize % CELLS
}

fn cell() -> &'static EventCell {
    &EVENTS.get().cells[index(backend::database())]
}

// ---- the transaction that gives events ------------------------------------------------------------------------------

/// This transaction writes rows of the log or publishes events, about these topics.
pub fn note_events(topics: impl FnOnce() -> Topics) {
    if is_preloaded() {
        WROTE.set(WROTE.get().with(topics()));
        at_end();
    }
}

/// This transaction gives a subscriber a handler, or changes what its handler gets.
pub fn note_subscriber() {
    if is_preloaded() {
        CHANGED.set(true);
        at_end();
    }
}

fn at_end() {
    if !REGISTERED.replace(true) {
        xact::at_each_end(transaction_ends);
    }
}

/// What a savepoint took back is heard all the same.
fn transaction_ends(end: End) {
    let (topics, changed) = (WROTE.take(), CHANGED.take());
    let wrote = topics != Topics::NONE;
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
        wake(&cell.heard_by_executors, |slot| {
            slot.kind == Kind::Executor && slot.hears
        });
        if waits(cell, topics) {
            tell(cell);
        }
    }
}

/// A poll waits for what was committed.
fn tell(cell: &EventCell) {
    cell.awaited.fetch_add(1, Ordering::SeqCst);
    wake(&cell.heard_by_coordinator, |slot| {
        slot.kind == Kind::Coordinator
    });
}

fn wake(listened: &AtomicU32, is_one: impl Fn(&Slot) -> bool) {
    if listened.load(Ordering::SeqCst) == 0 || listened.swap(0, Ordering::SeqCst) == 0 {
        return;
    }
    let mine = index(backend::database());
    slots::wake(|slot| index(slot.database) == mine && is_one(slot));
}

/// Whether a poll waits for one of the topics.
fn waits(cell: &EventCell, topics: Topics) -> bool {
    let now = call::tick();
    topics
        .numbers()
        .any(|topic| cell.waits_until[topic].load(Ordering::SeqCst) > now)
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

/// The next commit that gives events wakes this executor. What was committed before is not told: ask [`heard`] after this.
pub fn listen() {
    cell().heard_by_executors.store(1, Ordering::SeqCst);
}

/// The next commit that gives events for which a poll waits wakes this coordinator. What was committed before is not told: ask [`awaited`]
/// after this.
pub fn listen_for_polls() {
    cell().heard_by_coordinator.store(1, Ordering::SeqCst);
}

/// The commits so far that gave events for which a poll waits.
pub fn awaited() -> u64 {
    cell().awaited.load(Ordering::SeqCst)
}

/// What a poll knew before it began.
pub struct Before {
    topics: Topics,
    commits: u64,
    /// A poll waits already for all of these topics: commits about them are told.
    are_awaited: bool,
}

/// A poll for events about these topics begins; `None` without shared memory.
pub fn poll_begins(topics: Topics) -> Option<Before> {
    if !is_preloaded() {
        return None;
    }
    // So that none of them ends before this poll does.
    let (cell, end) = (cell(), call::tick() + WAITS_US / 2);
    let waits = |topic: usize| cell.waits_until[topic].load(Ordering::SeqCst) > end;
    Some(Before {
        topics,
        are_awaited: topics.numbers().all(waits),
        commits: cell.commits.load(Ordering::SeqCst),
    })
}

/// It found nothing: for a minute commits about its topics are told. So is what was committed since it began, if that was not yet told.
pub fn poll_waits(before: Before) {
    let (cell, until) = (cell(), call::tick() + WAITS_US);
    for topic in before.topics.numbers() {
        cell.waits_until[topic].store(until, Ordering::SeqCst);
    }
    if !before.are_awaited && cell.commits.load(Ordering::SeqCst) != before.commits {
        tell(cell);
    }
}

/// Whether a poll waits for anything.
pub fn a_poll_waits() -> bool {
    is_preloaded() && waits(cell(), Topics::ALL)
}
