//! The configuration: ten components, each a TOML file with a file for each environment beside it.
//!
//! The catalog lists all keys: checking a file, `effective_config`, the documentation and the command `tasker config`
//! read it. A file is read into [`Leaves`], checked on its way; files together make the values that are in force.

pub mod catalog;
pub mod check;
pub mod component;
pub mod diff;
pub mod document;
pub mod environment;
pub mod finding;
pub mod key;
pub mod keys;
mod limits;
pub mod secrets;
pub mod set;
mod shape;
mod suggest;
mod together;
pub mod variables;
pub mod write;

pub use check::{Read, Rules, has_error, read};
pub use component::{Component, File};
pub use diff::diff;
pub use finding::{Finding, Severity};
pub use key::{Home, Key, Needs, Shape};
pub use keys::Keys;
pub use secrets::Secrets;
pub use set::{Origin, Resolved, Set};
pub use together::same;

use std::collections::BTreeMap;

/// What a file says: values by key, `backoff.max_backoff_seconds`. An array is one value.
pub type Leaves = BTreeMap<String, serde_json::Value>;
