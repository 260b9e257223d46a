//! `tasker config`: a directory of TOML files, and what a database has of it.
//!
//! The rules of the server read the files here too (crate tasker_rules), on the parser of the crate toml: it keeps the place of each
//! value and goes on after an error, so that every problem is shown at once with line and column of the user's file. Crates that put
//! layers together (figment, config) keep neither, and which layer wins is a rule of the engine.

mod database;
mod diff;
mod files;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use tasker_rules::configuration::{environment, has_error};

use database::Database;
use files::Files;
use report::{Finding, Report};

/// What `tasker config` does. Exit status 0: fine; 1: errors in the files; 2: it could not be done.
#[derive(Subcommand)]
pub enum Command {
    /// Checks a directory and loads it as one change; with an error nothing changes. Files that are not in it stay loaded.
    Load {
        #[command(flatten)]
        files: FilesOptions,
        #[command(flatten)]
        database: DatabaseOptions,
    },
    /// Checks a directory without a database.
    Check {
        #[command(flatten)]
        files: FilesOptions,
    },
    /// Shows every key with its value and where that comes from.
    Show {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        database: DatabaseOptions,
    },
    /// Shows what loading a directory would change.
    Diff {
        #[command(flatten)]
        files: FilesOptions,
        #[command(flatten)]
        database: DatabaseOptions,
    },
}

/// Which environment, and how the answer looks.
#[derive(Args, Clone)]
pub struct Common {
    /// Name of the environment whose files come over the base; without it the first that is set of TASKER_ENV, RAILS_ENV,
    /// RACK_ENV and APP_ENV, else development.
    #[arg(long)]
    environment: Option<String>,

    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// The directory.
#[derive(Args, Clone)]
pub struct FilesOptions {
    /// Directory with base/<component>.toml and environments/<environment>/<component>.toml.
    dir: PathBuf,

    /// Lets pass the errors that can be forced.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

/// The database.
#[derive(Args, Clone)]
pub struct DatabaseOptions {
    /// libpq connection string or URI; what it leaves out comes from the PG* variables. Loading needs the role tasker_admin,
    /// showing tasker_reader.
    #[arg(
        long,
        env = "TASKER_CONFIG_DSN",
        hide_env_values = true,
        default_value = ""
    )]
    dsn: String,
}

impl Common {
    fn environment(&self) -> String {
        match &self.environment {
            Some(name) => name.trim().to_lowercase(),
            None => environment::environment(&variable),
        }
    }
}

/// A variable of this process.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs the command.
pub fn run(command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(answer(command)),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("tasker config: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is fine. Errors: why it could not be done.
async fn answer(command: Command) -> Result<bool, String> {
    match command {
        Command::Check { files: options } => {
            let (files, mut report) = read(&options)?;
            report.summary(&format!("{} files are checked", files.count()));
            Ok(report.finish())
        }
        Command::Load {
            files: options,
            database,
        } => load(&options, &database).await,
        Command::Show { common, database } => {
            let environment = common.environment();
            let rows = Database::open(&database.dsn)
                .await?
                .effective(&environment)
                .await?;
            report::show(&rows, &environment, common.json);
            Ok(true)
        }
        Command::Diff {
            files: options,
            database,
        } => {
            let (files, report) = read(&options)?;
            if report.has_error() {
                return Ok(report.finish());
            }
            let environment = options.common.environment();
            let rows = Database::open(&database.dsn)
                .await?
                .effective(&environment)
                .await?;
            diff::show(&files, &rows, &environment, options.common.json);
            Ok(true)
        }
    }
}

/// Reads and checks the files.
fn read(options: &FilesOptions) -> Result<(Files, Report), String> {
    let environment = options.common.environment();
    let (files, findings) = Files::read(&options.dir, &environment)?;
    let failed = has_error(&findings, options.force);
    let mut report = Report::new(options.common.json, failed);
    for finding in &findings {
        report.add(Finding::of_file(finding, &options.dir, options.force));
    }
    Ok((files, report))
}

async fn load(options: &FilesOptions, database: &DatabaseOptions) -> Result<bool, String> {
    let (files, mut report) = read(options)?;
    if report.has_error() {
        return Ok(report.finish());
    }
    let texts = files.texts();
    let rows = Database::open(&database.dsn)
        .await?
        .load(&texts, options.force)
        .await?;
    for row in rows {
        // The server checks the same again; it knows more only of the files that it has already.
        if !report.has(&row.message) {
            report.add(Finding::of_server(row, &options.dir));
        }
    }
    if !report.has_error() {
        report.summary(&format!("{} files are loaded", files.count()));
    }
    Ok(report.finish())
}
