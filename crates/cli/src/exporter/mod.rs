//! `tasker exporter`: one process beside the database.

use std::process::ExitCode;

use clap::Args;

#[derive(Args)]
pub struct Options {}

/// Runs until SIGTERM or SIGINT.
pub fn run(_options: Options) -> ExitCode {
    ExitCode::FAILURE
}
