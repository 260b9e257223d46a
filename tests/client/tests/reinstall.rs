//! A session that outlives DROP and CREATE EXTENSION answers as a new one, whatever it remembered: other templates stand under the
//! same ids. Every public function is called in both.

use std::collections::BTreeSet;

use postgres::SimpleQueryMessage;
use tasker_client_tests::calls::{calls, tasks};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Template, Uuid, json};

const OLD: [&str; 3] = ["alder", "birch", "first_template"];
const NEW: [&str; 4] = ["cedar", "dogwood", "elm", "second_template"];

fn old_template() -> Template {
    Template::new("first_template")
        .step("alder", &[])
        .step("birch", &["alder"])
}

fn new_template() -> Template {
    Template::new("second_template")
        .step("cedar", &[])
        .step_with("dogwood", &[], json!({ "default_retry_limit": 7 }))
        .step("elm", &["cedar", "dogwood"])
}

/// What a call says of templates, and how it ended: SQLSTATE or number of rows. Nothing of it stays.
fn answer(session: &mut Session, call: &str) -> (String, BTreeSet<&'static str>) {
    session.execute("BEGIN");
    let outcome = session.client().simple_query(call);
    let answer = match outcome {
        Ok(messages) => {
            let mut text = String::new();
            let mut rows = 0;
            for message in &messages {
                if let SimpleQueryMessage::Row(row) = message {
                    rows += 1;
                    for column in 0..row.len() {
                        text.push_str(row.get(column).unwrap_or_default());
                        text.push('\n');
                    }
                }
            }
            let named = OLD
                .into_iter()
                .chain(NEW)
                .filter(|name| text.contains(name))
                .collect();
            (format!("{rows} rows"), named)
        }
        Err(error) => {
            let error = error.as_db_error().expect("the session lives");
            (
                format!("{} {}", error.code().code(), error.message()),
                BTreeSet::new(),
            )
        }
    };
    session.execute("ROLLBACK");
    answer
}

/// Fills what a session remembers: templates, workers, queues, marks, facts for reading.
fn remember(session: &mut Session, done: Uuid) {
    session.execute("BEGIN");
    session.claim(&Ask::by("warm", 1));
    for call in [
        "get_dependency_results(tasker.step_uuid($1, 2::smallint))",
        "get_step_readiness_status($1)",
        "task_diagram($1)",
    ] {
        session.query(&format!("SELECT tasker.{call}"), &[&done]);
    }
    session.execute("ROLLBACK");
}

#[test]
fn a_session_that_outlives_a_reinstallation_answers_as_a_new_one() {
    let database = Database::new();
    let mut old = database.connect();
    let mut admin = database.connect();
    let (done, open) = tasks(&mut old, &old_template());
    // A session for each function: what a session calls first after the reinstallation must not rely on another call.
    let mut sessions: Vec<Session> = calls(&mut admin, done, open, "first_template")
        .iter()
        .map(|call| {
            let mut session = database.connect();
            remember(&mut session, done);
            answer(&mut session, call);
            session
        })
        .collect();
    admin.execute("DROP EXTENSION tasker_ext CASCADE");
    old.fails("SELECT tasker.create_task('first_template')", &[]);
    admin.execute("SET client_min_messages = error; CREATE EXTENSION tasker_ext");
    let (done, open) = tasks(&mut admin, &new_template());
    let mut named = 0;
    let mut fresh = database.connect();
    let calls = calls(&mut admin, done, open, "second_template");
    assert_eq!(calls.len(), sessions.len());
    for (call, session) in calls.iter().zip(&mut sessions) {
        let (from_fresh, from_old) = (answer(&mut fresh, call), answer(session, call));
        assert_eq!(from_old, from_fresh, "{call}");
        for name in OLD {
            assert!(!from_old.1.contains(name), "{call} knows {name}");
        }
        named += usize::from(!from_old.1.is_empty());
    }
    assert!(named > 40, "only {named} calls speak of a template");
    // The old session does the rest of the work.
    let ran = old.work(|_| tasker_client_tests::worker::done());
    assert_eq!(ran, ["dogwood"]);
    assert_eq!(
        old.one::<tasker_client_tests::Value>(
            "SELECT tasker.get_dependency_results(tasker.step_uuid($1, 3::smallint))",
            &[&done]
        ),
        json!({ "cedar": { "from": "cedar" }, "dogwood": { "from": "dogwood" } })
    );
}
