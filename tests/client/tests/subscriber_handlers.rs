//! Subscribers whose events are handed to functions of this database, run by a session with `run_subscribers`.

use tasker_client_tests::{Act, Database, Session, Template, json, started};

const HANDLERS: &str = r#"
CREATE SCHEMA app;
CREATE TABLE app.effects (event_id bigint, name text, size integer, by_role text);
CREATE FUNCTION app.keep(events jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO app.effects
    SELECT (e ->> 'event_id')::bigint, e ->> 'name', jsonb_array_length(events), current_user FROM jsonb_array_elements(events) e
$$;
CREATE FUNCTION app.poison(events jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM app.keep(events);
    IF jsonb_path_exists(events, '$[*] ? (@.name == "task.completed")') THEN
        RAISE EXCEPTION 'poison' USING DETAIL = 'bad event';
    END IF;
END $$;
CREATE FUNCTION app.sleep(events jsonb) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(60)';
CREATE FUNCTION app.number(events jsonb) RETURNS integer LANGUAGE sql AS 'SELECT 1';
"#;

/// A database with the handlers, and a task that has run to its end.
fn database() -> (Database, Session) {
    let (database, mut session, task) =
        started(&Template::new("pay").step("a", &[]).step("b", &["a"]));
    session.execute(HANDLERS);
    session.work(|_| Act::Complete(json!({})));
    assert_eq!(session.task_state(task), "complete");
    (database, session)
}

fn subscribe(session: &mut Session, arguments: &str) {
    session.query(
        &format!("SELECT tasker.subscribe('audit', start_at => 'beginning', {arguments})"),
        &[],
    );
}

/// How many events each call got, and its error.
fn run(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', cardinality(event_ids), error) FROM tasker.run_subscribers()",
        &[],
    )
}

fn effects(session: &mut Session) -> Vec<i64> {
    session.all("SELECT event_id FROM app.effects ORDER BY 1", &[])
}

fn all_events(session: &mut Session) -> Vec<i64> {
    session.all(
        "SELECT event_id FROM tasker.read_events() WHERE event_id IS NOT NULL ORDER BY 1",
        &[],
    )
}

/// Makes what has failed due again.
fn run_until_nothing_is_left(session: &mut Session) -> Vec<String> {
    let mut all = vec![];
    for _ in 0..10 {
        all.extend(run(session));
        session
            .execute("UPDATE tasker_engine.redeliveries SET due_at = now() WHERE dead_at IS NULL");
    }
    all
}

#[test]
fn a_handler_gets_arrays_of_events_and_each_event_once() {
    let (_database, mut session) = database();
    subscribe(&mut session, "handler => 'sql:app.keep', batch_size => 3");
    let calls = run(&mut session);
    let events = all_events(&mut session);
    assert!(events.len() > 6, "{events:?}");
    assert_eq!(effects(&mut session), events);
    assert_eq!(calls.len(), events.len().div_ceil(3));
    assert_eq!(run(&mut session), [""; 0]);
    let left: i64 = session.one(
        "SELECT in_flight + waiting + dead FROM tasker.subscribers",
        &[],
    );
    assert_eq!(left, 0);
}

#[test]
fn an_error_undoes_the_batch_and_the_poisonous_event_dies_alone() {
    let (_database, mut session) = database();
    subscribe(
        &mut session,
        "handler => 'sql:app.poison', batch_size => 100, max_deliveries => 2",
    );
    let calls = run(&mut session);
    assert_eq!(calls.len(), 1);
    assert!(calls[0].contains("P0001: poison (bad event)"), "{calls:?}");
    assert_eq!(effects(&mut session), [0; 0]);
    run_until_nothing_is_left(&mut session);
    let sizes: Vec<i32> = session.all("SELECT DISTINCT size FROM app.effects", &[]);
    assert_eq!(sizes, [1]);
    let dead = session.query("SELECT name, error FROM tasker.event_dead_letters", &[]);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].get::<_, String>(0), "task.completed");
    assert!(dead[0].get::<_, String>(1).contains("poison"));
    assert_eq!(
        effects(&mut session).len() + 1,
        all_events(&mut session).len()
    );
}

#[test]
fn effects_and_acknowledgement_are_undone_together() {
    let (_database, mut session) = database();
    subscribe(&mut session, "handler => 'sql:app.keep', batch_size => 100");
    session.execute("BEGIN");
    assert_eq!(run(&mut session).len(), 1);
    session.execute("ROLLBACK");
    assert_eq!(effects(&mut session), [0; 0]);
    assert_eq!(run(&mut session).len(), 1);
    assert_eq!(effects(&mut session), all_events(&mut session));
}

#[test]
fn a_handler_runs_with_the_rights_of_the_owner_and_not_of_the_session() {
    let (database, mut session) = database();
    session.execute(
        "DROP ROLE IF EXISTS handler_op, handler_admin; CREATE ROLE handler_op LOGIN; CREATE ROLE handler_admin LOGIN;
         GRANT tasker_operator TO handler_op; GRANT tasker_admin TO handler_admin;
         GRANT USAGE ON SCHEMA app TO handler_op; GRANT INSERT ON app.effects TO handler_op",
    );
    let mut owner = database.connect_as("handler_op");
    subscribe(
        &mut owner,
        "handler => 'sql:app.keep', patterns => '{task.completed}'",
    );
    let mut admin = database.connect_as("handler_admin");
    admin
        .fails(
            "SELECT tasker.subscribe('audit', handler => 'sql:app.sleep')",
            &[],
        )
        .is("42501");
    run(&mut session);
    let roles: Vec<String> = session.all("SELECT DISTINCT by_role FROM app.effects", &[]);
    assert_eq!(roles, ["handler_op"]);
}

#[test]
fn a_missing_handler_is_refused_and_an_empty_text_removes_it() {
    let (_database, mut session) = database();
    for missing in ["sql:app.missing", "sql:keep", "sql:app.number"] {
        session
            .fails(
                &format!("SELECT tasker.subscribe('audit', handler => '{missing}')"),
                &[],
            )
            .is("42883");
    }
    session
        .fails(
            "SELECT tasker.subscribe('audit', handler => 'app.keep')",
            &[],
        )
        .is("22023");
    subscribe(&mut session, "handler => 'sql:app.keep'");
    subscribe(&mut session, "handler => ''");
    assert_eq!(run(&mut session), [""; 0]);
    session
        .fails(
            "SELECT * FROM tasker.run_subscribers(subscriber => 'other')",
            &[],
        )
        .is("P0002");
    session
        .fails("SELECT * FROM tasker.run_subscribers(0)", &[])
        .is("22023");
}

#[test]
fn a_handler_that_runs_too_long_fails() {
    let (_database, mut session) = database();
    session.execute("SET tasker.handler_timeout_seconds = 0.1");
    subscribe(
        &mut session,
        "handler => 'sql:app.sleep', batch_size => 100",
    );
    let calls = run(&mut session);
    assert!(calls[0].contains("57014"), "{calls:?}");
}
