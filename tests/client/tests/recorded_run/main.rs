//! A recorded run of all example workflows: what their events say, as a text to read (run.txt). It has every event that
//! fires. TASKER_WRITE_RECORDED_RUN=1 writes the text again.

mod scenes;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use tasker_client_tests::server::root;
use tasker_client_tests::{Database, Session, Uuid, Value};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::{Budget, Host};

/// An event as a reader got it; the payload to the byte.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    id: i64,
    name: String,
    task: Option<Uuid>,
    step: Option<Uuid>,
    payload: String,
}

impl Event {
    fn payload(&self) -> Value {
        serde_json::from_str(&self.payload).expect("a payload is JSON")
    }
}

struct Reader {
    session: Session,
    position: Option<String>,
    most: i32,
}

impl Reader {
    fn new(database: &Database, most: i32) -> Self {
        Self {
            session: database.connect(),
            position: None,
            most,
        }
    }

    /// What has come since the last call.
    fn next(&mut self) -> Vec<Event> {
        let mut events = vec![];
        loop {
            let rows = self.session.query(
                "SELECT event_id, name, task_uuid, step_uuid, payload::text, position FROM tasker.read_events($1, $2)",
                &[&self.position, &self.most],
            );
            let before = events.len();
            for row in &rows {
                self.position = row.get("position");
                if let Some(id) = row.get("event_id") {
                    events.push(Event {
                        id,
                        name: row.get("name"),
                        task: row.get("task_uuid"),
                        step: row.get("step_uuid"),
                        payload: row.get("payload"),
                    });
                }
            }
            if events.len() == before {
                return events;
            }
        }
    }
}

/// The run: scenes of tasks, and a reader that reads on after each.
pub struct Run {
    database: Database,
    session: Session,
    reader: Reader,
    /// The events of each scene.
    scenes: Vec<(String, Vec<Event>)>,
    /// Names of tasks.
    tasks: BTreeMap<Uuid, String>,
    /// Every event as it read first.
    first: BTreeMap<i64, Event>,
}

impl Run {
    fn new() -> Self {
        let database = Database::new();
        let mut session = database.connect();
        session.execute("SET tasker.jitter_enabled = off");
        let reader = Reader::new(&database, 1000);
        Self {
            session,
            reader,
            scenes: vec![],
            tasks: BTreeMap::new(),
            first: BTreeMap::new(),
            database,
        }
    }

    /// Another reader reads everything: no event may read otherwise than before.
    pub fn look(&mut self) {
        for event in Reader::new(&self.database, 1000).next() {
            let first = self.first.entry(event.id).or_insert_with(|| event.clone());
            assert_eq!(*first, event, "it read otherwise before");
        }
    }

    /// A scene of what only a subscriber gets, once nothing is read from the beginning any more.
    pub fn polled(&mut self, title: &str, subscriber: &str) {
        let rows = self.session.query(
            "SELECT event_id, name, task_uuid, step_uuid, payload::text FROM tasker.poll_events($1)",
            &[&subscriber],
        );
        let events = rows.iter().map(|row| Event {
            id: row.get("event_id"),
            name: row.get("name"),
            task: row.get("task_uuid"),
            step: row.get("step_uuid"),
            payload: row.get("payload"),
        });
        self.scenes.push((title.to_owned(), events.collect()));
    }

    /// Ends a scene.
    pub fn scene(&mut self, title: &str) {
        self.look();
        let events = self.reader.next();
        self.scenes.push((title.to_owned(), events));
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.scenes.iter().flat_map(|(_, events)| events)
    }
}

fn assert_every_name_fired(run: &mut Run) {
    let names: BTreeSet<String> = run
        .session
        .all(
            "SELECT name FROM tasker.event_catalog
             WHERE synonym_of IS NULL AND NOT custom AND fires_when !~ '^(Later|Never): '",
            &[],
        )
        .into_iter()
        .collect();
    let fired: BTreeSet<String> = run.events().map(|event| event.name.clone()).collect();
    let missing: Vec<&String> = names.difference(&fired).collect();
    assert_eq!(
        missing,
        [] as [&String; 0],
        "the catalogue says that they fire"
    );
    assert!(fired.is_subset(&names), "{fired:?}");
}

/// All events as a subscriber to their data gets them. It leaves no trace.
fn with_data(run: &mut Run) -> Vec<(i64, String, bool, Value)> {
    run.session.execute(
        "BEGIN; SELECT tasker.subscribe('with_data', start_at => 'beginning', include_data => true)",
    );
    let poll = "SELECT event_id, name, task_uuid IS NOT NULL, payload FROM tasker.poll_events('with_data', 1000)";
    let mut events = vec![];
    loop {
        let rows = run.session.query(poll, &[]);
        if rows.is_empty() {
            break;
        }
        let rows = rows.iter();
        events.extend(rows.map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))));
    }
    run.session.execute("ROLLBACK");
    events
}

fn assert_payloads_are_valid(run: &mut Run, with_data: Vec<(i64, String, bool, Value)>) {
    let schemas: BTreeMap<String, Schema> = run
        .session
        .query(
            "SELECT name, payload_schema FROM tasker.event_catalog WHERE payload_schema IS NOT NULL",
            &[],
        )
        .iter()
        .map(|row| {
            let schema = Schema::compile(&row.get(1), &Budget::unlimited(Host::NONE));
            let schema = schema.expect("it is small").expect("it compiles");
            (row.get(0), schema)
        })
        .collect();
    let problems = |name: &str, payload: &Value| -> Vec<String> {
        let found = schemas[name].validate("payload", payload, Budget::unlimited(Host::NONE));
        let found = found.expect("a payload is small").into_iter();
        found
            .map(|problem| format!("{} {}", problem.path, problem.message))
            .collect()
    };
    let mut plain: BTreeMap<i64, Value> = BTreeMap::new();
    for event in run.events() {
        let payload = event.payload();
        assert_eq!(problems(&event.name, &payload), [""; 0], "{event:?}");
        plain.insert(event.id, payload);
    }
    // With data, too, which is all that it adds, to the events of tasks.
    assert!(with_data.len() > 100, "{}", with_data.len());
    for (id, name, of_task, mut payload) in with_data {
        assert_eq!(problems(&name, &payload), [""; 0], "{name} {payload}");
        let added = payload.as_object_mut().and_then(|keys| keys.remove("data"));
        assert_eq!(added.is_some(), of_task, "{name} {payload}");
        if let Some(plain) = plain.get(&id) {
            assert_eq!(*plain, payload, "{name}");
        }
    }
}

#[test]
fn every_event_fires_in_a_run_of_the_examples_fits_its_schema_and_reads_the_same_each_time() {
    let mut run = Run::new();
    scenes::play(&mut run);
    run.look();
    let all: Vec<Event> = run.events().cloned().collect();
    assert_eq!(Reader::new(&run.database, 3).next(), all, "another reader");
    let first: BTreeMap<i64, Event> = all.iter().map(|event| (event.id, event.clone())).collect();
    assert_eq!(run.first, first, "each event once");
    let with_data = with_data(&mut run);
    scenes::missed(&mut run);
    assert_every_name_fired(&mut run);
    assert_payloads_are_valid(&mut run, with_data);

    let told = text::of(&run);
    let golden = root().join("tests/client/tests/recorded_run/run.txt");
    if std::env::var_os("TASKER_WRITE_RECORDED_RUN").is_some() {
        std::fs::write(&golden, &told).expect("the sources can be written");
    }
    let known = std::fs::read_to_string(&golden).unwrap_or_default();
    for (number, (line, known)) in told.lines().zip(known.lines()).enumerate() {
        assert_eq!(line, known, "line {} of run.txt", number + 1);
    }
    assert_eq!(told.lines().count(), known.lines().count());
}
