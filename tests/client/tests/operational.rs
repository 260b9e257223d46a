//! The operational state of the whole system: every pair, and what each state means for claims, reports and workers.

use std::time::Duration;

use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, inside, json, shapes};

const STATES: [&str; 5] = [
    "startup",
    "normal",
    "graceful_shutdown",
    "emergency",
    "stopped",
];
// Rows from, columns to, in the order of STATES: s same state, y declared, - refused.
const PAIRS: [&str; 5] = ["sy-yy", "-syyy", "--syy", "---sy", "y---s"];

fn open() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("pair", 2).register(&mut session);
    (database, session)
}

#[track_caller]
fn set(session: &mut Session, state: &str) -> String {
    session.one("SELECT tasker.set_operational_state($1)", &[&state])
}

#[track_caller]
fn force(session: &mut Session, state: &str) {
    session.query(
        "SELECT tasker.set_operational_state($1, force => true)",
        &[&state],
    );
    session.take_notices();
}

fn state(session: &mut Session) -> String {
    session.one("SELECT tasker.operational_state()", &[])
}

fn changes(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker.operational_state_changes", &[])
}

#[test]
fn an_untouched_system_is_in_state_normal() {
    let (_database, mut session) = open();
    assert_eq!(state(&mut session), "normal");
    let status: String = session.one(
        "SELECT concat_ws(' ', state, since, changed_by, hands_out_work, suppresses_alerts, monitored, transitional, health_multiplier, next_states,
                          running_steps) FROM tasker.operational_status",
        &[],
    );
    assert_eq!(
        status,
        "normal t f t f 1 {graceful_shutdown,emergency,stopped} 0"
    );
    assert_eq!(changes(&mut session), 0);
}

#[test]
fn each_of_the_25_pairs_is_made_refused_or_nothing_at_all() {
    let (_database, mut session) = open();
    for (from, row) in STATES.into_iter().zip(PAIRS) {
        for (to, mark) in STATES.into_iter().zip(row.chars()) {
            force(&mut session, from);
            let before = changes(&mut session);
            match mark {
                's' => {
                    assert_eq!(set(&mut session, to), to);
                    assert_eq!(changes(&mut session), before, "{from} again is recorded");
                }
                'y' => {
                    assert_eq!(set(&mut session, to), to, "{from} -> {to}");
                    assert_eq!(changes(&mut session), before + 1);
                }
                _ => {
                    let failure = session
                        .fails("SELECT tasker.set_operational_state($1)", &[&to])
                        .is("55000")
                        .message_says(&[from, to])
                        .hint_says(&["force"]);
                    let allowed = STATES.into_iter().zip(row.chars());
                    let names: Vec<&str> = allowed.filter(|p| p.1 == 'y').map(|p| p.0).collect();
                    failure.detail_says(&names);
                    assert_eq!(state(&mut session), from);
                    assert_eq!(changes(&mut session), before);
                }
            }
        }
    }
}

#[test]
fn force_makes_an_undeclared_change_with_a_warning_and_a_declared_one_without() {
    let (_database, mut session) = open();
    set(&mut session, "stopped");
    let forced = |session: &mut Session| -> bool {
        session.one(
            "SELECT forced FROM tasker.operational_state_changes ORDER BY change_no DESC LIMIT 1",
            &[],
        )
    };
    let to: String = session.one(
        "SELECT tasker.set_operational_state('normal', 'in a hurry', true)",
        &[],
    );
    assert_eq!(to, "normal");
    assert_eq!(
        session.take_notices(),
        ["the system was forced from stopped to normal"]
    );
    assert!(forced(&mut session));
    session.query(
        "SELECT tasker.set_operational_state('emergency', force => true)",
        &[],
    );
    assert_eq!(session.take_notices(), [""; 0]);
    assert!(!forced(&mut session));
}

#[test]
fn every_change_is_recorded_with_its_role_time_and_reason() {
    let (database, mut session) = open();
    session.execute("CREATE ROLE op_records LOGIN; GRANT tasker_operator TO op_records");
    database.connect_as("op_records").query(
        "SELECT tasker.set_operational_state('graceful_shutdown', 'new disks')",
        &[],
    );
    set(&mut session, "stopped");
    let log: Vec<String> = session.all(
        "SELECT concat_ws(' ', from_state, to_state, changed_by, coalesce(reason, '-'), forced, clock_timestamp() - changed_at < '1 minute')
         FROM tasker.operational_state_changes ORDER BY change_no",
        &[],
    );
    assert_eq!(
        log,
        [
            "normal graceful_shutdown op_records new disks f t",
            "graceful_shutdown stopped postgres - f t"
        ]
    );
    let now: String = session.one(
        "SELECT concat_ws(' ', state, changed_by, since = (SELECT max(changed_at) FROM tasker.operational_state_changes), hands_out_work,
                          suppresses_alerts, health_multiplier, next_states) FROM tasker.operational_status",
        &[],
    );
    assert_eq!(now, "stopped postgres t f t 0 {startup}");
}

#[test]
fn only_startup_and_normal_hand_out_work_and_reports_are_accepted_in_every_state() {
    let (database, mut session) = open();
    let mut worker = database.connect();
    for (number, name) in STATES.into_iter().enumerate() {
        let open = name == "startup" || name == "normal";
        force(&mut session, "normal");
        let id = format!("worker {number}");
        let ask = Ask::by(&id, 1);
        let held: Vec<_> = (0..4)
            .map(|_| {
                session.create("pair");
                worker.claim(&ask).remove(0)
            })
            .collect();
        force(&mut session, name);
        // Every way to report.
        worker.complete(&held[0], &json!({}));
        worker.fail_for_good(&held[1]);
        let outcomes: Vec<String> = worker.all(
            "SELECT outcome FROM tasker.report_steps($1, $2)",
            &[&id, &json!([held[2].done(json!({}))])],
        );
        assert_eq!(outcomes, ["complete"], "{name}");
        let (refused, claimed) = worker.report_and_claim(&ask, &[held[3].done(json!({}))]);
        assert_eq!(session.step_state(held[3].task, "step_1"), "complete");
        if open {
            assert_eq!((refused.len(), claimed.len()), (0, 1), "{name}");
        } else {
            assert_eq!(refused, [("draining".to_owned(), None)], "{name}");
            assert!(claimed.is_empty(), "{name}");
        }
        assert_eq!(worker.claim(&ask).len(), usize::from(open), "{name}");
        let beats: Vec<String> = worker.all(
            "SELECT concat_ws(' ', step_uuid IS NULL, status) FROM tasker.heartbeat($1) WHERE step_uuid IS NULL",
            &[&id],
        );
        assert_eq!(beats, vec!["t draining"; usize::from(!open)], "{name}");
        worker.query("SELECT tasker.release_steps($1)", &[&id]);
        force(&mut session, "normal");
        session.work(|_| done());
    }
}

#[test]
fn what_a_draining_system_refuses_is_there_when_it_opens_again() {
    let (database, mut session) = open();
    let mut worker = database.connect();
    set(&mut session, "graceful_shutdown");
    let task = session.create("pair");
    assert!(worker.claim_all("w").is_empty());
    force(&mut session, "normal");
    assert_eq!(worker.work(|_| done()), ["step_1", "step_2"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_session_is_told_once_per_change_why_its_claims_stay_empty() {
    let (database, mut session) = open();
    let mut worker = database.connect();
    let told = |worker: &mut Session| {
        worker.take_notices();
        for _ in 0..3 {
            worker.claim_all("w");
        }
        worker.take_notices()
    };
    assert_eq!(told(&mut worker), [""; 0]);
    for name in ["graceful_shutdown", "emergency", "stopped"] {
        set(&mut session, name);
        assert_eq!(
            told(&mut worker),
            [format!(
                "no work is handed out: the system is in state {name}"
            )]
        );
    }
    assert_eq!(told(&mut database.connect()).len(), 1);
}

#[test]
fn queues_that_are_created_while_the_system_drains_are_closed_too() {
    let (database, mut session) = open();
    set(&mut session, "graceful_shutdown");
    shapes::chain("new", 1)
        .with("namespace_name", json!("fresh"))
        .register(&mut session);
    session.query("SELECT tasker.create_task('new', '{}', 'fresh')", &[]);
    let ask = Ask {
        namespaces: vec!["fresh"],
        ..Ask::default()
    };
    let mut worker = database.connect();
    assert!(worker.claim(&ask).is_empty());
    force(&mut session, "normal");
    assert_eq!(worker.claim(&ask).len(), 1);
}

#[test]
fn a_change_counts_from_its_commit_on_and_neither_waits_for_claims_nor_makes_them_wait() {
    let (database, mut session) = open();
    let mut worker = database.connect();
    let mut other = database.connect();
    for _ in 0..4 {
        session.create("pair");
    }
    // A claim that is open does not hold up a change...
    worker.execute("BEGIN");
    assert_eq!(worker.claim(&Ask::by("w", 1)).len(), 1);
    session.execute("BEGIN; SET LOCAL lock_timeout = '2s'");
    set(&mut session, "graceful_shutdown");
    // ... and a change that is open holds up no claim and does not count yet.
    other.execute("SET lock_timeout = '2s'");
    assert_eq!(other.claim(&Ask::by("o", 1)).len(), 1);
    assert_eq!(state(&mut other), "normal");
    session.execute("COMMIT");
    assert!(other.claim(&Ask::by("o", 1)).is_empty());
    // The transaction that was open sees it as well.
    assert!(worker.claim(&Ask::by("w", 1)).is_empty());
    worker.execute("COMMIT");
    // Undone, it has never been.
    session.execute("BEGIN");
    force(&mut session, "normal");
    session.execute("ROLLBACK");
    assert!(other.claim(&Ask::by("o", 1)).is_empty());
}

#[test]
fn of_two_sessions_that_change_the_state_the_second_starts_from_the_result_of_the_first() {
    let (database, mut session) = open();
    session.execute("BEGIN");
    set(&mut session, "emergency");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut other = database.connect();
            other.fails(
                "SELECT tasker.set_operational_state('graceful_shutdown')",
                &[],
            )
        });
        std::thread::sleep(Duration::from_millis(100));
        assert!(!second.is_finished(), "it did not wait");
        session.execute("COMMIT");
        second
            .join()
            .expect("the second ends")
            .is("55000")
            .message_says(&["from emergency"]);
    });
}

#[test]
fn leases_that_end_are_taken_over_while_nothing_is_handed_out() {
    let (database, mut session) = open();
    let task = session.create("pair");
    let mut worker = database.connect();
    worker.claim(&Ask {
        lease: "1 millisecond",
        ..Ask::by("lost", 1)
    });
    set(&mut session, "graceful_shutdown");
    std::thread::sleep(Duration::from_millis(30));
    assert!(database.connect().claim_all("w").is_empty());
    assert_eq!(session.step_state(task, "step_1"), "error");
    assert_eq!(
        session.count("SELECT running_steps FROM tasker.operational_status", &[]),
        0
    );
}

#[test]
fn no_worker_is_woken_while_the_system_drains_and_every_idle_one_when_it_opens() {
    let (database, mut session) = open();
    let mut worker = database.connect();
    worker.execute("LISTEN tasker_default");
    assert!(worker.claim_all("w").is_empty());
    let notified = |worker: &mut Session, wait: u64| {
        use postgres::fallible_iterator::FallibleIterator;
        let mut notifications = worker.client().notifications();
        let mut waiting = notifications.timeout_iter(Duration::from_millis(wait));
        waiting.next().expect("the connection lives").is_some()
    };
    set(&mut session, "graceful_shutdown");
    session.create("pair");
    assert!(!notified(&mut worker, 200));
    force(&mut session, "normal");
    assert!(notified(&mut worker, 2000));
    // A worker that was told before the system opened is woken as well.
    set(&mut session, "graceful_shutdown");
    assert!(worker.claim_all("w").is_empty());
    force(&mut session, "startup");
    assert!(notified(&mut worker, 2000));
}

#[test]
fn startup_ends_with_maintenance_once_it_has_lasted_ten_seconds() {
    let (_database, mut session) = open();
    let begin = |session: &mut Session| -> String {
        session.one("SELECT tasker_engine.begin_startup()", &[])
    };
    assert_eq!(begin(&mut session), "startup");
    assert_eq!(begin(&mut session), "startup");
    assert_eq!(changes(&mut session), 1, "a second start is recorded");
    let maintain = |session: &mut Session| {
        session.query("SELECT * FROM tasker.run_maintenance()", &[]);
        state(session)
    };
    assert_eq!(maintain(&mut session), "startup");
    inside::state_since(&mut session, 11);
    assert_eq!(maintain(&mut session), "normal");
    let last: String = session.one(
        "SELECT concat_ws(' ', from_state, to_state, changed_by, forced) FROM tasker.operational_state_changes ORDER BY change_no DESC LIMIT 1",
        &[],
    );
    assert_eq!(last, "startup normal coordinator f");
    // What a person has set outlives a coordinator.
    for name in ["graceful_shutdown", "emergency", "stopped"] {
        force(&mut session, name);
        inside::state_since(&mut session, 11);
        assert_eq!(begin(&mut session), name);
        assert_eq!(maintain(&mut session), name);
    }
}

#[test]
fn an_idle_round_of_maintenance_writes_nothing() {
    let (_database, mut session) = open();
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    let before = inside::fingerprint(&mut session);
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn no_more_than_a_thousand_changes_are_kept() {
    let (_database, mut session) = open();
    session.execute(
        "DO $$ BEGIN FOR i IN 1..520 LOOP
             PERFORM tasker.set_operational_state('stopped', force => true), tasker.set_operational_state('startup');
         END LOOP; END $$",
    );
    assert_eq!(changes(&mut session), 1000);
    assert_eq!(state(&mut session), "startup");
}

#[test]
fn the_state_belongs_to_one_database() {
    let (_one, mut first) = open();
    let (_two, mut second) = open();
    set(&mut first, "stopped");
    assert_eq!(state(&mut second), "normal");
    second.create("pair");
    assert_eq!(second.claim_all("w").len(), 1);
}

#[test]
fn a_session_that_was_told_notices_a_new_installation() {
    let (_database, mut session) = open();
    set(&mut session, "stopped");
    assert!(session.claim_all("w").is_empty());
    session.execute("DROP EXTENSION tasker_ext; DROP SCHEMA IF EXISTS tasker, tasker_engine CASCADE; CREATE EXTENSION tasker_ext");
    shapes::chain("pair", 2).register(&mut session);
    session.create("pair");
    assert_eq!(session.claim_all("w").len(), 1);
    set(&mut session, "stopped");
    session.take_notices();
    session.claim_all("w");
    assert_eq!(session.take_notices().len(), 1);
}

#[test]
fn bad_input_is_refused() {
    let (_database, mut session) = open();
    let before = inside::fingerprint(&mut session);
    for (call, code) in [
        ("set_operational_state(NULL)", "22004"),
        ("set_operational_state('normal', NULL, NULL)", "22004"),
        ("set_operational_state('')", "22023"),
        ("set_operational_state('Normal')", "22023"),
        ("set_operational_state('running')", "22023"),
    ] {
        session
            .fails(&format!("SELECT tasker.{call}"), &[])
            .is(code);
    }
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ");
    session
        .fails("SELECT tasker.set_operational_state('stopped')", &[])
        .is("25001");
    session.execute("ROLLBACK");
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn operators_set_the_state_readers_see_it_and_workers_may_ask() {
    let (database, mut session) = open();
    for role in ["reader", "worker", "operator"] {
        session.execute(&format!(
            "CREATE ROLE op_may_{role} LOGIN; GRANT tasker_{role} TO op_may_{role}"
        ));
    }
    let mut reader = database.connect_as("op_may_reader");
    let mut worker = database.connect_as("op_may_worker");
    for session in [&mut reader, &mut worker] {
        session
            .fails("SELECT tasker.set_operational_state('stopped')", &[])
            .is("42501");
        assert_eq!(state(session), "normal");
    }
    let mut operator = database.connect_as("op_may_operator");
    assert_eq!(set(&mut operator, "stopped"), "stopped");
    assert_eq!(
        reader.one::<String>("SELECT state FROM tasker.operational_status", &[]),
        "stopped"
    );
    assert_eq!(
        reader
            .query("SELECT * FROM tasker.operational_state_changes", &[])
            .len(),
        1
    );
    worker
        .fails("SELECT * FROM tasker.operational_status", &[])
        .is("42501");
    operator
        .fails("SELECT tasker_engine.begin_startup()", &[])
        .is("42501");
}
