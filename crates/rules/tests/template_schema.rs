//! docs/template.schema.json, which editors use: it is current, and it says what the reader says.

mod common;

use common::unlimited;
use serde_json::{Value, json};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::template::{json_schema, parse};

fn schema() -> Schema {
    Schema::compile(&json_schema(), &unlimited())
        .expect("no limit")
        .expect("a JSON Schema")
}

fn findings(text: &str) -> Vec<String> {
    schema()
        .validate("template", &parse(text).expect("valid syntax"), unlimited())
        .expect("no limit")
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn is_valid(template: &Value) -> bool {
    let problems = schema().validate("template", template, unlimited());
    problems.expect("no limit").is_empty()
}

#[test]
fn the_schema_in_docs_is_current() {
    let stored: Value =
        serde_json::from_str(include_str!("../../../docs/template.schema.json")).expect("JSON");
    assert_eq!(
        stored,
        json_schema(),
        "run: cargo run -q -p tasker_rules --example template-schema > docs/template.schema.json"
    );
}

#[test]
fn it_accepts_the_examples_and_the_older_formats() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/templates");
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a text");
        assert_eq!(findings(&text), Vec::<String>::new(), "{}", path.display());
    }
    for text in [common::EVERY_RAILS_KEY, common::EVERY_CORE_KEY] {
        assert_eq!(findings(text), Vec::<String>::new());
    }
}

#[test]
fn what_a_template_exports_is_valid_under_it() {
    for text in [common::EVERY_RAILS_KEY, common::EVERY_CORE_KEY] {
        let exported = common::template(text).export();
        assert!(is_valid(&exported), "{exported:#}");
    }
}

#[test]
fn it_marks_what_the_reader_refuses_or_ignores() {
    let with = |step: Value, top: Value| {
        let mut template = json!({"name": "t", "steps": [{"name": "a", "handler": "h"}]});
        for (target, more) in [("/steps/0", step), ("", top)] {
            let target = template.pointer_mut(target).and_then(Value::as_object_mut);
            if let (Some(target), Value::Object(more)) = (target, more) {
                target.extend(more);
            }
        }
        is_valid(&template)
    };
    let none = || json!({});
    assert!(with(none(), none()));
    assert!(with(
        json!({"x-note": 1, "retry": {"max_attempts": 1, "jitter": true}}),
        json!({".anchor": 1, "environments": {"test": null}})
    ));
    for step in [
        json!({"depend_on_steps": ["b"]}),
        json!({"type": "decision"}),
        json!({"colour": "red"}),
        json!({"retry": {"max_attemps": 1}}),
        json!({"retry": {"backoff": "slow"}}),
        json!({"priority": 5}),
        json!({"handler": {"callabel": "h"}}),
        json!({"timeout_seconds": 0}),
    ] {
        assert!(!with(step.clone(), none()), "{step}");
    }
    for top in [
        json!({"namepace": "x"}),
        json!({"version": "1.0"}),
        json!({"identity_strategy": "custom"}),
        json!({"environments": {"test": {"version": "2.0.0"}}}),
    ] {
        assert!(!with(none(), top.clone()), "{top}");
    }
}
