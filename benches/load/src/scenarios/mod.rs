//! One file per scenario.

pub mod beside;
mod cancels;
pub mod create;
pub mod delivery;
pub mod depth;
mod history;
pub mod latency;
pub mod notified;
pub mod purged;
pub mod run;
pub mod transition;
