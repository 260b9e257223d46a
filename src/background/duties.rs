//! The duties of maintenance, each run when it is due.

use pgrx::pg_sys;

use super::process::{self, SECOND_US, SLOWEST_RESTART_US, transaction};
use crate::error::Result;
use crate::pg::call;
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};

/// A duty whose time comes within this is due.
const SLACK_US: i64 = 100_000;
/// How long duties that have more to do go on before the coordinator looks after its executors.
const LONGEST_US: i64 = 500_000;

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

    /// Runs the duties that are due, one small batch of each in turn: none waits for all that another has to do. Says whether a duty has more.
    /// In between calls `between`.
    pub fn run(&mut self, mut between: impl FnMut()) -> bool {
        let begun = call::tick();
        loop {
            let mut more = false;
            for duty in &mut self.0 {
                let tick = call::tick();
                if duty.due_at <= tick + SLACK_US {
                    process::check_for_interrupts();
                    more |= duty.run(tick);
                    between();
                }
            }
            if !more || call::tick() - begun > LONGEST_US {
                return more;
            }
        }
    }
}

impl Duty {
    /// Runs one batch. Says whether there is more: then the duty stays due.
    fn run(&mut self, tick: i64) -> bool {
        let done = transaction(|session| {
            let rows = session.run(&RUN_DUTY, &[datum::text(&self.name)])?;
            Ok(rows.first().and_then(|row| row.opt::<i64>(1)).unwrap_or(0))
        });
        match done {
            Ok(done) if done > 0 => {
                self.failed = 0;
                return true;
            }
            Ok(0) => self.failed = 0,
            // Recorded by run_duty.
            Ok(_) => self.failed = self.failed.saturating_add(1),
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                process::log_error(&format!("duty {} failed", self.name), &error);
            }
        }
        // A duty that keeps failing runs less and less often, down to once a minute.
        let wait = self.every_us.max(if self.failed == 0 {
            0
        } else {
            (SECOND_US << self.failed.min(6)).min(SLOWEST_RESTART_US)
        });
        self.due_at = tick + wait;
        false
    }
}
