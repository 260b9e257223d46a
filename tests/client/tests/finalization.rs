//! Claims of external finalizers. The engine itself finalizes inside the report and needs none of this.

use std::sync::Mutex;
use std::time::Duration;

use tasker_client_tests::race::together;
use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Database, Session, Uuid, json, scaled, shapes, started};

/// A task with one finished and one running step: it can be claimed for finalization, and stays open.
fn claimable() -> (Database, Session, Uuid) {
    let (database, mut session, task) = started(&shapes::wide("wide", 2));
    let claim = session.claim_one("worker");
    session.complete(&claim, &json!({}));
    session.claim_one("worker");
    (database, session, task)
}

/// claimed, already_claimed_by, task_state, message; and that the attempt has a uuid.
fn claim(session: &mut Session, task: Uuid, processor: &str, seconds: i32) -> String {
    let rows = session.query(
        "SELECT concat_ws(' | ', claimed, coalesce(already_claimed_by, '-'), task_state, message), finalization_attempt_uuid IS NOT NULL
         FROM tasker.claim_task_for_finalization($1, $2, $3)",
        &[&task, &processor, &seconds],
    );
    assert_eq!(rows.len(), 1);
    assert!(rows[0].get::<_, bool>(1), "an attempt without a uuid");
    rows[0].get(0)
}

#[test]
fn an_unknown_task_cannot_be_claimed_and_is_not_found() {
    let (_database, mut session, _task) = claimable();
    assert_eq!(
        claim(&mut session, Uuid::now_v7(), "one", 30),
        "f | - | not_found | Task not found"
    );
}

#[test]
fn a_task_in_a_final_state_cannot_be_claimed_and_its_state_is_told() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.work(|_| done());
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "f | - | complete | Task already complete"
    );
    let task = session.create("one");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "f | - | cancelled | Task already cancelled"
    );
    let task = session.create("one");
    session.work(|_| Act::FailForGood);
    session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "f | - | resolved_manually | Task already resolved_manually"
    );
}

#[test]
fn a_task_without_a_finished_step_cannot_be_claimed() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "f | - | has_ready_steps | Task has no completed or failed steps"
    );
    session.claim_one("worker");
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "f | - | processing | Task has no completed or failed steps"
    );
}

#[test]
fn a_failed_cancelled_or_resolved_step_counts_as_finished() {
    for act in ["fail", "cancel", "resolve"] {
        let (_database, mut session, task) = started(&shapes::wide("wide", 2));
        let step = session.step(task, "step_2");
        match act {
            "cancel" => drop(session.query("SELECT tasker.cancel_step($1)", &[&step])),
            "resolve" => drop(session.query("SELECT tasker.resolve_step_manually($1)", &[&step])),
            _ => {
                let claim = session.claim_one("worker");
                session.fail_for_good(&claim);
            }
        }
        assert_eq!(
            claim(&mut session, task, "one", 30),
            "t | one | has_ready_steps | Successfully claimed for finalization",
            "{act}"
        );
    }
}

#[test]
fn the_holder_extends_and_others_are_told_its_name() {
    let (_database, mut session, task) = claimable();
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "t | one | processing | Successfully claimed for finalization"
    );
    assert_eq!(
        claim(&mut session, task, "two", 30),
        "f | one | processing | Task already claimed for finalization"
    );
    assert_eq!(
        claim(&mut session, task, "one", 30),
        "t | one | processing | Claim extended"
    );
    let extend = "SELECT tasker.extend_finalization_claim($1, $2, 60)";
    assert!(session.one::<bool>(extend, &[&task, &"one"]));
    assert!(!session.one::<bool>(extend, &[&task, &"two"]));
    session
        .fails(extend, &[&Uuid::now_v7(), &"one"])
        .is("P0002");
}

#[test]
fn only_the_holder_can_release_a_claim() {
    let (_database, mut session, task) = claimable();
    claim(&mut session, task, "one", 30);
    let release = "SELECT tasker.release_finalization_claim($1, $2)";
    assert!(!session.one::<bool>(release, &[&task, &"two"]));
    assert!(session.one::<bool>(release, &[&task, &"one"]));
    assert!(!session.one::<bool>(release, &[&task, &"one"]));
    assert!(claim(&mut session, task, "two", 30).starts_with("t | two"));
}

#[test]
fn a_claim_lasts_until_its_stored_timeout_and_is_then_taken_over() {
    let (_database, mut session, task) = claimable();
    claim(&mut session, task, "one", 1);
    // The stored timeout decides, not the one that the next caller names.
    assert!(claim(&mut session, task, "two", 3600).starts_with("f | one"));
    std::thread::sleep(Duration::from_millis(1100));
    assert!(claim(&mut session, task, "two", 30).starts_with("t | two"));
    assert!(claim(&mut session, task, "one", 30).starts_with("f | two"));
    assert!(!session.one::<bool>(
        "SELECT tasker.extend_finalization_claim($1, 'one')",
        &[&task]
    ));
}

#[test]
fn an_extended_claim_lasts_from_its_extension() {
    let (_database, mut session, task) = claimable();
    claim(&mut session, task, "one", 1);
    std::thread::sleep(Duration::from_millis(600));
    assert!(claim(&mut session, task, "one", 1).starts_with("t | one"));
    std::thread::sleep(Duration::from_millis(600));
    assert!(
        claim(&mut session, task, "two", 30).starts_with("f | one"),
        "the claim time did not move"
    );
}

#[test]
fn of_fifty_callers_at_once_exactly_one_wins() {
    let (database, mut session, _task) = claimable();
    let sessions: Vec<Mutex<Session>> = (0..50).map(|_| Mutex::new(database.connect())).collect();
    // 4 rounds are 200 callers.
    for round in 0..scaled(4, 40) {
        let task = session.create("wide");
        session.work_through("step_1");
        session.work(|_| Act::Keep);
        let answers = together(50, |number| {
            let mut own = sessions[number].lock().expect("one owner");
            claim(&mut own, task, &format!("processor {round}-{number}"), 30)
        });
        let winners = answers
            .iter()
            .filter(|answer| answer.starts_with("t | "))
            .count();
        assert_eq!(winners, 1, "{answers:?}");
    }
}

#[test]
fn a_holder_terminated_inside_its_transaction_holds_nothing() {
    let (database, mut session, task) = claimable();
    let mut holder = database.connect();
    let pid = holder.pid();
    holder.execute("BEGIN");
    assert!(claim(&mut holder, task, "dying", 3600).starts_with("t | dying"));
    session.query("SELECT pg_terminate_backend($1, 5000)", &[&pid]);
    assert!(claim(&mut session, task, "next", 30).starts_with("t | next"));
    // A committed one outlives its session.
    let mut holder = database.connect();
    let other = {
        let other = session.create("wide");
        session.work_through("step_1");
        other
    };
    claim(&mut holder, other, "gone", 3600);
    let pid = holder.pid();
    session.query("SELECT pg_terminate_backend($1, 5000)", &[&pid]);
    assert!(claim(&mut session, other, "next", 30).starts_with("f | gone"));
}

#[test]
fn the_engine_finalizes_a_task_that_a_processor_holds() {
    let (_database, mut session, task) = started(&shapes::wide("wide", 2));
    session.work_through("step_1");
    assert!(claim(&mut session, task, "holder", 3600).starts_with("t"));
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
}

fn finalize(session: &mut Session, task: Uuid) -> String {
    session.one(
        "SELECT concat_ws(' ', action, completion_percentage::numeric(5,2), total_steps, health_status) FROM tasker.finalize_task($1)",
        &[&task],
    )
}

#[test]
fn finalize_task_tells_the_outcome_of_the_task() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    assert_eq!(finalize(&mut session, task), "pending 0.00 2 healthy");
    session.work_through("step_1");
    assert_eq!(finalize(&mut session, task), "pending 50.00 2 healthy");
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(finalize(&mut session, task), "no_action 100.00 2 healthy");
    let task = session.create("two");
    session.work(|_| Act::FailForGood);
    assert_eq!(finalize(&mut session, task), "no_action 0.00 2 blocked");
    assert_eq!(session.task_state(task), "error");
}
