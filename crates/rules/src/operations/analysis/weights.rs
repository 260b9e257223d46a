//! The weights of the scores. They are those of Tasker's `dependency_graph` configuration (impact_multipliers,
//! severity_multipliers, penalty_constants, severity_thresholds, duration_estimates), kept as constants so that a score means
//! the same in every database.

/// Each step that needs this one, directly or not (downstream_weight).
pub const DOWNSTREAM: f64 = 5.0;
/// Each of these that is held up (blocked_weight).
pub const BLOCKED: f64 = 15.0;

/// Factor of a step in error (error_state).
pub const ERROR_FACTOR: f64 = 2.0;
/// Added to it when the step will not run again (exhausted_retry_bonus).
pub const EXHAUSTED_BONUS: f64 = 0.5;
/// Factor of a step that waits for its parents (dependency_issue).
pub const DEPENDENCY_FACTOR: f64 = 1.2;

/// Each attempt (retry_instability).
pub const ATTEMPT: f64 = 3.0;
/// No further attempt is allowed (non_retryable).
pub const NON_RETRYABLE: f64 = 10.0;
/// Failed permanently (exhausted_retry).
pub const EXHAUSTED: f64 = 20.0;

/// From this score on a step is Critical.
pub const CRITICAL: i64 = 100;
/// From this score on a step is High.
pub const HIGH: i64 = 50;
/// From this score on a step is Medium.
pub const MEDIUM: i64 = 20;

/// Each step of a path (path_length_weight).
pub const PATH_STEP: f64 = 10.0;
/// Taken off for each step that is done (completed_penalty).
pub const PATH_COMPLETED: f64 = 15.0;
/// Each step that waits for its parents (blocked_penalty).
pub const PATH_BLOCKED: f64 = 25.0;
/// Each step in error (error_penalty).
pub const PATH_ERROR: f64 = 30.0;
/// Each step that runs or ran more than once (retry_penalty).
pub const PATH_RETRY: f64 = 10.0;
/// Each minute.
pub const PATH_MINUTE: f64 = 2.0;
/// Factor of what waits and fails in a task that is not healthy.
pub const UNHEALTHY_FACTOR: f64 = 1.5;
/// Share that a path loses when all of it is done.
pub const COMPLETION_DISCOUNT: f64 = 0.3;

/// The duration of a step about which nothing is known (base_step_seconds).
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
