//! What a template is after reading: every default filled in, steps in topological order.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::engine::backoff;
use crate::engine::identity::Window;
use crate::graph::Dag;

/// Retry limit of a step that names none: attempts in total.
pub const DEFAULT_RETRY_LIMIT: i16 = 3;
/// Version of a template that names none.
pub const DEFAULT_VERSION: &str = "0.1.0";
/// Namespace, queue and dependent system where none is named.
pub const DEFAULT_NAME: &str = "default";
/// Queue of steps whose handler runs inside the database.
pub const SQL_QUEUE: &str = "sql";
/// Prefix of the callable of a handler that runs inside the database.
pub const SQL_PREFIX: &str = "sql:";

/// A template as one environment sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Name, unique with namespace and version.
    pub name: String,
    /// Namespace; `default` if not named.
    pub namespace: String,
    /// Version x.y.z; `0.1.0` if not named.
    pub version: String,
    /// Free text.
    pub description: Option<String>,
    /// The task's own handler (class name), which the engine only keeps.
    pub task_handler: Option<String>,
    /// The configuration of the task's own handler.
    pub task_handler_config: Map<String, Value>,
    /// JSON Schema of the context, as written.
    pub input_schema: Option<Value>,
    /// When two requests count as the same one.
    pub identity_strategy: IdentityStrategy,
    /// How long the strategy `hash` refuses an equal request.
    pub identity_window: Window,
    /// How long a task may take from its start, in seconds.
    pub timeout_seconds: Option<i32>,
    /// The steps; the one at position i has `step_no` i + 1.
    pub steps: Vec<Step>,
    /// The graph of the steps, under the same numbers.
    pub dag: Dag,
    /// The canonical form of the whole template, environments included: see [`Template::export`].
    pub source: Value,
}

impl Template {
    /// The canonical JSON form: canonical keys, environments included, defaults left out except namespace and version.
    /// Reading it again gives the same template.
    pub fn export(&self) -> Value {
        self.source.clone()
    }

    /// `namespace.name@version`, as in messages and lists.
    pub fn full_name(&self) -> String {
        format!("{}.{}@{}", self.namespace, self.name, self.version)
    }

    /// The step with this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

/// A step of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Ordinal from 1: topological, ties in template order.
    pub step_no: i16,
    /// Name, unique in the template.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The handler's callable: a class or function name, or `sql:` and a database function.
    pub handler: String,
    /// The handler's initialization: always an object.
    pub handler_config: Value,
    /// Names of the steps that must be done before, as written.
    pub depends_on: Vec<String>,
    /// The outside system that the step works with.
    pub dependent_system: String,
    /// The queue in which the step waits for a worker.
    pub queue: String,
    /// Whether a failure may be followed by another run.
    pub retryable: bool,
    /// Attempts in total; the first one is allowed even at 0.
    pub retry_limit: i16,
    /// How long to wait between attempts; what it leaves open comes from the configuration.
    pub backoff: backoff::Policy,
    /// How long a run may take, in seconds.
    pub timeout_seconds: Option<i32>,
    /// Priority of the step; None: that of the task.
    pub priority: Option<Priority>,
    /// Whether a request may bypass the step.
    pub skippable: bool,
    /// JSON Schema of the results, as written.
    pub results_schema: Option<Value>,
    /// Events that the step's handler may publish.
    pub custom_events: Vec<CustomEvent>,
}

/// An event of the application that a step declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomEvent {
    /// Name with a dot whose first segment is not the engine's.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word used in templates.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            /// Errors: the sentence to show.
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    format!("unknown {} {}; use one of {}", $what, crate::names::shown(text), known.join(", "))
                })
            }
        }
    };
}

words! {
    /// How a step or task is ranked among those that are ready; larger first.
    Priority, "priority" {
        /// 1
        Low = "low",
        /// 2
        Normal = "normal",
        /// 3
        High = "high",
        /// 4
        Urgent = "urgent",
    }
}

impl Priority {
    /// The stored number, 1 to 4.
    pub const fn level(self) -> i16 {
        self as i16 + 1
    }

    /// The priority with this number; `None` outside 1 to 4.
    pub fn from_level(level: i64) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|one| i64::from(one.level()) == level)
    }
}

words! {
    /// When two requests for a task count as the same one.
    IdentityStrategy, "identity strategy" {
        /// Never: every request is a task of its own.
        Unique = "unique",
        /// When their hash is the same: see [`crate::engine::identity`].
        Hash = "hash",
    }
}
