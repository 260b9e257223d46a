//! The coordinator: one process per database that has the extension. It runs the duties of maintenance when they are due
//! and keeps as many executors as each pool wants. Everything it does is a call that a session could make as well.

use std::collections::HashSet;
use std::time::Duration;

use pgrx::pg_sys;

use super::duties::Duties;
use super::hints::Hints;
use super::pools::Pools;
use super::process::{self, SECOND_US, transaction};
use crate::error::Result;
use crate::logging;
use crate::metrics;
use crate::pg::call;
use crate::pg::datum::{self, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::processes::{self, Kind, Slot, State};

/// A tick begins this long after each full second, because schedules become due at full seconds.
const AFTER_THE_SECOND_US: i64 = 2_000;
/// Leases of executors are renewed this often; they are claimed for six times as long.
const HEARTBEAT_US: i64 = 10 * SECOND_US;
const REFUSAL: &str = "background processes do nothing";

static RESOURCES: Statement = Statement::new(
    "SELECT r.severity, r.message, r.hint FROM tasker.validate_resources() r",
    &[],
);

static RETURN_LOST_EVENTS: Statement =
    Statement::new("SELECT tasker_engine.return_lost_events()", &[]);

static BEGIN_STARTUP: Statement = Statement::new("SELECT tasker_engine.begin_startup()", &[]);

// The claims of the steps that executors run at this moment, and no others: what an executor could not report is taken over when
// its lease ends.
static RENEW: Statement = Statement::new(
    "UPDATE tasker_engine.claims c
     SET lease_expires_at = $4 + interval '60 seconds',
         begun = CASE WHEN cardinality(c.task_uuids) = 1 OR r.step_uuid = ANY (c.begun) THEN c.begun ELSE c.begun || r.step_uuid END
     FROM (SELECT l.claim_id, tasker.step_uuid(s.task_uuid, s.step_no) AS step_uuid
           FROM unnest($1, $2, $3) AS u (worker_id, task_uuid, step_no)
           JOIN tasker_engine.workers w ON w.worker_id = u.worker_id
           JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
           JOIN tasker_engine.claims l ON l.claim_id = s.claim_id AND l.worker_no = w.worker_no
           WHERE s.state = 'i'
           FOR NO KEY UPDATE OF l SKIP LOCKED) r
     WHERE c.claim_id = r.claim_id",
    &[
        pg_sys::TEXTARRAYOID,
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
    ],
);

// The steps among those that executors run that were cancelled or taken over.
static TAKEN_AWAY: Statement = Statement::new(
    "SELECT u.ord
     FROM unnest($1, $2) WITH ORDINALITY AS u (task_uuid, step_no, ord)
     LEFT JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.state IS DISTINCT FROM 'i'",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

struct Coordinator {
    database: u32,
    duties: Duties,
    pools: Pools,
    /// Steps that the last tick found cancelled or taken over, with the process that runs each.
    suspects: HashSet<(i32, Uuid)>,
    /// The tick of the last renewal.
    beat_at: Option<i64>,
    /// Whether the coordinator does nothing because `may_work` refuses.
    refuses: bool,
    hints: Hints,
}

crate::pg::process::background_process!(tasker_coordinator_main => run);

fn run(database: u32) {
    process::begin(Kind::Coordinator, database, "", "");
    process::set_application_name("tasker_ext coordinator");
    let (epoch, version) = begin(database);
    let mut coordinator = Coordinator {
        database,
        duties: Duties::default(),
        pools: Pools::of(database),
        suspects: HashSet::new(),
        beat_at: None,
        refuses: false,
        hints: Hints::default(),
    };
    match transaction(Duties::read) {
        Ok(duties) => coordinator.duties = duties,
        Err(error) => {
            // In the middle of DROP EXTENSION, or an older schema than the library's.
            process::log_error("the coordinator finds no duties", &error);
            process::end(1);
        }
    }
    logging::info(&format!(
        "coordinator of database {database} at work, extension version {version}"
    ));
    // After a restart, a system that was in normal operation starts up again, with the health thresholds of a startup.
    if let Err(error) = transaction(|session| session.run(&BEGIN_STARTUP, &[]).map(|_| ())) {
        process::log_error("the startup cannot be recorded", &error);
    }
    if let Err(error) = transaction(log_resources) {
        process::log_error("the resources cannot be validated", &error);
    }
    // Of executors from before a crash of the server.
    return_lost_events();
    processes::set_state(State::Idle);
    loop {
        process::check_for_interrupts();
        if processes::stop_requested() {
            process::end(0);
        }
        process::report_activity(Some("tasker_ext: maintenance"));
        match process::find_extension() {
            Ok(Some((now, as_of, may))) if now == epoch && as_of == version => {
                coordinator.heed(may);
            }
            Ok(found) => {
                // Dropped, created again or updated: another coordinator begins from the start.
                if found.is_none() {
                    is_absent(database);
                }
                processes::request_stop(
                    |slot| slot.database == database && slot.kind == Kind::Executor,
                    0,
                );
                process::end(0);
            }
            Err(error) => {
                process::log_error("the coordinator cannot look for the extension", &error)
            }
        }
        let mut more = false;
        if !coordinator.refuses {
            let hints = &mut coordinator.hints;
            more = coordinator.duties.run(|| hints.tell());
            coordinator.settle_lost();
            coordinator.pools.keep();
            coordinator.renew_leases_and_interrupt();
        }
        // Even with more to do: the wait notices the end of the postmaster.
        if more {
            process::wait(Duration::ZERO);
        } else {
            coordinator.wait();
        }
    }
}

/// Waits until the coordinator may work, and says which extension it is for. Without one it ends.
/// The database has no extension, or none any more.
fn is_absent(database: u32) {
    processes::judge_absent(database);
    metrics::forget(database);
}

fn begin(database: u32) -> (u32, String) {
    let mut refuses = false;
    loop {
        match process::find_extension() {
            Ok(Some(_)) if !processes::may_stay(database) => process::end(0),
            Ok(Some((epoch, version, Ok(())))) => return (epoch, version),
            Ok(Some((_, _, Err(error)))) => {
                if !refuses {
                    process::log_always(REFUSAL, &error);
                }
                refuses = true;
                processes::set_state(State::Idle);
            }
            Ok(None) => {
                is_absent(database);
                process::end(0);
            }
            // Without the role there is no extension: it owns its tables.
            Err(error) if error.code == pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT => {
                is_absent(database);
                process::end(0);
            }
            Err(error) => {
                process::log_error("the coordinator cannot start", &error);
                process::end(1);
            }
        }
        process::wait(until_next_second());
        if processes::stop_requested() {
            process::end(0);
        }
    }
}

fn until_next_second() -> Duration {
    let into = call::clock().rem_euclid(SECOND_US);
    Duration::from_micros((SECOND_US - into + AFTER_THE_SECOND_US).unsigned_abs())
}

/// Pool settings that exceed the limits of the server.
fn log_resources(session: &Session) -> Result<()> {
    for row in session.read(&RESOURCES, &[])?.iter() {
        let (severity, message): (String, String) = (row.get(1)?, row.get(2)?);
        let hint = row.opt::<String>(3).unwrap_or_default();
        logging::warn(&format!("{severity}: {message} {hint}"));
    }
    Ok(())
}

/// Events that executors held which are gone come again.
fn return_lost_events() -> bool {
    let returned = transaction(|session| session.run(&RETURN_LOST_EVENTS, &[]).map(|_| ()));
    if let Err(error) = &returned {
        process::log_error(
            "events of executors that are gone cannot be given back",
            error,
        );
    }
    returned.is_ok()
}

impl Coordinator {
    /// Waits for the next second. Meanwhile new events are told to polls that wait.
    fn wait(&mut self) {
        let second = call::clock().div_euclid(SECOND_US);
        while call::clock().div_euclid(SECOND_US) == second && !processes::stop_requested() {
            let mut time = until_next_second();
            if !self.refuses {
                self.hints.tell();
                time = self.hints.pause().map_or(time, |pause| pause.min(time));
            }
            process::wait(time);
        }
    }

    /// Executors that ended in the handler of a subscriber: their events come again, and only then another executor calls it.
    fn settle_lost(&mut self) {
        let lost = processes::lost(self.database);
        if lost.is_empty() || !return_lost_events() {
            return;
        }
        lost.iter()
            .for_each(|lost| self.pools.excuse(lost.pool.as_str()));
        processes::settle_lost(&lost);
    }

    /// Says once that nothing is done, and sends the executors away; begins again when work is allowed.
    fn heed(&mut self, may: Result<()>) {
        match may {
            Ok(()) if self.refuses => {
                self.refuses = false;
                logging::info(&format!(
                    "coordinator of database {} at work again",
                    self.database
                ));
            }
            Ok(()) => {}
            Err(error) => {
                if !self.refuses {
                    process::log_always(REFUSAL, &error);
                }
                self.refuses = true;
                self.pools.send_away();
            }
        }
    }

    /// Renews the leases of executors, and interrupts those whose step was cancelled or taken over.
    fn renew_leases_and_interrupt(&mut self) {
        let busy: Vec<Slot> = processes::all()
            .into_iter()
            .filter(|slot| {
                slot.database == self.database && slot.kind == Kind::Executor && slot.step.is_some()
            })
            .collect();
        if busy.is_empty() {
            self.suspects.clear();
            return;
        }
        let steps: Vec<(Uuid, i16)> = busy
            .iter()
            .map(|slot| tasker_rules::engine::ids::split(&slot.step.unwrap_or_default()))
            .collect();
        let tick = call::tick();
        if self.beat_at.is_none_or(|last| tick - last > HEARTBEAT_US) {
            self.beat_at = Some(tick);
            if let Err(error) = renew(&busy, &steps) {
                process::log_error("the leases of executors cannot be renewed", &error);
            }
        }
        let taken = transaction(|session| {
            let rows = session.read(
                &TAKEN_AWAY,
                &[
                    datum::uuids(steps.iter().map(|(task, _)| task)),
                    datum::int2s(steps.iter().map(|(_, no)| *no)),
                ],
            )?;
            rows.iter()
                .map(|row| Ok(row.get::<i64>(1)? as usize - 1))
                .collect::<Result<Vec<usize>>>()
        });
        let suspects: HashSet<(i32, Uuid)> = match taken {
            Ok(taken) => taken
                .into_iter()
                .map(|index| (busy[index].pid, busy[index].step.unwrap_or_default()))
                .collect(),
            Err(error) => {
                process::log_error("the steps of executors cannot be read", &error);
                HashSet::new()
            }
        };
        // Only if found twice in a row: an executor that has just reported its step is about to begin the next one.
        for (pid, _) in suspects.intersection(&self.suspects) {
            process::signal(*pid, pg_sys::SIGINT as i32);
        }
        self.suspects = suspects;
    }
}

/// Renews the leases of the steps that these executors run.
fn renew(busy: &[Slot], steps: &[(Uuid, i16)]) -> Result<()> {
    transaction(|session| {
        session.run(
            &RENEW,
            &[
                datum::texts(busy.iter().map(|slot| Some(slot.worker_id.as_str()))),
                datum::uuids(steps.iter().map(|(task, _)| task)),
                datum::int2s(steps.iter().map(|(_, no)| *no)),
                datum::timestamp(call::clock()),
            ],
        )?;
        Ok(())
    })
}
