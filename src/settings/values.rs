//! The values of the files, of the base and of an environment above it.

use std::collections::BTreeMap;

use serde_json::Value;
use tasker_rules::configuration::{Component, Leaves};

/// Values by component and key, with whether the environment's file says it.
#[derive(Debug, Default)]
pub struct Values(BTreeMap<Component, BTreeMap<String, (Value, bool)>>);

// Which of these are used is for typed.rs to say.
#[allow(dead_code)]
impl Values {
    /// Puts a file above what is there: the base first, then the environment's.
    pub fn put(&mut self, component: Component, leaves: Leaves, of_environment: bool) {
        let known = self.0.entry(component).or_default();
        for (key, value) in leaves {
            known.insert(key, (value, of_environment));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, and whether it is the environment's.
    pub fn find(&self, component: Component, key: &str) -> Option<&(Value, bool)> {
        self.0.get(&component)?.get(key)
    }

    /// All of a component.
    pub fn of(&self, component: Component) -> impl Iterator<Item = (&str, &(Value, bool))> {
        self.0
            .get(&component)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// None: the files say nothing.
    pub fn get(&self, component: Component, key: &str) -> Option<&Value> {
        self.find(component, key).map(|(value, _)| value)
    }

    pub fn f64(&self, component: Component, key: &str) -> Option<f64> {
        self.get(component, key)?.as_f64()
    }

    pub fn i64(&self, component: Component, key: &str) -> Option<i64> {
        let value = self.get(component, key)?;
        // A file may write 2.0 for 2.
        value.as_i64().or_else(|| value.as_f64().map(|number| number.round() as i64))
    }

    pub fn bool(&self, component: Component, key: &str) -> Option<bool> {
        self.get(component, key)?.as_bool()
    }

    pub fn text(&self, component: Component, key: &str) -> Option<String> {
        self.get(component, key)?.as_str().map(str::to_owned)
    }

    pub fn names(&self, component: Component, key: &str) -> Option<Vec<String>> {
        let items = self.get(component, key)?.as_array()?;
        Some(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
    }
}
