//! What a transaction was about, roughly: a set of 64 topics. A consumer that waits for none of them cannot want its events.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::catalog::{CATALOG, Source, canonical, entry};
use super::pattern::{Pattern, Selection};
use super::rows::{Change, NAMES};

/// Some of the 64 topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topics(u64);

/// Names of rows of the log have topics of their own, and share these at most if there are more; all other names share the rest.
const OF_ROWS: u32 = 48;

impl Topics {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(u64::MAX);

    /// That of an event of this name.
    pub fn of_name(name: &str) -> Self {
        static OF_ROW: LazyLock<FxHashMap<&str, u32>> = LazyLock::new(|| {
            let of_rows = CATALOG.iter().filter(|entry| entry.source == Source::Row);
            of_rows.map(|entry| entry.name).zip(0..).collect()
        });
        let canonical = canonical(name).unwrap_or(name);
        let bit = match OF_ROW.get(canonical) {
            Some(place) => place % OF_ROWS,
            None => {
                let hash = canonical.bytes().fold(0u32, |hash, byte| {
                    hash.wrapping_mul(31).wrapping_add(byte.into())
                });
                OF_ROWS + hash % (u64::BITS - OF_ROWS)
            }
        };
        Self(1 << bit)
    }

    /// Those of all events that a row of this change can give.
    pub fn of_change(change: Change) -> Self {
        static OF_CHANGE: LazyLock<FxHashMap<Change, Topics>> = LazyLock::new(|| {
            let of_names = |names: &Vec<&str>| {
                let topics = names.iter().map(|name| Topics::of_name(name));
                topics.fold(Topics::NONE, Topics::with)
            };
            let all = NAMES.iter();
            all.map(|(change, names)| (*change, of_names(names)))
                .collect()
        });
        OF_CHANGE.get(&change).copied().unwrap_or(Self::ALL)
    }

    /// Those of all events that these patterns can select.
    pub fn of_selection(selection: &Selection) -> Self {
        let known = selection.known().iter();
        let known = known.fold(Self::NONE, |all, name| all.with(Self::of_name(name)));
        let custom = selection.patterns().iter().map(|pattern| match pattern {
            Pattern::Exact(name) if entry(name).is_none() => Self::of_name(name),
            Pattern::Exact(_) => Self::NONE,
            Pattern::All | Pattern::Prefix(_) | Pattern::Suffix(_) => Self(u64::MAX << OF_ROWS),
        });
        custom.fold(known, Self::with)
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Their numbers.
    pub fn numbers(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let number = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (number < u64::BITS).then_some(number as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(patterns: &[&str]) -> Topics {
        Topics::of_selection(&Selection::parse(patterns.iter().copied()).expect("can be read"))
    }

    #[test]
    fn a_selection_has_the_topic_of_every_name_that_it_matches() {
        let names = CATALOG.iter().map(|entry| entry.name);
        for name in names.chain(["orders.shipped", "app.came"]) {
            for patterns in [&["*"][..], &[name], &[&format!("{}*", &name[..3])]] {
                let (own, all) = (Topics::of_name(name), selected(patterns));
                assert_eq!(all.with(own), all, "{name}: {patterns:?}");
            }
        }
    }

    #[test]
    fn a_selection_of_other_names_has_no_topic_of_a_change() {
        use crate::engine::state::StepState::{Complete, InProgress};
        let change = Topics::of_change(Change::Step(InProgress, Complete));
        let with = |patterns: &[&str]| selected(patterns).0 & change.0 != 0;
        assert!(with(&["step.completed"]) && with(&["*"]) && with(&["workflow.*"]));
        assert!(!with(&[
            "step.failed",
            "task.completed",
            "app.came",
            "template.*"
        ]));
    }

    #[test]
    fn the_numbers_are_those_of_the_bits() {
        let numbers: Vec<usize> = Topics(1 | 1 << 5 | 1 << 63).numbers().collect();
        assert_eq!(numbers, [0, 5, 63]);
        assert_eq!(Topics::ALL.numbers().count(), 64);
        assert_eq!(Topics::NONE.numbers().count(), 0);
    }
}
