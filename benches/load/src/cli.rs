//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::shape::{Order, Shape};

/// Load driver of tasker_ext. It creates namespaces and tasks: point it at a server of its own.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// Where the server is: a libpq connection string or URI
    #[arg(
        long,
        env = "TASKER_BENCH_DSN",
        global = true,
        default_value = "host=/var/run/postgresql user=postgres dbname=postgres"
    )]
    pub dsn: String,
    /// Drop the extension WITH ALL ITS DATA and create it again first
    #[arg(long, global = true)]
    pub reset: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Workers loop on report_and_claim; several shapes take turns
    Run(RunArgs),
    /// The same with and without a transaction left open elsewhere
    PinnedXmin(PinnedArgs),
    /// A claim out of few and out of many pending steps
    Backlog(DepthArgs),
    /// A claim beside few and beside many finished steps
    Finished(DepthArgs),
    /// create_tasks against INSERT ... SELECT of the same rows
    Create(CreateArgs),
    /// One state transition against one plain UPDATE of a row like it
    Transition(TransitionArgs),
    /// From create to complete with one idle worker
    Latency(LatencyArgs),
    /// Polls and acknowledgements of subscribers
    Delivery(DeliveryArgs),
    /// What polls touch in a log of which purge has deleted nine rows in ten
    Purged(PurgedArgs),
    /// Throughput beside subscribers that wait; needs shared_preload_libraries
    Waiting(WaitingArgs),
    /// From a commit to the poll of a notified subscriber, and to the start of a handler; needs shared_preload_libraries
    Notified(NotifiedArgs),
    /// Throughput with telemetry of every task against telemetry of none; needs shared_preload_libraries
    Telemetry(TelemetryArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Options of every scenario with workers.
#[derive(Args, Clone)]
pub struct LoadArgs {
    #[arg(long, default_value_t = 8)]
    pub clients: usize,
    /// Steps asked for in each call
    #[arg(long, default_value_t = 50)]
    pub batch: i32,
    /// Length of one measured window
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Uncounted seconds before each window
    #[arg(long, default_value_t = 2.0)]
    pub warmup: f64,
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Size of each step's results
    #[arg(long, default_value_t = 32)]
    pub results_bytes: usize,
    /// synchronous_commit of the workers (and of pgbench)
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub sync: Switch,
    /// Fetch only outcome, step_uuid and claim_number instead of every column
    #[arg(long)]
    pub narrow_rows: bool,
    #[arg(long, value_enum, default_value_t = Order::Steady)]
    pub order: Order,
}

#[derive(Args)]
pub struct RunArgs {
    #[arg(value_enum, required = true)]
    pub shapes: Vec<Shape>,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Interleave with `pgbench -N`
    #[arg(long)]
    pub reference: bool,
    /// pgbench scale; 20 is 300 MB
    #[arg(long, default_value_t = 20)]
    pub scale: u32,
    /// Another session cancels this many tasks a second, at random
    #[arg(long, default_value_t = 0)]
    pub cancels: u32,
    /// Show the WAL by record type (needs pg_walinspect)
    #[arg(long)]
    pub wal: bool,
}

#[derive(Args)]
pub struct PinnedArgs {
    #[arg(value_enum, default_value_t = Shape::Linear5)]
    pub shape: Shape,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Args)]
pub struct PurgedArgs {
    /// Finished steps before the purge; 1.6 rows of the log each
    #[arg(long, default_value_t = 12_500_000)]
    pub steps: u64,
    #[arg(long, default_value_t = 20)]
    pub polls: usize,
}

#[derive(Args)]
pub struct WaitingArgs {
    #[arg(value_enum, default_value_t = Shape::Linear5)]
    pub shape: Shape,
    #[arg(long, default_value_t = 10)]
    pub subscribers: usize,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Args)]
pub struct TelemetryArgs {
    #[arg(value_enum, default_value_t = Shape::Linear5)]
    pub shape: Shape,
    /// A command that sends spans in every second window; SIGTERM ends it
    #[arg(long)]
    pub exporter: Option<String>,
    #[command(flatten)]
    pub load: LoadArgs,
}

#[derive(Args)]
pub struct DepthArgs {
    /// Sizes to compare; the first is the base
    #[arg(long, value_delimiter = ',', required = true)]
    pub sizes: Vec<u64>,
    /// Claims and reports in each round
    #[arg(long, default_value_t = 100)]
    pub calls: usize,
    #[arg(long, default_value_t = 30)]
    pub rounds: usize,
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub sync: Switch,
}

#[derive(Args)]
pub struct CreateArgs {
    /// Tasks in one call
    #[arg(long, default_value_t = 5000)]
    pub tasks: u64,
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub sync: Switch,
}

#[derive(Args)]
pub struct LatencyArgs {
    #[arg(long, default_value_t = 200)]
    pub tasks: usize,
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub sync: Switch,
    /// Length of a pgbench run
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// pgbench scale
    #[arg(long, default_value_t = 20)]
    pub scale: u32,
}

#[derive(Args)]
pub struct TransitionArgs {
    /// Transitions of each kind in each round
    #[arg(long, default_value_t = 20)]
    pub calls: usize,
    #[arg(long, default_value_t = 100)]
    pub rounds: usize,
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub sync: Switch,
}

#[derive(Args)]
pub struct NotifiedArgs {
    #[arg(long, default_value_t = 300)]
    pub events: usize,
    /// Longest pause between two events, milliseconds
    #[arg(long, default_value_t = 200)]
    pub pause: u64,
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub sync: Switch,
}

#[derive(Args)]
pub struct DeliveryArgs {
    /// Finished steps whose log is polled; about five events each
    #[arg(long, default_value_t = 100_000)]
    pub steps: u64,
    /// Events in a poll
    #[arg(long, default_value_t = 1000)]
    pub batch: i32,
    /// Longest measurement
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of polls without and with another transaction that stays open; 0: none
    #[arg(long, default_value_t = 60.0)]
    pub pinned: f64,
    /// Polls beside each number of other subscribers
    #[arg(long, default_value_t = 100)]
    pub polls: usize,
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub sync: Switch,
}
