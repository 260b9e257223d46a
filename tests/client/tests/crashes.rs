//! kill -9 of workers, of backends in the midst of a call, and of the whole server: afterwards every task ends, and
//! the effects of each step were recorded once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::database::PATTERN;
use tasker_client_tests::kills::{Client, End, own_server, under_kills};
use tasker_client_tests::server::{Server, config_in};
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Claim, Database, Failure, Session, Uuid, Value, inside, json, patience, scaled, shapes,
};

/// Every step of these tasks is complete, by one report, and their tasks completed once.
#[track_caller]
fn all_recorded_once(session: &mut Session, tasks: &[Uuid]) {
    assert_eq!(
        session.task_states(tasks),
        [format!("complete: {}", tasks.len())]
    );
    let wrong = session.count(
        "SELECT count(*) FROM tasker.workflow_steps s WHERE task_uuid = ANY ($1) AND NOT (
             state = 'complete'
             AND (SELECT count(*) FROM tasker.workflow_step_transitions t WHERE t.step_uuid = s.step_uuid AND to_state = 'complete') = 1
             AND (SELECT count(*) FROM tasker.workflow_step_transitions t WHERE t.step_uuid = s.step_uuid AND to_state = 'in_progress') = claim_number)",
        &[&tasks],
    );
    assert_eq!(wrong, 0, "steps whose effects were not recorded once");
    let twice = session.count(
        "SELECT count(*) FROM (SELECT FROM tasker.task_transitions WHERE task_uuid = ANY ($1) AND to_state = 'complete'
                               GROUP BY task_uuid HAVING count(*) <> 1) t",
        &[&tasks],
    );
    assert_eq!(twice, 0, "tasks that completed more than once");
    assert_eq!(session.disagreements(), [""; 0]);
}

// --- Workers.

const CHILD_FOLDER: &str = "TASKER_TEST_CHILD_FOLDER";
const CHILD_DATABASE: &str = "TASKER_TEST_CHILD_DATABASE";

/// No test: the process that the test below kills. It works until it is killed.
#[test]
#[ignore = "run by kill_9_of_workers_... in processes of its own"]
fn child_worker() {
    let (Some(folder), Ok(database)) = (
        std::env::var_os(CHILD_FOLDER),
        std::env::var(CHILD_DATABASE),
    ) else {
        return;
    };
    let mut session = Session::open(config_in(&PathBuf::from(folder), &database, "postgres"));
    let worker = format!("child {}", std::process::id());
    let ask = Ask {
        worker: &worker,
        most: 3,
        lease: "250 milliseconds",
        ..Ask::default()
    };
    let mut claims: Vec<Claim> = vec![];
    loop {
        let reports: Vec<Value> = claims
            .iter()
            .map(|claim| claim.done(json!({"claim": claim.number})))
            .collect();
        (_, claims) = session.report_and_claim(&ask, &reports);
        std::thread::sleep(Duration::from_millis(if claims.is_empty() {
            20
        } else {
            fastrand::u64(1..8)
        }));
    }
}

/// A worker process; killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(database: &Database) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "child_worker", "--test-threads=1"])
            .env(CHILD_FOLDER, database.server().folder())
            .env(CHILD_DATABASE, database.name())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test again");
        Self(child)
    }
}

impl Drop for Worker {
    // On Unix this is SIGKILL.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kill_9_of_workers_again_and_again_loses_no_step_and_records_each_once() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().patient().register(&mut session);
    let tasks = session.create_many("small_diamond", scaled(150, 3000));
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::start(&database)).collect();
    let (start, mut kills) = (Instant::now(), 0);
    while session.task_states(&tasks) != [format!("complete: {}", tasks.len())] {
        std::thread::sleep(Duration::from_millis(100));
        let victim = kills % workers.len();
        workers[victim] = Worker::start(&database);
        kills += 1;
        assert!(
            start.elapsed() < patience(120),
            "the work does not end: {:?}",
            session.task_states(&tasks)
        );
    }
    drop(workers);
    assert!(kills >= 5, "only {kills} kills: the work ended too early");
    let again = session.count(
        "SELECT count(*) FROM tasker.workflow_steps WHERE claim_number > 1",
        &[],
    );
    assert!(again > 0, "no worker was killed while it held a step");
    all_recorded_once(&mut session, &tasks);
    // The recorded results are those of the claim that was in force.
    let others = session.count("SELECT count(*) FROM tasker.workflow_steps WHERE (results ->> 'claim')::int IS DISTINCT FROM claim_number", &[]);
    assert_eq!(others, 0);
}

// --- Backends, stopped between the row changes of a call by a lock on one table after the other.

/// A call of the engine, prepared so that it changes everything that it can change.
struct Call {
    name: &'static str,
    sql: String,
}

/// Diamonds in every state that the calls need, and something to claim.
fn calls(session: &mut Session) -> Vec<Call> {
    let mut branches = || -> (Claim, Claim) {
        session.create("small_diamond");
        session.work_through("start");
        let mut claims = session.claim(&Ask::by("holder", 2));
        claims.sort_by(|a, b| a.name.cmp(&b.name));
        let c = claims.remove(1);
        (claims.remove(0), c)
    };
    let [(b1, c1), (b2, _), (b3, c3), (b4, _)] = std::array::from_fn(|_| branches());
    let reports = json!([b3.done(json!({})), c3.failed(true), c1.failed(false)]);
    session.create("small_diamond");
    let call = |name, sql: String| Call { name, sql };
    vec![
        call(
            "complete",
            format!("SELECT tasker.complete_step('{}', {})", b1.step, b1.number),
        ),
        call(
            "fail",
            format!(
                "SELECT tasker.fail_step('{}', {}, 'x', retryable => false)",
                b2.step, b2.number
            ),
        ),
        call(
            "report_and_claim",
            format!("SELECT * FROM tasker.report_and_claim('holder', '{reports}', max_steps => 1)"),
        ),
        call(
            "cancel",
            format!("SELECT tasker.cancel_task('{}')", b4.task),
        ),
        call(
            "release",
            "SELECT tasker.release_steps('holder')".to_owned(),
        ),
        call(
            "create",
            "SELECT tasker.create_task('small_diamond', idempotency_key => 'k')".to_owned(),
        ),
        call(
            "claim",
            "SELECT * FROM tasker.claim_steps('new', max_steps => 10)".to_owned(),
        ),
    ]
}

/// What happens to a call that waits in the midst of its work.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Cancelled,
    Terminated,
    Killed,
}

/// Runs the call while `table` is locked; where it waits, its fate strikes. Returns whether it waited.
fn strike(
    open: &dyn Fn() -> Session,
    database: &str,
    server: &Server,
    call: &Call,
    table: &str,
    mode: &str,
    fate: Fate,
) -> bool {
    let (mut locker, mut victim, mut watcher) = (open(), open(), open());
    let before = inside::fingerprint(&mut watcher);
    let pid = victim.pid();
    locker.execute("BEGIN");
    locker.execute(&format!("LOCK TABLE {table} IN {mode} MODE"));
    let waited = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            // Undone where it is not stopped.
            victim.execute("BEGIN");
            let result = victim.try_query(&call.sql, &[]);
            if let Err(error) = &result
                && fate == Fate::Cancelled
            {
                assert_eq!(
                    Failure::of(error).map(|failure| failure.code),
                    Some("57014".to_owned()),
                    "{}",
                    call.name
                );
            }
            let alive = victim.client().batch_execute("ROLLBACK").is_ok();
            (result.is_ok(), alive)
        });
        let deadline = Instant::now() + patience(20);
        let waits = loop {
            if running.is_finished() {
                break false;
            }
            if watcher.one::<bool>(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)",
                &[&pid],
            ) {
                break true;
            }
            assert!(
                Instant::now() < deadline,
                "{} on {table} neither waits nor ends",
                call.name
            );
            std::thread::sleep(Duration::from_millis(1));
        };
        if waits {
            match fate {
                Fate::Cancelled => drop(watcher.query("SELECT pg_cancel_backend($1)", &[&pid])),
                Fate::Terminated => drop(watcher.query("SELECT pg_terminate_backend($1)", &[&pid])),
                Fate::Killed => {
                    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
                    assert!(status.is_ok_and(|status| status.success()), "kill -9 {pid}");
                }
            }
        }
        let (completed, alive) = running.join().expect("the call's thread");
        assert_eq!(completed, !waits, "{} on {table}", call.name);
        assert_eq!(
            alive,
            !waits || fate == Fate::Cancelled,
            "{} on {table}",
            call.name
        );
        waits
    });
    if fate == Fate::Killed && waited {
        // The server ends every other session before it recovers.
        while locker.client().batch_execute("SELECT 1").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.wait_until_up(database);
    } else {
        locker.execute("ROLLBACK");
    }
    drop((locker, victim, watcher));
    let mut watcher = open();
    // A terminated backend may still be on its way out.
    let deadline = Instant::now() + patience(5);
    while inside::fingerprint(&mut watcher) != before {
        assert!(
            Instant::now() < deadline,
            "half of {} is there, stopped at {table}",
            call.name
        );
    }
    waited
}

/// Strikes every call at every table, then lets all of them happen and finishes the work.
fn strike_everywhere(
    open: &dyn Fn() -> Session,
    database: &str,
    server: &Server,
    fate: Fate,
    modes: &[&str],
) {
    let mut session = open();
    shapes::small_diamond().patient().register(&mut session);
    let calls = calls(&mut session);
    let tables = inside::tables(&mut session);
    drop(session);
    let mut points: Vec<(&str, usize)> = vec![];
    for call in &calls {
        let mut waited = 0;
        for mode in modes {
            for table in &tables {
                waited += usize::from(strike(open, database, server, call, table, mode, fate));
            }
        }
        points.push((call.name, waited));
    }
    println!("points: {points:?}");
    for name in ["complete", "fail", "report_and_claim", "claim"] {
        let reached = points
            .iter()
            .find(|(call, _)| *call == name)
            .map(|(_, waited)| *waited);
        assert!(
            reached >= Some(3),
            "{name} was stopped at {reached:?} points only: {points:?}"
        );
    }
    let mut session = open();
    for call in &calls {
        session.query(&call.sql, &[]);
    }
    session.query("SELECT tasker.release_steps('new')", &[]);
    session.query("SELECT tasker.release_steps('holder')", &[]);
    session.work(|_| done());
    let open_tasks = session.count(
        "SELECT count(DISTINCT task_uuid) FROM tasker.workflow_steps WHERE state = 'in_progress'
            OR state IN ('pending', 'error') AND (SELECT status FROM tasker.get_task_execution_context(task_uuid)) IN ('pending', 'in_progress')",
        &[],
    );
    assert_eq!(open_tasks, 0, "tasks that do not end");
    assert_eq!(session.disagreements(), [""; 0]);
}

#[test]
fn a_call_cancelled_between_its_row_changes_leaves_nothing_and_its_session_usable() {
    let database = Database::new();
    let server = database.server();
    strike_everywhere(
        &|| database.connect(),
        database.name(),
        server,
        Fate::Cancelled,
        &["SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"],
    );
}

#[test]
fn a_backend_terminated_between_row_changes_leaves_nothing() {
    let database = Database::new();
    let server = database.server();
    strike_everywhere(
        &|| database.connect(),
        database.name(),
        server,
        Fate::Terminated,
        &["SHARE", "EXCLUSIVE"],
    );
}

#[test]
fn kill_9_of_a_backend_between_the_row_changes_of_claim_and_report_leaves_nothing() {
    let server = own_server(&[]);
    let modes: &[&str] = if tasker_client_tests::long() {
        &["SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"]
    } else {
        &["SHARE"]
    };
    strike_everywhere(
        &|| server.connect(PATTERN),
        PATTERN,
        &server,
        Fate::Killed,
        modes,
    );
}

#[test]
fn a_claim_whose_backend_dies_before_its_commit_is_free_at_once() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1).register(&mut session);
    session.create("one");
    let mut other = database.connect();
    let pid = other.pid();
    other.execute("BEGIN");
    assert_eq!(other.claim_one("unreachable").attempt, 1);
    assert!(session.claim_all("worker").is_empty());
    session.query("SELECT pg_terminate_backend($1, 5000)", &[&pid]);
    let claim = session.claim_one("worker");
    assert_eq!((claim.attempt, claim.number), (1, 1));
}

// --- The whole server.

#[test]
fn kill_9_of_the_server_under_load_loses_nothing_that_was_acknowledged() {
    let server = own_server(&[]);
    shapes::small_diamond()
        .patient()
        .register(&mut server.connect(PATTERN));
    let created: Mutex<Vec<(String, Option<Uuid>)>> = Mutex::new(vec![]);
    let acknowledged: Mutex<HashSet<Uuid>> = Mutex::new(HashSet::new());
    let round = AtomicUsize::new(0);
    let creator = |session, end: &End| create_until_it_breaks(session, &round, &created, end);
    let workers = ["worker 1", "worker 2", "worker 3"].map(|worker| {
        let acknowledged = &acknowledged;
        move |session, end: &End| work_until_it_breaks(session, worker, acknowledged, end)
    });
    let clients: Vec<Client> = std::iter::once(&creator as Client)
        .chain(workers.iter().map(|worker| worker as Client))
        .collect();
    let pause = || Duration::from_millis(100 + fastrand::u64(..300));
    under_kills(&server, scaled(5, 40), pause, &clients);
    let mut session = server.connect(PATTERN);
    let created = created.into_inner().expect("no panic");
    // What was not answered is asked again under its key, and gives one task in any case.
    let mut tasks = vec![];
    for (key, answered) in &created {
        let task: Uuid = session.one(
            "SELECT tasker.create_task('small_diamond', idempotency_key => $1)",
            &[key],
        );
        assert!(
            answered.is_none_or(|answered| answered == task),
            "{key} was acknowledged as {answered:?} and is {task}"
        );
        tasks.push(task);
    }
    let all: Vec<Uuid> = session.all("SELECT DISTINCT task_uuid FROM tasker.workflow_steps", &[]);
    assert_eq!(all.len(), tasks.len(), "tasks that were not requested");
    let acknowledged: Vec<Uuid> = acknowledged
        .into_inner()
        .expect("no panic")
        .into_iter()
        .collect();
    assert!(
        acknowledged.len() > 100,
        "only {} reports were acknowledged",
        acknowledged.len()
    );
    let lost = session.count(
        "SELECT count(*) FROM unnest($1::uuid[]) u (step_uuid) WHERE NOT EXISTS
             (SELECT FROM tasker.workflow_steps s WHERE s.step_uuid = u.step_uuid AND s.state = 'complete')",
        &[&acknowledged],
    );
    assert_eq!(lost, 0, "acknowledged reports were lost");
    // The leases of the dead run out, and the rest is done.
    let deadline = Instant::now() + patience(30);
    while session.task_states(&tasks) != [format!("complete: {}", tasks.len())] {
        session.work(|_| done());
        assert!(
            Instant::now() < deadline,
            "{:?}",
            session.task_states(&tasks)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "{} tasks, {} reports acknowledged before the end",
        tasks.len(),
        acknowledged.len()
    );
    all_recorded_once(&mut session, &tasks);
}

fn create_until_it_breaks(
    mut session: Session,
    round: &AtomicUsize,
    created: &Mutex<Vec<(String, Option<Uuid>)>>,
    end: &End,
) {
    while !end.has_come() {
        let key = format!("task {}", round.fetch_add(1, Ordering::Relaxed));
        let answer = session.try_query(
            "SELECT tasker.create_task('small_diamond', idempotency_key => $1)",
            &[&key],
        );
        let task = answer.as_ref().ok().map(|rows| rows[0].get(0));
        created.lock().expect("no panic").push((key, task));
        if answer.is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn work_until_it_breaks(
    mut session: Session,
    worker: &str,
    acknowledged: &Mutex<HashSet<Uuid>>,
    end: &End,
) {
    let ask = Ask {
        lease: "500 milliseconds",
        ..Ask::by(worker, 4)
    };
    let mut held: Vec<Claim> = vec![];
    while !end.has_come() {
        let reports: Vec<Value> = held
            .iter()
            .map(|claim| claim.done(json!({"claim": claim.number})))
            .collect();
        let Ok((refused, claimed)) = session.try_report_and_claim(&ask, &reports) else {
            return;
        };
        let refused: HashSet<Uuid> = refused.into_iter().filter_map(|(_, step)| step).collect();
        let accepted = held
            .iter()
            .map(|claim| claim.step)
            .filter(|step| !refused.contains(step));
        acknowledged.lock().expect("no panic").extend(accepted);
        held = claimed;
        if held.is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_server_stopped_at_once_comes_back_with_leases_backoffs_and_pauses_as_they_were() {
    let server = own_server(&[]);
    let mut session = server.connect(PATTERN);
    shapes::wide("wide", 3)
        .every_step(json!({"retry": {"backoff": "linear", "backoff_base_ms": 60000}}))
        .register(&mut session);
    let task = session.create("wide");
    let claims = session.claim(&Ask {
        worker: "before",
        most: 2,
        lease: "1 hour",
        ..Ask::default()
    });
    session.fail_and_wait(&claims[1]);
    let wide = session.create("wide");
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    let before = inside::fingerprint(&mut session);
    drop(session);
    server.kill();
    server.start_again();
    let mut session = server.connect(PATTERN);
    assert_eq!(inside::fingerprint(&mut session), before);
    assert!(session.claim_all("after").is_empty(), "the pause is gone");
    session.query("SELECT tasker.resume_namespace('default')", &[]);
    let after = session.claim_soon(&Ask::by("after", 100), 4);
    assert!(
        after.iter().all(|claim| claim.step != claims[0].step),
        "a lease was lost"
    );
    assert_eq!(after.len(), 4);
    session.complete(&claims[0], &json!({}));
    for claim in &after {
        session.complete(claim, &json!({}));
    }
    inside::make_due(&mut session, task);
    session.work(|_| done());
    assert_eq!(session.task_states(&[task, wide]), ["complete: 2"]);
}
