//! Error classes by their numbers: a count has the number, and the text is looked up when it needs a place of its own.

use rustc_hash::FxHashMap;
use tasker_rules::operations::metrics::{UNKNOWN_CLASS, class_label, class_number};

use crate::pg::installation::Kept;

/// A backend that has met more classes forgets them once it has passed on its counts.
const MOST_KEPT: usize = 1000;

static TEXTS: Kept<FxHashMap<u64, Box<str>>> = Kept::new();

/// The class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(u64);

impl Class {
    /// No failure, or one without a class.
    pub const UNKNOWN: Self = Self(0);

    pub fn of(class: Option<&str>) -> Self {
        class.map_or(Self::UNKNOWN, |class| Self(intern(class)))
    }

    pub fn number(self) -> u64 {
        match self {
            Self::UNKNOWN => intern(UNKNOWN_CLASS),
            Self(number) => number,
        }
    }
}

fn intern(class: &str) -> u64 {
    let label = class_label(class);
    let number = class_number(label);
    TEXTS.with(|texts| {
        texts.entry(number).or_insert_with(|| label.into());
    });
    number
}

/// Gives the body the text of a class that this backend has met.
pub fn with_text<R>(class: u64, body: impl FnOnce(&str) -> R) -> R {
    TEXTS.with(|texts| body(texts.get(&class).map_or(UNKNOWN_CLASS, |text| text)))
}

/// All counts were passed on: no number needs its text.
pub fn passed_on() {
    TEXTS.with(|texts| {
        if texts.len() > MOST_KEPT {
            texts.clear();
        }
    });
}
