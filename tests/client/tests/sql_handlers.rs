//! Handlers inside the database, run by a session with `run_steps`: whose rights they have, what their errors become,
//! what is kept and what is undone.

use tasker_client_tests::{Database, Session, Template, Uuid, Value, json, patience, shapes};

/// The handlers of the linear and the diamond example, and a few that misbehave.
const HANDLERS: &str = r#"
CREATE SCHEMA app;
CREATE TABLE app.effects (step_uuid uuid, note text);
CREATE FUNCTION app.square(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE parents numeric[] := ARRAY(
    SELECT (p.value->>'result')::numeric FROM jsonb_each(step->'dependency_results') p
    WHERE p.key IN (SELECT jsonb_array_elements_text(step->'handler_config'->'of')));
    product numeric := 1;
    factor numeric;
BEGIN
    IF parents = '{}' THEN
        IF coalesce((step->'context'->>'even_number')::int % 2, 1) <> 0 THEN
            RAISE EXCEPTION 'not even' USING ERRCODE = '22023', DETAIL = 'the detail', HINT = 'the hint';
        END IF;
        parents := ARRAY[(step->'context'->>'even_number')::numeric];
    END IF;
    FOREACH factor IN ARRAY parents LOOP product := product * factor; END LOOP;
    INSERT INTO app.effects VALUES ((step->>'step_uuid')::uuid, step->>'attempt');
    RETURN jsonb_build_object('result', trunc(product * product));
END $$;
CREATE FUNCTION app.raise(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.effects VALUES ((step->>'step_uuid')::uuid, 'undone');
    RAISE EXCEPTION 'raised' USING ERRCODE = step->'context'->>'code', DETAIL = 'the detail', HINT = 'the hint';
END $$;
CREATE FUNCTION app.sleep(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.effects VALUES ((step->>'step_uuid')::uuid, 'slept');
    PERFORM pg_sleep(30);
    RETURN '{}';
END $$;
CREATE FUNCTION app.caller(step jsonb) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT jsonb_build_object('user', current_user, 'path', current_setting('search_path'), 'argument', step) $$;
CREATE FUNCTION app.number(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '42'::jsonb $$;
CREATE FUNCTION app.nothing(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
CREATE FUNCTION app.void(step jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION app.wrong(step jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION app.settings(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('work_mem', '17MB', false);
    PERFORM set_config('app.left_behind', 'yes', false);
    RETURN '{}';
END $$;
CREATE FUNCTION app.execute(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE step->'context'->>'sql';
    RETURN jsonb_build_object('user', current_user);
END $$;
"#;

fn database() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(HANDLERS);
    (database, session)
}

fn calls(function: &str) -> Value {
    json!({"handler": format!("sql:app.{function}")})
}

fn squares(of: &[&str]) -> Value {
    json!({"handler": {"callable": "sql:app.square", "initialization": {"of": of}}})
}

fn once(name: &str, function: &str) -> Template {
    Template::new(name).step_with("only", &[], calls(function))
}

fn run(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT step_name || ' ' || state FROM tasker.run_steps()",
        &[],
    )
}

/// Error class, message, and whether the step is retried.
fn problem(session: &mut Session, task: Uuid) -> (String, String, bool) {
    let results = session.results(task, "only");
    let retried = session.one(
        "SELECT available_at IS NOT NULL FROM tasker.workflow_steps WHERE task_uuid = $1",
        &[&task],
    );
    let text = |field: &str| results[field].as_str().unwrap_or_default().to_owned();
    (text("error_class"), text("error_message"), retried)
}

#[test]
fn a_linear_workflow_runs_inside_the_database_without_any_process() {
    let (_database, mut session) = database();
    Template::new("mathematical_sequence")
        .step_with("linear_step_1", &[], squares(&[]))
        .step_with(
            "linear_step_2",
            &["linear_step_1"],
            squares(&["linear_step_1"]),
        )
        .step_with(
            "linear_step_3",
            &["linear_step_2"],
            squares(&["linear_step_2"]),
        )
        .step_with(
            "linear_step_4",
            &["linear_step_3"],
            squares(&["linear_step_3"]),
        )
        .register(&mut session);
    let task = session.create_with("mathematical_sequence", &json!({"even_number": 6}));
    let odd = session.create_with("mathematical_sequence", &json!({"even_number": 7}));
    assert_eq!(run(&mut session).len(), 5);
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(
        session.results(task, "linear_step_4").to_string(),
        r#"{"result":2821109907456}"#
    );
    assert_eq!(session.task_state(odd), "error");
    let results = session.results(odd, "linear_step_1");
    assert_eq!(results["error_class"], "22023");
    assert_eq!(results["error_message"], "not even");
    assert_eq!(results["detail"], "the detail");
    assert_eq!(results["hint"], "the hint");
    assert!(
        results["backtrace"][0]
            .as_str()
            .unwrap_or_default()
            .contains("app.square")
    );
}

#[test]
fn a_diamond_runs_inside_the_database_and_stays_exact() {
    let (_database, mut session) = database();
    Template::new("parallel_computation")
        .step_with("diamond_start", &[], squares(&[]))
        .step_with(
            "diamond_branch_b",
            &["diamond_start"],
            squares(&["diamond_start"]),
        )
        .step_with(
            "diamond_branch_c",
            &["diamond_start"],
            squares(&["diamond_start"]),
        )
        .step_with(
            "diamond_end",
            &["diamond_branch_b", "diamond_branch_c"],
            squares(&["diamond_branch_b", "diamond_branch_c"]),
        )
        .register(&mut session);
    let four = session.create_with("parallel_computation", &json!({"even_number": 4}));
    let ten = session.create_with("parallel_computation", &json!({"even_number": 10}));
    run(&mut session);
    assert_eq!(
        session.results(four, "diamond_end").to_string(),
        r#"{"result":4294967296}"#
    );
    assert_eq!(
        session.results(ten, "diamond_end").to_string(),
        r#"{"result":10000000000000000}"#
    );
    assert_eq!(session.task_states(&[four, ten]), ["complete: 2"]);
}

#[test]
fn a_handler_is_given_one_document_and_a_pinned_search_path() {
    let (_database, mut session) = database();
    Template::new("caller")
        .step_with(
            "only",
            &[],
            json!({"handler": {"callable": "sql:app.caller", "initialization": {"a": 1}}}),
        )
        .register(&mut session);
    let task = session.create_with("caller", &json!({"b": 2}));
    run(&mut session);
    let results = session.results(task, "only");
    assert_eq!(results["path"], "pg_catalog, pg_temp");
    let step = session.step(task, "only");
    let traceparent: String = session.one(
        "SELECT '00-' || trace_id || '-' || span_id || '-01' FROM tasker.trace_spans(task_uuid => $1)
         WHERE name = 'tasker.step.execution'",
        &[&task],
    );
    assert_eq!(
        results["argument"],
        json!({"task_uuid": task.to_string(), "step_uuid": step.to_string(), "step_name": "only", "attempt": 1,
               "context": {"b": 2}, "dependency_results": {}, "handler_config": {"a": 1},
               "traceparent": traceparent, "tracestate": null})
    );
}

#[test]
fn results_that_are_no_object_are_wrapped_and_none_is_an_empty_one() {
    let (_database, mut session) = database();
    for (name, expected) in [
        ("number", r#"{"result":42}"#),
        ("nothing", "{}"),
        ("void", "{}"),
    ] {
        once(name, name).register(&mut session);
        let task = session.create(name);
        run(&mut session);
        assert_eq!(
            session.results(task, "only").to_string(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn what_a_failed_handler_did_is_undone_and_its_sqlstate_decides_about_a_retry() {
    let (_database, mut session) = database();
    once("raise", "raise").register(&mut session);
    for (code, retried) in [
        ("40001", true),
        ("40P01", true),
        ("55P03", true),
        ("P0001", true),
        ("TK001", true),
        ("22012", false),
        ("23505", false),
        ("42501", false),
        ("P0002", false),
    ] {
        let task = session.create_with("raise", &json!({"code": code}));
        assert_eq!(run(&mut session), ["only error"], "{code}");
        assert_eq!(
            problem(&mut session, task),
            (code.to_owned(), "raised".to_owned(), retried)
        );
    }
    assert_eq!(session.count("SELECT count(*) FROM app.effects", &[]), 0);
}

#[test]
fn a_handler_that_runs_too_long_is_cancelled_and_tried_again() {
    let (_database, mut session) = database();
    Template::new("slow")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:app.sleep", "timeout_seconds": 1}),
        )
        .register(&mut session);
    let task = session.create("slow");
    let began = std::time::Instant::now();
    assert_eq!(run(&mut session), ["only error"]);
    assert!(began.elapsed() < patience(5));
    let (class, _, retried) = problem(&mut session, task);
    assert_eq!((class.as_str(), retried), ("57014", true));
    assert_eq!(session.count("SELECT count(*) FROM app.effects", &[]), 0);
    // The caller's own timeout is in force again.
    session.execute("SET statement_timeout = '300ms'");
    session.fails("SELECT pg_sleep(2)", &[]).is("57014");
}

#[test]
fn a_session_that_is_cancelled_or_out_of_time_undoes_its_call_and_fails_no_step() {
    let (database, mut session) = database();
    Template::new("slow")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:app.sleep", "timeout_seconds": 1, "retry": {"backoff": "none"}}),
        )
        .register(&mut session);
    once("long", "sleep").register(&mut session);
    let slow = session.create("slow");
    let long = session.create("long");
    // The caller's timeout goes on behind those of the handlers, which come sooner.
    session.execute("SET statement_timeout = '2500ms'");
    session
        .fails("SELECT * FROM tasker.run_steps()", &[])
        .is("57014");
    session.execute("RESET statement_timeout");
    let (mut other, pid) = (database.connect(), session.pid());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(500));
            other.query("SELECT pg_cancel_backend($1)", &[&pid]);
        });
        session
            .fails("SELECT * FROM tasker.run_steps()", &[])
            .is("57014");
    });
    for task in [slow, long] {
        assert_eq!(session.arrivals(task, Some("only"), "in_progress"), 0);
        assert_eq!(session.step_state(task, "only"), "pending");
    }
}

#[test]
fn the_setting_is_the_timeout_of_steps_that_have_none() {
    let (_database, mut session) = database();
    once("slow", "sleep").register(&mut session);
    // A fraction is not 0, which is no timeout.
    for timeout in ["1", "1ms", "0.4", "1us"] {
        let task = session.create("slow");
        session.execute(&format!("SET tasker.handler_timeout_seconds = '{timeout}'"));
        assert_eq!(run(&mut session), ["only error"], "{timeout}");
        assert_eq!(problem(&mut session, task).0, "57014", "{timeout}");
    }
}

#[test]
fn settings_that_a_handler_made_end_with_it() {
    let (_database, mut session) = database();
    once("settings", "settings").register(&mut session);
    session.create("settings");
    assert_eq!(run(&mut session), ["only complete"]);
    assert_ne!(session.one::<String>("SHOW work_mem", &[]), "17MB");
    let left: Option<String> = session.one(
        "SELECT nullif(current_setting('app.left_behind', true), '')",
        &[],
    );
    assert_eq!(left, None);
}

#[test]
fn a_handler_that_cannot_be_called_fails_its_step_permanently_and_the_hint_names_the_repair() {
    let (_database, mut session) = database();
    for (name, handler, words) in [
        (
            "unknown",
            "sql:app.unknown",
            "no function app.unknown(jsonb)",
        ),
        ("wrong", "sql:app.wrong", "returns jsonb or void"),
        ("bare", "sql:square", "names no schema"),
        (
            "nonsense",
            "sql:app.square(); DROP TABLE app.effects",
            "no function",
        ),
    ] {
        Template::new(name)
            .step_with("only", &[], json!({"handler": handler}))
            .register(&mut session);
        let task = session.create(name);
        assert_eq!(run(&mut session), ["only error"], "{name}");
        let (class, message, retried) = problem(&mut session, task);
        assert!(
            ["42883", "42601"].contains(&class.as_str()),
            "{class} {message}"
        );
        assert!(message.contains(words) || name == "nonsense", "{message}");
        assert!(!retried);
        assert_eq!(session.task_state(task), "error");
    }
    session.count("SELECT count(*) FROM app.effects", &[]);
}

#[test]
fn constraints_that_may_wait_do_not_wait_in_a_handler() {
    let (_database, mut session) = database();
    session.execute(
        "CREATE TABLE app.parent (id int PRIMARY KEY);
         CREATE TABLE app.child (id int REFERENCES app.parent DEFERRABLE INITIALLY DEFERRED)",
    );
    once("deferred", "execute").register(&mut session);
    let bad = session.create_with(
        "deferred",
        &json!({"sql": "INSERT INTO app.child VALUES (1)"}),
    );
    assert_eq!(run(&mut session), ["only error"]);
    assert_eq!(problem(&mut session, bad).0, "23503");
    session.create_with(
        "deferred",
        &json!({"sql": "INSERT INTO app.parent VALUES (1); INSERT INTO app.child VALUES (1)"}),
    );
    assert_eq!(run(&mut session), ["only complete"]);
}

// --- rights ------------------------------------------------------------------------------------------------------------

/// A role that may register templates and nothing else, with a handler of its own.
fn with_author(role: &str) -> (Database, Session, Session) {
    let (database, mut session) = database();
    session.execute(&format!(
        "CREATE ROLE {role} LOGIN; GRANT tasker_admin TO {role};
         GRANT USAGE ON SCHEMA app TO {role};
         CREATE TABLE app.secret (v text); INSERT INTO app.secret VALUES ('hidden')"
    ));
    let mut author = database.connect_as(role);
    once("as_author", "execute").register(&mut author);
    (database, session, author)
}

#[test]
fn a_handler_has_the_rights_of_the_role_that_registered_the_template_and_no_more() {
    let (_database, mut session, _author) = with_author("handler_author");
    let task = session.create_with("as_author", &json!({"sql": "SELECT"}));
    assert_eq!(run(&mut session), ["only complete"]);
    assert_eq!(session.results(task, "only")["user"], "handler_author");
    for forbidden in [
        "SELECT v FROM app.secret",
        "INSERT INTO app.effects VALUES (NULL, 'x')",
        "COPY app.effects TO PROGRAM 'true'",
    ] {
        let task = session.create_with("as_author", &json!({"sql": forbidden}));
        assert_eq!(run(&mut session), ["only error"], "{forbidden}");
        assert_eq!(problem(&mut session, task).0, "42501", "{forbidden}");
    }
    // The same by a superuser's template.
    once("as_superuser", "execute").register(&mut session);
    session.create_with("as_superuser", &json!({"sql": "SELECT v FROM app.secret"}));
    assert_eq!(run(&mut session), ["only complete"]);
}

#[test]
fn a_handler_cannot_gain_the_rights_of_the_role_that_runs_it() {
    let (_database, mut session, _author) = with_author("handler_climber");
    for climb in [
        "RESET ROLE",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION DEFAULT",
        "RESET SESSION AUTHORIZATION",
        "SELECT set_config('role', 'postgres', false)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "CREATE TEMP TABLE t (x int)",
    ] {
        let task = session.create_with("as_author", &json!({"sql": climb}));
        assert_eq!(run(&mut session), ["only error"], "{climb}");
        assert_eq!(problem(&mut session, task).0, "42501", "{climb}");
    }
    assert_eq!(
        session.one::<String>("SELECT current_user::text", &[]),
        "postgres"
    );
}

#[test]
fn registering_a_template_inside_a_security_definer_function_lends_no_rights() {
    let (_database, mut session, mut author) = with_author("handler_deputy");
    session.execute("GRANT CREATE ON SCHEMA app TO handler_deputy");
    let text = once("trap", "execute").text().replace('\'', "''");
    author.execute(&format!(
        "CREATE FUNCTION app.trap() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
         $f$ SELECT tasker.register_template('{text}') $f$"
    ));
    session.execute("SELECT app.trap()");
    let task = session.create_with("trap", &json!({"sql": "SELECT v FROM app.secret"}));
    assert_eq!(run(&mut session), ["only error"]);
    assert_eq!(problem(&mut session, task).0, "42501");
}

#[test]
fn the_engines_owner_cannot_take_on_another_role() {
    let (database, mut session, _author) = with_author("handler_forger");
    let mut engine = database.connect();
    engine.execute("SET SESSION AUTHORIZATION tasker_owner");
    for forgery in [
        "UPDATE tasker_engine.sql_handlers SET role_name = 'postgres'",
        "INSERT INTO tasker_engine.sql_handlers VALUES (1, 99, 'sql:app.execute', 'postgres')",
        "ALTER TABLE tasker_engine.sql_handlers DISABLE TRIGGER ALL",
        "ALTER TABLE tasker_engine.sql_handlers OWNER TO tasker_owner",
        "CREATE OR REPLACE FUNCTION tasker_engine.call_handler(handler text, argument jsonb, owner_oid oid, owner_name text) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'",
        "CREATE OR REPLACE FUNCTION tasker_engine.check_sql_handler() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "DROP TABLE tasker_engine.sql_handlers",
        "ALTER SCHEMA tasker_engine RENAME TO aside",
        "CREATE TABLE tasker_engine.sql_handlers_too (x int)",
    ] {
        let failure = engine.attempt_with(forgery, &[]).expect_err(forgery);
        assert!(
            ["42501", "2BP01"].contains(&failure.code.as_str()),
            "{forgery}: {failure}"
        );
    }
    // The handler that runs is the one that was registered, whatever the catalog says since.
    once("of_superuser", "caller").register(&mut session);
    engine.execute("UPDATE tasker.named_tasks_named_steps SET handler = 'sql:app.execute' WHERE handler = 'sql:app.caller'");
    let task = session.create_with(
        "of_superuser",
        &json!({"sql": "ALTER ROLE handler_forger SUPERUSER"}),
    );
    run(&mut session);
    assert_eq!(session.results(task, "only")["user"], "postgres");
    let climbed: bool = session.one(
        "SELECT rolsuper FROM pg_roles WHERE rolname = 'handler_forger'",
        &[],
    );
    assert!(!climbed);
}

#[test]
fn what_decides_about_rights_is_believed_only_while_a_superuser_owns_it() {
    for change in [
        "ALTER TABLE tasker_engine.sql_handlers OWNER TO tasker_owner",
        "ALTER FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) OWNER TO tasker_owner",
    ] {
        let (_database, mut session) = database();
        once("caller", "caller").register(&mut session);
        let task = session.create("caller");
        session.execute(change);
        session
            .fails("SELECT * FROM tasker.run_steps()", &[])
            .is("42501")
            .says(&["does not belong to a superuser"]);
        assert_eq!(session.step_state(task, "only"), "pending");
    }
}

#[test]
fn a_restore_brings_back_only_handlers_of_roles_that_the_restorer_has() {
    let (database, mut session, _author) = with_author("handler_restorer");
    session.execute(
        "GRANT USAGE ON SCHEMA tasker_engine TO handler_restorer; GRANT INSERT ON tasker_engine.sql_handlers TO handler_restorer",
    );
    let mut restorer = database.connect_as("handler_restorer");
    restorer
        .fails(
            "INSERT INTO tasker_engine.sql_handlers VALUES (1, 77, 'sql:app.execute', 'postgres')",
            &[],
        )
        .is("42501")
        .says(&["postgres", "handler_restorer"]);
    restorer.execute(
        "INSERT INTO tasker_engine.sql_handlers VALUES (1, 77, 'sql:app.execute', 'handler_restorer')",
    );
}

#[test]
fn a_role_that_is_gone_fails_the_step_and_is_named() {
    let (_database, mut session, author) = with_author("handler_leaver");
    drop(author);
    let task = session.create_with("as_author", &json!({"sql": "SELECT"}));
    session.execute("DROP OWNED BY handler_leaver; DROP ROLE handler_leaver");
    assert_eq!(run(&mut session), ["only error"]);
    let (class, message, retried) = problem(&mut session, task);
    assert_eq!((class.as_str(), retried), ("42704", false));
    assert!(message.contains("handler_leaver"), "{message}");
}

#[test]
fn workers_and_operators_can_run_steps_and_readers_cannot() {
    let (database, mut session) = database();
    for role in ["reader", "worker", "operator"] {
        session.execute(&format!(
            "CREATE ROLE runner_{role} LOGIN; GRANT tasker_{role} TO runner_{role}"
        ));
    }
    once("caller", "caller").register(&mut session);
    for role in ["worker", "operator"] {
        let task = session.create("caller");
        let mut runner = database.connect_as(&format!("runner_{role}"));
        assert_eq!(run(&mut runner), ["only complete"]);
        assert_eq!(session.results(task, "only")["user"], "postgres");
    }
    database
        .connect_as("runner_reader")
        .fails("SELECT * FROM tasker.run_steps()", &[])
        .is("42501");
}

// --- run_steps itself --------------------------------------------------------------------------------------------------

#[test]
fn run_steps_stops_at_its_maximum_and_looks_only_where_it_is_told() {
    let (_database, mut session) = database();
    once("here", "void").register(&mut session);
    once("there", "void")
        .with("namespace_name", json!("elsewhere"))
        .register(&mut session);
    for _ in 0..3 {
        session.create("here");
        session.execute("SELECT tasker.create_task('there', namespace => 'elsewhere')");
    }
    let count = |session: &mut Session, call: &str| {
        session.count(
            &format!("SELECT count(*) FROM tasker.run_steps({call})"),
            &[],
        )
    };
    assert_eq!(count(&mut session, "2, '{default}'"), 2);
    assert_eq!(count(&mut session, "queues => '{default}'"), 0);
    assert_eq!(count(&mut session, "namespaces => '{elsewhere}'"), 3);
    assert_eq!(count(&mut session, ""), 1);
}

#[test]
fn run_steps_refuses_bad_input() {
    let (_database, mut session) = database();
    for (call, code) in [
        ("max_steps => NULL", "22004"),
        ("queues => NULL", "22004"),
        ("max_steps => 0", "22023"),
        ("max_steps => 10001", "22023"),
        ("namespaces => '{NULL}'", "22004"),
        ("queues => '{NULL}'", "22004"),
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.run_steps({call})"), &[])
            .is(code);
    }
}

#[test]
fn steps_of_worker_processes_are_not_run_inside_the_database() {
    let (_database, mut session) = database();
    shapes::small_diamond().register(&mut session);
    session.create("small_diamond");
    assert!(run(&mut session).is_empty());
    // Also asked for by the name of their queue they wait for their worker.
    let states: Vec<String> = session.all(
        "SELECT state FROM tasker.run_steps(queues => '{default}')",
        &[],
    );
    assert!(states.is_empty());
    assert_eq!(session.claim_all("worker").len(), 1);
}

#[test]
fn without_preload_there_are_no_background_workers_and_create_extension_says_so() {
    let database = Database::empty();
    let mut session = database.connect();
    session.take_notices();
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    let notices = session.take_notices().join("\n");
    assert!(notices.contains("no background workers"), "{notices}");
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.background_workers", &[]),
        0
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.run_maintenance() WHERE error IS NOT NULL",
            &[]
        ),
        0
    );
}
