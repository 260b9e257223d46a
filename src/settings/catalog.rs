//! The catalog of keys, as this backend looks them up.

use std::sync::OnceLock;

use tasker_rules::configuration::{Component, Home, Key, Keys, Needs, Shape};

/// All keys.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::new(SOME.iter()))
}

/// The key that a setting stands for.
pub fn key_of_setting(name: &str) -> Option<&'static Key> {
    keys()
        .iter()
        .find(|key| matches!(key.home, Home::Setting(setting) if setting == name))
}

// Until the rules have the catalog.
const fn some(
    component: Component,
    path: &'static str,
    shape: Shape,
    default: &'static str,
    home: Home,
) -> Key {
    Key {
        component,
        path,
        shape,
        unit: "",
        default,
        home,
        needs: Needs::Nothing,
        old: &[],
        meaning: "",
        test: "",
    }
}

static SOME: [Key; 9] = [
    some(
        Component::System,
        "backoff.max_backoff_seconds",
        Shape::Int(1, 86_400),
        "300",
        Home::Setting("max_backoff_seconds"),
    ),
    some(
        Component::System,
        "backoff.default_backoff_seconds",
        Shape::Numbers(0.0, 1e9),
        "[1,2,4,8,16,32]",
        Home::Setting("default_backoff_seconds"),
    ),
    some(
        Component::System,
        "backoff.jitter_enabled",
        Shape::Bool,
        "true",
        Home::Setting("jitter_enabled"),
    ),
    some(
        Component::System,
        "backoff.backoff_multiplier",
        Shape::Float(1.0, 10.0),
        "2.0",
        Home::Setting("backoff_multiplier"),
    ),
    some(
        Component::Engine,
        "retention.default_retention",
        Shape::Float(0.0, 1e9),
        "0",
        Home::Setting("default_retention"),
    ),
    some(
        Component::Telemetry,
        "diagram.step_url",
        Shape::Text,
        "\"\"",
        Home::Setting("diagram_step_url"),
    ),
    some(
        Component::Telemetry,
        "metrics.max_metric_series",
        Shape::Int(1, 1_000_000),
        "2000",
        Home::Setting("max_metric_series"),
    ),
    some(
        Component::ExecutorPools,
        "*.min_executors",
        Shape::Int(0, 1000),
        "",
        Home::Engine,
    ),
    some(
        Component::ExecutorPools,
        "*.max_executors",
        Shape::Int(0, 1000),
        "",
        Home::Engine,
    ),
];
