//! Shared memory of the background processes: who runs, what it does, who waits for which queue. Only with
//! shared_preload_libraries; everything here answers "nothing" without.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::lwlock::PgLwLock;
use pgrx::{
    PgAtomic, PgXactCallbackEvent, pg_guard, pg_shmem_init, pg_sys, register_xact_callback,
};

use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::shmem::{Latch, Piece};
use crate::pg::{backend, call};

const SLOTS: usize = 256;
const DATABASES: usize = 256;
/// Pools whose executors ended unasked; beyond that the oldest is forgotten.
const POOLS: usize = 128;
/// The duties of maintenance have the numbers from 1 to this.
pub const DUTIES: usize = 16;
/// Pool names have at most 64 characters; what does not fit is cut for display only.
const NAME: usize = 96;

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
    /// When a process that is to end is terminated; 0 while it is not to end, or nobody has set a limit.
    pub stop_by: Timestamp,
    pub pool: Name,
    pub worker_id: Name,
    pub started_at: Timestamp,
    pub state_since: Timestamp,
    pub busy_us: i64,
    pub steps: i64,
    pub failures: i64,
    pub step: Option<Uuid>,
    /// Of an idle executor: a bit for each queue whose work it waits for, by id modulo 64.
    waits_for: u64,
    latch: Latch,
}

/// What is known of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Nobody has looked yet, or the extension was created since.
    Unknown,
    /// The extension is not there.
    Absent,
}

#[derive(Clone, Copy)]
struct DatabaseEntry {
    oid: u32,
    verdict: Verdict,
    /// Somebody asked for a coordinator: earlier failures do not count.
    asked: bool,
    /// Nothing is started: somebody wants the database for himself.
    held: bool,
    /// Since when a coordinator is looked for here.
    since: Timestamp,
    /// When each duty last ran through; 0: not yet.
    ran: [Timestamp; DUTIES],
}

impl DatabaseEntry {
    const FREE: Self = Self {
        oid: 0,
        verdict: Verdict::Unknown,
        asked: false,
        held: false,
        since: 0,
        ran: [0; DUTIES],
    };

    fn new(oid: u32) -> Self {
        Self {
            oid,
            since: call::clock(),
            ..Self::FREE
        }
    }
}

/// How often executors of a pool ended unasked, and how long the next start waits.
#[derive(Clone, Copy)]
pub struct Restarts {
    pub database: u32,
    pub pool: Name,
    pub total: i64,
    pub in_a_row: u32,
    pub last_ended_at: Timestamp,
    pub next_start_at: Timestamp,
}

/// Everything that is shared.
#[derive(Clone, Copy)]
pub struct Shared {
    slots: [Option<Slot>; SLOTS],
    databases: [DatabaseEntry; DATABASES],
    restarts: [Option<Restarts>; POOLS],
}

crate::shareable! {
    enum Kind;
    enum State;
    enum Verdict;
    struct Name { length, bytes }
    struct Slot {
        pid, database, kind, state, stop, stop_by, pool, worker_id, started_at, state_since, busy_us, steps, failures, step,
        waits_for, latch,
    }
    struct DatabaseEntry { oid, verdict, asked, held, since, ran }
    struct Restarts { database, pool, total, in_a_row, last_ended_at, next_start_at }
    struct Shared { slots, databases, restarts }
}

impl Default for Shared {
    /// Copied from a static, whose unused bytes are zero: memcheck sees what its own process writes, and would take what
    /// other processes put there for undefined.
    fn default() -> Self {
        static NOTHING: Shared = Shared {
            slots: [None; SLOTS],
            restarts: [None; POOLS],
            databases: [DatabaseEntry::FREE; DATABASES],
        };
        NOTHING
    }
}

crate::shared_memory! {
    static SHARED: PgLwLock<Shared> = c"tasker_background";
    /// The bits of all idle executors: what a call that releases steps looks at first.
    static WAITED_FOR: PgAtomic<AtomicU64> = c"tasker_waited_for";
}

std::thread_local! {
    static PRELOADED: Cell<bool> = const { Cell::new(false) };
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    static WAKE: Cell<u64> = const { Cell::new(0) };
    static LAUNCH: Cell<bool> = const { Cell::new(false) };
    static RAN: Cell<[Timestamp; DUTIES]> = const { Cell::new([0; DUTIES]) };
    static HELD: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static CALLBACK: Cell<bool> = const { Cell::new(false) };
}

// The macro names a version of PostgreSQL that we do not have.
#[allow(unexpected_cfgs)]
/// Asks for the memory; while shared_preload_libraries are loaded only. Children inherit what is set here.
pub fn request() {
    pg_shmem_init!(SHARED = Piece(Shared::default()));
    pg_shmem_init!(WAITED_FOR = Piece(AtomicU64::new(0)));
    PRELOADED.set(true);
}

/// Whether the library was preloaded, so that background processes can be.
pub fn is_preloaded() -> bool {
    PRELOADED.get()
}

/// Takes a slot for this process; none if there already is such a process, no room, or somebody wants the database alone.
pub fn enter(kind: Kind, database: u32, pool: &str, worker_id: &str) -> bool {
    let now = call::clock();
    let pid = backend::pid();
    let mut shared = SHARED.exclusive();
    if entry(&mut shared, database).is_none_or(|entry| entry.held) {
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
        latch: Latch::mine(),
    });
    MINE.set(Some(index));
    true
}

/// Gives the slot back; when the process ends, however it ends.
pub fn leave() {
    if let Some(index) = MINE.take() {
        let mut shared = SHARED.exclusive();
        shared.slots[index] = None;
        publish_waits(&shared);
    }
}

fn publish_waits(shared: &Shared) {
    let waits = shared
        .slots
        .iter()
        .flatten()
        .fold(0, |all, slot| all | slot.waits_for);
    WAITED_FOR.get().store(waits, Ordering::SeqCst);
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

/// Of an executor that waits, even if there is no queue for it yet.
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
        publish_waits(&shared);
    }
}

/// Whether somebody asked this process to end.
pub fn stop_requested() -> bool {
    MINE.get()
        .is_some_and(|index| SHARED.share().slots[index].is_some_and(|slot| slot.stop))
}

/// Every background process.
pub fn processes() -> Vec<Slot> {
    if !is_preloaded() {
        return vec![];
    }
    SHARED.share().slots.iter().flatten().copied().collect()
}

/// Asks processes to end when they have finished what they do, and says when they will be terminated.
pub fn request_stop(chosen: impl Fn(&Slot) -> bool, stop_by: Timestamp) {
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

// --- restarts --------------------------------------------------------------------------------------------------------

/// An executor of the pool ended unasked.
pub fn record_ended(database: u32, pool: &str, in_a_row: u32, now: Timestamp, next: Timestamp) {
    let mut shared = SHARED.exclusive();
    let index = shared
        .restarts
        .iter()
        .position(|entry| {
            entry.is_some_and(|entry| entry.database == database && entry.pool.as_str() == pool)
        })
        .or_else(|| shared.restarts.iter().position(Option::is_none))
        .or_else(|| {
            (0..POOLS)
                .min_by_key(|index| shared.restarts[*index].map_or(0, |entry| entry.last_ended_at))
        });
    if let Some(index) = index {
        let total = shared.restarts[index]
            .filter(|entry| entry.database == database && entry.pool.as_str() == pool)
            .map_or(0, |entry| entry.total);
        shared.restarts[index] = Some(Restarts {
            database,
            pool: Name::new(pool),
            total: total + 1,
            in_a_row,
            last_ended_at: now,
            next_start_at: next,
        });
    }
}

/// The pool's executors live again.
pub fn record_healthy(database: u32, pool: &str) {
    let mut shared = SHARED.exclusive();
    for entry in shared.restarts.iter_mut().flatten() {
        if entry.database == database && entry.pool.as_str() == pool {
            entry.in_a_row = 0;
        }
    }
}

pub fn restarts() -> Vec<Restarts> {
    if !is_preloaded() {
        return vec![];
    }
    SHARED.share().restarts.iter().flatten().copied().collect()
}

// --- databases -------------------------------------------------------------------------------------------------------

fn entry(shared: &mut Shared, oid: u32) -> Option<&mut DatabaseEntry> {
    let index = shared
        .databases
        .iter()
        .position(|entry| entry.oid == oid)
        .or_else(|| shared.databases.iter().position(|entry| entry.oid == 0))?;
    let entry = &mut shared.databases[index];
    if entry.oid == 0 {
        *entry = DatabaseEntry::new(oid);
    }
    Some(entry)
}

/// Whether the launcher may start a coordinator there now, and if so, whether somebody asked for it since the last time.
pub fn wants_coordinator(oid: u32) -> Option<bool> {
    let mut shared = SHARED.exclusive();
    let entry = entry(&mut shared, oid)?;
    (entry.verdict == Verdict::Unknown && !entry.held).then(|| std::mem::take(&mut entry.asked))
}

/// The extension is not there.
pub fn judge_absent(oid: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.verdict = Verdict::Absent;
    }
}

fn ask(oid: u32) {
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        // What lies here may be another installation than before.
        *entry = DatabaseEntry {
            asked: true,
            held: entry.held,
            ..DatabaseEntry::new(oid)
        };
    }
}

/// Forgets databases that are gone.
pub fn keep_databases(living: &[u32]) {
    let mut shared = SHARED.exclusive();
    for entry in &mut shared.databases {
        if entry.oid != 0 && !living.contains(&entry.oid) {
            entry.oid = 0;
        }
    }
}

/// Keeps every background process out of a database until this transaction ends.
pub fn hold_database(oid: u32) {
    HELD.with_borrow_mut(|held| held.push(oid));
    at_commit();
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, oid) {
        entry.held = true;
    }
}

fn let_go() {
    let held = HELD.take();
    if held.is_empty() {
        return;
    }
    {
        let mut shared = SHARED.exclusive();
        for oid in held {
            if let Some(entry) = entry(&mut shared, oid) {
                entry.held = false;
                entry.asked = true;
            }
        }
    }
    wake(|slot| slot.kind == Kind::Launcher);
}

// --- duties ----------------------------------------------------------------------------------------------------------

/// When this transaction commits, the duty has run at this time; false: there is no room to keep that.
pub fn note_duty(number: usize, at: Timestamp) -> bool {
    let database = backend::database();
    if !is_preloaded() || entry(&mut SHARED.exclusive(), database).is_none() {
        return false;
    }
    let mut ran = RAN.get();
    ran[number - 1] = at;
    RAN.set(ran);
    at_commit();
    true
}

fn keep_duty_runs(database: u32) {
    let ran = RAN.replace([0; DUTIES]);
    if ran.iter().all(|at| *at == 0) {
        return;
    }
    let mut shared = SHARED.exclusive();
    if let Some(entry) = entry(&mut shared, database) {
        for (kept, at) in entry.ran.iter_mut().zip(ran) {
            *kept = at.max(*kept);
        }
    }
}

/// Since when the database is looked after, and when each of its duties last ran, 0: not since.
pub fn duty_runs(database: u32) -> Option<(Timestamp, [Timestamp; DUTIES])> {
    if !is_preloaded() {
        return None;
    }
    let shared = SHARED.share();
    shared
        .databases
        .iter()
        .find(|entry| entry.oid == database)
        .map(|entry| (entry.since, entry.ran))
}

// --- at commit -------------------------------------------------------------------------------------------------------

fn at_commit() {
    if CALLBACK.replace(true) {
        return;
    }
    register_xact_callback(PgXactCallbackEvent::Abort, || {
        CALLBACK.set(false);
        WAKE.set(0);
        LAUNCH.set(false);
        RAN.set([0; DUTIES]);
        let_go();
    });
    register_xact_callback(PgXactCallbackEvent::Commit, || {
        CALLBACK.set(false);
        let database = backend::database();
        let bits = WAKE.take();
        if bits != 0 {
            wake(|slot| slot.database == database && slot.waits_for & bits != 0);
        }
        keep_duty_runs(database);
        if LAUNCH.take() {
            ask(database);
            wake(|slot| slot.kind == Kind::Launcher);
        }
        let_go();
    });
}

/// When this transaction commits, executors that wait for work in these queues are woken.
pub fn wake_executors<'a>(queues: impl IntoIterator<Item = &'a i32>) {
    wake_waiting(|| {
        queues
            .into_iter()
            .fold(0, |all, queue| all | queue_bit(*queue))
    });
}

/// When this transaction commits, every executor that waits is woken: it may have to wait for other queues.
pub fn wake_all_executors() {
    wake_waiting(|| u64::MAX);
}

fn wake_waiting(bits: impl FnOnce() -> u64) {
    if !is_preloaded() {
        return;
    }
    let waited_for = WAITED_FOR.get().load(Ordering::SeqCst);
    if waited_for == 0 {
        return;
    }
    let bits = bits();
    if bits & waited_for != 0 {
        WAKE.set(WAKE.get() | bits);
        at_commit();
    }
}

/// When this transaction commits, the launcher looks at this database again.
pub fn wake_launcher() {
    if is_preloaded() {
        LAUNCH.set(true);
        at_commit();
    }
}
