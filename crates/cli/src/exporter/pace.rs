//! How an export gives way: telemetry must not slow the work that it tells of.
//!
//! While the session of the export gets less of a processor than it could use, others want it. Then the export sends in
//! larger distances, and what waits for it waits in the database.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Stop;

/// The clock may run this many times as long as the processor of a session that nothing holds up: there are pauses between
/// its statements.
const FREE: f64 = 1.6;
/// A pause is this many times as long as the statements took.
const TIMES: f64 = 10.0;
const LONGEST: Duration = Duration::from_secs(5);
/// What took less says nothing.
const LEAST: f64 = 0.002;
/// How long after a poll that found less than it asked for: then there is more for one.
const LINGER: Duration = Duration::from_millis(500);

/// The time of the database's clock and of its session's processor, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub clock: f64,
    pub processor: f64,
}

/// How long to wait after statements that ran from the first time to the second.
fn pause(from: Times, to: Times) -> Duration {
    let (clock, processor) = (to.clock - from.clock, to.processor - from.processor);
    // A new session begins again.
    if processor < LEAST || clock < processor * FREE {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(clock * TIMES).map_or(LONGEST, |pause| pause.min(LONGEST))
}

/// Shared by the batches of an export.
#[derive(Default)]
pub struct Pace {
    not_before: Mutex<Option<Instant>>,
}

impl Pace {
    /// Statements ran from the first time to the second. Whether that calls for a pause.
    pub fn ran(&self, from: Times, to: Times) -> bool {
        let pause = pause(from, to);
        self.wait_for(pause);
        !pause.is_zero()
    }

    /// A poll found less than it asked for.
    pub fn found_few(&self) {
        self.wait_for(LINGER);
    }

    fn wait_for(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut not_before = self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *not_before = (*not_before).max(Some(until));
    }

    /// Returns when the next poll may begin; false: the exporter ends.
    pub async fn wait(&self, stop: &mut Stop) -> bool {
        let until = *self
            .not_before
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match until {
            Some(until) => timeout_at(until, stop.wait()).await.is_err(),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(clock: f64, processor: f64) -> Duration {
        let from = Times {
            clock: 1000.0,
            processor: 5.0,
        };
        let to = Times {
            clock: 1000.0 + clock,
            processor: 5.0 + processor,
        };
        pause(from, to)
    }

    #[test]
    fn a_session_that_has_a_processor_for_itself_does_not_wait() {
        assert_eq!(after(0.020, 0.020), Duration::ZERO);
        assert_eq!(after(0.031, 0.020), Duration::ZERO);
    }

    #[test]
    fn one_that_shares_it_waits_ten_times_as_long_and_at_most_five_seconds() {
        let pause = after(0.060, 0.020).as_secs_f64();
        assert!((pause - 0.6).abs() < 1e-6, "{pause}");
        assert_eq!(after(60.0, 0.020), LONGEST);
    }

    #[test]
    fn a_moment_or_another_session_says_nothing() {
        assert_eq!(after(0.010, 0.001), Duration::ZERO);
        assert_eq!(after(0.010, -4.0), Duration::ZERO);
    }
}
