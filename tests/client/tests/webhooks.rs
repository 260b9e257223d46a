//! `tasker exporter` sends the events of subscribers as webhooks: signed, in the order of each task, and not to private addresses.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tasker_client_tests::exporter::{Exporter, ROLE, dsn, make_role, signal};
use tasker_client_tests::exports::{counted, of_subscriber, unacknowledged, wait_for};
use tasker_client_tests::receiver::{Answer, Identity, Received, Receiver, free_address};
use tasker_client_tests::{Database, Session, Template, Uuid, Value, patience};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BY_VARIABLE: (&str, &str) = ("TASKER_EXPORTER_WEBHOOK_SECRET", SECRET);

/// A database with an ordered subscriber `mail` to published events, which the role of the exporter may poll.
fn prepared(more: &str) -> (Database, Session, Uuid) {
    let database = Database::new();
    make_role(database.server());
    let mut session = database.connect();
    Template::new("pay").step("a", &[]).register(&mut session);
    let task = session.create("pay");
    session.query(
        &format!("SELECT tasker.subscribe('mail', '{{orders.*}}', ordered => true{more})"),
        &[],
    );
    session.query(
        &format!("SELECT tasker.grant_subscriber('mail', '{ROLE}')"),
        &[],
    );
    (database, session, task)
}

/// Events of a task, each with its number.
fn publish(session: &mut Session, task: Uuid, numbers: std::ops::Range<i32>) {
    for number in numbers {
        session.query(
            "SELECT tasker.publish_event('orders.paid', jsonb_build_object('n', $1::integer), task_uuid => $2)",
            &[&number, &task],
        );
    }
}

fn webhook(receiver: &Receiver) -> String {
    format!("--webhook=mail={}/hook", receiver.url())
}

/// To a receiver on this machine, which has to be allowed.
fn started(database: &Database, receiver: &Receiver, arguments: &[&str]) -> Exporter {
    let to = webhook(receiver);
    let arguments: Vec<&str> = [to.as_str(), "--webhook-allow-private"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    Exporter::start(
        &dsn(database.server(), database.name()),
        &arguments,
        &[BY_VARIABLE],
    )
}

/// The task of an event, and its number.
fn of(request: &Received) -> (String, i64) {
    let event = request.json();
    let subject = event["subject"].as_str().unwrap_or_default().to_owned();
    (subject, event["data"]["n"].as_i64().expect("a number"))
}

/// The numbers of the events that were accepted, by their task.
fn accepted(receiver: &Receiver) -> BTreeMap<String, Vec<i64>> {
    let mut tasks: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for request in receiver.accepted() {
        let (task, number) = of(&request);
        tasks.entry(task).or_default().push(number);
    }
    tasks
}

/// Whether Python's hmac agrees with one of the signatures.
fn verified(request: &Received, secret: &str) -> bool {
    const CODE: &str = "import base64, hashlib, hmac, sys
key = base64.b64decode(sys.argv[1].removeprefix('whsec_'))
content = sys.argv[2].encode() + b'.' + sys.argv[3].encode() + b'.' + sys.stdin.buffer.read()
wanted = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
sys.exit(not any(hmac.compare_digest('v1,' + wanted, given) for given in sys.argv[4].split(' ')))";
    let header = |name: &str| &request.headers[name];
    let mut python = Command::new("python3")
        .args(["-c", CODE, secret])
        .args(["webhook-id", "webhook-timestamp", "webhook-signature"].map(header))
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut stdin = python.stdin.take().expect("piped");
    stdin.write_all(&request.body).expect("it reads");
    drop(stdin);
    python.wait().expect("it ends").success()
}

#[test]
fn an_event_is_a_signed_cloud_event_and_is_acknowledged_when_it_is_accepted() {
    let (database, mut session, task) = prepared("");
    let hold = patience(2);
    let receiver = Receiver::start(move |number, _| match number {
        0 => Answer::code(202).after(hold),
        _ => Answer::code(204),
    });
    let exporter = started(&database, &receiver, &[]);
    publish(&mut session, task, 0..1);
    receiver.wait_until("a request", |received| !received.is_empty());
    std::thread::sleep(hold / 4);
    // The answer is not there yet.
    assert_eq!(of_subscriber(&mut session, "mail", "in_flight"), 1);
    publish(&mut session, task, 1..3);
    let received = receiver.wait_until("all", |received| received.len() == 3);
    let rows: Vec<Value> = session.all(
        "SELECT payload FROM tasker.read_events(patterns => '{orders.*}', format => 'cloudevents') WHERE event_id IS NOT NULL",
        &[],
    );
    for (request, row) in received.iter().zip(&rows) {
        assert_eq!(request.path, "/hook");
        assert_eq!(
            request.headers["content-type"],
            "application/cloudevents+json; charset=UTF-8"
        );
        assert_eq!(request.json(), *row);
        assert_eq!(
            request.headers["webhook-id"],
            row["id"].as_str().expect("a text")
        );
        assert!(verified(request, SECRET), "{request:?}");
        assert!(!verified(request, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        let mut changed = request.clone();
        changed.body.push(b' ');
        assert!(!verified(&changed, SECRET));
        let mut later = request.clone();
        let timestamp = later.headers["webhook-timestamp"]
            .parse::<u64>()
            .expect("a number");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        assert!(now.as_secs() - timestamp < 60);
        later
            .headers
            .insert("webhook-timestamp".into(), (timestamp + 1).to_string());
        assert!(!verified(&later, SECRET));
    }
    wait_for("acknowledged", || unacknowledged(&mut session, "mail") == 0);
    assert_eq!(counted(&exporter, "webhook", "mail", "sent_total"), 3.0);
}

#[test]
fn a_failed_event_holds_back_the_later_ones_of_its_task_only() {
    let (database, mut session, first) = prepared("");
    let second = session.create("pay");
    let refusals = Arc::new(Mutex::new(0));
    let count = refusals.clone();
    let bad = format!("task/{first}");
    let receiver = Receiver::start(move |_, request| {
        let mut count = count.lock().expect("no panic");
        if of(request) == (bad.clone(), 1) && *count < 2 {
            *count += 1;
            return Answer::code(500);
        }
        Answer::code(200)
    });
    publish(&mut session, first, 0..2);
    publish(&mut session, second, 0..2);
    publish(&mut session, first, 2..4);
    publish(&mut session, second, 2..4);
    let _exporter = started(&database, &receiver, &[]);
    receiver.wait_until("all", |_| receiver.accepted().len() == 8);
    assert_eq!(*refusals.lock().expect("no panic"), 2);
    for numbers in accepted(&receiver).into_values() {
        assert_eq!(numbers, [0, 1, 2, 3]);
    }
    // Those of the other task did not wait for the backoff.
    let received = receiver.received();
    let last_of_second = received
        .iter()
        .rposition(|request| of(request).0 == format!("task/{second}"));
    let accepted_at_last = received
        .iter()
        .position(|request| of(request) == (format!("task/{first}"), 1) && request.code == 200);
    assert!(last_of_second < accepted_at_last, "{received:?}");
    wait_for("acknowledged", || unacknowledged(&mut session, "mail") == 0);
}

#[test]
fn the_events_of_many_tasks_come_in_the_order_of_each() {
    let (database, mut session, _) = prepared("");
    let tasks = session.create_many("pay", 20);
    let hold = |number: usize| Duration::from_millis(number as u64 * 7 % 40);
    let receiver = Receiver::start(move |number, _| Answer::code(200).after(hold(number)));
    let _exporter = started(&database, &receiver, &[]);
    for number in 0..8 {
        for task in &tasks {
            publish(&mut session, *task, number..number + 1);
        }
    }
    let received = receiver.wait_until("all", |received| received.len() >= 160);
    // Each waits for the answer to the one before it.
    let mut answered: BTreeMap<String, Instant> = BTreeMap::new();
    for (number, request) in received.iter().enumerate() {
        let until = request.at + hold(number);
        let before = answered.insert(of(request).0, until);
        assert!(before.is_none_or(|before| before <= request.at), "{number}");
    }
    let accepted = accepted(&receiver);
    assert_eq!(accepted.len(), 20);
    for (task, numbers) in accepted {
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7], "{task}");
    }
}

#[test]
fn after_max_deliveries_an_event_is_a_dead_letter_with_its_reason() {
    let (database, mut session, task) = prepared(", max_deliveries => 2");
    publish(&mut session, task, 0..2);
    let receiver = Receiver::start(|_, request| match of(request).1 {
        0 => Answer {
            body: b"no such mailbox".to_vec(),
            ..Answer::code(404)
        },
        _ => Answer::code(200),
    });
    let exporter = started(&database, &receiver, &[]);
    wait_for("a dead letter", || {
        of_subscriber(&mut session, "mail", "dead") == 1
    });
    let error: String = session.one("SELECT error FROM tasker.event_dead_letters", &[]);
    assert!(
        error.contains("404") && error.contains("no such mailbox"),
        "{error}"
    );
    receiver.wait_until("the next of the task", |_| !receiver.accepted().is_empty());
    let numbers: Vec<i64> = receiver
        .received()
        .iter()
        .map(|request| of(request).1)
        .collect();
    assert_eq!(numbers, [0, 0, 1]);
    assert_eq!(counted(&exporter, "webhook", "mail", "rejected_total"), 2.0);
    assert_eq!(counted(&exporter, "webhook", "mail", "retries_total"), 0.0);
}

#[test]
fn temporary_answers_are_retried_and_then_the_delivery_has_failed() {
    let (database, mut session, task) = prepared(", max_deliveries => 1");
    publish(&mut session, task, 0..2);
    let receiver = Receiver::start(|number, request| match (number, of(request).1) {
        (0, 0) => Answer::code(429).with("retry-after", 2),
        (_, 0) => Answer::code(200),
        _ => Answer::code(503).with("retry-after", 1),
    });
    let exporter = started(&database, &receiver, &["--webhook-retry-for=3"]);
    wait_for("a dead letter", || {
        of_subscriber(&mut session, "mail", "dead") == 1
    });
    let received = receiver.received();
    assert!(received[1].at - received[0].at >= Duration::from_secs(2));
    assert_eq!(accepted(&receiver).into_values().next(), Some(vec![0]));
    let attempts = received.iter().filter(|request| of(request).1 == 1).count();
    assert!((3..=5).contains(&attempts), "{attempts}");
    let retries = counted(&exporter, "webhook", "mail", "retries_total");
    assert_eq!(retries, attempts as f64);
    for request in &received {
        assert!(verified(request, SECRET), "{request:?}");
    }
    // At least two seconds are between the first two attempts: each has its own time.
    let times = [0, 1].map(|place: usize| {
        let time = received[place].headers["webhook-timestamp"].parse::<u64>();
        time.expect("a number")
    });
    assert!(times[1] > times[0], "{times:?}");
}

#[test]
fn a_crash_sends_again_and_loses_nothing() {
    let (database, mut session, task) = prepared("");
    let victim = Arc::new(AtomicI32::new(0));
    let of_receiver = victim.clone();
    let receiver = Receiver::start(move |number, _| {
        if number == 1 {
            while of_receiver.load(Ordering::Acquire) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            signal("KILL", of_receiver.load(Ordering::Acquire));
        }
        Answer::code(200)
    });
    publish(&mut session, task, 0..4);
    let first = started(&database, &receiver, &[]);
    victim.store(
        i32::try_from(first.pid()).expect("a process id"),
        Ordering::Release,
    );
    receiver.wait_until("two", |received| received.len() == 2);
    drop(first);
    let _second = started(&database, &receiver, &[]);
    receiver.wait_until("all", |_| receiver.received().len() >= 5);
    let numbers: Vec<i64> = receiver
        .received()
        .iter()
        .map(|request| of(request).1)
        .collect();
    assert_eq!(numbers, [0, 1, 1, 2, 3]);
    wait_for("acknowledged", || unacknowledged(&mut session, "mail") == 0);
}

#[test]
fn a_stop_gives_back_what_was_not_sent() {
    let (database, mut session, task) = prepared("");
    publish(&mut session, task, 0..3);
    let unwilling = Receiver::start(|_, _| Answer::code(503).with("retry-after", 60));
    let mut first = started(&database, &unwilling, &[]);
    unwilling.wait_until("a request", |received| !received.is_empty());
    first.signal("TERM");
    assert!(first.wait(patience(10)).success());
    assert_eq!(of_subscriber(&mut session, "mail", "in_flight"), 0);
    let receiver = Receiver::willing();
    let _second = started(&database, &receiver, &[]);
    let began = Instant::now();
    receiver.wait_until("all", |received| received.len() == 3);
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "it waited for the end of a lease"
    );
}

fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Exporter::command("host=/nowhere", arguments, variables);
    let (code, log) = Exporter::ends(&mut command);
    assert_eq!(code, Some(1), "{log}");
    log
}

#[test]
fn addresses_that_are_not_public_are_refused_at_the_start() {
    for url in [
        "https://127.0.0.1/",
        "https://[::1]:8443/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest",
        "https://[fd00:ec2::254]/",
        "https://2130706433/",
        "https://[::ffff:127.0.0.1]/",
    ] {
        let log = refusal(&[&format!("--webhook=mail={url}")], &[BY_VARIABLE]);
        assert!(
            log.contains("is not public") && log.contains("--webhook-allow-private"),
            "{url}: {log}"
        );
    }
    let log = refusal(&["--webhook=mail=http://example.com/"], &[BY_VARIABLE]);
    assert!(
        log.contains("https://") && log.contains("--webhook-allow-private"),
        "{log}"
    );
}

#[test]
fn a_name_that_leads_to_a_private_address_gets_nothing() {
    let (database, mut session, task) = prepared(", max_deliveries => 1");
    let identity = Identity::new("private");
    let receiver = Receiver::at(free_address(), Some(&identity), |_, _| Answer::code(200));
    publish(&mut session, task, 0..1);
    let arguments = [
        format!("--webhook=mail={}", receiver.https()),
        format!("--webhook-certificate={}", identity.authority()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let dsn = dsn(database.server(), database.name());
    let refused = Exporter::start(&dsn, &arguments, &[BY_VARIABLE]);
    wait_for("a dead letter", || {
        of_subscriber(&mut session, "mail", "dead") == 1
    });
    let error: String = session.one("SELECT error FROM tasker.event_dead_letters", &[]);
    assert!(
        error.contains("localhost") && error.contains("is not public"),
        "{error}"
    );
    assert!(receiver.received().is_empty());
    drop(refused);
    // Allowed, the same goes through, by HTTPS with a certificate of our own.
    session.query("SELECT tasker.redrive_events('mail')", &[]);
    let allowed: Vec<&str> = arguments
        .iter()
        .copied()
        .chain(["--webhook-allow-private"])
        .collect();
    let _allowed = Exporter::start(&dsn, &allowed, &[BY_VARIABLE]);
    receiver.wait_until("the event", |received| received.len() == 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let (database, mut session, task) = prepared(", max_deliveries => 1");
    publish(&mut session, task, 0..1);
    let elsewhere = Receiver::willing();
    let there = elsewhere.url();
    let receiver = Receiver::start(move |_, _| Answer::code(308).with("location", &there));
    let _exporter = started(&database, &receiver, &[]);
    wait_for("a dead letter", || {
        of_subscriber(&mut session, "mail", "dead") == 1
    });
    assert!(elsewhere.received().is_empty());
}

/// A file for one test, which ends with the value.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tasker-webhooks-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("written");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn secrets_come_from_files_too_and_each_signs() {
    let (database, mut session, task) = prepared("");
    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let secrets = File::new("two", &format!("{SECRET}\n{other}\n"));
    let unused = File::new("unused", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let receiver = Receiver::willing();
    let _exporter = Exporter::start(
        &dsn(database.server(), database.name()),
        &[
            &webhook(&receiver),
            "--webhook-allow-private",
            &format!("--webhook-secret-file={}", unused.0.display()),
            &format!("--webhook-secret-file=mail={}", secrets.0.display()),
        ],
        &[],
    );
    publish(&mut session, task, 0..1);
    let received = receiver.wait_until("a request", |received| !received.is_empty());
    assert!(verified(&received[0], SECRET) && verified(&received[0], other));
    assert!(!verified(
        &received[0],
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    ));
}

#[test]
fn a_webhook_without_a_secret_is_refused() {
    let log = refusal(&["--webhook=mail=https://example.com/"], &[]);
    assert!(
        log.contains("no secret") && log.contains("--webhook-secret-file"),
        "{log}"
    );
    let log = refusal(
        &["--webhook=mail=https://example.com/"],
        &[("TASKER_EXPORTER_WEBHOOK_SECRET", "whsec_short!!")],
    );
    assert!(log.contains("base64") && !log.contains("short!!"), "{log}");
}

#[test]
fn a_subscriber_that_is_not_ordered_is_refused_with_the_statement_that_helps() {
    let (database, mut session, task) = prepared("");
    session.query("SELECT tasker.subscribe('mail', ordered => false)", &[]);
    publish(&mut session, task, 0..1);
    let receiver = Receiver::willing();
    let exporter = started(&database, &receiver, &[]);
    let statement = "SELECT tasker.subscribe('mail', ordered => true)";
    wait_for("the message", || exporter.log().contains(statement));
    assert!(receiver.received().is_empty());
    session.query(statement, &[]);
    receiver.wait_until("the event", |received| received.len() == 1);
}
