//! `tasker exporter` sends spans to a receiver of OTLP: it acknowledges what the receiver has accepted, and loses nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use postgres::Row;
use tasker_client_tests::database::PATTERN;
use tasker_client_tests::exporter::{Exporter, ROLE, dsn, make_role, signal};
use tasker_client_tests::exports::{self, wait_for};
use tasker_client_tests::kills::own_server;
use tasker_client_tests::receiver::{Answer, Identity, Received, Receiver, free_address, hex};
use tasker_client_tests::server::Server;
use tasker_client_tests::{Database, Session, Template, Value, json, patience, scaled};

const SUBSCRIBE: &str = "SELECT tasker.subscribe('tasker_otlp', '{step.*, task.*}', 'beginning', max_deliveries => 1000)";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// In place of the engine's own, where that is missing: a span for each event that ends a run or a task.
const SPANS: &str = "DO $do$ BEGIN
    IF to_regprocedure('tasker.spans_of_events(bigint[])') IS NULL THEN
        CREATE FUNCTION tasker.spans_of_events(event_ids bigint[]) RETURNS TABLE (
            event_id bigint, trace_id text, span_id text, parent_span_id text, trace_state text, name text, kind text,
            started_at timestamptz, ended_at timestamptz, status text, status_message text, attributes jsonb, events jsonb,
            sampled boolean, task_uuid uuid, step_uuid uuid, claim_number integer)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            SELECT e.event_id, replace(e.task_uuid::text, '-', ''),
                   CASE WHEN e.step_uuid IS NULL THEN left(md5(e.task_uuid::text), 16) ELSE lpad(to_hex(e.event_id), 16, '0') END,
                   CASE WHEN e.step_uuid IS NOT NULL THEN left(md5(e.task_uuid::text), 16) END, NULL,
                   CASE WHEN e.step_uuid IS NULL THEN 'tasker.task.execution' ELSE 'tasker.step.execution' END, 'internal',
                   e.occurred_at - '1 second'::interval, e.occurred_at,
                   CASE WHEN e.name LIKE '%.failed' THEN 'error' ELSE 'ok' END, e.payload ->> 'error_message',
                   jsonb_build_object('tasker.namespace', e.namespace), '[]'::jsonb, true, e.task_uuid, e.step_uuid, 1
            FROM tasker_engine.events_again($1, ARRAY(SELECT i / 16 FROM unnest($1) i)) e
            WHERE e.name IN ('step.completed', 'step.failed', 'task.completed', 'task.failed')
        $$;
        GRANT EXECUTE ON FUNCTION tasker.spans_of_events(bigint[]) TO tasker_reader;
    END IF;
END $do$";

/// A database with the subscriber, which the role of the exporter may poll.
fn prepared() -> (Database, Session) {
    let database = Database::new();
    let session = subscribed(database.server(), database.name());
    (database, session)
}

fn subscribed(server: &Server, database: &str) -> Session {
    make_role(server);
    let mut session = server.connect(database);
    session.execute(SPANS);
    Template::new("pay")
        .step("a", &[])
        .step("b", &["a"])
        .register(&mut session);
    session.query(SUBSCRIBE, &[]);
    session.query(
        &format!("SELECT tasker.grant_subscriber('tasker_otlp', '{ROLE}')"),
        &[],
    );
    session
}

/// Tasks that are done.
fn run_tasks(session: &mut Session, count: usize) {
    session.create_many("pay", count);
    let work = "SELECT count(tasker.complete_step(step_uuid, claim_number)) FROM tasker.claim_steps('worker', '{default}', 1000)";
    while session.one::<i64>(work, &[]) > 0 {}
}

/// The ids of all spans that there are to send.
fn expected(session: &mut Session) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut here: Option<String> = None;
    loop {
        let rows = session.query(
            "SELECT max(position), coalesce(array_agg(event_id) FILTER (WHERE event_id IS NOT NULL), '{}')
             FROM (SELECT last_value(position) OVER () AS position, event_id
                   FROM tasker.read_events($1, 10000, '{step.*, task.*}')) r",
            &[&here],
        );
        let events: Vec<i64> = rows[0].get(1);
        if events.is_empty() {
            return ids;
        }
        here = rows[0].get(0);
        let spans: Vec<String> = session.all(
            "SELECT span_id FROM tasker.spans_of_events($1) WHERE sampled",
            &[&events],
        );
        ids.extend(spans);
    }
}

/// It does not give way: other tests want the processors, too.
fn started(database: &Database, variables: &[(&str, &str)]) -> Exporter {
    let options = ["--otlp-give-way=false"];
    Exporter::start(
        &dsn(database.server(), database.name()),
        &options,
        variables,
    )
}

/// Keeps all processors busy until the value is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn new() -> Self {
        let busy = Self(Arc::new(AtomicBool::new(true)));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..4 * processors {
            let goes_on = busy.0.clone();
            std::thread::spawn(move || while goes_on.load(Ordering::Relaxed) {});
        }
        busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn an_export_gives_way_while_others_want_the_processors() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 300);
    let receiver = Receiver::willing();
    let busy = Busy::new();
    let dsn = dsn(database.server(), database.name());
    let gives_way = Exporter::start(&dsn, &[], &[(ENDPOINT, &receiver.url())]);
    wait_for("a pause", || counted(&gives_way, "pauses_total") > 0.0);
    drop(busy);
    wait_for_all(&receiver, &mut session);

    let receiver = Receiver::willing();
    session.execute("SELECT tasker.seek_subscriber('tasker_otlp', 'beginning')");
    drop(gives_way);
    let busy = Busy::new();
    let goes_on = started(&database, &[(ENDPOINT, &receiver.url())]);
    wait_for_all(&receiver, &mut session);
    assert_eq!(counted(&goes_on, "pauses_total"), 0.0);
    drop(busy);
}

fn of_subscriber(session: &mut Session, number: &str) -> i64 {
    exports::of_subscriber(session, "tasker_otlp", number)
}

fn unacknowledged(session: &mut Session) -> i64 {
    exports::unacknowledged(session, "tasker_otlp")
}

/// Waits until the receiver has accepted every span; as long as some come, because they can be many.
#[track_caller]
fn wait_for_all(receiver: &Receiver, session: &mut Session) -> Vec<String> {
    let all = expected(session);
    assert!(!all.is_empty());
    let (mut ids, mut missing, mut seen) = (vec![], all.clone(), 0);
    let mut deadline = Instant::now() + patience(60);
    while !missing.is_empty() {
        let new = receiver.received_after(seen);
        seen += new.len();
        let accepted = new.iter().filter(|request| request.is_accepted());
        for span in accepted.flat_map(Received::spans) {
            let id = hex(&span.span_id);
            assert!(all.contains(&id), "{span:?}");
            missing.remove(&id);
            ids.push(id);
            deadline = Instant::now() + patience(60);
        }
        assert!(
            Instant::now() < deadline,
            "{seen} requests came, {} spans are missing",
            missing.len()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    ids
}

fn counted(exporter: &Exporter, counter: &str) -> f64 {
    exports::counted(exporter, "otlp", "tasker_otlp", counter)
}

#[track_caller]
fn wait_for_count(exporter: &Exporter, name: &str, wanted: f64) {
    wait_for(&format!("{name} of {wanted}"), || {
        counted(exporter, name) == wanted
    });
}

#[test]
fn spans_are_acknowledged_after_the_receiver_has_accepted_them() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 3);
    let hold = patience(2);
    let receiver = Receiver::start(move |number, _| match number {
        0 => Answer::code(200).after(hold),
        _ => Answer::code(200),
    });
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    receiver.wait_until("a request", |received| !received.is_empty());
    // The answer is not there yet.
    std::thread::sleep(hold / 4);
    assert!(
        of_subscriber(&mut session, "in_flight") > 0,
        "acknowledged before the answer"
    );
    wait_for("acknowledged", || unacknowledged(&mut session) == 0);
    let sent = wait_for_all(&receiver, &mut session);
    assert_eq!(
        sent.iter().collect::<BTreeSet<_>>().len(),
        sent.len(),
        "each once"
    );
    wait_for_count(&exporter, "sent_total", sent.len() as f64);
    assert_eq!(of_subscriber(&mut session, "waiting"), 0);
    let received = receiver.received();
    assert!(received.iter().all(|request| request.path == "/v1/traces"));
    let bytes: usize = received.iter().map(|request| request.body.len()).sum();
    assert_eq!(counted(&exporter, "sent_bytes_total"), bytes as f64);
    assert_eq!(counted(&exporter, "batches_total"), received.len() as f64);
    assert_eq!(counted(&exporter, "retries_total"), 0.0);
}

/// Where the spans of a request come from.
#[track_caller]
fn check_resource(request: &Received) {
    for of_resource in request.traces().resource_spans {
        let resource: BTreeMap<String, Option<Any>> = of_resource
            .resource
            .expect("a resource")
            .attributes
            .into_iter()
            .map(|pair| (pair.key, pair.value.and_then(|value| value.value)))
            .collect();
        let text = |text: &str| Some(Any::StringValue(text.to_owned()));
        assert_eq!(resource["service.name"], text("shop"));
        assert_eq!(resource["deployment.environment"], text("test"));
        let scope = of_resource.scope_spans[0].scope.as_ref();
        assert_eq!(scope.expect("a scope").name, "tasker");
    }
}

/// A span that was sent, and the row that says what it must be.
#[track_caller]
fn check_span(span: &Span, row: &Row) {
    assert_eq!(hex(&span.trace_id), row.get::<_, String>("trace_id"));
    let parent: Option<String> = row.get("parent_span_id");
    assert_eq!(hex(&span.parent_span_id), parent.unwrap_or_default());
    assert_eq!(span.name, row.get::<_, String>("name"));
    let nanoseconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.expect("after 1970").as_nanos() as u64
    };
    assert_eq!(
        span.start_time_unix_nano,
        nanoseconds(row.get("started_at"))
    );
    assert_eq!(span.end_time_unix_nano, nanoseconds(row.get("ended_at")));
    let kind = match row.get::<_, &str>("kind") {
        "internal" => SpanKind::Internal,
        "consumer" => SpanKind::Consumer,
        "producer" => SpanKind::Producer,
        other => panic!("{other}"),
    };
    assert_eq!(span.kind(), kind);
    let code = match row.get::<_, &str>("status") {
        "ok" => StatusCode::Ok,
        "error" => StatusCode::Error,
        _ => StatusCode::Unset,
    };
    assert_eq!(span.status.as_ref().expect("a status").code(), code);
    let said = |pairs: &[KeyValue]| -> BTreeMap<String, Value> {
        let value = |value: Option<Any>| match value {
            Some(Any::StringValue(text)) => json!(text),
            Some(Any::BoolValue(flag)) => json!(flag),
            Some(Any::IntValue(whole)) => json!(whole),
            Some(Any::DoubleValue(real)) => json!(real),
            other => panic!("{other:?}"),
        };
        pairs
            .iter()
            .map(|pair| {
                let inner = pair.value.clone().and_then(|value| value.value);
                (pair.key.clone(), value(inner))
            })
            .collect()
    };
    let wanted = |object: &Value| -> BTreeMap<String, Value> {
        let pairs = object.as_object().into_iter().flatten();
        pairs
            .map(|(key, value)| match value {
                // A whole number and its fraction of zero are the same here.
                Value::Number(number) if number.as_i64().is_none() => {
                    (key.clone(), json!(number.as_f64()))
                }
                other => (key.clone(), other.clone()),
            })
            .collect()
    };
    let attributes: Value = row.get("attributes");
    assert_eq!(said(&span.attributes), wanted(&attributes));
    let events: Value = row.get("events");
    let events = events.as_array().cloned().unwrap_or_default();
    assert_eq!(span.events.len(), events.len());
    for (event, wanted_event) in span.events.iter().zip(&events) {
        assert_eq!(json!(event.name), wanted_event["name"]);
        assert_eq!(said(&event.attributes), wanted(&wanted_event["attributes"]));
        assert!(event.time_unix_nano > 1_700_000_000_000_000_000);
    }
}

#[test]
fn a_span_is_what_the_database_says() {
    let (database, mut session) = prepared();
    session.create("pay");
    session.query(
        "SELECT tasker.fail_step(step_uuid, claim_number, 'it broke', 'Broken', retryable => false) FROM tasker.claim_steps('worker', '{default}')",
        &[],
    );
    let receiver = Receiver::willing();
    let _exporter = started(
        &database,
        &[
            (ENDPOINT, &receiver.url()),
            ("OTEL_SERVICE_NAME", "shop"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment=test,service.name=other",
            ),
        ],
    );
    wait_for_all(&receiver, &mut session);
    let requests = receiver.received();
    for request in &requests {
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        check_resource(request);
    }
    let events: Vec<i64> = session.all(
        "SELECT event_id FROM tasker.read_events(max_events => 10000, patterns => '{step.*, task.*}') WHERE event_id IS NOT NULL",
        &[],
    );
    let rows = session.query("SELECT * FROM tasker.spans_of_events($1)", &[&events]);
    let spans: Vec<Span> = requests.iter().flat_map(Received::spans).collect();
    assert_eq!(spans.len(), rows.len());
    for row in &rows {
        let id: String = row.get("span_id");
        let span = spans.iter().find(|span| hex(&span.span_id) == id);
        check_span(span.expect("it was sent"), row);
    }
    let mut statuses = spans.iter().filter_map(|span| span.status.as_ref());
    assert!(
        statuses.any(|status| status.message.contains("it broke")),
        "the message of the failure is there"
    );
}

#[test]
fn a_crash_between_the_answer_and_the_acknowledgement_sends_again_and_loses_nothing() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 5);
    let victim = Arc::new(AtomicI32::new(0));
    let of_receiver = victim.clone();
    let receiver = Receiver::start(move |number, _| {
        if number == 0 {
            while of_receiver.load(Ordering::Acquire) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            signal("KILL", of_receiver.load(Ordering::Acquire));
        }
        Answer::code(200)
    });
    let variables = [(ENDPOINT, receiver.url())];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let first = started(&database, &variables);
    victim.store(
        i32::try_from(first.pid()).expect("a process id"),
        Ordering::Release,
    );
    receiver.wait_until("a request", |received| !received.is_empty());
    let before = receiver.span_ids();
    assert!(!before.is_empty());
    drop(first);
    assert!(of_subscriber(&mut session, "in_flight") > 0);
    let _second = started(&database, &variables);
    // Its lease has to end first.
    receiver.wait_until("the same spans again", |_| {
        let ids = receiver.span_ids();
        before
            .iter()
            .all(|id| ids.iter().filter(|other| *other == id).count() >= 2)
    });
    wait_for_all(&receiver, &mut session);
    wait_for("acknowledged", || unacknowledged(&mut session) == 0);
}

#[test]
fn a_retry_after_is_obeyed_in_seconds_and_as_a_date() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 2);
    let receiver = Receiver::start(|number, _| match number {
        0 => Answer::code(429).with("retry-after", 3),
        1 => {
            // A date has whole seconds: 4 s are more than 3.
            let then = SystemTime::now() + Duration::from_secs(4);
            Answer::code(503).with("retry-after", http_date(then))
        }
        _ => Answer::code(200),
    });
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    wait_for_all(&receiver, &mut session);
    let at: Vec<Instant> = receiver
        .received()
        .iter()
        .map(|request| request.at)
        .collect();
    assert!(
        at[1] - at[0] >= Duration::from_secs(3),
        "{:?}",
        at[1] - at[0]
    );
    assert!(
        at[2] - at[1] >= Duration::from_secs(3),
        "{:?}",
        at[2] - at[1]
    );
    assert_eq!(counted(&exporter, "retries_total"), 2.0);
    assert_eq!(counted(&exporter, "dropped_total"), 0.0);
}

/// As HTTP writes it, by `date` of the system.
fn http_date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let output = std::process::Command::new("date")
        .args([
            "-u",
            "-d",
            &format!("@{seconds}"),
            "+%a, %d %b %Y %H:%M:%S GMT",
        ])
        .env("LC_ALL", "C")
        .output()
        .expect("date runs");
    String::from_utf8(output.stdout)
        .expect("ASCII")
        .trim()
        .to_owned()
}

#[test]
fn temporary_answers_are_retried_until_one_is_another() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 2);
    let receiver = Receiver::start(|number, _| {
        let codes = [502, 503, 504];
        Answer::code(codes.get(number).copied().unwrap_or(200)).with("retry-after", 0)
    });
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    let sent = wait_for_all(&receiver, &mut session);
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len());
    let codes: Vec<u16> = receiver
        .received()
        .iter()
        .map(|request| request.code)
        .collect();
    assert_eq!(codes[..4], [502, 503, 504, 200]);
    wait_for_count(&exporter, "sent_total", sent.len() as f64);
    assert_eq!(counted(&exporter, "retries_total"), 3.0);
    assert_eq!(counted(&exporter, "receiver_up"), 1.0);
}

#[test]
fn spans_that_the_receiver_refuses_are_dropped_and_counted_and_the_next_go_on() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 2);
    let first = expected(&mut session).len();
    let receiver = Receiver::start(|number, _| Answer::code(if number == 0 { 400 } else { 200 }));
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    wait_for_count(&exporter, "dropped_total", first as f64);
    wait_for("acknowledged", || unacknowledged(&mut session) == 0);
    assert_eq!(of_subscriber(&mut session, "dead"), 0);
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(counted(&exporter, "retries_total"), 0.0);
    assert!(exporter.log().contains("400"), "{}", exporter.log());
    run_tasks(&mut session, 1);
    let all = expected(&mut session).len();
    wait_for_count(&exporter, "sent_total", (all - first) as f64);
    assert_eq!(counted(&exporter, "dropped_total"), first as f64);
}

#[test]
fn a_partial_success_counts_what_was_rejected() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 2);
    let all = expected(&mut session).len();
    let receiver = Receiver::start(|_, _| Answer::partial(2, "two are too old"));
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    wait_for_count(&exporter, "rejected_total", 2.0);
    assert_eq!(counted(&exporter, "sent_total"), (all - 2) as f64);
    wait_for("acknowledged", || unacknowledged(&mut session) == 0);
    assert_eq!(receiver.received().len(), 1, "they are not sent again");
    assert!(
        exporter.log().contains("two are too old"),
        "{}",
        exporter.log()
    );
}

/// Resident memory of a process, in kilobytes.
fn memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    text.lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .expect("a number")
}

/// Short form: longer than a lease. Long form: ten minutes.
#[test]
fn a_receiver_that_is_down_loses_nothing_and_grows_no_memory() {
    let (database, mut session) = prepared();
    let down = Duration::from_secs(scaled(35, 600) as u64);
    let address = free_address();
    let exporter = started(&database, &[(ENDPOINT, &format!("http://{address}"))]);
    run_tasks(&mut session, 1000);
    wait_for_count(&exporter, "receiver_up", 0.0);
    let before = memory(exporter.pid());
    let began = Instant::now();
    while began.elapsed() < down {
        run_tasks(&mut session, 100);
        std::thread::sleep(down / 70);
    }
    let after = memory(exporter.pid());
    println!("after {down:?} without a receiver: {before} kB, then {after} kB");
    assert!(after < before + 8 * 1024, "from {before} to {after} kB");
    // What it holds is held still, although a lease is shorter.
    assert!(of_subscriber(&mut session, "in_flight") > 0);
    assert_eq!(of_subscriber(&mut session, "waiting"), 0);
    let all = expected(&mut session);
    let receiver = Receiver::at(address, None, |_, _| Answer::code(200));
    let sent = wait_for_all(&receiver, &mut session);
    assert_eq!(sent.len(), all.len(), "each once");
    wait_for("acknowledged", || unacknowledged(&mut session) == 0);
    assert_eq!(of_subscriber(&mut session, "dead"), 0);
    assert_eq!(counted(&exporter, "dropped_total"), 0.0);
    assert!(counted(&exporter, "retries_total") > 0.0);
    let last = memory(exporter.pid());
    let (wanted, came) = (all.len(), sent.len());
    println!("{wanted} spans to send, {came} came; at the end {last} kB");
    assert!(last < 100 * 1024, "{last} kB");
}

#[test]
fn gzip_headers_and_the_endpoint_for_traces_are_obeyed() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 20);
    let receiver = Receiver::willing();
    let _exporter = started(
        &database,
        &[
            (ENDPOINT, "http://127.0.0.1:1/unused"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                &format!("{}/in", receiver.url()),
            ),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,unused=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=c%3Dd"),
        ],
    );
    wait_for_all(&receiver, &mut session);
    for request in receiver.received() {
        assert_eq!(request.path, "/in");
        assert_eq!(request.headers["content-encoding"], "gzip");
        assert_eq!(request.headers["api-key"], "c=d");
        assert!(!request.headers.contains_key("unused"));
        assert!(request.body.len() < request.plain().len());
    }
}

#[test]
fn a_receiver_that_does_not_answer_in_time_is_asked_again() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 1);
    let receiver = Receiver::start(|number, _| match number {
        0 => Answer::code(204).after(Duration::from_secs(20)),
        _ => Answer::code(200),
    });
    let exporter = started(
        &database,
        &[
            (ENDPOINT, &receiver.url()),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "400"),
        ],
    );
    let received = receiver.wait_until("another request", |received| received.len() > 1);
    assert!(received[1].at - received[0].at < Duration::from_secs(10));
    wait_for_count(&exporter, "retries_total", 1.0);
    wait_for("acknowledged", || unacknowledged(&mut session) == 0);
}

#[test]
fn https_needs_a_certificate_that_is_trusted() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 1);
    let identity = Identity::new("otlp");
    let receiver = Receiver::at(free_address(), Some(&identity), |_, _| Answer::code(200));
    let url = receiver.https();
    let mut stranger = started(&database, &[(ENDPOINT, &url)]);
    wait_for_count(&stranger, "receiver_up", 0.0);
    assert!(
        stranger.log().to_lowercase().contains("certificate"),
        "{}",
        stranger.log()
    );
    assert!(receiver.received().is_empty());
    stranger.signal("TERM");
    stranger.wait(patience(20));
    let _exporter = started(
        &database,
        &[
            (ENDPOINT, &url),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", &identity.authority()),
        ],
    );
    wait_for_all(&receiver, &mut session);
}

#[test]
fn a_redirect_is_not_followed() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 1);
    let elsewhere = Receiver::willing();
    let there = elsewhere.url();
    let receiver = Receiver::start(move |_, _| Answer::code(307).with("location", &there));
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    let all = expected(&mut session).len();
    wait_for_count(&exporter, "dropped_total", all as f64);
    assert!(elsewhere.received().is_empty());
}

#[test]
fn a_protocol_that_it_does_not_speak_is_refused_at_the_start() {
    let (code, log) = Exporter::ends(&mut Exporter::command(
        "host=/nowhere",
        &[],
        &[
            (ENDPOINT, "http://127.0.0.1:1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ],
    ));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && log.contains("http/protobuf"),
        "{log}"
    );
}

#[test]
fn a_missing_subscriber_or_right_is_said_with_the_statement_that_helps() {
    let database = Database::new();
    make_role(database.server());
    let mut session = database.connect();
    session.execute(SPANS);
    Template::new("pay").step("a", &[]).register(&mut session);
    let receiver = Receiver::willing();
    let exporter = started(&database, &[(ENDPOINT, &receiver.url())]);
    let statement = |exporter: &Exporter, begin: &str| -> String {
        wait_for(begin, || exporter.log().contains(begin));
        let log = exporter.log().replace("\\\"", "\"");
        let from = log.find(begin).expect("it is there");
        let end = log[from..].find(';').expect("it has an end");
        log[from..from + end].to_owned()
    };
    // As the message has it.
    let subscribe = statement(&exporter, "SELECT tasker.subscribe(");
    session.query(&subscribe, &[]);
    let grant = statement(&exporter, "SELECT tasker.grant_subscriber(");
    assert!(receiver.received().is_empty());
    session.query(&grant, &[]);
    run_tasks(&mut session, 1);
    receiver.wait_until("a request", |received| !received.is_empty());
}

#[test]
fn a_stop_gives_back_what_was_not_sent() {
    let (database, mut session) = prepared();
    run_tasks(&mut session, 3);
    let unwilling = Receiver::start(|_, _| Answer::code(503).with("retry-after", 60));
    let mut first = started(&database, &[(ENDPOINT, &unwilling.url())]);
    unwilling.wait_until("a request", |received| !received.is_empty());
    wait_for("a lease", || of_subscriber(&mut session, "in_flight") > 0);
    first.signal("TERM");
    let status = first.wait(patience(10));
    assert!(status.success(), "{status}");
    assert_eq!(of_subscriber(&mut session, "in_flight"), 0);
    let receiver = Receiver::willing();
    let began = Instant::now();
    let _second = started(&database, &[(ENDPOINT, &receiver.url())]);
    wait_for_all(&receiver, &mut session);
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "it waited for the end of a lease"
    );
}

/// Spans of new tasks come in much less than the second after which an exporter asks by itself.
#[track_caller]
fn check_delay(receiver: &Receiver, session: &mut Session) {
    let mut delays: Vec<Duration> = (0..9)
        .map(|_| {
            wait_for("acknowledged", || unacknowledged(session) == 0);
            // So that what has sent the last ones waits again.
            std::thread::sleep(Duration::from_millis(200));
            let before = receiver.span_ids().len();
            let began = Instant::now();
            run_tasks(session, 1);
            // Of the task and its two steps.
            receiver.wait_until("spans", |_| receiver.span_ids().len() >= before + 3);
            began.elapsed()
        })
        .collect();
    delays.sort();
    // A machine with other load makes some of them late.
    let third = delays[delays.len() / 3 - 1];
    assert!(third < Duration::from_millis(500), "{delays:?}");
}

/// With preload, commits say that there are events.
#[test]
fn spans_of_new_work_come_without_delay_also_after_the_database_was_away() {
    let server = own_server(&["shared_preload_libraries=tasker_ext"]);
    let mut session = subscribed(&server, PATTERN);
    let receiver = Receiver::willing();
    let _exporter = Exporter::start(&dsn(&server, PATTERN), &[], &[(ENDPOINT, &receiver.url())]);
    run_tasks(&mut session, 1);
    wait_for_all(&receiver, &mut session);
    check_delay(&receiver, &mut session);
    session.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tasker exporter'",
        &[],
    );
    run_tasks(&mut session, 1);
    wait_for_all(&receiver, &mut session);
    check_delay(&receiver, &mut session);
}
