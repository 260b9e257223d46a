//! Which handlers a claim is for.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use tasker_rules::engine::handler_key::handler_key;

use crate::pg::datum::{self, Arg};

/// The handlers that a claim is for, by their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Any,
    /// Those inside the database.
    Inside,
    /// Ascending, with a number that stands for the set.
    These(Vec<i64>, u64),
}

impl Wanted {
    pub fn these<'a>(handlers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut keys: Vec<i64> = handlers.into_iter().map(handler_key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut hasher = DefaultHasher::new();
        keys.hash(&mut hasher);
        // 0 and 1 stand for the other two.
        let number = hasher.finish().max(2);
        Self::These(keys, number)
    }

    /// Stands for this value in what a backend remembers.
    pub fn number(&self) -> u64 {
        match self {
            Self::Any => 0,
            Self::Inside => 1,
            Self::These(_, number) => *number,
        }
    }

    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }

    pub fn has(&self, key: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Inside => key < 0,
            Self::These(keys, _) => match keys.as_slice() {
                [only] => *only == key,
                keys => keys.binary_search(&key).is_ok(),
            },
        }
    }

    /// The keys, NULL unless they are a set; and whether only handlers inside the database are wanted.
    pub fn args(&self) -> [Arg<'static>; 2] {
        match self {
            Self::These(keys, _) => [datum::int8s(keys.iter().copied()), datum::boolean(false)],
            other => [Arg::NULL, datum::boolean(*other == Self::Inside)],
        }
    }
}
