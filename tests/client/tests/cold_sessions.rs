//! The first call of a session reads and compiles what later ones remember: a timeout ends it at once too.

use std::time::{Duration, Instant};

use tasker_client_tests::{Database, Session, Template, Value, json, patience};

/// How long after its timeout a call ended, in a session that knows nothing yet.
fn overrun(database: &Database, call: &str, timeout: u64) -> Duration {
    let mut session = database.connect();
    session.execute(&format!("SET statement_timeout = {timeout}"));
    let began = Instant::now();
    session.fails(call, &[]).is("57014");
    let took = began.elapsed();
    println!("{call}: {took:?}");
    took.saturating_sub(Duration::from_millis(timeout))
}

fn ends_at_once(database: &Database, call: &str) {
    for timeout in [20, 50, 200] {
        let overrun = overrun(database, call, timeout);
        // In a build for users less than 100 ms; one for tests is ten times as slow.
        assert!(
            overrun < patience(1) / 2,
            "{call} with {timeout} ms: {overrun:?} later"
        );
    }
}

#[test]
fn a_timeout_ends_the_analysis_of_the_largest_template_while_it_is_read() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        "SELECT tasker.register_template(jsonb_build_object('name', 'tree', 'steps', jsonb_agg(jsonb_build_object('name', 's' || n, 'handler', 'h',
             'depends_on_steps', CASE WHEN n = 1 THEN '[]'::jsonb ELSE jsonb_build_array('s' || n / 2) END)))::text)
         FROM generate_series(1, 32767) n",
    );
    let task = session.create("tree");
    for function in [
        "analyze_task",
        "task_schedule",
        "task_blockers",
        "task_bottlenecks",
    ] {
        ends_at_once(
            &database,
            &format!("SELECT count(*) FROM tasker.{function}('{task}')"),
        );
    }
    ends_at_once(&database, "SELECT tasker.create_task('tree')");
}

fn with_schema(session: &mut Session, name: &str, schema: &Value) {
    Template::new(name)
        .step("a", &[])
        .with("input_schema", schema.clone())
        .register(session);
}

#[test]
fn a_timeout_ends_a_task_while_the_schema_of_its_context_is_compiled() {
    let database = Database::new();
    let mut session = database.connect();
    let pattern = |n: usize| format!("^(?:[a-z]{{1,100}}){{{}}}x{{{n}}}$", 40 + n % 50);
    let patterns: Vec<Value> = (0..200).map(|n| json!({"pattern": pattern(n)})).collect();
    let names: serde_json::Map<String, Value> = (0..200).map(|n| (pattern(n), json!({}))).collect();
    for (name, schema) in [
        (
            "patterns",
            json!({"properties": {"a": {"anyOf": patterns}}}),
        ),
        ("names", json!({"patternProperties": names})),
    ] {
        with_schema(&mut session, name, &schema);
        ends_at_once(
            &database,
            &format!("SELECT tasker.create_task('{name}', '{{\"a\": \"b\"}}')"),
        );
    }
}
