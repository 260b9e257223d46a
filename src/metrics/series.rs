//! Series with labels in shared memory: a table for the whole server, of a size that its start decides.
//!
//! Counting takes no lock. A backend pins a series, looks whether it is still the same, adds and unpins. A series is taken away only while
//! no backend pins it: no count goes to what has its place afterwards. The lock is for what is rare: a new series, one that
//! goes, and a reader, which sees all counts either before or behind such a change. Insertion takes it because two
//! backends could otherwise insert the same series twice.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use pgrx::lwlock::PgLwLock;
use pgrx::{PgAtomic, pg_guard, pg_shmem_init, pg_sys};
use tasker_rules::operations::metrics::{
    CANDIDATES, CLASS_CHARACTERS, Candidates, Cells, OTHER, OTHER_CLASS, SERIES_CELLS, Scope,
    Series, mixed, place, takes_place,
};

use super::classes;
use super::shared::Installation;
use crate::pg::shmem::{Piece, Slice};
use crate::settings;

/// In the index: a series was here, and a search goes on behind it.
const GONE: u32 = u32::MAX;
/// The index has this many places for each series, and a search looks at no more than that number.
const PLACES_PER_SERIES: usize = 4;
const MOST_PROBES: usize = 256;

// The cells of a series with a class: its count; how frequent it is among the classes of its step; its text.
const CLASS_COUNT: usize = 0;
const CLASS_FREQUENCY: usize = 1;
const CLASS_TEXT: usize = 2;
const TEXT_CELLS: usize = CLASS_CHARACTERS * 4 / 8;
// The cells of the series that stands for the other classes of a step: its count; what the least frequent class with a series has
// had at least; how many classes have a series; the summary of those that have none.
const OTHERS_LEAST: usize = 1;
const OTHERS_PLACED: usize = 2;
const OTHERS_CLASSES: usize = 3;
const OTHERS_COUNTS: usize = OTHERS_CLASSES + CANDIDATES;
const _: () = assert!(OTHERS_COUNTS + CANDIDATES <= SERIES_CELLS);
const _: () = assert!(CLASS_TEXT + TEXT_CELLS <= SERIES_CELLS);

struct Counted {
    /// As [`place`] has it: a pin for each backend that adds now.
    state: AtomicU64,
    /// Database and oid of the extension's schema.
    owner: AtomicU64,
    /// Template and step.
    place: AtomicU64,
    class: AtomicU64,
    /// The tick of the last count.
    seen_at: AtomicI64,
    cells: [AtomicU64; SERIES_CELLS],
}

struct Head {
    used: AtomicU32,
    /// Where the search for a free series begins.
    cursor: AtomicU32,
}

crate::pg::shmem::shareable! {
    struct Counted { state, owner, place, class, seen_at, cells }
    struct Head { used, cursor }
}

crate::pg::shmem::shared_memory! {
    static HEAD: PgAtomic<Head> = c"tasker_ext series head";
    static LOCK: PgLwLock<u32> = c"tasker_ext series lock";
}
static COUNTED: Slice<Counted> = Slice::new(c"tasker_ext series", Counted::free);
static INDEX: Slice<AtomicU32> = Slice::new(c"tasker_ext series index", || AtomicU32::new(0));

/// Requests the memory; only while the library is preloaded.
#[allow(unexpected_cfgs)] // The macro tests features of versions that this crate does not support.
pub fn define() {
    let most = settings::max_metric_series();
    pg_shmem_init!(
        HEAD = Piece(Head {
            used: AtomicU32::new(0),
            cursor: AtomicU32::new(0),
        })
    );
    pg_shmem_init!(LOCK = Piece(0));
    COUNTED.define(most);
    INDEX.define((most * PLACES_PER_SERIES).next_power_of_two());
}

fn owner(of: Installation) -> u64 {
    u64::from(of.database) << 32 | u64::from(of.schema)
}

fn place_of(series: Series) -> u64 {
    u64::from(series.template as u32) << 16 | u64::from(series.step as u16)
}

/// The key of a series.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    owner: u64,
    place: u64,
    class: u64,
}

impl Key {
    fn of(of: Installation, series: Series) -> Self {
        Self {
            owner: owner(of),
            place: place_of(series),
            class: series.class,
        }
    }

    fn series(self) -> Series {
        Series {
            template: (self.place >> 16) as u32 as i32,
            step: self.place as u16 as i16,
            class: self.class,
        }
    }

    /// The places of the index in which it can be, in their order.
    fn probes(self) -> impl Iterator<Item = usize> {
        let places = INDEX.get().len();
        let start = mixed(mixed(self.owner ^ self.place) ^ self.class) as usize;
        (0..MOST_PROBES.min(places)).map(move |step| start.wrapping_add(step) & (places - 1))
    }
}

impl Counted {
    fn free() -> Self {
        Self {
            state: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            place: AtomicU64::new(0),
            class: AtomicU64::new(0),
            seen_at: AtomicI64::new(0),
            cells: [const { AtomicU64::new(0) }; SERIES_CELLS],
        }
    }

    fn key(&self) -> Key {
        Key {
            owner: self.owner.load(Ordering::Relaxed),
            place: self.place.load(Ordering::Relaxed),
            class: self.class.load(Ordering::Relaxed),
        }
    }

    fn in_use(&self) -> bool {
        place::in_use(&self.state)
    }

    /// No backend takes it away until the pin is dropped; `None` if it is not this series any more.
    fn pin(&'static self, key: Key) -> Option<Pin> {
        let in_use = place::pin(&self.state);
        let pin = Pin(self);
        (in_use && self.key() == key).then_some(pin)
    }

    /// Gives the place back unless a backend adds to it now. Under the lock.
    fn give_back(&self, number: usize) -> bool {
        let free = place::give_back(&self.state);
        if free {
            forget(self.key(), number);
            HEAD.get().used.fetch_sub(1, Ordering::Relaxed);
        }
        free
    }

    fn candidates(&self) -> Candidates<'_> {
        Candidates {
            classes: &self.cells[OTHERS_CLASSES..OTHERS_COUNTS],
            counts: &self.cells[OTHERS_COUNTS..OTHERS_COUNTS + CANDIDATES],
        }
    }

    fn write_text(&self, text: &str) {
        let mut bytes = [0; TEXT_CELLS * 8];
        let length = text.len().min(bytes.len());
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        for (cell, word) in self.cells[CLASS_TEXT..].iter().zip(bytes.chunks_exact(8)) {
            let word = word
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            cell.store(word, Ordering::Relaxed);
        }
    }

    /// PostgreSQL's texts have no zero byte, so it ends there.
    fn text(&self) -> String {
        let words = self.cells[CLASS_TEXT..CLASS_TEXT + TEXT_CELLS].iter();
        let bytes: Vec<u8> = words
            .flat_map(|cell| cell.load(Ordering::Relaxed).to_be_bytes())
            .take_while(|byte| *byte != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it has counted, by place; of a class only the count.
    fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        let count = self.key().series().scope().cell_count();
        let cells = self.cells[..count].iter().enumerate();
        cells.map(|(cell, counter)| (cell, counter.load(Ordering::Relaxed)))
    }
}

/// A series that keeps its place.
struct Pin(&'static Counted);

impl Pin {
    fn add(&self, cell: usize, amount: u64) {
        self.0.cells[cell].fetch_add(amount, Ordering::Relaxed);
    }

    fn get(&self, cell: usize) -> u64 {
        self.0.cells[cell].load(Ordering::Relaxed)
    }

    fn seen(&self, tick: i64) {
        self.0.seen_at.store(tick, Ordering::Relaxed);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        place::unpin(&self.0.state);
    }
}

fn find(key: Key) -> Option<Pin> {
    let (index, all) = (INDEX.get(), COUNTED.get());
    for at in key.probes() {
        match index[at].load(Ordering::Acquire) {
            0 => return None,
            GONE => {}
            number => {
                let counted = &all[number as usize - 1];
                if counted.key() == key
                    && let Some(pin) = counted.pin(key)
                {
                    return Some(pin);
                }
            }
        }
    }
    None
}

/// The series, in a new place if it has none; `None` if the table is full.
fn find_or_insert(key: Key, tick: i64) -> Option<Pin> {
    if let Some(pin) = find(key) {
        return Some(pin);
    }
    if is_full() {
        return None;
    }
    let _guard = LOCK.exclusive();
    // Another backend may have been faster.
    find(key).or_else(|| insert(key, tick))
}

fn is_full() -> bool {
    HEAD.get().used.load(Ordering::Relaxed) as usize >= COUNTED.get().len()
}

/// Under the lock.
fn insert(key: Key, tick: i64) -> Option<Pin> {
    if is_full() {
        return None;
    }
    let (index, all, head) = (INDEX.get(), COUNTED.get(), HEAD.get());
    let at = key
        .probes()
        .find(|at| matches!(index[*at].load(Ordering::Relaxed), 0 | GONE))?;
    let first = head.cursor.load(Ordering::Relaxed) as usize;
    let number = (first..first + all.len())
        .map(|number| number % all.len())
        .find(|number| !all[*number].in_use())?;
    head.cursor.store(number as u32 + 1, Ordering::Relaxed);
    let counted = &all[number];
    for cell in &counted.cells {
        cell.store(0, Ordering::Relaxed);
    }
    counted.owner.store(key.owner, Ordering::Relaxed);
    counted.place.store(key.place, Ordering::Relaxed);
    counted.class.store(key.class, Ordering::Relaxed);
    counted.seen_at.store(tick, Ordering::Relaxed);
    // Pinned at once.
    place::take(&counted.state);
    index[at].store(number as u32 + 1, Ordering::Release);
    head.used.fetch_add(1, Ordering::Relaxed);
    Some(Pin(counted))
}

/// Takes a series out of the index; a search need not go on over the end of a row of places. Under the lock.
fn forget(key: Key, number: usize) {
    let index = INDEX.get();
    let wanted = number as u32 + 1;
    let Some(at) = key
        .probes()
        .find(|at| index[*at].load(Ordering::Relaxed) == wanted)
    else {
        return;
    };
    index[at].store(GONE, Ordering::Release);
    let last = index.len() - 1;
    if index[(at + 1) & last].load(Ordering::Relaxed) == 0 {
        let mut back = at;
        while index[back].load(Ordering::Relaxed) == GONE {
            index[back].store(0, Ordering::Release);
            back = back.wrapping_sub(1) & last;
        }
    }
}

/// Adds what a committed transaction has counted in a series. Returns false if there is no place for it: then nothing was added.
pub fn add(of: Installation, series: Series, cells: &Cells, tick: i64) -> bool {
    let key = Key::of(of, series);
    if series.scope() == Scope::Class {
        return add_class(key, cells.events(Scope::Class), tick);
    }
    let Some(pin) = find_or_insert(key, tick) else {
        return false;
    };
    cells
        .iter()
        .for_each(|(cell, amount)| pin.add(cell, amount));
    pin.seen(tick);
    true
}

fn add_class(key: Key, amount: u64, tick: i64) -> bool {
    let known = (key.class != OTHER_CLASS).then(|| find(key)).flatten();
    if let Some(pin) = known {
        pin.add(CLASS_COUNT, amount);
        pin.add(CLASS_FREQUENCY, amount);
        pin.seen(tick);
        return true;
    }
    let others = Key {
        class: OTHER_CLASS,
        ..key
    };
    let Some(others) = find_or_insert(others, tick) else {
        return false;
    };
    others.seen(tick);
    if key.class == OTHER_CLASS {
        others.add(CLASS_COUNT, amount);
        return true;
    }
    if others.get(OTHERS_PLACED) < settings::max_error_classes() as u64 {
        let Some(pin) = insert_class(key, &others, tick) else {
            return false;
        };
        pin.add(CLASS_COUNT, amount);
        pin.add(CLASS_FREQUENCY, amount);
        return true;
    }
    let frequency = others.0.candidates().count(key.class, amount);
    if takes_place(frequency, others.get(OTHERS_LEAST))
        && let Some(pin) = displace(key, frequency, &others, tick)
    {
        pin.add(CLASS_COUNT, amount);
    } else {
        others.add(CLASS_COUNT, amount);
    }
    true
}

fn insert_class(key: Key, others: &Pin, tick: i64) -> Option<Pin> {
    let _guard = LOCK.exclusive();
    find(key).or_else(|| {
        let pin = insert(key, tick)?;
        classes::with_text(key.class, |text| pin.0.write_text(text));
        others.add(OTHERS_PLACED, 1);
        Some(pin)
    })
}

/// A class has become more frequent than the least frequent one of its step with a series: it takes the place, and what the other has
/// counted goes to the class `other`.
fn displace(key: Key, frequency: u64, others: &Pin, tick: i64) -> Option<Pin> {
    let _guard = LOCK.exclusive();
    if let Some(pin) = find(key) {
        return Some(pin);
    }
    let of_step = |counted: &Counted| {
        let its = counted.key();
        counted.in_use()
            && (its.owner, its.place) == (key.owner, key.place)
            && its.class > OTHER_CLASS
    };
    let all = COUNTED.get().iter().enumerate();
    let (number, least) = all
        .filter(|(_, counted)| of_step(counted))
        .min_by_key(|(_, counted)| counted.cells[CLASS_FREQUENCY].load(Ordering::Relaxed))?;
    let had = least.cells[CLASS_FREQUENCY].load(Ordering::Relaxed);
    others.0.cells[OTHERS_LEAST].store(had, Ordering::Relaxed);
    if !takes_place(frequency, had) || !least.give_back(number) {
        return None;
    }
    others.add(
        CLASS_COUNT,
        least.cells[CLASS_COUNT].load(Ordering::Relaxed),
    );
    let loses = least.class.load(Ordering::Relaxed);
    others.0.candidates().exchange(key.class, loses, had);
    let pin = insert(key, tick)?;
    classes::with_text(key.class, |text| pin.0.write_text(text));
    pin.0.cells[CLASS_FREQUENCY].store(frequency, Ordering::Relaxed);
    Some(pin)
}

/// What the series of an installation have counted: series, text of its class, place of the cell, count. Also what `others` reads: under
/// the same lock, so that what a series gave to them is there once.
pub fn counts<T>(
    of: Installation,
    mut put: impl FnMut(Series, &str, usize, u64),
    others: impl FnOnce() -> T,
) -> T {
    let owner = owner(of);
    let _guard = LOCK.share();
    for counted in COUNTED.get() {
        let key = counted.key();
        if key.owner != owner || !counted.in_use() {
            continue;
        }
        let text = match key.class {
            0 => String::new(),
            OTHER_CLASS => OTHER.to_owned(),
            _ => counted.text(),
        };
        for (cell, amount) in counted.counts() {
            if amount != 0 {
                put(key.series(), &text, cell, amount);
            }
        }
    }
    others()
}

/// How many series the server has.
pub fn used() -> u32 {
    HEAD.get().used.load(Ordering::Relaxed)
}

/// Gives back the places of series without a count since this tick, of this installation and of those that are gone. What they
/// have counted is given to `other` first, which sees it before any reader does. Returns how many.
pub fn release_untouched(
    of: Installation,
    since: i64,
    is_alive: impl Fn(Installation) -> bool,
    mut other: impl FnMut(Series, usize, u64),
) -> usize {
    let own = owner(of);
    let _guard = LOCK.exclusive();
    let all = COUNTED.get();
    let mut released = 0;
    // A step keeps the series of its other classes as long as one of its classes has a series.
    for of_others in [false, true] {
        for (number, counted) in all.iter().enumerate() {
            let key = counted.key();
            if !counted.in_use()
                || (key.class == OTHER_CLASS) != of_others
                || counted.seen_at.load(Ordering::Relaxed) > since
            {
                continue;
            }
            let of = Installation {
                database: (key.owner >> 32) as u32,
                schema: key.owner as u32,
            };
            if key.owner != own && is_alive(of) || of_others && has_classes(key) {
                continue;
            }
            if !counted.give_back(number) {
                continue;
            }
            released += 1;
            if key.owner == own {
                for (cell, amount) in counted.counts() {
                    other(key.series(), cell, amount);
                }
            }
            if key.class > OTHER_CLASS {
                class_went(key);
            }
        }
    }
    released
}

fn has_classes(others: Key) -> bool {
    COUNTED.get().iter().any(|counted| {
        let key = counted.key();
        counted.in_use()
            && (key.owner, key.place) == (others.owner, others.place)
            && key.class > OTHER_CLASS
    })
}

fn class_went(key: Key) {
    let others = Key {
        class: OTHER_CLASS,
        ..key
    };
    if let Some(pin) = find(others) {
        pin.0.cells[OTHERS_PLACED].fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often a series is looked at again that a backend adds to, which takes less than a microsecond.
const MOST_TRIES: usize = 10_000;

/// Gives back the places of all series of a database, whatever they have counted.
pub fn clear(database: u32) {
    let _guard = LOCK.exclusive();
    for (number, counted) in COUNTED.get().iter().enumerate() {
        let of_database = || (counted.owner.load(Ordering::Relaxed) >> 32) as u32 == database;
        for _ in 0..MOST_TRIES {
            if !counted.in_use() || !of_database() || counted.give_back(number) {
                break;
            }
            std::hint::spin_loop();
        }
    }
}
