//! The coordinator: one process per database that has the extension. It runs the duties of maintenance when they are due
//! and keeps as many executors as each pool wants. Everything it does is a call that a session could make as well.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys;

use super::launcher;
use super::process::{self, transaction};
use crate::error::Result;
use crate::pg::call;
use crate::pg::datum::{self, Timestamp, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::processes::{self, Kind, Slot, State};
use crate::settings;

/// Ticks come with each full second, when schedules are due.
const SECOND_US: i64 = 1_000_000;
const AFTER_THE_SECOND_US: i64 = 2_000;
/// A duty whose time comes within this is due.
const SLACK_US: i64 = 100_000;
/// A duty that has more to do is run again at once, at most so often before the others have their turn.
const ROUNDS: usize = 50;
/// Leases of executors are renewed this often; they are claimed for six times as long.
const HEARTBEAT_US: i64 = 10 * SECOND_US;
/// How long an executor may still work on its step in an emergency.
const EMERGENCY_DRAIN_US: i64 = 5 * SECOND_US;
const SLOWEST_RESTART_US: i64 = 60 * SECOND_US;
const REFUSAL: &str = "background processes do nothing";

static DUTIES: Statement = Statement::new(
    "SELECT d.duty, (pg_catalog.date_part('epoch', d.every) * 1000000)::bigint FROM tasker_engine.duties() d",
    &[],
);

static RUN_DUTY: Statement =
    Statement::new("SELECT tasker_engine.run_duty($1)", &[pg_sys::TEXTOID]);

// In an emergency nothing may go on, and a stopped system has nothing to do.
static DESIRED: Statement = Statement::new(
    "SELECT p.pool, CASE WHEN s.state IN ('emergency', 'stopped') THEN 0 ELSE p.desired END, s.state = 'emergency'
     FROM tasker_engine.desired_executors() p, (SELECT tasker.operational_state() AS state) s",
    &[],
);

static RESOURCES: Statement = Statement::new(
    "SELECT r.severity, r.message, r.hint FROM tasker.validate_resources() r",
    &[],
);

static BEGIN_STARTUP: Statement = Statement::new("SELECT tasker_engine.begin_startup()", &[]);

static HEARTBEAT: Statement = Statement::new(
    "SELECT h.step_uuid FROM tasker.heartbeat($1, interval '60 seconds') h",
    &[pg_sys::TEXTOID],
);

// Of the steps that executors run: those that were cancelled or taken over.
static TAKEN_AWAY: Statement = Statement::new(
    "SELECT u.ord
     FROM unnest($1, $2) WITH ORDINALITY AS u (task_uuid, step_no, ord)
     LEFT JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
     WHERE s.state IS DISTINCT FROM 'i'",
    &[pg_sys::UUIDARRAYOID, pg_sys::INT2ARRAYOID],
);

struct Duty {
    name: String,
    every_us: i64,
    due_at: Timestamp,
    failed: u32,
}

/// An executor that this coordinator has started.
struct Started {
    pool: String,
    handle: DynamicBackgroundWorker,
    at: Timestamp,
    /// Known from its first look on.
    pid: Option<i32>,
}

#[derive(Default)]
struct Pool {
    /// Executors that ended unasked, in a row, and when the next may start.
    failed: u32,
    start_after: Timestamp,
}

struct Coordinator {
    database: u32,
    duties: Vec<Duty>,
    started: Vec<Started>,
    pools: HashMap<String, Pool>,
    /// Executors that were asked to end, by process.
    asked: HashSet<i32>,
    /// Steps that were seen taken away at the last tick, with the process that runs them.
    suspects: HashSet<(i32, Uuid)>,
    beat_at: Timestamp,
    complained_at: Timestamp,
    /// The engine's owner is not what it must be: nothing is done.
    refuses: bool,
}

crate::background_process!(tasker_coordinator_main => run);

fn run(database: u32) {
    process::begin(Kind::Coordinator, database, "", "");
    process::set_application_name("tasker_ext coordinator");
    let (epoch, version) = begin(database);
    let mut coordinator = Coordinator {
        database,
        duties: vec![],
        started: vec![],
        pools: HashMap::new(),
        asked: HashSet::new(),
        suspects: HashSet::new(),
        beat_at: 0,
        complained_at: 0,
        refuses: false,
    };
    match transaction(read_duties) {
        Ok(duties) => coordinator.duties = duties,
        Err(error) => {
            // In the middle of DROP EXTENSION, or an older schema than the library's.
            process::log_error("the coordinator finds no duties", &error);
            process::end(1);
        }
    }
    pgrx::log!(
        "tasker_ext: coordinator of database {database} at work, extension version {version}"
    );
    // A server that comes up again is measured with patience, if it was at work before.
    if let Err(error) = transaction(|session| session.run(&BEGIN_STARTUP, &[]).map(|_| ())) {
        process::log_error("the startup cannot be recorded", &error);
    }
    if let Err(error) = transaction(log_resources) {
        process::log_error("the resources cannot be validated", &error);
    }
    processes::set_state(State::Idle);
    loop {
        process::check_for_interrupts();
        if processes::stop_requested() {
            process::end(0);
        }
        process::report_activity(Some("tasker_ext: maintenance"));
        match process::look() {
            Ok(Some((now, as_of, may))) if now == epoch && as_of == version => {
                coordinator.heed(may);
            }
            Ok(found) => {
                // Dropped, created again or updated: another coordinator begins from the start.
                if found.is_none() {
                    processes::judge_absent(database);
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
        if !coordinator.refuses {
            coordinator.run_duties();
            coordinator.keep_executors();
            coordinator.look_after_steps();
        }
        process::wait(until_next_second());
    }
}

/// Waits until the coordinator may work, and says which extension it is for. Without one it ends.
fn begin(database: u32) -> (u32, String) {
    let mut refuses = false;
    loop {
        match process::look() {
            Ok(Some((epoch, version, Ok(())))) => return (epoch, version),
            Ok(Some((_, _, Err(error)))) => {
                if !refuses {
                    process::log_always(REFUSAL, &error);
                }
                refuses = true;
                processes::set_state(State::Idle);
            }
            Ok(None) => {
                processes::judge_absent(database);
                process::end(0);
            }
            // Without the role there is no extension: it owns its tables.
            Err(error) if error.code == pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT => {
                processes::judge_absent(database);
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

/// What the pools are set to and the server cannot carry.
fn log_resources(session: &Session) -> Result<()> {
    for row in session.read(&RESOURCES, &[])?.iter() {
        let (severity, message): (String, String) = (row.get(1)?, row.get(2)?);
        let hint = row.opt::<String>(3).unwrap_or_default();
        pgrx::warning!("tasker_ext: {severity}: {message} {hint}");
    }
    Ok(())
}

fn read_duties(session: &Session) -> Result<Vec<Duty>> {
    session
        .read(&DUTIES, &[])?
        .iter()
        .map(|row| {
            Ok(Duty {
                name: row.get(1)?,
                every_us: row.get(2)?,
                due_at: 0,
                failed: 0,
            })
        })
        .collect()
}

impl Coordinator {
    /// Says once that nothing is done, and sends the executors away; begins again when work is allowed.
    fn heed(&mut self, may: Result<()>) {
        match may {
            Ok(()) if self.refuses => {
                self.refuses = false;
                pgrx::log!(
                    "tasker_ext: coordinator of database {} at work again",
                    self.database
                );
            }
            Ok(()) => {}
            Err(error) => {
                if !self.refuses {
                    process::log_always(REFUSAL, &error);
                }
                self.refuses = true;
                let database = self.database;
                let executors = processes::all()
                    .into_iter()
                    .filter(|slot| slot.database == database && slot.kind == Kind::Executor);
                self.asked.extend(executors.map(|slot| slot.pid));
                processes::request_stop(
                    |slot| slot.database == database && slot.kind == Kind::Executor,
                    0,
                );
            }
        }
    }

    fn run_duties(&mut self) {
        let tick = call::clock();
        for duty in &mut self.duties {
            if duty.due_at > tick + SLACK_US {
                continue;
            }
            for _ in 0..ROUNDS {
                process::check_for_interrupts();
                let done = transaction(|session| {
                    let rows = session.run(&RUN_DUTY, &[datum::text(&duty.name)])?;
                    Ok(rows.first().and_then(|row| row.opt::<i64>(1)).unwrap_or(0))
                });
                match done {
                    Ok(done) if done > 0 => duty.failed = 0,
                    Ok(0) => {
                        duty.failed = 0;
                        break;
                    }
                    // Recorded by run_duty.
                    Ok(_) => {
                        duty.failed = duty.failed.saturating_add(1);
                        break;
                    }
                    Err(error) => {
                        duty.failed = duty.failed.saturating_add(1);
                        process::log_error(&format!("duty {} failed", duty.name), &error);
                        break;
                    }
                }
            }
            // One that fails is tried less and less often, up to once a minute.
            let wait = duty.every_us.max(if duty.failed == 0 {
                0
            } else {
                (SECOND_US << duty.failed.min(6)).min(SLOWEST_RESTART_US)
            });
            duty.due_at = tick + wait;
        }
    }

    /// As many executors as each pool wants: starts what is missing, asks those that are too many to end.
    fn keep_executors(&mut self) {
        let desired = match transaction(|session| {
            session
                .read(&DESIRED, &[])?
                .iter()
                .map(|row| Ok((row.get(1)?, (row.get(2)?, row.get(3)?))))
                .collect::<Result<HashMap<String, (i32, bool)>>>()
        }) {
            Ok(desired) => desired,
            Err(error) => {
                process::log_error("the pools cannot be read", &error);
                return;
            }
        };
        let now = call::clock();
        let executors: Vec<Slot> = processes::all()
            .into_iter()
            .filter(|slot| slot.database == self.database && slot.kind == Kind::Executor)
            .collect();
        self.forget_ended(&executors, now);
        enforce_deadlines(&executors, now);
        let emergency = desired.values().any(|(_, emergency)| *emergency);
        let patience = settings::executor_drain_us();
        let stop_by = now
            + if emergency {
                patience.min(EMERGENCY_DRAIN_US)
            } else {
                patience
            };
        let pools: HashSet<String> = desired
            .keys()
            .cloned()
            .chain(executors.iter().map(|slot| slot.pool.as_str().to_owned()))
            .collect();
        for pool in pools {
            let wanted = desired.get(&pool).map_or(0, |(wanted, _)| *wanted).max(0) as usize;
            let mut running: Vec<&Slot> = executors
                .iter()
                .filter(|slot| slot.pool.as_str() == pool && !slot.stop)
                .collect();
            let coming = self
                .started
                .iter()
                .filter(|started| {
                    started.pool == pool
                        && !started
                            .handle
                            .pid()
                            .is_ok_and(|pid| executors.iter().any(|slot| slot.pid == pid))
                })
                .count();
            if running.len() + coming < wanted {
                self.start(&pool, wanted - running.len() - coming, now);
            } else if running.len() > wanted {
                // Idle ones first, and of them the newest.
                running.sort_by_key(|slot| (slot.state == State::Busy, -slot.started_at));
                for slot in &running[..running.len() - wanted] {
                    self.asked.insert(slot.pid);
                    processes::request_stop(|other| other.pid == slot.pid, stop_by);
                }
            }
        }
    }

    fn start(&mut self, pool: &str, missing: usize, now: Timestamp) {
        if self.pools.entry(pool.to_owned()).or_default().start_after > now {
            return;
        }
        for _ in 0..missing {
            match launcher::start(
                "tasker_ext executor",
                "tasker_executor_main",
                self.database,
                pool,
            ) {
                Some(handle) => self.started.push(Started {
                    pool: pool.to_owned(),
                    handle,
                    at: now,
                    pid: None,
                }),
                None => {
                    if now - self.complained_at > 60 * SECOND_US {
                        self.complained_at = now;
                        pgrx::warning!(
                            "tasker_ext: no background worker is free for an executor of pool {pool}; raise max_worker_processes or lower the pool's maximum"
                        );
                    }
                    return;
                }
            }
        }
    }

    /// An executor that ended unasked delays the next start of its pool, longer each time.
    fn forget_ended(&mut self, executors: &[Slot], now: Timestamp) {
        let (pools, asked) = (&mut self.pools, &mut self.asked);
        asked.extend(
            executors
                .iter()
                .filter(|slot| slot.stop)
                .map(|slot| slot.pid),
        );
        let database = self.database;
        self.started
            .retain_mut(|started| match started.handle.pid() {
                Ok(pid) => {
                    started.pid = Some(pid);
                    if now - started.at > SLOWEST_RESTART_US
                        && let Some(pool) = pools.get_mut(&started.pool)
                        && pool.failed > 0
                    {
                        pool.failed = 0;
                        processes::record_healthy(database, &started.pool);
                    }
                    true
                }
                Err(BackgroundWorkerStatus::NotYetStarted) => true,
                Err(_) if started.pid.is_some_and(|pid| asked.contains(&pid)) => false,
                Err(_) => {
                    let pool = pools.entry(started.pool.clone()).or_default();
                    pool.failed = pool.failed.saturating_add(1);
                    let pause = SECOND_US << pool.failed.saturating_sub(1).min(6);
                    pool.start_after = now + pause.min(SLOWEST_RESTART_US);
                    processes::record_ended(
                        database,
                        &started.pool,
                        pool.failed,
                        now,
                        pool.start_after,
                    );
                    false
                }
            });
        asked.retain(|pid| self.started.iter().any(|started| started.pid == Some(*pid)));
    }

    /// Renews the leases of executors, and interrupts those whose step was cancelled or taken over.
    fn look_after_steps(&mut self) {
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
        if call::clock() - self.beat_at > HEARTBEAT_US {
            self.beat_at = call::clock();
            for slot in &busy {
                let beat = transaction(|session| {
                    session.run(&HEARTBEAT, &[datum::text(slot.worker_id.as_str())])?;
                    Ok(())
                });
                if let Err(error) = beat {
                    process::log_error("a lease cannot be renewed", &error);
                }
            }
        }
        let steps: Vec<(Uuid, i16)> = busy
            .iter()
            .map(|slot| tasker_rules::engine::ids::split(&slot.step.unwrap_or_default()))
            .collect();
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
                process::log_error("the steps of executors cannot be looked at", &error);
                HashSet::new()
            }
        };
        // Twice in a row: one that has just reported its step is about to begin the next.
        for (pid, _) in suspects.intersection(&self.suspects) {
            process::signal(*pid, pg_sys::SIGINT as i32);
        }
        self.suspects = suspects;
    }
}

/// An executor that was asked to end and has not within the time is terminated: its step counts as a crashed run.
fn enforce_deadlines(executors: &[Slot], now: Timestamp) {
    for slot in executors.iter().filter(|slot| slot.stop) {
        if slot.stop_by != 0 && now > slot.stop_by {
            pgrx::log!(
                "tasker_ext: executor {} of pool {} did not end in time and is terminated",
                slot.pid,
                slot.pool.as_str()
            );
            process::signal(slot.pid, pg_sys::SIGTERM as i32);
        }
    }
}
