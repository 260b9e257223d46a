//! The rules of running: states and their transitions, readiness, retries, backoff, uuids and the identity of tasks.

pub mod backoff;
pub mod correlation;
pub mod handler_key;
pub mod identity;
pub mod ids;
pub mod integrity;
pub mod readiness;
pub mod retry;
pub mod state;
