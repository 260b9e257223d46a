//! The weights of the scores: constants, so that a score means the same in every database.

/// Each step that needs this one, directly or not.
pub const DOWNSTREAM: f64 = 5.0;
/// Each of these that is held up.
pub const BLOCKED: f64 = 15.0;

/// Factor of a step in error.
pub const ERROR_FACTOR: f64 = 2.0;
/// Added to it when the step will not run again.
pub const EXHAUSTED_BONUS: f64 = 0.5;
/// Factor of a step that waits for its parents.
pub const DEPENDENCY_FACTOR: f64 = 1.2;

/// Each attempt.
pub const ATTEMPT: f64 = 3.0;
/// No further attempt is allowed.
pub const NON_RETRYABLE: f64 = 10.0;
/// Failed permanently.
pub const EXHAUSTED: f64 = 20.0;

/// From this score on a step is Critical.
pub const CRITICAL: i64 = 100;
/// From this score on a step is High.
pub const HIGH: i64 = 50;
/// From this score on a step is Medium.
pub const MEDIUM: i64 = 20;

/// Each step of a path.
pub const PATH_STEP: f64 = 10.0;
/// Taken off for each step that is done.
pub const PATH_COMPLETED: f64 = 15.0;
/// Each step that waits for its parents.
pub const PATH_BLOCKED: f64 = 25.0;
/// Each step in error.
pub const PATH_ERROR: f64 = 30.0;
/// Each step that runs or ran more than once.
pub const PATH_RETRY: f64 = 10.0;
/// Each minute.
pub const PATH_MINUTE: f64 = 2.0;
/// Factor of what waits and fails in a task that is not healthy.
pub const UNHEALTHY_FACTOR: f64 = 1.5;
/// Share that a path loses when all of it is done.
pub const COMPLETION_DISCOUNT: f64 = 0.3;

/// The duration of a step about which nothing is known.
pub const BASE_STEP_US: i64 = 30_000_000;

/// The word for a score.
pub const fn severity(score: i64) -> &'static str {
    if score >= CRITICAL {
        "Critical"
    } else if score >= HIGH {
        "High"
    } else if score >= MEDIUM {
        "Medium"
    } else {
        "Low"
    }
}
