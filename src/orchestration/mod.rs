//! Create, claim, report, retry, finalize: everything that changes a task or a step.
//!
//! One call is one transaction and one instant. Locks are taken in levels (docs/design.md): reported steps,
//! their children and descendants, tasks, claim rows; ascending (task_uuid, step_no) within a level.

pub mod audit;
pub mod bypass;
pub mod claim;
pub mod claimants;
pub mod clock;
pub mod create;
pub mod finalize;
mod growth;
pub mod integrity;
mod labelled;
pub mod leases;
pub mod locked_task;
pub mod operate;
pub mod operational;
pub mod propagate;
pub mod publish;
pub mod queue_entries;
pub mod report;
pub mod resumption;
pub mod timeouts;
pub mod waking;
pub mod workers;

use tasker_rules::engine::backoff::{self, Policy};
use tasker_rules::engine::retry::{self, Attempts, Wait};

use crate::error::Result;
use crate::logging;
use crate::metrics;
use crate::pg::call;
use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::installation;
use crate::pg::spi::Session;
use crate::settings;

/// The key of a step: its task and its ordinal there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepKey {
    pub task: Uuid,
    pub no: i16,
}

impl StepKey {
    pub fn uuid(&self) -> Uuid {
        tasker_rules::engine::ids::step_uuid(&self.task, self.no)
    }

    pub fn from_uuid(uuid: &Uuid) -> Self {
        let (task, no) = tasker_rules::engine::ids::split(uuid);
        Self { task, no }
    }
}

/// One call of the engine: its session, its instant, and the rows it will append when it is done.
pub struct Engine<'e> {
    pub session: &'e Session,
    pub now: Timestamp,
    /// The same instant for intervals, which setting the time does not change ([`call::tick`]).
    pub tick: i64,
    pub log: audit::Log<'e>,
    pub queue_entries: queue_entries::Releases,
    pub events: publish::Events<'e>,
}

/// The numbers of rows that a call had collected at some moment.
#[derive(Clone, Copy)]
pub struct Collected {
    transitions: usize,
    queue_entries: usize,
}

impl<'e> Engine<'e> {
    /// For functions that change steps: refuses other isolation levels than READ COMMITTED, a standby, and work before it is resumed.
    pub fn open(session: &'e Session) -> Result<Self> {
        call::require_primary()?;
        call::require_read_committed()?;
        Self::open_to_create(session)
    }

    /// For functions that only insert new tasks.
    pub fn open_to_create(session: &'e Session) -> Result<Self> {
        resumption::require(session)?;
        let engine = Self::open_any_isolation(session);
        growth::heed(&engine)?;
        Ok(engine)
    }

    /// For functions that only read, or that ask for themselves.
    pub fn open_any_isolation(session: &'e Session) -> Self {
        Self {
            session,
            now: call::clock(),
            tick: call::tick(),
            log: audit::Log::default(),
            queue_entries: queue_entries::Releases::default(),
            events: publish::Events::default(),
        }
    }

    /// When a step whose run has just failed runs again; `None`: only if an operator retries it.
    pub fn retry_after_failure(
        &self,
        attempts: Attempts,
        policy: &Policy,
        retry_after_ms: Option<i64>,
    ) -> Option<Timestamp> {
        let wait = Wait::Backoff {
            now: self.now,
            policy,
            config: &settings::backoff(),
            retry_after_ms,
            random01: fastrand::f64(),
        };
        retry::next_run(attempts, wait)
    }

    /// How much the call has collected so far.
    pub fn collected(&self) -> Collected {
        Collected {
            transitions: self.log.len(),
            queue_entries: self.queue_entries.len(),
        }
    }

    /// Drops what was collected since: the changes behind it were undone.
    pub fn forget_since(&mut self, collected: Collected) {
        self.log.truncate(collected.transitions);
        self.queue_entries.truncate(collected.queue_entries);
    }

    /// The end of a wait that a worker asks for, capped as the wait after a failure.
    pub fn after_wait(&self, policy: &Policy, wait_ms: i64) -> Timestamp {
        let wait = backoff::delay_ms(1, policy, &settings::backoff(), Some(wait_ms), 0.5);
        self.now.saturating_add(wait.saturating_mul(1000))
    }

    /// Appends the queue entries, log rows and events of the call, as its last act. If an update of the extension was committed while
    /// the call waited for a lock, the call fails.
    pub fn close(mut self) -> Result<()> {
        installation::require_same_version()?;
        self.queue_entries.flush(self.now)?;
        self.queue_entries.notify(self.session, self.now)?;
        let wrote = self.log.flush(self.now)?;
        self.events.flush(self.now)?;
        if wrote {
            metrics::write_if_due(self.now, self.tick)?;
        }
        logging::note_slow(call::running(), self.tick);
        Ok(())
    }
}

/// A uuid as text, for messages.
pub fn format_uuid(uuid: &Uuid) -> String {
    uuid::Uuid::from_bytes(*uuid).hyphenated().to_string()
}

/// A step's uuid as text, for messages.
pub fn describe(key: &StepKey) -> String {
    format_uuid(&key.uuid())
}
