//! One worker as a user would write it: report what is done, claim the next, on one prepared statement.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Client, Row, Statement};

use crate::connect::Server;
use crate::raw::{Json, Raw, Uuid};

const NARROW: &str = "outcome, step_uuid, claim_number";
const FULL: &str = "outcome, step_uuid, claim_number, task_uuid, attempt, retry_limit, namespace, queue, task_name, \
     version, step_name, handler, handler_config, context, dependency_results, lease_expires_at, correlation_id, traceparent, \
     tracestate";

/// How the workers of a run behave.
#[derive(Clone)]
pub struct Manner {
    pub namespace: String,
    pub batch: i32,
    pub sync: bool,
    /// All columns, as a real worker reads them, or only what a report needs.
    pub full_rows: bool,
    pub results_bytes: usize,
}

/// What one or several workers did in a window.
#[derive(Clone)]
pub struct Tally {
    pub latency: Histogram<u64>,
    pub calls: u64,
    pub claimed: u64,
    pub completed: u64,
    pub deadlocks: u64,
    /// Calls that had nothing to report and got nothing.
    pub empty: u64,
    pub refused: BTreeMap<String, u64>,
    /// Completed steps by the step's number in its workflow.
    pub by_step: BTreeMap<u16, u64>,
    pub per_second: Vec<u64>,
}

impl Tally {
    pub fn new() -> Result<Tally> {
        // Microseconds, up to ten minutes, three digits.
        let latency = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        Ok(Tally {
            latency,
            calls: 0,
            claimed: 0,
            completed: 0,
            deadlocks: 0,
            empty: 0,
            refused: BTreeMap::new(),
            by_step: BTreeMap::new(),
            per_second: Vec::new(),
        })
    }

    pub fn add(&mut self, other: &Tally) -> Result<()> {
        self.latency.add(&other.latency)?;
        self.calls += other.calls;
        self.claimed += other.claimed;
        self.completed += other.completed;
        self.deadlocks += other.deadlocks;
        self.empty += other.empty;
        for (outcome, count) in &other.refused {
            *self.refused.entry(outcome.clone()).or_default() += count;
        }
        for (no, count) in &other.by_step {
            *self.by_step.entry(*no).or_default() += count;
        }
        if self.per_second.len() < other.per_second.len() {
            self.per_second.resize(other.per_second.len(), 0);
        }
        for (sum, count) in self.per_second.iter_mut().zip(&other.per_second) {
            *sum += count;
        }
        Ok(())
    }
}

/// Tasks that are being worked on, for the sessions that interfere. Old ones are overwritten.
pub type Recent = Arc<Mutex<Vec<Uuid>>>;
const RECENT: usize = 512;

pub struct Worker {
    client: Client,
    call: Statement,
    report: Statement,
    id: String,
    manner: Manner,
    results: String,
    held: Vec<(Uuid, i32)>,
    recent: Option<Recent>,
}

impl Worker {
    pub fn new(
        server: &Server,
        id: String,
        manner: Manner,
        recent: Option<Recent>,
    ) -> Result<Worker> {
        let mut client = server.connect_with(manner.sync)?;
        let columns = if manner.full_rows { FULL } else { NARROW };
        let call = client
            .prepare(&format!(
                "SELECT {columns} FROM tasker.report_and_claim($1, $2, namespaces => $3, max_steps => $4)"
            ))
            .context("tasker.report_and_claim cannot be prepared")?;
        let report =
            client.prepare("SELECT step_uuid, outcome FROM tasker.report_steps($1, $2)")?;
        // Random, so that it cannot be compressed away.
        let padding: String = (0..manner
            .results_bytes
            .saturating_sub(r#"{"result":""}"#.len()))
            .map(|_| fastrand::alphanumeric())
            .collect();
        let results = format!(r#"{{"result":"{padding}"}}"#);
        Ok(Worker {
            client,
            call,
            report,
            id,
            manner,
            results,
            held: Vec::new(),
            recent,
        })
    }

    /// Calls until the deadline.
    pub fn run(&mut self, started: Instant, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::new()?;
        while Instant::now() < deadline {
            let completed = self.turn(&mut tally)?;
            let second = started.elapsed().as_secs() as usize;
            if tally.per_second.len() <= second {
                tally.per_second.resize(second + 1, 0);
            }
            tally.per_second[second] += completed;
        }
        Ok(tally)
    }

    /// One call; returns how many of the reports were accepted.
    fn turn(&mut self, tally: &mut Tally) -> Result<u64> {
        let reports = self.reports();
        let namespaces = vec![self.manner.namespace.as_str()];
        let started = Instant::now();
        let rows = patiently(&mut tally.deadlocks, || {
            let params: [&(dyn ToSql + Sync); 4] =
                [&self.id, &Json(&reports), &namespaces, &self.manner.batch];
            self.client.query(&self.call, &params)
        })?;
        tally
            .latency
            .saturating_record(started.elapsed().as_micros() as u64);
        tally.calls += 1;
        let before = std::mem::take(&mut self.held);
        let mut refused: Vec<Uuid> = Vec::new();
        for row in &rows {
            let outcome: &str = row.try_get(0)?;
            let step: Uuid = row.try_get(1)?;
            if outcome == "claimed" {
                self.read(row)?;
                self.held.push((step, row.try_get(2)?));
            } else {
                *tally.refused.entry(outcome.to_owned()).or_default() += 1;
                refused.push(step);
            }
        }
        tally.claimed += self.held.len() as u64;
        let completed = count(tally, &before, &refused);
        if before.is_empty() && self.held.is_empty() {
            tally.empty += 1;
            thread::sleep(Duration::from_millis(1));
        }
        self.remember();
        Ok(completed)
    }

    /// Reports what is held and claims nothing, so that nothing is left behind; then publishes the session's statistics.
    pub fn drain(&mut self) -> Result<Tally> {
        let mut tally = Tally::new()?;
        if !self.held.is_empty() {
            let reports = self.reports();
            let rows = patiently(&mut tally.deadlocks, || {
                self.client
                    .query(&self.report, &[&self.id, &Json(&reports)])
            })?;
            let mut refused = Vec::new();
            for row in &rows {
                let outcome: &str = row.try_get(1)?;
                if outcome != "complete" {
                    *tally.refused.entry(outcome.to_owned()).or_default() += 1;
                    refused.push(row.try_get(0)?);
                }
            }
            let held = std::mem::take(&mut self.held);
            count(&mut tally, &held, &refused);
        }
        crate::counters::flush(&mut self.client)?;
        Ok(tally)
    }

    /// What a worker does with the row: look at every column.
    fn read(&self, row: &Row) -> Result<()> {
        let mut bytes = 0;
        for column in 3..row.len() {
            bytes += row
                .try_get::<_, Option<Raw>>(column)?
                .map_or(0, |raw| raw.0.len());
        }
        std::hint::black_box(bytes);
        Ok(())
    }

    fn reports(&self) -> String {
        let mut text = String::with_capacity(self.held.len() * (120 + self.results.len()) + 2);
        text.push('[');
        for (index, (step, claim_number)) in self.held.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                r#"{comma}{{"step_uuid":"{step}","claim_number":{claim_number},"status":"complete","results":{}}}"#,
                self.results
            );
        }
        text.push(']');
        text
    }

    fn remember(&self) {
        let Some(Ok(mut recent)) = self.recent.as_ref().map(|recent| recent.try_lock()) else {
            return;
        };
        for (step, _) in &self.held {
            if recent.len() < RECENT {
                recent.push(step.task());
            } else {
                let place = fastrand::usize(..RECENT);
                recent[place] = step.task();
            }
        }
    }
}

fn count(tally: &mut Tally, reported: &[(Uuid, i32)], refused: &[Uuid]) -> u64 {
    let mut completed = 0;
    for (step, _) in reported {
        if refused.is_empty() || !refused.contains(step) {
            *tally.by_step.entry(step.step_no()).or_default() += 1;
            completed += 1;
        }
    }
    tally.completed += completed;
    completed
}

/// Repeats a call that was chosen as a deadlock's victim, after a moment that differs from caller to caller.
pub fn patiently<T>(
    deadlocks: &mut u64,
    mut call: impl FnMut() -> Result<T, postgres::Error>,
) -> Result<T, postgres::Error> {
    loop {
        match call() {
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {
                *deadlocks += 1;
                thread::sleep(Duration::from_micros(fastrand::u64(1_000..20_000)));
            }
            other => return other,
        }
    }
}
