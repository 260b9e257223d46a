//! Claims for some handlers: what others run stays where it is, the order is that of all, and a release wakes only workers that have its handler.

use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use tasker_client_tests::inside;
use tasker_client_tests::race::together;
use tasker_client_tests::shapes::Template;
use tasker_client_tests::{Database, Session, Uuid, json, patience};

/// `purchase`: charge (pay.charge), then send (mail.send).
fn purchase(session: &mut Session) {
    Template::new("purchase")
        .step_with("charge", &[], json!({"handler": "pay.charge"}))
        .step_with("send", &["charge"], json!({"handler": "mail.send"}))
        .register(session);
}

/// `one_<n>` with the handler `work.h<n>`.
fn singles(session: &mut Session, count: usize) {
    for n in 0..count {
        Template::new(&format!("one_{n}"))
            .step_with("only", &[], json!({"handler": format!("work.h{n}")}))
            .register(session);
    }
}

/// Claims for handlers: step, number and handler.
fn claim(
    session: &mut Session,
    worker: &str,
    most: i32,
    handlers: Option<&[&str]>,
) -> Vec<(Uuid, i32, String)> {
    let rows = session.query(
        "SELECT step_uuid, claim_number, handler
         FROM tasker.claim_steps($1, max_steps => $2, handlers => $3)",
        &[&worker, &most, &handlers],
    );
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

fn handlers(claimed: &[(Uuid, i32, String)]) -> Vec<&str> {
    claimed
        .iter()
        .map(|(_, _, handler)| handler.as_str())
        .collect()
}

#[test]
fn two_services_in_one_namespace_finish_each_other_s_tasks_and_fail_nothing() {
    let database = Database::new();
    let mut session = database.connect();
    purchase(&mut session);
    session.create_many("purchase", 40);
    // Only one of them runs: the steps of the other wait.
    let mut pay = database.connect();
    let mine = claim(&mut pay, "pay", 10, Some(&["pay.charge"]));
    assert_eq!(handlers(&mine), ["pay.charge"; 10]);
    for (step, number, _) in &mine {
        pay.query("SELECT tasker.complete_step($1, $2)", &[step, number]);
    }
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE name = 'send' AND state <> 'pending'",
            &[]
        ),
        0
    );
    together(2, |which| {
        let mut session = database.connect();
        let mine = ["pay.charge", "mail.send"][which];
        let mut rest = if which == 0 { 30 } else { 40 };
        let began = std::time::Instant::now();
        while rest > 0 {
            assert!(began.elapsed() < patience(60), "{rest} are left for {mine}");
            let claimed = claim(&mut session, mine, 3, Some(&[mine]));
            assert!(handlers(&claimed).iter().all(|handler| *handler == mine));
            for (step, number, _) in &claimed {
                session.query("SELECT tasker.complete_step($1, $2)", &[step, number]);
            }
            rest -= claimed.len();
        }
    });
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.tasks WHERE state = 'complete'",
            &[]
        ),
        40
    );
}

#[test]
fn a_claim_for_several_handlers_keeps_the_order_of_priority_and_age() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 6);
    for round in 0..10 {
        for n in 0..6 {
            session.query(
                "SELECT tasker.create_task($1, priority => $2)",
                &[&format!("one_{n}"), &(1 + (round * 6 + n) % 4)],
            );
        }
    }
    let wanted = ["work.h1", "work.h3", "work.h4", "never.registered"];
    let expected: Vec<Uuid> = session.all(
        "SELECT t.task_uuid FROM tasker.tasks t WHERE t.name IN ('one_1', 'one_3', 'one_4')
         ORDER BY t.priority DESC, t.requested_at",
        &[],
    );
    assert_eq!(expected.len(), 30);
    let mut got = vec![];
    for most in [1, 1, 5, 2, 100] {
        let claimed = claim(&mut session, "worker", most, Some(&wanted));
        for (step, _, handler) in claimed {
            assert!(wanted.contains(&handler.as_str()), "{handler}");
            got.push(session.one::<Uuid>(
                "SELECT task_uuid FROM tasker.workflow_steps WHERE step_uuid = $1",
                &[&step],
            ));
        }
    }
    assert_eq!(got, expected);
    // What is left is for the others, and NULL takes it all.
    assert!(claim(&mut session, "worker", 100, Some(&[])).is_empty());
    assert_eq!(claim(&mut session, "worker", 100, None).len(), 30);
}

#[test]
fn a_step_behind_many_of_others_is_found_by_each_session_and_after_each_release() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 2);
    session.create_many("one_0", 3000);
    session.create("one_1");
    for turn in 0..3 {
        let mut other = if turn == 1 {
            database.connect()
        } else {
            session
        };
        let mine = claim(&mut other, &format!("w{turn}"), 5, Some(&["work.h1"]));
        assert_eq!(handlers(&mine), ["work.h1"], "turn {turn}");
        assert!(claim(&mut other, &format!("w{turn}"), 5, Some(&["work.h1"])).is_empty());
        other.query("SELECT tasker.release_steps($1)", &[&format!("w{turn}")]);
        session = other;
    }
}

#[test]
fn steps_that_an_open_transaction_holds_stop_no_claim_for_their_handler() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 2);
    let tasks = session.create_many("one_1", 30);
    session.create_many("one_0", 30);
    let mut holder = database.connect();
    holder.execute("BEGIN");
    for task in &tasks[..20] {
        holder.query("SELECT tasker.cancel_task($1)", &[task]);
    }
    let mine = claim(&mut session, "worker", 10, Some(&["work.h1"]));
    assert_eq!(handlers(&mine), ["work.h1"; 10]);
    holder.execute("ROLLBACK");
    let mut all = 0;
    let began = std::time::Instant::now();
    while all < 20 {
        assert!(began.elapsed() < patience(20));
        all += claim(&mut session, "worker", 20, Some(&["work.h1"])).len();
    }
    assert_eq!(claim(&mut session, "worker", 100, None).len(), 30);
}

#[test]
fn entries_of_an_earlier_version_are_found_by_their_handler() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 3);
    for name in ["one_0", "one_1", "one_2"] {
        session.create_many(name, 20);
    }
    inside::forget_handler_keys(&mut session);
    for (handler, count) in [("work.h2", 20), ("work.h0", 20)] {
        assert_eq!(
            claim(&mut session, "worker", 100, Some(&[handler])).len(),
            count,
            "{handler}"
        );
    }
    assert_eq!(claim(&mut session, "worker", 100, None).len(), 20);
}

/// The payloads of the notifications that come in this time.
fn payloads(session: &mut Session) -> Vec<String> {
    let mut notifications = session.client().notifications();
    let waiting = notifications.timeout_iter(Duration::from_millis(300));
    waiting
        .map(|one| Ok(one.payload().to_owned()))
        .collect()
        .expect("notifications")
}

#[test]
fn a_release_wakes_only_workers_that_have_its_handler() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 3);
    let mut listener = database.connect();
    listener.execute("LISTEN tasker_default");
    for (worker, mine) in [("zero", "work.h0"), ("one", "work.h1")] {
        assert!(claim(&mut listener, worker, 1, Some(&[mine])).is_empty());
    }
    session.create("one_2");
    assert!(payloads(&mut listener).is_empty(), "no worker has work.h2");
    session.create("one_1");
    assert_eq!(payloads(&mut listener), ["[\"one\"]"]);
    // Within the time in which a namespace is not notified again: another worker is.
    session.create("one_0");
    session.create("one_1");
    session.create("one_0");
    let told = payloads(&mut listener);
    assert!(told.contains(&"[\"zero\"]".to_owned()), "{told:?}");
    // A worker without a list takes all.
    claim(&mut listener, "any", 100, None);
    assert!(claim(&mut listener, "any", 1, None).is_empty());
    payloads(&mut listener);
    session.create("one_2");
    assert_eq!(payloads(&mut listener), ["[\"any\"]"]);
    // A list that changes while the worker waits counts at once.
    claim(&mut listener, "any", 100, None);
    assert!(claim(&mut listener, "any", 1, None).is_empty());
    assert!(claim(&mut listener, "zero", 1, Some(&["work.h2"])).is_empty());
    session.execute("SELECT pg_sleep(0.1)");
    session.create("one_2");
    assert_eq!(payloads(&mut listener), ["[\"zero\", \"any\"]"]);
}

#[test]
fn worker_ids_that_are_long_as_json_stop_no_release() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 2);
    let mut listener = database.connect();
    listener.execute("LISTEN tasker_default");
    assert!(claim(&mut listener, "other", 1, Some(&["work.h0"])).is_empty());
    // Each character takes six bytes as JSON: together 9,000, more than a notification can have.
    for number in 0..6 {
        let worker = format!("{}{number}", "\u{1}".repeat(250));
        assert!(claim(&mut listener, &worker, 1, Some(&["work.h1"])).is_empty());
    }
    session.create("one_1");
    // The list does not fit: all are woken.
    assert_eq!(payloads(&mut listener), [""]);
}

#[test]
fn a_release_that_is_rolled_back_wakes_no_worker_and_silences_no_later_one() {
    let database = Database::new();
    let mut session = database.connect();
    singles(&mut session, 1);
    let mut listener = database.connect();
    listener.execute("LISTEN tasker_default");
    assert!(claim(&mut listener, "idle", 1, None).is_empty());
    session.execute("BEGIN");
    session.create("one_0");
    session.execute("ROLLBACK; BEGIN; SAVEPOINT a");
    session.create("one_0");
    session.execute("ROLLBACK TO a; COMMIT");
    session.create("one_0");
    assert_eq!(payloads(&mut listener), [""]);
    std::thread::sleep(Duration::from_millis(100));
    // What a released savepoint and the transaction around it did is one wake.
    session.execute("BEGIN; SAVEPOINT a");
    session.create("one_0");
    session.execute("RELEASE a; SAVEPOINT b");
    session.create("one_0");
    session.execute("ROLLBACK TO b; COMMIT");
    assert_eq!(payloads(&mut listener), [""]);
}

#[test]
fn run_steps_leaves_the_steps_of_external_workers_alone() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("CREATE SCHEMA shop; CREATE FUNCTION shop.pack(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$");
    Template::new("mixed_queue")
        .step_with(
            "pack",
            &[],
            json!({"handler": "sql:shop.pack", "queue": "default"}),
        )
        .step_with("send", &[], json!({"handler": "mail.send"}))
        .register(&mut session);
    session.create_many("mixed_queue", 20);
    let ran: Vec<String> = session.all(
        "SELECT step_name || ' ' || state FROM tasker.run_steps(queues => '{default}')",
        &[],
    );
    assert_eq!(ran, ["pack complete"; 20]);
    assert_eq!(
        claim(&mut session, "worker", 100, Some(&["mail.send"])).len(),
        20
    );
}

#[test]
fn handlers_with_null_are_refused() {
    let database = Database::new();
    let mut session = database.connect();
    session
        .fails(
            "SELECT * FROM tasker.claim_steps('w', handlers => '{NULL}')",
            &[],
        )
        .is("22004")
        .says(&["handlers"]);
}
