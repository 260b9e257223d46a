//! Executors that ended in the handler of a subscriber: until their coordinator has seen it, no other executor calls that handler.

use super::{Name, SHARED, Shared, Slot, is_preloaded};
use crate::pg::datum::Timestamp;

/// An executor that ended in a handler.
#[derive(Clone, Copy)]
pub struct Lost {
    pid: i32,
    pub pool: Name,
    database: u32,
    subscriber: i64,
    started_at: Timestamp,
    /// What it held is given back.
    settled: bool,
}

crate::pg::shmem::shareable! {
    struct Lost { pid, pool, database, subscriber, started_at, settled }
}

/// The process of this slot ends.
pub(super) fn note(shared: &mut Shared, slot: &Slot) {
    if slot.subscriber == 0 {
        return;
    }
    let oldest = |entry: &Option<Lost>| entry.map(|lost| (!lost.settled, lost.started_at));
    let place = shared.lost.iter_mut().min_by_key(|entry| oldest(entry));
    if let Some(place) = place {
        *place = Some(Lost {
            pid: slot.pid,
            pool: slot.pool,
            database: slot.database,
            subscriber: slot.subscriber,
            started_at: slot.started_at,
            settled: false,
        });
    }
}

/// Whether an executor ended in the handler of this subscriber.
pub(super) fn holds(shared: &Shared, database: u32, subscriber: i64) -> bool {
    let mut all = shared.lost.iter().flatten();
    all.any(|lost| !lost.settled && lost.database == database && lost.subscriber == subscriber)
}

/// The executors of a database that ended in a handler.
pub fn lost(database: u32) -> Vec<Lost> {
    if !is_preloaded() {
        return vec![];
    }
    let shared = SHARED.share();
    let all = shared.lost.iter().flatten();
    all.filter(|lost| !lost.settled && lost.database == database)
        .copied()
        .collect()
}

/// What they held is given back.
pub fn settle_lost(these: &[Lost]) {
    let mut shared = SHARED.exclusive();
    for lost in shared.lost.iter_mut().flatten() {
        lost.settled |= these.iter().any(|gone| gone.is(lost));
    }
}

/// The subscriber in whose handler an executor ended last; 0: none.
pub fn last_lost(database: u32) -> i64 {
    let shared = SHARED.share();
    let all = shared.lost.iter().flatten();
    all.filter(|lost| lost.database == database)
        .max_by_key(|lost| lost.started_at)
        .map_or(0, |lost| lost.subscriber)
}

impl Lost {
    fn is(&self, other: &Self) -> bool {
        (self.pid, self.started_at) == (other.pid, other.started_at)
    }
}
