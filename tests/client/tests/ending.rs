//! How tasks end and are taken up again: a task in error starts nothing, and a repair of one of its steps sets all of it going.

use tasker_client_tests::worker::{Ask, Claim, done};
use tasker_client_tests::{Act, Database, Session, Template, Uuid, inside, json, shapes, started};

/// Two steps that do not need each other, and one that needs both.
fn pair() -> Template {
    Template::new("pair")
        .step("a", &[])
        .step("b", &[])
        .step("after", &["a", "b"])
        .every_step(json!({"retry": {"backoff": "none"}}))
}

/// How a task gets into error before all of it has failed.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    ByHand,
    ByTimeout,
}

const WAYS: [Stopped; 2] = [Stopped::ByHand, Stopped::ByTimeout];

/// A database with this template, whose tasks can be late.
fn with(template: &Template) -> (Database, Session, Uuid) {
    started(&template.clone().with("timeout_seconds", json!(3600)))
}

/// Another task of the template, where the first one has ended.
fn next(session: &mut Session, first: Uuid) -> Uuid {
    if session.task_state(first) == "pending" {
        return first;
    }
    session.create("pair")
}

fn stop(session: &mut Session, task: Uuid, way: Stopped) {
    match way {
        Stopped::ByHand => {
            drop(session.query("SELECT tasker.transition_task($1, 'error')", &[&task]))
        }
        Stopped::ByTimeout => {
            inside::run_clocks(session, 4000);
            session.query("SELECT tasker.run_maintenance()", &[]);
        }
    }
    assert_eq!(session.task_state(task), "error", "{way:?}");
}

/// The names of all steps that can be claimed now; they are given back.
fn ready(session: &mut Session) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    // A step that was taken from a worker comes alone.
    loop {
        let claims = session.claim_all("looking");
        if claims.is_empty() {
            break;
        }
        names.extend(claims.into_iter().map(|claim| claim.name));
    }
    names.sort();
    session.query("SELECT tasker.release_steps('looking')", &[]);
    names
}

/// Works through what is left and sees the task complete.
fn goes_on_to_its_end(session: &mut Session, task: Uuid) {
    session.work(|_| done());
    assert_eq!(session.task_state(task), "complete");
    assert_eq!(inside::rare_state(session, task), None);
}

#[test]
fn resolving_one_step_of_a_stopped_task_sets_the_others_going() {
    let (_database, mut session, first) = with(&pair());
    for way in WAYS {
        let task = next(&mut session, first);
        session.claim_one("worker");
        session.query("SELECT tasker.release_steps('worker')", &[]);
        stop(&mut session, task, way);
        assert!(ready(&mut session).is_empty(), "{way:?}");
        let step = session.step(task, "a");
        session.query("SELECT tasker.resolve_step_manually($1)", &[&step]);
        assert_eq!(session.task_state(task), "pending", "{way:?}");
        assert_eq!(ready(&mut session), ["b"], "{way:?}");
        goes_on_to_its_end(&mut session, task);
    }
}

#[test]
fn every_way_to_repair_a_failed_step_of_a_stopped_task_sets_the_others_going() {
    let (_database, mut session, first) =
        with(&pair().every_step(json!({"default_retry_limit": 1})));
    for way in WAYS {
        for repair in [
            "SELECT tasker.retry_step($1)",
            "SELECT tasker.set_retry_limit($1, 9)",
            "SELECT tasker.transition_step($1, 'pending')",
            "SELECT tasker.transition_step($1, 'resolved_manually')",
            "SELECT tasker.resolve_step_manually($1)",
        ] {
            let task = next(&mut session, first);
            let claim = session.claim_one("worker");
            session.fail(&claim);
            stop(&mut session, task, way);
            session.query(repair, &[&claim.step]);
            assert_eq!(session.task_state(task), "pending", "{way:?} {repair}");
            let ready = ready(&mut session);
            assert!(
                ready.contains(&"b".to_owned()),
                "{way:?} {repair}: {ready:?}"
            );
            let both = !repair.contains("resolve");
            assert_eq!(ready.contains(&"a".to_owned()), both, "{way:?} {repair}");
            goes_on_to_its_end(&mut session, task);
        }
    }
}

#[test]
fn a_repair_after_a_timeout_sets_going_what_ran_then_too() {
    let (_database, mut session, task) = with(&pair());
    let claims = session.claim(&Ask::by("worker", 2));
    stop(&mut session, task, Stopped::ByTimeout);
    assert_eq!(
        session.steps(task),
        ["a error/1", "b error/1", "after pending/0"]
    );
    let shown: Vec<String> = session.all(
        "SELECT concat_ws(' ', name, permanent, next_retry_at) FROM tasker.failed_steps WHERE task_uuid = $1 ORDER BY step_no",
        &[&task],
    );
    assert_eq!(shown, ["a t", "b t"], "none of them is retried by itself");
    session.query("SELECT tasker.retry_step($1)", &[&claims[0].step]);
    assert_eq!(ready(&mut session), ["a", "b"]);
    goes_on_to_its_end(&mut session, task);
}

#[test]
fn a_retry_that_was_scheduled_does_not_start_in_a_stopped_task_and_starts_after_a_repair() {
    let (_database, mut session, first) = with(&pair());
    for way in WAYS {
        let task = next(&mut session, first);
        let claims = session.claim(&Ask::by("worker", 2));
        session.fail(&claims[0]);
        session.fail_for_good(&claims[1]);
        stop(&mut session, task, way);
        assert!(ready(&mut session).is_empty(), "{way:?}");
        session.query(
            "SELECT tasker.resolve_step_manually($1)",
            &[&claims[1].step],
        );
        assert_eq!(ready(&mut session), ["a"], "{way:?}");
        goes_on_to_its_end(&mut session, task);
    }
}

/// Tells how a run that began before its task was stopped ends.
fn end_run(session: &mut Session, how: &str, claim: &Claim) {
    match how {
        "fails" => drop(session.fail(claim)),
        "is given back" => drop(session.query("SELECT tasker.release_steps('worker')", &[])),
        "is given back by hand" => {
            session.query(
                "SELECT tasker.transition_step($1, 'pending')",
                &[&claim.step],
            );
        }
        "fails by hand" => {
            session.query("SELECT tasker.transition_step($1, 'error')", &[&claim.step]);
        }
        _ => {
            inside::lease_ended(session, "worker", 1);
            std::thread::sleep(std::time::Duration::from_millis(25));
            assert!(session.claim_all("another").is_empty());
        }
    }
}

#[test]
fn a_run_that_ends_without_success_is_not_repeated_while_its_task_is_in_error_or_resolved() {
    let (_database, mut session, first) = with(&pair());
    for resolved in [false, true] {
        for how in [
            "fails",
            "is given back",
            "loses its lease",
            "is given back by hand",
            "fails by hand",
        ] {
            let task = next(&mut session, first);
            let claim = session.claim_one("worker");
            stop(&mut session, task, Stopped::ByHand);
            if resolved {
                session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
                if how.ends_with("by hand") {
                    continue;
                }
            }
            end_run(&mut session, how, &claim);
            assert!(ready(&mut session).is_empty(), "{how}, resolved {resolved}");
            assert_ne!(session.step_state(task, "a"), "in_progress", "{how}");
            if !resolved {
                assert_eq!(session.task_state(task), "error", "{how}");
                session.query("SELECT tasker.retry_task($1)", &[&task]);
                assert_eq!(ready(&mut session), ["a", "b"], "{how}");
                goes_on_to_its_end(&mut session, task);
            }
        }
    }
}

#[test]
fn a_run_that_succeeds_in_a_stopped_task_counts_and_releases_nothing_until_it_is_taken_up() {
    let (_database, mut session, task) = started(
        &Template::new("chains")
            .step("a", &[])
            .step("b", &["a"])
            .step("other", &[]),
    );
    let claim = session.claim_one("worker");
    stop(&mut session, task, Stopped::ByHand);
    session.complete(&claim, &json!({}));
    assert!(ready(&mut session).is_empty());
    assert_eq!(session.task_state(task), "error");
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    assert_eq!(ready(&mut session), ["b", "other"]);
    goes_on_to_its_end(&mut session, task);
}

#[test]
fn a_stopped_task_whose_steps_are_all_done_completes_when_it_is_taken_up() {
    for take_up in [
        "tasker.retry_task($1)",
        "tasker.transition_task($1, 'pending')",
    ] {
        let (_database, mut session, task) = started(&shapes::chain("one", 1));
        let claim = session.claim_one("worker");
        stop(&mut session, task, Stopped::ByHand);
        session.complete(&claim, &json!({}));
        assert_eq!(session.task_state(task), "error");
        let state: String = session.one(&format!("SELECT {take_up}"), &[&task]);
        assert_eq!(state, "complete", "{take_up}");
        assert_eq!(inside::rare_state(&mut session, task), None);
    }
}

#[test]
fn what_does_not_repair_a_stopped_task_leaves_it_in_error_and_standing() {
    let (_database, mut session, task) = with(&pair());
    stop(&mut session, task, Stopped::ByHand);
    let step = session.step(task, "a");
    session.query("SELECT tasker.set_retry_limit($1, 9)", &[&step]);
    session.query("SELECT tasker.cancel_step($1)", &[&step]);
    assert_eq!(session.task_state(task), "error");
    assert!(ready(&mut session).is_empty());
}

#[test]
fn a_step_started_by_hand_takes_its_stopped_task_up_again() {
    let (_database, mut session, task) = with(&pair());
    stop(&mut session, task, Stopped::ByHand);
    let step = session.step(task, "a");
    session.query("SELECT tasker.transition_step($1, 'in_progress')", &[&step]);
    assert_eq!(session.task_state(task), "in_progress");
    assert_eq!(ready(&mut session), ["b"]);
    session.query("SELECT tasker.transition_step($1, 'complete')", &[&step]);
    goes_on_to_its_end(&mut session, task);
}

#[test]
fn a_task_that_is_taken_up_again_starts_no_sooner_than_its_run_at() {
    let (_database, mut session, _task) = started(&shapes::chain("one", 1));
    session.work(|_| done());
    let task: Uuid = session.one(
        "SELECT tasker.create_task('one', run_at => clock_timestamp() + interval '1 hour')",
        &[],
    );
    stop(&mut session, task, Stopped::ByHand);
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    assert!(ready(&mut session).is_empty());
    inside::make_due(&mut session, task);
    assert_eq!(ready(&mut session), ["step_1"]);
}

#[test]
fn a_task_has_a_row_among_the_rare_states_while_it_is_in_one() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| done());
    assert_eq!(inside::rare_state(&mut session, task), None);

    let task = session.create("two");
    session.work(|_| Act::FailForGood);
    assert_eq!(
        inside::rare_state(&mut session, task).as_deref(),
        Some("e 1 Broken")
    );
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    assert_eq!(inside::rare_state(&mut session, task), None);
    session.work(|_| Act::FailForGood);
    session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
    assert_eq!(
        inside::rare_state(&mut session, task).as_deref(),
        Some("r 1 Broken")
    );

    let task = session.create("two");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    assert_eq!(inside::rare_state(&mut session, task).as_deref(), Some("x"));

    let task = session.create("two");
    session.query("SELECT tasker.transition_task($1, 'error')", &[&task]);
    assert_eq!(inside::rare_state(&mut session, task).as_deref(), Some("e"));
}

/// Reason and hint of a stuck task, when maintenance has looked.
fn stuck(session: &mut Session, task: Uuid) -> Option<(String, String)> {
    session.query("SELECT tasker.run_maintenance()", &[]);
    session
        .query(
            "SELECT reason, hint FROM tasker.stuck_tasks WHERE task_uuid = $1",
            &[&task],
        )
        .first()
        .map(|row| (row.get(0), row.get(1)))
}

fn summary(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', reason, full_name, error_class, tasks) FROM tasker.stuck_summary ORDER BY 1",
        &[],
    )
}

#[test]
fn an_open_task_of_which_nothing_runs_or_will_is_stuck_and_its_hint_brings_it_on() {
    let (_database, mut session, first) = started(&shapes::chain("two", 2));
    assert_eq!(session.claim_all("w").len(), 1);
    session.query("SELECT tasker.release_steps('w')", &[]);
    assert_eq!(stuck(&mut session, first), None);
    // Held.
    inside::hold_back(&mut session, first);
    let (reason, hint) = stuck(&mut session, first).expect("stuck");
    assert_eq!(reason, "nothing_can_run");
    session.query(&hint, &[]);
    assert_eq!(stuck(&mut session, first), None);
    // Running under no claim.
    let claim = session.claim_one("w");
    inside::lose_claims(&mut session);
    let (reason, hint) = stuck(&mut session, first).expect("stuck");
    assert_eq!(reason, "nothing_can_run");
    session.query(&hint, &[]);
    assert_eq!(stuck(&mut session, first), None);
    assert_eq!(session.claim_one("w").step, claim.step);
}

#[test]
fn what_only_executors_run_is_not_said_to_need_a_worker_and_its_hint_runs_it() {
    let (_database, mut session, _task) = started(&shapes::chain("other", 1));
    session.execute(
        "CREATE FUNCTION public.work(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$;
         SELECT tasker.register_template('{\"name\": \"inside\", \"steps\": [{\"name\": \"a\", \"handler\": \"sql:public.work\"}]}')",
    );
    let task = session.create("inside");
    let (reason, hint) = stuck(&mut session, task).expect("no executor is at work");
    assert_eq!(reason, "no_worker");
    session.query(&hint, &[]);
    assert_eq!(session.task_state(task), "complete");
}

#[test]
fn the_summary_has_one_row_per_cause() {
    let (_database, mut session, _task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    session.create("two");
    session.work(|_| Act::FailForGood);
    let cancelled = session.create("two");
    let step = session.step(cancelled, "step_1");
    session.query("SELECT tasker.cancel_step($1)", &[&step]);
    assert_eq!(
        summary(&mut session),
        [
            "failed default.two@0.1.0 1",
            "failed default.two@0.1.0 Broken 2"
        ]
    );
    let (_, hint) = stuck(&mut session, cancelled).expect("in error");
    assert_eq!(hint, "tasker.resolve_task_manually ends the task.");
    session
        .fails("SELECT tasker.retry_task($1)", &[&cancelled])
        .is("55000")
        .hint_says(&["resolve_task_manually"]);
    session.query("SELECT tasker.resolve_task_manually($1)", &[&cancelled]);
    assert_eq!(summary(&mut session), ["failed default.two@0.1.0 Broken 2"]);
}

#[test]
fn the_hints_of_refused_changes_of_a_step_lead_on() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let claim = session.claim_one("worker");
    session
        .fails("SELECT tasker.resolve_step_manually($1)", &[&claim.step])
        .is("55000")
        .hint_says(&[
            "transition_step(step_uuid, 'pending')",
            "resolve_step_manually",
        ]);
    session.query(
        "SELECT tasker.transition_step($1, 'pending')",
        &[&claim.step],
    );
    session.query("SELECT tasker.resolve_step_manually($1)", &[&claim.step]);
    let claim = session.claim_one("worker");
    session.fail_and_wait(&claim);
    session
        .fails("SELECT tasker.cancel_step($1)", &[&claim.step])
        .is("55000")
        .hint_says(&["cancel_task"]);
    session.query("SELECT tasker.cancel_task($1)", &[&task]);

    let task = session.create("two");
    session.work(|_| Act::FailForGood);
    let step = session.step(task, "step_1");
    session
        .fails("SELECT tasker.cancel_step($1)", &[&step])
        .is("55000")
        .hint_says(&["resolve_task_manually"]);
    session
        .fails("SELECT tasker.cancel_task($1)", &[&task])
        .is("55000")
        .hint_says(&["resolve_task_manually"]);
    session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
}

#[test]
fn a_failed_task_set_to_pending_by_hand_has_something_to_run() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    session.query("SELECT tasker.transition_task($1, 'pending')", &[&task]);
    assert_eq!(ready(&mut session), ["step_1"]);
    goes_on_to_its_end(&mut session, task);
}
