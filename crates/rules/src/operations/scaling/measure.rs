//! What a pool did since the last evaluation, and the smoothed figures that follow from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Rule, Settings};

/// Evaluations over which the arrival rate and the utilisation are smoothed.
const EVALUATIONS: f64 = 12.0;
/// Steps over which the service rate is smoothed: it changes with the kind of work, not with its amount.
const SERVICE_STEPS: f64 = 100.0;
/// Steps over which the error rate is smoothed.
const ERROR_STEPS: f64 = 20.0;
/// Steps that must have been seen before a rate of them counts: three, as smoothing has it.
const SAMPLES: f64 = 2.5;

/// An executor as shared memory shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Executor {
    /// Process id; with `started_at` it tells executors apart.
    pub pid: i32,
    /// When it started.
    pub started_at: f64,
    /// Whether it runs a step now.
    pub busy: bool,
    /// Since when it is in its state.
    pub state_since: f64,
    /// Whether it ends after its step.
    pub draining: bool,
    /// Steps run since it started.
    pub steps: i64,
    /// Of these, how many failed.
    pub failures: i64,
    /// Microseconds spent on steps that have ended since it started.
    pub busy_us: i64,
}

/// A pool at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The instant.
    pub now: f64,
    /// Due entries in its queues, at most [`super::DEPTH_LIMIT`].
    pub depth: u32,
    /// Its executors, draining ones included.
    pub executors: Vec<Executor>,
}

/// The counters of an executor at the last evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    pid: i32,
    started_at: f64,
    steps: i64,
    failures: i64,
    busy: f64,
}

impl Executor {
    /// Seconds spent on steps since it started, the one that runs now included: it is counted while it runs, not when it ends.
    fn busy_seconds(&self, now: f64) -> f64 {
        let running = if self.busy {
            (now - self.state_since).max(0.0)
        } else {
            0.0
        };
        self.busy_us as f64 / 1e6 + running
    }
}

/// What is remembered of a pool between evaluations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    evaluated_at: Option<f64>,
    depth: u32,
    running: u32,
    seen: Vec<Seen>,
    /// Arrivals per second.
    pub(super) arrivals: Option<f64>,
    /// Share of executor time that was busy.
    pub(super) utilization: Option<f64>,
    /// Steps served lately and the seconds they took: their quotient is the service rate of one executor.
    pub(super) served: f64,
    pub(super) served_in: f64,
    /// Steps that ended lately, and how many of them failed.
    ended: f64,
    failed: f64,
    /// Since when every evaluation wanted fewer executors, and how many the busiest of these evaluations wanted.
    pub(super) fewer: Option<(f64, u32)>,
    /// When each answer that changes nothing was last written down.
    pub(super) said: BTreeMap<Rule, f64>,
    /// The minute that is being counted, for the forecast.
    pub(super) minute: Option<i64>,
    pub(super) minute_arrivals: f64,
    /// Smoothed arrivals per second as they were, and as the seasons before had it.
    pub(super) actual: f64,
    pub(super) usual: f64,
}

/// Arrivals of one minute, to be kept for the forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Minutes since the beginning of 1970.
    pub minute: i64,
    /// Steps that became due in it.
    pub arrivals: i64,
}

/// What the rules read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    /// Executors that are there and not draining.
    pub running: u32,
    /// Due entries.
    pub depth: u32,
    /// Smoothed share of executor time that was busy; `None` while there was no executor.
    pub utilization: Option<f64>,
    /// Smoothed arrivals per second; `None` at the first evaluation.
    pub arrival_rate: Option<f64>,
    /// Steps per second that one busy executor serves; `None` until some were seen.
    pub service_rate: Option<f64>,
    /// Share of the last steps that failed; `None` until some were seen.
    pub error_rate: Option<f64>,
    /// Steps that became due since the last evaluation.
    pub arrivals: f64,
    /// Seconds since the last evaluation; 0 at the first.
    pub elapsed: f64,
    /// Whether nothing at all happened since the last evaluation, and nothing waits or runs.
    pub quiet: bool,
}

/// How much of an old value a new one leaves after `passed`, with this time constant.
pub(super) fn keep(passed: f64, constant: f64) -> f64 {
    (-passed / constant).exp()
}

/// Compares what is there with what was there, and brings the memory up to date.
pub(super) fn measure(settings: &Settings, load: &Load, memory: &mut Memory) -> Figures {
    let passed = memory
        .evaluated_at
        .map_or(0.0, |then| (load.now - then).max(0.0));
    // A quiet pool is not remembered: what happened after a long silence happened just now.
    let elapsed = if passed > 2.0 * settings.interval {
        settings.interval
    } else {
        passed
    };
    let work = Work::since_last_evaluation(load, memory, elapsed);
    let running = load.executors.iter().filter(|e| e.busy).count() as u32;
    let first = memory.evaluated_at.is_none();
    let arrivals = if first {
        0.0
    } else {
        f64::from(load.depth) - f64::from(memory.depth) + work.steps as f64 + f64::from(running)
            - f64::from(memory.running)
    };
    let quiet = work.steps == 0
        && load.depth == 0
        && memory.depth == 0
        && running == 0
        && memory.running == 0;
    if !first && elapsed > 0.0 {
        let kept = keep(passed, EVALUATIONS * settings.interval);
        memory.smooth(&work, arrivals / elapsed, kept);
    }
    memory.remember(load, running);
    Figures {
        running: load.executors.iter().filter(|e| !e.draining).count() as u32,
        depth: load.depth,
        utilization: memory.utilization,
        arrival_rate: memory.arrivals,
        service_rate: memory.service_rate(settings),
        error_rate: (memory.ended >= SAMPLES).then(|| memory.failed / memory.ended),
        arrivals,
        elapsed,
        quiet,
    }
}

/// What the executors of a pool did since the last evaluation.
struct Work {
    steps: i64,
    failures: i64,
    /// Seconds spent on steps.
    busy: f64,
    /// Seconds that they were there.
    capacity: f64,
}

impl Work {
    fn since_last_evaluation(load: &Load, memory: &Memory, elapsed: f64) -> Self {
        let mut work = Self {
            steps: 0,
            failures: 0,
            busy: 0.0,
            capacity: 0.0,
        };
        for executor in &load.executors {
            let before = memory
                .seen
                .iter()
                .find(|seen| seen.pid == executor.pid && seen.started_at == executor.started_at);
            let since = |now: i64, then: fn(&Seen) -> i64| (now - before.map_or(0, then)).max(0);
            work.steps += since(executor.steps, |seen| seen.steps);
            work.failures += since(executor.failures, |seen| seen.failures);
            let present = elapsed.min((load.now - executor.started_at).max(0.0));
            let worked = executor.busy_seconds(load.now) - before.map_or(0.0, |seen| seen.busy);
            work.busy += worked.clamp(0.0, present);
            work.capacity += present;
        }
        work
    }
}

impl Memory {
    /// Folds the work since the last evaluation into the smoothed figures; `kept` is the weight of the old rates.
    fn smooth(&mut self, work: &Work, arrival_rate: f64, kept: f64) {
        // Negative where a batch was taken whole or steps were cancelled; the next evaluations make up for it.
        let smoothed = self
            .arrivals
            .map_or(arrival_rate, |old| old * kept + arrival_rate * (1.0 - kept));
        self.arrivals = Some(smoothed.max(0.0));
        if work.capacity > 0.0 {
            let share = work.busy / work.capacity;
            self.utilization = Some(
                self.utilization
                    .map_or(share, |old| old * kept + share * (1.0 - kept)),
            );
        }
        // Time without work says nothing about the service.
        let kept = keep(work.steps as f64, SERVICE_STEPS);
        self.served = self.served * kept + work.steps as f64;
        self.served_in = self.served_in * kept + work.busy;
        let kept = keep(work.steps as f64, ERROR_STEPS);
        self.ended = self.ended * kept + work.steps as f64;
        self.failed = self.failed * kept + work.failures as f64;
    }

    /// Keeps the counters that the next evaluation compares with.
    fn remember(&mut self, load: &Load, running: u32) {
        self.evaluated_at = Some(load.now);
        self.depth = load.depth;
        self.running = running;
        self.seen = load
            .executors
            .iter()
            .map(|e| Seen {
                pid: e.pid,
                started_at: e.started_at,
                steps: e.steps,
                failures: e.failures,
                busy: e.busy_seconds(load.now),
            })
            .collect();
    }

    /// Steps per second of one busy executor. While the first long steps run, the rate is at most what it would be if one
    /// of them ended now.
    fn service_rate(&self, settings: &Settings) -> Option<f64> {
        if self.served >= SAMPLES && self.served_in > 0.0 {
            Some(self.served / self.served_in)
        } else if self.served_in >= settings.interval {
            Some((self.served + 1.0) / self.served_in)
        } else {
            None
        }
    }
}
