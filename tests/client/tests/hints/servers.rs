//! Hints that need a server of their own: one that restarts, or whose roles change.

use std::time::Instant;

use tasker_client_tests::postgres_tree::own_version;
use tasker_client_tests::server::Server;
use tasker_client_tests::{
    Act, Database, Failure, PostgresTree, Session, Template, database, json, patience, shapes,
};

const OLD: &str = "0.1.0";
const INSTALL: &str = "CREATE EXTENSION tasker_ext";

fn restarted(server: &Server) -> Session {
    server.stop();
    server.start_again();
    server.connect("postgres")
}

#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < patience(30), "not within 30 s: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The words between two others.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("no {before:?}: {text}"));
    rest.split(after).next().unwrap_or_default()
}

// --- the library ------------------------------------------------------------------------------------------------------------

#[test]
fn the_hint_of_an_old_library_that_is_preloaded_restarts_the_server() {
    let tree = PostgresTree::new();
    let server = tree.start(&["shared_preload_libraries=tasker_ext"]);
    let mut session = server.connect("postgres");
    session.execute(INSTALL);
    shapes::chain("two", 2).register(&mut session);
    drop(session);
    // The server runs with the old library, and the new one has been installed since.
    tree.install_library_of_version(OLD);
    let mut session = restarted(&server);
    tree.install_library();
    let call = "SELECT tasker.create_task('two')";
    let hint = session.fails(call, &[]).is("55000").hint;
    assert!(
        hint.starts_with("Restart the server, so that it loads the library that is installed;"),
        "{hint}"
    );
    // Less than the hint says does not help.
    server.connect("postgres").fails(call, &[]).is("55000");
    drop(session);
    restarted(&server).create("two");
}

#[test]
fn the_hint_of_an_old_library_that_is_not_preloaded_opens_a_new_session() {
    let tree = PostgresTree::new();
    let server = tree.start(&[]);
    let mut session = server.connect("postgres");
    session.execute(INSTALL);
    shapes::chain("two", 2).register(&mut session);
    tree.install_library_of_version(OLD);
    let mut old = server.connect("postgres");
    let call = "SELECT tasker.create_task('two')";
    let hint = old.fails(call, &[]).is("55000").hint;
    assert!(
        hint.ends_with("without shared_preload_libraries open a new session."),
        "{hint}"
    );
    tree.install_library();
    old.fails(call, &[]).is("55000");
    server.connect("postgres").create("two");
}

#[test]
fn the_hint_of_an_update_by_an_old_library_restarts_and_updates_again() {
    let tree = PostgresTree::new();
    tree.install_library_of_version(OLD);
    let server = tree.start(&["shared_preload_libraries=tasker_ext"]);
    let mut session = server.connect("postgres");
    session.execute(&format!("{INSTALL} VERSION '{OLD}'"));
    tree.install_library();
    let hint = session
        .fails("ALTER EXTENSION tasker_ext UPDATE", &[])
        .is("55000")
        .hint;
    assert!(hint.starts_with("Restart the server"), "{hint}");
    let again = between(&hint, "Then run ", " again.").to_owned();
    drop(session);
    let mut session = restarted(&server);
    session.execute(&again);
    let version: String = session.one(
        "SELECT extversion FROM pg_extension WHERE extname = 'tasker_ext'",
        &[],
    );
    assert_eq!(version, own_version());
    shapes::chain("two", 2).register(&mut session);
    session.create("two");
}

// --- the role that owns the engine ------------------------------------------------------------------------------------------

/// Functions as handlers of a step and of a subscriber, which need what the owner was granted besides what it owns.
const HANDLERS: &str = "
    CREATE FUNCTION public.one(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('one', 1) $$;
    CREATE TABLE public.heard (events jsonb);
    CREATE FUNCTION public.hear(events jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.heard VALUES (events) $$";

fn inside() -> Template {
    Template::new("inside").step_with("only", &[], json!({"handler": "sql:public.one"}))
}

/// A task by an external worker, one by a handler, and events by another one.
#[track_caller]
fn everything_works(session: &mut Session) {
    let outside = session.create("two");
    session.work(|_| Act::Complete(json!({})));
    assert_eq!(session.task_state(outside), "complete");
    let by_handler = session.create("inside");
    session.query("SELECT * FROM tasker.run_steps()", &[]);
    assert_eq!(session.task_state(by_handler), "complete");
    let faults: Vec<String> = session.all(
        "SELECT error FROM tasker.run_subscribers() WHERE error IS NOT NULL",
        &[],
    );
    assert_eq!(faults, [""; 0]);
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(session.disagreements(), [""; 0]);
    // Both are written again, under the same role.
    session.query(
        "SELECT tasker.register_template($1, true)",
        &[&inside().text()],
    );
    subscribe(session);
}

fn subscribe(session: &mut Session) {
    session.query("SELECT tasker.unsubscribe('hears')", &[]);
    session.query(
        "SELECT tasker.subscribe('hears', handler => 'sql:public.hear')",
        &[],
    );
}

/// What gives a role of that name what the owner of the engine owns now.
fn owned(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT format('ALTER %s %s OWNER TO tasker_owner', i.type, i.identity)
         FROM pg_shdepend d CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
         WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND d.deptype = 'o'
           AND d.refclassid = 'pg_authid'::regclass AND d.refobjid = 'tasker_owner'::regrole
           -- A sequence goes with the table that it counts for.
           AND NOT EXISTS (SELECT FROM pg_depend p WHERE p.classid = d.classid AND p.objid = d.objid AND p.deptype IN ('a', 'i')
                           AND p.refclassid = 'pg_class'::regclass AND p.refobjsubid > 0)
         ORDER BY 1",
        &[],
    )
}

#[test]
fn the_hint_of_a_missing_owner_gives_the_engine_its_owner_back() {
    let server = Server::start(&[]);
    let mut session = server.connect("postgres");
    session.execute(INSTALL);
    session.execute(HANDLERS);
    shapes::chain("two", 2).register(&mut session);
    inside().register(&mut session);
    session.query(
        "SELECT tasker.subscribe('hears', handler => 'sql:public.hear')",
        &[],
    );
    everything_works(&mut session);
    assert!(session.count("SELECT count(*) FROM public.heard", &[]) > 0);
    let call = "SELECT tasker.claim_steps('w')";
    let owned = owned(&mut session);
    assert!(owned.len() > 300, "{owned:#?}");

    session.execute("ALTER ROLE tasker_owner RENAME TO elsewhere");
    let hint = session.fails(call, &[]).is("42704").hint;
    let rename = between(&hint, "If it was renamed, run ", ". If it was dropped")
        .replace("...", "elsewhere");
    session.execute(&rename);
    everything_works(&mut session);

    session.execute("REASSIGN OWNED BY tasker_owner TO postgres; DROP OWNED BY tasker_owner; DROP ROLE tasker_owner");
    assert_eq!(session.fails(call, &[]).is("42704").hint, hint);
    let health = "SELECT * FROM tasker.health_status()";
    assert_eq!(session.fails(health, &[]).is("42704").hint, hint);
    session.execute(between(&hint, "If it was dropped, run ", ", give it"));
    for statement in owned {
        session.execute(&statement);
    }
    let granted = hint.split(", and GRANT ").nth(1).expect(&hint);
    session.execute(&format!("GRANT {granted}"));
    everything_works(&mut session);
    everything_works(&mut server.connect("postgres"));
}

// --- settings of the server -------------------------------------------------------------------------------------------------

/// The hint of a measure or of a finding, while there is one.
fn hint(session: &mut Session, of: &str) -> Option<String> {
    let query = format!(
        "SELECT hint FROM tasker.health_status() WHERE measure = '{of}' AND level <> 'healthy'
         UNION ALL SELECT hint FROM tasker.validate_resources() WHERE message ~ '{of}'"
    );
    let hints: Vec<String> = session.all(&query, &[]);
    hints.into_iter().next()
}

#[test]
fn the_hints_about_settings_of_the_server_are_true_after_a_restart() {
    let server = Server::start(&[
        "max_connections=12",
        "max_worker_processes=8",
        "max_parallel_workers_per_gather=8",
    ]);
    let mut session = server.connect("postgres");
    session.take_notices();
    session.execute(INSTALL);
    let warned = session.take_hints().join("\n");
    database::resume(&mut session);
    session.execute(HANDLERS);
    inside().register(&mut session);

    // Without background processes.
    session.query(
        "SELECT tasker.schedule_task('soon', '* * * * *', 'inside')",
        &[],
    );
    session.execute(
        "UPDATE tasker_engine.schedules SET next_run_at = clock_timestamp() - interval '1 second'",
    );
    let finding = hint(&mut session, "no launcher runs").expect("a finding");
    for said in [&warned, &finding] {
        for call in ["tasker.run_maintenance()", "tasker.run_steps()"] {
            assert!(said.contains(call), "{said}");
            session.query(&format!("SELECT * FROM {call}"), &[]);
        }
    }
    let ended = "SELECT count(*) FROM tasker.tasks WHERE state = 'complete'";
    let before = session.count(ended, &[]);
    assert!(before > 0, "run_steps has run it");

    // Too many connections.
    let others: Vec<Session> = (0..10).map(|_| server.connect("postgres")).collect();
    let full = hint(&mut session, "connections").expect("a full server");
    assert!(full.contains("raise max_connections"), "{full}");
    drop(others);

    assert!(
        warned.contains("set shared_preload_libraries = 'tasker_ext' and restart"),
        "{warned}"
    );
    assert!(finding.starts_with("Add tasker_ext to shared_preload_libraries and restart"));
    session.execute("ALTER SYSTEM SET shared_preload_libraries = 'tasker_ext'");
    session.execute("ALTER SYSTEM SET max_connections = 100");
    drop(session);
    let mut session = restarted(&server);
    assert_eq!(hint(&mut session, "no launcher runs"), None);
    session.create("inside");
    soon("a task runs by itself", || {
        session.count(ended, &[]) > before
    });
    let others: Vec<Session> = (0..10).map(|_| server.connect("postgres")).collect();
    assert_eq!(hint(&mut session, "connections"), None);
    drop(others);

    // Too few slots: for the most, for the least, and for parallel queries.
    let mut slots = vec![];
    for (least, most, finding) in [
        (1, 9, "may grow to 9 executors"),
        (20, 20, "want at least 20 executors"),
        (1, 20, "no room for the 8 workers of a parallel query"),
    ] {
        session.query(
            "SELECT tasker.configure_executor_pool('default', $1, $2)",
            &[&least, &most],
        );
        let hint_before =
            hint(&mut session, finding).unwrap_or_else(|| panic!("{finding}: {slots:?}"));
        let wanted = between(
            &hint_before,
            "Raise max_worker_processes to ",
            " (needs a restart)",
        );
        slots.push(wanted.to_owned());
        session.execute(&format!("ALTER SYSTEM SET max_worker_processes = {wanted}"));
        drop(session);
        session = restarted(&server);
        soon("the launcher is there", || {
            hint(&mut session, "no launcher runs").is_none()
        });
        assert_eq!(hint(&mut session, finding), None, "{hint_before}");
    }
}

// --- a role that is renamed meanwhile ---------------------------------------------------------------------------------------

/// Renames a role while the session makes its call, between the moment at which the call reads the name and that at which the table
/// looks the role up. Returns the refusal.
fn renamed_within(
    database: &Database,
    session: &mut Session,
    table: &str,
    rename: &str,
    call: &str,
) -> Failure {
    let (mut root, mut looker) = (database.connect(), database.connect());
    let pid = session.pid();
    root.execute(&format!("BEGIN; LOCK TABLE {table} IN SHARE MODE"));
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| session.attempt_rows(call).expect_err("it is renamed"));
        looker.wait_until_blocked(pid);
        root.execute(rename);
        root.execute("COMMIT");
        calling.join().expect("no panic")
    })
}

#[test]
fn the_hint_of_a_role_that_is_renamed_within_the_call_calls_again() {
    let database = Database::new();
    let mut root = database.connect();
    root.execute(HANDLERS);
    root.execute("CREATE ROLE hints_before LOGIN; GRANT tasker_admin TO hints_before");
    let mut session = database.connect_as("hints_before");
    let register = format!("SELECT tasker.register_template('{}')", inside().text());
    let refused = renamed_within(
        &database,
        &mut session,
        "tasker_engine.sql_handlers",
        "ALTER ROLE hints_before RENAME TO hints_after",
        &register,
    );
    assert_eq!(
        refused.message,
        "role \"hints_before\" was renamed at this moment"
    );
    assert_eq!(refused.hint, "Register the template again.");
    session.execute(&register);
    let role: String = root.one("SELECT role_name FROM tasker_engine.sql_handlers", &[]);
    assert_eq!(role, "hints_after");
    root.create("inside");
    root.query("SELECT * FROM tasker.run_steps()", &[]);
    assert_eq!(
        root.count(
            "SELECT count(*) FROM tasker.tasks WHERE state = 'complete'",
            &[]
        ),
        1
    );

    root.execute("GRANT INSERT ON public.heard TO hints_after");
    let subscribe =
        "SELECT tasker.subscribe('hears', start_at => 'beginning', handler => 'sql:public.hear')";
    let refused = renamed_within(
        &database,
        &mut session,
        "tasker_engine.subscriber_handlers",
        "ALTER ROLE hints_after RENAME TO hints_again",
        subscribe,
    );
    assert_eq!(
        refused.message,
        "role \"hints_after\" was renamed at this moment"
    );
    assert_eq!(refused.hint, "Call subscribe() again.");
    session.execute(subscribe);
    root.query("SELECT * FROM tasker.run_subscribers()", &[]);
    assert!(root.count("SELECT count(*) FROM public.heard", &[]) > 0);
    drop(session);
    root.execute("REVOKE ALL ON public.heard FROM hints_again");
}
