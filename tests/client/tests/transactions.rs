//! Calls inside larger transactions: savepoints, exception blocks, cursors, and a DBA's work beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tasker_client_tests::database;
use tasker_client_tests::race::together;
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Claim, Database, Session, Uuid, Value, inside, json, patience, scaled, shapes, started,
};

#[test]
fn a_claim_rolled_back_to_a_savepoint_gives_its_steps_back_to_the_same_transaction() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 5));
    session.execute("BEGIN; SAVEPOINT here");
    let first: Vec<Uuid> = session
        .claim(&Ask::by("worker", 3))
        .iter()
        .map(|claim| claim.step)
        .collect();
    assert_eq!(first.len(), 3);
    session.execute("ROLLBACK TO here");
    let again = session.claim_all("worker");
    assert_eq!(again.len(), 5);
    assert!(
        again
            .iter()
            .all(|claim| (claim.number, claim.attempt) == (1, 1))
    );
    for claim in &again {
        session.complete(claim, &json!({}));
    }
    session.execute("COMMIT");
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_new_worker_and_a_new_template_rolled_back_are_not_remembered() {
    let (database, mut session, _task) = started(&shapes::chain("one", 1));
    session.execute("BEGIN; SAVEPOINT here");
    shapes::chain("two", 2)
        .with("namespace_name", json!("elsewhere"))
        .register(&mut session);
    session.query(
        "SELECT tasker.create_task('two', namespace => 'elsewhere')",
        &[],
    );
    let ask = Ask {
        worker: "never seen",
        namespaces: vec!["elsewhere", "default"],
        most: 10,
        ..Ask::default()
    };
    assert_eq!(session.claim(&ask).len(), 2);
    session.execute("ROLLBACK TO here");
    // The same ids are given out again, for other things.
    let mut other = database.connect();
    shapes::chain("two", 3)
        .with("namespace_name", json!("elsewhere"))
        .register(&mut other);
    let task: Uuid = other.one(
        "SELECT tasker.create_task('two', namespace => 'elsewhere')",
        &[],
    );
    session.execute("COMMIT");
    let claims = session.claim_soon(&ask, 2);
    assert_eq!(claims.len(), 2);
    for claim in &claims {
        session.complete(claim, &json!({}));
    }
    session.work_in("elsewhere", |_| done());
    assert_eq!(session.steps(task).len(), 3);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn an_error_caught_in_a_block_undoes_its_call_only() {
    let (_database, mut session, task) = started(&shapes::small_diamond());
    session.execute(
        "CREATE FUNCTION public.careful(step uuid, number integer) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE
             told text := '';
         BEGIN
             BEGIN
                 PERFORM tasker.complete_step(step, number);
                 RAISE EXCEPTION USING ERRCODE = '22012';
             EXCEPTION WHEN division_by_zero THEN
                 told := told || 'undone ';
             END;
             BEGIN
                 PERFORM tasker.complete_step(step, number + 1);
             EXCEPTION WHEN object_in_use THEN
                 told := told || 'stale ';
             END;
             BEGIN
                 PERFORM tasker.create_task('nothing');
             EXCEPTION WHEN no_data_found THEN
                 told := told || 'unknown ';
             END;
             RETURN told || tasker.complete_step(step, number, '{\"by\": \"block\"}');
         END $$",
    );
    let claim = session.claim_one("worker");
    let told: String = session.one(
        "SELECT public.careful($1, $2)",
        &[&claim.step, &claim.number],
    );
    assert_eq!(told, "undone stale unknown complete");
    assert_eq!(session.results(task, "start"), json!({"by": "block"}));
    assert_eq!(session.arrivals(task, Some("start"), "complete"), 1);
    assert_eq!(session.work(|_| done()).len(), 3);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_whole_workflow_runs_in_one_transaction() {
    let (database, mut session, _task) = started(&shapes::small_diamond());
    session.execute("BEGIN");
    let task = session.create("small_diamond");
    assert_eq!(session.work(|_| done()).len(), 8);
    assert_eq!(session.task_state(task), "complete");
    let mut other = database.connect();
    assert_eq!(
        other.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE state = 'complete'",
            &[]
        ),
        0
    );
    session.execute("COMMIT");
    assert_eq!(
        other.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE state = 'complete'",
            &[]
        ),
        8
    );
}

#[test]
fn calls_work_wherever_sql_allows_them() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 6));
    // In the target list, with a limit, in a CTE, through a cursor, and in a prepared statement.
    assert_eq!(
        session
            .query("SELECT tasker.claim_steps('w', max_steps => 1)", &[])
            .len(),
        1
    );
    assert_eq!(
        session
            .query(
                "SELECT (c).step_name FROM (SELECT tasker.claim_steps('w', max_steps => 1) AS c) x",
                &[]
            )
            .len(),
        1
    );
    assert_eq!(session.query("WITH c AS (SELECT * FROM tasker.claim_steps('w', max_steps => 1)) SELECT tasker.complete_step(step_uuid, claim_number) FROM c", &[]).len(), 1);
    session.execute("BEGIN; DECLARE c CURSOR FOR SELECT step_uuid, claim_number FROM tasker.claim_steps('w', max_steps => 2)");
    assert_eq!(session.query("FETCH 1 FROM c", &[]).len(), 1);
    assert_eq!(session.query("FETCH ALL FROM c", &[]).len(), 1);
    session.execute("COMMIT");
    session.execute("PREPARE p AS SELECT * FROM tasker.claim_steps('w', max_steps => 1)");
    for left in [1, 0, 0, 0, 0, 0, 0] {
        assert_eq!(session.query("EXECUTE p", &[]).len(), left);
    }
    session.query("SELECT tasker.release_steps('w')", &[]);
    assert_eq!(session.work(|_| done()).len(), 5);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_read_only_transaction_is_refused_and_the_session_lives() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let before = inside::fingerprint(&mut session);
    for call in [
        "SELECT * FROM tasker.claim_steps('w')",
        "SELECT tasker.create_task('one')",
    ] {
        session.execute("BEGIN READ ONLY");
        session.fails(call, &[]).is("25006");
        session.execute("ROLLBACK");
    }
    session.execute("BEGIN READ ONLY");
    session.query(
        "SELECT * FROM tasker.get_step_readiness_status($1)",
        &[&task],
    );
    session.query("SELECT * FROM tasker.task_overview", &[]);
    session.execute("COMMIT");
    assert_eq!(inside::fingerprint(&mut session), before);
    assert_eq!(session.work(|_| done()), ["step_1"]);
}

#[test]
fn large_values_pass_through_whole() {
    let (_database, mut session, _task) = started(&shapes::chain("two", 2));
    let big = "x".repeat(3_000_000);
    let task = session.create_with(
        "two",
        &json!({"big": big, "deep": {"a": [1, 2, {"b": null}]}}),
    );
    let claim = session
        .claim_all("worker")
        .into_iter()
        .find(|claim| claim.task == task)
        .expect("both are ready");
    assert_eq!(claim.context["big"].as_str().map(str::len), Some(3_000_000));
    session.complete(&claim, &json!({"big": big}));
    let child = session.claim_one("worker");
    assert_eq!(
        child.dependency_results["step_1"]["big"]
            .as_str()
            .map(str::len),
        Some(3_000_000)
    );
    let failed: String = session.one(
        "SELECT tasker.fail_step($1, $2, repeat('why ', 100000), retryable => false)",
        &[&child.step, &child.number],
    );
    assert_eq!(failed, "error");
    assert_eq!(session.task_state(task), "error");
}

/// What a DBA does while workers work: none of it stops them or spoils anything.
#[test]
fn reindexing_vacuuming_and_analyzing_beside_workers_lose_nothing() {
    let (database, mut session, first) = started(&shapes::small_diamond());
    let mut tasks = session.create_many("small_diamond", scaled(1500, 15_000));
    tasks.push(first);
    let tables = inside::tables(&mut session);
    let working = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (working, tables, database) = (&working, &tables, &database);
        // Also when a worker fails: otherwise the scope would wait for the maintenance without limit.
        let stop = StopOnDrop(working);
        let dba = scope.spawn(move || {
            let mut own = database.connect();
            let mut rounds = 0;
            while working.load(Ordering::Acquire) || rounds == 0 {
                for table in tables {
                    own.execute(&format!("REINDEX TABLE CONCURRENTLY {table}"));
                    own.execute(&format!("VACUUM (ANALYZE, INDEX_CLEANUP ON) {table}"));
                }
                own.execute(&format!("VACUUM FULL {}", tables[rounds % tables.len()]));
                rounds += 1;
            }
            rounds
        });
        together(4, |number| {
            let mut own = database.connect();
            let ask_worker = format!("worker {number}");
            let ask = Ask::by(&ask_worker, 2);
            let (mut claims, mut empty): (Vec<Claim>, usize) = (vec![], 0);
            while empty < 20 {
                let reports: Vec<Value> =
                    claims.iter().map(|claim| claim.done(json!({}))).collect();
                let (refused, more) = own.report_and_claim(&ask, &reports);
                assert!(refused.is_empty(), "{refused:?}");
                claims = more;
                empty = if claims.is_empty() { empty + 1 } else { 0 };
                if claims.is_empty() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        });
        drop(stop);
        println!(
            "{} rounds of maintenance",
            dba.join().expect("no error in maintenance")
        );
    });
    assert_eq!(
        session.task_states(&tasks),
        [format!("complete: {}", tasks.len())]
    );
    let again = session.count(
        "SELECT count(*) FROM tasker.workflow_steps WHERE attempts <> 1",
        &[],
    );
    assert_eq!(again, 0);
    every_index_agrees_with_its_table(&mut session);
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// By amcheck, where it is there.
fn every_index_agrees_with_its_table(session: &mut Session) {
    session.execute("CREATE EXTENSION IF NOT EXISTS amcheck");
    session.query(
        "SELECT bt_index_parent_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE c.relnamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace) AND i.indisvalid AND c.relkind = 'i'
           AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')",
        &[],
    );
    let corrupt = session.query(
        "SELECT c.oid::regclass::text, v.blkno, v.msg FROM pg_class c, verify_heapam(c.oid) v
         WHERE c.relnamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace) AND c.relkind = 'r'",
        &[],
    );
    let told: Vec<String> = corrupt
        .iter()
        .map(|row| {
            format!(
                "{} block {}: {}",
                row.get::<_, String>(0),
                row.get::<_, i64>(1),
                row.get::<_, String>(2)
            )
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn an_index_that_a_dba_adds_is_kept_in_step() {
    let (_database, mut session, first) = started(&shapes::small_diamond());
    for (number, table) in inside::tables(&mut session).iter().enumerate() {
        let column: String = session.one(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum LIMIT 1",
            &[&table],
        );
        session.execute(&format!(
            "CREATE INDEX added_{number} ON {table} ({column})"
        ));
    }
    let tasks = session.create_many("small_diamond", 50);
    session.work(|claim| {
        if claim.attempt == 1 && claim.name == "b" {
            tasker_client_tests::Act::Fail
        } else {
            done()
        }
    });
    assert_eq!(session.task_states(&tasks), ["complete: 50"]);
    assert_eq!(session.task_state(first), "complete");
    every_index_agrees_with_its_table(&mut session);
}

#[test]
fn tables_and_indexes_are_sound_after_every_kind_of_work() {
    let (_database, mut session, first) = started(&shapes::small_diamond());
    let tasks = session.create_many("small_diamond", 100);
    for (number, task) in tasks.iter().enumerate() {
        match number % 5 {
            0 => drop(session.query("SELECT tasker.cancel_task($1)", &[task])),
            1 => {
                session.execute("BEGIN");
                session.claim(&Ask::by("rolled back", 3));
                session.execute("ROLLBACK");
            }
            2 => drop(session.claim(&Ask {
                worker: "lost",
                most: 2,
                lease: "1 millisecond",
                ..Ask::default()
            })),
            _ => {}
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(5));
    session.work(|claim| {
        if claim.attempt < 3 && claim.name == "c" {
            tasker_client_tests::Act::Fail
        } else {
            done()
        }
    });
    assert_eq!(session.task_state(first), "complete");
    assert_eq!(
        session.task_states(&tasks),
        ["cancelled: 20", "complete: 80"]
    );
    every_index_agrees_with_its_table(&mut session);
}

#[test]
fn a_step_that_is_committed_late_is_handed_out_before_the_younger_ones_that_are_left() {
    let database = Database::new();
    let mut creator = database.connect();
    let mut worker = database.connect();
    shapes::wide("single", 1).register(&mut worker);
    // Due first, seen last: the worker's look at the queue is behind it by then.
    creator.execute("BEGIN");
    let late = creator.create("single");
    worker.create_many("single", 3_000);
    for _ in 0..300 {
        let claim = worker.claim_one("worker");
        worker.complete(&claim, &json!({}));
    }
    creator.execute("COMMIT");
    let committed = Instant::now();
    let mut others = 0;
    loop {
        let claim = worker.claim_one("worker");
        worker.complete(&claim, &json!({}));
        if claim.task == late {
            break;
        }
        others += 1;
        assert!(
            committed.elapsed() < patience(2),
            "not handed out after {others} younger ones"
        );
    }
    println!("{others} younger ones, {:?}", committed.elapsed());
}

#[test]
fn a_worker_that_a_savepoint_took_back_is_registered_again() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::wide("wide", 1).register(&mut session);
    session.create("wide");
    session.execute("BEGIN; SAVEPOINT tried");
    session.claim_one("tried");
    session.execute("ROLLBACK TO tried");
    session.claim_one("tried");
    session.execute("COMMIT");
    let holders: Vec<Option<String>> =
        session.all("SELECT worker_id FROM tasker.running_steps", &[]);
    assert_eq!(holders, [Some("tried".to_owned())]);
}

/// A server on which nothing but the test takes transaction ids.
fn quiet() -> (Server, Session) {
    let server = Server::start(&["autovacuum=off"]);
    database::prepare(&server);
    let mut session = server.connect(database::PATTERN);
    shapes::chain("one", 1).register(&mut session);
    (server, session)
}

#[test]
fn a_claim_that_meets_a_hundred_steps_that_cannot_be_handed_out_uses_no_subtransaction() {
    let (_server, mut session) = quiet();
    // The worker has a row.
    session.claim(&Ask::by("w", 1));
    let create = "SELECT tasker.create_tasks('one', array_fill($1::jsonb, ARRAY[100]))";
    session.query(create, &[&json!({"name": "日本"})]);
    let good = session.create("one");
    // The driver reads UTF8 alone, so the claim stays inside the server.
    session.execute("SET client_encoding = 'LATIN1'");
    let ids =
        session.transaction_ids("SELECT count(*) FROM tasker.claim_steps('w', max_steps => 1000)");
    session.execute("SET client_encoding = 'UTF8'");
    assert_eq!(ids, 1);
    assert_eq!(session.step_state(good, "step_1"), "in_progress");
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.tasks WHERE state = 'error'",
            &[]
        ),
        100
    );
}

#[test]
fn one_call_for_a_hundred_tasks_uses_no_subtransaction() {
    let (_server, mut session) = quiet();
    for (call, from, to) in [
        ("retry_tasks(dry_run => false)", "error", "pending"),
        (
            "resolve_tasks(dry_run => false)",
            "error",
            "resolved_manually",
        ),
        ("cancel_tasks(dry_run => false)", "pending", "cancelled"),
    ] {
        let tasks = session.create_many("one", 100);
        if from == "error" {
            session.query(
                "SELECT count(tasker.transition_task(u.task, 'error')) FROM unnest($1::uuid[]) AS u (task)",
                &[&tasks],
            );
        }
        assert_eq!(session.task_states(&tasks), [format!("{from}: 100")]);
        let ids = session.transaction_ids(&format!("SELECT count(*) FROM tasker.{call}"));
        assert_eq!(ids, 1, "{call}");
        assert_eq!(session.task_states(&tasks), [format!("{to}: 100")]);
    }
}
