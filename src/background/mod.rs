//! What happens at a time, or without an outside process: a policy over the same SQL functions that anybody can call.

pub mod activity;
pub mod scaling;
