//! What is blocked by what.

use super::reach::{first_above, is_open, most_listed};
use super::{Standing, Task};
use crate::engine::state::StepState;

/// Keys of steps that wait themselves begin here, above every number of a step.
const OTHERS: i32 = 1 << 16;

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

/// Each step that waits for a parent, with the ancestors that are not done, as far as no step that is done lies between
/// them; ascending. All of them in a task of up to 316 steps; in a larger one all parents, and of the others as many as make
/// about 100,000 pairs in the whole task, root causes first.
pub fn blockers(task: &Task) -> Vec<Blocker> {
    let dag = task.dag();
    let open = |no| is_open(task, no);
    let is_root_cause = |no| {
        task.step(no)
            .is_some_and(|step| step.standing != Standing::Waiting)
    };
    // Root causes have the smaller keys.
    let key = |no: i16| i32::from(no) + if is_root_cause(no) { 0 } else { OTHERS };
    let lists = first_above(task, open, key, most_listed(dag.len()));
    let mut found = Vec::new();
    for ((no, step), list) in task.steps().zip(lists) {
        if !step.waits || !matches!(step.step.state, StepState::Pending | StepState::Error) {
            continue;
        }
        let parents = dag.parents(no);
        let mut ancestors: Vec<i16> = list.into_iter().map(|key| (key % OTHERS) as i16).collect();
        ancestors.extend(parents.iter().copied().filter(|parent| open(*parent)));
        ancestors.sort_unstable();
        ancestors.dedup();
        found.extend(ancestors.into_iter().map(|ancestor| Blocker {
            step: no,
            blocker: ancestor,
            direct: parents.binary_search(&ancestor).is_ok(),
            root_cause: is_root_cause(ancestor),
        }));
    }
    found
}
