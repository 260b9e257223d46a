//! check_integrity and repair_integrity: each kind of disagreement, made past the engine, is found in the right words, repaired, and
//! gone, and the work goes on.

use std::time::{Duration, Instant};

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Database, Session, Uuid, inside, json, patience, shapes};

/// What check_integrity says of a task: problem and step, sorted.
#[track_caller]
fn found(session: &mut Session, query: &str) -> Vec<String> {
    let mut found: Vec<String> = session.all(
        &format!(
            "SELECT concat_ws(' ', f.problem, w.name) FROM {query} f LEFT JOIN tasker.workflow_steps w USING (step_uuid)"
        ),
        &[],
    );
    found.sort_unstable();
    found
}

const CHECK: &str = "tasker.check_integrity()";
const DRY: &str = "tasker.repair_integrity()";
const REPAIR: &str = "tasker.repair_integrity(dry_run => false)";

/// A task, what is done to its rows, and what is found.
struct Case {
    prepare: fn(&mut Session) -> Uuid,
    spoil: &'static str,
    expected: &'static [&'static str],
    /// The state in which the task is once nothing is left to do.
    ends: &'static str,
}

fn new(session: &mut Session) -> Uuid {
    session.create("small_diamond")
}

fn half(session: &mut Session) -> Uuid {
    let task = new(session);
    session.work_through("start");
    task
}

/// Both branches are claimed.
fn running(session: &mut Session) -> Uuid {
    let task = half(session);
    assert_eq!(session.claim_all("holds").len(), 2);
    task
}

fn complete(session: &mut Session) -> Uuid {
    let task = new(session);
    session.work(|_| tasker_client_tests::worker::done());
    task
}

fn failed(session: &mut Session) -> Uuid {
    let task = new(session);
    let claim = session.claim_one("fails");
    session.fail_for_good(&claim);
    task
}

/// One branch is cancelled, so the task cannot complete.
fn without_branch(session: &mut Session) -> Uuid {
    let task = half(session);
    let branch = session.step(task, "b");
    session.query("SELECT tasker.cancel_step($1)", &[&branch]);
    task
}

fn in_error(session: &mut Session) -> Uuid {
    let task = half(session);
    session.query("SELECT tasker.transition_task($1, 'error')", &[&task]);
    task
}

fn resolved(session: &mut Session) -> Uuid {
    let task = in_error(session);
    session.query("SELECT tasker.resolve_task_manually($1)", &[&task]);
    task
}

fn cancelled(session: &mut Session) -> Uuid {
    let task = half(session);
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    task
}

/// Lets the engine run what is there, also what another worker held, until the task is in this state. An entry that is older than
/// what a session has taken last is found by its next walk from the beginning.
fn go_on(session: &mut Session, task: Uuid, ends: &str) {
    session.query("SELECT tasker.release_steps('holds')", &[]);
    let until = Instant::now() + patience(5);
    loop {
        session.work(|_| tasker_client_tests::worker::done());
        if session.task_state(task) == ends || Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn try_case(session: &mut Session, case: &Case) {
    let task = (case.prepare)(session);
    assert_eq!(found(session, CHECK), [""; 0], "before: {}", case.spoil);
    inside::spoil(session, task, case.spoil);
    assert_eq!(found(session, CHECK), case.expected, "{}", case.spoil);
    let before = inside::fingerprint(session);
    assert_eq!(found(session, DRY), case.expected, "{}", case.spoil);
    assert_eq!(
        inside::fingerprint(session),
        before,
        "a dry run changes nothing"
    );
    assert_eq!(found(session, REPAIR), case.expected, "{}", case.spoil);
    assert_eq!(found(session, CHECK), [""; 0], "after: {}", case.spoil);
    go_on(session, task, case.ends);
    assert_eq!(session.task_state(task), case.ends, "{}", case.spoil);
    assert_eq!(found(session, CHECK), [""; 0], "at the end: {}", case.spoil);
}

#[track_caller]
fn try_all(cases: &[Case]) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    for case in cases {
        try_case(&mut session, case);
    }
}

const fn case(
    prepare: fn(&mut Session) -> Uuid,
    spoil: &'static str,
    expected: &'static [&'static str],
    ends: &'static str,
) -> Case {
    Case {
        prepare,
        spoil,
        expected,
        ends,
    }
}

#[test]
fn entries_that_are_missing_double_wrong_early_or_without_a_step_are_found_and_repaired() {
    try_all(&[
        case(new, "DELETE FROM queue_entries WHERE task_uuid = $1", &["missing_queue_entry start"], "complete"),
        case(half, "DELETE FROM queue_entries WHERE task_uuid = $1 AND step_no = 2", &["missing_queue_entry b"], "complete"),
        case(half, "INSERT INTO queue_entries SELECT * FROM queue_entries WHERE task_uuid = $1 AND step_no = 2", &["double_queue_entry b"], "complete"),
        // A step that was released at once agrees with an entry of any time.
        case(
            half,
            "INSERT INTO queue_entries SELECT available_at - '1 hour'::interval, task_uuid, queue_id, priority, step_no, handler_key
             FROM queue_entries WHERE task_uuid = $1 AND step_no = 2",
            &["double_queue_entry b"],
            "complete",
        ),
        case(new, "UPDATE queue_entries SET handler_key = 1 WHERE task_uuid = $1", &["missing_queue_entry start", "wrong_queue_entry start"], "complete"),
        case(new, "UPDATE queue_entries SET queue_id = queue_id + 1000 WHERE task_uuid = $1", &["missing_queue_entry start", "wrong_queue_entry start"], "complete"),
        case(new, "UPDATE queue_entries SET priority = 5 WHERE task_uuid = $1", &["missing_queue_entry start", "wrong_queue_entry start"], "complete"),
        case(
            new,
            "INSERT INTO queue_entries SELECT available_at, task_uuid, queue_id, priority, 4, NULL FROM queue_entries WHERE task_uuid = $1",
            &["early_queue_entry end"],
            "complete",
        ),
        case(
            new,
            "INSERT INTO queue_entries SELECT available_at, task_uuid, queue_id, priority, 5, NULL FROM queue_entries WHERE task_uuid = $1",
            &["orphaned_queue_entry"],
            "complete",
        ),
        case(
            new,
            "INSERT INTO queue_entries SELECT available_at, gen_random_uuid(), queue_id, priority, 1, NULL FROM queue_entries WHERE task_uuid = $1",
            &["orphaned_queue_entry"],
            "complete",
        ),
    ]);
}

#[test]
fn a_claim_drops_an_entry_whose_step_is_gone_and_hands_out_the_next() {
    for direct in ["on", "off"] {
        let database = Database::new();
        let mut session = database.connect();
        session.execute(&format!("SET tasker.direct_table_access = {direct}"));
        shapes::small_diamond().register(&mut session);
        let lost = new(&mut session);
        let next = new(&mut session);
        inside::spoil(
            &mut session,
            lost,
            "DELETE FROM steps WHERE task_uuid = $1 AND step_no = 1",
        );
        let orphaned = |session: &mut Session| {
            let problems = found(session, CHECK);
            let entries = problems
                .iter()
                .filter(|problem| problem.starts_with("orphaned_queue_entry"));
            entries.count()
        };
        assert_eq!(orphaned(&mut session), 1, "{direct}");
        let claims = session.claim(&Ask::by("w", 1));
        let tasks: Vec<Uuid> = claims.iter().map(|claim| claim.task).collect();
        assert_eq!(tasks, [next], "{direct}");
        assert_eq!(orphaned(&mut session), 0, "{direct}");
    }
}

#[test]
fn steps_in_progress_that_no_claim_holds_run_again() {
    try_all(&[
        case(
            running,
            "DELETE FROM claims WHERE $1 = ANY (task_uuids)",
            &["step_without_claim b", "step_without_claim c"],
            "complete",
        ),
        case(
            running,
            "UPDATE steps SET claim_id = NULL WHERE task_uuid = $1 AND step_no = 2",
            &["step_without_claim b"],
            "complete",
        ),
        case(
            running,
            "UPDATE claims SET step_nos = '{3,3}' WHERE $1 = ANY (task_uuids)",
            &["step_without_claim b"],
            "complete",
        ),
        case(
            |session| {
                let task = running(session);
                session.query("SELECT tasker.transition_task($1, 'error')", &[&task]);
                task
            },
            "DELETE FROM claims WHERE $1 = ANY (task_uuids)",
            &["step_without_claim b", "step_without_claim c"],
            "error",
        ),
    ]);
}

#[test]
fn a_claim_that_counts_too_few_steps_is_counted_again() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    try_case(
        &mut session,
        &case(
            running,
            "UPDATE claims SET remaining = 1 WHERE $1 = ANY (task_uuids)",
            &["wrong_claim b"],
            "complete",
        ),
    );
    // One that counts too many is normal, and ends with its lease.
    let task = running(&mut session);
    inside::spoil(
        &mut session,
        task,
        "UPDATE claims SET remaining = 3 WHERE $1 = ANY (task_uuids)",
    );
    assert_eq!(found(&mut session, CHECK), [""; 0]);
}

#[test]
fn what_is_held_or_not_against_the_state_of_its_task_is_found_and_repaired() {
    try_all(&[
        case(
            new,
            "UPDATE steps SET available_at = 'infinity' WHERE task_uuid = $1 AND step_no = 1",
            &["held_step start"],
            "complete",
        ),
        case(
            running,
            "UPDATE steps SET available_at = 'infinity' WHERE task_uuid = $1 AND step_no = 2",
            &["held_step b"],
            "complete",
        ),
        case(
            in_error,
            "UPDATE steps SET available_at = NULL WHERE task_uuid = $1 AND step_no = 2",
            &["unheld_step b"],
            "error",
        ),
        case(
            resolved,
            "UPDATE steps SET available_at = NULL WHERE task_uuid = $1 AND step_no = 3",
            &["unheld_step c"],
            "resolved_manually",
        ),
    ]);
}

#[test]
fn counters_and_marks_are_computed_from_the_states() {
    try_all(&[
        case(
            new,
            "UPDATE steps SET open_parents = 7 WHERE task_uuid = $1 AND step_no = 4",
            &["wrong_open_parents end"],
            "complete",
        ),
        case(
            half,
            "UPDATE steps SET open_parents = 0 WHERE task_uuid = $1 AND step_no = 4",
            &["wrong_open_parents end"],
            "complete",
        ),
        case(
            new,
            "UPDATE steps SET unreachable = true WHERE task_uuid = $1 AND step_no = 4",
            &["wrong_unreachable end"],
            "complete",
        ),
        case(
            new,
            "UPDATE steps SET unreachable = true WHERE task_uuid = $1 AND step_no = 1",
            &["early_queue_entry start", "wrong_unreachable start"],
            "complete",
        ),
        case(
            without_branch,
            "UPDATE steps SET unreachable = false WHERE task_uuid = $1 AND step_no = 4",
            &["wrong_unreachable end"],
            "error",
        ),
        case(
            without_branch,
            "UPDATE tasks SET watched = false WHERE task_uuid = $1",
            &["not_watched"],
            "error",
        ),
        case(
            without_branch,
            "UPDATE steps SET watched = false WHERE task_uuid = $1 AND step_no = 3",
            &["not_watched c"],
            "error",
        ),
        case(
            half,
            "UPDATE tasks SET open_leaves = 5 WHERE task_uuid = $1",
            &["wrong_open_leaves"],
            "complete",
        ),
        case(
            new,
            "UPDATE tasks SET open_leaves = 0 WHERE task_uuid = $1",
            &["wrong_open_leaves"],
            "complete",
        ),
    ]);
}

#[test]
fn a_task_in_another_state_than_its_steps_say_goes_on_or_ends() {
    try_all(&[
        case(
            complete,
            "UPDATE tasks SET state = 'i', completed_at = NULL WHERE task_uuid = $1",
            &["task_not_ended", "wrong_log"],
            "complete",
        ),
        case(
            failed,
            "UPDATE tasks SET state = 'i' WHERE task_uuid = $1",
            &["task_not_ended", "wrong_log", "wrong_rare_state"],
            "error",
        ),
        case(
            half,
            "UPDATE tasks SET state = 'c' WHERE task_uuid = $1",
            &["task_ended_early", "wrong_log"],
            "complete",
        ),
        case(
            half,
            "WITH t AS (UPDATE tasks SET state = 'c' WHERE task_uuid = $1 RETURNING task_uuid)
             DELETE FROM queue_entries r USING t WHERE r.task_uuid = t.task_uuid",
            &[
                "missing_queue_entry b",
                "missing_queue_entry c",
                "task_ended_early",
                "wrong_log",
            ],
            "complete",
        ),
        case(
            cancelled,
            "DELETE FROM rare_tasks WHERE task_uuid = $1",
            &["wrong_rare_state"],
            "cancelled",
        ),
        case(
            failed,
            "UPDATE rare_tasks SET state = 'x' WHERE task_uuid = $1",
            &["wrong_rare_state"],
            "error",
        ),
        case(
            half,
            "INSERT INTO rare_tasks SELECT task_uuid, clock_timestamp(), named_task_id, NULL, 'e', NULL FROM tasks WHERE task_uuid = $1",
            &["wrong_rare_state"],
            "complete",
        ),
    ]);
}

#[test]
fn a_log_that_does_not_lead_to_the_state_of_the_row_gets_a_row_that_does() {
    try_all(&[
        case(half, "DELETE FROM transitions WHERE task_uuid = $1 AND step_no = 1", &["wrong_log start"], "complete"),
        case(complete, "DELETE FROM transitions WHERE task_uuid = $1 AND step_no = 0 AND to_state = 'c'", &["wrong_log"], "complete"),
        case(new, "DELETE FROM transitions WHERE task_uuid = $1", &["wrong_log"], "complete"),
        case(
            half,
            "INSERT INTO transitions (task_uuid, created_at, step_no, attempt, from_state, to_state)
             VALUES ($1, clock_timestamp(), 2, 0, 'p', 'i')",
            &["wrong_log b"],
            "complete",
        ),
    ]);
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    let task = half(&mut session);
    inside::spoil(
        &mut session,
        task,
        "DELETE FROM transitions WHERE task_uuid = $1 AND step_no = 1 AND to_state = 'c'",
    );
    session.query(&format!("SELECT * FROM {REPAIR}"), &[]);
    let start = session.step(task, "start");
    let logged: Vec<String> = session.all(
        "SELECT concat_ws(' ', from_state, to_state, metadata ->> 'reason') FROM tasker.workflow_step_transitions WHERE step_uuid = $1 ORDER BY id DESC LIMIT 1",
        &[&start],
    );
    assert_eq!(
        logged,
        ["pending complete repair_integrity: the log did not lead to the state of the row"]
    );
}

#[test]
fn what_only_a_backup_has_is_named_and_left() {
    for (spoil, expected, left) in [
        (
            "DELETE FROM steps WHERE task_uuid = $1 AND step_no = 1",
            &["orphaned_queue_entry 1", "wrong_steps"][..],
            &["wrong_steps"][..],
        ),
        (
            "UPDATE steps SET state = '?' WHERE task_uuid = $1 AND step_no = 3",
            &["unknown_state 3"],
            &["unknown_state 3"],
        ),
        (
            "DELETE FROM tasks WHERE task_uuid = $1",
            &[
                "log_without_task",
                "orphaned_queue_entry 1",
                "steps_without_task",
            ],
            &["log_without_task", "steps_without_task"],
        ),
    ] {
        let database = Database::new();
        let mut session = database.connect();
        shapes::small_diamond().register(&mut session);
        let task = new(&mut session);
        inside::spoil(&mut session, task, spoil);
        let name = |session: &mut Session, query: &str| {
            let mut all: Vec<String> = session.all(
                &format!(
                    "SELECT concat_ws(' ', f.problem, right(f.step_uuid::text, 1)) FROM {query} f"
                ),
                &[],
            );
            all.sort_unstable();
            all
        };
        assert_eq!(name(&mut session, CHECK), expected, "{spoil}");
        assert_eq!(name(&mut session, REPAIR), expected, "{spoil}");
        assert_eq!(name(&mut session, CHECK), left, "{spoil}");
        let actions: Vec<String> =
            session.all("SELECT DISTINCT action FROM tasker.check_integrity()", &[]);
        assert_eq!(actions, ["left as it is: restore the rows from a backup"]);
    }
}

#[test]
fn many_kinds_at_once_in_many_tasks_are_repaired_in_one_call() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::small_diamond().register(&mut session);
    let tasks = session.create_many("small_diamond", 200);
    let claims = session.claim_all("holds");
    assert!(claims.len() >= 50);
    for claim in claims.iter().take(20) {
        session.complete(claim, &json!({}));
    }
    inside::spoil(
        &mut session,
        tasks[0],
        "WITH a AS (DELETE FROM queue_entries WHERE $1::uuid IS NOT NULL RETURNING 1), b AS (DELETE FROM claims RETURNING 1),
              c AS (UPDATE steps SET open_parents = 0 WHERE step_no = 4), d AS (UPDATE tasks SET open_leaves = 9 RETURNING 1)
         DELETE FROM transitions WHERE step_no = 0",
    );
    let count: i64 = session.count(&format!("SELECT count(*) FROM {CHECK}"), &[]);
    assert!(count > 600, "{count}");
    assert_eq!(
        session.count(&format!("SELECT count(*) FROM {REPAIR}"), &[]),
        count
    );
    assert_eq!(found(&mut session, CHECK), [""; 0]);
    session.work(|_| tasker_client_tests::worker::done());
    assert_eq!(session.task_states(&tasks), ["complete: 200"]);
    assert_eq!(found(&mut session, CHECK), [""; 0]);
}

/// Level, number and message of the measure.
fn health(session: &mut Session) -> String {
    session.one(
        "SELECT concat_ws(' ', level, measured, message) FROM tasker.health_status() WHERE measure = 'integrity'",
        &[],
    )
}

#[track_caller]
fn run_duty(session: &mut Session) {
    let error: Option<String> = session.one(
        "SELECT error FROM tasker.run_maintenance() WHERE duty = 'integrity'",
        &[],
    );
    assert_eq!(error, None);
}

#[test]
fn maintenance_finds_disagreements_page_by_page_and_health_says_so_until_they_are_repaired() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 1).register(&mut session);
    let tasks = session.create_many("chain", 6000);
    run_duty(&mut session);
    run_duty(&mut session);
    assert_eq!(
        health(&mut session),
        "healthy 0 0 disagreements between rows found"
    );
    let last = *tasks.iter().max().expect("6000");
    for (task, entries) in [(tasks[0], 1), (last, 2)] {
        inside::spoil(
            &mut session,
            task,
            "DELETE FROM queue_entries WHERE task_uuid = $1",
        );
        // The first page of 5,000 tasks, and then the rest.
        run_duty(&mut session);
        let said = health(&mut session);
        assert!(said.starts_with(&format!("degraded {entries} {entries} disagreements between rows found: missing_queue_entry of task ")), "{said}");
    }
    session.query(&format!("SELECT * FROM {REPAIR}"), &[]);
    assert_eq!(
        health(&mut session),
        "healthy 0 0 disagreements between rows found"
    );
    for _ in 0..3 {
        run_duty(&mut session);
        assert_eq!(
            health(&mut session),
            "healthy 0 0 disagreements between rows found"
        );
    }
}

#[test]
fn what_maintenance_found_and_others_repaired_is_forgotten_with_the_next_round() {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("chain", 1).register(&mut session);
    let task = session.create("chain");
    inside::spoil(
        &mut session,
        task,
        "UPDATE tasks SET open_leaves = 3 WHERE task_uuid = $1",
    );
    run_duty(&mut session);
    assert_eq!(
        health(&mut session),
        format!("degraded 1 1 disagreements between rows found: wrong_open_leaves of task {task}")
    );
    inside::spoil(
        &mut session,
        task,
        "UPDATE tasks SET open_leaves = 1 WHERE task_uuid = $1",
    );
    run_duty(&mut session);
    assert_eq!(
        health(&mut session),
        "healthy 0 0 disagreements between rows found"
    );
    let before = inside::version_of_integrity_checks(&mut session);
    session.query("SELECT tasker_engine.duty_integrity()", &[]);
    assert_eq!(
        inside::version_of_integrity_checks(&mut session),
        before,
        "nothing new, nothing written"
    );
}

#[test]
fn restored_entries_serve_claims_for_one_handler() {
    let database = Database::new();
    let mut session = database.connect();
    let template = shapes::small_diamond();
    template.register(&mut session);
    let task = session.create("small_diamond");
    let before: Vec<Option<i64>> = inside::handler_keys(&mut session);
    inside::lose_queue(&mut session);
    assert_eq!(found(&mut session, REPAIR), ["missing_queue_entry start"]);
    assert_eq!(inside::handler_keys(&mut session), before);
    let handler: String = session.one(
        "SELECT handler FROM tasker.named_tasks_named_steps WHERE name = 'start'",
        &[],
    );
    let given: Vec<Uuid> = session.all(
        "SELECT task_uuid FROM tasker.claim_steps('one', handlers => ARRAY[$1::text])",
        &[&handler],
    );
    assert_eq!(given, [task]);
}
