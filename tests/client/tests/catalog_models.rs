//! Templates, namespaces, outside systems, annotations and tags: their scopes, methods and validations.

use std::sync::Mutex;

use tasker_client_tests::race::{race, together};
use tasker_client_tests::session::Param;
use tasker_client_tests::worker::done;
use tasker_client_tests::{Database, Session, Uuid, Value, inside, json, shapes};

fn fresh() -> (Database, Session) {
    let database = Database::new();
    let session = database.connect();
    (database, session)
}

/// A template of one step; returns its named_task_id.
#[track_caller]
fn register(session: &mut Session, namespace: &str, name: &str, version: &str) -> i64 {
    shapes::chain(name, 1)
        .with("namespace_name", json!(namespace))
        .with("version", json!(version))
        .register(session)
}

/// order in shop (0.9.0, 0.10.0, 0.2.11) and in default (1.0.0), report in shop (0.9.0).
fn catalog() -> (Database, Session) {
    let (database, mut session) = fresh();
    for (namespace, name, version) in [
        ("shop", "order", "0.9.0"),
        ("shop", "order", "0.10.0"),
        ("shop", "order", "0.2.11"),
        ("shop", "report", "0.9.0"),
        ("default", "order", "1.0.0"),
    ] {
        register(&mut session, namespace, name, version);
    }
    (database, session)
}

/// The templates of a query over tasker.named_tasks, as `name version`.
#[track_caller]
fn templates(session: &mut Session, from: &str) -> Vec<String> {
    session.all(
        &format!("SELECT name || ' ' || version FROM {from} t ORDER BY named_task_id"),
        &[],
    )
}

const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

// ---- templates -------------------------------------------------------------------------------------------------------

#[test]
fn named_tasks_in_namespace() {
    let (_database, mut session) = catalog();
    assert_eq!(
        templates(&mut session, "tasker.named_tasks_in_namespace('shop')"),
        [
            "order 0.9.0",
            "order 0.10.0",
            "order 0.2.11",
            "report 0.9.0"
        ]
    );
    assert_eq!(
        templates(&mut session, "tasker.named_tasks_in_namespace('Shop')"),
        [""; 0]
    );
    session
        .fails("SELECT * FROM tasker.named_tasks_in_namespace(NULL)", &[])
        .is("22004");
}

#[test]
fn named_tasks_with_version() {
    let (_database, mut session) = catalog();
    assert_eq!(
        templates(&mut session, "tasker.named_tasks_with_version('0.9.0')"),
        ["order 0.9.0", "report 0.9.0"]
    );
    assert_eq!(
        templates(&mut session, "tasker.named_tasks_with_version('0.9')"),
        [""; 0]
    );
    session
        .fails("SELECT * FROM tasker.named_tasks_with_version(NULL)", &[])
        .is("22004");
}

#[test]
fn the_latest_version_is_the_highest_by_number() {
    let (_database, mut session) = catalog();
    let latest = "tasker.named_tasks_latest_versions()";
    assert_eq!(
        templates(&mut session, latest),
        ["order 0.10.0", "report 0.9.0", "order 1.0.0"]
    );
    // A condition looks at the latest versions; it does not make an older one the latest.
    assert_eq!(
        templates(
            &mut session,
            &format!("(SELECT * FROM {latest} WHERE version = '0.9.0')")
        ),
        ["report 0.9.0"]
    );
    // Also where the parts outgrow four bytes.
    register(&mut session, "shop", "order", "30000000000.0.0");
    register(&mut session, "shop", "order", "40000000000.0.0");
    register(&mut session, "shop", "order", "4000000000.0.0");
    assert_eq!(
        templates(&mut session, "tasker.find_latest_version('shop', 'order')"),
        ["order 40000000000.0.0"]
    );
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop')",
        &[],
    );
    assert_eq!(
        session.one::<String>("SELECT version FROM tasker.tasks", &[]),
        "40000000000.0.0"
    );
}

#[test]
fn find_named_task_and_version_exists() {
    let (_database, mut session) = catalog();
    for (call, expected) in [
        ("find_named_task('order')", vec!["order 1.0.0"]),
        ("find_named_task('order', 'shop')", vec!["order 0.10.0"]),
        (
            "find_named_task('order', 'shop', '0.2.11')",
            vec!["order 0.2.11"],
        ),
        ("find_named_task('order', 'shop', '1.0.0')", vec![]),
        ("find_named_task('report')", vec![]),
        ("find_latest_version('shop', 'order')", vec!["order 0.10.0"]),
        ("find_latest_version('shop', 'nothing')", vec![]),
    ] {
        assert_eq!(
            templates(&mut session, &format!("tasker.{call}")),
            expected,
            "{call}"
        );
    }
    let mut exists = |namespace: &str, name: &str, version: &str| -> bool {
        session.one(
            "SELECT tasker.version_exists($1, $2, $3)",
            &[&namespace, &name, &version],
        )
    };
    assert!(exists("shop", "order", "0.9.0"));
    assert!(!exists("default", "order", "0.9.0"));
    assert!(!exists("shop", "report", "0.10.0"));
    for call in [
        "find_named_task(NULL)",
        "find_named_task('order', NULL)",
        "find_latest_version('shop', NULL)",
        "find_latest_version(NULL, 'order')",
        "version_exists('shop', 'order', NULL)",
        "version_exists('shop', NULL, '1.0.0')",
        "version_exists(NULL, 'order', '1.0.0')",
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.{call}"), &[])
            .is("22004");
    }
}

#[test]
fn named_steps_for_named_task() {
    let (_database, mut session) = fresh();
    let linear = shapes::linear().register(&mut session) as i32;
    let other = shapes::dummy().register(&mut session) as i32;
    let steps = |session: &mut Session, id: i32| -> Vec<String> {
        session.all(
            "SELECT name FROM tasker.named_tasks_named_steps_for_named_task($1) WHERE step_no > 1 ORDER BY step_no DESC LIMIT 2",
            &[&id],
        )
    };
    assert_eq!(
        steps(&mut session, linear),
        ["finalize_workflow", "validate_output"]
    );
    assert_eq!(steps(&mut session, other), ["step-four", "step-three"]);
    assert_eq!(steps(&mut session, 99), [""; 0]);
    session
        .fails(
            "SELECT * FROM tasker.named_tasks_named_steps_for_named_task(NULL)",
            &[],
        )
        .is("22004");
}

#[test]
fn scopes_dissolve_into_the_query_that_asks() {
    let (_database, mut session) = catalog();
    session.execute("ANALYZE; SET enable_seqscan = off");
    for (from, index) in [
        (
            "tasker.named_tasks_in_namespace('shop') t WHERE t.name = 'order'",
            "named_tasks_task_namespace_id_name_version_key",
        ),
        (
            "tasker.named_tasks_with_version('0.9.0') t WHERE t.named_task_id = 1",
            "named_tasks_pkey",
        ),
        (
            "tasker.named_tasks_latest_versions() t WHERE t.named_task_id = 1",
            "named_tasks_pkey",
        ),
        (
            "tasker.named_tasks_named_steps_for_named_task(1) t WHERE t.step_no = 1",
            "Index Cond: (named_task_id = 1)",
        ),
        (
            "tasker.task_namespaces_custom() t WHERE t.name = 'shop'",
            "task_namespaces_name_key",
        ),
    ] {
        let plan: Vec<String> =
            session.all(&format!("EXPLAIN (COSTS OFF) SELECT * FROM {from}"), &[]);
        let plan = plan.join("\n");
        assert!(
            plan.contains(index) && !plan.contains("Function Scan") && !plan.contains("Sort"),
            "{from}\n{plan}"
        );
    }
}

#[test]
fn delete_template_removes_what_no_task_uses() {
    let (_database, mut session) = catalog();
    session.query("SELECT tasker.create_task('order')", &[]);
    session
        .fails(
            "SELECT tasker.delete_template('order', 'default', '1.0.0')",
            &[],
        )
        .is("23503")
        .message_says(&["default.order@1.0.0"])
        .hint_says(&["highest"]);
    let id: i64 = session.one(
        "SELECT named_task_id::bigint FROM tasker.find_named_task('order', 'shop')",
        &[],
    );
    assert_eq!(
        session.one::<i64>(
            "SELECT tasker.delete_template('order', 'shop', '0.10.0')",
            &[]
        ),
        id
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.named_tasks_named_steps WHERE named_task_id = $1::bigint",
            &[&id]
        ),
        0
    );
    assert_eq!(
        templates(&mut session, "tasker.find_named_task('order', 'shop')"),
        ["order 0.9.0"]
    );
    session
        .fails(
            "SELECT tasker.delete_template('order', 'shop', '0.10.0')",
            &[],
        )
        .is("P0002")
        .message_says(&["shop.order@0.10.0"]);
    // The same version may come back and works.
    register(&mut session, "shop", "order", "0.10.0");
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop')",
        &[],
    );
    assert_eq!(session.work_in("shop", |_| done()), ["step_1"]);
    for (call, code) in [
        ("delete_template(NULL, 'shop', '0.9.0')", "22004"),
        ("delete_template('order', NULL, '0.9.0')", "22004"),
        ("delete_template('order', 'shop', NULL)", "22004"),
        ("delete_template('order', 'shop', 'latest')", "22023"),
        ("delete_template('', 'shop', '0.9.0')", "22023"),
    ] {
        session
            .fails(&format!("SELECT tasker.{call}"), &[])
            .is(code);
    }
}

#[test]
fn a_template_is_deleted_or_gets_its_task_and_never_both() {
    let (database, mut session) = fresh();
    let (mut left, mut right) = (database.connect(), database.connect());
    let rounds = race(
        100,
        |_| {
            session.execute("DELETE FROM tasker.named_tasks t WHERE NOT EXISTS (SELECT FROM tasker.tasks k WHERE k.named_task_id = t.named_task_id)");
            let number = session.count("SELECT count(*) FROM tasker.named_tasks", &[]);
            register(&mut session, "default", &format!("raced_{number}"), "0.1.0");
            format!("raced_{number}")
        },
        |name| {
            left.attempt::<i64>(
                "SELECT tasker.delete_template($1, 'default', '0.1.0')",
                &[name],
            )
            .map(drop)
        },
        |name| {
            right
                .attempt::<Uuid>("SELECT tasker.create_task($1)", &[name])
                .map(drop)
        },
    );
    for round in rounds.met() {
        match (round.left, round.right) {
            (Ok(()), Err(failure)) => drop(failure.is("P0002")),
            (Err(failure), Ok(())) => drop(failure.is("23503")),
            other => panic!("{other:?}"),
        }
    }
}

// ---- validations -----------------------------------------------------------------------------------------------------

/// The statement must fail with this code.
#[track_caller]
fn refused(session: &mut Session, sql: &str, code: &str) {
    let failure = session.fails(sql, &[]);
    assert_eq!(failure.code, code, "{sql}: {failure}");
}

fn long(length: usize) -> String {
    "x".repeat(length)
}

/// Sets a column of the first template.
fn template_with(column: &str, value: &str) -> String {
    format!("UPDATE tasker.named_tasks SET {column} = {value} WHERE named_task_id = 1")
}

/// Sets a column of the first template's steps.
fn step_with(column: &str, value: &str) -> String {
    format!("UPDATE tasker.named_tasks_named_steps SET {column} = {value} WHERE named_task_id = 1")
}

#[test]
fn the_tables_refuse_invalid_names_and_versions() {
    let (_database, mut session) = catalog();
    for version in [
        "''",
        "' '",
        "'1.0'",
        "'1.0.0.0'",
        "'v1.0.0'",
        "'01.0.0'",
        "'1.0.0-rc1'",
        "'1..0'",
        "E'1.0.0\\n'",
        "'1234567.1234567.0'",
        "'123456789012345678901234567890.0.0'",
    ] {
        refused(&mut session, &template_with("version", version), "23514");
    }
    refused(&mut session, &template_with("version", "NULL"), "23502");
    refused(&mut session, &template_with("version", "'0.10.0'"), "23505");
    for value in ["''", "' '", &format!("'{}'", long(65))] {
        refused(&mut session, &template_with("name", value), "23514");
        for table in ["task_namespaces", "dependent_systems", "annotation_types"] {
            refused(
                &mut session,
                &format!("INSERT INTO tasker.{table} (name) VALUES ({value})"),
                "23514",
            );
        }
    }
    for table in ["task_namespaces", "dependent_systems", "annotation_types"] {
        refused(
            &mut session,
            &format!("INSERT INTO tasker.{table} (name) VALUES (NULL)"),
            "23502",
        );
        refused(
            &mut session,
            &format!("INSERT INTO tasker.{table} (name) VALUES ('twice'), ('twice')"),
            "23505",
        );
        refused(
            &mut session,
            &format!(
                "INSERT INTO tasker.{table} (name, description) VALUES ('long', '{}')",
                long(256)
            ),
            "23514",
        );
    }
    refused(
        &mut session,
        &template_with("description", &format!("'{}'", long(256))),
        "23514",
    );
    // Valid values are accepted.
    session.execute(&template_with("version", "'12345678.1234.0'"));
    session.execute("INSERT INTO tasker.annotation_types (name) VALUES ('ä'), (' a ')");
}

#[test]
fn the_tables_refuse_invalid_steps_and_configurations() {
    let (_database, mut session) = catalog();
    for configuration in ["'[]'", "'\"{}\"'", "'null'"] {
        refused(
            &mut session,
            &template_with("configuration", configuration),
            "23514",
        );
        refused(
            &mut session,
            &step_with("handler_config", configuration),
            "23514",
        );
    }
    for (column, value) in [
        ("name", "' '"),
        ("name", &format!("'{}'", long(129))),
        ("handler", "''"),
        ("handler", &format!("'{}'", long(256))),
        ("default_retry_limit", "-1"),
        ("timeout_seconds", "0"),
        ("priority", "5"),
        ("step_no", "0"),
    ] {
        refused(&mut session, &step_with(column, value), "23514");
    }
    refused(
        &mut session,
        "INSERT INTO tasker.named_steps (dependent_system_id, name) VALUES (1, ' ')",
        "23514",
    );
    refused(
        &mut session,
        &format!(
            "INSERT INTO tasker.named_steps (dependent_system_id, name) VALUES (1, '{}')",
            long(129)
        ),
        "23514",
    );
    refused(
        &mut session,
        "INSERT INTO tasker.named_steps (dependent_system_id, name) SELECT dependent_system_id, name FROM tasker.named_steps LIMIT 1",
        "23505",
    );
    refused(
        &mut session,
        "INSERT INTO tasker.named_tasks_named_steps (named_task_id, step_no, named_step_id, name, handler, queue_id, parents, children) SELECT named_task_id, 2, named_step_id, name, handler, queue_id, parents, children FROM tasker.named_tasks_named_steps LIMIT 1",
        "23505",
    );
}

#[test]
fn the_tables_refuse_invalid_maps_and_annotations() {
    let (_database, mut session) = catalog();
    refused(
        &mut session,
        "INSERT INTO tasker.dependent_system_object_maps (dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two) VALUES (1, 1, '', 'b')",
        "23514",
    );
    refused(
        &mut session,
        "INSERT INTO tasker.dependent_system_object_maps (dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two) VALUES (1, 1, 'a', NULL)",
        "23502",
    );
    refused(
        &mut session,
        "INSERT INTO tasker.dependent_system_object_maps (dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two) VALUES (1, 99, 'a', 'b')",
        "23503",
    );
    refused(
        &mut session,
        "INSERT INTO tasker.dependent_system_object_maps (dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two) VALUES (1, 1, 'a', 'b'), (1, 1, 'b', 'a')",
        "23505",
    );
    refused(
        &mut session,
        &format!(
            "INSERT INTO tasker.task_annotations (task_uuid, annotation_type_id, annotation) VALUES ('{UNKNOWN}', 99, '1')"
        ),
        "23503",
    );
}

// ---- namespaces ------------------------------------------------------------------------------------------------------

#[test]
fn task_namespaces_custom() {
    let (_database, mut session) = catalog();
    register(&mut session, "Default", "order", "1.0.0");
    let names: Vec<String> = session.all(
        "SELECT name FROM tasker.task_namespaces_custom() ORDER BY name COLLATE \"C\"",
        &[],
    );
    assert_eq!(names, ["Default", "shop"]);
}

#[test]
fn find_or_create_namespace_without_arguments_is_default() {
    let (_database, mut session) = fresh();
    let id: i32 = session.one("SELECT tasker.find_or_create_namespace()", &[]);
    assert_eq!(
        session.one::<i32>(
            "SELECT tasker.find_or_create_namespace('default', 'again')",
            &[]
        ),
        id
    );
    let row: Vec<String> = session.all(
        "SELECT name || coalesce(description, '-') FROM tasker.task_namespaces",
        &[],
    );
    assert_eq!(row, ["default-"]);
    session.query(
        "SELECT tasker.find_or_create_namespace('shop', 'what we sell')",
        &[],
    );
    register(&mut session, "shop", "order", "1.0.0");
    assert_eq!(
        session.one::<String>(
            "SELECT description FROM tasker.task_namespaces WHERE name = 'shop'",
            &[]
        ),
        "what we sell"
    );
}

#[test]
fn a_namespace_in_use_is_not_deleted() {
    let (database, mut session) = catalog();
    let before = inside::fingerprint(&mut session);
    session
        .fails("SELECT tasker.delete_namespace('shop')", &[])
        .is("23503")
        .message_says(&["shop", "in use"])
        .detail_says(&["4 versions"])
        .hint_says(&["delete_template"]);
    session
        .fails("SELECT tasker.delete_namespace('Shop')", &[])
        .is("P0002");
    assert_eq!(inside::fingerprint(&mut session), before);
    session.query("SELECT tasker.delete_template(name, 'shop', version) FROM tasker.named_tasks_in_namespace('shop')", &[]);
    let id: i32 = session.one(
        "SELECT task_namespace_id FROM tasker.task_namespaces WHERE name = 'shop'",
        &[],
    );
    assert_eq!(
        session.one::<i32>("SELECT tasker.delete_namespace('shop')", &[]),
        id
    );
    // Its queue went with it; a new one of that name works also for a session that knew the old one.
    session.claim(&tasker_client_tests::worker::Ask {
        namespaces: vec!["shop"],
        ..Default::default()
    });
    register(&mut session, "shop", "order", "1.0.0");
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop')",
        &[],
    );
    assert_eq!(database_work(&database, "shop"), ["step_1"]);
}

/// A worker of its own, in a session that remembers nothing.
fn database_work(database: &Database, namespace: &str) -> Vec<String> {
    database.connect().work_in(namespace, |_| done())
}

#[test]
fn a_namespace_is_deleted_or_gets_its_first_template_and_never_breaks_the_other() {
    let (database, mut session) = fresh();
    let (mut left, mut right) = (database.connect(), database.connect());
    let text = shapes::chain("raced", 1)
        .with("namespace_name", json!("raced"))
        .text();
    let rounds = race(
        100,
        |_| {
            session.execute("DELETE FROM tasker.named_tasks; DELETE FROM tasker.task_namespaces");
            session.query("SELECT tasker.find_or_create_namespace('raced')", &[]);
        },
        |()| {
            left.attempt::<i32>("SELECT tasker.delete_namespace('raced')", &[])
                .map(drop)
        },
        |()| {
            right
                .attempt::<i64>("SELECT tasker.register_template($1)", &[&text])
                .map(drop)
        },
    );
    for round in rounds.met() {
        // The template is always registered: after the deletion in a new namespace.
        assert_eq!(round.right, Ok(()));
        if let Err(failure) = round.left {
            failure.is("23503");
        }
    }
}

/// How many sessions of this database wait for a lock.
fn waiting(session: &mut Session) -> i64 {
    session.count(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        &[],
    )
}

#[test]
fn a_namespace_whose_first_template_is_being_registered_is_not_deleted() {
    let (database, mut session) = fresh();
    session.query("SELECT tasker.find_or_create_namespace('slow')", &[]);
    let text = shapes::chain("slow", 1)
        .with("namespace_name", json!("slow"))
        .text();
    // Stops the registration half-way: behind the namespace, before the template.
    let mut gate = database.connect();
    gate.execute("BEGIN; LOCK TABLE tasker.dependent_systems IN SHARE MODE");
    let (mut left, mut right) = (database.connect(), database.connect());
    std::thread::scope(|scope| {
        let registered = scope
            .spawn(move || left.attempt::<i64>("SELECT tasker.register_template($1)", &[&text]));
        while waiting(&mut session) < 1 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let deleted = scope
            .spawn(move || right.attempt::<i32>("SELECT tasker.delete_namespace('slow')", &[]));
        for _ in 0..400 {
            if waiting(&mut session) == 2 || deleted.is_finished() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        gate.execute("COMMIT");
        let deleted = deleted.join().expect("no panic");
        assert!(registered.join().expect("no panic").is_ok());
        deleted.expect_err("a template is registered").is("23503");
    });
}

// ---- outside systems and annotation types ----------------------------------------------------------------------------

/// The same call by 50 sessions at once, again and again: what each of them got.
fn by_fifty(
    database: &Database,
    rounds: usize,
    call: impl Fn(usize, usize, &mut Session) -> i64 + Sync,
) -> Vec<Vec<i64>> {
    let sessions: Vec<Mutex<Session>> = (0..50).map(|_| Mutex::new(database.connect())).collect();
    (0..rounds)
        .map(|round| {
            together(50, |number| {
                call(
                    round,
                    number,
                    &mut sessions[number].lock().expect("one owner"),
                )
            })
        })
        .collect()
}

#[test]
fn find_or_create_by_name_is_one_row_for_fifty_callers() {
    let (database, mut session) = fresh();
    for (function, table, id) in [
        (
            "find_or_create_dependent_system",
            "dependent_systems",
            "dependent_system_id",
        ),
        (
            "find_or_create_annotation_type",
            "annotation_types",
            "annotation_type_id",
        ),
        (
            "find_or_create_namespace",
            "task_namespaces",
            "task_namespace_id",
        ),
    ] {
        let got = by_fifty(&database, 5, |round, _, own| {
            own.one(
                &format!("SELECT tasker.{function}($1)::bigint"),
                &[&format!("name {round}")],
            )
        });
        for (round, ids) in got.iter().enumerate() {
            let stored: Vec<i64> = session.all(
                &format!("SELECT {id}::bigint FROM tasker.{table} WHERE name = $1"),
                &[&format!("name {round}")],
            );
            assert_eq!(stored.len(), 1, "{function}");
            assert!(
                ids.iter().all(|got| *got == stored[0]),
                "{function} {ids:?}"
            );
        }
        let made: i32 = session.one(
            &format!("SELECT tasker.{function}('told', 'what it is')"),
            &[],
        );
        assert_eq!(
            session.one::<i32>(&format!("SELECT tasker.{function}('told')"), &[]),
            made
        );
        assert_eq!(
            session.one::<String>(
                &format!("SELECT description FROM tasker.{table} WHERE name = 'told'"),
                &[]
            ),
            "what it is"
        );
        for (argument, code) in [
            ("NULL".to_owned(), "22004"),
            ("''".to_owned(), "22023"),
            ("E' \\n'".to_owned(), "22023"),
            (format!("'{}'", "x".repeat(65)), "22023"),
            (format!("'ok', '{}'", "x".repeat(256)), "22023"),
        ] {
            session
                .fails(&format!("SELECT tasker.{function}({argument})"), &[])
                .is(code);
        }
    }
}

#[test]
fn finding_a_kind_of_annotation_uses_up_no_numbers() {
    let (_database, mut session) = fresh();
    session.query(
        "SELECT tasker.find_or_create_annotation_type('a') FROM generate_series(1, 100)",
        &[],
    );
    let next: i32 = session.one("SELECT tasker.find_or_create_annotation_type('b')", &[]);
    assert_eq!(next, 2);
}

const MAP: &str = "SELECT tasker.find_or_create_dependent_system_object_map($1, $2, $3, $4)";

#[test]
fn an_object_map_is_the_same_in_either_order() {
    let (_database, mut session) = fresh();
    for system in ["crm", "erp"] {
        session.query(
            "SELECT tasker.find_or_create_dependent_system($1)",
            &[&system],
        );
    }
    let mut map = |one: &str, id_one: &str, two: &str, id_two: &str| -> i64 {
        session.one(MAP, &[&one, &id_one, &two, &id_two])
    };
    let row = map("erp", "4711", "crm", "ada");
    assert_eq!(map("erp", "4711", "crm", "ada"), row);
    assert_eq!(map("crm", "ada", "erp", "4711"), row);
    // Ids belong to their systems.
    assert_ne!(map("crm", "4711", "erp", "ada"), row);
    assert_ne!(map("erp", "4711", "crm", "bob"), row);
    assert_ne!(map("erp", "4711", "erp", "ada"), row);
    // Two objects of one system.
    let same = map("crm", "b", "crm", "a");
    assert_eq!(map("crm", "a", "crm", "b"), same);
    let stored: Vec<String> = session.all(
        "SELECT concat_ws(' ', o.name, m.remote_id_one, t.name, m.remote_id_two)
         FROM tasker.dependent_system_object_maps m
         JOIN tasker.dependent_systems o ON o.dependent_system_id = m.dependent_system_one_id
         JOIN tasker.dependent_systems t ON t.dependent_system_id = m.dependent_system_two_id
         ORDER BY m.dependent_system_object_map_id",
        &[],
    );
    assert_eq!(
        stored,
        [
            "erp 4711 crm ada",
            "crm 4711 erp ada",
            "erp 4711 crm bob",
            "erp 4711 erp ada",
            "crm b crm a"
        ],
        "as it was given first"
    );
    let none: Option<&str> = None;
    let long = "x".repeat(129);
    let bad: [([Param; 4], &str); 8] = [
        ([&none, &"a", &"crm", &"b"], "22004"),
        ([&"crm", &none, &"crm", &"b"], "22004"),
        ([&"crm", &"a", &none, &"b"], "22004"),
        ([&"crm", &"a", &"crm", &none], "22004"),
        ([&"crm", &"a", &"cms", &"b"], "P0002"),
        ([&"CRM", &"a", &"erp", &"b"], "P0002"),
        ([&"crm", &" ", &"erp", &"b"], "22023"),
        ([&"crm", &"a", &"erp", &long], "22023"),
    ];
    for (arguments, code) in bad {
        session.fails(MAP, &arguments).is(code);
    }
}

#[test]
fn an_object_map_is_one_row_for_fifty_callers_in_both_orders() {
    let (database, mut session) = fresh();
    for system in ["crm", "erp"] {
        session.query(
            "SELECT tasker.find_or_create_dependent_system($1)",
            &[&system],
        );
    }
    let got = by_fifty(&database, 10, |round, number, own| {
        let id = format!("order {round}");
        match number % 2 {
            0 => own.one(MAP, &[&"crm", &id, &"erp", &"x"]),
            _ => own.one(MAP, &[&"erp", &"x", &"crm", &id]),
        }
    });
    for ids in &got {
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.dependent_system_object_maps",
            &[]
        ),
        10
    );
}

// ---- annotations and tags --------------------------------------------------------------------------------------------

#[test]
fn annotate_task_writes_a_note_of_any_kind() {
    let (_database, mut session) = fresh();
    shapes::chain("one", 1).register(&mut session);
    let task = session.create("one");
    let other = session.create("one");
    let mut note = |kind: &str, note: &Value| -> i64 {
        session.one(
            "SELECT tasker.annotate_task($1, $2, $3)",
            &[&task, &kind, note],
        )
    };
    let first = note("ticket", &json!({"id": 7}));
    let second = note("ticket", &json!({"id": 7}));
    assert_ne!(first, second, "several of one kind");
    note("remark", &json!("looks good"));
    note("nothing", &Value::Null);
    let notes: Vec<String> = session.all(
        "SELECT tasker.annotation_type_name(a) || ' ' || a.annotation FROM tasker.task_annotations a WHERE a.task_uuid = $1 ORDER BY 1",
        &[&task],
    );
    assert_eq!(
        notes,
        [
            "nothing null",
            "remark \"looks good\"",
            "ticket {\"id\": 7}",
            "ticket {\"id\": 7}"
        ]
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.task_annotations WHERE task_uuid = $1",
            &[&other]
        ),
        0
    );
    // A note on a task that has ended, which is when most are written.
    session.work(|_| done());
    session.query("SELECT tasker.annotate_task($1, 'ticket', '{}')", &[&task]);
    let before = inside::fingerprint(&mut session);
    for (arguments, code) in [
        (format!("'{UNKNOWN}', 'ticket', '{{}}'"), "P0002"),
        ("NULL, 'ticket', '{}'".to_owned(), "22004"),
        (format!("'{task}', NULL, '{{}}'"), "22004"),
        (format!("'{task}', 'ticket', NULL"), "22004"),
        (format!("'{task}', '', '{{}}'"), "22023"),
        (format!("'{task}', '{}', '{{}}'", "x".repeat(65)), "22023"),
    ] {
        session
            .fails(&format!("SELECT tasker.annotate_task({arguments})"), &[])
            .is(code);
    }
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn tags_are_a_set_that_keeps_its_order() {
    let (_database, mut session) = fresh();
    shapes::chain("one", 1).register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('one', tags => '[\"b\", \"a\"]')",
        &[],
    );
    let other = session.create("one");
    let mut call = |function: &str, tags: Value| -> Value {
        session.one(
            &format!("SELECT tasker.{function}($1, $2)"),
            &[&task, &tags],
        )
    };
    assert_eq!(
        call("tag_task", json!(["c", "a", "c", 1])),
        json!(["b", "a", "c", 1])
    );
    assert_eq!(call("tag_task", json!([])), json!(["b", "a", "c", 1]));
    assert_eq!(
        call("untag_task", json!(["a", "1", "nothing"])),
        json!(["b", "c", 1])
    );
    assert_eq!(
        session.one::<Value>(
            "SELECT tags FROM tasker.tasks WHERE task_uuid = $1",
            &[&task]
        ),
        json!(["b", "c", 1])
    );
    assert_eq!(
        session.one::<Value>(
            "SELECT tags FROM tasker.tasks WHERE task_uuid = $1",
            &[&other]
        ),
        json!([])
    );
    session.work(|_| done());
    assert_eq!(
        session.one::<Value>("SELECT tasker.tag_task($1, '[\"late\"]')", &[&other]),
        json!(["late"])
    );
    for function in ["tag_task", "untag_task"] {
        for (arguments, code) in [
            (format!("'{UNKNOWN}', '[]'"), "P0002"),
            ("NULL, '[]'".to_owned(), "22004"),
            (format!("'{task}', NULL"), "22004"),
            (format!("'{task}', '\"a\"'"), "22023"),
            (format!("'{task}', '{{}}'"), "22023"),
        ] {
            session
                .fails(&format!("SELECT tasker.{function}({arguments})"), &[])
                .is(code);
        }
    }
}

#[test]
fn tags_written_at_once_are_all_kept_and_work_goes_on() {
    let (database, mut session) = fresh();
    shapes::wide("wide", 100).register(&mut session);
    let task = session.create("wide");
    let sessions: Vec<Mutex<Session>> = (0..8).map(|_| Mutex::new(database.connect())).collect();
    together(8, |number| {
        let own = &mut sessions[number].lock().expect("one owner");
        if number < 4 {
            own.work(|_| done());
        } else {
            for tag in 0..25 {
                own.query(
                    "SELECT tasker.tag_task($1, $2)",
                    &[&task, &json!([format!("{number}.{tag}")])],
                );
            }
        }
    });
    let tags: Value = session.one(
        "SELECT tags FROM tasker.tasks WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(tags.as_array().map(Vec::len), Some(100));
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
}

// ---- rights ----------------------------------------------------------------------------------------------------------

#[test]
fn each_role_may_call_what_it_works_with() {
    let (database, mut session) = catalog();
    let task: Uuid = session.one("SELECT tasker.create_task('order')", &[]);
    session.query("SELECT tasker.find_or_create_dependent_system('crm')", &[]);
    let note = [
        format!("SELECT tasker.annotate_task('{task}', 'ticket', '{{}}')"),
        "SELECT tasker.find_or_create_annotation_type('ticket')".to_owned(),
        "SELECT tasker.find_or_create_dependent_system('erp')".to_owned(),
        "SELECT tasker.find_or_create_dependent_system_object_map('crm', '1', 'crm', '2')"
            .to_owned(),
    ];
    let operate = [
        format!("SELECT tasker.tag_task('{task}', '[\"a\"]')"),
        format!("SELECT tasker.untag_task('{task}', '[\"a\"]')"),
        "INSERT INTO tasker.dependent_system_object_maps (dependent_system_one_id, dependent_system_two_id, remote_id_one, remote_id_two)
         SELECT dependent_system_id, dependent_system_id, 'c', 'd' FROM tasker.dependent_systems WHERE name = 'crm'".to_owned(),
    ];
    let read = [
        "SELECT * FROM tasker.named_tasks_latest_versions()".to_owned(),
        "SELECT * FROM tasker.named_tasks_in_namespace('shop')".to_owned(),
        "SELECT * FROM tasker.named_tasks_with_version('0.9.0')".to_owned(),
        "SELECT * FROM tasker.find_named_task('order')".to_owned(),
        "SELECT * FROM tasker.find_latest_version('shop', 'order')".to_owned(),
        "SELECT tasker.version_exists('shop', 'order', '0.9.0')".to_owned(),
        "SELECT * FROM tasker.named_tasks_named_steps_for_named_task(1)".to_owned(),
        "SELECT * FROM tasker.task_namespaces_custom()".to_owned(),
        "SELECT tasker.annotation_type_name(a) FROM tasker.task_annotations a".to_owned(),
    ];
    let administer = [
        "SELECT tasker.find_or_create_namespace('x')".to_owned(),
        "SELECT tasker.delete_template('order', 'shop', '0.9.0')".to_owned(),
        "SELECT tasker.delete_namespace('x')".to_owned(),
    ];
    let mut own = database.connect();
    for (role, allowed) in [
        ("reader", [true, false, false, false]),
        ("worker", [false, true, false, false]),
        ("operator", [true, true, true, false]),
        ("admin", [true, true, true, true]),
    ] {
        own.execute(&format!("SET ROLE tasker_{role}"));
        for (calls, allowed) in [&read[..], &note[..], &operate[..], &administer[..]]
            .into_iter()
            .zip(allowed)
        {
            for call in calls {
                match own.attempt_rows(call) {
                    Ok(_) => assert!(allowed, "{role} may {call}"),
                    Err(failure) => {
                        assert!(!allowed, "{role} cannot {call}: {failure}");
                        failure.is("42501");
                    }
                }
            }
        }
        own.execute("RESET ROLE");
        session.execute("DELETE FROM tasker.dependent_system_object_maps");
    }
    // A session that has not called the function yet: the index of the table is evaluated with the operator's rights.
    let mut operator = database.connect();
    operator.execute("SET ROLE tasker_operator");
    operator.execute(&operate[2]);
}
