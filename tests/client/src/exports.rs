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

/// Events that a subscriber was handed and has neither acknowledged nor lost as dead letters. Those whose lease has ended
/// count, too, which the row of the subscriber shows only when they are handed out again.
#[track_caller]
pub fn unacknowledged(session: &mut Session, subscriber: &str) -> i64 {
    session.one(
        "SELECT ((SELECT coalesce(sum(d.events - cardinality(d.gone)), 0) FROM tasker_engine.deliveries d
                  WHERE d.subscriber_id = s.subscriber_id)
               + (SELECT count(*) FROM tasker_engine.redeliveries r
                  WHERE r.subscriber_id = s.subscriber_id AND r.dead_at IS NULL))::bigint
         FROM tasker_engine.subscribers s WHERE s.subscriber = $1",
        &[&subscriber],
    )
}

/// What an exporter has counted of one of its exports.
#[track_caller]
pub fn counted(exporter: &Exporter, export: &str, name: &str, counter: &str) -> f64 {
    let series = format!("tasker_exporter_{counter}{{export=\"{export}\",name=\"{name}\"}}");
    exporter.get("/metrics").metric(&series).unwrap_or_default()
}
