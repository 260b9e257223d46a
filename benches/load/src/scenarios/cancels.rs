//! Another session that cancels tasks at random, half of them while they are being worked on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postgres::error::SqlState;

use crate::connect::Server;
use crate::raw::Uuid;
use crate::setup;
use crate::worker::{Recent, patiently};

/// What the session did.
#[derive(Debug, Default)]
pub struct Cancelled {
    pub done: u64,
    pub refused: u64,
    pub deadlocks: u64,
}

/// Cancels until told to stop.
pub fn storm(
    server: &Server,
    namespace: &str,
    sync: bool,
    per_second: u32,
    recent: &Recent,
    stop: &AtomicBool,
) -> Result<Cancelled> {
    let mut client = server.connect_with(sync)?;
    let cancel = client
        .prepare("SELECT tasker.cancel_task($1, 'storm')")
        .context("tasker.cancel_task cannot be prepared")?;
    let mut waiting = setup::sample(&mut client, namespace, 20_000)?;
    let mut result = Cancelled::default();
    let pause = Duration::from_secs_f64(1.0 / per_second as f64);
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let Some(task) = pick(&mut waiting, recent) else {
            thread::sleep(pause);
            continue;
        };
        match patiently(&mut result.deadlocks, || {
            client.query_one(&cancel, &[&task])
        }) {
            Ok(_) => result.done += 1,
            // Complete, in error or cancelled meanwhile.
            Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
                result.refused += 1
            }
            Err(error) => return Err(error).context("cancel_task failed"),
        }
        next += pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(result)
}

fn pick(waiting: &mut Vec<Uuid>, recent: &Recent) -> Option<Uuid> {
    if fastrand::bool()
        && let Ok(recent) = recent.lock()
        && let Some(task) = fastrand::choice(recent.iter())
    {
        return Some(*task);
    }
    waiting.pop()
}
