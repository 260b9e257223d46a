//! executor_pools.toml.

use super::{AMOUNT, COUNT, Component, ENGINE_READY, Key, Shape, key};

const POOLS: &str = "nothing does yet from a file: tasker.configure_executor_pool sets it";
const WAKING: &str = "executors are woken by ready work and do not poll";

const fn pools(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    default: &'static str,
    meaning: &'static str,
    instead: &'static str,
) -> Key {
    key(Component::ExecutorPools, path, shape, meaning)
        .unit(unit)
        .default(default)
        .nothing(instead)
}

pub(super) static KEYS: &[Key] = &[
    pools(
        "coordinator.auto_scaling_enabled",
        Shape::Bool,
        "",
        "true",
        "Whether the number of executors follows the load.",
        ENGINE_READY,
    ),
    pools(
        "coordinator.target_utilization",
        Shape::Float(0.0, 1.0),
        "share",
        "0.75",
        "Share of their time that executors should be busy.",
        POOLS,
    ),
    pools(
        "coordinator.scaling_interval_seconds",
        AMOUNT,
        "seconds",
        "5",
        "Time between two evaluations of a pool.",
        POOLS,
    ),
    pools(
        "coordinator.health_check_interval_seconds",
        AMOUNT,
        "seconds",
        "",
        "Time between two looks at the executors.",
        "the coordinator learns of the end of an executor at once",
    ),
    pools(
        "coordinator.scaling_cooldown_seconds",
        AMOUNT,
        "seconds",
        "15",
        "Time between two changes of a pool.",
        POOLS,
    ),
    pools(
        "coordinator.max_db_pool_usage",
        Shape::Float(0.0, 1.0),
        "share",
        "0.85",
        "Share of the connections that all pools may take: loading warns beyond it.",
        "loading compares it with the pools; validate_resources looks at the server",
    ),
    pools(
        "*.min_executors",
        Shape::Int(0, 10_000),
        "executors",
        "",
        "Least number of executors of the pool.",
        POOLS,
    ),
    pools(
        "*.max_executors",
        Shape::Int(0, 10_000),
        "executors",
        "",
        "Greatest number of executors of the pool.",
        POOLS,
    ),
    pools(
        "*.polling_interval_ms",
        COUNT,
        "milliseconds",
        "",
        "Time between two looks for work.",
        WAKING,
    ),
    pools(
        "*.batch_size",
        COUNT,
        "steps",
        "",
        "How many steps an executor claims at once.",
        POOLS,
    ),
    pools(
        "*.processing_timeout_ms",
        COUNT,
        "milliseconds",
        "",
        "How long a step may run.",
        "the timeouts of steps and tasker.handler_timeout_seconds do",
    ),
    pools(
        "*.max_retries",
        COUNT,
        "attempts",
        "",
        "How often a failed batch is tried again.",
        "the retry limits of steps do",
    ),
    pools(
        "*.circuit_breaker_enabled",
        Shape::Bool,
        "",
        "",
        "Whether a breaker guards the pool.",
        "nothing does yet: there are no circuit breakers",
    ),
    pools(
        "*.circuit_breaker_threshold",
        COUNT,
        "failures",
        "",
        "Failures after which the breaker opens.",
        "nothing does yet: there are no circuit breakers",
    ),
];
