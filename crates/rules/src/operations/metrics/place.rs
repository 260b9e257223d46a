//! The state of a place that changes hands while others add to it without a lock: a bit says that it is in use, the others count the
//! pins. It is given back only while it has no pin.

use std::sync::atomic::{AtomicU64, Ordering};

const IN_USE: u64 = 1 << 63;

/// Whether something has the place.
pub fn in_use(state: &AtomicU64) -> bool {
    state.load(Ordering::Acquire) & IN_USE != 0
}

/// Pins it; false if nothing has the place. To be unpinned in either case.
pub fn pin(state: &AtomicU64) -> bool {
    state.fetch_add(1, Ordering::Acquire) & IN_USE != 0
}

/// The end of a pin.
pub fn unpin(state: &AtomicU64) {
    state.fetch_sub(1, Ordering::Release);
}

/// A free place gets what was written to it before, and is pinned. One caller at a time.
pub fn take(state: &AtomicU64) {
    state.fetch_add(IN_USE + 1, Ordering::Release);
}

/// Gives it back; false, and nothing has changed, while it has a pin. Afterwards only the caller touches what is in it.
pub fn give_back(state: &AtomicU64) -> bool {
    state
        .compare_exchange(IN_USE, 0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[derive(Default)]
    struct Counter {
        state: AtomicU64,
        key: AtomicU64,
        count: AtomicU64,
    }

    /// Adds under this key until the end, where the counter has it; returns how much.
    fn add(counter: &Counter, key: u64, end: &AtomicBool) -> u64 {
        let mut added = 0;
        while !end.load(Ordering::Relaxed) {
            if pin(&counter.state) && counter.key.load(Ordering::Relaxed) == key {
                counter.count.fetch_add(1, Ordering::Relaxed);
                added += 1;
            }
            unpin(&counter.state);
        }
        added
    }

    #[test]
    fn no_count_is_lost_or_goes_to_what_has_the_place_afterwards() {
        let (counter, end) = (Counter::default(), AtomicBool::new(false));
        take(&counter.state);
        unpin(&counter.state);
        let mut counted = [0, 0];
        let mut changes = 0;
        let added = std::thread::scope(|scope| {
            let adders = [0, 1, 0, 1].map(|key| {
                let (counter, end) = (&counter, &end);
                scope.spawn(move || (key as usize, add(counter, key, end)))
            });
            let began = std::time::Instant::now();
            while began.elapsed().as_millis() < 300 {
                if give_back(&counter.state) {
                    let key = counter.key.load(Ordering::Relaxed);
                    counted[key as usize] += counter.count.swap(0, Ordering::Relaxed);
                    counter.key.store(1 - key, Ordering::Relaxed);
                    take(&counter.state);
                    unpin(&counter.state);
                    changes += 1;
                }
            }
            end.store(true, Ordering::Relaxed);
            let mut added = [0, 0];
            for adder in adders {
                let (key, count) = adder.join().expect("no panic");
                added[key] += count;
            }
            added
        });
        counted[counter.key.load(Ordering::Relaxed) as usize] += counter.count.into_inner();
        assert_eq!(counted, added);
        assert!(changes > 100, "{changes}");
    }

    #[test]
    fn a_place_with_a_pin_is_not_given_back() {
        let state = AtomicU64::new(0);
        assert!(!pin(&state) && !in_use(&state));
        unpin(&state);
        take(&state);
        assert!(!give_back(&state) && in_use(&state));
        unpin(&state);
        assert!(give_back(&state) && !in_use(&state));
    }
}
