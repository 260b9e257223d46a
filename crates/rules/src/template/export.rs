//! The canonical JSON form of a template: what it names, under one spelling.

use serde_json::{Map, Value, json};

use super::model::{CustomEvent, DEFAULT_NAME, DEFAULT_VERSION};
use super::raw::{RawBody, RawStep, RawTemplate};
use crate::budget::{Budget, Spent};
use crate::engine::backoff::Policy;
use crate::engine::identity::Window;

/// The work of writing a step.
const STEP: u64 = 16;

/// The whole template with its environments.
pub(super) fn export(template: &RawTemplate, budget: &Budget) -> Result<Value, Spent> {
    let mut out = Map::new();
    put(&mut out, "name", template.name.clone());
    put(
        &mut out,
        "namespace_name",
        Some(template.namespace.as_deref().unwrap_or(DEFAULT_NAME)),
    );
    put(
        &mut out,
        "version",
        Some(template.version.as_deref().unwrap_or(DEFAULT_VERSION)),
    );
    put_body(&mut out, &template.body, budget)?;
    if !template.environments.is_empty() {
        let mut environments = Map::new();
        for environment in &template.environments {
            let mut one = Map::new();
            put_body(&mut one, &environment.body, budget)?;
            environments.insert(environment.name.clone(), Value::Object(one));
        }
        put(&mut out, "environments", Some(environments));
    }
    Ok(Value::Object(out))
}

fn put<T: Into<Value>>(out: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        out.insert(key.to_owned(), value.into());
    }
}

fn put_body(out: &mut Map<String, Value>, body: &RawBody, budget: &Budget) -> Result<(), Spent> {
    put(out, "description", body.description.clone());
    put(
        out,
        "task_handler",
        handler(&body.task_handler, &body.task_handler_config),
    );
    put(
        out,
        "identity_strategy",
        body.identity_strategy.map(|strategy| strategy.as_str()),
    );
    put(
        out,
        "identity_window",
        body.identity_window.map(|window| match window {
            Window::Off => Value::from("off"),
            Window::Seconds(seconds) => Value::from(seconds),
        }),
    );
    put(
        out,
        "default_dependent_system",
        body.default_dependent_system.clone(),
    );
    put(out, "queue", body.queue.clone());
    put(out, "timeout_seconds", body.timeout_seconds);
    put(
        out,
        "input_schema",
        body.input_schema
            .as_ref()
            .map(|schema| schema.value.clone()),
    );
    put(out, "named_steps", body.named_steps.clone());
    out.extend(body.carried.clone());
    if !body.steps.is_empty() {
        let mut steps = Vec::with_capacity(body.steps.len());
        for one in &body.steps {
            budget.spend(STEP)?;
            steps.push(step(one));
        }
        put(out, "steps", Some(steps));
    }
    Ok(())
}

fn handler(
    callable: &Option<String>,
    initialization: &Option<Map<String, Value>>,
) -> Option<Value> {
    if callable.is_none() && initialization.is_none() {
        return None;
    }
    let mut out = Map::new();
    put(&mut out, "callable", callable.clone());
    put(&mut out, "initialization", initialization.clone());
    Some(Value::Object(out))
}

fn step(step: &RawStep) -> Value {
    let mut out = Map::new();
    put(&mut out, "name", step.name.clone());
    put(&mut out, "description", step.description.clone());
    put(
        &mut out,
        "handler",
        handler(&step.handler, &step.initialization),
    );
    let dependencies = |list: &Vec<super::raw::Located<String>>| -> Vec<String> {
        list.iter().map(|one| one.value.clone()).collect()
    };
    put(
        &mut out,
        "depends_on_steps",
        step.depends_on.as_ref().map(dependencies),
    );
    put(&mut out, "dependent_system", step.dependent_system.clone());
    put(&mut out, "queue", step.queue.clone());
    put(&mut out, "default_retryable", step.retryable);
    put(&mut out, "default_retry_limit", step.retry_limit);
    put(&mut out, "retry", retry(&step.backoff));
    put(&mut out, "timeout_seconds", step.timeout_seconds);
    put(
        &mut out,
        "priority",
        step.priority.map(|priority| priority.level()),
    );
    put(&mut out, "skippable", step.skippable);
    put(
        &mut out,
        "results_schema",
        step.results_schema
            .as_ref()
            .map(|schema| schema.value.clone()),
    );
    let events = |list: &Vec<CustomEvent>| list.iter().map(event).collect::<Vec<_>>();
    put(
        &mut out,
        "custom_events",
        step.custom_events.as_ref().map(events),
    );
    Value::Object(out)
}

fn retry(policy: &Policy) -> Option<Value> {
    let mut out = Map::new();
    put(&mut out, "backoff", policy.kind.map(|kind| kind.as_str()));
    put(&mut out, "backoff_base_ms", policy.base_ms);
    put(&mut out, "max_backoff_ms", policy.max_ms);
    put(&mut out, "jitter", policy.jitter);
    (!out.is_empty()).then_some(Value::Object(out))
}

fn event(event: &CustomEvent) -> Value {
    match &event.description {
        Some(description) => json!({"name": event.name, "description": description}),
        None => json!({"name": event.name}),
    }
}
