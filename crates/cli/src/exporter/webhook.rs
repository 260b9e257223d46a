//! The events of a subscriber as webhooks: each a CloudEvent in a POST that is signed, in the order of each task.
//!
//! What the receiver does not take is told to the database after the retries: it comes again later, and after
//! `max_deliveries` it is a dead letter.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hmac::{Hmac, Mac};
use prost::bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_postgres::Row;
use uuid::Uuid;

use super::addresses::{self, Resolver};
use super::delivery::{Source, Telemetry, Told, Wanted};
use super::export_metrics::Counters;
use super::log;
use super::options;
use super::retry::{self, Outcome, Sending, Temporary};
use super::{Context, Stop};

/// Events that are in memory at once, at most.
const MOST_EVENTS: usize = 256;
/// And about how many bytes of them: a poll asks for so many that they have about this size.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// A first poll does not know how large events are.
const FIRST_POLL: usize = 16;

/// Where the events of subscribers go.
#[derive(Args, Clone)]
pub struct WebhookOptions {
    /// Sends the events of this subscriber to this URL; again for more. Spaces separate them in the variable.
    #[arg(long = "webhook", value_name = "SUBSCRIBER=URL", env = "TASKER_EXPORTER_WEBHOOKS", hide_env_values = true, value_delimiter = ' ', value_parser = webhook)]
    pub webhooks: Vec<(String, Url)>,

    /// File with the secret that signs, or several, one a line; with SUBSCRIBER= only for that one. Without it TASKER_EXPORTER_WEBHOOK_SECRET has the secret.
    #[arg(
        long = "webhook-secret-file",
        value_name = "[SUBSCRIBER=]FILE",
        env = "TASKER_EXPORTER_WEBHOOK_SECRET_FILES",
        value_delimiter = ' '
    )]
    pub webhook_secret_files: Vec<String>,

    /// Allows http:// and addresses that are not public.
    #[arg(long, env = "TASKER_EXPORTER_WEBHOOK_ALLOW_PRIVATE", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true)]
    pub webhook_allow_private: bool,

    /// Seconds that a request may take.
    #[arg(long, env = "TASKER_EXPORTER_WEBHOOK_TIMEOUT", default_value = "10", value_parser = options::some_seconds)]
    pub webhook_timeout: Duration,

    /// Seconds for which an event is sent again after 429, 502, 503, 504 and failed connections, before the delivery counts as failed.
    #[arg(long, env = "TASKER_EXPORTER_WEBHOOK_RETRY_FOR", default_value = "900", value_parser = options::seconds)]
    pub webhook_retry_for: Duration,

    /// The most requests at once, to each URL.
    #[arg(long, env = "TASKER_EXPORTER_WEBHOOK_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    pub webhook_concurrency: u8,

    /// File with certificates in PEM that are trusted beside those of the system.
    #[arg(long, env = "TASKER_EXPORTER_WEBHOOK_CERTIFICATE")]
    pub webhook_certificate: Option<std::path::PathBuf>,
}

/// Reads SUBSCRIBER=URL. The URL may hold a secret, so no message has it.
fn webhook(text: &str) -> Result<(String, Url), String> {
    let (subscriber, url) = text
        .split_once('=')
        .filter(|(subscriber, _)| !subscriber.is_empty())
        .ok_or("it has the form SUBSCRIBER=URL")?;
    let url = Url::parse(url).map_err(|error| format!("the URL of {subscriber}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the URL of {subscriber} must begin with https://"));
    }
    Ok((subscriber.to_owned(), url))
}

/// What signs the requests: each secret gives a signature, so that a receiver can change to another one.
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// One secret a line or between spaces: `whsec_` and base64, as the specification says, or any text.
    pub fn new(text: &str) -> Result<Self, String> {
        let secrets = text
            .split_whitespace()
            .map(|secret| match secret.strip_prefix("whsec_") {
                Some(encoded) => STANDARD
                    .decode(encoded)
                    .map_err(|_| "a secret begins with whsec_ and is not base64".to_owned()),
                None => Ok(secret.as_bytes().to_vec()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if secrets.is_empty() {
            return Err("there is no secret".to_owned());
        }
        if secrets.iter().any(|secret| secret.len() < 16) {
            return Err("a secret is shorter than 16 bytes".to_owned());
        }
        Ok(Self(secrets))
    }

    /// Of one subscriber.
    fn of(
        subscriber: &str,
        options: &WebhookOptions,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let prefix = format!("{subscriber}=");
        let own = options
            .webhook_secret_files
            .iter()
            .find_map(|file| file.strip_prefix(&prefix));
        let general = || {
            let files = options.webhook_secret_files.iter();
            files.map(String::as_str).find(|file| {
                // A file of another subscriber, unless the name of the file itself has the sign.
                !options
                    .webhooks
                    .iter()
                    .any(|(other, _)| file.starts_with(&format!("{other}=")))
            })
        };
        let text = match own.or_else(general) {
            Some(file) => std::fs::read_to_string(Path::new(file))
                .map_err(|error| format!("{file}: {error}"))?,
            None => variable("TASKER_EXPORTER_WEBHOOK_SECRET").ok_or_else(|| {
                format!(
                    "webhook {subscriber} has no secret: --webhook-secret-file names a file, or TASKER_EXPORTER_WEBHOOK_SECRET has it"
                )
            })?,
        };
        Self::new(&text).map_err(|error| format!("webhook {subscriber}: {error}"))
    }

    /// The header webhook-signature, as Standard Webhooks says.
    fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|secret| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret)
                .unwrap_or_else(|_| unreachable!("each length is one of a key"));
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

/// An event on its way.
struct Event {
    id: i64,
    body: Bytes,
}

/// What the requests to one URL share.
struct Receiver {
    url: Url,
    client: Client,
    secrets: Secrets,
    source: Source,
    requests: Semaphore,
    retry_for: Duration,
    grace: Duration,
    counters: Counters,
    telemetry: Arc<Telemetry>,
}

/// One subscriber and its URL.
pub struct Webhook {
    receiver: Arc<Receiver>,
}

impl Webhook {
    pub fn new(
        context: &Context,
        subscriber: &str,
        url: &Url,
        counters: Counters,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let options = &context.options.exports.webhook;
        let wrong = |error: String| format!("webhook {subscriber}: {error}");
        let mut builder = retry::client_builder(
            options.webhook_timeout,
            options.webhook_certificate.as_deref(),
        )
        .map_err(wrong)?
        // A proxy would resolve the name itself.
        .no_proxy();
        if !options.webhook_allow_private {
            addresses::check_url(url).map_err(wrong)?;
            builder = builder
                .https_only(true)
                .dns_resolver(Arc::new(Resolver::of_the_system()));
        }
        let receiver = Receiver {
            url: url.clone(),
            client: builder.build().map_err(|error| wrong(error.to_string()))?,
            secrets: Secrets::of(subscriber, options, variable)?,
            source: Source::new(context, subscriber),
            requests: Semaphore::new(options.webhook_concurrency.into()),
            retry_for: options.webhook_retry_for,
            grace: context.options.shutdown_timeout / 2,
            telemetry: Telemetry::new(context, "webhook", subscriber),
            counters,
        };
        Ok(Self {
            receiver: Arc::new(receiver),
        })
    }

    /// Sends until the exporter ends.
    pub async fn run(self, mut stop: Stop) -> Result<(), String> {
        let receiver = self.receiver;
        let wanted = Wanted {
            arguments: ", '{task.completed, task.failed}', ordered => true",
            ordered: true,
        };
        if !receiver.source.ready(&mut stop, &wanted).await {
            return Ok(());
        }
        receiver.telemetry.plugin(true).await;
        let mut tasks = JoinSet::new();
        let room = Arc::new(Semaphore::new(MOST_EVENTS));
        let mut most = FIRST_POLL;
        while !stop.has_come() {
            while tasks.try_join_next().is_some() {}
            let free = tokio::select! {
                free = room.acquire() => free.is_ok(),
                () = stop.wait() => false,
            };
            if !free {
                break;
            }
            let wanted = room.available_permits().clamp(1, most);
            let polled = receiver.poll(wanted).await;
            let events = match polled {
                Ok(events) => events,
                Err(failure) => {
                    most = (most / 2).max(1);
                    receiver.source.wait_after(&failure, &mut stop).await;
                    continue;
                }
            };
            if events.is_empty() {
                receiver.source.wait(&mut stop).await;
                continue;
            }
            most = next_poll(&events);
            for group in by_task(events) {
                let permits = u32::try_from(group.len()).unwrap_or(u32::MAX);
                // Its own poll asked for no more than there was room for.
                let permits = room.clone().try_acquire_many_owned(permits).ok();
                let (receiver, stop) = (receiver.clone(), stop.clone());
                tasks.spawn(async move {
                    receiver.send_in_order(group, stop).await;
                    drop(permits);
                });
            }
        }
        while tasks.join_next().await.is_some() {}
        receiver.telemetry.plugin(false).await;
        Ok(())
    }
}

/// How many events of this size the next poll asks for.
fn next_poll(events: &[(Option<Uuid>, Event)]) -> usize {
    let bytes: usize = events.iter().map(|(_, event)| event.body.len()).sum();
    (MOST_BYTES / (bytes / events.len()).max(1)).clamp(1, MOST_EVENTS)
}

/// The events of each task, in their order; an event without a task is alone.
fn by_task(events: Vec<(Option<Uuid>, Event)>) -> Vec<Vec<Event>> {
    let mut groups: Vec<Vec<Event>> = vec![];
    let mut places: HashMap<Uuid, usize> = HashMap::new();
    for (task, event) in events {
        match task {
            None => groups.push(vec![event]),
            Some(task) => {
                let place = *places.entry(task).or_insert(groups.len());
                if place == groups.len() {
                    groups.push(vec![]);
                }
                groups[place].push(event);
            }
        }
    }
    groups
}

impl Receiver {
    async fn poll(
        &self,
        most: usize,
    ) -> Result<Vec<(Option<Uuid>, Event)>, super::database::Failure> {
        let rows = self
            .source
            .poll(
                "event_id, task_uuid, payload::text",
                "cloudevents",
                i32::try_from(most).unwrap_or(i32::MAX),
            )
            .await?;
        let event = |row: &Row| {
            let body: String = row.get(2);
            let event = Event {
                id: row.get(0),
                body: body.into(),
            };
            (row.get(1), event)
        };
        Ok(rows.iter().map(event).collect())
    }

    /// The events of one task. One that fails holds back those behind it, which the database gives back with it.
    async fn send_in_order(&self, group: Vec<Event>, stop: Stop) {
        let ids: Vec<i64> = group.iter().map(|event| event.id).collect();
        let sending = async {
            for (place, event) in group.into_iter().enumerate() {
                let outcome = if stop.has_come() {
                    Outcome::Stopped
                } else {
                    self.send(&event, &stop).await
                };
                match outcome {
                    Outcome::Accepted(_) => self.accepted(&event, &stop).await,
                    Outcome::Refused(why) | Outcome::GaveUp(why) => {
                        return self.refused(&event, &why, &stop).await;
                    }
                    Outcome::Stopped => return self.source.give_back(&ids[place..]).await,
                }
            }
        };
        self.source.keep(&ids, sending).await;
    }

    async fn accepted(&self, event: &Event, stop: &Stop) {
        self.counters.batches.inc();
        self.counters.sent.inc();
        self.counters.bytes.inc_by(event.body.len() as u64);
        self.source.acknowledge(&[event.id], stop).await;
        let details = json!({ "events": 1 });
        self.telemetry.tell(Told::Completed, details).await;
    }

    async fn refused(&self, event: &Event, why: &str, stop: &Stop) {
        self.counters.batches.inc();
        self.counters.rejected.inc();
        log::warning(
            "an event was not taken",
            &[
                ("subscriber", &self.source.subscriber),
                ("event", &event.id.to_string()),
                ("reason", why),
            ],
        );
        self.source.refuse(&[event.id], why, stop).await;
        let details = json!({ "events": 1, "error_message": why });
        self.telemetry.tell(Told::Failed, details).await;
    }

    async fn send(&self, event: &Event, stop: &Stop) -> Outcome {
        let sending = Sending {
            temporary: Temporary::Gateway,
            limit: Some(self.retry_for),
            grace: self.grace,
            counters: &self.counters,
            requests: Some(&self.requests),
        };
        self.telemetry
            .tell(Told::Requested, json!({ "events": 1 }))
            .await;
        sending.send(stop, || self.request(event)).await
    }

    /// Signed again for each attempt, because the receiver refuses an old time.
    fn request(&self, event: &Event) -> RequestBuilder {
        let id = event.id.to_string();
        let timestamp = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let signature = self.secrets.sign(&id, timestamp, &event.body);
        self.client
            .post(self.url.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/cloudevents+json; charset=UTF-8"),
            )
            .header(HeaderName::from_static("webhook-id"), id)
            .header(HeaderName::from_static("webhook-timestamp"), timestamp)
            .header(HeaderName::from_static("webhook-signature"), signature)
            .body(event.body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the libraries of Standard Webhooks.
        let secrets = Secrets::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_secret_signs() {
        let secrets = Secrets::new(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nanother secret-of-text-that-is-long",
        )
        .err();
        assert!(secrets.is_some(), "another is too short");
        let two =
            Secrets::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw secret-of-text-that-is-long")
                .expect("two");
        let signature = two.sign("1", 2, b"");
        assert_eq!(signature.split(' ').count(), 2);
        for wrong in ["", " \n", "short", "whsec_!!!"] {
            assert!(Secrets::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_events_of_a_task_stay_together_in_order() {
        let event = |id| Event {
            id,
            body: Bytes::from_static(b"{}"),
        };
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let groups = by_task(vec![
            (Some(a), event(1)),
            (None, event(2)),
            (Some(b), event(3)),
            (Some(a), event(4)),
            (None, event(5)),
            (Some(a), event(6)),
        ]);
        let ids: Vec<Vec<i64>> = groups
            .iter()
            .map(|group| group.iter().map(|event| event.id).collect())
            .collect();
        assert_eq!(ids, [vec![1, 4, 6], vec![2], vec![3], vec![5]]);
    }

    #[test]
    fn large_events_are_polled_by_few() {
        let events = |size: usize| {
            let event = Event {
                id: 1,
                body: Bytes::from(vec![b'x'; size]),
            };
            vec![(None, event)]
        };
        assert_eq!(next_poll(&events(1000)), MOST_EVENTS);
        assert_eq!(next_poll(&events(MOST_BYTES / 4)), 4);
        assert_eq!(next_poll(&events(MOST_BYTES * 2)), 1);
        assert_eq!(next_poll(&events(0)), MOST_EVENTS);
    }

    #[test]
    fn a_webhook_is_a_subscriber_and_an_url() {
        let (subscriber, url) = webhook("mail=https://example.com/a?b=c").expect("well formed");
        assert_eq!(
            (subscriber.as_str(), url.as_str()),
            ("mail", "https://example.com/a?b=c")
        );
        for wrong in [
            "mail",
            "=https://example.com",
            "mail=example",
            "mail=ftp://example.com",
        ] {
            assert!(webhook(wrong).is_err(), "{wrong}");
        }
    }
}
