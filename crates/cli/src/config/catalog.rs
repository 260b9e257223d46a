//! Until the rules have the catalog of keys: then `use tasker_rules::configuration::catalog` in files.rs takes the place of this file.

use tasker_rules::configuration::Key;

/// All keys.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    std::iter::empty()
}
