//! auth.toml.

use super::{Component, ENGINE_READY, Key, RUBY, Shape, key};

const AUTHENTICATION: &str = "PostgreSQL authenticates: pg_hba.conf says how, and with which roles";

const fn auth(path: &'static str, shape: Shape, meaning: &'static str) -> Key {
    key(Component::Auth, path, shape, meaning)
}

pub(super) static KEYS: &[Key] = &[
    auth(
        "authentication_enabled",
        Shape::Bool,
        "Whether users must authenticate.",
    )
    .default("false")
    .nothing(AUTHENTICATION)
    .old(&["auth.authentication_enabled"]),
    auth("strategy", Shape::Text, "How users authenticate.")
        .default(r#""none""#)
        .nothing(AUTHENTICATION)
        .old(&["auth.strategy"]),
    auth(
        "current_user_method",
        Shape::Text,
        "Method that gives the user of a request.",
    )
    .nothing(RUBY)
    .old(&["auth.current_user_method"]),
    auth(
        "authenticate_user_method",
        Shape::Text,
        "Method that authenticates a request.",
    )
    .nothing(RUBY)
    .old(&["auth.authenticate_user_method"]),
    auth(
        "authenticator_class",
        Shape::Text,
        "Class that authenticates.",
    )
    .nothing(RUBY)
    .old(&["auth.authenticator_class"]),
    auth("user_class", Shape::Text, "Class of users.")
        .nothing(RUBY)
        .old(&["auth.user_class"]),
    auth(
        "authorization_enabled",
        Shape::Bool,
        "Whether grants are enforced.",
    )
    .default("true")
    .nothing(ENGINE_READY)
    .old(&["auth.authorization_enabled"]),
    auth(
        "authorization_coordinator_class",
        Shape::Text,
        "Class that authorizes.",
    )
    .nothing(RUBY)
    .old(&["auth.authorization_coordinator_class"]),
];
