//! query_cache.toml.

use super::{COUNT, Component, ENGINE_READY, Key, SHARE, Shape, key};

const fn cache(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(Component::QueryCache, path, shape, meaning)
        .unit(unit)
        .default(default)
        .nothing(ENGINE_READY)
}

pub(super) static KEYS: &[Key] = &[
    cache(
        "enabled",
        Shape::Bool,
        "",
        "true",
        "Whether answers are cached.",
    ),
    cache(
        "cleanup_interval_seconds",
        COUNT,
        "seconds",
        "300",
        "How often old answers are removed.",
    ),
    cache(
        "memory_pressure_threshold",
        SHARE,
        "share",
        "0.8",
        "Share of the memory from which on answers are removed.",
    ),
    cache(
        "active_workers.ttl_seconds",
        COUNT,
        "seconds",
        "30",
        "How long an answer about active workers holds.",
    ),
    cache(
        "active_workers.max_entries",
        COUNT,
        "entries",
        "1000",
        "How many of them are kept.",
    ),
    cache(
        "worker_health.ttl_seconds",
        COUNT,
        "seconds",
        "10",
        "How long an answer about the health of workers holds.",
    ),
    cache(
        "worker_health.max_entries",
        COUNT,
        "entries",
        "500",
        "How many of them are kept.",
    ),
    cache(
        "task_metadata.ttl_seconds",
        COUNT,
        "seconds",
        "300",
        "How long an answer about a task holds.",
    ),
    cache(
        "task_metadata.max_entries",
        COUNT,
        "entries",
        "2000",
        "How many of them are kept.",
    ),
    cache(
        "handler_metadata.ttl_seconds",
        COUNT,
        "seconds",
        "600",
        "How long an answer about a handler holds.",
    ),
    cache(
        "handler_metadata.max_entries",
        COUNT,
        "entries",
        "100",
        "How many of them are kept.",
    ),
];
