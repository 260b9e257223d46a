//! One state transition with its audit row against one plain UPDATE of a row like it, in the same session.

use std::time::Instant;

use anyhow::{Context, Result};
use postgres::types::ToSql;
use postgres::{Client, Statement};

use crate::cli::{Switch, TransitionArgs};
use crate::connect::Server;
use crate::raw::Uuid;
use crate::report::{self, Spread, number};
use crate::setup;
use crate::shape::{Order, Shape};

/// What is timed, in the order in which a task and its first step go through it.
const KINDS: [(&str, &str); 4] = [
    (
        "task pending -> in_progress",
        "SELECT tasker.transition_task($1, 'in_progress')",
    ),
    (
        "step pending -> in_progress, by hand",
        "SELECT tasker.transition_step($1, 'in_progress')",
    ),
    (
        "step in_progress -> complete, by hand",
        "SELECT tasker.transition_step($1, 'complete')",
    ),
    (
        "plain UPDATE of a step's row",
        "UPDATE tasker_load_copy.steps SET state = 'i', claim_number = claim_number + 1 WHERE task_uuid = $1 AND step_no = 1",
    ),
];
const PLAIN: usize = 3;

pub fn run(server: &Server, admin: &mut Client, args: &TransitionArgs) -> Result<bool> {
    let sync = args.sync == Switch::On;
    println!(
        "\n## transition: one state transition against one plain UPDATE\n\nOne session, {} of each x {} rounds in turns, synchronous_commit {}; the middle half of the rounds in parentheses.",
        args.calls,
        args.rounds,
        if sync { "on" } else { "off" }
    );
    let mut client = server.connect_with(sync)?;
    let namespace = setup::namespace("transition")?;
    setup::register(&mut client, Shape::Linear5, &namespace, Order::Fifo)?;
    setup::create(
        &mut client,
        Shape::Linear5,
        &namespace,
        (args.calls * (args.rounds + 1)) as u64,
    )?;
    let mut tasks = setup::sample(&mut client, &namespace, i64::MAX)?;
    client.batch_execute(
        "DROP SCHEMA IF EXISTS tasker_load_copy CASCADE; CREATE SCHEMA tasker_load_copy;
         CREATE TABLE tasker_load_copy.steps (LIKE tasker_engine.steps INCLUDING ALL) WITH (fillfactor = 60);
         INSERT INTO tasker_load_copy.steps SELECT * FROM tasker_engine.steps; ANALYZE tasker_load_copy.steps",
    )?;
    setup::settle(admin)?;
    let statements = KINDS
        .iter()
        .map(|(what, sql)| {
            client
                .prepare(sql)
                .with_context(|| format!("{what} cannot be prepared"))
        })
        .collect::<Result<Vec<Statement>>>()?;
    let mut rounds = Vec::new();
    while tasks.len() >= args.calls {
        let block = tasks.split_off(tasks.len() - args.calls);
        rounds.push(round(&mut client, &statements, &block)?);
    }
    rounds.remove(0); // warm-up
    client.batch_execute("DROP SCHEMA tasker_load_copy CASCADE")?;
    report::head(&["what", "median us", "ratio to the plain UPDATE"]);
    for (no, (what, _)) in KINDS.iter().enumerate() {
        let ratio = Spread::middle_half(rounds.iter().map(|round| round[no] / round[PLAIN]));
        let median = Spread::of(rounds.iter().map(|round| round[no])).median;
        report::row(&[(*what).to_owned(), number(median, 0), ratio.show(2)]);
    }
    Ok(true)
}

/// The median microseconds of each kind.
fn round(client: &mut Client, statements: &[Statement], tasks: &[Uuid]) -> Result<Vec<f64>> {
    let mut medians = Vec::new();
    for (kind, statement) in statements.iter().enumerate() {
        let mut times = Vec::with_capacity(tasks.len());
        for task in tasks {
            let key = if (1..PLAIN).contains(&kind) {
                task.first_step()
            } else {
                *task
            };
            let params: [&(dyn ToSql + Sync); 1] = [&key];
            let started = Instant::now();
            client
                .execute(statement, &params)
                .with_context(|| KINDS[kind].0)?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        medians.push(Spread::of(times).median);
    }
    Ok(medians)
}
