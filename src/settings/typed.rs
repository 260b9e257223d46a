//! What the files say to the engine beside the settings, made once per change.

use super::values::Values;

/// Values of keys that no setting stands for.
#[derive(Debug, Default)]
pub struct Typed {}

impl Typed {
    pub fn of(_values: &Values) -> Self {
        Self::default()
    }
}
