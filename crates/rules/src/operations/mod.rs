//! The rules of operating: analysis and diagrams of tasks and templates, health, metrics, operational states, scaling, schedules.

pub mod analysis;
pub mod diagram;
pub mod health;
pub mod metrics;
pub mod operational;
pub mod scaling;
pub mod schedule;
