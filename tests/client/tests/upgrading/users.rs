//! What belongs to the users survives an update: grants, objects that depend on the extension, publications, roles; and the owners of
//! members.

use std::process::Command;

use tasker_client_tests::postgres_tree::own_version;
use tasker_client_tests::server::{Server, root, run};
use tasker_client_tests::{PostgresTree, Session, json, shapes};

use crate::{UPDATE, assert_same, catalog, files, frozen, install, lines, new_database};

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
