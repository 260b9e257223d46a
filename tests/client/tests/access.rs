//! Rights of roles: closed by default, roles with and without members, an install by the database's owner, and no way around.

use tasker_client_tests::server::Server;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Failure, Session, Template, Uuid, inside, json, shapes};

/// A database with some work, and login roles `<prefix>_<role>` that are members of one role each, or of none.
fn with_users(prefix: &str) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    for role in ["reader", "worker", "operator", "admin"] {
        session.execute(&format!(
            "CREATE ROLE {prefix}_{role} LOGIN; GRANT tasker_{role} TO {prefix}_{role}"
        ));
    }
    session.execute(&format!("CREATE ROLE {prefix}_stranger LOGIN"));
    shapes::small_diamond().register(&mut session);
    session.create("small_diamond");
    (database, session)
}

const ALL: &str = "('tasker'::regnamespace, 'tasker_engine'::regnamespace)";

/// What these privileges say of each object of the extension for which they hold, for one role.
fn held_by(session: &mut Session, role: &str) -> Vec<String> {
    session.all(
        &format!(
            "SELECT what FROM (
                 SELECT 'function ' || p.oid::regprocedure AS what FROM pg_proc p
                 WHERE p.pronamespace IN {ALL} AND has_function_privilege($1, p.oid, 'EXECUTE')
                 UNION ALL
                 SELECT 'relation ' || c.oid::regclass || ' ' || r FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) r
                 WHERE c.relnamespace IN {ALL} AND c.relkind IN ('r', 'v', 'm', 'p') AND has_table_privilege($1, c.oid, r)
                 UNION ALL
                 SELECT 'sequence ' || c.oid::regclass || ' ' || r FROM pg_class c, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) r
                 WHERE c.relnamespace IN {ALL} AND c.relkind = 'S' AND has_sequence_privilege($1, c.oid, r)
                 UNION ALL
                 SELECT 'schema ' || n.nspname || ' ' || r FROM pg_namespace n, unnest(ARRAY['USAGE', 'CREATE']) r
                 WHERE n.oid IN {ALL} AND has_schema_privilege($1, n.oid, r)
             ) AS held ORDER BY what"
        ),
        &[&role],
    )
}

#[test]
fn public_may_do_and_read_nothing() {
    let (database, mut session) = with_users("public_may");
    assert_eq!(held_by(&mut session, "public"), [""; 0]);
    let mut stranger = database.connect_as("public_may_stranger");
    let task: Uuid = session.one("SELECT task_uuid FROM tasker.tasks", &[]);
    for call in [
        "SELECT * FROM tasker.tasks".to_owned(),
        "SELECT tasker.create_task('small_diamond')".to_owned(),
        "SELECT * FROM tasker.claim_steps('w')".to_owned(),
        format!("SELECT tasker.cancel_task('{task}')"),
        format!("SELECT * FROM tasker.get_task_execution_context('{task}')"),
    ] {
        stranger.fails(&call, &[]).is("42501");
    }
}

#[test]
fn no_role_reaches_the_private_tables_or_writes_public_ones_but_for_notes() {
    // Notes of operators, which the engine itself never reads.
    const NOTES: [&str; 3] = [
        "tasker.annotation_types ",
        "tasker.task_annotations ",
        "tasker.dependent_system_object_maps ",
    ];
    let (_database, mut session) = with_users("private");
    for role in [
        "tasker_reader",
        "tasker_worker",
        "tasker_operator",
        "tasker_admin",
    ] {
        let held = held_by(&mut session, role);
        let bad: Vec<&String> = held
            .iter()
            .filter(|what| {
                what.contains("tasker_engine.") && !what.starts_with("function")
                    || what.starts_with("relation")
                        && !what.ends_with("SELECT")
                        && !(["tasker_operator", "tasker_admin"].contains(&role)
                            && NOTES.iter().any(|note| what.contains(note))
                            && !what.ends_with("TRUNCATE"))
                    || what.starts_with("sequence")
                    || what.ends_with("CREATE")
            })
            .collect();
        assert!(bad.is_empty(), "{role}: {bad:?}");
    }
}

#[test]
fn the_roles_cannot_log_in_and_form_a_ladder() {
    let (_database, mut session) = with_users("ladder");
    let roles: Vec<String> = session.all(
        "SELECT concat_ws(' ', rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication)
         FROM pg_roles WHERE rolname ~ '^tasker_' ORDER BY 1",
        &[],
    );
    assert_eq!(
        roles,
        [
            "tasker_admin",
            "tasker_operator",
            "tasker_owner",
            "tasker_reader",
            "tasker_worker"
        ]
        .map(|role| format!("{role} f f f f f f"))
    );
    let member = |session: &mut Session, of: &str, role: &str| -> bool {
        session.one("SELECT pg_has_role($1, $2, 'USAGE')", &[&of, &role])
    };
    for (of, role, yes) in [
        ("tasker_operator", "tasker_reader", true),
        ("tasker_admin", "tasker_operator", true),
        ("tasker_admin", "tasker_worker", true),
        ("tasker_worker", "tasker_reader", false),
        ("tasker_worker", "tasker_operator", false),
        ("tasker_operator", "tasker_worker", false),
        ("tasker_reader", "tasker_worker", false),
    ] {
        assert_eq!(member(&mut session, of, role), yes, "{of} as {role}");
    }
}

/// Calls that change nothing, and whether the role may make them.
fn may(session: &mut Session, call: &str) -> bool {
    session.execute("BEGIN");
    let result = session.attempt_rows(call);
    session.execute("ROLLBACK");
    match result {
        Err(Failure { code, .. }) if code == "42501" => false,
        Err(failure) if !["P0002", "55006", "55000"].contains(&failure.code.as_str()) => {
            panic!("{failure}\nin: {call}")
        }
        _ => true,
    }
}

#[test]
fn each_role_may_do_its_own_work_and_no_more() {
    let (database, _session) = with_users("each");
    let uuid = Uuid::now_v7();
    let read = [
        "SELECT * FROM tasker.tasks".to_owned(),
        "SELECT * FROM tasker.workflow_steps".to_owned(),
        "SELECT * FROM tasker.task_overview".to_owned(),
        format!("SELECT * FROM tasker.get_step_readiness_status('{uuid}')"),
        "SELECT tasker.export_template('small_diamond')".to_owned(),
    ];
    let work = [
        "SELECT * FROM tasker.claim_steps('w')".to_owned(),
        "SELECT * FROM tasker.report_and_claim('w')".to_owned(),
    ];
    let report = [
        format!("SELECT tasker.complete_step('{uuid}', 1)"),
        format!("SELECT tasker.fail_step('{uuid}', 1, 'x')"),
        "SELECT * FROM tasker.report_steps('w', '[]')".to_owned(),
        "SELECT * FROM tasker.heartbeat('w')".to_owned(),
        "SELECT tasker.release_steps('w')".to_owned(),
    ];
    let operate = [
        format!("SELECT tasker.cancel_task('{uuid}')"),
        format!("SELECT tasker.retry_task('{uuid}')"),
        format!("SELECT tasker.resolve_task_manually('{uuid}')"),
        format!("SELECT tasker.resolve_step_manually('{uuid}')"),
        format!("SELECT tasker.retry_step('{uuid}')"),
        format!("SELECT tasker.cancel_step('{uuid}')"),
        format!("SELECT tasker.set_retry_limit('{uuid}', 5)"),
        "SELECT tasker.pause_namespace('default')".to_owned(),
        "SELECT tasker.resume_namespace('default')".to_owned(),
        format!("SELECT tasker.transition_task('{uuid}', 'error')"),
        format!("SELECT tasker.try_transition_step('{uuid}', 'error')"),
        "SELECT tasker.subscribe('x')".to_owned(),
        "SELECT tasker.unsubscribe('x')".to_owned(),
        "SELECT tasker.pause_subscriber('x')".to_owned(),
        "SELECT tasker.resume_subscriber('x')".to_owned(),
        "SELECT tasker.seek_subscriber('x', 'now')".to_owned(),
        "SELECT tasker.redrive_events('x')".to_owned(),
    ];
    let administer = [format!(
        "SELECT tasker.register_template('{}')",
        shapes::chain("mine", 1).text()
    )];
    let mut wrong = vec![];
    for (role, reads, works, reports, operates, administers) in [
        ("stranger", false, false, false, false, false),
        ("reader", true, false, false, false, false),
        ("worker", false, true, true, false, false),
        ("operator", true, false, true, true, false),
        ("admin", true, true, true, true, true),
    ] {
        let mut session = database.connect_as(&format!("each_{role}"));
        for (calls, expected) in [
            (&read[..], reads),
            (&work[..], works),
            (&report[..], reports),
            (&operate[..], operates),
            (&administer[..], administers),
        ] {
            for call in calls {
                if may(&mut session, call) != expected {
                    wrong.push(format!(
                        "{role} {} {call}",
                        if expected { "cannot" } else { "can" }
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_worker_with_its_role_alone_runs_whole_workflows() {
    let (database, mut session) = with_users("alone");
    let mut worker = database.connect_as("alone_worker");
    worker.execute("LISTEN tasker_default");
    let task: Uuid = worker.one(
        "SELECT tasker.create_task('small_diamond', '{\"a\": 1}')",
        &[],
    );
    let claim = worker.claim_one("worker");
    assert_eq!(
        worker
            .query("SELECT * FROM tasker.heartbeat('worker')", &[])
            .len(),
        1
    );
    worker.fail(&claim);
    worker.query("SELECT tasker.release_steps('worker')", &[]);
    let ran = worker.work(|claim| {
        if claim.name == "end" {
            assert_eq!(claim.dependency_results, json!({"b": {}, "c": {}}));
        }
        done()
    });
    assert_eq!(ran.len(), 8);
    assert_eq!(session.task_state(task), "complete");
    worker
        .fails("SELECT tasker.cancel_task($1)", &[&task])
        .is("42501");
}

#[test]
fn a_reader_reads_every_view_and_function_and_changes_nothing() {
    let (database, mut session) = with_users("reads");
    let task: Uuid = session.one("SELECT task_uuid FROM tasker.tasks", &[]);
    let relations: Vec<String> = session.all(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'tasker'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1",
        &[],
    );
    assert!(relations.len() >= 17, "{relations:?}");
    let mut reader = database.connect_as("reads_reader");
    for relation in &relations {
        reader.query(&format!("SELECT * FROM {relation}"), &[]);
        reader.fails(&format!("DELETE FROM {relation}"), &[]);
    }
    for call in [
        "get_step_readiness_status",
        "get_task_execution_context",
        "calculate_dependency_levels",
        "task_diagram",
        "analyze_task",
        "task_schedule",
        "task_critical_path",
        "task_bottlenecks",
        "task_parallelism",
        "task_blockers",
    ] {
        assert!(
            !reader
                .query(&format!("SELECT * FROM tasker.{call}($1)"), &[&task])
                .is_empty(),
            "{call}"
        );
    }
    assert_eq!(reader.ready(task), ["start"]);
}

#[test]
fn every_function_that_runs_as_its_owner_pins_its_search_path() {
    let (_database, mut session) = with_users("pinned");
    let loose: Vec<String> = session.all(
        &format!(
            "SELECT p.oid::regprocedure::text FROM pg_proc p
             WHERE p.pronamespace IN {ALL} AND p.prosecdef
               AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c ~ '^search_path=(pg_catalog, )?pg_temp$|^search_path=pg_catalog, pg_temp$')"
        ),
        &[],
    );
    assert!(loose.is_empty(), "{loose:?}");
    let owners: Vec<String> = session.all(
        &format!("SELECT DISTINCT r.rolname::text FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace IN {ALL} AND p.prosecdef AND r.rolsuper"),
        &[],
    );
    assert!(
        owners.is_empty(),
        "functions that run as the superuser {owners:?}"
    );
}

#[test]
fn names_planted_by_a_caller_are_never_called() {
    let (database, mut session) = with_users("planted");
    session.execute("CREATE SCHEMA evil AUTHORIZATION planted_worker");
    let mut worker = database.connect_as("planted_worker");
    // Everything that the engine might call by a name without its schema.
    for (name, arguments) in [
        ("clock_timestamp", ""),
        ("now", ""),
        ("unnest", "anyarray"),
        ("coalesce_", "anyelement"),
        ("jsonb_array_elements", "jsonb"),
        ("jsonb_build_object", "text, anyelement"),
        ("jsonb_object_agg", "text, jsonb"),
        ("length", "text"),
        ("pg_notify", "text, text"),
        ("md5", "text"),
        ("step_uuid", "uuid, smallint"),
    ] {
        worker.execute(&format!(
            "CREATE FUNCTION evil.{name}({arguments}) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$"
        ));
    }
    worker.execute(
        "CREATE FUNCTION evil.eq(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
         CREATE OPERATOR evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.eq);
         CREATE FUNCTION evil.eqt(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eqt);
         CREATE TEMPORARY TABLE steps (x int); CREATE TEMPORARY TABLE tasks (x int); CREATE TEMPORARY TABLE ready (x int);
         CREATE TEMPORARY TABLE queues (x int); CREATE TEMPORARY TABLE workers (x int); CREATE TEMPORARY TABLE claims (x int);
         SET search_path = evil, pg_temp, pg_catalog",
    );
    let ran = worker.work(|_| done());
    assert_eq!(ran.len(), 4);
    let task: Uuid = worker.one("SELECT tasker.create_task('small_diamond')", &[]);
    let claim = worker.claim_one("worker");
    worker.fail_and_wait(&claim);
    worker.query("SELECT * FROM tasker.heartbeat('worker')", &[]);
    session.execute("GRANT USAGE ON SCHEMA evil TO PUBLIC");
    let mut operator = database.connect_as("planted_operator");
    operator.execute("SET search_path = evil, pg_catalog");
    operator.query(
        "SELECT * FROM tasker.get_step_readiness_status($1)",
        &[&task],
    );
    operator.query("SELECT * FROM tasker.task_overview", &[]);
    operator.query("SELECT tasker.cancel_task($1)", &[&task]);
    let mut admin = database.connect_as("planted_admin");
    admin.execute("SET search_path = evil, pg_catalog");
    Template::new("planted")
        .step("only", &[])
        .register(&mut admin);
}

/// A cluster without any installation; a database whose owner has no attribute.
#[test]
fn a_database_owner_without_any_attribute_installs_uses_and_drops_it() {
    let server = Server::start(&[]);
    let mut root = server.connect("postgres");
    root.execute("CREATE ROLE app LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB");
    root.execute("CREATE DATABASE app OWNER app");
    root.execute("CREATE DATABASE other");
    server
        .connect("other")
        .execute("CREATE EXTENSION tasker_ext");
    let connect = |database: &str, user: &str| Session::open(server.config(database, user));
    let mut owner = connect("app", "app");
    owner.execute("CREATE EXTENSION tasker_ext");
    assert!(
        owner
            .take_notices()
            .iter()
            .all(|notice| !notice.contains("shared_preload_libraries") || notice.len() > 20)
    );
    shapes::small_diamond().register(&mut owner);
    let task = owner.create("small_diamond");
    assert_eq!(owner.work(|_| done()).len(), 4);
    assert_eq!(owner.task_state(task), "complete");
    let task = owner.create("small_diamond");
    assert_eq!(
        owner.one::<String>("SELECT tasker.cancel_task($1)", &[&task]),
        "cancelled"
    );
    // Rights here are none elsewhere.
    let mut elsewhere = connect("other", "app");
    elsewhere
        .fails("SELECT * FROM tasker.tasks", &[])
        .is("42501");
    elsewhere
        .fails("SELECT tasker.create_task('x')", &[])
        .is("42501");
    assert!(!root.one::<bool>("SELECT pg_has_role('app', 'tasker_admin', 'MEMBER')", &[]));
    // And it is gone when its owner drops it.
    owner.execute("DROP EXTENSION tasker_ext");
    let left = owner.count(
        "SELECT count(*) FROM pg_proc WHERE proname = 'claim_steps'",
        &[],
    );
    assert_eq!(left, 0);
    owner.execute("DROP SCHEMA IF EXISTS tasker CASCADE; DROP SCHEMA IF EXISTS tasker_engine CASCADE; CREATE EXTENSION tasker_ext");
    shapes::chain("one", 1).register(&mut owner);
    owner.create("one");
    assert_eq!(owner.work(|_| done()), ["step_1"]);
}

#[test]
fn a_right_taken_away_is_gone_at_once() {
    let (database, mut session) = with_users("taken");
    let mut worker = database.connect_as("taken_worker");
    let claim = worker.claim(&Ask::default()).remove(0);
    session.execute("REVOKE tasker_worker FROM taken_worker");
    let before = inside::fingerprint(&mut session);
    worker
        .fails(
            "SELECT tasker.complete_step($1, $2)",
            &[&claim.step, &claim.number],
        )
        .is("42501");
    worker
        .fails("SELECT * FROM tasker.claim_steps('w')", &[])
        .is("42501");
    assert_eq!(inside::fingerprint(&mut session), before);
}

/// Every way in which SQL changes, replaces, moves or removes what the extension consists of.
fn changes_of_everything(session: &mut Session) -> Vec<String> {
    session.all(
        "WITH members AS (
             SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
             WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'tasker_ext')
         SELECT replace(format(change, name), '$definition', coalesce(definition, '')) AS change FROM (
             SELECT 'FUNCTION ' || p.oid::regprocedure, pg_get_functiondef(p.oid), ARRAY[
                 '$definition', 'ALTER %s RENAME TO other', 'ALTER %s OWNER TO CURRENT_USER', 'ALTER %s SET SCHEMA public',
                 'ALTER %s RESET ALL', 'ALTER %s SECURITY INVOKER', 'COMMENT ON %s IS NULL', 'DROP %s CASCADE']
             FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
             UNION ALL
             SELECT 'TABLE ' || c.oid::regclass, NULL, ARRAY[
                 'ALTER %s RENAME TO other', 'ALTER %s OWNER TO CURRENT_USER', 'ALTER %s SET SCHEMA public', 'ALTER %s ADD note text',
                 format('ALTER %%s DROP %I', a.attname), format('ALTER %%s RENAME %I TO other', a.attname),
                 format('ALTER %%s ALTER %I TYPE text', a.attname), format('ALTER %%s ALTER %I DROP DEFAULT', a.attname),
                 'ALTER %s DISABLE TRIGGER ALL', 'ALTER %s ENABLE ROW LEVEL SECURITY', 'ALTER %s REPLICA IDENTITY FULL',
                 format('CREATE INDEX ON %s (%I)', c.oid::regclass, a.attname),
                 format('CREATE RULE other AS ON INSERT TO %s DO INSTEAD NOTHING', c.oid::regclass),
                 format('CREATE POLICY other ON %s', c.oid::regclass),
                 format('CREATE TRIGGER other BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', c.oid::regclass),
                 'COMMENT ON %s IS NULL', 'TRUNCATE %s CASCADE', 'DROP %s CASCADE']
             FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid AND c.relkind = 'r'
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
             UNION ALL
             SELECT 'VIEW ' || c.oid::regclass, NULL, ARRAY[
                 format('CREATE OR REPLACE VIEW %s AS %s', c.oid::regclass, replace(pg_get_viewdef(c.oid), '%', '%%')),
                 'ALTER %s RENAME TO other', 'ALTER %s OWNER TO CURRENT_USER', 'ALTER %s SET SCHEMA public',
                 'ALTER %s SET (security_barrier)', 'COMMENT ON %s IS NULL', 'DROP %s CASCADE']
             FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid AND c.relkind = 'v'
             UNION ALL
             SELECT 'SEQUENCE ' || c.oid::regclass, NULL, ARRAY[
                 'ALTER %s RESTART', 'ALTER %s RENAME TO other', 'ALTER %s SET SCHEMA public', 'ALTER %s OWNER TO CURRENT_USER',
                 'COMMENT ON %s IS NULL', 'DROP %s CASCADE']
             FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid AND c.relkind = 'S'
             UNION ALL
             SELECT 'INDEX ' || c.oid::regclass, NULL, ARRAY['ALTER %s RENAME TO other', 'REINDEX %s', 'DROP %s CASCADE']
             FROM pg_class c WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind = 'i'
             UNION ALL
             SELECT 'SCHEMA ' || name, NULL, ARRAY[
                 'ALTER %s RENAME TO other', 'ALTER %s OWNER TO CURRENT_USER', 'COMMENT ON %s IS NULL', 'DROP %s CASCADE',
                 format('CREATE TABLE %I.other (x int)', name),
                 format('CREATE FUNCTION %I.complete_step(uuid, bigint, jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$', name)]
             FROM unnest(ARRAY['tasker', 'tasker_engine']) AS name
             UNION ALL
             SELECT 'EXTENSION tasker_ext', NULL, ARRAY[
                 'DROP %s CASCADE', 'ALTER %s UPDATE', 'ALTER %s DROP FUNCTION tasker.health_live()', 'COMMENT ON %s IS NULL']
             UNION ALL
             SELECT 'ROLE tasker_owner', NULL, ARRAY[
                 'SET ROLE tasker_owner', 'SET SESSION AUTHORIZATION tasker_owner', 'GRANT tasker_owner TO CURRENT_USER',
                 'ALTER %s LOGIN', 'DROP %s', 'REASSIGN OWNED BY tasker_owner TO CURRENT_USER', 'DROP OWNED BY tasker_owner']
         ) AS o (name, definition, changes), unnest(changes) AS change",
        &[],
    )
}

#[test]
fn a_member_of_tasker_admin_changes_replaces_moves_and_drops_nothing_of_the_extension() {
    let (database, mut session) = with_users("keeps");
    // What is asked of a role that may make objects.
    session.execute(&format!(
        "GRANT CREATE ON DATABASE {} TO keeps_admin; GRANT CREATE ON SCHEMA public TO keeps_admin;
         CREATE FUNCTION public.refused(changes text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
         DECLARE
             change text;
         BEGIN
             FOREACH change IN ARRAY changes LOOP
                 BEGIN
                     EXECUTE change;
                     RAISE EXCEPTION 'it was done' USING ERRCODE = 'XX000';
                 EXCEPTION WHEN OTHERS THEN
                     IF SQLSTATE <> '42501' THEN
                         RETURN NEXT format('%s %s: %s', SQLSTATE, SQLERRM, left(change, 120));
                     END IF;
                 END;
             END LOOP;
         END $$",
        database.name()
    ));
    let changes = changes_of_everything(&mut session);
    assert!(changes.len() > 2000, "{}", changes.len());
    let mut admin = database.connect_as("keeps_admin");
    let done: Vec<String> = admin.all(
        "SELECT r FROM public.refused($1) r WHERE r NOT LIKE '%SET SESSION AUTHORIZATION%'",
        &[&changes],
    );
    assert_eq!(done, [""; 0]);
}

#[test]
fn a_member_of_tasker_admin_does_not_become_superuser_by_what_a_superuser_looks_at() {
    let (database, mut session) = with_users("climbs");
    let mut admin = database.connect_as("climbs_admin");
    admin
        .fails(
            "CREATE OR REPLACE FUNCTION tasker_engine.state_name(state \"char\") RETURNS text LANGUAGE plpgsql AS $$
             BEGIN
                 IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE climbs_admin SUPERUSER'; END IF;
                 RETURN 'x';
             END $$",
            &[],
        )
        .is("42501");
    admin
        .fails(
            "ALTER TABLE tasker_engine.operational_changes RENAME TO aside",
            &[],
        )
        .is("42501");
    session.query("SELECT name, state FROM tasker.workflow_steps", &[]);
    assert!(!session.one::<bool>(
        "SELECT rolsuper FROM pg_roles WHERE rolname = 'climbs_admin'",
        &[]
    ));
}
