//! A database that is being loaded, or was copied, is left alone until tasker.resume_after_restore().

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use tasker_client_tests::calls::{tasks, writing_calls};
use tasker_client_tests::database::{self, resume};
use tasker_client_tests::server::{Server, client, program, root, run};
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Database, Reader, Session, Uuid, inside, json, patience, scaled, shapes, three,
};

/// The ways of a restore.
#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    SingleTransaction,
    Jobs,
    OwnerJobs,
    DataOnly,
    Role,
    Owner,
    Psql,
}

const WAYS: [Way; 8] = [
    Way::Plain,
    Way::SingleTransaction,
    Way::Jobs,
    Way::OwnerJobs,
    Way::DataOnly,
    Way::Role,
    Way::Owner,
    Way::Psql,
];

fn make_owner(server: &Server, roles_before: usize) {
    let mut root = server.connect("postgres");
    for number in 0..roles_before {
        root.execute(&format!("CREATE ROLE other_{number}"));
    }
    root.execute("CREATE ROLE app LOGIN");
}

fn as_app(server: &Server, database: &str) -> Session {
    Session::open(server.config(database, "app"))
}

/// A database of app with steps that are ready, held, waiting and done.
fn make_source(server: &Server) {
    make_owner(server, 0);
    server
        .connect("postgres")
        .execute("CREATE DATABASE source OWNER app TEMPLATE template0");
    let mut session = as_app(server, "source");
    session.execute("CREATE EXTENSION tasker_ext");
    shapes::small_diamond().register(&mut session);
    shapes::chain("chain", 3).register(&mut session);
    session.create_many("small_diamond", scaled(40, 4000));
    session.create_many("chain", scaled(40, 4000));
    for worker in ["first", "second"] {
        let claims = session.claim(&Ask::by(worker, 20));
        for claim in &claims[..10] {
            session.complete(claim, &json!({"by": worker}));
        }
    }
    let claims = session.claim(&Ask {
        lease: "1 hour",
        ..Ask::by("keeps", 5)
    });
    assert_eq!(claims.len(), 5);
}

/// Everything as it is, compared with helpers that are no part of a dump.
fn fingerprint(server: &Server, database: &str) -> String {
    let mut root = server.connect(database);
    root.execute(inside::HELPERS);
    let found = inside::dump_fingerprint(&mut root);
    root.execute("DROP SCHEMA harness CASCADE");
    found
}

/// The commands of docs/operating-with-psql.md for --jobs, as the owner of the database.
fn by_the_page(server: &Server, database: &str, dump: &str) {
    let page = root().join("docs/operating-with-psql.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, block) = page.split_once("```sh jobs\n").expect("the commands");
    let (commands, _) = block.split_once("```").expect("their end");
    let commands = commands
        .replace("${PGDATABASE}_copy", database)
        .replace("$PGDATABASE.dump", dump)
        .replace("pg_restore", &program("pg_restore").to_string_lossy());
    let output = std::process::Command::new("sh")
        .args(["-ec", &commands])
        .current_dir(Path::new(dump).parent().expect("a folder"))
        .env("PGHOST", server.folder())
        .env("PGPORT", "5432")
        .env("PGUSER", "app")
        .output()
        .expect("a shell runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(!complaints.contains("error"), "{complaints}");
}

/// Runs a restore; whatever it complains of fails the test.
fn restore(server: &Server, way: Way, database: &str, custom: &Path, plain: &Path) {
    let mut root = server.connect("postgres");
    root.execute(&format!(
        "CREATE DATABASE {database} OWNER app TEMPLATE template0"
    ));
    let custom = custom.to_string_lossy();
    let plain = plain.to_string_lossy();
    let into = format!("--dbname={database}");
    let with = |user: &str, more: &[&str]| {
        let arguments = [&["--exit-on-error", &into], more, &[&custom]].concat();
        run("pg_restore", server.folder(), user, &arguments);
    };
    match way {
        Way::Plain => with("postgres", &[]),
        Way::SingleTransaction => with("postgres", &["--single-transaction"]),
        Way::DataOnly => {
            as_app(server, database).execute("CREATE EXTENSION tasker_ext");
            with("postgres", &["--data-only"]);
        }
        Way::Role => with("postgres", &["--role=app"]),
        Way::Owner => with("app", &[]),
        Way::OwnerJobs => by_the_page(server, database, &custom),
        Way::Psql => run(
            "psql",
            server.folder(),
            "postgres",
            &[
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                &into,
                "--file",
                &plain,
            ],
        ),
        Way::Jobs => {
            // Tables come in any order: the page says what to set.
            let output = client("pg_restore", server.folder(), "postgres")
                .env("PGOPTIONS", "-c session_replication_role=replica")
                .args(["--exit-on-error", "--jobs=4", &into, &custom])
                .output()
                .expect("pg_restore runs");
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{complaints}");
        }
    }
}

/// What a worker calls besides claims, and what maintenance calls: for claims that the dump has.
const OTHER_CALLS: [&str; 4] = [
    "SELECT step_uuid FROM tasker.heartbeat('keeps', '1 day')",
    "SELECT released FROM tasker.release_steps('keeps') released WHERE released > 0",
    "SELECT done FROM tasker.run_maintenance() WHERE done > 0",
    "SELECT tasks FROM tasker.purge_tasks('0 seconds') WHERE tasks > 0",
];

/// Refused, or the function is not there yet.
fn refused(error: &postgres::Error, call: &str) {
    let code = error.code().map(SqlState::code).unwrap_or_default();
    assert!(
        ["55000", "42883", "3F000"].contains(&code),
        "{call}: {error:?}"
    );
}

/// Polls like a worker while the body runs; nothing is handed out and nothing is taken.
fn polled(server: &Server, database: &str, body: impl FnOnce()) {
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let report = json!([{"step_uuid": Uuid::nil().to_string(), "claim_number": 1, "status": "complete"}]);
            while !stop.load(Ordering::Relaxed) {
                // Until the database is there, and the functions in it.
                let Ok(mut session) = Session::try_open(server.config(database, "postgres")) else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                for _ in 0..20 {
                    if let Ok(claims) = session.try_claim(&Ask::by("poller", 10)) {
                        assert!(claims.is_empty(), "{database}: {claims:?}");
                    }
                    let reported =
                        session.try_query("SELECT tasker.report_steps('poller', $1)", &[&report]);
                    assert!(reported.is_err(), "{database}: a report was taken");
                    for call in OTHER_CALLS {
                        match session.try_query(call, &[]) {
                            Ok(rows) => assert!(rows.is_empty(), "{database}: {call}"),
                            Err(error) => refused(&error, call),
                        }
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        // A failure of the body must not leave the worker at its polls.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // Once more with all rows there.
        let enough = rounds.load(Ordering::Relaxed) + 3;
        while rounds.load(Ordering::Relaxed) < enough && !worker.is_finished() && outcome.is_ok() {
            std::thread::sleep(Duration::from_millis(2));
        }
        stop.store(true, Ordering::Relaxed);
        worker.join().expect("the worker polled");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn whatever_way_a_dump_is_restored_nothing_touches_it_before_work_is_resumed() {
    let source = Server::start(&[]);
    make_source(&source);
    let before = fingerprint(&source, "source");
    let custom = source.folder().join("source.dump");
    let plain = source.folder().join("source.sql");
    for (format, file) in [("custom", &custom), ("plain", &plain)] {
        run(
            "pg_dump",
            source.folder(),
            "postgres",
            &[
                "--format",
                format,
                "--file",
                &file.to_string_lossy(),
                "source",
            ],
        );
    }
    for preload in [false, true] {
        let settings: &[&str] = if preload {
            &[
                "shared_preload_libraries=tasker_ext",
                "max_worker_processes=32",
            ]
        } else {
            &[]
        };
        let target = Server::start(settings);
        make_owner(&target, 5);
        let name = |way: Way| format!("{way:?}").to_lowercase();
        for way in WAYS {
            let database = name(way);
            polled(&target, &database, || {
                restore(&target, way, &database, &custom, &plain);
            });
        }
        if preload {
            // The background processes have had their chance.
            std::thread::sleep(Duration::from_millis(1500));
            // They say once why they wait.
            let said = target.log().matches("before it is resumed").count();
            assert!(said >= WAYS.len(), "{said} times in the log");
            let sentences = "before it is resumed. It holds rows that were loaded";
            assert!(target.log().contains(sentences), "no full stop in the log");
        }
        for way in WAYS {
            let database = name(way);
            assert_eq!(fingerprint(&target, &database), before, "{way:?} {preload}");
            goes_on(&target, &database);
        }
    }
}

/// After it was resumed the work ends, and no number is given out twice.
fn goes_on(server: &Server, database: &str) {
    let mut session = server.connect(database);
    session
        .fails("SELECT tasker.heartbeat('keeps')", &[])
        .is("55000");
    let repaired = session.query("SELECT * FROM tasker.resume_after_restore()", &[]);
    assert_eq!(repaired.len(), 0, "{database}: {repaired:?}");
    assert_eq!(
        session
            .query("SELECT * FROM tasker.heartbeat('keeps')", &[])
            .len(),
        5
    );
    for worker in ["first", "second", "keeps"] {
        session.query("SELECT tasker.release_steps($1)", &[&worker]);
    }
    let deadline = Instant::now() + patience(120);
    let open = "SELECT count(*) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')";
    while session.count(open, &[]) > 0 {
        assert!(
            Instant::now() < deadline,
            "{database}: the work does not end"
        );
        session.work(|_| done());
    }
    let states: Vec<String> = session.all("SELECT DISTINCT state FROM tasker.tasks", &[]);
    assert_eq!(states, ["complete"]);
    assert_eq!(inside::repeated_ids(&mut server.connect(database)), 0);
}

#[test]
fn a_drained_source_is_drained_after_it_was_restored_and_resumed() {
    let source = Server::start(&[]);
    let target = Server::start(&[
        "shared_preload_libraries=tasker_ext",
        "max_worker_processes=16",
    ]);
    let state = "SELECT state FROM tasker.operational_status";
    let states: [&[&str]; 2] = [&["graceful_shutdown"], &["graceful_shutdown", "stopped"]];
    for path in states {
        let name = *path.last().expect("a state");
        let mut session = source.connect("postgres");
        session.execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let mut session = source.connect(name);
        session.execute("CREATE EXTENSION tasker_ext");
        shapes::chain("chain", 2).register(&mut session);
        session.create("chain");
        for state in path {
            session.query(
                "SELECT tasker.set_operational_state($1, 'a move')",
                &[state],
            );
        }
        let dump = source.folder().join(name);
        let dump = dump.to_string_lossy();
        let arguments = ["--format=custom", "--file", &dump, name];
        run("pg_dump", source.folder(), "postgres", &arguments);
        let mut root = target.connect("postgres");
        root.execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let into = format!("--dbname={name}");
        let arguments = ["--exit-on-error", &into, &dump];
        run("pg_restore", target.folder(), "postgres", &arguments);
        let mut session = target.connect(name);
        assert_eq!(session.one::<String>(state, &[]), name);
        resume(&mut session);
        // The coordinator has begun: it puts a system that was in normal operation into startup.
        let deadline = Instant::now() + patience(30);
        let ran = "SELECT count(*) FROM tasker.maintenance_duties WHERE last_run_at IS NULL";
        while session.count(ran, &[]) > 0 {
            assert!(Instant::now() < deadline, "no coordinator in {name}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(session.one::<String>(state, &[]), name);
        assert!(session.claim(&Ask::by("w", 10)).is_empty());
        let notices = session.take_notices().join(" ");
        assert!(notices.contains(name), "{notices}");
    }
}

/// A copy of a database with work, before it is resumed.
fn copied() -> (Database, Session, Uuid, Uuid) {
    let from = Database::new();
    let mut session = from.connect();
    shapes::chain("chain", 2).register(&mut session);
    let task = session.create("chain");
    let held = session.claim_one("before").step;
    session.create("chain");
    drop(session);
    let copy = Database::copy_of(&from);
    let session = copy.connect();
    (copy, session, task, held)
}

#[test]
fn in_a_copy_claims_return_nothing_what_writes_is_refused_and_reads_work() {
    let (_copy, mut session, task, held) = copied();
    assert!(session.claim(&Ask::by("w", 10)).is_empty());
    let notices = session.take_notices();
    assert!(
        notices.iter().any(|notice| notice.contains("resumed")),
        "{notices:?}"
    );
    let (refused, claims) = session.report_and_claim(&Ask::by("w", 10), &[]);
    assert!(refused.is_empty() && claims.is_empty());
    assert_eq!(
        session.query("SELECT * FROM tasker.run_steps()", &[]).len(),
        0
    );
    for call in [
        format!("SELECT tasker.complete_step('{held}', 1, '{{}}')"),
        format!("SELECT tasker.fail_step('{held}', 1, 'no')"),
        "SELECT * FROM tasker.report_steps('before', '[]')".to_owned(),
        format!(
            "SELECT * FROM tasker.report_and_claim('before', '[{{\"step_uuid\": \"{held}\", \"claim_number\": 1, \"status\": \"complete\"}}]', '{{default}}')"
        ),
        "SELECT * FROM tasker.heartbeat('before')".to_owned(),
        "SELECT tasker.release_steps('before')".to_owned(),
        "SELECT tasker.create_task('chain')".to_owned(),
        "SELECT * FROM tasker.create_tasks('chain', '{}')".to_owned(),
        "SELECT tasker.register_template('name: other\nsteps:\n  - name: a\n    handler: h\n')"
            .to_owned(),
        format!("SELECT tasker.cancel_task('{task}')"),
        format!("SELECT tasker.try_transition_task('{task}', 'error')"),
        "SELECT tasker.pause_namespace('default')".to_owned(),
        "SELECT tasker.set_operational_state('stopped')".to_owned(),
        "SELECT * FROM tasker.run_maintenance()".to_owned(),
        "SELECT * FROM tasker.purge_tasks('0 seconds')".to_owned(),
        "SELECT tasker.schedule_task('nightly', '@daily', 'chain')".to_owned(),
        "SELECT tasker.set_retention('default', '1 day')".to_owned(),
        "SELECT tasker.configure_executor_pool('pool')".to_owned(),
    ] {
        let refusal = session.fails(&call, &[]).is("55000");
        assert!(
            refusal.hint.contains("tasker.resume_after_restore()"),
            "{call}: {refusal}"
        );
    }
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.task_overview", &[]),
        2
    );
    session.query("SELECT tasker.task_diagram($1)", &[&task]);
    let checks: Vec<String> = session.one("SELECT failed_checks FROM tasker.health_ready()", &[]);
    assert_eq!(checks, ["installation"]);
    let hint: String = session.one(
        "SELECT hint FROM tasker.health_status() WHERE measure = 'coordinator' AND level <> 'healthy'",
        &[],
    );
    assert!(hint.contains("resume_after_restore"), "{hint}");
}

/// Functions that are VOLATILE and are not refused in a copy, and why.
const NOT_REFUSED: [(&str, &str); 11] = [
    ("claim_steps", CLAIMS),
    ("report_and_claim", CLAIMS),
    ("run_steps", CLAIMS),
    ("calculate_backoff", "computes with a random number"),
    ("export_metrics", "reads shared memory"),
    ("metrics_prometheus", "reads shared memory"),
    ("processor_seconds", "reads the clock of its process"),
    (
        "record_export",
        "tells nothing, so that an exporter goes on",
    ),
    ("health_status", "reads"),
    ("table_access", "reads"),
    ("validate_resources", "reads shared memory"),
];
const CLAIMS: &str = "returns no row with a NOTICE, so that workers can poll";

#[test]
fn in_a_copy_every_public_function_that_writes_is_refused_with_the_same_hint() {
    let from = Database::new();
    let mut session = from.connect();
    let template = shapes::small_diamond();
    let (done, open) = tasks(&mut session, &template);
    // Something for each repair to do.
    session.create(template.name());
    session.claim_one("lost");
    inside::lease_ended(&mut session, "lost", 3600);
    session.create(template.name());
    inside::lose_queue(&mut session);
    session.execute(
        "CREATE FUNCTION public.handle(events jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
         SELECT tasker.subscribe('handled', handler => 'sql:public.handle', start_at => 'beginning')",
    );
    drop(session);
    let copy = Database::copy_of(&from);
    let mut session = copy.connect();
    let mut before = inside::dump_fingerprint(&mut session);
    let calls = writing_calls(&mut session, done, open, template.name());
    let mut hints = BTreeSet::new();
    let mut wrong = vec![];
    for (function, call) in &calls {
        if function == "resume_after_restore" {
            continue;
        }
        // A notice is given once per session.
        let mut caller = copy.connect();
        let outcome = caller.attempt_with(call, &[]);
        let notices = caller.take_notices().join(" ");
        let reason = NOT_REFUSED.iter().find(|(name, _)| name == function);
        match (outcome, reason) {
            (Err(refusal), None) if refusal.code == "55000" => {
                hints.insert(refusal.hint);
            }
            (Ok(0), Some((_, CLAIMS))) if notices.contains("before it is resumed") => {}
            (Ok(_), Some((_, reason))) if *reason != CLAIMS => {}
            (other, _) => wrong.push(format!("{call}: {other:?} {notices}")),
        }
        if inside::dump_fingerprint(&mut session) != before {
            wrong.push(format!("{call} writes"));
            before = inside::dump_fingerprint(&mut session);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(hints.len(), 1, "{hints:?}");
}

#[test]
fn administrators_resume_and_workers_cannot() {
    let (copy, mut session, _, held) = copied();
    session.execute(
        "DO $$ BEGIN CREATE ROLE resume_admin LOGIN IN ROLE tasker_admin; CREATE ROLE resume_worker LOGIN IN ROLE tasker_worker;
         EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    copy.connect_as("resume_worker")
        .fails("SELECT * FROM tasker.resume_after_restore()", &[])
        .is("42501");
    // A session that has been told no notices by itself that it may.
    assert!(session.claim(&Ask::by("w", 1)).is_empty());
    resume(&mut copy.connect_as("resume_admin"));
    assert_eq!(session.claim(&Ask::by("w", 1)).len(), 1);
    assert_eq!(
        session.one::<String>("SELECT tasker.complete_step($1, 1)", &[&held]),
        "complete"
    );
}

#[test]
fn resuming_repairs_what_was_not_loaded() {
    let (_copy, mut session, _, _) = copied();
    let lost = inside::queue(&mut session);
    session.execute("DELETE FROM tasker_engine.queue_entries");
    let repaired: Vec<i64> = session.all("SELECT found FROM tasker.resume_after_restore()", &[]);
    assert_eq!(repaired, [lost.len() as i64]);
    assert_eq!(inside::queue(&mut session), lost);
}

#[test]
fn the_first_template_begins_work_unless_it_is_rolled_back() {
    let database = Database::empty();
    let mut session = database.connect();
    session.execute("CREATE EXTENSION tasker_ext");
    let mut other = database.connect();
    assert!(other.claim(&Ask::by("w", 1)).is_empty());
    other
        .fails("SELECT tasker.create_task('chain')", &[])
        .is("55000")
        .says(&["resume_after_restore"]);
    // Nothing is wrong, and health says why nothing is done.
    let said = |session: &mut Session| -> Vec<bool> {
        session.all(
            "SELECT message LIKE '%work begins with the first register_template()%' FROM tasker.health_ready() WHERE ready
             UNION ALL SELECT message LIKE '%work begins with the first register_template()%' FROM tasker.health_status() WHERE measure = 'coordinator' AND level = 'healthy'",
            &[],
        )
    };
    assert_eq!(said(&mut session), [true, true]);
    session.execute("BEGIN");
    shapes::chain("chain", 1).register(&mut session);
    session.create("chain");
    session.execute("ROLLBACK");
    session
        .fails("SELECT tasker.create_task('chain')", &[])
        .is("55000");
    // In a savepoint the row has another id than the transaction.
    session.execute("BEGIN; SAVEPOINT inner_part");
    shapes::chain("chain", 1).register(&mut session);
    session.execute("RELEASE inner_part");
    session.create("chain");
    session.execute("COMMIT");
    assert_eq!(other.claim(&Ask::by("w", 10)).len(), 1);
    assert_eq!(said(&mut session), [false, false]);
    // What rewrites the row leaves it as it is.
    session.execute("VACUUM FREEZE tasker_engine.installation");
    session.execute("VACUUM FULL tasker_engine.installation");
    database.connect().create("chain");
}

#[test]
fn a_promoted_standby_goes_on_by_itself() {
    let server = Server::start(&[]);
    database::prepare(&server);
    let mut session = server.connect(database::PATTERN);
    shapes::chain("chain", 1).register(&mut session);
    session.create("chain");
    let mut reader = Reader::default();
    reader.page(&mut session, 1);
    // The backup begins with a checkpoint that takes its time.
    session.execute("CHECKPOINT");
    let standby = server.standby();
    drop(session);
    standby
        .connect("postgres")
        .query("SELECT pg_promote()", &[]);
    let mut session = standby.connect(database::PATTERN);
    assert_eq!(session.work(|_| done()).len(), 1);
    reader.has_each_event_once(&mut session, "promoted");
}

#[test]
fn each_subscriber_goes_on_at_a_promoted_standby() {
    let server = Server::start(&[]);
    database::prepare(&server);
    let mut session = server.connect(database::PATTERN);
    shapes::chain("chain", 3).register(&mut session);
    session.execute("CHECKPOINT");
    let standby = server.standby();
    let had = three::subscribed(&server, database::PATTERN);
    let last: String = session.one("SELECT pg_current_wal_flush_lsn()::text", &[]);
    let mut there = standby.connect("postgres");
    let deadline = Instant::now() + patience(60);
    let comes = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    while !there.one::<bool>(comes, &[&last]) {
        assert!(Instant::now() < deadline, "the standby does not follow");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(session);
    server.stop();
    there.query("SELECT pg_promote()", &[]);
    let mut session = standby.connect(database::PATTERN);
    session.create_many("chain", 3);
    session.work(|_| done());
    three::go_on(&mut session, &had, "promoted");
}

/// Waits until the WAL so far is in the archive.
fn archive(session: &mut Session) {
    let file: String = session.one("SELECT pg_walfile_name(pg_switch_wal())", &[]);
    let deadline = Instant::now() + patience(60);
    let kept = "SELECT coalesce(last_archived_wal >= $1, false) FROM pg_stat_archiver";
    while !session.one::<bool>(kept, &[&file]) {
        assert!(Instant::now() < deadline, "{file} is not archived");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_database_recovered_to_a_point_in_time_goes_on_by_itself() {
    let server = Server::start(&Server::ARCHIVE);
    database::prepare(&server);
    let mut session = server.connect(database::PATTERN);
    shapes::chain("chain", 2).register(&mut session);
    let before = session.create("chain");
    session.execute("CHECKPOINT");
    let backup = server.backup();

    // After the backup: only the archive has it.
    let after = session.create("chain");
    session.create_many("chain", 3);
    let mut reader = Reader::default();
    reader.page(&mut session, 5);
    assert_eq!(session.claim(&Ask::by("first", 1)).len(), 1);
    let held = session.claim(&Ask {
        lease: "1 hour",
        ..Ask::by("keeps", 1)
    });
    let queue = inside::queue(&mut session);
    assert_eq!(queue.len(), 3);
    session.query("SELECT pg_create_restore_point('before_the_mistake')", &[]);
    session.query("SELECT tasker.cancel_task($1)", &[&before]);
    session.query("SELECT tasker.cancel_task($1)", &[&after]);
    archive(&mut session);

    backup.recover(&server, "before_the_mistake");
    let mut session = backup.connect(database::PATTERN);
    let deadline = Instant::now() + patience(60);
    while session.one("SELECT pg_is_in_recovery()", &[]) {
        assert!(Instant::now() < deadline, "recovery does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(inside::queue(&mut session), queue);
    assert!(session.one::<bool>("SELECT ready FROM tasker.health_ready()", &[]));
    // The claim that was open is open, and its worker goes on.
    assert_eq!(
        session
            .query("SELECT * FROM tasker.heartbeat('keeps')", &[])
            .len(),
        1
    );
    session.complete(&held[0], &json!({"by": "keeps"}));
    session.create("chain");
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    session.query("SELECT tasker.release_steps('first')", &[]);
    session.work(|_| done());
    let states: Vec<String> = session.all("SELECT DISTINCT state FROM tasker.tasks", &[]);
    assert_eq!(states, ["complete"]);
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 6);
    assert_eq!(inside::repeated_ids(&mut session), 0);
    reader.has_each_event_once(&mut session, "recovered");
}

#[test]
fn each_subscriber_goes_on_in_a_database_recovered_to_a_point_in_time() {
    let server = Server::start(&Server::ARCHIVE);
    database::prepare(&server);
    let mut session = server.connect(database::PATTERN);
    shapes::chain("chain", 3).register(&mut session);
    session.execute("CHECKPOINT");
    let backup = server.backup();
    let had = three::subscribed(&server, database::PATTERN);
    session.query("SELECT pg_create_restore_point('before_the_mistake')", &[]);
    // What they do after the point is lost, and so is what they hear of then.
    session.create_many("chain", 2);
    for name in three::SUBSCRIBERS {
        let got = three::poll(&mut session, name, 20, "1 hour");
        three::ack(&mut session, name, &got);
    }
    archive(&mut session);
    backup.recover(&server, "before_the_mistake");
    let mut session = backup.connect(database::PATTERN);
    let deadline = Instant::now() + patience(60);
    while session.one("SELECT pg_is_in_recovery()", &[]) {
        assert!(Instant::now() < deadline, "recovery does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    session.create_many("chain", 3);
    session.work(|_| done());
    three::go_on(&mut session, &had, "recovered");
}

#[test]
fn purging_deletes_the_queue_entries_of_what_it_deletes() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 2).register(&mut session);
    let task = session.create("chain");
    let kept = session.create("chain");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    session.query("SELECT tasker.purge_tasks('0 seconds')", &[]);
    let left: Vec<Uuid> = session.all("SELECT task_uuid FROM tasker_engine.queue_entries", &[]);
    assert_eq!(left, [kept]);
}
