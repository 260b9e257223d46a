//! Versions of the extension: frozen scripts, ALTER EXTENSION UPDATE, libraries and schemas that differ.
//!
//! sql/versions and tests/upgrade are made by scripts/freeze-version, with the release itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use tasker_client_tests::postgres_tree::own_version;
use tasker_client_tests::server::{Server, client, program, psql, root};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Database, Failure, PostgresTree, Session, Uuid, inside, patience, shapes,
};

mod releases;
mod users;

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

fn new_database(server: &Server, name: &str, owner: &str) -> Session {
    server.connect("postgres").execute(&format!(
        "CREATE DATABASE {name} OWNER {owner} TEMPLATE template0"
    ));
    Session::open(server.config(name, owner))
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
    installed.insert(lines(Command::new(&config).arg("--bindir")).remove(0) + "/tasker");
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

/// A template by a library that only says that it is the old one: it tells of it in tables that the old extension does not have.
fn register_by_old_library(session: &mut Session) {
    session.execute(
        "CREATE TABLE tasker_engine.event_turns (turn_no bigint PRIMARY KEY, turned_at timestamptz);
         CREATE TABLE tasker_engine.events (
             id bigint, xid xid8, created_at timestamptz, task_uuid uuid, slot smallint, step_no smallint, depth smallint, name text,
             namespace text, aggregate_type text, aggregate_id text, correlation_id text, traceparent text, payload jsonb)
             PARTITION BY LIST (slot);
         CREATE TABLE tasker_engine.events_0 PARTITION OF tasker_engine.events FOR VALUES IN (0);
         ALTER TABLE tasker_engine.event_turns OWNER TO tasker_owner;
         ALTER TABLE tasker_engine.events OWNER TO tasker_owner;
         ALTER TABLE tasker_engine.events_0 OWNER TO tasker_owner",
    );
    shapes::small_diamond().register(session);
    session.execute("DROP TABLE tasker_engine.event_turns, tasker_engine.events");
}

/// A task by a library that only says that it is the old one: it writes a column that the old extension does not have.
fn create_by_old_library(session: &mut Session) -> Uuid {
    session.execute(
        "ALTER TABLE tasker_engine.queue_entries ADD COLUMN handler_key bigint;
         ALTER TABLE tasker_engine.tasks ADD COLUMN tracestate text;
         CREATE TABLE tasker_engine.changed_event_routes (event text, backends text[], enabled boolean, sampling_rate numeric);
         CREATE TABLE tasker_engine.series_counts (at timestamptz, folded boolean, named_task_ids integer[], step_nos smallint[], error_classes text[], cells smallint[], amounts bigint[]);
         ALTER TABLE tasker_engine.series_counts OWNER TO tasker_owner;
         ALTER TABLE tasker_engine.changed_event_routes OWNER TO tasker_owner",
    );
    let task = session.create("small_diamond");
    session.execute(
        "ALTER TABLE tasker_engine.queue_entries DROP COLUMN handler_key;
         ALTER TABLE tasker_engine.tasks DROP COLUMN tracestate;
         DROP TABLE tasker_engine.changed_event_routes, tasker_engine.series_counts",
    );
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
    register_by_old_library(&mut session);
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
    register_by_old_library(&mut session);
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
