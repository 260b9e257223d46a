//! What the files say to the engine beside the settings, made once per change.

use tasker_rules::configuration::Resolved;

/// Values of keys that no setting stands for.
#[derive(Debug, Default)]
pub struct Typed {}

impl Typed {
    pub fn of(_values: &Resolved) -> Self {
        Self::default()
    }
}
