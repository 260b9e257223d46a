//! The counts of an open transaction: they count when it commits, and not when it or the savepoint around them is rolled
//! back.

use std::collections::BTreeMap;

/// The worker and the cell of a count: worker 0 is the engine as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Number of the worker; 0: the engine.
    pub worker_no: i32,
    /// Number of the cell.
    pub cell: u16,
}

/// What is added up under a key.
pub trait Amount: Default + Clone {
    /// Adds another amount.
    fn add(&mut self, other: &Self);
}

impl Amount for u64 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }
}

struct Entry<K, A> {
    level: i32,
    key: K,
    amount: A,
}

/// Counts that were written to a table within the transaction: they return if that write is rolled back.
struct Written<K, A> {
    level: i32,
    entries: Vec<Entry<K, A>>,
    kept: BTreeMap<K, A>,
}

/// A call has few different keys, so a list is the fastest map; with more entries than this, places are looked up.
const FEW: usize = 32;

/// The memory of this number of entries stays for the next transaction.
const ENTRIES_KEPT: usize = 256;

/// The counts that one session has not passed on. Levels are those of nested transactions: 1 is the transaction, 2 a
/// savepoint in it.
pub struct Ledger<K, A> {
    entries: Vec<Entry<K, A>>,
    /// Where the entries are, by level and key. Empty while there are few, and whenever entries went.
    places: BTreeMap<(i32, K), usize>,
    written: Vec<Written<K, A>>,
    kept: BTreeMap<K, A>,
}

impl<K, A> Default for Ledger<K, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, A> Ledger<K, A> {
    /// An empty ledger.
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            places: BTreeMap::new(),
            written: Vec::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Whether the transaction has nothing to count and nothing to restore.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.written.is_empty()
    }

    /// Whether nothing waits to be passed on either.
    pub fn is_empty(&self) -> bool {
        self.is_idle() && self.kept.is_empty()
    }
}

impl<K: Copy + Ord, A: Amount> Ledger<K, A> {
    /// What is counted at this level.
    pub fn at(&mut self, level: i32, key: K) -> &mut A {
        let place = self.place(level, key).unwrap_or_else(|| {
            let place = self.entries.len();
            self.entries.push(Entry {
                level,
                key,
                amount: A::default(),
            });
            if place > FEW {
                self.places.insert((level, key), place);
            }
            place
        });
        &mut self.entries[place].amount
    }

    fn place(&mut self, level: i32, key: K) -> Option<usize> {
        if self.entries.len() <= FEW {
            return self
                .entries
                .iter()
                .rposition(|entry| entry.key == key && entry.level == level);
        }
        if self.places.is_empty() {
            let entries = self.entries.iter().zip(0..);
            self.places = entries
                .map(|(entry, place)| ((entry.level, entry.key), place))
                .collect();
        }
        self.places.get(&(level, key)).copied()
    }

    /// Counts at this level.
    pub fn add(&mut self, level: i32, key: K, amount: A) {
        self.at(level, key).add(&amount);
    }

    /// Counts whether or not the transaction commits.
    pub fn keep(&mut self, key: K, amount: A) {
        self.kept.entry(key).or_default().add(&amount);
    }

    /// A savepoint was released, its counts belong to the level around it.
    pub fn commit_level(&mut self, level: i32) {
        self.places.clear();
        for entry in std::mem::take(&mut self.entries) {
            self.add(entry.level.min(level - 1), entry.key, entry.amount);
        }
        for written in &mut self.written {
            written.level = written.level.min(level - 1);
            for entry in &mut written.entries {
                entry.level = entry.level.min(level - 1);
            }
        }
    }

    /// A savepoint was rolled back, and with it everything counted and written in it.
    pub fn abort_level(&mut self, level: i32) {
        self.undo(level);
        self.entries.retain(|entry| entry.level < level);
        self.places.clear();
    }

    /// The whole transaction was rolled back.
    pub fn abort(&mut self) {
        self.undo(0);
        self.entries.clear();
        self.places.clear();
    }

    fn undo(&mut self, level: i32) {
        for written in std::mem::take(&mut self.written) {
            if written.level < level {
                self.written.push(written);
                continue;
            }
            for entry in written.entries {
                self.add(entry.level, entry.key, entry.amount);
            }
            for (key, amount) in written.kept {
                self.keep(key, amount);
            }
        }
    }

    /// The transaction committed; its counts are kept until they are written.
    pub fn commit(&mut self) {
        self.commit_within(usize::MAX, |key| key, |_, _| ());
    }

    /// The same for at most this number of keys: what has no place is counted under its key `other`, which always has one, and given to
    /// `dropped`.
    pub fn commit_within(
        &mut self,
        most: usize,
        other: impl Fn(K) -> K,
        mut dropped: impl FnMut(K, &A),
    ) {
        self.written.clear();
        self.places.clear();
        for entry in std::mem::take(&mut self.entries) {
            if self.kept.len() < most || self.kept.contains_key(&entry.key) {
                self.keep(entry.key, entry.amount);
            } else {
                dropped(entry.key, &entry.amount);
                self.keep(other(entry.key), entry.amount);
            }
        }
    }

    /// The transaction committed: passes on its counts and those kept before.
    pub fn hand_on(&mut self, mut sink: impl FnMut(K, &A)) {
        self.written.clear();
        self.places.clear();
        // The list keeps its memory for the next transaction.
        for entry in self.entries.drain(..) {
            sink(entry.key, &entry.amount);
        }
        self.entries.shrink_to(ENTRIES_KEPT);
        for (key, amount) in std::mem::take(&mut self.kept) {
            sink(key, &amount);
        }
    }

    /// All counts, to be written to a table at this level; they return if the level is rolled back.
    pub fn write(&mut self, level: i32) -> BTreeMap<K, A> {
        self.places.clear();
        let written = Written {
            level,
            entries: std::mem::take(&mut self.entries),
            kept: std::mem::take(&mut self.kept),
        };
        let mut all = written.kept.clone();
        for entry in &written.entries {
            all.entry(entry.key).or_default().add(&entry.amount);
        }
        self.written.push(written);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Key = Key {
        worker_no: 0,
        cell: 1,
    };
    const B: Key = Key {
        worker_no: 7,
        cell: 1,
    };

    fn committed(ledger: &mut Ledger<Key, u64>) -> Vec<(Key, u64)> {
        let mut all = BTreeMap::new();
        ledger.hand_on(|key, amount| *all.entry(key).or_default() += *amount);
        all.into_iter().collect()
    }

    #[test]
    fn a_commit_counts_and_a_rollback_does_not() {
        let mut ledger = Ledger::new();
        ledger.add(1, A, 2);
        ledger.add(1, A, 1);
        ledger.add(1, B, 1);
        assert_eq!(committed(&mut ledger), [(A, 3), (B, 1)]);
        ledger.add(1, A, 5);
        ledger.abort();
        assert!(committed(&mut ledger).is_empty());
        assert!(ledger.is_idle());
        ledger.add(1, A, 1);
        assert!(!ledger.is_idle());
        ledger.commit();
        ledger.add(1, A, 1);
        assert_eq!(committed(&mut ledger), [(A, 2)]);
    }

    #[test]
    fn a_savepoint_counts_when_it_and_all_around_it_commit() {
        let mut ledger = Ledger::new();
        ledger.add(1, A, 1);
        ledger.add(2, A, 10);
        ledger.add(3, A, 100);
        ledger.commit_level(3);
        ledger.abort_level(2);
        ledger.add(2, A, 1000);
        ledger.commit_level(2);
        assert_eq!(committed(&mut ledger), [(A, 1001)]);
    }

    #[test]
    fn what_happened_anyway_survives_a_rollback() {
        let mut ledger = Ledger::new();
        ledger.keep(A, 1);
        ledger.add(1, B, 1);
        ledger.abort();
        assert_eq!(committed(&mut ledger), [(A, 1)]);
    }

    #[test]
    fn keys_beyond_the_limit_are_counted_as_other() {
        const OTHER: Key = Key {
            worker_no: -1,
            cell: 1,
        };
        let mut ledger = Ledger::new();
        let mut dropped = 0;
        for round in 1..=2 {
            ledger.add(1, A, 1);
            ledger.add(1, B, 10);
            ledger.commit_within(1, |_| OTHER, |_, amount| dropped += amount);
            assert_eq!(dropped, 10 * round);
        }
        assert_eq!(committed(&mut ledger), [(OTHER, 20), (A, 2)]);
    }

    #[test]
    fn what_was_written_is_back_when_the_writing_is_undone() {
        let mut ledger = Ledger::new();
        ledger.add(1, A, 1);
        ledger.commit();
        ledger.add(1, A, 10);
        ledger.add(2, A, 100);
        assert_eq!(ledger.write(2).into_iter().collect::<Vec<_>>(), [(A, 111)]);
        // The savepoint with the row and its own count is gone; the rest waits for the next row.
        ledger.abort_level(2);
        assert_eq!(ledger.write(1).into_iter().collect::<Vec<_>>(), [(A, 11)]);
        ledger.abort();
        assert_eq!(ledger.write(1).into_iter().collect::<Vec<_>>(), [(A, 1)]);
        ledger.commit();
        assert!(ledger.write(1).is_empty());
    }

    // A model: each count remembers its levels; it counts if none of them was rolled back.
    #[derive(Debug, Clone)]
    enum Act {
        Add,
        Keep,
        Open,
        Release,
        Rollback,
        Write,
        Commit,
        Abort,
    }

    #[test]
    fn many_keys_are_counted_each_in_one_entry() {
        let key = |cell| Key { worker_no: 0, cell };
        let mut ledger = Ledger::new();
        for level in [1, 2, 1, 2, 3] {
            for cell in 0..200 {
                ledger.add(level, key(cell), 1);
            }
        }
        assert_eq!(ledger.entries.len(), 600);
        ledger.abort_level(3);
        ledger.commit_level(2);
        ledger.add(1, key(7), 1);
        assert_eq!(ledger.entries.len(), 200);
        let all = committed(&mut ledger);
        let expected = (0..200).map(|cell| (key(cell), if cell == 7 { 5 } else { 4 }));
        assert_eq!(all, expected.collect::<Vec<_>>());
        ledger.add(1, key(7), 1);
        assert_eq!(committed(&mut ledger), [(key(7), 1)]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_counted_twice(acts in proptest::collection::vec(
            prop_oneof![
                4 => Just(Act::Add), 1 => Just(Act::Keep), 3 => Just(Act::Open), 2 => Just(Act::Release),
                2 => Just(Act::Rollback), 2 => Just(Act::Write), 1 => Just(Act::Commit), 1 => Just(Act::Abort)],
            0..60))
        {
            let mut ledger = Ledger::new();
            // Per open level: what counts if it commits, and the rows written in it.
            let mut counts = vec![0u64];
            let mut rows = vec![0u64];
            let (mut wanted, mut table) = (0u64, 0u64);
            for act in acts.into_iter().chain([Act::Commit]) {
                let level = counts.len() as i32;
                match act {
                    Act::Add => { ledger.add(level, A, 1); counts[level as usize - 1] += 1; }
                    Act::Keep => { ledger.keep(A, 1); wanted += 1; }
                    Act::Open => { counts.push(0); rows.push(0); }
                    Act::Release if level > 1 => {
                        ledger.commit_level(level);
                        let (count, row) = (counts.pop().unwrap(), rows.pop().unwrap());
                        counts[level as usize - 2] += count;
                        rows[level as usize - 2] += row;
                    }
                    Act::Rollback if level > 1 => { ledger.abort_level(level); counts.pop(); rows.pop(); }
                    Act::Write => rows[level as usize - 1] += ledger.write(level).values().sum::<u64>(),
                    Act::Commit => {
                        for level in (2..=level).rev() { ledger.commit_level(level); }
                        ledger.commit();
                        wanted += counts.iter().sum::<u64>();
                        table += rows.iter().sum::<u64>();
                        counts = vec![0];
                        rows = vec![0];
                    }
                    Act::Abort => { ledger.abort(); counts = vec![0]; rows = vec![0]; }
                    _ => {}
                }
            }
            let left: u64 = committed(&mut ledger).iter().map(|(_, amount)| amount).sum();
            prop_assert_eq!(table + left, wanted);
        }
    }
}
