//! How many executors a pool should have: the input is what the pool was doing, the result a number and a sentence.
//!
//! An evaluation of a pool ([`evaluate`]) measures what happened since the last one ([`measure`]), asks four rules for their opinion
//! ([`rules`], [`forecast`]) and combines them ([`decide`]). What the server can carry is in [`resources`]. Times are
//! seconds; nothing reads a clock.

mod decide;
pub mod forecast;
mod measure;
pub mod resources;
mod rules;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use decide::{Decision, Outcome, Rule, evaluate};
pub use measure::{Executor, Load, Memory, Recorded};

/// Due entries of a pool's queues are counted up to this number, which then means "at least".
pub const DEPTH_LIMIT: u32 = 1_000;

/// The settings of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Never fewer executors.
    pub min: u32,
    /// Never more executors.
    pub max: u32,
    /// Share of their time that executors should be busy, 0.1 to 1.
    pub target: f64,
    /// Seconds between two evaluations.
    pub interval: f64,
    /// Seconds between two changes.
    pub cooldown: f64,
    /// Length of a season in seconds if the forecast counts; `None`: it does not.
    pub season: Option<f64>,
}

/// The most executors the server leaves to this pool, and what sets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Number of executors.
    pub executors: u32,
    /// Half a sentence: "max_worker_processes 8 leaves 4 to executors".
    pub because: String,
}
