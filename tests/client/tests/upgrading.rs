//! Versions of the extension: frozen scripts, ALTER EXTENSION UPDATE, libraries and schemas that differ, and what a release left behind.
//!
//! sql/versions and tests/upgrade are made by scripts/freeze-version, with the release itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use tasker_client_tests::postgres_tree::own_version;
use tasker_client_tests::server::{Server, client, program, psql, root, run};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Database, Failure, PostgresTree, Session, Uuid, inside, json, patience, shapes,
};

const UPDATE: &str = "ALTER EXTENSION tasker_ext UPDATE";

/// The versions that are frozen, the oldest first.
fn frozen() -> Vec<String> {
    let mut versions: Vec<String> = files("sql/versions", ".symbols")
        .iter()
        .filter_map(|name| name.strip_prefix("tasker_ext--"))
        .map(str::to_owned)
        .collect();
    versions.sort_by_key(|version| {
        version
            .split('.')
            .map(|part| part.parse::<u32>().expect("a number"))
            .collect::<Vec<_>>()
    });
    assert!(!versions.is_empty());
    versions
}

/// The files of a folder of the project with this ending, without it.
fn files(folder: &str, ending: &str) -> Vec<String> {
    std::fs::read_dir(root().join(folder))
        .expect("the folder is there")
        .filter_map(|entry| {
            let name = entry.expect("a file").file_name().into_string().ok()?;
            name.strip_suffix(ending).map(str::to_owned)
        })
        .collect()
}

fn install(session: &mut Session, version: &str) {
    session.execute(&format!("CREATE EXTENSION tasker_ext VERSION '{version}'"));
}

/// What the catalog says of the extension, a fact a line.
fn catalog(server: &Server, database: &str) -> Vec<String> {
    let script = root().join("tests/client/catalog.sql");
    lines(psql(server.folder(), database).arg("--file").arg(script))
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("it runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaints}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// The definitions of everything that the extension made, which a dump has when it belongs to no extension. The columns of a table are
/// sorted: an update can only append one.
fn definitions(server: &Server, database: &str) -> Vec<String> {
    server.connect(database).execute(
        "DELETE FROM pg_depend d USING pg_extension e
         WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND e.extname = 'tasker_ext'",
    );
    let mut dump = client("pg_dump", server.folder(), "postgres");
    let mut lines = lines(dump.args(["--schema-only", "--dbname", database]));
    // A key against injected commands, another one each time.
    lines.retain(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.sort();
    lines
}

#[track_caller]
fn assert_same(left: &[String], right: &[String]) {
    let (left, right): (BTreeSet<_>, BTreeSet<_>) = (left.iter().collect(), right.iter().collect());
    let only = |a: &BTreeSet<&String>, b: &BTreeSet<&String>| -> String {
        let lines: Vec<&str> = a.difference(b).take(20).map(|line| line.as_str()).collect();
        lines.join("\n")
    };
    assert!(
        left == right,
        "only left:\n{}\nonly right:\n{}",
        only(&left, &right),
        only(&right, &left)
    );
}

/// A refusal that says which versions there are and what to do.
#[track_caller]
fn refuses(failure: Failure, library: &str, schema: &str, hint: &str) {
    failure
        .is("55000")
        .message_says(&[&format!("version {library}"), &format!("version {schema}")])
        .hint_says(&[hint]);
}

// --- what is installed -----------------------------------------------------------------------------------------------------

#[test]
fn an_installation_has_every_frozen_version_and_a_way_from_each_to_the_newest() {
    let own = own_version();
    let mut expected = BTreeSet::from([
        "tasker_ext.control".to_owned(),
        format!("tasker_ext--{own}.sql"),
    ]);
    let named = |names: Vec<String>, prefix: &str| -> Vec<String> {
        let names = names.into_iter();
        names.map(|name| format!("{prefix}{name}.sql")).collect()
    };
    expected.extend(named(files("sql/versions", ".sql"), ""));
    let mut updates = files("sql/upgrade", ".sql");
    updates.retain(|name| name.ends_with(&format!("--{own}")));
    assert!(!updates.is_empty());
    expected.extend(named(updates, "tasker_ext--"));
    let share = lines(Command::new(program("pg_config")).arg("--sharedir")).remove(0);
    let installed: BTreeSet<String> = std::fs::read_dir(PathBuf::from(share).join("extension"))
        .expect("the folder of extensions")
        .filter_map(|entry| entry.expect("a file").file_name().into_string().ok())
        .filter(|name| name.starts_with("tasker_ext"))
        .collect();
    assert_eq!(installed, expected);
    let database = Database::empty();
    let mut session = database.connect();
    for version in frozen() {
        let path: String = session.one(
            "SELECT p.path FROM pg_extension_update_paths('tasker_ext') p WHERE p.source = $1 AND p.target = $2",
            &[&version, &own],
        );
        assert!(path.starts_with(&version) && path.ends_with(&own), "{path}");
        install(&mut session, &version);
        session.execute("DROP EXTENSION tasker_ext; DROP SCHEMA tasker");
    }
    session.execute("CREATE EXTENSION tasker_ext");
    assert_eq!(
        session.one::<String>(
            "SELECT extversion FROM pg_extension WHERE extname = 'tasker_ext'",
            &[]
        ),
        own
    );
}

#[test]
fn the_archive_of_the_package_holds_the_files_that_are_installed() {
    let config = program("pg_config");
    let installed_library =
        lines(Command::new(&config).arg("--pkglibdir")).remove(0) + "/tasker_ext.so";
    let extensions = lines(Command::new(&config).arg("--sharedir")).remove(0) + "/extension";
    let folder = std::env::temp_dir().join(format!("tasker-archive-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let archive = folder.join("package.tar.gz");
    lines(
        Command::new(root().join("scripts/package"))
            .args(["--built", "--archive"])
            .arg(&archive),
    );
    let packed: BTreeSet<String> = lines(Command::new("tar").arg("tzf").arg(&archive))
        .into_iter()
        .map(|name| format!("/{name}"))
        .collect();
    let mut installed: BTreeSet<String> = std::fs::read_dir(&extensions)
        .expect("the folder of extensions")
        .filter_map(|entry| entry.expect("a file").file_name().into_string().ok())
        .filter(|name| name.starts_with("tasker_ext"))
        .map(|name| format!("{extensions}/{name}"))
        .collect();
    installed.insert(installed_library);
    assert_eq!(packed, installed);
    // The scripts are the same, byte for byte.
    lines(
        Command::new("tar")
            .args(["--extract", "--exclude=*.so", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(&folder),
    );
    for name in packed.iter().filter(|name| !name.ends_with(".so")) {
        let unpacked = std::fs::read(folder.join(&name[1..])).expect("it was unpacked");
        assert!(
            unpacked == std::fs::read(name).expect("it is installed"),
            "{name}"
        );
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

#[test]
fn the_library_has_every_symbol_of_every_frozen_version() {
    let database = Database::new();
    let mut session = database.connect();
    for version in frozen() {
        let list = root().join(format!("sql/versions/tasker_ext--{version}.symbols"));
        let symbols = std::fs::read_to_string(list).expect("the list is there");
        assert!(symbols.lines().count() > 50, "{version}");
        for symbol in symbols.lines() {
            // PostgreSQL looks the symbol up.
            session.execute(&format!(
                "CREATE OR REPLACE FUNCTION pg_temp.found() RETURNS void AS '$libdir/tasker_ext', '{symbol}' LANGUAGE c"
            ));
        }
    }
}

// --- an updated extension is that of a fresh installation -------------------------------------------------------------------

#[test]
fn an_updated_extension_is_in_everything_that_of_a_fresh_installation() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE app LOGIN; CREATE ROLE chief LOGIN SUPERUSER");
    // Default privileges change nothing, and stay.
    let promise = "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app;
                   ALTER DEFAULT PRIVILEGES IN SCHEMA tasker GRANT EXECUTE ON FUNCTIONS TO app";
    for user in ["app", "chief", "postgres"] {
        let fresh = format!("fresh_{user}");
        root.execute(&format!("CREATE DATABASE {fresh} OWNER {user}"));
        Session::open(server.config(&fresh, user)).execute("CREATE EXTENSION tasker_ext");
        let expected = catalog(&server, &fresh);
        assert!(expected.len() > 3000, "{} lines", expected.len());
        for version in frozen() {
            let old = format!("old_{user}_{}", version.replace('.', "_"));
            root.execute(&format!("CREATE DATABASE {old} OWNER {user}"));
            let mut session = Session::open(server.config(&old, user));
            install(&mut session, &version);
            if user == "chief" {
                session.execute(promise);
            }
            let promised = "SELECT defaclacl::text FROM pg_default_acl ORDER BY 1";
            let before: Vec<String> = session.all(promised, &[]);
            session.execute(UPDATE);
            assert_eq!(session.all::<String>(promised, &[]), before);
            assert_same(&catalog(&server, &old), &expected);
            if user == "chief" {
                session.execute(&promise.replace("GRANT", "REVOKE").replace(" TO ", " FROM "));
            }
            assert_same(&definitions(&server, &old), &definitions(&server, &fresh));
        }
    }
}

// --- library and schema of different versions -------------------------------------------------------------------------------

/// A call of every public function, with arguments that are not NULL.
fn calls(session: &mut Session) -> Vec<(String, String)> {
    session
        .query(
            "SELECT p.proname::text, format('SELECT * FROM %s(%s)', p.oid::regproc, (
                 SELECT string_agg(CASE WHEN t.typcategory = 'A' THEN '''{}''' WHEN t.typtype = 'c' THEN 'NULL'
                                        WHEN t.typname = 'text' THEN '''x''' WHEN t.typname = 'jsonb' THEN '''[]'''
                                        WHEN t.typname = 'bool' THEN 'false' WHEN t.typname = 'interval' THEN '''1 hour'''
                                        WHEN t.typname = 'uuid' THEN '''00000000-0000-7000-8000-000000000000'''
                                        WHEN t.typname = 'timestamptz' THEN 'now()' ELSE '1' END || '::' || t.oid::regtype, ', ' ORDER BY a.place)
                 FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place) JOIN pg_type t ON t.oid = a.type))
             FROM pg_proc p WHERE p.pronamespace = 'tasker'::regnamespace ORDER BY 1",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

/// Every public function refuses and writes nothing, but for those that have a reason.
#[track_caller]
fn every_function_refuses(session: &mut Session, version: &str) {
    let own = own_version();
    session.execute(inside::HELPERS);
    let before = inside::fingerprint(session);
    let calls = calls(session);
    assert!(calls.len() > 150, "{} functions", calls.len());
    for (function, call) in calls {
        match function.as_str() {
            // The expression of an index, which a restore fills.
            "step_uuid" => assert_eq!(session.query(&call, &[]).len(), 1),
            // For probes: the server lives, and is not ready.
            "health_live" => assert!(session.one::<bool>(&call, &[])),
            "health_ready" => {
                let says: String = session.one(
                    "SELECT concat_ws(' ', ready, failed_checks, message) FROM tasker.health_ready()",
                    &[],
                );
                assert_eq!(
                    says,
                    format!(
                        "f {{version}} the extension has version {version} and the library {own}: {UPDATE}"
                    )
                );
            }
            _ => match session.attempt_rows(&call) {
                Ok(_) => panic!("not refused: {call}"),
                Err(failure) => refuses(failure, &own, version, UPDATE),
            },
        }
    }
    assert_eq!(inside::fingerprint(session), before);
}

#[test]
fn with_a_newer_library_every_function_refuses_and_writes_nothing_until_the_update() {
    for version in frozen() {
        let database = Database::empty();
        let mut session = database.connect();
        install(&mut session, &version);
        every_function_refuses(&mut session, &version);
        // A session that lives on notices the update of another one.
        let mut other = database.connect();
        other
            .fails("SELECT tasker.create_task('small_diamond')", &[])
            .is("55000");
        session.execute(UPDATE);
        shapes::small_diamond().register(&mut other);
        other.create("small_diamond");
    }
}

#[test]
fn every_function_of_this_version_refuses_a_newer_library() {
    let database = Database::empty();
    let mut session = database.connect();
    session.execute("CREATE EXTENSION tasker_ext");
    session.execute("UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'tasker_ext'");
    drop(session);
    every_function_refuses(&mut database.connect(), "0.0.1");
}

/// A task by a library that only says that it is the old one: it writes a column that the old extension does not have.
fn create_by_old_library(session: &mut Session) -> Uuid {
    session.execute("ALTER TABLE tasker_engine.queue_entries ADD COLUMN handler_key bigint");
    let task = session.create("small_diamond");
    session.execute("ALTER TABLE tasker_engine.queue_entries DROP COLUMN handler_key");
    task
}

#[test]
fn an_update_is_refused_before_the_restart_and_an_old_library_refuses_the_new_schema() {
    let own = own_version();
    let old = frozen().remove(0);
    let tree = PostgresTree::new();
    tree.install_library_of_version(&old);
    let server = tree.start(&["shared_preload_libraries=tasker_ext"]);
    server.connect("postgres").execute("CREATE DATABASE app");
    let mut session = server.connect("app");
    install(&mut session, &old);
    // The library only says that it is the old one: it asks for what the old extension does not have.
    session.execute(
        "CREATE TABLE tasker_engine.installation (one boolean); GRANT SELECT ON tasker_engine.installation TO tasker_owner;
         CREATE FUNCTION tasker_engine.installation_state() RETURNS text LANGUAGE sql AS $$ SELECT 'same' $$",
    );
    shapes::small_diamond().register(&mut session);
    let task = create_by_old_library(&mut session);
    session.execute(
        "DROP TABLE tasker_engine.installation; DROP FUNCTION tasker_engine.installation_state()",
    );
    // The new files are there, and the server has not restarted.
    tree.install_library();
    let before = catalog(&server, "app");
    refuses(session.fails(UPDATE, &[]), &old, &own, "Restart the server");
    assert_same(&catalog(&server, "app"), &before);
    create_by_old_library(&mut session);
    drop(session);

    let restart = |server: &Server| {
        server.stop();
        server.start_again();
        server.connect("app")
    };
    let said = |what: &str| {
        let began = std::time::Instant::now();
        let line = format!("background processes do nothing: {what}");
        while !server.log().contains(&line) {
            assert!(began.elapsed() < patience(20), "not in the log: {line}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    let mut session = restart(&server);
    said(&format!(
        "the library of tasker_ext is version {own}, the extension in this database is version {old}"
    ));
    refuses(
        session.fails("SELECT tasker.create_task('small_diamond')", &[]),
        &own,
        &old,
        UPDATE,
    );
    session.execute(UPDATE);
    let claim = session.claim_soon(&Ask::by("after", 1), 1).remove(0);
    assert_eq!(claim.task, task);
    drop(session);

    // Back to the old files, which a restart loads.
    tree.install_library_of_version(&old);
    let mut session = restart(&server);
    said(&format!(
        "the library of tasker_ext is version {old}, the extension in this database is version {own}"
    ));
    refuses(
        session.fails("SELECT tasker.create_task('small_diamond')", &[]),
        &old,
        &own,
        "Restart the server",
    );
}

#[test]
fn without_preload_a_session_with_the_old_library_refuses_the_new_schema() {
    let own = own_version();
    let old = frozen().remove(0);
    let tree = PostgresTree::new();
    tree.install_library_of_version(&old);
    let server = tree.start(&[]);
    let mut session = server.connect("postgres");
    install(&mut session, &old);
    // As above: what the old extension does not have.
    session.execute(
        "CREATE TABLE tasker_engine.installation (one boolean); GRANT SELECT ON tasker_engine.installation TO tasker_owner;
         CREATE FUNCTION tasker_engine.installation_state() RETURNS text LANGUAGE sql AS $$ SELECT 'same' $$",
    );
    shapes::small_diamond().register(&mut session);
    create_by_old_library(&mut session);
    session.execute(
        "DROP TABLE tasker_engine.installation; DROP FUNCTION tasker_engine.installation_state()",
    );
    tree.install_library();
    // The update waits for a transaction of the old session; a call that has begun then waits for the update, and is undone.
    session.execute("BEGIN");
    create_by_old_library(&mut session);
    let (mut update, calling) = (server.connect("postgres"), session.pid());
    let updating = update.pid();
    update.execute("BEGIN");
    let mut root = server.connect("postgres");
    std::thread::scope(|scope| {
        let update = scope.spawn(move || {
            update.execute(UPDATE);
            update
        });
        root.wait_until_blocked(updating);
        session.execute("COMMIT");
        let mut update = update.join().expect("the update succeeds");
        let call = scope.spawn(|| session.fails("SELECT tasker.create_task('small_diamond')", &[]));
        root.wait_until_blocked(calling);
        update.execute("COMMIT");
        let failure = call.join().expect("the call is refused");
        refuses(failure, &old, &own, "open a new session");
    });
    assert_eq!(root.count("SELECT count(*) FROM tasker.tasks", &[]), 2);
    refuses(
        session.fails("SELECT tasker.create_task('small_diamond')", &[]),
        &old,
        &own,
        "open a new session",
    );
    server.connect("postgres").create("small_diamond");
}

// --- what a release left behind ---------------------------------------------------------------------------------------------

/// A server with the roles of the data, and the extension in one of its databases.
fn server_for_data() -> Server {
    let server = Server::start(&[]);
    server
        .connect("postgres")
        .execute("CREATE EXTENSION tasker_ext");
    let roles = root().join("tests/upgrade/roles.sql");
    run(
        "psql",
        server.folder(),
        "postgres",
        &[
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname=postgres",
            "--file",
            &roles.to_string_lossy(),
        ],
    );
    server
}

fn new_database(server: &Server, name: &str, owner: &str) -> Session {
    server.connect("postgres").execute(&format!(
        "CREATE DATABASE {name} OWNER {owner} TEMPLATE template0"
    ));
    Session::open(server.config(name, owner))
}

/// Loads the dump of a release by psql: into the newest version, as it is, or into the frozen schema of the release.
#[track_caller]
fn load_by_psql(server: &Server, database: &str, user: &str, version: &str, frozen: bool) {
    const CREATES: &str = "CREATE EXTENSION IF NOT EXISTS tasker_ext WITH SCHEMA tasker";
    let dump = std::fs::read_to_string(root().join(format!("tests/upgrade/{version}.sql")))
        .expect("the dump is there");
    assert!(dump.contains(CREATES));
    let dump = if frozen {
        dump.replace(CREATES, &format!("{CREATES} VERSION '{version}'"))
    } else {
        // As with --no-privileges: a GRANT names parameters, and those of some functions have changed.
        let kept = dump.lines().filter(|line| !line.starts_with("GRANT "));
        kept.fold(String::new(), |text, line| text + line + "\n")
    };
    let file = server.folder().join(format!("{database}.sql"));
    std::fs::write(&file, dump).expect("a file beside the server");
    run(
        "psql",
        server.folder(),
        user,
        &[
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            database,
            "--file",
            &file.to_string_lossy(),
        ],
    );
}

/// The task of this correlation id, and its state.
fn named(session: &mut Session, id: &str) -> (Uuid, String) {
    let row = session
        .query(
            "SELECT task_uuid, state::text FROM tasker.tasks WHERE correlation_id = $1",
            &[&id],
        )
        .remove(0);
    (row.get(0), row.get(1))
}

/// Everything in the data goes on: tests/upgrade/data.sql.
#[track_caller]
fn go_on(session: &mut Session) {
    let log = session.count("SELECT count(*) FROM tasker.workflow_step_transitions", &[]);
    for (id, expected) in [
        ("complete", "complete"),
        ("failed", "error"),
        ("cancelled", "cancelled"),
        ("held", "in_progress"),
    ] {
        assert_eq!(named(session, id).1, expected, "{id}");
    }
    let complete = named(session, "complete").0;
    assert_eq!(
        session.results(complete, "start").to_string(),
        r#"{"big":12345678901234567890.5,"text":"ä\"\\"}"#
    );
    work_goes_on(session);
    maintenance_goes_on(session);
    facts_are_kept(session);
    // The log grows, and counts on.
    let now = session.count("SELECT count(*) FROM tasker.workflow_step_transitions", &[]);
    assert!(now > log, "{now} after {log}");
    let twice = session.count(
        "SELECT count(*) - count(DISTINCT id) FROM tasker.workflow_step_transitions",
        &[],
    );
    assert_eq!(twice, 0, "the log counts from the beginning again");
}

#[track_caller]
fn work_goes_on(session: &mut Session) {
    // The claim of the old worker: its heartbeat, and its report under the old number.
    let held = named(session, "held").0;
    let beats: Vec<String> = session.all("SELECT status FROM tasker.heartbeat('holder')", &[]);
    assert_eq!(beats.len(), 1);
    assert!(
        !["lost", "cancelled"].contains(&beats[0].as_str()),
        "{beats:?}"
    );
    let reported: String = session.one(
        "SELECT tasker.complete_step(r.step_uuid, r.claim_number, '{\"late\": true}')
         FROM tasker.running_steps r WHERE r.task_uuid = $1",
        &[&held],
    );
    assert_eq!(reported, "complete");
    assert_eq!(session.steps(held)[2], "right resolved_manually/0");
    assert_eq!(session.ready(held), ["left"]);
    // The retry that is due, and not the task that is not.
    let claims = session.claim(&Ask {
        namespaces: vec!["due", "later"],
        ..Ask::by("next", 10)
    });
    assert_eq!(claims.len(), 1);
    assert_eq!(
        (claims[0].attempt, claims[0].namespace.as_str()),
        (2, "due")
    );
    session.complete(&claims[0], &json!({}));
    // The pause.
    let paused = Ask {
        namespaces: vec!["paused"],
        ..Ask::by("next", 1)
    };
    assert!(session.claim(&paused).is_empty());
    session.query("SELECT tasker.resume_namespace('paused')", &[]);
    assert_eq!(session.claim_soon(&paused, 1).len(), 1);
}

/// The handler inside the database, the timeouts, and the schedules: one is due, one is paused.
#[track_caller]
fn maintenance_goes_on(session: &mut Session) {
    session.query("SELECT tasker.run_steps()", &[]);
    let (inside, state) = named(session, "inside");
    assert_eq!(state, "complete");
    assert_eq!(session.results(inside, "charge"), json!({"charged": true}));
    session.query("SELECT tasker.run_maintenance()", &[]);
    session.query("SELECT tasker.run_maintenance()", &[]);
    assert_eq!(named(session, "timed").1, "error");
    let runs: Vec<String> = session.all(
        "SELECT concat_ws(' ', schedule_name, enabled, runs > 0, failures) FROM tasker.schedules ORDER BY 1",
        &[],
    );
    assert_eq!(runs, ["often t t 0", "paused f f 0"]);
    session.query("SELECT tasker.unschedule_task('often')", &[]);
    // The claim of the finalizer has expired: another one gets it, and the first attempt is known.
    let finalized = named(session, "finalized").0;
    assert!(session.one::<bool>(
        "SELECT claimed FROM tasker.claim_task_for_finalization($1, 'another')",
        &[&finalized]
    ));
    assert_eq!(
        inside::finalizers(session, finalized),
        ["finalizer", "another"]
    );
}

/// Identities, notes, settings and counts.
#[track_caller]
fn facts_are_kept(session: &mut Session) {
    let cancelled = named(session, "cancelled").0;
    assert_eq!(
        session.one::<Uuid>(
            "SELECT tasker.create_task('once', '{\"n\": 3}', 'ended', idempotency_key => 'key')",
            &[]
        ),
        cancelled
    );
    let kept: Vec<String> = session.all(
        "SELECT concat_ws(' ', 'note', annotation) FROM tasker.task_annotations WHERE annotation ? 'by'
         UNION ALL SELECT concat_ws(' ', 'pool', name, min_executors, max_executors) FROM tasker.executor_pools WHERE name = 'shop'
         UNION ALL SELECT concat_ws(' ', 'retention', completed) FROM tasker.retention WHERE namespace_name = 'ended'
         UNION ALL SELECT concat_ws(' ', 'states', count(*)) FROM tasker.operational_state_changes
         UNION ALL SELECT concat_ws(' ', 'handlers', count(*)) FROM tasker.worker_handlers WHERE plugin = 'shop'
         UNION ALL SELECT concat_ws(' ', 'map', remote_id_one, remote_id_two) FROM tasker.dependent_system_object_maps
         UNION ALL SELECT concat_ws(' ', 'counted', sum(value) > 0) FROM tasker.metrics WHERE name LIKE '%created%'",
        &[],
    );
    assert_eq!(
        kept,
        [
            "note {\"by\": \"hand\"}",
            "pool shop 1 3",
            "retention 50 years",
            "states 4",
            "handlers 2",
            "map 1 2",
            "counted t"
        ]
    );
}

#[test]
fn the_data_of_a_release_live_on_through_the_update() {
    let server = server_for_data();
    for version in frozen() {
        for user in ["postgres", "app"] {
            let name = format!("update_{user}_{}", version.replace('.', "_"));
            let mut session = new_database(&server, &name, user);
            load_by_psql(&server, &name, user, &version, true);
            session
                .fails("SELECT * FROM tasker.heartbeat('holder')", &[])
                .is("55000");
            session.execute(UPDATE);
            assert_eq!(session.disagreements(), [""; 0]);
            go_on(&mut session);
            assert_eq!(session.disagreements(), [""; 0]);
        }
    }
}

#[test]
fn the_dump_of_a_release_restores_into_the_newest_version() {
    let server = server_for_data();
    let own = own_version();
    for version in frozen() {
        for user in ["postgres", "app"] {
            for tool in ["psql", "pg_restore"] {
                let name = format!("{tool}_{user}_{}", version.replace('.', "_"));
                let mut session = new_database(&server, &name, user);
                if tool == "psql" {
                    load_by_psql(&server, &name, user, &version, false);
                } else {
                    let dump = root().join(format!("tests/upgrade/{version}.dump"));
                    let dump = dump.to_string_lossy();
                    let arguments = [
                        "--exit-on-error",
                        "--no-privileges",
                        "--dbname",
                        &name,
                        &dump,
                    ];
                    run("pg_restore", server.folder(), user, &arguments);
                }
                assert_eq!(
                    session.one::<String>(
                        "SELECT extversion FROM pg_extension WHERE extname = 'tasker_ext'",
                        &[]
                    ),
                    own
                );
                tasker_client_tests::database::resume(&mut session);
                go_on(&mut session);
            }
        }
    }
}

#[test]
fn a_cluster_with_a_release_is_upgraded_under_the_new_library_and_updated_then() {
    let version = frozen().remove(0);
    let old = server_for_data();
    let session = new_database(&old, "shop", "app");
    load_by_psql(&old, "shop", "app", &version, true);
    drop(session);
    old.stop();
    let new = Server::start(&[]);
    new.stop();
    new.take_over(&old);
    new.start_again();
    let mut session = new.connect("shop");
    refuses(
        session.fails("SELECT tasker.create_task('once')", &[]),
        &own_version(),
        &version,
        UPDATE,
    );
    session.execute(UPDATE);
    go_on(&mut session);
}

#[test]
fn a_server_that_is_killed_during_the_update_has_the_release_as_it_was() {
    let version = frozen().remove(0);
    let server = server_for_data();
    let session = new_database(&server, "shop", "app");
    load_by_psql(&server, "shop", "app", &version, true);
    server.connect("shop").execute(inside::HELPERS);
    let facts = catalog(&server, "shop");
    let data = inside::fingerprint(&mut server.connect("shop"));
    // A reader of a view stops the script in its middle.
    let mut reader = server.connect("shop");
    reader.execute("BEGIN; SELECT count(*) FROM tasker.task_diagram_nodes WHERE false");
    let mut update = Session::open(server.config("shop", "app"));
    let pid = update.pid();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = update.try_query(UPDATE, &[]);
        });
        server.connect("shop").wait_until_blocked(pid);
        server.kill();
    });
    drop((session, reader));
    server.start_again();
    assert_same(&catalog(&server, "shop"), &facts);
    assert_eq!(inside::fingerprint(&mut server.connect("shop")), data);
    let mut session = Session::open(server.config("shop", "app"));
    session.execute(UPDATE);
    go_on(&mut session);
}

// --- what belongs to the users ----------------------------------------------------------------------------------------------

/// The roles that can execute or read this, without the owner.
fn grantees(session: &mut Session, object: &str) -> Vec<String> {
    session.all(
        "SELECT DISTINCT CASE e.grantee WHEN 0 THEN 'public' ELSE e.grantee::regrole::text END AS name
         FROM (SELECT proacl, proowner FROM pg_proc WHERE oid = to_regproc($1)
               UNION ALL SELECT relacl, relowner FROM pg_class WHERE oid = to_regclass($1)) o (acl, owner), aclexplode(o.acl) e
         WHERE e.grantee <> o.owner ORDER BY 1",
        &[&object],
    )
}

#[test]
fn what_was_granted_and_what_was_revoked_survives_an_update_and_a_dump() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE report; CREATE ROLE boss");
    let version = frozen().remove(0);
    let mut session = new_database(&server, "shop", "postgres");
    install(&mut session, &version);
    session.execute(
        "GRANT USAGE ON SCHEMA tasker TO report, boss;
         GRANT EXECUTE ON FUNCTION tasker.cancel_task TO report;
         GRANT EXECUTE ON FUNCTION tasker.retry_task TO boss WITH GRANT OPTION;
         SET ROLE boss; GRANT EXECUTE ON FUNCTION tasker.retry_task TO report; RESET ROLE;
         REVOKE EXECUTE ON FUNCTION tasker.pause_namespace FROM tasker_operator;
         GRANT SELECT ON tasker.tasks TO report;
         REVOKE SELECT ON tasker.running_steps FROM tasker_reader;
         GRANT SELECT (name) ON tasker.task_namespaces TO report;
         GRANT USAGE ON SCHEMA tasker_engine TO report;
         GRANT SELECT ON tasker_engine.steps TO report",
    );
    let objects = [
        ("tasker.cancel_task", vec!["report", "tasker_operator"]),
        (
            "tasker.retry_task",
            vec!["boss", "report", "tasker_operator"],
        ),
        ("tasker.pause_namespace", vec![]),
        ("tasker.tasks", vec!["report", "tasker_reader"]),
        ("tasker.running_steps", vec![]),
        ("tasker_engine.steps", vec!["report"]),
    ];
    let holds = |session: &mut Session, when: &str| {
        for (object, expected) in &objects {
            assert_eq!(&grantees(session, object), expected, "{object} {when}");
        }
        for (privilege, question) in [
            (
                "a column",
                "has_column_privilege('report', 'tasker.task_namespaces', 'name', 'SELECT')",
            ),
            (
                "the schema",
                "has_schema_privilege('report', 'tasker_engine', 'USAGE')",
            ),
        ] {
            let has: bool = session.one(&format!("SELECT {question}"), &[]);
            assert!(has, "{privilege} {when}");
        }
    };
    holds(&mut session, "before");
    session.execute(UPDATE);
    holds(&mut session, "after the update");
    let dump = server.folder().join("shop.sql");
    let dump = dump.to_string_lossy();
    run(
        "pg_dump",
        server.folder(),
        "postgres",
        &["--dbname=shop", "--file", &dump],
    );
    let mut session = new_database(&server, "copy", "postgres");
    run(
        "psql",
        server.folder(),
        "postgres",
        &[
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname=copy",
            "--file",
            &dump,
        ],
    );
    holds(&mut session, "after the restore");
    // The roles leave no trace.
    let mut session = server.connect("shop");
    session.execute("DROP OWNED BY report, boss");
    server.connect("copy").execute("DROP OWNED BY report, boss");
    session.execute("DROP ROLE report; DROP ROLE boss");
}

/// A made-up update from a version to this one: three functions get another parameter, and one is granted to another role.
fn another_parameter(session: &mut Session) -> String {
    let part = |name: &str| {
        std::fs::read_to_string(root().join("sql").join(name)).expect("a part of a script")
    };
    let mut changes = String::new();
    let mut definitions = String::new();
    for function in ["claim_steps", "complete_step", "cancel_task"] {
        let row = session
            .query(
                "SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid), pg_get_function_arguments(p.oid)
                 FROM pg_proc p WHERE p.oid = ('tasker.' || $1)::regproc",
                &[&function],
            )
            .remove(0);
        let (signature, definition, arguments): (String, String, String) =
            (row.get(0), row.get(1), row.get(2));
        let new = format!("{},text)", signature.trim_end_matches(')'));
        changes += &format!(
            "SELECT tasker_engine.script_replace_function('{signature}'::regprocedure, '{new}');\n"
        );
        let more = format!("{arguments}, more text DEFAULT NULL::text");
        definitions += &definition.replacen(&arguments, &more, 1);
        let role = if function == "cancel_task" {
            "tasker_operator, tasker_admin"
        } else {
            "tasker_worker"
        };
        definitions += &format!(";\nGRANT EXECUTE ON FUNCTION {new} TO {role};\n");
    }
    let mut script = String::new();
    for name in [
        "header.sql",
        "upgrade/library.sql",
        "install/script.sql",
        "upgrade/begin.sql",
    ] {
        script += &part(name);
    }
    script += &changes;
    script += &definitions;
    script += "GRANT EXECUTE ON FUNCTION tasker.set_retry_limit TO tasker_worker;\n";
    for name in [
        "install/ownership.sql",
        "install/dumped_tables.sql",
        "install/privileges.sql",
        "upgrade/end.sql",
        "install/end.sql",
    ] {
        script += &part(name);
    }
    script
}

/// A made-up update to this version, whose changes of signatures are these: the script of the package, with them in it.
fn with_changes(changes: &str) -> String {
    let own = own_version();
    let names = files("sql/upgrade", ".sql");
    let update = names
        .iter()
        .find(|name| name.ends_with(&format!("--{own}")));
    let update = update.expect("an update to this version");
    let from = update.split("--").next().expect("a version");
    let script = lines(Command::new(root().join("scripts/upgrade-script")).arg(from)).join("\n");
    // The objects are those of this version already: what its own update changes by hand is left out.
    let own_changes = std::fs::read_to_string(root().join(format!("sql/upgrade/{update}.sql")));
    let own_changes = own_changes.expect("the file of the update");
    assert!(script.contains(own_changes.trim()));
    script.replace(own_changes.trim(), changes)
}

/// Makes the extension one of the version before, which this script updates.
fn older_with(tree: &PostgresTree, session: &mut Session, script: &str) {
    let (old, own) = ("0.1.9", own_version());
    assert_ne!(own, old);
    let file = format!("tasker_ext--{old}--{own}.sql");
    std::fs::write(tree.extension_folder().join(file), script).expect("the folder of the tree");
    session.execute(&format!(
        "UPDATE pg_extension SET extversion = '{old}' WHERE extname = 'tasker_ext'"
    ));
}

#[test]
fn a_function_that_gets_another_parameter_keeps_its_grants_and_nothing_that_depends_on_it_is_dropped()
 {
    let tree = PostgresTree::new();
    let server = tree.start(&[]);
    let mut session = server.connect("postgres");
    session.execute(
        "CREATE EXTENSION tasker_ext; CREATE ROLE report; CREATE ROLE app LOGIN; CREATE SCHEMA mine;
         GRANT EXECUTE ON FUNCTION tasker.claim_steps, tasker.cancel_task TO report;
         GRANT EXECUTE ON FUNCTION tasker.complete_step TO report WITH GRANT OPTION;
         REVOKE EXECUTE ON FUNCTION tasker.complete_step FROM tasker_worker;
         REVOKE EXECUTE ON FUNCTION tasker.set_retry_limit FROM tasker_operator;
         CREATE FUNCTION mine.text(task uuid) RETURNS text LANGUAGE sql AS $$ SELECT tasker.cancel_task(task) $$;
         CREATE FUNCTION mine.bound(step uuid, number integer) RETURNS text LANGUAGE sql
             BEGIN ATOMIC SELECT tasker.complete_step(step, number); END;
         CREATE VIEW mine.claimed AS SELECT step_uuid FROM tasker.claim_steps('mine');
         CREATE VIEW mine.cancelled AS SELECT tasker.cancel_task('00000000-0000-7000-8000-000000000000')",
    );
    let script = another_parameter(&mut session);
    older_with(&tree, &mut session, &script);
    objects_of_users_refuse_the_update(
        &server,
        &mut session,
        &[
            (
                "tasker.claim_steps",
                "view mine.claimed",
                "DROP VIEW mine.claimed",
            ),
            (
                "tasker.complete_step",
                "function mine.bound(uuid,integer)",
                "DROP FUNCTION mine.bound",
            ),
            (
                "tasker.cancel_task",
                "view mine.cancelled",
                "DROP VIEW mine.cancelled",
            ),
        ],
    );
    session.execute(UPDATE);
    grants_are_those_of_before(&mut session);

    let owners: Vec<String> = session.all(
        "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE proname IN ('claim_steps', 'complete_step', 'cancel_task')",
        &[],
    );
    assert_eq!(owners, ["tasker_owner"]);
    // A function of the user that names it in a text goes on, and so does the work.
    shapes::small_diamond().register(&mut session);
    let task = session.create("small_diamond");
    let claim = session.claim_one("mine");
    session.complete(&claim, &json!({}));
    session.query("SELECT mine.text($1)", &[&task]);
    assert_eq!(session.task_state(task), "cancelled");
}

#[test]
fn views_and_functions_are_made_again_with_all_that_depends_on_them_and_keep_their_grants() {
    let tree = PostgresTree::new();
    let server = tree.start(&[]);
    let mut session = server.connect("postgres");
    session.execute(
        "CREATE EXTENSION tasker_ext; CREATE ROLE report; CREATE SCHEMA mine;
         GRANT SELECT ON tasker.tasks TO report WITH GRANT OPTION;
         GRANT SELECT (name), UPDATE (name) ON tasker.workflow_steps TO report;
         GRANT SELECT (task_uuid) ON tasker.tasks TO report WITH GRANT OPTION;
         REVOKE SELECT ON tasker.tasks FROM tasker_reader;
         GRANT EXECUTE ON FUNCTION tasker.get_step_readiness_status(uuid, uuid[]) TO report;
         REVOKE EXECUTE ON FUNCTION tasker.tasks_in_namespace FROM tasker_reader;
         CREATE VIEW mine.open AS SELECT task_uuid FROM tasker.tasks;
         CREATE FUNCTION mine.failed() RETURNS SETOF tasker.tasks LANGUAGE sql AS $$ SELECT * FROM tasker.tasks $$;
         CREATE TABLE mine.kept (step tasker.workflow_steps);
         CREATE VIEW mine.ready AS SELECT * FROM tasker.step_readiness_statuses;
         CREATE RULE mine AS ON INSERT TO tasker.tasks DO INSTEAD NOTHING",
    );
    let before = catalog(&server, "postgres");
    let script = with_changes(
        "SELECT tasker_engine.script_replace_view('tasker.tasks');
         SELECT tasker_engine.script_replace_view('tasker.workflow_steps');
         SELECT tasker_engine.script_replace_function('tasker.get_step_readiness_status(uuid, uuid[])', 'tasker.get_step_readiness_status(uuid, uuid[])');
        ",
    );
    older_with(&tree, &mut session, &script);
    objects_of_users_refuse_the_update(
        &server,
        &mut session,
        &[
            ("view tasker.tasks", "view mine.open", "DROP VIEW mine.open"),
            (
                "view tasker.tasks",
                "function mine.failed()",
                "DROP FUNCTION mine.failed",
            ),
            (
                "view tasker.tasks",
                "rule mine on view tasker.tasks",
                "DROP RULE mine ON tasker.tasks",
            ),
            (
                "view tasker.workflow_steps",
                "column step of table mine.kept",
                "DROP TABLE mine.kept",
            ),
            (
                "function tasker.get_step_readiness_status",
                "view mine.ready",
                "DROP VIEW mine.ready",
            ),
        ],
    );
    session.execute(UPDATE);
    assert_same(&catalog(&server, "postgres"), &before);
}

#[test]
fn every_view_and_every_function_that_no_table_needs_can_be_made_again() {
    let tree = PostgresTree::new();
    let server = tree.start(&[]);
    server.connect("postgres").execute("CREATE ROLE app LOGIN");
    let mut session = new_database(&server, "shop", "app");
    session.execute("CREATE EXTENSION tasker_ext");
    let before = catalog(&server, "shop");
    let script = with_changes(
        "DO $$
         DECLARE
             member record;
         BEGIN
             FOR member IN SELECT m.classid, m.objid FROM tasker_engine.script_members m ORDER BY m.objid LOOP
                 CONTINUE WHEN EXISTS (SELECT FROM tasker_engine.script_dependents(member.classid, member.objid) d WHERE NOT d.again);
                 IF EXISTS (SELECT FROM pg_proc p WHERE member.classid = 'pg_proc'::regclass AND p.oid = member.objid) THEN
                     PERFORM tasker_engine.script_replace_function(member.objid, member.objid::regprocedure::text);
                 ELSIF EXISTS (SELECT FROM pg_class c
                               WHERE member.classid = 'pg_class'::regclass AND c.oid = member.objid AND c.relkind = 'v') THEN
                     PERFORM tasker_engine.script_replace_view(member.objid);
                 END IF;
             END LOOP;
             ASSERT (SELECT count(*) FROM tasker_engine.script_members m WHERE m.successor IS NOT NULL) > 300;
         END
         $$;
        ",
    );
    older_with(&tree, &mut server.connect("shop"), &script);
    session.execute(UPDATE);
    assert_same(&catalog(&server, "shop"), &before);
}

/// Each refusal names the object that changes and that of the user, and changes nothing; the user's are gone afterwards.
fn objects_of_users_refuse_the_update(
    server: &Server,
    session: &mut Session,
    users: &[(&str, &str, &str)],
) {
    let before = catalog(server, "postgres");
    for (function, object, drop) in users {
        session
            .fails(UPDATE, &[])
            .is("2BP01")
            .message_says(&[function])
            .detail_says(&[object])
            .hint_says(&["pg_get_viewdef", UPDATE]);
        assert_same(&catalog(server, "postgres"), &before);
        session.execute(drop);
    }
}

/// The new functions have what was granted and revoked on the old ones.
fn grants_are_those_of_before(session: &mut Session) {
    for (function, expected) in [
        ("tasker.claim_steps", vec!["report", "tasker_worker"]),
        ("tasker.complete_step", vec!["report", "tasker_operator"]),
        (
            "tasker.cancel_task",
            vec!["report", "tasker_admin", "tasker_operator"],
        ),
        // The new version grants it to one role; what was revoked from another one stays so.
        ("tasker.set_retry_limit", vec!["tasker_worker"]),
    ] {
        let expected: Vec<&str> = match function {
            // The made-up version does not grant this to operators any more.
            "tasker.complete_step" => vec!["report"],
            _ => expected,
        };
        assert_eq!(grantees(session, function), expected, "{function}");
    }
    let option: bool = session.one(
        "SELECT has_function_privilege('report', 'tasker.complete_step(uuid,integer,jsonb,text)', 'EXECUTE WITH GRANT OPTION')",
        &[],
    );
    assert!(option);
}

// --- the owners of members ---------------------------------------------------------------------------------------------

/// The owner of the database could put code of its own into such a function after the update.
#[test]
fn a_member_of_another_owner_stops_the_update_until_the_hint_has_been_run() {
    let server = Server::start(&[]);
    server.connect("postgres").execute("CREATE ROLE app LOGIN");
    let mut session = new_database(&server, "shop", "app");
    install(&mut session, &frozen().remove(0));
    let mut root = server.connect("shop");
    session.execute(
        "CREATE FUNCTION tasker.brand_new() RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$;
         ALTER EXTENSION tasker_ext ADD FUNCTION tasker.brand_new();
         CREATE VIEW tasker.new_view AS SELECT 1; ALTER EXTENSION tasker_ext ADD VIEW tasker.new_view",
    );
    root.execute("ALTER FUNCTION tasker.health_live() OWNER TO app");
    let before = catalog(&server, "shop");
    session
        .fails(UPDATE, &[])
        .is("55000")
        .message_says(&["tasker_owner"])
        .detail_says(&["app", "brand_new()", "new_view", "health_live()"])
        .hint_says(&[
            "ALTER EXTENSION tasker_ext DROP FUNCTION",
            "OWNER TO",
            UPDATE,
        ]);
    assert_same(&catalog(&server, "shop"), &before);
    session.execute(
        "ALTER EXTENSION tasker_ext DROP FUNCTION tasker.brand_new(); DROP FUNCTION tasker.brand_new();
         ALTER EXTENSION tasker_ext DROP VIEW tasker.new_view; DROP VIEW tasker.new_view",
    );
    root.execute("ALTER FUNCTION tasker.health_live() OWNER TO tasker_owner");
    session.execute(UPDATE);
}

#[test]
fn a_grant_and_a_revoke_while_the_update_waits_for_a_lock_are_kept() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE report; CREATE ROLE gone");
    install(&mut root, &frozen().remove(0));
    root.execute("GRANT SELECT ON tasker.tasks TO gone");
    let mut holder = server.connect("postgres");
    holder.execute("BEGIN; LOCK TABLE tasker_engine.steps");
    let mut update = server.connect("postgres");
    let updating = update.pid();
    std::thread::scope(|scope| {
        let update = scope.spawn(move || update.execute(UPDATE));
        root.wait_until_blocked(updating);
        root.execute(
            "GRANT SELECT ON tasker.tasks TO report; GRANT EXECUTE ON FUNCTION tasker.cancel_task TO report;
             REVOKE EXECUTE ON FUNCTION tasker.pause_namespace FROM tasker_operator;
             REVOKE SELECT ON tasker.running_steps FROM tasker_reader;
             DROP OWNED BY gone; DROP ROLE gone",
        );
        holder.execute("COMMIT");
        update.join().expect("the update succeeds");
    });
    for (object, expected) in [
        ("tasker.tasks", vec!["report", "tasker_reader"]),
        ("tasker.cancel_task", vec!["report", "tasker_operator"]),
        ("tasker.pause_namespace", vec![]),
        ("tasker.running_steps", vec![]),
    ] {
        assert_eq!(grantees(&mut root, object), expected, "{object}");
    }
}

#[test]
fn a_publication_of_all_tables_gets_nothing_of_the_script() {
    let server = Server::start(&["wal_level=logical"]);
    let version = frozen().remove(0);
    let script = lines(Command::new(root().join("scripts/upgrade-script")).arg(&version));
    let logged = "CREATE TABLE tasker_engine.script_";
    assert!(!script.iter().any(|line| line.starts_with(logged)));
    let mut session = server.connect("postgres");
    install(&mut session, &version);
    session.execute("CREATE PUBLICATION everything FOR ALL TABLES");
    session.query(
        "SELECT pg_create_logical_replication_slot('everything', 'pgoutput')",
        &[],
    );
    session.execute(UPDATE);
    shapes::small_diamond().register(&mut session);
    let mut published = |word: &str| {
        session.count(
            "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('everything', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything')
             WHERE position($1::text::bytea IN data) > 0",
            &[&word],
        )
    };
    assert_eq!(published("script_"), 0);
    assert!(published("tasker_engine") > 0, "nothing is published");
}

#[test]
fn a_role_that_was_renamed_or_dropped_comes_back_with_its_privileges() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    install(&mut root, &frozen().remove(0));
    root.execute("ALTER ROLE tasker_owner RENAME TO old_owner");
    root.fails(UPDATE, &[])
        .is("55000")
        .message_says(&["tasker_owner"])
        .detail_says(&["old_owner"])
        .hint_says(&["RENAME TO tasker_owner", UPDATE]);
    root.execute("ALTER ROLE old_owner RENAME TO tasker_owner");
    root.execute(
        "ALTER ROLE tasker_reader RENAME TO old_reader; DROP OWNED BY tasker_worker; DROP ROLE tasker_worker",
    );
    root.execute(UPDATE);
    assert_eq!(
        grantees(&mut root, "tasker.tasks"),
        ["old_reader", "tasker_reader"]
    );
    assert_eq!(grantees(&mut root, "tasker.claim_steps"), ["tasker_worker"]);
    let has: bool = root.one(
        "SELECT bool_and(has_schema_privilege(role, 'tasker', 'USAGE')) AND pg_has_role('tasker_operator', 'tasker_reader', 'USAGE')
                AND pg_has_role('tasker_admin', 'tasker_worker', 'USAGE')
         FROM unnest(ARRAY['tasker_reader', 'tasker_worker']) AS role",
        &[],
    );
    assert!(has);
    let gone = root.count(
        "SELECT count(*) FROM (SELECT proacl FROM pg_proc UNION ALL SELECT relacl FROM pg_class) o (acl), aclexplode(o.acl) x
         WHERE x.grantee <> 0 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = x.grantee)",
        &[],
    );
    assert_eq!(gone, 0);
}
