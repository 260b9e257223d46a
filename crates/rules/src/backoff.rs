//! How long a failed step waits before its next run. One function decides; every figure is in milliseconds.

use std::fmt;
use std::str::FromStr;

/// How the delay grows with the number of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No delay at all.
    None,
    /// base * n
    Linear,
    /// base * multiplier^(n-1)
    Exponential,
    /// base * F(n) with F = 1, 1, 2, 3, 5
    Fibonacci,
}

impl Kind {
    /// All kinds, in the order in which they are documented.
    pub const ALL: [Self; 4] = [Self::None, Self::Linear, Self::Exponential, Self::Fibonacci];

    /// The word used in templates and function arguments.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Linear => "linear",
            Self::Exponential => "exponential",
            Self::Fibonacci => "fibonacci",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind of backoff.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown backoff {0:?}; use none, linear, exponential or fibonacci")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

/// The database-wide settings. Values that make no sense (negative, infinite, not a number) count as zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Delays in seconds of the first attempts when a step names no kind.
    pub list_seconds: Vec<f64>,
    /// Base of the exponential kind, and exponent beyond the end of the list.
    pub multiplier: f64,
    /// No delay is longer than this, in milliseconds.
    pub max_ms: i64,
    /// Share of the delay by which chance may move it in either direction, 0 to 1.
    pub jitter: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            list_seconds: vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
            multiplier: 2.0,
            max_ms: 300_000,
            jitter: 0.1,
        }
    }
}

/// What a step's template says about its backoff; what it leaves out comes from [`Config`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Policy {
    /// None: the configured list; but a base without a kind means exponential, the kind that a base is usually given for.
    pub kind: Option<Kind>,
    /// Base of the kind in milliseconds; None: the first entry of the configured list, or one second.
    pub base_ms: Option<i64>,
    /// Cap in milliseconds, in place of the configured one. It caps a Retry-After too.
    pub max_ms: Option<i64>,
    /// Jitter share 0 to 1, in place of the configured one.
    pub jitter: Option<f64>,
}

/// The delay in milliseconds after the failure of run number `attempt` (the first run is 1).
///
/// In this order (DESIGN section 4): a Retry-After wins, is capped and never jittered, and 0 or less means at once. Else no
/// run yet (attempt 0 or less) means no delay. Else the kind gives the delay; without a kind the list, and beyond its end
/// `attempt^multiplier` whole seconds. Then the cap, then the jitter.
///
/// `random01` is the chance, uniform in 0..=1; 0.5 means no shift. Jitter that would go above the cap is folded back below
/// it, so that many steps at the cap still spread out instead of meeting at the same instant. The result is never negative
/// and never above the cap; no input overflows.
pub fn delay_ms(
    attempt: i32,
    policy: &Policy,
    config: &Config,
    retry_after_ms: Option<i64>,
    random01: f64,
) -> i64 {
    let cap = policy.max_ms.unwrap_or(config.max_ms).max(0);
    if let Some(wait) = retry_after_ms {
        return wait.clamp(0, cap);
    }
    if attempt <= 0 {
        return 0;
    }
    let delay = match (policy.kind, policy.base_ms) {
        (Some(Kind::None), _) => 0,
        (Some(Kind::Linear), _) => base_ms(policy, config, cap)
            .saturating_mul(i64::from(attempt))
            .min(cap),
        (Some(Kind::Exponential), _) | (None, Some(_)) => {
            let growth = non_negative(config.multiplier).powf(f64::from(attempt - 1));
            whole_ms(base_ms(policy, config, cap) as f64 * growth, cap)
        }
        (Some(Kind::Fibonacci), _) => base_ms(policy, config, cap)
            .saturating_mul(fibonacci(attempt))
            .min(cap),
        (None, None) => listed(attempt, config, cap),
    };
    jittered(delay, cap, policy.jitter.unwrap_or(config.jitter), random01)
}

fn base_ms(policy: &Policy, config: &Config, cap: i64) -> i64 {
    let base = policy.base_ms.unwrap_or_else(|| {
        config
            .list_seconds
            .first()
            .map_or(1_000, |first| whole_ms(first * 1_000.0, cap))
    });
    base.max(0)
}

fn listed(attempt: i32, config: &Config, cap: i64) -> i64 {
    // attempt is positive here, so the index cannot wrap.
    match config.list_seconds.get(attempt as usize - 1) {
        Some(seconds) => whole_ms(seconds * 1_000.0, cap),
        None => {
            let seconds = f64::from(attempt)
                .powf(non_negative(config.multiplier))
                .floor();
            whole_ms(seconds * 1_000.0, cap)
        }
    }
}

/// F(n), saturating: F(93) no longer fits.
fn fibonacci(n: i32) -> i64 {
    let (mut current, mut next) = (1i64, 1i64);
    for _ in 1..n.min(100) {
        (current, next) = (next, current.saturating_add(next));
    }
    current
}

fn non_negative(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.max(0.0) }
}

/// Rounds to whole milliseconds between 0 and the cap. Infinity gives the cap, and so does inf * 0 no harm: it gives 0.
fn whole_ms(value: f64, cap: i64) -> i64 {
    // A float-to-integer cast saturates and maps NaN to 0.
    (non_negative(value).round() as i64).min(cap)
}

fn jittered(delay: i64, cap: i64, jitter: f64, random01: f64) -> i64 {
    let share = non_negative(jitter).min(1.0);
    let chance = if random01.is_nan() {
        0.5
    } else {
        random01.clamp(0.0, 1.0)
    };
    let shift = (delay as f64 * share * (2.0 * chance - 1.0)).round() as i64;
    let moved = delay.saturating_add(shift);
    let folded = if moved > cap {
        cap.saturating_sub(moved - cap)
    } else {
        moved
    };
    folded.clamp(0, cap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(list: &[f64], multiplier: f64, max_seconds: i64) -> Config {
        Config {
            list_seconds: list.to_vec(),
            multiplier,
            max_ms: max_seconds * 1_000,
            jitter: 0.0,
        }
    }

    fn default_without_jitter() -> Config {
        Config {
            jitter: 0.0,
            ..Config::default()
        }
    }

    fn policy(kind: Kind, base_ms: i64) -> Policy {
        Policy {
            kind: Some(kind),
            base_ms: Some(base_ms),
            ..Policy::default()
        }
    }

    fn delays<const N: usize>(attempts: [i32; N], policy: &Policy, config: &Config) -> [i64; N] {
        attempts.map(|n| delay_ms(n, policy, config, None, 0.5))
    }

    #[test]
    fn d46_the_default_list_and_its_continuation() {
        let got = delays(
            [i32::MIN, -1, 0, 1, 3, 6, 7, 100, i32::MAX],
            &Policy::default(),
            &default_without_jitter(),
        );
        assert_eq!(
            got,
            [0, 0, 0, 1_000, 4_000, 32_000, 49_000, 300_000, 300_000]
        );
    }

    #[test]
    fn d46_a_list_of_two_continues_with_whole_seconds() {
        let got = delays(
            [1, 2, 3, 100],
            &Policy::default(),
            &config(&[5.0, 10.0], 1.5, 60),
        );
        assert_eq!(got, [5_000, 10_000, 5_000, 60_000]);
    }

    #[test]
    fn d46_jitter_of_half_stays_between_half_and_one_and_a_half() {
        let policy = Policy {
            jitter: Some(0.5),
            ..Policy::default()
        };
        let at = |random| delay_ms(3, &policy, &Config::default(), None, random);
        assert_eq!(
            [at(0.0), at(0.25), at(0.5), at(1.0)],
            [2_000, 3_000, 4_000, 6_000]
        );
    }

    #[test]
    fn d46_exponential_from_50_ms_with_a_cap_of_200_ms() {
        let policy = Policy {
            max_ms: Some(200),
            ..policy(Kind::Exponential, 50)
        };
        assert_eq!(
            delays([1, 2, 3, 4], &policy, &default_without_jitter()),
            [50, 100, 200, 200]
        );
    }

    #[test]
    fn d46_fibonacci_from_one_second() {
        let got = delays(
            [1, 2, 3, 4, 5],
            &policy(Kind::Fibonacci, 1_000),
            &default_without_jitter(),
        );
        assert_eq!(got, [1_000, 1_000, 2_000, 3_000, 5_000]);
    }

    #[test]
    fn d48_retry_after_is_capped_and_not_jittered() {
        let after =
            |ms, random| delay_ms(1, &Policy::default(), &Config::default(), Some(ms), random);
        assert_eq!(after(5_000_000, 1.0), 300_000);
        assert_eq!(after(30_000, 0.0), 30_000);
        assert_eq!(after(0, 1.0), 0);
        assert_eq!(after(-5, 1.0), 0);
        assert_eq!(after(i64::MIN, 1.0), 0);
        let own_cap = Policy {
            max_ms: Some(10_000),
            ..Policy::default()
        };
        assert_eq!(
            delay_ms(0, &own_cap, &Config::default(), Some(30_000), 0.5),
            10_000
        );
    }

    #[test]
    fn d51_every_kind_takes_effect() {
        let config = default_without_jitter();
        assert_eq!(
            delays([1, 2, 3], &policy(Kind::None, 1_000), &config),
            [0, 0, 0]
        );
        assert_eq!(
            delays([1, 2, 3], &policy(Kind::Linear, 1_500), &config),
            [1_500, 3_000, 4_500]
        );
        assert_eq!(
            delays([1, 2, 3], &policy(Kind::Exponential, 10), &config),
            [10, 20, 40]
        );
    }

    #[test]
    fn d51_no_attempt_number_overflows() {
        for kind in Kind::ALL {
            let expected = if kind == Kind::None { 0 } else { 300_000 };
            let got = delay_ms(
                i32::MAX,
                &policy(kind, i64::MAX),
                &Config::default(),
                None,
                0.5,
            );
            assert_eq!(got, expected, "{kind}");
        }
    }

    #[test]
    fn a_base_without_a_kind_means_exponential() {
        let bare = Policy {
            base_ms: Some(100),
            ..Policy::default()
        };
        assert_eq!(
            delays([1, 2, 3], &bare, &default_without_jitter()),
            [100, 200, 400]
        );
    }

    #[test]
    fn a_kind_without_a_base_starts_from_the_list() {
        let bare = Policy {
            kind: Some(Kind::Linear),
            ..Policy::default()
        };
        assert_eq!(
            delays([1, 2], &bare, &config(&[5.0], 2.0, 300)),
            [5_000, 10_000]
        );
        assert_eq!(
            delays([1, 2], &bare, &config(&[], 2.0, 300)),
            [1_000, 2_000]
        );
    }

    #[test]
    fn jitter_at_the_cap_spreads_below_it() {
        let policy = Policy {
            jitter: Some(0.1),
            ..Policy::default()
        };
        let at = |random| delay_ms(100, &policy, &Config::default(), None, random);
        assert_eq!([at(0.0), at(0.5), at(1.0)], [270_000, 300_000, 270_000]);
    }

    #[test]
    fn words_lead_to_kinds() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("fixed".parse::<Kind>().is_err());
    }

    fn any_kind() -> impl Strategy<Value = Option<Kind>> {
        prop::option::of(prop::sample::select(Kind::ALL.to_vec()))
    }

    proptest! {
        #[test]
        fn every_delay_lies_between_zero_and_the_cap(
            attempt in any::<i32>(),
            kind in any_kind(),
            base_ms in any::<Option<i64>>(),
            max_ms in any::<Option<i64>>(),
            jitter in any::<Option<f64>>(),
            list_seconds in prop::collection::vec(any::<f64>(), 0..4),
            multiplier in any::<f64>(),
            config_max in any::<i64>(),
            config_jitter in any::<f64>(),
            retry_after in any::<Option<i64>>(),
            random in any::<f64>(),
        ) {
            let policy = Policy { kind, base_ms, max_ms, jitter };
            let config = Config { list_seconds, multiplier, max_ms: config_max, jitter: config_jitter };
            let got = delay_ms(attempt, &policy, &config, retry_after, random);
            prop_assert!(got >= 0);
            prop_assert!(got <= max_ms.unwrap_or(config_max).max(0));
        }

        #[test]
        fn jitter_is_symmetric_below_the_cap(attempt in 1..7i32, share in 0.0..1.0f64, random in 0.0..1.0f64) {
            let policy = Policy { jitter: Some(share), max_ms: Some(1_000_000), ..Policy::default() };
            let at = |r| delay_ms(attempt, &policy, &Config::default(), None, r);
            let middle = at(0.5);
            prop_assert!(((at(random) - middle) + (at(1.0 - random) - middle)).abs() <= 1);
        }
    }
}
