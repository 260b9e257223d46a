//! Throughput beside something else: a session that holds a snapshot and a transaction id, so that dead rows stay where they are,
//! subscribers that wait for an event that never comes, or telemetry.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use crate::checks;
use crate::cli::{LoadArgs, PinnedArgs, TelemetryArgs, WaitingArgs};
use crate::connect::Server;
use crate::lane::{Lane, Window};
use crate::report::{self, Spread, number};
use crate::setup;
use crate::shape::Shape;

/// What is there in every second window.
trait Beside {
    fn begin(&mut self) -> Result<()>;
    fn end(&mut self) -> Result<()>;
}

struct Pin(Client);

impl Beside for Pin {
    fn begin(&mut self) -> Result<()> {
        Ok(self
            .0
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")?)
    }

    fn end(&mut self) -> Result<()> {
        Ok(self.0.batch_execute("ROLLBACK")?)
    }
}

/// Sessions that poll after each notification, and once in a second.
struct Waiting {
    sessions: Vec<Client>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(Client, u64)>>>,
    polls: u64,
}

const PATIENCE: Duration = Duration::from_secs(1);

impl Waiting {
    fn new(server: &Server, admin: &mut Client, subscribers: usize) -> Result<Self> {
        setup::begin_preloaded(admin)?;
        let sessions = (0..subscribers).map(|no| {
            let mut session = server.connect()?;
            session.execute(
                "SELECT tasker.subscribe('waiting' || $1::bigint, '{bench.never}')",
                &[&(no as i64)],
            )?;
            Ok(session)
        });
        Ok(Self {
            sessions: sessions.collect::<Result<_>>()?,
            over: Arc::default(),
            threads: vec![],
            polls: 0,
        })
    }
}

fn wait(mut session: Client, no: usize, over: &AtomicBool) -> Result<(Client, u64)> {
    session.batch_execute("LISTEN \"tasker.events\"")?;
    let poll = session.prepare("SELECT event_id FROM tasker.poll_events($1)")?;
    let (name, mut polls) = (format!("waiting{no}"), 0);
    while !over.load(Ordering::Relaxed) {
        while session.notifications().iter().next()?.is_some() {}
        session.query(&poll, &[&name])?;
        polls += 1;
        session.notifications().timeout_iter(PATIENCE).next()?;
    }
    session.batch_execute("UNLISTEN *")?;
    Ok((session, polls))
}

impl Beside for Waiting {
    fn begin(&mut self) -> Result<()> {
        self.over.store(false, Ordering::Relaxed);
        for (no, session) in self.sessions.drain(..).enumerate() {
            let over = Arc::clone(&self.over);
            self.threads
                .push(thread::spawn(move || wait(session, no, &over)));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let (session, polls) = thread
                .join()
                .map_err(|_| anyhow!("a subscriber panicked"))??;
            self.sessions.push(session);
            self.polls += polls;
        }
        Ok(())
    }
}

/// Telemetry of every task, against telemetry of none; and an exporter that sends its spans.
struct Telemetry<'p> {
    admin: Client,
    exporter: Option<&'p str>,
    running: Option<Child>,
}

/// As the docs make the exporter's subscriber.
const SUBSCRIBE: &str = "\
SELECT tasker.subscribe('tasker_otlp', '{task.initialize_requested, task.completed, task.failed, task.cancelled, step.completed, step.failed,
    step.released, step.cancelled, step.retry_requested}', max_deliveries => 1000)";
/// Until every session has read a changed setting.
const RELOAD: Duration = Duration::from_millis(300);
/// How long the exporter may take to begin.
const START: Duration = Duration::from_secs(1);

impl Telemetry<'_> {
    fn share(&mut self, share: u8) -> Result<()> {
        self.admin.batch_execute(&format!(
            "ALTER SYSTEM SET tasker.event_sampling_rate = {share}"
        ))?;
        self.admin.batch_execute("SELECT pg_reload_conf()")?;
        thread::sleep(RELOAD);
        Ok(())
    }
}

impl Beside for Telemetry<'_> {
    fn begin(&mut self) -> Result<()> {
        self.share(1)?;
        if let Some(exporter) = self.exporter {
            // `exec`: the signal reaches the exporter and not the shell.
            let command = format!("exec {exporter}");
            self.running = Some(Command::new("sh").args(["-c", &command]).spawn()?);
            thread::sleep(START);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            let pid = running.id().to_string();
            Command::new("kill").args(["-TERM", &pid]).status()?;
            let status = running.wait()?;
            ensure!(status.success(), "the exporter ended with {status}");
        }
        self.share(0)
    }
}

pub fn telemetry(server: &Server, admin: &mut Client, args: &TelemetryArgs) -> Result<bool> {
    println!(
        "\n## telemetry: {}{}\n",
        args.shape.name(),
        if args.exporter.is_some() {
            ", beside an exporter that sends spans"
        } else {
            ""
        }
    );
    setup::begin_preloaded(admin)?;
    if args.exporter.is_some() {
        admin.batch_execute(SUBSCRIBE)?;
    }
    let mut telemetry = Telemetry {
        admin: server.connect()?,
        exporter: args.exporter.as_deref(),
        running: None,
    };
    telemetry.share(0)?;
    let correct = compare(server, admin, args.shape, &args.load, &mut telemetry)?;
    for row in admin.query(
        "SELECT subscriber, delivered, lag_events FROM tasker.subscribers ORDER BY subscriber",
        &[],
    )? {
        let (name, delivered, behind): (String, i64, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        println!("\nSubscriber {name}: {delivered} events delivered, {behind} rows behind.");
    }
    let series = admin.query_one(
        "SELECT count(*), sum(value) FROM tasker.metrics WHERE name = 'tasker_steps_completed_by_step_total'",
        &[],
    )?;
    println!(
        "\n{} series of completed steps, {} steps in them.",
        series.try_get::<_, i64>(0)?,
        number(series.try_get::<_, Option<f64>>(1)?.unwrap_or_default(), 0)
    );
    Ok(correct)
}

pub fn pinned(server: &Server, admin: &mut Client, args: &PinnedArgs) -> Result<bool> {
    println!("\n## pinned-xmin: {}\n", args.shape.name());
    let mut pin = Pin(server.connect()?);
    compare(server, admin, args.shape, &args.load, &mut pin)
}

pub fn waiting(server: &Server, admin: &mut Client, args: &WaitingArgs) -> Result<bool> {
    println!(
        "\n## waiting: {} beside {} subscribers that wait\n",
        args.shape.name(),
        args.subscribers
    );
    let mut waiting = Waiting::new(server, admin, args.subscribers)?;
    let correct = compare(server, admin, args.shape, &args.load, &mut waiting)?;
    let seconds = args.load.seconds * args.load.rounds as f64 * args.subscribers as f64;
    println!(
        "\nEach subscriber polled {} times a second.",
        number(waiting.polls as f64 / seconds, 1)
    );
    Ok(correct)
}

/// Windows without and with it take turns, the first of each pair alternating.
fn compare(
    server: &Server,
    admin: &mut Client,
    shape: Shape,
    load: &LoadArgs,
    beside: &mut dyn Beside,
) -> Result<bool> {
    println!("{}.", load.describe());
    let mut lane = Lane::open(
        server,
        admin,
        shape,
        load.order,
        load.clients,
        &load.manner(),
        None,
    )?;
    let mut pairs = Vec::new();
    for round in 0..load.rounds {
        lane.warm_up(admin, load.warmup)?;
        let with_first = round % 2 == 1;
        let first = window(admin, &mut lane, beside, load.seconds, with_first)?;
        let second = window(admin, &mut lane, beside, load.seconds, !with_first)?;
        pairs.push(if with_first {
            (second, first)
        } else {
            (first, second)
        });
    }
    report::head(&[
        "round",
        "free steps/s",
        "with it steps/s",
        "share",
        "last third: free",
        "with it",
        "share",
    ]);
    for (no, (free, with)) in pairs.iter().enumerate() {
        let (all, end) = (|window: &Window| window.steps_per_second(), last_third);
        report::row(&[
            (no + 1).to_string(),
            number(all(free), 0),
            number(all(with), 0),
            number(all(with) / all(free), 2),
            number(end(free), 0),
            number(end(with), 0),
            number(end(with) / end(free), 2),
        ]);
    }
    let share = |of: fn(&Window) -> f64| {
        Spread::of(pairs.iter().map(|(free, with)| of(with) / of(free))).show(2)
    };
    println!(
        "\nWith it {} of the throughput without; in the last third of the window {}.",
        share(Window::steps_per_second),
        share(last_third)
    );
    let slices = |window: &Window| {
        let step = (window.tally.per_second.len() / 6).max(1);
        let rates = window
            .tally
            .per_second
            .chunks(step)
            .filter(|chunk| chunk.len() == step);
        rates
            .map(|chunk| number(chunk.iter().sum::<u64>() as f64 / step as f64, 0))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some((free, with)) = pairs.last() {
        println!(
            "Steps/s over the last round: free {}; with it {}.",
            slices(free),
            slices(with)
        );
    }
    Ok(report::checks(&lane, &checks::lane(admin, &lane)?))
}

fn window(
    admin: &mut Client,
    lane: &mut Lane,
    beside: &mut dyn Beside,
    seconds: f64,
    with: bool,
) -> Result<Window> {
    lane.top_up(admin, seconds + 1.0)?;
    setup::settle(admin)?;
    if !with {
        return lane.measure_now(admin, seconds);
    }
    beside.begin()?;
    let window = lane.measure_now(admin, seconds);
    beside.end()?;
    window
}

fn last_third(window: &Window) -> f64 {
    // The last second is not a whole one.
    let whole =
        &window.tally.per_second[..(window.seconds as usize).min(window.tally.per_second.len())];
    let end = &whole[whole.len() - whole.len().div_ceil(3)..];
    end.iter().sum::<u64>() as f64 / end.len().max(1) as f64
}
