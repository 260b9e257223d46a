//! How many steps of a task are in each state when it ends.

use serde_json::Value;

use crate::engine::readiness::hundredths;
use crate::engine::state::TaskState;

/// The keys, in rows of the log and in payloads. A row leaves out a count of zero.
pub const KEYS: [&str; 6] = [
    "completed_steps",
    "failed_steps",
    "pending_steps",
    "in_progress_steps",
    "cancelled_steps",
    "resolved_steps",
];

/// The place of a key in [`KEYS`].
pub fn place(key: &str) -> Option<usize> {
    KEYS.iter().position(|own| *own == key)
}

const COMPLETED: usize = 0;
const RESOLVED: usize = 5;

/// The counts in the order of [`KEYS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts(pub [i64; 6]);

impl Counts {
    /// What the row of an end says. A task that completes has only done steps, and its row says how many of them are resolved, if any.
    /// `None`: the row says nothing of its steps.
    pub fn of(metadata: &Value, to: TaskState, total: i64) -> Option<Self> {
        let count = |key: &str| {
            let count = metadata.get(key).and_then(Value::as_i64);
            count.filter(|count| (0..=total).contains(count))
        };
        let mut counts = KEYS.map(|key| count(key).unwrap_or(0));
        if to == TaskState::Complete {
            let resolved = counts[RESOLVED];
            counts = [0; 6];
            (counts[COMPLETED], counts[RESOLVED]) = (total - resolved, resolved);
        }
        let known = !to.is_open() && counts.iter().sum::<i64>() == total;
        known.then_some(Self(counts))
    }

    /// Steps that have ended.
    pub fn ended(&self) -> i64 {
        let [completed, failed, _, _, cancelled, resolved] = self.0;
        completed + failed + cancelled + resolved
    }

    /// The share of the steps that are done, in percent with two decimals.
    pub fn percentage(&self) -> f64 {
        let done = self.0[COMPLETED] + self.0[RESOLVED];
        hundredths(done, self.0.iter().sum()) as f64 / 100.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_that_completes_says_only_which_steps_are_resolved() {
        for (metadata, completed, resolved) in [
            (json!({}), 4, 0),
            (json!({"resolved_steps": 1, "reason": "ok"}), 3, 1),
            (json!({"failed_steps": 2, "resolved_steps": 9}), 4, 0),
        ] {
            let counts = Counts::of(&metadata, TaskState::Complete, 4).expect("known");
            assert_eq!(counts.0, [completed, 0, 0, 0, 0, resolved], "{metadata}");
            assert_eq!((counts.ended(), counts.percentage()), (4, 100.0));
        }
    }

    #[test]
    fn another_end_has_counts_only_if_they_add_up() {
        let metadata = json!({"completed_steps": 1, "failed_steps": 1, "pending_steps": 1, "cancelled_steps": 3});
        let counts = Counts::of(&metadata, TaskState::Error, 6).expect("known");
        assert_eq!(counts.0, [1, 1, 1, 0, 3, 0]);
        assert_eq!((counts.ended(), counts.percentage()), (5, 16.67));
        assert_eq!(Counts::of(&metadata, TaskState::Error, 7), None);
        assert_eq!(Counts::of(&metadata, TaskState::Pending, 6), None);
        assert_eq!(Counts::of(&json!({}), TaskState::Cancelled, 3), None);
        assert_eq!(
            Counts::of(&json!({"failed_steps": "3"}), TaskState::Error, 3),
            None
        );
    }
}
