//! circuit_breakers.toml.

use super::{COUNT, Component, Key, Shape, key};

const LATER: &str = "nothing does yet: there are no circuit breakers";

const fn breaker(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(Component::CircuitBreakers, path, shape, meaning)
        .unit(unit)
        .default(default)
        .nothing(LATER)
}

pub(super) static KEYS: &[Key] = &[
    breaker(
        "enabled",
        Shape::Bool,
        "",
        "true",
        "Whether circuit breakers are on.",
    ),
    breaker(
        "global_settings.max_circuit_breakers",
        COUNT,
        "breakers",
        "50",
        "How many breakers there can be.",
    ),
    breaker(
        "global_settings.metrics_collection_interval_seconds",
        COUNT,
        "seconds",
        "30",
        "How often their measures are taken.",
    ),
    breaker(
        "global_settings.auto_create_enabled",
        Shape::Bool,
        "",
        "true",
        "Whether a breaker is made when first asked for.",
    ),
    breaker(
        "global_settings.min_state_transition_interval_seconds",
        Shape::Float(0.0, 1e9),
        "seconds",
        "1",
        "Least time between two changes of state.",
    ),
    breaker(
        "default_config.failure_threshold",
        COUNT,
        "failures",
        "5",
        "Failures after which a breaker opens.",
    ),
    breaker(
        "default_config.timeout_seconds",
        COUNT,
        "seconds",
        "30",
        "How long it stays open.",
    ),
    breaker(
        "default_config.success_threshold",
        COUNT,
        "successes",
        "2",
        "Successes after which it closes.",
    ),
    breaker(
        "component_configs.*.failure_threshold",
        COUNT,
        "failures",
        "",
        "The same for one component.",
    ),
    breaker(
        "component_configs.*.timeout_seconds",
        COUNT,
        "seconds",
        "",
        "The same for one component.",
    ),
    breaker(
        "component_configs.*.success_threshold",
        COUNT,
        "successes",
        "",
        "The same for one component.",
    ),
];
