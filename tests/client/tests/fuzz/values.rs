//! Values of each type, as SQL expressions: tame ones that a function can work with, and hostile ones.

use fastrand::Rng;
use tasker_client_tests::{Session, Uuid, Value, json};

/// What there is at this moment.
#[derive(Default)]
pub struct World {
    tasks: Vec<Uuid>,
    steps: Vec<Uuid>,
    claims: Vec<(Uuid, i32)>,
    names: Vec<String>,
}

impl World {
    pub fn see(session: &mut Session) -> Self {
        let uuids = |session: &mut Session, of: &str, by: &str| {
            let sql = format!(
                "SELECT {of} FROM (SELECT *, row_number() OVER (PARTITION BY state ORDER BY {of} DESC) AS n FROM tasker.{by}) s
                 WHERE n <= 20 ORDER BY 1"
            );
            session.all(&sql, &[])
        };
        let claims = session.query(
            "SELECT step_uuid, claim_number FROM tasker.running_steps ORDER BY 1 LIMIT 50",
            &[],
        );
        Self {
            tasks: uuids(session, "task_uuid", "tasks"),
            steps: uuids(session, "step_uuid", "workflow_steps"),
            claims: claims.iter().map(|row| (row.get(0), row.get(1))).collect(),
            names: session.all(
                "SELECT name::text FROM tasker.task_namespaces UNION SELECT name FROM tasker.named_tasks
                 UNION SELECT name FROM tasker.named_steps UNION SELECT worker_id FROM tasker.workers
                 UNION SELECT name FROM tasker.annotation_types UNION SELECT name FROM tasker.dependent_systems ORDER BY 1 LIMIT 200",
                &[],
            ),
        }
    }
}

fn one<'a, T: ?Sized>(values: &[&'a T], rng: &mut Rng) -> &'a T {
    values[rng.usize(..values.len())]
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value for a parameter, without its cast.
pub fn argument(name: &str, of: &str, hostile: bool, world: &World, rng: &mut Rng) -> String {
    if hostile && rng.u8(..6) == 0 {
        return "NULL".to_owned();
    }
    if let Some(element) = of.strip_suffix("[]") {
        return array(name, element, hostile, world, rng);
    }
    match (of, hostile) {
        ("text", _) => text(name, hostile, world, rng),
        ("uuid", _) => uuid(name, hostile, world, rng),
        ("jsonb", _) => jsonb(name, hostile, world, rng),
        ("boolean", _) => one(&["true", "false"], rng).to_owned(),
        ("smallint" | "integer" | "bigint", _) if name == "claim_number" && rng.bool() => {
            "1".to_owned()
        }
        ("smallint", true) => one(&["-32768", "32767", "0", "-1"], rng).to_owned(),
        ("integer" | "bigint", true) => one(
            &["-2147483648", "2147483647", "0", "-1", "10001", "32768"],
            rng,
        )
        .to_owned(),
        ("smallint" | "integer" | "bigint", false) => rng.u8(1..5).to_string(),
        ("numeric", true) => one(
            &[
                "'NaN'",
                "'Infinity'",
                "'-Infinity'",
                "1e131071",
                "-1e-1000",
                "0",
                "-0.5",
            ],
            rng,
        )
        .to_owned(),
        ("numeric", false) => one(&["0.5", "0.8", "1", "1.5"], rng).to_owned(),
        ("interval", true) => one(
            &[
                "'0'",
                "'-1 s'",
                "'178000000 years'",
                "'-178000000 years'",
                "'1 microsecond'",
                "'3 mons -5 days'",
                "'-2147483648 days'",
                "'2147483647 mons'",
            ],
            rng,
        )
        .to_owned(),
        ("interval", false) => one(&["'1 s'", "'30 s'", "'1 hour'", "'7 days'"], rng).to_owned(),
        ("timestamp with time zone", true) => one(
            &[
                "'infinity'",
                "'-infinity'",
                "'294276-12-31'",
                "'4713-01-01 BC'",
                "'epoch'",
            ],
            rng,
        )
        .to_owned(),
        ("timestamp with time zone", false) => one(
            &[
                "now()",
                "now() - interval '1 day'",
                "now() + interval '1 hour'",
            ],
            rng,
        )
        .to_owned(),
        ("name", true) => one(&["''", "'no_such_role'", "'tasker_owner'"], rng).to_owned(),
        ("name", false) => "'tasker_worker'".to_owned(),
        // A row of a table, for a function that reads as a column of it.
        (row, _) if row.starts_with("tasker.") => format!("SELECT r FROM {row} r LIMIT 1"),
        (unknown, _) => panic!("no values for the type {unknown} of {name}"),
    }
}

fn array(name: &str, element: &str, hostile: bool, world: &World, rng: &mut Rng) -> String {
    let singular = name.strip_suffix('s').unwrap_or(name);
    let some = |count: usize, rng: &mut Rng| -> String {
        let values = (0..count).map(|_| {
            format!(
                "({})::{element}",
                argument(singular, element, hostile && rng.bool(), world, rng)
            )
        });
        values.collect::<Vec<_>>().join(", ")
    };
    match (hostile, rng.u8(..4)) {
        (true, 0) => format!("ARRAY[[{}], [{}]]", some(2, rng), some(2, rng)),
        (true, 1) => format!("array_fill(({})::{element}, ARRAY[20000])", some(1, rng)),
        (true, 2) => format!("array_fill(NULL::{element}, ARRAY[3], ARRAY[-7])"),
        (true, 3) => "'{}'".to_owned(),
        _ => {
            let count = rng.usize(1..4);
            format!("ARRAY[{}]", some(count, rng))
        }
    }
}

/// Words that mean something to some function.
const WORDS: [&str; 40] = [
    "default",
    "w1",
    "w2",
    "linear",
    "small_diamond",
    "mixed",
    "fuzzed",
    "1.0.0",
    "9.9.9",
    "pending",
    "in_progress",
    "error",
    "complete",
    "cancelled",
    "resolved_manually",
    "normal",
    "startup",
    "graceful_shutdown",
    "emergency",
    "mermaid",
    "dot",
    "svg",
    "parents",
    "ancestors",
    "none",
    "exponential",
    "linear",
    "info",
    "warning",
    "critical",
    "* * * * *",
    "0 3 * * 1-5",
    "UTC",
    "Europe/Berlin",
    "skip",
    "test.a",
    "sql:app.f",
    "note",
    "0.1.0",
    "h",
];

/// Words that a parameter takes.
fn words_for(name: &str) -> &'static [&'static str] {
    match name {
        "worker_id" | "processor_id" => &["w1", "w2", "w3"],
        "traceparent" => &[
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ],
        "tracestate" => &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo"],
        "namespace" => &["default", "shop"],
        "name" | "task_name" => &["linear", "small_diamond", "mixed", "fuzzed", "shop", "w1"],
        "schedule_name" => &["nightly"],
        "event" => &["export_requested", "export_failed", "plugin_registered"],
        "error_class" => &["ReadTimeout", "Odd"],
        "error_message" => &["HTTP 404", "no answer"],
        "cron" => &["* * * * *", "0 3 * * 1-5"],
        "time_zone" => &["UTC", "Europe/Berlin"],
        "version" => &["1.0.0"],
        "to_state" | "state" => &[
            "pending",
            "in_progress",
            "error",
            "complete",
            "cancelled",
            "normal",
        ],
        "format" => &[
            "mermaid",
            "dot",
            "svg",
            "cloudevents",
            "native",
            "prometheus",
            "json",
            "csv",
        ],
        "dependency_results" => &["parents", "ancestors", "none"],
        _ => &WORDS,
    }
}

fn text(name: &str, hostile: bool, world: &World, rng: &mut Rng) -> String {
    if name == "template" {
        let document = template(rng);
        let document = if hostile {
            mutated(document, rng)
        } else {
            document
        };
        return quoted(&document.to_string());
    }
    if name == "subscriber" && !hostile {
        return "'heard'".to_owned();
    }
    if hostile {
        return one(
            &[
                "''",
                "' '",
                "repeat('x', 2000000)",
                "repeat('é', 3000)",
                "repeat('[', 100000)",
                "E'\\t\\n\\x01'",
                "U&'\\FEFF\\202E\\FFFF'",
                "'👩‍👩‍👧'",
                "''''",
                "'%s%n{}$1'",
                "'../../x'",
                "'NaN'",
                "'-1'",
                "'null'",
                "'99999999999999999999.0.0'",
                "'{{template}}'",
                "'\u{0}'",
                "'61 25 32 13 8'",
                "E'\\u0130\\u0131'",
            ],
            rng,
        )
        .replace('\u{0}', "\\000");
    }
    // A name that fits the parameter, more often than not.
    let words = words_for(name);
    match rng.u8(..8) {
        0 if !world.names.is_empty() => quoted(&world.names[rng.usize(..world.names.len())]),
        1 => quoted(one(&WORDS, rng)),
        _ => quoted(one(words, rng)),
    }
}

fn uuid(name: &str, hostile: bool, world: &World, rng: &mut Rng) -> String {
    let known = match (name, rng.u8(..3)) {
        (_, 0) if !world.claims.is_empty() => world.claims.iter().map(|(step, _)| *step).collect(),
        ("step_uuid", _) => world.steps.clone(),
        _ => world.tasks.clone(),
    };
    let known = known
        .get(rng.usize(..known.len().max(1)))
        .copied()
        .unwrap_or_default();
    let uuid = match (hostile, rng.u8(..4)) {
        (true, 0) => Uuid::nil(),
        (true, 1) => Uuid::max(),
        (true, 2) => Uuid::from_u128(rng.u128(..)),
        // Beside one that exists: another step of the task, or none.
        (true, _) => Uuid::from_u128(known.as_u128() ^ rng.u128(..0xffff)),
        (false, _) => known,
    };
    format!("'{uuid}'")
}

/// Documents that only the server can build, because they are large.
const LARGE: [&str; 6] = [
    "(repeat('[', 3000) || repeat(']', 3000))::jsonb",
    "(repeat('{\"a\":', 120) || '1' || repeat('}', 120))::jsonb",
    "jsonb_build_object('a', 1e131000)",
    "jsonb_build_object('a', repeat('x', 3000000))",
    "(SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 20000) n)",
    // The server compares each tag with each: more of them take it minutes, which a cancel ends.
    "(SELECT jsonb_agg(n) FROM generate_series(1, 2000) n)",
];

fn jsonb(name: &str, hostile: bool, world: &World, rng: &mut Rng) -> String {
    if hostile && rng.u8(..4) == 0 {
        return one(&LARGE, rng).to_owned();
    }
    let document = match name {
        "reports" => {
            let count = rng.usize(1..4);
            (0..count).map(|_| report(world, rng)).collect()
        }
        "steps" => {
            let (step, number) = claim(world, rng);
            json!([{"step_uuid": step, "claim_number": number}])
        }
        "tags" => json!(["nightly", "x"]),
        "bypass_steps" => json!(["a", "b"]),
        "options" => match rng.u8(..3) {
            0 => json!({}),
            1 => {
                json!({"columns": ["name", "value", "labels"], "separator": ";", "flatten_labels": true})
            }
            _ => json!({"field_mapping": {"value": "metric_value"}}),
        },
        _ => json!({"a": rng.u8(..), "b": {"c": [true, null, "é"]}}),
    };
    let document = if hostile {
        mutated(document, rng)
    } else {
        document
    };
    quoted(&document.to_string())
}

fn claim(world: &World, rng: &mut Rng) -> (String, i32) {
    let claim = world.claims.get(rng.usize(..world.claims.len().max(1)));
    let (step, number) = claim.copied().unwrap_or((Uuid::nil(), 1));
    (step.to_string(), number)
}

fn report(world: &World, rng: &mut Rng) -> Value {
    let (step, number) = claim(world, rng);
    let mut report = json!({"step_uuid": step, "claim_number": number, "status": one(&["complete", "error", "released"], rng)});
    for (key, value) in [
        ("results", json!({"a": 1})),
        ("error_message", json!("it broke")),
        ("error_class", json!("Broken")),
        ("retryable", json!(true)),
        ("retry_after_seconds", json!(0.5)),
        ("backtrace", json!(["a", "b"])),
        ("reason", json!("no handler")),
        (
            "logs",
            json!(["a", {"at": 0, "level": "warn", "message": {"token": 1}, "fields": {"otp": [1]}}]),
        ),
    ] {
        if rng.bool() {
            report[key] = value;
        }
    }
    report
}

/// A template with a bit of everything.
pub fn template(rng: &mut Rng) -> Value {
    let results =
        json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 300}}});
    json!({
        "name": "fuzzed", "namespace_name": one(&["default", "shop"], rng), "version": format!("1.{}.0", rng.u8(..4)),
        "description": "x", "timeout_seconds": 60,
        "input_schema": {"properties": {"b": {"type": "object"}, "s": {"pattern": "^[a-z]+$"}}},
        "steps": [
            {"name": "a", "handler": {"callable": "test.a", "initialization": {"k": 1}}, "skippable": true,
             "default_retry_limit": 2, "default_retryable": true},
            {"name": "b", "handler": "test.b", "depends_on_steps": ["a"], "skippable": true, "results_schema": results,
             "retry": {"backoff": "exponential", "initial_backoff_ms": 10, "max_backoff_ms": 100}},
            {"name": "c", "handler": "sql:app.f", "depends_on_steps": ["a"], "priority": 3, "timeout_seconds": 5},
            {"name": "d", "handler": "test.d", "depends_on_steps": ["b", "c"]},
        ],
    })
}

/// The document with one to three of its values replaced, removed or doubled.
fn mutated(mut document: Value, rng: &mut Rng) -> Value {
    for _ in 0..rng.usize(1..4) {
        change(&mut document, rng);
    }
    document
}

fn change(value: &mut Value, rng: &mut Rng) {
    let deeper = rng.u8(..5) > 0;
    match value {
        Value::Array(items) if deeper && !items.is_empty() => {
            let place = rng.usize(..items.len());
            match rng.u8(..8) {
                0 => drop(items.remove(place)),
                1 => items.push(items[place].clone()),
                _ => change(&mut items[place], rng),
            }
        }
        Value::Object(members) if deeper && !members.is_empty() => {
            let keys: Vec<String> = members.keys().cloned().collect();
            let key = &keys[rng.usize(..keys.len())];
            match rng.u8(..8) {
                0 => drop(members.remove(key)),
                1 => {
                    let value = members.remove(key).unwrap_or_default();
                    members.insert(format!("{key}s"), value);
                }
                _ => change(&mut members[key], rng),
            }
        }
        value => *value = strange(rng),
    }
}

fn strange(rng: &mut Rng) -> Value {
    let number = |text: &str| serde_json::from_str(text).unwrap_or_default();
    match rng.u8(..16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => number("1e400"),
        4 => number("123456789012345678901234567890"),
        5 => json!(0.5),
        6 => json!(""),
        7 => json!("x".repeat(5_000)),
        8 => json!("\u{202e}\u{ffff}é👩‍👩‍👧"),
        9 => json!([]),
        10 => json!({}),
        11 => json!({"$ref": "#"}),
        12 => json!([[[[[1]]]], {"": {"": []}}]),
        13 => json!("00000000-0000-0000-0000-000000000000"),
        14 => number("-2147483649"),
        _ => json!(["a", "a"]),
    }
}
