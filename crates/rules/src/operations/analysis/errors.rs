//! Each failed step with what it blocks.

use super::reach::{Downstream, downstream};
use super::{Failure, Task, weights};
use crate::engine::state::StepState;

/// A failed step and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorChain {
    /// The step in error.
    pub no: i16,
    /// What the failure said.
    pub failure: Failure,
    /// Whether it will not run again by itself.
    pub permanent: bool,
    /// How much this error affects its task, as a score: the higher, the more.
    pub impact: i64,
    /// The word for it: see [`weights::severity`].
    pub severity: &'static str,
    /// Steps that need it, directly or not.
    pub downstream: usize,
    /// How many of them are held up.
    pub blocked: usize,
    /// The first of those, ascending.
    pub listed: Vec<i16>,
}

/// Every step in error, the most severe first.
pub fn error_chains(task: &Task) -> Vec<ErrorChain> {
    let mut chains: Vec<ErrorChain> = task
        .steps()
        .zip(downstream(task))
        .filter(|((_, step), _)| step.step.state == StepState::Error)
        .map(|((no, step), below)| {
            let Downstream {
                steps: downstream,
                blocked,
                listed,
            } = below;
            let permanent = step.step.failed_permanently();
            let mut impact = blocked as f64 * weights::BLOCKED
                + downstream as f64 * weights::DOWNSTREAM
                + f64::from(step.step.attempts) * weights::ATTEMPT;
            if permanent {
                impact += weights::EXHAUSTED;
            }
            let impact = impact.round() as i64;
            ErrorChain {
                no,
                failure: step.failure.clone().unwrap_or_default(),
                permanent,
                impact,
                severity: weights::severity(impact),
                downstream,
                blocked,
                listed,
            }
        })
        .collect();
    chains.sort_by_key(|chain| (std::cmp::Reverse(chain.impact), chain.no));
    chains
}
