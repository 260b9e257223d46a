//! The log of a run comes with its report: kept within limits, without secrets, and never in the way of the report.

use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Session, Value, json, shapes, started};

fn with(mut report: Value, logs: Value) -> Value {
    report["logs"] = logs;
    report
}

fn outcomes(session: &mut Session, reports: &Value) -> Vec<String> {
    session.all(
        "SELECT outcome FROM tasker.report_steps('w', $1)",
        &[reports],
    )
}

/// The lines of a step, without their times.
fn lines(session: &mut Session, claim: &Claim) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' | ', claim_number, attempt, line, level, message, fields) FROM tasker.step_logs
         WHERE step_uuid = $1 ORDER BY claim_number, line",
        &[&claim.step],
    )
}

fn all_lines(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker.step_logs", &[])
}

/// Reports a step of a new task with these logs; its lines.
fn reported(session: &mut Session, logs: &Value) -> Vec<String> {
    session.create("one");
    let claim = session.claim_one("w");
    let report = with(claim.done(json!({})), logs.clone());
    assert_eq!(
        outcomes(session, &json!([report])),
        ["complete"],
        "{logs:.200}"
    );
    lines(session, &claim)
}

#[test]
fn the_log_of_a_run_is_kept_with_its_claim_and_its_attempt() {
    let (_database, mut session, task) = started(&shapes::chain("two", 2).patient());
    let first = session.claim_one("w");
    let released = json!({"step_uuid": first.step.to_string(), "claim_number": first.number, "status": "released",
        "logs": ["not here"]});
    assert_eq!(outcomes(&mut session, &json!([released])), ["released"]);
    let again = session.claim_one("w");
    let failed = with(
        again.failed(true),
        json!([{"at": "2026-11-30T20:39:00.25Z", "level": "WARNING", "message": "slow", "fields": {"n": 1}, "logger": "app"},
               {"at": 1764535140.5, "level": 40, "message": "broken"}]),
    );
    assert_eq!(outcomes(&mut session, &json!([failed])), ["error"]);
    let times: Vec<String> = session.all(
        "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') FROM tasker.step_logs
         WHERE claim_number = $1 ORDER BY line",
        &[&again.number],
    );
    assert_eq!(
        times,
        ["2026-11-30 20:39:00.250", "2025-11-30 20:39:00.500"]
    );
    session.query("SELECT tasker.retry_step($1)", &[&again.step]);
    let last = session.claim_one("w");
    let (_, next) = session.report_and_claim(
        &Ask::by("w", 1),
        &[with(last.done(json!({})), json!([{"message": "done"}]))],
    );
    assert_eq!(next.len(), 1);
    let (one, two, three) = (first.number, again.number, last.number);
    assert_eq!(
        lines(&mut session, &first),
        [
            format!("{one} | {} | 1 | info | not here | {{}}", first.attempt),
            format!(
                "{two} | {} | 1 | warn | slow | {{\"n\": 1, \"logger\": \"app\"}}",
                again.attempt
            ),
            format!("{two} | {} | 2 | error | broken | {{}}", again.attempt),
            format!("{three} | {} | 1 | info | done | {{}}", last.attempt),
        ]
    );
    let of: Vec<bool> = session.all(
        "SELECT task_uuid = $1 AND at > clock_timestamp() - interval '1 minute' FROM tasker.step_logs
         WHERE message IN ('not here', 'done')",
        &[&task],
    );
    assert_eq!(of, [true, true]);
}

#[test]
fn the_log_of_a_refused_report_is_dropped() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("w");
    let done = with(claim.done(json!({})), json!(["a"]));
    let mut stale = done.clone();
    stale["claim_number"] = json!(claim.number + 1);
    let mut unreadable = done.clone();
    unreadable["status"] = json!("finished");
    let mut unknown = done.clone();
    unknown["step_uuid"] = json!("00000000-0000-0000-0000-000000000001");
    let mut misspelled = claim.done(json!({}));
    misspelled["log"] = json!(["a"]);
    assert_eq!(
        outcomes(
            &mut session,
            &json!([stale, unreadable, unknown, misspelled])
        ),
        ["stale", "invalid", "unknown_step", "invalid"]
    );
    assert_eq!(all_lines(&mut session), 0);
    let other = with(claim.done(json!({})), json!(["b", "c"]));
    assert_eq!(
        outcomes(&mut session, &json!([done, other])),
        ["complete", "duplicate"]
    );
    assert_eq!(outcomes(&mut session, &json!([other])), ["duplicate"]);
    assert_eq!(all_lines(&mut session), 1);
    // Undone with its report.
    session.create("one");
    let claim = session.claim_one("w");
    session.execute("BEGIN");
    outcomes(
        &mut session,
        &json!([with(claim.done(json!({})), json!(["d"]))]),
    );
    session.execute("ROLLBACK");
    assert_eq!(all_lines(&mut session), 1);
}

#[test]
fn what_cannot_be_read_becomes_a_line_or_is_left_out() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let mut deep = json!({"secret": 1});
    for _ in 0..200 {
        deep = json!([deep]);
    }
    for (logs, expected) in [
        (json!(null), vec![]),
        (json!([]), vec![]),
        (json!([null, null]), vec![]),
        (json!("a line"), vec!["info | a line | {}"]),
        (json!(7), vec!["info | 7 | {}"]),
        (json!(true), vec!["info | true | {}"]),
        (
            json!({"message": "one", "level": "debug"}),
            vec!["debug | one | {}"],
        ),
        (
            json!([[1, 2], 1.50]),
            vec!["info | [1, 2] | {}", "info | 1.5 | {}"],
        ),
        (json!([{}]), vec!["info |  | {}"]),
        (
            json!([{"level": "loud", "at": "yesterday", "message": {"a": 1}, "fields": [1]}]),
            vec![
                "info | {\"a\": 1} | {\"at\": \"yesterday\", \"level\": \"loud\", \"fields\": [1]}",
            ],
        ),
        (
            json!([{"level": null, "at": -1, "message": null, "fields": null, "n": 1}]),
            vec!["info |  | {\"n\": 1, \"at\": -1}"],
        ),
        (
            json!([{"message": "deep", "fields": {"a": deep}}]),
            vec!["info | deep | {}"],
        ),
    ] {
        let found = reported(&mut session, &logs);
        let found: Vec<&str> = found
            .iter()
            .map(|line| line.splitn(4, " | ").nth(3).unwrap_or_default())
            .collect();
        assert_eq!(found, expected, "{logs:.100}");
    }
}

#[test]
fn a_log_of_more_than_a_thousand_lines_is_cut_and_says_so() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let log = |count: usize| Value::from_iter((1..=count).map(|n| format!("line {n}")));
    let exactly = reported(&mut session, &log(1000));
    assert_eq!(exactly.len(), 1000);
    assert!(exactly[999].ends_with(" | 1000 | info | line 1000 | {}"));
    for (count, said) in [(1001, "1 more lines"), (2500, "1500 more lines")] {
        let cut = reported(&mut session, &log(count));
        assert_eq!(cut.len(), 1001);
        assert!(cut[999].ends_with(" | 1000 | info | line 1000 | {}"));
        let last = format!(
            " | 1001 | warn | cut: {said}; a claim keeps 1000 lines and 262144 bytes | {{}}"
        );
        assert!(cut[1000].ends_with(&last), "{}", cut[1000]);
    }
}

#[test]
fn a_log_of_more_than_256_kilobytes_is_cut_and_says_so() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let long = "é".repeat(50_000);
    let sizes = "SELECT array_agg(octet_length(message) ORDER BY line) FROM tasker.step_logs l
                 WHERE l.task_uuid = (SELECT o.task_uuid FROM tasker.tasks o ORDER BY o.task_uuid DESC LIMIT 1)";
    let lines = reported(&mut session, &json!([long, long, long, long, long]));
    assert_eq!(lines.len(), 4);
    let kept: Vec<i32> = session.one(sizes, &[]);
    assert_eq!(kept[..3], [100_000, 100_000, 62_144]);
    assert!(lines[3].contains("cut: the end of the line before and 2 more; a claim keeps"));
    // Fields that do not fit are left out whole.
    let lines = reported(
        &mut session,
        &json!([{"message": "large", "fields": {"a": "x".repeat(300_000)}}, "next"]),
    );
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(" | large | {}"));
    assert!(lines[1].contains("and 1 more"));
    // Several runs in one call have a limit each.
    for _ in 0..3 {
        session.create("one");
    }
    let claims = session.claim(&Ask::by("w", 3));
    let reports: Vec<Value> = claims
        .iter()
        .map(|claim| with(claim.done(json!({})), json!([long, long])))
        .collect();
    let before = all_lines(&mut session);
    assert_eq!(outcomes(&mut session, &json!(reports)), ["complete"; 3]);
    assert_eq!(all_lines(&mut session), before + 6);
}

#[test]
fn secrets_are_masked_at_any_depth_and_in_messages() {
    let (_database, mut session, task) = started(&shapes::chain("one", 1));
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    let logs = json!([
        {"message": "login password=hunter2 user=ann", "fields": {"a": [{"b": {"Api_Key": {"x": 1}, "n": 1}}], "email": "a@b.c"}},
        {"message": {"token": "t", "n": 1}, "otp": 123},
    ]);
    let found = reported(&mut session, &logs);
    assert!(found[0].ends_with(
        "login password=[FILTERED] user=ann | {\"a\": [{\"b\": {\"n\": 1, \"Api_Key\": \"[FILTERED]\"}}], \"email\": \"[FILTERED]\"}"
    ), "{}", found[0]);
    assert!(
        found[1].ends_with("{\"n\":1,\"token\":\"[FILTERED]\"} | {\"otp\": \"[FILTERED]\"}"),
        "{}",
        found[1]
    );
    session.execute("SET tasker.filter_parameters = 'card, user'; SET tasker.filter_mask = '***'");
    let found = reported(&mut session, &logs);
    assert!(
        found[0].contains("password=hunter2 user=*** | "),
        "{}",
        found[0]
    );
    assert!(found[0].contains("\"email\": \"a@b.c\""));
}

#[test]
fn a_report_without_a_log_does_not_touch_the_table() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    session.create("one");
    let claims = session.claim(&Ask::by("w", 2));
    let locked = "SELECT count(*) FROM pg_locks l
                  WHERE l.pid = pg_backend_pid() AND l.relation = 'tasker_engine.step_logs'::regclass";
    session.execute("BEGIN");
    outcomes(&mut session, &json!([claims[0].done(json!({}))]));
    assert_eq!(session.count(locked, &[]), 0);
    outcomes(
        &mut session,
        &json!([with(claims[1].done(json!({})), json!(["a"]))]),
    );
    assert_eq!(session.count(locked, &[]), 1);
    session.execute("COMMIT");
}

#[test]
fn statements_store_the_same_as_direct_access() {
    let (_database, mut session, _) = started(&shapes::chain("one", 1));
    session.create("one");
    let logs = json!([{"at": "2026-11-30T20:39:00Z", "message": "a", "fields": {"n": 1}}, {"at": 1764535140, "message": "b"}]);
    for way in ["on", "off"] {
        session.execute(&format!("SET tasker.direct_table_access = {way}"));
        let claim = session.claim_one("w");
        outcomes(
            &mut session,
            &json!([with(claim.done(json!({})), logs.clone())]),
        );
    }
    let texts: Vec<String> = session.all(
        "SELECT string_agg(concat_ws(' ', l.line, l.at, l.level, l.message, l.fields, l.attempt), ', ' ORDER BY l.line)
         FROM tasker.step_logs l GROUP BY l.task_uuid",
        &[],
    );
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn logs_go_with_their_task_and_readers_read_them() {
    let (database, mut session, _) = started(&shapes::chain("one", 1));
    let claim = session.claim_one("w");
    outcomes(
        &mut session,
        &json!([with(claim.done(json!({})), json!(["a", "b"]))]),
    );
    session.execute("CREATE ROLE logs_reader LOGIN IN ROLE tasker_reader");
    let mut reader = database.connect_as("logs_reader");
    assert_eq!(all_lines(&mut reader), 2);
    reader
        .fails("DELETE FROM tasker.step_logs", &[])
        .is("42501");
    drop(reader);
    session.execute("DROP ROLE logs_reader");
    let purge = "SELECT other_rows FROM tasker.purge_tasks('0', dry_run => $1)";
    assert_eq!(session.count(purge, &[&true]), 2);
    assert_eq!(all_lines(&mut session), 2);
    assert_eq!(session.count(purge, &[&false]), 2);
    assert_eq!(all_lines(&mut session), 0);
}
