//! What the payload of each event holds, as JSON Schema.
//!
//! A payload depends on the row of the log (or the fact) and on what never changes: the template and the creation of the task. So it
//! reads the same at every delivery. On request an event of a task has [`DATA`] too, as it is when the event is read.

use serde_json::{Map, Value, json};

/// The kinds of payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The catalogue says which event has which.
pub enum Payload {
    TaskCreated,
    TaskStarted,
    TaskCompleted,
    TaskFailed,
    TaskRetried,
    TaskCancelled,
    TaskResolved,
    TaskTransition,
    StepStarted,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepCancelled,
    StepResolved,
    StepReleased,
    StepTransition,
    ViableSteps,
    NoViableSteps,
    Finalization,
    Reenqueue,
    ReenqueueFailed,
    ReenqueueDelayed,
    StateUnclear,
    StepsExecuted,
    Backoff,
    Skip,
    MaxRetries,
    HandlerRegistered,
    HandlerUnregistered,
    PluginRegistered,
    PluginUnregistered,
    SubscriberRegistered,
    SubscriberUnregistered,
    SubscriberRefused,
    TemplateRegistered,
    TemplateDeleted,
    ScheduleRun,
    OperationalState,
    CountsSynced,
    ExportRequested,
    ExportCompleted,
    ExportFailed,
    ExporterRegistered,
    ExporterUnregistered,
    Gap,
}

/// The keys of a payload, in groups that several kinds share.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Keys that are always there.
    pub required: &'static [&'static [&'static str]],
    /// Keys that are there if the row says them.
    pub optional: &'static [&'static [&'static str]],
}

const TASK: &[&str] = &["task_uuid", "task_name", "task_version", "timestamp"];
const STEP: &[&str] = &["step_uuid", "step_name", "attempt_number"];
const CHANGE: &[&str] = &["to_state", "transitioned_at"];
const FROM: &[&str] = &["from_state"];
const RUN: &[&str] = &[
    "worker_id",
    "started_at",
    "completed_at",
    "execution_duration",
];
const COUNTS: &[&str] = &super::counts::KEYS;
const ENDED: &[&str] = &["started_at", "completed_at", "total_execution_duration"];
const FAILURE: &[&str] = &["error_message", "exception_class"];
const REGISTRY: &[&str] = &["registry_name", "entity_type", "entity_id", "timestamp"];
const EXPORT: &[&str] = &["exporter", "timestamp"];
const TEMPLATE: &[&str] = &["namespace", "task_name", "task_version", "timestamp"];

impl Payload {
    /// Its keys.
    #[allow(clippy::too_many_lines)] // A table: one arm per kind.
    pub const fn shape(self) -> Shape {
        const fn keys(
            required: &'static [&'static [&'static str]],
            optional: &'static [&'static [&'static str]],
        ) -> Shape {
            Shape { required, optional }
        }
        const TASK_ROW: &[&[&str]] = &[TASK, CHANGE, FROM, &["total_steps"]];
        const STEP_ROW: &[&[&str]] = &[TASK, STEP, CHANGE, FROM];
        match self {
            Self::TaskCreated => keys(
                &[TASK, CHANGE, &["total_steps"]],
                &[FROM, &["reason", "rerun_of", "from_step"]],
            ),
            Self::TaskStarted => keys(&[TASK, CHANGE, FROM, &["total_steps", "started_at"]], &[]),
            Self::TaskCompleted => keys(TASK_ROW, &[ENDED, COUNTS]),
            Self::TaskFailed => keys(TASK_ROW, &[ENDED, COUNTS, FAILURE, &["error_steps"]]),
            Self::TaskRetried => keys(TASK_ROW, &[&["retry_reason"]]),
            Self::TaskCancelled => keys(TASK_ROW, &[ENDED, COUNTS, &["reason"]]),
            Self::TaskResolved => keys(TASK_ROW, &[ENDED, COUNTS, &["reason", "resolved_by"]]),
            Self::TaskTransition => keys(&[TASK, CHANGE, FROM, &["transition_event"]], &[]),
            Self::StepStarted => keys(
                &[
                    TASK,
                    STEP,
                    CHANGE,
                    FROM,
                    &["started_at", "step_dependencies"],
                ],
                &[&["worker_id"]],
            ),
            Self::StepCompleted => keys(STEP_ROW, &[RUN]),
            Self::StepFailed => keys(
                STEP_ROW,
                &[
                    RUN,
                    FAILURE,
                    &[
                        "backtrace",
                        "retryable",
                        "retry_at",
                        "retry_delay",
                        "backoff_type",
                        "retry_limit",
                    ],
                    &["final_failure", "expired"],
                ],
            ),
            Self::StepRetried => keys(
                STEP_ROW,
                &[&[
                    "worker_id",
                    "previous_attempts",
                    "retry_reason",
                    "backoff_strategy",
                ]],
            ),
            Self::StepCancelled => keys(STEP_ROW, &[RUN, &["reason"]]),
            Self::StepResolved => keys(STEP_ROW, &[&["reason", "resolved_by", "rerun_of"]]),
            Self::StepReleased => keys(
                STEP_ROW,
                &[&[
                    "worker_id",
                    "started_at",
                    "reason",
                    "delay_seconds",
                    "scheduled_for",
                ]],
            ),
            Self::StepTransition => keys(&[TASK, STEP, CHANGE, FROM, &["transition_event"]], &[]),
            Self::ViableSteps => keys(
                &[
                    TASK,
                    &["step_uuids", "step_names", "step_count", "processing_mode"],
                ],
                &[&["completed_step_uuid"]],
            ),
            Self::NoViableSteps => keys(
                &[TASK, &["reason", "total_steps_checked"]],
                &[&["completed_step_uuid"]],
            ),
            Self::Finalization => keys(
                &[TASK, &["final_status", "execution_status", "total_steps"]],
                &[COUNTS, &["processed_steps_count", "completion_percentage"]],
            ),
            Self::Reenqueue => keys(&[TASK, &["current_status"]], &[&["reason"]]),
            Self::ReenqueueFailed => {
                keys(&[TASK, STEP, &["current_status", "reason"]], &[&["error"]])
            }
            Self::ReenqueueDelayed => keys(
                &[
                    TASK,
                    STEP,
                    &["current_status", "reason", "delay_seconds", "scheduled_for"],
                ],
                &[],
            ),
            Self::StateUnclear => keys(
                &[TASK, CHANGE, &["reason"]],
                &[FROM, &["step_uuid", "step_name"]],
            ),
            Self::StepsExecuted => keys(
                &[
                    TASK,
                    STEP,
                    &["step_count", "processed_count", "successful_count"],
                ],
                &[RUN],
            ),
            Self::Backoff => keys(
                &[TASK, STEP, &["backoff_seconds", "retry_at"]],
                &[&["backoff_type", "retry_limit"]],
            ),
            Self::Skip => keys(&[TASK, STEP, &["current_status"]], &[&["reason"]]),
            Self::MaxRetries => keys(&[TASK, STEP, &["retry_limit"]], &[FAILURE]),
            Self::HandlerRegistered => keys(
                &[REGISTRY, &["worker_id", "registered_at"]],
                &[&["namespaces", "plugin", "plugin_version", "options"]],
            ),
            Self::HandlerUnregistered => keys(
                &[REGISTRY, &["worker_id", "unregistered_at"]],
                &[&["plugin", "plugin_version"]],
            ),
            Self::PluginRegistered => keys(
                &[REGISTRY, &["worker_id", "registered_at"]],
                &[&["plugin_version"]],
            ),
            Self::PluginUnregistered => keys(
                &[REGISTRY, &["worker_id", "unregistered_at"]],
                &[&["plugin_version"]],
            ),
            Self::SubscriberRegistered => keys(
                &[REGISTRY, &["registered_at", "patterns"]],
                &[&["entity_class", "namespaces"]],
            ),
            Self::SubscriberUnregistered => {
                keys(&[REGISTRY, &["unregistered_at"]], &[&["entity_class"]])
            }
            Self::SubscriberRefused => keys(
                &[REGISTRY, &["failed_at", "validation_error"]],
                &[&["entity_class"]],
            ),
            Self::TemplateRegistered => keys(&[TEMPLATE, &["total_steps", "registered_at"]], &[]),
            Self::TemplateDeleted => keys(&[TEMPLATE, &["deleted_at"]], &[]),
            Self::ScheduleRun => keys(
                &[&["schedule", "scheduled_for", "outcome", "timestamp"]],
                &[&["task_uuid", "reason"]],
            ),
            Self::OperationalState => keys(
                &[&["state", "timestamp"]],
                &[&["previous_state", "reason", "changed_by"]],
            ),
            Self::CountsSynced => keys(&[&["source", "synced_count", "timestamp"]], &[]),
            Self::ExportRequested | Self::ExporterRegistered | Self::ExporterUnregistered => {
                keys(&[EXPORT], &[&["format", "details"]])
            }
            Self::ExportCompleted => keys(
                &[EXPORT],
                &[&[
                    "format",
                    "duration",
                    "size_bytes",
                    "metrics_count",
                    "details",
                ]],
            ),
            Self::ExportFailed => keys(
                &[EXPORT],
                &[FAILURE, &["format", "duration", "retryable", "details"]],
            ),
            Self::Gap => keys(&[&["from", "to", "events"]], &[]),
        }
    }

    /// The schema of its payloads.
    pub fn schema(self) -> Value {
        let shape = self.shape();
        let required: Vec<&str> = shape.required.concat();
        let mut properties = Map::new();
        for key in required.iter().chain(&shape.optional.concat()) {
            properties.insert((*key).to_owned(), property(key));
        }
        if required.contains(&"task_uuid") {
            properties.insert(DATA.to_owned(), data());
        }
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
}

/// The key that payloads of a task's events have on request.
pub const DATA: &str = "data";

/// Its schema. Filters do not see it, and at the next delivery it can be another.
fn data() -> Value {
    json!({
        "type": "object",
        "asRead": true,
        "description": "On request (include_data): what is there when the event is read. Without results if it is not about a step.",
        "properties": {
            "context": {"description": "The context of the task; null if the task is gone."},
            "results": {"description": "The results of the step; null if there are none."},
            "inputs": {"description": "The inputs of the step: the context of its task."},
            "omitted": {
                "type": "array",
                "items": {"type": "string", "enum": ["context", "results", "inputs"]},
                "description": "What is left out because it is too large, or nested too deeply.",
            },
        },
        "additionalProperties": false,
    })
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Uuid,
    Uuids,
    Text,
    Texts,
    Time,
    /// A count.
    Count,
    /// Seconds, with a fraction.
    Seconds,
    Percent,
    State,
    Flag,
    Object,
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Uuid => json!({"type": "string", "format": "uuid"}),
            Self::Uuids => json!({"type": "array", "items": {"type": "string", "format": "uuid"}}),
            Self::Text => json!({"type": "string"}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Time => json!({"type": "string", "format": "date-time"}),
            Self::Count => json!({"type": "integer", "minimum": 0}),
            Self::Seconds => json!({"type": "number", "minimum": 0}),
            Self::Percent => json!({"type": "number", "minimum": 0, "maximum": 100}),
            Self::State => {
                let states = crate::engine::state::TaskState::ALL.map(|state| state.as_str());
                json!({"type": "string", "enum": states})
            }
            Self::Flag => json!({"type": "boolean"}),
            Self::Object => json!({"type": "object"}),
        }
    }
}

/// Every key with its meaning: the same in all payloads.
const KEYS: &[(&str, Kind, &str)] = &[
    (
        "attempt_number",
        Kind::Count,
        "Number of the attempt; 0 before the first one.",
    ),
    (
        "backoff_seconds",
        Kind::Seconds,
        "Seconds from the failure to the retry.",
    ),
    (
        "backoff_strategy",
        Kind::Text,
        "How the template lets the delay grow.",
    ),
    (
        "backoff_type",
        Kind::Text,
        "server_requested if the report asked for the delay, else the template's kind of backoff.",
    ),
    (
        "backtrace",
        Kind::Texts,
        "The first ten lines of the report's backtrace.",
    ),
    (
        "cancelled_steps",
        Kind::Count,
        "Steps in state cancelled when the task ended.",
    ),
    ("changed_by", Kind::Text, "The role that changed it."),
    ("completed_at", Kind::Time, "When it ended."),
    (
        "completed_step_uuid",
        Kind::Uuid,
        "The step that is done; missing at the creation of the task.",
    ),
    (
        "completed_steps",
        Kind::Count,
        "Steps in state complete when the task ended.",
    ),
    (
        "completion_percentage",
        Kind::Percent,
        "Share of the steps that are done.",
    ),
    ("current_status", Kind::State, "The state after the change."),
    (
        "delay_seconds",
        Kind::Seconds,
        "Seconds until it can go on.",
    ),
    ("deleted_at", Kind::Time, "When it was deleted."),
    ("details", Kind::Object, "What else the exporter says."),
    ("duration", Kind::Seconds, "Seconds that it took."),
    (
        "entity_class",
        Kind::Text,
        "Its handler, or the class that the file names.",
    ),
    ("entity_id", Kind::Text, "Its name."),
    ("entity_type", Kind::Text, "handler, plugin or subscriber."),
    ("error", Kind::Text, "Why it does not go on."),
    (
        "error_message",
        Kind::Text,
        "The message of the failure, or its beginning.",
    ),
    (
        "error_steps",
        Kind::Texts,
        "Names of the steps in error when the task ended.",
    ),
    ("events", Kind::Count, "Number of events that were missed."),
    (
        "exception_class",
        Kind::Text,
        "The error class of the failure.",
    ),
    (
        "execution_duration",
        Kind::Seconds,
        "Seconds from the claim to the end of the run.",
    ),
    (
        "execution_status",
        Kind::Text,
        "The execution status of the task, as in task_execution_contexts.",
    ),
    (
        "expired",
        Kind::Flag,
        "Whether the run ended without a report.",
    ),
    (
        "exporter",
        Kind::Text,
        "The program, or the format of export_metrics, that exports.",
    ),
    ("failed_at", Kind::Time, "When it was refused."),
    (
        "failed_steps",
        Kind::Count,
        "Steps in state error when the task ended.",
    ),
    (
        "final_failure",
        Kind::Flag,
        "Whether the step does not run again by itself.",
    ),
    (
        "final_status",
        Kind::State,
        "The state in which finalization left the task.",
    ),
    ("format", Kind::Text, "The format of what is exported."),
    ("from", Kind::Time, "When the first missed event happened."),
    ("from_state", Kind::State, "The state before the change."),
    (
        "from_step",
        Kind::Text,
        "The step from which on the task runs again.",
    ),
    (
        "in_progress_steps",
        Kind::Count,
        "Steps in state in_progress when the task ended.",
    ),
    (
        "metrics_count",
        Kind::Count,
        "Number of series that were exported.",
    ),
    ("namespace", Kind::Text, "Its namespace."),
    ("namespaces", Kind::Texts, "Its namespaces; missing: all."),
    ("options", Kind::Object, "The metadata of the announcement."),
    ("outcome", Kind::Text, "Its outcome, as in schedule_runs."),
    ("patterns", Kind::Texts, "The patterns of the subscriber."),
    (
        "pending_steps",
        Kind::Count,
        "Steps in state pending when the task ended.",
    ),
    ("plugin", Kind::Text, "The plugin that brings it."),
    ("plugin_version", Kind::Text, "Version of the plugin."),
    (
        "previous_attempts",
        Kind::Count,
        "Attempts before this retry.",
    ),
    ("previous_state", Kind::Text, "The state before."),
    ("processed_count", Kind::Count, "Number of runs that ended."),
    (
        "processed_steps_count",
        Kind::Count,
        "Steps that have ended: complete, in error, cancelled or resolved_manually.",
    ),
    ("processing_mode", Kind::Text, "Always concurrent."),
    ("reason", Kind::Text, "Why."),
    ("registered_at", Kind::Time, "When it was registered."),
    ("registry_name", Kind::Text, "The relation that lists it."),
    (
        "rerun_of",
        Kind::Uuid,
        "The task that runs again, or whose results are kept.",
    ),
    (
        "resolved_by",
        Kind::Text,
        "The person or program that resolved it, as given.",
    ),
    (
        "resolved_steps",
        Kind::Count,
        "Steps in state resolved_manually when the task ended.",
    ),
    (
        "retry_at",
        Kind::Time,
        "When the step may run again; missing: not by itself.",
    ),
    (
        "retry_delay",
        Kind::Seconds,
        "Seconds from the failure to the retry; missing: not by itself.",
    ),
    (
        "retry_limit",
        Kind::Count,
        "The limit of attempts of the step when the run ended.",
    ),
    (
        "retry_reason",
        Kind::Text,
        "Why it is retried; missing if the engine retries by itself.",
    ),
    (
        "retryable",
        Kind::Flag,
        "Whether another attempt can help, by the report and the template.",
    ),
    ("schedule", Kind::Text, "Name of the schedule."),
    (
        "scheduled_for",
        Kind::Time,
        "The time for which it is scheduled.",
    ),
    ("size_bytes", Kind::Count, "Bytes that were exported."),
    (
        "source",
        Kind::Text,
        "Where the numbers are, as in metrics_source.",
    ),
    (
        "started_at",
        Kind::Time,
        "When the run began; of a task, when it was started last.",
    ),
    ("state", Kind::Text, "The state now."),
    ("step_count", Kind::Count, "Number of the steps."),
    (
        "step_dependencies",
        Kind::Texts,
        "Names of the parents of the step.",
    ),
    ("step_name", Kind::Text, "Name of the step."),
    ("step_names", Kind::Texts, "Names of the steps."),
    ("step_uuid", Kind::Uuid, "The step."),
    ("step_uuids", Kind::Uuids, "The steps."),
    (
        "successful_count",
        Kind::Count,
        "Number of them that completed: 1 or 0.",
    ),
    (
        "synced_count",
        Kind::Count,
        "Number of rows that were folded, and of places of series that were given back.",
    ),
    ("task_name", Kind::Text, "Name of the template of the task."),
    ("task_uuid", Kind::Uuid, "The task."),
    (
        "task_version",
        Kind::Text,
        "Version of the template of the task.",
    ),
    ("timestamp", Kind::Time, "When the event happened."),
    ("to", Kind::Time, "When the last missed event happened."),
    ("to_state", Kind::State, "The state after the change."),
    (
        "total_execution_duration",
        Kind::Seconds,
        "Seconds from the last start of the task to its end.",
    ),
    (
        "total_steps",
        Kind::Count,
        "Number of steps of the template.",
    ),
    (
        "total_steps_checked",
        Kind::Count,
        "Number of steps that were looked at: the children, at creation all steps.",
    ),
    (
        "transition_event",
        Kind::Text,
        "The event of the change: the next one of the same row.",
    ),
    ("transitioned_at", Kind::Time, "When the change was made."),
    ("unregistered_at", Kind::Time, "When it was taken back."),
    ("validation_error", Kind::Text, "Why it was refused."),
    ("worker_id", Kind::Text, "The worker."),
];

/// Whether a value is of the kind that a key holds, for keys of texts, numbers and flags.
pub(super) fn fits(key: &str, value: &Value) -> bool {
    let known = KEYS.iter().find(|(name, _, _)| *name == key);
    known.is_some_and(|(_, kind, _)| match kind {
        Kind::Text => value.is_string(),
        Kind::Flag => value.is_boolean(),
        Kind::Count => value.as_u64().is_some(),
        Kind::Seconds => value.as_f64().is_some_and(|number| number >= 0.0),
        _ => false,
    })
}

fn property(key: &str) -> Value {
    let known = KEYS.iter().find(|(name, _, _)| *name == key);
    let Some((_, kind, meaning)) = known else {
        return Value::Bool(true);
    };
    let mut schema = kind.schema();
    schema["description"] = Value::from(*meaning);
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::events::catalog::{CATALOG, Entry};

    fn keys(payload: Payload) -> Vec<&'static str> {
        let shape = payload.shape();
        let mut keys = shape.required.concat();
        keys.extend(shape.optional.concat());
        keys
    }

    #[test]
    fn a_payload_has_a_key_once_and_each_key_has_a_meaning() {
        let mut used = BTreeSet::new();
        let of = |entry: &Entry| Some((entry.name, entry.payload?));
        for (name, payload) in CATALOG.iter().filter_map(of) {
            let all = keys(payload);
            let once: BTreeSet<&str> = all.iter().copied().collect();
            assert_eq!(once.len(), all.len(), "{name}");
            used.extend(once);
        }
        let known: BTreeSet<&str> = KEYS.iter().map(|(key, _, _)| *key).collect();
        assert_eq!(used, known);
        assert!(KEYS.is_sorted_by_key(|(key, _, _)| *key));
    }
}
