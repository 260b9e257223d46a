//! Finding the order of the steps, or the cycles that forbid one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

fn child_lists(steps: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut children = vec![Vec::new(); steps];
    for (parent, child) in edges {
        children[*parent].push(*child);
    }
    children
}

/// Kahn's algorithm with a heap: of the steps that could come next, the first in the template does. Steps on or behind a
/// cycle are missing from the result.
pub(super) fn topological_order(steps: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let children = child_lists(steps, edges);
    let mut waiting = vec![0usize; steps];
    for (_, child) in edges {
        waiting[*child] += 1;
    }
    let mut free: BinaryHeap<Reverse<usize>> = (0..steps)
        .filter(|at| waiting[*at] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(steps);
    while let Some(Reverse(at)) = free.pop() {
        order.push(at);
        for child in &children[at] {
            waiting[*child] -= 1;
            if waiting[*child] == 0 {
                free.push(Reverse(*child));
            }
        }
    }
    order
}

/// One shortest cycle through the first step of every knot of steps that wait for each other.
pub(super) fn find_cycles(steps: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let children = child_lists(steps, edges);
    let mut graph = DiGraph::<(), ()>::with_capacity(steps, edges.len());
    for _ in 0..steps {
        graph.add_node(());
    }
    for (parent, child) in edges {
        graph.add_edge(NodeIndex::new(*parent), NodeIndex::new(*child), ());
    }
    // Kosaraju walks with a stack of its own; Tarjan's in petgraph recurses.
    let mut knot_of = vec![usize::MAX; steps];
    let mut cycles = Vec::new();
    for (number, knot) in kosaraju_scc(&graph).into_iter().enumerate() {
        let Some(first) = knot.iter().map(|node| node.index()).min() else {
            continue;
        };
        if knot.len() == 1 && !children[first].contains(&first) {
            continue;
        }
        for node in &knot {
            knot_of[node.index()] = number;
        }
        cycles.push(shortest_cycle(first, &children, &knot_of));
    }
    cycles.sort_unstable();
    cycles
}

/// Breadth first from `first` through its knot until an edge leads back.
fn shortest_cycle(first: usize, children: &[Vec<usize>], knot_of: &[usize]) -> Vec<usize> {
    let mut came_from = HashMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(at) = queue.pop_front() {
        for child in &children[at] {
            if *child == first {
                let mut cycle = vec![at];
                let mut back = at;
                while let Some(before) = came_from.get(&back) {
                    cycle.push(*before);
                    back = *before;
                }
                cycle.reverse();
                return cycle;
            }
            if knot_of[*child] == knot_of[first] && !came_from.contains_key(child) {
                came_from.insert(*child, at);
                queue.push_back(*child);
            }
        }
    }
    // Not reached: every step of a knot lies on a cycle.
    vec![first]
}
