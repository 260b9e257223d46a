//! The catalog of keys, as this backend looks them up.

use std::sync::OnceLock;

use tasker_rules::configuration::{Home, Key, Keys, catalog};

/// All keys.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::new(catalog::keys()))
}

/// The key that a setting stands for.
pub fn key_of_setting(name: &str) -> Option<&'static Key> {
    keys()
        .iter()
        .find(|key| matches!(key.home, Home::Setting(setting) if setting == name))
}
