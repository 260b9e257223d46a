//! Workers loop on report_and_claim; shapes and pgbench take turns, so that a noisy machine is noisy for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow};
use postgres::Client;

use super::cancels::{self, Cancelled};
use crate::checks;
use crate::cli::{LoadArgs, RunArgs, Switch};
use crate::connect::Server;
use crate::lane::{Lane, Window};
use crate::pgbench::{Pgbench, Reference};
use crate::report::{self, Spread, number};
use crate::worker::{Manner, Recent};

impl LoadArgs {
    pub fn manner(&self) -> Manner {
        Manner {
            namespace: String::new(),
            batch: self.batch,
            sync: self.sync == Switch::On,
            full_rows: !self.narrow_rows,
            results_bytes: self.results_bytes,
        }
    }

    pub fn describe(&self) -> String {
        format!(
            "{} clients, batch {}, synchronous_commit {}, results of {} bytes, {} rows, order {:?}, {} s x {} rounds",
            self.clients,
            self.batch,
            if self.sync == Switch::On { "on" } else { "off" },
            self.results_bytes,
            if self.narrow_rows { "narrow" } else { "full" },
            self.order,
            self.seconds,
            self.rounds
        )
    }
}

/// Returns whether everything was correct.
pub fn run(server: &Server, admin: &mut Client, args: &RunArgs) -> Result<bool> {
    let load = &args.load;
    let names: Vec<&str> = args.shapes.iter().map(|shape| shape.name()).collect();
    println!(
        "\n## {}{}\n\n{}.",
        names.join(", "),
        if args.cancels > 0 {
            " under a storm of cancels"
        } else {
            ""
        },
        load.describe()
    );
    let pgbench = match args.reference {
        true => Some(Pgbench::prepare(
            server,
            admin,
            args.scale,
            load.clients,
            load.sync == Switch::On,
        )?),
        false => None,
    };
    let recent = (args.cancels > 0).then(Recent::default);
    let mut lanes = Vec::new();
    for shape in &args.shapes {
        let lane = Lane::open(
            server,
            admin,
            *shape,
            load.order,
            load.clients,
            &load.manner(),
            recent.clone(),
        )?;
        lanes.push((lane, Vec::new(), Cancelled::default()));
    }
    let mut references = Vec::new();
    for _ in 0..load.rounds {
        for (lane, windows, cancelled) in &mut lanes {
            lane.warm_up(admin, load.warmup)?;
            windows.push(match &recent {
                Some(recent) => stormy(server, admin, lane, args, recent, cancelled)?,
                None => lane.measure(admin, load.seconds)?,
            });
        }
        if let Some(pgbench) = &pgbench {
            references.push(pgbench.run(admin, load.seconds)?);
        }
    }
    let mut correct = true;
    for (lane, windows, cancelled) in &lanes {
        correct &= show(admin, args, lane, windows, cancelled)?;
    }
    if !references.is_empty() {
        show_reference(&references);
    }
    show_ratios(&lanes, &references);
    Ok(correct)
}

fn stormy(
    server: &Server,
    admin: &mut Client,
    lane: &mut Lane,
    args: &RunArgs,
    recent: &Recent,
    sum: &mut Cancelled,
) -> Result<Window> {
    if let Ok(mut recent) = recent.lock() {
        recent.clear();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (namespace, sync) = (lane.namespace.clone(), args.load.sync == Switch::On);
    lane.cancelled += (args.cancels as f64 * args.load.seconds) as u64;
    let (window, cancelled) = thread::scope(|scope| {
        let storm =
            scope.spawn(|| cancels::storm(server, &namespace, sync, args.cancels, recent, &stop));
        let window = lane.measure(admin, args.load.seconds);
        stop.store(true, Ordering::Relaxed);
        (
            window,
            storm
                .join()
                .unwrap_or_else(|_| Err(anyhow!("the cancelling thread panicked"))),
        )
    });
    let cancelled = cancelled?;
    sum.done += cancelled.done;
    sum.refused += cancelled.refused;
    sum.deadlocks += cancelled.deadlocks;
    window
}

fn show(
    admin: &mut Client,
    args: &RunArgs,
    lane: &Lane,
    windows: &[Window],
    cancelled: &Cancelled,
) -> Result<bool> {
    println!("\n### {}", lane.shape.name());
    report::rounds(windows);
    report::mix(lane.shape.steps(), windows);
    report::writes(windows);
    if args.wal {
        report::wal(windows);
    }
    if args.cancels > 0 {
        println!(
            "\nCancelled: {} tasks, {} refused because they had ended; {} deadlocks there.",
            cancelled.done, cancelled.refused, cancelled.deadlocks
        );
    }
    let dry: u64 = windows.iter().map(|window| window.tally.empty).sum();
    let calls: u64 = windows.iter().map(|window| window.tally.calls).sum();
    if dry * 100 > calls {
        println!("\nWARNING: {dry} of {calls} calls found nothing: the backlog ran dry.");
    }
    Ok(report::checks(lane, &checks::lane(admin, lane)?))
}

fn show_reference(references: &[Reference]) {
    let tps = Spread::of(references.iter().map(|reference| reference.tps));
    let median = Spread::of(references.iter().map(|reference| reference.median_ms));
    println!(
        "\n### pgbench -N\n\n{} tps; median latency {} ms.",
        tps.show(0),
        median.show(2)
    );
}

/// Round by round, then the median: what the machine did to one it did to its neighbour.
fn show_ratios(lanes: &[(Lane, Vec<Window>, Cancelled)], references: &[Reference]) {
    report::head(&[
        "shape",
        "steps/s",
        "calls/s",
        "steps/s / tps",
        "calls/s / tps",
        "steps/s / first shape",
    ]);
    let Some((_, first, _)) = lanes.first() else {
        return;
    };
    for (lane, windows, _) in lanes {
        let against = |of: fn(&Window) -> f64| match references.is_empty() {
            true => "-".to_owned(),
            false => Spread::of(
                windows
                    .iter()
                    .zip(references)
                    .map(|(window, reference)| of(window) / reference.tps),
            )
            .show(2),
        };
        report::row(&[
            lane.shape.name().to_owned(),
            Spread::of(windows.iter().map(Window::steps_per_second)).show(0),
            Spread::of(windows.iter().map(Window::calls_per_second)).show(0),
            against(Window::steps_per_second),
            against(Window::calls_per_second),
            number(
                Spread::of(
                    windows
                        .iter()
                        .zip(first)
                        .map(|(own, other)| own.steps_per_second() / other.steps_per_second()),
                )
                .median,
                2,
            ),
        ]);
    }
}
