//! Where the database is and how it is reached: what the commands share.

mod target;
mod tls;

pub use target::{Target, with_cause};
