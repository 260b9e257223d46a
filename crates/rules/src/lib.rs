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
pub mod engine;
/// Events: their names, what makes each happen, what its payload holds, and which patterns match it.
///
/// An event is not written: a row of the log gives one or several ([`events::rows`]), and a fact that is no change of state gives
/// one. A subscriber always sees the canonical name; other names of the same event are synonyms that patterns may use.
pub mod events {
    pub mod catalog;
    pub mod pattern;
    pub mod payload;
    pub mod rows;
}
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
