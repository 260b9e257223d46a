//! What consumers say about the events that they have: done, failed, or still at work.

use rustc_hash::FxHashSet;
use tasker_rules::engine::backoff;

use super::place::Counts;
use super::redeliver::Due;
use super::{Now, Out, Subscriber, in_flight, place, redeliver};
use crate::error::Result;
use crate::pg::datum::Uuid;
use crate::pg::spi::Session;
use crate::settings;

/// The events are done. Returns how many were not yet, whose lease they ever had.
pub fn ack(session: &Session, subscriber: &Subscriber, events: &FxHashSet<i64>) -> Result<usize> {
    let now = Now::here();
    let first_poll = place::first_poll(session, subscriber.id)?;
    let mut rows = in_flight::lock(session, subscriber.id, first_poll, events)?;
    let (mut rest, mut tasks): (FxHashSet<i64>, FxHashSet<Uuid>) = Default::default();
    rest.extend(events);
    let mut done = 0;
    for row in &mut rows {
        let open: Vec<usize> = row.open().collect();
        for index in open {
            if rest.remove(&row.event(index)) {
                tasks.extend(row.take(index).task);
                done += 1;
            }
        }
    }
    in_flight::store(session, subscriber.id, &rows)?;
    if !rest.is_empty() {
        let (others, count) = redeliver::remove(session, subscriber.id, rest)?;
        tasks.extend(others);
        done += count;
    }
    if subscriber.ordered {
        redeliver::wake(session, subscriber.id, &tasks, &now)?;
    }
    Ok(done)
}

/// How a delivery failed.
pub struct Nack<'a> {
    /// When the event may come again; None: as the backoff of the settings says.
    pub retry_after_us: Option<i64>,
    pub error: Option<&'a str>,
}

impl Nack<'_> {
    fn due(&self, subscriber: &Subscriber, out: Out, now: &Now) -> Due {
        let wait = self.retry_after_us.unwrap_or_else(|| {
            let policy = backoff::Policy::default();
            let config = settings::backoff();
            backoff::delay_ms(out.deliveries, &policy, &config, None, fastrand::f64()) * 1000
        });
        Due {
            at: now.at.saturating_add(wait),
            dead: out.deliveries >= subscriber.max_deliveries,
            out,
        }
    }
}

/// The deliveries failed. Returns how many: not those that another consumer has got since, or that are acknowledged.
pub fn nack(
    session: &Session,
    subscriber: &Subscriber,
    events: &FxHashSet<i64>,
    nack: &Nack,
) -> Result<usize> {
    let now = Now::here();
    let first_poll = place::first_poll(session, subscriber.id)?;
    let mut rows = in_flight::lock(session, subscriber.id, first_poll, events)?;
    let (mut failed, mut rest) = (vec![], events.clone());
    let mut given_back = vec![];
    for row in &mut rows {
        let open: Vec<usize> = row.open().collect();
        let these: FxHashSet<usize> = open
            .iter()
            .copied()
            .filter(|index| rest.remove(&row.event(*index)))
            .collect();
        // Tasks of which an event failed: the places ascend, so what comes now is behind it.
        let mut stopped: FxHashSet<Uuid> = FxHashSet::default();
        for index in open {
            let task = row.task(index);
            if these.contains(&index) {
                stopped.extend(task);
                failed.push(nack.due(subscriber, row.take(index), &now));
            } else if task.is_some_and(|task| stopped.contains(&task)) {
                // Of a subscriber that is ordered: it must not be done before the one that failed.
                let out = Out {
                    deliveries: 0,
                    ..row.take(index)
                };
                given_back.push(Due {
                    out,
                    at: now.at,
                    dead: false,
                });
            }
        }
    }
    in_flight::store(session, subscriber.id, &rows)?;
    redeliver::add(session, subscriber.id, &failed, nack.error, &now)?;
    redeliver::add(session, subscriber.id, &given_back, None, &now)?;
    let again = redeliver::lock(session, subscriber.id, &rest, &now)?;
    let again: Vec<Due> = again
        .into_iter()
        .map(|row| nack.due(subscriber, row.out, &now))
        .collect();
    redeliver::fail(session, subscriber.id, &again, nack.error, &now)?;
    redeliver::give_back(session, subscriber.id, &again, &now)?;
    let counts = Counts {
        failed: failed.len() + again.len(),
        error: nack.error.map(str::to_owned),
        ..Counts::default()
    };
    counts.add(session, subscriber.id, now.at)?;
    Ok(counts.failed)
}

/// Events that this session was handed for the first time are dead, whatever deliveries they have left. Returns how many.
pub fn bury(
    session: &Session,
    subscriber: &Subscriber,
    events: &FxHashSet<i64>,
    error: &str,
) -> Result<usize> {
    let now = Now::here();
    let first_poll = place::first_poll(session, subscriber.id)?;
    let mut rows = in_flight::lock(session, subscriber.id, first_poll, events)?;
    let mut dead = vec![];
    for row in &mut rows {
        let open: Vec<usize> = row.open().collect();
        for index in open {
            if events.contains(&row.event(index)) {
                dead.push(Due {
                    out: row.take(index),
                    at: now.at,
                    dead: true,
                });
            }
        }
    }
    in_flight::store(session, subscriber.id, &rows)?;
    redeliver::add(session, subscriber.id, &dead, Some(error), &now)?;
    let counts = Counts {
        failed: dead.len(),
        error: Some(error.to_owned()),
        ..Counts::default()
    };
    counts.add(session, subscriber.id, now.at)?;
    if subscriber.ordered {
        let tasks = dead.iter().filter_map(|due| due.out.task).collect();
        redeliver::wake(session, subscriber.id, &tasks, &now)?;
    }
    Ok(dead.len())
}

/// The consumer keeps the events until the lease ends, from now on. Returns how many it has. Never waits: while it did, other leases
/// of the consumer would end.
pub fn extend(
    session: &Session,
    subscriber: &Subscriber,
    events: &FxHashSet<i64>,
    lease_us: i64,
) -> Result<usize> {
    let now = Now::here();
    let until = now.at.saturating_add(lease_us);
    let first_poll = place::first_poll(session, subscriber.id)?;
    let rows = in_flight::lock_free(session, subscriber.id, first_poll, events)?;
    let held: FxHashSet<i64> = rows
        .iter()
        .flat_map(|row| row.open().map(|index| row.event(index)))
        .filter(|event| events.contains(event))
        .collect();
    in_flight::extend(session, subscriber.id, &rows, until)?;
    let rest: FxHashSet<i64> = events.difference(&held).copied().collect();
    Ok(held.len() + redeliver::extend(session, subscriber.id, &rest, until, &now)?)
}
