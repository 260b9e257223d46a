//! The duties of maintenance, each run when it is due.

use pgrx::pg_sys;

use super::process::{self, SECOND_US, SLOWEST_RESTART_US, transaction};
use crate::error::Result;
use crate::pg::call;
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

/// A duty whose time comes within this is due.
const SLACK_US: i64 = 100_000;
/// A duty that has more to do runs again at once, at most this many times before the other duties run.
const ROUNDS: usize = 50;

static DUTIES: Statement = Statement::new(
    "SELECT d.duty, (date_part('epoch', d.every) * 1000000)::bigint FROM tasker_engine.duties() d",
    &[],
);

static RUN_DUTY: Statement =
    Statement::new("SELECT tasker_engine.run_duty($1)", &[pg_sys::TEXTOID]);

struct Duty {
    name: String,
    every_us: i64,
    /// A tick.
    due_at: i64,
    failed: u32,
}

#[derive(Default)]
pub struct Duties(Vec<Duty>);

impl Duties {
    pub fn read(session: &Session) -> Result<Self> {
        session
            .read(&DUTIES, &[])?
            .iter()
            .map(|row| {
                Ok(Duty {
                    name: row.get(1)?,
                    every_us: row.get(2)?,
                    due_at: 0,
                    failed: 0,
                })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Runs the duties that are due.
    pub fn run(&mut self) {
        let tick = call::tick();
        for duty in &mut self.0 {
            if duty.due_at > tick + SLACK_US {
                continue;
            }
            for _ in 0..ROUNDS {
                process::check_for_interrupts();
                let done = transaction(|session| {
                    let rows = session.run(&RUN_DUTY, &[datum::text(&duty.name)])?;
                    Ok(rows.first().and_then(|row| row.opt::<i64>(1)).unwrap_or(0))
                });
                match done {
                    Ok(done) if done > 0 => duty.failed = 0,
                    Ok(0) => {
                        duty.failed = 0;
                        break;
                    }
                    // Recorded by run_duty.
                    Ok(_) => {
                        duty.failed = duty.failed.saturating_add(1);
                        break;
                    }
                    Err(error) => {
                        duty.failed = duty.failed.saturating_add(1);
                        process::log_error(&format!("duty {} failed", duty.name), &error);
                        break;
                    }
                }
            }
            // A duty that keeps failing runs less and less often, down to once a minute.
            let wait = duty.every_us.max(if duty.failed == 0 {
                0
            } else {
                (SECOND_US << duty.failed.min(6)).min(SLOWEST_RESTART_US)
            });
            duty.due_at = tick + wait;
        }
    }
}
