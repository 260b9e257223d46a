//! The usual shapes of workflows, through template and graph.

mod common;
mod patience;

use common::{problem, problems, steps, template, unlimited};
use patience::patience;
use tasker_rules::graph::Dag;
use tasker_rules::template::{parse, read_stored};

const L: &str = "initialize_data
    validate_input: initialize_data
    process_data: validate_input
    transform_results: process_data
    validate_output: transform_results
    finalize_workflow: validate_output";

const D: &str = "start_workflow
    branch_one_process: start_workflow
    branch_one_validate: branch_one_process
    branch_two_process: start_workflow
    branch_two_validate: branch_two_process
    merge_branches: branch_one_validate branch_two_validate
    end_workflow: merge_branches";

const P: &str = "fetch_user_data
    process_user_data: fetch_user_data
    fetch_order_data
    process_order_data: fetch_order_data
    fetch_inventory_data
    fetch_pricing_data
    merge_all_data: process_user_data process_order_data fetch_inventory_data fetch_pricing_data";

const M: &str = "init_auth
    init_config
    validate_permissions: init_auth
    setup_environment: init_config
    begin_processing: validate_permissions setup_environment
    process_critical_data: begin_processing
    process_optional_data: begin_processing
    cleanup_temp_files: setup_environment
    finalize_and_report: process_critical_data cleanup_temp_files";

const Y: &str = "step-one
    step-two
    step-three: step-two
    step-four: step-three";

fn dag(lines: &str) -> Dag {
    template(&steps(lines)).dag
}

fn names(dag: &Dag, steps: &[i16]) -> Vec<String> {
    steps
        .iter()
        .map(|step| dag.name(*step).to_owned())
        .collect()
}

#[test]
fn a_chain_of_six_has_five_edges_and_levels_0_to_5() {
    let dag = dag(L);
    assert_eq!((dag.len(), dag.edge_count()), (6, 5));
    assert_eq!(dag.levels(), [0, 1, 2, 3, 4, 5]);
    assert_eq!((dag.max_level(), dag.level_widths()), (5, vec![1; 6]));
    assert_eq!((dag.roots(), dag.leaves()), (vec![1], vec![6]));
}

#[test]
fn a_diamond_has_two_branches_that_merge() {
    let dag = dag(D);
    // Numbers follow the template here, because it is in topological order already.
    assert_eq!(dag.levels(), [0, 1, 2, 1, 2, 3, 4]);
    assert_eq!(dag.level_widths(), [1, 2, 2, 1, 1]);
    assert_eq!(
        names(&dag, dag.parents(6)),
        ["branch_one_validate", "branch_two_validate"]
    );
    assert_eq!(dag.descendants(2), [3, 6, 7]);
    assert_eq!(dag.ancestors(6), [1, 2, 3, 4, 5]);
}

#[test]
fn four_branches_merge_at_level_2() {
    let dag = dag(P);
    assert_eq!((dag.roots().len(), dag.leaves()), (4, vec![7]));
    assert_eq!((dag.level(7), dag.min_depth(7)), (2, 1));
}

#[test]
fn a_mixed_graph_has_two_roots_and_two_leaves() {
    let dag = dag(M);
    assert_eq!(names(&dag, &dag.roots()), ["init_auth", "init_config"]);
    assert_eq!(
        names(&dag, &dag.leaves()),
        ["process_optional_data", "finalize_and_report"]
    );
}

#[test]
fn an_isolated_step_is_root_and_leaf() {
    let dag = dag(Y);
    assert_eq!(names(&dag, &dag.roots()), ["step-one", "step-two"]);
    assert_eq!(names(&dag, &dag.leaves()), ["step-one", "step-four"]);
    assert_eq!(dag.levels(), [0, 0, 1, 2]);
    assert_eq!(
        (dag.children(2), dag.parents(3), dag.min_depth(3)),
        (&[3i16][..], &[2i16][..], 1)
    );
}

#[test]
fn steps_are_numbered_topologically_with_ties_in_template_order() {
    let template = template(&steps("late: early\nalone\nearly\nlast: late alone"));
    let got: Vec<_> = template
        .steps
        .iter()
        .map(|step| (step.step_no, step.name.as_str()))
        .collect();
    assert_eq!(got, [(1, "alone"), (2, "early"), (3, "late"), (4, "last")]);
    assert_eq!(template.dag.template_order(), [1, 2, 0, 3]);
}

#[test]
fn a_self_edge_is_named() {
    assert_eq!(
        problem(&steps("a: a")),
        "error steps[0].depends_on_steps[0]: step \"a\" depends on itself: a -> a"
    );
}

#[test]
fn a_direct_cycle_is_named() {
    assert_eq!(
        problem(&steps("a: b\nb: a")),
        "error steps[0].depends_on_steps[0]: the dependencies form a cycle: a -> b -> a"
    );
}

#[test]
fn a_cycle_of_three_steps_is_named() {
    let found = problem(&steps("before\na: c before\nb: a\nc: b\nafter: c"));
    assert_eq!(
        found,
        "error steps[1].depends_on_steps[0]: the dependencies form a cycle: a -> b -> c -> a"
    );
}

#[test]
fn every_separate_cycle_is_named_by_its_shortest_path() {
    let found = problems(&steps("a: d b\nb: a\nc: b\nd: c\nx: y\ny: x\nz: z"));
    assert!(
        found.iter().any(|one| one.ends_with("cycle: a -> b -> a")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|one| one.ends_with("cycle: x -> y -> x")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|one| one.ends_with("itself: z -> z")),
        "{found:#?}"
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn several_paths_to_one_step_are_accepted() {
    let dag = dag("a\nb: a\nc: a b\nd: a b c");
    assert_eq!(dag.levels(), [0, 1, 2, 3]);
    assert_eq!(dag.min_depth(4), 1);
}

#[test]
fn a_long_cycle_is_shortened_in_the_message() {
    let mut lines = "s0: s999".to_owned();
    for index in 1..1_000 {
        lines.push_str(&format!("\ns{index}: s{}", index - 1));
    }
    let found = problem(&steps(&lines));
    assert!(found.len() < 300, "{found}");
    assert!(
        found.ends_with("s8 -> s9 -> ... 989 more ... -> s999 -> s0"),
        "{found}"
    );
}

#[test]
fn an_unknown_dependency_names_both_steps() {
    assert_eq!(
        problem(&steps("validate\nship: validat")),
        "error steps[1].depends_on_steps[0]: step \"ship\" depends on \"validat\", which is not a step of this \
         template; did you mean \"validate\"?"
    );
}

#[test]
fn a_second_identical_edge_is_refused() {
    assert_eq!(
        problem(&steps("a\nb: a a")),
        "error steps[1].depends_on_steps[1]: step \"b\" depends on \"a\" twice"
    );
}

#[test]
fn a_template_without_steps_is_refused() {
    let expected = "error steps: the template needs at least one step";
    assert_eq!(problem("name: t\n"), expected);
    assert_eq!(problem("name: t\nsteps: []\n"), expected);
    assert_eq!(problem("name: t\nsteps:\n"), expected);
    let rails = problem("name: t\nstep_templates: []\n");
    assert_eq!(
        rails,
        "error step_templates: the template needs at least one step"
    );
}

#[test]
fn a_step_name_is_taken_once() {
    let found = problem(&steps("a\nb\na"));
    assert_eq!(
        found,
        "error steps[2].name: step name \"a\" is taken by steps[0]"
    );
}

#[test]
fn the_five_examples_are_templates() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/templates");
    let files: Vec<_> = std::fs::read_dir(directory)
        .expect("the folder of the examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        assert_eq!(problems(&text), Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn the_largest_template_is_read_and_one_step_more_is_refused() {
    let mut lines = "s0".to_owned();
    for index in 1..32_767 {
        lines.push_str(&format!("\ns{index}: s{}", index - 1));
    }
    let began = std::time::Instant::now();
    let template = template(&steps(&lines));
    assert_eq!(
        (template.steps.len(), template.dag.max_level()),
        (32_767, 32_766)
    );
    assert!(began.elapsed() < patience(60), "{:?}", began.elapsed());
    let more = problem(&steps(&format!("{lines}\none_more")));
    assert_eq!(more, "error steps: 32768 steps; at most 32767 are possible");
}

#[test]
fn a_template_of_100_000_dependencies_is_read_and_one_with_more_only_if_it_is_stored() {
    let parents: Vec<String> = (0..250).map(|no| format!("p{no}")).collect();
    let children = (0..400).map(|no| format!("c{no}: {}", parents.join(" ")));
    let lines: Vec<String> = parents.iter().cloned().chain(children).collect();
    let most = steps(&lines.join("\n"));
    assert_eq!(template(&most).dag.edge_count(), 100_000);
    let more = steps(&format!("{}\none_more: p0", lines.join("\n")));
    let environments = "name: t\nenvironments: {test: {description: x}}\n";
    for more in [more.clone(), more.replace("name: t\n", environments)] {
        assert_eq!(
            problem(&more),
            "error steps: 100001 dependencies between steps; at most 100000 are possible"
        );
    }
    let stored = read_stored(&parse(&more).expect("YAML"), None, &unlimited()).expect("no limit");
    let stored = stored.expect("it was accepted before");
    assert_eq!(stored.dag.edge_count(), 100_001);
}
