//! How long an event takes from its commit to the return of the poll that a notified subscriber then makes, and to the start of a handler.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use crate::cli::{NotifiedArgs, Switch};
use crate::connect::Server;
use crate::report::{self, number};
use crate::setup;

/// A consumer that was not notified looks by itself after this time.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: &str = "SELECT event_id FROM tasker.poll_events('notified')";
const PUBLISH: &str = "SELECT tasker.publish_event($1)";

pub fn run(server: &Server, admin: &mut Client, args: &NotifiedArgs) -> Result<bool> {
    setup::begin_preloaded(admin)?;
    println!(
        "\n## notified: from a commit to a subscriber\n\n{} events of each kind, with pauses of up to {} ms between them.",
        args.events, args.pause
    );
    let sync = args.sync == Switch::On;
    let (polls, not_notified) = polls(server, sync, args)?;
    let handlers = handlers(server, sync, args)?;
    report::head(&["from the commit to", "median ms", "p99 ms", "longest ms"]);
    for (what, mut times) in [
        ("the return of the poll", polls),
        ("the start of the handler", handlers),
    ] {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
        report::row(&[
            what.to_owned(),
            number(at(0.5) * 1000.0, 2),
            number(at(0.99) * 1000.0, 2),
            number(at(1.0) * 1000.0, 2),
        ]);
    }
    println!("\nPolls that were not notified within a second: {not_notified}.");
    Ok(true)
}

fn pause(args: &NotifiedArgs) {
    thread::sleep(Duration::from_millis(fastrand::u64(1..=args.pause.max(1))));
}

/// Seconds from the end of the publishing call to the end of the poll, and how often no notification came.
fn polls(server: &Server, sync: bool, args: &NotifiedArgs) -> Result<(Vec<f64>, u64)> {
    let (mut publisher, mut consumer) = (server.connect_with(sync)?, server.connect_with(sync)?);
    consumer.batch_execute("LISTEN \"tasker.events\"")?;
    consumer.execute(
        "SELECT tasker.subscribe('notified', '{bench.poll}', start_at => 'now')",
        &[],
    )?;
    let (mut times, mut not_notified) = (vec![], 0);
    for _ in 0..args.events {
        while take(&mut consumer)? > 0 {}
        pause(args);
        while consumer.notifications().iter().next()?.is_some() {}
        publisher.query_one(PUBLISH, &[&"bench.poll"])?;
        let committed = Instant::now();
        let told = consumer.notifications().timeout_iter(PATIENCE).next()?;
        not_notified += u64::from(told.is_none());
        while consumer.query(POLL, &[])?.is_empty() {}
        times.push(committed.elapsed().as_secs_f64());
        take_back(&mut consumer)?;
    }
    consumer.execute("SELECT tasker.unsubscribe('notified')", &[])?;
    Ok((times, not_notified))
}

fn take(consumer: &mut Client) -> Result<usize> {
    let rows = consumer.query(POLL, &[])?;
    let ids = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<i64>, _>>()?;
    if !ids.is_empty() {
        consumer.execute("SELECT tasker.ack_events('notified', $1)", &[&ids])?;
    }
    Ok(ids.len())
}

/// What the measured poll has is done.
fn take_back(consumer: &mut Client) -> Result<()> {
    consumer.execute(
        "SELECT tasker.ack_events('notified', d.event_ids) FROM tasker_engine.deliveries d",
        &[],
    )?;
    Ok(())
}

/// Seconds from the end of the publishing call to the start of the handler, by the clock of the server.
fn handlers(server: &Server, sync: bool, args: &NotifiedArgs) -> Result<Vec<f64>> {
    let mut publisher = server.connect_with(sync)?;
    publisher.batch_execute(
        "CREATE SCHEMA bench_notified;
         CREATE TABLE bench_notified.starts (event_id bigint, at timestamptz);
         CREATE TABLE bench_notified.commits (event_id bigint, at timestamptz);
         CREATE FUNCTION bench_notified.start(events jsonb) RETURNS void LANGUAGE sql AS
         $$ INSERT INTO bench_notified.starts VALUES ((events -> 0 ->> 'event_id')::bigint, clock_timestamp()) $$;
         SELECT tasker.subscribe('started', '{bench.handler}', start_at => 'now', handler => 'sql:bench_notified.start')",
    )?;
    for _ in 0..args.events {
        pause(args);
        let id: i64 = publisher
            .query_one(PUBLISH, &[&"bench.handler"])?
            .try_get(0)?;
        publisher.execute(
            "INSERT INTO bench_notified.commits VALUES ($1, statement_timestamp())",
            &[&id],
        )?;
    }
    let started = Instant::now();
    let done = "SELECT count(*) FROM bench_notified.starts";
    while publisher.query_one(done, &[])?.try_get::<_, i64>(0)? < args.events as i64 {
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "the executors have not called the handler for all events"
        );
        thread::sleep(Duration::from_millis(50));
    }
    // A handler can start before the publisher has heard of its own commit.
    let rows = publisher.query(
        "SELECT greatest(0, date_part('epoch', s.at - c.at))
         FROM bench_notified.starts s JOIN bench_notified.commits c ON c.event_id = s.event_id",
        &[],
    )?;
    let times = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<f64>, _>>()?;
    publisher.batch_execute(
        "SELECT tasker.unsubscribe('started'); DROP SCHEMA bench_notified CASCADE",
    )?;
    Ok(times)
}
