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

#[test]
fn an_ordered_subscriber_gets_nothing_behind_an_event_of_its_task_that_fails() {
    let (_database, mut session) = database();
    session.execute(
        "CREATE FUNCTION app.fail_once(events jsonb) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM app.keep(events);
             IF jsonb_path_exists(events, '$[*] ? (@.name == \"step.completed\" && @.delivery == 1)') THEN
                 RAISE EXCEPTION 'not yet';
             END IF;
         END $$",
    );
    // Another task, which does not wait.
    session.create("pay");
    session.work(|_| Act::Complete(json!({})));
    subscribe(
        &mut session,
        "ordered => true, handler => 'sql:app.fail_once', patterns => '{step.completed, task.completed}'",
    );
    let calls = run(&mut session);
    // The first step of each task fails, and what is behind it waits.
    assert_eq!(
        calls.iter().filter(|call| call.contains("not yet")).count(),
        2,
        "{calls:?}"
    );
    assert_eq!(effects(&mut session), [0; 0]);
    run_until_nothing_is_left(&mut session);
    let tasks: Vec<String> = session.all(
        "SELECT string_agg(f.name, ' ' ORDER BY f.no) FROM (SELECT e.*, row_number() OVER () AS no FROM app.effects e) f
         JOIN tasker.read_events() e ON e.event_id = f.event_id GROUP BY e.task_uuid",
        &[],
    );
    let order = "step.completed step.completed task.completed";
    assert_eq!(tasks, [order, order]);
}

#[test]
fn a_function_that_belongs_to_another_role_since_is_not_called() {
    let (database, mut session) = database();
    session.execute(
        "DROP ROLE IF EXISTS handler_first, handler_second; CREATE ROLE handler_first LOGIN; CREATE ROLE handler_second;
         GRANT tasker_operator TO handler_first; GRANT USAGE ON SCHEMA app TO handler_first; GRANT INSERT ON app.effects TO handler_first;
         ALTER FUNCTION app.keep OWNER TO handler_first; GRANT EXECUTE ON FUNCTION app.keep TO handler_first",
    );
    let mut owner = database.connect_as("handler_first");
    subscribe(
        &mut owner,
        "handler => 'sql:app.keep', patterns => '{task.completed}'",
    );
    session.execute("ALTER FUNCTION app.keep OWNER TO handler_second; GRANT EXECUTE ON FUNCTION app.keep TO PUBLIC");
    let calls = run(&mut session);
    assert!(
        calls[0].contains("42501") && calls[0].contains("belongs to role"),
        "{calls:?}"
    );
    // What it says is about a subscriber.
    assert!(
        calls[0].contains("when it subscribed")
            && calls[0].contains("call subscribe with the handler again"),
        "{calls:?}"
    );
    assert!(!calls[0].contains("template"), "{calls:?}");
    assert_eq!(effects(&mut session), [0; 0]);
    // Naming the handler again trusts the new owner.
    owner.query(
        "SELECT tasker.subscribe('audit', handler => 'sql:app.keep')",
        &[],
    );
    run_until_nothing_is_left(&mut session);
    assert_eq!(effects(&mut session).len(), 1);
}

#[test]
fn the_error_of_a_function_that_is_gone_speaks_of_a_subscriber() {
    let (_database, mut session) = database();
    subscribe(&mut session, "handler => 'sql:app.keep', batch_size => 100");
    session.execute("DROP FUNCTION app.keep");
    let calls = run(&mut session);
    assert!(
        calls[0].contains("42883") && calls[0].contains("It is the handler of the subscriber."),
        "{calls:?}"
    );
    assert!(
        calls[0].contains("CREATE FUNCTION app.keep(events jsonb) RETURNS void"),
        "{calls:?}"
    );
    // As the hint says.
    session.execute(
        "CREATE FUNCTION app.keep(events jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$",
    );
    session.create("pay");
    let calls = run(&mut session);
    assert!(
        !calls.is_empty() && calls.iter().all(|call| !call.contains(' ')),
        "{calls:?}"
    );
}

#[test]
fn what_a_handler_did_is_undone_if_its_events_are_acknowledged_meanwhile() {
    let (_database, mut session) = database();
    subscribe(&mut session, "handler => 'sql:app.keep', batch_size => 2");
    session.execute(
        "CREATE TABLE taken AS SELECT array_agg(e.event_id) AS ids, jsonb_agg(to_jsonb(e)) AS events
         FROM tasker_engine.subscribers s CROSS JOIN LATERAL tasker_engine.take_events(s.subscriber_id) e",
    );
    let ran = "SELECT tasker_engine.run_events(s.subscriber_id, t.ids, t.events, 0) FROM taken t, tasker_engine.subscribers s";
    session.query(
        "SELECT tasker.ack_events('audit', ids[1:1]) FROM taken",
        &[],
    );
    let error: Option<String> = session.one(ran, &[]);
    assert_eq!(
        error.as_deref(),
        Some("the events were acknowledged or taken away meanwhile")
    );
    assert_eq!(effects(&mut session), [0; 0]);
    // The other one is still in flight, and none has failed.
    let counts: Vec<i64> = session.all(
        "SELECT unnest(ARRAY[in_flight, failed, waiting]) FROM tasker.subscribers",
        &[],
    );
    assert_eq!(counts, [1, 0, 0]);
}

#[test]
fn a_handler_that_retries_what_has_failed_stops_at_depth_16() {
    for (pattern, retry) in [
        (
            "task.failed",
            "tasker.retry_task((e ->> 'task_uuid')::uuid)",
        ),
        (
            "step.failed",
            "tasker.retry_step((e ->> 'step_uuid')::uuid)",
        ),
    ] {
        let (_database, mut session) = database();
        // Another step keeps the task open.
        let loop_template = Template::new("loop").step("fails", &[]).step("runs", &[]);
        loop_template.register(&mut session);
        session.execute(&format!(
            "CREATE FUNCTION app.retry(events jsonb) RETURNS void LANGUAGE sql AS
             $$ SELECT {retry} FROM jsonb_array_elements(events) e $$"
        ));
        subscribe(
            &mut session,
            &format!("handler => 'sql:app.retry', patterns => '{{{pattern}}}'"),
        );
        let task = session.create("loop");
        if pattern == "task.failed" {
            session.execute(&format!("SELECT tasker.resolve_step_manually(step_uuid) FROM tasker.workflow_steps WHERE task_uuid = '{task}' AND name = 'runs'"));
        }
        let mut failures = 0;
        for _ in 0..30 {
            for claim in session.claim_all("w") {
                if claim.name == "fails" {
                    failures += 1;
                    session.query(
                        "SELECT tasker.fail_step($1, $2, 'it broke', retryable => false)",
                        &[&claim.step, &claim.number],
                    );
                }
            }
            session.query("SELECT * FROM tasker.run_subscribers()", &[]);
        }
        assert_eq!(failures, 18, "{pattern}");
        let dead: String = session.one("SELECT error FROM tasker.event_dead_letters", &[]);
        assert!(dead.contains("more than 16"), "{dead}");
    }
}

#[test]
fn a_loop_of_handlers_that_sessions_call_stops_at_depth_16() {
    let (_database, mut session) = database();
    session.execute(
        "CREATE FUNCTION app.publish(events jsonb) RETURNS void LANGUAGE sql AS
         $$ SELECT tasker.publish_event('orders.again') $$",
    );
    subscribe(
        &mut session,
        "handler => 'sql:app.publish', patterns => '{orders.*}', batch_size => 10",
    );
    session.query("SELECT tasker.publish_event('orders.new')", &[]);
    for _ in 0..30 {
        session.query("SELECT * FROM tasker.run_subscribers()", &[]);
    }
    let depths: Vec<i16> = session.all(
        "SELECT depth FROM tasker_engine.events WHERE starts_with(name, 'orders.') ORDER BY id",
        &[],
    );
    assert_eq!(depths, (0..=17).collect::<Vec<i16>>());
    // What the session publishes afterwards is of no handler.
    session.query("SELECT tasker.publish_event('orders.other')", &[]);
    assert_eq!(
        session.count(
            "SELECT depth FROM tasker_engine.events ORDER BY id DESC LIMIT 1",
            &[]
        ),
        0
    );
    let dead: Vec<String> = session.all("SELECT error FROM tasker.event_dead_letters", &[]);
    assert_eq!(
        dead,
        ["handlers of events have caused it through more than 16 events, one causing the next"]
    );
}
