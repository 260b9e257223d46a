//! What the client tests share: servers of their own, sessions, workflow shapes, a tiny worker, errors to look into.
//!
//! Tests use the public interface only. What must look below it is in [`inside`], so that a change of the
//! storage needs a change in one place.

pub mod calls;
pub mod database;
pub mod exporter;
pub mod exports;
pub mod failure;
pub mod graphs;
pub mod inside;
pub mod kills;
#[path = "../../../crates/rules/tests/patience/mod.rs"]
mod patience;
pub mod postgres_tree;
pub mod race;
pub mod reader;
pub mod receiver;
pub mod server;
pub mod session;
pub mod shapes;
pub mod three;
pub mod worker;

pub use database::{Database, started};
pub use failure::Failure;
pub use patience::patience;
pub use postgres_tree::PostgresTree;
pub use reader::Reader;
pub use serde_json::{Value, json};
pub use session::Session;
pub use shapes::Template;
pub use uuid::Uuid;
pub use worker::{Act, Claim};

/// Whether the long forms are asked for: `TASKER_LONG=1`.
pub fn long() -> bool {
    std::env::var("TASKER_LONG").is_ok_and(|value| value == "1")
}

/// One number for the everyday run, another for the long form.
pub fn scaled(short: usize, long_form: usize) -> usize {
    if long() { long_form } else { short }
}
