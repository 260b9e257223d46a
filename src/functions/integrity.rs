//! Finding and repairing rows that contradict each other.

use pgrx::pg_sys;
use tasker_rules::engine::ids;

use crate::error::Result;
use crate::orchestration::integrity::{self, Disagreement, Range};
use crate::orchestration::{Engine, format_uuid};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

crate::pg::call::sql_function! {
    check_integrity;
    check_page;
    find_and_repair;
}

/// One row of the result: what would be done about it, or what was.
fn put(call: &mut Call, found: &Disagreement, done: bool) -> Result<()> {
    let [problem, would, did] = found.fault.words();
    let step = found.step.map(|no| ids::step_uuid(&found.task, no));
    call.row(&[
        datum::text(problem),
        datum::uuid(&found.task),
        step.as_ref().map_or(datum::Arg::NULL, datum::uuid),
        datum::text(if done { did } else { would }),
    ])
}

fn check_integrity(call: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    integrity::check(&session, &Range::ALL, i64::MAX, |found| {
        put(call, &found, false)
    })?;
    Ok(Output::Rows)
}

fn find_and_repair(call: &mut Call) -> Result<Output> {
    call::require_primary()?;
    call::require_read_committed()?;
    let session = Session::open()?;
    let mut engine = Engine::open_any_isolation(&session);
    integrity::repair(&mut engine, |found| put(call, &found, true))?;
    engine.close()?;
    Ok(Output::Rows)
}

// The last task of a page of the given number of tasks or of 50,000 steps; NULL if no task is behind it.
static PAGE: Statement = Statement::new(
    "SELECT CASE WHEN EXISTS (SELECT FROM tasker_engine.tasks t WHERE t.task_uuid > o.task_uuid) THEN o.task_uuid END
     FROM (SELECT t.task_uuid, n.steps, sum(n.steps) OVER (ORDER BY t.task_uuid) AS so_far
           FROM (SELECT l.task_uuid, l.named_task_id FROM tasker_engine.tasks l
                 WHERE l.task_uuid > $1 ORDER BY l.task_uuid LIMIT $2) t
           CROSS JOIN LATERAL (
               SELECT max(s.step_no)::integer AS steps FROM tasker.named_tasks_named_steps s
               WHERE s.named_task_id = t.named_task_id) n) o
     WHERE o.so_far - o.steps < 50000
     ORDER BY o.task_uuid DESC LIMIT 1",
    &[pg_sys::UUIDOID, pg_sys::INT8OID],
);

const PAGE_TASKS: i64 = 5000;
const PAGE_CLAIMS: i64 = 1000;

/// Checks the next tasks behind one, and the first claims.
fn check_page(call: &mut Call) -> Result<Output> {
    let after = call.uuid(0, "after_uuid")?;
    let session = Session::open()?;
    let args = [datum::uuid(&after), datum::int8(PAGE_TASKS)];
    let last: Option<datum::Uuid> = session
        .read(&PAGE, &args)?
        .first()
        .and_then(|row| row.opt(1));
    let range = Range {
        after,
        upto: last.unwrap_or(Range::ALL.upto),
    };
    let (mut count, mut example) = (0, None);
    integrity::check(&session, &range, PAGE_CLAIMS, |found| {
        count += 1;
        if example.is_none() {
            let [problem, ..] = found.fault.words();
            example = Some(format!("{problem} of task {}", format_uuid(&found.task)));
        }
        Ok(())
    })?;
    call.row(&[
        last.as_ref().map_or(datum::Arg::NULL, datum::uuid),
        datum::int8(count),
        datum::opt_text(example.as_deref()),
    ])?;
    Ok(Output::Rows)
}
