//! Spans to a receiver of OTLP over HTTP, as protobuf.
//!
//! A batch is acknowledged when the receiver has accepted the spans of its events, or refused them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use prost::bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::{Map, Value, json};
use tokio_postgres::Row;

use super::database::Failure;
use super::delivery::{Source, Telemetry, Told, Wanted};
use super::export_metrics::Counters;
use super::log;
use super::pace::{Pace, Times};
use super::retry::{self, Outcome, Sending, Temporary};
use super::{Context, Stop};

/// Batches under way at once: one is read from the database while another is sent.
pub const BATCHES: usize = 2;
/// Receivers take at least this; one span more begins another request.
const LONGEST_REQUEST: usize = 2 * 1024 * 1024;

/// The events that end spans. A delivery that the end of the exporter cuts off counts, so there are many.
const ARGUMENTS: &str = ", '{task.initialize_requested, task.completed, task.failed, task.cancelled, step.completed, step.failed, step.released, step.cancelled, step.retry_requested}', max_deliveries => 1000";

/// Where spans go. The other settings are the variables OTEL_EXPORTER_OTLP_..., whose values can be secrets.
#[derive(Args, Clone)]
pub struct OtlpOptions {
    /// URL of a receiver of OTLP/HTTP; /v1/traces is appended. Without it, and without the variable for traces, no spans are sent.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,

    /// Likewise, as it is: nothing is appended.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        hide_env_values = true
    )]
    pub otlp_traces_endpoint: Option<String>,

    /// The subscriber whose events end the spans.
    #[arg(
        long,
        env = "TASKER_EXPORTER_OTLP_SUBSCRIBER",
        default_value = "tasker_otlp"
    )]
    pub otlp_subscriber: String,

    /// The most events of a batch.
    #[arg(long, env = "TASKER_EXPORTER_OTLP_BATCH", default_value_t = 1000, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub otlp_batch: i32,

    /// Whether to send less while the database is busy, so that its work goes before.
    #[arg(long, env = "TASKER_EXPORTER_OTLP_GIVE_WAY", value_name = "BOOL", num_args = 0..=1, default_value_t = true, default_missing_value = "true", require_equals = true)]
    pub otlp_give_way: bool,
}

/// What the options and the variables say.
pub struct Settings {
    pub url: Url,
    headers: HeaderMap,
    timeout: Duration,
    gzip: bool,
    certificate: Option<String>,
    resource: Resource,
}

impl Settings {
    /// None: no spans are wanted.
    pub fn new(
        options: &OtlpOptions,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        // A variable for traces wins; an empty one is none.
        let either = |name: &str| {
            ["TRACES_", ""]
                .iter()
                .map(|part| format!("OTEL_EXPORTER_OTLP_{part}{name}"))
                .find_map(|name| {
                    let value = variable(&name)?.trim().to_owned();
                    (!value.is_empty()).then_some((name, value))
                })
        };
        let Some(url) = url(options)? else {
            return Ok(None);
        };
        if let Some((name, protocol)) = either("PROTOCOL")
            && protocol != "http/protobuf"
        {
            return Err(format!(
                "{name} is {protocol:?}: tasker exporter speaks http/protobuf only, usually on port 4318"
            ));
        }
        let headers = match either("HEADERS") {
            None => HeaderMap::new(),
            Some((name, text)) => retry::pairs(&text)
                .and_then(retry::headers)
                .map_err(|error| format!("{name}: {error}"))?,
        };
        let timeout = match either("TIMEOUT") {
            None => Duration::from_secs(10),
            Some((name, text)) => text
                .parse()
                .ok()
                .filter(|milliseconds| (1..=3_600_000).contains(milliseconds))
                .map(Duration::from_millis)
                .ok_or_else(|| format!("{name} is {text:?}: it is a number of milliseconds"))?,
        };
        let gzip = match either("COMPRESSION") {
            None => false,
            Some((name, text)) => match text.as_str() {
                "gzip" => true,
                "none" => false,
                _ => return Err(format!("{name} is {text:?}: it is gzip or none")),
            },
        };
        Ok(Some(Self {
            url,
            headers,
            timeout,
            gzip,
            certificate: either("CERTIFICATE").map(|(_, file)| file),
            resource: resource(variable)?,
        }))
    }

    fn client(&self) -> Result<Client, String> {
        let file = self.certificate.as_deref().map(std::path::Path::new);
        retry::client_builder(self.timeout, file)?
            .default_headers(self.headers.clone())
            .build()
            .map_err(|error| error.to_string())
    }
}

fn url(options: &OtlpOptions) -> Result<Option<Url>, String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    let (name, text) = match (
        given(&options.otlp_traces_endpoint),
        given(&options.otlp_endpoint),
    ) {
        (Some(text), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text),
        (None, Some(text)) => (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("{}/v1/traces", text.trim().trim_end_matches('/')),
        ),
        (None, None) => return Ok(None),
    };
    // The URL may hold a password.
    let url = Url::parse(text.trim()).map_err(|error| format!("{name} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "{name} begins with {}://: it must be http:// or https://",
            url.scheme()
        ));
    }
    Ok(Some(url))
}

/// What sends the spans: its name, and what else the variables say.
fn resource(variable: &dyn Fn(&str) -> Option<String>) -> Result<Resource, String> {
    let given = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
    let mut pairs = match given("OTEL_RESOURCE_ATTRIBUTES") {
        None => vec![],
        Some(text) => {
            retry::pairs(&text).map_err(|error| format!("OTEL_RESOURCE_ATTRIBUTES: {error}"))?
        }
    };
    let named = pairs.iter().any(|(key, _)| key == "service.name");
    if let Some(name) = given("OTEL_SERVICE_NAME") {
        pairs.retain(|(key, _)| key != "service.name");
        pairs.insert(0, ("service.name".to_owned(), name));
    } else if !named {
        pairs.insert(0, ("service.name".to_owned(), "tasker".to_owned()));
    }
    let mut attributes: Vec<KeyValue> = vec![];
    for (key, value) in pairs {
        // The last of a name counts.
        attributes.retain(|known| known.key != key);
        attributes.push(key_value(key, Any::StringValue(value)));
    }
    Ok(Resource {
        attributes,
        ..Resource::default()
    })
}

fn key_value(key: String, value: Any) -> KeyValue {
    KeyValue {
        key,
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn attributes(object: Option<Map<String, Value>>) -> Vec<KeyValue> {
    let value = |value: Value| match value {
        Value::String(text) => Some(Any::StringValue(text)),
        Value::Bool(flag) => Some(Any::BoolValue(flag)),
        Value::Number(number) => Some(match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Any::IntValue(whole),
            (None, Some(real)) if real.is_finite() => Any::DoubleValue(real),
            _ => Any::StringValue(number.to_string()),
        }),
        Value::Null => None,
        other => Some(Any::StringValue(other.to_string())),
    };
    object
        .into_iter()
        .flatten()
        .filter_map(|(key, found)| Some(key_value(key, value(found)?)))
        .collect()
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The bytes of an id in hexadecimal; None unless it is one of this length and not zero.
fn id<const LENGTH: usize>(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * LENGTH {
        return None;
    }
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes.filter(|bytes| bytes.iter().any(|byte| *byte != 0))
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The columns of `spans_of_events` that a span is made of, and the times when the first is there.
const SPANS: &str = "SELECT s.trace_id, s.span_id, s.parent_span_id, s.trace_state, s.name, s.kind, s.started_at, s.ended_at, s.status,
    s.status_message, s.attributes, s.events, s.sampled,
    (SELECT extract(epoch FROM clock_timestamp())::float8), (SELECT tasker.processor_seconds())
    FROM tasker.spans_of_events($1) s";
/// The events of a poll, and the times when they are there.
const EVENTS: &str = "event_id, (SELECT extract(epoch FROM clock_timestamp())::float8), (SELECT tasker.processor_seconds())";

/// The times in these columns.
fn times(row: Option<&Row>, clock: usize, processor: usize) -> Option<Times> {
    let row = row?;
    Some(Times {
        clock: row.try_get(clock).ok()?,
        processor: row.try_get(processor).ok()?,
    })
}

/// None for a span whose ids are none, and for one that is not sampled.
fn span(row: &Row) -> Result<Option<Span>, tokio_postgres::Error> {
    let parent: Option<String> = row.try_get(2)?;
    let (Some(trace_id), Some(span_id), true) = (
        id::<16>(row.try_get(0)?),
        id::<8>(row.try_get(1)?),
        row.try_get::<_, Option<bool>>(12)?.unwrap_or(true),
    ) else {
        return Ok(None);
    };
    let kind = match row.try_get::<_, Option<&str>>(5)? {
        Some("consumer") => SpanKind::Consumer,
        Some("producer") => SpanKind::Producer,
        Some("client") => SpanKind::Client,
        Some("server") => SpanKind::Server,
        _ => SpanKind::Internal,
    };
    let code = match row.try_get::<_, Option<&str>>(8)? {
        Some("ok") => StatusCode::Ok,
        Some("error") => StatusCode::Error,
        _ => StatusCode::Unset,
    };
    let started: SystemTime = row.try_get(6)?;
    let ended: SystemTime = row.try_get(7)?;
    Ok(Some(Span {
        trace_id,
        span_id,
        parent_span_id: parent.and_then(|text| id::<8>(&text)).unwrap_or_default(),
        trace_state: row.try_get::<_, Option<String>>(3)?.unwrap_or_default(),
        // Sampled; whether the parent is remote is not known.
        flags: 1,
        name: row.try_get(4)?,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(started),
        end_time_unix_nano: nanoseconds(ended.max(started)),
        attributes: attributes(row.try_get::<_, Option<Value>>(10)?.and_then(object)),
        events: span_events(row.try_get(11)?),
        status: Some(Status {
            // Only with an error, as the protocol says.
            message: match code {
                StatusCode::Error => row.try_get::<_, Option<String>>(9)?.unwrap_or_default(),
                _ => String::new(),
            },
            code: code.into(),
        }),
        ..Span::default()
    }))
}

fn span_events(events: Option<Value>) -> Vec<Event> {
    let Some(Value::Array(events)) = events else {
        return vec![];
    };
    events
        .into_iter()
        .filter_map(object)
        .map(|mut event| Event {
            time_unix_nano: event
                .get("at")
                .and_then(Value::as_str)
                .and_then(|at| humantime::parse_rfc3339(at).ok())
                .map(nanoseconds)
                .unwrap_or_default(),
            name: event
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            attributes: attributes(event.remove("attributes").and_then(object)),
            dropped_attributes_count: 0,
        })
        .collect()
}

/// Spans in requests of a bounded size.
fn requests(spans: Vec<Span>, resource: &Resource) -> Vec<(usize, Vec<u8>)> {
    let encode = |spans: Vec<Span>| {
        let count = spans.len();
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "tasker".to_owned(),
                        version: env!("CARGO_PKG_VERSION").to_owned(),
                        ..InstrumentationScope::default()
                    }),
                    spans,
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        (count, request.encode_to_vec())
    };
    let (mut all, mut part, mut size) = (vec![], vec![], 0);
    for span in spans {
        let length = span.encoded_len();
        if size + length > LONGEST_REQUEST && !part.is_empty() {
            all.push(encode(std::mem::take(&mut part)));
            size = 0;
        }
        size += length;
        part.push(span);
    }
    if !part.is_empty() {
        all.push(encode(part));
    }
    all
}

fn compressed(body: Vec<u8>) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&body)?;
    encoder.finish()
}

/// One receiver of spans.
pub struct Otlp {
    settings: Settings,
    client: Client,
    source: Source,
    batch: i32,
    grace: Duration,
    give_way: bool,
    pace: Pace,
    counters: Counters,
    telemetry: Arc<Telemetry>,
}

impl Otlp {
    pub fn new(context: &Context, settings: Settings, counters: Counters) -> Result<Self, String> {
        let options = &context.options.exports.otlp;
        let client = settings
            .client()
            .map_err(|error| format!("spans cannot be sent: {error}"))?;
        Ok(Self {
            client,
            source: Source::new(context, &options.otlp_subscriber),
            batch: options.otlp_batch,
            grace: context.options.shutdown_timeout / 2,
            give_way: options.otlp_give_way,
            pace: Pace::default(),
            telemetry: Telemetry::new(context, "otlp", &options.otlp_subscriber),
            counters,
            settings,
        })
    }

    /// Sends until the exporter ends.
    pub async fn run(self, mut stop: Stop) -> Result<(), String> {
        let wanted = Wanted {
            arguments: ARGUMENTS,
            ordered: false,
        };
        if !self.source.ready(&mut stop, &wanted).await {
            return Ok(());
        }
        self.telemetry.plugin(true).await;
        let batches = (0..BATCHES).map(|_| self.send_batches(stop.clone()));
        futures_util::future::join_all(batches).await;
        self.telemetry.plugin(false).await;
        Ok(())
    }

    async fn send_batches(&self, mut stop: Stop) {
        // A batch that takes the database too long is a smaller one the next time.
        let mut most = self.batch;
        while self.pace.wait(&mut stop).await && !stop.has_come() {
            let rows = match self.source.poll(EVENTS, "native", most).await {
                Ok(rows) => rows,
                Err(failure) => {
                    if matches!(failure, Failure::Timeout) {
                        most = (most / 2).max(1);
                    }
                    if !self.source.wait_after(&failure, &mut stop).await {
                        return;
                    }
                    continue;
                }
            };
            if rows.is_empty() {
                if !self.source.wait(&mut stop).await {
                    return;
                }
                continue;
            }
            let polled = times(rows.last(), 1, 2);
            let events: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            if usize::try_from(most).is_ok_and(|most| events.len() < most) {
                self.pace.found_few();
            }
            match self
                .source
                .keep(&events, self.send_events(&events, polled, &mut stop))
                .await
            {
                Sent::Done => {
                    self.source.acknowledge(&events, &stop).await;
                    most = most.saturating_mul(2).min(self.batch);
                }
                // In halves, until the one that it is about stands alone.
                Sent::Unreadable(error) => {
                    most = (i32::try_from(events.len()).unwrap_or(most) / 2).max(1);
                    self.source.refuse(&events, &error, &stop).await;
                }
                Sent::Stopped => self.source.give_back(&events).await,
            }
        }
    }

    async fn send_events(&self, events: &[i64], polled: Option<Times>, stop: &mut Stop) -> Sent {
        let spans = loop {
            match self.spans(events, polled).await {
                Ok(spans) => break spans,
                Err(Failure::Sql { message, .. }) => {
                    log::warning("spans cannot be read", &[("reason", &message)]);
                    return Sent::Unreadable(message);
                }
                Err(failure) => {
                    if !self.source.wait_after(&failure, stop).await {
                        return Sent::Stopped;
                    }
                }
            }
        };
        for (count, body) in requests(spans, &self.settings.resource) {
            if !self.send_request(count, body, stop).await {
                return Sent::Stopped;
            }
        }
        Sent::Done
    }

    async fn spans(&self, events: &[i64], polled: Option<Times>) -> Result<Vec<Span>, Failure> {
        let rows = self
            .source
            .query(SPANS, vec![Box::new(events.to_vec())])
            .await?;
        if let (true, Some(polled), Some(read)) =
            (self.give_way, polled, times(rows.first(), 13, 14))
            && self.pace.ran(polled, read)
        {
            self.counters.pauses.inc();
        }
        rows.iter()
            .filter_map(|row| span(row).transpose())
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::Sql {
                state: "none".to_owned(),
                message: format!("tasker.spans_of_events returns something else: {error}"),
            })
    }

    /// False: the exporter ended before the receiver had answered.
    async fn send_request(&self, count: usize, body: Vec<u8>, stop: &Stop) -> bool {
        let body = match self.settings.gzip.then(|| compressed(body.clone())) {
            Some(Ok(small)) => Bytes::from(small),
            // In memory this does not fail.
            Some(Err(_)) | None => Bytes::from(body),
        };
        let sending = Sending {
            temporary: Temporary::Gateway,
            limit: None,
            grace: self.grace,
            counters: &self.counters,
            requests: None,
        };
        let spans = u64::try_from(count).unwrap_or_default();
        self.telemetry
            .tell(Told::Requested, json!({ "spans": count }))
            .await;
        let outcome = sending.send(stop, || self.request(body.clone())).await;
        match outcome {
            Outcome::Accepted(answer) => {
                let rejected = rejected(&answer).min(spans);
                self.counters.batches.inc();
                self.counters.bytes.inc_by(body.len() as u64);
                self.counters.sent.inc_by(spans - rejected);
                self.counters.rejected.inc_by(rejected);
                let details = json!({ "spans": spans - rejected, "rejected": rejected });
                self.telemetry.tell(Told::Completed, details).await;
            }
            Outcome::Refused(why) | Outcome::GaveUp(why) => {
                self.counters.batches.inc();
                self.counters.dropped.inc_by(spans);
                log::warning(
                    "the receiver refuses spans, which are dropped",
                    &[("spans", &count.to_string()), ("reason", &why)],
                );
                let details = json!({ "spans": count, "error_message": why });
                self.telemetry.tell(Told::Failed, details).await;
            }
            Outcome::Stopped => return false,
        }
        true
    }

    fn request(&self, body: Bytes) -> RequestBuilder {
        let request = self
            .client
            .post(self.settings.url.clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-protobuf"),
            )
            .body(body);
        if self.settings.gzip {
            request.header(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
        } else {
            request
        }
    }
}

/// The outcome of a batch.
enum Sent {
    /// The receiver has answered.
    Done,
    /// The database gives an error for one of the events.
    Unreadable(String),
    Stopped,
}

/// How many spans the receiver did not take out of a request that it accepted.
fn rejected(answer: &[u8]) -> u64 {
    let Ok(answer) = ExportTraceServiceResponse::decode(answer) else {
        // It answered 200 with something else.
        return 0;
    };
    let Some(partial) = answer.partial_success else {
        return 0;
    };
    if partial.rejected_spans > 0 || !partial.error_message.is_empty() {
        log::warning(
            "the receiver did not take all spans",
            &[
                ("rejected", &partial.rejected_spans.to_string()),
                ("reason", &partial.error_message),
            ],
        );
    }
    u64::try_from(partial.rejected_spans).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        endpoints: [Option<&str>; 2],
        variables: &[(&str, &str)],
    ) -> Result<Option<Settings>, String> {
        let options = OtlpOptions {
            otlp_endpoint: endpoints[0].map(str::to_owned),
            otlp_traces_endpoint: endpoints[1].map(str::to_owned),
            otlp_subscriber: "tasker_otlp".to_owned(),
            otlp_batch: 1000,
            otlp_give_way: true,
        };
        Settings::new(&options, &|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn given(variables: &[(&str, &str)]) -> Settings {
        settings([Some("http://collector:4318/"), None], variables)
            .expect("accepted")
            .expect("wanted")
    }

    #[test]
    fn the_path_is_appended_to_the_general_endpoint_only() {
        let url = |endpoints| {
            settings(endpoints, &[])
                .expect("accepted")
                .map(|settings| settings.url.to_string())
        };
        let general = Some("http://collector:4318/base/");
        let traces = Some("https://collector/in");
        assert_eq!(
            url([general, None]).as_deref(),
            Some("http://collector:4318/base/v1/traces")
        );
        assert_eq!(url([general, traces]).as_deref(), traces);
        assert_eq!(url([general, Some("")]), url([general, None]));
        assert_eq!(url([None, None]), None);
        assert!(settings([Some("collector:4318"), None], &[]).is_err());
        assert!(settings([Some("grpc://collector"), None], &[]).is_err());
    }

    #[test]
    fn the_variables_of_opentelemetry_are_obeyed_and_those_of_traces_win() {
        let plain = given(&[]);
        assert_eq!(plain.timeout, Duration::from_secs(10));
        assert!(!plain.gzip && plain.headers.is_empty() && plain.certificate.is_none());
        let set = given(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,x=y"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/a.pem"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ]);
        assert_eq!(set.headers["api-key"], "a b");
        assert_eq!(set.headers["x"], "y");
        assert_eq!(set.timeout, Duration::from_millis(500));
        assert!(set.gzip);
        assert_eq!(set.certificate.as_deref(), Some("/a.pem"));
        let traces = given(&[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "700"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
        ]);
        assert_eq!(traces.timeout, Duration::from_millis(700));
        assert!(!traces.gzip && traces.headers.get("a").is_none());
        assert_eq!(traces.headers["b"], "2");
    }

    #[test]
    fn what_it_cannot_do_is_refused_with_the_name_of_the_variable() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key"),
            ("OTEL_RESOURCE_ATTRIBUTES", "x"),
        ] {
            let error = settings([Some("http://collector"), None], &[(name, value)])
                .err()
                .expect("refused");
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_service_has_a_name() {
        let names = |variables: &[(&str, &str)]| -> Vec<(String, String)> {
            resource(&|name| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            })
            .expect("well formed")
            .attributes
            .into_iter()
            .map(|pair| {
                let value = pair.value.and_then(|value| value.value);
                let Some(Any::StringValue(text)) = value else {
                    panic!("a text")
                };
                (pair.key, text)
            })
            .collect()
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(names(&[]), [pair("service.name", "tasker")]);
        let attributes = (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=shop,host.name=a%2Cb",
        );
        assert_eq!(
            names(&[attributes]),
            [pair("service.name", "shop"), pair("host.name", "a,b")]
        );
        assert_eq!(
            names(&[attributes, ("OTEL_SERVICE_NAME", "mail")]),
            [pair("service.name", "mail"), pair("host.name", "a,b")]
        );
    }

    #[test]
    fn an_id_has_its_length_and_is_not_zero() {
        assert_eq!(
            id::<8>("00f067aa0ba902b7"),
            Some(vec![0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
        );
        for wrong in [
            "",
            "00f067aa0ba902b",
            "00f067aa0ba902bg",
            "0000000000000000",
        ] {
            assert_eq!(id::<8>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn attributes_keep_their_types() {
        let found = attributes(object(json!({
            "text": "a", "whole": 7, "real": 1.5, "flag": true, "none": null, "list": [1, "b"],
        })));
        let expected = [
            ("text", Any::StringValue("a".into())),
            ("whole", Any::IntValue(7)),
            ("real", Any::DoubleValue(1.5)),
            ("flag", Any::BoolValue(true)),
            ("list", Any::StringValue("[1,\"b\"]".into())),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value)| key_value(key.to_owned(), value))
        );
    }

    #[test]
    fn a_request_has_a_bounded_size_and_no_span_is_lost() {
        let span = |size: usize| Span {
            name: "x".repeat(size),
            ..Span::default()
        };
        let resource = Resource::default();
        assert!(requests(vec![], &resource).is_empty());
        let sizes = [
            LONGEST_REQUEST / 2,
            LONGEST_REQUEST / 3,
            LONGEST_REQUEST / 3,
            10,
        ];
        let made = requests(sizes.iter().map(|size| span(*size)).collect(), &resource);
        let counts: Vec<usize> = made.iter().map(|(count, _)| *count).collect();
        assert_eq!(counts, [2, 2]);
        let one_too_large = requests(vec![span(1), span(2 * LONGEST_REQUEST)], &resource);
        assert_eq!(one_too_large.len(), 2);
        for (count, body) in made {
            let request = ExportTraceServiceRequest::decode(&*body).expect("decoded");
            assert_eq!(request.resource_spans[0].scope_spans[0].spans.len(), count);
        }
    }

    #[test]
    fn events_of_a_span_have_their_time_and_attributes() {
        let found = span_events(Some(
            json!([{"name": "step.retry", "at": "2023-11-14T22:13:20.000001Z", "attributes": {"n": 2}}]),
        ));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].time_unix_nano, 1_700_000_000_000_001_000);
        assert_eq!(found[0].name, "step.retry");
        assert_eq!(
            found[0].attributes,
            [key_value("n".to_owned(), Any::IntValue(2))]
        );
        assert!(span_events(None).is_empty());
    }
}
