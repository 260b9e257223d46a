//! A session that outlives DROP and CREATE EXTENSION answers as a new one, whatever it remembered: other templates stand under the
//! same ids. Every public function is called in both.

use std::collections::BTreeSet;

use postgres::SimpleQueryMessage;
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

/// A task that is done, and one of which a step is claimed.
fn tasks(session: &mut Session, template: &Template) -> (Uuid, Uuid) {
    template.register(session);
    let done: Uuid = session.one("SELECT tasker.create_task($1)", &[&template.name()]);
    session.work(|claim| tasker_client_tests::Act::Complete(json!({ "from": claim.name })));
    let open: Uuid = session.one("SELECT tasker.create_task($1)", &[&template.name()]);
    let long = Ask {
        lease: "1 hour",
        ..Ask::by("holder", 1)
    };
    assert_eq!(session.claim(&long).len(), 1);
    session.query(
        "SELECT tasker.schedule_task('nightly', '0 3 * * *', $1)",
        &[&template.name()],
    );
    session.query("SELECT tasker.subscribe('audit')", &[]);
    session.query(
        "SELECT tasker.register_handlers('holder', ARRAY['test.' || $1])",
        &[&template.name()],
    );
    (done, open)
}

/// The argument of a parameter without default, as SQL.
fn argument(
    function: &str,
    parameter: &str,
    kind: &str,
    done: Uuid,
    open: Uuid,
    name: &str,
) -> String {
    let step = format!("tasker.step_uuid('{done}', 2::smallint)");
    match (function, parameter) {
        ("set_operational_state", "state") => "'normal'".into(),
        ("pause_namespace" | "resume_namespace" | "delete_namespace", "name") => "'default'".into(),
        ("publish_event" | "register_event", "name") => "'orders.shipped'".into(),
        (_, "names") => "ARRAY['orders.shipped']".into(),
        (_, "payloads") => "ARRAY['{}']::jsonb[]".into(),
        (function, "name")
            if function.starts_with("find_or_create") || function.ends_with("in_namespace") =>
        {
            "'default'".into()
        }
        ("configure_executor_pool" | "remove_executor_pool", "name") => "'default'".into(),
        ("find_step_by_name", "name") => "'elm'".into(),
        ("tasks_by_annotation", "name") => "'note'".into(),
        (function, "task_uuid")
            if function.contains("claim")
                || function.contains("resolve")
                || function.contains("cancel")
                || function.contains("transition_task") =>
        {
            format!("'{open}'")
        }
        (
            "retry_step"
            | "cancel_step"
            | "complete_step"
            | "fail_step"
            | "transition_step"
            | "try_transition_step",
            "step_uuid",
        ) => {
            format!("tasker.step_uuid('{open}', 1::smallint)")
        }
        (_, "task_uuid") => format!("'{done}'"),
        (_, "step_uuid") => step,
        (_, "task_uuids") => format!("ARRAY['{done}', '{open}']::uuid[]"),
        (_, "name" | "task_name") => format!("'{name}'"),
        (_, "namespace" | "namespace_name") => "'default'".into(),
        (_, "version") => "'0.1.0'".into(),
        (_, "template") => format!("$t${}$t$", Template::new("third").step("fir", &[]).text()),
        (_, "worker_id") => "'holder'".into(),
        (_, "processor_id") => "'processor'".into(),
        (_, "contexts") => "ARRAY['{}']::jsonb[]".into(),
        (_, "reports") => "'[]'".into(),
        (_, "state" | "to_state") => "'complete'".into(),
        (_, "schedule_name") => "'nightly'".into(),
        (_, "subscriber") => "'audit'".into(),
        (_, "patterns") => "'{*}'".into(),
        (_, "start_at") => "'beginning'".into(),
        (_, "event_ids") => "'{16}'".into(),
        (_, "lease") => "interval '1 minute'".into(),
        (_, "role") => "'tasker_worker'".into(),
        (_, "cron") => "'0 4 * * *'".into(),
        (_, "since" | "from_time") => "now() - interval '1 hour'".into(),
        (_, "to_time") => "now() + interval '1 hour'".into(),
        (_, "older_than") => "interval '0'".into(),
        (_, "task_annotation") => "(SELECT a FROM tasker.task_annotations a LIMIT 1)".into(),
        (_, "type_name") => "'note'".into(),
        (_, "annotation" | "value") if kind == "jsonb" => "'{\"a\": 1}'".into(),
        (_, "tags") => "'[\"t\"]'".into(),
        ("load_subscriptions", "yaml") => {
            "'{\"subscriptions\": {\"mail\": {\"events\": \"*\"}}}'".into()
        }
        (_, "handlers") => "ARRAY['test.cedar']".into(),
        _ => match kind {
            "text" => "'x'".into(),
            "integer" | "smallint" => "1".into(),
            "interval" => "interval '1 minute'".into(),
            "boolean" => "false".into(),
            "jsonb" => "'{}'".into(),
            other => panic!("{function}: what to give for {parameter} of type {other}?"),
        },
    }
}

/// A call of every public function with the parameters that have no default.
fn calls(session: &mut Session, done: Uuid, open: Uuid, name: &str) -> Vec<String> {
    let rows = session.query(
        "SELECT p.proname::text,
                COALESCE((SELECT array_agg(a.name ORDER BY a.no) FROM unnest(p.proargnames) WITH ORDINALITY a (name, no)
                          WHERE a.no <= p.pronargs - p.pronargdefaults), '{}'),
                COALESCE((SELECT array_agg(format_type(t.oid, NULL) ORDER BY t.no) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t (oid, no)
                          WHERE t.no <= p.pronargs - p.pronargdefaults), '{}')
         FROM pg_proc p WHERE p.pronamespace = 'tasker'::regnamespace ORDER BY 1",
        &[],
    );
    assert!(rows.len() > 150);
    rows.iter()
        .map(|row| {
            let function: String = row.get(0);
            let (names, kinds): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
            let given: Vec<String> = names
                .iter()
                .zip(&kinds)
                .map(|(parameter, kind)| argument(&function, parameter, kind, done, open, name))
                .collect();
            format!("SELECT * FROM tasker.{function}({})", given.join(", "))
        })
        .collect()
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
