//! The background processes as they are now, which executors ended, and waking the launcher.

use crate::error::Result;
use crate::pg::call::{self, Call, Output};
use crate::pg::datum;
use crate::processes::{self, Kind};

crate::pg::call::sql_function! {
    background_activity;
    executor_restarts;
    waiting_database_oids;
    wake_launcher;
}

fn executor_restarts(call: &mut Call) -> Result<Output> {
    for entry in processes::restarts() {
        call.row(&[
            datum::oid(entry.database.into()),
            datum::text(entry.pool.as_str()),
            datum::int8(entry.total),
            datum::int4(entry.in_a_row as i32),
            datum::timestamp(entry.last_ended_at),
            datum::timestamp(entry.next_start_at),
        ])?;
    }
    Ok(Output::Rows)
}

fn background_activity(call: &mut Call) -> Result<Output> {
    for slot in processes::all() {
        let executor = slot.kind == Kind::Executor;
        let state = if slot.stop {
            "draining"
        } else {
            slot.state.as_str()
        };
        call.row(&[
            datum::int4(slot.pid),
            datum::oid(slot.database.into()),
            datum::text(slot.kind.as_str()),
            datum::opt_text(executor.then(|| slot.pool.as_str())),
            datum::opt_text(executor.then(|| slot.worker_id.as_str())),
            datum::text(state),
            datum::timestamp(slot.started_at),
            datum::timestamp(slot.state_since),
            datum::int8(slot.busy_us),
            datum::int8(slot.steps),
            datum::int8(slot.failures),
            datum::opt(slot.step.as_ref(), datum::uuid),
            datum::opt(
                (slot.stop_by != 0).then(|| call::clock() + slot.stop_by - call::tick()),
                datum::timestamp,
            ),
        ])?;
    }
    Ok(Output::Rows)
}

fn waiting_database_oids(call: &mut Call) -> Result<Output> {
    for oid in processes::waiting_databases() {
        call.row(&[datum::oid(oid.into())])?;
    }
    Ok(Output::Rows)
}

/// False: there is no launcher to wake.
fn wake_launcher(_: &mut Call) -> Result<Output> {
    processes::wake_launcher();
    Ok(Output::from(processes::is_preloaded()))
}
