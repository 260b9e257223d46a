//! The operational states of a whole system: which can follow which, and what each means for work and for health.
//!
//! An emergency is watched as closely as normal operation.

use std::fmt;
use std::str::FromStr;

/// A text that names no operational state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown state {0:?}; the states are startup, normal, graceful_shutdown, emergency and stopped"
)]
pub struct UnknownState(pub String);

/// The operational state of the system as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationalState {
    /// Starting; health is judged mildly.
    Startup,
    /// Working.
    Normal,
    /// A planned end: running steps finish, no step is handed out, no alert is raised.
    GracefulShutdown,
    /// An unplanned halt: no step is handed out, and alerts are raised.
    Emergency,
    /// Stopped.
    Stopped,
}

/// The multipliers that can be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Of [`OperationalState::Startup`].
    pub startup: f64,
    /// Of [`OperationalState::GracefulShutdown`].
    pub shutdown: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self {
            startup: 0.5,
            shutdown: 0.0,
        }
    }
}

/// The result of a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The system is in that state already: a success that changes nothing.
    None,
    /// The change is declared.
    Declared,
    /// The change is not declared; only force makes it.
    Undeclared,
}

impl OperationalState {
    /// All five, in the order in which they are documented.
    pub const ALL: [Self; 5] = [
        Self::Startup,
        Self::Normal,
        Self::GracefulShutdown,
        Self::Emergency,
        Self::Stopped,
    ];

    /// The state of a system whose state was never set: an engine without background processes works too.
    pub const INITIAL: Self = Self::Normal;

    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Normal => "normal",
            Self::GracefulShutdown => "graceful_shutdown",
            Self::Emergency => "emergency",
            Self::Stopped => "stopped",
        }
    }

    /// The states that can follow this one.
    pub const fn next_states(self) -> &'static [Self] {
        match self {
            Self::Startup => &[Self::Normal, Self::Emergency, Self::Stopped],
            Self::Normal => &[Self::GracefulShutdown, Self::Emergency, Self::Stopped],
            Self::GracefulShutdown => &[Self::Emergency, Self::Stopped],
            Self::Emergency => &[Self::Stopped],
            Self::Stopped => &[Self::Startup],
        }
    }

    /// The result of a change to another state.
    pub fn change(self, to: Self) -> Change {
        if self == to {
            Change::None
        } else if self.next_states().contains(&to) {
            Change::Declared
        } else {
            Change::Undeclared
        }
    }

    /// Whether claims are served. While the system starts, too: workers need none of the background processes, and a
    /// coordinator that starts again, or cannot, stops no worker.
    pub const fn hands_out_work(self) -> bool {
        matches!(self, Self::Startup | Self::Normal)
    }

    /// Whether alerts are held back: only while the system is planned not to work.
    pub const fn suppresses_alerts(self) -> bool {
        matches!(self, Self::GracefulShutdown | Self::Stopped)
    }

    /// Whether health is watched.
    pub const fn is_monitored(self) -> bool {
        !self.suppresses_alerts()
    }

    /// Whether the state is on its way to another one.
    pub const fn is_transitional(self) -> bool {
        matches!(self, Self::Startup | Self::GracefulShutdown)
    }

    /// The multiplier of the health thresholds: see [`super::health`].
    pub const fn health_multiplier(self, multipliers: Multipliers) -> f64 {
        match self {
            Self::Startup => multipliers.startup,
            Self::Normal | Self::Emergency => 1.0,
            Self::GracefulShutdown => multipliers.shutdown,
            Self::Stopped => 0.0,
        }
    }
}

impl fmt::Display for OperationalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OperationalState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A row per state, a column per state that can follow: s same, y declared, - refused.
    const MATRIX: [&str; 5] = ["sy-yy", "-syyy", "--syy", "---sy", "y---s"];

    #[test]
    fn each_of_the_25_pairs_is_what_the_table_says() {
        for (from, row) in OperationalState::ALL.into_iter().zip(MATRIX) {
            for (to, mark) in OperationalState::ALL.into_iter().zip(row.chars()) {
                let expected = match mark {
                    's' => Change::None,
                    'y' => Change::Declared,
                    _ => Change::Undeclared,
                };
                assert_eq!(from.change(to), expected, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn each_state_means_what_the_table_says() {
        use OperationalState::*;
        // hands out work, suppresses alerts, monitored, transitional, multiplier
        for (state, expected) in [
            (Startup, (true, false, true, true, 0.5)),
            (Normal, (true, false, true, false, 1.0)),
            (GracefulShutdown, (false, true, false, true, 0.0)),
            (Emergency, (false, false, true, false, 1.0)),
            (Stopped, (false, true, false, false, 0.0)),
        ] {
            let found = (
                state.hands_out_work(),
                state.suppresses_alerts(),
                state.is_monitored(),
                state.is_transitional(),
                state.health_multiplier(Multipliers::default()),
            );
            assert_eq!(found, expected, "{state}");
        }
    }

    #[test]
    fn the_multipliers_of_startup_and_shutdown_can_be_set_and_no_other() {
        let set = Multipliers {
            startup: 0.25,
            shutdown: 0.75,
        };
        let found = OperationalState::ALL.map(|state| state.health_multiplier(set));
        assert_eq!(found, [0.25, 1.0, 0.75, 1.0, 0.0]);
    }

    #[test]
    fn names_lead_back_to_the_state() {
        for state in OperationalState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        for name in ["Normal", "", "gracefulshutdown", "running"] {
            assert!(name.parse::<OperationalState>().is_err(), "{name}");
        }
    }
}
