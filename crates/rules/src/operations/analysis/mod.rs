//! What a graph and its measured times say about a template and about a running task.
//!
//! Steps are numbered in topological order, so every longest path is one pass over the numbers. Nothing enumerates paths:
//! their number is exponential in the worst case. Nothing lists all pairs of steps either: there are half a billion.

mod blockers;
mod bottlenecks;
mod errors;
mod parallelism;
mod paths;
mod reach;
mod report;
mod schedule;
mod template;
pub mod weights;

pub use blockers::{Blocker, blockers};
pub use bottlenecks::{Bottleneck, bottlenecks, overall};
pub use errors::{ErrorChain, error_chains};
pub use parallelism::{Level, levels};
pub use paths::{Path, best_paths, count_paths};
pub use report::report;
pub use schedule::{Schedule, Slot, schedule};
pub use template::{analyze, redundant_edges};

use crate::budget::Host;
use crate::engine::readiness::{NEVER, Step};
use crate::engine::state::StepState;
use crate::graph::Dag;

/// A document of a graph with more steps or edges than this is without its nodes and edges: PostgreSQL takes many times its size
/// to read it. Functions and views have the same as rows.
fn is_small(dag: &Dag) -> bool {
    const MOST_STEPS: usize = 5_000;
    const MOST_EDGES: usize = 10_000;
    dag.len() <= MOST_STEPS && dag.edge_count() <= MOST_EDGES
}

/// Where the duration of a step comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Basis {
    /// Its runs, from the log; 0 for a step that was skipped or cancelled before it ran.
    Measured,
    /// Its runs so far; the current one goes on.
    Running,
    /// It has not run: the average of this step in finished tasks of the same template version.
    Average,
    /// Neither this step nor one of a finished task has run: [`weights::BASE_STEP_US`].
    Estimate,
}

impl Basis {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Running => "running",
            Self::Average => "average",
            Self::Estimate => "estimate",
        }
    }
}

/// How long a step takes, in microseconds; never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration {
    /// Time that its runs take together; waiting in the queue and backoff are not in it.
    pub us: i64,
    /// Where that comes from.
    pub basis: Basis,
}

impl Duration {
    /// From the step's runs in the log (None: it never ran) and the average of others.
    pub fn of(state: StepState, ran_us: Option<i64>, average_us: Option<i64>) -> Self {
        let (us, basis) = match (ran_us, state) {
            (Some(us), StepState::InProgress) => (us, Basis::Running),
            (Some(us), _) => (us, Basis::Measured),
            (None, StepState::Pending | StepState::InProgress | StepState::Error) => {
                match average_us {
                    Some(us) => (us, Basis::Average),
                    None => (weights::BASE_STEP_US, Basis::Estimate),
                }
            }
            (None, _) => (0, Basis::Measured),
        };
        Self {
            us: us.max(0),
            basis,
        }
    }
}

/// The report of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// The message of the report.
    pub message: Option<String>,
    /// Its class.
    pub class: Option<String>,
}

/// Whether a step can run at this moment, and if not, what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Complete or resolved_manually: its children may run.
    Done,
    /// In progress.
    Running,
    /// A claim would hand it out.
    Ready,
    /// Its parents are done and its first run was postponed to a later time.
    Scheduled,
    /// Failed, and runs again after its backoff.
    Retrying,
    /// An operator holds it.
    Held,
    /// Failed permanently.
    Failed,
    /// Cancelled.
    Cancelled,
    /// Some parent is not done.
    Waiting,
}

impl Standing {
    /// The public word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::Retrying => "retrying",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Waiting => "waiting",
        }
    }
}

/// A step of a task under analysis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFacts {
    /// Its row.
    pub step: Step,
    /// Its duration.
    pub duration: Duration,
    /// What its failure said, for a step in error.
    pub failure: Option<Failure>,
    /// Whether it can run, and if not, what it waits for. Set by [`Task::new`].
    pub standing: Standing,
    /// Whether some parent is not done. Set by [`Task::new`].
    pub waits: bool,
}

/// A task under analysis: the graph and, under the same numbers, the steps.
#[derive(Debug, Clone)]
pub struct Task {
    dag: Dag,
    steps: Vec<StepFacts>,
    host: Host,
}

impl Task {
    /// The steps in the order of their numbers, as many as the graph has; a step that is missing counts as done.
    pub fn new(dag: Dag, steps: Vec<(Step, Duration, Option<Failure>)>, now: i64) -> Self {
        let done = |no: i16| {
            steps
                .get(no as usize - 1)
                .is_none_or(|step| step.0.state.is_finished_good())
        };
        let facts = dag
            .step_nos()
            .zip(&steps)
            .map(|(no, (step, duration, failure))| {
                let waits = !dag.parents(no).iter().all(|parent| done(*parent));
                StepFacts {
                    step: *step,
                    duration: *duration,
                    failure: failure.clone(),
                    standing: standing(step, waits, now),
                    waits,
                }
            })
            .collect();
        Self {
            dag,
            steps: facts,
            host: Host::NONE,
        }
    }

    /// The same task; long loops over it ask this host whether to go on.
    pub fn for_host(self, host: Host) -> Self {
        Self { host, ..self }
    }

    fn check(&self) {
        (self.host.check)();
    }

    /// The graph.
    pub fn dag(&self) -> &Dag {
        &self.dag
    }

    /// The steps with their numbers, ascending.
    pub fn steps(&self) -> impl Iterator<Item = (i16, &StepFacts)> + '_ {
        self.dag.step_nos().zip(&self.steps)
    }

    /// A step by number.
    pub fn step(&self, no: i16) -> Option<&StepFacts> {
        self.steps.get(usize::try_from(no).ok()?.checked_sub(1)?)
    }
}

fn standing(step: &Step, waits: bool, now: i64) -> Standing {
    match step.state {
        StepState::Complete | StepState::ResolvedManually => Standing::Done,
        StepState::InProgress => Standing::Running,
        StepState::Cancelled => Standing::Cancelled,
        StepState::Error if step.available_at.is_none() => Standing::Failed,
        _ if step.available_at == Some(NEVER) => Standing::Held,
        _ if waits => Standing::Waiting,
        _ if step.due(now) => Standing::Ready,
        StepState::Error => Standing::Retrying,
        StepState::Pending => Standing::Scheduled,
    }
}

/// Seconds for JSON, to the millisecond.
fn seconds(us: i64) -> f64 {
    (us as f64 / 1_000.0).round() / 1_000.0
}
