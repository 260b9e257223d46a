//! The rules of operating: analysis, diagrams, health, metrics, operational states, scaling, schedules, files of subscriptions.

pub mod analysis;
pub mod diagram;
pub mod health;
pub mod metrics;
pub mod operational;
pub mod scaling;
pub mod schedule;
pub mod subscriptions;
