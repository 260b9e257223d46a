//! What CREATE EXTENSION finds and what it leaves: a role or a schema of its name that is there already, default
//! privileges of future objects, and which owner it serves.

use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::worker::done;
use tasker_client_tests::{Session, json, shapes};

const INSTALL: &str = "CREATE EXTENSION tasker_ext";

fn connect(server: &Server, database: &str, user: &str) -> Session {
    Session::open(server.config(database, user))
}

/// Statement by statement: CREATE DATABASE wants a transaction of its own.
fn prepare(root: &mut Session, statements: &[&str]) {
    for statement in statements {
        root.execute(statement);
    }
}

/// Everything in the extension's schemas that one of these roles can do, with the role.
fn privileges(session: &mut Session, roles: &[&str]) -> Vec<String> {
    session.all(
        "SELECT DISTINCT concat_ws(' ', what, CASE e.grantee WHEN 0 THEN 'public' ELSE e.grantee::regrole::text END, e.privilege_type) AS line
         FROM (SELECT c.oid::regclass::text, c.relacl, c.relnamespace FROM pg_class c
               UNION ALL
               SELECT p.oid::regprocedure::text, p.proacl, p.pronamespace FROM pg_proc p
               UNION ALL
               SELECT n.nspname, n.nspacl, n.oid FROM pg_namespace n) AS o (what, acl, namespace),
              aclexplode(o.acl) e
         WHERE o.namespace::regnamespace::text IN ('tasker', 'tasker_engine')
           AND CASE e.grantee WHEN 0 THEN 'public' ELSE e.grantee::regrole::text END = ANY ($1)
         ORDER BY line",
        &[&roles],
    )
}

#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let limit = tasker_client_tests::patience(15);
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_database_that_is_not_utf8_is_refused_and_keeps_nothing() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    let mut hint = String::new();
    for (name, encoding) in [("latin", "LATIN1"), ("bytes", "SQL_ASCII")] {
        root.execute(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ));
        let mut session = connect(&server, name, "postgres");
        let refused = session.fails(INSTALL, &[]).is("0A000").says(&[encoding]);
        hint = refused.hint;
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tasker%'";
        assert_eq!(session.count(left, &[]), 0);
    }
    // What the hint says, also where a new database has another encoding unless one is named.
    prepare(
        &mut root,
        &[
            "ALTER DATABASE template1 IS_TEMPLATE false",
            "DROP DATABASE template1",
            "CREATE DATABASE template1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        ],
    );
    let statement = hint
        .split(" makes one; install the extension there.")
        .next();
    let statement = statement.expect("a statement");
    root.execute(&statement.replace("DATABASE name", "DATABASE unicode"));
    connect(&server, "unicode", "postgres").execute(INSTALL);
}

// --- the role that owns the engine -------------------------------------------------------------------------------------

#[test]
fn a_premade_owner_role_that_can_do_more_than_own_is_refused_until_the_hint_has_been_run() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    prepare(
        &mut root,
        &[
            "CREATE ROLE app LOGIN",
            "CREATE ROLE \"Some one\"",
            "CREATE DATABASE app OWNER app",
        ],
    );
    let mut owner = connect(&server, "app", "app");
    for (made, says) in [
        ("LOGIN", "It has LOGIN."),
        ("SUPERUSER", "It has SUPERUSER."),
        ("CREATEROLE", "It has CREATEROLE."),
        ("CREATEDB", "It has CREATEDB."),
        ("REPLICATION", "It has REPLICATION."),
        ("BYPASSRLS", "It has BYPASSRLS."),
        ("ROLE \"Some one\"", "It has members: \"Some one\"."),
        ("ADMIN app", "It has members: app."),
        (
            "IN ROLE pg_monitor, app",
            "It is a member of app, pg_monitor.",
        ),
        (
            "LOGIN CREATEDB ROLE app IN ROLE \"Some one\"",
            "It has LOGIN, CREATEDB. It has members: app. It is a member of \"Some one\".",
        ),
    ] {
        root.execute(&format!("CREATE ROLE tasker_owner {made}"));
        let failure = owner.fails(INSTALL, &[]).is("0P000");
        assert_eq!(failure.detail, says, "{made}");
        assert!(failure.message.contains("tasker_owner"), "{failure}");
        root.execute(&failure.hint);
        owner.execute(INSTALL);
        owner.execute("DROP EXTENSION tasker_ext; DROP SCHEMA tasker");
        root.execute("DROP ROLE tasker_owner");
    }
}

#[test]
fn uninstalling_leaves_the_schema_and_the_roles_which_two_statements_remove() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE app LOGIN");
    let mut sessions: Vec<Session> = ["one", "two"]
        .into_iter()
        .map(|name| {
            root.execute(&format!("CREATE DATABASE {name} OWNER app"));
            let mut session = connect(&server, name, "app");
            session.execute(INSTALL);
            shapes::small_diamond().register(&mut session);
            session.create("small_diamond");
            session
        })
        .collect();
    root.execute("GRANT tasker_worker TO app");
    let roles =
        "DROP ROLE tasker_admin, tasker_operator, tasker_worker, tasker_reader, tasker_owner";
    root.fails(roles, &[]).is("2BP01");
    for session in &mut sessions {
        session.execute("DROP EXTENSION tasker_ext");
        let left: Vec<String> = session.all(
            "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'tasker%'",
            &[],
        );
        assert_eq!(left, ["tasker"]);
        session.execute("DROP SCHEMA tasker");
    }
    let known = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'tasker%'";
    assert_eq!(root.one::<i64>(known, &[]), 5);
    root.execute(roles);
    assert_eq!(root.one::<i64>(known, &[]), 0);
}

#[test]
fn databases_of_one_cluster_share_the_owner_role_and_nothing_else() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    for name in ["one", "two"] {
        root.execute(&format!("CREATE ROLE {name} LOGIN"));
        root.execute(&format!("CREATE DATABASE {name} OWNER {name}"));
        let mut session = connect(&server, name, name);
        session.execute(INSTALL);
        shapes::small_diamond().register(&mut session);
        let task = session.create("small_diamond");
        assert_eq!(session.work(|_| done()).len(), 4);
        assert_eq!(session.task_state(task), "complete");
    }
    connect(&server, "two", "one")
        .fails("SELECT tasker.create_task('small_diamond')", &[])
        .is("42501");
    let role: String = root.one(
        "SELECT concat_ws(' ', rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                (SELECT count(*) FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member)))
         FROM pg_roles r WHERE rolname = 'tasker_owner'",
        &[],
    );
    assert_eq!(role, "f f f f f f 0");
    // One of them leaves; the other goes on.
    connect(&server, "one", "one").execute("DROP EXTENSION tasker_ext");
    connect(&server, "two", "two").create("small_diamond");
}

#[test]
fn what_is_installed_belongs_to_the_owner_role_and_what_lends_rights_to_the_bootstrap_superuser() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE chief LOGIN SUPERUSER; CREATE ROLE app LOGIN");
    for user in ["chief", "app"] {
        root.execute(&format!("CREATE DATABASE of_{user} OWNER {user}"));
        connect(&server, &format!("of_{user}"), user).execute(INSTALL);
        let mut session = server.connect(&format!("of_{user}"));
        let others: Vec<String> = session.all(
            "SELECT concat_ws(' ', what, owner::regrole) AS line FROM (
                 SELECT 'schema ' || n.nspname, n.nspowner, n.oid FROM pg_namespace n
                 UNION ALL
                 SELECT c.oid::regclass::text, c.relowner, c.relnamespace FROM pg_class c WHERE c.relkind <> 'i'
                 UNION ALL
                 SELECT p.oid::regprocedure::text, p.proowner, p.pronamespace FROM pg_proc p) AS o (what, owner, namespace)
             WHERE namespace::regnamespace::text IN ('tasker', 'tasker_engine') AND owner::regrole::text <> 'tasker_owner'
             ORDER BY line",
            &[],
        );
        assert_eq!(
            others,
            [
                format!("schema tasker {user}"),
                "schema tasker_engine postgres".to_owned(),
                "tasker_engine.call_handler(text,jsonb,oid,text) postgres".to_owned(),
                "tasker_engine.check_sql_handler() postgres".to_owned(),
                "tasker_engine.function_owner(text) postgres".to_owned(),
                "tasker_engine.sql_handlers postgres".to_owned(),
                "tasker_engine.subscriber_handlers postgres".to_owned(),
            ]
        );
        for schema in ["tasker", "tasker_engine"] {
            let rights: String = session.one(
                "SELECT concat_ws(' ', has_schema_privilege('tasker_owner', $1, 'USAGE'), has_schema_privilege('tasker_owner', $1, 'CREATE'))",
                &[&schema],
            );
            assert_eq!(rights, "t f", "{schema}");
        }
    }
}

#[test]
fn while_the_owner_role_has_a_member_background_processes_do_nothing_and_say_so_once() {
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    let mut root = server.connect("postgres");
    root.execute(INSTALL);
    root.execute(
        "CREATE ROLE intruder; CREATE SCHEMA app;
         CREATE FUNCTION app.run(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$",
    );
    let handler = json!({"handler": "sql:app.run"});
    tasker_client_tests::Template::new("inside")
        .step_with("only", &[], handler)
        .register(&mut root);
    let ready = |session: &mut Session| -> String {
        session.one(
            "SELECT concat_ws(' ', ready, failed_checks) FROM tasker.health_ready()",
            &[],
        )
    };
    let executors = "SELECT count(*) FROM tasker.background_workers WHERE kind = 'executor'";
    let first = root.create("inside");
    soon("it runs", || root.task_state(first) == "complete");
    assert_eq!(ready(&mut root), "t {}");

    root.execute("GRANT tasker_owner TO intruder");
    assert_eq!(ready(&mut root), "f {owner}");
    let message: String = root.one("SELECT message FROM tasker.health_ready()", &[]);
    assert!(message.contains("It has members: intruder."), "{message}");
    let status: String = root.one(
        "SELECT concat_ws(' ', level, message, hint) FROM tasker.health_status() WHERE measure = 'coordinator'",
        &[],
    );
    assert!(
        status.starts_with("degraded") && status.ends_with("REVOKE tasker_owner FROM intruder;"),
        "{status}"
    );
    soon("the executors go", || root.count(executors, &[]) == 0);
    let second = root.create("inside");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(root.task_state(second), "pending");
    let said = |server: &Server| {
        server
            .log()
            .matches("background processes do nothing: role tasker_owner")
            .count()
    };
    assert_eq!(said(&server), 1);
    // A coordinator that starts says it too, once.
    drop(root);
    server.stop();
    server.start_again();
    let mut root = server.connect("postgres");
    soon("it is said", || said(&server) == 2);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(said(&server), 2);
    assert_eq!(root.task_state(second), "pending");
    assert_eq!(root.count(executors, &[]), 0);

    let hint: String = root.one(
        "SELECT hint FROM tasker.health_status() WHERE measure = 'coordinator'",
        &[],
    );
    root.execute(&hint);
    soon("it runs", || root.task_state(second) == "complete");
    assert_eq!(ready(&mut root), "t {}");
    // The same from a running coordinator, for an attribute.
    root.execute("ALTER ROLE tasker_owner CREATEROLE");
    soon("it is said", || said(&server) == 3);
    soon("the executors go", || root.count(executors, &[]) == 0);
    let third = root.create("inside");
    root.execute("ALTER ROLE tasker_owner NOCREATEROLE");
    soon("it runs", || root.task_state(third) == "complete");
}

// --- schemas that are there ----------------------------------------------------------------------------------------------

#[test]
fn a_schema_with_something_in_it_is_refused_by_name() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE mallory");
    for (number, (made, code, words)) in [
        (
            "CREATE SCHEMA tasker AUTHORIZATION mallory;
             CREATE FUNCTION tasker.complete_step(uuid, bigint, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'caught' $$",
            "42P06",
            &["complete_step(uuid,bigint,jsonb)", "ALTER SCHEMA tasker RENAME TO", "DROP SCHEMA tasker CASCADE"][..],
        ),
        ("CREATE SCHEMA tasker; CREATE TABLE tasker.notes (x int)", "42P06", &["table tasker.notes", "ALTER SCHEMA tasker RENAME TO"]),
        ("CREATE SCHEMA tasker; CREATE TYPE tasker.state AS ENUM ('a')", "42P06", &["type tasker.state"]),
        ("CREATE SCHEMA tasker; CREATE EXTENSION tablefunc SCHEMA tasker", "42P06", &["crosstab"]),
        ("CREATE SCHEMA tasker; CREATE OPERATOR tasker.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)", "42P06", &["operator"]),
        ("CREATE SCHEMA tasker; CREATE TEXT SEARCH CONFIGURATION tasker.words (COPY = pg_catalog.simple)", "42P06", &["words"]),
        (
            "CREATE SCHEMA tasker; CREATE TABLE tasker.task_namespaces (x uuid); CREATE TABLE tasker.tasks (x uuid);
             CREATE TABLE tasker.workflow_steps (x uuid)",
            "42P06",
            &["the tables of tasker-core", "ALTER SCHEMA tasker RENAME TO"],
        ),
        ("CREATE SCHEMA tasker_engine", "42P06", &["\"tasker_engine\" exists", "ALTER SCHEMA tasker_engine RENAME TO"]),
    ]
    .into_iter()
    .enumerate()
    {
        root.execute(&format!("CREATE DATABASE premade_{number}"));
        let mut session = server.connect(&format!("premade_{number}"));
        session.execute(made);
        let before = privileges(&mut session, &["public", "mallory"]);
        session.fails(INSTALL, &[]).is(code).says(words);
        assert_eq!(privileges(&mut session, &["public", "mallory"]), before);
        // The first statement of the HINT lets it in, and keeps what is there.
        let schema = if made.contains("tasker_engine") { "tasker_engine" } else { "tasker" };
        session.execute(&format!("ALTER SCHEMA {schema} RENAME TO tasker_old"));
        session.execute(INSTALL);
        session.execute("DROP SCHEMA tasker_old CASCADE");
    }
}

#[test]
fn an_empty_schema_is_taken_over_with_every_right_on_it() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    prepare(
        &mut root,
        &[
            "CREATE ROLE mallory LOGIN",
            "CREATE ROLE accomplice LOGIN",
            "CREATE ROLE app LOGIN",
            "CREATE DATABASE app OWNER app",
            "CREATE DATABASE of_postgres",
        ],
    );
    for (database, installer) in [("app", "app"), ("of_postgres", "postgres")] {
        let mut session = server.connect(database);
        session.execute(
            "CREATE SCHEMA tasker AUTHORIZATION mallory;
             GRANT ALL ON SCHEMA tasker TO accomplice WITH GRANT OPTION; GRANT USAGE ON SCHEMA tasker TO PUBLIC;
             SET ROLE accomplice; GRANT CREATE ON SCHEMA tasker TO app; RESET ROLE",
        );
        for objects in ["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"] {
            session.execute(&format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA tasker GRANT ALL ON {objects} TO accomplice, PUBLIC;
                 ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA tasker GRANT ALL ON {objects} TO accomplice"
            ));
        }
        let mut own = connect(&server, database, installer);
        own.execute(INSTALL);
        assert_eq!(
            privileges(&mut session, &["mallory", "accomplice", "public"]),
            [""; 0]
        );
        assert_eq!(session.count("SELECT count(*) FROM pg_default_acl", &[]), 0);
        let owner: String = session.one(
            "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'tasker'",
            &[],
        );
        assert_eq!(owner, installer);
        for user in ["mallory", "accomplice"] {
            let mut intruder = connect(&server, database, user);
            for attempt in [
                "CREATE FUNCTION tasker.complete_step(uuid, bigint, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'caught' $$",
                "DROP SCHEMA tasker CASCADE",
                "DROP EXTENSION tasker_ext",
                "ALTER SCHEMA tasker RENAME TO mine",
                "GRANT CREATE ON SCHEMA tasker TO accomplice",
            ] {
                intruder.fails(attempt, &[]).is("42501");
            }
        }
        shapes::small_diamond().register(&mut own);
        own.create("small_diamond");
        assert_eq!(own.work(|_| done()).len(), 4);
    }
    // What an earlier installation left is empty too.
    let mut own = connect(&server, "app", "app");
    own.execute("DROP EXTENSION tasker_ext");
    own.execute(INSTALL);
}

// --- default privileges, and which owner an installation serves -----------------------------------------------------------

/// Default privileges that give everything to others and nothing to the role itself.
fn promises(role: &str) -> String {
    ["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"]
            .map(|objects| {
                format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT ALL ON {objects} TO PUBLIC, friend, tasker_reader;
                     ALTER DEFAULT PRIVILEGES FOR ROLE {role} REVOKE ALL ON {objects} FROM {role};"
                )
            })
            .concat()
}

fn default_privileges(session: &mut Session) -> Vec<String> {
    session.all(
            "SELECT concat_ws(' ', oid, defaclrole, defaclnamespace, defaclobjtype, defaclacl) AS line FROM pg_default_acl ORDER BY line",
            &[],
        )
}

#[test]
fn default_privileges_of_the_installer_do_not_apply_to_the_extension() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    prepare(
        &mut root,
        &[
            "CREATE ROLE chief LOGIN SUPERUSER",
            "CREATE ROLE app LOGIN",
            "CREATE ROLE friend",
            "CREATE DATABASE plain",
            "CREATE DATABASE of_chief OWNER chief",
            "CREATE DATABASE of_app OWNER app",
        ],
    );
    server.connect("plain").execute(INSTALL);
    let all_roles = [
        "public",
        "friend",
        "chief",
        "app",
        "postgres",
        "tasker_owner",
        "tasker_reader",
        "tasker_worker",
        "tasker_operator",
        "tasker_admin",
    ];
    let plain = privileges(&mut server.connect("plain"), &all_roles);
    for user in ["chief", "app"] {
        let database = format!("of_{user}");
        let mut session = server.connect(&database);
        session.execute(&promises(user));
        if user == "app" {
            // A trusted install makes its objects as this one.
            session.execute(&promises("postgres"));
        }
        let before = default_privileges(&mut session);
        assert!(before.len() >= 5);
        connect(&server, &database, user).execute(INSTALL);
        assert_eq!(
            default_privileges(&mut session),
            before,
            "they are the installer's, and stay"
        );
        let mut expected = plain.clone();
        // Schema tasker belongs to the installer, which has all rights on it.
        for line in &mut expected {
            *line = line.replace("tasker postgres ", &format!("tasker {user} "));
        }
        expected.sort();
        let mut found = privileges(&mut session, &all_roles);
        found.retain(|line| {
            user == "chief" || !line.contains(" app ") || line.starts_with("tasker app ")
        });
        found.sort();
        let odd: Vec<&String> = found
            .iter()
            .filter(|line| !expected.contains(line))
            .chain(expected.iter().filter(|line| !found.contains(line)))
            .collect();
        assert!(odd.is_empty(), "{user}: {odd:?}");
        // They apply to objects that are created later.
        session.execute("SET ROLE chief; CREATE TABLE public.later (x int)");
        assert_eq!(
            session.one::<bool>(
                "SELECT has_table_privilege('friend', 'public.later', 'SELECT')",
                &[]
            ),
            user == "chief"
        );
    }
}

#[test]
fn a_database_that_quotes_all_identifiers_gets_the_same_extension() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    prepare(
        &mut root,
        &[
            "CREATE DATABASE plain",
            "CREATE DATABASE quoting",
            "ALTER DATABASE quoting SET quote_all_identifiers = on",
        ],
    );
    let installed = |database: &str| {
        let mut session = server.connect(database);
        session.execute(INSTALL);
        session.execute("SET quote_all_identifiers = off");
        session.all::<String>(
            "SELECT concat_ws(' ', p.oid::regprocedure, p.proowner::regrole, p.proconfig, p.proacl) AS line
             FROM pg_proc p WHERE p.pronamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace)
             UNION ALL
             SELECT concat_ws(' ', c.oid::regclass, c.relowner::regrole, c.relacl)
             FROM pg_class c WHERE c.relnamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace)
             UNION ALL
             SELECT 'dumped ' || coalesce(c.relname, 'nothing') FROM pg_extension e, unnest(e.extconfig) x
             LEFT JOIN pg_class c ON c.oid = x WHERE e.extname = 'tasker_ext'
             ORDER BY line",
            &[],
        )
    };
    assert_eq!(installed("quoting"), installed("plain"));
    let mut session = server.connect("quoting");
    shapes::small_diamond().register(&mut session);
    session.create("small_diamond");
    assert_eq!(session.work(|_| done()).len(), 4);
}

/// What the owner of the schema puts under its name, to run as the engine's owner; a handler can do it in the middle of a call.
const IMPOSTOR: &str = "CREATE FUNCTION public.takes_the_name(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
     BEGIN
         ALTER SCHEMA tasker RENAME TO moved;
         CREATE SCHEMA tasker;
         GRANT USAGE ON SCHEMA tasker, public TO PUBLIC;
         CREATE FUNCTION tasker.complete_step(a uuid, b integer, c jsonb) RETURNS text LANGUAGE plpgsql
             AS 'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NULL; END';
         CREATE VIEW tasker.named_tasks AS SELECT n.* FROM moved.named_tasks n WHERE tasker.complete_step(NULL, 1, NULL) IS NULL;
         GRANT SELECT ON tasker.named_tasks TO PUBLIC;
         RETURN '{}';
     END $$;
     CREATE TABLE public.ran (name text);
     GRANT INSERT ON public.ran TO PUBLIC";

#[test]
fn another_schema_under_the_name_of_the_extensions_runs_nothing() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    prepare(
        &mut root,
        &["CREATE ROLE app LOGIN", "CREATE DATABASE app OWNER app"],
    );
    let mut app = connect(&server, "app", "app");
    app.execute("GRANT CREATE ON SCHEMA public TO app");
    app.execute(INSTALL);
    app.execute(IMPOSTOR);
    tasker_client_tests::Template::new("one")
        .step_with("only", &[], json!({"handler": "sql:public.takes_the_name"}))
        .register(&mut app);
    app.create("one");
    let hint = &["ALTER SCHEMA moved RENAME TO tasker"];
    // The handler takes the name between two statements of the call: nothing of it stays.
    app.fails("SELECT FROM tasker.run_steps()", &[])
        .is("55000")
        .says(hint);
    // The owner takes it beforehand.
    app.execute("SELECT public.takes_the_name('{}')");
    for call in [
        "SELECT FROM moved.run_steps()",
        "SELECT FROM moved.claim_steps('w')",
        "SELECT moved.create_task('one')",
        "SELECT FROM moved.get_slowest_tasks()",
        "SELECT moved.delete_template('default', 'one', '0.1.0')",
        "SELECT FROM moved.health_status()",
        "SELECT tasker_engine.run_duty('retention')",
        "SELECT FROM moved.run_maintenance()",
    ] {
        app.fails(call, &[]).is("55000").says(hint);
    }
    assert_eq!(app.count("SELECT count(*) FROM public.ran", &[]), 0);
    app.execute("DROP SCHEMA tasker CASCADE; ALTER SCHEMA moved RENAME TO tasker");
    assert!(app.count("SELECT count(*) FROM tasker.health_status()", &[]) > 0);
}

#[test]
fn the_extensions_owner_is_served_under_any_login() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    prepare(
        &mut root,
        &[
            "CREATE ROLE app LOGIN",
            "CREATE ROLE boss LOGIN NOINHERIT IN ROLE app",
            "CREATE DATABASE by_boss OWNER app",
            "CREATE DATABASE by_root OWNER app",
        ],
    );
    for (database, user) in [("by_boss", "boss"), ("by_root", "postgres")] {
        connect(&server, database, user).execute(&format!("SET ROLE app; {INSTALL}"));
        let mut app = connect(&server, database, "app");
        shapes::small_diamond().register(&mut app);
        app.create("small_diamond");
        assert_eq!(app.work(|_| done()).len(), 4);
        assert_eq!(
            privileges(&mut server.connect(database), &["boss"]),
            [""; 0]
        );
        connect(&server, database, "boss")
            .fails("SELECT tasker.create_task('small_diamond')", &[])
            .is("42501");
    }
}
