//! A slot per background process: its kind, its state, and whether it was asked to end.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use tasker_rules::operations::scaling::resources;

use super::{SHARED, Shared, WAITED_FOR, databases, is_preloaded, lost};
use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::shmem::Latch;
use crate::pg::{backend, call};

/// Pool names have at most 64 characters; longer texts are cut, for display only.
const NAME: usize = 96;

std::thread_local! {
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Launcher,
    Coordinator,
    Executor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    Starting,
    Idle,
    Busy,
    Draining,
    Stopping,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Launcher => "launcher",
            Kind::Coordinator => "coordinator",
            Kind::Executor => "executor",
        }
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Idle => "idle",
            State::Busy => "busy",
            State::Draining => "draining",
            State::Stopping => "stopping",
        }
    }
}

/// A short text of fixed size.
#[derive(Clone, Copy)]
pub struct Name {
    length: u8,
    bytes: [u8; NAME],
}

impl Name {
    pub const EMPTY: Self = Self {
        length: 0,
        bytes: [0; NAME],
    };

    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(NAME);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = Self::EMPTY;
        name.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        name.length = end as u8;
        name
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length as usize]).unwrap_or_default()
    }
}

/// One background process.
#[derive(Clone, Copy)]
pub struct Slot {
    pub pid: i32,
    pub database: u32,
    pub kind: Kind,
    pub state: State,
    pub stop: bool,
    /// The tick at which a process that is to end is terminated; 0 while it is not to end, or without a limit.
    pub stop_by: i64,
    pub pool: Name,
    pub worker_id: Name,
    pub started_at: Timestamp,
    pub state_since: Timestamp,
    pub busy_us: i64,
    pub steps: i64,
    pub failures: i64,
    pub step: Option<Uuid>,
    /// Of an idle executor: a bit for each queue whose work it waits for, by id modulo 64.
    pub(super) waits_for: u64,
    /// Of an executor: whether it calls handlers of subscribers, so that new events wake it.
    pub(super) hears: bool,
    /// Of an executor: the subscriber whose handler it calls; 0: none.
    pub(super) subscriber: i64,
    latch: Latch,
}

crate::pg::shmem::shareable! {
    enum Kind;
    enum State;
    struct Name { length, bytes }
    struct Slot {
        pid, database, kind, state, stop, stop_by, pool, worker_id, started_at, state_since, busy_us, steps, failures, step,
        waits_for, hears, subscriber, latch,
    }
}

/// Whether `more` further processes may start and the reserved slots of max_worker_processes stay free.
pub fn has_room(more: usize) -> bool {
    let most = capacity();
    is_preloaded() && SHARED.share().slots.iter().flatten().count() + more <= most
}

/// How many processes of ours the server carries.
pub fn capacity() -> usize {
    // The launcher of logical replication holds a slot all the time.
    let workers = backend::setting(c"max_logical_replication_workers");
    let held = u32::from(workers.is_some_and(|workers| workers != "0"));
    resources::capacity(backend::worker_slots(), held) as usize
}

/// Takes a slot for this process; none if such a process exists, there is no room, or the database is held.
pub fn enter(kind: Kind, database: u32, pool: &str, worker_id: &str) -> bool {
    let now = call::clock();
    let pid = backend::pid();
    let most = capacity();
    let mut shared = SHARED.exclusive();
    if databases::entry(&mut shared, database).is_none_or(|entry| entry.held) {
        return false;
    }
    let alone = matches!(kind, Kind::Launcher | Kind::Coordinator);
    if alone
        && shared
            .slots
            .iter()
            .flatten()
            .any(|slot| slot.kind == kind && slot.database == database && slot.pid != pid)
    {
        return false;
    }
    // Several processes that start others may have found the same room.
    let running = shared.slots.iter().flatten().count();
    let full = match kind {
        Kind::Launcher => false,
        // One more may look whether the database has the extension at all.
        Kind::Coordinator => running > most,
        Kind::Executor => running >= most,
    };
    if full {
        return false;
    }
    let Some(index) = shared.slots.iter().position(Option::is_none) else {
        return false;
    };
    shared.slots[index] = Some(Slot {
        pid,
        database,
        kind,
        state: State::Starting,
        stop: false,
        stop_by: 0,
        pool: Name::new(pool),
        worker_id: Name::new(worker_id),
        started_at: now,
        state_since: now,
        busy_us: 0,
        steps: 0,
        failures: 0,
        step: None,
        waits_for: 0,
        hears: false,
        subscriber: 0,
        latch: Latch::mine(),
    });
    MINE.set(Some(index));
    true
}

/// Gives the slot back, at every kind of end of the process.
pub fn leave() {
    if let Some(index) = MINE.take() {
        let mut shared = SHARED.exclusive();
        if let Some(slot) = shared.slots[index].take() {
            lost::note(&mut shared, &slot);
        }
        publish(&shared);
    }
}

fn change(body: impl FnOnce(&mut Slot)) {
    if let Some(index) = MINE.get() {
        let mut shared = SHARED.exclusive();
        if let Some(slot) = shared.slots[index].as_mut() {
            body(slot);
        }
    }
}

/// This process is in another state now.
pub fn set_state(state: State) {
    let now = call::clock();
    change(|slot| {
        if slot.state != state {
            slot.state = state;
            slot.state_since = now;
        }
        slot.step = None;
    });
}

/// This executor runs a step now.
pub fn set_busy(step: Uuid) {
    let now = call::clock();
    change(|slot| {
        slot.state = State::Busy;
        slot.state_since = now;
        slot.step = Some(step);
    });
}

/// This executor has run a step.
pub fn count_step(busy_us: i64, failed: bool) {
    change(|slot| {
        slot.busy_us += busy_us;
        slot.steps += 1;
        slot.failures += i64::from(failed);
    });
}

/// This executor has called handlers of subscribers.
pub fn count_busy(busy_us: i64) {
    change(|slot| slot.busy_us += busy_us);
}

/// Says whether new events wake this executor.
pub fn hear(hears: bool) {
    let Some(index) = MINE.get() else { return };
    let is_so = SHARED.share().slots[index].is_some_and(|slot| slot.hears == hears);
    if !is_so {
        change(|slot| slot.hears = hears);
    }
}

/// Takes a subscriber for this executor; 0: gives it back. False if another one calls its handler, or ended in it a moment ago.
pub fn take_subscriber(id: i64) -> bool {
    let Some(index) = MINE.get() else {
        return false;
    };
    let mut shared = SHARED.exclusive();
    let Some(database) = shared.slots[index].map(|slot| slot.database) else {
        return false;
    };
    let of_another = |slot: &Slot| slot.database == database && slot.subscriber == id;
    if id != 0
        && (shared.slots.iter().flatten().any(of_another) || lost::holds(&shared, database, id))
    {
        return false;
    }
    if let Some(slot) = shared.slots[index].as_mut() {
        slot.subscriber = id;
    }
    true
}

/// The bit that every waiting executor has, even if there is no queue for it yet.
pub const WAITS: u64 = 1 << 63;

/// The bit by which work in a queue is announced.
pub fn queue_bit(queue_id: i32) -> u64 {
    1 << (queue_id.rem_euclid(64))
}

/// This executor waits for work in these queues; 0: no longer.
pub fn wait_for(bits: u64) {
    if let Some(index) = MINE.get() {
        let mut shared = SHARED.exclusive();
        if let Some(slot) = shared.slots[index].as_mut() {
            slot.waits_for = bits;
        }
        publish(&shared);
    }
}

fn publish(shared: &Shared) {
    let waits = shared
        .slots
        .iter()
        .flatten()
        .fold(0, |all, slot| all | slot.waits_for);
    WAITED_FOR.get().store(waits, Ordering::SeqCst);
}

/// Whether this process was asked to end.
pub fn stop_requested() -> bool {
    MINE.get()
        .is_some_and(|index| SHARED.share().slots[index].is_some_and(|slot| slot.stop))
}

/// Every background process.
pub fn all() -> Vec<Slot> {
    if !is_preloaded() {
        return vec![];
    }
    SHARED.share().slots.iter().flatten().copied().collect()
}

/// Asks processes to end when they have finished what they do, and says at which tick they will be terminated.
pub fn request_stop(chosen: impl Fn(&Slot) -> bool, stop_by: i64) {
    if !is_preloaded() {
        return;
    }
    let mut latches = Vec::new();
    {
        let mut shared = SHARED.exclusive();
        for slot in shared.slots.iter_mut().flatten() {
            if chosen(slot) {
                slot.stop = true;
                slot.stop_by = stop_by;
                latches.push(slot.latch);
            }
        }
    }
    latches.into_iter().for_each(Latch::set);
}

/// Wakes processes.
pub fn wake(chosen: impl Fn(&Slot) -> bool) {
    if !is_preloaded() {
        return;
    }
    let latches: Vec<Latch> = SHARED
        .share()
        .slots
        .iter()
        .flatten()
        .filter(|slot| chosen(slot))
        .map(|slot| slot.latch)
        .collect();
    latches.into_iter().for_each(Latch::set);
}
