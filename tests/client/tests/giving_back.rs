//! What a worker cannot run it gives back: no attempt is counted, and the log keeps why.

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Database, Session, Value, json, shapes};

fn with_tasks(count: usize) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    session.create_many("one", count);
    (database, session)
}

/// The element of `reports` that gives a step back.
fn released(claim: &Claim, seconds: f64, reason: &str) -> Value {
    json!({ "step_uuid": claim.step.to_string(), "claim_number": claim.number, "status": "released",
            "retry_after_seconds": seconds, "reason": reason })
}

/// The element of `steps` of release_steps.
fn named(claim: &Claim) -> Value {
    json!({ "step_uuid": claim.step.to_string(), "claim_number": claim.number })
}

fn outcomes(session: &mut Session, reports: Vec<Value>) -> Vec<String> {
    session.all(
        "SELECT outcome FROM tasker.report_steps('worker', $1)",
        &[&Value::Array(reports)],
    )
}

fn why_returned(session: &mut Session, claim: &Claim) -> Vec<Value> {
    session.all(
        "SELECT metadata FROM tasker.workflow_step_transitions
         WHERE step_uuid = $1 AND from_state = 'in_progress' AND to_state = 'pending' ORDER BY sort_key",
        &[&claim.step],
    )
}

#[test]
fn a_step_that_is_reported_as_released_counts_no_attempt_and_is_claimed_again() {
    let (_database, mut session) = with_tasks(3);
    let claims = session.claim(&Ask::by("worker", 3));
    let told = outcomes(
        &mut session,
        vec![
            claims[0].done(json!({})),
            released(&claims[1], 0.0, "no handler here"),
            claims[2].failed(false),
        ],
    );
    assert_eq!(told, ["complete", "released", "error"]);
    assert_eq!(
        why_returned(&mut session, &claims[1]),
        [json!({"reason": "no handler here"})]
    );
    let again = session.claim(&Ask::by("other", 3));
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].step, again[0].attempt), (claims[1].step, 1));
    assert_eq!(again[0].number, claims[1].number + 1);
    // The claim of the first worker is over, whatever it says now.
    assert_eq!(
        outcomes(
            &mut session,
            vec![released(&claims[1], 0.0, "once more"), named(&claims[1])]
        ),
        ["stale", "invalid"]
    );
    assert_eq!(session.complete(&again[0], &json!({})), "complete");
}

#[test]
fn a_released_step_waits_as_long_as_the_worker_says_and_no_longer_than_the_cap() {
    let (_database, mut session) = with_tasks(2);
    let claims = session.claim(&Ask::by("worker", 2));
    let told = outcomes(
        &mut session,
        vec![
            released(&claims[0], 200.0, "later"),
            released(&claims[1], 1e9, "much later"),
        ],
    );
    assert_eq!(told, ["released", "released"]);
    assert!(session.claim(&Ask::by("other", 2)).is_empty());
    assert_eq!(
        why_returned(&mut session, &claims[0]),
        [json!({"reason": "later", "retry_after_seconds": 200})]
    );
    for (claim, from, to) in [(&claims[0], 100, 200), (&claims[1], 250, 300)] {
        let within: bool = session.one(
            "SELECT s.available_at BETWEEN now() + $2 * interval '1 s' AND now() + $3 * interval '1 s'
             FROM tasker_engine.steps s
             WHERE tasker.step_uuid(s.task_uuid, s.step_no) = $1",
            &[&claim.step, &f64::from(from), &f64::from(to)],
        );
        assert!(within, "{from} to {to}");
    }
}

#[test]
fn a_worker_gives_back_the_steps_that_it_names() {
    let (_database, mut session) = with_tasks(4);
    let claims = session.claim(&Ask::by("worker", 3));
    let foreign = session.claim_one("other");
    let old = Claim {
        number: 7,
        ..claims[2].clone()
    };
    let steps = Value::Array(vec![named(&claims[0]), named(&old), named(&foreign)]);
    let count: i32 = session.one(
        "SELECT tasker.release_steps('worker', $1, delay => '100 s', reason => 'wrong build')",
        &[&steps],
    );
    assert_eq!(count, 1, "only what it holds under this number");
    assert_eq!(
        why_returned(&mut session, &claims[0]),
        [json!({"reason": "wrong build", "retry_after_seconds": 100})]
    );
    assert!(session.claim(&Ask::by("third", 9)).is_empty(), "it waits");
    for held in [&claims[1], &claims[2], &foreign] {
        assert_eq!(session.complete(held, &json!({})), "complete");
    }
    assert_eq!(
        session.one::<i32>("SELECT tasker.release_steps('worker')", &[]),
        0
    );
}

#[test]
fn steps_that_cannot_be_read_give_nothing_back() {
    let (_database, mut session) = with_tasks(1);
    let claim = session.claim_one("worker");
    for steps in [
        json!({}),
        json!("x"),
        json!([1]),
        json!([{"step_uuid": claim.step.to_string()}]),
        json!([named(&claim), {"step_uuid": "x", "claim_number": 1}]),
    ] {
        session
            .fails("SELECT tasker.release_steps('worker', $1)", &[&steps])
            .is("22023")
            .says(&["steps", "step_uuid", "claim_number"]);
    }
    session
        .fails(
            "SELECT tasker.release_steps('worker', delay => '-1 s')",
            &[],
        )
        .is("22023")
        .says(&["delay"]);
    assert_eq!(session.complete(&claim, &json!({})), "complete");
}

#[test]
fn the_effect_of_a_step_happens_once_when_the_answer_of_commit_is_lost() {
    let (database, mut session) = with_tasks(2);
    session.execute("CREATE TABLE public.effect (step uuid)");
    let done = session.claim_one("worker");
    let failed = session.claim_one("worker");
    // The recipe of docs/writing-a-worker.md: report, look at the word, then make the effect.
    let run = |session: &mut Session, claim: &Claim, call: &str| {
        session.execute("BEGIN");
        let said: String = session.one(call, &[&claim.step, &claim.number]);
        if said != "duplicate" {
            session.query("INSERT INTO public.effect VALUES ($1)", &[&claim.step]);
        }
        session.execute("COMMIT");
        said
    };
    for (claim, call, word) in [
        (&done, "SELECT tasker.complete_step($1, $2)", "complete"),
        (
            &failed,
            "SELECT tasker.fail_step($1, $2, 'x', retryable => false)",
            "error",
        ),
    ] {
        // COMMIT arrives and its answer does not: the session is gone, and another one says all of it again.
        let mut lost = database.connect();
        assert_eq!(run(&mut lost, claim, call), word);
        drop(lost);
        let mut next = database.connect();
        assert_eq!(run(&mut next, claim, call), "duplicate");
        assert_eq!(
            session.count(
                "SELECT count(*) FROM public.effect WHERE step = $1",
                &[&claim.step]
            ),
            1
        );
    }
}
