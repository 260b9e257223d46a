//! The schemas of payloads: our own library for JSON Schema compiles them, and they take what they say.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tasker_rules::events::catalog::CATALOG;
use tasker_rules::template::input_schema::Schema;
use tasker_rules::{Budget, Host};

fn schemas() -> Vec<(&'static str, Value)> {
    CATALOG
        .iter()
        .filter_map(|entry| Some((entry.name, entry.payload()?.schema())))
        .collect()
}

fn properties(schema: &Value) -> &Map<String, Value> {
    schema["properties"].as_object().expect("it has properties")
}

fn required(schema: &Value) -> Vec<String> {
    serde_json::from_value(schema["required"].clone()).expect("it has a list of keys")
}

/// A value that a schema of a key takes.
fn sample(schema: &Value) -> Value {
    if let Some(values) = schema.get("enum") {
        return values[0].clone();
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => json!("01a20f1f-4a73-7148-b57e-b9ecad7f0000"),
        (Some("string"), Some("date-time")) => json!("2026-11-29T16:37:13.5+00:00"),
        (Some("string"), None) => json!("x"),
        (Some("integer"), None) => json!(1),
        (Some("number"), None) => json!(1.5),
        (Some("boolean"), None) => json!(true),
        (Some("object"), None) => json!({}),
        (Some("array"), None) => json!([sample(&schema["items"])]),
        other => panic!("no value is known for {other:?}"),
    }
}

fn filled<'k>(schema: &Value, keys: impl IntoIterator<Item = &'k String>) -> Value {
    let of = |key: &String| (key.clone(), sample(&properties(schema)[key]));
    Value::Object(keys.into_iter().map(of).collect())
}

fn breaks(schema: &Schema, payload: &Value) -> usize {
    let found = schema.validate("payload", payload, Budget::unlimited(Host::NONE));
    found.expect("a payload is small").len()
}

#[test]
fn every_schema_compiles_and_takes_its_keys_and_no_others() {
    for (name, schema) in schemas() {
        let compiled = Schema::compile(&schema, &Budget::unlimited(Host::NONE)).expect("no limit");
        let compiled = compiled.unwrap_or_else(|why| panic!("{name} {why}"));
        let required = required(&schema);
        assert_eq!(breaks(&compiled, &filled(&schema, &required)), 0, "{name}");
        let every = filled(&schema, properties(&schema).keys());
        assert_eq!(breaks(&compiled, &every), 0, "{name}");
        for key in &required {
            let less = required.iter().filter(|other| *other != key);
            let broken = breaks(&compiled, &filled(&schema, less));
            assert_eq!(broken, 1, "{name} without {key}");
        }
        let mut more = every;
        more["unknown"] = json!(1);
        assert_eq!(breaks(&compiled, &more), 1, "{name} with another key");
    }
}

#[test]
fn what_is_read_later_is_marked_and_never_required() {
    let mut marked = BTreeSet::new();
    for (name, schema) in schemas() {
        let required = required(&schema);
        for (key, property) in properties(&schema) {
            assert!(property["description"].is_string(), "{name}.{key}");
            if property.get("asRead") == Some(&json!(true)) {
                assert!(!required.contains(key), "{name}.{key}");
                marked.insert(key.clone());
            }
        }
    }
    assert_eq!(marked, BTreeSet::from(["data".to_owned()]));
}

#[test]
fn only_events_of_the_log_and_of_facts_have_a_schema_and_synonyms_have_that_of_their_event() {
    let with: BTreeSet<&str> = schemas().into_iter().map(|(name, _)| name).collect();
    for entry in CATALOG {
        let text = entry.fires_when();
        let happens = !text.starts_with("Later: ") && !text.starts_with("Never: ");
        assert_eq!(with.contains(entry.name), happens, "{}", entry.name);
        assert!(entry.synonym_of().is_none() || text.starts_with("Another name of "));
    }
}
