//! Three subscribers at different positions, which must go on where they were when their server or database is replaced.

use std::collections::{BTreeMap, BTreeSet};

use crate::server::Server;
use crate::worker::done;
use crate::{Reader, Session, patience};

/// What subscribers had acknowledged, and what was in flight.
#[derive(Debug, Clone, Default)]
pub struct Had {
    pub acknowledged: BTreeSet<i64>,
    pub in_flight: BTreeSet<i64>,
}

pub const SUBSCRIBERS: [&str; 3] = ["first", "middle", "last"];

#[track_caller]
pub fn poll(session: &mut Session, subscriber: &str, most: i32, lease: &str) -> Vec<i64> {
    session.all(
        "SELECT event_id FROM tasker.poll_events($1, $2, $3::text::interval)",
        &[&subscriber, &most, &lease],
    )
}

#[track_caller]
pub fn ack(session: &mut Session, subscriber: &str, ids: &[i64]) {
    let done: i32 = session.one("SELECT tasker.ack_events($1, $2)", &[&subscriber, &ids]);
    assert_eq!(done as usize, ids.len(), "{subscriber}");
}

/// Three subscribers at different positions, each with events in flight: one that has just begun, one inside a batch, with an event that
/// failed, and one that has read all that was committed, while transactions were open. They read tasks of the template chain.
#[track_caller]
pub fn subscribed(server: &Server, database: &str) -> BTreeMap<&'static str, Had> {
    let mut session = server.connect(database);
    for (name, ordered) in SUBSCRIBERS.into_iter().zip([false, true, false]) {
        session.query(
            "SELECT tasker.subscribe($1, start_at => 'beginning', ordered => $2, max_deliveries => 100)",
            &[&name, &ordered],
        );
    }
    session.create_many("chain", 5);
    session.work(|_| done());
    session.query("SELECT tasker.publish_event('shop.opened')", &[]);
    let mut had: BTreeMap<&str, Had> = SUBSCRIBERS.map(|name| (name, Had::default())).into();
    let mut of = |name: &'static str, acknowledged: &[i64], in_flight: &[i64]| {
        let had = had.get_mut(name).expect("one of three");
        had.acknowledged.extend(acknowledged);
        had.in_flight.extend(in_flight);
    };
    let got = poll(&mut session, "first", 2, "1 second");
    of("first", &[], &got);
    let got = poll(&mut session, "middle", 20, "1 hour");
    ack(&mut session, "middle", &got[..8]);
    session.query(
        "SELECT tasker.nack_events('middle', $1, '1 second')",
        &[&&got[8..9]],
    );
    of("middle", &got[..8], &got[8..]);
    session.query(
        "SELECT tasker.extend_events('middle', $1, '1 second')",
        &[&&got[9..]],
    );
    let mut open = server.connect(database);
    open.execute("BEGIN; SELECT tasker.create_task('chain')");
    session.create_many("chain", 2);
    let mut held = vec![];
    for _ in 0..2 {
        let got = poll(&mut session, "last", 1000, "1 hour");
        let (done, rest) = got.split_at(got.len().saturating_sub(2));
        ack(&mut session, "last", done);
        of("last", done, rest);
        held.extend(rest.to_vec());
        session.create("chain");
    }
    session.query(
        "SELECT tasker.extend_events('last', $1, '1 second')",
        &[&held],
    );
    open.execute("COMMIT");
    session.create("chain");
    had
}

/// Polls until nothing comes any more, and acknowledges it.
fn rest(session: &mut Session, subscriber: &str) -> Vec<i64> {
    let (mut all, until) = (vec![], std::time::Instant::now() + patience(30));
    // What is in flight comes when its lease ends.
    let waits = "SELECT count(*) FROM tasker.subscribers WHERE subscriber = $1 AND (in_flight > 0 OR waiting > 0 OR lag_events > 0)";
    loop {
        let waits = session.count(waits, &[&subscriber]) > 0;
        let got = poll(session, subscriber, 50, "1 minute");
        ack(session, subscriber, &got);
        if got.is_empty() && !waits {
            return all;
        }
        if got.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        all.extend(got);
        assert!(std::time::Instant::now() < until, "{subscriber}: {all:?}");
    }
}

/// Each gets what it had not acknowledged and what is new, once; nothing that it had.
#[track_caller]
pub fn go_on(session: &mut Session, had: &BTreeMap<&str, Had>, what: &str) {
    let mut everything = Reader::default();
    while everything.page(session, 10_000) {}
    let everything: BTreeSet<i64> = everything.got.into_iter().collect();
    for (name, had) in had {
        let got = rest(session, name);
        let once: BTreeSet<i64> = got.iter().copied().collect();
        assert_eq!(once.len(), got.len(), "{name}, {what}: each once");
        let expected: BTreeSet<i64> = everything.difference(&had.acknowledged).copied().collect();
        assert_eq!(once, expected, "{name}, {what}");
        assert!(
            !had.in_flight.is_empty() && had.in_flight.is_subset(&once),
            "{name}, {what}"
        );
    }
}
