//! The reference: `pgbench -N` on the same server, with as many clients.

use std::process::Command;

use anyhow::{Context, Result, bail};
use postgres::Client;

use crate::connect::{Server, server_program};

const DATABASE: &str = "tasker_load_reference";

/// One run.
#[derive(Clone, Copy)]
pub struct Reference {
    pub tps: f64,
    /// Of one transaction, in milliseconds.
    pub median_ms: f64,
}

pub struct Pgbench {
    server: Server,
    clients: usize,
    sync: bool,
}

impl Pgbench {
    /// Fills the reference database unless it is there with this scale.
    pub fn prepare(
        server: &Server,
        admin: &mut Client,
        scale: u32,
        clients: usize,
        sync: bool,
    ) -> Result<Pgbench> {
        if admin
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&DATABASE])?
            .is_none()
        {
            admin.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        }
        let pgbench = Pgbench {
            server: server.clone(),
            clients,
            sync,
        };
        let mut client = server.database(DATABASE).connect()?;
        let row = client.query_one("SELECT to_regclass('pgbench_branches') IS NOT NULL", &[])?;
        let there = row.try_get::<_, bool>(0)?
            && client
                .query_one("SELECT count(*) FROM pgbench_branches", &[])?
                .try_get::<_, i64>(0)?
                == scale as i64;
        if !there {
            pgbench.call(&["-i", "-q", "-s", &scale.to_string()])?;
        }
        Ok(pgbench)
    }

    /// `seconds` with a checkpoint and a short uncounted run before.
    pub fn run(&self, admin: &mut Client, seconds: f64) -> Result<Reference> {
        admin.batch_execute("CHECKPOINT")?;
        self.timed(1)?;
        self.timed((seconds.round() as u64).max(1))
    }

    fn timed(&self, seconds: u64) -> Result<Reference> {
        let folder = std::env::temp_dir().join(format!("tasker_load.{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let prefix = folder.join("log");
        let clients = self.clients.to_string();
        let threads = self.clients.min(2).to_string();
        let output = self.call(&[
            "-n",
            "-N",
            "-M",
            "prepared",
            "-c",
            &clients,
            "-j",
            &threads,
            "-T",
            &seconds.to_string(),
            "-l",
            "--log-prefix",
            &prefix.display().to_string(),
        ]);
        let latencies = read_log(&folder);
        std::fs::remove_dir_all(&folder)?;
        let output = output?;
        let tps = output
            .lines()
            .find_map(|line| {
                line.strip_prefix("tps = ")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .with_context(|| format!("pgbench gave no tps:\n{output}"))?;
        Ok(Reference {
            tps,
            median_ms: median_of(latencies?),
        })
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(server_program("pgbench")?)
            .args(arguments)
            .arg(self.server.conninfo(DATABASE)?)
            .env(
                "PGOPTIONS",
                format!(
                    "-c synchronous_commit={}",
                    if self.sync { "on" } else { "off" }
                ),
            )
            .output()?;
        if !output.status.success() {
            bail!(
                "pgbench failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The third field of each line is a transaction's latency in microseconds.
fn read_log(folder: &std::path::Path) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(entry?.path())?;
        latencies.extend(
            text.lines()
                .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()),
        );
    }
    Ok(latencies)
}

fn median_of(mut latencies: Vec<u64>) -> f64 {
    latencies.sort_unstable();
    latencies
        .get(latencies.len() / 2)
        .map_or(0.0, |us| *us as f64 / 1000.0)
}
