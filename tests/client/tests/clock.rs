//! The machine's clock is set while the server runs: a second back, an hour back, a day forward and back again. libfaketime moves it
//! for the server alone, and leaves the clock that counts since the machine started as it is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tasker_client_tests::database::install;
use tasker_client_tests::server::{Server, program};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Session, Template, Uuid, json, patience, shapes};

/// A server whose clock can be set.
struct Machine {
    folder: PathBuf,
    server: Server,
}

fn libfaketime() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").expect("/usr/lib is a folder");
    places
        .filter_map(|place| Some(place.ok()?.path().join("faketime/libfaketime.so.1")))
        .find(|library| library.exists())
        .expect("libfaketime is there: scripts/deps test installs it")
}

/// Up to PostgreSQL 15 the postmaster forks background processes in a signal handler, most often inside of select(), and libfaketime
/// shows the true time from its own select() on: the process would see it forever. So select() is the kernel's.
const SELECT: &str = r"
#define _GNU_SOURCE
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>
int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *t) {
    struct timespec s = {t ? t->tv_sec : 0, t ? t->tv_usec * 1000 : 0};
    return syscall(SYS_pselect6, n, r, w, e, t ? &s : 0, 0);
}
";

fn compile(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("select.c"), folder.join("select.so"));
    std::fs::write(&source, SELECT).expect("ours");
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("cc runs");
    assert!(done.success());
    library
}

impl Machine {
    fn start(name: &str, settings: &[&str]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tasker-clock-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a new folder");
        let open = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        };
        open(&folder);
        write_offset(&folder, 0.0);
        let starter = folder.join("postgres");
        let text = format!(
            "#!/bin/sh\nLD_PRELOAD={}:{} FAKETIME_TIMESTAMP_FILE={} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 exec {} \"$@\"\n",
            compile(&folder).display(),
            libfaketime().display(),
            folder.join("offset").display(),
            program("postgres").display(),
        );
        std::fs::write(&starter, text).expect("ours");
        open(&starter);
        let server = Server::start_by(&starter, settings);
        Self { folder, server }
    }

    /// Sets the server's clock to this many seconds after the true time.
    fn set(&self, seconds: f64) {
        write_offset(&self.folder, seconds);
    }
}

fn write_offset(folder: &Path, seconds: f64) {
    let new = folder.join("new");
    std::fs::write(&new, format!("{seconds:+}\n")).expect("ours");
    std::fs::rename(new, folder.join("offset")).expect("ours");
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The jumps, by the offsets between which the clock goes.
const BACK: [(&str, f64, f64); 3] = [
    ("a second", 0.0, -1.0),
    ("an hour", -1.0, -3601.0),
    ("a day", 86_400.0, 0.0),
];

#[track_caller]
fn soon<T>(what: &str, seconds: u64, mut get: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(
            began.elapsed() < patience(seconds),
            "not within {seconds} s: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tasks_of(claims: &[tasker_client_tests::Claim]) -> Vec<Uuid> {
    claims.iter().map(|claim| claim.task).collect()
}

#[test]
fn sessions_hand_out_what_was_due_before_the_clock_was_set_back() {
    let machine = Machine::start("due", &[]);
    let mut creator = machine.server.connect("postgres");
    install(&mut creator);
    shapes::chain("single", 1).register(&mut creator);
    let mut worker = machine.server.connect("postgres");
    let ask = Ask::by("living", 10);
    for (what, before, after) in BACK {
        machine.set(before);
        creator.create("single");
        for claim in worker.claim(&ask) {
            worker.complete(&claim, &json!({}));
        }
        // Due now, one of them as a retry.
        let retried = creator.create("single");
        let claim = worker.claim_one("living");
        worker.fail(&claim);
        let released = creator.create("single");
        machine.set(after);
        let claims = soon("what was due is due", 10, || {
            Some(worker.claim(&ask)).filter(|claims| claims.len() == 2)
        });
        let mut tasks = tasks_of(&claims);
        tasks.sort();
        assert_eq!(tasks, [retried, released], "{what} back");
        for claim in &claims {
            worker.complete(claim, &json!({}));
        }
        // What is created after the jump, by a session that has not noticed it, and claimed by a new one.
        let new = creator.create("single");
        let mut stranger = machine.server.connect("postgres");
        let claims = stranger.claim_soon(&Ask::by("stranger", 10), 1);
        assert_eq!(tasks_of(&claims), [new], "{what} back");
        stranger.complete(&claims[0], &json!({}));
        assert!(worker.claim(&ask).is_empty());
    }
}

#[test]
fn sessions_hand_out_a_retry_that_was_due_before_the_clock_was_set_back() {
    let machine = Machine::start("retries", &[]);
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    shapes::chain("single", 1).register(&mut session);
    let fail = "SELECT tasker.fail_step($1, $2, 'it broke', retry_after => $3::text::interval)";
    for (what, before, after) in BACK {
        machine.set(before);
        let [due, waiting] = ["0.5 s", "4 s"].map(|pause| {
            session.create("single");
            let claim = session.claim_one("living");
            session.query(fail, &[&claim.step, &claim.number, &pause]);
            claim.task
        });
        let failed = Instant::now();
        std::thread::sleep(Duration::from_millis(700));
        machine.set(after);
        let mut claims = vec![];
        let first = soon("what was due is due", 2, || {
            claims = session.claim(&Ask::by("living", 10));
            (!claims.is_empty()).then(|| failed.elapsed())
        });
        assert_eq!(tasks_of(&claims), [due], "{what} back: {first:?}");
        session.complete(&claims[0], &json!({}));
        // One that was not due yet waits as long as it would have.
        let claim = soon("the other is due", 4, || {
            session.claim(&Ask::by("living", 10)).pop()
        });
        assert_eq!(claim.task, waiting, "{what} back");
        let waited = failed.elapsed();
        assert!(
            waited > Duration::from_millis(3_900),
            "{what} back: {waited:?}"
        );
        session.complete(&claim, &json!({}));
    }
}

#[test]
fn a_list_until_a_time_finds_what_was_requested_before_it_after_the_clock_was_set_back() {
    let machine = Machine::start("list", &[]);
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    shapes::chain("single", 1).register(&mut session);
    for (what, before, after) in BACK {
        machine.set(before);
        session.create("single");
        machine.set(after);
        let task = session.create("single");
        let found: Vec<Uuid> = session.all(
            "SELECT l.task_uuid FROM tasker.tasks t,
                 tasker.list_tasks(since => t.requested_at, until => t.requested_at + interval '1 millisecond') l
             WHERE t.task_uuid = $1",
            &[&task],
        );
        assert!(found.contains(&task), "{what} back");
    }
}

#[test]
fn a_lease_ends_no_later_than_its_length_after_the_clock_was_set_back() {
    let machine = Machine::start("lease", &[]);
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    shapes::chain("single", 1).register(&mut session);
    let mut other = machine.server.connect("postgres");
    for (what, before, after) in BACK {
        machine.set(before);
        assert!(other.claim(&Ask::by("other", 1)).is_empty());
        session.create("single");
        let ask = Ask {
            lease: "3 seconds",
            ..Ask::by("silent", 1)
        };
        let began = Instant::now();
        let claim = session.claim(&ask).pop().expect("it is ready");
        machine.set(after);
        let taken = soon("the lease ends", 3 + 5, || {
            other.claim(&Ask::by("other", 1)).pop()
        });
        assert_eq!(taken.task, claim.task);
        assert!(
            began.elapsed() > Duration::from_millis(2_900),
            "{what} back: the lease ended after {:?}",
            began.elapsed()
        );
        other.complete(&taken, &json!({}));
    }
}

#[test]
fn events_come_again_no_later_than_their_pause_after_the_clock_was_set_back() {
    let machine = Machine::start("events", &[]);
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    shapes::chain("single", 1).register(&mut session);
    session.execute("SELECT tasker.subscribe('audit', '{orders.*}', max_deliveries => 9), tasker.set_retention('default', completed => '1 day')");
    for (what, before, after) in BACK {
        machine.set(before);
        assert!(session.claim(&Ask::by("w", 1)).is_empty());
        session.execute("SELECT count(*) FROM tasker.publish_events('{orders.held,orders.failed}', '{\"{}\",\"{}\"}')");
        maintain(&mut session);
        let mut poll = || -> Vec<i64> {
            session.all(
                "SELECT event_id FROM tasker.poll_events('audit', 10, '2 seconds') ORDER BY 1",
                &[],
            )
        };
        let held = poll();
        assert_eq!(held.len(), 2, "{what}");
        session.query(
            "SELECT tasker.nack_events('audit', ARRAY[$1::bigint], '2 seconds')",
            &[&held[1]],
        );
        machine.set(after);
        session.claim(&Ask::by("w", 1));
        let walks = "SELECT count(*) FROM tasker_engine.retention r WHERE r.sweep_started_at > clock_timestamp() + interval '1 minute' AND r.swept_to IS NOT NULL";
        assert_eq!(session.count(walks, &[]), 0, "{what}: walks of the future");
        let mut again: Vec<i64> = vec![];
        soon("both come again", 2 + 5, || {
            again.extend(session.all::<i64>(
                "SELECT event_id FROM tasker.poll_events('audit', 10, '1 hour')",
                &[],
            ));
            (again.len() == 2).then_some(())
        });
        session.query("SELECT tasker.ack_events('audit', $1)", &[&again]);
    }
}

fn counts(session: &mut Session) -> (i64, i64) {
    let runs = session.one(
        "SELECT runs FROM tasker.schedules WHERE schedule_name = 'hourly'",
        &[],
    );
    let tasks = session.count(
        "SELECT count(*) FROM tasker.tasks WHERE initiator = 'schedule'",
        &[],
    );
    (runs, tasks)
}

fn maintain(session: &mut Session) {
    let errors: Vec<String> = session.all(
        "SELECT error FROM tasker.run_maintenance() WHERE error IS NOT NULL",
        &[],
    );
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn schedules_neither_repeat_nor_stop_when_the_clock_is_set() {
    let machine = Machine::start("schedules", &[]);
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    shapes::chain("single", 1).register(&mut session);
    session.query(
        "SELECT tasker.schedule_task('hourly', '0 * * * *', 'single', overlap => true)",
        &[],
    );
    maintain(&mut session);
    // Half a second after the next full hour.
    let to_the_hour: f64 = session.one(
        "SELECT extract(epoch FROM next_run_at - clock_timestamp())::float8 FROM tasker.schedules",
        &[],
    );
    machine.set(to_the_hour + 0.5);
    maintain(&mut session);
    assert_eq!(counts(&mut session), (1, 1));
    // The hour comes again.
    machine.set(to_the_hour - 2.0);
    maintain(&mut session);
    std::thread::sleep(Duration::from_secs(3));
    maintain(&mut session);
    assert_eq!(counts(&mut session), (1, 1));
    // A visit to the next day runs what has been missed once, and comes back.
    machine.set(to_the_hour + 86_400.0);
    maintain(&mut session);
    let (runs, tasks) = counts(&mut session);
    assert_eq!(runs, tasks);
    machine.set(to_the_hour + 5.0);
    maintain(&mut session);
    let wait: f64 = session.one(
        "SELECT extract(epoch FROM next_run_at - clock_timestamp())::float8 FROM tasker.schedules",
        &[],
    );
    assert!(wait <= 3600.0, "the next run is {wait} s ahead");
    // And the next hour runs.
    machine.set(to_the_hour + 3600.5);
    maintain(&mut session);
    assert_eq!(counts(&mut session), (runs + 1, tasks + 1));
}

#[test]
fn background_processes_go_on_when_the_clock_is_set() {
    let machine = Machine::start(
        "background",
        &[
            "shared_preload_libraries=tasker_ext",
            "max_worker_processes=16",
        ],
    );
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    session.execute(
        "CREATE FUNCTION public.quick(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$",
    );
    let template =
        Template::new("inside").step_with("only", &[], json!({"handler": "sql:public.quick"}));
    template.register(&mut session);
    shapes::chain("timed", 1).register(&mut session);
    session.query(
        "SELECT tasker.schedule_task('minutely', '* * * * *', 'timed', overlap => true)",
        &[],
    );
    let mut run = |what: &str| {
        let task = session.create("inside");
        soon(what, 30, || {
            (session.task_state(task) == "complete").then_some(())
        });
    };
    run("a task before the clock is set");
    for offset in [-1.0, -3601.0, 82_800.0, 0.0] {
        machine.set(offset);
        run(&format!("a task with the clock at {offset}"));
    }
    let mut session = machine.server.connect("postgres");
    soon("the schedule is back", 30, || {
        session
            .one::<bool>(
                "SELECT next_run_at <= clock_timestamp() + interval '1 minute' FROM tasker.schedules",
                &[],
            )
            .then_some(())
    });
    let repeated = session.count(
        "SELECT count(*) FROM (SELECT FROM tasker.tasks WHERE initiator = 'schedule' GROUP BY correlation_id HAVING count(*) > 1) r",
        &[],
    );
    assert_eq!(repeated, 0);
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.background_workers WHERE kind = 'coordinator'",
            &[]
        ),
        1
    );
}

#[test]
fn background_processes_run_a_retry_that_was_due_before_the_clock_was_set_back() {
    let machine = Machine::start(
        "retried",
        &[
            "shared_preload_libraries=tasker_ext",
            "max_worker_processes=16",
        ],
    );
    let mut session = machine.server.connect("postgres");
    install(&mut session);
    session.execute(
        "CREATE FUNCTION public.second_time(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS
         $$ BEGIN IF step->>'attempt' = '1' THEN RAISE EXCEPTION 'not yet'; END IF; RETURN '{}'; END $$",
    );
    Template::new("twice")
        .step_with(
            "only",
            &[],
            json!({"handler": "sql:public.second_time", "retry": {"backoff": "linear", "backoff_base_ms": 1500, "jitter": 0}}),
        )
        .register(&mut session);
    for (what, before, after) in BACK {
        machine.set(before);
        let task = session.create("twice");
        let step = session.step(task, "only");
        soon("it fails once", 30, || {
            (session.step_state(task, "only") == "error").then_some(())
        });
        // Nothing is handed out while it comes due.
        session.query("SELECT tasker.pause_namespace('default')", &[]);
        let due = "SELECT next_retry_at <= clock_timestamp() FROM tasker.failed_steps WHERE step_uuid = $1";
        soon("it is due", 10, || {
            session.one::<bool>(due, &[&step]).then_some(())
        });
        assert_eq!(session.step_state(task, "only"), "error", "{what} back");
        machine.set(after);
        session.query("SELECT tasker.resume_namespace('default')", &[]);
        soon(&format!("it runs again, {what} back"), 10, || {
            (session.task_state(task) == "complete").then_some(())
        });
    }
}
