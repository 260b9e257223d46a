//! Rules about several keys or files.

use serde_json::Value;

use super::component::{Component, File};
use super::finding::{Finding, Severity};
use super::key::Home;
use super::keys::Keys;
use super::set::{Origin, Resolved, Set};
use crate::number::Decimal;

/// Where authorization must not be off.
const PRODUCTION: &str = "production";
/// Share of the connections that executors take at most without a warning, unless `coordinator.max_db_pool_usage` says another.
const MOST_USAGE: f64 = 0.85;

impl Set {
    /// Checks the base, each environment that has files, and the current one.
    pub fn check(&self, keys: &Keys, current: Option<&str>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for file in self.files.keys().filter(|file| file.environment.is_some()) {
            let base = File {
                environment: None,
                component: file.component,
            };
            if !self.files.contains_key(&base) {
                let message = format!(
                    "{base} is missing: an environment changes a base file, and cannot be without it"
                );
                findings.push(finding(Severity::Error, Some(file.clone()), message));
            }
        }
        let mut environments: Vec<Option<&str>> = vec![None];
        environments.extend(self.environments().into_iter().map(Some));
        if current.is_some() && !environments.contains(&current) {
            environments.push(current);
        }
        for environment in environments {
            let checked = Checked {
                keys,
                environment,
                values: self.resolve(environment),
            };
            for found in checked.findings() {
                // What the base says is said once.
                let known = |other: &Finding| {
                    other.message == found.message
                        && other.severity == found.severity
                        && other.file == found.file
                };
                if !findings.iter().any(known) {
                    findings.push(found);
                }
            }
        }
        findings
    }
}

fn finding(severity: Severity, file: Option<File>, message: String) -> Finding {
    Finding {
        severity,
        file,
        at: None,
        message,
    }
}

struct Checked<'s> {
    keys: &'s Keys,
    environment: Option<&'s str>,
    values: Resolved,
}

impl Checked<'_> {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.minimum_and_maximum();
        findings.extend(self.executors());
        findings.extend(self.empty());
        findings.extend(self.copies());
        findings.extend(self.authorization());
        findings
    }

    /// The file that says the key.
    fn file(&self, component: Component, path: &str) -> Option<File> {
        let (_, origin) = self.values.get(component, path)?;
        Some(File {
            environment: match origin {
                Origin::Base => None,
                Origin::Environment => self.environment.map(str::to_owned),
            },
            component,
        })
    }

    fn found(
        &self,
        severity: Severity,
        component: Component,
        path: &str,
        message: &str,
    ) -> Finding {
        finding(
            severity,
            self.file(component, path),
            format!("{path}: {message}"),
        )
    }

    fn number(&self, component: Component, path: &str) -> Option<f64> {
        self.values.get(component, path)?.0.as_f64()
    }

    /// A least value must not be above its most.
    fn minimum_and_maximum(&self) -> Vec<Finding> {
        let pools = self.pools().into_iter().map(|pool| {
            (
                Component::ExecutorPools,
                format!("{pool}.min_executors"),
                format!("{pool}.max_executors"),
            )
        });
        let others = PAIRS
            .iter()
            .map(|(component, least, most)| (*component, (*least).to_owned(), (*most).to_owned()));
        pools
            .chain(others)
            .filter_map(|(component, least, most)| {
                let (low, high) = (
                    self.number(component, &least)?,
                    self.number(component, &most)?,
                );
                (low > high).then(|| {
                    // The file that made it so is that of the environment, if one of them is from there.
                    let at = match self.values.get(component, &most) {
                        Some((_, Origin::Environment)) => &most,
                        _ => &least,
                    };
                    let message = match at == &least {
                        true => format!("is {low}, above {most}, which is {high}"),
                        false => format!("is {high}, below {least}, which is {low}"),
                    };
                    self.found(Severity::Error, component, at, &message)
                })
            })
            .collect()
    }

    /// The pools that the files name.
    fn pools(&self) -> Vec<&str> {
        let mut pools: Vec<_> = self
            .values
            .of(Component::ExecutorPools)
            .filter_map(|(path, _, _)| path.split_once('.'))
            .filter(|(_, last)| matches!(*last, "min_executors" | "max_executors"))
            .map(|(pool, _)| pool)
            .collect();
        pools.dedup();
        pools
    }

    /// All executors together must not need more connections than there are.
    fn executors(&self) -> Vec<Finding> {
        const CONNECTIONS: &str = "pool.max_connections";
        let Some(connections) = self.number(Component::Database, CONNECTIONS) else {
            return Vec::new();
        };
        if connections <= 0.0 {
            let message = "must be more than 0";
            return vec![self.found(Severity::Error, Component::Database, CONNECTIONS, message)];
        }
        let most: f64 = self
            .pools()
            .iter()
            .filter_map(|pool| {
                self.number(Component::ExecutorPools, &format!("{pool}.max_executors"))
            })
            .sum();
        let usage = self
            .number(Component::ExecutorPools, "coordinator.max_db_pool_usage")
            .unwrap_or(MOST_USAGE);
        let place = self.environment.unwrap_or("base");
        let severity = match most {
            most if most > connections => Severity::Error,
            most if most > connections * usage => Severity::Warning,
            _ => return Vec::new(),
        };
        let message = format!(
            "is {connections} in {place}, and the pools of executor_pools.toml have {most} executors at most ({:.0} %){}",
            most / connections * 100.0,
            match severity {
                Severity::Warning => format!(
                    "; more than {:.0} % leaves little for others",
                    usage * 100.0
                ),
                _ => "; it must be as many or more".to_owned(),
            }
        );
        vec![self.found(severity, Component::Database, CONNECTIONS, &message)]
    }

    /// What must not be empty, if a file says it.
    fn empty(&self) -> Vec<Finding> {
        let empty = |value: &Value| match value {
            Value::String(text) => text.trim().is_empty(),
            Value::Array(elements) => elements.is_empty(),
            _ => false,
        };
        let texts = NOT_EMPTY.iter().filter_map(|(component, path)| {
            let (value, _) = self.values.get(*component, path)?;
            empty(value).then(|| self.found(Severity::Error, *component, path, "must not be empty"))
        });
        let numbers = POSITIVE.iter().filter_map(|(component, path)| {
            let number = self.number(*component, path)?;
            (number <= 0.0)
                .then(|| self.found(Severity::Error, *component, path, "must be more than 0"))
        });
        texts.chain(numbers).collect()
    }

    /// A key of several files has one owner.
    fn copies(&self) -> Vec<Finding> {
        self.values
            .iter()
            .filter_map(|(component, path, value, _)| {
                let Home::CopyOf(name) = self.keys.find(component, path)?.home else {
                    return None;
                };
                let owner = self.keys.find_full(name)?;
                let said = self
                    .values
                    .get(owner.component, owner.path)
                    .map(|(value, _)| value.clone());
                let owned = said.or_else(|| owner.default_value())?;
                (!same(value, &owned)).then(|| {
                    let message = format!(
                        "is {value} here, but {} of {}.toml is what counts, and that is {owned}",
                        owner.path, owner.component
                    );
                    self.found(Severity::Warning, component, path, &message)
                })
            })
            .collect()
    }

    fn authorization(&self) -> Vec<Finding> {
        const ENABLED: &str = "authorization_enabled";
        let off = self
            .values
            .get(Component::Auth, ENABLED)
            .map(|(value, _)| value)
            == Some(&Value::Bool(false));
        if !off {
            return Vec::new();
        }
        let (severity, message) = match self.environment {
            Some(PRODUCTION) => (
                Severity::Forcible,
                "is false in production: grants would be kept but not enforced; load with force => true if this is meant",
            ),
            _ => (
                Severity::Warning,
                "is false: grants are kept but not enforced, and health says so",
            ),
        };
        vec![self.found(severity, Component::Auth, ENABLED, message)]
    }
}

/// Whether two values are the same; 1 and 1.0 are.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || Decimal::of(one).is_some_and(|one| Some(one) == Decimal::of(other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other,
    }
}

const PAIRS: [(Component, &str, &str); 1] = [(
    Component::Database,
    "pool.min_connections",
    "pool.max_connections",
)];

const NOT_EMPTY: [(Component, &str); 4] = [
    (Component::Database, "host"),
    (Component::Database, "username"),
    (Component::Orchestration, "active_namespaces"),
    (Component::System, "execution.environment"),
];

const POSITIVE: [(Component, &str); 2] = [
    (Component::Database, "pool_size"),
    (Component::Pgmq, "batch_size"),
];
