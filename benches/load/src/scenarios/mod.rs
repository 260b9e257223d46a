//! One file per scenario.

mod cancels;
pub mod create;
pub mod delivery;
pub mod depth;
mod history;
pub mod latency;
pub mod notified;
pub mod pinned;
pub mod run;
pub mod transition;
