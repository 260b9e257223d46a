//! Events as CloudEvents: each fits the rules of the specification, and says what its row says.

use tasker_client_tests::{Act, Database, Session, Template, Uuid, Value, inside, json, started};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::{Budget, Host};

const COLUMNS: &str = "event_id, name, occurred_at, namespace, task_uuid, step_uuid, correlation_id, traceparent, payload";

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What version 1.0 of the specification says of the attributes of an event in the JSON format, as far as a schema can: their types,
/// which must be there, and how names of extensions are written.
fn rules() -> Schema {
    let schema = json!({
        "type": "object",
        "required": ["id", "source", "specversion", "type"],
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "pattern": "^([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})+$"},
            "specversion": {"const": "1.0"},
            "type": {"type": "string", "minLength": 1},
            "datacontenttype": {"const": "application/json"},
            "dataschema": {"type": "string", "minLength": 1},
            "subject": {"type": "string", "minLength": 1},
            "time": {"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)$"},
            "traceparent": {"type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
            "data": true,
        },
        "propertyNames": {"pattern": "^[a-z0-9]{1,20}$"},
        "additionalProperties": {"type": ["string", "integer", "boolean"]},
    });
    let schema = Schema::compile(&schema, &Budget::unlimited(Host::NONE));
    schema.expect("it is small").expect("it compiles")
}

fn problems(rules: &Schema, event: &Value) -> Vec<String> {
    rules
        .validate("event", event, Budget::unlimited(Host::NONE))
        .expect("an event is small")
        .into_iter()
        .map(|problem| format!("{} {}", problem.path, problem.message))
        .collect()
}

/// A row of read_events or poll_events.
#[derive(Debug, PartialEq)]
struct Row {
    id: i64,
    name: String,
    time: String,
    namespace: Option<String>,
    task: Option<Uuid>,
    step: Option<Uuid>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    payload: Value,
}

/// In the order of their ids: what failed comes again in any order.
fn rows(session: &mut Session, call: &str) -> Vec<Row> {
    let time = COLUMNS.replace("occurred_at", "tasker_engine.event_time(occurred_at)");
    session
        .query(
            &format!("SELECT {time} FROM tasker.{call} ORDER BY event_id"),
            &[],
        )
        .iter()
        .map(|row| Row {
            id: row.get(0),
            name: row.get(1),
            time: row.get(2),
            namespace: row.get(3),
            task: row.get(4),
            step: row.get(5),
            correlation_id: row.get(6),
            traceparent: row.get(7),
            payload: row.get(8),
        })
        .collect()
}

/// The CloudEvent of a row, put together here.
fn expected(row: &Row, source: &str) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": row.id.to_string(),
        "source": source,
        "type": row.name,
        "time": row.time,
        "datacontenttype": "application/json",
        "data": row.payload,
    });
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            event[name] = json!(value);
        }
    };
    let step = |task: Uuid| row.step.map(|step| format!("task/{task}/step/{step}"));
    say(
        "subject",
        row.task
            .map(|task| step(task).unwrap_or_else(|| format!("task/{task}"))),
    );
    say("namespace", row.namespace.clone());
    say("correlationid", row.correlation_id.clone());
    say("traceparent", row.traceparent.clone());
    event
}

/// Events of all kinds: with a trace and without, of steps, tasks, namespaces and of none of these.
fn lived() -> (Database, Session) {
    let template = Template::new("pay").step("a", &[]).step("b", &["a"]);
    let (database, mut session, task) = started(&template);
    let old: Uuid = session.one(
        "SELECT tasker.create_task('pay', traceparent => $1)",
        &[&TRACE],
    );
    inside::set_correlation_id(&mut session, old, Some("order\t1 é"));
    let mut turn = 0;
    session.work(|_| {
        turn += 1;
        match turn {
            2 => Act::FailForGood,
            _ => Act::Complete(json!({"n": turn})),
        }
    });
    session.query(
        "SELECT tasker.publish_event('orders.paid', '{\"n\": 1.50}'), tasker.publish_event('orders.lost', '{}', $1),
                tasker.publish_event('orders.counted', namespace => 'default')",
        &[&task],
    );
    (database, session)
}

#[test]
fn each_event_fits_the_specification_and_has_the_payload_as_its_data() {
    let (database, mut session) = lived();
    let native = rows(&mut session, "read_events(max_events => 10000)");
    let clouds = rows(
        &mut session,
        "read_events(max_events => 10000, format => 'cloudevents')",
    );
    assert_eq!(
        native,
        rows(
            &mut session,
            "read_events(max_events => 10000, format => 'native')"
        )
    );
    assert!(native.len() > 30);
    let epoch: i64 = session.one(
        "SELECT coalesce(max(epoch), 0) FROM tasker_engine.epochs",
        &[],
    );
    let source = match epoch {
        0 => format!("/tasker/{}", database.name()),
        epoch => format!("/tasker/{}/{epoch}", database.name()),
    };
    let rules = rules();
    for (native, cloud) in native.iter().zip(&clouds) {
        let mut event = expected(native, &source);
        // A control character is none of a text of the specification.
        if let Some(id) = event.get_mut("correlationid")
            && *id == "order\t1 é"
        {
            *id = json!("order\u{FFFD}1 é");
        }
        assert_eq!(cloud.payload, event);
        assert_eq!(
            problems(&rules, &cloud.payload),
            [] as [String; 0],
            "{event}"
        );
        let with_payload = Row {
            payload: native.payload.clone(),
            ..rows_without_payload(cloud)
        };
        assert_eq!(with_payload, *native, "the columns stay");
    }
    assert_eq!(native.len(), clouds.len());
    for attribute in ["subject", "namespace", "correlationid", "traceparent"] {
        let with = |there: bool| {
            clouds
                .iter()
                .any(|row| row.payload.get(attribute).is_some() == there)
        };
        assert!(with(true) && with(false), "{attribute}");
    }
    let text: String = session.one(
        "SELECT payload::text FROM tasker.read_events(patterns => '{orders.paid}', format => 'cloudevents')",
        &[],
    );
    assert!(text.contains("1.50"), "numbers are as given: {text}");
}

fn rows_without_payload(row: &Row) -> Row {
    Row {
        name: row.name.clone(),
        time: row.time.clone(),
        namespace: row.namespace.clone(),
        correlation_id: row.correlation_id.clone(),
        traceparent: row.traceparent.clone(),
        payload: Value::Null,
        ..*row
    }
}

#[test]
fn the_rules_refuse_what_the_specification_does() {
    let rules = rules();
    let event = json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "a.b"});
    assert_eq!(problems(&rules, &event), [] as [String; 0]);
    for (name, value) in [
        ("id", json!("")),
        ("id", json!(1)),
        ("source", json!("/a b")),
        ("source", Value::Null),
        ("specversion", json!("1.1")),
        ("time", json!("2026-01-31 12:00:00+00")),
        ("correlation_id", json!("x")),
        ("namespace", json!({"a": 1})),
        ("subject", json!("")),
    ] {
        let mut wrong = event.clone();
        wrong[name] = value;
        assert_ne!(problems(&rules, &wrong), [] as [String; 0], "{wrong}");
    }
}

#[test]
fn a_poll_hands_out_the_same_cloud_events_again_and_with_the_data_of_include_data_inside() {
    let (_database, mut session) = lived();
    session.query(
        "SELECT tasker.subscribe('audit', start_at => 'beginning', include_data => true), tasker.subscribe('plain', start_at => 'beginning')",
        &[],
    );
    let read = rows(
        &mut session,
        "read_events(max_events => 10000, format => 'cloudevents') WHERE name ~ '^(task|step|orders)[.]'",
    );
    let poll = "poll_events('plain', 10000, '1 hour', 'me', 'cloudevents') WHERE name ~ '^(task|step|orders)[.]'";
    let first = rows(&mut session, poll);
    assert!(first.len() > 20);
    assert_eq!(first, read);
    let ids: Vec<i64> = first.iter().map(|row| row.id).collect();
    session.query("SELECT tasker.nack_events('plain', $1, '0')", &[&ids]);
    assert_eq!(rows(&mut session, poll), first);

    let with_data = rows(
        &mut session,
        "poll_events('audit', 10000, format => 'cloudevents') WHERE name = 'step.completed'",
    );
    let native = rows(
        &mut session,
        "read_events(max_events => 10000, patterns => '{step.completed}')",
    );
    let rules = rules();
    assert!(!native.is_empty() && native.len() == with_data.len());
    for (native, cloud) in native.iter().zip(&with_data) {
        assert_eq!(problems(&rules, &cloud.payload), [] as [String; 0]);
        let mut data = cloud.payload["data"].clone();
        assert!(data["data"]["results"]["n"].is_number(), "{data}");
        data.as_object_mut().expect("an object").remove("data");
        assert_eq!(data, native.payload);
    }
}

#[test]
fn an_unknown_format_is_refused() {
    let (_database, mut session) = lived();
    session.query("SELECT tasker.subscribe('audit')", &[]);
    for call in [
        "read_events(format => 'xml')",
        "poll_events('audit', format => 'CloudEvents')",
    ] {
        let failure = session.fails(&format!("SELECT * FROM tasker.{call}"), &[]);
        failure
            .is("22023")
            .says(&["format", "native or cloudevents"]);
    }
    session
        .fails("SELECT * FROM tasker.read_events(format => NULL)", &[])
        .is("22004");
}
