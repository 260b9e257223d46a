//! Traces: what claims hand out, and the spans that the log gives. docs/tracing.md.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Row;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Database, Session, Template, Uuid, Value, inside, json, shapes, started,
};

/// The example of the specification, recorded and not.
const IN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

const TASK: &str = "tasker.task.execution";
const INITIALIZE: &str = "tasker.task.initialize";
const RUN: &str = "tasker.step.execution";
const QUEUED: &str = "tasker.step.queued";
const RETRY: &str = "tasker.step.retry";

#[derive(Debug, Clone, PartialEq)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    state: Option<String>,
    name: String,
    kind: String,
    status: String,
    message: Option<String>,
    attributes: Value,
    events: Value,
    sampled: bool,
    task: Uuid,
    step: Option<Uuid>,
    claim: Option<i32>,
    /// Microseconds.
    began: i64,
    ended: i64,
}

impl Span {
    fn of(row: &Row) -> Self {
        Self {
            trace: row.get("trace_id"),
            id: row.get("span_id"),
            parent: row.get("parent_span_id"),
            state: row.get("trace_state"),
            name: row.get("name"),
            kind: row.get("kind"),
            status: row.get("status"),
            message: row.get("status_message"),
            attributes: row.get("attributes"),
            events: row.get("events"),
            sampled: row.get("sampled"),
            task: row.get("task_uuid"),
            step: row.get("step_uuid"),
            claim: row.get("claim_number"),
            began: row.get("began"),
            ended: row.get("ended"),
        }
    }

    fn event_names(&self) -> Vec<&str> {
        let events = self.events.as_array().expect("an array");
        events
            .iter()
            .map(|event| event["name"].as_str().expect("a name"))
            .collect()
    }
}

const COLUMNS: &str = "*, (extract(epoch FROM started_at) * 1e6)::bigint AS began, (extract(epoch FROM ended_at) * 1e6)::bigint AS ended";

#[track_caller]
fn spans(session: &mut Session, call: &str) -> Vec<Span> {
    let rows = session.query(&format!("SELECT {COLUMNS} FROM tasker.{call}"), &[]);
    rows.iter().map(Span::of).collect()
}

#[track_caller]
fn of_task(session: &mut Session, task: Uuid) -> Vec<Span> {
    spans(session, &format!("trace_spans(task_uuid => '{task}')"))
}

/// What an exporter gets that has read all events.
#[track_caller]
fn exported(session: &mut Session) -> Vec<Span> {
    spans(
        session,
        "spans_of_events(ARRAY(SELECT e.event_id FROM tasker.read_events(max_events => 10000) e WHERE e.event_id IS NOT NULL))",
    )
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn traceparent(span: &Span, flags: &str) -> String {
    format!("00-{}-{}-{flags}", span.trace, span.id)
}

fn handed_out(claim: &Claim) -> &str {
    claim.traceparent.as_deref().expect("always there")
}

/// How many spans hang on none of these; panics if one hangs on a span that is not there, or if two share an id.
#[track_caller]
fn roots(spans: &[Span]) -> usize {
    let ids: BTreeSet<&str> = spans.iter().map(|span| &*span.id).collect();
    assert_eq!(ids.len(), spans.len(), "each has an id of its own");
    let came = "00f067aa0ba902b7";
    let hangs = |span: &&Span| match &span.parent {
        Some(parent) if parent != came => {
            assert!(ids.contains(&**parent), "an orphan: {span:?}");
            true
        }
        _ => false,
    };
    spans.len() - spans.iter().filter(hangs).count()
}

fn create(session: &mut Session, name: &str, traceparent: Option<&str>) -> Uuid {
    session.one(
        "SELECT tasker.create_task($1, traceparent => $2)",
        &[&name, &traceparent],
    )
}

/// Works until nothing is ready, and keeps what was handed out.
fn work(session: &mut Session) -> Vec<Claim> {
    let mut all = vec![];
    loop {
        let claims = session.claim_all("worker");
        if claims.is_empty() {
            return all;
        }
        for claim in claims {
            session.complete(&claim, &json!({}));
            all.push(claim);
        }
    }
}

fn two() -> Template {
    Template::new("two").step("a", &[]).step("b", &["a"])
}

#[test]
fn a_workflow_is_one_tree_even_when_its_workers_emit_nothing() {
    let (_database, mut session, task) = started(&shapes::diamond());
    work(&mut session);
    let spans = of_task(&mut session, task);
    let steps = session.count(
        "SELECT count(*) FROM tasker.workflow_steps WHERE task_uuid = $1",
        &[&task],
    ) as usize;
    assert_eq!(roots(&spans), 1);
    let root = named(&spans, TASK)[0];
    assert_eq!(root.parent, None);
    let counts = [INITIALIZE, RUN, QUEUED, RETRY].map(|name| named(&spans, name).len());
    assert_eq!(counts, [1, steps, steps, 0]);
    for span in spans.iter().filter(|span| span.name != TASK) {
        assert_eq!(span.parent.as_deref(), Some(&*root.id), "{}", span.name);
    }
    let traces: BTreeSet<&str> = spans.iter().map(|span| &*span.trace).collect();
    assert_eq!(traces.len(), 1);
    assert!(spans.iter().all(|span| span.sampled && span.status == "ok"));
    // In the order of their ends.
    assert!(spans.windows(2).all(|two| two[0].ended <= two[1].ended));
    assert!(spans.iter().all(|span| span.began <= span.ended));
    // The runs lie within the task, and a run begins where its time in the queue ends.
    for run in named(&spans, RUN) {
        assert!(root.began <= run.began && run.ended <= root.ended);
        let queued = named(&spans, QUEUED);
        let queued = queued.iter().find(|span| span.step == run.step);
        assert_eq!(queued.map(|span| span.ended), Some(run.began));
    }
}

#[test]
fn a_claim_names_the_span_of_its_run_and_reading_twice_gives_the_same() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    for came in [None, Some(IN)] {
        let task = create(&mut session, "two", came);
        let claims = work(&mut session);
        assert_eq!(claims.len(), 2);
        let read = of_task(&mut session, task);
        assert_eq!(read, of_task(&mut session, task));
        for claim in &claims {
            let run = read
                .iter()
                .find(|span| span.name == RUN && span.step == Some(claim.step))
                .expect("the run");
            assert_eq!(handed_out(claim), traceparent(run, "01"));
            assert_eq!(run.claim, Some(claim.number));
        }
    }
}

#[test]
fn each_way_to_claim_hands_out_the_run() {
    let (_database, mut session, task) = started(&two());
    let ask = Ask::default();
    let (_, first) = session.report_and_claim(&ask, &[]);
    let reports = [first[0].done(json!({}))];
    let (_, second) = session.report_and_claim(&ask, &reports);
    session.complete(&second[0], &json!({}));
    let spans = of_task(&mut session, task);
    let runs: Vec<String> = named(&spans, RUN)
        .iter()
        .map(|run| traceparent(run, "01"))
        .collect();
    assert_eq!(runs, [handed_out(&first[0]), handed_out(&second[0])]);
}

#[test]
fn a_handler_inside_the_database_sees_its_run() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        "CREATE FUNCTION public.tell(step jsonb) RETURNS jsonb LANGUAGE sql
         RETURN jsonb_build_object('traceparent', step->'traceparent', 'tracestate', step->'tracestate')",
    );
    Template::new("inside")
        .step_with(
            "a",
            &[],
            json!({"handler": {"callable": "sql:public.tell"}}),
        )
        .register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('inside', traceparent => $1, tracestate => 'rojo=1')",
        &[&IN],
    );
    session.query("SELECT * FROM tasker.run_steps()", &[]);
    let told: Value = session.one(
        "SELECT results FROM tasker.workflow_steps WHERE task_uuid = $1",
        &[&task],
    );
    let spans = of_task(&mut session, task);
    let run = named(&spans, RUN)[0];
    assert_eq!(
        told,
        json!({"traceparent": traceparent(run, "01"), "tracestate": "rojo=1"})
    );
}

#[test]
fn an_incoming_trace_goes_on_in_the_task() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    // Two tasks of one caller.
    let tasks: Vec<Uuid> = session.all(
        "SELECT tasker.create_tasks('two', '{\"{}\", \"{}\"}', traceparent => $1, tracestate => 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE')",
        &[&IN],
    );
    let claims = work(&mut session);
    let mut all = vec![];
    for task in &tasks {
        let spans = of_task(&mut session, *task);
        let root = named(&spans, TASK)[0];
        assert_eq!(root.parent.as_deref(), Some("00f067aa0ba902b7"));
        all.extend(spans);
    }
    assert_eq!(roots(&all), 2);
    let state = Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    for span in &all {
        assert_eq!(span.trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.state.as_deref(), state);
    }
    assert!(
        claims
            .iter()
            .all(|claim| claim.tracestate.as_deref() == state)
    );
    // What came in stays.
    let kept: Vec<String> = session.all("SELECT traceparent FROM tasker.tasks", &[]);
    assert_eq!(kept, [IN, IN]);
}

#[test]
fn a_task_without_a_traceparent_has_a_trace_of_its_own() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    let tasks = [(); 2].map(|()| create(&mut session, "two", None));
    let claims = work(&mut session);
    let traces: BTreeSet<&str> = claims
        .iter()
        .map(|claim| &handed_out(claim)[3..35])
        .collect();
    assert_eq!(traces.len(), 2);
    for task in tasks {
        assert!(traces.contains(&*of_task(&mut session, task)[0].trace));
    }
    assert!(claims.iter().all(|claim| claim.tracestate.is_none()));
    assert_eq!(exported(&mut session).len(), 12);
}

#[test]
fn a_caller_that_records_nothing_is_obeyed() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    let task = create(&mut session, "two", Some(NOT_SAMPLED));
    let claims = work(&mut session);
    for claim in &claims {
        assert_eq!(&handed_out(claim)[53..], "00");
    }
    assert_eq!(exported(&mut session), []);
    // For a look with psql they are there.
    let spans = of_task(&mut session, task);
    assert_eq!(spans.len(), 6);
    assert!(spans.iter().all(|span| !span.sampled));
}

#[test]
fn what_is_malformed_is_ignored_with_a_warning() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    session.take_notices();
    for (traceparent, tracestate, why) in [
        (Some("t-1"), None, vec!["traceparent \"t-1\" is ignored"]),
        (Some(""), None, vec!["traceparent \"\" is ignored"]),
        (
            Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01"),
            None,
            vec!["lower-case"],
        ),
        (
            Some(IN),
            Some("rojo"),
            vec!["tracestate \"rojo\" is ignored"],
        ),
        (
            Some("t-1"),
            Some("rojo=1"),
            vec!["traceparent", "tracestate \"rojo=1\" is ignored"],
        ),
        (None, Some("rojo=1"), vec!["belongs to a traceparent"]),
        (Some(IN), Some("rojo=1"), vec![]),
    ] {
        let task: Uuid = session.one(
            "SELECT tasker.create_task('two', traceparent => $1, tracestate => $2)",
            &[&traceparent, &tracestate],
        );
        let told = session.take_notices();
        assert_eq!(told.len(), why.len(), "{traceparent:?}: {told:?}");
        for (told, why) in told.iter().zip(&why) {
            assert!(told.contains(why), "{told}");
        }
        let claim = session.claim_one("worker");
        assert_eq!(claim.task, task);
        let valid = traceparent == Some(IN);
        assert_eq!(handed_out(&claim)[3..35] == IN[3..35], valid);
        assert_eq!(
            claim.tracestate.as_deref(),
            tracestate.filter(|state| valid && state.contains('='))
        );
        let stored: Option<String> = session.one(
            "SELECT traceparent FROM tasker.tasks WHERE task_uuid = $1",
            &[&task],
        );
        assert_eq!(stored.as_deref(), traceparent.filter(|_| valid));
        session.query("SELECT tasker.cancel_task($1)", &[&task]);
    }
    // Once for many tasks.
    session.query(
        "SELECT tasker.create_tasks('two', '{\"{}\", \"{}\", \"{}\"}', traceparent => 'x')",
        &[],
    );
    assert_eq!(session.take_notices().len(), 1);
}

#[test]
fn the_warning_has_a_code_a_detail_and_a_hint() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    let told: String = {
        session.take_hints();
        session.query("SELECT tasker.create_task('two', traceparent => 'x')", &[]);
        session.take_hints().remove(0)
    };
    assert!(told.contains("W3C Trace Context"), "{told}");
}

#[test]
fn retries_are_siblings() {
    let template = Template::new("once").step_with("a", &[], json!({"default_retry_limit": 5}));
    let (_database, mut session, task) = started(&template);
    let mut handed = vec![];
    for _ in 0..2 {
        let claim = session.claim_one("worker");
        session.query(
            "SELECT tasker.fail_step($1, $2, 'it broke', 'Broken', retry_after => '0', backtrace => '{one,two}')",
            &[&claim.step, &claim.number],
        );
        handed.push(claim);
    }
    handed.extend(work(&mut session));
    let spans = of_task(&mut session, task);
    assert_eq!(roots(&spans), 1);
    let runs = named(&spans, RUN);
    let parents: BTreeSet<_> = runs.iter().map(|run| &run.parent).collect();
    assert_eq!((runs.len(), parents.len()), (3, 1));
    for (run, claim) in runs.iter().zip(&handed) {
        assert_eq!(traceparent(run, "01"), handed_out(claim));
        assert_eq!(run.attributes["tasker.attempt_number"], claim.attempt);
    }
    let statuses: Vec<&str> = runs.iter().map(|run| &*run.status).collect();
    assert_eq!(statuses, ["error", "error", "ok"]);
    assert_eq!(named(&spans, RETRY).len(), 2);
    let failed = runs[0];
    assert_eq!(failed.message.as_deref(), Some("it broke"));
    assert_eq!(failed.event_names(), ["step.failed", "exception"]);
    assert_eq!(
        failed.events[1]["attributes"],
        json!({"exception.type": "Broken", "exception.message": "it broke", "exception.stacktrace": "one\ntwo"})
    );
    for (key, value) in [
        ("tasker.error", json!("it broke")),
        ("tasker.exception_class", json!("Broken")),
        ("tasker.retry_limit", json!(5)),
        ("tasker.outcome", json!("error")),
        ("error.type", json!("Broken")),
    ] {
        assert_eq!(failed.attributes[key], value, "{key}");
    }
}

#[test]
fn spans_have_the_keys_of_the_service_and_those_of_opentelemetry() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('two', correlation_id => 'c-1')",
        &[],
    );
    let claims = work(&mut session);
    let spans = of_task(&mut session, task);
    let root = named(&spans, TASK)[0];
    assert_eq!(root.kind, "internal");
    assert_eq!(root.event_names(), ["task.started", "task.completed"]);
    for (key, value) in [
        ("tasker.task_id", json!(task.to_string())),
        ("tasker.task_name", json!("two")),
        ("tasker.task_version", json!("0.1.0")),
        ("tasker.namespace", json!("default")),
        ("tasker.correlation_id", json!("c-1")),
        ("tasker.total_steps", json!(2)),
        ("tasker.completed_steps", json!(2)),
        ("tasker.failed_steps", json!(0)),
        ("tasker.outcome", json!("complete")),
    ] {
        assert_eq!(root.attributes[key], value, "{key}");
    }
    let seconds = (root.ended - root.began) as f64 / 1e6;
    assert_eq!(root.attributes["tasker.duration"], json!(seconds));
    let run = named(&spans, RUN)[0];
    assert_eq!((&*run.kind, run.step), ("consumer", Some(claims[0].step)));
    assert_eq!(run.event_names(), ["step.completed"]);
    let seconds = (run.ended - run.began) as f64 / 1e6;
    for (key, value) in [
        ("tasker.step_id", json!(claims[0].step.to_string())),
        ("tasker.step_name", json!("a")),
        ("tasker.attempt_number", json!(1)),
        ("tasker.claim_number", json!(1)),
        ("tasker.execution_duration", json!(seconds)),
        ("tasker.worker_id", json!("worker")),
        ("messaging.system", json!("tasker")),
        ("messaging.destination.name", json!("default")),
        ("messaging.operation.type", json!("process")),
        ("messaging.message.conversation_id", json!("c-1")),
    ] {
        assert_eq!(run.attributes[key], value, "{key}");
    }
    assert_eq!(named(&spans, QUEUED)[0].event_names(), ["step.queued"]);
    assert_eq!(
        named(&spans, INITIALIZE)[0].event_names(),
        ["task.initialize"]
    );
    assert_eq!(named(&spans, INITIALIZE)[0].kind, "producer");
    // Flat, of strings, numbers and booleans.
    for span in &spans {
        for (key, value) in span.attributes.as_object().expect("an object") {
            assert!(
                value.is_string() || value.is_number() || value.is_boolean(),
                "{key}"
            );
        }
    }
    session.execute("SET tasker.service_name = 'shop'");
    let again = of_task(&mut session, task);
    assert_eq!(again[0].attributes["shop.task_id"], json!(task.to_string()));
    assert_eq!(again[0].attributes.get("tasker.task_id"), None);
    assert_eq!(again[0].id, spans[0].id);
}

#[test]
fn a_task_that_fails_says_why() {
    let (_database, mut session, task) = started(&two());
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    let spans = of_task(&mut session, task);
    let root = named(&spans, TASK)[0];
    assert_eq!(root.status, "error");
    assert!(root.message.is_some());
    assert_eq!(root.event_names(), ["task.started", "task.failed"]);
    assert_eq!(root.attributes["tasker.failed_steps"], 1);
    assert_eq!(
        root.attributes["error.type"],
        root.attributes["tasker.exception_class"]
    );
    assert_eq!(roots(&spans), 1);
}

#[test]
fn a_lost_lease_ends_its_run_and_the_next_one_is_a_sibling() {
    let template = Template::new("one").step("a", &[]).patient();
    let (_database, mut session, task) = started(&template);
    let lost = session.claim_one("first");
    inside::lease_ended(&mut session, "first", 1);
    let next = session.claim_one("second");
    session.complete(&next, &json!({}));
    let spans = of_task(&mut session, task);
    let runs = named(&spans, RUN);
    assert_eq!(runs.len(), 2);
    assert_eq!(
        [traceparent(runs[0], "01"), traceparent(runs[1], "01")],
        [handed_out(&lost), handed_out(&next)]
    );
    assert_eq!(runs[0].status, "error");
    assert_eq!(runs[0].attributes["tasker.outcome"], "expired");
    assert_eq!(runs[0].attributes["error.type"], "LeaseExpired");
    assert_eq!(runs[0].attributes["tasker.worker_id"], "first");
    assert_eq!(runs[1].attributes["tasker.worker_id"], "second");
    assert_eq!(roots(&spans), 1);
}

#[test]
fn a_step_that_was_given_back_has_a_run_of_its_own() {
    let (_database, mut session, task) = started(&Template::new("one").step("a", &[]));
    let first = session.claim_one("worker");
    session.query(
        "SELECT tasker.release_steps('worker', reason => 'busy')",
        &[],
    );
    let second = session.claim_one("worker");
    // The attempt does not count, the claim does.
    assert_eq!((first.attempt, second.attempt), (1, 1));
    session.complete(&second, &json!({}));
    let spans = of_task(&mut session, task);
    let runs = named(&spans, RUN);
    let handed = [handed_out(&first), handed_out(&second)];
    assert_eq!(
        [traceparent(runs[0], "01"), traceparent(runs[1], "01")],
        handed
    );
    assert_eq!((&*runs[0].status, &*runs[1].status), ("unset", "ok"));
    assert_eq!(runs[0].attributes["tasker.outcome"], "released");
    assert_eq!(roots(&exported(&mut session)), 1);
}

#[test]
fn a_cancelled_task_is_a_tree_as_well() {
    let (_database, mut session, task) = started(&two());
    let claim = session.claim_one("worker");
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let spans = of_task(&mut session, task);
    assert_eq!(roots(&spans), 1);
    let (root, run) = (named(&spans, TASK)[0], named(&spans, RUN)[0]);
    assert_eq!(traceparent(run, "01"), handed_out(&claim));
    for span in [root, run] {
        assert_eq!(span.status, "unset");
        assert_eq!(span.attributes["tasker.outcome"], "cancelled");
    }
    // These ends have no route of their own; the spans go where the others go.
    assert_eq!(exported(&mut session).len(), spans.len());
}

#[test]
fn a_step_that_an_operator_ends_has_the_runs_that_it_had() {
    let (_database, mut session, task) = started(&two());
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    session.query(
        "SELECT tasker.resolve_step_manually($1, '{}')",
        &[&claim.step],
    );
    let spans = of_task(&mut session, task);
    assert_eq!(named(&spans, RUN).len(), 1);
    // By hand: it starts, and ends.
    let other: Uuid = session.one("SELECT tasker.create_task('two')", &[]);
    let step: Uuid = session.one(
        "SELECT step_uuid FROM tasker.workflow_steps WHERE task_uuid = $1 AND name = 'a'",
        &[&other],
    );
    session.query("SELECT tasker.transition_step($1, 'in_progress')", &[&step]);
    session.query("SELECT tasker.transition_step($1, 'complete')", &[&step]);
    let spans = of_task(&mut session, other);
    let run = named(&spans, RUN)[0];
    assert_eq!((run.claim, &*run.status), (Some(1), "ok"));
}

#[test]
fn a_task_that_is_taken_up_again_stays_one_tree() {
    let (_database, mut session, task) = started(&two());
    let claim = session.claim_one("worker");
    session.fail_for_good(&claim);
    let before = of_task(&mut session, task);
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    let again = work(&mut session);
    let spans = of_task(&mut session, task);
    // What was exported before stays as it was.
    assert_eq!(&spans[..before.len()], &before[..]);
    assert_eq!(roots(&spans), 1);
    let tasks = named(&spans, TASK);
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[1].parent.as_deref(), Some(&*tasks[0].id));
    assert_eq!((&*tasks[0].status, &*tasks[1].status), ("error", "ok"));
    let runs = named(&spans, RUN);
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[0].parent.as_deref(), Some(&*tasks[0].id));
    for (run, claim) in runs[1..].iter().zip(&again) {
        assert_eq!(run.parent.as_deref(), Some(&*tasks[1].id));
        assert_eq!(traceparent(run, "01"), handed_out(claim));
    }
}

#[test]
fn a_task_that_runs_again_as_another_one_has_another_trace() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    let task: Uuid = session.one(
        "SELECT tasker.create_task('two', traceparent => $1, tracestate => 'rojo=1')",
        &[&IN],
    );
    work(&mut session);
    let again: Uuid = session.one("SELECT tasker.rerun_task($1)", &[&task]);
    let claims = work(&mut session);
    assert!(claims.iter().all(|claim| claim.tracestate.is_none()));
    let spans = of_task(&mut session, again);
    assert_ne!(spans[0].trace, IN[3..35]);
    assert_eq!(named(&spans, TASK)[0].parent, None);
}

/// The traceparents of all events that are about the task.
fn of_events(session: &mut Session, task: Uuid) -> BTreeMap<String, BTreeSet<String>> {
    let rows = session.query(
        "SELECT e.name, coalesce(e.traceparent, '') FROM tasker.read_events(max_events => 10000) e WHERE e.task_uuid = $1",
        &[&task],
    );
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        found.entry(row.get(0)).or_default().insert(row.get(1));
    }
    found
}

#[test]
fn an_event_names_the_run_that_it_is_about_otherwise_the_task() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("one").step("a", &[]).register(&mut session);
    for (came, flags) in [(None, "01"), (Some(IN), "01"), (Some(NOT_SAMPLED), "00")] {
        let task = create(&mut session, "one", came);
        let claim = session.claim_one("worker");
        let report = json!({
            "step_uuid": claim.step.to_string(), "claim_number": claim.number, "status": "complete", "results": {},
            "events": [{"name": "orders.paid", "payload": {}}],
        });
        session.report_and_claim(&Ask::default(), &[report]);
        session.query(
            "SELECT tasker.publish_event('orders.counted', task_uuid => $1)",
            &[&task],
        );
        let spans = of_task(&mut session, task);
        let root = traceparent(named(&spans, TASK)[0], flags);
        let run = traceparent(named(&spans, RUN)[0], flags);
        assert_eq!(run, handed_out(&claim));
        let events = of_events(&mut session, task);
        let says = |name: &str, traceparent: &str| {
            assert_eq!(
                events[name],
                BTreeSet::from([traceparent.to_owned()]),
                "{name}"
            );
        };
        for name in [
            "task.initialize_requested",
            "task.completed",
            "orders.counted",
        ] {
            says(name, &root);
        }
        for name in ["step.execution_requested", "step.completed", "orders.paid"] {
            says(name, &run);
        }
        // A CloudEvent says the same.
        let clouds: Vec<String> = session.all(
            "SELECT e.payload->>'traceparent' FROM tasker.read_events(max_events => 10000, format => 'cloudevents') e
             WHERE e.task_uuid = $1 AND e.name = 'step.completed'",
            &[&task],
        );
        assert_eq!(clouds, [run]);
    }
}

#[test]
fn a_subscriber_gets_the_traceparents_of_read_events() {
    let (_database, mut session, task) = started(&two());
    session.query("SELECT tasker.subscribe('audit', '{*}', 'beginning')", &[]);
    work(&mut session);
    let lines = |session: &mut Session, call: &str| -> Vec<String> {
        session.all(
            &format!("SELECT concat_ws(' ', event_id, name, traceparent) FROM tasker.{call} WHERE task_uuid = $1 ORDER BY event_id"),
            &[&task],
        )
    };
    let polled = lines(&mut session, "poll_events('audit', 1000)");
    assert_eq!(
        polled,
        lines(&mut session, "read_events(max_events => 1000)")
    );
    assert!(!polled.is_empty() && polled.iter().all(|line| line.contains(" 00-")));
}

#[test]
fn each_event_ends_its_spans_once() {
    let (_database, mut session, task) = started(&shapes::diamond());
    work(&mut session);
    let all = of_task(&mut session, task);
    assert_eq!(exported(&mut session), all);
    // By its own name alone, and in any order, whatever else is asked for.
    let names: BTreeMap<String, i64> = session
        .query(
            "SELECT e.name, count(s.span_id) FROM tasker.read_events(max_events => 10000) e
             LEFT JOIN LATERAL tasker.spans_of_events(ARRAY[e.event_id]) s ON true
             WHERE e.event_id IS NOT NULL GROUP BY 1",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    for (name, count) in &names {
        let expected = match &**name {
            "task.initialize_requested" | "task.completed" => 1,
            "step.completed" => all.len() as i64 - 2,
            _ => 0,
        };
        assert_eq!(*count, expected, "{name}");
    }
    let twice = spans(
        &mut session,
        "spans_of_events((SELECT array_agg(e.event_id) || array_agg(e.event_id) || NULL::bigint || 0::bigint || -5::bigint || 9223372036854775807
                          FROM tasker.read_events(max_events => 10000) e))",
    );
    assert_eq!(twice, all);
}

#[test]
fn routes_the_rate_and_the_filter_decide_what_is_recorded() {
    let (_database, mut session, task) = started(&two());
    work(&mut session);
    let count = |session: &mut Session, name: &str| named(&exported(session), name).len();
    assert_eq!(exported(&mut session).len(), 6);

    session.query(
        "SELECT tasker.set_event_route('step.completed', enabled => false)",
        &[],
    );
    assert_eq!(
        [RUN, QUEUED, TASK].map(|name| count(&mut session, name)),
        [0, 2, 1]
    );
    // In trace_spans they stay, and say so.
    let spans = of_task(&mut session, task);
    assert!(named(&spans, RUN).iter().all(|run| !run.sampled));
    session.query(
        "SELECT tasker.set_event_route('step.completed', enabled => true)",
        &[],
    );

    session.execute("SET tasker.filtered_events = 'step.started'");
    assert_eq!(
        [RUN, QUEUED, TASK].map(|name| count(&mut session, name)),
        [0, 0, 1]
    );
    session.execute("SET tasker.filtered_events = 'task.completed'");
    // The others hang on it, so it stays, without the event.
    let all = exported(&mut session);
    assert_eq!((all.len(), roots(&all)), (6, 1));
    assert_eq!(named(&all, TASK)[0].event_names(), ["task.started"]);
    session.execute("SET tasker.filtered_events = 'task.initialize_requested'");
    assert_eq!(count(&mut session, INITIALIZE), 0);
    session.execute("RESET tasker.filtered_events");

    session.query(
        "SELECT tasker.set_event_route('task.start_requested', '{metrics}')",
        &[],
    );
    assert_eq!(exported(&mut session), []);
    session.query(
        "SELECT tasker.set_event_route('task.start_requested', '{trace}')",
        &[],
    );
    session.execute("SET tasker.event_sampling_rate = 0");
    assert_eq!(exported(&mut session), []);
    // What is handed out says so.
    create(&mut session, "two", None);
    let claim = session.claim_one("worker");
    assert_eq!(&handed_out(&claim)[53..], "00");
    session.execute(
        "SET tasker.filtered_events = 'step.execution_requested'; RESET tasker.event_sampling_rate",
    );
    session.complete(&claim, &json!({}));
    assert_eq!(&handed_out(&session.claim_one("worker"))[53..], "00");
}

#[test]
fn a_share_of_the_tasks_is_recorded_whole_and_a_caller_that_records_counts_more() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    session.execute("SET tasker.event_sampling_rate = 0.3");
    session.query(
        "SELECT tasker.create_tasks('two', array_fill('{}'::jsonb, '{300}'))",
        &[],
    );
    let claims = session.claim_all("worker");
    let recorded: BTreeSet<Uuid> = claims
        .iter()
        .filter(|claim| handed_out(claim).ends_with("01"))
        .map(|claim| claim.task)
        .collect();
    assert!((50..130).contains(&recorded.len()), "{}", recorded.len());
    for claim in &claims {
        session.complete(claim, &json!({}));
    }
    work(&mut session);
    let all = exported(&mut session);
    let tasks: BTreeSet<Uuid> = all.iter().map(|span| span.task).collect();
    assert_eq!(tasks, recorded);
    assert_eq!(all.len(), 6 * recorded.len());
    let tasks: Vec<Uuid> = session.all(
        "SELECT tasker.create_tasks('two', array_fill('{}'::jsonb, '{20}'), traceparent => $1)",
        &[&IN],
    );
    let claims = session.claim_all("worker");
    assert_eq!(claims.len(), tasks.len());
    assert!(claims.iter().all(|claim| handed_out(claim).ends_with("01")));
}

#[test]
fn spans_come_by_the_time_of_their_end() {
    let database = Database::new();
    let mut session = database.connect();
    two().register(&mut session);
    for _ in 0..10 {
        create(&mut session, "two", None);
        work(&mut session);
    }
    let all = spans(&mut session, "trace_spans()");
    assert_eq!(all.len(), 60);
    assert!(all.windows(2).all(|two| two[0].ended <= two[1].ended));
    let at = |micros: i64| format!("to_timestamp(0) + {micros} * interval '1 microsecond'");
    // Every part of the time has the spans that end in it.
    for (from, to) in [(0, 59), (10, 20), (20, 21), (5, 50)] {
        let (since, until) = (all[from].ended, all[to].ended);
        let some = spans(
            &mut session,
            &format!("trace_spans({}, {})", at(since), at(until)),
        );
        let expected: Vec<&Span> = all
            .iter()
            .filter(|span| (since..until).contains(&span.ended))
            .collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), expected);
    }
    for limit in [1, 7, 59] {
        let some = spans(
            &mut session,
            &format!("trace_spans(limit_count => {limit})"),
        );
        assert_eq!(some, all[..limit]);
    }
    assert_eq!(spans(&mut session, "trace_spans('infinity')"), []);
    assert_eq!(spans(&mut session, "trace_spans(until => '-infinity')"), []);
    // A span that ended long before its row was written: the time in the queue.
    create(&mut session, "two", None);
    let claim = session.claim_one("worker");
    let claimed = inside::claimed_at(&mut session);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    session.complete(&claim, &json!({}));
    let some = spans(
        &mut session,
        &format!("trace_spans({}, {})", at(claimed), at(claimed + 1)),
    );
    assert_eq!(
        some.iter().map(|span| &*span.name).collect::<Vec<_>>(),
        [QUEUED]
    );
}

#[test]
fn many_spans_of_one_moment_are_read_in_parts() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("one").step("a", &[]).register(&mut session);
    session.query(
        "SELECT tasker.create_tasks('one', array_fill('{}'::jsonb, '{3000}'))",
        &[],
    );
    let claims = session.claim_all("worker");
    let reports: Vec<Value> = claims.iter().map(|claim| claim.done(json!({}))).collect();
    session.report_and_claim(&Ask::default(), &reports);
    let all = spans(&mut session, "trace_spans(limit_count => 10000)");
    // 12,000 spans, the first ones by their ends: the last moment has the runs and the tasks.
    let count = |name| named(&all, name).len();
    assert_eq!([INITIALIZE, QUEUED].map(count), [3000, 3000]);
    assert_eq!(count(RUN) + count(TASK), 4000);
    assert_eq!(all.len(), 10_000);
    // More rows of one time than a page has.
    let first = spans(&mut session, "trace_spans(limit_count => 500)");
    assert_eq!(first, all[..500]);
    let exported = exported(&mut session);
    let ids: BTreeSet<&str> = exported.iter().map(|span| &*span.id).collect();
    assert_eq!(ids.len(), exported.len());
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let database = Database::new();
    let mut session = database.connect();
    for limit in [0, -1, 10_001] {
        session
            .fails(
                &format!("SELECT * FROM tasker.trace_spans(limit_count => {limit})"),
                &[],
            )
            .is("22023")
            .says(&["limit_count", "10,000"]);
    }
    session
        .fails("SELECT * FROM tasker.trace_spans(limit_count => NULL)", &[])
        .is("22004");
    session
        .fails("SELECT * FROM tasker.spans_of_events(NULL)", &[])
        .is("22004");
    session
        .fails(
            "SELECT * FROM tasker.spans_of_events(array_fill(1::bigint, '{10001}'))",
            &[],
        )
        .is("54000");
    assert_eq!(spans(&mut session, "trace_spans()"), []);
    assert_eq!(spans(&mut session, "spans_of_events('{}')"), []);
    let unknown = "trace_spans(task_uuid => '00000000-0000-0000-0000-000000000000')";
    assert_eq!(spans(&mut session, unknown), []);
}

#[test]
fn readers_may_read_spans_and_workers_are_refused() {
    let database = Database::new();
    let mut session = database.connect();
    for call in ["trace_spans()", "spans_of_events('{1}')"] {
        for (role, may) in [("tasker_reader", true), ("tasker_worker", false)] {
            session.execute(&format!("SET ROLE {role}"));
            let answer = session.attempt_with(&format!("SELECT * FROM tasker.{call}"), &[]);
            session.execute("RESET ROLE");
            assert_eq!(answer.is_ok(), may, "{role}: {call}");
        }
    }
}

#[test]
fn tasks_of_the_version_before_have_spans_as_well() {
    let template = Template::new("one").step("a", &[]).patient();
    let (_database, mut session, task) = started(&template);
    for _ in 0..2 {
        let claim = session.claim_one("worker");
        session.fail(&claim);
    }
    work(&mut session);
    let before = of_task(&mut session, task);
    inside::store_starts(&mut session);
    inside::forget_claim_numbers(&mut session);
    // A run is then told by a start of its own.
    let after = of_task(&mut session, task);
    let shape = |spans: &[Span]| -> Vec<(String, String, Option<i32>, i64, i64)> {
        spans
            .iter()
            .map(|span| {
                (
                    span.name.clone(),
                    span.id.clone(),
                    span.claim,
                    span.began,
                    span.ended,
                )
            })
            .collect()
    };
    assert_eq!(shape(&after), shape(&before));
}

#[test]
fn the_log_says_which_claim_each_run_had() {
    let template = Template::new("one")
        .step("a", &[])
        .step("b", &["a"])
        .patient();
    let (_database, mut session, task) = started(&template);
    let act = |session: &mut Session, how: usize| {
        let claim = session.claim_one("worker");
        match how {
            0 => drop(session.fail(&claim)),
            1 => drop(session.query("SELECT tasker.release_steps('worker')", &[])),
            2 => inside::lease_ended(session, "worker", 1),
            _ => drop(session.complete(&claim, &json!({}))),
        }
    };
    for how in [0, 1, 2, 2, 1, 0, 3, 1, 3] {
        act(&mut session, how);
    }
    let numbers = inside::claim_numbers(&mut session, task, 1);
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn reading_spans_writes_nothing() {
    let (_database, mut session, _) = started(&two());
    work(&mut session);
    for call in [
        "SELECT count(*) FROM tasker.trace_spans()",
        "SELECT count(*) FROM tasker.spans_of_events('{1,17,33}')",
    ] {
        assert_eq!(session.transaction_ids(call), 0, "{call}");
    }
}

#[test]
fn secrets_are_hidden_in_what_a_span_says() {
    let (_database, mut session, task) = started(&Template::new("one").step("a", &[]));
    let claim = session.claim_one("worker");
    session.query(
        "SELECT tasker.fail_step($1, $2, 'no entry: password=hunter2 for bob', 'Broken', false, backtrace => '{\"token=abc123 line 1\"}')",
        &[&claim.step, &claim.number],
    );
    let spans = of_task(&mut session, task);
    let text = format!("{spans:?}");
    assert!(
        !text.contains("hunter2") && !text.contains("abc123"),
        "{text}"
    );
    let run = named(&spans, RUN)[0];
    assert_eq!(
        run.message.as_deref(),
        Some("no entry: password=[FILTERED] for bob")
    );
    session.execute("SET tasker.filter_parameters = 'step_name, exception.type'; SET tasker.filter_mask = '***'");
    let spans = of_task(&mut session, task);
    let run = named(&spans, RUN)[0];
    assert_eq!(run.attributes["tasker.step_name"], "***");
    assert_eq!(run.events[1]["attributes"]["exception.type"], "***");
    assert!(
        run.message
            .as_deref()
            .is_some_and(|message| message.contains("hunter2"))
    );
}
