//! Polls of subscribers: how fast events are handed out and acknowledged, what a filter passes over, and what other subscribers cost.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postgres::{Client, Statement};

use super::history;
use crate::cli::{DeliveryArgs, Switch};
use crate::connect::Server;
use crate::report::{self, Spread, number};
use crate::setup;

/// Consumers at a time, each with a subscriber of its own.
const TOGETHER: [usize; 2] = [1, 3];
/// Subscribers beside the one whose polls are measured.
const OTHERS: [usize; 3] = [1, 10, 100];

pub fn run(server: &Server, admin: &mut Client, args: &DeliveryArgs) -> Result<bool> {
    println!(
        "\n## delivery: polls of {} events from the log of {} finished steps\n\n{} rounds in turns, synchronous_commit {}.",
        args.batch,
        args.steps,
        args.rounds,
        if args.sync == Switch::On { "on" } else { "off" }
    );
    history::make(server, args.steps)?;
    setup::settle(admin)?;
    let sync = args.sync == Switch::On;
    let most = TOGETHER.into_iter().max().unwrap_or(1);
    let mut consumers = (0..most)
        .map(|no| Consumer::new(server, &format!("consumer{no}"), "{}", sync))
        .collect::<Result<Vec<_>>>()?;
    delivery(&mut consumers, args)?;
    filter(server, admin, args, sync)?;
    others(&mut consumers[0], admin, args)?;
    if args.pinned > 0.0 {
        pinned(server, args, sync)?;
    }
    Ok(true)
}

/// A session with a subscriber of its own.
struct Consumer {
    client: Client,
    name: String,
    poll: Statement,
    acknowledge: Statement,
}

impl Consumer {
    fn new(server: &Server, name: &str, filter: &str, sync: bool) -> Result<Consumer> {
        let mut client = server.connect_with(sync)?;
        client.execute(
            "SELECT tasker.subscribe($1, start_at => 'beginning', filter => $2::text::jsonb)",
            &[&name, &filter],
        )?;
        Ok(Consumer {
            poll: client.prepare("SELECT * FROM tasker.poll_events($1, $2)")?,
            acknowledge: client.prepare("SELECT tasker.ack_events($1, $2)")?,
            client,
            name: name.to_owned(),
        })
    }

    fn rewind(&mut self) -> Result<()> {
        self.client.execute(
            "SELECT tasker.seek_subscriber($1, 'beginning')",
            &[&self.name],
        )?;
        Ok(())
    }

    /// One poll and its acknowledgement; how many events.
    fn turn(&mut self, most: i32) -> Result<u64> {
        let rows = self.client.query(&self.poll, &[&self.name, &most])?;
        let ids = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<Vec<i64>, _>>()?;
        if !ids.is_empty() {
            let row = self
                .client
                .query_one(&self.acknowledge, &[&self.name, &ids])?;
            let count: i32 = row.try_get(0)?;
            ensure!(
                count as usize == ids.len(),
                "{count} of {} events were acknowledged",
                ids.len()
            );
        }
        Ok(ids.len() as u64)
    }

    /// Events a second until the time is over or nothing is left.
    fn drain(&mut self, most: i32, longest: Duration) -> Result<f64> {
        let (started, mut events) = (Instant::now(), 0);
        loop {
            let got = self.turn(most)?;
            events += got;
            if got == 0 || started.elapsed() > longest {
                return Ok(events as f64 / started.elapsed().as_secs_f64());
            }
        }
    }

    /// How many events a reader of everything gets, and in how many seconds.
    fn whole(&mut self, most: i32) -> Result<(u64, f64)> {
        self.rewind()?;
        let (started, mut events) = (Instant::now(), 0);
        loop {
            let got = self.turn(most)?;
            events += got;
            if got == 0 && self.is_at_the_end()? {
                return Ok((events, started.elapsed().as_secs_f64()));
            }
        }
    }

    fn is_at_the_end(&mut self) -> Result<bool> {
        let row = self.client.query_one(
            "SELECT lag_events = 0 FROM tasker.subscribers WHERE subscriber = $1",
            &[&self.name],
        )?;
        Ok(row.try_get(0)?)
    }
}

fn delivery(consumers: &mut [Consumer], args: &DeliveryArgs) -> Result<()> {
    report::head(&["subscribers at a time", "events/s together"]);
    let longest = Duration::from_secs_f64(args.seconds);
    let mut rates = TOGETHER.map(|_| Vec::new());
    for round in 0..=args.rounds {
        for (count, rates) in TOGETHER.into_iter().zip(&mut rates) {
            let rate = at_once(&mut consumers[..count], args.batch, longest)?;
            // The first round warms up.
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    for (count, rates) in TOGETHER.into_iter().zip(rates) {
        report::row(&[count.to_string(), Spread::of(rates).show(0)]);
    }
    Ok(())
}

fn at_once(consumers: &mut [Consumer], most: i32, longest: Duration) -> Result<f64> {
    for consumer in consumers.iter_mut() {
        consumer.rewind()?;
    }
    let start = Barrier::new(consumers.len());
    thread::scope(|scope| {
        let all: Vec<_> = consumers
            .iter_mut()
            .map(|consumer| {
                scope.spawn(|| {
                    start.wait();
                    consumer.drain(most, longest)
                })
            })
            .collect();
        all.into_iter()
            .map(|one| {
                one.join()
                    .map_err(|_| anyhow::anyhow!("a consumer panicked"))?
            })
            .sum()
    })
}

/// A filter that only the events of one task pass.
fn filter(server: &Server, admin: &mut Client, args: &DeliveryArgs, sync: bool) -> Result<()> {
    let task: String = admin
        .query_one(
            "SELECT task_uuid::text FROM tasker.tasks ORDER BY task_uuid DESC LIMIT 1",
            &[],
        )?
        .try_get(0)?;
    let mut plain = Consumer::new(server, "plain", "{}", sync)?;
    let filter = format!(r#"{{"task_uuid": "{task}"}}"#);
    let mut filtered = Consumer::new(server, "filtered", &filter, sync)?;
    let (events, _) = plain.whole(args.batch)?;
    let mut rates = Vec::new();
    let mut matching = 0;
    for _ in 0..args.rounds {
        let (got, seconds) = filtered.whole(args.batch)?;
        ensure!(got > 0, "the filter let nothing pass");
        matching = got;
        rates.push(events as f64 / seconds);
    }
    println!(
        "\nA filter that matches {matching} of {} events scans {} a second.",
        number(events as f64, 0),
        Spread::of(rates).show(0)
    );
    Ok(())
}

/// The same poll beside few and beside many subscribers that stand elsewhere.
fn others(consumer: &mut Consumer, admin: &mut Client, args: &DeliveryArgs) -> Result<()> {
    let mut times = OTHERS.map(|_| Vec::new());
    for _ in 0..args.rounds.max(2) {
        for (count, times) in OTHERS.into_iter().zip(&mut times) {
            admin.execute(
                "SELECT tasker.unsubscribe(subscriber) FROM tasker.subscribers WHERE subscriber LIKE 'other%'",
                &[],
            )?;
            admin.execute(
                "SELECT tasker.subscribe('other' || n, start_at => CASE n % 2 WHEN 0 THEN 'now' ELSE 'beginning' END)
                 FROM generate_series(1, $1::integer) n",
                &[&(count as i32)],
            )?;
            consumer.rewind()?;
            for turn in 0..args.polls {
                let started = Instant::now();
                let got = consumer.turn(100)?;
                ensure!(got == 100, "the log has too few events for the polls");
                if turn > 0 {
                    times.push(started.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
    }
    let times = times.map(Spread::middle_half);
    report::head(&[
        "other subscribers",
        "poll and acknowledgement of 100, us",
        "ratio",
    ]);
    for (count, spread) in OTHERS.into_iter().zip(times) {
        report::row(&[
            count.to_string(),
            spread.show(0),
            number(spread.median / times[0].median, 3),
        ]);
    }
    admin
        .execute(
            "SELECT tasker.unsubscribe(subscriber) FROM tasker.subscribers",
            &[],
        )
        .context("the subscribers cannot be removed")?;
    Ok(())
}

/// The same polls while another session holds a snapshot and a transaction id, so that no row that they remove can go.
fn pinned(server: &Server, args: &DeliveryArgs, sync: bool) -> Result<()> {
    let (mut pin, mut consumer) = (
        server.connect()?,
        Consumer::new(server, "pinned", "{}", sync)?,
    );
    let free = turns(&mut consumer, args)?;
    pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")?;
    let with = turns(&mut consumer, args)?;
    pin.batch_execute("ROLLBACK")?;
    println!(
        "\nPolls of 100 and their acknowledgements in the last sixth of {} s, a second: {} without, {} while another transaction stays open, ratio {}.",
        number(args.pinned, 0),
        number(free, 0),
        number(with, 0),
        number(with / free, 2)
    );
    Ok(())
}

/// Turns a second at the end of the time.
fn turns(consumer: &mut Consumer, args: &DeliveryArgs) -> Result<f64> {
    let (started, mut turns) = (Instant::now(), 0);
    consumer.rewind()?;
    loop {
        if consumer.turn(100)? < 100 {
            consumer.rewind()?;
        }
        let elapsed = started.elapsed().as_secs_f64();
        turns += u64::from(elapsed > args.pinned * 5.0 / 6.0);
        if elapsed > args.pinned {
            return Ok(turns as f64 / (args.pinned / 6.0));
        }
    }
}
