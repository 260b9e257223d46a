//! The list of metrics. The thirteen of finalization claims begin with `finalization_`, all others with `tasker_`.

/// The type of a family of samples in Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts again at 0 with the server or a reset.
    Counter,
    /// Counts by size of the value.
    Histogram,
}

impl Kind {
    /// The word of the exposition format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric with all its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// The metric.
    pub metric: Metric,
    /// Its name in the exposition.
    pub name: &'static str,
    /// The unit; empty for a plain number.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// A label and its values, a cell for each.
    pub label: Option<(&'static str, &'static [&'static str])>,
    /// Upper bounds of a histogram, seconds, without the infinite one; empty: a counter.
    pub bounds: &'static [f64],
}

impl Family {
    /// Counter or histogram.
    pub const fn kind(&self) -> Kind {
        if self.bounds.is_empty() {
            Kind::Counter
        } else {
            Kind::Histogram
        }
    }

    const fn cell_count(&self) -> usize {
        match (self.label, self.bounds.len()) {
            (Some((_, values)), _) => values.len(),
            (None, 0) => 1,
            // The infinite bucket and the sum.
            (None, bounds) => bounds + 2,
        }
    }
}

/// A claim is one short transaction: half a millisecond to ten seconds, with the bounds of the target (0.1) and of the
/// alert (0.5) among them.
const CLAIM_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Steps run and wait from milliseconds to hours.
pub(super) const STEP_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 1800.0, 7200.0,
];

macro_rules! families {
    ($($metric:ident $name:literal $unit:literal $help:literal $([$label:literal: $($value:literal)*])? $(in $bounds:ident)?;)*) => {
        /// A metric; its number is its place in [`FAMILIES`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // The help text says it.
        pub enum Metric { $($metric),* }

        /// Every metric that is counted.
        pub const FAMILIES: &[Family] = &[$(Family {
            metric: Metric::$metric,
            name: $name,
            unit: $unit,
            help: $help,
            label: families!(@label $($label: $($value)*)?),
            bounds: families!(@bounds $($bounds)?),
        }),*];
    };
    (@label) => { None };
    (@label $label:literal: $($value:literal)*) => { Some(($label, &[$($value),*])) };
    (@bounds) => { &[] };
    (@bounds $bounds:ident) => { $bounds };
}

families! {
    // The first five are kept per worker too.
    StepsClaimed "tasker_steps_claimed_total" "" "Steps handed out by claims.";
    StepsCompleted "tasker_steps_completed_total" "" "Steps that became complete.";
    StepsFailed "tasker_steps_failed_total" "" "Runs of steps that were reported as failed, to be retried or not.";
    StepsExpired "tasker_steps_expired_total" "" "Runs of steps that were taken from their worker: the lease had ended, or the timeout of the step.";
    StepsReleased "tasker_steps_released_total" "" "Steps that workers gave back without a result.";
    StepsCreated "tasker_steps_created_total" "" "Steps of created tasks.";
    StepsRetried "tasker_steps_retried_total" "" "Failed steps that began another attempt.";
    StepsCancelled "tasker_steps_cancelled_total" "" "Steps that became cancelled.";
    StepsResolved "tasker_steps_resolved_total" "" "Steps that were resolved by hand, bypassed, or created with the results of a task that runs again.";
    StepWait "tasker_step_wait_seconds" "seconds" "Time from when a step was due to when it was claimed." in STEP_SECONDS;
    StepRun "tasker_step_run_seconds" "seconds" "Time from the claim of a step to its report." in STEP_SECONDS;
    ReportsRefused "tasker_reports_refused_total" "" "Reports that changed nothing, by outcome."
        ["outcome": "stale" "duplicate" "unknown_step" "invalid"];
    TasksCreated "tasker_tasks_created_total" "" "Tasks created.";
    TasksStarted "tasker_tasks_started_total" "" "Tasks that became in_progress.";
    TasksCompleted "tasker_tasks_completed_total" "" "Tasks that became complete.";
    TasksFailed "tasker_tasks_failed_total" "" "Tasks that went to error.";
    TasksCancelled "tasker_tasks_cancelled_total" "" "Tasks that became cancelled.";
    TasksResolved "tasker_tasks_resolved_total" "" "Tasks that were resolved by hand.";
    TasksReopened "tasker_tasks_reopened_total" "" "Tasks in error that were taken up again.";
    ClaimCalls "tasker_claim_calls_total" "" "Calls of claim_steps and report_and_claim.";
    ClaimCallsEmpty "tasker_claim_calls_empty_total" "" "Calls of claim_steps and report_and_claim that handed out nothing.";
    Heartbeats "tasker_heartbeats_total" "" "Calls of heartbeat.";
    Notifies "tasker_notifies_total" "" "Notifications sent to wake idle workers.";
    ClaimDuration "finalization_claim_duration_seconds" "seconds" "Duration of claim_task_for_finalization." in CLAIM_SECONDS;
    ReleaseDuration "finalization_claim_release_duration_seconds" "seconds" "Duration of release_finalization_claim." in CLAIM_SECONDS;
    ExtendDuration "finalization_claim_extend_duration_seconds" "seconds" "Duration of extend_finalization_claim." in CLAIM_SECONDS;
    ClaimAttempts "finalization_claim_attempts_total" "" "Calls of claim_task_for_finalization.";
    ClaimSuccess "finalization_claim_success_total" "" "Finalization claims that were obtained or extended.";
    ClaimContention "finalization_claim_contention_total" "" "Finalization claims that were refused.";
    ClaimContentionByReason "finalization_claim_contention_by_reason_total" "" "Finalization claims that were refused, by reason."
        ["reason": "already_claimed" "already_complete" "not_ready" "race_condition" "other"];
    ReleaseAttempts "finalization_claim_release_attempts_total" "" "Calls of release_finalization_claim.";
    ReleaseSuccess "finalization_claim_release_success_total" "" "Calls of release_finalization_claim by the holder.";
    ReleaseNotOwned "finalization_claim_release_not_owned_total" "" "Calls of release_finalization_claim by another than the holder.";
    ExtendAttempts "finalization_claim_extend_attempts_total" "" "Calls of extend_finalization_claim.";
    ExtendSuccess "finalization_claim_extend_success_total" "" "Calls of extend_finalization_claim by the holder of a live claim.";
    ExtendFailed "finalization_claim_extend_failed_total" "" "Calls of extend_finalization_claim by another, or after the claim had ended.";
    SeriesDropped "tasker_metric_series_dropped_total" "" "Counts with labels that found no place in the table of series and went to other.";
}

const FIRST: [u16; FAMILIES.len() + 1] = {
    let mut first = [0; FAMILIES.len() + 1];
    let mut index = 0;
    while index < FAMILIES.len() {
        first[index + 1] = first[index] + FAMILIES[index].cell_count() as u16;
        index += 1;
    }
    first
};

/// How many cells there are.
pub const CELLS: usize = FIRST[FAMILIES.len()] as usize;
/// The cells before this number are kept per worker too.
pub const WORKER_CELLS: usize = Metric::StepsReleased as usize + 1;

impl Metric {
    /// Its name, unit, help and shape.
    pub const fn family(self) -> &'static Family {
        &FAMILIES[self as usize]
    }

    /// The cell of a counter without a label, or the first one.
    pub const fn cell(self) -> u16 {
        FIRST[self as usize]
    }

    /// The cell of a counter for a value of its label; `None` if it has no such value.
    pub fn labelled(self, value: &str) -> Option<u16> {
        let (_, values) = self.family().label?;
        let index = values.iter().position(|known| *known == value)?;
        Some(self.cell() + index as u16)
    }

    /// The bucket that a duration falls into.
    pub fn bucket(self, microseconds: i64) -> u16 {
        let seconds = microseconds as f64 / 1e6;
        self.cell()
            + self
                .family()
                .bounds
                .partition_point(|bound| *bound < seconds) as u16
    }

    /// The cell with the sum of a histogram, in microseconds.
    pub fn sum(self) -> u16 {
        FIRST[self as usize + 1] - 1
    }
}

/// The cells of which the last minutes are kept too: attempts and contention of claims, then the buckets of their
/// duration.
pub const RECENT_CELLS: usize = Metric::ClaimDuration.family().bounds.len() + 3;

/// The place of a cell among those of the last minutes.
pub fn recent_index(cell: u16) -> Option<usize> {
    let first = Metric::ClaimDuration.cell();
    if cell == Metric::ClaimAttempts.cell() {
        Some(0)
    } else if cell == Metric::ClaimContention.cell() {
        Some(1)
    } else if (first..Metric::ClaimDuration.sum()).contains(&cell) {
        Some(2 + usize::from(cell - first))
    } else {
        None
    }
}

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// The value of a counter.
    Total,
    /// How many values were above the bound before and not above this one; the last is infinite.
    Bucket(f64),
    /// The sum of all values, in microseconds.
    Sum,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Its number.
    pub number: u16,
    /// The metric that it belongs to.
    pub family: &'static Family,
    /// The value of the label, if the family has one.
    pub label_value: Option<&'static str>,
    /// What it holds.
    pub part: Part,
}

/// Every cell, in the order of their numbers.
pub fn cells() -> impl Iterator<Item = Cell> {
    FAMILIES.iter().flat_map(|family| {
        let first = family.metric.cell();
        (0..family.cell_count()).map(move |offset| {
            let (label_value, part) = match family.label {
                Some((_, values)) => (values.get(offset).copied(), Part::Total),
                None if family.bounds.is_empty() => (None, Part::Total),
                None if offset > family.bounds.len() => (None, Part::Sum),
                None => (
                    None,
                    Part::Bucket(family.bounds.get(offset).copied().unwrap_or(f64::INFINITY)),
                ),
            };
            Cell {
                number: first + offset as u16,
                family,
                label_value,
                part,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_one_number_and_every_name_one_family() {
        let numbers: Vec<usize> = cells().map(|cell| cell.number.into()).collect();
        assert_eq!(numbers, (0..CELLS).collect::<Vec<_>>());
        let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
        for (index, family) in FAMILIES.iter().enumerate() {
            assert_eq!(family.metric as usize, index);
        }
    }

    #[test]
    fn a_bucket_holds_its_upper_bound() {
        let first = Metric::ClaimDuration.cell();
        assert_eq!(Metric::ClaimDuration.bucket(0), first);
        assert_eq!(Metric::ClaimDuration.bucket(500), first);
        assert_eq!(Metric::ClaimDuration.bucket(501), first + 1);
        assert_eq!(Metric::ClaimDuration.bucket(500_000), first + 9);
        assert_eq!(Metric::ClaimDuration.bucket(500_001), first + 10);
        assert_eq!(Metric::ClaimDuration.bucket(i64::MAX), first + 14);
        assert_eq!(Metric::ClaimDuration.sum(), first + 15);
        // A clock that went back counts as no time at all.
        assert_eq!(Metric::ClaimDuration.bucket(-5), first);
    }

    #[test]
    fn a_label_that_is_not_known_has_no_cell() {
        let metric = Metric::ClaimContentionByReason;
        assert_eq!(metric.labelled("already_claimed"), Some(metric.cell()));
        assert_eq!(metric.labelled("other"), Some(metric.cell() + 4));
        assert_eq!(metric.labelled("weather"), None);
        assert_eq!(Metric::TasksCreated.labelled("other"), None);
    }

    #[test]
    fn the_recent_cells_have_a_place_each() {
        let mut places: Vec<usize> = cells()
            .filter_map(|cell| recent_index(cell.number))
            .collect();
        places.sort_unstable();
        assert_eq!(places, (0..RECENT_CELLS).collect::<Vec<_>>());
    }

    #[test]
    fn the_cells_of_workers_come_first() {
        let names: Vec<&str> = cells()
            .take(WORKER_CELLS)
            .map(|cell| cell.family.name)
            .collect();
        assert_eq!(
            names,
            [
                "tasker_steps_claimed_total",
                "tasker_steps_completed_total",
                "tasker_steps_failed_total",
                "tasker_steps_expired_total",
                "tasker_steps_released_total"
            ]
        );
    }

    #[test]
    fn thirteen_metrics_describe_finalization_claims() {
        let names: Vec<&str> = FAMILIES
            .iter()
            .map(|family| family.name)
            .filter(|name| name.starts_with("finalization_"))
            .collect();
        assert_eq!(names.len(), 13);
    }
}
