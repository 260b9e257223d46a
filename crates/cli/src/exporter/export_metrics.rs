//! What the exports count about themselves, in the registry of the exporter.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use super::own_metrics::OwnMetrics;

const LABELS: [&str; 2] = ["export", "name"];

/// Of all exports, by `export` (otlp, remote_write, webhook) and `name` (the subscriber).
pub struct ExportMetrics {
    up: IntGaugeVec,
    sent: IntCounterVec,
    dropped: IntCounterVec,
    rejected: IntCounterVec,
    retries: IntCounterVec,
    batches: IntCounterVec,
    bytes: IntCounterVec,
    pauses: IntCounterVec,
    seconds: HistogramVec,
}

/// Of one export.
pub struct Counters {
    labels: [String; 2],
    /// 1 unless the receiver took nothing the last time.
    pub up: IntGauge,
    /// Spans, samples or events that the receiver has accepted.
    pub sent: IntCounter,
    /// Those that it refused as a whole, or that had no room.
    pub dropped: IntCounter,
    /// Those that it refused out of a batch that it accepted.
    pub rejected: IntCounter,
    pub retries: IntCounter,
    pub batches: IntCounter,
    pub bytes: IntCounter,
    /// How often it gave way to the work of the database.
    pub pauses: IntCounter,
    pub seconds: Histogram,
}

impl ExportMetrics {
    pub fn new(own: &OwnMetrics) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counter =
                IntCounterVec::new(Opts::new(format!("tasker_exporter_{name}"), help), &LABELS)?;
            own.register(counter.clone())?;
            Ok(counter)
        };
        let up = IntGaugeVec::new(
            Opts::new(
                "tasker_exporter_receiver_up",
                "0 if the receiver of an export took nothing the last time, otherwise 1.",
            ),
            &LABELS,
        )?;
        own.register(up.clone())?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "tasker_exporter_export_duration_seconds",
                "Time from a request to a receiver to its answer.",
            )
            .buckets(vec![
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            &LABELS,
        )?;
        own.register(seconds.clone())?;
        Ok(Self {
            up,
            sent: counter(
                "sent_total",
                "Spans, samples or events that a receiver has accepted.",
            )?,
            dropped: counter(
                "dropped_total",
                "Spans or samples that were given up: refused by the receiver, or without room.",
            )?,
            rejected: counter(
                "rejected_total",
                "Spans that a receiver refused in a batch that it accepted; deliveries of events that it refused.",
            )?,
            retries: counter(
                "retries_total",
                "Requests to a receiver that were another attempt.",
            )?,
            batches: counter(
                "batches_total",
                "Requests that a receiver has accepted or refused.",
            )?,
            bytes: counter(
                "sent_bytes_total",
                "Bytes of the requests that a receiver has accepted, compressed.",
            )?,
            pauses: counter(
                "pauses_total",
                "Pauses in which an export gave way to the work of the database.",
            )?,
            seconds,
        })
    }

    pub fn of(&self, export: &str, name: &str) -> Counters {
        let labels = [export, name];
        let up = self.up.with_label_values(&labels);
        up.set(1);
        Counters {
            labels: labels.map(str::to_owned),
            up,
            sent: self.sent.with_label_values(&labels),
            dropped: self.dropped.with_label_values(&labels),
            rejected: self.rejected.with_label_values(&labels),
            retries: self.retries.with_label_values(&labels),
            batches: self.batches.with_label_values(&labels),
            bytes: self.bytes.with_label_values(&labels),
            pauses: self.pauses.with_label_values(&labels),
            seconds: self.seconds.with_label_values(&labels),
        }
    }
}

impl Counters {
    pub fn export(&self) -> &str {
        &self.labels[0]
    }

    pub fn name(&self) -> &str {
        &self.labels[1]
    }
}
