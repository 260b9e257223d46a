//! Memory that is bounded, and how long an answer is good that nothing announces the end of.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;

/// What is known about the use of a cached answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    /// Share of the look-ups that found it, 0 to 1.
    pub hit_rate: f64,
    /// How long it takes to make it, in seconds.
    pub seconds_to_make: f64,
    /// Look-ups in the last hour.
    pub look_ups: f64,
}

/// The least and the most seconds that an answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At least this many seconds.
    pub min: i32,
    /// At most this many seconds. The least one wins where they contradict each other.
    pub max: i32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: 30, max: 3600 }
    }
}

/// How many seconds an answer is kept, of the seconds that somebody has chosen: longer if it is often found, slow to make or
/// often asked for; shorter if it is not. Nothing known (0, or no number) changes nothing.
pub fn adaptive_ttl(seconds: i32, known: Use, bounds: Bounds) -> i32 {
    let factor = |value: f64, much: f64, longer: f64, little: f64, shorter: f64| {
        if value > much {
            longer
        } else if value > 0.0 && value < little {
            shorter
        } else {
            1.0
        }
    };
    let wanted = f64::from(seconds)
        * factor(known.hit_rate, 0.8, 1.5, 0.3, 0.7)
        * factor(known.seconds_to_make, 1.0, 1.3, 0.1, 0.8)
        * factor(known.look_ups, 100.0, 1.2, 5.0, 0.9);
    // A cast of a float saturates.
    (wanted as i32).min(bounds.max).max(bounds.min)
}

struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

/// Values by key within a number of entries and bytes: those that were used last stay.
pub struct Bounded<K, V> {
    entries: HashMap<K, Entry<V>, FxBuildHasher>,
    bytes: usize,
    clock: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            bytes: 0,
            clock: 0,
        }
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Bounded<K, V> {
    /// The value of a key.
    pub fn get(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        self.clock += 1;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Whether the key has a value; this is no use of it.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Keeps a value, and returns how many others had to go. A quarter goes at once, so that not every new value looks for the
    /// oldest one. A value that is larger than all that may be kept is not kept.
    pub fn insert(
        &mut self,
        key: K,
        value: V,
        bytes: usize,
        most: usize,
        most_bytes: usize,
    ) -> usize {
        self.remove(&key);
        if bytes > most_bytes || most == 0 {
            return 0;
        }
        let mut gone = 0;
        if self.entries.len() >= most || self.bytes.saturating_add(bytes) > most_bytes {
            let mut oldest: Vec<(u64, K)> = self
                .entries
                .iter()
                .map(|(key, entry)| (entry.used, *key))
                .collect();
            oldest.sort_unstable_by_key(|(used, _)| *used);
            let (room, room_bytes) = (most - most.div_ceil(4), most_bytes / 4 * 3);
            for (_, key) in oldest {
                let fits = self.bytes.saturating_add(bytes) <= most_bytes;
                if self.entries.len() <= room && self.bytes <= room_bytes && fits {
                    break;
                }
                self.remove(&key);
                gone += 1;
            }
        }
        self.clock += 1;
        self.bytes += bytes;
        self.entries.insert(
            key,
            Entry {
                value,
                bytes,
                used: self.clock,
            },
        );
        gone
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// How many values are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOTHING: Use = Use {
        hit_rate: 0.0,
        seconds_to_make: 0.0,
        look_ups: 0.0,
    };

    #[test]
    fn the_time_follows_hits_cost_and_frequency() {
        let ttl = |known| adaptive_ttl(300, known, Bounds::default());
        assert_eq!(ttl(NOTHING), 300);
        for (hit_rate, seconds) in [(0.81, 450), (0.8, 300), (0.3, 300), (0.29, 210)] {
            assert_eq!(
                ttl(Use {
                    hit_rate,
                    ..NOTHING
                }),
                seconds,
                "{hit_rate}"
            );
        }
        for (seconds_to_make, seconds) in [(1.1, 390), (1.0, 300), (0.1, 300), (0.09, 240)] {
            let known = Use {
                seconds_to_make,
                ..NOTHING
            };
            assert_eq!(ttl(known), seconds, "{seconds_to_make}");
        }
        for (look_ups, seconds) in [(101.0, 360), (100.0, 300), (5.0, 300), (4.0, 270)] {
            assert_eq!(
                ttl(Use {
                    look_ups,
                    ..NOTHING
                }),
                seconds,
                "{look_ups}"
            );
        }
    }

    #[test]
    fn the_bounds_hold_and_no_number_changes_nothing() {
        let often = Use {
            hit_rate: 0.9,
            seconds_to_make: 2.0,
            look_ups: 1000.0,
        };
        assert_eq!(adaptive_ttl(3000, often, Bounds::default()), 3600);
        let seldom = Use {
            hit_rate: 0.1,
            seconds_to_make: 0.01,
            look_ups: 1.0,
        };
        assert_eq!(adaptive_ttl(40, seldom, Bounds::default()), 30);
        let unknown = Use {
            hit_rate: f64::NAN,
            ..NOTHING
        };
        assert_eq!(adaptive_ttl(300, unknown, Bounds::default()), 300);
        assert_eq!(adaptive_ttl(300, NOTHING, Bounds { min: 60, max: 10 }), 60);
    }

    #[test]
    fn what_was_used_last_stays() {
        let mut kept = Bounded::default();
        for key in 0..8 {
            assert_eq!(kept.insert(key, key, 10, 8, 1000), 0);
        }
        assert_eq!(kept.get(&0), Some(0));
        assert_eq!(kept.insert(8, 8, 10, 8, 1000), 2);
        assert_eq!(
            [0, 1, 2, 3, 8].map(|key| kept.contains(&key)),
            [true, false, false, true, true]
        );
        assert_eq!((kept.len(), kept.bytes()), (7, 70));
    }

    #[test]
    fn the_bytes_are_bounded_and_a_value_that_is_too_large_is_not_kept() {
        let mut kept = Bounded::default();
        for key in 0..4 {
            kept.insert(key, key, 25, 100, 100);
        }
        assert_eq!(kept.insert(4, 4, 60, 100, 100), 3);
        assert_eq!((kept.len(), kept.bytes()), (2, 85));
        assert_eq!(kept.insert(5, 5, 101, 100, 100), 0);
        assert!(!kept.contains(&5) && kept.contains(&4));
        kept.clear();
        assert_eq!((kept.len(), kept.bytes(), kept.is_empty()), (0, 0, true));
    }

    proptest! {
        #[test]
        fn the_time_is_within_its_bounds(seconds: i32, hit_rate: f64, seconds_to_make: f64, look_ups: f64) {
            let known = Use { hit_rate, seconds_to_make, look_ups };
            let ttl = adaptive_ttl(seconds, known, Bounds::default());
            prop_assert!((30..=3600).contains(&ttl));
        }

        #[test]
        fn bytes_and_entries_are_never_above_the_bound(inserts in prop::collection::vec((0u8..20, 0usize..50), 0..100)) {
            let mut kept = Bounded::default();
            for (key, bytes) in inserts {
                kept.insert(key, (), bytes, 10, 120);
                prop_assert!(kept.bytes() <= 120 && kept.len() <= 10);
                prop_assert_eq!(kept.bytes(), kept.entries.values().map(|entry| entry.bytes).sum::<usize>());
            }
        }
    }
}
