//! One operation on many tasks: an outcome for each, and none stops the others.

use std::collections::BTreeMap;

use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Database, Session, Template, Uuid, inside, json, started};

/// The outcome and the detail of each task, newest first.
fn outcomes(session: &mut Session, call: &str) -> Vec<(Uuid, String, Option<String>)> {
    session
        .query(
            &format!("SELECT task_uuid, outcome, detail FROM tasker.{call}"),
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// How many tasks have each outcome.
fn counted(session: &mut Session, call: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, outcome, _) in outcomes(session, call) {
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

fn one(word: &str, count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(word.to_owned(), count)])
}

/// Ten tasks of two steps in error after the first, and one that is complete, newest last.
fn failed() -> (Database, Session, Vec<Uuid>) {
    let (database, mut session, first) = started(
        &Template::new("pay")
            .step("charge", &[])
            .step("tell", &["charge"])
            .every_step(json!({"retry": {"backoff": "none"}})),
    );
    session.work(|_| done());
    assert_eq!(session.task_state(first), "complete");
    let tasks = session.create_many("pay", 10);
    session.work(|_| Act::FailForGood);
    assert_eq!(
        session.task_states(&tasks),
        [format!("error: {}", tasks.len())]
    );
    (database, session, tasks)
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let (_database, mut session, tasks) = failed();
    session.create_many("pay", 3);
    let before = inside::fingerprint(&mut session);
    assert_eq!(
        counted(&mut session, "retry_tasks()"),
        one("would retry", 10)
    );
    assert_eq!(
        counted(&mut session, "resolve_tasks(error_class => 'Broken')"),
        one("would resolve", 10)
    );
    assert_eq!(
        counted(&mut session, "cancel_tasks()"),
        one("would cancel", 3)
    );
    assert_eq!(
        outcomes(
            &mut session,
            "cancel_tasks(state => 'error', max_tasks => 1)"
        ),
        [(
            tasks[9],
            "refused".into(),
            Some(format!(
                "task {} cannot go from error to cancelled",
                tasks[9]
            ))
        )]
    );
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn all_failed_tasks_are_retried_and_go_on_to_their_end() {
    let (_database, mut session, tasks) = failed();
    let done_ones = outcomes(
        &mut session,
        "retry_tasks(dry_run => false, reason => 'gateway is back')",
    );
    let expected: Vec<_> = tasks
        .iter()
        .rev()
        .map(|task| (*task, "retried".to_owned(), Some("pending".to_owned())))
        .collect();
    assert_eq!(done_ones, expected);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.task_transitions WHERE metadata ->> 'reason' = 'gateway is back'", &[]),
        10
    );
    session.work(|_| done());
    assert_eq!(
        session.task_states(&tasks),
        [format!("complete: {}", tasks.len())]
    );
    assert!(outcomes(&mut session, "retry_tasks(dry_run => false)").is_empty());
    assert!(session.disagreements().is_empty());
}

#[test]
fn a_task_that_another_session_holds_is_locked_and_the_others_go_on() {
    for by_an_operator in [true, false] {
        let (database, mut session, tasks) = failed();
        let mut holder = database.connect();
        holder.execute("BEGIN");
        if by_an_operator {
            holder.query("SELECT tasker.retry_task($1)", &[&tasks[4]]);
        } else {
            inside::hold_task(&mut holder, tasks[4]);
        }
        let (held, others): (Vec<_>, Vec<_>) =
            outcomes(&mut session, "retry_tasks(dry_run => false)")
                .into_iter()
                .partition(|(task, _, _)| *task == tasks[4]);
        assert_eq!(held, [(tasks[4], "locked".into(), None)]);
        assert_eq!(others.len(), 9);
        assert!(others.iter().all(|(_, outcome, _)| outcome == "retried"));
        holder.execute("ROLLBACK");
        assert_eq!(
            counted(&mut session, "retry_tasks(dry_run => false)"),
            one("retried", 1)
        );
        assert!(session.disagreements().is_empty());
    }
}

#[test]
fn a_task_that_the_operation_does_not_fit_is_refused_and_stays_as_it_is() {
    let (_database, mut session, tasks) = failed();
    // Only a cancelled step keeps this one from completing: a retry has nothing to start.
    let blocked = session.create("pay");
    let step = session.step(blocked, "charge");
    session.query("SELECT tasker.cancel_step($1)", &[&step]);
    assert_eq!(session.task_state(blocked), "error");
    let before = session.counters(blocked);
    let rows = outcomes(&mut session, "retry_tasks(dry_run => false)");
    assert_eq!(
        rows[0],
        (
            blocked,
            "refused".into(),
            Some(format!("task {blocked} has no failed step to retry"))
        )
    );
    assert!(rows[1..].iter().all(|(_, outcome, _)| outcome == "retried"));
    assert_eq!(rows.len(), tasks.len() + 1);
    assert_eq!(session.counters(blocked), before);
    session
        .fails("SELECT tasker.retry_task($1)", &[&blocked])
        .is("55000")
        .says(&["no failed step to retry"]);
    assert!(session.disagreements().is_empty());
}

#[test]
fn open_tasks_are_cancelled_and_complete_ones_if_the_caller_says_so() {
    let (_database, mut session, _) = failed();
    let open = session.create_many("pay", 4);
    assert_eq!(
        counted(&mut session, "cancel_tasks(dry_run => false)"),
        one("cancelled", 4)
    );
    assert_eq!(
        session.task_states(&open),
        [format!("cancelled: {}", open.len())]
    );
    assert_eq!(
        counted(
            &mut session,
            "cancel_tasks(state => 'complete', dry_run => false)"
        ),
        one("refused", 1)
    );
    assert_eq!(
        counted(
            &mut session,
            "cancel_tasks(state => 'complete', cancel_completed => true, dry_run => false)"
        ),
        one("cancelled", 1)
    );
    assert!(session.disagreements().is_empty());
}

#[test]
fn resolved_tasks_log_the_name_and_the_reason() {
    let (_database, mut session, tasks) = failed();
    assert_eq!(
        counted(
            &mut session,
            "resolve_tasks(error_class => 'Broken', dry_run => false, resolved_by => 'ada', reason => 'refunded by hand')"
        ),
        one("resolved", 10)
    );
    assert_eq!(
        session.task_states(&tasks),
        [format!("resolved_manually: {}", tasks.len())]
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.task_transitions
             WHERE to_state = 'resolved_manually' AND metadata @> '{\"resolved_by\": \"ada\", \"reason\": \"refunded by hand\"}'",
            &[]
        ),
        10
    );
    assert!(session.disagreements().is_empty());
}

#[test]
fn a_call_changes_the_newest_of_at_most_max_tasks() {
    let (_database, mut session, tasks) = failed();
    let first: Vec<Uuid> = outcomes(
        &mut session,
        "retry_tasks(dry_run => false, max_tasks => 3)",
    )
    .iter()
    .map(|(task, _, _)| *task)
    .collect();
    assert_eq!(first, [tasks[9], tasks[8], tasks[7]]);
    assert_eq!(
        outcomes(
            &mut session,
            &format!("retry_tasks(after => '{}', max_tasks => 1)", tasks[5])
        )[0]
        .0,
        tasks[4]
    );
    assert_eq!(
        counted(
            &mut session,
            "retry_tasks(dry_run => false, max_tasks => 10000)"
        ),
        one("retried", 7)
    );
    for call in [
        "retry_tasks(max_tasks => 0)",
        "cancel_tasks(max_tasks => 10001)",
        "resolve_tasks(max_tasks => -1)",
    ] {
        session
            .fails(&format!("SELECT tasker.{call}"), &[])
            .is("22023")
            .says(&["max_tasks"]);
    }
    for call in [
        "retry_tasks(dry_run => NULL)",
        "cancel_tasks(cancel_completed => NULL)",
        "resolve_tasks(max_tasks => NULL)",
    ] {
        session
            .fails(&format!("SELECT tasker.{call}"), &[])
            .is("22004");
    }
}

#[test]
fn tasks_behind_many_that_do_not_fit_are_found() {
    let (_database, mut session, tasks) = failed();
    session.create_many("pay", 3200);
    session.query("SELECT tasker.tag_task($1, '[\"old\"]')", &[&tasks[0]]);
    assert_eq!(
        counted(
            &mut session,
            "cancel_tasks(context_contains => '{\"no\": 1}')"
        ),
        BTreeMap::new()
    );
    let found = outcomes(&mut session, "cancel_tasks(state => 'error', tag => 'old')");
    assert_eq!(found.len(), 1);
    let found = outcomes(
        &mut session,
        "cancel_tasks(state => 'complete', cancel_completed => true)",
    );
    assert_eq!(found.len(), 1, "behind 3,210 newer ones");
}
