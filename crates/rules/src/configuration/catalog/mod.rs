//! All keys, by component. `effective_config`, the checks, the command `tasker config` and docs/configuration.md read this list.

mod auth;
mod circuit_breakers;
mod database;
mod engine;
mod executor_pools;
mod orchestration;
mod pgmq;
mod query_cache;
mod system;
mod telemetry;

use super::{Component, Home, Key, Needs, Shape};

/// All keys, by component.
pub fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    [
        auth::KEYS,
        circuit_breakers::KEYS,
        database::KEYS,
        engine::KEYS,
        executor_pools::KEYS,
        orchestration::KEYS,
        pgmq::KEYS,
        query_cache::KEYS,
        system::KEYS,
        telemetry::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// What no later line of a list says: no unit, no default, no setting.
const fn key(component: Component, path: &'static str, shape: Shape, meaning: &'static str) -> Key {
    Key {
        component,
        path,
        shape,
        unit: "",
        default: "",
        home: Home::Engine,
        needs: Needs::Nothing,
        old: &[],
        meaning,
        test: "",
    }
}

impl Key {
    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn default(mut self, json: &'static str) -> Self {
        self.default = json;
        self
    }

    const fn setting(mut self, name: &'static str) -> Self {
        self.home = Home::Setting(name);
        self
    }

    const fn copy_of(mut self, name: &'static str) -> Self {
        self.home = Home::CopyOf(name);
        self
    }

    /// `instead`: what does it here, or that nothing does yet.
    const fn nothing(mut self, instead: &'static str) -> Self {
        self.home = Home::Nothing(instead);
        self
    }

    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn old(mut self, names: &'static [&'static str]) -> Self {
        self.old = names;
        self
    }

    const fn test(mut self, name: &'static str) -> Self {
        self.test = name;
        self
    }
}

/// Any whole number that is not negative.
const COUNT: Shape = Shape::Int(0, i64::MAX);
/// Any number that is not negative.
const AMOUNT: Shape = Shape::Float(0.0, 1e12);
const SHARE: Shape = Shape::Float(0.0, 1.0);

const RUBY: &str = "names a class or a method of Ruby, which does not run here";
const ENGINE_READY: &str = "nothing does yet";
