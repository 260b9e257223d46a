//! Which steps could run in parallel: the steps of a task by level.

use super::{Standing, Task};

/// The steps that are equally far from the roots: they never wait for each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Level {
    /// All of them, ascending.
    pub steps: Vec<i16>,
    /// A claim would hand them out.
    pub ready: usize,
    /// In progress.
    pub running: usize,
    /// Complete or resolved_manually.
    pub completed: usize,
    /// Failed, for now or permanently.
    pub failed: usize,
    /// Cancelled.
    pub cancelled: usize,
    /// All others: they wait for a parent or for their time.
    pub waiting: usize,
}

/// The levels, roots first.
pub fn levels(task: &Task) -> Vec<Level> {
    let mut levels = vec![Level::default(); task.dag().level_widths().len()];
    for (no, step) in task.steps() {
        let Some(level) = levels.get_mut(task.dag().level(no) as usize) else {
            continue;
        };
        level.steps.push(no);
        match step.standing {
            Standing::Ready => level.ready += 1,
            Standing::Running => level.running += 1,
            Standing::Done => level.completed += 1,
            Standing::Failed | Standing::Retrying => level.failed += 1,
            Standing::Cancelled => level.cancelled += 1,
            Standing::Waiting | Standing::Scheduled | Standing::Held => level.waiting += 1,
        }
    }
    levels
}
