//! What an event says: values of its row and of what never changes, of which its schema names the keys.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use tasker_rules::engine::ids;
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::counts::{self, Counts};
use tasker_rules::events::rows::{Change, Said};
use tasker_rules::events::{catalog, filter};

use super::rows::Logged;
use crate::error::{Error, Result};
use crate::pg::datum::{self, Jsonb, Timestamp, Uuid};
use crate::registry::Template;

const VIABLE: &str = "workflow.viable_steps_discovered";
const NOT_VIABLE: &str = "workflow.no_viable_steps";

/// Hardly a schema names more keys.
const MOST_KEYS: usize = 20;

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

/// The payload of an event: keys with their values, each key once.
#[derive(Default)]
pub struct Payload(Vec<(Cow<'static, str>, Value)>);

impl Payload {
    /// The keys of the event's schema that the row has values for.
    pub fn of(told: &Told) -> Result<Self> {
        let mut entries = Vec::with_capacity(MOST_KEYS);
        for key in told.keys()? {
            if let Some(value) = told.value(key)? {
                entries.push((Cow::Borrowed(key), value));
            }
        }
        Ok(Self(entries))
    }

    pub fn set(&mut self, key: &'static str, value: Value) {
        self.0.retain(|(own, _)| own != key);
        self.0.push((Cow::Borrowed(key), value));
    }

    pub fn contains(&self, filter: &Map<String, Value>) -> bool {
        filter.iter().all(|(key, wanted)| {
            let found = self.0.iter().find(|(own, _)| own == key);
            found.is_some_and(|(_, value)| filter::contains(value, wanted))
        })
    }

    pub fn into_map(self) -> Map<String, Value> {
        let owned = |(key, value): (Cow<'static, str>, Value)| (key.into_owned(), value);
        self.0.into_iter().map(owned).collect()
    }

    pub fn jsonb(&self) -> Option<Jsonb<'static>> {
        datum::object_of(self.0.iter().map(|(key, value)| (&**key, value)))
    }
}

impl From<Map<String, Value>> for Payload {
    fn from(map: Map<String, Value>) -> Self {
        let owned = |(key, value)| (Cow::Owned(key), value);
        Self(map.into_iter().map(owned).collect())
    }
}

impl<const N: usize> From<[(&'static str, Value); N]> for Payload {
    fn from(entries: [(&'static str, Value); N]) -> Self {
        let borrowed = |(key, value)| (Cow::Borrowed(key), value);
        Self(entries.into_iter().map(borrowed).collect())
    }
}

impl Told<'_> {
    /// The keys that the schema of the event names.
    fn keys(&self) -> Result<impl Iterator<Item = &'static str>> {
        let shape = catalog::entry(self.name)
            .and_then(|entry| entry.payload)
            .ok_or_else(|| Error::corrupt("an event without a payload"))?
            .shape();
        let groups = shape.required.iter().chain(shape.optional);
        Ok(groups.flat_map(|group| group.iter().copied()))
    }

    /// Whether the payload contains the filter, without making the rest of it.
    pub fn contains(&self, filter: &Map<String, Value>) -> Result<bool> {
        for (key, wanted) in filter {
            let Some(key) = self.keys()?.find(|own| own == key) else {
                return Ok(false);
            };
            match self.value(key)? {
                Some(value) if filter::contains(&value, wanted) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The value of a key; None: the row says nothing of it.
    fn value(&self, key: &str) -> Result<Option<Value>> {
        let row = self.row;
        Ok(match key {
            "task_uuid" => Some(format_uuid(&row.task)),
            "task_name" => Some(self.template.name.as_str().into()),
            "task_version" => Some(self.template.version.as_str().into()),
            "timestamp" | "transitioned_at" => Some(time(self.occurred_at)),
            "to_state" | "current_status" | "final_status" => Some(states(self).1.into()),
            "from_state" => states(self).0.map(Value::from),
            "transition_event" => transition_event(self).map(Value::from),
            "total_steps" => Some(self.template.steps().len().into()),
            "started_at" => self.started_at().map(time),
            "completed_at" => self.completed_at().map(time),
            "reason" => self.reason().map(Value::from),
            "completed_step_uuid"
            | "total_steps_checked"
            | "step_uuids"
            | "step_names"
            | "processing_mode" => self.released(key)?,
            "step_count" if self.name == VIABLE => Some(self.released.len().into()),
            "execution_status" => self.execution_status().map(Value::from),
            "error_steps" => self.error_steps(),
            "processed_steps_count" => self.counts().map(|counts| counts.ended().into()),
            "completion_percentage" => self.counts().map(|counts| counts.percentage().into()),
            _ => match (counts::place(key), self.said(key)) {
                (Some(place), _) => self.counts().map(|counts| counts.0[place].into()),
                (None, None) if row.step_no > 0 => self.of_step(key)?,
                (None, said) => said,
            },
        })
    }

    fn of_step(&self, key: &str) -> Result<Option<Value>> {
        let (row, step) = (self.row, self.template.step(self.row.step_no)?);
        Ok(match key {
            "step_uuid" => self.step.as_ref().map(format_uuid),
            "step_name" => Some(step.name.as_str().into()),
            "attempt_number" | "previous_attempts" => Some(row.attempt.into()),
            "backoff_strategy" => Some(step.backoff.name().into()),
            "step_dependencies" => Some(self.names(step.parents.iter().copied())),
            "worker_id" => self.worker.map(Value::from),
            "execution_duration" => self
                .run()
                .map(|(began, ended)| json!((ended - began).max(0) as f64 / 1e6)),
            "step_count" | "processed_count" => Some(1.into()),
            "successful_count" => {
                let done = matches!(row.change, Change::Step(_, StepState::Complete));
                Some(i32::from(done).into())
            }
            _ => None,
        })
    }

    /// When the run began and ended that the row ends.
    fn run(&self) -> Option<(Timestamp, Timestamp)> {
        let began = self.row.started_at.filter(|_| !self.start)?;
        Some((began, self.row.at))
    }

    fn started_at(&self) -> Option<Timestamp> {
        match self.row.change {
            Change::Step(..) if self.start => Some(self.occurred_at),
            Change::Step(_, to) => match self.row.started_at {
                None if to == StepState::InProgress => Some(self.row.at),
                began => began,
            },
            Change::Task(_, to) => (to == TaskState::InProgress).then_some(self.occurred_at),
        }
    }

    fn completed_at(&self) -> Option<Timestamp> {
        match self.row.change {
            Change::Step(..) => self.run().map(|(_, ended)| ended),
            Change::Task(_, to) => (!to.is_open()).then_some(self.row.at),
        }
    }

    fn reason(&self) -> Option<&str> {
        let said = || self.text("reason").filter(|_| !self.start);
        match self.name {
            NOT_VIABLE => Some("no_viable_steps"),
            _ => said().or_else(|| reason(self)),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }

    /// What the row carries. Rows of version 0.1.0 say nothing of the limit.
    fn said(&self, key: &str) -> Option<Value> {
        if self.start {
            return None;
        }
        let limit = || self.said.retry_limit;
        match key {
            "error_message" | "error" => self.text("error_message").map(Value::from),
            "exception_class" => self.text("error_class").map(Value::from),
            "retry_reason" => self.text("reason").map(Value::from),
            "backoff_type" | "resolved_by" | "rerun_of" | "from_step" => {
                self.text(key).map(Value::from)
            }
            "previous_attempts" => {
                let before = self.metadata.get(key).and_then(Value::as_u64);
                before.map(Value::from)
            }
            "backtrace" => {
                let lines = self.metadata.get(key).and_then(Value::as_array)?;
                Some(lines.iter().filter_map(Value::as_str).collect())
            }
            "delay_seconds" | "backoff_seconds" | "retry_delay" => {
                self.said.retry_after_seconds.map(Value::from)
            }
            "scheduled_for" | "retry_at" => {
                let wait = self.said.retry_after_seconds?;
                let at = self.row.at.saturating_add((wait * 1e6).round() as i64);
                Some(time(at))
            }
            "retry_limit" => limit().map(Value::from),
            "final_failure" => limit().map(|_| self.said.retry_after_seconds.is_none().into()),
            "expired" => limit().map(|_| self.said.expired.into()),
            "retryable" => {
                limit()?;
                let retryable = self.metadata.get(key).and_then(Value::as_bool);
                retryable.map(Value::from)
            }
            _ => None,
        }
    }

    fn names(&self, steps: impl Iterator<Item = i16>) -> Value {
        let name = |no| Some(self.template.step(no).ok()?.name.as_str());
        steps.filter_map(name).collect()
    }

    /// Of the steps that can run because of the row.
    fn released(&self, key: &str) -> Result<Option<Value>> {
        Ok(match key {
            "completed_step_uuid" => match (&self.step, self.row.change) {
                (Some(step), Change::Step(_, to)) if to.is_finished_good() => {
                    Some(format_uuid(step))
                }
                _ => None,
            },
            "total_steps_checked" => Some(match self.row.step_no {
                0 => self.template.steps().len().into(),
                no => self.template.step(no)?.children.len().into(),
            }),
            _ if self.name != VIABLE => None,
            "step_uuids" => {
                let uuid = |no: &i16| format_uuid(&ids::step_uuid(&self.row.task, *no));
                Some(self.released.iter().map(uuid).collect())
            }
            "step_names" => Some(self.names(self.released.iter().copied())),
            "processing_mode" => Some("concurrent".into()),
            _ => None,
        })
    }

    /// The execution status in which a change of a task leaves it.
    fn execution_status(&self) -> Option<&'static str> {
        let Change::Task(_, to) = self.row.change else {
            return None;
        };
        Some(match to {
            TaskState::Complete => "all_complete",
            TaskState::Error => "blocked_by_failures",
            TaskState::Cancelled | TaskState::ResolvedManually => to.as_str(),
            TaskState::Pending | TaskState::InProgress => "processing",
        })
    }

    /// How many steps a change of a task leaves in which state.
    fn counts(&self) -> Option<Counts> {
        match self.row.change {
            Change::Task(_, to) => {
                Counts::of(self.metadata, to, self.template.steps().len() as i64)
            }
            Change::Step(..) => None,
        }
    }

    fn error_steps(&self) -> Option<Value> {
        let Change::Task(..) = self.row.change else {
            return None;
        };
        let failed = self.metadata.get("error_steps")?.as_array()?;
        let number = |no: &Value| i16::try_from(no.as_i64()?).ok();
        Some(self.names(failed.iter().filter_map(number)))
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

pub fn uuid_text(uuid: &Uuid) -> String {
    let mut text = uuid::Uuid::encode_buffer();
    let uuid = uuid::Uuid::from_bytes(*uuid).hyphenated();
    uuid.encode_lower(&mut text).to_owned()
}

fn format_uuid(uuid: &Uuid) -> Value {
    uuid_text(uuid).into()
}

/// ISO 8601 in UTC, with microseconds.
fn time(at: Timestamp) -> Value {
    tasker_rules::events::time::iso(at).into()
}
