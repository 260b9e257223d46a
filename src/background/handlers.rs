//! An executor calls the handlers of subscribers: it takes events in one transaction, so that the end of its process counts as a delivery,
//! and calls the handler with them in the next one, which acknowledges them.

use std::time::Duration;

use pgrx::pg_sys;

use super::process::{self, SECOND_US, transaction};
use crate::error::{Error, Result};
use crate::pg::datum::{self, OwnedJsonb, Timestamp};
use crate::pg::spi::{Session, Statement};
use crate::pg::{backend, call};
use crate::processes::{self, Heard, State};

/// How long a handler may be called again and again before the executor looks at other subscribers and at steps.
const SLICE_US: i64 = 100_000;
/// The shortest time between two looks that are due to new events.
const GAP_US: i64 = 20_000;
const LONGEST_GAP_US: i64 = 100_000;
/// Looks that find nothing take at most this part of the executor's time.
const SHARE: i64 = 5;
/// An executor looks this often although it has heard of nothing.
const LOOK_US: i64 = 5 * SECOND_US;

static SUBSCRIBERS: Statement = Statement::new(
    "SELECT s.subscriber_id, s.subscriber, s.place_no, s.behind, s.due_at FROM tasker_engine.handled_subscribers() s",
    &[],
);

static TAKE: Statement = Statement::new(
    "SELECT array_agg(e.event_id), jsonb_agg(to_jsonb(e)), max(e.depth) FROM tasker_engine.take_events($1, $2) e",
    &[pg_sys::INT8OID, pg_sys::TEXTOID],
);

static RUN: Statement = Statement::new(
    "SELECT tasker_engine.run_events($1, $2, $3, $4)",
    &[
        pg_sys::INT8OID,
        pg_sys::INT8ARRAYOID,
        pg_sys::JSONBOID,
        pg_sys::INT4OID,
    ],
);

static FAIL: Statement = Statement::new(
    "SELECT tasker_engine.fail_events($1, $2, $3)",
    &[pg_sys::INT8OID, pg_sys::INT8ARRAYOID, pg_sys::TEXTOID],
);

/// A subscriber with a handler.
struct Handled {
    id: i64,
    name: String,
    place_no: i64,
    behind: bool,
    due_at: Option<Timestamp>,
}

struct Taken {
    ids: Vec<i64>,
    events: OwnedJsonb,
    depth: i32,
}

/// What a slice of a subscriber came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slice {
    Nothing,
    Failed,
    /// A handler ran, or the place moved; perhaps there is more.
    Something,
}

pub struct Handlers {
    pool: String,
    worker_id: String,
    /// What was heard before the last look.
    heard: Option<Heard>,
    /// The tick of the last look, and when the next one may be.
    looked_at: i64,
    rest_until: i64,
    /// Whether the last look found subscribers with handlers.
    any: bool,
    /// When events come again.
    due_at: Option<Timestamp>,
    /// The last look has left something to do.
    more: bool,
    /// The subscriber with which the last round ended.
    last: i64,
}

impl Handlers {
    pub fn new(pool: &str, worker_id: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            worker_id: worker_id.to_owned(),
            heard: None,
            looked_at: 0,
            rest_until: 0,
            any: false,
            due_at: None,
            more: false,
            // The handler that ended another executor comes last.
            last: processes::last_lost(backend::database()),
        }
    }

    /// Calls each handler that has something to do, for a slice of time, if it is time to look. Says whether any did.
    pub fn run(&mut self) -> bool {
        let (heard, tick) = (processes::heard(), call::tick());
        if !self.is_time(heard, tick) {
            return false;
        }
        // Before the look: what commits after this is heard of again.
        let news = self.heard.is_none_or(|before| before != heard);
        self.heard = Some(heard);
        self.looked_at = tick;
        let found = match transaction(subscribers) {
            Ok(found) => found,
            Err(error) => {
                process::log_error(
                    "an executor cannot look for handlers of subscribers",
                    &error,
                );
                self.rest_until = tick + SECOND_US;
                return false;
            }
        };
        self.any = !found.is_empty();
        processes::hear(self.any);
        let now = call::clock();
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let again = std::mem::take(&mut self.more);
        let (mut did, mut spent, mut rest) = (false, 0, 0);
        let (behind, front): (Vec<_>, Vec<_>) = found.iter().partition(|one| one.id > self.last);
        for one in behind.into_iter().chain(front) {
            if processes::stop_requested() {
                return false;
            }
            // A row that commits late can have a lower id than those that were looked at, so news alone are a reason.
            if !(news || again || one.behind || is_due(one.due_at))
                || !processes::take_subscriber(one.id)
            {
                continue;
            }
            let began = call::tick();
            match self.slice(one) {
                Slice::Something => {
                    did = true;
                    self.last = one.id;
                }
                Slice::Nothing => spent += call::tick() - began,
                Slice::Failed => rest = SECOND_US,
            }
            processes::take_subscriber(0);
        }
        self.more = did;
        let times = found.iter().filter_map(|one| one.due_at);
        self.due_at = times.filter(|at| *at > now).min();
        if !did {
            rest = rest.max((spent * (SHARE - 1)).clamp(GAP_US, LONGEST_GAP_US));
        }
        self.rest_until = call::tick() + rest;
        did
    }

    fn is_time(&self, heard: Heard, tick: i64) -> bool {
        let Some(before) = self.heard else {
            return true;
        };
        if before.changes != heard.changes || tick - self.looked_at >= LOOK_US {
            return true;
        }
        let due = self.due_at.is_some_and(|at| at <= call::clock());
        self.any && tick >= self.rest_until && (self.more || due || before.commits != heard.commits)
    }

    /// How long an idle executor may sleep. New events end the sleep.
    pub fn pause(&self) -> Duration {
        let tick = call::tick();
        let mut until = self.looked_at + LOOK_US;
        if self.any {
            processes::listen();
            if self.heard.is_none_or(|before| before != processes::heard()) {
                until = self.rest_until;
            }
            if let Some(at) = self.due_at {
                until = until.min(tick + (at - call::clock()).max(0));
            }
            until = until.max(self.rest_until);
        }
        Duration::from_micros((until - tick).max(0) as u64)
    }

    /// Calls the handler until nothing is left, or for the time of a slice.
    fn slice(&self, one: &Handled) -> Slice {
        let began = call::tick();
        let mut slice = Slice::Nothing;
        loop {
            let taken = match transaction(|session| self.take(session, one)) {
                Ok((Some(taken), _)) => taken,
                Ok((None, true)) => return Slice::Something,
                Ok((None, false)) => return slice,
                Err(error) => {
                    let what = format!("events of subscriber {} cannot be taken", one.name);
                    process::log_error(&what, &error);
                    return Slice::Failed;
                }
            };
            slice = Slice::Something;
            let ran = call::tick();
            processes::set_state(State::Busy);
            process::report_activity(Some(&format!(
                "tasker_ext: pool {} runs the handler of subscriber {}",
                self.pool, one.name
            )));
            if let Err(error) = transaction(|session| run(session, one, &taken)) {
                report_failure(one, &taken, &error);
            }
            processes::count_busy(call::tick() - ran);
            processes::set_state(State::Idle);
            if processes::stop_requested() || call::tick() - began > SLICE_US {
                return slice;
            }
            process::check_for_interrupts();
        }
    }

    /// The next events, and if there are none, whether the place has moved and rows are behind it: a call looks at a part of the log.
    fn take(&self, session: &Session, one: &Handled) -> Result<(Option<Taken>, bool)> {
        let rows = session.run(&TAKE, &[datum::int8(one.id), datum::text(&self.worker_id)])?;
        let row = rows
            .first()
            .ok_or_else(|| Error::corrupt("an aggregate has a row"))?;
        if let Some(ids) = row.opt::<Vec<i64>>(1) {
            let taken = Taken {
                ids,
                events: OwnedJsonb::copy(row.jsonb(2)?),
                depth: row.get(3)?,
            };
            return Ok((Some(taken), true));
        }
        let now = subscribers(session)?;
        let moved =
            |other: &Handled| other.id == one.id && other.behind && other.place_no != one.place_no;
        Ok((None, now.iter().any(moved)))
    }
}

fn subscribers(session: &Session) -> Result<Vec<Handled>> {
    let rows = session.run(&SUBSCRIBERS, &[])?;
    rows.iter()
        .map(|row| {
            Ok(Handled {
                id: row.get(1)?,
                name: row.get(2)?,
                place_no: row.get(3)?,
                behind: row.get(4)?,
                due_at: row.opt(5),
            })
        })
        .collect()
}

/// The error of the handler is that of its events.
fn run(session: &Session, one: &Handled, taken: &Taken) -> Result<()> {
    session.run(
        &RUN,
        &[
            datum::int8(one.id),
            datum::int8s(taken.ids.iter().copied()),
            taken.events.as_jsonb().arg(),
            datum::int4(taken.depth),
        ],
    )?;
    Ok(())
}

/// The transaction of the handler failed, for example at its commit: another one says so. If that fails too, the events come again when
/// their lease ends.
fn report_failure(one: &Handled, taken: &Taken, error: &Error) {
    let failed = transaction(|session| {
        session.run(
            &FAIL,
            &[
                datum::int8(one.id),
                datum::int8s(taken.ids.iter().copied()),
                datum::text(&format!("{}: {}", error.sqlstate(), error.described())),
            ],
        )?;
        Ok(())
    });
    if let Err(refused) = failed {
        let what = format!("events of subscriber {} cannot be given back", one.name);
        process::log_error(&what, &refused);
    }
}
