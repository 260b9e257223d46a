//! Long work on a template asks the host all the time whether it is to stop.

mod common;
mod patience;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use patience::patience;
use serde_json::{Map, Value, json};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::template::{parse_within, read, read_stored};
use tasker_rules::{Budget, Host};

/// When the host was asked last, and the longest time between two questions.
static ASKED: Mutex<Option<(Instant, Duration)>> = Mutex::new(None);

fn asked() -> bool {
    let mut asked = ASKED.lock().expect("one test at a time");
    if let Some((last, longest)) = asked.as_mut() {
        *longest = last.elapsed().max(*longest);
        *last = Instant::now();
    }
    true
}

/// The longest time without a question during this work, which takes much longer.
fn silence<T>(what: &str, work: impl FnOnce(&Budget) -> T) -> T {
    let host = Host {
        check: asked,
        ..Host::NONE
    };
    let began = Instant::now();
    *ASKED.lock().expect("a lock") = Some((began, Duration::ZERO));
    let result = work(&Budget::unlimited(host));
    let took = began.elapsed();
    asked();
    let longest = ASKED.lock().expect("a lock").expect("it was set").1;
    println!("{what}: {took:?}, of which at most {longest:?} without a question");
    // A build for users is ten times as fast.
    assert!(longest < patience(1) / 2, "{what}: {longest:?} of {took:?}");
    result
}

fn tree(steps: usize) -> Value {
    let step = |n: usize| {
        let parents: Vec<String> = (n > 1).then(|| format!("s{}", n / 2)).into_iter().collect();
        json!({"name": format!("s{n}"), "handler": "h", "depends_on_steps": parents})
    };
    json!({"name": "tree", "steps": (1..=steps).map(step).collect::<Vec<_>>(), "environments": {"test": {"steps": [{"name": "ALL", "queue": "q"}]}}})
}

#[test]
fn reading_a_template_and_compiling_its_schemas_ask_all_the_time() {
    let text = tree(32_767).to_string();
    let value = silence("JSON", |budget| parse_within(&text, budget));
    let value = value.expect("no limit").expect("JSON");
    let yaml = tree(5_000).to_string().replacen("{\"name\"", "{name", 1);
    silence("YAML", |budget| parse_within(&yaml, budget))
        .expect("no limit")
        .expect("YAML");
    silence("a stored one", |budget| {
        read_stored(&value, Some("test"), budget)
    })
    .expect("no limit")
    .expect("a template");
    let (_, problems) =
        silence("a new one", |budget| read(&value, Some("test"), budget)).expect("no limit");
    assert_eq!(problems, []);

    let many = |schema: fn(usize) -> Value, count: usize| -> Map<String, Value> {
        (0..count)
            .map(|n| (format!("^p{n}[a-z]{{1,200}}$"), schema(n)))
            .collect()
    };
    let pattern =
        |n: usize| json!({"pattern": format!("^(?:[a-z]{{1,100}}){{{}}}x{{{n}}}$", n % 90)});
    for (what, schema) in [
        ("patterns", json!({"properties": many(pattern, 100)})),
        (
            "patterns of names",
            json!({"patternProperties": many(|n| json!({"minLength": n}), 300)}),
        ),
        (
            "patterns of forbidden names",
            json!({"patternProperties": many(|_| json!(false), 300), "additionalProperties": false}),
        ),
        (
            "properties",
            json!({"properties": many(|_| json!({"type": "integer"}), 10_000)}),
        ),
        (
            "alternatives",
            json!({"anyOf": (0..10_000).map(|n| json!({"const": n})).collect::<Vec<_>>()}),
        ),
    ] {
        silence(what, |budget| Schema::compile(&schema, budget))
            .expect("no limit")
            .expect("a schema");
    }
}
