//! What a claim and a report cost with little and with much in the tables: pending steps, finished steps.
//!
//! Every size lives in a database of its own, so that the sizes can take turns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postgres::{Client, Statement};

use super::history;
use crate::cli::{DepthArgs, Switch};
use crate::connect::Server;
use crate::raw::{Json, Uuid};
use crate::report::{self, Spread, number};
use crate::setup;
use crate::shape::{Order, Shape};

/// Pending tasks of every database of the scenario `finished`.
const FEW: u64 = 5_000;
const DATABASE: &str = "tasker_load_depth";

/// Calls of one kind in one round.
struct Calls {
    median_us: f64,
    p95_us: f64,
    buffers: f64,
}

struct Site {
    label: String,
    database: String,
    client: Client,
    namespace: String,
    claim: Statement,
    report: Statement,
    rounds: Vec<(Calls, Calls)>,
}

pub fn backlog(server: &Server, admin: &mut Client, args: &DepthArgs) -> Result<bool> {
    println!("\n## backlog: one step claimed out of many pending\n");
    compare(server, admin, args, |_, size| {
        Ok((size, format!("{} pending", number(size as f64, 0))))
    })
}

pub fn finished(server: &Server, admin: &mut Client, args: &DepthArgs) -> Result<bool> {
    println!("\n## finished: one step claimed beside many finished ones\n");
    compare(server, admin, args, |site, size| {
        if size > 0 {
            history::make(site, size)?;
        }
        Ok((FEW, format!("{} finished", number(size as f64, 0))))
    })
}

fn compare(
    server: &Server,
    admin: &mut Client,
    args: &DepthArgs,
    fill: impl Fn(&Server, u64) -> Result<(u64, String)>,
) -> Result<bool> {
    let sync = args.sync == Switch::On;
    println!(
        "One client, synchronous_commit {}, {} calls x {} rounds, sizes in turns; medians of rounds, the middle half in parentheses.",
        if sync { "on" } else { "off" },
        args.calls,
        args.rounds
    );
    let mut sites = Vec::new();
    for (no, size) in args.sizes.iter().enumerate() {
        let database = format!("{DATABASE}_{no}");
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {database}"))?;
        admin.batch_execute(&format!("CREATE DATABASE {database}"))?;
        let own = server.database(&database);
        setup::extension(&mut own.connect()?, false)?;
        let (pending, label) = fill(&own, *size)?;
        // Every round takes tasks away.
        let spare = (args.calls * args.rounds + 100) as u64;
        sites.push(Site::open(&own, label, database, pending + spare, sync)?);
    }
    for site in &mut sites {
        site.round(100)?;
        site.rounds.clear();
    }
    admin.batch_execute("CHECKPOINT")?;
    for _ in 0..args.rounds {
        for site in &mut sites {
            site.round(args.calls)?;
        }
    }
    show(&sites);
    for site in sites {
        drop((site.claim, site.report, site.client));
        admin.batch_execute(&format!("DROP DATABASE {}", site.database))?;
    }
    Ok(true)
}

impl Site {
    fn open(
        server: &Server,
        label: String,
        database: String,
        tasks: u64,
        sync: bool,
    ) -> Result<Site> {
        let mut client = server.connect_with(sync)?;
        let namespace = setup::namespace("depth")?;
        setup::register(&mut client, Shape::Single, &namespace, Order::Fifo)?;
        setup::create(&mut client, Shape::Single, &namespace, tasks)?;
        setup::settle(&mut client)?;
        let claim =
            client.prepare("SELECT step_uuid, claim_number FROM tasker.claim_steps($1, namespaces => $2, max_steps => 1)")?;
        let report = client.prepare("SELECT outcome FROM tasker.report_steps($1, $2)")?;
        Ok(Site {
            label,
            database,
            client,
            namespace,
            claim,
            report,
            rounds: Vec::new(),
        })
    }

    /// All claims, then all reports, each with its own count of buffers.
    fn round(&mut self, calls: usize) -> Result<()> {
        let worker = format!("{}-0", self.namespace);
        let namespaces = vec![self.namespace.clone()];
        let mut held: Vec<(Uuid, i32)> = Vec::with_capacity(calls);
        let before = buffers(&mut self.client)?;
        let mut claims = Vec::with_capacity(calls);
        for _ in 0..calls {
            let started = Instant::now();
            let row = self
                .client
                .query_opt(&self.claim, &[&worker, &namespaces])?
                .context("nothing left to claim")?;
            claims.push(started.elapsed());
            held.push((row.try_get(0)?, row.try_get(1)?));
        }
        let between = buffers(&mut self.client)?;
        let mut reports = Vec::with_capacity(calls);
        for (step, number) in held {
            let report = format!(
                r#"[{{"step_uuid":"{step}","claim_number":{number},"status":"complete","results":{{"result":64}}}}]"#
            );
            let started = Instant::now();
            self.client
                .query(&self.report, &[&worker, &Json(&report)])?;
            reports.push(started.elapsed());
        }
        let after = buffers(&mut self.client)?;
        self.rounds.push((
            Calls::of(claims, between - before),
            Calls::of(reports, after - between),
        ));
        Ok(())
    }
}

impl Calls {
    fn of(mut times: Vec<Duration>, buffers: i64) -> Calls {
        times.sort_unstable();
        let at = |share: f64| {
            times
                .get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        Calls {
            median_us: at(0.5),
            p95_us: at(0.95),
            buffers: buffers as f64 / times.len().max(1) as f64,
        }
    }
}

/// Buffers touched in all relations of the database; no other session uses it.
fn buffers(client: &mut Client) -> Result<i64> {
    crate::counters::flush(client)?;
    let row = client.query_one(
        "SELECT sum(coalesce(heap_blks_hit, 0) + coalesce(heap_blks_read, 0) + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0)
                    + coalesce(toast_blks_hit, 0) + coalesce(toast_blks_read, 0))::bigint
         FROM pg_statio_user_tables",
        &[],
    )?;
    Ok(row.try_get(0)?)
}

fn show(sites: &[Site]) {
    report::head(&[
        "tables hold",
        "claim median us",
        "ratio",
        "p95 us",
        "buffers",
        "report median us",
        "ratio",
        "p95 us",
        "buffers",
    ]);
    let Some(first) = sites.first() else { return };
    for site in sites {
        let mut cells = vec![site.label.clone()];
        for pick in [
            (|round| &round.0) as fn(&(Calls, Calls)) -> &Calls,
            |round| &round.1,
        ] {
            let spread = |of: fn(&Calls) -> f64| {
                Spread::middle_half(site.rounds.iter().map(|round| of(pick(round))))
            };
            let ratios = site
                .rounds
                .iter()
                .zip(&first.rounds)
                .map(|(own, base)| pick(own).median_us / pick(base).median_us);
            cells.push(spread(|calls| calls.median_us).show(0));
            cells.push(Spread::middle_half(ratios).show(2));
            cells.push(number(spread(|calls| calls.p95_us).median, 0));
            cells.push(number(spread(|calls| calls.buffers).median, 1));
        }
        report::row(&cells);
    }
}
