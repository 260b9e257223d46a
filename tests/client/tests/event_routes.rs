//! The routes of events to telemetry.

use tasker_client_tests::{Database, Session};

/// The routes, a line for each.
fn routes(session: &mut Session, condition: &str) -> Vec<String> {
    session.all(
        &format!(
            "SELECT concat_ws('|', event, array_to_string(backends, '+'), enabled, sampling_rate, priority, metadata)
             FROM tasker.event_routes WHERE {condition} ORDER BY event COLLATE \"C\""
        ),
        &[],
    )
}

#[test]
fn the_routes_begin_with_the_22_defaults() {
    let database = Database::new();
    let mut session = database.connect();
    let counts: Vec<String> = session.all(
        "SELECT concat_ws('|', array_to_string(backends, '+'), enabled, sampling_rate, priority, count(*)) COLLATE \"C\" AS line
         FROM tasker.event_routes GROUP BY backends, enabled, sampling_rate, priority ORDER BY line",
        &[],
    );
    assert_eq!(
        counts,
        [
            "metrics|t|1|critical|1",
            "metrics|t|1|high|1",
            "trace+metrics|t|0.1|normal|1",
            "trace+metrics|t|1|high|2",
            "trace+metrics|t|1|normal|12",
            "trace|t|1|normal|5",
        ]
    );
    assert_eq!(
        routes(&mut session, "priority <> 'normal' OR sampling_rate < 1"),
        [
            "database.query_executed|trace+metrics|t|0.1|normal|{}",
            "memory.spike_detected|metrics|t|1|critical|{}",
            "observability.step.max_retries_reached|trace+metrics|t|1|high|{}",
            "observability.task.enqueue|metrics|t|1|high|{}",
            "performance.slow_operation|trace+metrics|t|1|high|{}",
        ]
    );
}

/// The default routes, by backend.
const DEFAULTS: [(&str, &[&str]); 3] = [
    (
        "trace+metrics",
        &[
            "task.initialize_requested",
            "task.start_requested",
            "task.completed",
            "task.failed",
            "step.execution_requested",
            "step.completed",
            "step.failed",
            "step.retry_requested",
            "workflow.viable_steps_discovered",
            "observability.step.backoff",
            "observability.step.skip",
            "observability.step.max_retries_reached",
            "database.query_executed",
            "batch.step_execution",
            "performance.slow_operation",
        ],
    ),
    (
        "metrics",
        &["observability.task.enqueue", "memory.spike_detected"],
    ),
    (
        "trace",
        &[
            "observability.task.finalize",
            "observability.step.find_viable",
            "observability.step.handle",
            "step.before_handle",
            "dependency.resolved",
        ],
    ),
];

#[test]
fn each_default_route_has_its_name_and_its_backends() {
    let database = Database::new();
    let mut session = database.connect();
    let mut expected: Vec<String> = DEFAULTS
        .iter()
        .flat_map(|(backends, events)| {
            events
                .iter()
                .map(move |event| format!("{event}|{backends}"))
        })
        .collect();
    expected.sort();
    assert_eq!(expected.len(), 22);
    let found: Vec<String> = session.all(
        "SELECT event || '|' || array_to_string(backends, '+') FROM tasker.event_routes ORDER BY event COLLATE \"C\"",
        &[],
    );
    assert_eq!(found, expected);
}

#[test]
fn what_a_call_does_not_give_stays_as_it_is() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SET ROLE tasker_admin");
    for (call, expected) in [
        (
            "'database.query_executed', priority => 'low'",
            "database.query_executed|trace+metrics|t|0.1|low|{}",
        ),
        (
            "'database.query_executed', enabled => false",
            "database.query_executed|trace+metrics|f|0.1|low|{}",
        ),
        (
            "'database.query_executed', backends => '{log}', sampling_rate => 0, metadata => '{\"team\": \"data\"}'",
            "database.query_executed|log|f|0|low|{\"team\": \"data\"}",
        ),
        // A route of an event that had none.
        ("'order.paid'", "order.paid|trace|t|1|normal|{}"),
        (
            "'order.paid', backends => '{}'",
            "order.paid||t|1|normal|{}",
        ),
    ] {
        session.execute(&format!("SELECT tasker.set_event_route({call})"));
        let event = call.split(',').next().expect("an event");
        assert_eq!(
            routes(&mut session, &format!("event = {event}")),
            [expected],
            "{call}"
        );
    }
    let count: i64 = session.one("SELECT count(*) FROM tasker.event_routes", &[]);
    assert_eq!(count, 23, "no event has two routes");
}

#[test]
fn a_route_that_means_nothing_is_refused() {
    let database = Database::new();
    let mut session = database.connect();
    for (call, code, message) in [
        ("NULL", "22004", "event must not be null"),
        ("''", "22023", "event name is empty"),
        (
            "'a.b', backends => '{trace,Metrics}'",
            "22023",
            "there is no backend \"Metrics\"",
        ),
        (
            "'a.b', backends => ARRAY[NULL]::text[]",
            "22023",
            "there is no backend NULL",
        ),
        (
            "'a.b', sampling_rate => -0.1",
            "22023",
            "sampling_rate -0.1 is out of range",
        ),
        (
            "'a.b', sampling_rate => 1.1",
            "22023",
            "sampling_rate 1.1 is out of range",
        ),
        (
            "'a.b', sampling_rate => 'NaN'",
            "22023",
            "sampling_rate NaN is out of range",
        ),
        (
            "'a.b', priority => 'urgent'",
            "22023",
            "there is no priority urgent",
        ),
        (
            "'a.b', metadata => '[]'",
            "22023",
            "metadata must be an object",
        ),
        (
            "'a.b', metadata => 'null'",
            "22023",
            "metadata must be an object",
        ),
    ] {
        let failure = session.fails(&format!("SELECT tasker.set_event_route({call})"), &[]);
        let failure = failure.is(code);
        assert!(
            failure.message.contains(message),
            "{call}: {}",
            failure.message
        );
    }
    assert_eq!(routes(&mut session, "event = 'a.b'"), [""; 0]);
}

#[test]
fn readers_see_routes_and_administrators_change_them() {
    let database = Database::new();
    let mut session = database.connect();
    for role in ["reader", "operator", "worker"] {
        session.execute(&format!("SET ROLE tasker_{role}"));
        session
            .fails("SELECT tasker.set_event_route('order.paid')", &[])
            .is("42501");
        if role != "worker" {
            assert_eq!(routes(&mut session, "true").len(), 22);
        }
        session.execute("RESET ROLE");
    }
}

fn share(session: &mut Session, event: &str, backend: &str) -> f64 {
    session.one("SELECT tasker.event_share($1, $2)", &[&event, &backend])
}

#[test]
fn a_change_of_a_route_reaches_sessions_that_know_the_routes() {
    let database = Database::new();
    let (mut admin, mut other) = (database.connect(), database.connect());
    assert_eq!(share(&mut other, "task.completed", "log"), 0.0);
    assert_eq!(share(&mut other, "task.completed", "trace"), 1.0);

    admin.execute("BEGIN");
    admin.execute("SELECT tasker.set_event_route('task.completed', backends => '{log}', sampling_rate => 0.5)");
    assert_eq!(share(&mut admin, "task.completed", "log"), 0.5);
    assert_eq!(share(&mut other, "task.completed", "log"), 0.0);
    admin.execute("COMMIT");
    assert_eq!(share(&mut other, "task.completed", "log"), 0.5);
    assert_eq!(share(&mut other, "task.completed", "trace"), 0.0);

    admin.execute("BEGIN");
    admin.execute("SELECT tasker.set_event_route('task.completed', enabled => false)");
    assert_eq!(share(&mut admin, "task.completed", "log"), 0.0);
    admin.execute("ROLLBACK");
    assert_eq!(share(&mut admin, "task.completed", "log"), 0.5);
}

#[test]
fn an_old_snapshot_does_not_make_a_session_forget_a_change() {
    let database = Database::new();
    let (mut admin, mut other) = (database.connect(), database.connect());
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(share(&mut other, "task.failed", "log"), 0.0);
    admin.execute("SELECT tasker.set_event_route('task.failed', backends => '{log}')");
    assert_eq!(share(&mut other, "task.failed", "log"), 0.0);
    other.execute("COMMIT");
    assert_eq!(share(&mut other, "task.failed", "log"), 1.0);
}

#[test]
fn the_share_of_all_events_and_the_names_left_out_hold_for_every_route() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SET tasker.event_sampling_rate = 0.25");
    assert_eq!(share(&mut session, "task.completed", "trace"), 0.25);
    assert_eq!(share(&mut session, "order.paid", "metrics"), 0.25);
    session.execute("SET tasker.filtered_events = 'task.started, order.paid'");
    for event in ["task.started", "task.start_requested", "order.paid"] {
        for backend in ["trace", "metrics", "log"] {
            assert_eq!(share(&mut session, event, backend), 0.0, "{event}");
        }
    }
    assert_eq!(share(&mut session, "task.completed", "trace"), 0.25);
    for bad in ["a,,b", ", order.paid", ","] {
        let failure = session.fails(&format!("SET tasker.filtered_events = '{bad}'"), &[]);
        let failure = failure.is("22023");
        assert!(failure.hint.contains("commas"), "{}", failure.hint);
    }
}

#[test]
fn a_share_of_what_cannot_be_is_refused() {
    let database = Database::new();
    let mut session = database.connect();
    for (call, code) in [
        ("'', 'trace'", "22023"),
        ("'task.failed', 'disk'", "22023"),
        ("NULL, 'trace'", "22004"),
    ] {
        session
            .fails(&format!("SELECT tasker.event_share({call})"), &[])
            .is(code);
    }
}
