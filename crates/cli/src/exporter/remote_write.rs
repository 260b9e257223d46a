//! The metrics of the database to a receiver of Prometheus remote write 1.0: protobuf, compressed with snappy.
//!
//! A reading that cannot be sent waits in a backlog with a bound; beyond it the oldest is dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use prost::Message;
use prost::bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::Row;

use super::database::Database;
use super::delivery::{Telemetry, Told};
use super::export_metrics::Counters;
use super::log;
use super::options;
use super::retry::{self, Outcome, Sending, Temporary};
use super::{Context, Stop};

/// Receivers take requests of this many samples.
const MOST_SAMPLES: usize = 2000;
/// The value that says that a series has ended: a NaN with these bits.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// prometheus/prompb/remote.proto
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// Where metrics go. Secrets have no flag: they are in files, or in TASKER_EXPORTER_REMOTE_WRITE_HEADERS, _PASSWORD and _BEARER_TOKEN.
#[derive(Args, Clone)]
pub struct RemoteWriteOptions {
    /// URL of a receiver of Prometheus remote write 1.0. Without it no metrics are sent.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_URL", hide_env_values = true)]
    pub remote_write_url: Option<String>,

    /// Time between two readings of the metrics: seconds, with or without an s.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_INTERVAL", default_value = "15s", value_parser = whole_interval)]
    pub remote_write_interval: Duration,

    /// The most readings that wait for the receiver; beyond that the oldest is dropped.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_BACKLOG", default_value_t = 240, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub remote_write_backlog: u16,

    /// A label of each series, for example instance=shop; again for more. Spaces separate them in the variable.
    #[arg(long = "remote-write-label", value_name = "NAME=VALUE", env = "TASKER_EXPORTER_REMOTE_WRITE_LABELS", value_delimiter = ' ', value_parser = label)]
    pub remote_write_labels: Vec<(String, String)>,

    /// User of basic authentication.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_USERNAME")]
    pub remote_write_username: Option<String>,

    /// File with the password of that user.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_PASSWORD_FILE")]
    pub remote_write_password_file: Option<PathBuf>,

    /// File with a bearer token.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_BEARER_TOKEN_FILE")]
    pub remote_write_bearer_token_file: Option<PathBuf>,

    /// Seconds that a request may take.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_TIMEOUT", default_value = "10", value_parser = options::some_seconds)]
    pub remote_write_timeout: Duration,

    /// File with certificates in PEM that are trusted beside those of the system.
    #[arg(long, env = "TASKER_EXPORTER_REMOTE_WRITE_CERTIFICATE")]
    pub remote_write_certificate: Option<PathBuf>,
}

fn whole_interval(text: &str) -> Result<Duration, String> {
    options::some_seconds(text.strip_suffix('s').unwrap_or(text))
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has the form NAME=VALUE")?;
    if !is_label(name) {
        return Err(format!("{name:?} is no name of a label"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Names with two underscores belong to Prometheus.
fn is_label(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter)
        && !name.starts_with("__")
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// The headers, and the user with the password, of the variables and files.
fn authentication(
    options: &RemoteWriteOptions,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(HeaderMap, Option<(String, String)>), String> {
    let given = |name: &str| {
        variable(&format!("TASKER_EXPORTER_REMOTE_WRITE_{name}")).filter(|text| !text.is_empty())
    };
    let secret = |file: &Option<PathBuf>, name: &str| match file {
        None => Ok(given(name)),
        Some(file) => std::fs::read_to_string(file)
            .map(|text| Some(text.trim().to_owned()))
            .map_err(|error| format!("{}: {error}", file.display())),
    };
    let mut headers = retry::pairs(&given("HEADERS").unwrap_or_default())
        .and_then(retry::headers)
        .map_err(|error| format!("TASKER_EXPORTER_REMOTE_WRITE_HEADERS: {error}"))?;
    if let Some(token) = secret(&options.remote_write_bearer_token_file, "BEARER_TOKEN")? {
        let pair = ("authorization".to_owned(), format!("Bearer {token}"));
        headers.extend(retry::headers(vec![pair])?);
    }
    let basic = match &options.remote_write_username {
        None => None,
        Some(user) => {
            let password = secret(&options.remote_write_password_file, "PASSWORD")?;
            Some((user.clone(), password.unwrap_or_default()))
        }
    };
    if basic.is_some() && headers.contains_key("authorization") {
        return Err("remote write has a user and a token: it takes one of them".to_owned());
    }
    Ok((headers, basic))
}

/// A reading on its way: requests that are not accepted yet.
struct Reading {
    requests: Vec<(u64, Bytes)>,
}

/// Readings that wait, the oldest first.
struct Backlog {
    readings: Mutex<VecDeque<Reading>>,
    most: usize,
    more: Notify,
}

impl Backlog {
    fn new(most: usize) -> Self {
        Self {
            readings: Mutex::default(),
            most,
            more: Notify::new(),
        }
    }

    fn take(&self) -> Option<Reading> {
        self.readings.lock().ok()?.pop_front()
    }

    /// Returns how many samples were dropped for it.
    fn add(&self, reading: Reading) -> u64 {
        let mut dropped = 0;
        if let Ok(mut readings) = self.readings.lock() {
            while readings.len() >= self.most {
                let oldest = readings.pop_front();
                let samples = oldest.into_iter().flat_map(|reading| reading.requests);
                dropped += samples.map(|(count, _)| count).sum::<u64>();
            }
            readings.push_back(reading);
        }
        self.more.notify_one();
        dropped
    }
}

type Series = Vec<(String, String)>;

/// The labels of a series, sorted by name, as the protocol wants them.
fn series(name: &str, labels: &Value, more: &[(String, String)]) -> Series {
    let mut all: BTreeMap<String, String> = more.iter().cloned().collect();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // A label without a value is none.
        if !text.is_empty() {
            all.insert(key.clone(), text);
        }
    }
    all.insert("__name__".to_owned(), name.to_owned());
    all.into_iter().collect()
}

/// Requests for the samples of a reading, and stale marks for the series that are no longer there.
fn requests(samples: Vec<(Series, f64)>, timestamp: i64) -> Vec<(u64, Bytes)> {
    let series: Vec<TimeSeries> = samples
        .into_iter()
        .map(|(labels, value)| TimeSeries {
            labels: labels
                .into_iter()
                .map(|(name, value)| Label { name, value })
                .collect(),
            samples: vec![Sample { value, timestamp }],
        })
        .collect();
    series
        .chunks(MOST_SAMPLES)
        .filter_map(|part| {
            let request = WriteRequest {
                timeseries: part.to_vec(),
            };
            let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
            // Only a body of 4 GB cannot be compressed.
            Some((part.len() as u64, Bytes::from(body.ok()?)))
        })
        .collect()
}

/// One receiver of metrics.
pub struct RemoteWrite {
    url: Url,
    client: Client,
    basic: Option<(String, String)>,
    options: RemoteWriteOptions,
    database: Database,
    backlog: Backlog,
    grace: Duration,
    counters: Counters,
    telemetry: Arc<Telemetry>,
}

impl RemoteWrite {
    pub fn new(
        context: &Context,
        url: &str,
        counters: Counters,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let options = context.options.exports.remote_write.clone();
        let url = Url::parse(url.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or("--remote-write-url is no URL that begins with http:// or https://")?;
        let (headers, basic) = authentication(&options, variable)?;
        let client = retry::client_builder(
            options.remote_write_timeout,
            options.remote_write_certificate.as_deref(),
        )?
        .default_headers(headers)
        .build()
        .map_err(|error| error.to_string())?;
        Ok(Self {
            url,
            client,
            basic,
            backlog: Backlog::new(options.remote_write_backlog.into()),
            database: context.database.clone(),
            grace: context.options.shutdown_timeout / 2,
            telemetry: Telemetry::new(context, "remote_write", "remote_write"),
            counters,
            options,
        })
    }

    /// Reads and sends until the exporter ends.
    pub async fn run(self, stop: Stop) -> Result<(), String> {
        self.telemetry.plugin(true).await;
        tokio::join!(self.read(stop.clone()), self.send(stop));
        self.telemetry.plugin(false).await;
        Ok(())
    }

    async fn read(&self, mut stop: Stop) {
        let mut ticks = interval(self.options.remote_write_interval);
        // A reading that comes late does not make the next ones come at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: Vec<Series> = vec![];
        loop {
            tokio::select! {
                _ = ticks.tick() => (),
                () = stop.wait() => return,
            }
            // The connection itself says why there is none; without a reading there is no sample.
            let Ok(rows) = self
                .database
                .query(
                    "SELECT name, labels, value FROM tasker.metrics WHERE value IS NOT NULL",
                    vec![],
                )
                .await
            else {
                continue;
            };
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let timestamp = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            let mut samples: Vec<(Series, f64)> = rows.iter().map(|row| self.sample(row)).collect();
            let mut present: Vec<Series> =
                samples.iter().map(|(series, _)| series.clone()).collect();
            present.sort_unstable();
            samples.extend(gone(&known, &present));
            known = present;
            let dropped = self.backlog.add(Reading {
                requests: requests(samples, timestamp),
            });
            self.counters.dropped.inc_by(dropped);
        }
    }

    fn sample(&self, row: &Row) -> (Series, f64) {
        let labels: Value = row.get(1);
        (
            series(row.get(0), &labels, &self.options.remote_write_labels),
            row.get(2),
        )
    }

    /// One request after the other, because the samples of a series come in the order of time.
    async fn send(&self, mut stop: Stop) {
        loop {
            let Some(reading) = self.backlog.take() else {
                tokio::select! {
                    () = self.backlog.more.notified() => continue,
                    () = stop.wait() => return,
                }
            };
            for (samples, body) in reading.requests {
                if !self.send_request(samples, body, &stop).await {
                    return;
                }
            }
        }
    }

    /// False: the exporter ends.
    async fn send_request(&self, samples: u64, body: Bytes, stop: &Stop) -> bool {
        let sending = Sending {
            temporary: Temporary::AnyServerError,
            limit: None,
            grace: self.grace,
            counters: &self.counters,
            requests: None,
        };
        let details = json!({ "samples": samples });
        self.telemetry.tell(Told::Requested, details).await;
        match sending.send(stop, || self.request(body.clone())).await {
            Outcome::Accepted(_) => {
                self.counters.batches.inc();
                self.counters.sent.inc_by(samples);
                self.counters.bytes.inc_by(body.len() as u64);
                let details = json!({ "metrics_count": samples, "size_bytes": body.len() });
                self.telemetry.tell(Told::Completed, details).await;
            }
            Outcome::Refused(why) | Outcome::GaveUp(why) => {
                self.counters.batches.inc();
                self.counters.dropped.inc_by(samples);
                log::warning(
                    "the receiver refuses metrics, which are dropped",
                    &[("samples", &samples.to_string()), ("reason", &why)],
                );
                let details = json!({ "samples": samples, "error_message": why });
                self.telemetry.tell(Told::Failed, details).await;
            }
            Outcome::Stopped => return false,
        }
        true
    }

    fn request(&self, body: Bytes) -> RequestBuilder {
        let request = self
            .client
            .post(self.url.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-protobuf"),
            )
            .header(CONTENT_ENCODING, HeaderValue::from_static("snappy"))
            .header(
                HeaderName::from_static("x-prometheus-remote-write-version"),
                HeaderValue::from_static("0.1.0"),
            )
            .body(body);
        match &self.basic {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }
}

/// Stale marks of series that were known and are not present; `present` is sorted.
fn gone<'a>(known: &'a [Series], present: &[Series]) -> impl Iterator<Item = (Series, f64)> {
    let ended: Vec<&'a Series> = known
        .iter()
        .filter(|series| present.binary_search(series).is_err())
        .collect();
    ended
        .into_iter()
        .map(|series| (series.clone(), f64::from_bits(STALE)))
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs<const N: usize>(labels: [(&str, &str); N]) -> Series {
        labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    fn decode(body: &Bytes) -> WriteRequest {
        let plain = snap::raw::Decoder::new()
            .decompress_vec(body)
            .expect("snappy");
        WriteRequest::decode(&*plain).expect("protobuf")
    }

    #[test]
    fn the_labels_of_a_series_are_sorted_and_none_is_empty() {
        let more = [("instance".to_owned(), "shop".to_owned())];
        let labels = json!({"le": "0.1", "Zone": "a", "empty": "", "n": 5});
        assert_eq!(
            series("tasker_x_bucket", &labels, &more),
            pairs([
                ("Zone", "a"),
                ("__name__", "tasker_x_bucket"),
                ("instance", "shop"),
                ("le", "0.1"),
                ("n", "5"),
            ])
        );
        // What the database says of a series wins.
        let own = series("x", &json!({"instance": "b"}), &more);
        assert_eq!(own, pairs([("__name__", "x"), ("instance", "b")]));
    }

    #[test]
    fn a_reading_is_requests_of_a_bounded_size() {
        let samples = (0..MOST_SAMPLES + 1)
            .map(|n| (series("x", &json!({"n": n.to_string()}), &[]), n as f64))
            .collect();
        let made = requests(samples, 1_700_000_000_123);
        let counts: Vec<u64> = made.iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [MOST_SAMPLES as u64, 1]);
        let last = decode(&made[1].1);
        let expected = Sample {
            value: MOST_SAMPLES as f64,
            timestamp: 1_700_000_000_123,
        };
        assert_eq!(last.timeseries[0].samples, [expected]);
        assert!(requests(vec![], 1).is_empty());
    }

    #[test]
    fn a_series_that_ends_gets_a_stale_mark_once() {
        let (a, b) = (pairs([("__name__", "a")]), pairs([("__name__", "b")]));
        let marks: Vec<_> = gone(&[a.clone(), b.clone()], std::slice::from_ref(&b)).collect();
        assert_eq!(marks.len(), 1);
        assert_eq!(marks[0].0, a);
        assert_eq!(marks[0].1.to_bits(), STALE);
        assert!(
            gone(std::slice::from_ref(&b), std::slice::from_ref(&b))
                .next()
                .is_none()
        );
    }

    #[test]
    fn the_backlog_drops_the_oldest_and_counts_it() {
        let backlog = Backlog::new(2);
        let reading = |count: u64| Reading {
            requests: vec![(count, Bytes::new()), (1, Bytes::new())],
        };
        assert_eq!(backlog.add(reading(1)), 0);
        assert_eq!(backlog.add(reading(2)), 0);
        assert_eq!(backlog.add(reading(3)), 2);
        assert_eq!(backlog.take().map(|reading| reading.requests[0].0), Some(2));
        assert_eq!(backlog.take().map(|reading| reading.requests[0].0), Some(3));
        assert!(backlog.take().is_none());
    }

    #[test]
    fn intervals_and_labels_are_checked() {
        assert_eq!(whole_interval("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(whole_interval("0.5"), Ok(Duration::from_millis(500)));
        assert!(whole_interval("0").is_err() && whole_interval("x").is_err());
        assert!(label("instance=a=b").is_ok());
        for wrong in ["instance", "__name__=x", "1a=b", "a-b=c", "=x"] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
    }
}
