//! SERIALIZABLE: creation and reading take part in it as plain SQL does; what changes steps refuses it.

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Failure, Session, Uuid, inside, json, shapes};

/// A task as the engine would store it, by plain SQL: constants only, so that nothing is read.
fn plain_task() -> String {
    let mut bytes = Uuid::now_v7().into_bytes();
    bytes[14..].fill(0);
    let task = Uuid::from_bytes(bytes);
    format!(
        "INSERT INTO tasker_engine.tasks
             (task_uuid, requested_at, named_task_id, open_leaves, priority, initiator, source_system, reason, tags, bypass_steps, context)
         VALUES ('{task}', clock_timestamp(), 1, 1, 2, 'x', 'x', 'x', '[]', '[]', '{{}}');
         INSERT INTO tasker_engine.steps (task_uuid, named_task_id, step_no, open_parents, retry_limit, priority, retryable)
         VALUES ('{task}', 1, 1, 0, 3, 2, true);
         INSERT INTO tasker_engine.queue_entries (available_at, task_uuid, queue_id, priority, step_no) VALUES (clock_timestamp(), '{task}', 1, 2, 1);
         INSERT INTO tasker_engine.transitions (task_uuid, created_at, step_no, attempt, to_state)
         VALUES ('{task}', clock_timestamp(), 0, 0, 'p')"
    )
}

/// Runs statements; true if they failed to be serialized, which ends the transaction.
fn conflicts(session: &mut Session, sql: &str) -> bool {
    match session.client().batch_execute(sql) {
        Ok(()) => false,
        Err(error) => {
            Failure::of(&error)
                .expect("an answer of the server")
                .is("40001");
            session.execute("ROLLBACK");
            true
        }
    }
}

/// Two serializable transactions read first and then write, in turns; whether one of them is refused.
fn skew(database: &Database, left: [&str; 2], right: [&str; 2]) -> bool {
    let (mut a, mut b) = (database.connect(), database.connect());
    for (session, [read, _]) in [(&mut a, left), (&mut b, right)] {
        session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE");
        session.execute(read);
    }
    let first = conflicts(&mut a, left[1]) || conflicts(&mut a, "COMMIT");
    let second = conflicts(&mut b, right[1]) || conflicts(&mut b, "COMMIT");
    first || second
}

fn prepared() -> (Database, Session, Uuid) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    let task = session.create("one");
    (database, session, task)
}

#[test]
fn a_read_and_a_creation_conflict_exactly_where_the_same_plain_sql_does() {
    let (database, _session, task) = prepared();
    let missing = Uuid::now_v7();
    let reads = [
        ("SELECT count(*) FROM tasker.tasks".to_owned(), "SELECT count(*) FROM tasker_engine.tasks".to_owned(), true),
        (
            "SELECT count(*) FROM tasker.step_readiness_statuses WHERE ready_for_execution".to_owned(),
            "SELECT count(*) FROM tasker_engine.steps WHERE state = 'p'".to_owned(),
            true,
        ),
        (
            "SELECT * FROM tasker.get_system_health_counts()".to_owned(),
            "SELECT count(*) FROM tasker_engine.steps".to_owned(),
            true,
        ),
        (
            format!("SELECT * FROM tasker.get_task_execution_context('{task}')"),
            format!(
                "SET LOCAL enable_seqscan = off; SELECT * FROM tasker_engine.tasks WHERE task_uuid = '{task}';
                 SELECT * FROM tasker_engine.steps WHERE task_uuid = '{task}'"
            ),
            true, // one leaf page holds all keys
        ),
        (
            format!("SELECT * FROM tasker.get_step_readiness_status('{missing}')"),
            format!("SET LOCAL enable_seqscan = off; SELECT * FROM tasker_engine.steps WHERE task_uuid = '{missing}'"),
            true,
        ),
        ("SELECT tasker.export_template('one')".to_owned(), "SELECT * FROM tasker.named_tasks".to_owned(), false),
        (
            "SELECT * FROM tasker.schedules".to_owned(),
            "SELECT * FROM tasker_engine.schedules".to_owned(),
            false,
        ),
        ("SELECT 1".to_owned(), "SELECT 1".to_owned(), false),
    ];
    for (read, plain, expected) in &reads {
        let (one, other) = (plain_task(), plain_task());
        assert_eq!(
            skew(&database, [plain, &one], [plain, &other]),
            *expected,
            "{plain}"
        );
        let one = "SELECT tasker.create_task('one')";
        let many = "SELECT count(*) FROM tasker.create_tasks('one', ARRAY['{}', '{}']::jsonb[])";
        assert_eq!(
            skew(&database, [read, one], [read, many]),
            *expected,
            "{read}"
        );
    }
}

#[test]
fn what_creation_reads_below_sql_counts_as_read() {
    let (database, mut session, _) = prepared();
    // Creation looks whether any worker waits; the other transaction begins to wait, having seen no new task.
    let idle = "INSERT INTO tasker_engine.workers (worker_id, namespaces, idle_until) VALUES ('idle', '{default}', now() + interval '1 hour')";
    let count = "SELECT count(*) FROM tasker_engine.tasks";
    let create = "SELECT tasker.create_task('one')";
    assert!(skew(&database, [create, "SELECT 1"], [count, idle]));
    assert!(!skew(&database, ["SELECT 1", "SELECT 1"], [count, idle]));

    session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE");
    session.execute(create);
    let read: Vec<String> = session.all(
        "SELECT DISTINCT l.relation::regclass::text FROM pg_locks l WHERE l.mode = 'SIReadLock' AND l.pid = pg_backend_pid() ORDER BY 1",
        &[],
    );
    assert!(
        read.iter()
            .any(|relation| relation.contains("workers_idle")),
        "{read:?}"
    );
    session.execute("ROLLBACK");
}

#[test]
fn two_creations_with_one_key_are_serialized() {
    let (database, mut session, _) = prepared();
    let create = "SELECT tasker.create_task('one', idempotency_key => 'k')";
    assert!(!skew(
        &database,
        ["SELECT 1", create],
        ["SELECT 1", "SELECT 1"]
    ));
    // Known to one, and committed after the other has begun.
    let again = "SELECT tasker.create_task('one', idempotency_key => 'new')";
    assert!(skew(
        &database,
        ["SELECT 1 FROM tasker.tasks", again],
        ["SELECT 1 FROM tasker.tasks", again]
    ));
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 3);
}

#[test]
fn what_changes_steps_refuses_a_snapshot_that_lasts() {
    let (_database, mut session, task) = prepared();
    let step = session.step(task, "step_1");
    session.create_with("one", &json!({"n": 2}));
    let lost = Ask {
        lease: "1 millisecond",
        ..Ask::by("lost", 1)
    };
    assert_eq!(session.claim(&lost).len(), 1);
    let before = inside::fingerprint(&mut session);
    let calls = [
        "SELECT * FROM tasker.claim_steps('w')".to_owned(),
        format!("SELECT tasker.complete_step('{step}', 1)"),
        format!("SELECT tasker.fail_step('{step}', 1, 'x')"),
        "SELECT * FROM tasker.report_steps('w', '[]')".to_owned(),
        "SELECT * FROM tasker.report_and_claim('w')".to_owned(),
        "SELECT * FROM tasker.heartbeat('w')".to_owned(),
        "SELECT tasker.release_steps('w')".to_owned(),
        "SELECT * FROM tasker.run_steps()".to_owned(),
        format!("SELECT tasker.cancel_task('{task}')"),
        format!("SELECT tasker.retry_task('{task}')"),
        format!("SELECT tasker.resolve_task_manually('{task}')"),
        format!("SELECT tasker.resolve_step_manually('{step}')"),
        format!("SELECT tasker.retry_step('{step}')"),
        format!("SELECT tasker.cancel_step('{step}')"),
        format!("SELECT tasker.set_retry_limit('{step}', 5)"),
        "SELECT tasker.pause_namespace('default')".to_owned(),
        "SELECT tasker.resume_namespace('default')".to_owned(),
        format!("SELECT tasker.transition_task('{task}', 'cancelled')"),
        format!("SELECT tasker.transition_step('{step}', 'cancelled')"),
        format!("SELECT tasker.try_transition_task('{task}', 'cancelled')"),
        format!("SELECT tasker.try_transition_step('{step}', 'cancelled')"),
        format!("SELECT * FROM tasker.finalize_task('{task}')"),
        "SELECT * FROM tasker.force_release_stale_claims('expired', false)".to_owned(),
        "SELECT tasker.set_operational_state('stopped')".to_owned(),
    ];
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for call in &calls {
            session.execute(&format!("BEGIN ISOLATION LEVEL {level}"));
            let refusal = session.fails(call, &[]);
            assert_eq!(refusal.code, "25001", "{call}: {refusal}");
            refusal.hint_says(&["READ COMMITTED"]);
            session.execute("ROLLBACK");
        }
    }
    assert_eq!(inside::fingerprint(&mut session), before);
}
