//! The paths from roots to leaves that deserve attention, without enumerating all of them.

use super::{Standing, Task, weights};
use crate::engine::state::StepState;

/// A path from a root to a leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Its steps.
    pub steps: Vec<i16>,
    /// Sum of their durations.
    pub duration_us: i64,
    /// Steps that are done.
    pub completed: usize,
    /// Steps that wait for a parent.
    pub blocked: usize,
    /// Steps in error.
    pub errors: usize,
    /// Steps that run, or ran, more than once.
    pub retries: usize,
    /// The higher the score, the more the path needs attention.
    pub score: f64,
}

impl Path {
    /// Done steps of all its steps, in percent with one decimal.
    pub fn completion(&self) -> f64 {
        if self.steps.is_empty() {
            return 0.0;
        }
        (self.completed as f64 * 1_000.0 / self.steps.len() as f64).round() / 10.0
    }
}

/// The number of paths from roots to leaves; the largest number there is stands for all above it.
pub fn count_paths(task: &Task) -> u128 {
    let dag = task.dag();
    let mut ways = vec![0u128; dag.len() + 1];
    let mut total = 0u128;
    for no in dag.step_nos() {
        let parents = dag.parents(no);
        ways[no as usize] = if parents.is_empty() {
            1
        } else {
            parents
                .iter()
                .fold(0, |sum, parent| sum.saturating_add(ways[*parent as usize]))
        };
        if dag.children(no).is_empty() {
            total = total.saturating_add(ways[no as usize]);
        }
    }
    total
}

/// One of the best beginnings of a path that end at a step: its sum, and which beginning of which parent it continues.
#[derive(Clone, Copy)]
struct Beginning {
    sum: f64,
    before: Option<(i16, usize)>,
}

/// The `most` paths with the highest scores, best first. They are found by the sum over their steps, `most` candidates per
/// step; the discount for what is done, which is no sum, is taken off the found ones.
pub fn best_paths(task: &Task, healthy: bool, most: usize) -> Vec<Path> {
    let dag = task.dag();
    let mut best: Vec<Vec<Beginning>> = vec![Vec::new(); dag.len() + 1];
    let mut ends: Vec<(f64, i16, usize)> = Vec::new();
    for (no, _) in task.steps() {
        let own = weight(task, no, healthy);
        let mut here: Vec<Beginning> = Vec::new();
        for parent in dag.parents(no) {
            for (rank, beginning) in best[*parent as usize].iter().enumerate() {
                here.push(Beginning {
                    sum: beginning.sum + own,
                    before: Some((*parent, rank)),
                });
            }
        }
        if dag.parents(no).is_empty() {
            here.push(Beginning {
                sum: own,
                before: None,
            });
        }
        // Stable: equal sums keep the order of the parents.
        here.sort_by(|one, other| other.sum.total_cmp(&one.sum));
        here.truncate(most);
        if dag.children(no).is_empty() {
            ends.extend(
                here.iter()
                    .enumerate()
                    .map(|(rank, end)| (end.sum, no, rank)),
            );
        }
        best[no as usize] = here;
    }
    ends.sort_by(|one, other| other.0.total_cmp(&one.0));
    ends.truncate(most);
    let mut paths: Vec<Path> = ends
        .into_iter()
        .map(|(sum, leaf, rank)| {
            let mut steps = vec![leaf];
            let mut at = best[leaf as usize][rank].before;
            while let Some((no, rank)) = at {
                steps.push(no);
                at = best[no as usize][rank].before;
            }
            steps.reverse();
            path(task, steps, sum)
        })
        .collect();
    paths.sort_by(|one, other| other.score.total_cmp(&one.score));
    paths
}

fn path(task: &Task, steps: Vec<i16>, sum: f64) -> Path {
    let facts: Vec<_> = steps.iter().filter_map(|no| task.step(*no)).collect();
    let count =
        |is: &dyn Fn(&super::StepFacts) -> bool| facts.iter().filter(|step| is(step)).count();
    let mut path = Path {
        duration_us: facts
            .iter()
            .fold(0i64, |sum, step| sum.saturating_add(step.duration.us)),
        completed: count(&|step| step.standing == Standing::Done),
        blocked: count(&|step| step.standing == Standing::Waiting),
        errors: count(&|step| step.step.state == StepState::Error),
        retries: count(&|step| step.step.attempts > 1),
        score: 0.0,
        steps,
    };
    let done = path.completed as f64 / path.steps.len().max(1) as f64;
    let score = (sum * (1.0 - weights::COMPLETION_DISCOUNT * done)).max(0.0);
    path.score = (score * 10.0).round() / 10.0;
    path
}

fn weight(task: &Task, no: i16, healthy: bool) -> f64 {
    let Some(step) = task.step(no) else {
        return 0.0;
    };
    let factor = if healthy {
        1.0
    } else {
        weights::UNHEALTHY_FACTOR
    };
    let mut weight = weights::PATH_STEP + weights::PATH_MINUTE * step.duration.us as f64 / 60e6;
    if step.standing == Standing::Done {
        weight -= weights::PATH_COMPLETED;
    }
    if step.standing == Standing::Waiting {
        weight += weights::PATH_BLOCKED * factor;
    }
    if step.step.state == StepState::Error {
        weight += weights::PATH_ERROR * factor;
    }
    if step.step.attempts > 1 {
        weight += weights::PATH_RETRY;
    }
    weight
}
