//! Files of subscriptions make subscribers.

use tasker_client_tests::worker::done;
use tasker_client_tests::{Database, Session, Template, started};

const FILE: &str = "
subscriptions:
  audit: {events: ['*'], enabled: true}
  mail: {events: [task.completed, task.failed], enabled: false, class: Mailer}
  plain: {events: step.failed}
";

/// What is wrong with a file.
fn load(session: &mut Session, file: &str) -> Vec<String> {
    session.all(
        "SELECT concat_ws('|', severity, path, message) FROM tasker.load_subscriptions($1)",
        &[&file],
    )
}

/// The subscribers, a line for each.
fn subscribers(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', subscriber, patterns, owner_role, CASE WHEN paused THEN 'paused' END) FROM tasker.subscribers ORDER BY subscriber",
        &[],
    )
}

#[test]
fn a_file_makes_its_subscribers_and_pauses_those_that_are_not_enabled() {
    let database = Database::new();
    let mut session = database.connect();
    assert_eq!(
        load(&mut session, FILE),
        [
            "warning|subscriptions.mail.class|handlers does not name a function for \"Mailer\": its program calls poll_events"
        ]
    );
    assert_eq!(
        subscribers(&mut session),
        [
            "audit {*} postgres",
            "mail {task.completed,task.failed} postgres paused",
            "plain {step.failed} postgres",
        ]
    );
}

#[test]
fn a_file_that_is_loaded_again_changes_what_it_says_and_keeps_the_rest() {
    let database = Database::new();
    let mut session = database.connect();
    session.query("SELECT tasker.subscribe('other')", &[]);
    load(&mut session, FILE);
    session.query("SELECT tasker.pause_subscriber('plain')", &[]);
    let places = "SELECT position FROM tasker.subscribers ORDER BY subscriber";
    let before: Vec<String> = session.all(places, &[]);
    let again = "subscriptions:
  audit: {events: [task.failed], enabled: false}
  mail: {events: [task.failed], enabled: true}
  plain: {events: ['step.*']}";
    assert_eq!(load(&mut session, again), [""; 0]);
    assert_eq!(
        subscribers(&mut session),
        [
            "audit {task.failed} postgres paused",
            "mail {task.failed} postgres",
            "other {*} postgres",
            "plain {step.*} postgres paused",
        ]
    );
    assert_eq!(session.all::<String>(places, &[]), before);
}

#[test]
fn a_subscription_that_the_file_or_the_database_refuses_keeps_no_other_out() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("CREATE ROLE files_op LOGIN; GRANT tasker_operator TO files_op");
    session.query("SELECT tasker.subscribe('b_of_another')", &[]);
    let mut operator = database.connect_as("files_op");
    let found = load(
        &mut operator,
        "subscriptions:
  a: {events: [task.failed]}
  b_of_another: {events: [task.failed]}
  c: {events: ['a*b']}
  d: {events: [task.failed]}",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("error|subscriptions.c.events[0]|pattern \"a*b\" has its star"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with(
            "error|subscriptions.b_of_another|subscriber b_of_another belongs to role postgres"
        ),
        "{found:?}"
    );
    assert_eq!(
        subscribers(&mut session),
        [
            "a {task.failed} files_op",
            "b_of_another {*} postgres",
            "d {task.failed} files_op",
        ]
    );
}

#[test]
fn what_is_no_file_is_said_and_only_operators_load_one() {
    let database = Database::new();
    let mut session = database.connect();
    let found = load(&mut session, "subscriptions: {");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error||"), "{found:?}");
    session
        .fails("SELECT * FROM tasker.load_subscriptions('', '[]')", &[])
        .is("22023")
        .hint_says(&["load_subscriptions"]);
    session
        .fails("SELECT * FROM tasker.load_subscriptions(NULL)", &[])
        .is("22004");
    session.execute("SET ROLE tasker_worker");
    session
        .fails("SELECT * FROM tasker.load_subscriptions('')", &[])
        .is("42501");
}

#[test]
fn a_class_that_is_mapped_to_a_function_is_called_with_its_events() {
    let (_database, mut session, _) = started(&Template::new("pay").step("a", &[]));
    session.execute(
        "CREATE SCHEMA app;
         CREATE TABLE app.mails (name text);
         CREATE FUNCTION app.mail(events jsonb) RETURNS void LANGUAGE sql AS
         $$ INSERT INTO app.mails SELECT e ->> 'name' FROM jsonb_array_elements(events) e $$",
    );
    let file = "subscriptions:
  mail: {events: [task.completed], class: Mailer}
  other: {events: [task.completed]}";
    let mapped = "SELECT concat_ws('|', severity, path, message) FROM tasker.load_subscriptions($1, '{\"Mailer\": \"sql:app.mail\"}')";
    let found: Vec<String> = session.all(mapped, &[&file]);
    assert_eq!(found, [""; 0]);
    let handlers =
        "SELECT concat_ws(' ', subscriber, handler) FROM tasker.subscribers ORDER BY subscriber";
    assert_eq!(
        session.all::<String>(handlers, &[]),
        ["mail sql:app.mail", "other"]
    );
    session.work(|_| done());
    let ran: Vec<String> = session.all(
        "SELECT concat_ws(' ', subscriber_name, cardinality(event_ids), error) FROM tasker.run_subscribers()",
        &[],
    );
    assert_eq!(ran, ["mail 1"]);
    let mails: Vec<String> = session.all("SELECT name FROM app.mails", &[]);
    assert_eq!(mails, ["task.completed"]);
    // A class that is mapped no more is polled again.
    load(&mut session, file);
    assert_eq!(session.all::<String>(handlers, &[]), ["mail", "other"]);
}
