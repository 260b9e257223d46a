//! `tasker exporter`: one process beside the database. It answers probes and gives metrics over HTTP.

mod access;
mod addresses;
mod database;
mod delivery;
mod export_metrics;
mod exports;
mod flight;
mod http;
mod log;
mod options;
mod otlp;
mod own_metrics;
mod pace;
mod probes;
mod remote_write;
mod retry;
mod settings;
mod target;
mod tls;
mod webhook;

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use access::Access;
use database::Database;
pub use options::Options;
use own_metrics::OwnMetrics;
use settings::Settings;
use target::Target;

/// What each part of the exporter works with.
#[derive(Clone)]
pub struct Context {
    pub options: Arc<Options>,
    pub settings: Arc<Settings>,
    pub database: Database,
    pub metrics: Arc<OwnMetrics>,
    pub stop: Stop,
}

/// Turns true when the exporter is to end: a part then finishes what it has begun, and returns.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Whether the exporter is to end.
    pub fn has_come(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when the exporter is to end.
    pub async fn wait(&mut self) {
        // Without a sender the end has come, too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: Options) -> ExitCode {
    log::set_up(options.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(serve(options));
            // A name server that does not answer must not hold up the end.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error(&message, &[]);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), String> {
    let target = Target::new(&options.dsn)?;
    let settings = Arc::new(Settings::new(&options));
    let metrics = Arc::new(OwnMetrics::new().map_err(|error| error.to_string())?);
    let database = Database::new(target, settings.clone(), metrics.clone());
    let (stopping, stop) = watch::channel(false);
    let context = Context {
        options: Arc::new(options),
        settings,
        database,
        metrics,
        stop: Stop(stop),
    };

    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut parts = start(&context).await?;

    let mut result = Ok(());
    tokio::select! {
        _ = terminate.recv() => log::info("stops: SIGTERM", &[]),
        _ = interrupt.recv() => log::info("stops: SIGINT", &[]),
        ended = parts.join_next() => result = Err(why_ended(ended)),
    }
    stopping.send_replace(true);
    tokio::select! {
        ended = timeout(context.options.shutdown_timeout, finish(&mut parts)) => if ended.is_err() {
            log::warning("something was still under way and was cut off", &[]);
        },
        _ = terminate.recv() => log::warning("stops at once: a second signal", &[]),
        _ = interrupt.recv() => log::warning("stops at once: a second signal", &[]),
    }
    parts.abort_all();
    context.database.close().await;
    log::info("stopped", &[]);
    result
}

/// The parts that run until the end. Each returns an error if it cannot go on.
async fn start(context: &Context) -> Result<JoinSet<Result<(), String>>, String> {
    let mut parts = JoinSet::new();
    exports::start(context, &mut parts)?;
    let token = std::env::var("TASKER_EXPORTER_TOKEN").ok();
    let access = Access::new(&context.options.access, token, context.settings.clone())?;
    let listen = context.options.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    log::info("listens", &[("address", &address.to_string())]);
    parts.spawn(http::serve(listener, access, context.clone()));
    Ok(parts)
}

async fn finish(parts: &mut JoinSet<Result<(), String>>) {
    while parts.join_next().await.is_some() {}
}

fn why_ended(ended: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> String {
    match ended {
        None => "nothing to do".to_owned(),
        Some(Ok(Ok(()))) => "a part ended before the exporter".to_owned(),
        Some(Ok(Err(message))) => message,
        Some(Err(error)) => error.to_string(),
    }
}
