//! When each step can begin and end if it waits for nothing but its parents, and the longest path through the graph.

use super::Task;

/// The schedule of a task; times in microseconds after the beginning of its first step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// One per step, by number: entry 0 belongs to step 1.
    pub slots: Vec<Slot>,
    /// Length of the longest path: no order of work is faster.
    pub total_us: i64,
    /// The longest path, from a root to a leaf; of equal ones the one with the lower step numbers from its end.
    pub critical_path: Vec<i16>,
}

/// A step in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// When all its parents have ended.
    pub starts_us: i64,
    /// When it has ended.
    pub ends_us: i64,
    /// By how much it can be late, or longer, without making the task longer.
    pub slack_us: i64,
    /// By how much the task would be shorter if the step took no time.
    pub drag_us: i64,
}

/// Longest paths forwards and backwards, in one pass each.
pub fn schedule(task: &Task) -> Schedule {
    let dag = task.dag();
    let durations: Vec<i64> = task.steps().map(|(_, step)| step.duration.us).collect();
    // Position 0 is a step before all roots, the last position one behind all leaves.
    let count = durations.len();
    let end = count + 1;
    let (mut finish, mut tail) = (vec![0i64; end + 1], vec![0i64; end + 1]);
    let mut starts = vec![0i64; end + 1];
    for no in 1..=count {
        let parents = dag.parents(no as i16);
        starts[no] = parents
            .iter()
            .map(|no| finish[*no as usize])
            .max()
            .unwrap_or(0);
        finish[no] = starts[no].saturating_add(durations[no - 1]);
    }
    for no in (1..=count).rev() {
        let children = dag.children(no as i16);
        let behind = children
            .iter()
            .map(|no| tail[*no as usize])
            .max()
            .unwrap_or(0);
        tail[no] = behind.saturating_add(durations[no - 1]);
    }
    let total_us = finish.iter().copied().max().unwrap_or(0);
    let critical_path = critical_path(task, &starts, &finish);
    let mut slots: Vec<Slot> = (1..=count)
        .map(|no| Slot {
            starts_us: starts[no],
            ends_us: finish[no],
            slack_us: (total_us - starts[no]).saturating_sub(tail[no]).max(0),
            drag_us: 0,
        })
        .collect();
    let around = longest_around(task, &finish, &tail);
    for no in &critical_path {
        let at = *no as usize;
        slots[at - 1].drag_us = (total_us - around[at]).clamp(0, durations[at - 1]);
    }
    Schedule {
        slots,
        total_us,
        critical_path,
    }
}

fn critical_path(task: &Task, starts: &[i64], finish: &[i64]) -> Vec<i16> {
    let dag = task.dag();
    let latest = |among: &[i16]| {
        among.iter().copied().reduce(|best, no| {
            if finish[no as usize] > finish[best as usize] {
                no
            } else {
                best
            }
        })
    };
    let leaves = dag.leaves();
    let mut path = Vec::new();
    let mut next = latest(&leaves);
    while let Some(no) = next {
        path.push(no);
        next = latest(dag.parents(no))
            .filter(|parent| finish[*parent as usize] == starts[no as usize]);
    }
    path.reverse();
    path
}

/// For each step the length of the longest path that does not go through it. Such a path has an edge that jumps over the
/// step's number, and the longest path over an edge is known; so each number is painted by the longest edge above it.
fn longest_around(task: &Task, finish: &[i64], tail: &[i64]) -> Vec<i64> {
    let dag = task.dag();
    let end = finish.len() - 1;
    let mut jumps: Vec<(i64, usize, usize)> = dag
        .edges()
        .map(|(from, to)| (from as usize, to as usize))
        .chain(dag.roots().iter().map(|root| (0, *root as usize)))
        .chain(dag.leaves().iter().map(|leaf| (*leaf as usize, end)))
        .filter(|(from, to)| to - from > 1)
        .map(|(from, to)| (finish[from].saturating_add(tail[to]), from, to))
        .collect();
    jumps.sort_unstable_by(|one, other| other.cmp(one));
    let mut longest = vec![0; end + 1];
    // The next number at or behind this one that is not painted yet.
    let mut unpainted: Vec<usize> = (0..=end + 1).collect();
    for (length, from, to) in jumps {
        let mut at = find(&mut unpainted, from + 1);
        while at < to {
            longest[at] = length;
            unpainted[at] = at + 1;
            at = find(&mut unpainted, at + 1);
        }
    }
    longest
}

fn find(next: &mut [usize], mut at: usize) -> usize {
    while next[at] != at {
        next[at] = next[next[at]];
        at = next[at];
    }
    at
}
