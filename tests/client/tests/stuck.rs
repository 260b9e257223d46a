//! Tasks that do not continue: each is shown once, with its gravest reason, and what is shown is true now.

use tasker_client_tests::worker::done;
use tasker_client_tests::{Session, Template, Uuid, inside, started};

/// Reason, step, detail and hint of a task; nothing if it is not stuck.
fn why(session: &mut Session, task: Uuid) -> Vec<String> {
    session.all(
        "SELECT concat_ws('|', reason, level, stuck_step_name, detail, hint) FROM tasker.stuck_tasks WHERE task_uuid = $1",
        &[&task],
    )
}

fn tell_apart(session: &mut Session, task: Uuid) -> String {
    let rows = why(session, task);
    assert!(rows.len() < 2, "{rows:?}");
    rows.first()
        .map(|row| row.split('|').next().unwrap_or_default().to_owned())
        .unwrap_or_default()
}

fn maintain(session: &mut Session) {
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
}

/// Claims and gives everything back, with a reason.
fn give_back(session: &mut Session) {
    let claims = session.claim_all("worker");
    assert_eq!(claims.len(), 1);
    session.query(
        "SELECT tasker.release_steps('worker', reason => 'no licence here')",
        &[],
    );
}

/// Completes what a worker with these handlers gets, and lets it wait for more. Returns how many steps it was.
fn work_off(session: &mut Session, worker: &str, handlers: &[&str]) -> i64 {
    let done = session.count(
        "WITH claimed AS MATERIALIZED (SELECT * FROM tasker.claim_steps($1, max_steps => 10, handlers => $2)),
         reported AS MATERIALIZED (SELECT tasker.complete_step(c.step_uuid, c.claim_number) FROM claimed c)
         SELECT count(*) FROM reported",
        &[&worker, &handlers],
    );
    let more = "SELECT FROM tasker.claim_steps($1, max_steps => 10, handlers => $2)";
    assert!(session.query(more, &[&worker, &handlers]).is_empty());
    done
}

#[test]
fn a_step_that_workers_have_only_given_back_for_an_hour_is_stuck() {
    let (_database, mut session, task) = started(&Template::new("scan").step("ocr", &[]));
    give_back(&mut session);
    inside::age(&mut session, task, 61);
    maintain(&mut session);
    assert_eq!(tell_apart(&mut session, task), "", "given back once");
    give_back(&mut session);
    assert_eq!(
        tell_apart(&mut session, task),
        "",
        "the duty has not looked since"
    );
    maintain(&mut session);
    assert_eq!(
        why(&mut session, task),
        [
            "returned|warning|ocr|workers have given the step back for an hour: no licence here\
          |Start a worker that can run handler test.ocr of namespace default."
        ]
    );
    assert_eq!(
        session.all::<String>(
            "SELECT concat_ws(' ', reason, tasks) FROM tasker.stuck_summary",
            &[]
        ),
        ["returned 1"]
    );
    assert!(
        session.disagreements().is_empty(),
        "{:?}",
        session.disagreements()
    );
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(tell_apart(&mut session, task), "");
    assert_eq!(
        inside::rare_state(&mut session, task).as_deref(),
        Some("s 1")
    );
    maintain(&mut session);
    assert_eq!(inside::rare_state(&mut session, task), None);
}

#[test]
fn a_run_between_two_returns_ends_the_hour() {
    let (_database, mut session, task) = started(&Template::new("scan").step("ocr", &[]));
    give_back(&mut session);
    inside::age(&mut session, task, 30);
    let claim = session.claim_one("worker");
    session.fail(&claim);
    inside::age(&mut session, task, 31);
    give_back(&mut session);
    maintain(&mut session);
    assert_eq!(tell_apart(&mut session, task), "");
}

#[test]
fn a_handler_that_no_worker_has_is_named() {
    let (_database, mut session, first) = started(
        &Template::new("mixed")
            .step("known", &[])
            .step("unknown", &["known"]),
    );
    assert_eq!(work_off(&mut session, "worker", &["test.known"]), 1);
    assert_eq!(
        why(&mut session, first),
        [
            "no_worker|warning|unknown|no worker of namespace default takes handler test.unknown\
          |Start a worker that has handler test.unknown in namespace default."
        ]
    );
    assert_eq!(
        work_off(&mut session, "other", &["test.more", "test.unknown"]),
        1
    );
    let second = session.create("mixed");
    assert_eq!(work_off(&mut session, "worker", &["test.known"]), 1);
    assert_eq!(tell_apart(&mut session, second), "");
    inside::silence(&mut session, "other", 3600);
    assert_eq!(tell_apart(&mut session, second), "no_worker");
}

#[test]
fn a_task_with_several_reasons_is_shown_once_with_the_gravest() {
    let wide = Template::new("wide")
        .step("a", &[])
        .step("b", &[])
        .step("c", &[])
        .step("d", &["c"]);
    let (_database, mut session, task) = started(&wide);
    assert_eq!(why(&mut session, task).len(), 1);
    assert!(why(&mut session, task)[0].starts_with("no_worker|warning|a|"));
    let claim = session.claim_one("worker");
    assert_eq!(claim.name, "a");
    inside::lease_ended(&mut session, "worker", 1);
    inside::silence(&mut session, "worker", 3600);
    assert!(why(&mut session, task)[0].starts_with("lease_expired|expired|a|"));
    assert_eq!(why(&mut session, task).len(), 1);
    let total = session.count("SELECT count(*) FROM tasker.stuck_tasks", &[]);
    assert_eq!(total, 1);
}

#[test]
fn what_waits_for_its_time_or_runs_is_not_stuck() {
    let (_database, mut session, task) = started(&Template::new("later").step("a", &[]));
    session.claim_one("worker");
    maintain(&mut session);
    assert_eq!(tell_apart(&mut session, task), "");
    let scheduled: Uuid = session.one(
        "SELECT tasker.create_task('later', '{}', run_at => now() + interval '1 day')",
        &[],
    );
    inside::silence(&mut session, "worker", 3600);
    maintain(&mut session);
    assert_eq!(tell_apart(&mut session, scheduled), "");
}

#[test]
fn a_task_of_which_nothing_can_run_is_found_by_maintenance() {
    let (_database, mut session, task) = started(&Template::new("held").step("a", &[]));
    inside::hold_back(&mut session, task);
    assert_eq!(tell_apart(&mut session, task), "");
    maintain(&mut session);
    assert_eq!(tell_apart(&mut session, task), "nothing_can_run");
    let hint: String = session.one(
        "SELECT hint FROM tasker.stuck_tasks WHERE task_uuid = $1",
        &[&task],
    );
    session.execute(&hint);
}
