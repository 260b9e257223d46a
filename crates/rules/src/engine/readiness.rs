//! Which steps can run, and the execution status of a task: the rules behind every reading function and view.
//!
//! Times are microseconds on any one clock.

use crate::engine::retry::Attempts;
use crate::engine::state::{StepState, TaskState};

/// What the rules need to know of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its state.
    pub state: StepState,
    /// The one clock of the step. None: a pending step that was released at once, or an error without another run.
    pub available_at: Option<i64>,
    /// Runs since the last reset.
    pub attempts: i16,
    /// Runs in total.
    pub retry_limit: i16,
    /// Whether a failure may be followed by another run.
    pub retryable: bool,
    /// Whether it was ever handed out.
    pub claimed_before: bool,
    /// Whether a step that it needs can never be done.
    pub unreachable: bool,
}

/// An `available_at` that never comes: the step waits for an operator.
pub const NEVER: i64 = i64::MAX;

/// Whether the step failed and no other run is scheduled.
pub const fn failed_permanently(state: StepState, available_at: Option<i64>) -> bool {
    matches!(state, StepState::Error) && available_at.is_none()
}

/// Whether a run of the step may still begin without an operator. One that was set to error by hand can be unreachable, too.
pub const fn may_still_start(
    state: StepState,
    available_at: Option<i64>,
    unreachable: bool,
) -> bool {
    match state {
        StepState::Pending => !unreachable,
        StepState::Error => !unreachable && available_at.is_some(),
        _ => false,
    }
}

/// Whether the step runs, or may still start: whether anything can happen to it without an operator. A task of which no
/// step can has ended. The SQL function `tasker_engine.can_still_run` says the same, for statements and views.
pub const fn can_still_run(state: StepState, available_at: Option<i64>, unreachable: bool) -> bool {
    matches!(state, StepState::InProgress) || may_still_start(state, available_at, unreachable)
}

/// Whether a queue entry with this time agrees with its step's row. The first release of a pending step does not touch its
/// row: a pending step without available_at agrees with any entry. The SQL function `tasker_engine.entry_agrees` says the
/// same, for statements and views.
pub const fn entry_agrees(
    state: StepState,
    available_at: Option<i64>,
    entry_available_at: i64,
) -> bool {
    match (state, available_at) {
        (StepState::Pending, None) => true,
        (StepState::Pending | StepState::Error, Some(at)) => at == entry_available_at,
        _ => false,
    }
}

/// When a step whose run has ended runs again, if its row says that it is held (its task has ended in error meanwhile): not before an
/// operator takes its task up.
pub fn unless_held(row_available_at: Option<i64>, next: Option<i64>) -> Option<i64> {
    match row_available_at {
        Some(NEVER) => next.map(|_| NEVER),
        _ => next,
    }
}

impl Step {
    /// Failed, and no other run is scheduled.
    pub fn failed_permanently(&self) -> bool {
        failed_permanently(self.state, self.available_at)
    }

    /// The first run is always allowed, and any other as long as attempts are left. Of a failed step the engine has decided
    /// when the failure was reported.
    pub fn retry_eligible(&self) -> bool {
        if self.state == StepState::Error {
            return self.available_at.is_some_and(|at| at != NEVER);
        }
        let attempts = Attempts {
            made: self.attempts,
            limit: self.retry_limit,
            retryable: self.retryable,
        };
        attempts.may_run()
    }

    /// Whether a claim would take the step as far as its own row goes. All its parents must be done besides.
    pub fn due(&self, now: i64) -> bool {
        match self.state {
            StepState::Pending => self.available_at.is_none_or(|at| at <= now),
            StepState::Error => self.available_at.is_some_and(|at| at <= now),
            _ => false,
        }
    }

    /// Whether anything can still happen to the step without an operator.
    pub fn can_still_run(&self) -> bool {
        can_still_run(self.state, self.available_at, self.unreachable)
    }

    /// When it runs again. A step that never ran has none, unless it was put off.
    pub fn next_retry_at(&self, now: i64) -> Option<i64> {
        let at = self.available_at.filter(|at| *at != NEVER)?;
        match self.state {
            StepState::Error => Some(at),
            StepState::Pending if self.claimed_before || at > now => Some(at),
            _ => None,
        }
    }
}

/// Whole seconds between a failure and the next run, rounded up.
pub fn backoff_seconds(failed_at: i64, next_retry_at: i64) -> i32 {
    let micros = next_retry_at.saturating_sub(failed_at).max(0);
    let seconds = micros / 1_000_000 + i64::from(micros % 1_000_000 != 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// The steps of a task, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: i64,
    /// In state pending.
    pub pending: i64,
    /// In state in_progress.
    pub in_progress: i64,
    /// Complete or resolved_manually.
    pub completed: i64,
    /// In state error.
    pub failed: i64,
    /// In state cancelled.
    pub cancelled: i64,
    /// What a claim would hand out now.
    pub ready: i64,
    can_still_run: bool,
    failed_permanently: bool,
}

impl Counts {
    /// Counts one more step; `ready` says that it is due and all its parents are done.
    pub fn add(&mut self, step: &Step, ready: bool) {
        self.total += 1;
        match step.state {
            StepState::Pending => self.pending += 1,
            StepState::InProgress => self.in_progress += 1,
            StepState::Error => self.failed += 1,
            StepState::Cancelled => self.cancelled += 1,
            StepState::Complete | StepState::ResolvedManually => self.completed += 1,
        }
        self.ready += i64::from(ready);
        self.can_still_run |= step.can_still_run();
        self.failed_permanently |= step.failed_permanently();
    }

    /// The execution status of a task in this state: of one that has ended its end, of an open one the first rule that fits.
    pub fn execution(&self, task: TaskState) -> Execution {
        match task {
            TaskState::Pending | TaskState::InProgress => self.execution_of_open(),
            TaskState::Error => Execution::BlockedByFailures,
            TaskState::Complete => Execution::AllComplete,
            TaskState::ResolvedManually => Execution::ResolvedManually,
            TaskState::Cancelled => Execution::Cancelled,
        }
    }

    fn execution_of_open(&self) -> Execution {
        if self.ready > 0 {
            Execution::HasReadySteps
        } else if self.in_progress > 0 {
            Execution::Processing
        } else if !self.can_still_run && (self.failed_permanently || self.cancelled > 0) {
            Execution::BlockedByFailures
        } else if self.total > 0 && self.completed == self.total {
            Execution::AllComplete
        } else {
            Execution::WaitingForDependencies
        }
    }

    /// `blocked`, `recovering` or `healthy`. A task that has ended otherwise than in error is healthy.
    pub fn health(&self, task: TaskState) -> &'static str {
        if self.execution(task) == Execution::BlockedByFailures {
            "blocked"
        } else if task.is_open() && self.failed > 0 {
            "recovering"
        } else {
            "healthy"
        }
    }

    /// Completed of total: [`hundredths`].
    pub fn completion_hundredths(&self) -> i64 {
        hundredths(self.completed, self.total)
    }
}

/// A share in hundredths of a percent, rounded half up; 0 of nothing.
pub const fn hundredths(part: i64, total: i64) -> i64 {
    if total == 0 {
        0
    } else {
        (part * 20_000 + total) / (2 * total)
    }
}

/// The execution status of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// A worker could take a step now.
    HasReadySteps,
    /// A worker is running a step.
    Processing,
    /// The task is in error; or nothing of it can run any more, and something failed permanently or was cancelled.
    BlockedByFailures,
    /// The task is complete, or every step is done.
    AllComplete,
    /// A retry or a later start is scheduled.
    WaitingForDependencies,
    /// An operator declared the task done.
    ResolvedManually,
    /// The task was cancelled.
    Cancelled,
}

impl Execution {
    /// The word in `execution_status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HasReadySteps => "has_ready_steps",
            Self::Processing => "processing",
            Self::BlockedByFailures => "blocked_by_failures",
            Self::AllComplete => "all_complete",
            Self::WaitingForDependencies => "waiting_for_dependencies",
            Self::ResolvedManually => "resolved_manually",
            Self::Cancelled => "cancelled",
        }
    }

    /// The word in `recommended_action` for a task in this state; nothing is left to do once it has ended otherwise than in error.
    pub const fn recommended_action(self, task: TaskState) -> Option<&'static str> {
        Some(match self {
            Self::HasReadySteps => "execute_ready_steps",
            Self::Processing => "wait_for_completion",
            Self::BlockedByFailures => "handle_failures",
            Self::AllComplete if task.is_open() => "finalize_task",
            Self::AllComplete | Self::ResolvedManually | Self::Cancelled => return None,
            Self::WaitingForDependencies => "wait_for_dependencies",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000;

    fn step(state: StepState) -> Step {
        Step {
            state,
            available_at: None,
            attempts: 0,
            retry_limit: 3,
            retryable: true,
            claimed_before: false,
            unreachable: false,
        }
    }

    fn failed(attempts: i16, retry_at: Option<i64>) -> Step {
        Step {
            attempts,
            available_at: retry_at,
            claimed_before: true,
            ..step(StepState::Error)
        }
    }

    fn counts(steps: &[(Step, bool)]) -> Counts {
        let mut counts = Counts::default();
        steps
            .iter()
            .for_each(|(step, ready)| counts.add(step, *ready));
        counts
    }

    #[test]
    fn the_first_run_is_always_allowed() {
        let eligible = |attempts, retry_limit, retryable| {
            Step {
                attempts,
                retry_limit,
                retryable,
                ..step(StepState::Pending)
            }
            .retry_eligible()
        };
        assert!(eligible(0, 0, true) && eligible(0, 3, false) && eligible(0, 0, false));
        assert_eq!(
            [0, 1, 2, 3].map(|attempts| eligible(attempts, 3, true)),
            [true, true, true, false]
        );
        assert!(!eligible(1, 3, false) && !eligible(1, 0, true));
    }

    #[test]
    fn an_error_without_a_retry_is_permanent() {
        for failed in [failed(1, None), failed(3, None)] {
            assert!(
                !failed.retry_eligible() && failed.failed_permanently() && !failed.can_still_run()
            );
        }
        assert!(failed(2, Some(5)).retry_eligible() && failed(2, Some(5)).can_still_run());
    }

    #[test]
    fn a_step_is_due_once_its_time_has_come() {
        for at in [NOW - 1, NOW, NOW + 1] {
            for step in [
                failed(1, Some(at)),
                Step {
                    available_at: Some(at),
                    ..step(StepState::Pending)
                },
            ] {
                assert_eq!(step.due(NOW), at <= NOW);
                if let Some(next) = step.next_retry_at(NOW) {
                    assert!(step.due(next));
                    assert_eq!(next, at);
                }
            }
        }
    }

    #[test]
    fn only_pending_and_failed_steps_are_due() {
        use StepState::{Cancelled, Complete, InProgress, ResolvedManually};
        for state in [InProgress, Complete, Cancelled, ResolvedManually] {
            assert!(
                !Step {
                    available_at: Some(0),
                    ..step(state)
                }
                .due(NOW)
            );
            assert_eq!(
                Step {
                    available_at: Some(0),
                    ..step(state)
                }
                .next_retry_at(NOW),
                None
            );
        }
    }

    #[test]
    fn a_held_step_waits_without_limit_and_shows_no_date() {
        let held = Step {
            available_at: Some(NEVER),
            claimed_before: true,
            ..step(StepState::Pending)
        };
        assert!(!held.due(NEVER - 1));
        assert_eq!(held.next_retry_at(NOW), None);
    }

    #[test]
    fn what_is_held_stays_held_when_its_run_ends() {
        for row in [None, Some(5)] {
            assert_eq!(unless_held(row, Some(7)), Some(7));
            assert_eq!(unless_held(row, None), None);
        }
        assert_eq!(unless_held(Some(NEVER), Some(7)), Some(NEVER));
        assert_eq!(unless_held(Some(NEVER), None), None);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let (pending, running) = (step(StepState::Pending), step(StepState::InProgress));
        let (done, cancelled) = (step(StepState::Complete), step(StepState::Cancelled));
        let unreachable = Step {
            unreachable: true,
            ..pending
        };
        let (permanent, retrying) = (failed(3, None), failed(2, Some(NOW + 9)));
        let at = |steps: &[(Step, bool)]| {
            let counts = counts(steps);
            (
                counts.execution(TaskState::InProgress).as_str(),
                counts.health(TaskState::Pending),
            )
        };
        assert_eq!(
            at(&[(permanent, false), (pending, true)]),
            ("has_ready_steps", "recovering")
        );
        assert_eq!(
            at(&[(permanent, false), (running, false)]),
            ("processing", "recovering")
        );
        assert_eq!(
            at(&[(permanent, false), (unreachable, false), (done, false)]),
            ("blocked_by_failures", "blocked")
        );
        assert_eq!(
            at(&[(done, false), (cancelled, false)]),
            ("blocked_by_failures", "blocked")
        );
        assert_eq!(
            at(&[(permanent, false), (retrying, false)]),
            ("waiting_for_dependencies", "recovering")
        );
        assert_eq!(
            at(&[(retrying, false), (pending, false)]),
            ("waiting_for_dependencies", "recovering")
        );
        assert_eq!(
            at(&[(done, false), (step(StepState::ResolvedManually), false)]),
            ("all_complete", "healthy")
        );
        assert_eq!(
            at(&[(done, false), (pending, false)]),
            ("waiting_for_dependencies", "healthy")
        );
        assert_eq!(at(&[]), ("waiting_for_dependencies", "healthy"));
    }

    #[test]
    fn of_a_task_that_has_ended_its_end_counts() {
        let counts = counts(&[
            (failed(2, Some(NOW)), true),
            (step(StepState::InProgress), false),
            (step(StepState::Cancelled), false),
        ]);
        let at = |task: TaskState| {
            let execution = counts.execution(task);
            (
                execution.as_str(),
                counts.health(task),
                execution.recommended_action(task),
            )
        };
        assert_eq!(at(TaskState::Complete), ("all_complete", "healthy", None));
        assert_eq!(
            at(TaskState::ResolvedManually),
            ("resolved_manually", "healthy", None)
        );
        assert_eq!(at(TaskState::Cancelled), ("cancelled", "healthy", None));
        assert_eq!(
            at(TaskState::Error),
            ("blocked_by_failures", "blocked", Some("handle_failures"))
        );
        assert_eq!(
            at(TaskState::Pending),
            ("has_ready_steps", "recovering", Some("execute_ready_steps"))
        );
    }

    #[test]
    fn percentages_have_two_decimals() {
        let of = |completed, total| {
            Counts {
                completed,
                total,
                ..Counts::default()
            }
            .completion_hundredths()
        };
        assert_eq!(
            [of(0, 0), of(0, 4), of(1, 2), of(1, 3), of(2, 3), of(7, 7)],
            [0, 0, 5_000, 3_333, 6_667, 10_000]
        );
        // 1 of 32,000: 0.003125 %, below half a hundredth.
        assert_eq!(
            [of(1, 32_000), of(1, 16), of(32_766, 32_767)],
            [0, 625, 10_000]
        );
    }

    #[test]
    fn backoff_is_rounded_up_and_never_negative() {
        assert_eq!(backoff_seconds(0, 1), 1);
        assert_eq!(backoff_seconds(0, 2_000_000), 2);
        assert_eq!(backoff_seconds(5, 0), 0);
        assert_eq!(backoff_seconds(i64::MIN, i64::MAX), i32::MAX);
    }
}
