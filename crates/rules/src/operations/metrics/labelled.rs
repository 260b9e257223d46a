//! Metrics by namespace, template, version, step and error class.
//!
//! A series is one combination of labels, with the cells of all metrics that have these labels. Template, step and class are
//! numbers here: the views that read them put the names to them. A metric with labels has a name of its own, so that a sum over all
//! series of a name counts nothing twice.

use super::catalog::{Kind, Metric, Part, STEP_SECONDS};
use super::ledger::Amount;

/// What the labels of a series say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Namespace, template and version.
    Template,
    /// The step, too.
    Step,
    /// The class of the error, too.
    Class,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Template, Self::Step, Self::Class];

    /// The number of its first cell.
    pub const fn first(self) -> usize {
        SCOPE_FIRST[self as usize]
    }

    /// How many cells a series has.
    pub const fn cell_count(self) -> usize {
        SCOPE_FIRST[self as usize + 1] - SCOPE_FIRST[self as usize]
    }
}

/// A metric with labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledFamily {
    /// The metric.
    pub labelled: Labelled,
    /// Its labels.
    pub scope: Scope,
    /// The metric without labels that counts the same.
    pub of: Option<Metric>,
    /// Its name in the exposition.
    pub name: &'static str,
    /// The event that it counts.
    pub event: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Upper bounds of a histogram, seconds, without the infinite one; empty: a counter.
    pub bounds: &'static [f64],
}

impl LabelledFamily {
    /// Counter or histogram.
    pub const fn kind(&self) -> Kind {
        if self.bounds.is_empty() {
            Kind::Counter
        } else {
            Kind::Histogram
        }
    }

    /// The unit; empty for a plain number.
    pub const fn unit(&self) -> &'static str {
        match self.kind() {
            Kind::Counter => "",
            Kind::Histogram => "seconds",
        }
    }

    const fn cell_count(&self) -> usize {
        match self.bounds.len() {
            0 => 1,
            // The infinite bucket and the sum.
            bounds => bounds + 2,
        }
    }
}

macro_rules! labelled {
    ($($labelled:ident $scope:ident $name:literal $event:literal $help:literal $([$of:ident])? $(in $bounds:ident)?;)*) => {
        /// A metric with labels; its number is its place in [`LABELLED`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs)] // The help text says it.
        pub enum Labelled { $($labelled),* }

        /// Every metric with labels; those of a scope stand together.
        pub const LABELLED: &[LabelledFamily] = &[$(LabelledFamily {
            labelled: Labelled::$labelled,
            scope: Scope::$scope,
            of: labelled!(@of $($of)?),
            name: $name,
            event: $event,
            help: $help,
            bounds: labelled!(@bounds $($bounds)?),
        }),*];
    };
    (@of) => { None };
    (@of $of:ident) => { Some(Metric::$of) };
    (@bounds) => { &[] };
    (@bounds $bounds:ident) => { $bounds };
}

labelled! {
    TasksCreated Template "tasker_tasks_created_by_template_total" "task.initialize_requested" "Tasks created, by template." [TasksCreated];
    TasksStarted Template "tasker_tasks_started_by_template_total" "task.start_requested" "Tasks that became in_progress, by template." [TasksStarted];
    TasksCompleted Template "tasker_tasks_completed_by_template_total" "task.completed" "Tasks that became complete, by template." [TasksCompleted];
    TasksFailed Template "tasker_tasks_failed_by_template_total" "task.failed" "Tasks that went to error, by template." [TasksFailed];
    TasksCancelled Template "tasker_tasks_cancelled_by_template_total" "task.cancelled" "Tasks that became cancelled, by template." [TasksCancelled];
    TasksResolved Template "tasker_tasks_resolved_by_template_total" "task.resolved_manually" "Tasks that were resolved by hand, by template." [TasksResolved];
    TasksReopened Template "tasker_tasks_reopened_by_template_total" "task.retry_requested" "Tasks in error that were taken up again, by template." [TasksReopened];
    TaskDuration Template "tasker_task_duration_by_template_seconds" "task.completed" "Time from the creation of a task to when it became complete, by template." in STEP_SECONDS;
    StepsClaimed Step "tasker_steps_claimed_by_step_total" "step.execution_requested" "Steps handed out by claims, by step." [StepsClaimed];
    StepsCompleted Step "tasker_steps_completed_by_step_total" "step.completed" "Steps that became complete, by step." [StepsCompleted];
    StepsExpired Step "tasker_steps_expired_by_step_total" "step.failed" "Runs of steps that were taken from their worker, by step." [StepsExpired];
    StepsReleased Step "tasker_steps_released_by_step_total" "step.released" "Steps that workers gave back without a result, by step." [StepsReleased];
    StepsRetried Step "tasker_steps_retried_by_step_total" "step.retry_requested" "Failed steps that began another attempt, by step." [StepsRetried];
    StepsCancelled Step "tasker_steps_cancelled_by_step_total" "step.cancelled" "Steps that became cancelled, by step." [StepsCancelled];
    StepsResolved Step "tasker_steps_resolved_by_step_total" "step.resolved_manually" "Steps that were resolved by hand, bypassed, or created with results, by step." [StepsResolved];
    StepWait Step "tasker_step_wait_by_step_seconds" "step.execution_requested" "Time from when a step was due to when it was claimed, by step." [StepWait] in STEP_SECONDS;
    StepRun Step "tasker_step_run_by_step_seconds" "step.completed" "Time from the claim of a step to its report, by step." [StepRun] in STEP_SECONDS;
    StepsFailed Class "tasker_steps_failed_by_step_total" "step.failed" "Runs of steps that were reported as failed, by step and error class." [StepsFailed];
}

/// How many metrics have labels.
pub const LABELLED_METRICS: usize = LABELLED.len();

const FIRST: [usize; LABELLED.len() + 1] = {
    let mut first = [0; LABELLED.len() + 1];
    let mut index = 0;
    while index < LABELLED.len() {
        first[index + 1] = first[index] + LABELLED[index].cell_count();
        index += 1;
    }
    first
};

const SCOPE_FIRST: [usize; 4] = {
    let mut first = [0; 4];
    let mut index = 0;
    while index < LABELLED.len() {
        first[LABELLED[index].scope as usize + 1] = FIRST[index + 1];
        index += 1;
    }
    first
};

/// How many cells all scopes have together.
pub const LABELLED_CELLS: usize = FIRST[LABELLED.len()];

/// The cells of the largest scope.
pub const SERIES_CELLS: usize = {
    let mut most = 0;
    let mut index = 0;
    while index < Scope::ALL.len() {
        let count = Scope::ALL[index].cell_count();
        if count > most {
            most = count;
        }
        index += 1;
    }
    most
};

/// For each metric without labels the one that counts the same by labels.
const LABELLED_OF: [Option<Labelled>; super::catalog::FAMILIES.len()] = {
    let mut all = [None; super::catalog::FAMILIES.len()];
    let mut index = 0;
    while index < LABELLED.len() {
        if let Some(metric) = LABELLED[index].of {
            all[metric as usize] = Some(LABELLED[index].labelled);
        }
        index += 1;
    }
    all
};

impl Labelled {
    /// The metric with labels that counts the same as this one.
    pub const fn of(metric: Metric) -> Option<Self> {
        LABELLED_OF[metric as usize]
    }

    /// Its name, help and shape.
    pub const fn family(self) -> &'static LabelledFamily {
        &LABELLED[self as usize]
    }

    /// Its first cell within a series.
    const fn cell(self) -> usize {
        FIRST[self as usize] - self.family().scope.first()
    }
}

/// One cell of a scope.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledCell {
    /// Its number among those of all scopes.
    pub number: u16,
    /// The metric that it belongs to.
    pub family: &'static LabelledFamily,
    /// What it holds.
    pub part: Part,
}

/// Every cell, in the order of their numbers.
pub fn labelled_cells() -> impl Iterator<Item = LabelledCell> {
    LABELLED.iter().flat_map(|family| {
        let first = FIRST[family.labelled as usize];
        (0..family.cell_count()).map(move |offset| LabelledCell {
            number: (first + offset) as u16,
            family,
            part: if family.bounds.is_empty() {
                Part::Total
            } else if offset > family.bounds.len() {
                Part::Sum
            } else {
                Part::Bucket(family.bounds.get(offset).copied().unwrap_or(f64::INFINITY))
            },
        })
    })
}

/// A combination of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Number of the template; 0: all labels are `other`.
    pub template: i32,
    /// Number of the step; 0: the series of a template.
    pub step: i16,
    /// What [`class_number`] says; 0: a series without a class.
    pub class: u64,
}

/// The class that stands for all classes of a step that have no series.
pub const OTHER_CLASS: u64 = 1;
/// Its text, and that of all labels of what has no series.
pub const OTHER: &str = "other";
/// The class of a failure that names none.
pub const UNKNOWN_CLASS: &str = "unknown";
/// Characters of an error class.
pub const CLASS_CHARACTERS: usize = 64;

impl Series {
    /// A template.
    pub const fn of_template(template: i32) -> Self {
        Self {
            template,
            step: 0,
            class: 0,
        }
    }

    /// A step of a template.
    pub const fn of_step(template: i32, step: i16) -> Self {
        Self {
            step,
            ..Self::of_template(template)
        }
    }

    /// A class of errors of this step.
    pub const fn with_class(self, class: u64) -> Self {
        Self { class, ..self }
    }

    /// Its labels.
    pub const fn scope(self) -> Scope {
        match (self.step, self.class) {
            (0, _) => Scope::Template,
            (_, 0) => Scope::Step,
            _ => Scope::Class,
        }
    }

    /// The series of this scope in which all labels are `other`.
    pub const fn other(self) -> Self {
        match self.scope() {
            Scope::Template => Self::of_template(0),
            Scope::Step => Self::of_step(0, 1),
            Scope::Class => Self::of_step(0, 1).with_class(OTHER_CLASS),
        }
    }

    /// Whether all labels are `other`.
    pub const fn is_other(self) -> bool {
        self.template == 0
    }
}

/// The part of an error class that is its label: 64 characters.
pub fn class_label(class: &str) -> &str {
    match class.char_indices().nth(CLASS_CHARACTERS) {
        Some((end, _)) => &class[..end],
        None => class,
    }
}

/// The number of a label, the same in every process. Two classes with the same number would be one; of a million classes, the chance
/// that any two are is one in thirty million.
pub fn class_number(label: &str) -> u64 {
    if label == OTHER {
        return OTHER_CLASS;
    }
    let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(hash).max(OTHER_CLASS + 1)
}

/// A number of which every bit depends on all bits of the given one.
pub fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// What was counted in a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells([u64; SERIES_CELLS]);

impl Default for Cells {
    fn default() -> Self {
        Self([0; SERIES_CELLS])
    }
}

impl Amount for Cells {
    fn add(&mut self, other: &Self) {
        for (sum, amount) in self.0.iter_mut().zip(&other.0) {
            *sum += amount;
        }
    }
}

impl Cells {
    /// Adds to a counter.
    pub fn count(&mut self, labelled: Labelled, amount: u64) {
        self.0[labelled.cell()] += amount;
    }

    /// Adds a duration to a histogram.
    pub fn observe(&mut self, labelled: Labelled, microseconds: i64) {
        let bounds = labelled.family().bounds;
        let seconds = microseconds as f64 / 1e6;
        let first = labelled.cell();
        self.0[first + bounds.partition_point(|bound| *bound < seconds)] += 1;
        self.0[first + bounds.len() + 1] += microseconds.max(0) as u64;
    }

    /// The cells that are not zero, by their places within the series.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        let all = self.0.iter().copied().enumerate();
        all.filter(|(_, amount)| *amount != 0)
    }

    /// How many events were counted: the sum of the counters of the scope.
    pub fn events(&self, scope: Scope) -> u64 {
        LABELLED
            .iter()
            .filter(|family| family.scope == scope && family.bounds.is_empty())
            .map(|family| self.0[family.labelled.cell()])
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::catalog;

    #[test]
    fn every_cell_has_one_number_and_every_scope_its_own() {
        let numbers: Vec<usize> = labelled_cells().map(|cell| cell.number.into()).collect();
        assert_eq!(numbers, (0..LABELLED_CELLS).collect::<Vec<_>>());
        for cell in labelled_cells() {
            let scope = cell.family.scope;
            let own = scope.first()..scope.first() + scope.cell_count();
            assert!(own.contains(&usize::from(cell.number)));
            assert!(scope.cell_count() <= SERIES_CELLS);
        }
        for (index, family) in LABELLED.iter().enumerate() {
            assert_eq!(family.labelled as usize, index);
        }
    }

    #[test]
    fn no_metric_with_labels_has_the_name_of_one_without() {
        let mut names: Vec<&str> = LABELLED.iter().map(|family| family.name).collect();
        names.extend(super::super::FAMILIES.iter().map(|family| family.name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_metric_with_labels_counts_what_its_twin_counts() {
        for family in LABELLED {
            let Some(metric) = family.of else { continue };
            assert_eq!(Labelled::of(metric), Some(family.labelled));
            assert_eq!(family.kind(), metric.family().kind());
            assert_eq!(family.bounds, metric.family().bounds);
        }
        assert_eq!(Labelled::of(Metric::Heartbeats), None);
    }

    #[test]
    fn each_event_is_in_the_catalogue_by_its_canonical_name() {
        for family in LABELLED {
            assert_eq!(
                catalog::canonical(family.event),
                Some(family.event),
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn an_error_class_is_cut_to_64_characters() {
        let long = "é".repeat(65);
        assert_eq!(class_label(&long), "é".repeat(64));
        assert_eq!(class_label(&long[..128]), "é".repeat(64));
        assert_eq!(class_label("Timeout"), "Timeout");
        assert_eq!(
            class_number(class_label(&long)),
            class_number(&"é".repeat(64))
        );
    }

    #[test]
    fn only_the_class_other_has_its_number() {
        assert_eq!(class_number(OTHER), OTHER_CLASS);
        for class in ["", "Other", "Timeout", UNKNOWN_CLASS] {
            assert!(class_number(class) > OTHER_CLASS);
        }
    }

    #[test]
    fn what_has_no_place_goes_to_other_of_its_scope() {
        let step = Series::of_step(7, 3);
        for series in [
            Series::of_template(7),
            step,
            step.with_class(OTHER_CLASS),
            step.with_class(99),
        ] {
            assert_eq!(series.other().scope(), series.scope());
            assert!(series.other().is_other() && !series.is_other());
        }
    }

    #[test]
    fn a_duration_is_in_one_bucket_and_in_the_sum() {
        let mut cells = Cells::default();
        cells.observe(Labelled::StepRun, 2_000);
        cells.observe(Labelled::StepRun, 8_000_000_000);
        cells.count(Labelled::StepsCompleted, 2);
        let first = Labelled::StepRun.cell();
        assert_eq!(
            cells.iter().collect::<Vec<_>>(),
            [
                (Labelled::StepsCompleted.cell(), 2),
                (first + 1, 1),
                (first + 18, 1),
                (first + 19, 8_000_002_000)
            ]
        );
        assert_eq!(cells.events(Scope::Step), 2);
    }
}
