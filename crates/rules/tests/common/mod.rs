//! What several test files share.
#![allow(dead_code)]

use tasker_rules::Problem;
use tasker_rules::template::{Template, parse, read};
use tasker_rules::{Budget, Host};

/// The template in the text; panics with all problems if there is an error.
pub fn template(text: &str) -> Template {
    template_in(text, None)
}

/// The same, as an environment sees it.
pub fn template_in(text: &str, env: Option<&str>) -> Template {
    let value = parse(text).expect("valid syntax");
    let (template, problems) = read(&value, env, &unlimited()).expect("no limit");
    template.unwrap_or_else(|| panic!("{}", shown(&problems).join("\n")))
}

/// Every problem as `severity path: message`.
pub fn problems(text: &str) -> Vec<String> {
    let value = parse(text).expect("valid syntax");
    let (template, problems) = read(&value, None, &unlimited()).expect("no limit");
    assert_eq!(template.is_none(), problems.iter().any(Problem::is_error));
    shown(&problems)
}

/// The only problem there is.
pub fn problem(text: &str) -> String {
    let all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap_or_default()
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| format!("{} {problem}", problem.severity.as_str()))
        .collect()
}

/// A template with these steps: lines of `name` or `name: parent parent`.
pub fn steps(lines: &str) -> String {
    let mut text = "name: t\nsteps:\n".to_owned();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, parents) = line.split_once(':').unwrap_or((line, ""));
        let parents: Vec<_> = parents.split_whitespace().collect();
        text.push_str(&format!(
            "  - {{name: {name}, handler: {{callable: H}}, depends_on_steps: [{}]}}\n",
            parents.join(", ")
        ));
    }
    text
}

pub fn unlimited() -> Budget {
    Budget::unlimited(Host::NONE)
}

/// Every key of the older format of templates.
pub const EVERY_RAILS_KEY: &str = "
name: billing/monthly_close
description: Closes a month
module_namespace: Billing
task_handler_class: MonthlyClose
namespace_name: finance
version: 2.1.0
concurrent: true
default_dependent_system: ledger
named_steps: [collect, sum_up, notify]
schema:
  type: object
  required: [month]
  properties: {month: {type: string}}
step_templates:
  - name: collect
    description: Collects bookings
    dependent_system: bookings
    handler_class: Billing::Collect
    handler_config:
      type: api
      url: http://localhost:1/bookings
      params: {page: 1}
      ssl: {verify: false}
      headers: {Accept: application/json}
      enable_exponential_backoff: true
      retry_delay: 2
    default_retryable: true
    default_retry_limit: 4
    skippable: false
    custom_events:
      - {name: bookings.collected, description: All are there}
  - name: sum_up
    depends_on_step: collect
    handler_class: Billing::SumUp
  - name: notify
    depends_on_steps: [collect, sum_up]
    handler_class: Billing::Notify
environments:
  development:
    default_dependent_system: none
    step_templates:
      - name: collect
        handler_config: {url: http://localhost:2/bookings}
  test:
    schema: {required: []}
";

/// Every key of the later format, with `task_handler`, `dependencies` and `retry`.
pub const EVERY_CORE_KEY: &str = "
name: open_account
namespace_name: bank
version: 1.4.0
description: Opens an account
metadata: {author: team-b, tags: [accounts], created_at: '2025-01-01T00:00:00Z'}
task_handler:
  callable: Bank::OpenAccount
  initialization: {currency: EUR}
system_dependencies: {primary: default, secondary: [registry]}
domain_events:
  - {name: account.opened, description: There is one more, schema: {type: object}}
input_schema: {type: object, required: [customer]}
steps:
  - name: check_customer
    type: standard
    description: Asks the registry
    handler: {callable: Bank::CheckCustomer, initialization: {level: 2}}
    system_dependency: registry
    dependencies: []
    retry: {retryable: true, limit: 5, backoff: linear, backoff_base_ms: 500, max_backoff_ms: 8000}
    timeout_seconds: 20
    publishes_events: []
  - name: open
    handler: {callable: Bank::Open}
    dependencies: [check_customer]
    retry: {retryable: true, max_attempts: 2, backoff: exponential}
    publishes_events: [account.opened]
environments:
  production:
    task_handler: {initialization: {currency: USD}}
    steps:
      - {name: ALL, timeout_seconds: 60}
      - {name: open, retry: {limit: 6}}
";
