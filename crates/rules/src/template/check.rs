//! Checks of a template as a whole: names, dependencies, cycles, schemas.

use std::collections::{HashMap, HashSet};

use super::model::IdentityStrategy;
use super::raw::{Located, RawBody, RawStep};
use super::reader::Findings;
use crate::budget::{Budget, Spent};
use crate::engine::ids::MAX_STEPS;
use crate::graph::{Dag, GraphError, MAX_EDGES, describe_cycle};
use crate::names::{did_you_mean, shown};
use crate::template::input_schema::Schema;

/// The work of comparing an unknown name with all that are known.
const LOOKING_FOR_A_NAME: u64 = 100_000;

/// Checks the steps together. Returns the graph if there is one without cycles.
pub(super) fn check(body: &RawBody, findings: &mut Findings) -> Option<Dag> {
    if body.identity_window.is_some() && body.identity_strategy != Some(IdentityStrategy::Hash) {
        findings.warning(
            "identity_window",
            "has no effect without identity_strategy: hash",
        );
    }
    for step in &body.steps {
        if let (Some(base_ms), Some(max_ms)) = (step.backoff.base_ms, step.backoff.max_ms)
            && max_ms < base_ms
        {
            let message = format!(
                "the cap of {max_ms} ms is below the base of {base_ms} ms, so every delay is the cap"
            );
            findings.warning(format!("{}.retry", step.path), message);
        }
    }
    if body.steps.is_empty() && body.steps_unreadable {
        return None;
    }
    if body.steps.is_empty() {
        findings.error(
            body.steps_path.as_str(),
            "the template needs at least one step",
        );
        return None;
    }
    if body.steps.len() > MAX_STEPS {
        let message = format!(
            "{} steps; at most {MAX_STEPS} are possible",
            body.steps.len()
        );
        findings.error(body.steps_path.as_str(), message);
        return None;
    }
    let count = body.steps.iter().flat_map(|step| &step.depends_on);
    let count: usize = count.map(Vec::len).sum();
    if count > MAX_EDGES && !findings.is_stored() {
        let message =
            format!("{count} dependencies between steps; at most {MAX_EDGES} are possible");
        findings.error(body.steps_path.as_str(), message);
        return None;
    }
    let by_name = index_names(&body.steps, findings);
    check_named_steps(body, findings);
    let edges = edges(&body.steps, &by_name, findings);
    let names = names(&body.steps, findings);
    graph(&body.steps, names, edges, findings)
}

fn index_names<'s>(steps: &'s [RawStep], findings: &mut Findings) -> HashMap<&'s str, usize> {
    let mut by_name = HashMap::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        findings.goes_on(1);
        let Some(name) = step.name.as_deref() else {
            continue;
        };
        if let Some(first) = by_name.get(name) {
            let first: &RawStep = &steps[*first];
            let message = format!("step name {} is taken by {}", shown(name), first.path);
            findings.error(format!("{}.name", step.path), message);
        } else {
            by_name.insert(name, index);
        }
    }
    by_name
}

/// `named_steps` lists the permitted names: if it is given, steps and dependencies must be in it.
fn check_named_steps(body: &RawBody, findings: &mut Findings) {
    let Some(named) = &body.named_steps else {
        return;
    };
    let named: HashSet<&str> = named.iter().map(String::as_str).collect();
    for step in &body.steps {
        if let Some(name) = step.name.as_deref().filter(|name| !named.contains(name)) {
            let message = format!("step {} is missing from named_steps", shown(name));
            findings.error(format!("{}.name", step.path), message);
        }
    }
}

/// The edges that lead from one step to another, as positions.
fn edges(
    steps: &[RawStep],
    by_name: &HashMap<&str, usize>,
    findings: &mut Findings,
) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    for (child, step) in steps.iter().enumerate() {
        let name = step.name.as_deref().unwrap_or_default();
        let mut met = HashSet::new();
        if !findings.goes_on(1) {
            break;
        }
        for Located {
            value: wanted,
            path,
        } in step.depends_on.iter().flatten()
        {
            if !findings.goes_on(1) {
                break;
            }
            if !met.insert(wanted.as_str()) {
                let message = format!("step {} depends on {} twice", shown(name), shown(wanted));
                findings.error(path.as_str(), message);
            } else if wanted == name {
                findings.error(
                    path.as_str(),
                    format!("step {} depends on itself: {name} -> {name}", shown(name)),
                );
            } else if let Some(parent) = by_name.get(wanted.as_str()) {
                edges.push((*parent, child));
            } else {
                findings.goes_on(LOOKING_FOR_A_NAME);
                let advice = did_you_mean(wanted, by_name.keys().copied());
                let message = format!(
                    "step {} depends on {}, which is not a step of this template{advice}",
                    shown(name),
                    shown(wanted)
                );
                findings.error(path.as_str(), message);
            }
        }
    }
    edges
}

fn names(steps: &[RawStep], findings: &mut Findings) -> Vec<String> {
    let mut names = Vec::with_capacity(steps.len());
    for step in steps {
        findings.goes_on(1);
        names.push(step.name.clone().unwrap_or_default());
    }
    names
}

fn graph(
    steps: &[RawStep],
    names: Vec<String>,
    edges: Vec<(usize, usize)>,
    findings: &mut Findings,
) -> Option<Dag> {
    match Dag::from_indexes(names, edges) {
        Ok(dag) => Some(dag),
        Err(GraphError::Cycles(cycles)) => {
            for cycle in cycles {
                let message = format!("the dependencies form a cycle: {}", describe_cycle(&cycle));
                findings.error(cycle_path(steps, &cycle), message);
            }
            None
        }
        // Excluded by the checks before; reported in case it was not.
        Err(other) => {
            findings.error("steps", other.to_string());
            None
        }
    }
}

/// The place of the dependency that closes the cycle: an environment's dependency before the template's own.
fn cycle_path(steps: &[RawStep], cycle: &[String]) -> String {
    let on_cycle: HashMap<&str, usize> = cycle
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), at))
        .collect();
    let mut paths: Vec<&str> = Vec::new();
    for step in steps {
        let Some(at) = step.name.as_deref().and_then(|name| on_cycle.get(name)) else {
            continue;
        };
        let before = &cycle[(at + cycle.len() - 1) % cycle.len()];
        let dependencies = step.depends_on.iter().flatten();
        paths.extend(
            dependencies
                .filter(|one| one.value == *before)
                .map(|one| one.path.as_str()),
        );
    }
    let from_environment = paths.iter().find(|path| path.starts_with("environments."));
    from_environment
        .or(paths.first())
        .map_or_else(String::new, |path| (*path).to_owned())
}

/// Checks the schemas. `base` is the template without the environment, whose schemas have been checked before.
pub(super) fn check_schemas(
    body: &RawBody,
    base: Option<&RawBody>,
    findings: &mut Findings,
    budget: &Budget,
) -> Result<(), Spent> {
    check_schema(
        &body.input_schema,
        base.map(|base| &base.input_schema),
        findings,
        budget,
    )?;
    for (index, step) in body.steps.iter().enumerate() {
        let before = base
            .and_then(|base| base.steps.get(index))
            .map(|step| &step.results_schema);
        check_schema(&step.results_schema, before, findings, budget)?;
    }
    Ok(())
}

fn check_schema(
    schema: &Option<Located<serde_json::Value>>,
    before: Option<&Option<Located<serde_json::Value>>>,
    findings: &mut Findings,
    budget: &Budget,
) -> Result<(), Spent> {
    let Some(Located { value, path }) = schema else {
        return Ok(());
    };
    // An unchanged schema has been compiled, and complained about, once already.
    if before.is_some_and(|before| before == schema) {
        return Ok(());
    }
    if let Err(message) = Schema::check(value, budget)? {
        findings.error(path.as_str(), message);
    }
    Ok(())
}
