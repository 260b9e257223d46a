//! database.toml.

use super::{COUNT, Component, Key, Shape, key};

const INSIDE: &str = "the engine is in the database: each client has its own connection settings";
const POOL: &str =
    "clients and pgbouncer have their own pools; max_connections of the server bounds them all";
const ONE: &str = "the engine has one database: the one that it is installed in";

const fn database(
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    meaning: &'static str,
    instead: &'static str,
) -> Key {
    key(Component::Database, path, shape, meaning)
        .unit(unit)
        .nothing(instead)
}

pub(super) static KEYS: &[Key] = &[
    database(
        "enable_secondary_database",
        Shape::Bool,
        "",
        "Whether a second database is used.",
        ONE,
    )
    .default("false")
    .old(&["database.enable_secondary_database"]),
    database("name", Shape::Text, "", "Name of the second database.", ONE).old(&["database.name"]),
    database("url", Shape::Text, "", "Address of the database.", INSIDE),
    database("adapter", Shape::Text, "", "Driver of the client.", INSIDE),
    database(
        "encoding",
        Shape::Text,
        "",
        "Encoding of the client.",
        INSIDE,
    ),
    database("host", Shape::Text, "", "Host of the database.", INSIDE),
    database("username", Shape::Text, "", "Login.", INSIDE),
    database(
        "password",
        Shape::Text,
        "",
        "Password; it is masked before it is stored.",
        INSIDE,
    ),
    database(
        "checkout_timeout",
        COUNT,
        "seconds",
        "How long a client waits for a connection of its pool.",
        POOL,
    ),
    database(
        "reaping_frequency",
        COUNT,
        "seconds",
        "How often a client looks for lost connections.",
        POOL,
    ),
    database(
        "pool_size",
        COUNT,
        "connections",
        "Connections of a client's pool.",
        POOL,
    ),
    database(
        "pool_timeout_seconds",
        COUNT,
        "seconds",
        "How long a client waits for a connection of its pool.",
        POOL,
    ),
    database(
        "connection_timeout_seconds",
        COUNT,
        "seconds",
        "How long connecting may take.",
        INSIDE,
    ),
    database(
        "idle_timeout_seconds",
        COUNT,
        "seconds",
        "How long a connection of a pool stays idle.",
        POOL,
    ),
    database(
        "prepared_statements",
        Shape::Bool,
        "",
        "Whether a client prepares its statements.",
        INSIDE,
    ),
    database(
        "statement_cache_size",
        COUNT,
        "statements",
        "Statements that a client keeps prepared.",
        INSIDE,
    ),
    database(
        "pool.max_connections",
        COUNT,
        "connections",
        "Connections for the pools of executors: loading compares it with their sum.",
        POOL,
    ),
    database(
        "pool.min_connections",
        COUNT,
        "connections",
        "Connections that a pool keeps open.",
        POOL,
    ),
    database(
        "pool.acquire_timeout_seconds",
        COUNT,
        "seconds",
        "How long a client waits for a connection of its pool.",
        POOL,
    ),
    database(
        "pool.idle_timeout_seconds",
        COUNT,
        "seconds",
        "How long a connection of a pool stays idle.",
        POOL,
    ),
    database(
        "pool.max_lifetime_seconds",
        COUNT,
        "seconds",
        "How long a connection of a pool lives.",
        POOL,
    ),
    database(
        "variables.statement_timeout",
        COUNT,
        "milliseconds",
        "Time limit of a client's statements.",
        "ALTER ROLE ... SET statement_timeout does",
    ),
];
