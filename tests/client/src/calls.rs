//! A call of every public function, with arguments that it can work with.

use crate::worker::Ask;
use crate::{Session, Template, Uuid, json};

/// A task that is done, and one of which a step is claimed.
pub fn tasks(session: &mut Session, template: &Template) -> (Uuid, Uuid) {
    template.register(session);
    let done: Uuid = session.one("SELECT tasker.create_task($1)", &[&template.name()]);
    session.work(|claim| crate::Act::Complete(json!({ "from": claim.name })));
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
    session.query("SELECT tasker.find_or_create_dependent_system('x')", &[]);
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
        ("record_export", "event") => "'export_requested'".into(),
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
pub fn calls(session: &mut Session, done: Uuid, open: Uuid, name: &str) -> Vec<String> {
    let calls = listed(session, done, open, name, &["i", "s", "v"]);
    assert!(calls.len() > 150);
    calls.into_iter().map(|(_, call)| call).collect()
}

/// Functions and calls of those that may write; what is a dry run by default is none here.
pub fn writing_calls(
    session: &mut Session,
    done: Uuid,
    open: Uuid,
    name: &str,
) -> Vec<(String, String)> {
    let calls = listed(session, done, open, name, &["v"]);
    assert!(calls.len() > 80, "{}", calls.len());
    calls
}

fn listed(
    session: &mut Session,
    done: Uuid,
    open: Uuid,
    name: &str,
    volatilities: &[&str],
) -> Vec<(String, String)> {
    let rows = session.query(
        "SELECT p.proname::text,
                COALESCE((SELECT array_agg(a.name ORDER BY a.no) FROM unnest(p.proargnames) WITH ORDINALITY a (name, no)
                          WHERE a.no <= p.pronargs - p.pronargdefaults), '{}'),
                COALESCE((SELECT array_agg(format_type(t.oid, NULL) ORDER BY t.no) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY t (oid, no)
                          WHERE t.no <= p.pronargs - p.pronargdefaults), '{}'),
                COALESCE('dry_run' = ANY (p.proargnames), false)
         FROM pg_proc p WHERE p.pronamespace = 'tasker'::regnamespace AND p.provolatile::text = ANY ($1) ORDER BY 1",
        &[&volatilities],
    );
    let only_writing = volatilities == ["v"];
    rows.iter()
        .map(|row| {
            let function: String = row.get(0);
            let (names, kinds): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
            let mut given: Vec<String> = names
                .iter()
                .zip(&kinds)
                .map(|(parameter, kind)| argument(&function, parameter, kind, done, open, name))
                .collect();
            if only_writing && row.get(3) {
                given.push("dry_run => false".to_owned());
            }
            let call = format!("SELECT * FROM tasker.{function}({})", given.join(", "));
            (function, call)
        })
        .collect()
}
