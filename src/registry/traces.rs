//! The traceparents that are handed out: what names a span, and whether it is recorded.

use std::rc::Rc;

use tasker_rules::events::route::{Backend, Routes};
use tasker_rules::events::trace::ids::Trace;

use super::routes;
use crate::error::Result;
use crate::pg::datum::Uuid;

/// What decides which spans are recorded, at this moment.
pub struct Tracing {
    pub routes: Rc<Routes>,
    /// The share of the tasks that are recorded.
    of_tasks: f64,
    /// The share of the tasks whose runs are.
    of_runs: f64,
}

impl Tracing {
    pub fn current() -> Result<Self> {
        let routes = routes::current()?;
        Ok(Self {
            of_tasks: routes.share(Backend::Trace, "task.start_requested"),
            of_runs: routes.share(Backend::Trace, "step.execution_requested"),
            routes,
        })
    }

    /// Whether any span of the task is recorded: all others hang on that of the task.
    pub fn records(&self, trace: &Trace, task: &Uuid) -> bool {
        trace.records(self.of_tasks, task)
    }

    /// Names the span of the task.
    pub fn of_task(&self, trace: &Trace, task: &Uuid) -> String {
        trace.traceparent(trace.root(), self.records(trace, task))
    }

    /// Names the span of a run of a step.
    pub fn of_run(&self, trace: &Trace, task: &Uuid, step_no: i16, claim_number: i32) -> String {
        let recorded = self.records(trace, task) && trace.records(self.of_runs, task);
        trace.traceparent(trace.run(step_no, claim_number), recorded)
    }

    /// What an event says: the span of the run that it is about, otherwise that of the task.
    pub fn of_event(&self, trace: &Trace, task: &Uuid, step_no: i16, claim: Option<i32>) -> String {
        match claim {
            Some(claim_number) => self.of_run(trace, task, step_no, claim_number),
            None => self.of_task(trace, task),
        }
    }
}
