//! Tasks of thousands of steps, and calls about as many: the work grows with the number of steps and edges, not with its square.

use std::time::Duration;

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Database, Session, Template, Uuid, Value, inside, json, patience, scaled, shapes,
};

/// How long the session's backend has run: other processes of a busy machine do not count.
fn cpu_time(session: &mut Session) -> Duration {
    let pid = session.pid();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it lives here");
    let nanoseconds = stat.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// The shortest of three runs.
fn takes(session: &mut Session, sql: &str) -> Duration {
    let run = |session: &mut Session| {
        let before = cpu_time(session);
        session.query(sql, &[]);
        cpu_time(session) - before
    };
    (0..3).map(|_| run(session)).min().unwrap_or_default()
}

/// A step, `count` steps that wait for it, and one that waits for all of these.
fn fan_in(name: &str, count: usize) -> Template {
    let names: Vec<String> = (1..=count).map(|number| format!("step_{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let root = Template::new(name).step("root", &[]);
    names
        .iter()
        .fold(root, |template, name| template.step(name, &["root"]))
        .step("join", &names)
}

#[test]
fn the_edges_and_graphs_of_8_002_steps_with_a_fan_in_take_less_than_a_second() {
    let database = Database::new();
    let mut session = database.connect();
    inside::without_statistics(&mut session);
    fan_in("fan_in", 8_000).register(&mut session);
    let task = session.create("fan_in");
    graphs_take_less_than_a_second(&mut session, task);
    session.execute("ANALYZE");
    graphs_take_less_than_a_second(&mut session, task);
}

fn graphs_take_less_than_a_second(session: &mut Session, task: Uuid) {
    let [root, one, join] = ["root", "step_7", "join"].map(|name| session.step(task, name));
    let of_task = format!("WHERE task_uuid = '{task}'");
    for (source, rows) in [
        (format!("workflow_step_edges {of_task}"), 16_000),
        (format!("workflow_step_edges_children_of('{root}')"), 8_000),
        (format!("workflow_step_edges_parents_of('{join}')"), 8_000),
        (format!("workflow_step_edges_siblings_of('{one}')"), 7_999),
        (
            format!("workflow_step_edges_provides_to_children('{one}')"),
            8_000,
        ),
        (format!("step_dag_relationships {of_task}"), 8_002),
        (format!("step_dag_relationships_for_task('{task}')"), 8_002),
        (
            format!("step_dag_relationships_siblings_of('{one}')"),
            7_999,
        ),
        (format!("calculate_dependency_levels('{task}')"), 8_002),
        (format!("dependency_levels_hash('{task}')"), 1),
        ("template_graph('fan_in')".to_owned(), 8_002),
        (format!("task_diagram_nodes {of_task}"), 8_002),
        (format!("task_diagram_edges {of_task}"), 16_000),
        (format!("task_diagram('{task}')"), 1),
        (format!("task_diagram('{task}', 'dot')"), 1),
        ("template_diagram('fan_in')".to_owned(), 1),
        (format!("task_blockers('{task}')"), 16_001),
        (format!("task_parallelism('{task}')"), 3),
    ] {
        // Every column is computed: `count(*)` alone would leave them out.
        let sql = format!("SELECT count(r::text) FROM (SELECT * FROM tasker.{source}) r");
        assert_eq!(session.count(&sql, &[]), rows, "{source}");
        let took = takes(session, &sql);
        println!("{source}: {took:?}");
        assert!(took < patience(1), "{source}: {took:?}");
    }
}

/// Layers of 30 steps, each of which waits for the whole layer before.
fn dense(name: &str, layers: usize) -> String {
    let of = |layer: usize| -> Vec<String> { (0..30).map(|no| format!("{layer}_{no}")).collect() };
    let steps: Vec<Value> = (0..layers)
        .flat_map(|layer| {
            let before = if layer == 0 { vec![] } else { of(layer - 1) };
            let step =
                move |name| json!({"name": name, "handler": "h", "depends_on_steps": before});
            of(layer).into_iter().map(step)
        })
        .collect();
    json!({"name": name, "steps": steps}).to_string()
}

#[test]
fn a_task_of_few_steps_and_very_many_edges_is_analysed_in_less_than_2_seconds() {
    let database = Database::new();
    let mut session = database.connect();
    inside::without_statistics(&mut session);
    session.query(
        "SELECT tasker.register_template($1)",
        &[&dense("dense", 100)],
    );
    let task = session.create("dense");
    for source in [
        format!("analyze_task('{task}')"),
        "analyze_template('dense')".to_owned(),
        format!("task_schedule('{task}')"),
        format!("task_critical_path('{task}')"),
        format!("task_bottlenecks('{task}')"),
        format!("task_error_chains('{task}')"),
        format!("task_parallelism('{task}')"),
        format!("task_blockers('{task}')"),
    ] {
        let sql = format!("SELECT count(r::text) FROM (SELECT * FROM tasker.{source}) r");
        let took = takes(&mut session, &sql);
        println!("{source}: {took:?}");
        assert!(took < patience(2), "{source}: {took:?}");
    }
    let length = format!("SELECT length(tasker.analyze_task('{task}')::text)");
    let length = session.count(&length, &[]);
    assert!(length < 2_000_000, "{length} characters");
}

#[test]
fn a_template_of_too_many_edges_is_refused_with_the_limit_and_at_once() {
    let database = Database::new();
    let mut session = database.connect();
    session
        .fails(
            "SELECT tasker.register_template($1)",
            &[&dense("dense", 113)],
        )
        .is("42P17")
        .says(&["100800 dependencies", "at most 100000"]);
    let before = cpu_time(&mut session);
    let text = dense("dense", 1_000);
    session
        .fails("SELECT tasker.register_template($1)", &[&text])
        .is("42P17")
        .says(&["899100 dependencies"]);
    let took = cpu_time(&mut session) - before;
    println!("refused after {took:?}");
    assert!(took < patience(10), "{took:?}");
}

/// What one report of all these claims costs each of them.
fn reported(session: &mut Session, claims: &[Claim]) -> Duration {
    let reports: Vec<Value> = claims.iter().map(|claim| claim.done(json!({}))).collect();
    let report =
        "SELECT count(*) FROM tasker.report_steps('worker', $1) WHERE outcome = 'complete'";
    let before = cpu_time(session);
    let accepted = session.count(report, &[&Value::Array(reports)]);
    let took = cpu_time(session) - before;
    assert_eq!(accepted, claims.len() as i64);
    took / claims.len() as u32
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// As many ready steps as `count`, each of a task of its own or all of one.
fn create(session: &mut Session, shape: &str, count: usize) {
    if shape == "tasks" {
        session.create_many("one", count);
    } else {
        session.create(&format!("wide_{count}"));
        let root = session.claim_one("worker");
        session.complete(&root, &json!({}));
    }
}

#[test]
fn a_claim_and_a_report_of_10_000_steps_cost_each_no_more_than_of_1_000() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SET statement_timeout = 0");
    shapes::chain("one", 1).register(&mut session);
    for count in [1_000, 10_000] {
        fan_in(&format!("wide_{count}"), count).register(&mut session);
    }
    for shape in ["tasks", "steps of a task"] {
        let (mut claims_times, mut times) = ([vec![], vec![]], [vec![], vec![]]);
        for round in 0..=scaled(3, 9) {
            for (which, count) in [1_000, 10_000].into_iter().enumerate() {
                create(&mut session, shape, count);
                let before = cpu_time(&mut session);
                let claims = session.claim(&Ask::by("worker", 10_000));
                let claimed = (cpu_time(&mut session) - before) / count as u32;
                assert_eq!(claims.len(), count);
                let time = reported(&mut session, &claims);
                // The first round fills the caches.
                if round > 0 {
                    claims_times[which].push(claimed);
                    times[which].push(time);
                }
                for join in session.claim_all("worker") {
                    session.complete(&join, &json!({}));
                }
            }
        }
        for (what, times) in [("claim", claims_times), ("report", times)] {
            let [few, many] = times.map(median);
            println!("{what} of {shape}: {few:?} each of 1,000, {many:?} each of 10,000");
            assert!(
                many < few.mul_f64(1.5),
                "{what} of {shape}: {few:?} and {many:?}"
            );
        }
    }
}

/// The call is made within 2 s; the number of its rows.
#[track_caller]
fn at_once(session: &mut Session, call: &str) -> i64 {
    let before = cpu_time(session);
    let rows = session.count(&format!("SELECT count(*) FROM tasker.{call}"), &[]);
    let took = cpu_time(session) - before;
    let shown: String = call.chars().take(100).collect();
    println!("{shown}: {took:?}");
    assert!(took < patience(2), "{shown}: {took:?}");
    rows
}

#[test]
fn every_operator_function_on_10_000_steps_of_a_fresh_database_takes_less_than_2_seconds() {
    // Never analyzed, and analyzed while the tables were empty.
    for before in ["", "VACUUM ANALYZE"] {
        let database = Database::new();
        let mut session = database.connect();
        session.execute("SET statement_timeout = 0");
        inside::without_any_statistics(&mut session);
        if !before.is_empty() {
            session.execute(before);
        }
        fan_in("wide", 9_998).register(&mut session);
        operators_of_tasks(&mut session);
        operators_of_steps(&mut session);
        operators_of_many_tasks(&mut session);
        operators_of_claims(&mut session);
    }
}

fn operators_of_tasks(session: &mut Session) {
    for ending in ["cancel_task('{}')", "resolve_task_manually('{}')"] {
        let task = session.create("wide").to_string();
        at_once(session, &format!("finalize_task('{task}')"));
        at_once(session, &format!("transition_task('{task}', 'error')"));
        at_once(session, &format!("retry_task('{task}')"));
        if ending.starts_with("resolve") {
            at_once(session, &format!("try_transition_task('{task}', 'error')"));
        }
        at_once(session, &ending.replace("{}", &task));
        at_once(session, &format!("rerun_task('{task}')"));
    }
    for call in ["pause_namespace('default')", "resume_namespace('default')"] {
        at_once(session, call);
    }
}

fn operators_of_steps(session: &mut Session) {
    let task = session.create("wide");
    let [root, one, join] = ["root", "step_7", "join"].map(|name| session.step(task, name));
    for call in [
        format!("transition_step('{root}', 'in_progress')"),
        format!("transition_step('{root}', 'error')"),
        format!("set_retry_limit('{root}', 0)"),
        format!("retry_step('{root}')"),
        format!("try_transition_step('{root}', 'in_progress')"),
        format!("try_transition_step('{root}', 'error')"),
        format!("resolve_step_manually('{root}')"),
        format!("cancel_step('{one}')"),
        format!("resolve_step_manually('{join}')"),
    ] {
        at_once(session, &call);
    }
    let task = session.create("wide");
    let root = session.step(task, "root");
    at_once(session, &format!("cancel_step('{root}')"));
    assert_eq!(session.task_state(task), "error");
}

fn operators_of_many_tasks(session: &mut Session) {
    let create = r#"SELECT tasker.create_task('wide', tags => '["many"]')"#;
    for function in ["retry_tasks", "resolve_tasks", "cancel_tasks"] {
        let task: Uuid = session.one(create, &[]);
        if function != "cancel_tasks" {
            at_once(session, &format!("transition_task('{task}', 'error')"));
        }
        for dry_run in [true, false] {
            let call = format!("{function}(tag => 'many', dry_run => {dry_run})");
            assert_eq!(at_once(session, &call), 1);
        }
        session.query("SELECT tasker.untag_task($1, '[\"many\"]')", &[&task]);
    }
}

fn operators_of_claims(session: &mut Session) {
    session.query("SELECT tasker.cancel_tasks('open', dry_run => false)", &[]);
    let task = session.create("wide");
    let root = session.claim_one("worker");
    session.complete(&root, &json!({}));
    let ask = Ask::by("worker", 10_000);
    assert_eq!(session.claim(&ask).len(), 9_998);
    at_once(session, "heartbeat('worker')");
    at_once(session, "release_steps('worker')");
    for fails in [true, false] {
        let claims = session.claim(&ask);
        assert_eq!(claims.len(), 9_998);
        let report = |claim: &Claim| match fails {
            true => claim.failed(false),
            false => claim.done(json!({})),
        };
        let reports = Value::Array(claims.iter().map(report).collect());
        let call = format!("report_steps('worker', '{reports}')");
        assert_eq!(at_once(session, &call), 9_998);
        if fails {
            at_once(session, &format!("retry_task('{task}')"));
        }
    }
    let join = session.claim_one("worker");
    session.complete(&join, &json!({}));
    at_once(session, &format!("rerun_task('{task}', 'join')"));
    at_once(
        session,
        &format!("cancel_task('{task}', cancel_completed => true)"),
    );
    let again = session.claim_one("worker");
    assert_eq!(again.name, "join");
    session.complete(&again, &json!({}));

    let task = session.create("wide");
    let root = session.claim_one("worker");
    session.complete(&root, &json!({}));
    assert_eq!(session.claim(&ask).len(), 9_998);
    inside::lease_ended(session, "worker", 1);
    for dry_run in [true, false] {
        let call = format!("force_release_stale_claims(dry_run => {dry_run})");
        assert_eq!(at_once(session, &call), 9_998);
    }
    at_once(session, &format!("cancel_task('{task}')"));
}
