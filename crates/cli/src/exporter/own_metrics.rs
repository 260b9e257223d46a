//! What the exporter counts about itself, beside what the database says. Names begin with `tasker_exporter_`,
//! but for `tasker_up`: whether the last reading of the database's metrics succeeded.

use prometheus::{
    Encoder, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

use super::log;

pub struct OwnMetrics {
    registry: Registry,
    pub up: IntGauge,
    pub requests: IntCounterVec,
    pub request_seconds: HistogramVec,
    pub refused_connections: IntCounter,
    pub database_connected: IntGauge,
    pub database_connects: IntCounter,
    pub database_failures: IntCounterVec,
    pub last_answer: Gauge,
}

impl OwnMetrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build = IntGauge::with_opts(
            Opts::new(
                "tasker_exporter_build_info",
                "1, with the version of the exporter.",
            )
            .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        let this = Self {
            up: IntGauge::new(
                "tasker_up",
                "1 if the metrics of the database are in this answer, otherwise 0.",
            )?,
            requests: IntCounterVec::new(
                Opts::new(
                    "tasker_exporter_requests_total",
                    "Requests answered, by path and status code.",
                ),
                &["path", "code"],
            )?,
            request_seconds: HistogramVec::new(
                HistogramOpts::new(
                    "tasker_exporter_request_duration_seconds",
                    "Time from a request to its answer.",
                )
                .buckets(vec![0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0]),
                &["path"],
            )?,
            refused_connections: IntCounter::new(
                "tasker_exporter_refused_connections_total",
                "Connections of clients that were closed because there were too many.",
            )?,
            database_connected: IntGauge::new(
                "tasker_exporter_database_connected",
                "1 while the exporter has a connection to the database.",
            )?,
            database_connects: IntCounter::new(
                "tasker_exporter_database_connects_total",
                "Connections to the database that were made.",
            )?,
            database_failures: IntCounterVec::new(
                Opts::new(
                    "tasker_exporter_database_failures_total",
                    "Statements and connections that failed, by reason.",
                ),
                &["reason"],
            )?,
            last_answer: Gauge::new(
                "tasker_exporter_last_answer_timestamp_seconds",
                "When the database last answered; 0: never.",
            )?,
            registry,
        };
        this.register(this.up.clone())?;
        this.register(this.requests.clone())?;
        this.register(this.request_seconds.clone())?;
        this.register(this.refused_connections.clone())?;
        this.register(this.database_connected.clone())?;
        this.register(this.database_connects.clone())?;
        this.register(this.database_failures.clone())?;
        this.register(this.last_answer.clone())?;
        Ok(this)
    }

    /// Adds a metric of another part of the exporter.
    pub fn register(
        &self,
        metric: impl prometheus::core::Collector + 'static,
    ) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(metric))
    }

    /// Everything in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut buffer) {
            log::error(
                "the exporter's own metrics cannot be written",
                &[("detail", &error.to_string())],
            );
        }
        String::from_utf8(buffer).unwrap_or_default()
    }
}
