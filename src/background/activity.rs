//! The background processes as they are now, and which of them ended: `tasker_engine.background_activity` and
//! `tasker_engine.executor_restarts`.

use super::shared::{self, Kind};
use crate::error::Result;
use crate::pg::call::{Call, Output};
use crate::pg::datum;

crate::sql_function! {
    background_activity / pg_finfo_background_activity => list;
    executor_restarts / pg_finfo_executor_restarts => restarts;
}

fn restarts(call: &mut Call) -> Result<Output> {
    for entry in shared::restarts() {
        call.row(&[
            Some(pgrx::pg_sys::Datum::from(entry.database)),
            datum::text(entry.pool.as_str()),
            datum::int8(entry.total),
            datum::int4(entry.in_a_row as i32),
            datum::timestamp(entry.last_ended_at),
            datum::timestamp(entry.next_start_at),
        ])?;
    }
    Ok(Output::Rows)
}

fn list(call: &mut Call) -> Result<Output> {
    for slot in shared::processes() {
        let executor = slot.kind == Kind::Executor;
        let state = if slot.stop {
            "draining"
        } else {
            slot.state.as_str()
        };
        call.row(&[
            datum::int4(slot.pid),
            Some(pgrx::pg_sys::Datum::from(slot.database)),
            datum::text(slot.kind.as_str()),
            executor.then(|| datum::text(slot.pool.as_str())).flatten(),
            executor
                .then(|| datum::text(slot.worker_id.as_str()))
                .flatten(),
            datum::text(state),
            datum::timestamp(slot.started_at),
            datum::timestamp(slot.state_since),
            datum::int8(slot.busy_us),
            datum::int8(slot.steps),
            datum::int8(slot.failures),
            slot.step.as_ref().and_then(datum::uuid),
            (slot.stop_by != 0)
                .then(|| datum::timestamp(slot.stop_by))
                .flatten(),
        ])?;
    }
    Ok(Output::Rows)
}
