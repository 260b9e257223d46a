//! Polls in a long log of which purge has deleted most rows at random: what a poll touches depends on what it returns.

use anyhow::{Result, ensure};
use postgres::{Client, SimpleQueryMessage};

use super::history;
use crate::cli::PurgedArgs;
use crate::connect::Server;
use crate::report;
use crate::setup;
use crate::shape::Shape;

/// Runs all steps, those of a task in turn with those of others.
const FINISH: &str = "DO $$
DECLARE
    reports jsonb := '[]';
BEGIN
    LOOP
        SELECT jsonb_agg(jsonb_build_object('step_uuid', step_uuid, 'claim_number', claim_number, 'status', 'complete')) FILTER (WHERE outcome = 'claimed')
        INTO reports FROM tasker.report_and_claim('purged', coalesce(reports, '[]'), '{purged}', 10);
        COMMIT;
        EXIT WHEN reports IS NULL;
    END LOOP;
END $$";

/// One task of this number is left.
const ONE_OF: u64 = 10;

pub fn run(server: &Server, admin: &mut Client, args: &PurgedArgs) -> Result<bool> {
    history::make(server, args.steps)?;
    let rows = log_rows(admin)?;
    for table in ["transitions", "steps", "tasks"] {
        admin.batch_execute(&format!(
            "DELETE FROM tasker_engine.{table} WHERE hashtextextended(task_uuid::text, 0) % {ONE_OF} <> 0"
        ))?;
    }
    setup::settle(admin)?;
    println!(
        "\n## purged: polls in a log of {rows} rows, of which {} are left\n\nBuffers that one poll touches in a session that has polled before; medians of {} polls.",
        log_rows(admin)?,
        args.polls
    );
    let mut head = server.connect()?;
    let mut behind = server.connect()?;
    let mut fresh = server.connect()?;
    setup::register(
        &mut fresh,
        Shape::Linear5,
        "purged",
        crate::shape::Order::Steady,
    )?;
    report::head(&[
        "the subscriber is",
        "events behind",
        "events a poll",
        "buffers",
    ]);
    subscribe(&mut head, "head", "now")?;
    // Twenty polls to begin with, so that the session has its plans.
    let mut at_head = Vec::new();
    for _ in 0..args.polls + 20 {
        setup::create(&mut fresh, Shape::Linear5, "purged", 6)?;
        fresh.batch_execute(FINISH)?;
        let lag = lag(admin, "head")?;
        at_head.push((buffers(&mut head, "head")?, lag));
        while poll(&mut head, "head")? > 0 {}
    }
    row("at the head", &at_head[20..])?;
    subscribe(&mut behind, "behind", "beginning")?;
    let mut far = Vec::new();
    for _ in 0..args.polls + 20 {
        let lag = lag(admin, "behind")?;
        far.push((buffers(&mut behind, "behind")?, lag));
    }
    row("at the beginning", &far[20..])?;
    Ok(true)
}

fn log_rows(admin: &mut Client) -> Result<i64> {
    let count = "SELECT count(*) FROM tasker_engine.transitions";
    Ok(admin.query_one(count, &[])?.try_get(0)?)
}

fn subscribe(session: &mut Client, name: &str, start: &str) -> Result<()> {
    session.execute(
        "SELECT tasker.subscribe($1, start_at => $2)",
        &[&name, &start],
    )?;
    Ok(())
}

fn poll(session: &mut Client, name: &str) -> Result<u64> {
    Ok(session.execute(
        "SELECT tasker.ack_events($1, array_agg(event_id)) FROM tasker.poll_events($1, 1000) HAVING count(*) > 0",
        &[&name],
    )?)
}

fn lag(admin: &mut Client, name: &str) -> Result<i64> {
    let lag = "SELECT lag_events FROM tasker.subscribers WHERE subscriber = $1";
    Ok(admin.query_one(lag, &[&name])?.try_get(0)?)
}

/// What a poll of 100 events touches.
fn buffers(session: &mut Client, name: &str) -> Result<i64> {
    // As a simple query its answer is text.
    let answer = session.simple_query(&format!(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM tasker.poll_events('{name}', 100)"
    ))?;
    let text = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: serde_json::Value = serde_json::from_str(text.unwrap_or_default())?;
    let plan = &plan[0]["Plan"];
    let rows = plan["Actual Rows"].as_f64().unwrap_or_default();
    ensure!(rows >= 100.0, "a poll of {name} returned {rows} events");
    let count = |key: &str| plan[key].as_i64().unwrap_or_default();
    Ok(count("Shared Hit Blocks") + count("Shared Read Blocks"))
}

fn row(what: &str, polls: &[(i64, i64)]) -> Result<()> {
    let mut buffers: Vec<i64> = polls.iter().map(|(buffers, _)| *buffers).collect();
    buffers.sort_unstable();
    let lag = polls.iter().map(|(_, lag)| *lag).max().unwrap_or_default();
    report::row(&[
        what.to_owned(),
        lag.to_string(),
        "100".to_owned(),
        format!(
            "{} ({} to {})",
            buffers[buffers.len() / 2],
            buffers[0],
            buffers[buffers.len() - 1]
        ),
    ]);
    Ok(())
}
