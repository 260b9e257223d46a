//! The rules of tasker_ext that need no database: templates, their graph, the state machines, backoff, identity, diagrams.
//!
//! Nothing here does I/O, knows PostgreSQL, or panics on any input.

pub mod backoff;
pub mod graph;
pub mod ids;
pub mod names;
mod problem;
pub mod state;

pub use problem::{Problem, Severity};
