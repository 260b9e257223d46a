//! Environments, canonical form, and what must hold for any template at all.

mod common;

use common::{problem, problems, template, template_in};
use proptest::prelude::*;
use serde_json::{Value, json};
use tasker_rules::template::{Template, parse, read};
use tasker_rules::{Budget, Host};

const BASE: &str = "
name: t
input_schema: {type: object, required: [a]}
steps:
  - name: first
    handler: {callable: First, initialization: {url: http://live, options: {a: 1, b: 2}}}
    retry: {backoff: linear, backoff_base_ms: 1000}
    default_retry_limit: 5
  - name: second
    handler: Second
    depends_on_steps: [first]
    timeout_seconds: 10
environments:
  test:
    steps:
      - name: first
        handler: {initialization: {url: http://test, options: {b: 3, c: 4}}}
        retry: {max_backoff_ms: 2000}
      - name: second
        depends_on_steps: []
  staging:
    identity_strategy: hash
    timeout_seconds: 90
    input_schema: {required: [a, b]}
";

#[test]
fn an_environment_merges_only_what_it_names() {
    let template = template_in(BASE, Some("test"));
    let first = template.step("first").expect("there");
    assert_eq!(
        first.handler_config,
        json!({"url": "http://test", "options": {"a": 1, "b": 3, "c": 4}})
    );
    assert_eq!((first.handler.as_str(), first.retry_limit), ("First", 5));
    assert_eq!(first.backoff.kind.map(|kind| kind.as_str()), Some("linear"));
    assert_eq!(
        (first.backoff.base_ms, first.backoff.max_ms),
        (Some(1_000), Some(2_000))
    );
    let second = template.step("second").expect("there");
    assert_eq!(
        (second.depends_on.len(), second.timeout_seconds),
        (0, Some(10))
    );
    assert_eq!(template.dag.roots(), [1, 2]);
}

#[test]
fn another_environment_or_none_sees_the_template_itself() {
    let plain = template(BASE);
    assert_eq!(plain.steps[0].handler_config["url"], json!("http://live"));
    assert_eq!(template_in(BASE, Some("production")), plain);
    let staging = template_in(BASE, Some("staging"));
    assert_eq!(staging.steps, plain.steps);
    assert_eq!(staging.identity_strategy.as_str(), "hash");
    assert_eq!(
        (staging.timeout_seconds, plain.timeout_seconds),
        (Some(90), None)
    );
    assert_eq!(
        staging.input_schema,
        Some(json!({"type": "object", "required": ["a", "b"]}))
    );
}

#[test]
fn a_cycle_that_only_an_environment_has_is_refused_there() {
    let text = "name: t
steps:
  - {name: a, handler: H}
  - {name: b, handler: H, depends_on_step: a}
environments:
  production:
    steps: [{name: a, depends_on_steps: [b]}]
";
    assert_eq!(
        problem(text),
        "error environments.production.steps[0].depends_on_steps[0]: the dependencies form a cycle: a -> b -> a \
         (in environment production)"
    );
}

#[test]
fn a_problem_of_the_template_is_told_once_not_per_environment() {
    let text = "name: t
steps: [{name: a, handler: H, depends_on_step: z}]
environments: {one: {}, two: {steps: [{name: a, queue: q}]}, three: }
";
    assert_eq!(problems(text).len(), 1);
}

#[test]
fn a_schema_that_an_environment_breaks_is_refused_there() {
    let text = "name: t
input_schema: {type: object}
steps: [{name: a, handler: H}]
environments: {one: {input_schema: {type: thing}}}
";
    let found = problem(text);
    assert!(
        found.starts_with("error environments.one.input_schema: is not a valid JSON Schema"),
        "{found}"
    );
    assert!(found.ends_with("(in environment one)"), "{found}");
}

#[test]
fn an_unknown_step_in_an_environment_is_a_warning() {
    let text = "name: t
steps: [{name: fetch, handler: H}]
environments: {one: {step_templates: [{name: fetsh, timeout_seconds: 5}]}}
";
    assert_eq!(
        problem(text),
        "warning environments.one.step_templates[0].name: the template has no step \"fetsh\", so this entry is \
         ignored; did you mean \"fetch\"?"
    );
}

#[test]
fn an_environment_cannot_rename_and_cannot_override_twice() {
    let text = "name: t
steps: [{name: a, handler: H}]
environments: {one: {name: other, steps: [{name: a, queue: q}, {name: a, queue: r}, {queue: s}]}}
";
    let found = problems(text);
    let paths: Vec<_> = found
        .iter()
        .filter_map(|one| one.split(": ").next())
        .collect();
    assert_eq!(
        paths,
        [
            "warning environments.one.name",
            "error environments.one.steps[2].name",
            "error environments.one.steps[1].name",
        ]
    );
}

#[test]
fn the_canonical_form_has_one_spelling() {
    let rails = "
name: t
step_templates:
  - {name: a, handler_class: A, handler_config: {x: 1}, default_retryable: true}
  - {name: b, handler_class: B, depends_on_step: a}
environments: {test: {step_templates: [{name: a, handler_config: {x: 2}}]}}
";
    assert_eq!(
        template(rails).export(),
        json!({
            "name": "t",
            "namespace_name": "default",
            "version": "0.1.0",
            "steps": [
                {"name": "a", "handler": {"callable": "A", "initialization": {"x": 1}}, "default_retryable": true},
                {"name": "b", "handler": {"callable": "B"}, "depends_on_steps": ["a"]},
            ],
            "environments": {"test": {"steps": [{"name": "a", "handler": {"initialization": {"x": 2}}}]}},
        })
    );
}

#[test]
fn the_canonical_form_reads_back_as_the_same_template() {
    for env in [None, Some("test"), Some("staging")] {
        let before = template_in(BASE, env);
        assert_eq!(template_in(&before.export().to_string(), env), before);
    }
}

/// A whole template as JSON: valid names and edges, the rest by chance.
fn any_template() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        Just(json!({})),
        Just(json!({"retry": {"backoff": "linear", "backoff_base_ms": 5, "jitter": 0.125}})),
        Just(json!({"default_retryable": false, "default_retry_limit": 0})),
        Just(json!({"retry": {"limit": 0, "retryable": false, "max_ms": 77}})),
        Just(json!({"priority": "high", "skippable": true, "queue": "q"})),
        Just(json!({"timeout_seconds": 4, "dependent_system": "d"})),
        Just(json!({"results_schema": {"type": "object"}, "description": "ä\n\"x\""})),
        Just(json!({"custom_events": ["a.b", {"name": "c.d", "description": "e"}]})),
        Just(json!({"handler_config": {"deep": {"n": [1, null, "x", 1.5]}}})),
    ];
    let step = (prop::collection::vec(field, 0..4), any::<u64>());
    (prop::collection::vec(step, 1..12), prop::collection::vec(any::<u64>(), 12), any::<bool>()).prop_map(
        |(steps, shuffles, hash)| {
            let mut out = Vec::new();
            let mut overrides = Vec::new();
            for (index, (fields, bits)) in steps.iter().enumerate() {
                let parents: Vec<_> = (0..index).filter(|at| bits >> at & 1 == 1).map(|at| format!("s{at}")).collect();
                let mut entry = json!({"name": format!("s{index}"), "handler": "H", "depends_on_steps": parents});
                for field in fields {
                    for (key, value) in field.as_object().expect("an object") {
                        entry[key] = value.clone();
                    }
                }
                if bits >> 60 & 1 == 1 {
                    overrides.push(json!({"name": format!("s{index}"), "queue": "env", "depends_on_steps": []}));
                }
                out.push((shuffles[index], entry));
            }
            out.sort_by_key(|entry| entry.0);
            let steps: Vec<_> = out.into_iter().map(|entry| entry.1).collect();
            json!({
                "name": "t",
                "identity_strategy": if hash { "hash" } else { "unique" },
                "steps": steps,
                "environments": {"e": {"steps": overrides}},
            })
        },
    )
}

fn read_all(value: &Value, env: Option<&str>) -> Template {
    let (template, problems) = read(value, env, &unlimited()).expect("no limit");
    template.unwrap_or_else(|| panic!("{problems:#?}"))
}

proptest! {
    #[test]
    fn export_and_reading_are_inverse(value in any_template()) {
        for env in [None, Some("e")] {
            let template = read_all(&value, env);
            let text = template.export().to_string();
            let again = read_all(&parse(&text).expect("JSON"), env);
            prop_assert_eq!(&again, &template);
            prop_assert_eq!(again.export(), template.export());
            // Parents have smaller numbers, and numbers count from one.
            for (index, step) in template.steps.iter().enumerate() {
                prop_assert_eq!(step.step_no as usize, index + 1);
                for parent in &step.depends_on {
                    let parent = template.step(parent).expect("there");
                    prop_assert!(parent.step_no < step.step_no);
                    prop_assert!(template.dag.parents(step.step_no).contains(&parent.step_no));
                }
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = parse(&text).map(|value| read(&value, Some("e"), &unlimited()).expect("no limit"));
    }

    #[test]
    fn no_text_that_looks_like_yaml_makes_the_parser_panic(
        text in "([ \n]|- |: |name|steps|retry|handler|depends_on_step|[\\[\\]{},&*!|>'\"#?%@-]|<<|a|1|~|\\.5|1e9){0,60}"
    ) {
        let _ = parse(&text).map(|value| read(&value, Some("e"), &unlimited()).expect("no limit"));
    }

    #[test]
    fn no_value_makes_the_reader_panic(base in any_template(), path in prop::collection::vec(0usize..6, 1..5), with in any_value()) {
        let mut value = base;
        put_at(&mut value, &path, with);
        let (template, problems) = read(&value, Some("e"), &unlimited()).expect("no limit");
        prop_assert_eq!(template.is_none(), problems.iter().any(|problem| problem.is_error()));
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
        Just(json!("s1")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("(name|steps|type|callable|\\$ref|.{0,3})", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Replaces something inside, found by positions.
fn put_at(value: &mut Value, path: &[usize], with: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = with;
        return;
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = first % items.len();
            put_at(&mut items[at], rest, with);
        }
        Value::Object(map) if !map.is_empty() => {
            let at = first % map.len();
            if let Some(inner) = map.values_mut().nth(at) {
                put_at(inner, rest, with);
            }
        }
        other => *other = with,
    }
}

fn unlimited() -> Budget {
    Budget::unlimited(Host::NONE)
}
