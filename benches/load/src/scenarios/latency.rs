//! One task of five steps from create to complete, with one idle worker that LISTEN wakes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Statement};

use crate::cli::{LatencyArgs, Switch};
use crate::connect::Server;
use crate::counters::{self, Counters};
use crate::pgbench::Pgbench;
use crate::raw::{Json, Uuid};
use crate::report::{self, Spread, number};
use crate::setup;
use crate::shape::{Order, Shape};

/// A worker that was not woken looks by itself after this time.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn run(server: &Server, admin: &mut Client, args: &LatencyArgs) -> Result<bool> {
    let sync = args.sync == Switch::On;
    println!(
        "\n## latency: linear-5 from create to complete, one idle worker\n\n{} tasks x {} rounds, synchronous_commit {}, full rows.",
        args.tasks,
        args.rounds,
        if sync { "on" } else { "off" }
    );
    let pgbench = Pgbench::prepare(server, admin, args.scale, 1, sync)?;
    let namespace = setup::namespace("latency")?;
    setup::register(admin, Shape::Linear5, &namespace, Order::Fifo)?;
    let mut pair = Pair::new(server, &namespace, sync)?;
    report::head(&[
        "round",
        "median ms",
        "p95 ms",
        "worker's round trips",
        "commits counted",
        "not woken",
        "pgbench -N median ms",
        "ratio to 6 of them",
    ]);
    let mut ratios = Vec::new();
    for no in 1..=args.rounds {
        let round = pair.round(admin, args.tasks)?;
        let reference = pgbench.run(admin, args.seconds)?;
        let at = |share: f64| {
            round.times[((args.tasks as f64 * share) as usize).min(args.tasks - 1)] * 1000.0
        };
        let ratio = at(0.5) / (6.0 * reference.median_ms);
        ratios.push(ratio);
        report::row(&[
            no.to_string(),
            number(at(0.5), 2),
            number(at(0.95), 2),
            number(round.round_trips as f64 / args.tasks as f64, 2),
            number(round.commits as f64 / args.tasks as f64, 2),
            round.not_woken.to_string(),
            number(reference.median_ms, 3),
            number(ratio, 2),
        ]);
    }
    println!(
        "\nThe server counts create, the worker's calls and, as one more without a write, the wake-up itself as commits."
    );
    println!(
        "\nThe median task takes {} times as long as 6 single-client pgbench -N transactions.",
        Spread::of(ratios).show(2)
    );
    Ok(true)
}

/// Seconds of each task, sorted, and what all of them took together.
#[derive(Default)]
struct Round {
    times: Vec<f64>,
    round_trips: u64,
    commits: i64,
    not_woken: u64,
}

/// One session creates, the other works.
struct Pair {
    creator: Client,
    create: Statement,
    worker: Client,
    call: Statement,
    namespace: String,
}

impl Pair {
    fn new(server: &Server, namespace: &str, sync: bool) -> Result<Pair> {
        let mut creator = server.connect_with(sync)?;
        let create = creator.prepare("SELECT tasker.create_task($1, $2, namespace => $3)")?;
        let mut worker = server.connect_with(sync)?;
        worker.batch_execute(&format!("LISTEN \"tasker_{namespace}\""))?;
        let call =
            worker.prepare("SELECT * FROM tasker.report_and_claim($1, $2, namespaces => $3)")?;
        Ok(Pair {
            creator,
            create,
            worker,
            call,
            namespace: namespace.to_owned(),
        })
    }

    fn round(&mut self, admin: &mut Client, tasks: usize) -> Result<Round> {
        // The first task warms up both sessions; after it the worker is known as idle.
        ensure!(self.turn("[]")?.is_none(), "the namespace was not empty");
        self.task(&mut Round::default())?;
        self.flush()?;
        let before = Counters::read(admin)?;
        let mut round = Round::default();
        for _ in 0..tasks {
            self.task(&mut round)?;
        }
        self.flush()?;
        round.commits = Counters::read(admin)?.since(&before).commits;
        round.times.sort_by(f64::total_cmp);
        Ok(round)
    }

    fn flush(&mut self) -> Result<()> {
        counters::flush(&mut self.creator)?;
        counters::flush(&mut self.worker)
    }

    fn task(&mut self, round: &mut Round) -> Result<()> {
        // What woke for the last task is of no interest.
        while self.worker.notifications().iter().next()?.is_some() {}
        let started = Instant::now();
        let context = Json(r#"{"even_number": 8}"#);
        self.creator.query_one(
            &self.create,
            &[&Shape::Linear5.name(), &context, &self.namespace],
        )?;
        if self
            .worker
            .notifications()
            .timeout_iter(PATIENCE)
            .next()?
            .is_none()
        {
            round.not_woken += 1;
        }
        let mut reports = "[]".to_owned();
        let mut completed = 0;
        while completed < Shape::Linear5.steps() {
            round.round_trips += 1;
            completed += u64::from(reports.len() > 2);
            reports = match self.turn(&reports)? {
                Some((step, number)) => format!(
                    r#"[{{"step_uuid":"{step}","claim_number":{number},"status":"complete","results":{{"result":64}}}}]"#
                ),
                None => "[]".to_owned(),
            };
        }
        round.times.push(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn turn(&mut self, reports: &str) -> Result<Option<(Uuid, i32)>> {
        let namespaces = vec![self.namespace.as_str()];
        let row = self.worker.query_opt(
            &self.call,
            &[
                &format!("{}-0", self.namespace),
                &Json(reports),
                &namespaces,
            ],
        )?;
        match row {
            Some(row) => {
                let outcome: &str = row.try_get("outcome")?;
                ensure!(outcome == "claimed", "a report was refused: {outcome}");
                Ok(Some((
                    row.try_get("step_uuid")?,
                    row.try_get("claim_number")?,
                )))
            }
            None => Ok(None),
        }
    }
}
