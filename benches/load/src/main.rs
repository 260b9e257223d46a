//! Measures tasker_ext under load, beside `pgbench -N` on the same server.

mod checks;
mod cli;
mod connect;
mod counters;
mod lane;
mod pgbench;
mod raw;
mod report;
mod scenarios;
mod setup;
mod shape;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Command};
use connect::Server;

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tasker_load: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether everything that was checked is correct.
fn measure(cli: &Cli) -> Result<bool> {
    let server = Server::new(&cli.dsn)?;
    let mut admin = server.connect()?;
    setup::extension(&mut admin, cli.reset)?;
    setup::warn_of_dev_build(&mut admin)?;
    match &cli.command {
        Command::Run(args) => scenarios::run::run(&server, &mut admin, args),
        Command::PinnedXmin(args) => scenarios::beside::pinned(&server, &mut admin, args),
        Command::Backlog(args) => scenarios::depth::backlog(&server, &mut admin, args),
        Command::Finished(args) => scenarios::depth::finished(&server, &mut admin, args),
        Command::Create(args) => scenarios::create::run(&server, &mut admin, args),
        Command::Transition(args) => scenarios::transition::run(&server, &mut admin, args),
        Command::Delivery(args) => scenarios::delivery::run(&server, &mut admin, args),
        Command::Latency(args) => scenarios::latency::run(&server, &mut admin, args),
        Command::Purged(args) => scenarios::purged::run(&server, &mut admin, args),
        Command::Waiting(args) => scenarios::beside::waiting(&server, &mut admin, args),
        Command::Telemetry(args) => scenarios::beside::telemetry(&server, &mut admin, args),
        Command::Notified(args) => scenarios::notified::run(&server, &mut admin, args),
    }
}
