//! The steps that hold a task up, scored.

use super::reach::{Downstream, downstream};
use super::{Standing, StepFacts, Task, weights};
use crate::engine::state::StepState;

/// A step that holds the task up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bottleneck {
    /// The step.
    pub no: i16,
    /// The reason, such as `Permanent Failure`.
    pub kind: &'static str,
    /// How severe that is: see [`weights::severity`].
    pub severity: &'static str,
    /// The score behind it.
    pub score: i64,
    /// Steps that need it, directly or not.
    pub downstream: usize,
    /// How many of them are held up.
    pub blocked: usize,
    /// The first of those, ascending.
    pub listed: Vec<i16>,
}

/// Failed steps, and cancelled ones that others wait for; if there are none, every unfinished step that waits for a parent, ran
/// before, cannot run again, or makes others wait. Highest score first.
pub fn bottlenecks(task: &Task) -> Vec<Bottleneck> {
    let all: Vec<Bottleneck> = task
        .steps()
        .zip(downstream(task))
        .filter(|((_, step), _)| step.standing != Standing::Done)
        .map(|((no, step), below)| bottleneck(no, step, below))
        .collect();
    let stops = |found: &Bottleneck| {
        task.step(found.no)
            .is_some_and(|step| match step.step.state {
                StepState::Error => true,
                StepState::Cancelled => found.blocked > 0,
                _ => false,
            })
    };
    let slows = |found: &Bottleneck| {
        task.step(found.no).is_some_and(|step| {
            step.step.state != StepState::Cancelled
                && (step.waits
                    || step.step.attempts >= 2
                    || !step.step.retry_eligible()
                    || found.blocked > 0)
        })
    };
    let mut found: Vec<Bottleneck> = if all.iter().any(stops) {
        all.into_iter().filter(stops).collect()
    } else {
        all.into_iter().filter(slows).collect()
    };
    found.sort_by_key(|one| (std::cmp::Reverse(one.score), one.no));
    found
}

fn bottleneck(no: i16, step: &StepFacts, below: Downstream) -> Bottleneck {
    let Downstream {
        steps: downstream,
        blocked,
        listed,
    } = below;
    let failed_permanently = step.step.failed_permanently();
    let factor = match step.step.state {
        StepState::Error if failed_permanently => weights::ERROR_FACTOR + weights::EXHAUSTED_BONUS,
        StepState::Error => weights::ERROR_FACTOR,
        // A cancelled step is as final as one that failed permanently.
        StepState::Cancelled => weights::ERROR_FACTOR + weights::EXHAUSTED_BONUS,
        StepState::Pending if step.waits => weights::DEPENDENCY_FACTOR,
        _ => 1.0,
    };
    let mut score = (downstream as f64 * weights::DOWNSTREAM + blocked as f64 * weights::BLOCKED)
        * factor
        + f64::from(step.step.attempts) * weights::ATTEMPT;
    if !step.step.retry_eligible() {
        score += weights::NON_RETRYABLE;
    }
    if failed_permanently {
        score += weights::EXHAUSTED;
    }
    let score = score.round() as i64;
    Bottleneck {
        no,
        kind: kind(step),
        severity: weights::severity(score),
        score,
        downstream,
        blocked,
        listed,
    }
}

fn kind(step: &StepFacts) -> &'static str {
    match step.step.state {
        StepState::Error if step.step.failed_permanently() => "Permanent Failure",
        StepState::Error => "Active Error",
        StepState::Cancelled => "Cancelled",
        _ if step.waits => "Dependency Block",
        _ if step.step.attempts >= 2 => "Retry Exhaustion",
        _ if !step.step.retry_eligible() => "Non-Retryable",
        StepState::InProgress => "Running",
        _ => "Waiting to Run",
    }
}

/// One word for the whole task: Severe, High, Medium, Low or None.
pub fn overall(task: &Task, found: &[Bottleneck]) -> &'static str {
    let count = |severity: &str| found.iter().filter(|one| one.severity == severity).count();
    let (critical, high) = (count("Critical"), count("High"));
    let in_error = |step: &StepFacts| step.step.state == StepState::Error;
    let failed = task.steps().filter(|(_, step)| in_error(step)).count();
    if critical >= 3 || failed * 2 > task.dag().len() {
        "Severe"
    } else if critical >= 1 || high >= 3 {
        "High"
    } else if high >= 1 || found.len() >= 5 {
        "Medium"
    } else if found.is_empty() {
        "None"
    } else {
        "Low"
    }
}
