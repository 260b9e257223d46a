//! A template as it was written: only what it names, each value with the path for findings about it.
//!
//! All spellings are reduced to one already, so that environments can be merged without knowing any of them.

use serde_json::{Map, Value};

use super::model::{CustomEvent, IdentityStrategy, Priority};
use crate::engine::backoff;
use crate::engine::identity::Window;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) path: String,
}

/// The whole text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawTemplate {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) version: Option<String>,
    pub(super) body: RawBody,
    pub(super) environments: Vec<RawEnvironment>,
}

/// One environment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RawEnvironment {
    pub(super) name: String,
    pub(super) body: RawBody,
}

/// The keys that both the template and an environment can have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawBody {
    /// Path of the list of steps, as spelled.
    pub(super) steps_path: String,
    /// Whether there was something that could not be read as steps, which was reported.
    pub(super) steps_unreadable: bool,
    pub(super) description: Option<String>,
    pub(super) task_handler: Option<String>,
    pub(super) task_handler_config: Option<Map<String, Value>>,
    pub(super) input_schema: Option<Located<Value>>,
    pub(super) identity_strategy: Option<IdentityStrategy>,
    pub(super) identity_window: Option<Window>,
    pub(super) default_dependent_system: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) timeout_seconds: Option<i32>,
    pub(super) named_steps: Option<Vec<String>>,
    pub(super) steps: Vec<RawStep>,
    /// Keys that the engine keeps without reading them, such as metadata.
    pub(super) carried: Map<String, Value>,
}

/// One entry of a list of steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawStep {
    pub(super) path: String,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) handler: Option<String>,
    pub(super) initialization: Option<Map<String, Value>>,
    pub(super) depends_on: Option<Vec<Located<String>>>,
    pub(super) dependent_system: Option<String>,
    pub(super) queue: Option<String>,
    pub(super) retryable: Option<bool>,
    pub(super) retry_limit: Option<i16>,
    pub(super) backoff: backoff::Policy,
    pub(super) timeout_seconds: Option<i32>,
    pub(super) priority: Option<Priority>,
    pub(super) skippable: Option<bool>,
    pub(super) results_schema: Option<Located<Value>>,
    pub(super) custom_events: Option<Vec<CustomEvent>>,
}
