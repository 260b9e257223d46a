//! `tasker exporter`: probes and metrics over HTTP, also while the database is away or hangs.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::database::PATTERN;
use tasker_client_tests::exporter::{Exporter, ROLE, Reply, Stopped, dsn, make_role};
use tasker_client_tests::kills::own_server;
use tasker_client_tests::server::{Server, config_in};
use tasker_client_tests::{Database, Session, Value, json, patience, scaled, shapes};

/// The time limit of the exporters in tests that let it lapse.
const LIMIT: &str = "--readiness-timeout=2";
/// A machine with other load gets a moment more than the limit.
fn limit() -> Duration {
    Duration::from_secs(2) + patience(1) / 2
}

#[track_caller]
fn in_time(reply: &Reply) {
    assert!(reply.took < limit(), "the answer took {:?}", reply.took);
}

/// The backend of the exporter.
fn backend(session: &mut Session) -> i32 {
    session.one("SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name = 'tasker exporter' AND datname = current_database()", &[])
}

fn connections(session: &mut Session) -> i64 {
    session.count(
        "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE application_name = 'tasker exporter' AND datname = current_database()",
        &[],
    )
}

fn force(session: &mut Session, state: &str) {
    session.query(
        "SELECT tasker.set_operational_state($1, force => true)",
        &[&state],
    );
}

// ---- what the paths answer --------------------------------------------------------------------------------------------

#[test]
fn live_is_answered_without_a_database() {
    let exporter = Exporter::start("host=/nowhere user=none", &[], &[]);
    let reply = exporter.get("/health/live");
    assert_eq!(reply.code, 200);
    let body = reply.json();
    assert_eq!(
        (&body["alive"], &body["service"]),
        (&json!(true), &json!("tasker"))
    );
    assert!(
        body["timestamp"]
            .as_str()
            .is_some_and(|text| text.ends_with('Z')),
        "{body}"
    );
    assert_eq!(
        reply.headers["content-type"],
        "application/json; charset=utf-8"
    );
    assert_eq!(reply.headers["cache-control"], "no-store");
}

#[test]
fn ready_is_what_health_ready_says() {
    let database = Database::new();
    let mut session = database.connect();
    let exporter = Exporter::of(&database, &[]);
    let mut said =
        || -> Value { session.one("SELECT to_json(r)::jsonb FROM tasker.health_ready() r", &[]) };

    let reply = exporter.get("/health/ready");
    let body = reply.json();
    assert_eq!(reply.code, 200, "{body}");
    let of_sql = said();
    for key in ["ready", "message", "failed_checks"] {
        assert_eq!(body[key], of_sql[key], "{key}");
    }
    assert_eq!(body["checks"], json!({"database": "ok"}));
    assert!(body["check_duration"].as_f64().is_some(), "{body}");
    assert!(body["timestamp"].is_string(), "{body}");

    force(&mut database.connect(), "graceful_shutdown");
    let reply = exporter.get("/health/ready");
    let body = reply.json();
    assert_eq!(reply.code, 503, "{body}");
    let of_sql = said();
    for key in ["ready", "message", "failed_checks"] {
        assert_eq!(body[key], of_sql[key], "{key}");
    }
    assert_eq!(body["checks"], json!({"database": "ok", "state": "failed"}));
}

#[test]
fn a_draining_system_is_ready_for_workers_that_still_report() {
    let database = Database::new();
    force(&mut database.connect(), "graceful_shutdown");
    let exporter = Exporter::of(&database, &[]);
    assert_eq!(
        exporter.get("/health/ready?while_draining").says("ready"),
        (200, "true".into())
    );
    assert_eq!(
        exporter.get("/health/ready").says("ready"),
        (503, "false".into())
    );

    let away = Exporter::start("host=/nowhere user=none", &[], &[]);
    assert_eq!(away.get("/health/ready?while_draining").code, 503);
}

#[test]
fn status_is_what_health_status_and_the_counts_say() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    session.create_many("one", 3);
    let exporter = Exporter::of(&database, &[]);
    let reply = exporter.get("/health/status");
    let body = reply.json();
    let level: String = session.one(
        "SELECT level FROM tasker.health_status() WHERE measure = 'overall'",
        &[],
    );
    assert_eq!(
        (&body["status"], &body["healthy"]),
        (&json!(level), &json!(true)),
        "{body}"
    );
    assert_eq!(reply.code, 200);
    let measures: Vec<String> = session.all(
        "SELECT measure FROM tasker.health_status() WHERE measure <> 'overall' ORDER BY 1",
        &[],
    );
    let object = body["measures"].as_object().expect("an object");
    assert_eq!(
        object.keys().cloned().collect::<BTreeSet<_>>(),
        measures.into_iter().collect()
    );
    let errors: Value = session.one("SELECT to_jsonb(s) - 'measure' FROM tasker.health_status() s WHERE measure = 'task_errors'", &[]);
    assert_eq!(object["task_errors"], errors);
    let counts: Value = session.one(
        "SELECT to_jsonb(c) FROM tasker.get_system_health_counts() c",
        &[],
    );
    let metrics = &body["metrics"];
    assert_eq!(
        (&metrics["tasks"]["total"], &metrics["tasks"]["pending"]),
        (&json!(3), &counts["pending_tasks"])
    );
    assert_eq!(
        (&metrics["steps"]["total"], &metrics["steps"]["pending"]),
        (&json!(3), &counts["pending_steps"])
    );
    assert_eq!(
        metrics["retries"],
        json!({"retryable_errors": 0, "exhausted_retries": 0, "in_backoff": 0})
    );
    assert_eq!(
        body["database"]["max_connections"],
        counts["max_connections"]
    );
    assert!(
        body["database"]["connection_utilization"]
            .as_f64()
            .is_some_and(|share| share > 0.0 && share < 100.0),
        "{body}"
    );
}

#[test]
fn an_unhealthy_status_is_503_and_an_answer_is_kept_for_its_time() {
    let database = Database::new();
    let mut session = database.connect();
    let keeps = Exporter::of(&database, &[]);
    let asks = Exporter::of(&database, &["--cache-duration=0"]);
    assert_eq!(
        keeps.get("/health/status").says("cached"),
        (200, "false".into())
    );
    assert_eq!(asks.get("/health/status").code, 200);

    force(&mut session, "emergency");
    let reply = asks.get("/health/status");
    let level: String = session.one(
        "SELECT level FROM tasker.health_status() WHERE measure = 'overall'",
        &[],
    );
    assert_eq!(reply.says("status").1, level);
    // Three quarters of the tasks failed: unhealthy by the share of errors.
    force(&mut session, "normal");
    shapes::chain("one", 1).register(&mut session);
    session.create_many("one", 8);
    session.work(|_| tasker_client_tests::Act::FailForGood);
    let reply = asks.get("/health/status");
    assert_eq!(reply.says("status"), (503, "unhealthy".into()));
    assert_eq!(reply.json()["healthy"], json!(false));
    assert_eq!(
        keeps.get("/health/status").says("cached"),
        (200, "true".into())
    );

    let soon = Exporter::of(&database, &["--cache-duration=0.2"]);
    assert_eq!(soon.get("/health/status").says("cached").1, "false");
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(soon.get("/health/status").says("cached").1, "false");
}

#[test]
fn metrics_are_those_of_the_database_and_of_the_exporter() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    session.create_many("one", 3);
    // Another session counts, too, when it has written.
    session.query("SELECT * FROM tasker.claim_steps('w')", &[]);
    let exporter = Exporter::of(&database, &[]);
    exporter.get("/health/live");
    let reply = exporter.get("/metrics");
    assert_eq!(reply.code, 200);
    assert_eq!(
        reply.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let created: f64 = session.one(
        "SELECT value FROM tasker.metrics WHERE name = 'tasker_tasks_created_total'",
        &[],
    );
    assert_eq!(reply.metric("tasker_tasks_created_total"), Some(created));
    assert_eq!(reply.metric("tasker_up"), Some(1.0));
    assert_eq!(
        reply.metric("tasker_exporter_database_connected"),
        Some(1.0)
    );
    assert_eq!(
        reply.metric("tasker_exporter_requests_total{code=\"200\",path=\"/health/live\"}"),
        Some(1.0)
    );
    assert!(
        reply
            .metric("tasker_exporter_last_answer_timestamp_seconds")
            .is_some_and(|at| at > 1e9)
    );
    // Prometheus refuses a name that is described twice.
    let mut described = BTreeSet::new();
    for line in reply
        .text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
    {
        assert!(
            described.insert(line.split(' ').nth(2)),
            "{line} is there twice"
        );
    }
}

#[test]
fn head_is_get_without_a_body_and_other_methods_and_paths_are_refused_in_json() {
    let database = Database::new();
    let exporter = Exporter::of(&database, &[]);
    for path in [
        "/health/live",
        "/health/ready",
        "/health/status",
        "/metrics",
    ] {
        let (get, head) = (exporter.get(path), exporter.request("HEAD", path, None));
        assert_eq!(
            (get.code, &get.headers["content-type"]),
            (head.code, &head.headers["content-type"]),
            "{path}"
        );
        assert_eq!(head.text, "", "{path}");
        let post = exporter.request("POST", path, None);
        assert_eq!(
            post.says("error"),
            (405, "only GET and HEAD".into()),
            "{path}"
        );
        assert!(post.headers["allow"].contains("GET"), "{path}");
    }
    let reply = exporter.get("/health");
    assert_eq!(reply.says("error"), (404, "no such path".into()));
    assert!(
        reply.json()["paths"]
            .as_array()
            .is_some_and(|paths| paths.contains(&json!("/health/ready")))
    );
}

// ---- the token --------------------------------------------------------------------------------------------------------

#[test]
fn status_wants_the_token_where_there_is_one_and_the_others_where_told() {
    let database = Database::new();
    make_role(database.server());
    let dsn = dsn(database.server(), database.name());
    let token = "s3cret-of-the-exporter";
    let paths = [
        "/health/live",
        "/health/ready",
        "/health/status",
        "/metrics",
    ];
    let codes = |exporter: &Exporter, authorization: Option<&str>| {
        paths.map(|path| exporter.request("GET", path, authorization).code)
    };

    let usual = Exporter::start(&dsn, &[], &[("TASKER_EXPORTER_TOKEN", token)]);
    assert_eq!(codes(&usual, None), [200, 200, 401, 200]);
    assert_eq!(codes(&usual, Some(&format!("Bearer {token}"))), [200; 4]);
    let refused = usual.request("GET", "/health/status", Some("Bearer wrong"));
    assert_eq!(refused.code, 401);
    assert_eq!(
        refused.headers["www-authenticate"],
        "Bearer realm=\"tasker\""
    );
    assert!(refused.json()["error"].is_string());

    let all = ["--ready-requires-authentication", "--metrics-auth-required"];
    let closed = Exporter::start(&dsn, &all, &[("TASKER_EXPORTER_TOKEN", token)]);
    assert_eq!(codes(&closed, None), [200, 401, 401, 401]);
    assert_eq!(codes(&closed, Some(&format!("bearer {token}"))), [200; 4]);

    let open = Exporter::start(
        &dsn,
        &["--status-requires-authentication=false"],
        &[("TASKER_EXPORTER_TOKEN", token)],
    );
    assert_eq!(codes(&open, None), [200; 4]);

    let file = std::env::temp_dir().join(format!("tasker-token-{}", std::process::id()));
    std::fs::write(&file, format!("{token}\n")).expect("a file");
    let by_file = Exporter::start(&dsn, &["--token-file", &file.to_string_lossy()], &[]);
    assert_eq!(codes(&by_file, None), [200, 200, 401, 200]);
    assert_eq!(codes(&by_file, Some(&format!("Bearer {token}"))), [200; 4]);
    std::fs::remove_file(&file).expect("ours");

    for exporter in [&usual, &closed, &by_file] {
        assert!(!exporter.log().contains(token), "{}", exporter.log());
    }
}

/// `ALTER SYSTEM` and a new reading of the files.
fn set_in_server(session: &mut Session, name: &str, value: &str) {
    session.execute(&format!("ALTER SYSTEM SET tasker.{name} = '{value}'"));
    session.execute("SELECT pg_reload_conf()");
}

#[test]
fn settings_of_the_database_say_what_no_option_says() {
    let server = own_server(&[]);
    let mut session = server.connect(PATTERN);
    session.execute("SELECT tasker.health_ready()");
    for (name, value) in [
        ("readiness_timeout_seconds", "2s"),
        ("health_cache_duration_seconds", "0"),
        ("ready_requires_authentication", "on"),
        ("status_requires_authentication", "off"),
        ("metrics_auth_required", "on"),
    ] {
        set_in_server(&mut session, name, value);
    }
    make_role(&server);
    let dsn = dsn(&server, PATTERN);
    let token = [("TASKER_EXPORTER_TOKEN", "s3cret-of-the-exporter")];
    let told = Exporter::start(&dsn, &[], &token);
    let tokenless = Exporter::start(&dsn, &[], &[]);
    let own = [
        "--readiness-timeout=0.5",
        "--cache-duration=60",
        "--metrics-auth-required=false",
        "--ready-requires-authentication=false",
    ];
    let own = Exporter::start(&dsn, &own, &token);

    // The very first request of each, too.
    assert_eq!(told.get("/metrics").code, 401);
    assert_eq!(tokenless.get("/health/ready").code, 401);
    for exporter in [&told, &tokenless] {
        assert_eq!(exporter.get("/metrics").code, 401);
        assert_eq!(exporter.get("/health/ready").code, 401);
        for _ in 0..2 {
            let status = exporter.get("/health/status");
            assert_eq!(status.says("cached"), (200, "false".into()));
        }
    }
    let let_in = told.request("GET", "/metrics", Some("Bearer s3cret-of-the-exporter"));
    assert_eq!(let_in.code, 200);
    assert_eq!(own.get("/health/ready").code, 200);
    assert_eq!(own.get("/metrics").code, 200);
    assert_eq!(own.get("/health/status").says("cached").1, "false");
    assert_eq!(own.get("/health/status").says("cached").1, "true");

    // The connected exporter sees a change, too.
    set_in_server(&mut session, "ready_requires_authentication", "off");
    let deadline = Instant::now() + Duration::from_secs(15) + patience(5);
    while told.get("/health/ready").code != 200 {
        assert!(Instant::now() < deadline, "the change is not seen");
        // What is asked of the database reads its settings.
        told.get("/health/status");
        std::thread::sleep(Duration::from_millis(200));
    }

    // The answer without a database comes by the time that it said.
    let stopped = Stopped::postmaster(&server);
    let backends: Vec<Stopped> = session
        .query("SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name = 'tasker exporter'", &[])
        .iter()
        .map(|row| Stopped::new(row.get(0)))
        .collect();
    let reply = told.get("/health/ready");
    assert_eq!(reply.code, 503);
    assert!(reply.took > Duration::from_secs(1), "{:?}", reply.took);
    in_time(&reply);
    let reply = own.get("/health/ready");
    assert_eq!(reply.code, 503);
    assert!(reply.took < Duration::from_secs(1), "{:?}", reply.took);
    drop((stopped, backends));
}

#[test]
fn without_a_token_no_path_can_want_one() {
    let wants = ["--ready-requires-authentication"];
    let (code, log) = Exporter::ends(&mut Exporter::command("", &wants, &[]));
    assert_eq!(code, Some(1));
    assert!(log.contains("there is no token"), "{log}");
}

// ---- the database is away ---------------------------------------------------------------------------------------------

#[test]
fn a_stopped_server_is_not_ready_and_is_again_when_it_is_back() {
    let server = own_server(&[]);
    let exporter = Exporter::of_server(&server, PATTERN, &[]);
    assert_eq!(exporter.get("/health/ready").code, 200);
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(1.0));

    server.stop();
    let reply = exporter.get("/health/ready");
    assert_eq!(reply.says("failed_checks"), (503, "[\"database\"]".into()));
    assert_eq!(reply.json()["checks"], json!({"database": "failed"}));
    assert_eq!(
        exporter.get("/health/status").says("healthy"),
        (503, "false".into())
    );
    let reply = exporter.get("/metrics");
    assert_eq!((reply.code, reply.metric("tasker_up")), (200, Some(0.0)));
    assert_eq!(
        reply.metric("tasker_exporter_database_connected"),
        Some(0.0)
    );
    assert!(
        reply
            .metric("tasker_exporter_database_failures_total{reason=\"unreachable\"}")
            .is_some_and(|count| count > 0.0),
        "{}",
        reply.text
    );
    assert!(
        !reply.text.contains("tasker_tasks_created_total"),
        "{}",
        reply.text
    );
    assert_eq!(exporter.get("/health/live").code, 200);

    // One line for a database that is away, not one for each attempt.
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(exporter.get("/health/ready").code, 503);
    }
    let complaints = exporter
        .log()
        .matches("no connection to the database")
        .count();
    assert_eq!(complaints, 1, "{}", exporter.log());

    server.start_again();
    exporter.wait_until("/health/ready", |reply| reply.code == 200);
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(1.0));
}

#[test]
fn a_backend_that_stands_still_is_left_for_a_new_connection() {
    let database = Database::new();
    let mut session = database.connect();
    let exporter = Exporter::of(&database, &[LIMIT]);
    assert_eq!(exporter.get("/health/ready").code, 200);
    let old = backend(&mut session);
    let _stopped = Stopped::new(old);
    let reply = exporter.get("/health/ready");
    in_time(&reply);
    assert_eq!(reply.code, 200, "{}", reply.text);
    assert!(exporter.get("/health/ready").took < Duration::from_secs(1));
}

#[test]
fn a_server_that_stands_still_is_not_ready_in_time_and_ready_when_it_goes_on() {
    let server = own_server(&[]);
    let exporter = Exporter::of_server(&server, PATTERN, &[LIMIT]);
    assert_eq!(exporter.get("/health/ready").code, 200);
    let backend = backend(&mut server.connect(PATTERN));
    let stopped = (Stopped::postmaster(&server), Stopped::new(backend));
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..20)
            .map(|number| {
                let path = [
                    "/health/ready",
                    "/health/status",
                    "/metrics",
                    "/health/ready",
                ][number % 4];
                let exporter = &exporter;
                (path, scope.spawn(move || exporter.get(path)))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let live = exporter.get("/health/live");
        assert!(
            live.code == 200 && live.took < Duration::from_secs(1),
            "{live:?}"
        );
        for (path, asked) in asked {
            let reply = asked.join().expect("an answer");
            in_time(&reply);
            assert_eq!(
                reply.code,
                if path == "/metrics" { 200 } else { 503 },
                "{path}"
            );
        }
    });
    let reply = exporter.get("/health/ready");
    in_time(&reply);
    assert_eq!(reply.code, 503);
    drop(stopped);
    exporter.wait_until("/health/ready", |reply| reply.code == 200);
}

/// What a reading of the metrics waits for, and a readiness check does not.
const LOCK: &str = "BEGIN; LOCK TABLE tasker_engine.queue_entries IN ACCESS EXCLUSIVE MODE";

#[test]
fn a_statement_that_waits_for_a_lock_makes_way_for_a_readiness_check() {
    let database = Database::new();
    let mut session = database.connect();
    let exporter = Exporter::of(&database, &["--readiness-timeout=6"]);
    assert_eq!(exporter.get("/health/ready").code, 200);
    session.execute(LOCK);
    std::thread::scope(|scope| {
        let metrics = scope.spawn(|| exporter.get("/metrics"));
        let status = scope.spawn(|| exporter.get("/health/status"));
        std::thread::sleep(Duration::from_millis(200));
        let ready = exporter.get("/health/ready");
        // Two fifths of the limit, and not until the others have met theirs.
        assert!(ready.took < Duration::from_millis(4500), "{ready:?}");
        assert_eq!(ready.code, 200, "{}", ready.text);
        let (metrics, status) = (
            metrics.join().expect("an answer"),
            status.join().expect("an answer"),
        );
        for reply in [&metrics, &status] {
            assert!(
                reply.took < Duration::from_secs(6) + patience(1) / 2,
                "{reply:?}"
            );
        }
        assert_eq!((metrics.metric("tasker_up"), status.code), (Some(0.0), 503));
    });
    // The cancelled statements do not stay behind.
    assert_eq!(connections(&mut session), 1);
    session.execute("ROLLBACK");
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(1.0));
    assert_eq!(exporter.get("/health/status").code, 200);
}

#[test]
fn a_readiness_check_that_waits_for_a_lock_is_answered_in_time() {
    let database = Database::new();
    let mut session = database.connect();
    let exporter = Exporter::of(&database, &[LIMIT]);
    session.execute("BEGIN; LOCK TABLE tasker_engine.operational_changes IN ACCESS EXCLUSIVE MODE");
    let reply = exporter.get("/health/ready");
    in_time(&reply);
    assert_eq!(
        reply.says("message"),
        (503, "the database did not answer in time".into())
    );
    session.execute("ROLLBACK");
    exporter.wait_until("/health/ready", |reply| reply.code == 200);
}

#[test]
fn many_clients_share_one_connection() {
    let database = Database::new();
    let exporter = Exporter::of(&database, &[]);
    std::thread::scope(|scope| {
        for number in 0..40 {
            let exporter = &exporter;
            scope.spawn(move || {
                let path = ["/health/ready", "/health/status", "/metrics"][number % 3];
                assert_eq!(exporter.get(path).code, 200, "{path}");
            });
        }
    });
    assert_eq!(connections(&mut database.connect()), 1);
    let reply = exporter.get("/metrics");
    assert_eq!(
        reply.metric("tasker_exporter_database_connects_total"),
        Some(1.0)
    );
}

#[test]
fn a_lost_connection_is_made_again_without_a_failed_answer() {
    let database = Database::new();
    let mut session = database.connect();
    let exporter = Exporter::of(&database, &[]);
    for _ in 0..3 {
        assert_eq!(exporter.get("/health/ready").code, 200);
        let pid = backend(&mut session);
        session.query("SELECT pg_catalog.pg_terminate_backend($1, 5000)", &[&pid]);
    }
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(1.0));
}

/// Passes bytes between TCP and the socket of a server, until it is told to swallow them, as a network that drops packets does.
fn network(server: &Server) -> (u16, &'static AtomicBool) {
    let swallows: &'static AtomicBool = Box::leak(Box::default());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let socket = server.folder().join(".s.PGSQL.5432");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = UnixStream::connect(&socket).expect("the server runs");
            let (from, to) = (
                client.try_clone().expect("a socket"),
                server.try_clone().expect("a socket"),
            );
            std::thread::spawn(move || pass(from, to, swallows));
            std::thread::spawn(move || pass(server, client, swallows));
        }
    });
    (port, swallows)
}

fn pass(mut from: impl Read, mut to: impl Write, swallows: &AtomicBool) {
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !swallows.load(Ordering::Relaxed) && to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

#[test]
fn a_network_that_drops_packets_is_answered_for_in_time() {
    let database = Database::new();
    make_role(database.server());
    let (port, swallows) = network(database.server());
    let dsn = format!(
        "host=127.0.0.1 port={port} user={ROLE} dbname={}",
        database.name()
    );
    let exporter = Exporter::start(&dsn, &[LIMIT], &[]);
    assert_eq!(exporter.get("/health/ready").code, 200);
    swallows.store(true, Ordering::Relaxed);
    for path in ["/health/ready", "/health/status", "/health/ready"] {
        let reply = exporter.get(path);
        in_time(&reply);
        assert_eq!(reply.code, 503, "{path}");
    }
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(0.0));
    assert!(exporter.get("/health/live").took < Duration::from_secs(1));
    swallows.store(false, Ordering::Relaxed);
    exporter.wait_until("/health/ready", |reply| reply.code == 200);
}

// ---- TLS to the database ----------------------------------------------------------------------------------------------

#[track_caller]
fn openssl(folder: &Path, command: &str) {
    let output = Command::new("openssl")
        .args(command.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

/// An authority's key and certificate.
fn authority(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"
        ),
    );
}

/// A server that takes TLS alone from other machines, at an address of its own; its certificate is for `localhost`.
fn server_with_tls() -> (Server, String) {
    let server = own_server(&[]);
    make_role(&server);
    let data = server.folder().join("data");
    authority(&data, "root");
    authority(&data, "other");
    openssl(
        &data,
        "req -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout server.key -out server.csr",
    );
    openssl(
        &data,
        "x509 -req -in server.csr -CA root.crt -CAkey root.key -CAcreateserial -days 2 -copy_extensions copy -out server.crt",
    );
    std::fs::write(
        data.join("pg_hba.conf"),
        "local all all trust\nhostssl all all all trust\n",
    )
    .expect("ours");
    let owner = std::fs::metadata(&data).expect("there");
    for file in ["server.key", "server.crt"] {
        std::os::unix::fs::chown(data.join(file), Some(owner.uid()), Some(owner.gid()))
            .expect("ours");
    }
    std::fs::set_permissions(
        data.join("server.key"),
        std::fs::Permissions::from_mode(0o600),
    )
    .expect("ours");
    // Of the many addresses of this machine, one that no other test has.
    let number = std::process::id();
    let address = format!("127.{}.{}.7", 1 + number / 250 % 250, 1 + number % 250);
    server
        .connect("postgres")
        .execute(&format!("ALTER SYSTEM SET listen_addresses = '{address}'"));
    server
        .connect("postgres")
        .execute("ALTER SYSTEM SET ssl = on");
    server.stop();
    server.start_again();
    (server, address)
}

#[test]
fn tls_to_the_database_is_as_sslmode_says() {
    let (server, address) = server_with_tls();
    let root = server.folder().join("data/root.crt").display().to_string();
    let code = |host: &str, more: &str| {
        let dsn = format!("{host} port=5432 user={ROLE} dbname={PATTERN} {more}");
        Exporter::start(&dsn, &[], &[]).get("/health/ready").code
    };
    let by_address = format!("host={address}");
    // The certificate names localhost; hostaddr says where that is.
    let by_name = format!("host=localhost hostaddr={address}");
    for (host, more, wanted) in [
        (&by_address, String::new(), 200),
        (&by_address, "sslmode=disable".to_owned(), 503),
        (&by_address, "sslmode=require".to_owned(), 200),
        (
            &by_address,
            format!("sslmode=verify-ca sslrootcert={root}"),
            200,
        ),
        (
            &by_address,
            format!("sslmode=verify-full sslrootcert={root}"),
            503,
        ),
        (
            &by_name,
            format!("sslmode=verify-full sslrootcert={root}"),
            200,
        ),
        (
            &by_name,
            format!(
                "sslmode=verify-full sslrootcert={}",
                root.replace("root.crt", "other.crt")
            ),
            503,
        ),
    ] {
        assert_eq!(code(host, &more), wanted, "{host} {more}");
    }
    let encrypted = Exporter::start(
        &format!(
            "{by_name} port=5432 user={ROLE} dbname={PATTERN} sslmode=verify-full sslrootcert={root}"
        ),
        &[],
        &[],
    );
    assert_eq!(encrypted.get("/health/ready").code, 200);
    let sessions: i64 = server.connect(PATTERN).count(
        "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.ssl AND a.application_name = 'tasker exporter'", &[]);
    assert!(sessions >= 1);
    // A client that wants TLS does not go on without it where the server has none.
    let (port, _) = network(&server);
    for (mode, wanted) in [
        ("prefer", 200),
        ("require", 503),
        ("verify-ca", 503),
        ("verify-full", 503),
    ] {
        let dsn = format!(
            "host=127.0.0.1 port={port} user={ROLE} dbname={PATTERN} sslmode={mode} sslrootcert={root}"
        );
        let exporter = Exporter::start(&dsn, &[], &[]);
        assert_eq!(exporter.get("/health/ready").code, wanted, "{mode}");
    }
}

// ---- behind haproxy ---------------------------------------------------------------------------------------------------

/// A running haproxy; it ends with the value.
struct Haproxy {
    child: Child,
    folder: PathBuf,
}

impl Haproxy {
    /// Before these servers, each with its exporter. Clients of PostgreSQL connect to the folder.
    fn start(name: &str, pairs: &[(&Server, &Exporter)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tasker-haproxy-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a new folder");
        let mut text = format!(
            "global\n    stats socket {0}/stats mode 600 level admin\n    maxconn 200\n\
             defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 1m\n    timeout server 1m\n    timeout check 3s\n\
             frontend postgres\n    bind unix@{0}/.s.PGSQL.5432\n    default_backend databases\n\
             backend databases\n    option httpchk\n    http-check send meth GET uri /health/ready\n    http-check expect status 200\n    \
             default-server inter 300ms fall 2 rise 2 on-marked-down shutdown-sessions\n",
            folder.display()
        );
        for (number, (server, exporter)) in pairs.iter().enumerate() {
            let backup = if number == 0 { "" } else { " backup" };
            text += &format!(
                "    server db{number} unix@{}/.s.PGSQL.5432 check addr 127.0.0.1 port {}{backup}\n",
                server.folder().display(),
                exporter.address().port()
            );
        }
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text).expect("ours");
        let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let child = Command::new(program.expect("haproxy is installed: scripts/deps test"))
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy starts");
        Self { child, folder }
    }

    /// What haproxy thinks of a server: UP, DOWN, ...
    fn status(&self, server: &str) -> String {
        let Ok(mut stream) = UnixStream::connect(self.folder.join("stats")) else {
            return "not there".to_owned();
        };
        let mut text = String::new();
        let asked = stream
            .write_all(b"show stat\n")
            .and_then(|()| stream.read_to_string(&mut text));
        asked.expect("haproxy answers");
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let status = lines
            .next()
            .and_then(|names| names.iter().position(|name| *name == "status"))
            .expect("a column");
        let line =
            lines.find(|line| line.first() == Some(&"databases") && line.get(1) == Some(&server));
        line.map_or_else(|| text.clone(), |line| line[status].to_owned())
    }

    #[track_caller]
    fn wait_until(&self, server: &str, wanted: &str) {
        let deadline = Instant::now() + patience(20);
        loop {
            let status = self.status(server);
            if status == wanted {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "haproxy says that {server} is {status}, not {wanted}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The folder of the server to which a client gets.
    fn leads_to(&self) -> String {
        let config = config_in(&self.folder, PATTERN, "postgres");
        Session::open(config).one("SELECT current_setting('unix_socket_directories')", &[])
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn haproxy_takes_a_database_out_when_it_is_away_or_hangs_and_back_again() {
    let (one, two) = (own_server(&[]), own_server(&[]));
    let exporters = [
        Exporter::of_server(&one, PATTERN, &[LIMIT]),
        Exporter::of_server(&two, PATTERN, &[LIMIT]),
    ];
    let haproxy = Haproxy::start("two", &[(&one, &exporters[0]), (&two, &exporters[1])]);
    let folder = |server: &Server| server.folder().display().to_string();
    let (first, second) = (folder(&one), folder(&two));
    haproxy.wait_until("db0", "UP");
    haproxy.wait_until("db1", "UP");
    assert_eq!(haproxy.leads_to(), first);

    one.stop();
    haproxy.wait_until("db0", "DOWN");
    assert_eq!(haproxy.leads_to(), second);
    one.start_again();
    haproxy.wait_until("db0", "UP");
    assert_eq!(haproxy.leads_to(), first);

    let backend = backend(&mut one.connect(PATTERN));
    let stopped = (Stopped::postmaster(&one), Stopped::new(backend));
    haproxy.wait_until("db0", "DOWN");
    assert_eq!(haproxy.leads_to(), second);
    drop(stopped);
    haproxy.wait_until("db0", "UP");
    assert_eq!(haproxy.leads_to(), first);

    force(&mut one.connect(PATTERN), "graceful_shutdown");
    haproxy.wait_until("db0", "DOWN");
    force(&mut one.connect(PATTERN), "startup");
    force(&mut one.connect(PATTERN), "normal");
    haproxy.wait_until("db0", "UP");
    haproxy.wait_until("db1", "UP");
}

#[test]
fn haproxy_follows_the_primary_of_a_pair() {
    let one = own_server(&[]);
    make_role(&one);
    let two = one.standby();
    let exporters = [
        Exporter::of_server(&one, PATTERN, &[]),
        Exporter::start(&dsn(&two, PATTERN), &[], &[]),
    ];
    let haproxy = Haproxy::start("pair", &[(&one, &exporters[0]), (&two, &exporters[1])]);
    haproxy.wait_until("db0", "UP");
    haproxy.wait_until("db1", "DOWN");
    one.kill();
    two.connect("postgres").query("SELECT pg_promote()", &[]);
    haproxy.wait_until("db0", "DOWN");
    haproxy.wait_until("db1", "UP");
    assert_eq!(haproxy.leads_to(), two.folder().display().to_string());
}

// ---- what else the database can be ------------------------------------------------------------------------------------

#[test]
fn a_standby_is_not_ready_gives_metrics_and_is_ready_after_its_promotion() {
    let server = own_server(&[]);
    make_role(&server);
    let standby = server.standby();
    let exporter = Exporter::start(&dsn(&standby, PATTERN), &[], &[]);
    assert_eq!(
        exporter.get("/health/ready").says("failed_checks"),
        (503, "[\"recovery\"]".into())
    );
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(1.0));
    standby
        .connect("postgres")
        .query("SELECT pg_promote()", &[]);
    exporter.wait_until("/health/ready", |reply| reply.code == 200);
}

#[test]
fn a_server_that_only_recovers_says_so() {
    let server = own_server(&[]);
    make_role(&server);
    server
        .connect("postgres")
        .execute("ALTER SYSTEM SET hot_standby = off");
    let standby = server.standby();
    let exporter = Exporter::start(&dsn(&standby, PATTERN), &[], &[]);
    let reply = exporter.get("/health/ready");
    assert_eq!(reply.says("failed_checks"), (503, "[\"database\"]".into()));
    assert!(
        reply.says("message").1.contains("recovering"),
        "{}",
        reply.text
    );
    assert_eq!(exporter.get("/metrics").metric("tasker_up"), Some(0.0));
}

#[test]
fn a_database_without_the_extension_says_so() {
    let _with_the_roles = Database::new();
    let database = Database::empty();
    let exporter = Exporter::of(&database, &[]);
    let reply = exporter.get("/health/ready");
    assert_eq!(reply.says("failed_checks"), (503, "[\"extension\"]".into()));
    assert_eq!(
        reply.says("message").1,
        "tasker_ext is not installed in this database"
    );
    assert_eq!(
        reply.json()["checks"],
        json!({"database": "ok", "extension": "failed"})
    );
    assert_eq!(
        exporter.get("/health/status").says("failed_checks"),
        (503, "[\"extension\"]".into())
    );
    let reply = exporter.get("/metrics");
    assert_eq!((reply.code, reply.metric("tasker_up")), (200, Some(0.0)));
    // The schema alone is not the extension either.
    database.connect().execute(&format!(
        "CREATE SCHEMA tasker; GRANT USAGE ON SCHEMA tasker TO {ROLE}"
    ));
    assert_eq!(
        exporter.get("/health/ready").says("failed_checks"),
        (503, "[\"extension\"]".into())
    );
}

#[test]
fn another_version_of_the_extension_is_not_ready_and_gives_no_metrics() {
    let database = Database::new();
    let exporter = Exporter::of(&database, &[]);
    let mut session = database.connect();
    let version: String = session.one(
        "SELECT extversion FROM pg_extension WHERE extname = 'tasker_ext'",
        &[],
    );
    session.execute(
        "UPDATE pg_catalog.pg_extension SET extversion = '0.0.9' WHERE extname = 'tasker_ext'",
    );
    let reply = exporter.get("/health/ready");
    assert_eq!(reply.says("failed_checks"), (503, "[\"version\"]".into()));
    assert!(
        reply
            .says("message")
            .1
            .contains("ALTER EXTENSION tasker_ext UPDATE"),
        "{}",
        reply.text
    );
    assert_eq!(exporter.get("/health/status").code, 503);
    let metrics = exporter.get("/metrics");
    assert_eq!(
        (metrics.code, metrics.metric("tasker_up")),
        (200, Some(0.0))
    );
    session.query(
        "UPDATE pg_catalog.pg_extension SET extversion = $1 WHERE extname = 'tasker_ext'",
        &[&version],
    );
    let reply = exporter.get("/health/ready");
    assert_eq!(reply.code, 200, "{}", reply.text);
}

#[test]
fn a_role_without_rights_and_a_role_that_does_not_exist_say_so() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("CREATE ROLE exporter_stranger LOGIN");
    let folder = database.server().folder().display();
    let of = |user: &str| {
        Exporter::start(
            &format!("host={folder} dbname={} user={user}", database.name()),
            &[],
            &[],
        )
    };
    let stranger = of("exporter_stranger");
    let reply = stranger.get("/health/ready");
    assert_eq!(reply.says("failed_checks"), (503, "[\"rights\"]".into()));
    assert!(
        reply.says("message").1.contains("tasker_reader"),
        "{}",
        reply.text
    );
    assert_eq!(stranger.get("/metrics").metric("tasker_up"), Some(0.0));
    session.execute("GRANT tasker_reader TO exporter_stranger");
    assert_eq!(stranger.get("/health/ready").code, 200);

    let reply = of("exporter_nobody").get("/health/ready");
    assert_eq!(reply.says("failed_checks"), (503, "[\"database\"]".into()));
    assert!(
        reply
            .says("message")
            .1
            .contains("refuses the role or the password"),
        "{}",
        reply.text
    );
}

#[test]
fn a_password_is_checked_and_never_shown() {
    let server = own_server(&[]);
    make_role(&server);
    server
        .connect("postgres")
        .execute(&format!("ALTER ROLE {ROLE} PASSWORD 'right-password'"));
    let hba = server.folder().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("a server has rules");
    std::fs::write(&hba, format!("local all {ROLE} scram-sha-256\n{rules}")).expect("ours");
    server
        .connect("postgres")
        .query("SELECT pg_reload_conf()", &[]);
    let dsn = dsn(&server, PATTERN);

    let deadline = Instant::now() + patience(10);
    let wrong = Exporter::start(&dsn, &[], &[("PGPASSWORD", "wrong-password")]);
    let reply = loop {
        let reply = wrong.get("/health/ready");
        if reply.code == 503 || Instant::now() > deadline {
            break reply;
        }
    };
    assert!(
        reply
            .says("message")
            .1
            .contains("refuses the role or the password"),
        "{}",
        reply.text
    );
    assert!(!reply.text.contains(ROLE), "{}", reply.text);
    while !wrong.log().contains("no connection to the database") {
        assert!(Instant::now() < deadline, "{}", wrong.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!wrong.log().contains("wrong-password"), "{}", wrong.log());

    assert_eq!(
        Exporter::start(&dsn, &[], &[("PGPASSWORD", "right-password")])
            .get("/health/ready")
            .code,
        200
    );
    let in_uri = format!(
        "postgresql://{ROLE}:right%2Dpassword@/{PATTERN}?host={}",
        server.folder().display()
    );
    assert_eq!(
        Exporter::start(&in_uri, &[], &[]).get("/health/ready").code,
        200
    );

    let file = server.folder().join("passwords");
    std::fs::write(&file, format!("# of tests\n*:*:*:{ROLE}:right-password\n")).expect("ours");
    let by_file = [("PGPASSFILE", file.to_str().expect("UTF-8"))];
    let mode = |mode: u32| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    mode(0o600);
    assert_eq!(
        Exporter::start(&dsn, &[], &by_file)
            .get("/health/ready")
            .code,
        200
    );
    mode(0o644);
    assert_eq!(
        Exporter::start(&dsn, &[], &by_file)
            .get("/health/ready")
            .code,
        503
    );
}

// ---- bounds and the end -----------------------------------------------------------------------------------------------

#[test]
fn slow_and_large_requests_and_too_many_clients_are_cut_off() {
    let exporter = Exporter::start("host=/nowhere user=none", &["--max-connections=4"], &[]);
    let connect = || TcpStream::connect(exporter.address()).expect("it listens");
    let read_all = |stream: &mut TcpStream| {
        stream
            .set_read_timeout(Some(patience(30)))
            .expect("a socket");
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };

    let mut large = connect();
    let header = "x".repeat(20_000);
    let _ = write!(
        large,
        "GET /health/live HTTP/1.1\r\nHost: x\r\nX: {header}\r\n\r\n"
    );
    assert!(
        read_all(&mut large).starts_with("HTTP/1.1 431"),
        "a request without end is refused"
    );
    drop(large);

    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    for stream in &mut slow {
        stream
            .write_all(b"GET /health/live HTTP/1.1\r\nHo")
            .expect("it reads");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        read_all(&mut connect()),
        "",
        "a fifth client is closed without an answer"
    );
    assert!(begun.elapsed() < Duration::from_secs(4));
    for stream in &mut slow {
        read_all(stream);
    }
    assert!(begun.elapsed() < patience(15), "slow clients are cut off");
    let reply = exporter.wait_until("/metrics", |_| true);
    assert_eq!(
        reply.metric("tasker_exporter_refused_connections_total"),
        Some(1.0)
    );
}

#[test]
fn memory_does_not_grow_with_requests() {
    let database = Database::new();
    let exporter = Exporter::of(&database, &["--cache-duration=0"]);
    let ask = |count: usize| {
        for number in 0..count {
            exporter.get(["/metrics", "/health/ready", "/health/status", "/nothing"][number % 4]);
        }
    };
    let resident = || -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .expect("a number")
    };
    ask(scaled(200, 2_000));
    let before = resident();
    ask(scaled(600, 20_000));
    let after = resident();
    assert!(
        after < 100_000 && after < before + 4_000,
        "{before} kB, then {after} kB"
    );
}

#[test]
fn sigterm_lets_a_request_finish_and_takes_no_new_one() {
    let database = Database::new();
    let mut session = database.connect();
    let mut exporter = Exporter::of(&database, &["--readiness-timeout=8"]);
    assert_eq!(exporter.get("/health/ready").code, 200);
    session.execute(LOCK);
    let address = exporter.address();
    let asked = std::thread::spawn(move || {
        tasker_client_tests::exporter::request(address, "GET", "/metrics", None)
    });
    std::thread::sleep(Duration::from_millis(500));
    exporter.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        TcpStream::connect(address).is_err(),
        "it still accepts clients"
    );
    session.execute("ROLLBACK");
    assert_eq!(
        asked.join().expect("an answer").metric("tasker_up"),
        Some(1.0)
    );
    assert_eq!(exporter.wait(patience(5)).code(), Some(0));
    assert!(exporter.log().contains("stopped"));
    assert_eq!(connections(&mut session), 0);
}

#[test]
fn a_stop_waits_no_longer_than_its_limit() {
    let database = Database::new();
    let mut session = database.connect();
    let mut exporter = Exporter::of(
        &database,
        &["--readiness-timeout=60", "--shutdown-timeout=0.5"],
    );
    session.execute(LOCK);
    let mut client = TcpStream::connect(exporter.address()).expect("it listens");
    client
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it reads");
    std::thread::sleep(Duration::from_millis(300));
    exporter.signal("INT");
    assert_eq!(exporter.wait(patience(5)).code(), Some(0));
    assert!(exporter.log().contains("cut off"), "{}", exporter.log());
}

#[test]
fn what_cannot_work_ends_at_the_start_with_a_reason() {
    let taken = Exporter::start("host=/nowhere user=none", &[], &[]);
    let address = taken.address().to_string();
    for (dsn, arguments, reason) in [
        ("sslmode=maybe password=secret", vec![], "sslmode"),
        ("nonsense=1 password=secret", vec![], "nonsense"),
        ("", vec!["--listen", &address], "cannot listen"),
        ("", vec!["--token-file", "/nowhere/token"], "token file"),
        (
            "sslmode=verify-full sslrootcert=/nowhere/root host=localhost",
            vec![],
            "/nowhere/root",
        ),
    ] {
        let mut command = Exporter::command(dsn, &[], &[]);
        // clap takes one --listen.
        if arguments.first() == Some(&"--listen") {
            command = std::process::Command::new(command.get_program());
            command.args(["exporter", "--dsn", dsn]);
        }
        let (code, said) = Exporter::ends(command.args(&arguments));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(reason) && !said.contains("secret"), "{said}");
    }
}

#[test]
fn the_log_is_lines_of_json_or_text() {
    let exporter = Exporter::start("host=/nowhere user=none", &[], &[]);
    exporter.get("/health/ready");
    // Another thread reads it.
    let deadline = Instant::now() + patience(10);
    while exporter.log().lines().count() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = exporter.log();
    let entries: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        entries
            .iter()
            .all(|entry| entry["timestamp"].is_string() && entry["component"] == "exporter"),
        "{log}"
    );
    assert_eq!(entries[1]["reason"], "unreachable");
    assert_eq!(entries[1]["level"], "warn");
}
