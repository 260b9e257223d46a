//! The rules of tasker_ext that need no database: templates, their graph, the state machines, backoff, identity, diagrams, metrics, events.
//!
//! Nothing here does I/O, knows PostgreSQL, or panics on any input.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

mod budget;
pub mod configuration;
pub mod engine;
pub mod events;
pub mod graph;
pub mod names;
pub mod number;
pub mod operations;
#[cfg(test)]
#[path = "../tests/patience/mod.rs"]
mod patience;
mod problem;
pub mod sqlstate;
pub mod template;

pub use budget::{Budget, Host, Spent};
pub use problem::{Problem, Severity};
