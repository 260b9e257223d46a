//! Many finished steps in little time: a few tasks run through the engine, then their rows are copied under other uuids.

use std::time::Duration;

use anyhow::{Result, ensure};
use postgres::Client;

use crate::connect::Server;
use crate::lane::Lane;
use crate::shape::{Order, Shape};
use crate::worker::Manner;

/// Tasks that the engine runs.
const ORIGINALS: u64 = 4_000;
const COPIES_PER_STATEMENT: u64 = 10;

/// Leaves `steps` finished steps (rounded up) and their audit log in the database.
pub fn make(server: &Server, steps: u64) -> Result<()> {
    let mut admin = server.connect_with(false)?;
    let shape = Shape::Linear5;
    let manner = Manner {
        namespace: String::new(),
        batch: 200,
        sync: false,
        full_rows: false,
        results_bytes: 32,
    };
    let mut lane = Lane::open(server, &mut admin, shape, Order::Steady, 2, &manner, None)?;
    let originals = ORIGINALS.min(steps.div_ceil(shape.steps()));
    crate::setup::create(&mut admin, shape, &lane.namespace, originals)?;
    while lane.total.completed < originals * shape.steps() {
        let before = lane.total.completed;
        lane.run(Duration::from_millis(500))?;
        lane.drain()?;
        ensure!(
            lane.total.completed > before,
            "the tasks of the history do not finish"
        );
    }
    copy(
        &mut admin,
        (steps / (originals * shape.steps())).saturating_sub(1),
    )
}

/// A task's uuid begins with its time: copies are in the past, each in its own 65 seconds.
const OLDER: &str = "(lpad(to_hex(('x' || left(o.task_uuid::text, 8))::bit(32)::bigint - n), 8, '0') || substr(o.task_uuid::text, 9))::uuid";

fn copy(client: &mut Client, copies: u64) -> Result<()> {
    for table in ["tasks", "steps", "transitions"] {
        // Identity columns give the copies new numbers.
        let rows = client.query(
            "SELECT quote_ident(attname) FROM pg_attribute
             WHERE attrelid = ('tasker_engine.' || $1)::regclass AND attnum > 0 AND NOT attisdropped
               AND attidentity = '' AND attgenerated = ''",
            &[&table],
        )?;
        let columns = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<Vec<String>, _>>()?;
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                if column == "task_uuid" {
                    OLDER.to_owned()
                } else {
                    format!("o.{column}")
                }
            })
            .collect();
        client.batch_execute(&format!(
            "CREATE TEMP TABLE original AS SELECT * FROM tasker_engine.{table}"
        ))?;
        let statement = format!(
            "INSERT INTO tasker_engine.{table} ({}) SELECT {} FROM generate_series($1::bigint, $2::bigint) n, original o",
            columns.join(", "),
            values.join(", ")
        );
        let mut done = 0;
        while done < copies {
            let last = copies.min(done + COPIES_PER_STATEMENT);
            client.execute(&statement, &[&(done as i64 + 1), &(last as i64)])?;
            done = last;
        }
        client.batch_execute("DROP TABLE original")?;
    }
    Ok(())
}
