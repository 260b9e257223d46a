//! What a key is.

use super::Component;

/// One key of a component. `path` is below the component: `max_backoff_seconds` of `[backoff]` in system.toml is
/// `backoff.max_backoff_seconds`, and what is in the section of the component's own name, `[system]`, has no prefix.
/// A part `*` stands for any name.
#[derive(Debug)]
pub struct Key {
    /// Whose file has it.
    pub component: Component,
    /// Below the component, with dots.
    pub path: &'static str,
    /// Which values it takes.
    pub shape: Shape,
    /// `seconds`, `bytes`, `a share` ...; empty: a plain value.
    pub unit: &'static str,
    /// JSON; empty: there is no value unless a file or a setting says one.
    pub default: &'static str,
    /// The reader of the value.
    pub home: Home,
    /// What a change needs.
    pub needs: Needs,
    /// Names in the Rails configuration: `telemetry.filter_mask`.
    pub old: &'static [&'static str],
    /// One sentence.
    pub meaning: &'static str,
    /// The test that shows the effect: `tests/client configuration::a_weight_changes_the_score`.
    pub test: &'static str,
}

/// Which values a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// true or false.
    Bool,
    /// A whole number: least and most.
    Int(i64, i64),
    /// A number: least and most.
    Float(f64, f64),
    /// Any text.
    Text,
    /// A text that is not empty.
    Name,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Names,
    /// A list of numbers, each from the least to the most.
    Numbers(f64, f64),
}

/// The reader of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The server's setting `tasker.<name>` comes before it, and has the same effect.
    Setting(&'static str),
    /// The engine; there is no setting beside it.
    Engine,
    /// A copy of a key that another section owns: `engine.cache.enabled`. It has no effect, and a warning if it differs.
    CopyOf(&'static str),
    /// It has no effect. The text says what does it here, or that nothing does yet.
    Nothing(&'static str),
}

/// What must happen before a change has its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The next call has it.
    Nothing,
    /// New sessions have it.
    Reconnect,
    /// A restarted server has it.
    Restart,
}

impl Needs {
    /// The column `needs` of effective_config.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Reconnect => Some("reconnect"),
            Self::Restart => Some("restart"),
        }
    }
}
