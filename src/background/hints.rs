//! The coordinator tells polls that wait for events that there may be some: one NOTIFY for all, and rarely.

use std::time::Duration;

use super::process::{self, transaction};
use crate::pg::call;
use crate::pg::notify::notify;
use crate::processes;

/// At most one NOTIFY in this time: each serialises commits of the whole cluster.
const NOTIFY_EVERY_US: i64 = 50_000;
/// A namespace's channel begins with `tasker_`.
const CHANNEL: &str = "tasker.events";

#[derive(Default)]
pub struct Hints {
    /// What the polls that wait were told of.
    told: u64,
    /// The tick of the last NOTIFY.
    told_at: i64,
}

impl Hints {
    /// Notifies if something was committed for which a poll waits, and the last time was long enough ago.
    pub fn tell(&mut self) {
        if !processes::a_poll_waits() {
            return;
        }
        // Before it is asked what was committed: a later commit wakes this process.
        processes::listen_for_polls();
        let awaited = processes::awaited();
        let tick = call::tick();
        if self.told == awaited || tick - self.told_at < NOTIFY_EVERY_US {
            return;
        }
        (self.told, self.told_at) = (awaited, tick);
        let sent = transaction(|_| {
            notify(CHANNEL, "");
            Ok(())
        });
        if let Err(error) = sent {
            process::log_error("subscribers cannot be notified", &error);
        }
    }

    /// When to tell what it was too early to tell.
    pub fn pause(&self) -> Option<Duration> {
        if !processes::a_poll_waits() || self.told == processes::awaited() {
            return None;
        }
        let until = self.told_at + NOTIFY_EVERY_US - call::tick();
        Some(Duration::from_micros(until.max(0) as u64))
    }
}
