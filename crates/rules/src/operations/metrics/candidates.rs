//! Which error classes of a step are frequent, among those without a series: the summary of Misra and Gries. It holds a few classes and knows
//! of each at least how much it has come, less what it takes for granted of classes that come once. Several processes count
//! at once; what one of them overwrites makes the summary less exact, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many classes a summary holds.
pub const CANDIDATES: usize = 16;

/// Numbers of classes (0: none) and what is known of them.
#[derive(Debug, Clone, Copy)]
pub struct Candidates<'a> {
    /// The classes.
    pub classes: &'a [AtomicU64],
    /// How often each has come.
    pub counts: &'a [AtomicU64],
}

impl Candidates<'_> {
    fn place(&self, class: u64) -> Option<usize> {
        self.classes
            .iter()
            .position(|known| known.load(Relaxed) == class)
    }

    /// A class without a series has come. Returns how often it is known to have come.
    pub fn count(&self, class: u64, amount: u64) -> u64 {
        if let Some(place) = self.place(class) {
            return self.counts[place].fetch_add(amount, Relaxed) + amount;
        }
        if self.put(class, amount) {
            return amount;
        }
        // No place: each of the others loses as much, so that classes that come once drive out nothing that comes often.
        for (known, count) in self.classes.iter().zip(self.counts) {
            let left = count.load(Relaxed).saturating_sub(amount);
            count.store(left, Relaxed);
            if left == 0 {
                known.store(0, Relaxed);
            }
        }
        0
    }

    /// Begins with a class that has come this often, if there is room.
    fn put(&self, class: u64, amount: u64) -> bool {
        let Some(place) = self.place(0) else {
            return false;
        };
        self.counts[place].store(amount, Relaxed);
        self.classes[place].store(class, Relaxed);
        true
    }

    /// One class gets a series, the other loses its own.
    pub fn exchange(&self, gets: u64, loses: u64, amount: u64) {
        if let Some(place) = self.place(gets) {
            self.classes[place].store(0, Relaxed);
        }
        self.put(loses, amount);
    }
}

/// Whether a class without a series takes the place of the least frequent one that has a series. An eighth more: two classes that come
/// equally often would take turns.
pub fn takes_place(count: u64, least: u64) -> bool {
    count > least + least / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Summary([AtomicU64; CANDIDATES], [AtomicU64; CANDIDATES]);

    impl Summary {
        fn new() -> Self {
            Self(
                [const { AtomicU64::new(0) }; CANDIDATES],
                [const { AtomicU64::new(0) }; CANDIDATES],
            )
        }

        fn get(&self) -> Candidates<'_> {
            Candidates {
                classes: &self.0,
                counts: &self.1,
            }
        }
    }

    #[test]
    fn a_few_classes_are_counted_exactly() {
        let summary = Summary::new();
        for round in 1..=10 {
            for class in 2..18 {
                assert_eq!(summary.get().count(class, 1), round);
            }
        }
    }

    #[test]
    fn classes_that_come_once_do_not_hide_one_that_comes_often() {
        let summary = Summary::new();
        let mut known = 0;
        for once in 0..1000 {
            summary.get().count(1000 + once, 1);
            known = summary.get().count(7, 1);
        }
        assert!(known > 800, "{known}");
    }

    #[test]
    fn classes_that_all_come_once_never_seem_frequent() {
        let summary = Summary::new();
        for once in 0..10_000 {
            assert!(summary.get().count(1000 + once, 1) <= 1);
        }
    }

    #[test]
    fn a_class_that_loses_its_series_keeps_its_count() {
        let summary = Summary::new();
        summary.get().count(5, 9);
        summary.get().exchange(5, 6, 8);
        assert_eq!(summary.get().count(6, 1), 9);
        assert_eq!(summary.get().count(5, 1), 1);
    }

    #[test]
    fn a_place_changes_hands_when_the_new_class_is_clearly_more_frequent() {
        assert!(!takes_place(3, 3));
        assert!(takes_place(4, 3));
        assert!(!takes_place(18, 16));
        assert!(takes_place(19, 16));
    }
}
