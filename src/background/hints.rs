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
    /// The commits that the polls which wait know of; None: none waits.
    told: Option<u64>,
    /// The tick of the last NOTIFY.
    told_at: i64,
}

impl Hints {
    /// Notifies if a poll waits, something was committed, and the last time was long enough ago.
    pub fn tell(&mut self) {
        let Some(from) = processes::poll_waits() else {
            self.told = None;
            return;
        };
        let told = *self.told.get_or_insert(from);
        // Before it is asked what was committed: a later commit wakes this process.
        processes::listen();
        let commits = processes::heard().commits;
        let tick = call::tick();
        if told == commits || tick - self.told_at < NOTIFY_EVERY_US {
            return;
        }
        (self.told, self.told_at) = (Some(commits), tick);
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
        if self.told? == processes::heard().commits {
            return None;
        }
        let until = self.told_at + NOTIFY_EVERY_US - call::tick();
        Some(Duration::from_micros(until.max(0) as u64))
    }
}
