//! The log as a stream of events: each committed event once, in an order in which causes come before effects, and the same each time.

use std::collections::{BTreeMap, BTreeSet};

use tasker_client_tests::database::PATTERN;
use tasker_client_tests::kills::own_server;
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Act, Database, Session, Template, Uuid, Value, json, patience, started};

/// What a reader got.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: i64,
    name: String,
    task: Uuid,
    step: Option<Uuid>,
    payload: Value,
}

/// A reader that keeps its position.
struct Reader {
    session: Session,
    position: Option<String>,
    patterns: Vec<&'static str>,
    got: Vec<Event>,
}

impl Reader {
    fn new(database: &Database) -> Self {
        Self {
            session: database.connect(),
            position: None,
            patterns: vec!["*"],
            got: vec![],
        }
    }

    /// Reads a page; whether there was one.
    fn page(&mut self, most: i32) -> bool {
        let rows = self.session.query(
            "SELECT event_id, name, task_uuid, step_uuid, payload, position FROM tasker.read_events($1, $2, $3)",
            &[&self.position, &most, &self.patterns],
        );
        for row in &rows {
            self.position = row.get("position");
            // Facts that are about no task come in between.
            let told = row
                .get::<_, Option<i64>>("event_id")
                .zip(row.get::<_, Option<Uuid>>("task_uuid"));
            if let Some((id, task)) = told {
                self.got.push(Event {
                    id,
                    name: row.get("name"),
                    task,
                    step: row.get("step_uuid"),
                    payload: row.get("payload"),
                });
            }
        }
        rows.iter()
            .any(|row| row.get::<_, Option<i64>>("event_id").is_some())
    }

    fn all(&mut self, most: i32) {
        while self.page(most) {}
    }

    fn names(&self) -> Vec<&str> {
        self.got.iter().map(|event| &*event.name).collect()
    }
}

/// All events, as a last reader gets them.
fn everything(database: &Database) -> Vec<Event> {
    let mut reader = Reader::new(database);
    reader.all(10_000);
    reader.got
}

fn sorted(events: &[Event]) -> BTreeMap<i64, Event> {
    let sorted: BTreeMap<i64, Event> = events
        .iter()
        .map(|event| (event.id, event.clone()))
        .collect();
    assert_eq!(sorted.len(), events.len(), "an event came twice");
    sorted
}

fn fan() -> Template {
    Template::new("fan")
        .step("first", &[])
        .step("left", &["first"])
        .step("right", &["first"])
        .step("last", &["left", "right"])
        .every_step(json!({"retry": {"backoff": "none", "limit": 2}}))
}

#[test]
fn a_task_tells_its_life_in_order() {
    let (database, mut session, _) =
        started(&Template::new("pay").step("a", &[]).step("b", &["a"]));
    session.work(|_| Act::Complete(json!({})));
    let mut reader = Reader::new(&database);
    reader.patterns = vec!["task.*", "step.*", "workflow.viable_steps_discovered"];
    reader.all(100);
    let names: Vec<&str> = reader
        .names()
        .into_iter()
        .filter(|name| !name.ends_with("before_transition"))
        .collect();
    assert_eq!(
        names,
        [
            "task.initialize_requested",
            "workflow.viable_steps_discovered",
            "task.start_requested",
            "step.execution_requested",
            "step.completed",
            "workflow.viable_steps_discovered",
            "step.execution_requested",
            "step.completed",
            "task.completed",
        ]
    );
    let viable: Vec<&Value> = reader
        .got
        .iter()
        .filter(|event| event.name == "workflow.viable_steps_discovered")
        .map(|event| &event.payload["step_names"])
        .collect();
    assert_eq!(viable, [&json!(["a"]), &json!(["b"])]);
}

#[test]
fn each_committed_event_is_read_once_whatever_the_order_of_commits() {
    let (database, mut session, _) = started(&fan());
    let mut readers: Vec<Reader> = (0..3).map(|_| Reader::new(&database)).collect();
    let mut open: Vec<Session> = (0..4).map(|_| database.connect()).collect();
    let mut prepared = database.connect();
    prepared.execute("BEGIN; SELECT tasker.create_task('fan'); PREPARE TRANSACTION 'held'");
    let mut gone = 0;
    for turn in 0..60 {
        let which = turn % open.len();
        let other = &mut open[which];
        match turn / 4 % 4 {
            0 => other.execute("BEGIN; SAVEPOINT first_one; SELECT tasker.create_task('fan')"),
            1 => {
                other.execute("SAVEPOINT second");
                let worker = format!("worker {which}");
                let claims = other.claim(&Ask::by(&worker, 2));
                let reports: Vec<Value> =
                    claims.iter().map(|claim| claim.done(json!({}))).collect();
                other.report_and_claim(&Ask::by(&worker, 1), &reports);
                if which == 1 {
                    other.execute("ROLLBACK TO second");
                }
            }
            2 if which == 2 => {
                gone += 1;
                other.execute("ROLLBACK; BEGIN");
            }
            2 => {
                session.create("fan");
            }
            _ => other.execute("COMMIT"),
        }
        for (number, reader) in readers.iter_mut().enumerate() {
            if turn % (number + 1) == 0 {
                reader.page([1, 7, 50][number]);
            }
        }
    }
    assert!(gone > 1);
    let mut late: Vec<Reader> = vec![Reader::new(&database)];
    late[0].all(1000);
    prepared.execute("COMMIT PREPARED 'held'");
    for other in &mut open {
        other.execute("COMMIT");
    }
    let expected = sorted(&everything(&database));
    assert!(expected.len() > 150, "{}", expected.len());
    for reader in readers.iter_mut().chain(&mut late) {
        reader.all(13);
        assert_eq!(sorted(&reader.got), expected);
        assert_causes_first(&reader.got);
    }
}

/// The events of a step in order, and a parent's end before its child's start.
fn assert_causes_first(events: &[Event]) {
    let mut done: BTreeSet<Uuid> = BTreeSet::new();
    let mut begun: BTreeSet<Uuid> = BTreeSet::new();
    let mut named: BTreeSet<(Uuid, String)> = BTreeSet::new();
    for event in events {
        let Some(step) = event.step else { continue };
        let name = event.payload["step_name"].as_str().unwrap_or_default();
        match &*event.name {
            "step.execution_requested" => {
                let parents = event.payload["step_dependencies"]
                    .as_array()
                    .expect("a list");
                for parent in parents {
                    let parent = parent.as_str().expect("a name").to_owned();
                    assert!(
                        named.contains(&(event.task, parent.clone())),
                        "{name} before {parent}"
                    );
                }
                begun.insert(step);
            }
            "step.completed" => {
                assert!(begun.contains(&step), "{name} ended before it began");
                assert!(done.insert(step));
                named.insert((event.task, name.to_owned()));
            }
            _ => {}
        }
    }
}

#[test]
fn a_reader_gets_no_event_of_its_own_transaction_and_misses_none() {
    let (database, mut session, _) = started(&fan());
    let mut reader = Reader::new(&database);
    reader.all(1000);
    let before = reader.got.len();
    reader.session.execute("BEGIN");
    let own: Uuid = reader.session.one("SELECT tasker.create_task('fan')", &[]);
    let other = session.create("fan");
    // Its own xid is not in the list of running ones that PostgreSQL gives it.
    reader.all(1000);
    let tasks = |reader: &Reader| {
        reader.got[before..]
            .iter()
            .map(|event| event.task)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(tasks(&reader), BTreeSet::from([other]));
    reader.session.execute("COMMIT");
    reader.all(1000);
    assert_eq!(tasks(&reader), BTreeSet::from([own, other]));
    assert_eq!(sorted(&reader.got), sorted(&everything(&database)));
}

#[test]
fn under_repeatable_read_a_position_goes_no_further_than_what_was_read() {
    let (database, mut session, _) = started(&fan());
    let mut reader = Reader::new(&database);
    reader
        .session
        .execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    session.create("fan");
    reader.all(1000);
    let before = reader.got.len();
    session.create("fan");
    reader.all(1000);
    assert_eq!(reader.got.len(), before);
    reader.session.execute("COMMIT");
    reader.all(1000);
    assert_eq!(sorted(&reader.got), sorted(&everything(&database)));
}

/// Ends of all kinds.
fn lived() -> (Database, Session) {
    let (database, mut session, first) = started(&fan());
    session.create_many("fan", 12);
    session.query("SELECT tasker.cancel_task($1, 'not wanted')", &[&first]);
    let mut turn = 0;
    session.work(|_| {
        turn += 1;
        match turn % 7 {
            0 => Act::FailForGood,
            1 => Act::Fail,
            _ => Act::Complete(json!({"n": turn})),
        }
    });
    let failed: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'error' ORDER BY 1",
        &[],
    );
    session.query("SELECT tasker.retry_task($1, 'again')", &[&failed[0]]);
    session.query(
        "SELECT tasker.resolve_task_manually($1, 'ops', 'by hand')",
        &[&failed[1]],
    );
    let claim = session.claim_one("worker");
    session.query(
        "SELECT tasker.release_steps('worker', delay => '2 seconds', reason => 'not mine')",
        &[],
    );
    session.query("SELECT tasker.cancel_step($1)", &[&claim.step]);
    (database, session)
}

#[test]
fn every_payload_has_the_keys_of_its_schema_and_no_other() {
    let (_database, mut session) = lived();
    let wrong: Vec<String> = session.all(
        "SELECT DISTINCT e.name || ': ' || k.key || CASE WHEN e.payload ? k.key THEN ' is not in the schema' ELSE ' is missing' END
         FROM tasker.read_events(max_events => 10000) e
         JOIN tasker.event_catalog c ON c.name = e.name
         CROSS JOIN LATERAL (
             SELECT jsonb_object_keys(e.payload) EXCEPT SELECT jsonb_object_keys(c.payload_schema -> 'properties')
             UNION ALL
             SELECT r FROM jsonb_array_elements_text(c.payload_schema -> 'required') r WHERE NOT e.payload ? r) k (key)",
        &[],
    );
    assert_eq!(wrong, [] as [String; 0]);
    let unknown: i64 = session.one(
        "SELECT count(*) FROM tasker.read_events(max_events => 10000) e
         WHERE e.event_id IS NOT NULL AND NOT EXISTS (SELECT FROM tasker.event_catalog c WHERE c.name = e.name AND c.synonym_of IS NULL)",
        &[],
    );
    assert_eq!(unknown, 0);
}

#[test]
fn a_step_that_an_operator_has_done_before_its_parents_is_not_released_by_them() {
    let chain = Template::new("chain").step("a", &[]).step("b", &["a"]);
    let (database, mut session, _) = started(&chain);
    // The tasks of a page lie beside each other, or many others between them.
    for (touched, most, between) in [
        (false, 1, 0),
        (true, 1, 0),
        (false, 100, 0),
        (true, 100, 0),
        (false, 100, 40),
        (true, 100, 40),
    ] {
        let task = session.create("chain");
        session.query(
            "SELECT tasker.create_task('chain', run_at => 'infinity') FROM generate_series(1, $1::int)",
            &[&between],
        );
        let beside = session.create("chain");
        let mut reader = Reader::new(&database);
        reader.patterns = vec![
            "workflow.viable_steps_discovered",
            "workflow.no_viable_steps",
        ];
        // Later polls do not see the creation of the task.
        reader.all(100);
        if touched {
            session.execute(&format!(
                "SELECT tasker.resolve_step_manually(step_uuid) FROM tasker.workflow_steps WHERE task_uuid IN ('{task}', '{beside}') AND name = 'b'"
            ));
        }
        session.work(|_| Act::Complete(json!({})));
        reader.got.clear();
        reader.all(most);
        let of = |task| -> Vec<&str> {
            let events = reader.got.iter().filter(|event| event.task == task);
            events.map(|event| event.name.as_str()).collect()
        };
        let end = "workflow.no_viable_steps";
        let first = match touched {
            // The step of the operator releases nothing either.
            true => end,
            false => "workflow.viable_steps_discovered",
        };
        let which = (touched, most, between);
        assert_eq!(of(task), [first, end], "{which:?}");
        assert_eq!(of(beside), [first, end], "{which:?}");
    }
}

#[test]
fn pages_of_any_size_and_other_patterns_on_the_way_give_the_same_events() {
    let (database, _session) = lived();
    let expected = everything(&database);
    for most in [1, 2, 3, 17] {
        let mut reader = Reader::new(&database);
        reader.all(most);
        assert_eq!(reader.got, expected, "{most}");
    }
    let mut reader = Reader::new(&database);
    let mut rest: Vec<Event> = vec![];
    for turn in 0.. {
        reader.patterns = if turn % 2 == 0 {
            vec!["*"]
        } else {
            vec!["step.completed", "workflow.*"]
        };
        let before = reader.got.len();
        if !reader.page(3) && turn % 2 == 0 {
            break;
        }
        if turn % 2 == 0 {
            rest.extend(reader.got[before..].iter().cloned());
        }
    }
    assert!(rest.len() > 10 && rest.iter().all(|event| expected.contains(event)));
    sorted(&reader.got);
}

#[test]
fn an_event_reads_the_same_before_a_retry_after_it_and_for_each_reader() {
    let (database, mut session, _) = started(&fan());
    let claim = session.claim_one("worker");
    session.fail(&claim);
    let failed = |events: &[Event]| {
        events
            .iter()
            .find(|event| event.name == "step.failed")
            .map(|event| event.payload.to_string())
    };
    let before = failed(&everything(&database)).expect("it failed");
    assert!(before.contains("it broke"), "{before}");
    session.work(|_| Act::Complete(json!({})));
    assert_eq!(failed(&everything(&database)).as_ref(), Some(&before));
    assert_eq!(failed(&everything(&database)).as_ref(), Some(&before));
}

#[test]
fn a_reader_chooses_by_patterns_and_namespaces() {
    let (database, mut session) = lived();
    session.query("SELECT tasker.register_template('{name: other, namespace: shop, steps: [{name: a, handler: h}]}')", &[]);
    session.query(
        "SELECT tasker.create_task('other', namespace => 'shop')",
        &[],
    );
    let mut names = |patterns: &[&str], namespaces: Option<&[&str]>| -> BTreeSet<String> {
        session
            .all::<Option<String>>(
                "SELECT DISTINCT name FROM tasker.read_events(NULL, 10000, $1, $2)",
                &[&patterns, &namespaces],
            )
            .into_iter()
            .flatten()
            .collect()
    };
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&["task.completed"], None), set(&["task.completed"]));
    assert_eq!(
        names(&["*.completed"], None),
        set(&["step.completed", "task.completed"])
    );
    // A synonym gives the event under its own name, once.
    assert_eq!(
        names(&["step.started"], None),
        set(&["step.execution_requested"])
    );
    assert_eq!(
        names(&["task.*"], Some(&["shop"])),
        set(&["task.initialize_requested"])
    );
    assert_eq!(names(&["task.*"], Some(&["nowhere"])), set(&[]));
    drop(database);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let (_database, mut session, _) = started(&fan());
    for (call, word) in [
        ("read_events('somewhere')", "position"),
        ("read_events(NULL, 0)", "max_events"),
        ("read_events(NULL, 10001)", "max_events"),
        ("read_events(NULL, 1, ARRAY[''])", "pattern"),
        ("read_events(NULL, 1, ARRAY['a*b*'])", "pattern"),
        ("read_events(NULL, 1, ARRAY[]::text[])", "pattern"),
    ] {
        let failure = session.fails(&format!("SELECT * FROM tasker.{call}"), &[]);
        assert_eq!(failure.code, "22023", "{call}");
        assert!(failure.message.contains(word), "{call}: {failure}");
    }
}

#[test]
fn a_standby_gives_the_same_events_and_waits_for_the_oldest_open_transaction() {
    let server = Server::start(&["wal_level=replica", "max_wal_senders=4"]);
    let mut session = server.connect("postgres");
    session.execute("SET client_min_messages = error; CREATE EXTENSION tasker_ext");
    fan().register(&mut session);
    let mut open = server.connect("postgres");
    open.execute("BEGIN; SELECT tasker.create_task('fan')");
    session.create_many("fan", 3);
    session.work(|_| Act::Complete(json!({})));
    let standby = server.standby();
    let mut reader = Reader {
        session: standby.connect("postgres"),
        position: None,
        patterns: vec!["*"],
        got: vec![],
    };
    reader.all(100);
    assert_eq!(
        reader.got,
        [],
        "what began after the open transaction waits for it"
    );
    open.execute("COMMIT");
    // A standby learns of the running transactions now and then.
    session.create("fan");
    let until = std::time::Instant::now() + patience(60);
    let expected = |session: &mut Session| -> i64 {
        session.one(
            "SELECT count(task_uuid) FROM tasker.read_events(max_events => 10000)",
            &[],
        )
    };
    let expected = expected(&mut session);
    while (reader.got.len() as i64) < expected {
        assert!(
            std::time::Instant::now() < until,
            "{} of {expected}",
            reader.got.len()
        );
        session.execute("CHECKPOINT");
        std::thread::sleep(std::time::Duration::from_millis(200));
        reader.all(100);
    }
    assert_eq!(sorted(&reader.got).len() as i64, expected);
}

#[test]
fn a_standby_refuses_polls_and_answers_and_says_what_reads_events_there() {
    let server = Server::start(&["wal_level=replica", "max_wal_senders=4"]);
    let mut session = server.connect("postgres");
    session.execute("SET client_min_messages = error; CREATE EXTENSION tasker_ext");
    fan().register(&mut session);
    session.create("fan");
    session.execute("SELECT tasker.subscribe('audit', start_at => 'beginning')");
    let polled: Vec<i64> = session.all("SELECT event_id FROM tasker.poll_events('audit', 3)", &[]);
    assert_eq!(polled.len(), 3);
    let standby = server.standby();
    let mut session = standby.connect("postgres");
    for call in [
        "poll_events('audit')",
        "poll_events('audit', format => 'cloudevents')",
        "poll_events('nothing')",
        "ack_events('audit', '{16}')",
        "nack_events('audit', '{16}')",
        "extend_events('audit', '{16}', '1 minute')",
    ] {
        session
            .fails(&format!("SELECT * FROM tasker.{call}"), &[])
            .is("25006")
            .hint_says(&["tasker.read_events()"]);
    }
    // As the HINT says, in both formats.
    for format in ["native", "cloudevents"] {
        let read: Vec<i64> = session.all(
            "SELECT event_id FROM tasker.read_events(max_events => 3, format => $1)",
            &[&format],
        );
        assert_eq!(read, polled, "{format}");
    }
}

#[test]
fn a_transaction_with_an_old_snapshot_reads_nothing_behind_a_newer_position() {
    let (database, mut session, _) = started(&fan());
    let mut reader = Reader::new(&database);
    reader.all(1000);
    let mut old = database.connect();
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    session.create_many("fan", 3);
    reader.page(1);
    let rows = old.query("SELECT * FROM tasker.read_events($1)", &[&reader.position]);
    assert_eq!(rows.len(), 0, "what it cannot see would be left out");
    old.execute("COMMIT");
    reader.session = old;
    reader.all(1000);
    assert_eq!(sorted(&reader.got), sorted(&everything(&database)));
}

#[test]
fn a_position_outlives_a_crash_also_behind_what_was_rolled_back() {
    // Nothing reaches the disk by itself.
    let server = own_server(&["wal_writer_delay=10s", "autovacuum=off"]);
    let mut session = server.connect(PATTERN);
    session.query("SELECT tasker.publish_event('orders.paid')", &[]);
    let mut reader = tasker_client_tests::Reader::default();
    reader.all(&mut session);
    assert!(!reader.got.is_empty());
    for _ in 0..5 {
        session.execute("BEGIN; SELECT tasker.publish_event('orders.lost'); ROLLBACK");
    }
    reader.all(&mut session);
    server.kill();
    server.start_again();
    // Without the records of what was rolled back these transactions get the same ids.
    let mut session = server.connect(PATTERN);
    for _ in 0..5 {
        session.query("SELECT tasker.publish_event('orders.kept')", &[]);
    }
    reader.has_each_event_once(&mut session, "a reader that keeps its position");
}
