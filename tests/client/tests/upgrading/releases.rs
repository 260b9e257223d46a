//! What a release left behind lives on: through the update, in a dump, under pg_upgrade, and when the server is killed.

use tasker_client_tests::postgres_tree::own_version;
use tasker_client_tests::server::{Server, root, run};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Session, Uuid, inside, json};

use crate::{UPDATE, assert_same, catalog, frozen, new_database, refuses};

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
