//! Starting steps: from pending or error to in progress, under a claim, without ever waiting.

use pgrx::pg_sys;
use tasker_rules::engine::readiness;
use tasker_rules::engine::state::StepState;

use crate::error::Result;
use crate::orchestration::queue_entries::Found;
use crate::orchestration::{Engine, audit};
use crate::pg::datum::{self, Timestamp};
use crate::pg::scan::{self, Compare, Walk};
use crate::pg::spi::Statement;
use crate::pg::tables::Operation;
use crate::storage::{self, steps};

/// A step that was started, with the numbers it has now, which stop at the end of their types. `index` is the
/// place of its entry.
pub struct Started {
    pub index: usize,
    pub named_task_id: i32,
    pub claim_number: i32,
    pub attempt: i16,
    pub retry_limit: i16,
    /// The id of the change from error to pending, if the step had failed.
    pub again_id: Option<i64>,
    /// The id of the change to in_progress, which no row of the log has.
    pub run_id: i64,
    /// It was taken from its last worker, perhaps because it had killed it, so the claim is for this step only.
    pub alone: bool,
}

/// Starts the steps of these entries under a claim. Skips rows that another transaction holds, and rows that contradict
/// their entries. A step that is handed out alone starts only if it is the first; `first`: whether the claim has no step yet.
pub fn start_steps(
    engine: &Engine,
    entries: &[&Found],
    claim_id: i64,
    first: bool,
    ids: &audit::Ids,
) -> Result<Vec<Started>> {
    match Walk::to_change(&storage::STEPS, Operation::Update)? {
        Some(walk) => start_below(&walk, entries, claim_id, first, ids),
        None => start_by_statement(engine, entries, claim_id, first, ids),
    }
}

fn start_below(
    walk: &Walk<10>,
    entries: &[&Found],
    claim_id: i64,
    first: bool,
    ids: &audit::Ids,
) -> Result<Vec<Started>> {
    let mut indexes = walk.index_writer();
    let mut started = Vec::new();
    for (index, found) in entries.iter().enumerate() {
        let entry = &found.entry;
        let keys = [
            walk.key(
                steps::TASK_UUID,
                Compare::Equal,
                datum::uuid(&entry.key.task),
            )?,
            walk.key(steps::STEP_NO, Compare::Equal, datum::int2(entry.key.no))?,
        ];
        walk.each(keys, |row| {
            if let Some(now) = startable(row, index, entry.available_at, ids)?
                && (!now.alone || first && started.is_empty())
                && row.update_unless_held(
                    &mut indexes,
                    [
                        (steps::CLAIM_ID, datum::int8(claim_id)),
                        (steps::CLAIM_NUMBER, datum::int4(now.claim_number)),
                        (steps::ATTEMPTS, datum::int2(now.attempt)),
                        (steps::STATE, datum::state(StepState::InProgress)),
                        (steps::RUN_ID, datum::int8(now.run_id)),
                    ],
                )?
            {
                started.push(now);
            }
            Ok(false)
        })?;
        if started.last().is_some_and(|started| started.alone) {
            break;
        }
    }
    Ok(started)
}

/// What the step will be, if its row agrees with the entry.
fn startable(
    row: &scan::Found<10>,
    index: usize,
    available_at: Timestamp,
    ids: &audit::Ids,
) -> Result<Option<Started>> {
    let was: StepState = row.get(steps::STATE)?;
    if !readiness::entry_agrees(was, row.opt(steps::AVAILABLE_AT), available_at) {
        return Ok(None);
    }
    Ok(Some(Started {
        index,
        named_task_id: row.get(steps::NAMED_TASK_ID)?,
        claim_number: row.get::<i32>(steps::CLAIM_NUMBER)?.saturating_add(1),
        attempt: row.get::<i16>(steps::ATTEMPTS)?.saturating_add(1),
        retry_limit: row.get(steps::RETRY_LIMIT)?,
        again_id: (was == StepState::Error).then(|| ids.next()).transpose()?,
        run_id: ids.next()?,
        // A reported step keeps its claim; taking it away clears the claim.
        alone: was == StepState::Error && row.opt::<i64>(steps::CLAIM_ID).is_none(),
    }))
}

static START: Statement = Statement::new(
    "WITH held AS MATERIALIZED (
         SELECT u.ord, u.run_id, s.task_uuid, s.step_no, s.state, s.state = 'e' AND s.claim_id IS NULL AS alone
         FROM unnest($1, $2, $3, $6) WITH ORDINALITY AS u (task_uuid, step_no, available_at, run_id, ord)
         JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
         WHERE tasker_engine.entry_agrees(s.state, s.available_at, u.available_at)
         FOR NO KEY UPDATE OF s SKIP LOCKED),
     first AS (SELECT h.ord, h.alone FROM held h ORDER BY h.ord LIMIT 1)
     UPDATE tasker_engine.steps s
     SET state = 'i', claim_id = $4, claim_number = least(s.claim_number, 2147483646) + 1, attempts = least(s.attempts, 32766) + 1,
         run_id = h.run_id
     FROM held h
     WHERE s.task_uuid = h.task_uuid AND s.step_no = h.step_no
       AND CASE WHEN $5 AND (SELECT f.alone FROM first f) THEN h.ord = (SELECT f.ord FROM first f) ELSE NOT h.alone END
     RETURNING h.ord, h.state, s.named_task_id, s.claim_number, s.attempts, s.retry_limit, h.alone",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
        pg_sys::INT8OID,
        pg_sys::BOOLOID,
        pg_sys::INT8ARRAYOID,
    ],
);

fn start_by_statement(
    engine: &Engine,
    entries: &[&Found],
    claim_id: i64,
    first: bool,
    ids: &audit::Ids,
) -> Result<Vec<Started>> {
    let keys = || entries.iter().map(|found| &found.entry.key);
    // Two for each, because it is not known yet which have failed before.
    let new: Vec<(i64, i64)> = entries
        .iter()
        .map(|_| Ok((ids.next()?, ids.next()?)))
        .collect::<Result<_>>()?;
    let rows = engine.session.run(
        &START,
        &[
            datum::uuids(keys().map(|key| &key.task)),
            datum::int2s(keys().map(|key| key.no)),
            datum::timestamps(entries.iter().map(|found| Some(found.entry.available_at))),
            datum::int8(claim_id),
            datum::boolean(first),
            datum::int8s(new.iter().map(|(_, run_id)| *run_id)),
        ],
    )?;
    let mut started = rows
        .iter()
        .map(|row| {
            let index = row.get::<i64>(1)? as usize - 1;
            let was: StepState = row.get(2)?;
            Ok(Started {
                index,
                again_id: (was == StepState::Error).then_some(new[index].0),
                run_id: new[index].1,
                named_task_id: row.get(3)?,
                claim_number: row.get(4)?,
                attempt: row.get(5)?,
                retry_limit: row.get(6)?,
                alone: row.get(7)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    // Two entries of one step start it once; the rest is in the order of the queue.
    started.sort_by_key(|started| started.index);
    Ok(started)
}
