//! The command `tasker`.

use clap::{Parser, Subcommand};

mod exporter;

/// What runs beside a database with tasker_ext.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves probes and metrics over HTTP, and sends spans, metrics and events to where they are wanted.
    Exporter(exporter::Options),
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command {
        Command::Exporter(options) => exporter::run(options),
    }
}
