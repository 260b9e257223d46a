//! One operation on many tasks. Each task has an outcome of its own and none stops the others: whether the operation fits is asked
//! before anything of the task changes, so that nothing has to be undone. Nothing waits.

use super::tasks::{cancel_locked, may_cancel, may_resolve, may_retry, set_task, take_up};
use crate::error::{Error, Result};
use crate::orchestration::Engine;
use crate::orchestration::locked_task::LockedTask;
use crate::pg::datum::{Jsonb, Uuid};
use crate::pg::process;
use tasker_rules::engine::state::TaskState;

/// Steps that one call locks; the task that goes beyond is the last.
const MOST_STEPS: usize = 100_000;

/// What is done to each task.
#[derive(Clone, Copy)]
pub enum Operation {
    Retry,
    Cancel { completed_too: bool },
    Resolve,
}

impl Operation {
    /// What the outcome is called when it is done, and in a dry run.
    const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Retry => ["retried", "would retry"],
            Self::Cancel { .. } => ["cancelled", "would cancel"],
            Self::Resolve => ["resolved", "would resolve"],
        }
    }

    fn check(self, locked: &LockedTask) -> Result<()> {
        match self {
            Self::Retry => may_retry(locked),
            Self::Cancel { completed_too } => may_cancel(locked, completed_too),
            Self::Resolve => may_resolve(locked),
        }
    }

    fn apply<'e>(
        self,
        engine: &mut Engine<'e>,
        locked: LockedTask<'e>,
        note: Option<Jsonb<'e>>,
    ) -> Result<TaskState> {
        match self {
            Self::Retry => take_up(engine, locked, note),
            Self::Cancel { .. } => cancel_locked(engine, locked, note),
            Self::Resolve => set_task(engine, locked, TaskState::ResolvedManually, note),
        }
    }
}

/// The result of one task, and the new state or the reason.
pub struct Outcome {
    pub word: &'static str,
    pub detail: Option<String>,
}

impl Outcome {
    fn refused(error: &Error) -> Self {
        Self {
            word: "refused",
            detail: Some(error.message.clone()),
        }
    }
}

/// The call, and how much of its bound is used up.
pub struct Many<'e> {
    pub operation: Operation,
    pub dry_run: bool,
    pub note: Option<Jsonb<'e>>,
    pub steps: usize,
}

impl<'e> Many<'e> {
    /// Does it to one task.
    pub fn change(&mut self, engine: &mut Engine<'e>, task: Uuid) -> Result<Outcome> {
        process::check_for_interrupts();
        if self.steps > MOST_STEPS {
            return Ok(Outcome {
                word: "left",
                detail: Some("the call has reached its bound: call it again".to_owned()),
            });
        }
        let found = if self.dry_run {
            LockedTask::look(engine, task)
        } else {
            LockedTask::try_lock(engine, task)
        };
        let locked = match found {
            Ok(Some(locked)) => locked,
            // Its template cannot be read.
            Err(error) => return Ok(Outcome::refused(&error)),
            Ok(None) => {
                let there = !self.dry_run && LockedTask::look(engine, task)?.is_some();
                return Ok(Outcome {
                    word: if there { "locked" } else { "gone" },
                    detail: None,
                });
            }
        };
        self.steps += locked.steps.len();
        if let Err(error) = self.operation.check(&locked) {
            return Ok(Outcome::refused(&error));
        }
        let [done, would] = self.operation.words();
        if self.dry_run {
            return Ok(Outcome {
                word: would,
                detail: Some(locked.state.to_string()),
            });
        }
        let state = self.operation.apply(engine, locked, self.note)?;
        Ok(Outcome {
            word: done,
            detail: Some(state.to_string()),
        })
    }
}
