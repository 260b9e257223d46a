//! Connections, and the same address in the form that pgbench understands.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use postgres::config::Host;
use postgres::{Client, Config, NoTls};

/// Where the server is.
#[derive(Clone)]
pub struct Server(Config);

impl Server {
    pub fn new(dsn: &str) -> Result<Server> {
        let mut config: Config = dsn.parse().context("the DSN cannot be read")?;
        config.application_name("tasker_load");
        Ok(Server(config))
    }

    pub fn connect(&self) -> Result<Client> {
        self.0.connect(NoTls).context("no connection to the server")
    }

    /// A session whose commits wait for the flush, or do not.
    pub fn connect_with(&self, sync: bool) -> Result<Client> {
        let mut client = self.connect()?;
        client.batch_execute(if sync {
            "SET synchronous_commit = on"
        } else {
            "SET synchronous_commit = off"
        })?;
        Ok(client)
    }

    /// A libpq connection string to another database of the same server.
    pub fn conninfo(&self, database: &str) -> Result<String> {
        let host = match self.0.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => bail!("the DSN names no host"),
        };
        let mut parts = vec![("host", host), ("dbname", database.to_owned())];
        if let Some(port) = self.0.get_ports().first() {
            parts.push(("port", port.to_string()));
        }
        if let Some(user) = self.0.get_user() {
            parts.push(("user", user.to_owned()));
        }
        if let Some(password) = self.0.get_password() {
            parts.push(("password", String::from_utf8_lossy(password).into_owned()));
        }
        let quoted = parts.iter().map(|(key, value)| {
            format!(
                "{key}='{}'",
                value.replace('\\', "\\\\").replace('\'', "\\'")
            )
        });
        Ok(quoted.collect::<Vec<_>>().join(" "))
    }

    pub fn database(&self, name: &str) -> Server {
        let mut config = self.0.clone();
        config.dbname(name);
        Server(config)
    }
}

/// A program of the server's installation.
pub fn server_program(name: &str) -> Result<PathBuf> {
    let pg_config = std::env::var("PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let output = std::process::Command::new(&pg_config)
        .arg("--bindir")
        .output()
        .with_context(|| format!("cannot run {pg_config} (set PG_CONFIG)"))?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let program = PathBuf::from(folder).join(name);
    if !program.is_file() {
        bail!("{} does not exist", program.display());
    }
    Ok(program)
}
