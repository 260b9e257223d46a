//! Steps and tasks that take too long. Time is moved, not waited for.

use tasker_client_tests::race::race;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, Template, Uuid, inside, json, scaled, shapes};

/// One step of a minute.
fn slow() -> Template {
    Template::new("slow").step_with("call", &[], json!({"timeout_seconds": 60}))
}

fn with(template: &Template) -> (Database, Session, Uuid) {
    let database = Database::new();
    let mut session = database.connect();
    template.register(&mut session);
    let task = session.create(template.name());
    (database, session, task)
}

/// A worker whose lease is far longer than any timeout here.
fn patient(worker: &str, most: i32) -> Ask<'_> {
    Ask {
        lease: "1 hour",
        ..Ask::by(worker, most)
    }
}

/// A claim of another session notices timeouts and takes nothing.
fn another_session_claims(session: &mut Session) {
    // Timeouts are looked for at most fifty times a second.
    std::thread::sleep(std::time::Duration::from_millis(25));
    assert!(session.claim(&Ask::by("another", 1)).is_empty());
}

fn failure(session: &mut Session, task: Uuid) -> String {
    session.one(
        "SELECT concat_ws(' | ', error_class, error_message, permanent, attempts) FROM tasker.failed_steps WHERE task_uuid = $1",
        &[&task],
    )
}

fn maintain(session: &mut Session, duty: &str) -> i64 {
    session.one(
        "SELECT sum(done)::bigint FROM tasker.run_maintenance() WHERE duty = $1 AND error IS NULL",
        &[&duty],
    )
}

#[test]
fn a_step_that_runs_too_long_is_taken_away_by_the_next_claim_and_runs_again_after_its_backoff() {
    let (_database, mut session, task) = with(&slow());
    let claim = session.claim(&patient("slow", 1)).remove(0);
    inside::run_for(&mut session, 59);
    another_session_claims(&mut session);
    assert_eq!(session.step_state(task, "call"), "in_progress");
    inside::run_for(&mut session, 1);
    another_session_claims(&mut session);
    assert_eq!(
        failure(&mut session, task),
        "Timeout | the step ran longer than its timeout of 60 s | f | 1"
    );
    let waits: bool = session.one(
        "SELECT next_retry_at > clock_timestamp() + interval '500 ms' FROM tasker.failed_steps WHERE task_uuid = $1",
        &[&task],
    );
    assert!(waits, "a timeout has the backoff of a failure");
    session
        .try_complete(&claim)
        .expect_err("the report comes too late")
        .is("55006");
    inside::make_due(&mut session, task);
    let again = session.claim_one("next");
    assert_eq!((again.attempt, again.number), (2, 2));
    session.complete(&again, &json!({}));
    assert_eq!(session.task_state(task), "complete");
    let log: Vec<String> = session.all(
        "SELECT concat_ws(' ', from_state, to_state, metadata ->> 'error_class', worker_id)
         FROM tasker.workflow_step_transitions WHERE task_uuid = $1 ORDER BY id",
        &[&task],
    );
    assert_eq!(
        log,
        [
            "pending in_progress slow",
            "in_progress error Timeout slow",
            "error pending next",
            "pending in_progress next",
            "in_progress complete next"
        ]
    );
}

#[test]
fn maintenance_takes_it_away_without_any_claim() {
    let (_database, mut session, task) = with(&slow());
    session.claim(&patient("slow", 1));
    inside::run_for(&mut session, 61);
    assert_eq!(maintain(&mut session, "leases"), 1);
    assert!(failure(&mut session, task).starts_with("Timeout"));
    assert_eq!(maintain(&mut session, "leases"), 0);
}

#[test]
fn no_heartbeat_moves_a_timeout_and_the_worker_is_told() {
    let (_database, mut session, task) = with(&slow());
    session.claim(&patient("slow", 1));
    let beat = "SELECT status FROM tasker.heartbeat('slow', '2 hours')";
    assert_eq!(session.one::<String>(beat, &[]), "extended");
    inside::run_for(&mut session, 61);
    assert_eq!(session.one::<String>(beat, &[]), "extended");
    another_session_claims(&mut session);
    assert_eq!(session.one::<String>(beat, &[]), "lost");
    assert!(failure(&mut session, task).starts_with("Timeout"));
    assert_eq!(inside::open_claims(&mut session), 0);
}

#[test]
fn of_one_claim_only_the_steps_that_are_late_are_taken_away() {
    let (_database, mut session, task) = with(
        &Template::new("mixed_times")
            .step_with("short", &[], json!({"timeout_seconds": 10}))
            .step_with("long", &[], json!({"timeout_seconds": 100}))
            .step("endless", &[]),
    );
    let claims = session.claim(&patient("batch", 3));
    assert_eq!(claims.len(), 3);
    let until: Vec<String> = session.all(
        "SELECT concat_ws(' ', name, round(extract(epoch FROM timeout_at - running_since))::int) FROM tasker.running_steps ORDER BY step_no",
        &[],
    );
    assert_eq!(until, ["short 10", "long 100", "endless"]);
    let states = |session: &mut Session| {
        ["short", "long", "endless"].map(|name| session.step_state(task, name))
    };
    inside::run_for(&mut session, 11);
    another_session_claims(&mut session);
    assert_eq!(
        states(&mut session),
        ["error", "in_progress", "in_progress"]
    );
    let held: i64 = session.one(
        "SELECT held_steps FROM tasker.workers WHERE worker_id = 'batch'",
        &[],
    );
    assert_eq!(held, 2);
    let beats: Vec<String> = session.all(
        "SELECT status FROM tasker.heartbeat('batch', '2 hours') ORDER BY 1",
        &[],
    );
    assert_eq!(beats, ["extended", "extended", "lost"]);
    inside::run_for(&mut session, 90);
    another_session_claims(&mut session);
    assert_eq!(states(&mut session), ["error", "error", "in_progress"]);
    let endless = claims
        .iter()
        .find(|claim| claim.name == "endless")
        .expect("claimed");
    session.complete(endless, &json!({}));
    assert_eq!(inside::open_claims(&mut session), 0);
}

#[test]
fn a_claim_says_when_a_step_is_taken_away_at_the_latest() {
    let (_database, mut session, _task) = with(
        &Template::new("two_times")
            .step_with("short", &[], json!({"timeout_seconds": 10}))
            .step("endless", &[]),
    );
    let lasts: Vec<String> = session.all(
        "SELECT concat_ws(' ', step_name, round(extract(epoch FROM lease_expires_at - clock_timestamp()))::int)
         FROM tasker.claim_steps('w', max_steps => 2, lease => '30 seconds') ORDER BY step_name",
        &[],
    );
    assert_eq!(lasts, ["endless 30", "short 10"]);
}

#[test]
fn the_last_attempt_fails_permanently_and_ends_the_task() {
    for fields in [
        json!({"default_retry_limit": 1}),
        json!({"default_retryable": false}),
    ] {
        let (_database, mut session, task) =
            with(&slow().every_step(fields).step("after", &["call"]));
        session.claim(&patient("slow", 1));
        inside::run_for(&mut session, 61);
        another_session_claims(&mut session);
        assert_eq!(
            failure(&mut session, task),
            "Timeout | the step ran longer than its timeout of 60 s | t | 1"
        );
        assert_eq!(session.task_state(task), "error");
    }
}

#[test]
fn a_lost_worker_is_a_lost_worker_and_a_timeout_a_timeout() {
    let (_database, mut session, task) = with(&slow());
    session.claim(&Ask {
        lease: "1 millisecond",
        ..Ask::by("lost", 1)
    });
    std::thread::sleep(std::time::Duration::from_millis(25));
    let next = session.claim(&patient("next", 1)).remove(0);
    assert_eq!(next.attempt, 2, "no backoff for a lost worker");
    let class: String = session.one(
        "SELECT metadata ->> 'error_class' FROM tasker.workflow_step_transitions WHERE task_uuid = $1 AND to_state = 'error'",
        &[&task],
    );
    assert_eq!(class, "LeaseExpired");
}

#[test]
fn a_step_started_by_hand_has_its_timeout_too() {
    let (_database, mut session, task) = with(&slow().every_step(json!({"timeout_seconds": 5})));
    let step = session.step(task, "call");
    session.query("SELECT tasker.transition_step($1, 'in_progress')", &[&step]);
    inside::run_for(&mut session, 6);
    assert_eq!(maintain(&mut session, "leases"), 1);
    assert!(failure(&mut session, task).starts_with("Timeout"));
}

#[test]
fn a_step_locked_by_another_session_is_left_and_timed_out_later() {
    let (database, mut session, task) = with(&slow());
    session.claim(&patient("slow", 1));
    inside::run_for(&mut session, 61);
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query("SELECT tasker.cancel_task($1)", &[&task]);
    session.execute("SET statement_timeout = '5s'");
    assert_eq!(maintain(&mut session, "leases"), 0);
    operator.execute("ROLLBACK");
    assert_eq!(maintain(&mut session, "leases"), 1);
    assert!(failure(&mut session, task).starts_with("Timeout"));
}

#[test]
fn looking_at_a_locked_step_writes_nothing() {
    let (database, mut session, _task) = with(&slow());
    session.claim(&patient("slow", 1));
    inside::run_for(&mut session, 61);
    let mut operator = database.connect();
    inside::hold_steps(&mut operator);
    let before = inside::claim_places(&mut session);
    for _ in 0..3 {
        assert_eq!(maintain(&mut session, "leases"), 0);
    }
    assert_eq!(inside::claim_places(&mut session), before);
    operator.execute("ROLLBACK");
    assert_eq!(maintain(&mut session, "leases"), 1);
}

/// Three steps in a row, all within an hour.
fn hour() -> Template {
    shapes::chain("hour", 3).with("timeout_seconds", json!(3600))
}

#[test]
fn a_task_that_takes_too_long_ends_in_error_and_can_be_retried_with_a_new_clock() {
    let (_database, mut session, task) = with(&hour());
    session.work_through("step_1");
    let running = session.claim(&patient("slow", 1)).remove(0);
    inside::run_clocks(&mut session, 3590);
    assert_eq!(maintain(&mut session, "task_timeouts"), 0);
    assert_eq!(session.task_state(task), "in_progress");
    inside::run_clocks(&mut session, 10);
    let late: bool = session.one(
        "SELECT time_left < '0' AND full_name = 'default.hour@0.1.0' FROM tasker.task_timeouts WHERE task_uuid = $1",
        &[&task],
    );
    assert!(late);
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    assert_eq!(session.task_state(task), "error");
    let why: String = session.one(
        "SELECT concat_ws(' | ', from_state, metadata ->> 'error_class', metadata ->> 'error_message')
         FROM tasker.task_transitions WHERE task_uuid = $1 AND to_state = 'error'",
        &[&task],
    );
    assert_eq!(
        why,
        "in_progress | TaskTimeout | the task was not finished within its timeout of 3600 s"
    );
    assert_eq!(session.steps(task).len(), 3, "nothing of it is lost");
    assert!(failure(&mut session, task).starts_with("TaskTimeout"));
    assert_eq!(session.step_state(task, "step_1"), "complete");
    assert_eq!(session.step_state(task, "step_3"), "pending");
    session
        .try_complete(&running)
        .expect_err("the report comes too late")
        .is("55006");
    another_session_claims(&mut session);
    assert_eq!(inside::clocks(&mut session), 0);

    session.query("SELECT tasker.retry_task($1)", &[&task]);
    assert_eq!(
        inside::clocks(&mut session),
        0,
        "it waits for its first claim"
    );
    let left = "SELECT round(extract(epoch FROM time_left))::int FROM tasker.task_timeouts WHERE task_uuid = $1";
    let again = session.claim_one("next");
    assert_eq!((again.name.as_str(), again.attempt), ("step_2", 1));
    assert_eq!(session.one::<i32>(left, &[&task]), 3600);
    session.complete(&again, &json!({}));
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn what_is_ready_does_not_start_any_more_until_the_task_is_taken_up_again() {
    let (_database, mut session, task) =
        with(&shapes::wide("broad", 3).with("timeout_seconds", json!(3600)));
    let claim = session.claim_one("w");
    session.complete(&claim, &json!({}));
    session.claim_one("w");
    inside::run_clocks(&mut session, 3600);
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    let states = ["step_1", "step_2", "step_3"].map(|name| session.step_state(task, name));
    assert_eq!(states, ["complete", "error", "pending"]);
    another_session_claims(&mut session);
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    let mut ran = session.work(|_| done());
    ran.sort();
    assert_eq!(ran, ["step_2", "step_3"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn a_task_that_is_late_between_two_steps_is_shown_as_stuck_and_can_be_taken_up() {
    let (_database, mut session, task) = with(&hour());
    session.work_through("step_1");
    inside::run_clocks(&mut session, 3600);
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    assert_eq!(session.task_state(task), "error");
    let shown: String = session.one(
        "SELECT concat_ws(' | ', reason, detail, hint) FROM tasker.stuck_tasks WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(
        shown,
        "failed | a cancelled step, a timeout or an operator stopped the task | tasker.resolve_task_manually ends the task; tasker.retry_task takes up what was held."
    );
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    assert_eq!(session.work(|_| done()), ["step_2", "step_3"]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn the_clock_runs_from_the_first_claim_and_only_where_the_template_says_so() {
    let (_database, mut session, _task) = with(&hour());
    shapes::chain("free", 2).register(&mut session);
    session.create("free");
    assert_eq!(inside::clocks(&mut session), 0);
    session.claim(&Ask::by("w", 10));
    assert_eq!(inside::clocks(&mut session), 1);
    let by_hand = session.create("hour");
    session.query(
        "SELECT tasker.transition_task($1, 'in_progress')",
        &[&by_hand],
    );
    assert_eq!(inside::clocks(&mut session), 2);
}

#[test]
fn a_task_that_ends_in_time_is_left_alone_and_its_clock_forgotten() {
    let (_database, mut session, task) = with(&hour());
    session.work(|_| done());
    let cancelled = session.create("hour");
    session.claim_one("w");
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    assert_eq!(inside::clocks(&mut session), 2);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.task_timeouts", &[]),
        0
    );
    assert_eq!(maintain(&mut session, "task_timeouts"), 0);
    inside::run_clocks(&mut session, 4000);
    assert_eq!(maintain(&mut session, "task_timeouts"), 2);
    assert_eq!(inside::clocks(&mut session), 0);
    assert_eq!(
        [session.task_state(task), session.task_state(cancelled)],
        ["complete", "cancelled"]
    );
    // The old clock of a task that was taken up again says nothing: it has a new one, or none while it waits.
    let retried = session.create("hour");
    let claim = session.claim_one("w");
    session.fail_for_good(&claim);
    session.query("SELECT tasker.retry_task($1)", &[&retried]);
    inside::run_clocks(&mut session, 4000);
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    assert_eq!(session.task_state(retried), "pending");
}

#[test]
fn a_retry_that_waits_is_off_when_the_task_is_out_of_time() {
    let (_database, mut session, task) = with(&hour());
    let claim = session.claim_one("w");
    session.fail_and_wait(&claim);
    inside::run_clocks(&mut session, 4000);
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    assert_eq!(session.task_state(task), "error");
    inside::make_due(&mut session, task);
    another_session_claims(&mut session);
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn no_session_waits_for_a_locked_task() {
    let (database, mut session, task) = with(&hour());
    let other = session.create("hour");
    session.claim(&Ask::by("w", 2));
    inside::run_clocks(&mut session, 4000);
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query(
        "SELECT tasker.set_retry_limit($1, 7)",
        &[&operator_step(task)],
    );
    session.execute("SET statement_timeout = '5s'");
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    assert_eq!(
        [session.task_state(task), session.task_state(other)],
        ["in_progress", "error"]
    );
    operator.execute("COMMIT");
    assert_eq!(maintain(&mut session, "task_timeouts"), 1);
    assert_eq!(session.task_state(task), "error");
}

/// The third step of a task.
fn operator_step(task: Uuid) -> Uuid {
    Uuid::from_u128(task.as_u128() | 3)
}

#[test]
fn a_last_report_and_the_timeout_at_the_same_instant_leave_one_of_both() {
    let (database, mut session, _task) =
        with(&shapes::chain("one", 1).with("timeout_seconds", json!(3600)));
    session.work(|_| done());
    let mut worker = database.connect();
    let mut maintenance = database.connect();
    let rounds = race(
        scaled(60, 600),
        |_| {
            let task = session.create("one");
            let claim = session.claim_one("w");
            inside::run_clocks(&mut session, 4000);
            (task, claim)
        },
        |(_, claim)| worker.try_complete(claim).is_ok(),
        |_| maintain(&mut maintenance, "task_timeouts") > 0,
    )
    .met();
    let mut check = database.connect();
    for round in rounds {
        let state = check.task_state(round.prepared.0);
        assert_eq!(state == "complete", round.left, "{state}");
        if !round.left {
            assert_eq!(state, "error");
        }
    }
}
