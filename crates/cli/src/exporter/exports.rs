//! What is sent to others: spans, metrics, and the events of subscribers. Each export that is configured runs as a part.

use clap::Args;
use tokio::task::JoinSet;

use super::Context;
use super::export_metrics::ExportMetrics;
use super::log;
use super::otlp::{self, Otlp, OtlpOptions};
use super::remote_write::{RemoteWrite, RemoteWriteOptions};
use super::webhook::{Webhook, WebhookOptions};

#[derive(Args, Clone)]
pub struct ExportOptions {
    #[command(flatten)]
    pub otlp: OtlpOptions,
    #[command(flatten)]
    pub remote_write: RemoteWriteOptions,
    #[command(flatten)]
    pub webhook: WebhookOptions,
}

/// Starts them, or says what is wrong with their configuration.
pub fn start(context: &Context, parts: &mut JoinSet<Result<(), String>>) -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).ok();
    let options = &context.options.exports;
    let metrics = ExportMetrics::new(&context.metrics).map_err(|error| error.to_string())?;
    if let Some(settings) = otlp::Settings::new(&options.otlp, &variable)? {
        let subscriber = &options.otlp.otlp_subscriber;
        let host = settings.url.host_str().unwrap_or_default().to_owned();
        let export = Otlp::new(context, settings, metrics.of("otlp", subscriber))?;
        parts.spawn(export.run(context.stop.clone()));
        log::info(
            "sends spans",
            &[("subscriber", subscriber), ("host", &host)],
        );
    }
    let url = options.remote_write.remote_write_url.as_deref();
    if let Some(url) = url.filter(|url| !url.trim().is_empty()) {
        let counters = metrics.of("remote_write", "remote_write");
        let export = RemoteWrite::new(context, url, counters, &variable)?;
        parts.spawn(export.run(context.stop.clone()));
        log::info("sends metrics", &[]);
    }
    for (subscriber, url) in &options.webhook.webhooks {
        let others = options.webhook.webhooks.iter();
        if others.filter(|(other, _)| other == subscriber).count() > 1 {
            return Err(format!(
                "webhook {subscriber} is given twice: each URL needs a subscriber of its own"
            ));
        }
        let counters = metrics.of("webhook", subscriber);
        let export = Webhook::new(context, subscriber, url, counters, &variable)?;
        parts.spawn(export.run(context.stop.clone()));
        let host = url.host_str().unwrap_or_default();
        log::info(
            "sends events",
            &[("subscriber", subscriber), ("host", host)],
        );
    }
    Ok(())
}
