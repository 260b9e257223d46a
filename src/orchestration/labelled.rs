//! What is counted of tasks and steps: without labels always, by their labels where the route of the event takes them.

use std::rc::Rc;

use tasker_rules::engine::ids;
use tasker_rules::events::route::{self, Backend, Routes};
use tasker_rules::operations::metrics::{LABELLED, LABELLED_METRICS, Labelled, Series};

use super::StepKey;
use crate::error::Result;
use crate::metrics::{self, Class, Metric, Recorder};
use crate::pg::datum::{Timestamp, Uuid};
use crate::pg::installation::Kept;
use crate::registry::routes;

/// Share of the tasks that each metric with labels counts.
type Shares = [f64; LABELLED_METRICS];

/// Where timestamps begin, 2000, in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;

static SHARES: Kept<Option<(Rc<Routes>, Shares)>> = Kept::new();

fn shares() -> Result<Shares> {
    let current = routes::current()?;
    Ok(SHARES.with(|known| match known {
        Some((routes, shares)) if Rc::ptr_eq(routes, &current) => *shares,
        _ => {
            let shares = std::array::from_fn(|metric| {
                current.share(Backend::Metrics, LABELLED[metric].event)
            });
            *known = Some((current, shares));
            shares
        }
    }))
}

/// Counts several changes.
pub fn record(body: impl FnOnce(&mut Counts)) -> Result<()> {
    let shares = shares()?;
    metrics::record(|recorder| body(&mut Counts { recorder, shares }));
    Ok(())
}

pub struct Counts<'a, 'b> {
    pub recorder: &'a mut Recorder<'b>,
    shares: Shares,
}

impl Counts<'_, '_> {
    /// The metric with labels that counts the same, if the route of its event takes this task.
    fn admitted(&self, metric: Metric, task: &Uuid) -> Option<Labelled> {
        let labelled = Labelled::of(metric)?;
        let share = self.shares[labelled as usize];
        (share >= 1.0 || route::takes(share, task)).then_some(labelled)
    }

    /// New tasks.
    pub fn created<'t>(&mut self, template: i32, tasks: impl ExactSizeIterator<Item = &'t Uuid>) {
        let metric = Metric::TasksCreated;
        self.recorder.count(metric, tasks.len());
        let admitted = tasks.filter(|task| self.admitted(metric, task).is_some());
        let amount = admitted.count() as u64;
        if amount > 0 {
            let cells = self.recorder.series(Series::of_template(template));
            cells.count(Labelled::TasksCreated, amount);
        }
    }

    /// A change of a task.
    pub fn task(&mut self, metric: Metric, template: i32, task: &Uuid, now: Timestamp) {
        self.recorder.count(metric, 1);
        if let Some(labelled) = self.admitted(metric, task) {
            let cells = self.recorder.series(Series::of_template(template));
            cells.count(labelled, 1);
            if metric == Metric::TasksCompleted {
                let created_at = (ids::created_ms(task) - EPOCH_MS) * 1000;
                cells.observe(Labelled::TaskDuration, now - created_at);
            }
        }
    }

    /// A change of a step; `class` says why it failed.
    pub fn step(
        &mut self,
        metric: Metric,
        worker_no: i32,
        template: i32,
        key: &StepKey,
        class: Class,
    ) {
        self.recorder.count_for(worker_no, metric);
        if let Some(labelled) = self.admitted(metric, &key.task) {
            let mut series = Series::of_step(template, key.no);
            if labelled == Labelled::StepsFailed {
                series = series.with_class(class.number());
            }
            self.recorder.series(series).count(labelled, 1);
        }
    }

    /// How long a step waited or ran; `counted` is the change that ended it.
    pub fn duration(
        &mut self,
        metric: Metric,
        counted: Metric,
        template: i32,
        key: &StepKey,
        microseconds: i64,
    ) {
        self.recorder.observe(metric, microseconds);
        if self.admitted(counted, &key.task).is_some()
            && let Some(labelled) = Labelled::of(metric)
        {
            let cells = self.recorder.series(Series::of_step(template, key.no));
            cells.observe(labelled, microseconds);
        }
    }
}
