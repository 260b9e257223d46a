//! Every scope of tasks, steps, edges, the log and the graph: rows that must and rows that must not appear.

use tasker_client_tests::{Act, Database, Session, Template, Uuid, json, shapes};

const NONE: [Uuid; 0] = [];

fn database() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    (database, session)
}

fn tasks(session: &mut Session, scope: &str) -> Vec<Uuid> {
    session.all(
        &format!("SELECT task_uuid FROM tasker.{scope} ORDER BY task_uuid"),
        &[],
    )
}

/// `name` of each row.
fn names(session: &mut Session, from: &str) -> Vec<String> {
    session.all(
        &format!("SELECT name FROM tasker.{from} ORDER BY step_no"),
        &[],
    )
}

/// `from > to` of each edge.
fn edges(session: &mut Session, scope: &str) -> Vec<String> {
    session.all(
        &format!(
            "SELECT f.name || ' > ' || t.name FROM tasker.{scope} e
             JOIN tasker.workflow_steps f ON f.step_uuid = e.from_step_uuid
             JOIN tasker.workflow_steps t ON t.step_uuid = e.to_step_uuid ORDER BY 1"
        ),
        &[],
    )
}

fn now(session: &mut Session) -> String {
    session.one("SELECT clock_timestamp()::text", &[])
}

// ---- tasks -----------------------------------------------------------------------------------------------------------

#[test]
fn tasks_in_namespace_with_name_and_with_version_follow_their_template() {
    let (_database, mut session) = database();
    shapes::chain("chain", 1)
        .with("namespace_name", json!("billing"))
        .with("version", json!("2.0.0"))
        .register(&mut session);
    let here = session.create("small_diamond");
    let there: Uuid = session.one(
        "SELECT tasker.create_task('chain', namespace => 'billing')",
        &[],
    );
    for (scope, expected) in [
        ("tasks_in_namespace('default')", vec![here]),
        ("tasks_in_namespace('billing')", vec![there]),
        ("tasks_in_namespace('nowhere')", vec![]),
        ("tasks_with_task_name('chain')", vec![there]),
        ("tasks_with_task_name('small_diamond')", vec![here]),
        ("tasks_with_version('2.0.0')", vec![there]),
        ("tasks_with_version('0.1.0')", vec![here]),
        ("tasks_with_version('3.0.0')", vec![]),
        (
            "tasks_in_namespace('billing') WHERE name = 'chain' AND version = '2.0.0'",
            vec![there],
        ),
        (
            "tasks_in_namespace('billing') WHERE name = 'small_diamond'",
            vec![],
        ),
    ] {
        assert_eq!(tasks(&mut session, scope), expected, "{scope}");
    }
    assert_eq!(
        session.one::<i64>("SELECT tasker.unique_task_types_count()", &[]),
        2
    );
}

#[test]
fn task_types_that_no_task_has_or_that_share_a_name_do_not_count() {
    let (_database, mut session) = database();
    shapes::chain("unused", 1).register(&mut session);
    shapes::small_diamond()
        .with("version", json!("0.2.0"))
        .register(&mut session);
    let count = "SELECT tasker.unique_task_types_count()";
    assert_eq!(session.one::<i64>(count, &[]), 0);
    session.create("small_diamond");
    session.query(
        "SELECT tasker.create_task('small_diamond', version => '0.1.0')",
        &[],
    );
    assert_eq!(session.one::<i64>(count, &[]), 1);
}

#[test]
fn tasks_by_current_state_takes_one_state_or_all() {
    let (_database, mut session) = database();
    let waiting = session.create("small_diamond");
    let cancelled = session.create("small_diamond");
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    for (scope, expected) in [
        ("tasks_by_current_state('pending')", vec![waiting]),
        ("tasks_by_current_state('cancelled')", vec![cancelled]),
        ("tasks_by_current_state('error')", vec![]),
        ("tasks_by_current_state()", vec![waiting, cancelled]),
        ("tasks_by_current_state(NULL)", vec![waiting, cancelled]),
    ] {
        assert_eq!(tasks(&mut session, scope), expected, "{scope}");
    }
}

#[test]
fn tasks_created_since_leaves_out_earlier_ones_of_the_same_minute() {
    let (_database, mut session) = database();
    let early = session.create("small_diamond");
    let mark = now(&mut session);
    let late = session.create("small_diamond");
    let since = |at: &str| format!("tasks_created_since('{at}')");
    assert_eq!(tasks(&mut session, &since(&mark)), [late]);
    assert_eq!(tasks(&mut session, &since("2020-01-01")), [early, late]);
    assert_eq!(tasks(&mut session, &since("infinity")), NONE);
    assert_eq!(tasks(&mut session, &since("-infinity")), [early, late]);
}

#[test]
fn completed_since_asks_when_a_step_became_complete() {
    let (_database, mut session) = database();
    let early = session.create("small_diamond");
    session.work_through("start");
    let mark = now(&mut session);
    let late = session.create("small_diamond");
    session.query(
        "SELECT tasker.resolve_step_manually($1)",
        &[&tasker_step(late, 1)],
    );
    let scope = format!("tasks_completed_since('{mark}')");
    let steps = format!("workflow_steps_completed_since('{mark}')");
    // Resolved by hand is not complete.
    assert_eq!(tasks(&mut session, &scope), NONE);
    assert_eq!(names(&mut session, &steps), [""; 0]);
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({}));
    assert_eq!(tasks(&mut session, &scope), [early]);
    assert_eq!(names(&mut session, &steps), ["b"]);
    assert_eq!(
        names(&mut session, "workflow_steps_completed_since('2020-01-01')"),
        ["start", "b"]
    );
}

fn tasker_step(task: Uuid, no: u128) -> Uuid {
    Uuid::from_u128(task.as_u128() | no)
}

#[test]
fn failed_since_asks_for_what_is_still_in_error() {
    let (_database, mut session) = database();
    let early = session.create("small_diamond");
    session.work(|_| Act::FailForGood);
    let mark = now(&mut session);
    let late = session.create("small_diamond");
    session.work(|_| Act::FailForGood);
    let healed = session.create("small_diamond");
    session.work(|_| Act::FailForGood);
    session.query("SELECT tasker.retry_task($1)", &[&healed]);
    let since = format!("tasks_failed_since('{mark}')");
    assert_eq!(tasks(&mut session, &since), [late]);
    assert_eq!(
        tasks(&mut session, "tasks_failed_since('2020-01-01')"),
        [early, late]
    );
    let steps = format!("workflow_steps_failed_since('{mark}')");
    assert_eq!(tasks(&mut session, &steps), [late]);
    assert_eq!(
        tasks(&mut session, "workflow_steps_failed()"),
        [early, late]
    );
}

#[test]
fn active_tasks_have_work_left() {
    let (_database, mut session) = database();
    let fresh = session.create("small_diamond");
    let cancelled = session.create("small_diamond");
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    assert_eq!(tasks(&mut session, "tasks_active()"), [fresh]);
    // A retry to come is work, too, where nothing else is left.
    shapes::chain("single", 1).register(&mut session);
    let single = session.create("single");
    session.work(|claim| match claim.name.as_str() {
        "step_1" => Act::FailAndWait,
        _ => Act::Complete(json!({})),
    });
    assert_eq!(tasks(&mut session, "tasks_active()"), [single]);
    assert_eq!(session.task_state(fresh), "complete");
}

#[test]
fn tasks_with_tags_need_all_of_them() {
    let (_database, mut session) = database();
    let mut tagged = |tags: &str| -> Uuid {
        session.one(
            "SELECT tasker.create_task('small_diamond', tags => $1::text::jsonb)",
            &[&tags],
        )
    };
    let (both, one, _none) = (
        tagged(r#"["eu", "billing"]"#),
        tagged(r#"["eu"]"#),
        tagged("[]"),
    );
    for (scope, expected) in [
        ("tasks_with_tag('eu')", vec![both, one]),
        ("tasks_with_tag('billing')", vec![both]),
        ("tasks_with_tag('bill')", vec![]),
        ("tasks_with_tags('[\"eu\", \"billing\"]')", vec![both]),
        ("tasks_with_tags('[]')", vec![both, one]),
        ("tasks_with_tags('{\"eu\": 1}')", vec![]),
    ] {
        assert_eq!(tasks(&mut session, scope), expected, "{scope}");
    }
}

#[test]
fn tasks_by_annotation_find_texts_numbers_and_booleans() {
    let (_database, mut session) = database();
    session.execute("INSERT INTO tasker.annotation_types (name) VALUES ('review'), ('other')");
    let mut noted = |kind: &str, note: &str| -> Uuid {
        let task = session.create("small_diamond");
        session.query(
            "INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation)
             SELECT $1, annotation_type_id, $3::text::jsonb FROM tasker.annotation_types WHERE name = $2",
            &[&task, &kind, &note],
        );
        task
    };
    let text = noted("review", r#"{"by": "ann", "level": "3"}"#);
    let number = noted("review", r#"{"by": "bob", "level": 3, "odd key": 1.50}"#);
    let truth = noted("review", r#"{"level": true}"#);
    noted("other", r#"{"by": "ann"}"#);
    noted("review", r#"["by", "ann"]"#);
    for (scope, expected) in [
        ("'review', 'by', 'ann'", vec![text]),
        ("' review ', 'by', 'ann'", vec![text]),
        ("'review', 'level', '3'", vec![text, number]),
        ("'review', 'level', '3.0'", vec![]),
        ("'review', 'odd key', '1.50'", vec![number]),
        ("'review', 'odd key', '1.5'", vec![]),
        ("'review', 'level', 'true'", vec![truth]),
        ("'review', 'by', 'an'", vec![]),
        ("'unknown', 'by', 'ann'", vec![]),
        ("'review', 'by', ''' OR true --'", vec![]),
    ] {
        let scope = format!("tasks_by_annotation({scope})");
        assert_eq!(tasks(&mut session, &scope), expected, "{scope}");
    }
}

#[test]
fn tasks_with_all_associated_show_steps_annotations_and_log_at_once() {
    let (_database, mut session) = database();
    let task = session.create("small_diamond");
    session.work_through("start");
    session.execute("INSERT INTO tasker.annotation_types (name) VALUES ('review')");
    session.query(
        "INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation) VALUES ($1, 1, '{\"by\": \"ann\"}')",
        &[&task],
    );
    session.create("small_diamond");
    let shown: String = session.one(
        "SELECT concat_ws(' / ', named_task ->> 'name', named_task -> 'task_namespace' ->> 'name',
                          (SELECT string_agg(s ->> 'name' || ' ' || (s ->> 'state') || ' ' || jsonb_array_length(s -> 'parents')
                                             || jsonb_array_length(s -> 'children'), ', ') FROM jsonb_array_elements(workflow_steps) s),
                          task_annotations -> 0 ->> 'annotation_type', task_annotations -> 0 -> 'annotation' ->> 'by',
                          (SELECT string_agg(l ->> 'to_state', ', ') FROM jsonb_array_elements(task_transitions) l))
         FROM tasker.tasks_with_all_associated() WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(
        shown,
        "small_diamond / default / start complete 02, b pending 11, c pending 11, end pending 20 / review / ann / pending, in_progress"
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.tasks_with_all_associated()",
            &[]
        ),
        2
    );
}

// ---- steps -----------------------------------------------------------------------------------------------------------

#[test]
fn steps_by_state_and_of_a_task() {
    let (_database, mut session) = database();
    let task = session.create("small_diamond");
    session.work_through("start");
    session.claim_one("holder");
    let other = session.create("small_diamond");
    session.query("SELECT tasker.cancel_task($1)", &[&other]);
    for (scope, expected) in [
        ("workflow_steps_completed()", vec!["start"]),
        ("workflow_steps_failed()", vec![]),
        ("workflow_steps_pending()", vec!["b", "c", "end"]),
        (
            "workflow_steps_by_current_state('pending')",
            vec!["c", "end"],
        ),
        ("workflow_steps_by_current_state('in_progress')", vec!["b"]),
        (
            "workflow_steps_by_current_state('cancelled')",
            vec!["start", "b", "c", "end"],
        ),
    ] {
        assert_eq!(names(&mut session, scope), expected, "{scope}");
    }
    let of_task = format!("workflow_steps_for_task('{task}')");
    assert_eq!(names(&mut session, &of_task), ["start", "b", "c", "end"]);
    assert_eq!(tasks(&mut session, &of_task), [task; 4]);
    assert_eq!(
        names(&mut session, "workflow_steps_by_current_state()").len(),
        8
    );
    session.query(
        "SELECT tasker.resolve_step_manually($1)",
        &[&tasker_step(task, 3)],
    );
    assert_eq!(
        names(&mut session, "workflow_steps_completed()"),
        ["start", "c"]
    );
}

#[test]
fn steps_of_tasks_since_leave_out_earlier_tasks() {
    let (_database, mut session) = database();
    session.create("small_diamond");
    let mark = now(&mut session);
    let late = session.create("small_diamond");
    let scope = format!("workflow_steps_for_tasks_since('{mark}')");
    assert_eq!(tasks(&mut session, &scope), [late; 4]);
}

// ---- edges and the graph -----------------------------------------------------------------------------------------------

#[test]
fn edges_of_parents_children_and_siblings() {
    let (_database, mut session) = database();
    Template::new("odd")
        .step("start", &[])
        .step("also", &[])
        .step("b", &["start"])
        .step("c", &["start"])
        .step("d", &["start", "also"])
        .step("e", &["also", "start"])
        .register(&mut session);
    session.create("odd");
    let task = session.create("odd");
    let mut of = |scope: &str, step: &str| {
        let step = session.step(task, step);
        edges(
            &mut session,
            &format!("workflow_step_edges_{scope}('{step}')"),
        )
    };
    assert_eq!(of("children_of", "also"), ["also > d", "also > e"]);
    assert_eq!(of("children_of", "b"), [""; 0]);
    assert_eq!(of("parents_of", "d"), ["also > d", "start > d"]);
    assert_eq!(of("parents_of", "start"), [""; 0]);
    assert_eq!(of("siblings_of", "b"), ["start > c"]);
    assert_eq!(of("siblings_of", "d"), ["also > e", "start > e"]);
    assert_eq!(of("siblings_of", "start"), [""; 0]);
    assert_eq!(
        of("provides_to_children", "also"),
        ["also > d", "also > e", "start > d", "start > e"]
    );
    assert_eq!(of("provides_to_children", "e"), [""; 0]);
    let all = format!("workflow_step_edges_provides_edges() WHERE task_uuid = '{task}'");
    assert_eq!(
        session.count(&format!("SELECT count(*) FROM tasker.{all}"), &[]),
        6
    );
    let unknown = Uuid::now_v7();
    for scope in [
        "children_of",
        "parents_of",
        "siblings_of",
        "provides_to_children",
    ] {
        let scope = format!("workflow_step_edges_{scope}('{unknown}')");
        assert_eq!(edges(&mut session, &scope), [""; 0]);
    }
}

#[test]
fn relationships_of_roots_leaves_parents_children_and_siblings() {
    let (_database, mut session) = database();
    session.create("small_diamond");
    let task = session.create("small_diamond");
    let b = session.step(task, "b");
    let start = session.step(task, "start");
    let mut of = |scope: &str| -> Vec<String> {
        session.all(
            &format!(
                "SELECT w.name FROM tasker.{scope} r JOIN tasker.workflow_steps w USING (step_uuid)
                 WHERE r.task_uuid = $1 ORDER BY w.step_no"
            ),
            &[&task],
        )
    };
    assert_eq!(
        of(&format!("step_dag_relationships_for_task('{task}')")),
        ["start", "b", "c", "end"]
    );
    assert_eq!(of("step_dag_relationships_root_steps()"), ["start"]);
    assert_eq!(of("step_dag_relationships_leaf_steps()"), ["end"]);
    assert_eq!(
        of("step_dag_relationships_with_parents()"),
        ["b", "c", "end"]
    );
    assert_eq!(
        of("step_dag_relationships_with_children()"),
        ["start", "b", "c"]
    );
    assert_eq!(
        of(&format!("step_dag_relationships_siblings_of('{b}')")),
        ["c"]
    );
    assert_eq!(
        of(&format!("step_dag_relationships_siblings_of('{start}')")),
        [""; 0]
    );
}

// ---- the log ---------------------------------------------------------------------------------------------------------

#[test]
fn the_log_of_tasks_by_state_time_and_metadata() {
    let (_database, mut session) = database();
    let task = session.create("small_diamond");
    let other = session.create("small_diamond");
    let mark = now(&mut session);
    session.query(
        "SELECT tasker.cancel_task($1, 'no longer needed')",
        &[&task],
    );
    let mut states = |scope: &str| -> Vec<String> {
        session.all(&format!("SELECT to_state FROM tasker.{scope}"), &[])
    };
    assert_eq!(
        states("task_transitions_recent()"),
        ["cancelled", "pending", "pending"]
    );
    assert_eq!(
        states("task_transitions_to_state('cancelled')"),
        ["cancelled"]
    );
    assert_eq!(states("task_transitions_to_state('error')"), [""; 0]);
    assert_eq!(
        states("task_transitions_with_metadata_key('reason')"),
        ["cancelled"]
    );
    assert_eq!(
        states("task_transitions_with_metadata_key('nothing')"),
        [""; 0]
    );
    let value = |json: &str| format!("task_transitions_with_metadata_value('reason', '{json}')");
    assert_eq!(states(&value("\"no longer needed\"")), ["cancelled"]);
    assert_eq!(states(&value("\"no longer\"")), [""; 0]);
    assert_eq!(states(&value("1")), [""; 0]);
    assert_eq!(
        states(&format!(
            "task_transitions_in_time_range('{mark}', 'infinity')"
        )),
        ["cancelled"]
    );
    assert_eq!(
        states(&format!(
            "task_transitions_in_time_range('2020-01-01', '{mark}')"
        ))
        .len(),
        2
    );
    assert_eq!(
        states(&format!(
            "task_transitions_in_time_range('infinity', '{mark}')"
        )),
        [""; 0]
    );
    let last = |task: Uuid, state: &str| {
        format!("task_transitions_most_recent_to_state('{task}', '{state}')")
    };
    assert_eq!(states(&last(task, "cancelled")), ["cancelled"]);
    assert_eq!(states(&last(other, "cancelled")), [""; 0]);
}

#[test]
fn metadata_values_of_every_json_type_are_found() {
    let (_database, mut session) = database();
    let task = session.create("small_diamond");
    let step = session.step(task, "start");
    session.query(
        "SELECT tasker.transition_step($1, 'error', '{\"s\": \"x\", \"n\": 1.0, \"t\": true, \"z\": null, \"a\": [1], \"o\": {\"k\": 1}}')",
        &[&step],
    );
    for (key, value, found) in [
        ("s", "\"x\"", 1),
        ("s", "\"y\"", 0),
        ("n", "1", 1),
        ("n", "\"1\"", 0),
        ("t", "true", 1),
        ("z", "null", 1),
        ("a", "[1]", 1),
        ("a", "[]", 0),
        ("o", "{\"k\": 1}", 1),
        ("o", "{}", 0),
        ("missing", "null", 0),
    ] {
        assert_eq!(
            session.count(
                "SELECT count(*) FROM tasker.workflow_step_transitions_with_metadata_value($1, $2::text::jsonb)",
                &[&key, &value]
            ),
            found,
            "{key} {value}"
        );
    }
}

#[test]
fn the_log_of_steps_by_state_task_and_step() {
    let (_database, mut session) = database();
    let task = session.create("small_diamond");
    let claim = session.claim_one("worker");
    session.fail(&claim);
    session.work_through("start");
    let step = session.step(task, "start");
    let mut states = |scope: &str| -> Vec<String> {
        session.all(
            &format!("SELECT to_state FROM tasker.workflow_step_transitions_{scope}"),
            &[],
        )
    };
    let story = ["complete", "in_progress", "pending", "error", "in_progress"];
    assert_eq!(states("recent()"), story);
    assert_eq!(
        states(&format!("recent() WHERE step_uuid = '{step}' LIMIT 2")),
        story[..2]
    );
    assert_eq!(states("to_state('error')"), ["error"]);
    assert_eq!(states("with_metadata_key('error_class')"), ["error"]);
    assert_eq!(
        states(&format!("for_task('{task}') ORDER BY id DESC")),
        story
    );
    assert_eq!(states(&format!("for_task('{}')", Uuid::now_v7())), [""; 0]);
    assert_eq!(states("in_time_range('2020-01-01', 'infinity')").len(), 5);
    assert_eq!(
        session.all::<i32>(
            "SELECT attempt FROM tasker.workflow_step_transitions_most_recent_to_state($1, 'in_progress')",
            &[&step]
        ),
        [2]
    );
    // Numbered from the oldest, and only the newest is the most recent.
    let numbers: Vec<String> = session.all(
        "SELECT sort_key || ' ' || most_recent FROM tasker.workflow_step_transitions WHERE step_uuid = $1 ORDER BY id",
        &[&step],
    );
    assert_eq!(
        numbers,
        ["10 false", "20 false", "30 false", "40 false", "50 true"]
    );
}

// ---- bad input -------------------------------------------------------------------------------------------------------

#[test]
fn every_scope_refuses_null_where_it_needs_a_value_and_states_that_do_not_exist() {
    let (_database, mut session) = database();
    let task = session.create("small_diamond");
    session.work(|_| Act::FailForGood);
    session.execute("INSERT INTO tasker.annotation_types (name) VALUES ('review')");
    for scope in [
        "tasks_in_namespace(NULL)",
        "tasks_with_task_name(NULL)",
        "tasks_with_version(NULL)",
        "tasks_created_since(NULL)",
        "tasks_completed_since(NULL)",
        "tasks_failed_since(NULL)",
        "tasks_with_tag(NULL)",
        "tasks_with_tags(NULL)",
        "tasks_by_annotation(NULL, 'k', 'v')",
        "tasks_by_annotation('review', NULL, 'v')",
        "tasks_by_annotation('review', 'k', NULL)",
        "workflow_steps_for_task(NULL)",
        "workflow_steps_completed_since(NULL)",
        "workflow_steps_failed_since(NULL)",
        "workflow_steps_for_tasks_since(NULL)",
        "workflow_step_edges_children_of(NULL)",
        "workflow_step_edges_parents_of(NULL)",
        "workflow_step_edges_siblings_of(NULL)",
        "workflow_step_edges_provides_to_children(NULL)",
        "step_dag_relationships_for_task(NULL)",
        "step_dag_relationships_siblings_of(NULL)",
        "task_transitions_to_state(NULL)",
        "task_transitions_with_metadata_key(NULL)",
        "task_transitions_in_time_range(NULL, now())",
        "task_transitions_in_time_range(now(), NULL)",
        "workflow_step_transitions_to_state(NULL)",
        "workflow_step_transitions_with_metadata_key(NULL)",
        "workflow_step_transitions_for_task(NULL)",
        "find_step_by_name(NULL, 'start')",
        "get_viable_steps(NULL)",
        "task_completion_stats(NULL)",
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.{scope}"), &[])
            .is("22004")
            .says(&["must not be null"]);
    }
    for scope in [
        "tasks_by_current_state('failed')",
        "workflow_steps_by_current_state('Pending')",
        "task_transitions_to_state('')",
        "workflow_step_transitions_to_state('skipped')",
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.{scope}"), &[])
            .is("22023")
            .says(&[
                "pending",
                "in_progress",
                "error",
                "complete",
                "cancelled",
                "resolved_manually",
            ]);
    }
    let last =
        format!("SELECT * FROM tasker.task_transitions_most_recent_to_state('{task}', 'gone')");
    session.fails(&last, &[]).is("22023");
}
