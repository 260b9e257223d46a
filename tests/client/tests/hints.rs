//! What hints recommend works: each is done as it says.

use tasker_client_tests::{Act, Session, Template, Uuid, json, shapes, started};

/// Reason and hint of a stuck task.
fn stuck(session: &mut Session, task: Uuid) -> Option<(String, String)> {
    session
        .query(
            "SELECT reason, hint FROM tasker.stuck_tasks WHERE task_uuid = $1",
            &[&task],
        )
        .first()
        .map(|row| (row.get(0), row.get(1)))
}

/// The word of the hint behind another.
fn word_after(hint: &str, before: &str) -> String {
    let rest = hint.split(&format!("{before} ")).nth(1).expect(before);
    let word = rest.split(' ').next().unwrap_or_default();
    word.trim_end_matches('.').to_owned()
}

/// The steps of a claim of the queue and namespace that the hint names.
fn claim_as_it_says(session: &mut Session, hint: &str) -> Vec<Uuid> {
    let (queue, namespace) = (word_after(hint, "queue"), word_after(hint, "namespace"));
    session.all(
        "SELECT step_uuid FROM tasker.claim_steps('helper', ARRAY[$1::text], queues => ARRAY[$2::text])",
        &[&namespace, &queue],
    )
}

/// The statement in a hint, which goes on with this word.
fn statement(hint: &str, next: &str) -> String {
    let from = hint.find("SELECT").unwrap_or_else(|| panic!("{hint}"));
    let end = hint
        .find(&format!(" {next}"))
        .unwrap_or_else(|| panic!("{hint}"));
    hint[from..end].to_owned()
}

fn night() -> Template {
    Template::new("counting")
        .step_with("count", &[], json!({"queue": "night"}))
        .every_step(json!({"retry": {"backoff": "none"}}))
}

#[test]
fn the_hint_of_a_task_that_no_worker_serves_names_the_queue_and_namespace_to_claim() {
    let (_database, mut session, task) = started(&night());
    let (reason, hint) = stuck(&mut session, task).expect("no worker");
    assert_eq!(reason, "no_worker");
    assert_eq!(
        claim_as_it_says(&mut session, &hint),
        [session.step(task, "count")]
    );
    assert_eq!(stuck(&mut session, task), None);
}

#[test]
fn the_hint_of_an_expired_lease_names_the_claim_that_takes_the_step_over() {
    let (_database, mut session, task) = started(&night());
    let step = session.step(task, "count");
    session.query(
        "SELECT tasker.claim_steps('gone', lease => '10 ms', queues => '{night}')",
        &[],
    );
    session.execute("SELECT pg_sleep(0.05)");
    let (reason, hint) = stuck(&mut session, task).expect("expired");
    assert_eq!(reason, "lease_expired");
    assert_eq!(claim_as_it_says(&mut session, &hint), [step]);
    assert_eq!(stuck(&mut session, task), None);
}

#[test]
fn the_hint_of_a_paused_namespace_resumes_it() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    assert!(session.claim_all("worker").is_empty());
    let (reason, hint) = stuck(&mut session, task).expect("paused");
    assert_eq!(reason, "namespace_paused");
    session.query(&hint, &[]);
    assert_eq!(session.claim_all("worker").len(), 1);
    assert_eq!(stuck(&mut session, task), None);
}

/// The calls of a hint about a failed task, each tried on a task of its own.
#[test]
fn each_call_in_the_hint_of_a_failed_task_brings_it_on() {
    let (_database, mut session, first) = started(&shapes::chain("two", 2));
    session.work(|_| Act::FailForGood);
    let (reason, hint) = stuck(&mut session, first).expect("failed");
    assert_eq!(reason, "failed");
    let calls: Vec<&str> = hint
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
        .filter_map(|word| word.strip_prefix("tasker."))
        .collect();
    assert!(calls.len() >= 2, "{hint}");
    for call in calls {
        let task = session.create("two");
        session.work(|_| Act::FailForGood);
        assert!(stuck(&mut session, task).is_some());
        let id = if call.contains("step") {
            session.step(task, "step_1")
        } else {
            task
        };
        session.query(&format!("SELECT tasker.{call}($1)"), &[&id]);
        assert_eq!(session.task_states(&[task]).len(), 1);
        assert!(
            stuck(&mut session, task).is_none_or(|(reason, _)| reason != "failed"),
            "{call}"
        );
    }
}

#[test]
fn statements_in_the_hints_of_refused_operations_run() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let unknown = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000);
    let hint = session
        .fails("SELECT tasker.cancel_task($1)", &[&unknown])
        .hint;
    let found: Vec<Uuid> = session.all(&statement(&hint, "lists"), &[]);
    assert_eq!(found, [task]);

    let hint = session
        .fails("SELECT tasker.retry_step($1)", &[&unknown])
        .hint;
    let listed = statement(&hint, "lists").replace("...", &format!("'{task}'"));
    assert_eq!(session.query(&listed, &[]).len(), 2);

    let second = session.step(task, "step_2");
    let hint = session
        .fails(
            "SELECT tasker.transition_step($1, 'in_progress')",
            &[&second],
        )
        .hint;
    let shown = statement(&hint, "shows").replace("task_uuid", &format!("'{task}'"));
    assert!(!session.query(&shown, &[]).is_empty());

    let hint = session
        .fails("SELECT tasker.pause_namespace('nowhere')", &[])
        .hint;
    let names: Vec<String> = session.all(&statement(&hint, "lists"), &[]);
    assert!(names.contains(&"default".to_owned()));
}

#[test]
fn no_hint_recommends_to_change_what_is_final() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2));
    let step = session.step(task, "step_1");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    for sql in [
        "SELECT tasker.retry_task($1)",
        "SELECT tasker.resolve_task_manually($1)",
        "SELECT tasker.transition_task($1, 'pending')",
    ] {
        session
            .fails(sql, &[&task])
            .is("55000")
            .hint_says(&["is final", "Create a new task."]);
    }
    for sql in [
        "SELECT tasker.resolve_step_manually($1)",
        "SELECT tasker.transition_step($1, 'pending')",
    ] {
        session
            .fails(sql, &[&step])
            .is("55000")
            .hint_says(&["is final"]);
    }
}
