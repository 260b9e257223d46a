//! A pool of executors, event by event: steps arrive and wait in one queue, executors take the oldest, and every interval
//! the rules evaluate and are followed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tasker_rules::operations::scaling::forecast::{self, Usual};
use tasker_rules::operations::scaling::{
    Bound, DEPTH_LIMIT, Decision, Executor, Load, Memory, Recorded, Settings, evaluate,
};

use crate::traces::Trace;

/// From the decision to the first claim of a new executor: a fork, a connection, the caches.
const START: f64 = 0.5;

/// The result of a replay.
pub struct Replay {
    /// Waits of the steps that arrived after the warm-up, in seconds, ascending.
    pub waits: Vec<f64>,
    /// Seconds that executors existed after the warm-up.
    pub worker_seconds: f64,
    pub decisions: Vec<(f64, Decision)>,
    /// How many executors were wanted after each evaluation.
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

/// The order of events that fall together: a step ends, a step arrives, the rules evaluate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(i32),
    Ready,
    Evaluate,
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
    let mut pool = Pool::new(settings, warm_up);
    let mut arrivals = arrivals.iter().copied().peekable();
    while let Some(Reverse((next, _))) = pool.events.peek().copied() {
        if let Some(step) = arrivals.next_if(|(at, _)| micros(*at) < next) {
            pool.now = micros(step.0) as f64 / 1e6;
            pool.queue.push_back(step);
        } else if let Some(Reverse((at, event))) = pool.events.pop() {
            pool.now = at as f64 / 1e6;
            match event {
                Event::Ready => {}
                Event::Ends(pid) => pool.end(pid),
                Event::Evaluate if pool.now > until => break,
                Event::Evaluate => pool.evaluate(),
            }
        }
        pool.hand_out();
    }
    for worker in std::mem::take(&mut pool.workers) {
        pool.account(&worker, until);
    }
    pool.result.waits.sort_by(f64::total_cmp);
    pool.result
}

struct Pool<'a> {
    settings: &'a Settings,
    warm_up: f64,
    now: f64,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// When each step arrived, and how long it takes.
    queue: VecDeque<(f64, f64)>,
    workers: Vec<Worker>,
    next_pid: i32,
    memory: Memory,
    records: Vec<Recorded>,
    desired: u32,
    changed_at: Option<f64>,
    result: Replay,
}

impl<'a> Pool<'a> {
    fn new(settings: &'a Settings, warm_up: f64) -> Self {
        Self {
            settings,
            warm_up,
            now: 0.0,
            events: BinaryHeap::from([Reverse((0, Event::Evaluate))]),
            queue: VecDeque::new(),
            workers: vec![],
            next_pid: 1,
            memory: Memory::default(),
            records: vec![],
            desired: settings.min,
            changed_at: None,
            result: Replay {
                waits: vec![],
                worker_seconds: 0.0,
                decisions: vec![],
                desired: vec![],
            },
        }
    }

    /// Every free worker takes the oldest step.
    fn hand_out(&mut self) {
        let now = self.now;
        for worker in &mut self.workers {
            if self.queue.is_empty() {
                break;
            }
            if worker.seen.busy || worker.seen.draining || worker.ready_at > now {
                continue;
            }
            if let Some((at, service)) = self.queue.pop_front() {
                if at >= self.warm_up {
                    self.result.waits.push(now - at);
                }
                worker.seen.busy = true;
                worker.seen.state_since = now;
                worker.ends_at = Some(now + service);
                let ends = Event::Ends(worker.seen.pid);
                self.events.push(Reverse((micros(now + service), ends)));
            }
        }
    }

    /// The step of a worker ends.
    fn end(&mut self, pid: i32) {
        let Some(index) = self.workers.iter().position(|w| w.seen.pid == pid) else {
            return;
        };
        let worker = &mut self.workers[index];
        worker.seen.busy_us += ((self.now - worker.seen.state_since) * 1e6) as i64;
        worker.seen.steps += 1;
        worker.seen.busy = false;
        worker.seen.state_since = self.now;
        if worker.seen.draining {
            self.remove(index);
        }
    }

    fn remove(&mut self, index: usize) {
        let worker = self.workers.swap_remove(index);
        self.account(&worker, self.now);
    }

    fn account(&mut self, worker: &Worker, until: f64) {
        self.result.worker_seconds += (until - worker.seen.started_at.max(self.warm_up)).max(0.0);
    }

    /// The rules evaluate the pool, and are followed.
    fn evaluate(&mut self) {
        let load = Load {
            now: self.now,
            depth: (self.queue.len() as u32).min(DEPTH_LIMIT),
            executors: self.workers.iter().map(|w| w.seen.clone()).collect(),
        };
        let bound = Bound {
            executors: u32::MAX,
            because: String::new(),
        };
        let outcome = evaluate(
            self.settings,
            self.desired,
            self.changed_at,
            &bound,
            &load,
            usual(self.settings, self.now, &self.records).as_ref(),
            &mut self.memory,
        );
        if outcome.desired != self.desired {
            self.changed_at = Some(self.now);
        }
        self.desired = outcome.desired;
        self.result.desired.push(outcome.desired);
        self.records.extend(outcome.recorded);
        if let Some(decision) = outcome.decision {
            self.result.decisions.push((self.now, decision));
        }
        self.follow();
        let next = micros(self.now + self.settings.interval);
        self.events.push(Reverse((next, Event::Evaluate)));
    }

    /// What the coordinator does: starts the missing workers, drains those above the wanted number, idle ones first.
    fn follow(&mut self) {
        let mut there = self.workers.iter().filter(|w| !w.seen.draining).count() as u32;
        while there < self.desired {
            self.start();
            there += 1;
        }
        while there > self.desired {
            there -= 1;
            let idle = |w: &Worker| !w.seen.busy && !w.seen.draining;
            if let Some(index) = self.workers.iter().position(idle) {
                self.remove(index);
                continue;
            }
            let ends = |w: &Worker| w.ends_at.unwrap_or(0.0);
            let busy = self.workers.iter_mut().filter(|w| !w.seen.draining);
            if let Some(worker) = busy.min_by(|a, b| ends(a).total_cmp(&ends(b))) {
                worker.seen.draining = true;
            }
        }
    }

    fn start(&mut self) {
        self.workers.push(Worker {
            seen: Executor {
                pid: self.next_pid,
                started_at: self.now,
                busy: false,
                state_since: self.now,
                draining: false,
                steps: 0,
                failures: 0,
                busy_us: 0,
            },
            ready_at: self.now + START,
            ends_at: None,
        });
        let ready = micros(self.now + START);
        self.events.push(Reverse((ready, Event::Ready)));
        self.next_pid += 1;
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
