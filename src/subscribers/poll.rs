//! Hands out events: those that failed or whose lease has ended, then new ones.

use rustc_hash::FxHashSet;

use super::place::{Counts, Place};
use super::redeliver::{Due, Row};
use super::{Now, Out, Subscriber, data, idle, in_flight, place, redeliver};
use crate::error::Result;
use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::snapshot;
use crate::pg::spi::Session;
use crate::settings;
use crate::stream::{self, Event, Key, Mark, Wanted};

/// What a consumer asks for.
pub struct Ask<'a> {
    pub most: usize,
    pub lease_us: i64,
    pub consumer: Option<&'a str>,
    /// What was handed out before comes by itself, and not with new events.
    pub alone: bool,
}

/// An event, and which of its deliveries this is.
pub struct Delivered {
    pub event: Event,
    pub delivery: i32,
}

/// Why an event is handed out again that was never answered.
const LEASE_ENDED: &str = "the lease ended without an answer";

/// What waits for an earlier event of its task is looked at again after this time, if no acknowledgement lets it go before.
const LOOK_AGAIN_US: i64 = 1_000_000;

/// The most new events that one poll holds back.
const MOST_HELD_BACK: usize = 10_000;

/// New events.
#[derive(Default)]
struct Found {
    fresh: Vec<Event>,
    held: Vec<Event>,
    /// Tasks of which an event is not acknowledged.
    busy: FxHashSet<Uuid>,
}

struct Poll<'p> {
    session: &'p Session,
    subscriber: &'p Subscriber,
    ask: &'p Ask<'p>,
    now: Now,
    counts: Counts,
    /// Of the subscriber, read under the lock of its place if this poll has it.
    ordered: bool,
}

/// The next events for this consumer. Never waits: what other transactions hold comes later.
pub fn poll(session: &Session, subscriber: &Subscriber, ask: &Ask) -> Result<Vec<Delivered>> {
    if subscriber.paused {
        return Ok(vec![]);
    }
    if idle::is_idle(session, subscriber, &Now::here())? {
        return Ok(vec![]);
    }
    let mark = stream::mark(session)?;
    let mut poll = Poll {
        session,
        subscriber,
        ask,
        now: Now::here(),
        counts: Counts::default(),
        ordered: subscriber.ordered,
    };
    let place = place::lock(session, subscriber.id)?;
    if let Some(place) = &place {
        poll.ordered = place.ordered;
    }
    let first_poll = match &place {
        Some(place) => place.first_poll,
        // What is in flight cannot be counted while another poll adds to it.
        None if subscriber.max_in_flight.is_some() => return Ok(vec![]),
        None => place::first_poll(session, subscriber.id)?,
    };
    if place.is_some() {
        poll.take_over(first_poll)?;
    }
    let room = poll.room(first_poll)?;
    let mut events = poll.again(first_poll, room)?;
    poll.counts.delivered = events.len();
    poll.counts.add(session, subscriber.id, poll.now.at)?;
    if let Some(place) = place {
        let room = match ask.alone && !events.is_empty() {
            true => 0,
            false => room - events.len(),
        };
        events.extend(poll.new_events(place, room, mark)?);
    }
    if subscriber.include_data {
        data::add(session, &mut events)?;
    }
    Ok(events)
}

impl Poll<'_> {
    fn lease(&self) -> (Timestamp, Option<&str>) {
        let until = self.now.at.saturating_add(self.ask.lease_us);
        (until, self.ask.consumer)
    }

    fn is_dead(&self, deliveries: i32) -> bool {
        deliveries >= self.subscriber.max_deliveries
    }

    fn failed(&mut self, count: usize) {
        if count > 0 {
            self.counts.failed += count;
            self.counts.error = Some(LEASE_ENDED.to_owned());
        }
    }

    /// New events whose lease has ended get rows of their own.
    fn take_over(&mut self, first_poll: i64) -> Result<()> {
        let id = self.subscriber.id;
        let mut ended = in_flight::ended(self.session, id, first_poll, &self.now)?;
        let mut dues = vec![];
        for row in &mut ended {
            let open: Vec<usize> = row.open().collect();
            dues.extend(open.into_iter().map(|index| Due {
                out: row.take(index),
                at: self.now.at,
                dead: self.is_dead(1),
            }));
        }
        self.failed(dues.len());
        redeliver::add(self.session, id, &dues, Some(LEASE_ENDED), &self.now)?;
        in_flight::store(self.session, id, &ended)
    }

    /// How many events may be handed out.
    fn room(&self, first_poll: i64) -> Result<usize> {
        let Some(most) = self.subscriber.max_in_flight else {
            return Ok(self.ask.most);
        };
        let held = in_flight::count(self.session, self.subscriber.id, first_poll, &self.now)?;
        let room = i64::from(most).saturating_sub(held).max(0);
        Ok(self.ask.most.min(room as usize))
    }

    /// Events that were handed out before, or held back.
    fn again(&mut self, first_poll: i64, room: usize) -> Result<Vec<Delivered>> {
        let (session, id) = (self.session, self.subscriber.id);
        if room == 0 {
            return Ok(vec![]);
        }
        let due = redeliver::due(session, id, room, &self.now)?;
        if due.is_empty() {
            return Ok(vec![]);
        }
        self.failed(due.iter().filter(|row| row.was_held).count());
        let (dying, due): (Vec<Row>, Vec<Row>) = due
            .into_iter()
            .partition(|row| self.is_dead(row.out.deliveries));
        let dead: Vec<Due> = dying
            .into_iter()
            .map(|row| Due {
                out: row.out,
                at: self.now.at,
                dead: true,
            })
            .collect();
        redeliver::fail(session, id, &dead, Some(LEASE_ENDED), &self.now)?;
        let mut due = if self.ordered {
            self.first_of_tasks(first_poll, due)?
        } else {
            due
        };
        if self.ask.alone {
            due.truncate(1);
        }
        let keys: Vec<Key> = due.iter().map(|row| row.out.key).collect();
        let mut found = snapshot::with_latest(|| stream::again(session, &keys))?;
        let (due, gone): (Vec<Row>, Vec<Row>) = due
            .into_iter()
            .partition(|row| found.contains_key(&row.out.key.event));
        if !gone.is_empty() {
            place::miss(session, id, gone.len(), self.now.at)?;
            redeliver::remove(session, id, gone.iter().map(|row| row.out.key.event))?;
        }
        redeliver::hand_out(session, id, &due, &self.now, self.lease())?;
        let handed = due.iter().filter_map(|row| {
            Some(Delivered {
                event: found.remove(&row.out.key.event)?,
                delivery: row.out.deliveries + 1,
            })
        });
        Ok(handed.collect())
    }

    /// Of each task the first events that are not acknowledged, as far as all of them are due. The others wait.
    fn first_of_tasks(&self, first_poll: i64, due: Vec<Row>) -> Result<Vec<Row>> {
        let (session, id) = (self.session, self.subscriber.id);
        let tasks: FxHashSet<Uuid> = due.iter().filter_map(|row| row.out.task).collect();
        // In this order: an event that fails meanwhile is found in one of them.
        let busy = in_flight::tasks(session, id, first_poll)?;
        let mut waiting = redeliver::of_tasks(session, id, &tasks)?;
        let locked: FxHashSet<i64> = due.iter().map(|row| row.out.key.event).collect();
        let mut first: FxHashSet<i64> = FxHashSet::default();
        for (task, events) in &mut waiting {
            events.sort_unstable();
            let free = events.iter().map(|(_, event)| *event);
            if !busy.contains(task) {
                first.extend(free.take_while(|event| locked.contains(event)));
            }
        }
        let (mut due, blocked): (Vec<Row>, Vec<Row>) = due
            .into_iter()
            .partition(|row| row.out.task.is_none() || first.contains(&row.out.key.event));
        due.sort_unstable_by_key(|row| row.out.place);
        redeliver::defer(session, id, &blocked, self.now.at + LOOK_AGAIN_US)?;
        Ok(due)
    }

    /// Events that are read for the first time, and the move of the place behind them.
    fn new_events(&self, place: Place, room: usize, mark: Mark) -> Result<Vec<Delivered>> {
        let (session, id) = (self.session, self.subscriber.id);
        if room == 0 {
            return Ok(vec![]);
        }
        let poll = place.no + 1;
        let stored = place.position;
        let mut position = idle::take(id, place.no, &stored).unwrap_or_else(|| stored.clone());
        let before = (stored.behind_id(), stored.read_to());
        let wanted = Wanted {
            since: place.since,
            scanned: settings::max_scan_events(),
            mark: Some(mark),
            ..self.subscriber.wanted(room)
        };
        let mut found = Found::default();
        if self.ordered {
            found.busy = in_flight::tasks(session, id, place.first_poll)?;
        }
        while found.fresh.len() < room && found.held.len() < MOST_HELD_BACK {
            let (most, inside) = (room - found.fresh.len(), position.is_inside());
            let wanted = Wanted { most, ..wanted };
            let events = snapshot::with_latest(|| stream::read(session, &mut position, &wanted))?;
            let full = events.len() == most;
            self.sort(events, &mut found)?;
            // The rest of an old batch may be short; the next one is that of now.
            if !full && (!inside || position.is_inside()) {
                break;
            }
        }
        let Found { fresh, held, .. } = found;
        // Also where only a transaction has ended of which the place said that it runs: purge waits for `read_to`.
        if fresh.is_empty()
            && held.is_empty()
            && (position.behind_id(), position.read_to()) == before
        {
            idle::remember(id, (place.no, &stored), position);
            return Ok(vec![]);
        }
        place::go_on(session, id, place.no, &position, fresh.len())?;
        if fresh.is_empty() && held.is_empty() && !position.is_inside() {
            idle::remember(id, (poll, &position), position.clone());
        }
        let outs = self.outs(&fresh, poll, 0, 1);
        in_flight::add(session, id, poll, &outs, &self.now, self.lease())?;
        let at = self.now.at + LOOK_AGAIN_US;
        let held: Vec<Due> = self
            .outs(&held, poll, fresh.len(), 0)
            .into_iter()
            .map(|out| Due {
                out,
                at,
                dead: false,
            })
            .collect();
        redeliver::add(session, id, &held, None, &self.now)?;
        let events = fresh.into_iter();
        Ok(events
            .map(|event| Delivered { event, delivery: 1 })
            .collect())
    }

    /// Adds new events to those that are handed out, or, of a subscriber that is ordered, to those that wait for others of their task.
    fn sort(&self, events: Vec<Event>, found: &mut Found) -> Result<()> {
        if !self.ordered {
            found.fresh.extend(events);
            return Ok(());
        }
        let tasks = events.iter().map(task_of).collect();
        let waiting = redeliver::of_tasks(self.session, self.subscriber.id, &tasks)?;
        // Also behind what this poll holds back, if what that waited for is acknowledged meanwhile.
        found.busy.extend(waiting.keys());
        for event in events {
            if found.busy.contains(&task_of(&event)) {
                found.held.push(event);
            } else {
                found.fresh.push(event);
            }
        }
        Ok(())
    }

    fn outs(&self, events: &[Event], poll: i64, first: usize, deliveries: i32) -> Vec<Out> {
        let of = |(index, event): (usize, &Event)| Out {
            key: Key {
                event: event.id,
                row: event.row_id,
            },
            task: self.ordered.then(|| task_of(event)),
            place: in_flight::place(poll, first + index),
            deliveries,
            former: None,
        };
        events.iter().enumerate().map(of).collect()
    }
}

/// The task whose events are to stay in order; an event of no task is alone.
fn task_of(event: &Event) -> Uuid {
    let alone = || (event.id as u128).to_be_bytes();
    event.task.unwrap_or_else(alone)
}
