//! Tasks at times of a calendar: when, once per time, whatever was missed, whichever session runs maintenance.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tasker_client_tests::race::together;
use tasker_client_tests::server::Server;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{
    Database, Session, Template, database, inside, json, patience, scaled, shapes,
};

fn prepared() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("report", 2).register(&mut session);
    (database, session)
}

fn schedule(session: &mut Session, name: &str, more: &str) {
    session.query(
        &format!("SELECT tasker.schedule_task($1, '0 * * * *', 'report'{more})"),
        &[&name],
    );
}

fn maintain(session: &mut Session) -> i64 {
    session.one(
        "SELECT sum(done)::bigint FROM tasker.run_maintenance() WHERE duty = 'schedules' AND error IS NULL",
        &[],
    )
}

/// The schedule's counters: created, left out, failed.
fn counts(session: &mut Session, name: &str) -> String {
    session.one(
        "SELECT concat_ws(' ', runs, skipped, failures) FROM tasker.schedules WHERE schedule_name = $1",
        &[&name],
    )
}

fn tasks(session: &mut Session) -> i64 {
    session.count(
        "SELECT count(*) FROM tasker.tasks WHERE initiator = 'schedule'",
        &[],
    )
}

fn next_runs(
    session: &mut Session,
    cron: &str,
    zone: &str,
    after: &str,
    count: i32,
) -> Vec<String> {
    session.all(
        "SELECT to_char(run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM tasker.next_runs($1, $2, $3::text::timestamptz, $4)",
        &[&cron, &zone, &after, &count],
    )
}

// ---- times ----------------------------------------------------------------------------------------------------------

/// A cron expression, a zone, an instant, and the next runs in UTC.
const JUMPS: &[(&str, &str, &str, &[&str])] = &[
    // The hour from two to three does not exist.
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28 12:00Z",
        &["2026-03-29 01:00:00", "2026-03-30 00:30:00"],
    ),
    (
        "30 2 * * *",
        "America/New_York",
        "2026-03-07 12:00Z",
        &["2026-03-08 07:00:00", "2026-03-09 06:30:00"],
    ),
    // It exists twice.
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24 12:00Z",
        &["2026-10-25 00:30:00", "2026-10-26 01:30:00"],
    ),
    (
        "30 1 * * *",
        "America/New_York",
        "2026-10-31 12:00Z",
        &["2026-11-01 05:30:00", "2026-11-02 06:30:00"],
    ),
    (
        "30 * * * *",
        "Europe/Berlin",
        "2026-10-25 00:00Z",
        &["2026-10-25 00:30:00", "2026-10-25 01:30:00"],
    ),
    // Half an hour of summer.
    (
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-03 00:00Z",
        &["2026-10-03 15:30:00", "2026-10-04 15:15:00"],
    ),
    // Samoa left a day out.
    (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29 21:00Z",
        &[
            "2011-12-29 22:00:00",
            "2011-12-30 10:00:00",
            "2011-12-30 22:00:00",
        ],
    ),
    (
        "0 12 29 2 *",
        "UTC",
        "2026-01-01 00:00Z",
        &["2028-02-29 12:00:00", "2032-02-29 12:00:00"],
    ),
    (
        "59 23 31 12 *",
        "Asia/Kolkata",
        "2026-12-31 18:00Z",
        &["2026-12-31 18:29:00", "2027-12-31 18:29:00"],
    ),
    (
        "*/20 * * * * *",
        "UTC",
        "2026-12-31 23:59:30Z",
        &["2026-12-31 23:59:40", "2027-01-01 00:00:00"],
    ),
    (
        "@daily",
        "UTC",
        "2026-02-28 00:00Z",
        &["2026-03-01 00:00:00"],
    ),
    ("0 0 31 2 *", "UTC", "2026-02-28 00:00Z", &[]),
];

#[test]
fn the_server_s_own_zones_decide_when_a_clock_jumps() {
    let (_database, mut session) = prepared();
    for (cron, zone, after, expected) in JUMPS {
        let count = expected.len().max(1) as i32;
        assert_eq!(
            next_runs(&mut session, cron, zone, after, count),
            *expected,
            "{cron} in {zone}"
        );
    }
    let default: i64 = session.count("SELECT count(*) FROM tasker.next_runs('* * * * *') WHERE run_at > clock_timestamp() - interval '1 second' AND local_time = run_at AT TIME ZONE 'UTC'", &[]);
    assert_eq!(default, 5);
}

/// The rule in SQL, with PostgreSQL's own arithmetic: each minute of a span, its local time, whether that was shown before,
/// and which local minutes the clock has jumped over.
const BY_THE_RULE: &str = "
    WITH minutes AS (
        SELECT m, m AT TIME ZONE $1 AS local, lag(m AT TIME ZONE $1) OVER (ORDER BY m) AS before,
               row_number() OVER (PARTITION BY m AT TIME ZONE $1 ORDER BY m) > 1 AS again
        FROM generate_series($2::text::timestamptz - interval '2 days', $2::text::timestamptz + interval '3 days', '1 minute') m),
    fires AS (
        SELECT m FROM minutes
        WHERE m > $2::text::timestamptz
          AND (extract(minute FROM local) = ANY ($3::float8[]) AND extract(hour FROM local) = ANY ($4::float8[]) AND (NOT again OR cardinality($4::float8[]) = 24)
               OR cardinality($4::float8[]) < 24 AND local > before + interval '1 minute' AND EXISTS (
                   SELECT FROM generate_series(before + interval '1 minute', local - interval '1 minute', '1 minute') g
                   WHERE extract(minute FROM g) = ANY ($3::float8[]) AND extract(hour FROM g) = ANY ($4::float8[]))))
    SELECT to_char(m AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM fires ORDER BY m";

#[test]
fn the_times_are_those_of_postgresql_s_own_arithmetic() {
    let (_database, mut session) = prepared();
    let changes = [
        ("Europe/Berlin", "2026-03-28 03:17Z"),
        ("Europe/Berlin", "2026-10-24 05:00Z"),
        ("America/St_Johns", "2026-11-01 04:00Z"),
        ("Australia/Lord_Howe", "2026-04-04 14:45Z"),
        ("Australia/Lord_Howe", "2026-10-03 15:00Z"),
        ("America/Havana", "2026-03-08 04:30Z"),
        ("Africa/Casablanca", "2026-02-14 22:00Z"),
        ("Asia/Tokyo", "2026-06-01 00:00Z"),
        ("Pacific/Apia", "2011-12-29 20:00Z"),
    ];
    let mut dice = 20_261_124_u64;
    let mut roll = |most: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % most
    };
    for round in 0..scaled(60, 1000) {
        let (zone, after) = changes[round % changes.len()];
        let mut some = |most: u64| -> Vec<i32> {
            let mut numbers: Vec<i32> = (0..=roll(4)).map(|_| roll(most) as i32).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let minutes = some(60);
        // Around the jump, so that it matters.
        let hours = if round % 5 == 0 {
            (0..24).collect()
        } else {
            some(5)
        };
        let list = |numbers: &[i32]| {
            numbers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let cron = format!("{} {} * * *", list(&minutes), list(&hours));
        let minutes: Vec<f64> = minutes.into_iter().map(f64::from).collect();
        let hours: Vec<f64> = hours.into_iter().map(f64::from).collect();
        let expected: Vec<String> = session.all(BY_THE_RULE, &[&zone, &after, &minutes, &hours]);
        let count = expected.len().clamp(1, 1000);
        let found = next_runs(&mut session, &cron, zone, after, count as i32);
        assert_eq!(
            found[..count.min(expected.len())],
            expected[..count.min(expected.len())],
            "{cron} in {zone} after {after}"
        );
    }
}

// ---- running --------------------------------------------------------------------------------------------------------

#[test]
fn a_due_schedule_creates_its_task_and_the_handler_learns_the_time() {
    let (_database, mut session) = prepared();
    let first: bool = session.one(
        "SELECT tasker.schedule_task('nightly', '0 0 * * *', 'report', '{\"a\": 1}', time_zone => 'Europe/Berlin', priority => 3, tags => '[\"night\"]')
                = (SELECT run_at FROM tasker.next_runs('0 0 * * *', 'Europe/Berlin', count => 1))",
        &[],
    );
    assert!(first);
    assert_eq!(maintain(&mut session), 0);
    assert_eq!(tasks(&mut session), 0);
    let due: String = session.one("SELECT to_char(date_trunc('minute', clock_timestamp()) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", &[]);
    inside::set_next_run(&mut session, "nightly", &due);
    assert_eq!(maintain(&mut session), 1);
    assert_eq!(maintain(&mut session), 0);
    let claim = session.claim_one("w");
    assert_eq!(claim.context, json!({"a": 1}));
    assert_eq!(
        claim.correlation_id.as_deref(),
        Some(format!("schedule_nightly_{}", due.replace(['-', ':'], "")).as_str())
    );
    let task: String = session.one(
        "SELECT concat_ws(' | ', initiator, source_system, reason, priority, tags, to_char(run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))
         FROM tasker.tasks WHERE task_uuid = $1",
        &[&claim.task],
    );
    assert_eq!(
        task,
        format!("schedule | nightly | scheduled for {due} | 3 | [\"night\"] | {due}")
    );
    let shown: String = session.one(
        "SELECT concat_ws(' | ', next_run_at > clock_timestamp(), to_char(last_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
                          last_task_uuid = $1, last_task_state, runs, skipped, failures, last_error)
         FROM tasker.schedules WHERE schedule_name = 'nightly'",
        &[&claim.task],
    );
    assert_eq!(shown, format!("t | {due} | t | in_progress | 1 | 0 | 0"));
    let run: String = session.one("SELECT concat_ws(' ', outcome, times, task_state, delay >= '0', error) FROM tasker.schedule_runs", &[]);
    assert_eq!(run, "created 1 in_progress t");
}

#[test]
fn one_scheduled_time_gives_one_task_however_many_sessions_run_it() {
    let (database, mut session) = prepared();
    session.query(
        "SELECT tasker.schedule_task('busy', '@yearly', 'report', missed_runs => 'all')",
        &[],
    );
    let sessions: Vec<Mutex<Session>> = (0..4).map(|_| Mutex::new(database.connect())).collect();
    for round in 1..=scaled(20, 200) {
        let before = tasks(&mut session);
        // Another second each time, and none behind it that is due.
        let due: String = session.one(
            "SELECT (date_trunc('year', clock_timestamp()) + make_interval(secs => $1))::text",
            &[&(round as f64)],
        );
        inside::set_next_run(&mut session, "busy", &due);
        together(4, |number| {
            let mut own = sessions[number].lock().expect("one owner");
            if number % 2 == 0 {
                maintain(&mut own);
            } else {
                inside::run_due_schedules(&mut own);
            }
        });
        let made = tasks(&mut session) - before;
        assert_eq!(made, 1, "round {round}");
    }
    let doubles = session.count("SELECT count(*) FROM (SELECT run_at FROM tasker.tasks GROUP BY run_at HAVING count(*) > 1) d", &[]);
    assert_eq!(doubles, 0);
}

#[test]
fn a_round_that_is_rolled_back_has_neither_created_nor_moved_on() {
    let (_database, mut session) = prepared();
    schedule(&mut session, "undone", ", missed_runs => 'all'");
    inside::set_next_run(&mut session, "undone", "2026-11-01 10:00Z");
    let before = inside::fingerprint(&mut session);
    session.execute("BEGIN");
    assert!(maintain(&mut session) > 0);
    session.execute("ROLLBACK");
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn an_idle_round_writes_nothing() {
    let (_database, mut session) = prepared();
    schedule(&mut session, "idle", "");
    session.query("SELECT tasker.set_retention('default', '1 day')", &[]);
    // The first walk of retention is remembered.
    maintain(&mut session);
    session.execute("BEGIN");
    session.query("SELECT * FROM tasker.run_maintenance()", &[]);
    let wrote: bool = session.one("SELECT pg_current_xact_id_if_assigned() IS NOT NULL", &[]);
    session.execute("COMMIT");
    assert!(!wrote);
}

// ---- missed and overlapping -----------------------------------------------------------------------------------------

/// Five whole hours ago and a bit, as a text.
fn hours_ago(session: &mut Session, hours: i32) -> String {
    session.one(
        "SELECT (date_trunc('hour', clock_timestamp()) - make_interval(hours => $1))::text",
        &[&hours],
    )
}

#[test]
fn missed_times_are_left_out_caught_up_once_or_all_run() {
    let (_database, mut session) = prepared();
    for policy in ["skip", "one", "all"] {
        schedule(
            &mut session,
            policy,
            &format!(", missed_runs => '{policy}'"),
        );
        // Within the first minute of an hour the last time is not late.
        let due = hours_ago(&mut session, 5);
        inside::set_next_run(&mut session, policy, &due);
    }
    let fresh: bool = session.one("SELECT extract(minute FROM clock_timestamp()) = 0", &[]);
    while maintain(&mut session) > 0 {}
    if !fresh {
        assert_eq!(counts(&mut session, "skip"), "0 6 0");
    }
    assert_eq!(counts(&mut session, "one"), "1 5 0");
    assert_eq!(counts(&mut session, "all"), "6 0 0");
    let all: Vec<i32> = session.all(
        "SELECT round(extract(epoch FROM date_trunc('hour', clock_timestamp()) - run_at) / 3600)::int FROM tasker.tasks
         WHERE source_system = 'all' ORDER BY task_uuid",
        &[],
    );
    assert_eq!(all, [5, 4, 3, 2, 1, 0]);
    let last: i32 = session.one(
        "SELECT round(extract(epoch FROM date_trunc('hour', clock_timestamp()) - run_at) / 3600)::int FROM tasker.tasks WHERE source_system = 'one'",
        &[],
    );
    assert_eq!(last, 0, "the last one is caught up");
    let missed: String = session.one(
        "SELECT concat_ws(' ', outcome, times, task_uuid) FROM tasker.schedule_runs WHERE schedule_name = 'one' ORDER BY scheduled_for LIMIT 1",
        &[],
    );
    assert_eq!(missed, "missed 5");
    let ahead = session.count(
        "SELECT count(*) FROM tasker.schedules WHERE next_run_at > clock_timestamp()",
        &[],
    );
    assert_eq!(ahead, 3);
}

#[test]
fn what_is_late_by_less_than_a_minute_is_not_missed() {
    let (_database, mut session) = prepared();
    session.query(
        "SELECT tasker.schedule_task('often', '*/10 * * * * *', 'report')",
        &[],
    );
    let due: String = session.one(
        "SELECT (date_trunc('minute', clock_timestamp()) - interval '10 minutes')::text",
        &[],
    );
    inside::set_next_run(&mut session, "often", &due);
    while maintain(&mut session) > 0 {}
    let made = tasks(&mut session);
    assert!((5..=7).contains(&made), "{made}");
}

#[test]
fn a_round_runs_a_hundred_times_at_most_and_the_next_goes_on() {
    let (_database, mut session) = prepared();
    schedule(&mut session, "long", ", missed_runs => 'all'");
    let due = hours_ago(&mut session, 249);
    inside::set_next_run(&mut session, "long", &due);
    assert_eq!(inside::run_due_schedules(&mut session), 100);
    assert_eq!(tasks(&mut session), 100);
    assert_eq!(maintain(&mut session), 150);
    assert_eq!(tasks(&mut session), 250);
    // Of the history the last hundred stay.
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.schedule_runs", &[]),
        100
    );
}

#[test]
fn a_schedule_can_wait_for_its_last_task_to_end() {
    let (_database, mut session) = prepared();
    schedule(
        &mut session,
        "alone",
        ", missed_runs => 'all', overlap => false",
    );
    let due = hours_ago(&mut session, 1);
    inside::set_next_run(&mut session, "alone", &due);
    while maintain(&mut session) > 0 {}
    assert_eq!(counts(&mut session, "alone"), "1 1 0");
    let outcomes: Vec<String> = session.all(
        "SELECT outcome FROM tasker.schedule_runs ORDER BY scheduled_for",
        &[],
    );
    assert_eq!(outcomes, ["created", "overlapped"]);
    session.work(|_| done());
    let due = hours_ago(&mut session, 3);
    inside::set_next_run(&mut session, "alone", &due);
    inside::run_due_schedules(&mut session);
    assert!(counts(&mut session, "alone").starts_with("2 "));
}

// ---- trouble --------------------------------------------------------------------------------------------------------

#[test]
fn a_schedule_whose_task_cannot_be_created_says_so_moves_on_and_stops_no_other() {
    let (_database, mut session) = prepared();
    let schema = json!({"type": "object", "required": ["day"]});
    for schedule in ["a broken one", "b good one", "c gone", "d zone"] {
        session.query(
            "SELECT tasker.schedule_task($1, '0 * * * *', 'report', missed_runs => 'one')",
            &[&schedule],
        );
        inside::set_next_run(&mut session, schedule, "2026-11-01 00:00Z");
    }
    // A higher version wants more than the context has.
    shapes::chain("report", 1)
        .with("version", json!("1.0.0"))
        .with("input_schema", schema)
        .register(&mut session);
    session.query("SELECT tasker.schedule_task('b good one', '0 * * * *', 'report', missed_runs => 'one', version => '0.1.0')", &[]);
    inside::set_next_run(&mut session, "b good one", "2026-11-01 00:00Z");
    inside::spoil_zone(&mut session, "d zone");
    while maintain(&mut session) > 0 {}
    assert_eq!(tasks(&mut session), 1);
    let shown: Vec<String> = session.all(
        "SELECT concat_ws(' | ', schedule_name, runs, failures, left(last_error, 13), next_run_at > clock_timestamp()) FROM tasker.schedules ORDER BY 1",
        &[],
    );
    assert_eq!(
        shown,
        [
            "a broken one | 0 | 1 | 23514: contex | t",
            "b good one | 1 | 0 | t",
            "c gone | 0 | 1 | 23514: contex | t",
            "d zone | 0 | 1 | 22023: unknow",
        ]
    );
    let failed: String = session.one("SELECT concat_ws(' ', outcome, left(error, 5)) FROM tasker.schedule_runs WHERE schedule_name = 'a broken one' AND outcome <> 'missed'", &[]);
    assert_eq!(failed, "failed 23514");
    let failures = session.count(
        "SELECT failures FROM tasker.maintenance_duties WHERE duty = 'schedules'",
        &[],
    );
    assert_eq!(failures, 0, "the duty itself has not failed");
}

#[test]
fn a_schedule_belongs_to_its_role_and_creates_with_its_rights() {
    let (database, mut session) = prepared();
    session.execute(
        "CREATE ROLE schedules_one LOGIN; CREATE ROLE schedules_two LOGIN; CREATE ROLE schedules_reader LOGIN; CREATE ROLE schedules_admin LOGIN;
         GRANT tasker_operator TO schedules_one, schedules_two; GRANT tasker_reader TO schedules_reader; GRANT tasker_admin TO schedules_admin",
    );
    let mut one = database.connect_as("schedules_one");
    let mut two = database.connect_as("schedules_two");
    let mut reader = database.connect_as("schedules_reader");
    schedule(&mut one, "mine", "");
    for call in [
        "SELECT tasker.schedule_task('mine', '0 * * * *', 'report')",
        "SELECT tasker.unschedule_task('mine')",
        "SELECT tasker.pause_schedule('mine')",
        "SELECT tasker.resume_schedule('mine')",
    ] {
        two.fails(call, &[])
            .is("42501")
            .says(&["schedules_one", "tasker_admin"]);
        reader.fails(call, &[]).is("42501");
    }
    let owner: String = reader.one("SELECT owner_role FROM tasker.schedules", &[]);
    assert_eq!(owner, "schedules_one");
    assert_eq!(
        next_runs(&mut reader, "@daily", "UTC", "2026-01-01", 1).len(),
        1
    );
    let mut admin = database.connect_as("schedules_admin");
    assert_eq!(
        admin.one::<String>("SELECT tasker.pause_schedule('mine')", &[]),
        "paused"
    );
    assert_eq!(
        one.one::<String>("SELECT tasker.resume_schedule('mine')", &[]),
        "active"
    );
    // SET ROLE counts.
    session.execute("GRANT schedules_one TO schedules_two; ALTER ROLE schedules_two NOINHERIT");
    two.execute("SET ROLE schedules_one");
    assert_eq!(
        two.one::<String>("SELECT tasker.pause_schedule('mine')", &[]),
        "paused"
    );
    one.query("SELECT tasker.resume_schedule('mine')", &[]);

    let due = hours_ago(&mut session, 0);
    session.execute("REVOKE tasker_operator FROM schedules_one");
    inside::set_next_run(&mut session, "mine", &due);
    session.execute("UPDATE tasker_engine.schedules SET missed_runs = 'all'");
    maintain(&mut session);
    let error: String = session.one("SELECT last_error FROM tasker.schedules", &[]);
    assert!(
        error.starts_with("42501: role schedules_one is not allowed to create tasks"),
        "{error}"
    );
    assert_eq!(tasks(&mut session), 0);
}

#[test]
fn of_two_roles_that_make_the_same_schedule_at_once_one_is_refused() {
    let (database, mut session) = prepared();
    session.execute(
        "CREATE ROLE schedules_fast LOGIN; CREATE ROLE schedules_slow LOGIN; CREATE ROLE schedules_boss LOGIN;
         GRANT tasker_operator TO schedules_fast, schedules_slow; GRANT tasker_admin TO schedules_boss",
    );
    let call = "SELECT tasker.schedule_task('one', '@daily', 'report')";
    let mut race = |late: &str| {
        session.execute("DELETE FROM tasker_engine.schedules");
        let mut fast = database.connect_as("schedules_fast");
        let mut slow = database.connect_as(late);
        let pid = slow.pid();
        fast.execute("BEGIN");
        fast.execute(call);
        let outcome = std::thread::scope(|scope| {
            let waiting = scope.spawn(move || slow.attempt_with(call, &[]));
            session.wait_until_blocked(pid);
            fast.execute("COMMIT");
            waiting.join().expect("no panic")
        });
        let owner: String = session.one("SELECT owner_role FROM tasker.schedules", &[]);
        (outcome.map_err(|failure| failure.code), owner)
    };
    assert_eq!(
        race("schedules_slow"),
        (Err("42501".to_owned()), "schedules_fast".to_owned())
    );
    // A role that can replace it does.
    assert_eq!(race("schedules_boss"), (Ok(1), "schedules_boss".to_owned()));
}

// ---- the life of a schedule -----------------------------------------------------------------------------------------

#[test]
fn the_same_name_replaces_and_keeps_the_history_and_removing_keeps_the_tasks() {
    let (_database, mut session) = prepared();
    schedule(&mut session, "x", ", missed_runs => 'all'");
    let due = hours_ago(&mut session, 1);
    inside::set_next_run(&mut session, "x", &due);
    while maintain(&mut session) > 0 {}
    session.query(
        "SELECT tasker.schedule_task('x', '@yearly', 'report', '{\"b\": 2}', overlap => false)",
        &[],
    );
    let shown: String = session.one(
        "SELECT concat_ws(' ', cron, context, missed_runs, overlap, runs) FROM tasker.schedules",
        &[],
    );
    assert_eq!(shown, "@yearly {\"b\": 2} skip f 2");
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.schedule_runs", &[]),
        2
    );
    assert!(session.one::<bool>("SELECT tasker.unschedule_task('x')", &[]));
    assert!(!session.one::<bool>("SELECT tasker.unschedule_task('x')", &[]));
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.schedules", &[]),
        0
    );
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.schedule_runs", &[]),
        0
    );
    assert_eq!(tasks(&mut session), 2);
}

#[test]
fn a_paused_schedule_misses_nothing() {
    let (_database, mut session) = prepared();
    let none: Option<String> = session.one("SELECT tasker.schedule_task('x', '0 * * * *', 'report', missed_runs => 'all', enabled => false)::text", &[]);
    assert_eq!(none, None);
    let enabled: bool = session.one(
        "SELECT enabled OR next_run_at IS NOT NULL FROM tasker.schedules",
        &[],
    );
    assert!(!enabled);
    session.query("SELECT tasker.resume_schedule('x')", &[]);
    let due = hours_ago(&mut session, 4);
    inside::set_next_run(&mut session, "x", &due);
    session.query("SELECT tasker.pause_schedule('x')", &[]);
    assert_eq!(maintain(&mut session), 0);
    session.query("SELECT tasker.resume_schedule('x')", &[]);
    let next: bool = session.one(
        "SELECT enabled AND next_run_at > clock_timestamp() FROM tasker.schedules",
        &[],
    );
    assert!(next);
    assert_eq!(maintain(&mut session), 0);
    // Resuming what runs changes nothing.
    inside::set_next_run(&mut session, "x", &due);
    session.query("SELECT tasker.resume_schedule('x')", &[]);
    assert!(maintain(&mut session) > 0);
}

#[test]
fn creating_a_schedule_creates_no_task_and_wakes_no_worker() {
    let (_database, mut session) = prepared();
    schedule(&mut session, "x", "");
    assert_eq!(session.count("SELECT count(*) FROM tasker.tasks", &[]), 0);
    assert!(session.claim(&Ask::by("w", 1)).is_empty());
}

/// The SQLSTATE, words of the message, and arguments of schedule_task.
const BAD_SCHEDULES: &[(&str, &[&str], &str)] = &[
    ("22004", &["schedule_name"], "NULL, '@daily', 'report'"),
    ("22004", &["cron"], "'x', NULL, 'report'"),
    ("22004", &["task_name"], "'x', '@daily', NULL"),
    ("22004", &["context"], "'x', '@daily', 'report', NULL"),
    (
        "22004",
        &["namespace"],
        "'x', '@daily', 'report', namespace => NULL",
    ),
    (
        "22004",
        &["time_zone"],
        "'x', '@daily', 'report', time_zone => NULL",
    ),
    (
        "22004",
        &["missed_runs"],
        "'x', '@daily', 'report', missed_runs => NULL",
    ),
    (
        "22004",
        &["overlap"],
        "'x', '@daily', 'report', overlap => NULL",
    ),
    (
        "22004",
        &["priority"],
        "'x', '@daily', 'report', priority => NULL",
    ),
    ("22004", &["tags"], "'x', '@daily', 'report', tags => NULL"),
    (
        "22004",
        &["enabled"],
        "'x', '@daily', 'report', enabled => NULL",
    ),
    ("22023", &["schedule"], "' ', '@daily', 'report'"),
    ("22023", &["* * *", "Five fields"], "'x', '* * *', 'report'"),
    (
        "22023",
        &["60", "Five fields"],
        "'x', '60 * * * *', 'report'",
    ),
    ("22023", &["@reboot"], "'x', '@reboot', 'report'"),
    (
        "22023",
        &["never comes", "next_runs"],
        "'x', '0 0 30 2 *', 'report'",
    ),
    (
        "22023",
        &["Mars/Olympus", "pg_timezone_names"],
        "'x', '@daily', 'report', time_zone => 'Mars/Olympus'",
    ),
    (
        "22023",
        &["EST5EDT,M3"],
        "'x', '@daily', 'report', time_zone => 'EST5EDT,M3.2.0,M11.1.0'",
    ),
    (
        "22023",
        &["twice", "skip, one or all"],
        "'x', '@daily', 'report', missed_runs => 'twice'",
    ),
    (
        "22023",
        &["priority 5"],
        "'x', '@daily', 'report', priority => 5",
    ),
    ("22023", &["tags"], "'x', '@daily', 'report', tags => '{}'"),
    (
        "P0002",
        &["no template \"nothing\""],
        "'x', '@daily', 'nothing'",
    ),
    (
        "P0002",
        &["namespace"],
        "'x', '@daily', 'report', namespace => 'nowhere'",
    ),
    (
        "P0002",
        &["9.9.9"],
        "'x', '@daily', 'report', version => '9.9.9'",
    ),
    ("23514", &["context"], "'x', '@daily', 'report', '[]'"),
    ("23514", &["day"], "'x', '@daily', 'strict'"),
];

#[test]
fn bad_input_is_refused_and_nothing_created() {
    let (_database, mut session) = prepared();
    shapes::chain("strict", 1)
        .with(
            "input_schema",
            json!({"type": "object", "required": ["day"]}),
        )
        .register(&mut session);
    let before = inside::fingerprint(&mut session);
    let long = "x".repeat(129);
    let long_name = format!("'{long}', '@daily', 'report'");
    let long_name: (&str, &[&str], &str) = ("22023", &["schedule"], &long_name);
    for (code, words, arguments) in BAD_SCHEDULES.iter().chain([&long_name]) {
        let failure = session
            .fails(&format!("SELECT tasker.schedule_task({arguments})"), &[])
            .is(code)
            .says(words);
        assert!(
            !failure.detail.is_empty() && !failure.hint.is_empty(),
            "{failure}"
        );
    }
    for (code, call) in [
        ("22004", "tasker.unschedule_task(NULL)"),
        ("22004", "tasker.pause_schedule(NULL)"),
        ("22004", "tasker.resume_schedule(NULL)"),
        ("P0002", "tasker.pause_schedule('nothing')"),
        ("P0002", "tasker.resume_schedule('nothing')"),
        ("22004", "tasker.next_runs(NULL)"),
        ("22004", "tasker.next_runs('@daily', NULL)"),
        ("22004", "tasker.next_runs('@daily', count => NULL)"),
        ("22023", "tasker.next_runs('@daily', count => 0)"),
        ("22023", "tasker.next_runs('@daily', count => 1001)"),
        ("22023", "tasker.next_runs('@daily', after => 'infinity')"),
        ("22023", "tasker.next_runs('@daily', 'MESZ')"),
        ("22023", "tasker.next_runs('')"),
    ] {
        let failure = session.fails(&format!("SELECT {call}"), &[]).is(code);
        assert!(
            !failure.detail.is_empty() && !failure.hint.is_empty(),
            "{failure}"
        );
    }
    assert_eq!(
        next_runs(&mut session, "@daily", "UTC", "200000-01-01", 1),
        [""; 0]
    );
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn with_background_processes_schedules_and_timeouts_need_no_call() {
    let server = Server::start(&["shared_preload_libraries=tasker_ext"]);
    let mut session = server.connect("postgres");
    database::install(&mut session);
    Template::new("quick")
        .with("timeout_seconds", json!(1))
        .step_with("call", &[], json!({"timeout_seconds": 1}))
        .register(&mut session);
    session.query(
        "SELECT tasker.schedule_task('every second', '* * * * * *', 'quick')",
        &[],
    );
    let eventually = |session: &mut Session, what: &str, sql: &str| {
        let until = Instant::now() + patience(60);
        while session.count(sql, &[]) == 0 {
            assert!(Instant::now() < until, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    eventually(
        &mut session,
        "three runs",
        "SELECT count(*) FROM tasker.schedules WHERE runs >= 3 AND failures = 0",
    );
    session.query("SELECT tasker.pause_schedule('every second')", &[]);
    session.claim(&Ask::by("slow", 1));
    eventually(
        &mut session,
        "the end of a task that takes too long",
        "SELECT count(*) FROM tasker.task_transitions WHERE metadata ->> 'error_class' = 'TaskTimeout'",
    );
    shapes::chain("slow_step", 1)
        .every_step(json!({"timeout_seconds": 1, "queue": "slow"}))
        .register(&mut session);
    session.create("slow_step");
    let ask = Ask {
        queues: Some(vec!["slow"]),
        lease: "1 hour",
        ..Ask::by("slow", 1)
    };
    assert_eq!(session.claim(&ask).len(), 1);
    eventually(
        &mut session,
        "the end of a run that takes too long",
        "SELECT count(*) FROM tasker.failed_steps WHERE error_class = 'Timeout'",
    );
}
