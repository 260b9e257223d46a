//! The graph against an independently written model, and at its largest.

mod patience;

use patience::patience;
use proptest::prelude::*;
use tasker_rules::engine::ids::MAX_STEPS;
use tasker_rules::graph::{Dag, GraphError};

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("n{index}")).collect()
}

fn build(names: &[String], edges: &[(usize, usize)]) -> Result<Dag, GraphError> {
    let edges: Vec<_> = edges
        .iter()
        .map(|(from, to)| (&names[*from], &names[*to]))
        .collect();
    Dag::from_names(names, &edges)
}

#[test]
fn a_chain_of_32767_steps_needs_no_recursion_and_little_time() {
    let names = names(MAX_STEPS);
    let began = std::time::Instant::now();
    // Written backwards, so that the order has to be found.
    let edges: Vec<_> = (1..MAX_STEPS).map(|index| (index, index - 1)).collect();
    let dag = build(&names, &edges).expect("a chain");
    assert_eq!(dag.max_level(), 32_766);
    assert_eq!(dag.name(1), "n32766");
    assert_eq!(dag.descendants(1).len(), MAX_STEPS - 1);
    assert_eq!(dag.ancestors(i16::MAX).len(), MAX_STEPS - 1);
    assert!(began.elapsed() < patience(5));
}

#[test]
fn a_cycle_of_32767_steps_is_found_whole() {
    let names = names(MAX_STEPS);
    let mut edges: Vec<_> = (1..MAX_STEPS).map(|index| (index - 1, index)).collect();
    edges.push((MAX_STEPS - 1, 0));
    let Err(GraphError::Cycles(cycles)) = build(&names, &edges) else {
        panic!("a cycle was missed");
    };
    assert_eq!(cycles.len(), 1);
    assert_eq!(cycles[0], names);
}

#[test]
fn a_fan_of_32767_steps_is_as_good() {
    let names = names(MAX_STEPS);
    let edges: Vec<_> = (1..MAX_STEPS - 1)
        .flat_map(|middle| [(0, middle), (middle, MAX_STEPS - 1)])
        .collect();
    let dag = build(&names, &edges).expect("a fan");
    assert_eq!(
        (
            dag.max_level(),
            dag.children(1).len(),
            dag.parents(i16::MAX).len()
        ),
        (2, 32_765, 32_765)
    );
}

#[test]
fn one_step_more_is_refused() {
    let names = names(MAX_STEPS + 1);
    assert_eq!(
        build(&names, &[]),
        Err(GraphError::TooManySteps(MAX_STEPS + 1))
    );
}

#[test]
fn every_other_mistake_has_its_own_error() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(
        Dag::from_names(&["a", "a"], &none),
        Err(GraphError::DuplicateStep("a".into()))
    );
    let error = Dag::from_names(&["a"], &[("x", "a")]).expect_err("unknown parent");
    assert_eq!(
        error.to_string(),
        "step \"a\" depends on \"x\", which does not exist"
    );
    let error = Dag::from_names(&["a", "b"], &[("a", "b"), ("a", "b")]).expect_err("twice");
    assert_eq!(error.to_string(), "step \"b\" depends on \"a\" twice");
    let error = Dag::from_names(&["a", "b"], &[("a", "b"), ("b", "a")]).expect_err("cycle");
    assert_eq!(
        error.to_string(),
        "the dependencies form a cycle: a -> b -> a"
    );
    let error = Dag::from_names(&["a"], &[("a", "a")]).expect_err("self edge");
    assert_eq!(error.to_string(), "the dependencies form a cycle: a -> a");
}

#[test]
fn the_empty_graph_and_numbers_outside_answer_quietly() {
    let none: [(&str, &str); 0] = [];
    let dag = Dag::from_names(&[] as &[&str], &none).expect("empty");
    assert!(dag.is_empty() && dag.roots().is_empty() && dag.level_widths().is_empty());
    for outside in [i16::MIN, -1, 0, 1, i16::MAX] {
        assert_eq!(
            (
                dag.parents(outside),
                dag.children(outside),
                dag.name(outside)
            ),
            (&[][..], &[][..], "")
        );
        assert_eq!(
            (
                dag.level(outside),
                dag.min_depth(outside),
                dag.descendants(outside)
            ),
            (0, 0, vec![])
        );
    }
}

/// Edges that only lead from lower to higher positions of a shuffled list are always acyclic.
fn any_dag() -> impl Strategy<Value = (Vec<String>, Vec<(usize, usize)>)> {
    (1usize..30)
        .prop_flat_map(|count| {
            let order = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
            (
                order,
                prop::collection::btree_set((0..count, 0..count), 0..60),
            )
        })
        .prop_map(|(order, pairs)| {
            let edges = pairs
                .into_iter()
                .filter(|(a, b)| a < b)
                .map(|(a, b)| (order[a], order[b]))
                .collect();
            (names(order.len()), edges)
        })
}

/// Longest and shortest path from a root to `node`, by trying every way up.
fn depths(node: usize, edges: &[(usize, usize)], memo: &mut Vec<Option<(i16, i16)>>) -> (i16, i16) {
    if let Some(known) = memo[node] {
        return known;
    }
    let parents: Vec<_> = edges
        .iter()
        .filter(|edge| edge.1 == node)
        .map(|edge| edge.0)
        .collect();
    let above: Vec<_> = parents
        .iter()
        .map(|parent| depths(*parent, edges, memo))
        .collect();
    let longest = above.iter().map(|depth| depth.0 + 1).max().unwrap_or(0);
    let shortest = above.iter().map(|depth| depth.1 + 1).min().unwrap_or(0);
    memo[node] = Some((longest, shortest));
    (longest, shortest)
}

/// Which positions each one reaches, by repeating until nothing changes.
fn reachable(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<bool>> {
    let mut reach = vec![vec![false; count]; count];
    for (from, to) in edges {
        reach[*from][*to] = true;
    }
    for middle in 0..count {
        for from in 0..count {
            for to in 0..count {
                reach[from][to] |= reach[from][middle] && reach[middle][to];
            }
        }
    }
    reach
}

proptest! {
    #[test]
    fn order_levels_and_reach_agree_with_the_model((names, edges) in any_dag()) {
        let count = names.len();
        let dag = build(&names, &edges).expect("acyclic");
        let number_of = |index: usize| {
            dag.step_nos().find(|step| dag.name(*step) == names[index]).expect("every step is there")
        };
        let numbers: Vec<i16> = (0..count).map(number_of).collect();
        let (mut memo, reach) = (vec![None; count], reachable(count, &edges));
        for (from, to) in &edges {
            prop_assert!(numbers[*from] < numbers[*to]);
            prop_assert!(dag.children(numbers[*from]).contains(&numbers[*to]));
            prop_assert!(dag.parents(numbers[*to]).contains(&numbers[*from]));
        }
        prop_assert_eq!(dag.edges().count(), edges.len());
        for index in 0..count {
            let step = numbers[index];
            prop_assert_eq!((dag.level(step), dag.min_depth(step)), depths(index, &edges, &mut memo));
            let mut below: Vec<_> = (0..count).filter(|to| reach[index][*to]).map(|to| numbers[to]).collect();
            below.sort_unstable();
            prop_assert_eq!(dag.descendants(step), below);
            let mut above: Vec<_> = (0..count).filter(|from| reach[*from][index]).map(|from| numbers[from]).collect();
            above.sort_unstable();
            prop_assert_eq!(dag.ancestors(step), above);
            prop_assert_eq!(dag.template_order()[step as usize - 1], index);
        }
        // Ties in template order: no step could have changed places with a later-numbered one that the template names first.
        for step in 1..count as i16 {
            let (this, next) = (dag.template_order()[step as usize - 1], dag.template_order()[step as usize]);
            prop_assert!(this < next || dag.parents(step + 1).contains(&step));
        }
    }

    #[test]
    fn any_graph_is_ordered_or_has_a_real_cycle(
        count in 1usize..12,
        pairs in prop::collection::btree_set((0usize..12, 0usize..12), 0..30),
    ) {
        let names = names(count);
        let edges: Vec<_> = pairs.into_iter().filter(|(a, b)| *a < count && *b < count).collect();
        let reach = reachable(count, &edges);
        let cyclic = (0..count).any(|index| reach[index][index]);
        match build(&names, &edges) {
            Ok(_) => prop_assert!(!cyclic),
            Err(GraphError::Cycles(cycles)) => {
                prop_assert!(cyclic && !cycles.is_empty());
                for cycle in cycles {
                    let at = |name: &String| names.iter().position(|other| other == name).expect("known");
                    for (index, name) in cycle.iter().enumerate() {
                        let next = &cycle[(index + 1) % cycle.len()];
                        prop_assert!(edges.contains(&(at(name), at(next))));
                    }
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
