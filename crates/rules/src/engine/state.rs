//! The states of tasks and steps, the transitions between them, and the event each one raises.
//!
//! Two tables of pairs hold everything: 11 for a task and 10 for a step.
//! Guards that need other rows (all steps done, all parents done) are the caller's business.

use std::fmt;
use std::str::FromStr;

/// A text or code that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown state {0:?}; the states are pending, in_progress, error, complete, cancelled and resolved_manually"
)]
pub struct UnknownState(pub String);

macro_rules! states {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            /// Not started, or waiting for another run.
            Pending,
            /// A worker runs it.
            InProgress,
            /// Failed; whether it can run again is decided by the retry rules.
            Error,
            /// Done.
            Complete,
            /// Cancelled on request; never runs again.
            Cancelled,
            /// An operator declared it done.
            ResolvedManually,
        }

        impl $name {
            /// All six, in the order in which they are documented.
            pub const ALL: [Self; 6] = [
                Self::Pending,
                Self::InProgress,
                Self::Error,
                Self::Complete,
                Self::Cancelled,
                Self::ResolvedManually,
            ];

            /// The one byte that is stored in a Postgres `"char"` column.
            pub const fn code(self) -> u8 {
                match self {
                    Self::Pending => b'p',
                    Self::InProgress => b'i',
                    Self::Error => b'e',
                    Self::Complete => b'c',
                    Self::Cancelled => b'x',
                    Self::ResolvedManually => b'r',
                }
            }

            /// The state behind a stored byte; `None` for any other byte.
            pub const fn from_code(code: u8) -> Option<Self> {
                Some(match code {
                    b'p' => Self::Pending,
                    b'i' => Self::InProgress,
                    b'e' => Self::Error,
                    b'c' => Self::Complete,
                    b'x' => Self::Cancelled,
                    b'r' => Self::ResolvedManually,
                    _ => return None,
                })
            }

            /// The public name, as in the views and function results.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Pending => "pending",
                    Self::InProgress => "in_progress",
                    Self::Error => "error",
                    Self::Complete => "complete",
                    Self::Cancelled => "cancelled",
                    Self::ResolvedManually => "resolved_manually",
                }
            }

            /// True when the work is done: complete or resolved_manually.
            pub const fn is_finished_good(self) -> bool {
                matches!(self, Self::Complete | Self::ResolvedManually)
            }

            /// True for pending and in_progress: not ended yet.
            pub const fn is_open(self) -> bool {
                matches!(self, Self::Pending | Self::InProgress)
            }

            /// Whether the machine declares this pair. A guard may still refuse it.
            pub fn allowed(self, to: Self) -> bool {
                self.event(to).is_some()
            }

            /// The event that this transition raises; `None` when the pair is not declared (same state included).
            pub fn event(self, to: Self) -> Option<&'static str> {
                Self::TRANSITIONS
                    .iter()
                    .find(|pair| pair.0 == self && pair.1 == to)
                    .map(|pair| pair.2)
            }

            /// The states that may follow this one, for a HINT.
            pub fn next_states(self) -> Vec<Self> {
                Self::ALL.into_iter().filter(|to| self.allowed(*to)).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                Self::ALL
                    .into_iter()
                    .find(|state| state.as_str() == text)
                    .ok_or_else(|| UnknownState(text.chars().take(64).collect()))
            }
        }
    };
}

states! {
    /// State of a task.
    TaskState
}

states! {
    /// State of a step.
    StepState
}

impl TaskState {
    /// Every declared transition with its event.
    pub const TRANSITIONS: [(Self, Self, &'static str); 11] = [
        (Self::Pending, Self::InProgress, "task.start_requested"),
        (Self::Pending, Self::Cancelled, "task.cancelled"),
        (Self::Pending, Self::Error, "task.failed"),
        (Self::InProgress, Self::Complete, "task.completed"),
        (Self::InProgress, Self::Error, "task.failed"),
        (Self::InProgress, Self::Cancelled, "task.cancelled"),
        (Self::InProgress, Self::Pending, "task.initialize_requested"),
        (Self::Error, Self::Pending, "task.retry_requested"),
        (
            Self::Error,
            Self::ResolvedManually,
            "task.resolved_manually",
        ),
        (Self::Complete, Self::Cancelled, "task.cancelled"),
        (Self::ResolvedManually, Self::Cancelled, "task.cancelled"),
    ];

    /// The event raised when a task is created (nothing -> pending).
    pub const CREATED: &'static str = "task.initialize_requested";
}

impl StepState {
    /// Every declared transition with its event. in_progress -> pending: a worker releases a step that it has not finished.
    pub const TRANSITIONS: [(Self, Self, &'static str); 10] = [
        (Self::Pending, Self::InProgress, "step.execution_requested"),
        (Self::Pending, Self::Error, "step.failed"),
        (Self::Pending, Self::Cancelled, "step.cancelled"),
        (
            Self::Pending,
            Self::ResolvedManually,
            "step.resolved_manually",
        ),
        (Self::InProgress, Self::Complete, "step.completed"),
        (Self::InProgress, Self::Error, "step.failed"),
        (Self::InProgress, Self::Cancelled, "step.cancelled"),
        (Self::InProgress, Self::Pending, "step.released"),
        (Self::Error, Self::Pending, "step.retry_requested"),
        (
            Self::Error,
            Self::ResolvedManually,
            "step.resolved_manually",
        ),
    ];

    /// The event raised when a step is created (nothing -> pending).
    pub const CREATED: &'static str = "step.initialize_requested";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row per from-state, one letter per to-state, in the order of `ALL` (p i e c x r); `.` is refused.
    const TASK_MATRIX: [&str; 6] = [
        ".ie.x.", // pending
        "p.ecx.", // in_progress
        "p....r", // error
        "....x.", // complete
        "......", // cancelled
        "....x.", // resolved_manually
    ];
    const STEP_MATRIX: [&str; 6] = [
        ".ie.xr", // pending
        "p.ecx.", // in_progress; pending = released
        "p....r", // error
        "......", // complete
        "......", // cancelled
        "......", // resolved_manually
    ];

    #[test]
    fn a_task_has_eleven_declared_transitions_of_36_pairs() {
        let mut count = 0;
        for (from, row) in TaskState::ALL.into_iter().zip(TASK_MATRIX) {
            for (to, mark) in TaskState::ALL.into_iter().zip(row.bytes()) {
                assert_eq!(from.allowed(to), mark == to.code(), "{from} -> {to}");
                count += usize::from(from.allowed(to));
            }
        }
        assert_eq!(count, 11);
    }

    #[test]
    fn a_step_has_ten_declared_transitions_of_36_pairs() {
        let mut count = 0;
        for (from, row) in StepState::ALL.into_iter().zip(STEP_MATRIX) {
            for (to, mark) in StepState::ALL.into_iter().zip(row.bytes()) {
                assert_eq!(from.allowed(to), mark == to.code(), "{from} -> {to}");
                count += usize::from(from.allowed(to));
            }
        }
        assert_eq!(count, 10);
    }

    #[test]
    fn every_event_follows_from_the_state_that_is_entered() {
        for (from, to, event) in TaskState::TRANSITIONS {
            let expected = match (from, to) {
                (TaskState::Error, TaskState::Pending) => "task.retry_requested",
                (_, TaskState::Pending) => "task.initialize_requested",
                (_, TaskState::InProgress) => "task.start_requested",
                (_, TaskState::Error) => "task.failed",
                (_, TaskState::Complete) => "task.completed",
                (_, TaskState::Cancelled) => "task.cancelled",
                (_, TaskState::ResolvedManually) => "task.resolved_manually",
            };
            assert_eq!(event, expected, "{from} -> {to}");
        }
        for (from, to, event) in StepState::TRANSITIONS {
            let expected = match (from, to) {
                (StepState::Error, StepState::Pending) => "step.retry_requested",
                (_, StepState::Pending) => "step.released",
                (_, StepState::InProgress) => "step.execution_requested",
                (_, StepState::Error) => "step.failed",
                (_, StepState::Complete) => "step.completed",
                (_, StepState::Cancelled) => "step.cancelled",
                (_, StepState::ResolvedManually) => "step.resolved_manually",
            };
            assert_eq!(event, expected, "{from} -> {to}");
        }
    }

    #[test]
    fn codes_and_names_lead_back_to_the_state() {
        for state in StepState::ALL {
            assert_eq!(StepState::from_code(state.code()), Some(state));
            assert_eq!(state.as_str().parse::<StepState>(), Ok(state));
        }
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_code(state.code()), Some(state));
            assert_eq!(state.to_string().parse::<TaskState>(), Ok(state));
        }
        let known = (0..=u8::MAX).filter(|code| StepState::from_code(*code).is_some());
        assert_eq!(known.count(), 6);
        assert!("Pending".parse::<StepState>().is_err());
        assert!("".parse::<TaskState>().is_err());
    }

    #[test]
    fn only_complete_and_resolved_manually_release_children() {
        let good: Vec<_> = StepState::ALL
            .into_iter()
            .filter(|s| s.is_finished_good())
            .collect();
        assert_eq!(good, [StepState::Complete, StepState::ResolvedManually]);
        let open: Vec<_> = TaskState::ALL.into_iter().filter(|s| s.is_open()).collect();
        assert_eq!(open, [TaskState::Pending, TaskState::InProgress]);
    }

    #[test]
    fn a_hint_can_name_the_states_that_may_follow() {
        assert_eq!(
            TaskState::Error.next_states(),
            [TaskState::Pending, TaskState::ResolvedManually]
        );
        assert!(StepState::Cancelled.next_states().is_empty());
    }
}
