//! What an event says: values of its row and of what never changes, of which its schema names the keys.

use serde_json::{Map, Value, json};
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::catalog;
use tasker_rules::events::counts::{self, Counts};
use tasker_rules::events::rows::{Change, Said};

use super::rows::Logged;
use crate::error::{Error, Result};
use crate::pg::datum::{Timestamp, Uuid};
use crate::registry::Template;

/// An event of a row, with what its payload is made from.
pub struct Told<'t> {
    pub row: &'t Logged,
    /// The metadata of the row, and what they mean.
    pub metadata: &'t Value,
    pub said: Said,
    /// It is the start of the run that the row ends.
    pub start: bool,
    pub name: &'static str,
    pub template: &'t Template,
    pub step: Option<Uuid>,
    pub occurred_at: Timestamp,
    /// Steps that can run because of the row.
    pub released: &'t [i16],
    pub worker: Option<&'t str>,
}

/// The payload: the keys of the event's schema that the row has values for.
pub fn of(told: &Told) -> Result<Value> {
    let shape = catalog::entry(told.name)
        .and_then(|entry| entry.payload)
        .ok_or_else(|| Error::corrupt("an event without a payload"))?
        .shape();
    let mut values = Values(Map::new());
    values.task(told);
    if let Some(step) = &told.step {
        values.step(told, step)?;
    }
    values.said(told);
    values.released(told)?;
    values.end(told);
    let keys = shape
        .required
        .concat()
        .into_iter()
        .chain(shape.optional.concat());
    Ok(Value::Object(
        keys.filter_map(|key| values.0.remove(key).map(|value| (key.to_owned(), value)))
            .collect(),
    ))
}

struct Values(Map<String, Value>);

impl Values {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn task(&mut self, told: &Told) {
        let (from, to) = states(told);
        self.set("task_uuid", format_uuid(&told.row.task));
        self.set("task_name", told.template.name.as_str());
        self.set("task_version", told.template.version.as_str());
        self.set("timestamp", time(told.occurred_at));
        self.set("transitioned_at", time(told.occurred_at));
        self.set("to_state", to);
        self.set("current_status", to);
        self.set("final_status", to);
        self.set("total_steps", told.template.steps().len());
        if let Some(from) = from {
            self.set("from_state", from);
        }
        if let Some(event) = transition_event(told) {
            self.set("transition_event", event);
        }
        if matches!(told.row.change, Change::Task(_, TaskState::InProgress)) {
            self.set("started_at", time(told.occurred_at));
        }
    }

    fn step(&mut self, told: &Told, uuid: &Uuid) -> Result<()> {
        let (row, step) = (told.row, told.template.step(told.row.step_no)?);
        self.set("step_uuid", format_uuid(uuid));
        self.set("step_name", step.name.as_str());
        self.set("attempt_number", row.attempt);
        self.set("previous_attempts", row.attempt);
        self.set("backoff_strategy", step.backoff.name());
        let parents: Vec<Value> = step
            .parents
            .iter()
            .filter_map(|no| Some(told.template.step(*no).ok()?.name.clone().into()))
            .collect();
        self.set("step_dependencies", parents);
        if let Some(worker) = told.worker {
            self.set("worker_id", worker);
        }
        match (told.start, row.started_at) {
            (true, _) => self.set("started_at", time(told.occurred_at)),
            (false, Some(began)) => {
                self.set("started_at", time(began));
                self.set("completed_at", time(row.at));
                self.set("execution_duration", seconds(row.at - began));
            }
            (false, None) if matches!(row.change, Change::Step(_, StepState::InProgress)) => {
                self.set("started_at", time(row.at));
            }
            (false, None) => {}
        }
        let done = matches!(row.change, Change::Step(_, StepState::Complete));
        self.set("step_count", 1);
        self.set("processed_count", 1);
        self.set("successful_count", i32::from(done));
        Ok(())
    }

    /// What the row carries.
    fn said(&mut self, told: &Told) {
        if told.start {
            return;
        }
        for (key, from) in [
            ("error_message", "error_message"),
            ("error", "error_message"),
            ("exception_class", "error_class"),
            ("backoff_type", "backoff_type"),
            ("reason", "reason"),
            ("retry_reason", "reason"),
            ("resolved_by", "resolved_by"),
            ("rerun_of", "rerun_of"),
            ("from_step", "from_step"),
        ] {
            if let Some(text) = told.metadata.get(from).and_then(Value::as_str) {
                self.set(key, text);
            }
        }
        if let Some(before) = told
            .metadata
            .get("previous_attempts")
            .and_then(Value::as_u64)
        {
            self.set("previous_attempts", before);
        }
        if let Some(lines) = told.metadata.get("backtrace").and_then(Value::as_array) {
            let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
            self.set("backtrace", lines);
        }
        if let Some(wait) = told.said.retry_after_seconds {
            let at = time(told.row.at.saturating_add((wait * 1e6).round() as i64));
            for key in ["delay_seconds", "backoff_seconds"] {
                self.set(key, wait);
            }
            for key in ["scheduled_for", "retry_at"] {
                self.set(key, at.as_str());
            }
        }
        // Rows of version 0.1.0 do not say it.
        if let Some(limit) = told.said.retry_limit {
            self.set("retry_limit", limit);
            self.set("final_failure", told.said.retry_after_seconds.is_none());
            self.set("expired", told.said.expired);
            if let Some(retryable) = told.metadata.get("retryable").and_then(Value::as_bool) {
                self.set("retryable", retryable);
            }
        }
        if let Some(reason) = reason(told) {
            self.0.entry("reason").or_insert_with(|| reason.into());
        }
    }

    fn released(&mut self, told: &Told) -> Result<()> {
        if let (Some(step), Change::Step(_, to)) = (&told.step, told.row.change)
            && to.is_finished_good()
        {
            self.set("completed_step_uuid", format_uuid(step));
        }
        let checked = match told.row.step_no {
            0 => told.template.steps().len(),
            no => told.template.step(no)?.children.len(),
        };
        self.set("total_steps_checked", checked);
        if told.name == "workflow.no_viable_steps" {
            self.set("reason", "no_viable_steps");
        }
        if told.name == "workflow.viable_steps_discovered" {
            let key = |no: &i16| tasker_rules::engine::ids::step_uuid(&told.row.task, *no);
            let uuids: Vec<Value> = told
                .released
                .iter()
                .map(|no| format_uuid(&key(no)).into())
                .collect();
            let names: Vec<Value> = told
                .released
                .iter()
                .filter_map(|no| Some(told.template.step(*no).ok()?.name.clone().into()))
                .collect();
            self.set("step_count", uuids.len());
            self.set("step_uuids", uuids);
            self.set("step_names", names);
            self.set("processing_mode", "concurrent");
        }
        Ok(())
    }

    /// The execution status in which a change of a task leaves it.
    fn end(&mut self, told: &Told) {
        if let Change::Task(_, to) = told.row.change {
            let status = match to {
                TaskState::Complete => "all_complete",
                TaskState::Error => "blocked_by_failures",
                TaskState::Cancelled | TaskState::ResolvedManually => to.as_str(),
                TaskState::Pending | TaskState::InProgress => "processing",
            };
            self.set("execution_status", status);
            if !to.is_open() {
                self.set("completed_at", time(told.row.at));
            }
            let total = told.template.steps();
            if let Some(counts) = Counts::of(told.metadata, to, total.len() as i64) {
                for (key, count) in counts::KEYS.into_iter().zip(counts.0) {
                    self.set(key, count);
                }
                self.set("processed_steps_count", counts.ended());
                self.set("completion_percentage", counts.percentage());
            }
            if let Some(failed) = told.metadata.get("error_steps").and_then(Value::as_array) {
                let names: Vec<Value> = failed
                    .iter()
                    .filter_map(|no| i16::try_from(no.as_i64()?).ok())
                    .filter_map(|no| Some(told.template.step(no).ok()?.name.clone().into()))
                    .collect();
                self.set("error_steps", names);
            }
        }
    }
}

/// The reason of an event that must have one, if the row gives none.
fn reason(told: &Told) -> Option<&'static str> {
    Some(match (told.name, told.row.change) {
        ("workflow.task_reenqueue_delayed", Change::Step(_, StepState::Pending)) => "released",
        ("workflow.task_reenqueue_delayed", _) => "retry_backoff",
        ("workflow.task_reenqueue_failed", _) => "failed_permanently",
        ("workflow.task_state_unclear", _) => "repaired",
        _ => return None,
    })
}

fn states(told: &Told) -> (Option<&'static str>, &'static str) {
    match told.row.change {
        _ if told.start => (
            Some(StepState::Pending.as_str()),
            StepState::InProgress.as_str(),
        ),
        Change::Task(from, to) => (from.map(TaskState::as_str), to.as_str()),
        Change::Step(from, to) => (Some(from.as_str()), to.as_str()),
    }
}

fn transition_event(told: &Told) -> Option<&'static str> {
    match told.row.change {
        _ if told.start => StepState::Pending.event(StepState::InProgress),
        Change::Task(from, to) => from.and_then(|from| from.event(to)),
        Change::Step(from, to) => from.event(to),
    }
}

pub fn format_uuid(uuid: &Uuid) -> String {
    uuid::Uuid::from_bytes(*uuid).hyphenated().to_string()
}

fn seconds(microseconds: i64) -> Value {
    json!(microseconds.max(0) as f64 / 1e6)
}

/// ISO 8601 in UTC, with microseconds.
fn time(at: Timestamp) -> String {
    tasker_rules::events::time::iso(at)
}
