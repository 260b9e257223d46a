//! Lays an environment over a template.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::raw::{Located, RawBody, RawEnvironment, RawStep, RawTemplate};
use super::reader::Findings;
use crate::names::{did_you_mean, shown};

/// The name under which an environment overrides every step.
const EVERY_STEP: &str = "ALL";

/// The template as the environment sees it. What the environment does not name stays; objects are merged key by key,
/// everything else is replaced. Steps are found by name; steps that the template does not have are ignored with a warning.
pub(super) fn overlay(
    template: &RawTemplate,
    environment: &RawEnvironment,
    findings: &mut Findings,
) -> RawTemplate {
    let mut merged = RawTemplate {
        environments: Vec::new(),
        ..template.clone()
    };
    let over = &environment.body;
    let body = &mut merged.body;
    replace(&mut body.description, &over.description);
    replace(&mut body.task_handler, &over.task_handler);
    merge_maps(&mut body.task_handler_config, &over.task_handler_config);
    merge_schemas(&mut body.input_schema, &over.input_schema);
    replace(&mut body.identity_strategy, &over.identity_strategy);
    replace(&mut body.identity_window, &over.identity_window);
    replace(
        &mut body.default_dependent_system,
        &over.default_dependent_system,
    );
    replace(&mut body.queue, &over.queue);
    replace(&mut body.timeout_seconds, &over.timeout_seconds);
    replace(&mut body.named_steps, &over.named_steps);
    merge_steps(body, over, findings);
    merged
}

fn merge_steps(body: &mut RawBody, over: &RawBody, findings: &mut Findings) {
    let mut by_name: HashMap<String, usize> = HashMap::with_capacity(body.steps.len());
    for (index, step) in body.steps.iter().enumerate() {
        if let Some(name) = &step.name {
            by_name.entry(name.clone()).or_insert(index);
        }
    }
    let mut met: HashMap<&str, &str> = HashMap::new();
    for step in &over.steps {
        let all = step.name.as_deref() == Some(EVERY_STEP);
        if !findings.goes_on(if all { body.steps.len() as u64 } else { 1 }) {
            break;
        }
        let Some(name) = step.name.as_deref() else {
            continue;
        };
        if let Some(first) = met.insert(name, &step.path) {
            findings.error(
                format!("{}.name", step.path),
                format!("step {} is overridden twice, first at {first}", shown(name)),
            );
        }
        if let Some(index) = by_name.get(name) {
            merge_step(&mut body.steps[*index], step);
        } else if name == EVERY_STEP {
            for target in &mut body.steps {
                merge_step(target, step);
            }
        } else {
            let advice = did_you_mean(name, by_name.keys().map(String::as_str));
            findings.warning(
                format!("{}.name", step.path),
                format!(
                    "the template has no step {}, so this entry is ignored{advice}",
                    shown(name)
                ),
            );
        }
    }
}

fn merge_step(step: &mut RawStep, over: &RawStep) {
    replace(&mut step.description, &over.description);
    replace(&mut step.handler, &over.handler);
    merge_maps(&mut step.initialization, &over.initialization);
    replace(&mut step.depends_on, &over.depends_on);
    replace(&mut step.dependent_system, &over.dependent_system);
    replace(&mut step.queue, &over.queue);
    replace(&mut step.retryable, &over.retryable);
    replace(&mut step.retry_limit, &over.retry_limit);
    replace(&mut step.backoff.kind, &over.backoff.kind);
    replace(&mut step.backoff.base_ms, &over.backoff.base_ms);
    replace(&mut step.backoff.max_ms, &over.backoff.max_ms);
    replace(&mut step.backoff.jitter, &over.backoff.jitter);
    replace(&mut step.timeout_seconds, &over.timeout_seconds);
    replace(&mut step.priority, &over.priority);
    replace(&mut step.skippable, &over.skippable);
    merge_schemas(&mut step.results_schema, &over.results_schema);
    replace(&mut step.custom_events, &over.custom_events);
}

fn replace<T: Clone>(target: &mut Option<T>, over: &Option<T>) {
    if over.is_some() {
        target.clone_from(over);
    }
}

fn merge_maps(target: &mut Option<Map<String, Value>>, over: &Option<Map<String, Value>>) {
    if let Some(over) = over {
        deep_merge(target.get_or_insert_default(), over);
    }
}

fn merge_schemas(target: &mut Option<Located<Value>>, over: &Option<Located<Value>>) {
    let Some(over) = over else { return };
    match (target.as_mut().map(|schema| &mut schema.value), &over.value) {
        (Some(Value::Object(map)), Value::Object(more)) => {
            deep_merge(map, more);
            if let Some(target) = target {
                // The environment made the change, so the finding is about its line.
                target.path.clone_from(&over.path);
            }
        }
        _ => *target = Some(over.clone()),
    }
}

// The parser's depth limit bounds the recursion.
fn deep_merge(target: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (target.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => deep_merge(inner, more),
            _ => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
}
