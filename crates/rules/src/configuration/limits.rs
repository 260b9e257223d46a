//! Limits that a file can break: outside of them the file wins, with a warning.

use serde_json::Value;

use super::component::Component;
use super::keys::fits;

struct Limit {
    component: Component,
    path: &'static str,
    least: f64,
    most: f64,
}

const fn limit(component: Component, path: &'static str, least: f64, most: f64) -> Limit {
    Limit {
        component,
        path,
        least,
        most,
    }
}

const NONE: f64 = f64::INFINITY;

const LIMITS: [Limit; 14] = [
    limit(
        Component::CircuitBreakers,
        "global_settings.max_circuit_breakers",
        1.0,
        1000.0,
    ),
    limit(
        Component::CircuitBreakers,
        "global_settings.min_state_transition_interval_seconds",
        f64::MIN_POSITIVE,
        NONE,
    ),
    limit(
        Component::CircuitBreakers,
        "default_config.failure_threshold",
        1.0,
        100.0,
    ),
    limit(
        Component::CircuitBreakers,
        "default_config.timeout_seconds",
        1.0,
        300.0,
    ),
    limit(
        Component::CircuitBreakers,
        "default_config.success_threshold",
        1.0,
        50.0,
    ),
    limit(
        Component::CircuitBreakers,
        "component_configs.*.failure_threshold",
        1.0,
        100.0,
    ),
    limit(
        Component::CircuitBreakers,
        "component_configs.*.timeout_seconds",
        1.0,
        300.0,
    ),
    limit(
        Component::CircuitBreakers,
        "component_configs.*.success_threshold",
        1.0,
        50.0,
    ),
    limit(Component::Database, "pool.max_connections", 1.0, 1000.0),
    limit(
        Component::ExecutorPools,
        "coordinator.target_utilization",
        0.1,
        1.0,
    ),
    limit(
        Component::ExecutorPools,
        "coordinator.scaling_interval_seconds",
        5.0,
        NONE,
    ),
    limit(
        Component::ExecutorPools,
        "coordinator.scaling_cooldown_seconds",
        10.0,
        NONE,
    ),
    limit(Component::ExecutorPools, "*.min_executors", 0.0, 100.0),
    limit(Component::ExecutorPools, "*.max_executors", 0.0, 100.0),
];

/// What to say about a value outside of such a limit.
pub fn outside(component: Component, path: &str, value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    let limit = LIMITS
        .iter()
        .find(|limit| limit.component == component && fits(limit.path, path))?;
    let (least, most) = (limit.least, limit.most);
    let inside = match (number < least, number > most) {
        (false, false) => return None,
        (true, _) if least == f64::MIN_POSITIVE => "more than 0".to_owned(),
        (true, _) => format!("{least} or more"),
        (_, true) => format!("{most} or less"),
    };
    Some(format!(
        "the limit is {inside}; the file wins, and {value} holds"
    ))
}
