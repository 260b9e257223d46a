//! Scopes reach an index, and the caller's WHERE, ORDER BY and LIMIT reach the scope: 100,000 tasks, a million in the
//! long form.

use std::sync::OnceLock;

use tasker_client_tests::{Database, Session, Template, Value, json, scaled};

const TEMPLATES: usize = 20;

/// Functions that views ask row by row, and of the server; every other one in a plan is a scope that is not in place.
const READERS: [&str; 4] = [
    "steps_changed_between",
    "get_step_readiness_status",
    "unnest",
    "calculate_dependency_levels",
];

/// Many tasks of twenty templates, and fifty of another namespace of which a few have been worked on, lately.
fn filled() -> &'static Database {
    static FILLED: OnceLock<Database> = OnceLock::new();
    FILLED.get_or_init(|| {
        let database = Database::new();
        let mut session = database.connect();
        session.execute("SET statement_timeout = 0");
        let two = |name: &str| Template::new(name).step("first", &[]).step("second", &["first"]).step("third", &["first"]);
        for number in 1..=TEMPLATES {
            two(&format!("common_{number}")).register(&mut session);
        }
        two("rare").with("namespace_name", json!("rare")).with("version", json!("9.9.9")).register(&mut session);
        let each = scaled(100_000, 1_000_000) / TEMPLATES;
        for number in 1..=TEMPLATES {
            session.create_many(&format!("common_{number}"), each);
        }
        session.execute(
            "INSERT INTO tasker.annotation_types (name) VALUES ('note');
             INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation)
             SELECT task_uuid, 1, jsonb_build_object('number', row_number() OVER ()) FROM tasker.tasks LIMIT 20000;
             SELECT count(*) FROM tasker.create_tasks('rare', array_fill('{}'::jsonb, ARRAY[50]), namespace => 'rare', tags => '[\"x\", \"y\"]');
             CREATE TABLE public.mark AS SELECT clock_timestamp() AS at;
             SELECT tasker.complete_step(step_uuid, claim_number) FROM (SELECT * FROM tasker.claim_steps('w', '{rare}', 20) OFFSET 0) c;
             SELECT tasker.fail_step(step_uuid, claim_number, 'no', retryable => false) FROM (SELECT * FROM tasker.claim_steps('w', '{rare}', 10) OFFSET 0) c;",
        );
        session.execute("VACUUM ANALYZE");
        database
    })
}

/// Replaces what stands for rows of the database.
fn with_values(session: &mut Session, sql: &str) -> String {
    let values: Value = session.one(
        "SELECT jsonb_build_object('$mark', m.at, '$later', m.at + interval '2 minutes', '$task', t.task_uuid,
                                   '$step', tasker.step_uuid(t.task_uuid, 1::smallint),
                                   '$second', tasker.step_uuid(t.task_uuid, 2::smallint))
         FROM public.mark m, (SELECT task_uuid FROM tasker.tasks_in_namespace('rare') LIMIT 1) t",
        &[],
    );
    let mut sql = sql.to_owned();
    for (name, value) in values.as_object().into_iter().flatten() {
        sql = sql.replace(name, &format!("'{}'", value.as_str().unwrap_or_default()));
    }
    sql
}

/// How large tables are read, as `kind relation`, and the buffers that the whole statement touched.
fn reads(session: &mut Session, sql: &str) -> (Vec<String>, i64) {
    let sql = with_values(session, sql);
    // The first call loads the catalog and the templates.
    session.query(&sql, &[]);
    let plan: Value = session.one(
        &format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"),
        &[],
    );
    let top = &plan[0]["Plan"];
    let mut found = vec![];
    walk(top, &mut found);
    let buffers = ["Shared Hit Blocks", "Shared Read Blocks"]
        .iter()
        .filter_map(|name| top[name].as_i64())
        .sum();
    (found, buffers)
}

fn walk(node: &Value, found: &mut Vec<String>) {
    let relation = node["Relation Name"].as_str().unwrap_or_default();
    let large = ["tasks", "steps", "transitions", "task_annotations"].contains(&relation);
    if large || node["Node Type"] == "Function Scan" {
        let kind = node["Node Type"].as_str().unwrap_or_default();
        let name = if large {
            relation
        } else {
            node["Function Name"].as_str().unwrap_or_default()
        };
        found.push(format!("{kind} {name}"));
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        walk(child, found);
    }
}

/// What is wrong with how a statement reads: a scope that is not in place, or a walk over a whole table.
fn faults(session: &mut Session, sql: &str, most_buffers: i64) -> Vec<String> {
    let (reads, buffers) = reads(session, sql);
    println!("{buffers:>6} buffers {reads:?}: {sql}");
    let mut faults: Vec<String> = reads
        .iter()
        .filter(|read| {
            read.starts_with("Seq Scan")
                || read.starts_with("Function Scan")
                    && !READERS.iter().any(|reader| read.ends_with(reader))
        })
        .map(|read| format!("{read}: {sql}"))
        .collect();
    if reads.is_empty() {
        faults.push(format!("reads nothing: {sql}"));
    }
    if buffers > most_buffers {
        faults.push(format!("{buffers} buffers: {sql}"));
    }
    faults
}

#[test]
fn indexed_scopes_read_no_table_from_end_to_end() {
    let mut session = filled().connect();
    session.execute("SET statement_timeout = 0");
    let mut told = vec![];
    for (scope, most_buffers) in [
        ("tasks_in_namespace('rare')", 1_000),
        ("tasks_with_task_name('rare')", 1_000),
        ("tasks_with_task_name('common_7')", i64::MAX),
        ("tasks_with_version('9.9.9')", 1_000),
        ("tasks_created_since($later)", 100),
        ("tasks_completed_since($mark)", 3_000),
        ("tasks_failed_since($mark)", 3_000),
        ("tasks_by_annotation('note', 'number', '77')", 100),
        ("tasks_with_tag('x')", 1_000),
        ("tasks_with_tags('[\"x\", \"y\"]')", 1_000),
        ("workflow_steps_for_task($task)", 100),
        ("workflow_steps_for_tasks_since($later)", 100),
        ("workflow_steps_completed_since($mark)", 3_000),
        ("workflow_steps_failed_since($mark)", 3_000),
        ("workflow_step_edges_children_of($step)", 100),
        ("workflow_step_edges_parents_of($second)", 100),
        ("workflow_step_edges_siblings_of($second)", 100),
        ("workflow_step_edges_provides_to_children($step)", 100),
        ("step_dag_relationships_for_task($task)", 100),
        ("step_dag_relationships_siblings_of($second)", 100),
        ("task_transitions_in_time_range($mark, 'infinity')", 3_000),
        (
            "workflow_step_transitions_in_time_range($mark, 'infinity')",
            3_000,
        ),
        ("workflow_step_transitions_for_task($task)", 100),
    ] {
        told.extend(faults(
            &mut session,
            &format!("SELECT * FROM tasker.{scope}"),
            most_buffers,
        ));
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn where_order_by_and_limit_of_the_caller_reach_the_scope() {
    let mut session = filled().connect();
    session.execute("SET statement_timeout = 0");
    let mut told = vec![];
    for sql in [
        "SELECT * FROM tasker.tasks_in_namespace('rare') ORDER BY task_uuid DESC LIMIT 10",
        "SELECT * FROM tasker.tasks_in_namespace('default') ORDER BY task_uuid DESC LIMIT 10",
        "SELECT * FROM tasker.tasks_with_version('0.1.0') ORDER BY task_uuid DESC LIMIT 10",
        "SELECT * FROM tasker.tasks_created_since('2020-01-01') ORDER BY task_uuid LIMIT 10",
        "SELECT * FROM tasker.tasks_by_current_state('pending') WHERE task_uuid = $task",
        "SELECT * FROM tasker.tasks_active() WHERE task_uuid = $task",
        "SELECT * FROM tasker.tasks_with_all_associated() WHERE task_uuid = $task",
        "SELECT * FROM tasker.workflow_steps_pending() WHERE task_uuid = $task",
        "SELECT * FROM tasker.workflow_steps_completed() WHERE step_uuid = $step",
        "SELECT * FROM tasker.workflow_steps_by_current_state('error') WHERE task_uuid = $task",
        "SELECT * FROM tasker.workflow_step_edges_provides_edges() WHERE task_uuid = $task",
        "SELECT * FROM tasker.step_dag_relationships_leaf_steps() WHERE task_uuid = $task",
        "SELECT * FROM tasker.task_transitions_recent() WHERE task_uuid = $task LIMIT 1",
        "SELECT * FROM tasker.task_transitions_to_state('error') WHERE task_uuid = $task",
        "SELECT * FROM tasker.workflow_step_transitions_recent() WHERE step_uuid = $step LIMIT 1",
        "SELECT * FROM tasker.workflow_step_transitions_with_metadata_key('error_class') WHERE task_uuid = $task",
        "SELECT * FROM tasker.workflow_step_transition_details WHERE step_uuid = $step",
        "SELECT * FROM tasker.workflow_step_statuses WHERE task_uuid = $task",
    ] {
        // A scope by template asks for the templates at each row that it walks over, some twenty buffers.
        told.extend(faults(&mut session, sql, 2_000));
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

/// The check itself must be able to fail.
#[test]
fn a_scope_that_the_planner_cannot_put_in_place_is_found() {
    let mut session = filled().connect();
    session.execute(
        "CREATE OR REPLACE FUNCTION public.tasks_slow() RETURNS SETOF tasker.tasks LANGUAGE sql STABLE SET work_mem = '4MB'
         AS 'SELECT * FROM tasker.tasks'",
    );
    let sql = "SELECT * FROM public.tasks_slow() WHERE task_uuid = $task";
    assert_eq!(faults(&mut session, sql, 400).len(), 2);
    let sql = "SELECT * FROM tasker.tasks WHERE reason = 'none'";
    assert_eq!(faults(&mut session, sql, 400).len(), 2);
}
