//! How long a failed step waits before its next run. One function decides; every figure is in milliseconds.

use std::fmt;
use std::str::FromStr;

/// How the delay grows with the number of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No delay.
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
    /// Share of the delay by which jitter can change it in either direction, 0 to 1.
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

impl Policy {
    /// How the delay grows, in a word: its kind, or `configured` for the configured list.
    pub const fn name(&self) -> &'static str {
        match (self.kind, self.base_ms) {
            (Some(kind), _) => kind.as_str(),
            (None, Some(_)) => Kind::Exponential.as_str(),
            (None, None) => "configured",
        }
    }
}

/// The delay in milliseconds after the failure of run number `attempt` (the first run is 1).
///
/// In this order: a Retry-After wins, is capped and never jittered, and 0 or less means at once. Without one, no run yet
/// (attempt 0 or less) means no delay. Otherwise the kind gives the delay; without a kind the list, and beyond its end
/// `attempt^multiplier` whole seconds. Then the cap, then the jitter.
///
/// `random01` is the random number of the jitter, uniform in 0..=1; 0.5 means no change. Jitter that would go above the cap is folded back below
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

/// Rounds to whole milliseconds between 0 and the cap. Infinity gives the cap, and inf * 0 gives 0.
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
