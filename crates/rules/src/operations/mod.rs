//! The rules of operating: analysis of tasks and templates, health, metrics, operational states, scaling, schedules.

pub mod analysis;
pub mod health;
pub mod metrics;
pub mod operational;
pub mod scaling;
pub mod schedule;
