//! A lane: workers of one shape in a namespace of their own, kept busy, measured in windows.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use postgres::Client;

use crate::connect::Server;
use crate::counters::{self, Counters, WalKind};
use crate::setup;
use crate::shape::{Order, Shape};
use crate::worker::{Manner, Recent, Tally, Worker};

/// How much more backlog than the last rate would need.
const SPARE: f64 = 1.8;
/// After ANALYZE the sessions plan again; not counted.
const LEAD_IN: Duration = Duration::from_millis(300);

/// One measured window.
#[derive(Clone)]
pub struct Window {
    pub seconds: f64,
    pub tally: Tally,
    /// Completed within the window and by the drain that ends it: what the counters belong to.
    pub counted_steps: u64,
    pub counters: Counters,
    pub wal: Option<Vec<WalKind>>,
}

impl Window {
    pub fn steps_per_second(&self) -> f64 {
        self.tally.completed as f64 / self.seconds
    }

    pub fn calls_per_second(&self) -> f64 {
        self.tally.calls as f64 / self.seconds
    }
}

pub struct Lane {
    pub shape: Shape,
    pub namespace: String,
    pub workers: Vec<Worker>,
    pub created: u64,
    pub creating_seconds: f64,
    /// Everything since the lane was opened, counted or not.
    pub total: Tally,
    pub cancelled: u64,
    /// Completed steps per second, as last seen.
    rate: f64,
}

impl Lane {
    pub fn open(
        server: &Server,
        admin: &mut Client,
        shape: Shape,
        order: Order,
        clients: usize,
        manner: &Manner,
        recent: Option<Recent>,
    ) -> Result<Lane> {
        let namespace = setup::namespace(shape.name())?;
        setup::register(admin, shape, &namespace, order)?;
        let manner = Manner {
            namespace: namespace.clone(),
            ..manner.clone()
        };
        let workers = (0..clients)
            .map(|no| {
                Worker::new(
                    server,
                    format!("{namespace}-{no}"),
                    manner.clone(),
                    recent.clone(),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let rate = if manner.batch >= 10 {
            50_000.0
        } else {
            1_500.0 * clients as f64
        };
        Ok(Lane {
            shape,
            namespace,
            workers,
            created: 0,
            creating_seconds: 0.0,
            total: Tally::new()?,
            cancelled: 0,
            rate,
        })
    }

    /// Creates what the workers may need in this time, as far as it is not there yet.
    pub fn top_up(&mut self, admin: &mut Client, seconds: f64) -> Result<()> {
        let steps = self.shape.steps();
        let begun = self.total.completed.div_ceil(steps) + self.cancelled;
        let wanted = (self.rate * SPARE * seconds / steps as f64) as u64 + 500;
        let missing = (begun + wanted).saturating_sub(self.created);
        if missing > 0 {
            self.creating_seconds += setup::create(admin, self.shape, &self.namespace, missing)?;
            self.created += missing;
        }
        Ok(())
    }

    /// Runs uncounted; afterwards the rate is known.
    pub fn warm_up(&mut self, admin: &mut Client, seconds: f64) -> Result<()> {
        if seconds <= 0.0 {
            return Ok(());
        }
        self.top_up(admin, seconds)?;
        let (tally, elapsed) = self.run(Duration::from_secs_f64(seconds))?;
        self.rate = tally.completed as f64 / elapsed;
        self.drain()?;
        Ok(())
    }

    /// Tops up, tidies the server, then measures.
    pub fn measure(&mut self, admin: &mut Client, seconds: f64) -> Result<Window> {
        self.top_up(admin, seconds + 1.0)?;
        setup::settle(admin)?;
        self.measure_now(admin, seconds)
    }

    /// Measures without any preparation but the lead-in.
    pub fn measure_now(&mut self, admin: &mut Client, seconds: f64) -> Result<Window> {
        self.run(LEAD_IN)?;
        self.drain()?;
        let before = Counters::read(admin)?;
        let (tally, elapsed) = self.run(Duration::from_secs_f64(seconds))?;
        let rest = self.drain()?;
        let after = Counters::read(admin)?;
        self.rate = tally.completed as f64 / elapsed;
        let wal = counters::wal_kinds(admin, before.lsn, after.lsn);
        Ok(Window {
            seconds: elapsed,
            counted_steps: tally.completed + rest.completed,
            tally,
            counters: after.since(&before),
            wal,
        })
    }

    /// All workers at once.
    pub fn run(&mut self, length: Duration) -> Result<(Tally, f64)> {
        let started = Instant::now();
        let deadline = started + length;
        let tallies = thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .map(|worker| scope.spawn(move || worker.run(started, deadline)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err(anyhow!("a worker's thread panicked")))
                })
                .collect::<Result<Vec<_>>>()
        })?;
        let elapsed = started.elapsed().as_secs_f64();
        let mut sum = Tally::new()?;
        for tally in &tallies {
            sum.add(tally)?;
        }
        self.total.add(&sum)?;
        Ok((sum, elapsed))
    }

    /// Every worker reports what it holds; nothing stays claimed.
    pub fn drain(&mut self) -> Result<Tally> {
        let mut sum = Tally::new()?;
        for worker in &mut self.workers {
            sum.add(&worker.drain()?)?;
        }
        self.total.add(&sum)?;
        Ok(sum)
    }
}
