//! What the caches of this backend hold and how often they had the answer: the relation tasker.caches.

use std::cell::Cell;
use std::hash::Hash;

use tasker_rules::operations::caching::Bounded;

use super::changes::{self, Watched};
use super::installation::Kept;
use crate::error::Result;

/// The counts of one cache; plain cells, so that a hit costs one addition.
pub struct Cache {
    pub name: &'static str,
    /// The relation whose change empties it.
    of: &'static Watched,
    hits: Cell<u64>,
    misses: Cell<u64>,
    evictions: Cell<u64>,
    invalidations: Cell<u64>,
    entries: Cell<usize>,
    bytes: Cell<usize>,
}

// SAFETY: a backend has one thread.
unsafe impl Sync for Cache {}

pub static TEMPLATES: Cache = Cache::new("templates", &changes::CACHES);
pub static TEMPLATE_FACTS: Cache = Cache::new("template_facts", &changes::CACHES);
pub static EVENT_ROUTES: Cache = Cache::new("event_routes", &changes::EVENT_ROUTES);
pub static EVENT_SCHEMAS: Cache = Cache::new("event_schemas", &changes::EVENTS);
pub static CONFIGURATION: Cache = Cache::new("configuration", &changes::CONFIGURATION);
pub static CLAIMANTS: Cache = Cache::new("claimants", &changes::CLAIMANTS);

pub static ALL: [&Cache; 6] = [
    &CLAIMANTS,
    &CONFIGURATION,
    &EVENT_ROUTES,
    &EVENT_SCHEMAS,
    &TEMPLATE_FACTS,
    &TEMPLATES,
];

/// What a cache has counted since the backend began.
pub struct Counts {
    pub entries: usize,
    pub bytes: usize,
    pub hits: u64,
    pub misses: u64,
    pub evictions: u64,
    pub invalidations: u64,
}

fn add(cell: &Cell<u64>, more: usize) {
    cell.set(cell.get().wrapping_add(more as u64));
}

impl Cache {
    const fn new(name: &'static str, of: &'static Watched) -> Self {
        Self {
            name,
            of,
            hits: Cell::new(0),
            misses: Cell::new(0),
            evictions: Cell::new(0),
            invalidations: Cell::new(0),
            entries: Cell::new(0),
            bytes: Cell::new(0),
        }
    }

    pub fn hit(&self) {
        add(&self.hits, 1);
    }

    pub fn missed(&self) {
        add(&self.misses, 1);
    }

    pub fn evicted(&self, entries: usize) {
        add(&self.evictions, entries);
    }

    /// Everything was forgotten because it may have changed.
    pub fn invalidated(&self) {
        if self.entries.get() > 0 {
            add(&self.invalidations, 1);
        }
        self.holds(0, 0);
    }

    pub fn holds(&self, entries: usize, bytes: usize) {
        self.entries.set(entries);
        self.bytes.set(bytes);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            entries: self.entries.get(),
            bytes: self.bytes.get(),
            hits: self.hits.get(),
            misses: self.misses.get(),
            evictions: self.evictions.get(),
            invalidations: self.invalidations.get(),
        }
    }

    /// Empties it in every session: in this one with its next look-up, in the others when the transaction commits.
    pub fn reset(&self) -> Result<()> {
        changes::tell(self.of)
    }
}

/// Values that never change, within a number and the memory of a setting; a reset empties them.
pub struct Unchanging<K, V> {
    cache: &'static Cache,
    kept: Kept<Since<K, V>>,
    most: usize,
}

struct Since<K, V> {
    changes: u64,
    kept: Bounded<K, V>,
}

impl<K, V> Default for Since<K, V> {
    fn default() -> Self {
        Self {
            changes: 0,
            kept: Bounded::default(),
        }
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Unchanging<K, V> {
    pub const fn new(cache: &'static Cache, most: usize) -> Self {
        Self {
            cache,
            kept: Kept::new(),
            most,
        }
    }

    /// The value, if it is kept. A hit is counted.
    pub fn get(&self, key: &K) -> Option<V> {
        let changes = changes::seen(self.cache.of);
        self.kept.with(|since| {
            if since.changes != changes {
                since.changes = changes;
                since.kept.clear();
                self.cache.invalidated();
            }
            let found = since.kept.get(key);
            if found.is_some() {
                self.cache.hit();
            }
            found
        })
    }

    /// Keeps a value that get() did not find.
    pub fn insert(&self, key: K, value: V, bytes: usize, most_bytes: usize) -> Result<()> {
        changes::watch(self.cache.of)?;
        self.cache.missed();
        self.kept.with(|since| {
            let gone = since.kept.insert(key, value, bytes, self.most, most_bytes);
            self.cache.evicted(gone);
            self.cache.holds(since.kept.len(), since.kept.bytes());
        });
        Ok(())
    }
}
