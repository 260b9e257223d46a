//! The configuration: ten components, each a TOML file with a file for each environment beside it.
//!
//! The catalog lists all keys: checking a file, `effective_config`, the documentation and the command `tasker config`
//! read it. A file is read into [`Leaves`], checked on its way; files together make the values that are in force.

pub mod component;
pub mod finding;
pub mod key;

pub use component::Component;
pub use finding::{Finding, Severity};
pub use key::{Home, Key, Needs, Shape};

use std::collections::BTreeMap;

/// What a file says: values by key, `backoff.max_backoff_seconds`. An array is one value.
pub type Leaves = BTreeMap<String, serde_json::Value>;
