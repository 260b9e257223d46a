//! The rules of running: states and their transitions, readiness, backoff, uuids and the identity of tasks.

pub mod backoff;
pub mod identity;
pub mod ids;
pub mod readiness;
pub mod state;
