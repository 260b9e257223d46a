//! The ten components and the paths of their files.

use std::fmt;
use std::str::FromStr;

use crate::names::{check_environment, nearest, shown};

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

impl File {
    /// Of an environment, whose name is taken in small letters, or of the base. Errors: the sentence to show.
    pub fn new(component: &str, environment: Option<&str>) -> Result<Self, String> {
        let component = component.parse().map_err(|Unknown| {
            let names = Component::ALL.map(Component::name);
            format!(
                "there is no component {}{}",
                shown(component),
                match nearest(component, names) {
                    Some(near) => format!("; did you mean {near}?"),
                    None => format!("; the components are {}", names.join(", ")),
                }
            )
        })?;
        let environment = environment.map(environment_name).transpose()?;
        Ok(Self {
            environment,
            component,
        })
    }
}

/// The name of an environment in small letters. It is a directory too. Errors: the sentence to show.
pub fn environment_name(name: &str) -> Result<String, String> {
    let name = name.trim().to_lowercase();
    check_environment(&name)?;
    match name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    {
        true => Ok(name),
        false => Err(format!(
            "environment {} has other characters than letters, digits, _ and -",
            shown(&name)
        )),
    }
}

impl FromStr for File {
    type Err = String;

    /// Of a path as it is displayed.
    fn from_str(path: &str) -> Result<Self, String> {
        let parts: Vec<_> = path.split('/').collect();
        let (environment, name) = match parts[..] {
            ["base", name] => (None, name),
            ["environments", environment, name] => (Some(environment), name),
            _ => (None, ""),
        };
        match name.strip_suffix(".toml") {
            Some(component) => Self::new(component, environment),
            None => Err(format!(
                "{} is no path of a configuration file; it must be base/<component>.toml or environments/<environment>/<component>.toml",
                shown(path)
            )),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.environment {
            None => write!(f, "base/{}.toml", self.component),
            Some(environment) => write!(f, "environments/{environment}/{}.toml", self.component),
        }
    }
}
