//! Claims that count fewer steps than they hold: a report would close them, and their other steps would lose the lease. A
//! claim that counts more is normal, because what an operator takes away is not counted at once.

use pgrx::pg_sys;
use tasker_rules::engine::integrity::Fault;

use super::Disagreement;
use crate::error::Result;
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

static SHORT: Statement = Statement::new(
    "SELECT c.claim_id, h.task_uuids[1], h.step_nos[1]
     FROM (SELECT o.claim_id, o.remaining, o.task_uuids, o.step_nos
           FROM tasker_engine.claims o ORDER BY o.claim_id LIMIT $1) c
     CROSS JOIN LATERAL (
         SELECT count(*) AS held, array_agg(u.task_uuid) AS task_uuids, array_agg(u.step_no) AS step_nos
         FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
         JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
         WHERE s.state = 'i' AND s.claim_id = c.claim_id) h
     WHERE c.remaining < h.held
     ORDER BY c.claim_id",
    &[pg_sys::INT8OID],
);

static LOCK: Statement = Statement::new(
    "SELECT FROM tasker_engine.claims c WHERE c.claim_id = $1 FOR UPDATE",
    &[pg_sys::INT8OID],
);

// A report in flight has not lowered the claim yet, and its steps still count here: it waits for this row.
static COUNT: Statement = Statement::new(
    "UPDATE tasker_engine.claims c
     SET remaining = greatest(c.remaining, (
         SELECT count(*)::integer
         FROM unnest(c.task_uuids, c.step_nos) AS u (task_uuid, step_no)
         JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no
         WHERE s.state = 'i' AND s.claim_id = c.claim_id))
     WHERE c.claim_id = $1",
    &[pg_sys::INT8OID],
);

/// The short ones among the first of all claims, ascending, each with the first step that it holds.
pub(super) fn short(session: &Session, most: i64) -> Result<Vec<(i64, Disagreement)>> {
    let rows = session.read(&SHORT, &[datum::int8(most)])?;
    rows.iter()
        .map(|row| {
            let found = Disagreement {
                fault: Fault::WrongClaim,
                task: row.get(2)?,
                step: row.opt(3),
            };
            Ok((row.get(1)?, found))
        })
        .collect()
}

pub(super) fn count_again(session: &Session, claim_id: i64) -> Result<()> {
    session.run(&LOCK, &[datum::int8(claim_id)])?;
    session.run(&COUNT, &[datum::int8(claim_id)])?;
    Ok(())
}
