//! What `tasker exporter` is told: flags, and environment variables for each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Flags win over variables. Secrets have no flag, because every user of the machine sees those.
#[derive(Args, Clone)]
pub struct Options {
    /// libpq connection string or URI; what it leaves out comes from the PG* variables. The role needs `tasker_reader`.
    #[arg(
        long,
        env = "TASKER_EXPORTER_DSN",
        hide_env_values = true,
        default_value = ""
    )]
    pub dsn: String,

    /// Address and port for HTTP.
    #[arg(long, env = "TASKER_EXPORTER_LISTEN", default_value = "127.0.0.1:9187")]
    pub listen: SocketAddr,

    /// Seconds within which each request has its answer, also when the database hangs. Without it the database's setting
    /// tasker.readiness_timeout_seconds says so, 5 seconds until it is read.
    #[arg(long, env = "TASKER_EXPORTER_READINESS_TIMEOUT", value_parser = some_seconds)]
    pub readiness_timeout: Option<Duration>,

    /// Seconds for which an answer of /health/status is given again; 0: never. Without it the database's setting
    /// tasker.health_cache_duration_seconds says so.
    #[arg(long, env = "TASKER_EXPORTER_CACHE_DURATION", value_parser = seconds)]
    pub cache_duration: Option<Duration>,

    /// Seconds that a stop waits for requests and exports that are under way.
    #[arg(long, env = "TASKER_EXPORTER_SHUTDOWN_TIMEOUT", default_value = "10", value_parser = seconds)]
    pub shutdown_timeout: Duration,

    /// The most connections of HTTP clients at once; one more is closed.
    #[arg(long, env = "TASKER_EXPORTER_MAX_CONNECTIONS", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,

    /// How the exporter's own log on stderr looks.
    #[arg(
        long,
        env = "TASKER_EXPORTER_LOG_FORMAT",
        value_enum,
        default_value = "plain"
    )]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub access: AccessOptions,

    #[command(flatten)]
    pub exports: super::exports::ExportOptions,
}

/// Which paths want a token; without an option the database's settings of the same names say so. The token comes from a
/// file or from `TASKER_EXPORTER_TOKEN`.
#[derive(Args, Clone)]
pub struct AccessOptions {
    /// File that holds the bearer token; without it TASKER_EXPORTER_TOKEN may hold the token.
    #[arg(long, env = "TASKER_EXPORTER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Whether /metrics wants the token.
    #[arg(long, env = "TASKER_EXPORTER_METRICS_AUTH_REQUIRED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub metrics_auth_required: Option<bool>,

    /// Whether /health/ready wants the token.
    #[arg(long, env = "TASKER_EXPORTER_READY_REQUIRES_AUTHENTICATION", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub ready_requires_authentication: Option<bool>,

    /// Whether /health/status wants the token; true if there is one.
    #[arg(long, env = "TASKER_EXPORTER_STATUS_REQUIRES_AUTHENTICATION", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub status_requires_authentication: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Plain,
    Json,
}

/// A number of seconds, with fractions, up to a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.0..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0 to 86400".to_owned())
}

/// Likewise; shorter than a twentieth of a second nothing can be answered.
pub fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text)
        .ok()
        .filter(|time| *time >= Duration::from_millis(50))
        .ok_or_else(|| "a number of seconds from 0.05 to 86400".to_owned())
}
