//! What each step of a task reaches, for all steps at once.
//!
//! The sets themselves would be quadratic, so this module counts them with bits, a block of steps at a time, and lists only
//! the first steps of each.

use super::{Standing, Task};
use crate::engine::state::StepState;

/// The steps in one pass over the graph. A pass keeps this many bits per step, which is 16 MB for the largest task.
const BLOCK: usize = 4_096;

const WORDS: usize = BLOCK / 64;

/// How many steps all lists of one answer name together.
const LISTED: usize = 100_000;

/// How many each list names at least.
const LISTED_AT_LEAST: usize = 3;

/// How many steps each list names at most, in an answer about `steps` steps.
pub(super) fn most_listed(steps: usize) -> usize {
    (LISTED / steps.max(1)).max(LISTED_AT_LEAST)
}

/// What depends on a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Downstream {
    /// How many steps need it, directly or not.
    pub(super) steps: usize,
    /// How many of them it holds up: pending and failed ones that it is joined to by steps that are not done. A step that is
    /// done holds up none.
    pub(super) blocked: usize,
    /// The first of these, ascending.
    pub(super) listed: Vec<i16>,
}

/// What depends on each step, by number: entry 0 belongs to step 1.
pub(super) fn downstream(task: &Task) -> Vec<Downstream> {
    let open = |no| is_open(task, no);
    let held = |no| {
        let state = task.step(no).map(|step| step.step.state);
        matches!(state, Some(StepState::Pending | StepState::Error))
    };
    let all = Filter {
        open: |_| true,
        counts: |_| true,
    };
    let blocked = Filter { open, counts: held };
    let lists = first_below(task, &blocked, most_listed(task.dag().len()));
    counts(task, &all)
        .into_iter()
        .zip(counts(task, &blocked))
        .zip(lists)
        .map(|((steps, blocked), listed)| Downstream {
            steps,
            blocked,
            listed,
        })
        .collect()
}

/// Whether the step is not done.
pub(super) fn is_open(task: &Task, no: i16) -> bool {
    task.step(no)
        .is_some_and(|step| step.standing != Standing::Done)
}

/// Which steps are passed through, and which of them count.
struct Filter<O, C> {
    /// Whether a path may begin or continue at the step.
    open: O,
    /// Whether a step that is reached counts.
    counts: C,
}

/// How many steps that count each step reaches, by number: entry 0 belongs to step 1.
fn counts<O, C>(task: &Task, filter: &Filter<O, C>) -> Vec<usize>
where
    O: Fn(i16) -> bool,
    C: Fn(i16) -> bool,
{
    let dag = task.dag();
    let steps = dag.len();
    let open: Vec<bool> = (0..=steps)
        .map(|no| no > 0 && (filter.open)(no as i16))
        .collect();
    let mut totals = vec![0usize; steps];
    let mut reached = vec![[0u64; WORDS]; steps + 1];
    for first in (1..=steps).step_by(BLOCK) {
        let last = steps.min(first + BLOCK - 1);
        let mut counted = [0u64; WORDS];
        for no in (first..=last).filter(|no| (filter.counts)(*no as i16)) {
            counted[(no - first) / 64] |= 1 << ((no - first) % 64);
        }
        // A child has a greater number: what is behind the block reaches nothing in it.
        for no in (1..=last).rev() {
            task.check();
            let mut row = [0u64; WORDS];
            for child in dag.children(no as i16) {
                let child = *child as usize;
                if child > last || !open[child] {
                    continue;
                }
                if child >= first {
                    row[(child - first) / 64] |= 1 << ((child - first) % 64);
                }
                for (mine, theirs) in row.iter_mut().zip(&reached[child]) {
                    *mine |= *theirs;
                }
            }
            if open[no] {
                let found = row.iter().zip(&counted).map(|(row, mask)| row & mask);
                totals[no - 1] += found.map(|bits| bits.count_ones() as usize).sum::<usize>();
            }
            reached[no] = row;
        }
    }
    totals
}

/// The first steps that count which each step reaches, ascending, at most `most` for each.
fn first_below<O, C>(task: &Task, filter: &Filter<O, C>, most: usize) -> Vec<Vec<i16>>
where
    O: Fn(i16) -> bool,
    C: Fn(i16) -> bool,
{
    let dag = task.dag();
    let mut lists: Vec<Vec<i16>> = vec![Vec::new(); dag.len()];
    for no in dag.step_nos().rev().filter(|no| (filter.open)(*no)) {
        task.check();
        let mut mine = Vec::new();
        for child in dag.children(no).iter().filter(|no| (filter.open)(**no)) {
            if (filter.counts)(*child) {
                mine = merged(&mine, &[*child], most);
            }
            mine = merged(&mine, &lists[*child as usize - 1], most);
        }
        lists[no as usize - 1] = mine;
    }
    lists
}

/// The open steps that each open step depends on, directly or not, the smallest keys first, at most `most` for each.
pub(super) fn first_above(
    task: &Task,
    open: impl Fn(i16) -> bool,
    key: impl Fn(i16) -> i32,
    most: usize,
) -> Vec<Vec<i32>> {
    let dag = task.dag();
    let mut lists: Vec<Vec<i32>> = vec![Vec::new(); dag.len()];
    for no in dag.step_nos().filter(|no| open(*no)) {
        task.check();
        let mut mine = Vec::new();
        for parent in dag.parents(no).iter().filter(|no| open(**no)) {
            mine = merged(&mine, &[key(*parent)], most);
            mine = merged(&mine, &lists[*parent as usize - 1], most);
        }
        lists[no as usize - 1] = mine;
    }
    lists
}

/// The smallest of two ascending lists, each once.
fn merged<T: Copy + Ord>(one: &[T], other: &[T], most: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(most.min(one.len() + other.len()));
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    while all.len() < most {
        let next = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a == b => {
                right.next();
                left.next()
            }
            (Some(a), Some(b)) if a > b => right.next(),
            (Some(_), _) => left.next(),
            (None, _) => right.next(),
        };
        match next {
            Some(next) => all.push(*next),
            None => break,
        }
    }
    all
}
