//! Analysis against models written another way, on random graphs, and on the usual shapes.

mod common;
mod patience;

use std::collections::HashSet;

use common::{steps, template};
use patience::patience;
use proptest::prelude::*;
use serde_json::{Value, json};
use tasker_rules::engine::readiness::{NEVER, Step};
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::graph::Dag;
use tasker_rules::operations::analysis::{
    self, Basis, Duration, Failure, Standing, Task, analyze, best_paths, blockers, bottlenecks,
    count_paths, error_chains, levels, overall, redundant_edges, schedule, weights,
};
use tasker_rules::template::Template;

fn report(uuid: &[u8; 16], state: TaskState, task: &Task) -> serde_json::Value {
    serde_json::to_value(analysis::report(uuid, state, task)).expect("it is JSON")
}

const NOW: i64 = 1_000_000;

fn step(state: StepState) -> Step {
    Step {
        state,
        available_at: None,
        attempts: 0,
        retry_limit: 3,
        retryable: true,
        claimed_before: false,
        unreachable: false,
    }
}

fn failed(attempts: i16, retry_at: Option<i64>) -> Step {
    Step {
        available_at: retry_at,
        attempts,
        ..step(StepState::Error)
    }
}

fn seconds(count: i64) -> Duration {
    Duration {
        us: count * 1_000_000,
        basis: Basis::Measured,
    }
}

/// A graph whose edges (parent, child) count from 1, parents before children.
fn dag(count: usize, edges: &[(usize, usize)]) -> Dag {
    let names: Vec<String> = (1..=count).map(|no| format!("n{no}")).collect();
    let edges: Vec<_> = edges
        .iter()
        .map(|(from, to)| (&names[from - 1], &names[to - 1]))
        .collect();
    Dag::from_names(&names, &edges).expect("a graph")
}

fn task(count: usize, edges: &[(usize, usize)], facts: &[(Step, i64)]) -> Task {
    let facts = facts
        .iter()
        .map(|(step, took)| (*step, seconds(*took), None));
    Task::new(dag(count, edges), facts.collect(), NOW)
}

/// All steps in one state.
fn uniform(count: usize, edges: &[(usize, usize)], state: StepState, took: &[i64]) -> Task {
    let facts: Vec<_> = took.iter().map(|took| (step(state), *took)).collect();
    task(count, edges, &facts)
}

const LINEAR: &str = "a\nb: a\nc: b\nd: c\ne: d\nf: e";
const DIAMOND: &str =
    "start\none: start\none_b: one\ntwo: start\ntwo_b: two\nmerge: one_b two_b\nend: merge";

fn analyzed(template: &Template) -> Value {
    serde_json::to_value(analyze(template)).expect("an analysis is JSON")
}

// ---- templates ------------------------------------------------------------------------------------------------------

#[test]
fn a_linear_template_has_one_branch_and_a_diamond_several() {
    let linear = analyzed(&template(&steps(LINEAR)));
    assert_eq!(linear["nodes"].as_array().map(Vec::len), Some(6));
    assert_eq!(linear["edges"].as_array().map(Vec::len), Some(5));
    assert_eq!(
        linear["levels"],
        json!({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5})
    );
    assert_eq!(
        linear["summary"],
        json!({"total_steps": 6, "total_dependencies": 5, "has_cycles": false, "max_depth": 5, "parallel_branches": 1})
    );
    assert_eq!(linear["topology"], json!(["a", "b", "c", "d", "e", "f"]));
    assert_eq!(
        (&linear["roots"], &linear["leaves"]),
        (&json!(["a"]), &json!(["f"]))
    );
    assert_eq!(linear["cycles"], json!([]));
    let diamond = analyzed(&template(&steps(DIAMOND)));
    assert_eq!(diamond["summary"]["parallel_branches"], json!(2));
    assert_eq!(diamond["edges"][4]["type"], json!("single"));
    let merge = &diamond["nodes"][5];
    assert_eq!(merge["dependencies"], json!(["one_b", "two_b"]));
    assert_eq!(merge["dependency_count"], json!(2));
}

#[test]
fn a_dependency_that_a_longer_path_implies_is_called_redundant() {
    let found = analyzed(&template(&steps("a\nb: a\nc: a b")));
    assert_eq!(
        found["redundant_dependencies"],
        json!([{"from": "a", "to": "c"}])
    );
    assert_eq!(redundant_edges(&dag(1_001, &[])), None);
}

#[test]
fn the_document_of_a_large_template_has_no_nodes_and_edges() {
    let wide = |count: usize| {
        let names: Vec<String> = (0..count).map(|no| format!("s{no}")).collect();
        analyzed(&template(&steps(&names.join("\n"))))
    };
    let (most, more) = (wide(5_000), wide(5_001));
    assert_eq!(most["nodes"].as_array().map(Vec::len), Some(5_000));
    assert_eq!(
        (&more["nodes"], &more["edges"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(more["summary"]["total_steps"], json!(5_001));
    assert_eq!(more["topology"].as_array().map(Vec::len), Some(5_001));
}

// ---- time -----------------------------------------------------------------------------------------------------------

#[test]
fn the_critical_path_is_the_longest_by_time_and_not_by_steps() {
    // 1 > 2 > 3 > 5 has more steps, 1 > 4 > 5 takes longer.
    let edges = [(1, 2), (2, 3), (3, 5), (1, 4), (4, 5)];
    let task = uniform(5, &edges, StepState::Complete, &[1, 2, 2, 9, 1]);
    let found = schedule(&task);
    assert_eq!(found.critical_path, [1, 4, 5]);
    assert_eq!(found.total_us, 11_000_000);
    let slots: Vec<_> = found
        .slots
        .iter()
        .map(|slot| (slot.starts_us, slot.ends_us, slot.slack_us, slot.drag_us))
        .map(|(a, b, c, d)| (a / 1_000_000, b / 1_000_000, c / 1_000_000, d / 1_000_000))
        .collect();
    assert_eq!(
        slots,
        [
            (0, 1, 0, 1),
            (1, 3, 5, 0),
            (3, 5, 5, 0),
            (1, 10, 0, 5),
            (10, 11, 0, 1)
        ]
    );
}

#[test]
fn where_a_duration_comes_from_depends_on_the_step() {
    use StepState::*;
    let of = |state, ran, average| {
        let found = Duration::of(state, ran, average);
        (found.us, found.basis.as_str())
    };
    assert_eq!(of(Complete, Some(5), Some(9)), (5, "measured"));
    assert_eq!(of(InProgress, Some(5), Some(9)), (5, "running"));
    assert_eq!(of(Error, Some(5), Some(9)), (5, "measured"));
    assert_eq!(of(Pending, Some(5), Some(9)), (5, "measured"));
    assert_eq!(of(Pending, None, Some(9)), (9, "average"));
    assert_eq!(of(Pending, None, None), (weights::BASE_STEP_US, "estimate"));
    assert_eq!(of(ResolvedManually, None, Some(9)), (0, "measured"));
    assert_eq!(of(Cancelled, None, Some(9)), (0, "measured"));
    assert_eq!(of(Complete, Some(-5), None), (0, "measured"));
}

#[test]
fn nothing_at_all_can_be_analysed() {
    let empty = task(0, &[], &[]);
    assert_eq!(schedule(&empty).critical_path, [0i16; 0]);
    assert_eq!(count_paths(&empty), 0);
    assert!(best_paths(&empty, true, 5).is_empty() && levels(&empty).is_empty());
    assert_eq!(overall(&empty, &bottlenecks(&empty)), "None");
    assert_eq!(
        report(&[0; 16], TaskState::InProgress, &empty)["critical_paths"]["longest_path_length"],
        json!(0)
    );
}

#[test]
fn a_number_of_paths_that_no_one_could_list_takes_no_time() {
    // 66 stages of three steps, each stage wholly joined to the next one: 3^66 paths.
    let edges: Vec<_> = (4..=198)
        .flat_map(|no| (0..3).map(move |other| ((no - 1) / 3 * 3 - 2 + other, no)))
        .collect();
    let task = uniform(198, &edges, StepState::Pending, &[1; 198]);
    let began = std::time::Instant::now();
    assert_eq!(count_paths(&task), 3u128.pow(66));
    assert_eq!(best_paths(&task, true, 5).len(), 5);
    let shown = report(&[0; 16], TaskState::InProgress, &task);
    assert_eq!(shown["critical_path"]["length"], json!(66));
    assert_eq!(
        shown["critical_paths"]["total_paths"].to_string(),
        3u128.pow(66).to_string()
    );
    assert!(began.elapsed() < patience(2));
}

// ---- what stands still ----------------------------------------------------------------------------------------------

#[test]
fn the_readiness_of_a_step_names_the_first_thing_that_it_waits_for() {
    use StepState::*;
    let pending = |at| Step {
        available_at: at,
        ..step(Pending)
    };
    let cases = [
        (step(Complete), Standing::Done),
        (step(ResolvedManually), Standing::Done),
        (step(InProgress), Standing::Running),
        (step(Cancelled), Standing::Cancelled),
        (failed(3, None), Standing::Failed),
        (failed(1, Some(NOW)), Standing::Ready),
        (failed(1, Some(NOW + 1)), Standing::Retrying),
        (pending(None), Standing::Ready),
        (pending(Some(NOW + 1)), Standing::Scheduled),
        (pending(Some(NEVER)), Standing::Held),
    ];
    for (step, expected) in cases {
        let task = task(1, &[], &[(step, 1)]);
        assert_eq!(task.step(1).map(|step| step.standing), Some(expected));
    }
    let waits = task(2, &[(1, 2)], &[(step(InProgress), 1), (step(Pending), 1)]);
    assert_eq!(
        waits.step(2).map(|step| step.standing),
        Some(Standing::Waiting)
    );
}

#[test]
fn a_permanent_failure_is_the_only_bottleneck_and_says_what_it_blocks() {
    use StepState::*;
    // 1 complete; 2 failed permanently, 3 and 4 wait for it; 5 runs beside.
    let steps = [
        step(Complete),
        failed(3, None),
        step(Pending),
        step(Pending),
        step(InProgress),
    ];
    let facts = steps
        .iter()
        .map(|step| (*step, seconds(1), None))
        .enumerate()
        .map(|(at, mut fact)| {
            if at == 1 {
                fact.2 = Some(Failure {
                    message: Some("card declined".into()),
                    class: Some("Declined".into()),
                });
            }
            fact
        });
    let task = Task::new(
        dag(5, &[(1, 2), (2, 3), (3, 4), (1, 5)]),
        facts.collect(),
        NOW,
    );
    let found = bottlenecks(&task);
    assert_eq!(found.len(), 1);
    // (2 * 5 + 2 * 15) * 2.5 + 3 * 3 + 10 + 20
    assert_eq!(
        (found[0].no, found[0].score, found[0].severity),
        (2, 139, "Critical")
    );
    assert_eq!(
        (found[0].kind, found[0].listed.as_slice()),
        ("Permanent Failure", [3, 4].as_slice())
    );
    assert_eq!(overall(&task, &found), "High");
    let chains = error_chains(&task);
    assert_eq!(chains.len(), 1);
    // 2 * 15 + 2 * 5 + 20 + 3 * 3
    assert_eq!(
        (chains[0].impact, chains[0].severity, chains[0].permanent),
        (69, "High", true)
    );
    assert_eq!(chains[0].failure.message.as_deref(), Some("card declined"));
    let shown = report(&[0; 16], TaskState::InProgress, &task);
    assert_eq!(shown["blockers"], json!({"n3": ["n2"], "n4": ["n2"]}));
    assert_eq!(shown["bottlenecks"]["critical_bottlenecks"], json!(1));
    assert_eq!(
        shown["error_chains"]["chains"][0]["blocked_steps"],
        json!(["n3", "n4"])
    );
}

#[test]
fn each_kind_of_bottleneck_has_its_word_and_score() {
    use StepState::*;
    let pending = |attempts, retry_limit| Step {
        attempts,
        retry_limit,
        ..step(Pending)
    };
    let cases = [
        (failed(1, Some(NOW + 5)), "Active Error", (5 + 15) * 2 + 3),
        (step(Cancelled), "Cancelled", (5 + 15) * 5 / 2),
        (pending(2, 3), "Retry Exhaustion", 20 + 6),
        (pending(1, 1), "Non-Retryable", 20 + 3 + 10),
        (step(InProgress), "Running", 20),
        (step(Pending), "Waiting to Run", 20),
    ];
    for (first, kind, score) in cases {
        let task = task(2, &[(1, 2)], &[(first, 1), (step(Pending), 1)]);
        let found = bottlenecks(&task);
        let at = found.iter().find(|one| one.no == 1).expect(kind);
        assert_eq!((at.kind, at.score), (kind, score));
    }
    let waits = task(
        3,
        &[(1, 2), (2, 3)],
        &[
            (step(InProgress), 1),
            (step(Pending), 1),
            (step(Pending), 1),
        ],
    );
    let found = bottlenecks(&waits);
    let kinds: Vec<_> = found
        .iter()
        .map(|one| (one.no, one.kind, one.score))
        .collect();
    assert_eq!(
        kinds,
        [
            (1, "Running", 40),
            (2, "Dependency Block", 24),
            (3, "Dependency Block", 0)
        ]
    );
    let done = task(
        2,
        &[(1, 2)],
        &[(step(Complete), 1), (step(ResolvedManually), 1)],
    );
    assert!(bottlenecks(&done).is_empty());
}

#[test]
fn one_word_sums_up_the_impact_on_the_task() {
    let words = |errors: usize, total: usize| {
        let facts: Vec<_> = (0..total)
            .map(|at| {
                if at < errors {
                    failed(1, Some(NOW + 1))
                } else {
                    step(StepState::Complete)
                }
            })
            .map(|step| (step, 1))
            .collect();
        let task = task(total, &[], &facts);
        overall(&task, &bottlenecks(&task))
    };
    assert_eq!(words(0, 4), "None");
    assert_eq!(words(2, 4), "Low");
    assert_eq!(words(3, 4), "Severe");
    assert_eq!(words(5, 12), "Medium");
}

#[test]
fn a_resolved_step_keeps_a_failed_ancestor_from_blocking_its_descendants() {
    use StepState::*;
    // 1 failed, 2 resolved by hand, 3 needs 2 and 4; 4 runs.
    let steps = [
        failed(3, None),
        step(ResolvedManually),
        step(InProgress),
        step(Pending),
    ];
    let facts: Vec<_> = steps.iter().map(|step| (*step, 1)).collect();
    let task = task(4, &[(1, 2), (2, 4), (3, 4)], &facts);
    let found: Vec<_> = blockers(&task)
        .iter()
        .map(|one| (one.step, one.blocker))
        .collect();
    assert_eq!(found, [(4, 3)]);
    assert_eq!(error_chains(&task)[0].blocked, 0);
    assert_eq!(error_chains(&task)[0].downstream, 2);
}

#[test]
fn levels_count_what_could_run_side_by_side() {
    use StepState::*;
    let steps = [
        step(Complete),
        step(Pending),
        step(Pending),
        failed(1, Some(NOW + 1)),
        step(Cancelled),
        step(Pending),
    ];
    let facts: Vec<_> = steps.iter().map(|step| (*step, 1)).collect();
    let task = task(6, &[(1, 2), (1, 3), (1, 4), (1, 5), (2, 6)], &facts);
    let found = levels(&task);
    assert_eq!(found.len(), 3);
    assert_eq!(
        (
            found[0].completed,
            found[1].ready,
            found[1].failed,
            found[1].cancelled,
            found[2].waiting
        ),
        (1, 2, 1, 1, 1)
    );
    let shown = &report(&[0; 16], TaskState::InProgress, &task)["parallelism_opportunities"];
    assert_eq!(shown["max_parallel_steps"], json!(4));
    assert_eq!(shown["current_parallel_opportunities"], json!(2));
    assert_eq!(shown["parallelism_efficiency"], json!(33.3));
}

// ---- models ---------------------------------------------------------------------------------------------------------

const STATES: [StepState; 6] = StepState::ALL;

#[derive(Debug, Clone)]
struct Random {
    count: usize,
    edges: Vec<(usize, usize)>,
    facts: Vec<(Step, i64)>,
}

impl Random {
    fn task(&self) -> Task {
        task(self.count, &self.edges, &self.facts)
    }

    fn parents(&self, no: usize) -> Vec<usize> {
        self.edges
            .iter()
            .filter(|edge| edge.1 == no)
            .map(|edge| edge.0)
            .collect()
    }

    /// The longest path by time through the graph without one step, by trying every step as its end.
    fn longest_without(&self, without: usize) -> i64 {
        let mut memo = vec![None; self.count + 1];
        (1..=self.count)
            .filter(|no| *no != without)
            .map(|no| self.ending(no, without, &mut memo))
            .max()
            .unwrap_or(0)
    }

    fn ending(&self, no: usize, without: usize, memo: &mut Vec<Option<i64>>) -> i64 {
        if let Some(known) = memo[no] {
            return known;
        }
        let mut before = 0;
        for parent in self.parents(no) {
            if parent != without {
                before = before.max(self.ending(parent, without, memo));
            }
        }
        let ends = before + self.facts[no - 1].1;
        memo[no] = Some(ends);
        ends
    }

    /// All paths from roots to leaves.
    fn all_paths(&self) -> Vec<Vec<usize>> {
        let mut open: Vec<Vec<usize>> = (1..=self.count)
            .filter(|no| self.parents(*no).is_empty())
            .map(|no| vec![no])
            .collect();
        let mut ended = vec![];
        while let Some(path) = open.pop() {
            let last = path[path.len() - 1];
            let next: Vec<usize> = self
                .edges
                .iter()
                .filter(|edge| edge.0 == last)
                .map(|edge| edge.1)
                .collect();
            if next.is_empty() {
                ended.push(path);
                continue;
            }
            for no in next {
                let mut longer = path.clone();
                longer.push(no);
                open.push(longer);
            }
        }
        ended
    }
}

fn random(most: usize) -> impl Strategy<Value = Random> {
    (1..=most).prop_flat_map(move |count| {
        let edges = prop::collection::btree_set((1..=count, 1..=count), 0..=count * 2);
        let facts = prop::collection::vec((0usize..6, 0i64..50, 0i16..4, any::<bool>()), count);
        (edges, facts).prop_map(move |(edges, facts)| Random {
            count,
            edges: edges.into_iter().filter(|(from, to)| from < to).collect(),
            facts: facts
                .into_iter()
                .map(|(state, took, attempts, again)| {
                    let step = Step {
                        attempts,
                        available_at: again.then_some(NOW + i64::from(attempts) - 1),
                        ..step(STATES[state])
                    };
                    (step, took)
                })
                .collect(),
        })
    })
}

// ---- the largest tasks ----------------------------------------------------------------------------------------------

const MOST: usize = 32_767;

fn chain(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|no| (no, no + 1)).collect()
}

#[test]
fn in_the_longest_chain_every_count_is_exact_and_the_lists_are_short() {
    let took = vec![1; MOST];
    let task = uniform(MOST, &chain(MOST), StepState::Pending, &took);
    let found = bottlenecks(&task);
    assert_eq!(found.len(), MOST);
    for one in &found {
        let below = MOST - one.no as usize;
        assert_eq!((one.downstream, one.blocked), (below, below));
        let first = one.no as usize + 1;
        let listed: Vec<i16> = (first..=MOST).take(3).map(|no| no as i16).collect();
        assert_eq!(one.listed, listed);
    }
    // The step before it, and the step before all.
    let found = blockers(&task);
    let of_last: Vec<_> = found.iter().filter(|one| one.step == 32_767).collect();
    assert!(of_last.iter().any(|one| one.blocker == 1 && one.root_cause));
    assert!(
        of_last
            .iter()
            .any(|one| one.blocker == 32_766 && one.direct)
    );
    assert!(found.len() <= 4 * MOST, "{}", found.len());
}

#[test]
fn a_step_that_is_done_ends_what_the_steps_before_it_block() {
    // Two failed chains, one with a finished step in the middle, over the border of a pass.
    let count = 10_000;
    let mut facts = vec![(step(StepState::Pending), 1); count];
    facts[0].0 = failed(3, None);
    facts[5_000].0 = step(StepState::Complete);
    let found = error_chains(&task(count, &chain(count), &facts));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].downstream, found[0].blocked), (9_999, 4_999));
}

#[test]
fn many_steps_before_many_steps_are_counted_without_listing_the_pairs() {
    // Every step of the first half is before every step of the second.
    let half = MOST / 2;
    let middle = half + 1;
    let edges: Vec<_> = (1..=half)
        .map(|no| (no, middle))
        .chain((middle + 1..=MOST).map(|no| (middle, no)))
        .collect();
    let task = uniform(MOST, &edges, StepState::Pending, &vec![1; MOST]);
    let first = bottlenecks(&task).into_iter().find(|one| one.no == 1);
    assert_eq!(first.map(|one| one.downstream), Some(half + 1));
    let found = blockers(&task);
    assert!(found.len() < 5 * MOST, "{}", found.len());
    let shown = report(&[0; 16], TaskState::InProgress, &task);
    assert_eq!(shown["bottlenecks"]["total_bottlenecks"], json!(MOST));
}

/// Layers of `width` steps, each of which waits for the whole layer before.
fn layers(count: usize, width: usize) -> Vec<(usize, usize)> {
    (width + 1..=count * width)
        .flat_map(|no| {
            let first = ((no - 1) / width - 1) * width + 1;
            (first..first + width).map(move |parent| (parent, no))
        })
        .collect()
}

#[test]
fn the_document_has_no_graph_and_no_endless_lists_with_few_steps_and_many_edges() {
    let pending = |count: usize, edges: &[(usize, usize)]| {
        uniform(count, edges, StepState::Pending, &vec![1; count])
    };
    let few = pending(200, &layers(2, 100));
    let few = report(&[0; 16], TaskState::InProgress, &few);
    assert_eq!(
        few["dependency_graph"]["edges"].as_array().map(Vec::len),
        Some(10_000)
    );
    let names = |shown: &Value| -> usize {
        let lists = shown["blockers"].as_object().expect("an object").values();
        lists.filter_map(Value::as_array).map(Vec::len).sum()
    };
    assert_eq!(names(&few), 10_000);
    let many = pending(630, &layers(2, 315));
    let many = report(&[0; 16], TaskState::InProgress, &many);
    assert_eq!(many["dependency_graph"], Value::Null);
    assert_eq!(names(&many), 10_000);
    let deep = pending(3_000, &layers(100, 30));
    let deep = report(&[0; 16], TaskState::InProgress, &deep);
    assert_eq!(deep["dependency_graph"], Value::Null);
    assert!(
        deep.to_string().len() < 2_000_000,
        "{}",
        deep.to_string().len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_schedule_is_what_a_search_finds(random in random(200)) {
        let task = random.task();
        let found = schedule(&task);
        let total = random.longest_without(0);
        prop_assert_eq!(found.total_us, total * 1_000_000);
        // The path is one, its edges exist, its ends are a root and a leaf, and it is that long.
        let path: Vec<usize> = found.critical_path.iter().map(|no| *no as usize).collect();
        prop_assert!(random.parents(path[0]).is_empty());
        prop_assert!(!random.edges.iter().any(|edge| edge.0 == path[path.len() - 1]));
        prop_assert!(path.windows(2).all(|pair| random.edges.contains(&(pair[0], pair[1]))));
        prop_assert_eq!(path.iter().map(|no| random.facts[no - 1].1).sum::<i64>(), total);
        for no in 1..=random.count {
            let slot = found.slots[no - 1];
            // Longer by its slack the step still fits, longer by a second more it does not.
            let mut longer = random.clone();
            longer.facts[no - 1].1 += slot.slack_us / 1_000_000;
            prop_assert_eq!(longer.longest_without(0), total);
            longer.facts[no - 1].1 += 1;
            prop_assert_eq!(longer.longest_without(0), total + 1);
            // Without its time the task is shorter by its drag.
            let mut shorter = random.clone();
            shorter.facts[no - 1].1 = 0;
            prop_assert_eq!(slot.drag_us / 1_000_000, total - shorter.longest_without(0));
        }
    }

    #[test]
    fn levels_are_the_longest_paths_by_steps(random in random(200)) {
        let mut by_steps = random.clone();
        by_steps.facts.iter_mut().for_each(|fact| fact.1 = 1);
        let mut memo = vec![None; random.count + 1];
        let found = levels(&random.task());
        for no in 1..=random.count {
            let level = by_steps.ending(no, 0, &mut memo) - 1;
            prop_assert!(found[level as usize].steps.contains(&(no as i16)));
        }
        for level in &found {
            let parts = level.ready + level.running + level.completed + level.failed + level.cancelled + level.waiting;
            prop_assert_eq!(parts, level.steps.len());
        }
    }

    #[test]
    fn a_step_is_blocked_by_its_unfinished_ancestors(random in random(60)) {
        let done = |no: usize| random.facts[no - 1].0.state.is_finished_good();
        // above[no]: unfinished steps joined to it by unfinished ones, by closing the relation over and over.
        let mut above: Vec<HashSet<usize>> = vec![HashSet::new(); random.count + 1];
        loop {
            let mut grew = false;
            for (from, to) in random.edges.iter().filter(|edge| !done(edge.0)) {
                let more: HashSet<usize> = above[*from].iter().copied().chain([*from]).collect();
                let before = above[*to].len();
                above[*to].extend(more);
                grew |= above[*to].len() > before;
            }
            if !grew {
                break;
            }
        }
        let mut expected = vec![];
        for (no, above) in above.iter().enumerate().skip(1) {
            if matches!(random.facts[no - 1].0.state, StepState::Pending | StepState::Error) {
                let mut all: Vec<usize> = above.iter().copied().collect();
                all.sort_unstable();
                expected.extend(all.into_iter().map(|other| (no, other, random.edges.contains(&(other, no)))));
            }
        }
        let task = random.task();
        let found = blockers(&task);
        let pairs: Vec<_> = found.iter().map(|one| (one.step as usize, one.blocker as usize, one.direct)).collect();
        prop_assert_eq!(pairs, expected);
        // Whatever is blocked is blocked by something that waits for no other step.
        for one in &found {
            prop_assert!(found.iter().any(|other| other.step == one.step && other.root_cause));
        }
        // The same relation from the other end.
        for chain in error_chains(&task) {
            let held: Vec<i16> = found.iter().filter(|one| one.blocker == chain.no).map(|one| one.step).collect();
            prop_assert_eq!(chain.blocked, held.len());
            prop_assert_eq!(chain.listed, held);
        }
    }

    #[test]
    fn the_best_paths_are_the_best_of_all(random in random(11), healthy in any::<bool>()) {
        let task = random.task();
        let all = random.all_paths();
        prop_assert_eq!(count_paths(&task), all.len() as u128);
        let factor = if healthy { 1.0 } else { 1.5 };
        let sum = |path: &[usize]| -> f64 {
            let facts: Vec<_> = path.iter().map(|no| (task.step(*no as i16).expect("there"), random.facts[no - 1].1)).collect();
            let count = |is: &dyn Fn(&tasker_rules::operations::analysis::StepFacts) -> bool| facts.iter().filter(|fact| is(fact.0)).count() as f64;
            path.len() as f64 * 10.0 - count(&|step| step.standing == Standing::Done) * 15.0
                + count(&|step| step.standing == Standing::Waiting) * 25.0 * factor
                + count(&|step| step.step.state == StepState::Error) * 30.0 * factor
                + count(&|step| step.step.attempts > 1) * 10.0
                + facts.iter().map(|fact| fact.1).sum::<i64>() as f64 / 60.0 * 2.0
        };
        let mut sums: Vec<f64> = all.iter().map(|path| sum(path)).collect();
        sums.sort_by(|one, other| other.total_cmp(one));
        sums.truncate(5);
        let found = best_paths(&task, healthy, 5);
        prop_assert_eq!(found.len(), sums.len());
        let steps = |path: &tasker_rules::operations::analysis::Path| path.steps.iter().map(|no| *no as usize).collect::<Vec<_>>();
        let mut mine: Vec<f64> = found.iter().map(|path| sum(&steps(path))).collect();
        mine.sort_by(|one, other| other.total_cmp(one));
        for (one, other) in mine.iter().zip(&sums) {
            prop_assert!((one - other).abs() < 1e-6, "{mine:?} {sums:?}");
        }
        for path in &found {
            prop_assert!(all.contains(&steps(path)));
            let done = path.completed as f64 / path.steps.len() as f64;
            let score = (sum(&steps(path)) * (1.0 - 0.3 * done)).max(0.0);
            prop_assert!((path.score - score).abs() < 0.06);
        }
    }

    #[test]
    fn a_redundant_edge_is_one_that_another_path_replaces(random in random(60)) {
        let graph = dag(random.count, &random.edges);
        let found: HashSet<(i16, i16)> = redundant_edges(&graph).expect("small").into_iter().collect();
        for (from, to) in graph.edges() {
            let detour = graph.children(from).iter().any(|next| graph.descendants(*next).contains(&to));
            prop_assert_eq!(found.contains(&(from, to)), detour);
        }
    }

    #[test]
    fn the_report_of_any_task_is_whole(random in random(200)) {
        let shown = report(&[0; 16], TaskState::InProgress, &random.task());
        prop_assert_eq!(shown["dependency_graph"]["nodes"].as_array().map(Vec::len), Some(random.count));
        prop_assert_eq!(shown["dependency_graph"]["edges"].as_array().map(Vec::len), Some(random.edges.len()));
    }
}
