//! Before the clock starts: the extension, templates, tasks, a vacuumed and checkpointed server.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use postgres::Client;

use crate::raw::Uuid;
use crate::shape::{Order, Shape};

/// Tasks per create_tasks call.
const CHUNK: i32 = 5_000;

/// Makes sure that the extension is there; `reset` drops it with all its data first.
pub fn extension(client: &mut Client, reset: bool) -> Result<()> {
    client.batch_execute("SET client_min_messages = warning")?;
    if reset {
        client.batch_execute("DROP EXTENSION IF EXISTS tasker_ext CASCADE")?;
    }
    client
        .batch_execute("CREATE EXTENSION IF NOT EXISTS tasker_ext")
        .context("the extension cannot be created")?;
    Ok(())
}

/// A library above this size carries debug information.
const DEV_BUILD_BYTES: u64 = 50 << 20;

/// Says so when the installed library is a dev build: its figures mean nothing. Silent where the server's files cannot be read.
pub fn warn_of_dev_build(client: &mut Client) -> Result<()> {
    let row = client.query_opt(
        "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'",
        &[],
    )?;
    let Some(folder) = row.map(|row| row.try_get::<_, String>(0)).transpose()? else {
        return Ok(());
    };
    let library = std::path::Path::new(&folder).join("tasker_ext.so");
    let Ok(library) = std::fs::metadata(library) else {
        return Ok(());
    };
    // Only dev builds carry debug information: ten times the size of a release.
    if library.len() > DEV_BUILD_BYTES {
        println!(
            "\nWARNING: the installed extension is a dev build; install a release build before measuring."
        );
    }
    Ok(())
}

/// A namespace that no earlier run has used.
pub fn namespace(scenario: &str) -> Result<String> {
    let moment = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(format!("bench_{scenario}_{moment}"))
}

/// Begins work in a database that has no template yet, of a server that must preload the extension.
pub fn begin_preloaded(client: &mut Client) -> Result<()> {
    let preloaded: String = client
        .query_one("SHOW shared_preload_libraries", &[])?
        .try_get(0)?;
    ensure!(
        preloaded.contains("tasker_ext"),
        "the server does not preload tasker_ext"
    );
    client.execute("SELECT FROM tasker.resume_after_restore()", &[])?;
    Ok(())
}

pub fn register(client: &mut Client, shape: Shape, namespace: &str, order: Order) -> Result<()> {
    let template = shape.template(namespace, order).to_string();
    client
        .execute("SELECT tasker.register_template($1)", &[&template])
        .context("the template was refused")?;
    Ok(())
}

/// Creates `count` tasks and returns how long that took, in seconds.
pub fn create(client: &mut Client, shape: Shape, namespace: &str, count: u64) -> Result<f64> {
    let statement = client.prepare(
        "SELECT count(*) FROM tasker.create_tasks($1, ARRAY(
             SELECT jsonb_build_object('order_id', n, 'customer', 'c' || n, 'even_number', n * 2)
             FROM generate_series(1, $3) n), namespace => $2)",
    )?;
    let started = Instant::now();
    let mut left = count;
    while left > 0 {
        let chunk = left.min(CHUNK as u64) as i32;
        client.query_one(&statement, &[&shape.name(), &namespace, &chunk])?;
        left -= chunk as u64;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// Fresh statistics, no dead rows, and a checkpoint that does not fall into the measurement.
pub fn settle(client: &mut Client) -> Result<()> {
    let rows = client.query(
        "SELECT quote_ident(relname) FROM pg_class
         WHERE relnamespace = 'tasker_engine'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname",
        &[],
    )?;
    for row in rows {
        client.batch_execute(&format!(
            "VACUUM (ANALYZE) tasker_engine.{}",
            row.try_get::<_, String>(0)?
        ))?;
    }
    client.batch_execute("CHECKPOINT")?;
    Ok(())
}

/// Some tasks of a namespace, at random.
pub fn sample(client: &mut Client, namespace: &str, count: i64) -> Result<Vec<Uuid>> {
    let rows = client.query(
        "SELECT t.task_uuid
         FROM tasker_engine.tasks t
         JOIN tasker.named_tasks n USING (named_task_id)
         JOIN tasker.task_namespaces s USING (task_namespace_id)
         WHERE s.name = $1 AND t.state IN ('p', 'i')
         ORDER BY random() LIMIT $2",
        &[&namespace, &count],
    )?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?)
}
