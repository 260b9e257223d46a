//! A pool of executors, event by event: steps arrive and wait in one queue, executors take the oldest, and every interval
//! the rules look and are followed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tasker_rules::operations::scaling::forecast::{self, Usual};
use tasker_rules::operations::scaling::{
    Bound, DEPTH_LIMIT, Decision, Executor, Load, Memory, Recorded, Settings, look,
};

use crate::traces::Trace;

/// From the decision to the first claim of a new executor: a fork, a connection, the caches.
const START: f64 = 0.5;

/// What came of it.
pub struct Replay {
    /// Waits of the steps that arrived after the warm-up, in seconds, ascending.
    pub waits: Vec<f64>,
    /// Seconds that executors existed after the warm-up.
    pub worker_seconds: f64,
    pub decisions: Vec<(f64, Decision)>,
    /// How many executors were wanted after each look.
    pub desired: Vec<u32>,
}

impl Replay {
    pub fn wait(&self, share: f64) -> f64 {
        let last = self.waits.len().saturating_sub(1);
        self.waits
            .get((last as f64 * share).round() as usize)
            .copied()
            .unwrap_or(0.0)
    }

    pub fn changes(&self) -> usize {
        self.decisions
            .iter()
            .filter(|(_, d)| d.from != d.to)
            .count()
    }
}

struct Worker {
    seen: Executor,
    ready_at: f64,
    ends_at: Option<f64>,
}

/// The order of events that fall together: a step ends, a step arrives, the rules look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(i32),
    Ready,
    Look,
}

/// Microseconds, so that events have an order.
fn micros(time: f64) -> u64 {
    (time * 1e6).round() as u64
}

pub fn run(trace: &Trace, settings: &Settings) -> Replay {
    run_arrivals(
        &trace.arrivals(),
        trace.rates.len() as f64 * 60.0,
        trace.warm_up as f64 * 86_400.0,
        settings,
    )
}

pub fn run_arrivals(
    arrivals: &[(f64, f64)],
    until: f64,
    warm_up: f64,
    settings: &Settings,
) -> Replay {
    let bound = Bound {
        executors: u32::MAX,
        because: String::new(),
    };
    let mut result = Replay {
        waits: vec![],
        worker_seconds: 0.0,
        decisions: vec![],
        desired: vec![],
    };
    let mut events = BinaryHeap::new();
    let mut queue: VecDeque<(f64, f64)> = VecDeque::new();
    let mut workers: Vec<Worker> = vec![];
    let (mut memory, mut desired, mut changed_at) = (Memory::default(), settings.min, None);
    let (mut records, mut next_pid, mut arrived): (Vec<Recorded>, i32, usize) = (vec![], 1, 0);
    events.push(Reverse((0, Event::Look)));

    loop {
        let next = events.peek().map(|Reverse((at, _))| *at);
        let arrival = arrivals.get(arrived).map(|(at, _)| micros(*at));
        let now = match (arrival, next) {
            (Some(arrival), Some(next)) if arrival < next => {
                queue.push_back(arrivals[arrived]);
                arrived += 1;
                arrival as f64 / 1e6
            }
            (_, Some(_)) => {
                let Some(Reverse((at, event))) = events.pop() else {
                    break;
                };
                let now = at as f64 / 1e6;
                match event {
                    Event::Ready => {}
                    Event::Ends(pid) => end(&mut workers, pid, now, warm_up, &mut result),
                    Event::Look => {
                        if now > until {
                            break;
                        }
                        let load = Load {
                            now,
                            depth: (queue.len() as u32).min(DEPTH_LIMIT),
                            executors: workers.iter().map(|worker| worker.seen.clone()).collect(),
                        };
                        let usual = usual(settings, now, &records);
                        let outcome = look(
                            settings,
                            desired,
                            changed_at,
                            &bound,
                            &load,
                            usual.as_ref(),
                            &mut memory,
                        );
                        if outcome.desired != desired {
                            changed_at = Some(now);
                        }
                        desired = outcome.desired;
                        result.desired.push(desired);
                        records.extend(outcome.recorded);
                        if let Some(decision) = outcome.decision {
                            result.decisions.push((now, decision));
                        }
                        follow(
                            &mut workers,
                            &mut events,
                            &mut next_pid,
                            desired,
                            now,
                            warm_up,
                            &mut result,
                        );
                        events.push(Reverse((micros(now + settings.interval), Event::Look)));
                    }
                }
                now
            }
            _ => break,
        };
        // Whoever is free takes the oldest.
        for worker in &mut workers {
            if queue.is_empty() {
                break;
            }
            if worker.seen.busy || worker.seen.draining || worker.ready_at > now {
                continue;
            }
            if let Some((at, service)) = queue.pop_front() {
                if at >= warm_up {
                    result.waits.push(now - at);
                }
                worker.seen.busy = true;
                worker.seen.state_since = now;
                worker.ends_at = Some(now + service);
                events.push(Reverse((
                    micros(now + service),
                    Event::Ends(worker.seen.pid),
                )));
            }
        }
    }
    for worker in &workers {
        result.worker_seconds += (until - worker.seen.started_at.max(warm_up)).max(0.0);
    }
    result.waits.sort_by(f64::total_cmp);
    result
}

fn end(workers: &mut Vec<Worker>, pid: i32, now: f64, warm_up: f64, result: &mut Replay) {
    let Some(index) = workers.iter().position(|worker| worker.seen.pid == pid) else {
        return;
    };
    let worker = &mut workers[index];
    worker.seen.busy_us += ((now - worker.seen.state_since) * 1e6) as i64;
    worker.seen.steps += 1;
    worker.seen.busy = false;
    worker.seen.state_since = now;
    if worker.seen.draining {
        let worker = workers.swap_remove(index);
        result.worker_seconds += (now - worker.seen.started_at.max(warm_up)).max(0.0);
    }
}

/// What the coordinator does: starts what is missing, drains what is too many, idle ones first.
fn follow(
    workers: &mut Vec<Worker>,
    events: &mut BinaryHeap<Reverse<(u64, Event)>>,
    next_pid: &mut i32,
    desired: u32,
    now: f64,
    warm_up: f64,
    result: &mut Replay,
) {
    let mut there = workers.iter().filter(|w| !w.seen.draining).count() as u32;
    while there < desired {
        workers.push(Worker {
            seen: Executor {
                pid: *next_pid,
                started_at: now,
                busy: false,
                state_since: now,
                draining: false,
                steps: 0,
                failures: 0,
                busy_us: 0,
            },
            ready_at: now + START,
            ends_at: None,
        });
        events.push(Reverse((micros(now + START), Event::Ready)));
        *next_pid += 1;
        there += 1;
    }
    while there > desired {
        there -= 1;
        if let Some(index) = workers
            .iter()
            .position(|w| !w.seen.busy && !w.seen.draining)
        {
            let worker = workers.swap_remove(index);
            result.worker_seconds += (now - worker.seen.started_at.max(warm_up)).max(0.0);
        } else if let Some(worker) =
            workers
                .iter_mut()
                .filter(|w| !w.seen.draining)
                .min_by(|a, b| {
                    a.ends_at
                        .unwrap_or(0.0)
                        .total_cmp(&b.ends_at.unwrap_or(0.0))
                })
        {
            worker.seen.draining = true;
        }
    }
}

fn usual(settings: &Settings, now: f64, records: &[Recorded]) -> Option<Usual> {
    let asked: Vec<Recorded> = forecast::spans(settings, now)
        .into_iter()
        .flat_map(|(from, to)| {
            let start = records.partition_point(|r| r.minute < from);
            records[start..].iter().take_while(move |r| r.minute <= to)
        })
        .copied()
        .collect();
    Usual::new(settings, now, records.first().map(|r| r.minute), &asked)
}
