//! The rules of tasker_ext that need no database: templates, their graph, the state machines, backoff, identity, diagrams, metrics.
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

pub mod analysis;
pub mod backoff;
pub mod diagram;
pub mod graph;
pub mod health;
pub mod identity;
pub mod ids;
pub mod input_schema;
pub mod metrics;
pub mod names;
mod number;
pub mod operational;
mod problem;
pub mod readiness;
pub mod scaling;
pub mod schedule;
pub mod sqlstate;
pub mod state;
pub mod template;

pub use problem::{Problem, Severity};
