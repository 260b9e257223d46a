//! create_tasks in bulk against plain INSERT ... SELECT of the very same rows into copies of the tables.

use std::time::Instant;

use anyhow::{Result, ensure};
use postgres::Client;

use crate::cli::{CreateArgs, Switch};
use crate::connect::Server;
use crate::report::{self, Spread, number};
use crate::setup;
use crate::shape::{Order, Shape};

/// What creation writes to.
const TABLES: [&str; 4] = ["tasks", "steps", "ready", "transitions"];

pub fn run(server: &Server, admin: &mut Client, args: &CreateArgs) -> Result<bool> {
    println!(
        "\n## create: create_tasks of {} tasks with 5 steps against INSERT ... SELECT\n\n{} rounds in turns, synchronous_commit {}.",
        args.tasks,
        args.rounds,
        if args.sync == Switch::On { "on" } else { "off" }
    );
    let mut client = server.connect_with(args.sync == Switch::On)?;
    let namespace = setup::namespace("create")?;
    setup::register(&mut client, Shape::Linear5, &namespace, Order::Fifo)?;
    copy_tables(&mut client)?;
    admin.batch_execute("CHECKPOINT")?;
    // Unmeasured: both sides start with some rows and warm caches.
    round(&mut client, &namespace, 100)?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(round(&mut client, &namespace, args.tasks)?);
    }
    report::head(&[
        "round",
        "create_tasks steps/s",
        "rows/s",
        "INSERT ... SELECT rows/s",
        "share",
    ]);
    for (no, round) in rounds.iter().enumerate() {
        let steps = (args.tasks * Shape::Linear5.steps()) as f64;
        report::row(&[
            (no + 1).to_string(),
            number(steps / round.engine, 0),
            number(round.rows as f64 / round.engine, 0),
            number(round.rows as f64 / round.plain, 0),
            number(round.plain / round.engine, 2),
        ]);
    }
    let share = Spread::of(rounds.iter().map(|round| round.plain / round.engine));
    println!(
        "\ncreate_tasks reaches {} of the plain INSERT ... SELECT.",
        share.show(2)
    );
    client.batch_execute("DROP SCHEMA tasker_load_copy CASCADE")?;
    Ok(true)
}

struct Round {
    rows: u64,
    engine: f64,
    plain: f64,
}

/// The copies have the columns, defaults, checks, keys, indexes, foreign keys and storage options of the engine's tables.
fn copy_tables(client: &mut Client) -> Result<()> {
    client.batch_execute(
        "DROP SCHEMA IF EXISTS tasker_load_copy CASCADE; CREATE SCHEMA tasker_load_copy",
    )?;
    for table in TABLES {
        client.batch_execute(&format!(
            "CREATE TABLE tasker_load_copy.{table} (LIKE tasker_engine.{table} INCLUDING ALL);
             CREATE TEMP TABLE stage_{table} (LIKE tasker_engine.{table})"
        ))?;
        let rest = client.query(
            "SELECT format('ALTER TABLE tasker_load_copy.%I SET (%s)', relname, array_to_string(reloptions, ', '))
             FROM pg_class WHERE oid = $1::text::regclass AND reloptions IS NOT NULL
             UNION ALL
             SELECT format('ALTER TABLE tasker_load_copy.%I ADD %s', r.relname, pg_get_constraintdef(c.oid))
             FROM pg_class r JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype = 'f'
             WHERE r.oid = $1::text::regclass",
            &[&format!("tasker_engine.{table}")],
        );
        for row in rest? {
            client.batch_execute(&row.try_get::<_, String>(0)?)?;
        }
    }
    Ok(())
}

fn round(client: &mut Client, namespace: &str, tasks: u64) -> Result<Round> {
    let contexts = "ARRAY(SELECT jsonb_build_object('order_id', n, 'customer', 'c' || n) FROM generate_series(1, $3::integer) n)";
    client.batch_execute(
        "DROP TABLE IF EXISTS created; CREATE TEMP TABLE created (task_uuid uuid)",
    )?;
    let create = client.prepare(&format!(
        "INSERT INTO created SELECT * FROM tasker.create_tasks($1, {contexts}, namespace => $2)"
    ))?;
    let started = Instant::now();
    let count = client.execute(
        &create,
        &[&Shape::Linear5.name(), &namespace, &(tasks as i32)],
    )?;
    let engine = started.elapsed().as_secs_f64();
    ensure!(
        count == tasks,
        "create_tasks returned {count} tasks instead of {tasks}"
    );

    for table in TABLES {
        client.batch_execute(&format!(
            "TRUNCATE stage_{table};
             INSERT INTO stage_{table} SELECT t.* FROM tasker_engine.{table} t JOIN created USING (task_uuid);
             ANALYZE stage_{table}"
        ))?;
    }
    let mut rows = 0;
    let started = Instant::now();
    let mut transaction = client.transaction()?;
    for table in TABLES {
        rows += transaction.execute(
            &format!("INSERT INTO tasker_load_copy.{table} SELECT * FROM stage_{table}"),
            &[],
        )?;
    }
    transaction.commit()?;
    Ok(Round {
        rows,
        engine,
        plain: started.elapsed().as_secs_f64(),
    })
}
