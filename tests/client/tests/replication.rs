//! The page docs/replication.md as it stands: its statements are run here.

use std::collections::{BTreeMap, HashSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tasker_client_tests::race::together;
use tasker_client_tests::server::{self, Server, root};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Session, Uuid, Value, database, inside, json, patience, scaled, shapes,
};

const WORKERS: usize = 4;

/// The statement of the page behind this word.
fn documented(word: &str) -> String {
    let page =
        std::fs::read_to_string(root().join("docs/replication.md")).expect("the page is there");
    let begin = format!("```sql {word}\n");
    let (_, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no statement {word} in the page"));
    rest.split_once("```")
        .expect("it ends")
        .0
        .replace("DATABASE shop", &format!("DATABASE {}", database::PATTERN))
}

/// Runs statements in psql, where \gexec works; returns the rows.
fn psql(server: &Server, sql: &str) -> String {
    let output = server::psql(server.folder(), database::PATTERN)
        .args(["--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            std::io::Write::write_all(child.stdin.as_mut().expect("it is piped"), sql.as_bytes())?;
            child.wait_with_output()
        })
        .unwrap_or_else(|error| panic!("psql: {error}"));
    // A session that has ended by itself cannot be terminated any more.
    let complaints: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| !line.ends_with("is not a PostgreSQL server process"))
        .map(str::to_owned)
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}\nin: {sql}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(300);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn connect(server: &Server) -> Session {
    server.connect(database::PATTERN)
}

/// A session of the role that works on both servers.
fn connect_worker(server: &Server) -> Session {
    Session::open(server.config(database::PATTERN, "shop"))
}

/// The role of the workers; its oid is another on each server.
fn make_worker_role(server: &Server, others: usize) {
    let mut session = connect(server);
    for number in 0..others {
        session.execute(&format!("CREATE ROLE other_{number}"));
    }
    session.execute("CREATE ROLE shop LOGIN; GRANT tasker_worker, tasker_reader TO shop");
}

/// What a subscriber needs before it subscribes.
fn prepare_subscriber(server: &Server) {
    server.connect("postgres").execute(&format!(
        "CREATE DATABASE {} TEMPLATE template0",
        database::PATTERN
    ));
    connect(server).execute("CREATE EXTENSION tasker_ext");
    make_worker_role(server, 5);
    connect(server).execute(&documented("log_key"));
}

fn subscribe(subscriber: &Server, publisher: &Server) {
    let from = publisher.folder().display();
    connect(subscriber).execute(&format!(
        "CREATE SUBSCRIPTION tasker_facts CONNECTION 'host={from} port=5432 user=postgres dbname={}' PUBLICATION tasker_facts",
        database::PATTERN
    ));
}

fn wait_for_copy(subscriber: &Server) {
    let mut session = connect(subscriber);
    wait_until("the copy is complete", || {
        session.one(&documented("synchronized"), &[])
    });
}

/// Waits until all that has been written has arrived.
fn wait_for_rest(publisher: &Server) {
    let end = psql(publisher, &documented("written"));
    let received = documented("received").replace("0/0", &end);
    wait_until("the subscriber has everything", || {
        psql(publisher, &received) == "t"
    });
}

/// Every published table with the number of its rows and a hash of them, in no order; without the oids of roles.
fn facts(session: &mut Session, tables: &[String]) -> Vec<String> {
    tables
        .iter()
        .map(|table| {
            let sum: String = session.one(
                &format!(
                    "SELECT count(*) || ' ' || coalesce(sum(hashtextextended((to_jsonb(t) - ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = '{table}'::regclass AND a.atttypid = 'oid'::regtype))::text, 0)), 0) FROM {table} t"
                ),
                &[],
            );
            format!("{table} {sum}")
        })
        .collect()
}

/// Where each sequence stands, of those that have been used.
fn sequences(session: &mut Session) -> BTreeMap<String, i64> {
    let rows = session.query(
        "SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences
         WHERE schemaname IN ('tasker', 'tasker_engine') AND last_value IS NOT NULL",
        &[],
    );
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// As for a lost publisher: behind every row that is there, and in steps of their own.
fn set_sequences_from_rows(subscriber: &Server, wanted: &BTreeMap<String, i64>) {
    psql(subscriber, &documented("sequences_from_rows"));
    let mut session = connect(subscriber);
    let here = sequences(&mut session);
    for (name, value) in wanted {
        assert!(
            here.get(name).is_some_and(|here| here > value),
            "{name}: {here:?}"
        );
    }
    assert_eq!(
        session.count("SELECT count(*) FROM pg_sequences WHERE (last_value - start_value) % increment_by <> 0", &[]),
        0
    );
}

/// What one worker was given, and what it has not reported.
#[derive(Default)]
struct Worked {
    given: Vec<(Uuid, i32)>,
    held: Vec<Claim>,
}

/// A worker until it is told to stop, or while anything is left to do; now and then a step fails.
fn work(
    session: &mut Session,
    worker: &str,
    mut held: Vec<Claim>,
    go_on: impl Fn(&mut Session) -> bool,
) -> Worked {
    let mut worked = Worked::default();
    let ask = Ask {
        worker,
        namespaces: vec!["default", "paused"],
        most: 5,
        lease: "1 hour",
        ..Ask::default()
    };
    let deadline = Instant::now() + patience(600);
    while go_on(session) {
        assert!(Instant::now() < deadline, "the work does not end");
        let reports: Vec<Value> = held
            .iter()
            .map(|claim| match fastrand::u8(..100) {
                0..5 if claim.attempt == 1 => claim.failed(true),
                _ => claim.done(json!({"by": worker, "name": claim.name})),
            })
            .collect();
        let (refused, claims) = session.report_and_claim(&ask, &reports);
        assert!(refused.is_empty(), "refused: {refused:?}");
        worked
            .given
            .extend(claims.iter().map(|claim| (claim.step, claim.number)));
        held = claims;
        std::thread::sleep(Duration::from_millis(if held.is_empty() { 10 } else { 2 }));
    }
    worked.held = held;
    worked
}

fn worker(number: usize) -> String {
    format!("worker-{number}")
}

/// Templates, and tasks in every condition that the queue knows.
fn prepare(session: &mut Session) {
    for template in [
        shapes::small_diamond(),
        shapes::parallel_merge(),
        shapes::chain("chain", 3),
    ] {
        template.register(session);
    }
    shapes::chain("quiet", 2)
        .with("namespace_name", json!("paused"))
        .register(session);
    session.query("SELECT tasker.pause_namespace('paused')", &[]);
    for _ in 0..3 {
        session.query(
            "SELECT tasker.create_task('quiet', namespace => 'paused')",
            &[],
        );
    }
    let held = session.create("chain");
    session.query("SELECT tasker.transition_task($1, 'error')", &[&held]);
    let cancelled = session.create("chain");
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    session.query("SELECT tasker.publish_event('orders.x')", &[]);
    session.query(
        "SELECT tasker.schedule_task('nightly', '0 3 * * *', 'chain')",
        &[],
    );
}

/// What is in the queue at the switch, however fast the workers were: a retry and a task that are not due yet, and ready steps.
fn prepare_switch(session: &mut Session) {
    session.create_many("chain", 10);
    let claim = session.claim_soon(&Ask::by("early", 1), 1).remove(0);
    session.query(
        "SELECT tasker.fail_step($1, $2, 'later', retry_after => '10 seconds')",
        &[&claim.step, &claim.number],
    );
    session.query(
        "SELECT tasker.create_task('chain', run_at => now() + interval '10 seconds')",
        &[],
    );
}

/// The first worker has a step in its hands at the switch.
fn hold_a_step(publisher: &Server, worked: &mut Worked) {
    let worker = worker(0);
    let ask = Ask {
        lease: "1 hour",
        ..Ask::by(&worker, 1)
    };
    let claim = connect_worker(publisher).claim_soon(&ask, 1).remove(0);
    worked.given.push((claim.step, claim.number));
    worked.held.push(claim);
}

/// How long a commit on one side takes to be seen on the other, in milliseconds, sorted.
fn lags(publisher: &Server, subscriber: &Server, probes: usize) -> Vec<f64> {
    let (mut here, mut there) = (connect(publisher), connect(subscriber));
    let mut lags: Vec<f64> = (0..probes)
        .map(|_| {
            let task = here.create("chain");
            let begin = Instant::now();
            wait_until("a task has arrived", || {
                there.count(
                    "SELECT count(*) FROM tasker.tasks WHERE task_uuid = $1",
                    &[&task],
                ) == 1
            });
            begin.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    lags.sort_by(f64::total_cmp);
    lags
}

/// Creates tasks and works on them while the subscriber copies and follows; the lags, and what each worker did.
fn copied_under_load(
    publisher: &Server,
    subscriber: &Server,
    session: &mut Session,
) -> (Vec<f64>, Vec<Worked>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let creator = scope.spawn(|| {
            let mut session = connect(publisher);
            // No more than the workers can do: the rest is done after the switch.
            let waiting = "SELECT count(*) FROM tasker_engine.queue_entries";
            while !stop.load(Ordering::Relaxed) {
                if session.count(waiting, &[]) > 500 {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                for template in ["small_diamond", "parallel_merge", "chain"] {
                    session.create_many(template, 5);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let workers = scope.spawn(|| {
            together(WORKERS, |number| {
                let mut session = connect_worker(publisher);
                work(&mut session, &worker(number), vec![], |_| {
                    !stop.load(Ordering::Relaxed)
                })
            })
        });
        std::thread::sleep(Duration::from_secs(1));
        subscribe(subscriber, publisher);
        wait_for_copy(subscriber);
        let lags = lags(publisher, subscriber, scaled(25, 500));
        let complete = "SELECT count(*) FROM tasker.tasks WHERE state = 'complete'";
        wait_until("more than 500 tasks are complete", || {
            session.count(complete, &[]) >= 550
        });
        let purged = session.count(
            "SELECT tasks FROM tasker.purge_tasks('0 seconds', 500)",
            &[],
        );
        assert_eq!(purged, 500);
        stop.store(true, Ordering::Relaxed);
        creator.join().expect("tasks were created");
        (lags, workers.join().expect("the workers worked"))
    })
}

#[test]
fn a_subscriber_under_load_has_the_facts_and_goes_on_where_the_publisher_stopped() {
    let publisher = Server::start(&["wal_level=logical"]);
    database::prepare(&publisher);
    make_worker_role(&publisher, 0);
    let mut session = connect(&publisher);
    prepare(&mut session);
    psql(&publisher, &documented("publication"));
    let tables: Vec<String> = session.all(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_publication_tables WHERE pubname = 'tasker_facts' ORDER BY 1",
        &[],
    );

    let subscriber = Server::start(&[]);
    prepare_subscriber(&subscriber);

    let (lags, mut before) = copied_under_load(&publisher, &subscriber, &mut session);
    let steps: i64 = before.iter().map(|worked| worked.given.len() as i64).sum();
    eprintln!(
        "lag under load, {steps} steps claimed: median {:.0} ms, 95 % {:.0} ms, longest {:.0} ms",
        lags[lags.len() / 2],
        lags[lags.len() * 95 / 100],
        lags[lags.len() - 1]
    );

    // The switch. Some steps are in the hands of workers, and some retries wait.
    prepare_switch(&mut session);
    hold_a_step(&publisher, &mut before[0]);
    psql(&publisher, &documented("fence"));
    wait_for_rest(&publisher);
    let mut session = connect(&publisher);
    session
        .fails("SELECT tasker.create_task('chain')", &[])
        .is("25006");
    let mut there = connect(&subscriber);
    assert_eq!(facts(&mut session, &tables), facts(&mut there, &tables));
    let wanted = sequences(&mut session);
    set_sequences_from_rows(&subscriber, &wanted);
    psql(&subscriber, &psql(&publisher, &documented("sequences")));
    let here = sequences(&mut there);
    assert!(
        wanted.iter().all(|(name, value)| here[name] == *value),
        "{here:?}"
    );
    there.execute("DROP SUBSCRIPTION tasker_facts");
    there.execute(&documented("log_key_away"));

    // The queue: what the publisher has there, the subscriber gets.
    let waiting = inside::queue(&mut session);
    assert!(waiting.len() > 5, "{waiting:?}");
    let claims = there.claim(&Ask::by("eager", 10));
    assert!(claims.is_empty(), "work before it was resumed");
    there
        .fails("SELECT tasker.create_task('chain')", &[])
        .is("55000")
        .says(&["resume_after_restore"]);
    let found = there.query("SELECT * FROM tasker.repair_integrity()", &[]);
    assert_eq!(found.len(), waiting.len());
    let repaired: Vec<i64> = there.all(&documented("resume").replace('*', "found"), &[]);
    assert_eq!(repaired, [waiting.len() as i64]);
    assert_eq!(inside::queue(&mut there), waiting);
    assert_eq!(there.query(&documented("resume"), &[]).len(), 0);

    // The work goes on, under the claims that are open.
    let done: HashSet<Uuid> = there
        .all(
            "SELECT step_uuid FROM tasker.workflow_steps WHERE state = 'complete'",
            &[],
        )
        .into_iter()
        .collect();
    there.query("SELECT tasker.resume_namespace('paused')", &[]);
    let held: Uuid = there.one(
        "SELECT task_uuid FROM tasker.tasks WHERE state = 'error'",
        &[],
    );
    there.query("SELECT tasker.retry_task($1)", &[&held]);
    let open = "SELECT count(*) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')";
    let after = together(WORKERS, |number| {
        let mut session = connect_worker(&subscriber);
        let ask = before[number].held.clone();
        work(&mut session, &worker(number), ask, |session| {
            session.count(open, &[]) > 0
        })
    });
    quiet(&mut there, &before, &after, &done);
}

/// Nothing was run twice, and nothing is left.
fn quiet(session: &mut Session, before: &[Worked], after: &[Worked], done: &HashSet<Uuid>) {
    let states: Vec<String> =
        session.all("SELECT DISTINCT state FROM tasker.tasks ORDER BY 1", &[]);
    assert_eq!(states, ["complete"]);
    let again: Vec<&(Uuid, i32)> = after
        .iter()
        .flat_map(|worked| &worked.given)
        .filter(|(step, _)| done.contains(step))
        .collect();
    assert!(again.is_empty(), "run again after their reports: {again:?}");
    let given: Vec<&(Uuid, i32)> = before
        .iter()
        .chain(after)
        .flat_map(|worked| &worked.given)
        .collect();
    let distinct: HashSet<&(Uuid, i32)> = given.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        given.len(),
        "a claim number was given out twice"
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM (SELECT FROM tasker.workflow_step_transitions WHERE to_state = 'complete'
             GROUP BY step_uuid HAVING count(*) > 1) twice",
            &[],
        ),
        0,
        "a step was completed twice"
    );
    assert_eq!(
        inside::repeated_ids(session),
        0,
        "an id of the log was given out twice"
    );
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.repair_integrity()", &[]),
        0
    );
}
