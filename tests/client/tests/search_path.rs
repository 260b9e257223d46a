//! The engine's SQL means pg_catalog's functions, operators and types, whatever schema a database looks into first and
//! whatever lies there: of background processes as of every function that a session calls.

use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::{Session, Template, json, patience, shapes};

/// Doubles of everything in pg_catalog, which record the role that ran them.
const DOUBLES: &str = include_str!("search_path.sql");

/// What a session asks whose own names are those of `public`: calls and reads without an operator, a function or a type of
/// their own.
fn ask(session: &mut Session, sql: &str) -> Option<String> {
    session
        .client()
        .simple_query(sql)
        .err()
        .map(|error| format!("{error:?} in: {sql}"))
}

#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < patience(60),
            "not within a minute: {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What the doubles said, each once; the log knows it even if the transaction was rolled back.
fn caught(server: &Server) -> Vec<String> {
    let mut caught: Vec<String> = server
        .log()
        .lines()
        .filter_map(|line| line.split_once("caught: "))
        .map(|(_, what)| what.to_owned())
        .collect();
    caught.sort();
    caught.dedup();
    caught
}

/// Work and maintenance of sessions.
fn sessions_work(caller: &mut Session, reader: &mut Session) {
    for call in [
        "SELECT * FROM tasker.report_and_claim('w', '[]', max_steps => 2)",
        "SELECT * FROM tasker.claim_steps('w', max_steps => 2)",
        "SELECT * FROM tasker.heartbeat('w')",
        "SELECT * FROM tasker.run_maintenance()",
        "SELECT * FROM tasker.run_steps()",
        "SELECT tasker.register_template('{\"name\": \"new\", \"steps\": [{\"name\": \"a\", \"handler\": \"sql:app.work\"}]}')",
    ] {
        assert_eq!(ask(caller, call), None);
    }
    let reports: String = reader.one(
        "SELECT json_agg(json_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status',
                    CASE WHEN random() < 0.3 THEN 'error' ELSE 'complete' END))::text
         FROM tasker.claim_steps('w2', max_steps => 10)",
        &[],
    );
    assert_eq!(
        ask(
            caller,
            &format!("SELECT * FROM tasker.report_steps('w2', '{reports}')"),
        ),
        None
    );
}

/// Calls every function with arguments that fit its types, and reads every view.
fn call_everything(caller: &mut Session, reader: &mut Session) {
    let functions: Vec<String> = reader.all(FUNCTIONS, &[]);
    let views: Vec<String> = reader.all(
        "SELECT format('SELECT * FROM %s', c.oid::regclass) FROM pg_class c
         WHERE c.relnamespace::regnamespace::text = 'tasker' AND c.relkind IN ('r', 'p', 'v')",
        &[],
    );
    let (mut asked, mut refused) = (0, vec![]);
    for sql in functions.iter().chain(&views) {
        asked += 1;
        caller.execute("BEGIN");
        refused.extend(ask(caller, sql));
        caller.execute("ROLLBACK");
    }
    println!("{asked} asked, {} refused", refused.len());
    // Refused because of the arguments, and not inside.
    assert!(refused.len() * 5 < asked, "{refused:#?}");
    assert!(
        !refused.iter().any(|refusal| refusal.contains("XX000")),
        "{refused:#?}"
    );
}

#[test]
fn nothing_that_the_engine_does_runs_a_name_of_the_search_path() {
    let server = Server::start(&[
        "shared_preload_libraries=tasker_ext",
        "max_worker_processes=24",
        "search_path=public,pg_catalog",
    ]);
    let mut first = server.connect("postgres");
    first.execute("CREATE DATABASE doubles");
    first.execute("ALTER DATABASE doubles SET search_path = public, pg_catalog");
    first.execute("ALTER ROLE postgres SET search_path = public, pg_catalog");
    let mut reader = server.connect("doubles");
    reader.execute("SET search_path = pg_catalog");
    for statement in DOUBLES.split_inclusive(";\n\n") {
        reader.execute(statement);
    }
    reader.execute(
        "CREATE SCHEMA app;
         CREATE FUNCTION app.work(step jsonb) RETURNS jsonb LANGUAGE sql RETURN '{\"done\": true}'::jsonb;
         CREATE FUNCTION app.fail(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
    );

    // Installation, a coordinator, executors, duties.
    let mut caller = server.connect("doubles");
    assert_eq!(ask(&mut caller, "CREATE EXTENSION tasker_ext"), None);
    for (name, handler) in [("works", "sql:app.work"), ("fails", "sql:app.fail")] {
        Template::new(name)
            .step_with("first", &[], json!({"handler": handler}))
            .step_with("second", &["first"], json!({"handler": handler}))
            .register(&mut reader);
    }
    shapes::diamond().register(&mut reader);
    for call in [
        "SELECT tasker.create_task('works')",
        "SELECT tasker.create_task('fails')",
        "SELECT * FROM tasker.create_tasks('diamond', '{\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\"}')",
        "SELECT tasker.schedule_task('each', '* * * * * *', 'works')",
    ] {
        assert_eq!(ask(&mut caller, call), None);
    }
    soon("the background works", || {
        !caught(&server).is_empty() || reader.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE state = 'complete' AND handler LIKE 'sql:%'",
            &[],
        ) >= 2
            && reader.count("SELECT count(*) FROM tasker.workflow_steps WHERE state = 'error'", &[]) >= 1
            && reader.count("SELECT count(*) FROM tasker.schedule_runs", &[]) >= 2
    });

    sessions_work(&mut caller, &mut reader);
    call_everything(&mut caller, &mut reader);
    assert_eq!(caught(&server), Vec::<String>::new());
    assert_eq!(reader.count("SELECT count(*) FROM public.caught", &[]), 0);

    // The doubles work.
    assert_eq!(
        ask(&mut caller, "SELECT 2::float8 * 3, now(), count(1)"),
        None
    );
    let awake = caught(&server).join("\n");
    for kind in [
        "operator_double precision(double precision, integer)",
        "now()",
        "cast",
    ] {
        assert!(awake.contains(kind), "{kind} is not doubled: {awake}");
    }
}

/// A call of each function of the extension.
const FUNCTIONS: &str = r#"
SELECT format('SELECT * FROM %s(%s)', p.oid::regproc, coalesce((
    SELECT string_agg(format('%s%L', (p.proargnames[n] || ' => '), CASE format_type(t, NULL)
        WHEN 'text' THEN CASE p.proargnames[n] WHEN 'namespace' THEN 'default' WHEN 'name' THEN 'works' WHEN 'worker_id' THEN 'w'
                              WHEN 'duty' THEN 'leases' WHEN 'pool' THEN 'default' ELSE 'x' END
        WHEN 'uuid' THEN CASE WHEN p.proargnames[n] LIKE '%step%' THEN (SELECT min(step_uuid::text) FROM tasker.workflow_steps WHERE state = 'pending')
                              ELSE (SELECT min(task_uuid::text) FROM tasker.workflow_steps WHERE state = 'pending') END
        WHEN 'jsonb' THEN '{}' WHEN 'boolean' THEN 'false' WHEN 'interval' THEN '1 minute'
        WHEN 'timestamp with time zone' THEN 'now' WHEN 'date' THEN 'today' WHEN '"char"' THEN 'c'
        ELSE CASE WHEN format_type(t, NULL) LIKE '%[]' THEN '{}' ELSE '1' END END), ', ' ORDER BY n)
    FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n) WHERE n <= p.pronargs - p.pronargdefaults), ''))
FROM pg_proc p
WHERE p.pronamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND p.prokind = 'f'
  AND p.prorettype <> 'trigger'::regtype
ORDER BY p.oid
"#;
