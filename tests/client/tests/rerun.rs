//! Running an ended task again: a new task that keeps the results before a step.

use std::time::Instant;

use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Database, Session, Uuid, Value, json, patience, shapes, started};

fn rerun(session: &mut Session, task: Uuid, from_step: Option<&str>) -> Uuid {
    session.one("SELECT tasker.rerun_task($1, $2)", &[&task, &from_step])
}

/// Works until nothing is ready; the results have the name of the step and the round. Returns what ran, sorted.
fn run(session: &mut Session, round: i32) -> Vec<String> {
    let mut ran =
        session.work(|claim| Act::Complete(json!({ "step": claim.name, "round": round })));
    ran.sort();
    ran
}

/// The round in which each step got its results, by name.
fn rounds(session: &mut Session, task: Uuid) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', name, results ->> 'round') FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY 1",
        &[&task],
    )
}

#[track_caller]
fn agrees(session: &mut Session) {
    assert_eq!(session.disagreements(), Vec::<String>::new());
}

#[test]
fn a_chain_runs_again_from_its_middle_and_keeps_what_was_before() {
    let (_database, mut session, old) = started(&shapes::chain("chain", 4));
    run(&mut session, 1);
    let new = rerun(&mut session, old, Some("step_3"));
    assert_ne!(new, old);
    agrees(&mut session);
    assert_eq!(session.task_state(new), "pending");
    assert_eq!(session.ready(new), ["step_3"]);
    assert_eq!(run(&mut session, 2), ["step_3", "step_4"]);
    assert_eq!(session.task_state(new), "complete");
    assert_eq!(
        rounds(&mut session, new),
        ["step_1 1", "step_2 1", "step_3 2", "step_4 2"]
    );
    assert_eq!(
        session.steps(new),
        [
            "step_1 resolved_manually/0",
            "step_2 resolved_manually/0",
            "step_3 complete/1",
            "step_4 complete/1"
        ]
    );
    // The old task stays as it was.
    assert_eq!(session.task_state(old), "complete");
    assert!(
        rounds(&mut session, old)
            .iter()
            .all(|step| step.ends_with(" 1"))
    );
    agrees(&mut session);
}

#[test]
fn of_a_diamond_one_side_runs_again_with_the_join_and_reads_the_kept_results() {
    let (_database, mut session, old) = started(&shapes::small_diamond());
    run(&mut session, 1);
    let new = rerun(&mut session, old, Some("b"));
    assert_eq!(session.ready(new), ["b"]);
    let b = session.claim_one("worker");
    assert_eq!(
        b.dependency_results,
        json!({ "start": { "step": "start", "round": 1 } })
    );
    session.complete(&b, &json!({ "round": 2 }));
    let end = session.claim_one("worker");
    let wanted = json!({ "b": { "round": 2 }, "c": { "step": "c", "round": 1 } });
    assert_eq!(end.dependency_results, wanted);
    let all: Value = session.one("SELECT tasker.get_dependency_results($1)", &[&end.step]);
    assert_eq!(all["start"], json!({ "step": "start", "round": 1 }));
    assert_eq!(all["c"], json!({ "step": "c", "round": 1 }));
    session.complete(&end, &json!({}));
    assert_eq!(session.task_state(new), "complete");
    agrees(&mut session);
}

#[test]
fn without_a_step_everything_runs_again() {
    let (_database, mut session, old) = started(&shapes::small_diamond());
    run(&mut session, 1);
    let new = rerun(&mut session, old, None);
    assert_eq!(session.ready(new), ["start"]);
    assert_eq!(run(&mut session, 2), ["b", "c", "end", "start"]);
    assert_eq!(session.task_state(new), "complete");
    agrees(&mut session);
}

#[test]
fn a_task_that_failed_runs_what_failed_and_what_was_not_done() {
    let template = shapes::small_diamond()
        .every_step(json!({ "default_retry_limit": 1, "retry": { "backoff": "none" } }));
    let (_database, mut session, old) = started(&template);
    session.work(|claim| match claim.name.as_str() {
        "b" => Act::Fail,
        _ => Act::Complete(json!({ "round": 1 })),
    });
    assert_eq!(session.task_state(old), "error");
    // From c: b was not done, and what was done before both is kept.
    let new = rerun(&mut session, old, Some("c"));
    assert_eq!(session.ready(new), ["b", "c"]);
    assert_eq!(run(&mut session, 2), ["b", "c", "end"]);
    assert_eq!(session.task_state(new), "complete");
    // From b: c keeps its results.
    let new = rerun(&mut session, old, Some("b"));
    assert_eq!(run(&mut session, 2), ["b", "end"]);
    assert_eq!(
        rounds(&mut session, new),
        ["b 2", "c 1", "end 2", "start 1"]
    );
    assert_eq!(session.task_state(old), "error");
    agrees(&mut session);
}

#[test]
fn both_tasks_say_where_they_come_from() {
    let (_database, mut session, old) = started(&shapes::chain("chain", 3));
    run(&mut session, 1);
    let new = rerun(&mut session, old, Some("step_2"));
    let first: Value = session.one(
        "SELECT metadata FROM tasker.task_transitions WHERE task_uuid = $1 ORDER BY id LIMIT 1",
        &[&new],
    );
    let old_text = old.to_string();
    assert_eq!(
        first,
        json!({ "rerun_of": old_text, "from_step": "step_2" })
    );
    let note: Value = session.one(
        "SELECT annotation FROM tasker.task_annotations a
         WHERE task_uuid = $1 AND tasker.annotation_type_name(a) = 'rerun'",
        &[&old],
    );
    let new_text = new.to_string();
    assert_eq!(note, json!({ "rerun_as": new_text, "from_step": "step_2" }));
    let found: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.tasks_by_annotation('rerun', 'rerun_as', $1)",
        &[&new_text],
    );
    assert_eq!(found, [old]);
    // And each kept step names the step that it comes from.
    let source = session.step(old, "step_1").to_string();
    let kept = session.step(new, "step_1");
    let logged: Value = session.one(
        "SELECT metadata FROM tasker.workflow_step_transitions WHERE step_uuid = $1",
        &[&kept],
    );
    assert_eq!(
        logged,
        json!({ "reason": "kept", "rerun_of": old_text, "step_uuid": source })
    );
    let whole = rerun(&mut session, old, None);
    let first: Value = session.one(
        "SELECT metadata FROM tasker.task_transitions WHERE task_uuid = $1",
        &[&whole],
    );
    assert_eq!(first, json!({ "rerun_of": old_text }));
}

#[test]
fn a_rerun_runs_again_with_the_results_that_the_first_one_kept() {
    let (_database, mut session, old) = started(&shapes::chain("chain", 3));
    run(&mut session, 1);
    let first = rerun(&mut session, old, Some("step_2"));
    run(&mut session, 2);
    let second = rerun(&mut session, first, Some("step_3"));
    assert_eq!(run(&mut session, 3), ["step_3"]);
    assert_eq!(
        rounds(&mut session, second),
        ["step_1 1", "step_2 2", "step_3 3"]
    );
    let of: String = session.one(
        "SELECT metadata ->> 'rerun_of' FROM tasker.task_transitions WHERE task_uuid = $1 ORDER BY id LIMIT 1",
        &[&second],
    );
    assert_eq!(of, first.to_string());
    agrees(&mut session);
}

/// What a request says, for comparison.
const REQUEST: &str = "SELECT concat_ws('|', named_task_id, initiator, source_system, reason, tags, priority, correlation_id, bypass_steps)
     FROM tasker.tasks WHERE task_uuid = $1";

#[test]
fn the_request_is_that_of_the_old_task_and_no_identity_keeps_it_out() {
    let template = shapes::small_diamond()
        .change("b", json!({ "skippable": true }))
        .with("identity_strategy", json!("hash"));
    let (_database, mut session, _) = started(&template);
    let old: Uuid = session.one(
        "SELECT tasker.create_task('small_diamond', '{\"n\": 1}', initiator => 'i', source_system => 's', reason => 'r',
                tags => '[\"t\"]', bypass_steps => '[\"b\"]', priority => 4, correlation_id => 'c', traceparent => 'p')",
        &[],
    );
    session.query("SELECT tasker.tag_task($1, '[\"later\"]')", &[&old]);
    run(&mut session, 1);
    let new = rerun(&mut session, old, Some("c"));
    let [was, is]: [String; 2] = [old, new].map(|task| session.one(REQUEST, &[&task]));
    assert_eq!(was, is);
    let context: Value = session.one(
        "SELECT context FROM tasker.tasks WHERE task_uuid = $1",
        &[&new],
    );
    assert_eq!(context, json!({ "n": 1 }));
    // What the request bypasses stays bypassed, also from that step on.
    let reason =
        "SELECT metadata ->> 'reason' FROM tasker.workflow_step_transitions WHERE step_uuid = $1";
    let b = session.step(new, "b");
    assert_eq!(session.one::<String>(reason, &[&b]), "bypassed");
    assert_eq!(run(&mut session, 2), ["c", "end"]);
    let new = rerun(&mut session, old, Some("start"));
    assert_eq!(session.step_state(new, "b"), "resolved_manually");
    assert_eq!(run(&mut session, 2), ["c", "end", "start"]);
    agrees(&mut session);
}

#[test]
fn a_task_of_an_older_version_runs_again_in_that_version() {
    let template = shapes::chain("chain", 2);
    let (_database, mut session, old) = started(&template.clone().with("version", json!("1.0.0")));
    run(&mut session, 1);
    let newer = template
        .step("step_3", &["step_2"])
        .with("version", json!("2.0.0"));
    newer.register(&mut session);
    let new = rerun(&mut session, old, Some("step_2"));
    assert_eq!(session.steps(new).len(), 2);
    assert_eq!(
        session.one::<String>(REQUEST, &[&new]),
        session.one::<String>(REQUEST, &[&old])
    );
    assert_eq!(run(&mut session, 2), ["step_2"]);
    agrees(&mut session);
}

#[test]
fn a_new_context_is_checked_and_the_old_one_is_not() {
    let schema = json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    let template = shapes::chain("chain", 2).with("input_schema", schema);
    let database = Database::new();
    let mut session = database.connect();
    template.register(&mut session);
    let old = session.create_with("chain", &json!({ "n": 1 }));
    run(&mut session, 1);
    let call = "SELECT tasker.rerun_task($1, 'step_2', $2)";
    for (context, words) in [
        (json!({ "n": "one" }), ["context", "integer"]),
        (json!({}), ["context", "n"]),
        (json!([]), ["context", "object"]),
    ] {
        session
            .fails(call, &[&old, &context])
            .is("23514")
            .says(&words);
    }
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 1);
    let new: Uuid = session.one(call, &[&old, &json!({ "n": 2 })]);
    let claim = session.claim_one("worker");
    assert_eq!(
        (claim.task, claim.context.clone()),
        (new, json!({ "n": 2 }))
    );
    session.complete(&claim, &json!({}));
    session.execute("SET tasker.max_context_size = 1024");
    let long = json!({ "n": 3, "text": "x".repeat(2000) });
    session.fails(call, &[&old, &long]).is("54000");
    agrees(&mut session);
}

#[test]
fn kept_results_of_a_step_with_a_schema_are_kept_as_they_are() {
    let schema = json!({ "type": "object", "required": ["round"] });
    let template = shapes::chain("chain", 2).every_step(json!({ "results_schema": schema }));
    let (_database, mut session, old) = started(&template);
    run(&mut session, 1);
    let new = rerun(&mut session, old, Some("step_2"));
    let claim = session.claim_one("worker");
    session.fails(
        "SELECT tasker.complete_step($1, $2, '{}')",
        &[&claim.step, &claim.number],
    );
    session.query("SELECT tasker.release_steps('worker')", &[]);
    run(&mut session, 2);
    assert_eq!(rounds(&mut session, new), ["step_1 1", "step_2 2"]);
    agrees(&mut session);
}

#[test]
fn a_task_runs_again_from_every_ended_state_and_an_open_one_is_refused() {
    let template = shapes::chain("chain", 3).every_step(json!({ "default_retry_limit": 1 }));
    let (_database, mut session, old) = started(&template);
    let call = "SELECT tasker.rerun_task($1, 'step_2')";
    let refused = |session: &mut Session, state: &str| {
        session.fails(call, &[&old]).is("55000").says(&[
            "has not ended",
            state,
            "tasker.cancel_task",
        ]);
    };
    refused(&mut session, "pending");
    let claim = session.claim_one("worker");
    refused(&mut session, "in_progress");
    session.complete(&claim, &json!({ "round": 1 }));
    session.work(|_| Act::FailForGood);
    let mut states = vec![];
    for change in ["SELECT 1", "SELECT tasker.resolve_task_manually($1)"] {
        if change.contains('$') {
            session.query(change, &[&old]);
        }
        states.push(session.task_state(old));
        let new = rerun(&mut session, old, Some("step_2"));
        assert_eq!(run(&mut session, 2), ["step_2", "step_3"]);
        assert_eq!(session.task_state(new), "complete");
    }
    assert_eq!(states, ["error", "resolved_manually"]);
    let cancelled = session.create("chain");
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({ "round": 1 }));
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    rerun(&mut session, cancelled, Some("step_3"));
    assert_eq!(run(&mut session, 2), ["step_2", "step_3"]);
    agrees(&mut session);
}

#[test]
fn what_is_wrong_with_a_call_is_said_and_nothing_is_created() {
    let (_database, mut session, old) = started(&shapes::chain("chain", 2));
    run(&mut session, 1);
    session
        .fails("SELECT tasker.rerun_task($1, 'step_9')", &[&old])
        .is("22023")
        .says(&["from_step", "step_9"])
        .detail_says(&["step_1, step_2"]);
    session
        .fails("SELECT tasker.rerun_task(NULL)", &[])
        .is("22004")
        .says(&["task_uuid"]);
    let unknown = Uuid::from_u128(7);
    session
        .fails("SELECT tasker.rerun_task($1)", &[&unknown])
        .is("P0002");
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 1);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.task_annotations", &[]),
        0
    );
}

#[test]
fn a_thousand_steps_are_kept_in_one_call() {
    let (_database, mut session, old) = started(&shapes::wide("wide", 1000).step("after", &[]));
    session.work(|_| Act::Complete(json!({ "text": "x".repeat(3000) })));
    assert_eq!(session.task_state(old), "complete");
    let begun = Instant::now();
    let new = rerun(&mut session, old, Some("after"));
    assert!(begun.elapsed() < patience(3), "{:?}", begun.elapsed());
    let kept = session.count(
        "SELECT count(*) FROM tasker.workflow_steps
         WHERE task_uuid = $1 AND state = 'resolved_manually' AND length(results ->> 'text') = 3000",
        &[&new],
    );
    assert_eq!(kept, 1000);
    assert_eq!(session.work(|_| done()), ["after"]);
    assert_eq!(session.task_state(new), "complete");
    agrees(&mut session);
}

#[test]
fn a_purge_passes_by_a_task_that_runs_again_and_a_purged_one_is_unknown() {
    let (database, mut session, old) = started(&shapes::chain("chain", 2));
    run(&mut session, 1);
    let mut other = database.connect();
    let purge = "SELECT tasks FROM tasker.purge_tasks('0')";
    session.execute("BEGIN");
    let new = rerun(&mut session, old, Some("step_2"));
    other.execute("SET lock_timeout = '2s'");
    assert_eq!(other.one::<i64>(purge, &[]), 0);
    session.execute("COMMIT");
    // The new task needs nothing of the old one.
    other.execute("BEGIN");
    assert_eq!(other.one::<i64>(purge, &[]), 1);
    let pid = session.pid();
    let outcome = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            session
                .fails("SELECT tasker.rerun_task($1)", &[&old])
                .is("P0002");
            session
        });
        database.connect().wait_until_blocked(pid);
        other.execute("COMMIT");
        waiting.join()
    });
    let mut session = outcome.expect("the call answers");
    assert_eq!(run(&mut session, 2), ["step_2"]);
    assert_eq!(rounds(&mut session, new), ["step_1 1", "step_2 2"]);
    let notes = "SELECT count(*) FROM tasker.task_annotations";
    assert_eq!(session.count(notes, &[]), 0, "the note went with the task");
    agrees(&mut session);
}

#[test]
fn an_operator_can_call_it_and_a_worker_cannot() {
    let (database, mut session, old) = started(&shapes::chain("chain", 2));
    run(&mut session, 1);
    for (role, code) in [("tasker_worker", Some("42501")), ("tasker_operator", None)] {
        let name = format!("rerun_{role}");
        session.execute(&format!("CREATE ROLE {name} LOGIN IN ROLE {role}"));
        let mut caller = database.connect_as(&name);
        let call = "SELECT tasker.rerun_task($1, 'step_2')";
        match code {
            Some(code) => drop(caller.fails(call, &[&old]).is(code)),
            None => drop(caller.query(call, &[&old])),
        }
    }
}
