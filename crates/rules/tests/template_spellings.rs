//! The spellings of a template: the canonical one, the one with `step_templates`, the one with `task_handler`; and the defaults.

mod common;

use common::{problems, template};
use serde_json::json;
use tasker_rules::engine::backoff::{Kind, Policy};
use tasker_rules::template::{CustomEvent, IdentityStrategy, Priority};

/// One step `a` with more fields, as YAML flow text.
fn step(fields: &str) -> String {
    format!("name: t\nsteps:\n  - {{name: a, handler: {{callable: H}}, {fields}}}\n")
}

#[test]
fn defaults_are_the_documented_ones() {
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
timeout_seconds: 3600
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
    assert_eq!(template.timeout_seconds, Some(3600));
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

const RAILS_FILE: &str = "
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
";

#[test]
fn a_rails_file_registers_as_it_is() {
    let template = template(RAILS_FILE);
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
fn no_key_of_the_older_formats_is_a_mistake() {
    for text in [common::EVERY_RAILS_KEY, common::EVERY_CORE_KEY] {
        assert_eq!(problems(text), Vec::<String>::new());
    }
    let template = template(common::EVERY_CORE_KEY);
    let limits: Vec<_> = template.steps.iter().map(|step| step.retry_limit).collect();
    assert_eq!(limits, [5, 2]);
}
