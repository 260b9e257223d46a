//! The counters in shared memory: a slot per database, read and written without a lock. The lock is for taking and
//! freeing slots, and for the last minutes of finalization claims, which are rare.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::lwlock::PgLwLock;
use pgrx::{PgAtomic, pg_guard, pg_shmem_init, pg_sys};
use tasker_rules::operations::metrics::{
    CELLS, Cells, Key, LABELLED_CELLS, Metric, RECENT_CELLS, Series, WORKER_CELLS, recent_index,
};

use super::series;
use crate::pg::datum::Timestamp;
use crate::pg::shmem::Piece;
use crate::pg::{backend, call};

const DATABASES: usize = 64;
/// Workers of the whole server: each is in one of these sets, and a new worker replaces the one that has been silent
/// longest.
const SETS: usize = 128;
const WAYS: usize = 8;
/// The last minutes in ticks of ten seconds; the alerts look back two minutes.
const TICKS: usize = 16;
pub const TICK_US: i64 = 10_000_000;

struct Tick {
    number: AtomicI64,
    cells: [AtomicU64; RECENT_CELLS],
}

struct Slot {
    /// 0: free.
    database: AtomicU32,
    /// Oid of the extension's schema: another one is another installation.
    schema: AtomicU32,
    started_at: AtomicI64,
    cells: [AtomicU64; CELLS],
    /// What found no place in the table of series: all its labels are `other`.
    other: [AtomicU64; LABELLED_CELLS],
    ticks: [Tick; TICKS],
}

struct Worker {
    /// Database and number; 0: free.
    key: AtomicU64,
    /// A tick.
    seen_at: AtomicI64,
    cells: [AtomicU64; WORKER_CELLS],
}

struct Counters {
    slots: [Slot; DATABASES],
    workers: [Worker; SETS * WAYS],
}

impl Counters {
    const fn zero() -> Self {
        Self {
            slots: [const {
                Slot {
                    database: AtomicU32::new(0),
                    schema: AtomicU32::new(0),
                    started_at: AtomicI64::new(0),
                    cells: [const { AtomicU64::new(0) }; CELLS],
                    other: [const { AtomicU64::new(0) }; LABELLED_CELLS],
                    ticks: [const {
                        Tick {
                            number: AtomicI64::new(0),
                            cells: [const { AtomicU64::new(0) }; RECENT_CELLS],
                        }
                    }; TICKS],
                }
            }; DATABASES],
            workers: [const {
                Worker {
                    key: AtomicU64::new(0),
                    seen_at: AtomicI64::new(0),
                    cells: [const { AtomicU64::new(0) }; WORKER_CELLS],
                }
            }; SETS * WAYS],
        }
    }
}

crate::pg::shmem::shareable! {
    struct Tick { number, cells }
    struct Slot { database, schema, started_at, cells, other, ticks }
    struct Worker { key, seen_at, cells }
    struct Counters { slots, workers }
}

crate::pg::shmem::shared_memory! {
    static COUNTERS: PgAtomic<Counters> = c"tasker_ext counters";
    static LOCK: PgLwLock<u32> = c"tasker_ext counters lock";
}
/// Set in the postmaster, inherited by every backend.
static PRELOADED: AtomicBool = AtomicBool::new(false);

std::thread_local! {
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    static WORKER: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// Requests the memory; only while the library is preloaded.
#[allow(unexpected_cfgs)] // The macro tests features of versions that this crate does not support.
pub fn define() {
    pg_shmem_init!(COUNTERS = Piece(Counters::zero()));
    pg_shmem_init!(LOCK = Piece(0));
    series::define();
    PRELOADED.store(true, Ordering::Relaxed);
}

pub fn exists() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

fn zero(cells: &[AtomicU64]) {
    cells
        .iter()
        .for_each(|cell| cell.store(0, Ordering::Relaxed));
}

/// An installation of the extension: the database and the oid of its schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Installation {
    pub database: u32,
    pub schema: u32,
}

impl Slot {
    fn is(&self, of: Installation) -> bool {
        self.database.load(Ordering::Acquire) == of.database
            && self.schema.load(Ordering::Acquire) == of.schema
    }

    fn add_other(&self, series: Series, cell: usize, amount: u64) {
        let cell = series.scope().first() + cell;
        if let Some(counter) = self.other.get(cell) {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }

    fn begin(&self, now: Timestamp) {
        zero(&self.cells);
        zero(&self.other);
        for tick in &self.ticks {
            tick.number.store(0, Ordering::Relaxed);
            zero(&tick.cells);
        }
        self.started_at.store(now, Ordering::Relaxed);
    }
}

fn forget_workers(database: u32) {
    for worker in &COUNTERS.get().workers {
        if (worker.key.load(Ordering::Relaxed) >> 32) as u32 == database {
            worker.key.store(0, Ordering::Relaxed);
        }
    }
}

fn forget_database(database: u32) {
    forget_workers(database);
    series::clear(database);
}

/// The slot of this installation, if it has one.
fn find(of: Installation) -> Option<usize> {
    let slots = &COUNTERS.get().slots;
    if let Some(mine) = MINE.get().filter(|mine| slots[*mine].is(of)) {
        return Some(mine);
    }
    let found = slots.iter().position(|slot| slot.is(of));
    MINE.set(found);
    found
}

/// The slot of this installation; a new one if there is room. The slot of an earlier installation starts again from zero.
fn take(of: Installation, now: Timestamp) -> Option<usize> {
    if let Some(mine) = find(of) {
        return Some(mine);
    }
    let slots = &COUNTERS.get().slots;
    let _guard = LOCK.exclusive();
    let of_database = |database: u32| {
        slots
            .iter()
            .position(|slot| slot.database.load(Ordering::Acquire) == database)
    };
    let index = of_database(of.database).or_else(|| of_database(0))?;
    let slot = &slots[index];
    // Another backend may have been faster.
    if !slot.is(of) {
        forget_database(of.database);
        slot.begin(now);
        slot.schema.store(of.schema, Ordering::Release);
        slot.database.store(of.database, Ordering::Release);
    }
    MINE.set(Some(index));
    Some(index)
}

/// Adds counts of a committed transaction to the slot of its installation.
pub struct Adder {
    slot: &'static Slot,
    of: Installation,
    now: Timestamp,
    tick: i64,
}

impl Adder {
    pub fn open(of: Installation, now: Timestamp) -> Option<Self> {
        if !exists() {
            return None;
        }
        take(of, now).map(|index| Self {
            slot: &COUNTERS.get().slots[index],
            of,
            now,
            tick: call::tick(),
        })
    }

    pub fn add(&self, key: Key, amount: u64) {
        let cell = usize::from(key.cell);
        if key.worker_no != 0 {
            if cell < WORKER_CELLS {
                let worker = worker(self.of.database, key.worker_no, self.tick);
                worker.cells[cell].fetch_add(amount, Ordering::Relaxed);
                worker.seen_at.store(self.tick, Ordering::Relaxed);
            }
            return;
        }
        if let Some(counter) = self.slot.cells.get(cell) {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
        if let Some(index) = recent_index(key.cell) {
            let number = self.now / TICK_US;
            let tick = &self.slot.ticks[number as usize % TICKS];
            let _guard = LOCK.exclusive();
            if tick.number.swap(number, Ordering::Relaxed) != number {
                zero(&tick.cells);
            }
            tick.cells[index].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Adds the counts of a series, to `other` if the table is full.
    pub fn add_series(&self, series: Series, cells: &Cells) {
        if series::add(self.of, series, cells, self.tick) {
            return;
        }
        for (cell, amount) in cells.iter() {
            self.slot.add_other(series, cell, amount);
        }
        self.slot.cells[usize::from(Metric::SeriesDropped.cell())]
            .fetch_add(cells.events(series.scope()), Ordering::Relaxed);
    }
}

fn worker(database: u32, worker_no: i32, tick: i64) -> &'static Worker {
    let workers = &COUNTERS.get().workers;
    let key = u64::from(database) << 32 | u64::from(worker_no as u32);
    let is_it = |index: &usize| workers[*index].key.load(Ordering::Acquire) == key;
    let (known, at) = WORKER.get();
    if known == key && is_it(&at) {
        return &workers[at];
    }
    // The multiplier spreads numbers that follow each other.
    let set = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as usize % SETS;
    let ways = set * WAYS..(set + 1) * WAYS;
    let index = ways.clone().find(is_it).unwrap_or_else(|| {
        let _guard = LOCK.exclusive();
        ways.clone().find(is_it).unwrap_or_else(|| {
            let oldest = |index: &usize| {
                let worker = &workers[*index];
                (
                    worker.key.load(Ordering::Relaxed) != 0,
                    worker.seen_at.load(Ordering::Relaxed),
                )
            };
            let index = ways.clone().min_by_key(oldest).unwrap_or(ways.start);
            zero(&workers[index].cells);
            workers[index].seen_at.store(tick, Ordering::Relaxed);
            workers[index].key.store(key, Ordering::Release);
            index
        })
    });
    WORKER.set((key, index));
    &workers[index]
}

/// Everything that is not zero: worker (0: the engine), cell, count.
pub fn counts(of: Installation) -> Vec<(i32, u16, u64)> {
    let mut all = Vec::new();
    let Some(slot) = exists().then(|| find(of)).flatten() else {
        return all;
    };
    let mut put = |worker_no: i32, cells: &[AtomicU64]| {
        for (cell, counter) in cells.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count != 0 {
                all.push((worker_no, cell as u16, count));
            }
        }
    };
    put(0, &COUNTERS.get().slots[slot].cells);
    for worker in &COUNTERS.get().workers {
        let key = worker.key.load(Ordering::Acquire);
        if (key >> 32) as u32 == of.database {
            put(key as u32 as i32, &worker.cells);
        }
    }
    all
}

/// What has no series of its own: place among the cells of all scopes, count.
pub fn other_counts(of: Installation) -> Vec<(usize, u64)> {
    let Some(slot) = exists().then(|| find(of)).flatten() else {
        return Vec::new();
    };
    let other = COUNTERS.get().slots[slot].other.iter().enumerate();
    other
        .map(|(cell, counter)| (cell, counter.load(Ordering::Relaxed)))
        .filter(|(_, amount)| *amount != 0)
        .collect()
}

/// Gives back the places of series without a count since this tick, and of installations that are gone. Returns how many.
pub fn release_series(of: Installation, since: i64) -> usize {
    let Some(own) = exists().then(|| find(of)).flatten() else {
        return 0;
    };
    let slots = &COUNTERS.get().slots;
    let is_alive = |of| slots.iter().any(|slot| slot.is(of));
    series::release_untouched(of, since, is_alive, |series, cell, amount| {
        slots[own].add_other(series, cell, amount);
    })
}

/// The last minutes: when a tick began, place of the cell among the recent ones, count.
pub fn recent(of: Installation, now: Timestamp) -> Vec<(Timestamp, usize, u64)> {
    let mut all = Vec::new();
    let Some(slot) = exists().then(|| find(of)).flatten() else {
        return all;
    };
    let _guard = LOCK.share();
    for tick in &COUNTERS.get().slots[slot].ticks {
        let number = tick.number.load(Ordering::Relaxed);
        // After the clock was set back some are in the future.
        if number <= now / TICK_US - TICKS as i64 || number > now / TICK_US {
            continue;
        }
        for (index, counter) in tick.cells.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count != 0 {
                all.push((number * TICK_US, index, count));
            }
        }
    }
    all
}

/// Since when the counters of this installation count; `None` if nothing was counted yet.
pub fn started_at(of: Installation) -> Option<Timestamp> {
    let slot = exists().then(|| find(of)).flatten()?;
    Some(
        COUNTERS.get().slots[slot]
            .started_at
            .load(Ordering::Relaxed),
    )
}

/// Resets the counters to zero.
pub fn reset(of: Installation, now: Timestamp) {
    if let Some(slot) = exists().then(|| find(of)).flatten() {
        let _guard = LOCK.exclusive();
        forget_database(of.database);
        COUNTERS.get().slots[slot].begin(now);
    }
}

/// Frees the slot of a database without the extension.
pub fn forget(database: u32) {
    if !exists() {
        return;
    }
    let _guard = LOCK.exclusive();
    let slots = &COUNTERS.get().slots;
    let its = |slot: &&Slot| slot.database.load(Ordering::Acquire) == database;
    if let Some(slot) = slots.iter().find(its) {
        free(slot, database);
    }
}

/// Under the lock.
fn free(slot: &Slot, database: u32) {
    slot.schema.store(0, Ordering::Release);
    slot.database.store(0, Ordering::Release);
    forget_database(database);
}

/// Frees the slots of databases that are gone.
pub fn sweep() {
    let slots = &COUNTERS.get().slots;
    let databases: Vec<u32> = slots
        .iter()
        .map(|slot| slot.database.load(Ordering::Acquire))
        .collect();
    for (slot, database) in slots.iter().zip(databases) {
        // Within a transaction and without the lock.
        if database == 0 || backend::database_exists(database) {
            continue;
        }
        let _guard = LOCK.exclusive();
        if slot.database.load(Ordering::Acquire) == database {
            free(slot, database);
        }
    }
}
