//! One file per scenario.

pub mod cancels;
pub mod run;
