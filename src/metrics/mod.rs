//! Counting. A count is kept in the backend until its transaction commits and then added to shared memory, which
//! costs a few nanoseconds; without shared memory it is appended to a table, by a call that writes anyway and at most
//! every ten seconds. What a rolled-back transaction or savepoint did is not counted.

mod classes;
mod series;
mod shared;

use std::cell::Cell;
use std::collections::BTreeMap;

use tasker_rules::operations::metrics::{
    Cells, Key, Ledger, OTHER, OTHER_CLASS, Scope, Series, WORKER_CELLS,
};

pub use classes::Class;
pub use shared::{TICK_US, define};
pub use tasker_rules::operations::metrics::Metric;

use crate::error::Result;
use crate::pg::append::append;
use crate::pg::datum::{self, Timestamp};
use crate::pg::installation::{self, Kept};
use crate::pg::xact::{self, End, SavepointEnd};
use crate::pg::{backend, call};
use crate::{settings, storage};

/// Without shared memory: how often a backend writes what it has counted.
const WRITE_EVERY_US: i64 = 10_000_000;
/// With all slots taken: how often a backend checks for dropped databases.
const SWEEP_EVERY_US: i64 = 60_000_000;

static LEDGER: Kept<Ledger<Key, u64>> = Kept::new();
/// The same by labels.
static SERIES: Kept<Ledger<Series, Cells>> = Kept::new();
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
    LEDGER.with(|ledger| {
        SERIES.with(|series| {
            body(&mut Recorder {
                ledger,
                series,
                level,
            });
        });
    });
}

pub struct Recorder<'a> {
    ledger: &'a mut Ledger<Key, u64>,
    series: &'a mut Ledger<Series, Cells>,
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

    /// The counts of a series.
    pub fn series(&mut self, series: Series) -> &mut Cells {
        self.series.at(self.level, series)
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
    // Labels are counted only beside what has none.
    LEDGER.with(|ledger| {
        if ledger.is_idle() {
            return;
        }
        if !committed {
            ledger.abort();
            return SERIES.with(Ledger::abort);
        }
        match shared::Adder::open(installation(), call::clock()) {
            Some(adder) => {
                FULL.set(false);
                ledger.hand_on(|key, amount| adder.add(key, *amount));
                SERIES.with(|series| series.hand_on(|key, cells| adder.add_series(key, cells)));
            }
            None => {
                FULL.set(true);
                ledger.commit();
                let mut dropped = 0;
                SERIES.with(|series| {
                    series.commit_within(
                        settings::max_metric_series(),
                        Series::other,
                        |key, cells| {
                            dropped += cells.events(key.scope());
                        },
                    );
                });
                if dropped > 0 {
                    ledger.keep(of_engine(Metric::SeriesDropped.cell()), dropped);
                }
            }
        }
        if SERIES.with(|series| series.is_empty()) {
            classes::passed_on();
        }
    });
}

fn savepoint_ends(end: SavepointEnd, level: i32) {
    LEDGER.with(|ledger| {
        if ledger.is_idle() {
            return;
        }
        match end {
            SavepointEnd::Release => {
                ledger.commit_level(level);
                SERIES.with(|series| series.commit_level(level));
            }
            SavepointEnd::Rollback => {
                ledger.abort_level(level);
                SERIES.with(|series| series.abort_level(level));
            }
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
    append(&storage::METRIC_COUNTS, &rows)?;
    write_series(now, level)
}

/// The counts by labels: all of them in one row, a place of each array for each cell.
fn write_series(now: Timestamp, level: i32) -> Result<()> {
    let counted = SERIES.with(|series| match series.is_empty() {
        true => BTreeMap::new(),
        false => series.write(level),
    });
    if counted.is_empty() {
        return Ok(());
    }
    let mut cells: Vec<(Series, i16, i64)> = Vec::new();
    for (series, counts) in &counted {
        let first = series.scope().first();
        let of_series = counts.iter();
        cells.extend(
            of_series.map(|(cell, amount)| (*series, (first + cell) as i16, amount as i64)),
        );
    }
    let texts: Vec<Option<String>> = cells.iter().map(|(series, ..)| text_of(*series)).collect();
    let row = [
        datum::timestamp(now),
        datum::boolean(false),
        datum::int4s(cells.iter().map(|(series, ..)| series.template)),
        datum::int2s(cells.iter().map(|(series, ..)| series.step)),
        datum::texts(texts.iter().map(Option::as_deref)),
        datum::int2s(cells.iter().map(|(_, cell, _)| *cell)),
        datum::int8s(cells.iter().map(|(.., amount)| *amount)),
    ];
    append(&storage::SERIES_COUNTS, &[row])
}

/// The text of the class, if the series has one.
fn text_of(series: Series) -> Option<String> {
    match series.scope() {
        Scope::Template | Scope::Step => None,
        Scope::Class if series.class == OTHER_CLASS => Some(OTHER.to_owned()),
        Scope::Class => Some(classes::with_text(series.class, str::to_owned)),
    }
}

/// Worker (0: the engine), cell and count of everything in shared memory.
pub fn shared_counts() -> Vec<(i32, u16, u64)> {
    shared::counts(installation())
}

/// One number of a series in shared memory.
pub struct SeriesCount {
    pub series: Series,
    pub error_class: Option<String>,
    /// Its place among the cells of all scopes.
    pub cell: usize,
    pub amount: u64,
}

/// The counts by labels in shared memory.
pub fn shared_series() -> Vec<SeriesCount> {
    let mut all = Vec::new();
    if !shared::exists() {
        return all;
    }
    let put = |series: Series, text: &str, cell, amount| {
        all.push(SeriesCount {
            series,
            error_class: (series.scope() == Scope::Class).then(|| text.to_owned()),
            cell: series.scope().first() + cell,
            amount,
        });
    };
    let others = series::counts(installation(), put, || shared::other_counts(installation()));
    for (cell, amount) in others {
        let scopes = Scope::ALL.iter().rev();
        let scope = scopes.copied().find(|scope| scope.first() <= cell);
        let series = match scope {
            Some(Scope::Class) => Series::of_step(0, 1).with_class(OTHER_CLASS),
            Some(Scope::Step) => Series::of_step(0, 1),
            _ => Series::of_template(0),
        };
        all.push(SeriesCount {
            series,
            error_class: (scope == Some(Scope::Class)).then(|| OTHER.to_owned()),
            cell,
            amount,
        });
    }
    all
}

/// How many series shared memory holds, for all databases of the server.
pub fn shared_series_used() -> u32 {
    if shared::exists() { series::used() } else { 0 }
}

/// In shared memory, gives back the places of databases that are gone and of series without a count for this time (0: forever).
/// Returns how many series had to go.
pub fn release_series(untouched_us: i64) -> usize {
    if !shared::exists() {
        return 0;
    }
    shared::sweep();
    let since = match untouched_us {
        0 => i64::MIN,
        untouched => call::tick().saturating_sub(untouched),
    };
    shared::release_series(installation(), since)
}

/// The database has no extension any more: its counts are gone.
pub fn forget(database: u32) {
    shared::forget(database);
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
