//! Leases that end: what is held or broken does not stop the rest.

use std::time::{Duration, Instant};

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Template, Uuid, inside, json, patience, shapes};

/// A session of a database with templates of one step and of many.
fn open() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    (database, session)
}

/// A task each of whose steps was claimed alone by `lost`, whose leases have ended.
fn lost_one_by_one(session: &mut Session, steps: usize) -> Uuid {
    let template = shapes::wide("wide", steps);
    template.register(session);
    let task = session.create("wide");
    for _ in 0..steps {
        assert_eq!(session.claim(&Ask::by("lost", 1)).len(), 1);
    }
    task
}

/// A task of one step, claimed by `lost` after all others.
fn lost_behind(session: &mut Session) -> Uuid {
    let task = session.create("one");
    assert_eq!(session.claim(&Ask::by("lost", 1)).len(), 1);
    inside::lease_ended(session, "lost", 1);
    task
}

#[test]
fn a_lease_that_ended_is_taken_over_however_many_before_it_an_open_transaction_holds() {
    // 20: more than one search takes; 250: more than one search looks at.
    for held in [20, 250] {
        let (database, mut session) = open();
        let task = lost_one_by_one(&mut session, held);
        let behind = lost_behind(&mut session);
        let mut operator = database.connect();
        operator.execute("BEGIN");
        operator.query("SELECT tasker.cancel_task($1)", &[&task]);
        session.execute("SET lock_timeout = '2s'");
        let begun = Instant::now();
        let claims = session.claim_soon(&Ask::by("worker", 10), 1);
        assert_eq!(claims.len(), 1, "{held} held claims stop the take-over");
        assert_eq!(claims[0].task, behind);
        assert!(begun.elapsed() < patience(2));
        // None of them is forgotten: once nobody holds them, they are all taken over.
        operator.execute("ROLLBACK");
        let back = session.claim_soon(&Ask::by("worker", 1000), held);
        assert_eq!(back.len(), held);
    }
}

#[test]
fn a_task_that_is_late_is_ended_however_many_before_it_an_open_transaction_holds() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("clocked", 1)
        .with("timeout_seconds", json!(60))
        .register(&mut session);
    let held = session.create_many("clocked", 120);
    assert_eq!(session.claim(&Ask::by("w", 120)).len(), 120);
    let behind = session.create("clocked");
    assert_eq!(session.claim(&Ask::by("w", 1)).len(), 1);
    inside::run_clocks(&mut session, 100);
    let mut operator = database.connect();
    operator.execute("BEGIN");
    operator.query(
        "SELECT tasker.cancel_task(u.task) FROM unnest($1::uuid[]) AS u (task)",
        &[&held],
    );
    session.execute("SET lock_timeout = '2s'");
    let begun = Instant::now();
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    assert_eq!(session.task_state(behind), "error");
    assert!(begun.elapsed() < patience(2));
    operator.execute("ROLLBACK");
    // One call ends a hundred of them.
    for _ in 0..2 {
        session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    }
    for task in held {
        assert_eq!(session.task_state(task), "error");
    }
}

#[test]
fn a_lost_step_whose_template_cannot_be_read_fails_for_good_and_the_claim_goes_on() {
    let (database, mut session) = open();
    let broken = Template::new("broken")
        .step("first", &[])
        .step("second", &["first"])
        .step("apart", &[]);
    let id = broken.register(&mut session);
    let task = session.create("broken");
    let first = session.claim_one("lost");
    assert_eq!(first.name, "first");
    let behind = lost_behind(&mut session);
    session.query(
        "UPDATE tasker.named_tasks SET configuration = '{\"steps\": 1}' WHERE named_task_id = $1::bigint",
        &[&id],
    );
    // The lost step is due in a session that has not read the template before.
    let mut other = database.connect();
    session.query(
        "UPDATE tasker_engine.queue_entries SET available_at = 'infinity' WHERE task_uuid = $1",
        &[&task],
    );
    let claims = other.claim_soon(&Ask::by("worker", 1), 1);
    assert_eq!(claims[0].task, behind);
    let failed: String = other.one(
        "SELECT concat_ws(' | ', s.state, s.results ->> 'error_class', s.results ->> 'error_message')
         FROM tasker.workflow_steps s WHERE s.step_uuid = $1",
        &[&first.step],
    );
    assert!(
        failed.starts_with("error | TemplateUnreadable | the lease ended before the step was reported, and cannot run again: a stored template"),
        "{failed}"
    );
    // Only what needs it is lost with it.
    let unreachable: Vec<String> = session.all(
        "SELECT n.name FROM tasker_engine.steps s
         JOIN tasker.named_tasks_named_steps n USING (named_task_id, step_no)
         WHERE s.task_uuid = $1 AND s.unreachable",
        &[&task],
    );
    assert_eq!(unreachable, ["second"]);
}

#[test]
fn a_lost_step_that_cannot_be_written_is_held_back_and_the_claim_goes_on() {
    let (database, mut session) = open();
    let stuck = lost_one_by_one(&mut session, 1);
    let behind = lost_behind(&mut session);
    session.execute(&format!(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'this row stays' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON tasker_engine.steps FOR EACH ROW WHEN (OLD.task_uuid = '{stuck}')
         EXECUTE FUNCTION public.refuse()"
    ));
    let mut other = database.connect();
    let (refused, claims) = other.report_and_claim(&Ask::by("worker", 1), &[]);
    assert!(refused.is_empty());
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].task, behind);
    let notices = other.take_notices();
    assert!(
        notices
            .iter()
            .any(|text| text.contains("cannot be taken over: this row stays (53100)")),
        "{notices:?}"
    );
    // It is not tried again at once, and it is visible.
    std::thread::sleep(Duration::from_millis(30));
    assert!(other.claim(&Ask::by("worker", 1)).is_empty());
    assert!(other.take_notices().is_empty());
    let level: String = session.one(
        "SELECT level FROM tasker.stale_claims WHERE task_uuid = $1",
        &[&stuck],
    );
    assert_eq!(level, "expired");
    session.execute("DROP TRIGGER refuse ON tasker_engine.steps");
    let again = session.claim_soon(&Ask::by("next", 1), 1);
    assert_eq!(again[0].task, stuck);
}
