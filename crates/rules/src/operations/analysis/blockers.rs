//! What is blocked by what.

use super::{Standing, Task};
use crate::engine::state::StepState;

/// An unfinished ancestor that a step has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocker {
    /// The step that cannot run.
    pub step: i16,
    /// The ancestor.
    pub blocker: i16,
    /// Whether the ancestor is a parent of the step.
    pub direct: bool,
    /// Whether the ancestor itself waits for no other step: something must happen there first.
    pub root_cause: bool,
}

/// Each step that waits for a parent, with every ancestor that is not done, as far as no step that is done lies between
/// them; ascending.
pub fn blockers(task: &Task) -> Vec<Blocker> {
    let dag = task.dag();
    let mut found = Vec::new();
    for (no, step) in task.steps() {
        if !step.waits || !matches!(step.step.state, StepState::Pending | StepState::Error) {
            continue;
        }
        for ancestor in task.unfinished(no, |no| dag.parents(no)) {
            found.push(Blocker {
                step: no,
                blocker: ancestor,
                direct: dag.parents(no).contains(&ancestor),
                root_cause: task
                    .step(ancestor)
                    .is_some_and(|step| step.standing != Standing::Waiting),
            });
        }
    }
    found
}
