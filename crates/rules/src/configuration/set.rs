//! Files together: the values that are in force in an environment.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Leaves;
use super::component::{Component, File};

/// All files of a database, or of a directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// What each says.
    pub files: BTreeMap<File, Leaves>,
}

/// Which file a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The base.
    Base,
    /// The environment.
    Environment,
}

impl Origin {
    /// The column `origin` of effective_config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Environment => "environment",
        }
    }
}

/// The values of the files in one environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    values: BTreeMap<Component, BTreeMap<String, (Value, Origin)>>,
}

impl Set {
    /// The values in an environment; without one, those of the base.
    pub fn resolve(&self, environment: Option<&str>) -> Resolved {
        let mut resolved = Resolved::default();
        for (file, leaves) in self
            .files
            .iter()
            .filter(|(file, _)| file.environment.is_none())
        {
            resolved.lay(file.component, leaves, Origin::Base);
        }
        if let Some(environment) = environment {
            let of = |file: &File| file.environment.as_deref() == Some(environment);
            for (file, leaves) in self.files.iter().filter(|(file, _)| of(file)) {
                resolved.lay(file.component, leaves, Origin::Environment);
            }
        }
        resolved
    }

    /// The environments that have files, each once.
    pub fn environments(&self) -> Vec<&str> {
        let mut environments: Vec<_> = self
            .files
            .keys()
            .filter_map(|file| file.environment.as_deref())
            .collect();
        environments.sort_unstable();
        environments.dedup();
        environments
    }

    /// What a file says about a key.
    pub fn get(&self, file: &File, path: &str) -> Option<&Value> {
        self.files.get(file)?.get(path)
    }
}

impl Resolved {
    /// The value of a key, and where it is from.
    pub fn get(&self, component: Component, path: &str) -> Option<(&Value, Origin)> {
        let (value, origin) = self.values.get(&component)?.get(path)?;
        Some((value, *origin))
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (Component, &str, &Value, Origin)> {
        self.values.iter().flat_map(|(component, values)| {
            values
                .iter()
                .map(|(path, (value, origin))| (*component, path.as_str(), value, *origin))
        })
    }

    /// Those of a component.
    pub fn of(&self, component: Component) -> impl Iterator<Item = (&str, &Value, Origin)> {
        self.values.get(&component).into_iter().flat_map(|values| {
            values
                .iter()
                .map(|(path, (value, origin))| (path.as_str(), value, *origin))
        })
    }

    /// Whether no file says anything.
    pub fn is_empty(&self) -> bool {
        self.values.values().all(BTreeMap::is_empty)
    }

    /// Tables merge, so a key is replaced by its own value only; a value and a section of one name replace each other.
    fn lay(&mut self, component: Component, leaves: &Leaves, origin: Origin) {
        let values = self.values.entry(component).or_default();
        for path in leaves.keys() {
            let below = format!("{path}.");
            values.retain(|other, _| !other.starts_with(&below) && !is_above(other, path));
        }
        for (path, value) in leaves {
            values.insert(path.clone(), (value.clone(), origin));
        }
    }
}

/// Whether the first name is a section in which the other one is.
fn is_above(section: &str, path: &str) -> bool {
    path.strip_prefix(section)
        .is_some_and(|rest| rest.starts_with('.'))
}
