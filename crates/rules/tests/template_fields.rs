//! The fields of a template: every spelling, every default, every complaint.

mod common;

use common::{problem, problems, template};
use serde_json::json;
use tasker_rules::backoff::{Kind, Policy};
use tasker_rules::template::{CustomEvent, IdentityStrategy, Priority};

/// One step `a` with more fields, as YAML flow text.
fn step(fields: &str) -> String {
    format!("name: t\nsteps:\n  - {{name: a, handler: {{callable: H}}, {fields}}}\n")
}

#[test]
fn defaults_are_those_of_the_contract() {
    let template = template(&step(""));
    assert_eq!(template.full_name(), "default.t@0.1.0");
    assert_eq!(
        (template.description.clone(), template.task_handler.clone()),
        (None, None)
    );
    assert_eq!(
        (&template.input_schema, template.identity_strategy),
        (&None, IdentityStrategy::Unique)
    );
    let step = &template.steps[0];
    assert_eq!(
        (step.step_no, step.name.as_str(), step.handler.as_str()),
        (1, "a", "H")
    );
    assert_eq!(
        (step.handler_config.clone(), step.depends_on.clone()),
        (json!({}), Vec::<String>::new())
    );
    assert_eq!(
        (step.dependent_system.as_str(), step.queue.as_str()),
        ("default", "default")
    );
    assert_eq!(
        (step.retryable, step.retry_limit, step.backoff),
        (true, 3, Policy::default())
    );
    assert_eq!(
        (step.timeout_seconds, step.priority, step.skippable),
        (None, None, false)
    );
    assert_eq!((&step.results_schema, step.custom_events.len()), (&None, 0));
}

#[test]
fn every_canonical_field_is_read() {
    let template = template(
        "
name: process_order
namespace_name: fulfillment
version: 1.2.3
description: Everything.
task_handler: {callable: Order, initialization: {a: 1}}
identity_strategy: hash
input_schema: {type: object, required: [id]}
default_dependent_system: shop
metadata: {owner: team-a}
steps:
  - name: first
    description: The first.
    handler: {callable: First, initialization: {url: http://x, n: 12345678901234567890123}}
    dependent_system: bank
    queue: slow
    default_retryable: false
    default_retry_limit: 0
    retry: {backoff: fibonacci, backoff_base_ms: 50, max_backoff_ms: 2147483647, jitter: 0.25}
    timeout_seconds: 60
    priority: urgent
    skippable: true
    results_schema: {type: object}
    custom_events: [orders.first, {name: orders.second, description: More.}]
  - name: second
    handler: Second
    depends_on_steps: [first]
",
    );
    assert_eq!(template.full_name(), "fulfillment.process_order@1.2.3");
    assert_eq!(template.task_handler.as_deref(), Some("Order"));
    assert_eq!(template.task_handler_config["a"], json!(1));
    assert_eq!(template.identity_strategy, IdentityStrategy::Hash);
    assert_eq!(
        template.input_schema,
        Some(json!({"type": "object", "required": ["id"]}))
    );
    let first = template.step("first").expect("there");
    assert_eq!(
        first.handler_config["n"].to_string(),
        "12345678901234567890123"
    );
    assert_eq!(
        (first.dependent_system.as_str(), first.queue.as_str()),
        ("bank", "slow")
    );
    assert_eq!((first.retryable, first.retry_limit), (false, 0));
    let policy = Policy {
        kind: Some(Kind::Fibonacci),
        base_ms: Some(50),
        max_ms: Some(2_147_483_647),
        jitter: Some(0.25),
    };
    assert_eq!(first.backoff, policy);
    assert_eq!(
        (first.timeout_seconds, first.priority, first.skippable),
        (Some(60), Some(Priority::Urgent), true)
    );
    let names: Vec<_> = first
        .custom_events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(names, ["orders.first", "orders.second"]);
    let second = template.step("second").expect("there");
    assert_eq!(
        (second.dependent_system.as_str(), second.handler.as_str()),
        ("shop", "Second")
    );
    assert_eq!(template.export()["metadata"], json!({"owner": "team-a"}));
}

#[test]
fn a_rails_file_registers_as_it_is() {
    let template = template(
        "
---
name: api_task/integration_example
module_namespace: ApiTask
task_handler_class: IntegrationExample
namespace_name: api_tests
version: 1.0.0
concurrent: true
default_dependent_system: ecommerce_system
named_steps:
  - fetch_cart
  - validate_products
  - create_order
schema:
  type: object
  required:
    - cart_id
  properties:
    cart_id:
      type: integer
step_templates:
  - name: fetch_cart
    description: Fetch cart details
    handler_class: ApiTask::StepHandler::CartFetch
    handler_config:
      type: api
      url: http://localhost:8080/api
      params:
        cart_id: 1
  - name: validate_products
    depends_on_step: fetch_cart
    handler_class: ApiTask::StepHandler::ProductsValidate
    default_retryable: yes
  - name: create_order
    depends_on_steps:
      - fetch_cart
      - validate_products
    handler_class: ApiTask::StepHandler::CreateOrder
    default_retry_limit: 5
    skippable: false
    custom_events:
      - name: order.created
        description: An order is there
environments:
  test:
    step_templates:
      - name: fetch_cart
        handler_config:
          url: http://localhost:9999/api
  development:
",
    );
    assert_eq!(
        template.full_name(),
        "api_tests.api_task/integration_example@1.0.0"
    );
    assert_eq!(
        template.task_handler.as_deref(),
        Some("ApiTask::IntegrationExample")
    );
    assert!(template.input_schema.is_some());
    let names: Vec<_> = template
        .steps
        .iter()
        .map(|step| step.name.as_str())
        .collect();
    assert_eq!(names, ["fetch_cart", "validate_products", "create_order"]);
    assert_eq!(
        template.steps[0].handler_config["params"]["cart_id"],
        json!(1)
    );
    assert_eq!(template.steps[0].dependent_system, "ecommerce_system");
    assert_eq!(
        (
            template.steps[1].retryable,
            template.steps[1].depends_on.clone()
        ),
        (true, vec!["fetch_cart".into()])
    );
    assert_eq!(template.steps[2].retry_limit, 5);
    assert_eq!(
        template.steps[2].custom_events,
        [CustomEvent {
            name: "order.created".into(),
            description: Some("An order is there".into())
        }]
    );
}

#[test]
fn a_tasker_core_file_registers_as_it_is() {
    let text = "
name: credit_check
namespace_name: payments
version: 2.0.0
task_handler:
  callable: Credit::Task
  initialization: {mode: strict}
system_dependencies: {primary: default}
domain_events: [{name: credit.checked, description: Done, schema: {type: object}}]
input_schema: {type: object}
steps:
  - name: pull
    handler: {callable: Credit::Pull, initialization: {bureau: x}}
    system_dependency: bureau
    dependencies: []
    retry: {retryable: true, limit: 7, backoff: exponential, backoff_base_ms: 1000, max_backoff_ms: 30000}
    timeout_seconds: 30
    publishes_events: [credit.checked]
  - name: score
    handler: {callable: Credit::Score}
    dependencies: [pull]
    retry: {retryable: false}
environments:
  production:
    task_handler: {initialization: {mode: live}}
    steps:
      - name: ALL
        timeout_seconds: 90
";
    assert_eq!(problems(text), Vec::<String>::new());
    let template = common::template_in(text, Some("production"));
    assert_eq!(template.task_handler_config["mode"], json!("live"));
    let (pull, score) = (&template.steps[0], &template.steps[1]);
    assert_eq!(
        (pull.retry_limit, pull.dependent_system.as_str()),
        (7, "bureau")
    );
    assert_eq!(pull.backoff.kind, Some(Kind::Exponential));
    assert_eq!(pull.custom_events[0].name, "credit.checked");
    assert_eq!((score.retryable, score.retry_limit), (false, 3));
    assert_eq!(
        (pull.timeout_seconds, score.timeout_seconds),
        (Some(90), Some(90))
    );
}

#[test]
fn steps_of_the_database_lie_in_the_queue_sql_unless_named() {
    let queue = |top: &str, fields: &str| {
        let text = format!("name: t\n{top}\nsteps: [{{name: a, {fields}}}]\n");
        template(&text).steps[0].queue.clone()
    };
    assert_eq!(queue("", "handler: 'sql:f'"), "sql");
    assert_eq!(queue("", "handler: 'sql:f', queue: own"), "own");
    assert_eq!(queue("queue: whole", "handler: H"), "whole");
    assert_eq!(queue("queue: whole", "handler: H, queue: own"), "own");
    assert_eq!(queue("queue: whole", "handler: 'sql:f'"), "sql");
}

#[test]
fn jitter_is_a_share_or_a_word() {
    let jitter = |value: &str| {
        template(&step(&format!("retry: {{jitter: {value}}}"))).steps[0]
            .backoff
            .jitter
    };
    assert_eq!(
        [
            jitter("true"),
            jitter("false"),
            jitter("0"),
            jitter("1"),
            jitter("0.3")
        ]
        .map(Option::unwrap),
        [0.1, 0.0, 0.0, 1.0, 0.3]
    );
    for bad in ["1.5", "-0.1", "much", "[]", "1e999999999999"] {
        let text = format!(
            "{{\"name\":\"t\",\"steps\":[{{\"name\":\"a\",\"handler\":\"H\",\"retry\":{{\"jitter\":{}}}}}]}}",
            if bad == "much" { "\"much\"" } else { bad }
        );
        assert!(
            problems(&text)
                .iter()
                .any(|one| one.starts_with("error steps[0].retry.jitter")),
            "{bad}"
        );
    }
}

#[test]
fn priority_is_a_number_or_a_word() {
    let priority = |value: &str| template(&step(&format!("priority: {value}"))).steps[0].priority;
    assert_eq!(priority("1"), Some(Priority::Low));
    assert_eq!(priority("4"), priority("urgent"));
    assert_eq!(priority("2").map(Priority::level), Some(2));
    for bad in ["0", "5", "max", "2.5", "true"] {
        assert!(
            problem(&step(&format!("priority: {bad}"))).starts_with("error steps[0].priority: "),
            "{bad}"
        );
    }
}

#[test]
fn each_wrong_value_is_refused_at_its_path() {
    for (fields, expected) in [
        (
            "default_retry_limit: -1",
            "error steps[0].default_retry_limit: expected a whole number from 0 to 32767, found the number -1",
        ),
        (
            "default_retry_limit: 32768",
            "error steps[0].default_retry_limit: expected a whole number from 0 to 32767, found the number 32768",
        ),
        (
            "retry: {limit: x}",
            "error steps[0].retry.limit: expected a whole number, found the text \"x\"",
        ),
        (
            "retry: {limit: 1.5}",
            "error steps[0].retry.limit: expected a whole number from 0 to 32767, found the number 1.5",
        ),
        (
            "retry: {backoff: fixed}",
            "error steps[0].retry.backoff: unknown backoff \"fixed\"; use none, linear, exponential or fibonacci",
        ),
        (
            "retry: {backoff_base_ms: 0}",
            "error steps[0].retry.backoff_base_ms: expected a whole number from 1 to 2147483647, found the number 0",
        ),
        (
            "retry: {max_backoff_ms: 2147483648}",
            "error steps[0].retry.max_backoff_ms: expected a whole number from 1 to 2147483647, found the number 2147483648",
        ),
        (
            "retry: {base_ms: 99999999999999999999}",
            "error steps[0].retry.base_ms: expected a whole number from 1 to 2147483647, found the number 99999999999999999999",
        ),
        (
            "retry: [1]",
            "error steps[0].retry: expected an object, found a list",
        ),
        (
            "timeout_seconds: 0",
            "error steps[0].timeout_seconds: expected a whole number from 1 to 2147483647, found the number 0",
        ),
        (
            "timeout_seconds: '5'",
            "error steps[0].timeout_seconds: expected a whole number, found the text \"5\"",
        ),
        (
            "skippable: maybe",
            "error steps[0].skippable: expected true or false, found the text \"maybe\"",
        ),
        (
            "skippable: 1",
            "error steps[0].skippable: expected true or false, found the number 1",
        ),
        (
            "depends_on_steps: b",
            "error steps[0].depends_on_steps: expected a list, found a text; write [name] or use depends_on_step",
        ),
        (
            "depends_on_step: [b]",
            "error steps[0].depends_on_step: expected one step name, found a list; use depends_on_steps",
        ),
        (
            "depends_on_steps: [1]",
            "error steps[0].depends_on_steps[0]: expected a text, found the number 1; put it in quotes",
        ),
        (
            "custom_events: [shipped]",
            "error steps[0].custom_events[0]: event name \"shipped\" needs a dot, as in orders.shipped",
        ),
        (
            "publishes_events: [{description: x}]",
            "error steps[0].publishes_events[0].name: the event needs a name",
        ),
        (
            "custom_events: [7]",
            "error steps[0].custom_events[0]: expected an event name or an object with one, found a number",
        ),
        (
            "results_schema: 7",
            "error steps[0].results_schema: a JSON Schema is an object, or true or false",
        ),
        (
            "description: {}",
            "error steps[0].description: expected a text, found an object",
        ),
        ("queue: ''", "error steps[0].queue: queue is empty"),
        (
            "handler_config: []",
            "error steps[0].handler_config: expected an object, found a list",
        ),
        (
            "default_retry_limit: 2, retry: {limit: 3}",
            "error steps[0].retry.limit: contradicts the step's own default_retry_limit",
        ),
        (
            "handler_class: Other",
            "error steps[0].handler_class: says something else than handler, which means the same; give one of them",
        ),
        (
            "retry: {backoff_base_ms: 100, max_backoff_ms: 50}",
            "warning steps[0].retry: the cap of 50 ms is below the base of 100 ms, so every delay is the cap",
        ),
        (
            "skippable: no",
            "warning steps[0].skippable: the text \"no\" is read as false; write false",
        ),
        (
            "timeout_second: 5",
            "warning steps[0].timeout_second: unknown key \"timeout_second\" is ignored; did you mean timeout_seconds?",
        ),
        (
            "retry: {colour: 5}",
            "warning steps[0].retry.colour: unknown key \"colour\" is ignored",
        ),
    ] {
        assert_eq!(problem(&step(fields)), expected, "{fields}");
    }
    assert!(problem(&step("custom_events: [task.mine]")).contains("may not begin with \"task\""));
    assert!(
        problem(&step("results_schema: {type: whole}"))
            .starts_with("error steps[0].results_schema: is no valid JSON Schema: at type")
    );
}

#[test]
fn each_wrong_value_at_the_top_is_refused_at_its_path() {
    let with = |top: &str| format!("{top}\nsteps: [{{name: a, handler: H}}]\n");
    for (top, expected) in [
        ("x-note: nothing", "error name: the template needs a name"),
        ("name:", "error name: the template needs a name"),
        (
            "name: 7",
            "error name: expected a text, found the number 7; put it in quotes",
        ),
        (
            "name: t\nversion: 1.0",
            "error version: expected three numbers such as 1.0.0, found the number 1.0",
        ),
        (
            "name: t\nversion: 1.0.0-rc1",
            "error version: version \"1.0.0-rc1\" is not of the form x.y.z, three numbers without leading zeros such as 1.12.0",
        ),
        (
            "name: t\nnamespace: a\nnamespace_name: b",
            "error namespace: says something else than namespace_name, which means the same; give one of them",
        ),
        (
            "name: t\nidentity_strategy: custom",
            "error identity_strategy: unknown identity strategy \"custom\"; use one of unique, hash",
        ),
        (
            "name: t\nschema: [1]",
            "error schema: a JSON Schema is an object, or true or false",
        ),
        (
            "name: t\nconcurrent: false",
            "warning concurrent: has no effect: independent steps always run at the same time",
        ),
        (
            "name: t\nnamed_steps: [b]",
            "error steps[0].name: step \"a\" is missing from named_steps",
        ),
        (
            "name: t\nenvironments: [x]",
            "error environments: expected an object from environment name to overrides, found a list",
        ),
        (
            "name: t\nnamepace: x",
            "warning namepace: unknown key \"namepace\" is ignored; did you mean namespace?",
        ),
        (
            "name: t\ntask_handler: [x]",
            "error task_handler: expected a text, found a list",
        ),
    ] {
        assert_eq!(problem(&with(top)), expected, "{top}");
    }
    assert_eq!(
        problem("[1, 2]"),
        "error : expected an object, found a list".replace(" : ", " ")
    );
    assert_eq!(
        problem("just text"),
        "error expected an object, found a text"
    );
    assert_eq!(problem(""), "error expected an object, found nothing");
    assert_eq!(
        problem("name: t\nsteps: {a: 1}\n").split(':').next(),
        Some("error steps")
    );
}

#[test]
fn a_step_needs_a_name_and_a_handler() {
    let one = |entry: &str| problems(&format!("name: t\nsteps: [{entry}]\n"));
    assert_eq!(
        one("{handler: H}"),
        ["error steps[0].name: the step needs a name"]
    );
    let missing = ["error steps[0].handler.callable: the step needs a handler"];
    assert_eq!(one("{name: a}"), missing);
    assert_eq!(one("{name: a, handler: {}}"), missing);
    assert_eq!(one("{name: a, handler: {callable: null}}"), missing);
    assert_eq!(
        one("{name: a, handler: {callable: ''}}"),
        ["error steps[0].handler.callable: handler is empty"]
    );
    assert_eq!(
        one("{name: a, handler: [H]}"),
        ["error steps[0].handler: expected a text, found a list"]
    );
    assert_eq!(
        one("a"),
        ["error steps[0]: expected an object, found a text"]
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = problems(
        "
version: one
steps:
  - {name: a, retry: {limit: -1}}
  - {name: a, handler: H, depends_on_step: z, colour: red}
  - {name: c, handler: H, timeout_seconds: soon, depends_on_steps: [d]}
  - {name: d, handler: H, depends_on_steps: [c]}
",
    );
    let paths: Vec<_> = found
        .iter()
        .filter_map(|one| one.split(": ").next())
        .collect();
    for path in [
        "error name",
        "error version",
        "error steps[0].retry.limit",
        "error steps[0].handler.callable",
        "error steps[1].name",
        "error steps[1].depends_on_step",
        "warning steps[1].colour",
        "error steps[2].timeout_seconds",
        "error steps[2].depends_on_steps[0]",
    ] {
        assert!(paths.contains(&path), "{path} in {found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn names_have_the_limits_of_the_original() {
    let long = |count: usize| "x".repeat(count);
    assert!(
        problems(&format!(
            "name: {}\nsteps: [{{name: {}, handler: H}}]",
            long(64),
            long(128)
        ))
        .is_empty()
    );
    assert!(
        problem(&format!(
            "name: {}\nsteps: [{{name: a, handler: H}}]",
            long(65)
        ))
        .contains("at most 64")
    );
    assert!(
        problem(&format!(
            "name: t\nsteps: [{{name: {}, handler: H}}]",
            long(129)
        ))
        .contains("at most 128")
    );
    assert!(problem(&step(&format!("description: {}", long(256)))).contains("at most 255"));
    assert!(problem(&step(&format!("dependent_system: {}", long(65)))).contains("at most 64"));
    assert!(problem(&step(&format!("queue: {}", long(65)))).contains("at most 64"));
}

#[test]
fn what_jsonb_cannot_hold_is_refused_before_it_gets_there() {
    let found = problem(&step("handler_config: {a: [\"x\\0\"]}"));
    assert!(
        found.starts_with("error steps[0].handler_config.a[0]: contains the character U+0000"),
        "{found}"
    );
    let text =
        r#"{"name":"t","steps":[{"name":"a","handler":"H","handler_config":{"n":1e200000}}]}"#;
    assert!(problem(text).contains("beyond the range of numeric"));
}

#[test]
fn a_dependency_in_both_keys_is_one_edge() {
    let text = "name: t
steps:
  - {name: a, handler: H}
  - {name: b, handler: H}
  - {name: c, handler: H, depends_on_step: a, depends_on_steps: [b, a]}
";
    assert_eq!(
        problem(text),
        "warning steps[2].depends_on_step: \"a\" is in the list of dependencies too"
    );
    assert_eq!(template(text).steps[2].depends_on, ["b", "a"]);
    let apart = text.replace("[b, a]", "[b]");
    assert_eq!(template(&apart).steps[2].depends_on, ["a", "b"]);
}

#[test]
fn identity_default_means_unique() {
    let text = format!("identity_strategy: default\n{}", step(""));
    assert_eq!(template(&text).identity_strategy, IdentityStrategy::Unique);
}
