//! Whether a step whose run ended without success runs again, and when. Reports, lost leases, operators and a changed
//! retry limit all ask here.
//!
//! Times are microseconds on any one clock.

use super::backoff::{self, Config, Policy};

/// The runs that a step has had, and those that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// Runs since the last reset.
    pub made: i16,
    /// Runs in total, the first one included.
    pub limit: i16,
    /// Whether a failure may be followed by another run.
    pub retryable: bool,
}

impl Attempts {
    /// Whether the step may run again after a failure.
    pub const fn left(self) -> bool {
        self.retryable && self.made < self.limit
    }

    /// Whether a run may begin that no failure made necessary: the first one is always allowed.
    pub const fn may_run(self) -> bool {
        self.made == 0 || self.left()
    }

    /// The same without the run that was handed out and has not begun.
    pub const fn without_this_run(self) -> Self {
        let made = if self.made > 0 { self.made - 1 } else { 0 };
        Self { made, ..self }
    }
}

/// How long a step waits for its next run.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// Until this time.
    Until(i64),
    /// From `now` on, as the step's backoff says or as the worker asks; see [`backoff::delay_ms`].
    Backoff {
        /// When the run ended.
        now: i64,
        /// What the template says.
        policy: &'a Policy,
        /// What the settings say.
        config: &'a Config,
        /// What the worker asks for.
        retry_after_ms: Option<i64>,
        /// The chance, 0..=1.
        random01: f64,
    },
}

/// When the step runs again; `None`: never, unless an operator retries it.
pub fn next_run(attempts: Attempts, wait: Wait) -> Option<i64> {
    if !attempts.left() {
        return None;
    }
    Some(match wait {
        Wait::Until(at) => at,
        Wait::Backoff {
            now,
            policy,
            config,
            retry_after_ms,
            random01,
        } => {
            let made = attempts.made.into();
            let delay_ms = backoff::delay_ms(made, policy, config, retry_after_ms, random01);
            now.saturating_add(delay_ms.saturating_mul(1000))
        }
    })
}

/// What is left of a step whose lease ended, and when it runs again. Only a run that has begun counts.
pub fn after_lost_lease(attempts: Attempts, begun: bool, at: i64) -> (Attempts, Option<i64>) {
    if begun {
        return (attempts, next_run(attempts, Wait::Until(at)));
    }
    let attempts = attempts.without_this_run();
    (attempts, attempts.may_run().then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_run_counts_only_if_it_had_begun() {
        let attempts = |made, limit, retryable| Attempts {
            made,
            limit,
            retryable,
        };
        for (made, limit, retryable, begun, left, again) in [
            (1, 3, true, true, 1, true),
            (3, 3, true, true, 3, false),
            (1, 1, true, true, 1, false),
            (1, 3, false, true, 1, false),
            (1, 3, true, false, 0, true),
            (3, 3, true, false, 2, true),
            // The first run is always allowed.
            (1, 1, true, false, 0, true),
            (1, 3, false, false, 0, true),
            (1, 0, true, false, 0, true),
            // The limit was lowered, or the step became final, while it was handed out again.
            (3, 2, true, false, 2, false),
            (2, 3, false, false, 1, false),
        ] {
            let outcome = after_lost_lease(attempts(made, limit, retryable), begun, 7);
            let expected = (attempts(left, limit, retryable), again.then_some(7));
            assert_eq!(outcome, expected, "{made} {limit} {retryable} {begun}");
        }
    }

    const NOW: i64 = 5_000_000;

    fn after_failure(attempts: Attempts, retry_after_ms: Option<i64>) -> Option<i64> {
        next_run(
            attempts,
            Wait::Backoff {
                now: NOW,
                policy: &Policy::default(),
                config: &Config::default(),
                retry_after_ms,
                random01: 0.5,
            },
        )
    }

    #[test]
    fn only_a_retryable_step_with_an_attempt_left_runs_again() {
        for retryable in [false, true] {
            for limit in 0..4 {
                for made in 0..5 {
                    let attempts = Attempts {
                        made,
                        limit,
                        retryable,
                    };
                    let expected = retryable && made < limit;
                    assert_eq!(attempts.left(), expected, "{attempts:?}");
                    assert_eq!(after_failure(attempts, None).is_some(), expected);
                    let until = next_run(attempts, Wait::Until(7));
                    assert_eq!(until, expected.then_some(7), "{attempts:?}");
                }
            }
        }
    }

    #[test]
    fn a_failed_run_waits_as_the_backoff_or_the_worker_says() {
        let attempts = Attempts {
            made: 2,
            limit: 3,
            retryable: true,
        };
        assert_eq!(after_failure(attempts, None), Some(NOW + 2_000_000));
        assert_eq!(after_failure(attempts, Some(250)), Some(NOW + 250_000));
    }

    #[test]
    fn a_wait_beyond_the_end_of_time_does_not_overflow() {
        let attempts = Attempts {
            made: 1,
            limit: 2,
            retryable: true,
        };
        let policy = Policy {
            max_ms: Some(i64::MAX),
            ..Policy::default()
        };
        let wait = Wait::Backoff {
            now: NOW,
            policy: &policy,
            config: &Config::default(),
            retry_after_ms: Some(i64::MAX),
            random01: 0.5,
        };
        assert_eq!(next_run(attempts, wait), Some(i64::MAX));
    }
}
