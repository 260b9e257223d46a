//! `tasker exporter` sends the metrics of the database by Prometheus remote write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use prost::Message;
use tasker_client_tests::exporter::{Exporter, dsn, make_role};
use tasker_client_tests::exports::{counted, wait_for};
use tasker_client_tests::receiver::{Answer, Received, Receiver, free_address};
use tasker_client_tests::{Database, Session, Template, Value, json};

/// What Prometheus declares in prompb/remote.proto and types.proto, by their numbers.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn decoded(request: &Received) -> WriteRequest {
    let plain = snap::raw::Decoder::new()
        .decompress_vec(&request.body)
        .expect("snappy");
    WriteRequest::decode(&*plain).expect("a request of remote write")
}

/// The values of a request by name and labels.
fn samples(request: &Received) -> BTreeMap<String, f64> {
    let of = |series: TimeSeries| {
        let names: Vec<&str> = series
            .labels
            .iter()
            .map(|label| label.name.as_str())
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        let mut labels = json!({});
        for label in &series.labels {
            labels[&label.name] = json!(label.value);
        }
        let name = labels["__name__"].take();
        labels
            .as_object_mut()
            .expect("an object")
            .remove("__name__");
        assert_eq!(series.samples.len(), 1);
        (
            key(name.as_str().expect("a name"), &labels),
            series.samples[0].value,
        )
    };
    decoded(request).timeseries.into_iter().map(of).collect()
}

fn key(name: &str, labels: &Value) -> String {
    let sorted: BTreeMap<&String, String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            (
                name,
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            )
        })
        .collect();
    format!("{name}{sorted:?}")
}

fn timestamp(request: &Received) -> i64 {
    decoded(request).timeseries[0].samples[0].timestamp
}

fn prepared() -> (Database, Session) {
    let database = Database::new();
    make_role(database.server());
    let mut session = database.connect();
    Template::new("pay").step("a", &[]).register(&mut session);
    session.create_many("pay", 3);
    session.query(
        "SELECT tasker.complete_step(step_uuid, claim_number) FROM tasker.claim_steps('worker', '{default}', 100)",
        &[],
    );
    (database, session)
}

fn started(
    database: &Database,
    url: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Exporter {
    let url = format!("--remote-write-url={url}/api/v1/write");
    let arguments: Vec<&str> = [url.as_str()].iter().chain(arguments).copied().collect();
    Exporter::start(
        &dsn(database.server(), database.name()),
        &arguments,
        variables,
    )
}

fn of(exporter: &Exporter, counter: &str) -> f64 {
    counted(exporter, "remote_write", "remote_write", counter)
}

#[test]
fn what_is_sent_is_the_relation_metrics() {
    let (database, mut session) = prepared();
    let receiver = Receiver::willing();
    let exporter = started(
        &database,
        &receiver.url(),
        &[
            "--remote-write-interval=1s",
            "--remote-write-label=instance=shop",
        ],
        &[(
            "TASKER_EXPORTER_REMOTE_WRITE_HEADERS",
            "x-scope-orgid=tenant%201",
        )],
    );
    let received = receiver.wait_until("three readings", |received| received.len() >= 3);
    for request in &received {
        assert_eq!(request.path, "/api/v1/write");
        for (name, value) in [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("x-scope-orgid", "tenant 1"),
        ] {
            assert_eq!(request.headers[name], value);
        }
        assert!(request.headers["user-agent"].starts_with("tasker-exporter/"));
    }
    let times: Vec<i64> = received.iter().map(timestamp).collect();
    // A reading that took long comes late, so the next comes soon after it.
    let whole = times[2] - times[0];
    assert!((900..6000).contains(&whole), "{times:?}");
    let sent = samples(&received[0]);
    let rows = session.query(
        "SELECT name, labels || '{\"instance\": \"shop\"}', value FROM tasker.metrics
         WHERE value IS NOT NULL AND family ~ '^tasker_(tasks|steps)_[a-z]+_total$'",
        &[],
    );
    assert!(rows.len() > 5);
    for row in &rows {
        let key = key(row.get(0), &row.get(1));
        assert_eq!(sent.get(&key), Some(&row.get::<_, f64>(2)), "{key}");
    }
    let all: i64 = session.count(
        "SELECT count(*) FROM tasker.metrics WHERE value IS NOT NULL",
        &[],
    );
    // A gauge or two can come with the exporter itself.
    assert!(
        (sent.len() as i64 - all).abs() < 20,
        "{} of {all}",
        sent.len()
    );
    assert!(of(&exporter, "sent_total") >= sent.len() as f64);
}

#[test]
fn a_user_or_a_token_is_sent_and_comes_from_files() {
    let (database, _session) = prepared();
    let file = std::env::temp_dir().join(format!("tasker-remote-write-{}", std::process::id()));
    std::fs::write(&file, "s3cret\n").expect("written");
    let receiver = Receiver::willing();
    let by_user = started(
        &database,
        &receiver.url(),
        &[
            "--remote-write-username=me",
            &format!("--remote-write-password-file={}", file.display()),
        ],
        &[],
    );
    let received = receiver.wait_until("a request", |received| !received.is_empty());
    // printf 'me:s3cret' | base64
    assert_eq!(received[0].headers["authorization"], "Basic bWU6czNjcmV0");
    drop(by_user);
    let other = Receiver::willing();
    let _by_token = started(
        &database,
        &other.url(),
        &[&format!(
            "--remote-write-bearer-token-file={}",
            file.display()
        )],
        &[],
    );
    let received = other.wait_until("a request", |received| !received.is_empty());
    assert_eq!(received[0].headers["authorization"], "Bearer s3cret");
    let _ = std::fs::remove_file(&file);
}

#[test]
fn readings_wait_for_a_receiver_that_is_away_and_come_in_order() {
    let (database, _session) = prepared();
    let address = free_address();
    let exporter = started(
        &database,
        &format!("http://{address}"),
        &["--remote-write-interval=0.5"],
        &[],
    );
    wait_for("it notices", || of(&exporter, "receiver_up") == 0.0);
    std::thread::sleep(Duration::from_secs(3));
    let receiver = Receiver::at(address, None, |number, _| match number {
        0 => Answer::code(500),
        // The first failure of a request: by itself it would wait a second at most.
        4 => Answer::code(429).with("retry-after", 3),
        _ => Answer::code(200),
    });
    receiver.wait_until("the readings", |_| receiver.accepted().len() >= 8);
    let times: Vec<i64> = receiver.accepted().iter().map(timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest < Some(3000), "a reading was lost: {times:?}");
    assert_eq!(of(&exporter, "dropped_total"), 0.0);
    let received = receiver.received();
    assert!(received[5].at - received[4].at >= Duration::from_secs(3));
}

#[test]
fn the_backlog_has_a_bound_and_counts_what_it_drops() {
    let (database, _session) = prepared();
    let address = free_address();
    let exporter = started(
        &database,
        &format!("http://{address}"),
        &["--remote-write-interval=0.2", "--remote-write-backlog=3"],
        &[],
    );
    wait_for("something is dropped", || {
        of(&exporter, "dropped_total") > 0.0
    });
    std::thread::sleep(Duration::from_secs(3));
    let dropped = of(&exporter, "dropped_total");
    let receiver = Receiver::at(address, None, |_, _| Answer::code(200));
    receiver.wait_until("the readings", |received| received.len() >= 6);
    let times: Vec<i64> = receiver.received().iter().map(timestamp).collect();
    // The one that was being sent, and then the newest three.
    assert!(
        times[1] - times[0] > 1000,
        "the oldest were dropped: {times:?}"
    );
    assert!(times[2] - times[1] < 1000, "{times:?}");
    assert!(dropped > 0.0);
}

#[test]
fn what_the_receiver_refuses_is_dropped_and_counted() {
    let (database, _session) = prepared();
    let receiver = Receiver::start(|number, _| Answer::code(if number == 0 { 400 } else { 200 }));
    let exporter = started(
        &database,
        &receiver.url(),
        &["--remote-write-interval=0.5"],
        &[],
    );
    let received = receiver.wait_until("the next", |received| received.len() >= 2);
    assert!(
        timestamp(&received[0]) < timestamp(&received[1]),
        "it was sent again"
    );
    assert_eq!(
        of(&exporter, "dropped_total"),
        samples(&received[0]).len() as f64
    );
    assert_eq!(of(&exporter, "retries_total"), 0.0);
}

#[test]
fn a_series_that_ends_is_marked_as_stale() {
    let (database, mut session) = prepared();
    let other = Template::new("other").step("a", &[]);
    let receiver = Receiver::willing();
    other.register(&mut session);
    session.execute(
        "CREATE TABLE public.shown (labels jsonb); INSERT INTO public.shown VALUES ('{\"a\": \"1\"}');
         GRANT SELECT ON public.shown TO tasker_reader;
         ALTER VIEW tasker.metrics RENAME TO real_metrics;
         CREATE VIEW tasker.metrics AS SELECT name, labels, value FROM tasker.real_metrics
         UNION ALL SELECT 'shown', labels, 1 FROM public.shown;
         GRANT SELECT ON tasker.metrics TO tasker_reader",
    );
    let _exporter = started(
        &database,
        &receiver.url(),
        &["--remote-write-interval=0.3"],
        &[],
    );
    let shown = |request: &Received| {
        samples(request)
            .into_iter()
            .find(|(key, _)| key.starts_with("shown"))
            .map(|(_, value)| value.to_bits())
    };
    receiver.wait_until("the series", |received| {
        received.last().is_some_and(|last| shown(last).is_some())
    });
    session.execute("DELETE FROM public.shown");
    // The NaN that Prometheus takes as the end of a series.
    let marks = |received: &[Received]| {
        received
            .iter()
            .filter(|request| shown(request) == Some(0x7ff0_0000_0000_0002))
            .count()
    };
    let seen = receiver
        .wait_until("the mark", |received| marks(received) > 0)
        .len();
    let received = receiver.wait_until("more", |received| received.len() > seen + 2);
    assert_eq!(marks(&received), 1, "once");
}

/// Debian's Prometheus takes what is sent, and says the same as the relation.
#[test]
fn prometheus_takes_what_is_sent() {
    let (database, mut session) = prepared();
    let prometheus = Prometheus::start();
    let url = format!("http://{}", prometheus.address);
    let exporter = started(
        &database,
        &url,
        &[
            "--remote-write-interval=1",
            "--remote-write-label=instance=shop",
        ],
        &[],
    );
    wait_for("two readings", || of(&exporter, "batches_total") >= 2.0);
    assert_eq!(of(&exporter, "dropped_total"), 0.0, "{}", exporter.log());
    let rows = session.query(
        "SELECT name, labels, value FROM tasker.metrics WHERE value IS NOT NULL AND family ~ '^tasker_(tasks|steps)_[a-z]+_total$'",
        &[],
    );
    assert!(rows.len() > 5);
    for row in &rows {
        let (name, labels): (String, Value) = (row.get(0), row.get(1));
        let mut selector = "instance=\"shop\"".to_owned();
        for (label, value) in labels.as_object().into_iter().flatten() {
            selector.push_str(&format!(",{label}={value}"));
        }
        let value = prometheus.value(&format!("{name}{{{selector}}}"));
        assert_eq!(value, Some(row.get::<_, f64>(2)), "{name} {labels}");
    }
    // A histogram is one: its buckets give a quantile.
    let histograms = prometheus.value("count(tasker_step_run_seconds_bucket{instance=\"shop\"})");
    assert!(histograms > Some(5.0), "{histograms:?}");
}

/// `scripts/deps` unpacks it; it ends with the value.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    fn start() -> Self {
        let address = free_address();
        let folder = std::env::temp_dir().join(format!("tasker-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("empty.yml"), "global: {}\n").expect("written");
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache");
        let program = cache
            .map_or_else(home, PathBuf::from)
            .join("tasker_ext/monitoring/usr/bin/prometheus");
        let child = Command::new(&program)
            .arg("--web.enable-remote-write-receiver")
            .arg(format!("--web.listen-address={address}"))
            .arg(format!(
                "--config.file={}",
                folder.join("empty.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; make deps brings it", program.display()));
        let this = Self {
            child,
            address,
            folder,
        };
        wait_for("Prometheus", || {
            this.get("/-/ready")
                .is_some_and(|text| text.contains("Ready"))
        });
        this
    }

    fn get(&self, path: &str) -> Option<String> {
        let client = reqwest::blocking::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let response = client
            .get(format!("http://{}{path}", self.address))
            .send()
            .ok()?;
        response.error_for_status().ok()?.text().ok()
    }

    /// The value of a query with one series.
    fn value(&self, query: &str) -> Option<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let text = self.get(&format!("/api/v1/query?query={escaped}"))?;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
