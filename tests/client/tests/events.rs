//! The catalogue of events, and the events that rows of a real log give.

use std::collections::{BTreeMap, BTreeSet};

use tasker_client_tests::worker::done;
use tasker_client_tests::{Act, Database, Session, Template, Uuid, Value, json, shapes};
use tasker_rules::events::rows::{self, Change, Row, Said};
use tasker_rules::template::input_schema::Schema;
use tasker_rules::{Budget, Host};

/// The names that the catalogue must have, group by group.
const KNOWN: &[(&str, &str)] = &[
    (
        "task",
        "task.initialize_requested task.start_requested task.completed task.failed task.retry_requested task.cancelled
         task.resolved_manually task.before_transition",
    ),
    (
        "step",
        "step.initialize_requested step.execution_requested step.before_handle step.handle step.completed step.failed
         step.retry_requested step.cancelled step.resolved_manually step.before_transition",
    ),
    (
        "workflow",
        "workflow.task_started workflow.task_completed workflow.task_failed workflow.step_completed workflow.step_failed
         workflow.viable_steps_discovered workflow.no_viable_steps workflow.orchestration_requested
         workflow.task_finalization_started workflow.task_finalization_completed workflow.task_reenqueue_started
         workflow.task_reenqueue_requested workflow.task_reenqueue_failed workflow.task_reenqueue_delayed
         workflow.task_state_unclear workflow.step_execution_failed workflow.viable_steps_batch_ready
         workflow.steps_execution_started workflow.steps_execution_completed",
    ),
    (
        "observability",
        "observability.task.handle observability.task.enqueue observability.task.finalize observability.step.handle
         observability.step.find_viable observability.step.backoff observability.step.skip observability.step.max_retries_reached",
    ),
    (
        "export",
        "tasker.telemetry.cache_synced tasker.telemetry.export_requested tasker.telemetry.export_completed
         tasker.telemetry.export_failed tasker.telemetry.plugin_registered tasker.telemetry.plugin_unregistered",
    ),
    // Five constants: two have the text test.event.
    ("test", "test.event slow.event custom.event Test.Event"),
    (
        "registry",
        "handler.registered handler.unregistered handler.validation_failed plugin.registered plugin.unregistered
         plugin.validation_failed subscriber.registered subscriber.unregistered subscriber.validation_failed
         registry.sync_requested registry.health_check registry.stats_collected registry.cross_discovery
         registry.coordination_complete",
    ),
    (
        "alias",
        "task.started task.reset step.started step.retried step.discovery_triggered step.enqueue_requested
         task_orchestration_started viable_steps_discovered task_orchestration_completed step_execution_started
         step_execution_completed handler_registered",
    ),
];

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn names(session: &mut Session, condition: &str) -> BTreeSet<String> {
    let sql = format!("SELECT name FROM tasker.event_catalog WHERE {condition}");
    session.all(&sql, &[]).into_iter().collect()
}

#[test]
fn the_catalogue_has_every_known_name() {
    let database = Database::new();
    let mut session = database.connect();
    let mut counts = BTreeMap::new();
    for (group, expected) in KNOWN {
        let found = names(&mut session, &format!("event_group = '{group}'"));
        assert_eq!(found, words(expected), "{group}");
        counts.insert(*group, found.len());
    }
    // 56 constants with 55 names, 14 of registries, 12 that are synonyms only.
    let of_56 = [
        "task",
        "step",
        "workflow",
        "observability",
        "export",
        "test",
    ];
    assert_eq!(of_56.map(|group| counts[group]).iter().sum::<usize>(), 55);
    assert_eq!((counts["registry"], counts["alias"]), (14, 12));
    let twice: Vec<String> = session.all(
        "SELECT name FROM tasker.event_catalog GROUP BY name HAVING count(*) > 1",
        &[],
    );
    assert_eq!(twice, Vec::<String>::new());
}

#[test]
fn every_name_says_when_it_fires_and_only_these_never_do() {
    let database = Database::new();
    let mut session = database.connect();
    assert_eq!(
        names(
            &mut session,
            "coalesce(fires_when, '') !~ '[a-z]' OR custom IS NULL OR custom"
        ),
        BTreeSet::new()
    );
    assert_eq!(
        names(&mut session, "fires_when LIKE 'Never: %'"),
        words(
            "test.event slow.event custom.event Test.Event handler.validation_failed plugin.validation_failed
             registry.sync_requested registry.health_check registry.stats_collected registry.cross_discovery
             registry.coordination_complete"
        )
    );
    assert_eq!(
        names(&mut session, "fires_when LIKE 'Later: %'"),
        words("breaker.opened breaker.half_opened breaker.closed")
    );
    for name in words(
        "workflow.viable_steps_discovered observability.step.backoff observability.step.max_retries_reached
         observability.step.skip workflow.task_finalization_completed workflow.task_reenqueue_started
         workflow.task_reenqueue_requested workflow.task_reenqueue_failed workflow.task_reenqueue_delayed",
    ) {
        let fires = format!("name = '{name}' AND synonym_of IS NULL AND fires_when LIKE '%row%'");
        assert_eq!(names(&mut session, &fires).len(), 1, "{name}");
    }
}

#[test]
fn every_synonym_leads_to_a_canonical_name_and_has_its_payload() {
    let database = Database::new();
    let mut session = database.connect();
    let broken: Vec<String> = session.all(
        "SELECT s.name FROM tasker.event_catalog s
         LEFT JOIN tasker.event_catalog c ON c.name = s.synonym_of AND c.synonym_of IS NULL
         WHERE s.synonym_of IS NOT NULL
           AND (c.name IS NULL OR s.payload_schema IS DISTINCT FROM c.payload_schema
                OR s.fires_when NOT LIKE 'Another name of ' || c.name || ': %')",
        &[],
    );
    assert_eq!(broken, Vec::<String>::new());
    assert!(names(&mut session, "synonym_of IS NOT NULL").len() > 20);
}

#[test]
fn every_schema_in_the_catalogue_compiles() {
    let database = Database::new();
    let mut session = database.connect();
    let rows = session.query(
        "SELECT name, payload_schema, fires_when ~ '^(Later|Never): ' FROM tasker.event_catalog",
        &[],
    );
    for row in rows {
        let (name, schema): (String, Option<Value>) = (row.get(0), row.get(1));
        let absent: bool = row.get(2);
        assert_eq!(schema.is_none(), absent, "{name}");
        if let Some(schema) = schema {
            Schema::compile(&schema, &Budget::unlimited(Host::NONE))
                .expect("no limit")
                .unwrap_or_else(|why| panic!("{name} {why}"));
        }
    }
}

#[test]
fn a_registered_event_is_in_the_catalogue_as_custom_and_readers_see_it() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute(
        r#"INSERT INTO tasker_engine.registered_events
           VALUES ('order.paid', 'A customer has paid.', '{"type": "object"}'), ('order.sent', NULL, NULL)"#,
    );
    for role in ["reader", "operator", "admin"] {
        session.execute(&format!("SET ROLE tasker_{role}"));
        let rows: Vec<String> = session.all(
            "SELECT concat_ws('|', name, event_group, fires_when, payload_schema, synonym_of)
             FROM tasker.event_catalog WHERE custom ORDER BY name",
            &[],
        );
        assert_eq!(
            rows,
            [
                r#"order.paid|custom|A customer has paid.|{"type": "object"}"#,
                "order.sent|custom|An application publishes it."
            ]
        );
        session.execute("RESET ROLE");
    }
    session.execute("SET ROLE tasker_worker");
    let refused = session.fails("SELECT * FROM tasker.event_catalog", &[]);
    refused.is("42501");
}

/// The steps of a template: parents and children of 1, 2, ...
struct Graph {
    parents: Vec<Vec<i16>>,
    children: Vec<Vec<i16>>,
}

fn graph(session: &mut Session, task: Uuid) -> Graph {
    let rows = session.query(
        "SELECT n.parents, n.children FROM tasker.named_tasks_named_steps n
         JOIN tasker.tasks t ON t.named_task_id = n.named_task_id
         WHERE t.task_uuid = $1 ORDER BY n.step_no",
        &[&task],
    );
    Graph {
        parents: rows.iter().map(|row| row.get(0)).collect(),
        children: rows.iter().map(|row| row.get(1)).collect(),
    }
}

/// A row of the log with its events and the steps that it releases.
struct Told {
    id: i64,
    step_no: i16,
    events: Vec<&'static str>,
    released: Vec<i16>,
}

/// What each row of the log of a task tells, in the order of the ids.
fn told(session: &mut Session, task: Uuid) -> Vec<Told> {
    let graph = graph(session, task);
    let parents: Vec<&[i16]> = graph.parents.iter().map(Vec::as_slice).collect();
    let found = session.query(
        "SELECT l.id, l.step_no::smallint, l.from_state, l.to_state, l.attempt::smallint, l.metadata,
                l.created_at = t.created_at AND l.from_state = 'pending' AND l.to_state = 'resolved_manually'
         FROM (SELECT id, step_no, from_state, to_state, attempt, metadata, created_at
               FROM tasker.workflow_step_transitions WHERE task_uuid = $1
               UNION ALL
               SELECT id, 0, from_state, to_state, 0, metadata, created_at FROM tasker.task_transitions WHERE task_uuid = $1) l
         JOIN tasker.task_transitions t ON t.task_uuid = $1 AND t.from_state IS NULL
         ORDER BY l.id",
        &[&task],
    );
    let at_creation: BTreeSet<i16> = found
        .iter()
        .filter(|row| row.get::<_, i16>(1) > 0 && row.get(6))
        .map(|row| row.get(1))
        .collect();
    let mut done = at_creation.clone();
    let mut all = vec![];
    for row in found {
        let (step_no, from): (i16, Option<&str>) = (row.get(1), row.get(2));
        let to: &str = row.get(3);
        let known = "the log has states";
        let change = if step_no == 0 {
            let from = from.map(|from| from.parse().expect(known));
            Change::Task(from, to.parse().expect(known))
        } else {
            let from = from.expect(known).parse().expect(known);
            Change::Step(from, to.parse().expect(known))
        };
        let mut logged = Row {
            change,
            attempt: row.get(4),
            said: Said::of(&row.get(5)),
            done_at_creation: at_creation.contains(&step_no),
            releases: false,
        };
        let mut released = vec![];
        if logged.asks_for_released() {
            released = match change {
                Change::Task(..) => rows::first(&parents, &at_creation),
                Change::Step(..) => rows::released(
                    &graph.children[step_no as usize - 1],
                    |no| parents[no as usize - 1],
                    step_no,
                    &done,
                ),
            };
            logged.releases = !released.is_empty();
            done.extend((step_no > 0).then_some(step_no));
        }
        all.push(Told {
            id: row.get(0),
            step_no,
            events: rows::of(&logged).iter().map(|event| event.name).collect(),
            released,
        });
    }
    all
}

/// One line per row, without the events before the transition and after the run, which every such row has.
fn lines(told: &[Told]) -> Vec<String> {
    let usual = ["before_transition", "steps_execution_completed"];
    let short = |event: &&'static str| !usual.iter().any(|usual| event.ends_with(usual));
    told.iter()
        .map(|row| {
            let events: Vec<&str> = row.events.iter().copied().filter(short).collect();
            format!("{} {}", row.step_no, events.join(" "))
        })
        .collect()
}

#[test]
fn the_log_of_a_run_gives_these_events() {
    let database = Database::new();
    let mut session = database.connect();
    Template::new("order")
        .step("start", &[])
        .step_with("audit", &["start"], json!({"skippable": true}))
        .step("pay", &["start"])
        .step("end", &["audit", "pay"])
        .register(&mut session);
    let task: Uuid = session.one(
        r#"SELECT tasker.create_task('order', bypass_steps => '["audit"]')"#,
        &[],
    );
    let start = session.claim_one("worker");
    session.query(
        "SELECT tasker.release_steps('worker', delay => '1 millisecond', reason => 'busy')",
        &[],
    );
    assert_eq!(start.name, "start");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let start = session.claim_one("worker");
    session.complete(&start, &json!({}));
    let pay = session.claim_one("worker");
    session.fail_for_good(&pay);
    session.query("SELECT tasker.retry_task($1)", &[&task]);
    session.work(|_| done());
    assert_eq!(
        lines(&told(&mut session, task)),
        [
            "0 task.initialize_requested workflow.viable_steps_discovered",
            "2 step.resolved_manually observability.step.skip",
            "1 step.execution_requested",
            "0 task.start_requested",
            "1 step.released workflow.task_reenqueue_delayed",
            "1 step.execution_requested",
            "1 step.completed workflow.viable_steps_discovered",
            "3 step.execution_requested",
            "3 step.failed",
            "0 task.failed workflow.task_finalization_completed",
            "3 step.retry_requested",
            "0 task.retry_requested workflow.task_reenqueue_started workflow.task_reenqueue_requested",
            "3 step.execution_requested",
            "0 task.start_requested",
            "3 step.completed workflow.viable_steps_discovered",
            "4 step.execution_requested",
            "4 step.completed workflow.no_viable_steps",
            "0 task.completed workflow.task_finalization_completed",
        ]
    );
}

/// A reader that sees the row that releases a child must see the rows of its other parents, and these have smaller ids: a report takes
/// its ids when it holds the child.
#[test]
fn of_two_reports_that_release_a_child_together_the_later_has_the_larger_id() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    let tasks = session.create_many("small_diamond", 2);
    let (other, task) = (tasks[0].min(tasks[1]), tasks[0].max(tasks[1]));
    let mut held = BTreeMap::new();
    session.work(|claim| {
        if claim.name == "start" {
            return done();
        }
        held.insert((claim.task, claim.name.clone()), claim.clone());
        Act::Keep
    });
    let of = |task: Uuid, name: &str| &held[&(task, name.to_owned())];
    // The report for both tasks waits for the child of the first before it reaches that of the second.
    let mut blocker = database.connect();
    blocker.execute(&format!(
        "BEGIN; SELECT FROM tasker_engine.steps WHERE task_uuid = '{other}' AND step_no = 4 FOR UPDATE"
    ));
    let mut slow = database.connect();
    let pid = slow.pid();
    let reports = json!([
        of(other, "b").done(json!({})),
        of(task, "b").done(json!({}))
    ]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            slow.query(
                "SELECT * FROM tasker.report_steps('worker', $1)",
                &[&reports],
            )
        });
        blocker.wait_until_blocked(pid);
        session.complete(of(task, "c"), &json!({}));
        blocker.execute("COMMIT");
        waiting.join().expect("the slow report is accepted");
    });
    let told = told(&mut session, task);
    let row = |no: i16| {
        let ended = |row: &&Told| row.step_no == no && row.events.contains(&"step.completed");
        told.iter().find(ended).expect("the step has completed")
    };
    assert!(row(3).id < row(2).id);
    assert_eq!(row(3).released, [0i16; 0]);
    assert_eq!(row(2).released, [4]);
}
