//! The means of these tests, tested: each must be able to fail, and nothing of them may stay behind.

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tasker_client_tests::race::race;
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, inside, json, patience, shapes};

#[test]
fn the_fingerprint_sees_every_change_and_nothing_else() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("two", 2).register(&mut session);
    let mut seen = vec![inside::fingerprint(&mut session)];
    assert_eq!(inside::fingerprint(&mut session), seen[0]);
    let task = session.create("two");
    seen.push(inside::fingerprint(&mut session));
    let claim = session.claim_one("worker");
    seen.push(inside::fingerprint(&mut session));
    session.query("SELECT * FROM tasker.heartbeat('worker')", &[]);
    seen.push(inside::fingerprint(&mut session));
    session.complete(&claim, &json!({}));
    seen.push(inside::fingerprint(&mut session));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    seen.push(inside::fingerprint(&mut session));
    session.query("SELECT tasker.pause_namespace('default')", &[]);
    seen.push(inside::fingerprint(&mut session));
    let distinct: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());
    session.claim(&Ask::default());
    session.query(
        "SELECT * FROM tasker.get_task_execution_context($1)",
        &[&task],
    );
    assert_eq!(inside::fingerprint(&mut session), seen[6]);
}

#[test]
fn a_deadlock_is_seen_by_its_victim_and_counted() {
    let database = Database::new();
    let (mut left, mut right) = (database.connect(), database.connect());
    left.execute("BEGIN; SELECT pg_advisory_xact_lock(1)");
    right.execute("BEGIN; SELECT pg_advisory_xact_lock(2)");
    let codes = std::thread::scope(|scope| {
        let other = scope.spawn(|| right.attempt_rows("SELECT pg_advisory_xact_lock(1)"));
        let mine = left.attempt_rows("SELECT pg_advisory_xact_lock(2)");
        left.execute("ROLLBACK");
        [mine, other.join().expect("no panic")]
    });
    assert_eq!(
        codes
            .iter()
            .filter(|result| result
                .as_ref()
                .is_err_and(|failure| failure.code == "40P01"))
            .count(),
        1
    );
    let mut session = database.connect();
    let deadline = Instant::now() + patience(5);
    drop((left, right));
    while session.count(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
        &[],
    ) != 1
    {
        assert!(Instant::now() < deadline, "the deadlock is not counted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_race_with_a_failing_side_fails_and_does_not_hang() {
    let fails = |left_at: usize, right_at: usize, prepare_at: usize| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            race(
                10,
                |round| {
                    assert_ne!(round, prepare_at);
                    round
                },
                |round| assert_ne!(*round, left_at),
                |round| assert_ne!(*round, right_at),
            )
            .met()
            .len()
        }));
        result.is_err()
    };
    assert!(fails(3, 99, 99));
    assert!(fails(99, 9, 99));
    assert!(fails(99, 99, 0));
    assert!(fails(5, 5, 99));
}

/// No test: the process that the test below kills.
#[test]
#[ignore = "run by a_server_goes_with_its_process in a process of its own"]
fn child_with_a_server() {
    if std::env::var_os("TASKER_TEST_CHILD").is_some() {
        let server = Server::start(&[]);
        println!("\nfolder {}", server.folder().display());
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn a_server_goes_with_its_process_even_when_that_is_killed() {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "child_with_a_server", "--nocapture"])
        .env("TASKER_TEST_CHILD", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test again");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let folder = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("folder ").map(str::to_owned));
    let folder = folder.expect("the child tells its folder");
    assert!(Path::new(&folder).join("data/postmaster.pid").exists());
    child.kill().expect("SIGKILL");
    child.wait().expect("gone");
    let deadline = Instant::now() + patience(20);
    while Path::new(&folder).exists() {
        assert!(Instant::now() < deadline, "{folder} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}
