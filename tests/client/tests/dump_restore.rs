//! pg_dump and restore with live tasks: everything is there, and the work goes on.

use std::path::{Path, PathBuf};

use tasker_client_tests::database::resume;
use tasker_client_tests::server::{Server, run};
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Claim, Database, Reader, Session, Template, Uuid, inside, json, shapes};

/// A file beside the server that goes with it.
fn file(server: &Server, name: &str) -> PathBuf {
    server.folder().join(name)
}

/// Tasks in every state, and what is needed to go on with them.
struct Live {
    held: Claim,
    waiting: Uuid,
    keyed: Uuid,
    ended: Vec<Uuid>,
    open: Vec<Uuid>,
}

fn live(session: &mut Session) -> Live {
    shapes::small_diamond().register(session);
    shapes::chain("hashed", 1)
        .with("identity_strategy", json!("hash"))
        .with("identity_window", json!("off"))
        .register(session);
    shapes::chain("quiet", 1)
        .with("namespace_name", json!("paused"))
        .register(session);
    let complete = session.create("small_diamond");
    session.work(|claim| {
        tasker_client_tests::Act::Complete(
            json!({"by": claim.name, "number": 12345678901234567890_u64, "text": "ä\"\\\n"}),
        )
    });
    let failed = session.create("small_diamond");
    session.work(|_| tasker_client_tests::Act::FailForGood);
    let cancelled = session.create("small_diamond");
    session.query("SELECT tasker.cancel_task($1, 'not needed')", &[&cancelled]);
    let waiting = session.create("small_diamond");
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    let running = session.create("small_diamond");
    let held = session
        .claim(&Ask {
            worker: "before",
            lease: "1 hour",
            ..Ask::default()
        })
        .remove(0);
    assert_eq!(held.task, running);
    let keyed: Uuid = session.one(
        "SELECT tasker.create_task('small_diamond', idempotency_key => 'key')",
        &[],
    );
    session.create_with("hashed", &json!({"a": 1}));
    session.query("SELECT tasker.pause_namespace('paused')", &[]);
    session.query(
        "SELECT tasker.create_task('quiet', namespace => 'paused')",
        &[],
    );
    Live {
        held,
        waiting,
        keyed,
        ended: vec![complete, failed, cancelled],
        open: vec![waiting, running, keyed],
    }
}

/// Goes on with what was dumped.
fn go_on(session: &mut Session, live: &Live) {
    assert_eq!(
        session.task_states(&live.ended),
        ["cancelled: 1", "complete: 1", "error: 1"]
    );
    let found = session.results(live.ended[0], "end").to_string();
    assert!(found.contains("12345678901234567890"), "{found}");
    // The lease of the old worker still holds, and its report is still taken.
    assert!(
        session
            .claim_all("after")
            .iter()
            .all(|claim| claim.step != live.held.step)
    );
    session.query("SELECT tasker.release_steps('after')", &[]);
    assert_eq!(
        session
            .query("SELECT * FROM tasker.heartbeat('before')", &[])
            .len(),
        1
    );
    session.complete(&live.held, &json!({"late": true}));
    // Identities are known.
    assert_eq!(
        session.one::<Uuid>(
            "SELECT tasker.create_task('small_diamond', idempotency_key => 'key')",
            &[]
        ),
        live.keyed
    );
    session
        .fails("SELECT tasker.create_task('hashed', '{\"a\": 1}')", &[])
        .is("23505");
    // The pause holds.
    assert!(
        session
            .claim(&Ask {
                namespaces: vec!["paused"],
                ..Ask::default()
            })
            .is_empty()
    );
    session.query("SELECT tasker.resume_namespace('paused')", &[]);
    assert_eq!(
        session
            .claim_soon(
                &Ask {
                    namespaces: vec!["paused"],
                    ..Ask::default()
                },
                1
            )
            .len(),
        1
    );
    // New work beside the old.
    let fresh = session.create("small_diamond");
    shapes::chain("fresh", 2).register(session);
    session.create("fresh");
    inside::make_due(session, live.waiting);
    session.work(|_| done());
    let mut open = live.open.clone();
    open.push(fresh);
    assert_eq!(
        session.task_states(&open),
        [format!("complete: {}", open.len())]
    );
    session.query("SELECT tasker.retry_task($1)", &[&live.ended[1]]);
    session.work(|_| done());
    assert_eq!(session.task_state(live.ended[1]), "complete");
    let twice = session.count(
        "SELECT count(*) - count(DISTINCT id) FROM tasker.workflow_step_transitions",
        &[],
    );
    assert_eq!(twice, 0, "the log counts from the beginning again");
}

fn dump_plainly(database: &Database, dump: &Path) {
    run(
        "pg_dump",
        database.server().folder(),
        "postgres",
        &[
            "--dbname",
            database.name(),
            "--file",
            &dump.to_string_lossy(),
        ],
    );
}

/// A new database with what a plain dump contains.
fn restored_plainly(dump: &Path) -> Database {
    let restored = Database::empty();
    run(
        "psql",
        restored.server().folder(),
        "postgres",
        &[
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            restored.name(),
            "--file",
            &dump.to_string_lossy(),
        ],
    );
    restored
}

#[test]
fn a_plain_dump_restores_every_row_and_the_work_goes_on() {
    let database = Database::new();
    let mut session = database.connect();
    let live = live(&mut session);
    let before = inside::dump_fingerprint(&mut session);
    let server = database.server();
    let dump = file(server, "plain.sql");
    dump_plainly(&database, &dump);
    let restored = restored_plainly(&dump);
    let mut session = restored.connect();
    assert_eq!(inside::dump_fingerprint(&mut session), before);
    resume(&mut session);
    go_on(&mut session, &live);
}

#[test]
fn a_custom_dump_restores_and_the_work_goes_on() {
    let database = Database::new();
    let mut session = database.connect();
    let live = live(&mut session);
    let before = inside::dump_fingerprint(&mut session);
    let server = database.server();
    let dump = file(server, "custom.dump");
    run(
        "pg_dump",
        server.folder(),
        "postgres",
        &[
            "--format=custom",
            "--dbname",
            database.name(),
            "--file",
            &dump.to_string_lossy(),
        ],
    );
    let restored = Database::empty();
    run(
        "pg_restore",
        server.folder(),
        "postgres",
        &[
            "--exit-on-error",
            "--dbname",
            restored.name(),
            &dump.to_string_lossy(),
        ],
    );
    let mut session = restored.connect();
    assert_eq!(inside::dump_fingerprint(&mut session), before);
    resume(&mut session);
    go_on(&mut session, &live);
}

#[test]
fn a_database_owner_dumps_and_restores_without_a_superuser() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE app LOGIN NOSUPERUSER NOCREATEROLE");
    for database in ["app", "copy"] {
        root.execute(&format!(
            "CREATE DATABASE {database} OWNER app TEMPLATE template0"
        ));
    }
    let connect = |database: &str| Session::open(server.config(database, "app"));
    let mut session = connect("app");
    session.execute("CREATE EXTENSION tasker_ext");
    shapes::small_diamond().register(&mut session);
    let held = {
        session.create("small_diamond");
        session.claim_one("before")
    };
    let other: Uuid = session.one(
        "SELECT tasker.create_task('small_diamond', idempotency_key => 'key')",
        &[],
    );
    let dump = server.folder().join("owner.sql");
    run(
        "pg_dump",
        server.folder(),
        "app",
        &["--dbname=app", "--file", &dump.to_string_lossy()],
    );
    run(
        "psql",
        server.folder(),
        "app",
        &[
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname=copy",
            "--file",
            &dump.to_string_lossy(),
        ],
    );
    let mut session = connect("copy");
    // The extension's owner may.
    resume(&mut session);
    session.complete(&held, &json!({}));
    assert_eq!(
        session.one::<Uuid>(
            "SELECT tasker.create_task('small_diamond', idempotency_key => 'key')",
            &[]
        ),
        other
    );
    assert_eq!(session.work(|_| done()).len(), 7);
    assert_eq!(session.task_states(&[held.task, other]), ["complete: 2"]);
}

#[test]
fn a_dump_taken_while_workers_work_is_one_consistent_moment() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    let tasks = session.create_many("small_diamond", 400);
    let server = database.server();
    let dump = file(server, "busy.sql");
    std::thread::scope(|scope| {
        for number in 0..2 {
            let mut own = database.connect();
            scope.spawn(move || {
                let worker = format!("busy {number}");
                let mut reports = vec![];
                loop {
                    let (_, claims) = own.report_and_claim(&Ask::by(&worker, 3), &reports);
                    if claims.is_empty() {
                        break;
                    }
                    reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
                }
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(30));
        dump_plainly(&database, &dump);
    });
    let restored = restored_plainly(&dump);
    let mut session = restored.connect();
    resume(&mut session);
    for worker in ["busy 0", "busy 1"] {
        session.query("SELECT tasker.release_steps($1)", &[&worker]);
    }
    session.work(|_| done());
    assert_eq!(session.task_states(&tasks), ["complete: 400"]);
}

/// Owners and rights, in a form that two databases can be compared by.
fn rights(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', what, owner::regrole, e.grantor::regrole, CASE e.grantee WHEN 0 THEN 'public' ELSE e.grantee::regrole::text END,
                          e.privilege_type, e.is_grantable) AS line
         FROM (SELECT c.oid::regclass::text, c.relowner, c.relacl, c.relnamespace FROM pg_class c
               UNION ALL
               SELECT p.oid::regprocedure::text, p.proowner, p.proacl, p.pronamespace FROM pg_proc p
               UNION ALL
               SELECT n.nspname, n.nspowner, n.nspacl, n.oid FROM pg_namespace n) AS o (what, owner, acl, namespace)
         LEFT JOIN aclexplode(o.acl) e ON true
         WHERE o.namespace::regnamespace::text IN ('tasker', 'tasker_engine')
         UNION ALL
         SELECT concat_ws(' ', extname, extowner::regrole) FROM pg_extension
         UNION ALL
         SELECT concat_ws(' ', r.rolname, r.rolcanlogin, r.rolsuper, r.rolcreaterole, m.roleid::regrole)
         FROM pg_roles r LEFT JOIN pg_auth_members m ON m.member = r.oid WHERE r.rolname ~ '^tasker_'
         ORDER BY line",
        &[],
    )
}

/// The differences alone: the lists are long.
#[track_caller]
fn assert_same(found: &[String], expected: &[String]) {
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter()
            .filter(|line| !other.contains(line))
            .cloned()
            .collect()
    };
    let (more, less) = (only(found, expected), only(expected, found));
    assert!(
        more.is_empty() && less.is_empty(),
        "more: {more:?}; less: {less:?}"
    );
    assert!(!found.is_empty());
}

#[test]
fn a_restore_in_the_name_of_a_role_serves_that_role() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE app LOGIN");
    for database in ["app", "copy"] {
        root.execute(&format!(
            "CREATE DATABASE {database} OWNER app TEMPLATE template0"
        ));
    }
    let connect = |database: &str| Session::open(server.config(database, "app"));
    let mut session = connect("app");
    session.execute("CREATE EXTENSION tasker_ext");
    shapes::small_diamond().register(&mut session);
    let task = session.create("small_diamond");
    let held = session.claim_one("before");
    let before = rights(&mut server.connect("app"));
    let dump = file(&server, "role.dump").to_string_lossy().into_owned();
    run(
        "pg_dump",
        server.folder(),
        "postgres",
        &["--format=custom", "--dbname=app", "--file", &dump],
    );
    run(
        "pg_restore",
        server.folder(),
        "postgres",
        &["--exit-on-error", "--role=app", "--dbname=copy", &dump],
    );
    assert_same(&rights(&mut server.connect("copy")), &before);
    let mut session = connect("copy");
    // The extension's owner may.
    resume(&mut session);
    session.complete(&held, &json!({}));
    assert_eq!(session.work(|_| done()).len(), 3);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_dump_restores_after_the_installer_is_gone() {
    for (installer, attributes) in [("app", "NOSUPERUSER"), ("chief", "SUPERUSER")] {
        let server = Server::start(&[]);
        let mut root = server.connect("postgres");
        root.execute(&format!("CREATE ROLE {installer} LOGIN {attributes}"));
        root.execute(&format!("CREATE DATABASE old OWNER {installer}"));
        root.execute("CREATE DATABASE new TEMPLATE template0");
        let mut session = Session::open(server.config("old", installer));
        session.execute("CREATE EXTENSION tasker_ext");
        session.execute(&format!(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA tasker GRANT SELECT ON TABLES TO {installer}"
        ));
        drop(session);
        let mut session = server.connect("old");
        session.execute(inside::HELPERS);
        let live = live(&mut session);
        session.execute(&format!(
            "REASSIGN OWNED BY {installer} TO postgres; DROP OWNED BY {installer}; DROP ROLE {installer}"
        ));
        let before = inside::dump_fingerprint(&mut session);
        let owners = rights(&mut session);
        assert!(
            owners
                .iter()
                .all(|line| !line.contains(&format!(" {installer} "))),
            "{owners:?}"
        );
        let dump = file(&server, "gone.sql").to_string_lossy().into_owned();
        run(
            "pg_dump",
            server.folder(),
            "postgres",
            &["--dbname=old", "--file", &dump],
        );
        run(
            "psql",
            server.folder(),
            "postgres",
            &[
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                "--dbname=new",
                "--file",
                &dump,
            ],
        );
        let mut session = server.connect("new");
        assert_eq!(inside::dump_fingerprint(&mut session), before);
        assert_same(&rights(&mut session), &owners);
        resume(&mut session);
        go_on(&mut session, &live);
    }
}

#[test]
fn an_upgraded_cluster_has_the_same_rights_and_the_work_goes_on() {
    let settings = ["shared_preload_libraries=tasker_ext"];
    let old = Server::start(&settings);
    let mut root = old.connect("postgres");
    root.execute("CREATE ROLE app LOGIN");
    root.execute("CREATE DATABASE app OWNER app");
    Session::open(old.config("app", "app")).execute("CREATE EXTENSION tasker_ext");
    let mut session = old.connect("app");
    session.execute(inside::HELPERS);
    let live = live(&mut session);
    // A handler and a schedule of a role.
    let mut app = Session::open(old.config("app", "app"));
    app.execute(
        "CREATE FUNCTION public.caller(step jsonb) RETURNS jsonb LANGUAGE sql AS
         $$ SELECT jsonb_build_object('user', current_user) $$",
    );
    Template::new("inside")
        .step_with("only", &[], json!({"handler": "sql:public.caller"}))
        .register(&mut app);
    app.query("SELECT tasker.publish_event('orders.x')", &[]);
    app.query(
        "SELECT tasker.schedule_task('nightly', '@daily', 'inside')",
        &[],
    );
    drop(app);
    // pg_upgrade itself gives every extension to the superuser that runs it.
    let kept = |session: &mut Session| -> Vec<String> {
        let mut lines = rights(session);
        lines.retain(|line| !line.starts_with("tasker_ext "));
        lines
    };
    let before = kept(&mut session);
    let mut reader = Reader::default();
    reader.page(&mut session, 5);
    drop(session);
    drop(root);
    old.stop();
    let new = Server::start(&settings);
    new.stop();
    new.take_over(&old);
    new.start_again();
    let mut session = new.connect("app");
    assert_same(&kept(&mut session), &before);
    let ready = || {
        new.connect("app")
            .one::<bool>("SELECT ready FROM tasker.health_ready()", &[])
    };
    let began = std::time::Instant::now();
    while !ready() {
        assert!(
            began.elapsed() < tasker_client_tests::patience(20),
            "no coordinator"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    go_on(&mut session, &live);
    reader.has_each_event_once(&mut session, "pg_upgrade");
    let mut app = Session::open(new.config("app", "app"));
    let task = app.create("small_diamond");
    let held = app.claim(&Ask::by("of app", 1)).remove(0);
    assert_eq!(held.task, task);
    app.complete(&held, &json!({}));
    app.query("SELECT tasker.pause_schedule('nightly')", &[]);
    let task = app.create("inside");
    while session.task_state(task) != "complete" {
        assert!(
            began.elapsed() < tasker_client_tests::patience(60),
            "no executor"
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let user: String = session.one(
        "SELECT results ->> 'user' FROM tasker.workflow_steps WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(user, "app");
}

/// A server whose first role is this one: in two of them the oid is the same.
fn server_with_first_role(role: &str) -> (Server, u32) {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute(role);
    let oid = root.one("SELECT max(oid) FROM pg_roles", &[]);
    (server, oid)
}

fn load_by_psql(server: &Server, database: &str, dump: &std::path::Path) {
    let file = dump.to_string_lossy();
    let options = [
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        database,
        "-f",
        &file,
    ];
    run("psql", server.folder(), "postgres", &options);
}

#[test]
fn in_a_cluster_with_other_oids_roles_are_found_by_their_names() {
    let (from, oid) = server_with_first_role("CREATE ROLE author LOGIN");
    let (to, same) = server_with_first_role("CREATE ROLE dummy SUPERUSER LOGIN");
    assert_eq!(oid, same, "nothing is shifted");
    let mut root = from.connect("postgres");
    root.execute("CREATE EXTENSION tasker_ext; CREATE ROLE leaver LOGIN; GRANT tasker_admin TO author, leaver");
    root.execute(
        "CREATE FUNCTION public.caller(step jsonb) RETURNS jsonb LANGUAGE sql AS
         $$ SELECT jsonb_build_object('user', current_user) $$;
         ALTER FUNCTION public.caller(jsonb) OWNER TO author",
    );
    for role in ["author", "leaver"] {
        let mut session = Session::open(from.config("postgres", role));
        Template::new(role)
            .step_with("only", &[], json!({"handler": "sql:public.caller"}))
            .register(&mut session);
        session.query("SELECT tasker.schedule_task($1, '@daily', $1)", &[&role]);
    }
    let dump = from.folder().join("roles.sql");
    run(
        "pg_dump",
        from.folder(),
        "postgres",
        &["--dbname=postgres", "--file", &dump.to_string_lossy()],
    );
    let mut root = to.connect("postgres");
    root.execute("CREATE ROLE author LOGIN");
    for (database, options) in [
        ("plain", ""),
        ("replica", "session_replication_role=replica"),
    ] {
        root.execute(&format!("CREATE DATABASE {database} TEMPLATE template0"));
        if !options.is_empty() {
            root.execute(&format!("ALTER DATABASE {database} SET {options}"));
        }
        load_by_psql(&to, database, &dump);
        root.execute("GRANT tasker_admin TO author");
        root.execute(&format!("ALTER DATABASE {database} RESET ALL"));
        let mut session = to.connect(database);
        resume(&mut session);
        let mut run = |name: &str| {
            let task = session.create(name);
            session.query("SELECT * FROM tasker.run_steps()", &[]);
            session.results(task, "only")
        };
        assert_eq!(run("author")["user"], "author", "{database}");
        // A role of that name that comes later is another one.
        let mut says = || {
            let results = run("leaver");
            assert_eq!(
                results["error_message"], "role \"leaver\" does not exist",
                "{database}"
            );
        };
        says();
        root.execute("CREATE ROLE leaver SUPERUSER LOGIN");
        says();
        let mut session = to.connect(database);
        let mut author = Session::open(to.config(database, "author"));
        author.query("SELECT tasker.pause_schedule('author')", &[]);
        inside::set_next_run(&mut session, "leaver", "2026-01-01");
        session.execute("UPDATE tasker_engine.schedules SET missed_runs = 'one'");
        session.query("SELECT tasker.run_maintenance()", &[]);
        let error: String = session.one(
            "SELECT last_error FROM tasker.schedules WHERE schedule_name = 'leaver'",
            &[],
        );
        assert!(error.contains("role leaver does not exist"), "{error}");
        root.execute("DROP ROLE leaver");
    }
}
