//! The configuration: loading files, where a value comes from, when each process has it, history and going back.

use std::time::Instant;

use tasker_client_tests::server::{Server, psql, root};
use tasker_client_tests::{Database, Session, Template, database, inside, json, patience, shapes};

fn load(session: &mut Session, component: &str, toml: &str) -> Vec<String> {
    load_for(session, component, toml, None)
}

/// What the load says, a line for each row.
fn load_for(
    session: &mut Session,
    component: &str,
    toml: &str,
    environment: Option<&str>,
) -> Vec<String> {
    session.all(
        "SELECT concat_ws('|', l.severity, l.path, l.message) FROM tasker.load_config($1, $2, $3) l",
        &[&component, &toml, &environment],
    )
}

#[track_caller]
fn loads(session: &mut Session, component: &str, toml: &str) {
    loads_for(session, component, toml, None);
}

#[track_caller]
fn loads_for(session: &mut Session, component: &str, toml: &str, environment: Option<&str>) {
    let said = load_for(session, component, toml, environment);
    assert!(
        said.iter().all(|line| !line.starts_with("error")),
        "{said:?}"
    );
}

/// The wait in seconds after the first attempt of a step, as this session decides it. The list begins with 1000 seconds, so the cap decides.
fn cap(session: &mut Session) -> f64 {
    let task = session.create("capped");
    let claim = session.claim_one("worker");
    assert_eq!(claim.task, task);
    session.fail_and_wait(&claim);
    let seconds = session.one(
        "SELECT date_part('epoch', available_at - clock_timestamp())::float8 FROM tasker.workflow_steps WHERE task_uuid = $1",
        &[&task],
    );
    session.query("SELECT tasker.cancel_task($1, 'seen')", &[&task]);
    seconds
}

/// Within a few seconds of the real time that the test takes.
#[track_caller]
fn caps_at(session: &mut Session, seconds: f64) {
    let found = cap(session);
    assert!(
        found <= seconds && found > seconds - 10.0,
        "{found} instead of {seconds}"
    );
}

const LONG: &str = "[backoff]\ndefault_backoff_seconds = [1000]\njitter_enabled = false\n";

fn with_cap(seconds: u32) -> String {
    format!("{LONG}max_backoff_seconds = {seconds}\n")
}

fn prepared() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("capped", 1).register(&mut session);
    (database, session)
}

#[test]
fn a_loaded_file_holds_for_every_session_with_its_next_call() {
    let (database, mut session) = prepared();
    let mut other = database.connect();
    loads(&mut session, "system", &with_cap(100));
    caps_at(&mut other, 100.0);
    caps_at(&mut session, 100.0);
    loads(&mut session, "system", &with_cap(200));
    // Its transaction has begun before, and its snapshot is older than the change.
    other.execute("BEGIN ISOLATION LEVEL READ COMMITTED");
    other.count("SELECT count(*) FROM tasker.tasks", &[]);
    loads(&mut session, "system", &with_cap(400));
    caps_at(&mut other, 400.0);
    other.execute("COMMIT");
}

#[test]
fn what_is_not_committed_is_seen_by_no_other_session_and_a_rollback_takes_it_back() {
    let (database, mut session) = prepared();
    let mut other = database.connect();
    loads(&mut session, "system", &with_cap(100));
    session.execute("BEGIN");
    loads(&mut session, "system", &with_cap(200));
    caps_at(&mut session, 200.0);
    session.execute("SAVEPOINT s");
    loads(&mut session, "system", &with_cap(400));
    caps_at(&mut session, 400.0);
    session.execute("ROLLBACK TO s");
    caps_at(&mut session, 200.0);
    session.execute("ROLLBACK");
    caps_at(&mut session, 100.0);
    caps_at(&mut other, 100.0);
}

#[test]
fn an_environment_stands_above_the_base_and_can_be_changed() {
    let (database, mut session) = prepared();
    let mut other = database.connect();
    loads(&mut session, "system", &with_cap(100));
    loads_for(
        &mut session,
        "system",
        "[backoff]\nmax_backoff_seconds = 200\n",
        Some("test"),
    );
    caps_at(&mut other, 100.0);
    session.execute("SELECT tasker.set_environment('test')");
    caps_at(&mut other, 200.0);
    caps_at(&mut session, 200.0);
    session.execute("SELECT tasker.set_environment(NULL)");
    caps_at(&mut other, 100.0);
    // The setting comes before it, in sessions that begin from then on.
    session.execute(&format!(
        "ALTER DATABASE {} SET tasker.environment = 'test'",
        database.name()
    ));
    caps_at(&mut database.connect(), 200.0);
    for bad in ["", "a/b", "a b"] {
        assert_eq!(
            session
                .fails("SELECT tasker.set_environment($1)", &[&bad])
                .code,
            "22023",
            "{bad}"
        );
    }
}

#[test]
fn the_environment_decides_which_overrides_of_templates_apply() {
    let database = Database::new();
    let mut session = database.connect();
    let template = Template::new("staged")
        .step_with("first", &[], json!({"default_retry_limit": 5}))
        .with(
            "environments",
            json!({"production": {"steps": [{"name": "first", "default_retry_limit": 9}]}}),
        );
    let limit = |session: &mut Session| {
        session.create("staged");
        let claim = session.claim_one("worker");
        session.complete(&claim, &json!({}));
        claim.retry_limit
    };
    session.execute("LOAD 'tasker_ext'");
    session.execute("SET tasker.environment = 'production'");
    assert_eq!(
        session.take_notices(),
        ["SET has no effect on this setting"]
    );
    template.register(&mut session);
    assert_eq!(limit(&mut session), 5);
    session.execute("SELECT tasker.set_environment('production')");
    let template = template.with("version", json!("0.2.0"));
    template.register(&mut session);
    assert_eq!(limit(&mut session), 9);
}

#[test]
fn with_an_error_nothing_changes_and_no_version_is_made() {
    let (_database, mut session) = prepared();
    loads(&mut session, "system", &with_cap(100));
    let before = inside::fingerprint(&mut session);
    let said: Vec<String> = session.all(
        "SELECT l.severity FROM tasker.load_config_set($1) l WHERE l.severity = 'error'",
        &[&json!({"base/system.toml": with_cap(200), "environments/test/system.toml": "[backoff\nmax = "})],
    );
    assert!(!said.is_empty());
    caps_at(&mut session, 100.0);
    let versions = session.count(
        "SELECT count(DISTINCT version) FROM tasker.config_history",
        &[],
    );
    assert_eq!(versions, 1);
    let said: Vec<String> = session.all(
        "SELECT l.severity FROM tasker.validate_config('system', $1) l WHERE l.severity = 'error'",
        &[&with_cap(200)],
    );
    assert!(said.is_empty());
    let said: Vec<String> = session.all(
        "SELECT l.severity FROM tasker.validate_config($1) l WHERE l.severity = 'error'",
        &[&json!({"base/system.toml": "[backoff\n"})],
    );
    assert!(!said.is_empty());
    let _ = before;
    caps_at(&mut session, 100.0);
    // The same again makes no version.
    loads(&mut session, "system", &with_cap(100));
    assert_eq!(
        session.count(
            "SELECT count(DISTINCT version) FROM tasker.config_history",
            &[]
        ),
        1
    );
}

#[test]
fn history_names_the_role_and_the_keys_and_rollback_makes_a_new_version() {
    let (database, mut session) = prepared();
    session.execute(
        "DO $$ BEGIN CREATE ROLE config_admin LOGIN IN ROLE tasker_admin; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    loads(&mut session, "system", &with_cap(100));
    let mut admin = database.connect_as("config_admin");
    admin.execute("SET application_name = 'deploy'");
    loads(&mut admin, "system", &with_cap(200));
    admin.execute("SELECT tasker.set_environment('test')");
    let lines = |session: &mut Session, condition: &str| -> Vec<String> {
        session.all(
            &format!(
                "SELECT concat_ws('|', version, changed_by, coalesce(component, '-'), key, coalesce(environment, '-'), old_value, new_value)
                 FROM tasker.config_history WHERE {condition} ORDER BY version, key"
            ),
            &[],
        )
    };
    assert_eq!(
        lines(&mut session, "version > 1"),
        [
            "2|config_admin|system|backoff.max_backoff_seconds|-|100|200",
            "3|config_admin|-|environment|-|\"test\"",
        ]
    );
    let of: String = session.one(
        "SELECT DISTINCT session FROM tasker.config_history WHERE version = 2",
        &[],
    );
    assert!(of.starts_with("config_admin deploy"), "{of}");
    let version: i64 = admin.one("SELECT tasker.rollback_config(1, 'too slow')", &[]);
    assert_eq!(version, 4);
    assert_eq!(
        lines(&mut session, "version = 4 AND reason = 'too slow'"),
        [
            "4|config_admin|system|backoff.max_backoff_seconds|-|200|100",
            "4|config_admin|-|environment|-|\"test\"",
        ]
    );
    caps_at(&mut session, 100.0);
    session.execute("SELECT tasker.rollback_config(0)");
    assert_eq!(
        lines(&mut session, "version = 5 AND new_value IS NOT NULL"),
        Vec::<String>::new()
    );
    assert_eq!(
        session.fails("SELECT tasker.rollback_config(77)", &[]).code,
        "P0002"
    );
    let mut worker = {
        session.execute(
            "DO $$ BEGIN CREATE ROLE config_operator LOGIN IN ROLE tasker_operator; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        );
        database.connect_as("config_operator")
    };
    for call in [
        "SELECT * FROM tasker.load_config('system', '')",
        "SELECT * FROM tasker.load_config_set('{}')",
        "SELECT * FROM tasker.validate_config('{}')",
        "SELECT tasker.rollback_config(1)",
        "SELECT tasker.set_environment('test')",
    ] {
        assert_eq!(worker.fails(call, &[]).code, "42501", "{call}");
    }
    worker.query("SELECT * FROM tasker.effective_config()", &[]);
    worker.query("SELECT * FROM tasker.config_history", &[]);
}

#[test]
fn a_file_can_be_removed() {
    let (_database, mut session) = prepared();
    loads(&mut session, "system", &with_cap(100));
    loads_for(
        &mut session,
        "system",
        "[backoff]\nmax_backoff_seconds = 200\n",
        Some("test"),
    );
    session.execute("SELECT tasker.set_environment('test')");
    caps_at(&mut session, 200.0);
    session.query(
        "SELECT * FROM tasker.load_config_set($1)",
        &[&json!({"environments/test/system.toml": null})],
    );
    caps_at(&mut session, 100.0);
}

#[test]
fn of_two_loaders_the_second_waits_and_then_sees_what_the_first_has_loaded() {
    let (database, mut first) = prepared();
    let mut second = database.connect();
    let mut watcher = database.connect();
    first.execute("BEGIN");
    loads(&mut first, "system", &with_cap(100));
    let pid = second.pid();
    let waiting = std::thread::spawn(move || {
        loads(&mut second, "system", &with_cap(200));
        second
    });
    watcher.wait_until_blocked(pid);
    first.execute("COMMIT");
    waiting.join().expect("the second loads");
    let old: String = first.one(
        "SELECT old_value::text FROM tasker.config_history WHERE version = 2 AND key = 'backoff.max_backoff_seconds'",
        &[],
    );
    assert_eq!(old, "100");
}

#[test]
fn what_the_calls_refuse() {
    let (_database, mut session) = prepared();
    for (code, call) in [
        ("22004", "SELECT tasker.load_config(NULL, '')"),
        ("22004", "SELECT tasker.load_config('system', NULL)"),
        ("22004", "SELECT tasker.load_config_set(NULL)"),
        ("22004", "SELECT tasker.rollback_config(NULL)"),
        ("22023", "SELECT tasker.load_config('sistem', '')"),
        (
            "22023",
            "SELECT tasker.load_config('system', '', 'no name')",
        ),
        ("22023", "SELECT tasker.load_config_set('[]')"),
        (
            "22023",
            "SELECT tasker.load_config_set('{\"system.toml\": \"\"}')",
        ),
        (
            "22023",
            "SELECT tasker.load_config_set('{\"base/system.txt\": \"\"}')",
        ),
        (
            "22023",
            "SELECT tasker.load_config_set('{\"base/system.toml\": 1}')",
        ),
        (
            "25001",
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT tasker.load_config('system', '')",
        ),
    ] {
        let failure = match session.client().batch_execute(call) {
            Ok(()) => panic!("{call} is accepted"),
            Err(error) => error,
        };
        session.execute("ROLLBACK");
        assert_eq!(failure.code().map(|code| code.code()), Some(code), "{call}");
    }
}

/// A server that preloads, with a handler that says what the executor takes for the default retention.
fn server() -> (Server, Session) {
    let server = Server::start(&[
        "shared_preload_libraries=tasker_ext",
        "max_worker_processes=24",
    ]);
    let mut session = server.connect("postgres");
    database::install(&mut session);
    session.execute(
        "CREATE SCHEMA app;
         CREATE FUNCTION app.look(step jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
         BEGIN RETURN jsonb_build_object('completed', (SELECT r.completed::text FROM tasker.retention r WHERE r.namespace_name = 'default')); END $$;
         SELECT tasker.configure_executor_pool('default', min_executors => 1)",
    );
    session.execute(
        r#"SELECT tasker.register_template('{"name": "looks", "step_templates": [{"name": "look", "handler_class": "sql:app.look"}]}')"#,
    );
    inside::watch_coordinator(&mut session);
    (server, session)
}

/// What a new session, an executor and the coordinator take for the default retention.
#[track_caller]
fn all_three(server: &Server, expected: &str) {
    let mut session = server.connect("postgres");
    session.take_notices();
    assert_eq!(
        inside::default_retention(&mut session),
        expected,
        "the session"
    );
    let began = Instant::now();
    loop {
        let task = session.create("looks");
        while session.task_state(task) != "complete" {
            assert!(began.elapsed() < patience(30), "the executor does not run");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let seen = session.results(task, "look");
        let expected = if expected == "00:00:00" {
            json!(null)
        } else {
            json!(expected)
        };
        if seen["completed"] == expected {
            break;
        }
        assert!(
            began.elapsed() < patience(20),
            "the executor has {seen}, not {expected}"
        );
    }
    while inside::coordinator_retention(&mut session).as_deref() != Some(expected) {
        assert!(
            began.elapsed() < patience(30),
            "the coordinator has {:?}, not {expected}",
            inside::coordinator_retention(&mut session)
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The line of effective_config for a key: value, origin, the end of the file's name.
fn in_force(session: &mut Session, key: &str) -> String {
    session.one(
        "SELECT concat_ws('|', c.value, c.origin, substring(c.origin_file FROM '(?:base/|environments/)?[^/]*(?:/[^/]*)?toml$|[^/]*$'))
         FROM tasker.effective_config() c WHERE c.key = $1",
        &[&key],
    )
}

#[test]
fn one_key_through_each_source_in_a_session_an_executor_and_the_coordinator() {
    let (server, mut session) = server();
    let key = "retention.default_retention";
    all_three(&server, "00:00:00");
    assert_eq!(in_force(&mut session, key), "0|default");
    loads(
        &mut session,
        "engine",
        "[retention]\ndefault_retention = 86400\n",
    );
    all_three(&server, "1 day");
    assert_eq!(in_force(&mut session, key), "86400|base|base/engine.toml");
    loads_for(
        &mut session,
        "engine",
        "[retention]\ndefault_retention = 172800\n",
        Some("test"),
    );
    session.execute("SELECT tasker.set_environment('test')");
    all_three(&server, "2 days");
    assert_eq!(
        in_force(&mut session, key),
        "172800|environment|environments/test/engine.toml"
    );

    let file = server.folder().join("data/postgresql.conf");
    let before = std::fs::read_to_string(&file).expect("the server's file");
    let with = format!("{before}\ntasker.default_retention = '3d'\n");
    std::fs::write(&file, with).expect("the server's file");
    session.execute("SELECT pg_reload_conf()");
    all_three(&server, "3 days");
    assert_eq!(in_force(&mut session, key), "259200|file|postgresql.conf");
    session.execute("ALTER SYSTEM SET tasker.default_retention = '4d'");
    session.execute("SELECT pg_reload_conf()");
    all_three(&server, "4 days");
    assert_eq!(
        in_force(&mut session, key),
        "345600|ALTER SYSTEM|postgresql.auto.conf"
    );
    // Sessions and processes that begin from then on have it.
    session.execute("ALTER DATABASE postgres SET tasker.default_retention = '5d'");
    let end = "SELECT pg_terminate_backend(pid) FROM tasker.background_workers WHERE kind IN ('coordinator', 'executor')";
    session.query(end, &[]);
    all_three(&server, "5 days");
    session.connect_again();
    assert_eq!(in_force(&mut session, key), "432000|DATABASE");

    // What is said for a role is ignored, with a warning.
    session.execute("ALTER ROLE postgres SET tasker.default_retention = '6d'");
    session.query(end, &[]);
    all_three(&server, "5 days");
    session.connect_again();
    let said = psql(server.folder(), "postgres")
        .args(["-c", "SELECT 1"])
        .output()
        .expect("psql runs");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("WARNING:  invalid value for parameter \"tasker.default_retention\""),
        "{said}"
    );
    assert!(said.contains("Use ALTER DATABASE"), "{said}");
    assert_eq!(in_force(&mut session, key), "432000|DATABASE");
    session.execute("ALTER ROLE postgres RESET tasker.default_retention");
    session.execute("ALTER ROLE postgres IN DATABASE postgres SET tasker.default_retention = '6d'");
    session.connect_again();
    assert_eq!(in_force(&mut session, key), "432000|DATABASE");
    session.execute("ALTER ROLE postgres IN DATABASE postgres RESET tasker.default_retention");
    session.connect_again();

    // SET is ignored, with a warning.
    for set in [
        "SET tasker.default_retention = '7d'",
        "SELECT set_config('tasker.default_retention', '7d', false)",
    ] {
        session.take_notices();
        session.execute(set);
        assert_eq!(
            session.take_notices(),
            ["SET has no effect on this setting"],
            "{set}"
        );
        assert_eq!(inside::default_retention(&mut session), "5 days");
        assert_eq!(in_force(&mut session, key), "432000|DATABASE");
    }
    session.execute("ALTER DATABASE postgres RESET tasker.default_retention");
    session.execute("ALTER SYSTEM RESET tasker.default_retention");
    std::fs::write(&file, before).expect("the server's file");
    session.execute("SELECT pg_reload_conf()");
    session.query(end, &[]);
    all_three(&server, "2 days");
    // A SET that does not count does not hide the files either.
    session.connect_again();
    session.execute("SET tasker.default_retention = '7d'");
    assert_eq!(inside::default_retention(&mut session), "2 days");
    session.execute("BEGIN; SET LOCAL tasker.default_retention = '8d'");
    assert_eq!(inside::default_retention(&mut session), "2 days");
    session.execute("ROLLBACK");
    assert_eq!(
        in_force(&mut session, key),
        "172800|environment|environments/test/engine.toml"
    );
}

#[test]
fn what_functions_set_stands_above_the_files() {
    let (_database, mut session) = prepared();
    loads(
        &mut session,
        "executor_pools",
        "[executor_pools]\n[default]\nmin_executors = 1\nmax_executors = 3\n",
    );
    assert_eq!(
        in_force(&mut session, "default.max_executors"),
        "3|base|base/executor_pools.toml"
    );
    session.execute("SELECT tasker.configure_executor_pool('default', max_executors => 2)");
    assert_eq!(
        in_force(&mut session, "default.max_executors"),
        "2|function"
    );
    assert_eq!(
        in_force(&mut session, "default.min_executors"),
        "1|base|base/executor_pools.toml"
    );
}

#[test]
fn for_the_settings_of_a_session_role_and_set_count() {
    let database = Database::new();
    let mut root = database.connect();
    root.execute("CREATE ROLE config_linker LOGIN IN ROLE tasker_reader; ALTER ROLE config_linker SET tasker.diagram_step_url = '/of/role'");
    let key = "diagram.step_url";
    loads(
        &mut root,
        "telemetry",
        "[diagram]\nstep_url = \"/of/files\"\n",
    );
    assert_eq!(
        in_force(&mut root, key),
        "\"/of/files\"|base|base/telemetry.toml"
    );
    let mut session = database.connect_as("config_linker");
    assert_eq!(in_force(&mut session, key), "\"/of/role\"|ROLE");
    session.execute("SET tasker.diagram_step_url = '/of/session'");
    assert_eq!(session.take_notices(), Vec::<String>::new());
    assert_eq!(in_force(&mut session, key), "\"/of/session\"|SET");
    drop(session);
    root.execute("DROP ROLE config_linker");
}

#[test]
fn without_preload_what_the_database_says_comes_back_from_below_what_the_role_says() {
    let (database, mut root) = prepared();
    root.execute(&format!(
        "ALTER DATABASE {} SET tasker.default_retention = '5d'",
        database.name()
    ));
    root.execute("DO $$ BEGIN CREATE ROLE config_late LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$; ALTER ROLE config_late SET tasker.default_retention = '6d'");
    let mut session = database.connect_as("config_late");
    assert_eq!(inside::default_retention(&mut session), "5 days");
    let said = session.take_notices();
    assert!(
        said.iter()
            .any(|line| line.contains("tasker.default_retention")),
        "{said:?}"
    );
    assert_eq!(
        in_force(&mut session, "retention.default_retention"),
        "432000|DATABASE"
    );
}

#[test]
fn a_call_that_has_begun_keeps_what_it_has() {
    let (_database, mut session) = prepared();
    session.execute(&format!(
        "CREATE TABLE public.seen (n serial, wait interval);
         CREATE FUNCTION public.change(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $f$
         BEGIN
             INSERT INTO public.seen (wait) SELECT tasker.calculate_backoff(1, jitter => 0);
             PERFORM tasker.load_config('system', '{LONG}max_backoff_seconds = 200');
             INSERT INTO public.seen (wait) SELECT tasker.calculate_backoff(1, jitter => 0);
             RETURN '{{}}';
         END $f$"
    ));
    loads(&mut session, "system", &with_cap(100));
    session.execute(
        r#"SELECT tasker.register_template('{"name": "changes", "steps": [{"name": "change", "handler": "sql:public.change"}]}')"#,
    );
    session.create("changes");
    session.query("SELECT * FROM tasker.run_steps()", &[]);
    session
        .execute("INSERT INTO public.seen (wait) SELECT tasker.calculate_backoff(1, jitter => 0)");
    let seen: Vec<String> = session.all("SELECT wait::text FROM public.seen ORDER BY n", &[]);
    assert_eq!(seen, ["00:01:40", "00:01:40", "00:03:20"]);
}

#[test]
fn a_standby_has_the_configuration_and_refuses_to_change_it() {
    let server = Server::start(&[]);
    let mut session = server.connect("postgres");
    database::install(&mut session);
    loads(
        &mut session,
        "engine",
        "[retention]\ndefault_retention = 86400\n",
    );
    let standby = server.standby();
    let mut there = standby.connect("postgres");
    assert_eq!(inside::default_retention(&mut there), "1 day");
    for call in [
        "SELECT * FROM tasker.load_config('engine', '')",
        "SELECT * FROM tasker.load_config_set('{}')",
        "SELECT tasker.rollback_config(1)",
        "SELECT tasker.set_environment('test')",
    ] {
        assert_eq!(there.fails(call, &[]).code, "25006", "{call}");
    }
    there.query("SELECT * FROM tasker.validate_config('engine', '')", &[]);
    // A change arrives while a session of the standby lives.
    loads(
        &mut session,
        "engine",
        "[retention]\ndefault_retention = 172800\n",
    );
    let began = Instant::now();
    while inside::default_retention(&mut there) != "2 days" {
        assert!(began.elapsed() < patience(20), "the change does not arrive");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_is_killed_while_files_are_loaded_has_whole_versions() {
    let server = Server::start(&[]);
    let mut session = server.connect("postgres");
    database::install(&mut session);
    for round in 0..3 {
        let config = server.config("postgres", "postgres");
        let loader = std::thread::spawn(move || {
            let mut session = Session::open(config);
            for n in 1.. {
                let files = json!({
                    "base/system.toml": with_cap(n), "environments/test/system.toml": format!("[backoff]\nmax_backoff_seconds = {n}\n"),
                });
                if session
                    .try_query("SELECT * FROM tasker.load_config_set($1)", &[&files])
                    .is_err()
                {
                    return;
                }
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(300 + 150 * round));
        server.kill();
        loader.join().expect("the loader ends");
        server.start_again();
        server.wait_until_up("postgres");
        session.connect_again();
        // Both files are of the last version, which has both.
        assert_eq!(inside::config_faults(&mut session), Vec::<String>::new());
    }
    assert!(session.count("SELECT count(*) FROM tasker.config_history", &[]) > 4);
}

#[test]
fn a_thousand_changes_under_load_fail_no_report() {
    let (database, mut session) = prepared();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..3)
        .map(|number| {
            let mut session = database.connect();
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut reports = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    session.create("capped");
                    for claim in session.claim_all(&format!("worker {number}")) {
                        assert_eq!(session.complete(&claim, &json!({})), "complete");
                        reports += 1;
                    }
                }
                reports
            })
        })
        .collect();
    for n in 0..tasker_client_tests::scaled(300, 1000) {
        loads(&mut session, "system", &with_cap(100 + n as u32 % 7));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let reports: i32 = workers
        .into_iter()
        .map(|worker| worker.join().expect("no report fails"))
        .sum();
    assert!(reports > 100, "{reports} reports");
    caps_at(&mut session, 106.0);
}

/// Debian's pgbouncer in transaction mode before a server, as `scripts/deps test` unpacks it.
struct Pool(std::process::Child);

impl Pool {
    fn start(server: &Server) -> Self {
        let cache = std::env::var("XDG_CACHE_HOME").map_or_else(
            |_| std::path::Path::new(&std::env::var("HOME").expect("a home")).join(".cache"),
            std::path::PathBuf::from,
        );
        // The server's user cannot enter the home of another one.
        let folder = server.folder().join("pool");
        let copied = std::process::Command::new("cp")
            .arg("-rL")
            .args([cache.join("tasker_ext/pgbouncer"), folder.clone()])
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "scripts/deps test unpacks pgbouncer"
        );
        let sockets = server.folder().display();
        let settings = format!(
            "[databases]\n* = host={sockets} port=5432 user=postgres\n[pgbouncer]\npool_mode = transaction\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {sockets}\nauth_type = any\nignore_startup_parameters = extra_float_digits\ndefault_pool_size = 3\nmax_client_conn = 50\n"
        );
        std::fs::write(folder.join("pool.ini"), settings).expect("a file beside the server");
        let libraries = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!(
                "dirname $(find {} -name 'libevent-2.1.so*' | head -n 1)",
                folder.display()
            ))
            .output()
            .expect("find runs");
        let libraries = String::from_utf8_lossy(&libraries.stdout).trim().to_owned();
        let child = std::process::Command::new(root().join("scripts/as-server-user"))
            .args(["env", &format!("LD_LIBRARY_PATH={libraries}")])
            .arg(folder.join("usr/sbin/pgbouncer"))
            .args(["-q", "-q"])
            .arg(folder.join("pool.ini"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("pgbouncer starts");
        Self(child)
    }

    fn connect(server: &Server) -> Session {
        let began = Instant::now();
        loop {
            let mut pooled = postgres::Config::new();
            pooled
                .host_path(server.folder())
                .port(6432)
                .user("postgres")
                .dbname("postgres");
            match Session::try_open(pooled) {
                Ok(session) => return session,
                Err(error) => assert!(
                    began.elapsed() < patience(20),
                    "pgbouncer does not answer: {error}"
                ),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The pool ends with its server: it has lost its folder. It is asked to end before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first column of a statement without parameters: the pool keeps no prepared statements.
fn simple(session: &mut Session, sql: &str) -> String {
    let messages = session.client().simple_query(sql).expect(sql);
    messages
        .iter()
        .filter_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .last()
        .unwrap_or_default()
}

#[test]
fn behind_a_pool_in_transaction_mode_every_client_has_the_change_with_its_next_call() {
    let server = Server::start(&[]);
    database::install(&mut server.connect("postgres"));
    let _pool = Pool::start(&server);
    let mut clients: Vec<Session> = (0..8).map(|_| Pool::connect(&server)).collect();
    let wait = "SELECT tasker.calculate_backoff(1, jitter => 0)::text";
    for round in 1..20 {
        let by = round % clients.len();
        let seconds = 10 + round;
        let said = simple(
            &mut clients[by],
            &format!(
                "SELECT l.message FROM tasker.load_config('system', E'[backoff]\\ndefault_backoff_seconds = [1000]\\nmax_backoff_seconds = {seconds}\\n') l"
            ),
        );
        assert_eq!(said, "");
        for client in &mut clients {
            assert_eq!(simple(client, wait), format!("00:00:{seconds}"));
        }
    }
    // What one client sets reaches no other: it has no effect.
    simple(&mut clients[0], "SET tasker.max_backoff_seconds = 7");
    for client in &mut clients {
        assert_eq!(simple(client, wait), "00:00:29");
    }
    simple(
        &mut clients[3],
        "SELECT tasker.load_config('system', E'[backoff]\\nmax_backoff_seconds = 5\\n', 'test')",
    );
    simple(&mut clients[4], "SELECT tasker.set_environment('test')");
    for client in &mut clients {
        assert_eq!(simple(client, wait), "00:00:05");
    }
    simple(&mut clients[5], "SELECT tasker.rollback_config(1)");
    for client in &mut clients {
        assert_eq!(simple(client, wait), "00:00:11");
    }
}
