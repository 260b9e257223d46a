//! When a system is healthy, degraded or unhealthy, when it raises an alert, and which claims are too old.
//!
//! The multiplier of the operational state, from 0 to 1, loosens the thresholds: one that must be reached is multiplied by
//! it, one that must not be exceeded is divided by it.

/// How a system, or one measure of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Healthy,
    /// It works, and something needs attention.
    Degraded,
    /// It does not do its work.
    Unhealthy,
}

impl Level {
    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is measured: a part of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Connections in use, of max_connections. A full server is full in every state: no multiplier.
    Connections,
    /// Tasks or runs of steps that ended in error, of those that ended in a period.
    Errors,
    /// The same of all tasks or steps that there are, however few.
    AllErrors,
    /// Healthy executors, of those there are.
    Executors,
    /// How far a subscriber is behind, of what purge waits for it.
    Lag,
    /// Things that should not exist at all, such as pools without a healthy executor.
    Troubles,
}

/// The thresholds of a measure, in percent of the whole (of [`Measure::Troubles`]: their number).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Degraded beyond this; `None`: never.
    pub degraded: Option<f64>,
    /// Unhealthy beyond this; `None`: never.
    pub unhealthy: Option<f64>,
    /// An alert beyond this.
    pub alert: f64,
    /// Whether beyond means below: less is worse.
    pub falling: bool,
}

/// The judgement on a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// How the measure is.
    pub level: Level,
    /// Whether it raises an alert, unless alerts are held back.
    pub alert: bool,
}

/// Out of fewer finished runs a share of errors says nothing.
const FEWEST_SAMPLES: i64 = 5;
/// A smaller multiplier no longer loosens a share that must be low: it cannot exceed 100 %.
const LEAST_MULTIPLIER: f64 = 0.1;

impl Measure {
    /// All, for reading names.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::Errors,
        Self::AllErrors,
        Self::Executors,
        Self::Lag,
        Self::Troubles,
    ];

    /// The name in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Errors => "errors",
            Self::AllErrors => "all_errors",
            Self::Executors => "executors",
            Self::Lag => "lag",
            Self::Troubles => "troubles",
        }
    }

    /// The thresholds under the multiplier of a state.
    pub fn thresholds(self, multiplier: f64) -> Thresholds {
        let loosened = |share: f64| (share / multiplier.max(LEAST_MULTIPLIER)).min(100.0);
        match self {
            Self::Connections => Thresholds {
                degraded: None,
                unhealthy: Some(90.0),
                alert: 85.0,
                falling: false,
            },
            Self::Errors | Self::AllErrors => Thresholds {
                degraded: None,
                unhealthy: Some(loosened(50.0)),
                alert: loosened(5.0),
                falling: false,
            },
            Self::Executors => Thresholds {
                degraded: Some(90.0 * multiplier),
                unhealthy: Some(50.0 * multiplier),
                alert: 80.0 * multiplier,
                falling: true,
            },
            Self::Lag => Thresholds {
                degraded: Some(80.0),
                unhealthy: None,
                alert: 80.0,
                falling: false,
            },
            Self::Troubles => Thresholds {
                degraded: Some(0.0),
                unhealthy: None,
                alert: 0.0,
                falling: false,
            },
        }
    }

    /// Judges `part` of `whole`. Where the whole is empty or too small, the measure is healthy.
    pub fn judge(self, part: i64, whole: i64, multiplier: f64) -> Judgement {
        let limits = self.thresholds(multiplier);
        // Compared without a division, so that exactly the threshold is on its good side.
        let (value, scale) = match self {
            Self::Troubles => (part as f64, 1.0),
            _ => (part as f64 * 100.0, whole as f64),
        };
        let fewest = match self {
            Self::Connections | Self::AllErrors | Self::Executors | Self::Lag => 1,
            Self::Errors => FEWEST_SAMPLES,
            Self::Troubles => 0,
        };
        let beyond = |limit: f64| {
            if whole < fewest {
                false
            } else if limits.falling {
                value < limit * scale
            } else {
                value > limit * scale
            }
        };
        let level = if limits.unhealthy.is_some_and(beyond) {
            Level::Unhealthy
        } else if limits.degraded.is_some_and(beyond) {
            Level::Degraded
        } else {
            Level::Healthy
        };
        Judgement {
            level,
            alert: beyond(limits.alert),
        }
    }
}

/// How overdue the claim of a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimLevel {
    /// Not longer than expected.
    Fine,
    /// Longer than expected.
    Slow,
    /// More than one and a half times as long.
    Warning,
    /// More than twice as long.
    Critical,
    /// The lease has ended: the next claim takes the step over.
    Expired,
}

impl ClaimLevel {
    /// The levels that a stale claim can have, mildest first.
    pub const STALE: [Self; 4] = [Self::Slow, Self::Warning, Self::Critical, Self::Expired];

    /// The public name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Slow => "slow",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Expired => "expired",
        }
    }

    /// The level of a claim that is `age` seconds old and was expected to take `expected`.
    pub fn of(age: f64, expected: f64, lease_over: bool) -> Self {
        if lease_over {
            Self::Expired
        } else if age > expected * 2.0 {
            Self::Critical
        } else if age > expected * 1.5 {
            Self::Warning
        } else if age > expected {
            Self::Slow
        } else {
            Self::Fine
        }
    }
}

/// How many seconds a run is expected to take: the timeout of its template, or otherwise less for a higher priority.
pub fn expected_seconds(priority: i16, timeout_seconds: Option<i32>) -> i32 {
    timeout_seconds.unwrap_or(match priority {
        ..=2 => 60,
        3 => 45,
        _ => 30,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::*;

    fn level(measure: Measure, part: i64, whole: i64, multiplier: f64) -> Level {
        measure.judge(part, whole, multiplier).level
    }

    #[test]
    fn a_value_exactly_at_the_threshold_is_healthy() {
        for (measure, part, whole, expected) in [
            (Measure::Connections, 90, 100, Healthy),
            (Measure::Connections, 91, 100, Unhealthy),
            (Measure::Connections, 9001, 10_000, Unhealthy),
            (Measure::Lag, 80, 100, Healthy),
            (Measure::Lag, 81, 100, Degraded),
            (Measure::Lag, 300, 100, Degraded),
            (Measure::Errors, 5, 10, Healthy),
            (Measure::Errors, 6, 10, Unhealthy),
            (Measure::Errors, 500_001, 1_000_000, Unhealthy),
            (Measure::Errors, 2, 5, Healthy),
            (Measure::Errors, 3, 5, Unhealthy),
        ] {
            assert_eq!(
                level(measure, part, whole, 1.0),
                expected,
                "{part} of {whole} {measure:?}"
            );
        }
    }

    #[test]
    fn executors_turn_at_90_and_50_and_in_startup_at_45_and_25() {
        for (multiplier, degraded, unhealthy) in [(1.0, 90, 50), (0.5, 45, 25)] {
            for (part, expected) in [
                (degraded, Healthy),
                (degraded - 1, Degraded),
                (unhealthy, Degraded),
                (unhealthy - 1, Unhealthy),
                (0, Unhealthy),
            ] {
                assert_eq!(
                    level(Measure::Executors, part, 100, multiplier),
                    expected,
                    "{part} % at {multiplier}"
                );
            }
        }
        assert_eq!(level(Measure::Executors, 0, 100, 0.0), Healthy);
    }

    #[test]
    fn alerts_begin_at_85_80_and_5_percent() {
        let alert =
            |measure: Measure, part, multiplier| measure.judge(part, 1000, multiplier).alert;
        for (measure, part, multiplier, expected) in [
            (Measure::Connections, 850, 1.0, false),
            (Measure::Connections, 851, 1.0, true),
            (Measure::Connections, 851, 0.5, true),
            (Measure::Executors, 800, 1.0, false),
            (Measure::Executors, 799, 1.0, true),
            (Measure::Executors, 799, 0.5, false),
            (Measure::Executors, 399, 0.5, true),
            (Measure::Executors, 0, 0.0, false),
            (Measure::Errors, 50, 1.0, false),
            (Measure::Errors, 51, 1.0, true),
            (Measure::Errors, 100, 0.5, false),
            (Measure::Errors, 101, 0.5, true),
            (Measure::Errors, 500, 0.0, false),
            (Measure::Errors, 501, 0.0, true),
        ] {
            assert_eq!(
                alert(measure, part, multiplier),
                expected,
                "{part} per mille {measure:?} at {multiplier}"
            );
        }
    }

    #[test]
    fn a_multiplier_loosens_errors_up_to_all_of_them() {
        assert_eq!(Measure::Errors.thresholds(0.8).unhealthy, Some(62.5));
        for multiplier in [0.5, 0.1, 0.0] {
            assert_eq!(
                Measure::Errors.thresholds(multiplier).unhealthy,
                Some(100.0)
            );
            assert_eq!(level(Measure::Errors, 10, 10, multiplier), Healthy);
        }
    }

    #[test]
    fn one_trouble_degrades_and_none_does_not() {
        assert_eq!(level(Measure::Troubles, 0, 0, 1.0), Healthy);
        assert_eq!(
            Measure::Troubles.judge(1, 0, 0.0),
            Judgement {
                level: Degraded,
                alert: true
            }
        );
    }

    #[test]
    fn fewer_than_five_ends_say_nothing() {
        let judgement = Measure::Errors.judge(4, 4, 1.0);
        assert_eq!((judgement.level, judgement.alert), (Healthy, false));
        assert_eq!(level(Measure::Errors, 5, 5, 1.0), Unhealthy);
        assert_eq!(level(Measure::AllErrors, 1, 2, 1.0), Healthy);
        assert_eq!(level(Measure::AllErrors, 2, 3, 1.0), Unhealthy);
        assert_eq!(level(Measure::Executors, 0, 1, 1.0), Unhealthy);
    }

    #[test]
    fn of_nothing_everything_is_well() {
        for measure in Measure::ALL {
            let judgement = measure.judge(0, 0, 1.0);
            assert_eq!((judgement.level, judgement.alert), (Healthy, false));
        }
    }

    #[test]
    fn a_claim_is_slow_warning_critical_beyond_one_one_and_a_half_and_two() {
        for (age, expected) in [
            (30.0, ClaimLevel::Fine),
            (30.1, ClaimLevel::Slow),
            (45.0, ClaimLevel::Slow),
            (45.1, ClaimLevel::Warning),
            (60.0, ClaimLevel::Warning),
            (60.1, ClaimLevel::Critical),
        ] {
            assert_eq!(ClaimLevel::of(age, 30.0, false), expected, "{age}");
            assert_eq!(ClaimLevel::of(age, 30.0, true), ClaimLevel::Expired);
        }
    }

    #[test]
    fn the_template_says_how_long_a_run_may_take_else_its_priority() {
        assert_eq!(
            [1, 2, 3, 4].map(|priority| expected_seconds(priority, None)),
            [60, 60, 45, 30]
        );
        assert_eq!(expected_seconds(4, Some(900)), 900);
    }

    #[test]
    fn levels_are_ordered_from_good_to_bad() {
        assert!(Healthy < Degraded && Degraded < Unhealthy);
        assert!(ClaimLevel::STALE.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
