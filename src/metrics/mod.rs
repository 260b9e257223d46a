//! Counting. A count is kept in the backend until its transaction commits and then added to shared memory, which
//! costs a few nanoseconds; without shared memory it is appended to a table, by a call that writes anyway and at most
//! every ten seconds. What a rolled-back transaction or savepoint did is not counted.

mod shared;

use std::cell::Cell;
use std::collections::BTreeMap;

use tasker_rules::operations::metrics::{Key, Ledger, WORKER_CELLS};

pub use shared::{TICK_US, define};
pub use tasker_rules::operations::metrics::Metric;

use crate::error::Result;
use crate::pg::append::append;
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::{self, Kept};
use crate::pg::xact::{self, End, SavepointEnd};
use crate::pg::{backend, call};
use crate::storage;

/// Without shared memory: how often a backend writes what it has counted.
const WRITE_EVERY_US: i64 = 10_000_000;
/// With all slots taken: how often a backend checks for dropped databases.
const SWEEP_EVERY_US: i64 = 60_000_000;

static LEDGER: Kept<Ledger> = Kept::new();
std::thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// No slot was free at the last commit.
    static FULL: Cell<bool> = const { Cell::new(false) };
    // Ticks.
    static SWEPT_AT: Cell<Option<i64>> = const { Cell::new(None) };
    static WRITTEN_AT: Cell<Option<i64>> = const { Cell::new(None) };
}

fn installation() -> shared::Installation {
    shared::Installation {
        database: backend::database(),
        schema: installation::current(),
    }
}

/// Whether counts go to the table.
fn uses_table() -> bool {
    !shared::exists() || FULL.get()
}

/// Counts several things and reads the transaction's state once.
pub fn record(body: impl FnOnce(&mut Recorder)) {
    if !REGISTERED.replace(true) {
        xact::at_each_end(transaction_ends);
        xact::at_each_savepoint(savepoint_ends);
    }
    let level = xact::level();
    LEDGER.with(|ledger| body(&mut Recorder { ledger, level }));
}

pub struct Recorder<'a> {
    ledger: &'a mut Ledger,
    level: i32,
}

impl Recorder<'_> {
    fn add(&mut self, worker_no: i32, cell: u16, amount: u64) {
        self.ledger.add(self.level, Key { worker_no, cell }, amount);
    }

    /// Adds to a count.
    pub fn count(&mut self, metric: Metric, amount: usize) {
        if amount > 0 {
            self.add(0, metric.cell(), amount as u64);
        }
    }

    /// Counts an event that a worker caused.
    pub fn count_for(&mut self, worker_no: i32, metric: Metric) {
        let cell = metric.cell();
        self.add(0, cell, 1);
        if worker_no != 0 && usize::from(cell) < WORKER_CELLS {
            self.add(worker_no, cell, 1);
        }
    }

    /// Counts an event with this value of the metric's label; unknown values are not counted.
    pub fn count_labelled(&mut self, metric: Metric, value: &str) {
        if let Some(cell) = metric.labelled(value) {
            self.add(0, cell, 1);
        }
    }

    /// Counts a duration in a histogram.
    pub fn observe(&mut self, metric: Metric, microseconds: i64) {
        self.add(0, metric.bucket(microseconds), 1);
        self.add(0, metric.sum(), microseconds.max(0) as u64);
    }
}

/// Adds to a count.
pub fn count(metric: Metric, amount: usize) {
    record(|recorder| recorder.count(metric, amount));
}

/// Counts an event with this value of the metric's label.
pub fn count_labelled(metric: Metric, value: &str) {
    record(|recorder| recorder.count_labelled(metric, value));
}

fn of_engine(cell: u16) -> Key {
    Key { worker_no: 0, cell }
}

/// The same, even if the transaction rolls back: a refusal that raises an error also counts.
pub fn count_at_once(metric: Metric, value: &str) {
    let Some(cell) = metric.labelled(value) else {
        return;
    };
    match shared::Adder::open(installation(), call::clock()) {
        Some(adder) => adder.add(of_engine(cell), 1),
        None => LEDGER.with(|ledger| ledger.keep(of_engine(cell), 1)),
    }
}

fn transaction_ends(end: End) {
    // A prepared transaction counts now, because another session may commit it.
    let committed = end != End::Abort;
    LEDGER.with(|ledger| {
        if ledger.is_idle() {
            return;
        }
        if !committed {
            return ledger.abort();
        }
        match shared::Adder::open(installation(), call::clock()) {
            Some(adder) => {
                FULL.set(false);
                ledger.hand_on(|key, amount| adder.add(key, amount));
            }
            None => {
                FULL.set(true);
                ledger.commit();
            }
        }
    });
}

fn savepoint_ends(end: SavepointEnd, level: i32) {
    LEDGER.with(|ledger| {
        if ledger.is_idle() {
            return;
        }
        match end {
            SavepointEnd::Release => ledger.commit_level(level),
            SavepointEnd::Rollback => ledger.abort_level(level),
        }
    });
}

/// The end of a call that writes anyway: without shared memory, appends what was counted if that is due.
pub fn write_if_due(now: Timestamp, tick: i64) -> Result<()> {
    let recent = |last: Option<i64>, every| last.is_some_and(|last| tick - last < every);
    if !uses_table() || recent(WRITTEN_AT.get(), WRITE_EVERY_US) {
        return Ok(());
    }
    if shared::exists() && !recent(SWEPT_AT.replace(Some(tick)), SWEEP_EVERY_US) {
        shared::sweep();
    }
    write(now)
}

/// Without shared memory, appends what was counted.
pub fn write(now: Timestamp) -> Result<()> {
    if !uses_table() {
        return Ok(());
    }
    WRITTEN_AT.set(Some(call::tick()));
    let level = xact::level();
    let counts = LEDGER.with(|ledger| ledger.write(level));
    let mut workers: BTreeMap<i32, (Vec<i16>, Vec<i64>)> = BTreeMap::new();
    for (key, amount) in counts {
        let (cells, amounts) = workers.entry(key.worker_no).or_default();
        cells.push(key.cell as i16);
        amounts.push(amount as i64);
    }
    let rows: Vec<_> = workers
        .into_iter()
        .map(|(worker_no, (cells, amounts))| {
            [
                datum::timestamp(now),
                datum::int4(worker_no),
                datum::boolean(false),
                datum::int2s(cells),
                datum::int8s(amounts),
            ]
        })
        .collect();
    append(&storage::METRIC_COUNTS, &rows)
}

/// Worker (0: the engine), cell and count of everything in shared memory.
pub fn shared_counts() -> Vec<(i32, u16, u64)> {
    shared::counts(installation())
}

/// The last minutes of finalization claims in shared memory.
pub fn shared_recent(now: Timestamp) -> Vec<(Timestamp, usize, u64)> {
    shared::recent(installation(), now)
}

/// Whether there is shared memory, and since when it counts.
pub fn shared_since() -> (bool, Option<Timestamp>) {
    (shared::exists(), shared::started_at(installation()))
}

/// Resets shared memory to zero immediately.
pub fn reset_shared() {
    shared::reset(installation(), call::clock());
}
