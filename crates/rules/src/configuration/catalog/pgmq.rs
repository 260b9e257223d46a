//! pgmq.toml.

use super::{COUNT, Component, Key, Shape, key};

const LATER: &str = "nothing does yet: there are no pgmq queues; ready work waits in tables";

const fn pgmq(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    key(Component::Pgmq, path, shape, meaning)
        .unit(unit)
        .default(default)
        .nothing(LATER)
}

pub(super) static KEYS: &[Key] = &[
    pgmq(
        "poll_interval_ms",
        COUNT,
        "milliseconds",
        "250",
        "Time between two looks for messages.",
    ),
    pgmq(
        "visibility_timeout_seconds",
        COUNT,
        "seconds",
        "30",
        "How long a message that was read stays hidden.",
    ),
    pgmq(
        "batch_size",
        Shape::Int(i64::MIN, i64::MAX),
        "messages",
        "5",
        "Messages read at once.",
    ),
    pgmq(
        "max_retries",
        COUNT,
        "attempts",
        "3",
        "How often a message is tried again.",
    ),
    pgmq(
        "max_batch_size",
        COUNT,
        "messages",
        "100",
        "Most messages read at once.",
    ),
    pgmq(
        "shutdown_timeout_seconds",
        COUNT,
        "seconds",
        "5",
        "How long a queue worker may take to end.",
    ),
    pgmq(
        "default_namespaces",
        Shape::Names,
        "",
        r#"["default"]"#,
        "Namespaces that get a queue.",
    ),
    pgmq(
        "queue_naming_pattern",
        Shape::Text,
        "",
        r#""{namespace}_queue""#,
        "Name of a namespace's queue.",
    ),
];
