//! Who may report a step, extend a lease and give it back: the role that claimed, its members, operators, superusers.

use std::sync::Mutex;

use tasker_client_tests::race::together;
use tasker_client_tests::server::{Server, run};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Database, Session, Template, Uuid, Value, json, shapes};

/// A database with the template `one`, and login roles `<prefix>_<name>` that may do a worker's work.
fn with_workers(prefix: &str, names: &[&str]) -> (Database, Session) {
    let database = Database::new();
    let mut root = database.connect();
    for name in names {
        root.execute(&format!(
            "CREATE ROLE {prefix}_{name} LOGIN; GRANT tasker_worker TO {prefix}_{name}"
        ));
    }
    shapes::chain("one", 1).register(&mut root);
    (database, root)
}

/// The outcomes of a batch, in order.
fn outcomes(session: &mut Session, reports: Vec<Value>) -> Vec<String> {
    session.all(
        "SELECT outcome FROM tasker.report_steps('reporter', $1)",
        &[&Value::Array(reports)],
    )
}

fn beats(session: &mut Session, worker: &str) -> Vec<String> {
    session.all("SELECT status FROM tasker.heartbeat($1)", &[&worker])
}

fn release(session: &mut Session, worker: &str) -> i32 {
    session.one("SELECT tasker.release_steps($1)", &[&worker])
}

fn steps_of(root: &mut Session, claims: &[Claim]) -> Vec<String> {
    claims
        .iter()
        .map(|claim| root.step_state(claim.task, "step_1"))
        .collect()
}

#[test]
fn a_foreign_report_is_stale_and_the_rest_of_the_batch_goes_on() {
    let (database, mut root) = with_workers("foreign", &["a", "b"]);
    let mut a = database.connect_as("foreign_a");
    let mut b = database.connect_as("foreign_b");
    root.create_many("one", 6);
    let of_a = a.claim(&Ask::by("wa", 3));
    let of_b = b.claim(&Ask::by("wb", 3));
    assert_eq!(of_a[0].number, 1, "the number is easily guessed");
    assert_eq!(
        outcomes(
            &mut b,
            vec![of_a[0].done(json!({})), of_b[0].done(json!({}))]
        ),
        ["stale", "complete"]
    );
    // With a failure in it a batch takes another way.
    assert_eq!(
        outcomes(
            &mut b,
            vec![
                of_a[0].failed(false),
                of_b[1].failed(false),
                of_a[1].done(json!({})),
                of_b[2].done(json!({})),
            ]
        ),
        ["stale", "error", "stale", "complete"]
    );
    let (refused, _) = b.report_and_claim(&Ask::by("wb", 1), &[of_a[2].done(json!({}))]);
    assert_eq!(refused, [("stale".to_owned(), Some(of_a[2].step))]);
    b.try_complete(&of_a[0])
        .expect_err("the step of another role")
        .is("55006")
        .detail_says(&["another role"]);
    b.try_fail_for_good(&of_a[0])
        .expect_err("the step of another role")
        .is("55006");
    assert_eq!(steps_of(&mut root, &of_a), ["in_progress"; 3]);
    assert_eq!(beats(&mut a, "wa"), ["extended"; 3]);
    for claim in &of_a {
        assert_eq!(a.complete(claim, &json!({})), "complete");
    }
    // A repeated report is recognized only for the roles that could have made it.
    assert_eq!(
        outcomes(&mut a, vec![of_a[0].done(json!({}))]),
        ["duplicate"]
    );
    assert_eq!(outcomes(&mut b, vec![of_a[0].done(json!({}))]), ["stale"]);
}

#[test]
fn members_operators_and_superusers_report_for_the_role() {
    let (database, mut root) = with_workers("member", &["a", "m", "o", "stranger"]);
    root.execute("GRANT member_a TO member_m; GRANT tasker_operator TO member_o");
    root.create_many("one", 5);
    let claims = database
        .connect_as("member_a")
        .claim(&Ask::by("worker of a", 5));
    let mut m = database.connect_as("member_m");
    assert_eq!(beats(&mut m, "worker of a").len(), 5);
    assert_eq!(m.complete(&claims[0], &json!({})), "complete");
    let mut o = database.connect_as("member_o");
    assert_eq!(o.complete(&claims[1], &json!({})), "complete");
    assert_eq!(root.complete(&claims[2], &json!({})), "complete");
    // A session sees a change of memberships at once.
    root.execute("REVOKE member_a FROM member_m");
    m.try_complete(&claims[3])
        .expect_err("no member any more")
        .is("55006");
    root.execute("REVOKE tasker_operator FROM member_o");
    o.try_complete(&claims[3])
        .expect_err("no operator any more")
        .is("55006");
    root.execute("GRANT member_a TO member_m");
    assert_eq!(m.complete(&claims[3], &json!({})), "complete");
    // Rights that need SET ROLE count after SET ROLE.
    root.execute(
        "CREATE ROLE member_n LOGIN NOINHERIT; GRANT member_a, tasker_worker TO member_n;
         GRANT EXECUTE ON FUNCTION tasker.complete_step TO member_n; GRANT USAGE ON SCHEMA tasker TO member_n",
    );
    let mut n = database.connect_as("member_n");
    n.try_complete(&claims[4])
        .expect_err("without its rights")
        .is("55006");
    n.execute("SET ROLE member_a");
    assert_eq!(n.complete(&claims[4], &json!({})), "complete");
}

#[test]
fn leases_are_extended_and_given_back_by_the_same_roles() {
    let (database, mut root) = with_workers("lease", &["a", "b", "m", "o"]);
    root.execute("GRANT lease_a TO lease_m; GRANT tasker_operator TO lease_o");
    root.create_many("one", 4);
    let mut a = database.connect_as("lease_a");
    let mut b = database.connect_as("lease_b");
    let claims = a.claim(&Ask::by("wa", 4));
    for call in [
        "SELECT * FROM tasker.heartbeat('wa')",
        "SELECT tasker.release_steps('wa')",
    ] {
        b.fails(call, &[])
            .is("42501")
            .message_says(&["worker wa belongs to another role"])
            .detail_says(&["first role"])
            .hint_says(&["tasker_operator"]);
    }
    assert_eq!(steps_of(&mut root, &claims), ["in_progress"; 4]);
    // No worker has that id: nothing is held, and nothing is told.
    assert_eq!(beats(&mut b, "unknown"), [""; 0]);
    assert_eq!(release(&mut b, "unknown"), 0);
    for user in ["lease_a", "lease_m", "lease_o"] {
        let mut session = database.connect_as(user);
        assert_eq!(beats(&mut session, "wa"), ["extended"; 4], "{user}");
        assert_eq!(release(&mut session, "wa"), 4, "{user}");
        assert_eq!(a.claim(&Ask::by("wa", 4)).len(), 4, "{user}");
    }
    assert_eq!(beats(&mut root, "wa"), ["extended"; 4]);
    assert_eq!(release(&mut root, "wa"), 4);
}

#[test]
fn one_worker_id_belongs_to_one_role() {
    let (database, mut root) = with_workers("one_id", &["a", "b", "m", "o"]);
    root.execute("GRANT one_id_a TO one_id_m; GRANT tasker_operator TO one_id_o");
    root.create_many("one", 4);
    let mut a = database.connect_as("one_id_a");
    a.claim(&Ask::by("shared", 1));
    for user in ["one_id_b", "one_id_m", "one_id_o", "postgres"] {
        let mut other = database.connect_as(user);
        for call in [
            "SELECT * FROM tasker.claim_steps('shared')",
            "SELECT * FROM tasker.report_and_claim('shared')",
        ] {
            // The second time the session knows the worker.
            for _ in 0..2 {
                other
                    .fails(call, &[])
                    .is("42501")
                    .message_says(&["worker shared belongs to another role"])
                    .hint_says(&["another worker_id"]);
            }
        }
        assert_eq!(
            other.claim(&Ask::by(user, 1)).len(),
            i64::from(user != "postgres") as usize
        );
    }
    // It is the role that counts, not its name.
    root.execute("ALTER ROLE one_id_a RENAME TO one_id_z");
    assert_eq!(a.claim(&Ask::by("shared", 1)).len(), 0);
    // No other session claims under the ids of the engine's own workers.
    for worker in ["manual", "run_steps/1", "tasker-executor/pool/1-1"] {
        a.try_claim(&Ask::by(worker, 1))
            .expect_err("an id of the engine")
            .is("42501")
            .says(&["engine", "another worker_id"]);
    }
}

#[test]
fn after_set_role_the_role_that_was_set_calls() {
    let (database, mut root) = with_workers("set", &["a", "b", "login"]);
    root.execute("GRANT set_a, set_b TO set_login");
    root.create_many("one", 2);
    let mut login = database.connect_as("set_login");
    login.execute("SET ROLE set_a");
    let claims = login.claim(&Ask::by("wa", 2));
    login.execute("SET ROLE set_b");
    login
        .try_complete(&claims[0])
        .expect_err("claimed as another role")
        .is("55006");
    login
        .fails("SELECT * FROM tasker.claim_steps('wa')", &[])
        .is("42501");
    login.execute("SET ROLE set_a");
    assert_eq!(login.complete(&claims[0], &json!({})), "complete");
    login.execute("RESET ROLE");
    assert_eq!(login.complete(&claims[1], &json!({})), "complete");
}

#[test]
fn a_security_definer_function_calls_as_its_owner() {
    let (database, mut root) = with_workers("definer", &["a", "b"]);
    root.execute(
        "CREATE SCHEMA api AUTHORIZATION definer_a; GRANT USAGE ON SCHEMA api TO definer_b; SET ROLE definer_a;
         CREATE FUNCTION api.claim() RETURNS SETOF uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS $$ SELECT step_uuid FROM tasker.claim_steps('behind the wrapper') $$;
         CREATE FUNCTION api.finish(step uuid, number int) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
             AS $$ SELECT tasker.complete_step(step, number) $$;
         CREATE FUNCTION api.finish_as_caller(step uuid, number int) RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp
             AS $$ SELECT tasker.complete_step(step, number) $$;
         RESET ROLE",
    );
    root.create_many("one", 3);
    let mut b = database.connect_as("definer_b");
    let step: Uuid = b.one("SELECT * FROM api.claim()", &[]);
    let through = |session: &mut Session, function: &str, step: Uuid| {
        session.attempt::<String>(&format!("SELECT api.{function}($1, 1)"), &[&step])
    };
    for refused in [
        through(&mut b, "finish_as_caller", step),
        b.attempt("SELECT tasker.complete_step($1, 1)", &[&step]),
    ] {
        refused
            .expect_err("claimed by the owner of the function")
            .is("55006");
    }
    assert_eq!(
        through(&mut b, "finish", step).expect("its owner's step"),
        "complete"
    );
    // The other way round: what b claimed is not the owner's to report.
    let own = b.claim(&Ask::by("wb", 1)).remove(0);
    through(&mut b, "finish", own.step)
        .expect_err("claimed by b")
        .is("55006");
    assert_eq!(
        through(&mut b, "finish_as_caller", own.step).expect("its own step"),
        "complete"
    );
}

#[test]
fn a_handler_calls_as_its_role_and_reports_for_no_other() {
    let (database, mut root) = with_workers("handler", &["a", "h", "caller"]);
    root.execute(
        "GRANT EXECUTE ON FUNCTION tasker.register_template TO handler_h;
         CREATE SCHEMA app AUTHORIZATION handler_h; SET ROLE handler_h;
         CREATE FUNCTION app.meddle(step jsonb) RETURNS jsonb LANGUAGE sql AS $$
             SELECT jsonb_build_object('user', current_user, 'outcomes', jsonb_agg(r.outcome))
             FROM tasker.report_steps('meddler', step->'context'->'reports' || jsonb_build_object(
                 'step_uuid', step->'step_uuid', 'claim_number', step->'attempt', 'status', 'complete',
                 'results', '{\"forged\": true}'::jsonb)) r $$;
         RESET ROLE",
    );
    let mut h = database.connect_as("handler_h");
    Template::new("meddle")
        .step_with("only", &[], json!({"handler": "sql:app.meddle"}))
        .register(&mut h);
    let mut a = database.connect_as("handler_a");
    root.create("one");
    let foreign = a.claim(&Ask::by("wa", 1)).remove(0);
    let reports = json!({"reports": [foreign.done(json!({}))]});
    // Two of them are claimed at once, before the first one runs.
    let tasks = [(); 2].map(|()| root.create_with("meddle", &reports));
    let mut caller = database.connect_as("handler_caller");
    let ran: Vec<String> = caller.all("SELECT state FROM tasker.run_steps()", &[]);
    assert_eq!(ran, ["complete", "complete"]);
    for task in tasks {
        assert_eq!(
            root.results(task, "only"),
            json!({"user": "handler_h", "outcomes": ["stale", "stale"]})
        );
    }
    assert_eq!(root.step_state(foreign.task, "step_1"), "in_progress");
    assert_eq!(a.complete(&foreign, &json!({})), "complete");
    // The worker of run_steps belongs to the engine, not to the role that called it.
    let worker = format!("run_steps/{}", caller.pid());
    caller
        .fails("SELECT * FROM tasker.heartbeat($1)", &[&worker])
        .is("42501");
    assert_eq!(release(&mut root, &worker), 0);
}

#[test]
fn sessions_of_one_login_share_their_claims() {
    let (database, mut root) = with_workers("pool", &["login"]);
    root.create_many("one", 6);
    let mut first = database.connect_as("pool_login");
    let mut second = database.connect_as("pool_login");
    // The second session looks before the role has claimed anything, and is inside a transaction when it does.
    assert_eq!(beats(&mut second, "w1"), [""; 0]);
    second.execute("BEGIN");
    second.query("SELECT tasker.release_steps('w1')", &[]);
    // What is rolled back leaves nothing behind.
    first.execute("BEGIN");
    assert_eq!(first.claim(&Ask::by("w1", 1)).len(), 1);
    first.execute("ROLLBACK; BEGIN; SAVEPOINT s");
    assert_eq!(first.claim(&Ask::by("w1", 1)).len(), 1);
    first.execute("ROLLBACK TO s; COMMIT");
    let claims = first.claim(&Ask::by("w1", 3));
    assert_eq!(claims.len(), 3);
    assert_eq!(second.complete(&claims[0], &json!({})), "complete");
    second.execute("COMMIT");
    assert_eq!(second.complete(&claims[1], &json!({})), "complete");
    assert_eq!(beats(&mut second, "w1").len(), 1);
    assert_eq!(second.claim(&Ask::by("w1", 1)).len(), 1);
    assert_eq!(release(&mut second, "w1"), 2);
}

#[test]
fn the_first_claims_of_roles_do_not_wait_for_each_other() {
    let (database, mut root) = with_workers("first", &["a", "b"]);
    root.create_many("one", 4);
    let mut holder = database.connect_as("first_a");
    holder.execute("BEGIN");
    let mut claims = holder.claim(&Ask::by("holder", 1));
    let mut others = vec![];
    for (user, worker) in [("first_a", "w1"), ("first_b", "w2")] {
        let mut session = database.connect_as(user);
        session.execute("SET statement_timeout = '10s'");
        let claimed = session.claim(&Ask::by(worker, 1));
        assert_eq!(claimed.len(), 1, "{user}");
        others.push((session, claimed));
    }
    holder.execute("COMMIT");
    // The role has two numbers now; its sessions report for both.
    let (mut session, mine) = others.remove(0);
    claims.extend(mine);
    for claim in &claims {
        assert_eq!(session.complete(claim, &json!({})), "complete");
    }
    session
        .try_complete(&others[0].1[0])
        .expect_err("claimed by b")
        .is("55006");
    assert_eq!(session.claim(&Ask::by("holder", 1)).len(), 1);
}

#[test]
fn what_a_dropped_role_claimed_is_left_to_operators() {
    let (database, mut root) = with_workers("gone", &["a", "o"]);
    root.execute("GRANT tasker_operator TO gone_o");
    root.create_many("one", 3);
    let claims = database.connect_as("gone_a").claim(&Ask::by("wa", 2));
    root.execute("DROP ROLE gone_a; CREATE ROLE gone_a LOGIN; GRANT tasker_worker TO gone_a");
    let mut namesake = database.connect_as("gone_a");
    namesake
        .try_complete(&claims[0])
        .expect_err("another role of that name")
        .is("55006");
    namesake
        .fails("SELECT tasker.release_steps('wa')", &[])
        .is("42501");
    namesake
        .fails("SELECT * FROM tasker.claim_steps('wa')", &[])
        .is("42501");
    let own = namesake.claim(&Ask::by("wa again", 1)).remove(0);
    assert_eq!(namesake.complete(&own, &json!({})), "complete");
    let mut operator = database.connect_as("gone_o");
    assert_eq!(operator.complete(&claims[0], &json!({})), "complete");
    assert_eq!(release(&mut operator, "wa"), 1);
}

/// The roles `names` in this order, so that each order gives them other oids.
fn create_roles(root: &mut Session, names: &[&str]) {
    for name in names {
        root.execute(&format!("CREATE ROLE restored_{name} LOGIN"));
    }
}

fn grant_work(root: &mut Session, names: &[&str]) {
    for name in names {
        root.execute(&format!("GRANT tasker_worker TO restored_{name}"));
    }
}

/// A new server with these roles and a copy of the database `work`.
fn restored(old: &Server, roles: &[&str]) -> Server {
    let dump = old.folder().join("work.sql");
    let dump = dump.to_string_lossy();
    run(
        "pg_dump",
        old.folder(),
        "postgres",
        &["--dbname=work", "--file", &dump],
    );

    let new = Server::start(&[]);
    let mut root = new.connect("postgres");
    root.execute("CREATE DATABASE work TEMPLATE template0");
    create_roles(&mut root, roles);
    run(
        "psql",
        new.folder(),
        "postgres",
        &[
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname=work",
            "--file",
            &dump,
        ],
    );
    new
}

#[test]
fn after_a_restore_the_roles_are_found_by_name() {
    let old = Server::start(&[]);
    let mut root = old.connect("postgres");
    root.execute("CREATE DATABASE work TEMPLATE template0");
    let mut root = old.connect("work");
    root.execute("CREATE EXTENSION tasker_ext");
    let names = ["a", "b", "missing", "before", "reused", "late"];
    create_roles(&mut root, &names);
    grant_work(&mut root, &names);
    shapes::chain("one", 1).register(&mut root);
    root.create_many("one", 9);
    let connect = |server: &Server, name: &str| {
        Session::open(server.config("work", &format!("restored_{name}")))
    };
    let claim = |name: &str, worker: &str| {
        let ask = Ask {
            lease: "1 hour",
            ..Ask::by(worker, 1)
        };
        connect(&old, name).claim(&ask).remove(0)
    };
    let of_a = claim("a", "wa");
    let of_b = claim("b", "wb");
    let of_missing = claim("missing", "wm");
    let of_before = claim("before", "wr");
    let of_gone = claim("reused", "wg");
    root.execute(
        "ALTER ROLE restored_before RENAME TO restored_after; DROP ROLE restored_reused;
         CREATE ROLE restored_reused LOGIN; GRANT tasker_worker TO restored_reused",
    );
    let of_late = claim("late", "wl");
    let of_reused = claim("reused", "wu");
    // Where no session calls after the renaming, maintenance sees it.
    root.execute("ALTER ROLE restored_late RENAME TO restored_later");
    root.query("SELECT tasker.run_maintenance()", &[]);
    // b has the oid that a had, and the others are shifted as well.
    let roles = ["b", "a", "reused", "after", "later"];
    let new = restored(&old, &roles);
    let mut root = new.connect("work");
    tasker_client_tests::database::resume(&mut root);
    grant_work(&mut root, &roles);
    let mut a = connect(&new, "a");
    assert_eq!(
        outcomes(
            &mut a,
            [&of_b, &of_missing, &of_before, &of_gone, &of_reused, &of_a]
                .map(|claim| claim.done(json!({})))
                .to_vec()
        ),
        ["stale", "stale", "stale", "stale", "stale", "complete"]
    );
    a.fails("SELECT * FROM tasker.heartbeat('wb')", &[])
        .is("42501");
    assert_eq!(beats(&mut connect(&new, "b"), "wb"), ["extended"]);
    assert_eq!(connect(&new, "b").complete(&of_b, &json!({})), "complete");
    assert_eq!(
        connect(&new, "after").complete(&of_before, &json!({})),
        "complete"
    );
    assert_eq!(
        connect(&new, "later").complete(&of_late, &json!({})),
        "complete"
    );
    assert_eq!(
        outcomes(
            &mut connect(&new, "reused"),
            vec![of_gone.done(json!({})), of_reused.done(json!({}))]
        ),
        ["stale", "complete"]
    );
    // Of a role that is not here operators take care, and new work goes on beside.
    assert_eq!(root.complete(&of_missing, &json!({})), "complete");
    assert_eq!(release(&mut root, "wg"), 1);
    let fresh = connect(&new, "b").claim(&Ask::by("wb", 9));
    assert_eq!(fresh.len(), 3);
    assert!(
        fresh
            .iter()
            .all(|claim| claim.number == 1 || claim.step == of_gone.step)
    );
}

#[test]
fn sessions_of_one_role_that_claim_first_at_once_share_a_worker_id() {
    for round in 0..5 {
        let name = format!("r{round}");
        let (database, mut root) = with_workers("together", &[&name]);
        root.create_many("one", 16);
        let user = format!("together_{name}");
        let sessions: Vec<Mutex<Session>> = (0..8)
            .map(|_| Mutex::new(database.connect_as(&user)))
            .collect();
        let claimed = together(8, |number| {
            let mut session = sessions[number].lock().expect("one owner");
            session.claim(&Ask::by("shared", 2)).len()
        });
        assert_eq!(claimed.iter().sum::<usize>(), 16);
    }
}
