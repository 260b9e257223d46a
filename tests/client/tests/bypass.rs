//! Steps that a request bypasses: skippable ones that never run and count as complete for their children.

use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Database, Session, Template, Uuid, Value, json, shapes};

fn skippable(template: Template, steps: &[&str]) -> Template {
    steps.iter().fold(template, |template, step| {
        template.change(step, json!({ "skippable": true }))
    })
}

fn opened(template: &Template) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    template.register(&mut session);
    (database, session)
}

fn create(session: &mut Session, name: &str, bypass: Value) -> Uuid {
    session.one(
        "SELECT tasker.create_task($1, bypass_steps => $2)",
        &[&name, &bypass],
    )
}

/// Runs what is ready to the end and returns the names of the steps that ran, in order.
fn run(session: &mut Session) -> Vec<String> {
    session.work(|_| done())
}

#[test]
fn a_bypassed_step_never_runs_and_its_transition_says_why() {
    let (_database, mut session) = opened(&skippable(shapes::linear(), &["process_data"]));
    let task = create(&mut session, "linear", json!(["process_data"]));
    assert_eq!(
        session.step_state(task, "process_data"),
        "resolved_manually"
    );
    let log: Vec<String> = session.all(
        "SELECT concat_ws(' ', t.from_state, t.to_state, t.metadata ->> 'reason', t.attempt)
         FROM tasker.workflow_step_transitions t JOIN tasker.workflow_steps s USING (step_uuid)
         WHERE t.task_uuid = $1 AND s.name = 'process_data'",
        &[&task],
    );
    assert_eq!(log, ["pending resolved_manually bypassed 0"]);
    // What waited for it alone is ready from the beginning.
    assert_eq!(
        session.ready(task),
        ["initialize_data", "transform_results"]
    );
    let mut ran = run(&mut session);
    ran.sort();
    assert_eq!(
        ran,
        [
            "finalize_workflow",
            "initialize_data",
            "transform_results",
            "validate_input",
            "validate_output"
        ]
    );
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(session.context(task), "all_complete / 100.00 / healthy");
}

#[test]
fn a_join_waits_for_its_other_parents_only() {
    let (_database, mut session) = opened(&skippable(shapes::small_diamond(), &["b"]));
    let task = create(&mut session, "small_diamond", json!(["b"]));
    assert_eq!(session.ready(task), ["start"]);
    assert_eq!(run(&mut session), ["start", "c", "end"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_join_of_bypassed_parents_is_ready_from_the_beginning() {
    let (_database, mut session) = opened(&skippable(shapes::small_diamond(), &["b", "c"]));
    let task = create(&mut session, "small_diamond", json!(["c", "b", "c"]));
    assert_eq!(session.ready(task), ["start", "end"]);
    let claims = session.claim_all("worker");
    let end = claims.iter().find(|claim| claim.name == "end");
    assert_eq!(
        end.map(|claim| claim.dependency_results.clone()),
        Some(json!({ "b": {}, "c": {} }))
    );
    for claim in &claims {
        session.complete(claim, &json!({}));
    }
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_task_whose_last_step_is_bypassed_ends_with_the_step_before() {
    let (_database, mut session) =
        opened(&skippable(shapes::chain("chain", 3), &["step_2", "step_3"]));
    let task = create(&mut session, "chain", json!(["step_3"]));
    assert_eq!(run(&mut session), ["step_1", "step_2"]);
    assert_eq!(session.task_state(task), "complete");
    let task = create(&mut session, "chain", json!(["step_2", "step_3"]));
    assert_eq!(run(&mut session), ["step_1"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_task_of_bypassed_steps_alone_is_complete_at_once() {
    let (_database, mut session) =
        opened(&skippable(shapes::chain("chain", 2), &["step_1", "step_2"]));
    let task = create(&mut session, "chain", json!(["step_1", "step_2"]));
    assert_eq!(session.task_state(task), "complete");
    let states: Vec<String> = session.all(
        "SELECT concat_ws(' ', from_state, to_state) FROM tasker.task_transitions WHERE task_uuid = $1 ORDER BY id",
        &[&task],
    );
    assert_eq!(
        states,
        ["pending", "pending in_progress", "in_progress complete"]
    );
    assert!(session.claim_all("worker").is_empty());
}

#[test]
fn a_failure_beside_a_bypassed_step_ends_the_task_in_error_and_a_retry_completes_it() {
    let (_database, mut session) = opened(&skippable(shapes::small_diamond(), &["b"]));
    let task = create(&mut session, "small_diamond", json!(["b"]));
    session.work(|claim| match claim.name.as_str() {
        "c" => Act::FailForGood,
        _ => done(),
    });
    assert_eq!(session.task_state(task), "error");
    session.execute(&format!("SELECT tasker.retry_task('{task}')"));
    assert_eq!(session.step_state(task, "b"), "resolved_manually");
    assert_eq!(run(&mut session), ["c", "end"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn many_tasks_at_once_bypass_the_same_steps() {
    let (_database, mut session) = opened(&skippable(shapes::small_diamond(), &["b"]));
    let tasks: Vec<Uuid> = session.all(
        "SELECT * FROM tasker.create_tasks('small_diamond', array_fill('{}'::jsonb, ARRAY[20]), bypass_steps => '[\"b\"]')",
        &[],
    );
    assert_eq!(run(&mut session).len(), 60);
    assert_eq!(session.task_states(&tasks), ["complete: 20"]);
}

#[test]
fn bypassed_steps_are_part_of_the_identity() {
    let template =
        skippable(shapes::small_diamond(), &["b", "c"]).with("identity_strategy", json!("hash"));
    let (_database, mut session) = opened(&template);
    create(&mut session, "small_diamond", json!([]));
    create(&mut session, "small_diamond", json!(["b"]));
    create(&mut session, "small_diamond", json!(["c", "b"]));
    session
        .fails(
            "SELECT tasker.create_task('small_diamond', bypass_steps => '[\"b\", \"c\"]')",
            &[],
        )
        .is("23505");
}

#[test]
fn only_a_skippable_step_of_the_template_can_be_bypassed_and_nothing_is_created_otherwise() {
    let (_database, mut session) = opened(&skippable(shapes::small_diamond(), &["b"]));
    for (bypass, words) in [
        (
            r#"["start"]"#,
            ["bypass_steps[1]", "start", "skippable", "b"],
        ),
        (
            r#"["b", "nowhere"]"#,
            ["bypass_steps[2]", "nowhere", "small_diamond", "step"],
        ),
        (r#"["b", 7]"#, ["bypass_steps[2]", "name", "string", "step"]),
        (r#"[null]"#, ["bypass_steps[1]", "name", "string", "step"]),
        (r#""b""#, ["bypass_steps", "array", "step", "names"]),
    ] {
        session
            .fails(
                &format!("SELECT tasker.create_task('small_diamond', bypass_steps => '{bypass}')"),
                &[],
            )
            .is("22023")
            .says(&words);
    }
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 0);
}
