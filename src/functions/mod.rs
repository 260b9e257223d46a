//! The SQL functions, one file per noun: they check what the caller gave, call the engine, and hand back rows.

pub mod analysis;
pub mod create;
pub mod finalization;
pub mod health;
pub mod maintenance;
pub mod metrics;
pub mod names;
pub mod operational;
pub mod operators;
pub mod reading;
pub mod reports;
mod schedules;
pub mod table_access;
mod templates;
pub mod work;
