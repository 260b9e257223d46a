//! The ten components and the paths of their files.

use std::fmt;
use std::str::FromStr;

/// A component; its file has its [`name`](Component::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // Their names say all.
pub enum Component {
    Auth,
    CircuitBreakers,
    Database,
    Engine,
    ExecutorPools,
    Orchestration,
    Pgmq,
    QueryCache,
    System,
    Telemetry,
}

impl Component {
    /// All of them, by name.
    pub const ALL: [Self; 10] = [
        Self::Auth,
        Self::CircuitBreakers,
        Self::Database,
        Self::Engine,
        Self::ExecutorPools,
        Self::Orchestration,
        Self::Pgmq,
        Self::QueryCache,
        Self::System,
        Self::Telemetry,
    ];

    /// As its file and its section are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::CircuitBreakers => "circuit_breakers",
            Self::Database => "database",
            Self::Engine => "engine",
            Self::ExecutorPools => "executor_pools",
            Self::Orchestration => "orchestration",
            Self::Pgmq => "pgmq",
            Self::QueryCache => "query_cache",
            Self::System => "system",
            Self::Telemetry => "telemetry",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no component of this name.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown;

impl FromStr for Component {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        Self::ALL
            .into_iter()
            .find(|component| component.name() == name)
            .ok_or(Unknown)
    }
}

/// A file: of an environment, or of none, the base.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// None: the base.
    pub environment: Option<String>,
    /// What it configures.
    pub component: Component,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.environment {
            None => write!(f, "base/{}.toml", self.component),
            Some(environment) => write!(f, "environments/{environment}/{}.toml", self.component),
        }
    }
}
