//! Counts of all tasks and steps: totals of old tasks stand for a look at them, and agree with it whatever happens to the tasks.

use tasker_client_tests::{Act, Database, Session, Template, Uuid, Value, inside, json, started};

fn counts(session: &mut Session) -> String {
    session.one(
        "SELECT concat_ws(' ', total_tasks, pending_tasks, in_progress_tasks, complete_tasks, error_tasks, cancelled_tasks,
                          resolved_manually_tasks, total_steps, pending_steps, in_progress_steps, complete_steps, error_steps,
                          cancelled_steps, resolved_manually_steps)
         FROM tasker.get_system_health_counts()",
        &[],
    )
}

#[track_caller]
fn agree(session: &mut Session) {
    assert_eq!(counts(session), inside::counts_by_reading_all(session));
}

/// The buffers that a count touches.
fn buffers(session: &mut Session) -> i64 {
    let plan: Value = session.one(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM tasker.get_system_health_counts()",
        &[],
    );
    let of = |kind: &str| plan[0]["Plan"][kind].as_i64().unwrap_or(0);
    of("Shared Hit Blocks") + of("Shared Read Blocks")
}

/// Runs the duty until it has nothing to do.
fn add_up_all(session: &mut Session) {
    for _ in 0..20 {
        inside::let_all_settle(session);
        while inside::add_up(session) > 0 {}
    }
}

/// 20,500 tasks that have ended, among them some in each rare state, and one that was repaired. Two ranges of 10,000 are added up.
fn settled() -> (Database, Session, Vec<Uuid>) {
    let (database, mut session, _) =
        started(&Template::new("pay").step("a", &[]).step("b", &["a"]));
    session.create_many("pay", 60);
    let mut turn = 0;
    session.work(|_| {
        turn += 1;
        match turn % 5 {
            0 => Act::FailForGood,
            _ => Act::Complete(json!({})),
        }
    });
    let failed: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'error' ORDER BY 1",
        &[],
    );
    assert!(failed.len() > 5);
    let step = session.all::<Uuid>(
        "SELECT step_uuid FROM tasker.failed_steps WHERE task_uuid = $1",
        &[&failed[0]],
    )[0];
    session.query("SELECT tasker.resolve_step_manually($1)", &[&step]);
    session.work(|_| Act::Complete(json!({})));
    assert_eq!(session.task_state(failed[0]), "complete");
    session.query("SELECT tasker.resolve_task_manually($1)", &[&failed[1]]);
    let waiting = session.create("pay");
    session.query("SELECT tasker.cancel_task($1)", &[&waiting]);
    for _ in 0..3 {
        session.create_many("pay", 6800);
        inside::end_open(&mut session);
    }
    assert_eq!(inside::settled(&mut session), 0);
    agree(&mut session);
    add_up_all(&mut session);
    assert!(
        inside::settled(&mut session) > 19_900,
        "{}",
        inside::settled(&mut session)
    );
    agree(&mut session);
    (database, session, failed[2..].to_vec())
}

#[test]
fn totals_agree_with_a_look_at_everything_whatever_happens_to_old_tasks() {
    let (database, mut session, failed) = settled();
    let complete: Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'complete' ORDER BY 1 OFFSET 200 LIMIT 1",
        &[],
    );
    let recent = session.create("pay");
    agree(&mut session);
    for (what, task) in [
        ("tasker.retry_task($1)", failed[0]),
        ("tasker.cancel_task($1, cancel_completed => true)", complete),
        ("tasker.resolve_task_manually($1)", failed[1]),
        ("tasker.cancel_task($1)", recent),
    ] {
        session.query(&format!("SELECT {what}"), &[&task]);
        agree(&mut session);
        inside::add_up(&mut session);
        agree(&mut session);
    }
    assert!(
        inside::settled(&mut session) < 15_000,
        "the range of these tasks does not count"
    );
    session.work(|_| Act::Complete(json!({})));
    agree(&mut session);
    add_up_all(&mut session);
    assert!(inside::settled(&mut session) > 19_900);
    agree(&mut session);
    // What is deleted.
    session.query("SELECT * FROM tasker.purge_tasks(interval '0', 700)", &[]);
    agree(&mut session);
    add_up_all(&mut session);
    agree(&mut session);
    drop(database);
}

#[test]
fn a_task_that_is_taken_up_while_totals_are_made_is_counted() {
    let (database, mut session, failed) = settled();
    let mut other = database.connect();
    session.query("SELECT tasker.retry_task($1)", &[&failed[0]]);
    session.work(|_| Act::Complete(json!({})));
    other.execute("BEGIN");
    other.query("SELECT tasker.retry_task($1)", &[&failed[1]]);
    agree(&mut other);
    add_up_all(&mut session);
    agree(&mut session);
    agree(&mut other);
    other.execute("COMMIT");
    agree(&mut session);
    add_up_all(&mut session);
    agree(&mut session);
}

#[test]
fn a_few_old_tasks_that_are_open_do_not_keep_the_others_from_being_added_up() {
    let (_database, mut session, _) = settled();
    inside::forget_totals(&mut session);
    let open = inside::open_every(&mut session, 200);
    assert!(open > 90, "{open}");
    add_up_all(&mut session);
    assert!(inside::settled(&mut session) > 19_000);
    agree(&mut session);
    let one: Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'pending' ORDER BY 1 OFFSET 10 LIMIT 1",
        &[],
    );
    session.query("SELECT tasker.cancel_task($1)", &[&one]);
    agree(&mut session);
    inside::end_open(&mut session);
    agree(&mut session);
    assert!(inside::settled(&mut session) > 19_000);
    // Too many: such a range is not worth a row.
    inside::forget_totals(&mut session);
    inside::open_every(&mut session, 50);
    add_up_all(&mut session);
    assert_eq!(inside::settled(&mut session), 0);
    agree(&mut session);
}

#[test]
fn no_session_waits_for_totals_that_an_open_transaction_has_made() {
    let (database, mut session, failed) = settled();
    inside::forget_totals(&mut session);
    session.query("SELECT tasker.retry_task($1)", &[&failed[0]]);
    session.work(|_| Act::Complete(json!({})));
    let mut maintenance = database.connect();
    inside::let_all_settle(&mut maintenance);
    maintenance.execute("BEGIN");
    while inside::add_up(&mut maintenance) > 0 {}
    assert!(inside::settled(&mut maintenance) > 0);
    session.execute("SET lock_timeout = '1s'");
    session.query("SELECT tasker.retry_task($1)", &[&failed[1]]);
    let complete: Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'complete' ORDER BY 1 OFFSET 200 LIMIT 1",
        &[],
    );
    session.query(
        "SELECT tasker.cancel_task($1, cancel_completed => true)",
        &[&complete],
    );
    session.query("SELECT * FROM tasker.purge_tasks(interval '0', 10)", &[]);
    agree(&mut session);
    maintenance.execute("COMMIT");
    agree(&mut session);
    add_up_all(&mut session);
    agree(&mut session);
}

#[test]
fn a_task_that_is_taken_up_while_totals_are_forgotten_stays_noted() {
    let (database, mut session, failed) = settled();
    session.query("SELECT tasker.retry_task($1)", &[&failed[0]]);
    let mut reader = database.connect();
    inside::hold_totals(&mut reader);
    let mut maintenance = database.connect();
    let pid = maintenance.pid();
    let waits = std::thread::spawn(move || inside::add_up(&mut maintenance));
    session.wait_until_blocked(pid);
    let last: Uuid = session.one(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'complete' ORDER BY 1 DESC LIMIT 1 OFFSET 600",
        &[],
    );
    session.query(
        "SELECT tasker.cancel_task($1, cancel_completed => true)",
        &[&last],
    );
    reader.execute("ROLLBACK");
    waits.join().expect("the duty ends");
    agree(&mut session);
}

#[test]
fn tasks_that_are_added_up_are_not_read_again() {
    let (_database, mut session, _) = settled();
    let touched = buffers(&mut session);
    inside::forget_totals(&mut session);
    let all = buffers(&mut session);
    assert!(touched * 2 < all, "{touched} buffers, {all} without totals");
}
