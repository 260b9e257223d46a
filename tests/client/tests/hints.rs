//! What hints recommend works: each is done as it says.

#[path = "hints/cases.rs"]
mod cases;
#[path = "hints/servers.rs"]
mod servers;
#[path = "hints/sources.rs"]
mod sources;

use std::collections::BTreeSet;

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

/// A task and a step of it, in a state that an operator meets.
type Situation = (&'static str, fn(&mut Session) -> (Uuid, Uuid));

/// A new task of two steps, and its first step.
fn fresh(session: &mut Session) -> (Uuid, Uuid) {
    let task = session.create("two");
    (task, session.step(task, "step_1"))
}

/// A task of two steps that do not need each other, of which the first is cancelled and the second runs.
fn half_cancelled(session: &mut Session) -> (Uuid, Uuid) {
    let task = session.create("both");
    let steps: Vec<Uuid> = session.all(
        "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 ORDER BY step_uuid",
        &[&task],
    );
    session.query("SELECT tasker.cancel_step($1)", &[&steps[0]]);
    session.query(
        "SELECT tasker.transition_step($1, 'in_progress')",
        &[&steps[1]],
    );
    (task, steps[0])
}

/// A step of the task that is not done.
fn unfinished(session: &mut Session, task: Uuid) -> Option<Uuid> {
    let sql = "SELECT step_uuid FROM tasker.workflow_steps
               WHERE task_uuid = $1 AND state NOT IN ('complete', 'resolved_manually') ORDER BY step_uuid LIMIT 1";
    session.all(sql, &[&task]).first().copied()
}

/// The same, after these calls; `$1` in a call about a task is the task, else the step.
fn after(session: &mut Session, calls: &[&str]) -> (Uuid, Uuid) {
    let (task, step) = fresh(session);
    for call in calls {
        let id = if call.contains("_task") { task } else { step };
        session.query(&format!("SELECT tasker.{call}"), &[&id]);
    }
    (task, step)
}

const START: &str = "transition_step($1, 'in_progress')";
const FAIL: &str = "transition_step($1, 'error')";

const SITUATIONS: [Situation; 15] = [
    (
        "a task of which one step is cancelled and one runs",
        half_cancelled,
    ),
    ("a new task", fresh),
    ("a running step", |session| after(session, &[START])),
    ("a step that waits for its retry", |session| {
        after(session, &[START, FAIL])
    }),
    ("a complete step", |session| {
        after(session, &[START, "transition_step($1, 'complete')"])
    }),
    ("a resolved step", |session| {
        after(session, &["resolve_step_manually($1)"])
    }),
    ("a cancelled step", |session| {
        after(session, &["cancel_step($1)"])
    }),
    ("a failed task", |session| {
        after(session, &["set_retry_limit($1, 1)", START, FAIL])
    }),
    ("a task in error with a step to run", |session| {
        after(session, &["transition_task($1, 'error')"])
    }),
    ("a task in error with a running step", |session| {
        after(session, &[START, "transition_task($1, 'error')"])
    }),
    ("a resolved task", |session| {
        after(
            session,
            &["transition_task($1, 'error')", "resolve_task_manually($1)"],
        )
    }),
    ("a cancelled task", |session| {
        after(session, &[START, "cancel_task($1)"])
    }),
    ("a cancelled task of a failed step", |session| {
        after(session, &[START, FAIL, "cancel_task($1)"])
    }),
    ("a complete task", |session| {
        let (task, step) = after(session, &["resolve_step_manually($1)"]);
        let second = session.step(task, "step_2");
        session.query("SELECT tasker.resolve_step_manually($1)", &[&second]);
        (task, step)
    }),
    (
        "a task of a cancelled step whose other step is done",
        |session| {
            let (task, step) = after(
                session,
                &[
                    "transition_step($1, 'in_progress')",
                    "transition_step($1, 'complete')",
                ],
            );
            let second = session.step(task, "step_2");
            session.query("SELECT tasker.cancel_step($1)", &[&second]);
            (task, step)
        },
    ),
];

const OF_STEPS: [&str; 10] = [
    "retry_step($1)",
    "cancel_step($1)",
    "resolve_step_manually($1)",
    "set_retry_limit($1, 5)",
    "transition_step($1, 'pending')",
    "transition_step($1, 'in_progress')",
    "transition_step($1, 'error')",
    "transition_step($1, 'complete')",
    "transition_step($1, 'cancelled')",
    "transition_step($1, 'resolved_manually')",
];

const OF_TASKS: [&str; 10] = [
    "retry_task($1)",
    "cancel_task($1)",
    "resolve_task_manually($1)",
    "rerun_task($1)",
    "transition_task($1, 'pending')",
    "transition_task($1, 'in_progress')",
    "transition_task($1, 'error')",
    "transition_task($1, 'complete')",
    "transition_task($1, 'cancelled')",
    "transition_task($1, 'resolved_manually')",
];

/// The calls that a hint names, as SQL that takes the task or the step: `retry_step`, `tasker.cancel_task(task_uuid)`,
/// `transition_step(step_uuid, 'pending')`.
fn recommended(hint: &str) -> Vec<String> {
    let verbs = ["retry_", "cancel_", "resolve_", "transition_", "rerun_"];
    let mut calls = vec![];
    let mut rest = hint;
    while let Some(at) = verbs.iter().filter_map(|verb| rest.find(verb)).min() {
        let name: String = rest[at..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        rest = &rest[at + name.len()..];
        let arguments = rest
            .strip_prefix('(')
            .and_then(|rest| rest.split(')').next());
        let others: Vec<&str> = arguments.map_or(vec![], |list| list.split(',').skip(1).collect());
        if ["task", "step", "task_manually", "step_manually"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            calls.push(format!(
                "{name}({})",
                [&["$1"], others.as_slice()].concat().join(",")
            ));
        }
    }
    calls
}

/// Does what a hint says, in the same situation; what is refused then.
fn do_as_it_says(
    session: &mut Session,
    situation: fn(&mut Session) -> (Uuid, Uuid),
    operation: &str,
    hint: &str,
) -> Vec<String> {
    let calls = recommended(hint);
    // What comes after "then" needs what comes before it; otherwise each call is one of several ways.
    let ways: Vec<&[String]> = if hint.contains("; then") {
        vec![&calls]
    } else {
        calls.chunks(1).collect()
    };
    let mut refused = vec![];
    for way in ways {
        let (task, step) = situation(session);
        let step = if operation.contains("_task") {
            unfinished(session, task).unwrap_or(step)
        } else {
            step
        };
        for call in way {
            let id = if call.contains("_task") { task } else { step };
            let answer = session.attempt_with(&format!("SELECT tasker.{call}"), &[&id]);
            if let Err(failure) = answer {
                refused.push(format!(
                    "{operation} says {hint}, but {call}: {}",
                    failure.message
                ));
            }
        }
    }
    refused
}

#[test]
fn each_call_that_a_refused_operation_recommends_is_allowed() {
    let (_database, mut session, _) = started(&shapes::chain("two", 2));
    shapes::wide("both", 2).register(&mut session);
    let (mut refused, mut hints) = (vec![], BTreeSet::new());
    for (what, situation) in SITUATIONS {
        for operation in OF_STEPS.iter().chain(&OF_TASKS) {
            let (task, step) = situation(&mut session);
            let id = if operation.contains("_task") {
                task
            } else {
                step
            };
            let answer = session.attempt_with(&format!("SELECT tasker.{operation}"), &[&id]);
            let Err(failure) = answer else {
                continue;
            };
            for other in do_as_it_says(&mut session, situation, operation, &failure.hint) {
                refused.push(format!("{what}: {other}"));
            }
            hints.insert(failure.hint.replace(&task.to_string(), "TASK"));
        }
    }
    println!("{hints:#?}");
    assert_eq!(refused, [""; 0]);
    let with_calls = hints.iter().filter(|hint| !recommended(hint).is_empty());
    assert!(with_calls.count() >= 10, "{hints:#?}");
}
