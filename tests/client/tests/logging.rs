//! Lines of the server's log: their formats, which events give lines, slow operations; and correlation ids.

use std::time::{Duration, Instant};

use tasker_client_tests::server::Server;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Database, Session, Uuid, Value, inside, json, patience, shapes, started,
};

/// A task, its correlation id, and the milliseconds in it.
fn correlation(session: &mut Session, task: Uuid) -> String {
    session.one(
        "SELECT correlation_id FROM tasker.tasks WHERE task_uuid = $1",
        &[&task],
    )
}

#[track_caller]
fn is_of_the_original(session: &mut Session, task: Uuid) -> String {
    let id = correlation(session, task);
    let parts: Vec<&str> = id.split('_').collect();
    assert_eq!((parts.len(), parts[0]), (3, "tsk"), "{id}");
    let milliseconds = i64::from_str_radix(parts[1], 36).expect("a number in base 36");
    assert!(
        parts[2].len() == 6 && parts[2].bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );
    let near: bool = session.one(
        "SELECT abs(extract(epoch FROM requested_at) * 1000 - $2::bigint) < 2000 FROM tasker.tasks WHERE task_uuid = $1",
        &[&task, &milliseconds],
    );
    assert!(near, "{id}");
    id
}

#[test]
fn a_task_without_a_correlation_id_gets_one_of_its_own() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    let id = is_of_the_original(&mut session, task);
    let many = session.create_many("one", 50);
    let mut ids: Vec<String> = many
        .iter()
        .map(|task| is_of_the_original(&mut session, *task))
        .collect();
    ids.push(id.clone());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 51);
    // It goes where a given one goes: to workers, events and lists.
    let claim = session.claim_one("w");
    assert_eq!(claim.correlation_id.as_deref(), Some(id.as_str()));
    session.complete(&claim, &json!({}));
    let told: Vec<String> = session.all(
        "SELECT DISTINCT correlation_id FROM tasker.read_events(patterns => '{task.*,step.*}') WHERE task_uuid = $1",
        &[&task],
    );
    assert_eq!(told, std::slice::from_ref(&id));
    let found: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.list_tasks(correlation_id => $1)",
        &[&id],
    );
    assert_eq!(found, [task]);
    // A rerun belongs to the same request.
    let rerun: Uuid = session.one("SELECT tasker.rerun_task($1)", &[&task]);
    assert_eq!(correlation(&mut session, rerun), id);
}

#[test]
fn a_given_correlation_id_is_kept_and_must_fit_the_pattern() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    for good in ["a", "7", "order-42_x", &"x".repeat(100)] {
        let task: Uuid = session.one(
            "SELECT tasker.create_task('one', correlation_id => $1)",
            &[&good],
        );
        assert_eq!(correlation(&mut session, task), good);
        let tasks: Vec<Uuid> = session.all(
            "SELECT * FROM tasker.create_tasks('one', '{\"{}\",\"{}\"}', correlation_id => $1)",
            &[&good],
        );
        assert_eq!(tasks.len(), 2);
        for task in tasks {
            assert_eq!(correlation(&mut session, task), good);
        }
    }
    for bad in [
        "",
        "-a",
        "_a",
        "a b",
        "a@b",
        "a:b",
        "é",
        "a\n",
        &"x".repeat(101),
    ] {
        for call in [
            "SELECT tasker.create_task('one', correlation_id => $1)",
            "SELECT tasker.create_tasks('one', '{\"{}\"}', correlation_id => $1)",
        ] {
            let failure = session.fails(call, &[&bad]).is("22023");
            assert!(
                failure.message.contains("correlation_id"),
                "{}",
                failure.message
            );
        }
    }
}

#[test]
fn an_old_task_without_a_correlation_id_stays_so_and_its_rerun_gets_one() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    inside::set_correlation_id(&mut session, task, None);
    let claim = session.claim_one("w");
    assert_eq!(claim.correlation_id, None);
    session.complete(&claim, &json!({}));
    let rerun: Uuid = session.one("SELECT tasker.rerun_task($1)", &[&task]);
    is_of_the_original(&mut session, rerun);
    let none: bool = session.one(
        "SELECT correlation_id IS NULL FROM tasker.tasks WHERE task_uuid = $1",
        &[&task],
    );
    assert!(none);
}

#[track_caller]
fn soon<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < patience(30), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A task that is created, run and reported here.
fn run_one(session: &mut Session, name: &str) -> Uuid {
    let task = session.create(name);
    loop {
        let claims = session.claim(&Ask::by("w", 10));
        for claim in &claims {
            session.complete(claim, &json!({}));
        }
        if session.task_state(task) == "complete" {
            return task;
        }
    }
}

/// Every message of a file of the log in JSON.
fn messages(session: &mut Session) -> Vec<Value> {
    let log: String = session.one("SELECT pg_read_file(pg_current_logfile('jsonlog'))", &[]);
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn file(session: &mut Session, kind: &str) -> String {
    session.one("SELECT pg_read_file(pg_current_logfile($1))", &[&kind])
}

/// The message about the end of this task, and its level.
fn about(session: &mut Session, task: Uuid, event: &str) -> Option<(String, String)> {
    let uuid = task.to_string();
    messages(session).into_iter().find_map(|line| {
        let text = line["message"].as_str()?;
        let is_it = text.contains(&uuid)
            && text.contains(event)
            && line["backend_type"] == "tasker_ext coordinator";
        is_it.then(|| {
            (
                text.to_owned(),
                line["error_severity"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            )
        })
    })
}

/// A server with three destinations of its log, whose coordinator writes events.
fn telling() -> (Server, Session) {
    let server = Server::start(&[
        "shared_preload_libraries=tasker_ext",
        "logging_collector=on",
        "log_destination=jsonlog,csvlog,stderr",
        "tasker.environment=staging",
        "tasker.log_format=json",
    ]);
    let mut session = server.connect("postgres");
    session.execute("CREATE EXTENSION tasker_ext");
    tasker_client_tests::database::resume(&mut session);
    shapes::chain("one", 1).register(&mut session);
    session.execute(
        "SELECT tasker.set_event_route(e, backends => '{log}') FROM unnest('{task.completed,step.completed,step.failed}'::text[]) e",
    );
    soon("the log begins", || {
        inside::event_log_has_begun(&mut session).then_some(())
    });
    (server, session)
}

fn set_format(session: &mut Session, format: &str) {
    session.execute(&format!("ALTER SYSTEM SET tasker.log_format = {format}"));
    session.execute("SELECT pg_reload_conf()");
    // The coordinator reads its settings each second.
    std::thread::sleep(Duration::from_millis(1500));
}

fn object(text: &str) -> Value {
    let from = text.find('{').expect("an object");
    serde_json::from_str(&text[from..]).expect("an object")
}

#[track_caller]
fn has(line: &Value, expected: &[(&str, Value)]) {
    for (key, value) in expected {
        assert_eq!(line[*key], *value, "{key} of {line}");
    }
}

fn is_of_the_task(session: &mut Session, task: Uuid, text: &str) {
    let line = object(text);
    let id = correlation(session, task);
    let uuid = json!(task.to_string());
    has(
        &line,
        &[
            ("level", json!("info")),
            ("correlation_id", json!(id)),
            ("component", json!("events")),
            ("event_name", json!("task.completed")),
            ("entity_type", json!("task")),
            ("task_uuid", uuid.clone()),
            ("task_id", uuid.clone()),
            ("task_name", json!("one")),
            ("task_status", json!("complete")),
        ],
    );
    assert_eq!(line["payload"]["task_uuid"], uuid);
    let (text, _) = about(session, task, "step.completed").expect("it was first");
    let line = object(&text);
    assert!(line["duration_ms"].is_number() && line["performance_category"].is_string());
    has(
        &line,
        &[("worker", json!("w")), ("step_status", json!("complete"))],
    );
}

#[test]
fn a_line_is_an_object_whatever_the_destination_of_the_log_is() {
    let (_server, mut session) = telling();
    for format in ["json", "pretty_json", "logfmt", "text"] {
        set_format(&mut session, format);
        let task = run_one(&mut session, "one");
        let event = match format {
            "text" => "Task completed",
            _ => "task.completed",
        };
        let (text, severity) = soon(format, || about(&mut session, task, event));
        assert_eq!(severity, "LOG");
        match format {
            "json" | "pretty_json" => {
                assert_eq!(text.contains('\n'), format == "pretty_json");
                is_of_the_task(&mut session, task, &text);
            }
            "logfmt" => {
                assert!(text.starts_with("timestamp=\"20"), "{text}");
                let id = correlation(&mut session, task);
                assert!(
                    text.contains(&format!(" correlation_id=\"{id}\" ")),
                    "{text}"
                );
                assert!(text.contains(" process_id="), "{text}");
            }
            _ => assert!(
                text.starts_with(&format!("tasker_ext: Task completed (ID: {task}")),
                "{text}"
            ),
        }
        let csv = file(&mut session, "csvlog");
        assert!(csv.contains(&text.replace('"', "\"\"")), "csvlog {format}");
        let plain = file(&mut session, "stderr");
        assert!(
            plain.contains(&text.replace('\n', "\n\t")),
            "stderr {format}"
        );
    }
}

#[test]
fn lines_name_their_process_and_a_failure_is_a_warning_with_its_step() {
    let (_server, mut session) = telling();
    let text = soon("the coordinator's line", || {
        let all = messages(&mut session);
        all.iter()
            .filter_map(|line| line["message"].as_str())
            .find(|text| text.starts_with('{') && text.contains("at work"))
            .map(str::to_owned)
    });
    let line = object(&text);
    let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "timestamp",
            "level",
            "component",
            "message",
            "environment",
            "tasker_version",
            "process_id"
        ]
    );
    let coordinator: i32 = session.one(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'tasker_ext coordinator'",
        &[],
    );
    has(
        &line,
        &[
            ("level", json!("info")),
            ("component", json!("coordinator")),
            ("environment", json!("staging")),
            ("tasker_version", json!(env!("CARGO_PKG_VERSION"))),
            ("process_id", json!(coordinator)),
        ],
    );
    let timestamp = line["timestamp"].as_str().expect("a text");
    assert!(
        timestamp.len() == 24 && timestamp.ends_with('Z'),
        "{timestamp}"
    );

    // A failure is a warning.
    let task = session.create("one");
    let claim = session.claim_one("w");
    session.execute(&format!(
        "SELECT tasker.fail_step('{}', {}, 'token=abc is wrong', 'Wrong', false)",
        claim.step, claim.number
    ));
    let (text, severity) = soon("a failure", || about(&mut session, task, "step.failed"));
    assert_eq!(severity, "WARNING");
    let line = object(&text);
    has(
        &line,
        &[
            ("level", json!("error")),
            ("step", json!(claim.name)),
            ("step_uuid", json!(claim.step.to_string())),
            ("worker", json!("w")),
            ("attempt", json!(claim.attempt)),
            ("exception_class", json!("Wrong")),
            ("exception_message", json!("token=[FILTERED] is wrong")),
        ],
    );
    assert_eq!(
        line["payload"]["error_message"],
        "token=[FILTERED] is wrong"
    );
}

/// The text lines of events about these tasks or with these words, in the log of the shared server.
fn lines(database: &Database, with: &str) -> Vec<String> {
    let log = database.server().log();
    let own = |line: &&str| line.contains("tasker_ext: ") && line.contains(with);
    log.lines().filter(own).map(str::to_owned).collect()
}

fn maintain(session: &mut Session) -> i64 {
    session.one(
        "SELECT done FROM tasker.run_maintenance() WHERE duty = 'event_log'",
        &[],
    )
}

#[test]
fn only_routed_events_give_lines_and_each_gives_one() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    let quiet = run_one(&mut session, "one");
    assert_eq!(maintain(&mut session), 0);
    assert_eq!(maintain(&mut session), 0);
    assert!(!inside::event_log_has_begun(&mut session));
    session.execute("SELECT tasker.set_event_route('step.completed', backends => '{log,metrics}')");
    session.execute("SELECT tasker.set_event_route('orders.paid', backends => '{log}')");
    // The log begins with the route.
    assert_eq!(maintain(&mut session), 0);
    assert!(inside::event_log_has_begun(&mut session));
    let task = run_one(&mut session, "one");
    session.execute(
        "SELECT tasker.publish_event('orders.paid', '{\"card_token\": \"4711\", \"n\": 1}')",
    );
    session.execute("BEGIN");
    assert_eq!(maintain(&mut session), 2);
    session.execute("COMMIT");
    assert_eq!(maintain(&mut session), 0);
    assert_eq!(lines(&database, &quiet.to_string()).len(), 0);
    let step = session.step(task, "step_1").to_string();
    let found = lines(&database, &step);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("LOG:  tasker_ext: Step completed (ID: "),
        "{}",
        found[0]
    );
    // Another round goes on where this one ended, after a restart too: the position is a row.
    let task = run_one(&mut session, "one");
    let mut other = database.connect();
    assert_eq!(maintain(&mut other), 1);
    let step = session.step(task, "step_1").to_string();
    assert_eq!(lines(&database, &step).len(), 1);
    // Without a route nothing is read, and the log begins again with the next one.
    session.execute("SELECT tasker.set_event_route(e, backends => '{}') FROM unnest('{step.completed,orders.paid}'::text[]) e");
    run_one(&mut session, "one");
    assert_eq!(maintain(&mut session), 0);
    assert!(!inside::event_log_has_begun(&mut session));
}

#[test]
fn a_line_of_an_event_hides_its_secrets() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    session.execute("SELECT tasker.set_event_route('orders.secret', backends => '{log}')");
    maintain(&mut session);
    session.execute("SELECT tasker.publish_event('orders.secret', '{\"a\": [{\"card_token\": \"4711-0815\", \"n\": 1}]}')");
    session.execute("SET tasker.log_format = 'json'");
    assert_eq!(maintain(&mut session), 1);
    let log = database.server().log();
    let line = log
        .lines()
        .find(|line| line.contains("orders.secret\""))
        .expect("a line");
    let object: Value =
        serde_json::from_str(&line[line.find('{').expect("an object")..]).expect("an object");
    assert_eq!(
        object["payload"],
        json!({"a": [{"card_token": "[FILTERED]", "n": 1}]})
    );
    assert!(!log.contains("4711-0815\""));
}

#[test]
fn the_share_of_a_route_and_filtered_events_hold_for_lines() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    session.execute("SELECT tasker.set_event_route('task.completed', backends => '{log}', sampling_rate => 0.5)");
    maintain(&mut session);
    let tasks: Vec<Uuid> = (0..40).map(|_| run_one(&mut session, "one")).collect();
    maintain(&mut session);
    let log = database.server().log();
    let told = tasks
        .iter()
        .filter(|task| log.contains(&task.to_string()))
        .count();
    assert!((5..36).contains(&told), "{told} of 40");
    session.execute("SET tasker.event_sampling_rate = 0");
    let unsampled = run_one(&mut session, "one");
    assert_eq!(maintain(&mut session), 0);
    session.execute("RESET tasker.event_sampling_rate; SELECT tasker.set_event_route('task.completed', sampling_rate => 1)");
    session.execute("SET tasker.filtered_events = 'task.completed'");
    let filtered = run_one(&mut session, "one");
    assert_eq!(maintain(&mut session), 0);
    session.execute("RESET tasker.filtered_events");
    maintain(&mut session);
    let told = run_one(&mut session, "one");
    assert_eq!(maintain(&mut session), 1);
    let log = database.server().log();
    let in_log = [unsampled, filtered, told].map(|task| log.contains(&task.to_string()));
    assert_eq!(in_log, [false, false, true]);
}

#[test]
fn a_slow_operation_warns_in_the_log_and_not_the_client() {
    let (database, mut session, _) = started(&shapes::chain("slow", 1));
    // This session's lines, and no others'.
    session.execute("SET tasker.environment = 'slow test'; SET tasker.log_format = 'json'");
    let slow = |database: &Database| -> Vec<Value> {
        let log = database.server().log();
        log.lines()
            .filter(|line| line.contains("slow test") && line.contains("WARNING:  {"))
            .filter_map(|line| serde_json::from_str(&line[line.find('{')?..]).ok())
            .collect()
    };
    session.take_notices();
    run_one(&mut session, "slow");
    assert_eq!(slow(&database).len(), 0);
    session.execute("SET tasker.slow_query_threshold_seconds = 0");
    run_one(&mut session, "slow");
    assert_eq!(slow(&database).len(), 0);
    session.execute("SET tasker.slow_query_threshold_seconds = 0.000001");
    run_one(&mut session, "slow");
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    let found = slow(&database);
    let operations: Vec<&str> = found
        .iter()
        .filter_map(|line| line["operation"].as_str())
        .collect();
    for operation in [
        "create_task",
        "claim_steps",
        "complete_step",
        "duty leases",
        "duty retention",
    ] {
        assert!(
            operations.contains(&operation),
            "{operation}: {operations:?}"
        );
    }
    for line in &found {
        assert_eq!([&line["level"], &line["component"]], ["warn", "session"]);
        assert_eq!(line["is_slow"], true);
        assert!(line["duration_ms"].is_number() && line["performance_category"].is_string());
    }
    assert_eq!(session.take_notices(), [""; 0]);
}

#[test]
fn a_warning_of_a_session_is_an_object_in_the_log_and_a_sentence_for_the_client() {
    let (database, mut session, task) = started(&shapes::chain("one", 1));
    session.claim_one("w");
    inside::lease_ended(&mut session, "w", 3600);
    session.execute(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'this row stays' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON tasker_engine.steps FOR EACH ROW EXECUTE FUNCTION public.refuse()",
    );
    let mut other = database.connect();
    other.execute("SET tasker.log_format = 'json'; SET tasker.environment = 'warning test'");
    assert_eq!(other.claim(&Ask::by("v", 1)).len(), 0);
    let notices = other.take_notices();
    let warned: Vec<&String> = notices
        .iter()
        .filter(|text| text.contains("cannot be taken over"))
        .collect();
    assert_eq!(warned.len(), 1, "{notices:?}");
    assert!(
        warned[0].starts_with("tasker_ext: the steps of claim "),
        "{notices:?}"
    );
    let log = database.server().log();
    let found: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("warning test"))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("WARNING:  {"));
    let object: Value = serde_json::from_str(&found[0][found[0].find('{').expect("an object")..])
        .expect("an object");
    assert_eq!(
        [
            &object["level"],
            &object["exception_class"],
            &object["exception_message"]
        ],
        ["warn", "53100", "this row stays"]
    );
    assert_eq!(session.task_state(task), "in_progress");
}
