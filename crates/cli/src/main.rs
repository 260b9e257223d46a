//! The command `tasker`.

use clap::{Parser, Subcommand};

mod config;
mod connection;
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
    /// Checks, loads, shows and compares the configuration: a directory of TOML files and what a database has.
    #[command(subcommand)]
    Config(config::Command),
    /// Serves probes and metrics over HTTP, and sends spans, metrics and events to where they are wanted.
    Exporter(exporter::Options),
}

fn main() -> std::process::ExitCode {
    match Cli::parse().command {
        Command::Config(command) => config::run(command),
        Command::Exporter(options) => exporter::run(options),
    }
}
