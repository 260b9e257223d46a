//! What the tests of the exports share: a subscriber's row, the exporter's own counters, waiting.

use std::time::{Duration, Instant};

use crate::exporter::Exporter;
use crate::{Session, patience};

/// Waits until it is so.
#[track_caller]
pub fn wait_for(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(60);
    while !wanted() {
        assert!(Instant::now() < deadline, "it never comes: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A number in the row of a subscriber.
#[track_caller]
pub fn of_subscriber(session: &mut Session, subscriber: &str, number: &str) -> i64 {
    session.one(
        &format!("SELECT ({number})::bigint FROM tasker.subscribers WHERE subscriber = $1"),
        &[&subscriber],
    )
}

/// What an exporter has counted of one of its exports.
#[track_caller]
pub fn counted(exporter: &Exporter, export: &str, name: &str, counter: &str) -> f64 {
    let series = format!("tasker_exporter_{counter}{{export=\"{export}\",name=\"{name}\"}}");
    exporter.get("/metrics").metric(&series).unwrap_or_default()
}
