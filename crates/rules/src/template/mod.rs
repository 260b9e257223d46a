//! Workflow templates: text to value, value to model, model to canonical form.
//!
//! The way of a template: [`parse_within`] turns YAML or JSON into a value; [`read`] reads the fields whatever their spelling,
//! lays the environment over them, checks everything and gives either the model or every problem at once.

mod check;
mod export;
mod fields;
pub mod input_schema;
pub mod json;
mod merge;
mod meter;
mod model;
mod parse;
mod raw;
mod reader;
mod schema;
mod step_fields;
mod unique_keys;

use std::collections::HashSet;

use serde_json::Value;

pub use model::{
    CustomEvent, DEFAULT_NAME, DEFAULT_RETRY_LIMIT, DEFAULT_VERSION, IdentityStrategy, Priority,
    SQL_PREFIX, SQL_QUEUE, Step, Template,
};
pub use parse::{SyntaxError, parse, parse_within};
pub use schema::json_schema;

use crate::budget::{Budget, Spent};
use crate::graph::Dag;
use crate::problem::Problem;
use raw::{RawBody, RawStep, RawTemplate};
use reader::Findings;

/// Reads a template as the environment `env` sees it; `None`, or a name that the template does not know, is the template
/// without overrides.
///
/// Every problem is reported, of all environments, whichever is asked for; the template is there only if none of them is
/// an error. A problem that exists only under an environment ends with its name. Schemas are checked within the budget.
pub fn read(
    value: &Value,
    env: Option<&str>,
    budget: &Budget,
) -> Result<(Option<Template>, Vec<Problem>), Spent> {
    let mut findings = Findings::new(budget);
    reader::check_storable(value, "", &mut findings);
    let Some(raw) = fields::template(value, &mut findings) else {
        findings.spent()?;
        return Ok((None, findings.into_problems()));
    };
    check::check_schemas(&raw.body, None, &mut findings, budget)?;
    let base_dag = check::check(&raw.body, &mut findings);
    findings.spent()?;
    let mut effective = None;
    let mut problems = findings.into_problems();
    for environment in &raw.environments {
        let mut notes = Findings::new(budget);
        let merged = merge::overlay(&raw, environment, &mut notes);
        notes.spent()?;
        problems.extend(notes.into_problems());
        let mut found = Findings::new(budget);
        check::check_schemas(&merged.body, Some(&raw.body), &mut found, budget)?;
        let dag = check::check(&merged.body, &mut found);
        found.spent()?;
        let known: HashSet<Problem> = problems.iter().cloned().collect();
        let new = found
            .into_problems()
            .into_iter()
            .filter(|problem| !known.contains(problem));
        problems.extend(new.map(|mut problem| {
            problem
                .message
                .push_str(&format!(" (in environment {})", environment.name));
            problem
        }));
        if env == Some(environment.name.as_str()) {
            effective = dag.map(|dag| (merged, dag));
        }
    }
    if problems.iter().any(Problem::is_error) {
        return Ok((None, problems));
    }
    let source = export::export(&raw, budget)?;
    let chosen = effective.or_else(|| base_dag.map(|dag| (raw, dag)));
    let template = match chosen {
        Some((raw, dag)) => build(raw, dag, source, budget)?,
        None => None,
    };
    Ok((template, problems))
}

/// Reads a template that was accepted before, as its environment sees it. Checks that came later do not apply to it: whatever
/// can be built is. Otherwise the problems say why nothing can.
pub fn read_stored(
    value: &Value,
    env: Option<&str>,
    budget: &Budget,
) -> Result<Result<Template, Vec<Problem>>, Spent> {
    let mut findings = Findings::of_stored(budget);
    let Some(raw) = fields::template(value, &mut findings) else {
        return Ok(Err(findings.into_problems()));
    };
    findings.spent()?;
    let source = export::export(&raw, budget)?;
    let environment = env.and_then(|name| raw.environments.iter().find(|one| one.name == name));
    let merged = environment.map(|one| merge::overlay(&raw, one, &mut findings));
    let chosen = merged.unwrap_or(raw);
    let dag = check::check(&chosen.body, &mut findings);
    findings.spent()?;
    let built = match dag {
        Some(dag) => build(chosen, dag, source, budget)?,
        None => None,
    };
    Ok(built.ok_or_else(|| findings.into_problems()))
}

/// Fills in the defaults. `None` only for a template that an error should have stopped before.
fn build(
    raw: RawTemplate,
    dag: Dag,
    source: Value,
    budget: &Budget,
) -> Result<Option<Template>, Spent> {
    let mut body = raw.body;
    let written = std::mem::take(&mut body.steps);
    let mut written: Vec<Option<RawStep>> = written.into_iter().map(Some).collect();
    let mut steps = Vec::with_capacity(written.len());
    for (step_no, at) in dag.step_nos().zip(dag.template_order()) {
        budget.spend(1)?;
        let step = written.get_mut(*at).and_then(Option::take);
        let Some(step) = step.and_then(|step| build_step(step, step_no, &body)) else {
            return Ok(None);
        };
        steps.push(step);
    }
    Ok(raw.name.map(|name| Template {
        name,
        namespace: raw.namespace.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        version: raw.version.unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
        description: body.description,
        task_handler: body.task_handler,
        task_handler_config: body.task_handler_config.unwrap_or_default(),
        input_schema: body.input_schema.map(|schema| schema.value),
        identity_strategy: body.identity_strategy.unwrap_or(IdentityStrategy::Unique),
        identity_window: body.identity_window.unwrap_or_default(),
        timeout_seconds: body.timeout_seconds,
        steps,
        dag,
        source,
    }))
}

fn build_step(step: RawStep, step_no: i16, body: &RawBody) -> Option<Step> {
    let handler = step.handler?;
    let queue = step.queue.unwrap_or_else(|| {
        if handler.starts_with(SQL_PREFIX) {
            SQL_QUEUE.to_owned()
        } else {
            body.queue
                .clone()
                .unwrap_or_else(|| DEFAULT_NAME.to_owned())
        }
    });
    let system = step
        .dependent_system
        .or_else(|| body.default_dependent_system.clone());
    Some(Step {
        step_no,
        name: step.name?,
        description: step.description,
        handler,
        handler_config: Value::Object(step.initialization.unwrap_or_default()),
        depends_on: step
            .depends_on
            .unwrap_or_default()
            .into_iter()
            .map(|one| one.value)
            .collect(),
        dependent_system: system.unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        queue,
        retryable: step.retryable.unwrap_or(true),
        retry_limit: step.retry_limit.unwrap_or(DEFAULT_RETRY_LIMIT),
        backoff: step.backoff,
        timeout_seconds: step.timeout_seconds,
        priority: step.priority,
        skippable: step.skippable.unwrap_or(false),
        results_schema: step.results_schema.map(|schema| schema.value),
        custom_events: step.custom_events.unwrap_or_default(),
    })
}
