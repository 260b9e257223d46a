//! The executors that ended unasked, by pool.

use super::{Name, POOLS, SHARED, is_preloaded};
use crate::pg::datum::Timestamp;

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

crate::pg::shmem::shareable! {
    struct Restarts { database, pool, total, in_a_row, last_ended_at, next_start_at }
}

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

/// The pool's executors run again.
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
