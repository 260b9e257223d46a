//! Starts and ends executors until each pool has the number that it wants.

use std::collections::{HashMap, HashSet};

use pgrx::bgworkers::{BackgroundWorkerStatus, DynamicBackgroundWorker};
use pgrx::pg_sys;

use super::launcher;
use super::process::{self, SECOND_US, SLOWEST_RESTART_US, transaction};
use crate::error::Result;
use crate::logging;
use crate::pg::call;
use crate::pg::spi::Statement;
use crate::processes::{self, Kind, Slot, State};
use crate::settings;

/// How long an executor may still work on its step in an emergency.
const EMERGENCY_DRAIN_US: i64 = 5 * SECOND_US;

// In an emergency all work must stop, and a stopped system has no work.
static DESIRED: Statement = Statement::new(
    "SELECT p.pool, CASE WHEN s.state IN ('emergency', 'stopped') THEN 0 ELSE p.desired END, s.state = 'emergency'
     FROM tasker_engine.desired_executors() p, (SELECT tasker.operational_state() AS state) s",
    &[],
);

/// An executor that this coordinator has started.
struct Started {
    pool: String,
    handle: DynamicBackgroundWorker,
    /// A tick.
    at: i64,
    /// None until the coordinator has seen it run.
    pid: Option<i32>,
}

#[derive(Default)]
struct Pool {
    /// Executors that ended unasked, in a row, and the tick from which the next may start.
    failed: u32,
    start_after: i64,
    /// How many of those that will be found to have ended do not count.
    excused: u32,
}

pub struct Pools {
    database: u32,
    started: Vec<Started>,
    pools: HashMap<String, Pool>,
    /// Executors that were asked to end, by process.
    asked: HashSet<i32>,
    complained_at: Option<i64>,
}

impl Pools {
    pub fn of(database: u32) -> Self {
        Self {
            database,
            started: vec![],
            pools: HashMap::new(),
            asked: HashSet::new(),
            complained_at: None,
        }
    }

    /// An executor ended in the handler of a subscriber: its events wait, not the pool.
    pub fn excuse(&mut self, pool: &str) {
        self.pools.entry(pool.to_owned()).or_default().excused += 1;
    }

    /// Asks every executor to end, without a limit.
    pub fn send_away(&mut self) {
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

    /// Starts missing executors of each pool, and asks surplus ones to end.
    pub fn keep(&mut self) {
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
        let now = call::tick();
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
        // What comes first is a coordinator in each database: idle executors make way.
        let make_way = !processes::waiting_databases().is_empty() && !processes::has_room(1);
        for pool in pools {
            let mut wanted = desired.get(&pool).map_or(0, |(wanted, _)| *wanted).max(0) as usize;
            let mut running: Vec<&Slot> = executors
                .iter()
                .filter(|slot| slot.pool.as_str() == pool && !slot.stop)
                .collect();
            if make_way {
                let busy = running.iter().filter(|slot| slot.state == State::Busy);
                wanted = wanted.min(busy.count());
            }
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
                // Idle executors end first, the newest among them before the others.
                running.sort_by_key(|slot| (slot.state == State::Busy, -slot.started_at));
                for slot in &running[..running.len() - wanted] {
                    self.asked.insert(slot.pid);
                    processes::request_stop(|other| other.pid == slot.pid, stop_by);
                }
            }
        }
    }

    fn start(&mut self, pool: &str, missing: usize, now: i64) {
        if self.pools.entry(pool.to_owned()).or_default().start_after > now {
            return;
        }
        let coming = self
            .started
            .iter()
            .filter(|started| started.pid.is_none())
            .count();
        let may_start =
            |more| processes::waiting_databases().is_empty() && processes::has_room(coming + more);
        for more in 1..=missing {
            if !may_start(more) {
                self.complain(pool, now);
                return;
            }
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
                    self.complain(pool, now);
                    return;
                }
            }
        }
    }

    fn complain(&mut self, pool: &str, now: i64) {
        let long_ago = |at| now - at > 60 * SECOND_US;
        if self.complained_at.is_none_or(long_ago) {
            self.complained_at = Some(now);
            logging::warn(&format!(
                "no slot of max_worker_processes is left for an executor of pool {pool}; tasker.validate_resources() says what to set"
            ));
        }
    }

    /// An executor that ended unasked delays the next start of its pool, longer each time.
    fn forget_ended(&mut self, executors: &[Slot], now: i64) {
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
                    if pool.excused > 0 {
                        pool.excused -= 1;
                        return false;
                    }
                    pool.failed = pool.failed.saturating_add(1);
                    let pause = SECOND_US << pool.failed.saturating_sub(1).min(6);
                    pool.start_after = now + pause.min(SLOWEST_RESTART_US);
                    processes::record_ended(
                        database,
                        &started.pool,
                        pool.failed,
                        call::clock(),
                        call::clock() + pool.start_after - now,
                    );
                    false
                }
            });
        asked.retain(|pid| self.started.iter().any(|started| started.pid == Some(*pid)));
    }
}

/// Terminates executors that were asked to end and did not do so in time; the step of each counts as a crashed run.
fn enforce_deadlines(executors: &[Slot], now: i64) {
    for slot in executors.iter().filter(|slot| slot.stop) {
        if slot.stop_by != 0 && now > slot.stop_by {
            logging::info(&format!(
                "executor {} of pool {} did not end in time and is terminated",
                slot.pid,
                slot.pool.as_str()
            ));
            process::signal(slot.pid, pg_sys::SIGTERM as i32);
        }
    }
}
