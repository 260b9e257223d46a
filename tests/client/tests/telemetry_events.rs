//! What the engine tells of its own telemetry, and what subscribers of earlier engines ask of an event.

use std::collections::{BTreeMap, BTreeSet};

use tasker_client_tests::exporter::Exporter;
use tasker_client_tests::exports::wait_for;
use tasker_client_tests::receiver::{Answer, Receiver};
use tasker_client_tests::server::Server;
use tasker_client_tests::{
    Database, Session, Template, Uuid, Value, database, inside, json, patience, shapes, started,
};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::{Budget, Host};

/// Name and payload of each event that the subscriber gets, acknowledged.
fn got(session: &mut Session) -> Vec<(String, Value)> {
    let rows = session.query(
        "SELECT event_id, name, payload FROM tasker.poll_events('audit', 1000)",
        &[],
    );
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    session.query("SELECT tasker.ack_events('audit', $1)", &[&ids]);
    rows.iter().map(|row| (row.get(1), row.get(2))).collect()
}

/// The last segments of their names, with the exporter.
fn lines(session: &mut Session) -> Vec<String> {
    let line = |(name, payload): (String, Value)| {
        let word = name.rsplit('.').next().unwrap_or_default();
        format!("{word} {}", payload["exporter"].as_str().unwrap_or("-"))
    };
    got(session).into_iter().map(line).collect()
}

fn audited() -> (Database, Session) {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    session.query(
        "SELECT tasker.subscribe('audit', '{tasker.telemetry.*}')",
        &[],
    );
    (database, session)
}

fn record(session: &mut Session, exporter: &str, event: &str, details: &Value) {
    session.query(
        "SELECT tasker.record_export($1, $2, $3)",
        &[&exporter, &event, details],
    );
}

/// Counts of sessions that the duty folds.
fn many_counts(session: &mut Session) {
    session.execute(
        "INSERT INTO tasker_engine.metric_counts
         SELECT clock_timestamp() - interval '1 hour', 0, false, '{1}', '{1}' FROM generate_series(1, 150)",
    );
}

#[test]
fn each_event_of_the_group_export_reaches_a_subscriber_with_a_payload_of_its_schema() {
    let (_database, mut session) = audited();
    let details = json!({
        "format": "otlp", "duration": 1.5, "size_bytes": 10, "metrics_count": 3, "error_message": "no answer",
        "exception_class": "ConnectTimeout", "retryable": true, "endpoint": "collector",
    });
    for event in [
        "plugin_registered",
        "export_requested",
        "export_completed",
        "export_failed",
        "plugin_unregistered",
    ] {
        record(&mut session, "spans", event, &details);
    }
    many_counts(&mut session);
    session.query(&inside::duty("metrics"), &[]);
    let told = got(&mut session);
    for (name, payload) in &told {
        let schema: Value = session.one(
            "SELECT payload_schema FROM tasker.event_catalog WHERE name = $1",
            &[name],
        );
        let unlimited = || Budget::unlimited(Host::NONE);
        let schema = Schema::compile(&schema, &unlimited())
            .expect("a budget")
            .expect("a schema");
        let problems = schema
            .validate("payload", payload, unlimited())
            .expect("a budget");
        assert!(problems.is_empty(), "{name} {payload}: {problems:?}");
    }
    let fired: BTreeSet<String> = told.iter().map(|(name, _)| name.clone()).collect();
    let known: Vec<String> = session.all(
        "SELECT name FROM tasker.event_catalog WHERE event_group = 'export' AND fires_when !~ '^(Later|Never)'",
        &[],
    );
    assert_eq!(known.len(), 6);
    assert_eq!(fired, known.into_iter().collect());
    assert_eq!(told.len(), 6, "each once: {told:?}");
    let payloads: BTreeMap<String, Value> = told.into_iter().collect();
    let failed = &payloads["tasker.telemetry.export_failed"];
    assert_eq!(failed["exporter"], "spans");
    assert_eq!(failed["error_message"], "no answer");
    assert_eq!(
        failed["details"],
        json!({"size_bytes": 10, "metrics_count": 3, "endpoint": "collector"})
    );
    let synced = &payloads["tasker.telemetry.cache_synced"];
    assert_eq!(
        (&synced["source"], &synced["synced_count"]),
        (&json!("table"), &json!(150))
    );
    let error: Value = session.one("SELECT tasker.extract_error_metrics($1)", &[failed]);
    assert_eq!(error["error_type"], "timeout");
}

#[test]
fn the_duty_that_folds_counts_tells_once_a_run_and_only_if_it_did_something() {
    let (_database, mut session) = audited();
    session.query(&inside::duty("metrics"), &[]);
    assert_eq!(lines(&mut session), [""; 0]);
    many_counts(&mut session);
    many_counts(&mut session);
    session.query(&inside::duty("metrics"), &[]);
    session.query(&inside::duty("metrics"), &[]);
    let told = got(&mut session);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1["synced_count"], json!(300));
}

#[test]
fn places_in_shared_memory_that_are_given_back_are_told_once_a_run() {
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    let mut session = server.connect("postgres");
    database::install(&mut session);
    shapes::chain("one", 1).register(&mut session);
    session.query(
        "SELECT tasker.subscribe('audit', '{tasker.telemetry.*}')",
        &[],
    );
    session.create("one");
    session.execute("SET tasker.metrics_retention_hours = 0.0000001");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let done: i64 = session.one("SELECT tasker_engine.duty_metrics()", &[]);
    assert!(done > 0);
    session.query("SELECT tasker_engine.duty_metrics()", &[]);
    let told = got(&mut session);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "tasker.telemetry.cache_synced");
    assert_eq!(told[0].1["source"], "shared memory");
    assert_eq!(told[0].1["synced_count"], json!(done));
}

#[test]
fn an_exporter_that_says_the_same_again_is_heard_once_a_minute() {
    let (_database, mut session) = audited();
    for exporter in ["a", "b", "a"] {
        record(&mut session, exporter, "export_failed", &json!({}));
    }
    record(&mut session, "a", "export_completed", &json!({}));
    assert_eq!(
        lines(&mut session),
        ["export_failed a", "export_failed b", "export_completed a"]
    );
    inside::age_events(&mut session, "50 seconds");
    record(&mut session, "a", "export_failed", &json!({}));
    assert_eq!(lines(&mut session), [""; 0]);
    inside::age_events(&mut session, "10 seconds");
    record(&mut session, "a", "export_failed", &json!({}));
    assert_eq!(lines(&mut session), ["export_failed a"]);
    // A start is worth telling again sooner.
    record(&mut session, "a", "plugin_registered", &json!({}));
    record(&mut session, "a", "plugin_registered", &json!({}));
    inside::age_events(&mut session, "10 seconds");
    record(&mut session, "a", "plugin_registered", &json!({}));
    assert_eq!(
        lines(&mut session),
        ["plugin_registered a", "plugin_registered a"]
    );
}

#[test]
fn no_caller_floods_the_log() {
    let (database, mut session) = audited();
    session.execute("CREATE ROLE floods LOGIN IN ROLE tasker_reader");
    let mut reader = database.connect_as("floods");
    // In one statement, and with ever new names.
    reader.query(
        "SELECT tasker.record_export('same', 'export_failed') FROM generate_series(1, 300)",
        &[],
    );
    assert_eq!(lines(&mut session), ["export_failed same"]);
    reader.query(
        "SELECT tasker.record_export('name ' || n, 'export_failed') FROM generate_series(1, 300) n",
        &[],
    );
    reader.query(
        "SELECT tasker.record_export('other ' || n, 'plugin_registered') FROM generate_series(1, 300) n",
        &[],
    );
    assert_eq!(lines(&mut session).len(), 99);
    inside::age_events(&mut session, "1 minute");
    reader.query("SELECT tasker.record_export('later', 'export_failed')", &[]);
    assert_eq!(lines(&mut session), ["export_failed later"]);
}

#[test]
fn what_an_exporter_must_not_say_is_refused() {
    let (database, mut session) = audited();
    let long = "x".repeat(5000);
    for (exporter, event, details, message) in [
        ("a", "cache_synced", json!({}), "unknown event"),
        (
            "a",
            "tasker.telemetry.export_failed",
            json!({}),
            "unknown event",
        ),
        ("", "export_failed", json!({}), "exporter is empty"),
        (&long, "export_failed", json!({}), "characters long"),
        ("a", "export_failed", json!([]), "must be a JSON object"),
        (
            "a",
            "export_failed",
            json!({"error_message": long}),
            "too large",
        ),
    ] {
        session
            .fails(
                "SELECT tasker.record_export($1, $2, $3)",
                &[&exporter, &event, &details],
            )
            .is("22023")
            .says(&[message]);
    }
    for arguments in [
        "NULL, 'export_failed'",
        "'a', NULL",
        "'a', 'export_failed', NULL",
    ] {
        session
            .fails(&format!("SELECT tasker.record_export({arguments})"), &[])
            .is("22004");
    }
    session.execute("CREATE ROLE telemetry_worker LOGIN IN ROLE tasker_worker");
    database
        .connect_as("telemetry_worker")
        .fails("SELECT tasker.record_export('a', 'export_failed')", &[])
        .is("42501");
    assert_eq!(lines(&mut session), [""; 0]);
}

#[test]
fn nothing_is_told_where_nothing_may_be_written() {
    let (database, mut session) = audited();
    session.execute(
        "BEGIN READ ONLY; SELECT tasker.record_export('a', 'export_failed'), tasker.export_metrics('csv'); COMMIT",
    );
    session.execute("BEGIN; SELECT tasker.record_export('a', 'export_failed'); ROLLBACK");
    assert_eq!(lines(&mut session), [""; 0]);
    drop(session);
    // A copy in which no work is done.
    let copy = Database::copy_of(&database);
    let mut session = copy.connect();
    let events =
        |session: &mut Session| session.count("SELECT count(*) FROM tasker_engine.events", &[]);
    let before = events(&mut session);
    session.query(
        "SELECT tasker.record_export('a', 'export_failed'), tasker.export_metrics()",
        &[],
    );
    assert_eq!(events(&mut session), before);
}

#[test]
fn an_export_in_the_database_tells_that_it_was_asked_for_and_is_done() {
    let (database, mut session) = audited();
    session.execute("CREATE ROLE exports LOGIN IN ROLE tasker_reader");
    let mut reader = database.connect_as("exports");
    let csv: String = reader.one("SELECT tasker.export_metrics('csv')", &[]);
    reader.query("SELECT tasker.export_metrics('csv')", &[]);
    reader.query("SELECT tasker.export_metrics()", &[]);
    reader.query("SELECT tasker.metrics_prometheus()", &[]);
    reader
        .fails("SELECT tasker.export_metrics('xml')", &[])
        .is("22023");
    let told = got(&mut session);
    let names: Vec<String> = told
        .iter()
        .map(|(name, payload)| format!("{name} {}", payload["exporter"]))
        .collect();
    assert_eq!(
        names,
        [
            "tasker.telemetry.export_requested \"export_metrics(csv)\"",
            "tasker.telemetry.export_completed \"export_metrics(csv)\"",
            "tasker.telemetry.export_requested \"export_metrics(prometheus)\"",
            "tasker.telemetry.export_completed \"export_metrics(prometheus)\"",
        ]
    );
    let (asked, done) = (&told[0].1, &told[1].1);
    assert_eq!(asked["format"], "csv");
    assert_eq!(done["format"], "csv");
    assert_eq!(done["size_bytes"], json!(csv.len()));
    // A line for each, and the head.
    assert_eq!(done["metrics_count"], json!(csv.lines().count() - 1));
    assert!(
        done["duration"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
}

/// Payloads of the events of this name, the newest first, with what is read on request.
fn payloads(session: &mut Session, name: &str) -> Vec<Value> {
    session.query(
        "SELECT tasker.subscribe('data', '{*}', start_at => 'beginning', include_data => true)",
        &[],
    );
    session.query("SELECT tasker.seek_subscriber('data', 'beginning')", &[]);
    session.all(
        "SELECT payload FROM tasker.poll_events('data', 1000) WHERE name = $1 ORDER BY event_id DESC",
        &[&name],
    )
}

fn extracted(session: &mut Session, measure: &str, payload: &Value) -> Value {
    session.one(
        &format!("SELECT tasker.extract_{measure}_metrics($1)"),
        &[payload],
    )
}

#[test]
fn a_real_failure_has_each_key_that_subscribers_of_earlier_engines_ask_for() {
    let (_database, mut session, task) = started(&shapes::chain("pay", 2));
    let claim = session.claim_one("w");
    session.query(
        "SELECT tasker.fail_step($1, $2, 'no answer', 'Net::ReadTimeout', retry_after => '90 s', results => '{\"memory_usage\": 4096}')",
        &[&claim.step, &claim.number],
    );
    let failed = payloads(&mut session, "step.failed").remove(0);
    assert_eq!(
        extracted(&mut session, "error", &failed),
        json!({"error_message": "no answer", "error_class": "Net::ReadTimeout", "error_type": "timeout", "attempt_number": 1,
               "is_retryable": true, "final_failure": false})
    );
    let performance = extracted(&mut session, "performance", &failed);
    assert_eq!(performance["retry_delay"].as_f64(), Some(90.0));
    assert_eq!(failed["retry_delay"].as_f64(), Some(90.0));
    assert_eq!(performance["memory_usage"], json!(4096));
    assert_eq!(performance["processing_time"], failed["execution_duration"]);
    let tags: Vec<String> = session.one("SELECT tasker.metric_tags($1)", &[&failed]);
    assert_eq!(
        tags,
        [
            "task:pay",
            &format!("step:{}", claim.name),
            "retryable:true",
            "attempt:1"
        ]
    );
    // An operator's retry counts attempts from 1 again. This one is the last.
    session.query("SELECT tasker.retry_step($1)", &[&claim.step]);
    let again = session.claim_one("w");
    session.query(
        "SELECT tasker.fail_step($1, $2, 'HTTP 503', 'Odd', retryable => false)",
        &[&again.step, &again.number],
    );
    let last = payloads(&mut session, "step.failed").remove(0);
    let error = extracted(&mut session, "error", &last);
    assert_eq!(
        (
            &error["final_failure"],
            &error["is_retryable"],
            &error["attempt_number"],
            &error["error_type"]
        ),
        (
            &json!(true),
            &json!(false),
            &json!(1),
            &json!("server_error")
        )
    );
    let performance = extracted(&mut session, "performance", &last);
    assert_eq!(performance["retry_delay"], Value::Null);
    let ended = payloads(&mut session, "task.failed").remove(0);
    assert_eq!(ended["task_uuid"], json!(task.to_string()));
    let timing = extracted(&mut session, "timing", &ended);
    assert_eq!(
        (
            &timing["step_count"],
            &timing["completed_steps"],
            &timing["failed_steps"]
        ),
        (&json!(2), &json!(0), &json!(1))
    );
    assert_eq!(
        extracted(&mut session, "error", &ended)["error_class"],
        "Odd"
    );
}

#[test]
fn a_real_completion_has_its_times_and_what_its_worker_reported() {
    let (_database, mut session, _) = started(&shapes::chain("pay", 1));
    let claim = session.claim_one("w");
    session.complete(
        &claim,
        &json!({"cpu_time": 0.75, "metadata": {"memory_usage": 2048}, "deep": {"cpu_time": 9}}),
    );
    let done = payloads(&mut session, "step.completed").remove(0);
    let timing = extracted(&mut session, "timing", &done);
    for key in ["execution_duration", "started_at", "completed_at"] {
        assert_eq!(timing[key], done[key], "{key}");
        assert_ne!(timing[key], Value::Null, "{key}");
    }
    let performance = extracted(&mut session, "performance", &done);
    assert_eq!(performance["cpu_time"].as_f64(), Some(0.75));
    assert_eq!(performance["memory_usage"], json!(2048));
    assert_eq!(performance["processing_time"], done["execution_duration"]);
    let ended = payloads(&mut session, "task.completed").remove(0);
    let timing = extracted(&mut session, "timing", &ended);
    assert_eq!(
        timing["execution_duration"],
        ended["total_execution_duration"]
    );
    assert_eq!(
        (&timing["step_count"], &timing["completed_steps"]),
        (&json!(1), &json!(1))
    );
    // A payload that is none, and one that is missing.
    for measure in [
        "extract_error_metrics",
        "extract_timing_metrics",
        "extract_performance_metrics",
        "metric_tags",
    ] {
        session
            .fails(&format!("SELECT tasker.{measure}('[1]')"), &[])
            .is("22023");
        let nothing: bool = session.one(&format!("SELECT tasker.{measure}(NULL) IS NULL"), &[]);
        assert!(nothing, "{measure}");
    }
    let unknown: String = session.one("SELECT tasker.error_type(NULL)", &[]);
    assert_eq!(unknown, "unknown");
}

/// When the step is due, as its entry in the queue says; it is claimed, and the time between them in seconds.
fn claim_and_wait(session: &mut Session, seconds: f64) -> (Uuid, i32, f64) {
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
    let due: f64 = session.one(
        "SELECT extract(epoch FROM min(q.available_at))::float8 FROM tasker_engine.queue_entries q WHERE q.available_at <= clock_timestamp()",
        &[],
    );
    let claim = session.claim_one("w");
    let began: f64 = session.one(
        "SELECT extract(epoch FROM max(l.created_at))::float8 FROM tasker.workflow_step_transitions l
         WHERE l.step_uuid = $1 AND l.to_state = 'in_progress'",
        &[&claim.step],
    );
    (claim.step, claim.number, began - due)
}

#[test]
fn a_run_says_how_long_it_waited_for_a_claim() {
    let (_database, mut session, _) =
        started(&Template::new("pay").step("a", &[]).step("b", &["a"]));
    let queue_time = |session: &mut Session, step: &Uuid, attempt: Option<i32>| -> Option<f64> {
        session.one("SELECT tasker.step_queue_time($1, $2)", &[step, &attempt])
    };
    let near = |found: Option<f64>, expected: f64| {
        let found = found.expect("a time");
        assert!((found - expected).abs() < 0.0001, "{found} {expected}");
    };
    let (a, first, waited) = claim_and_wait(&mut session, 0.2);
    assert!(waited > 0.2);
    near(queue_time(&mut session, &a, Some(1)), waited);
    // A retry waits from the time for which it is scheduled.
    session.query(
        "SELECT tasker.fail_step($1, $2, 'no', retry_after => '1 s')",
        &[&a, &first],
    );
    let (_, second, waited_again) = claim_and_wait(&mut session, 1.3);
    assert!(waited_again > 0.2 && waited_again < 1.2, "{waited_again}");
    near(queue_time(&mut session, &a, None), waited_again);
    near(queue_time(&mut session, &a, Some(2)), waited_again);
    near(queue_time(&mut session, &a, Some(1)), waited);
    // A step with a parent, from the end of the parent.
    session.query("SELECT tasker.complete_step($1, $2)", &[&a, &second]);
    let (b, number, waited) = claim_and_wait(&mut session, 0.1);
    near(queue_time(&mut session, &b, None), waited);
    session.query("SELECT tasker.complete_step($1, $2)", &[&b, &number]);
    near(queue_time(&mut session, &b, None), waited);
    let done = payloads(&mut session, "step.completed").remove(0);
    let performance: Value = session.one(
        "SELECT tasker.extract_performance_metrics($1::jsonb || jsonb_build_object('queue_time', tasker.step_queue_time($2)))",
        &[&done, &b],
    );
    near(performance["queue_time"].as_f64(), waited);
    assert_eq!(queue_time(&mut session, &a, Some(3)), None);
    assert_eq!(queue_time(&mut session, &Uuid::now_v7(), None), None);
}

#[test]
fn the_exporter_tells_when_it_starts_sends_fails_and_ends() {
    let (database, mut session) = audited();
    let receiver = Receiver::start(|number, _| Answer::code(if number == 0 { 400 } else { 200 }));
    let url = format!("--remote-write-url={}/api/v1/write", receiver.url());
    let mut exporter = Exporter::of(&database, &[&url, "--remote-write-interval=1s"]);
    receiver.wait_until("three readings", |received| received.len() >= 3);
    let mut told = vec![];
    wait_for("the first export that is accepted is told", || {
        told.extend(got(&mut session));
        told.iter()
            .any(|(name, _)| name == "tasker.telemetry.export_completed")
    });
    exporter.signal("TERM");
    exporter.wait(patience(30));
    told.extend(got(&mut session));
    let named = |(name, payload): &(String, Value)| {
        let word = name.rsplit('.').next().unwrap_or_default();
        format!("{word} {} {}", payload["exporter"], payload["format"]).replace('"', "")
    };
    let lines: Vec<String> = told.iter().map(named).collect();
    let one = |word: &str| format!("{word} remote_write(remote_write) remote_write");
    assert_eq!(lines.first(), Some(&one("plugin_registered")));
    assert_eq!(lines.last(), Some(&one("plugin_unregistered")));
    let all: BTreeSet<String> = lines.iter().cloned().collect();
    let words = [
        "plugin_registered",
        "export_requested",
        "export_failed",
        "export_completed",
        "plugin_unregistered",
    ];
    assert_eq!(all, words.map(one).into_iter().collect());
    assert_eq!(lines.len(), words.len(), "each once: {lines:?}");
}
