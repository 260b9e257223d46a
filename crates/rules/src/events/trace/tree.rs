//! The spans of a task, from its log. A span is there once it has ended.
//!
//! The root is the first execution of the task. A task that was taken up again has an execution more, below the root. Everything else hangs
//! on the execution in which it began, so that a parent is always a span that ends as well.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{Kind, Trace};
use crate::engine::state::{StepState, TaskState};
use crate::events::rows::Change;

/// A row of the log. Times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Its id; rows come in the order of these.
    pub id: i64,
    /// 0 for the task.
    pub step_no: i16,
    /// What changed.
    pub change: Change,
    /// When.
    pub at: i64,
    /// When the run began that the row ends.
    pub started_at: Option<i64>,
    /// The id of the start of that run, which has no row.
    pub run_id: Option<i64>,
    /// The number of its claim; rows of version 0.1.0 have none.
    pub claim_number: Option<i32>,
    /// How long the step waits before it may run again.
    pub wait: i64,
}

/// What never changes of a task.
#[derive(Debug, Clone, Copy)]
pub struct Task<'t> {
    /// Its trace.
    pub trace: Trace,
    /// Its steps do not run before this time.
    pub run_at: Option<i64>,
    /// The parents of the steps 1, 2, ...
    pub parents: &'t [&'t [i16]],
}

/// A span that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// What it is about.
    pub kind: Kind,
    /// Its id.
    pub id: u64,
    /// The span that it hangs on; `None`: the span that came in, or none.
    pub parent: Option<u64>,
    /// 0 for the task.
    pub step_no: i16,
    /// Of a run and of the time in the queue before it: the number of its claim. Of others 0.
    pub claim_number: i32,
    /// When it began.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: i64,
    /// The place of the row that ended it, or that tells the end.
    pub row: usize,
}

impl Kind {
    /// The name of the span, behind the name of the service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Task => "tasker.task.execution",
            Self::Run => "tasker.step.execution",
            Self::Queued => "tasker.step.queued",
            Self::Retry => "tasker.step.retry",
            Self::Initialize => "tasker.task.initialize",
        }
    }

    /// The event with which the span begins.
    pub const fn begins(self) -> &'static str {
        match self {
            Self::Task => "task.start_requested",
            Self::Run | Self::Queued => "step.execution_requested",
            Self::Retry => "step.retry_requested",
            Self::Initialize => "task.initialize_requested",
        }
    }
}

/// An execution of the task that has not ended.
struct Open {
    number: i32,
    since: i64,
    started_at: Option<i64>,
}

#[derive(Default)]
struct Step {
    /// How many of its runs have ended.
    runs: i32,
    numbers: BTreeSet<i32>,
    retries: i32,
    /// Its last start that has a row: the id of the row, and when.
    start: Option<(i64, i64)>,
    /// When it failed last.
    failed_at: Option<i64>,
    /// From when on it may run, as the end of its last run says.
    due: i64,
    /// When it was taken up again: by an operator, or by the claim of its next run.
    again_at: Option<i64>,
    /// When it was done first.
    done_at: Option<i64>,
}

/// The spans of the task that have ended, in the order of the rows that end them.
pub fn spans(task: &Task, rows: &[Row]) -> Vec<Span> {
    let mut walk = Walk {
        task,
        is_created: false,
        open: None,
        executions: 0,
        reopened: vec![],
        available_at: i64::MIN,
        steps: BTreeMap::new(),
        spans: Vec::with_capacity(2 * rows.len()),
    };
    for (place, row) in rows.iter().enumerate() {
        match row.change {
            Change::Task(from, to) => walk.task_changed(place, row, from, to),
            Change::Step(from, to) => walk.step_changed(place, row, from, to),
        }
    }
    walk.spans
}

struct Walk<'t> {
    task: &'t Task<'t>,
    is_created: bool,
    open: Option<Open>,
    /// How many executions have begun, without the first.
    executions: i32,
    /// The ids of the rows that took the task up again.
    reopened: Vec<i64>,
    /// From when on steps without parents may run.
    available_at: i64,
    steps: BTreeMap<i16, Step>,
    spans: Vec<Span>,
}

impl Walk<'_> {
    fn add(
        &mut self,
        (kind, step_no, number): (Kind, i16, i32),
        parent: Option<u64>,
        (started_at, ended_at): (i64, i64),
        row: usize,
    ) {
        let is_claim = matches!(kind, Kind::Run | Kind::Queued);
        self.spans.push(Span {
            kind,
            id: self.task.trace.span(kind, step_no, number),
            parent,
            step_no,
            claim_number: if is_claim { number } else { 0 },
            started_at: started_at.min(ended_at),
            ended_at,
            row,
        });
    }

    /// The execution in which what has this id in the log happened.
    fn execution(&self, id: i64) -> u64 {
        let number = self.reopened.partition_point(|reopened| *reopened < id);
        self.task.trace.span(Kind::Task, 0, number as i32)
    }

    fn task_changed(&mut self, place: usize, row: &Row, from: Option<TaskState>, to: TaskState) {
        let begins = |number| Open {
            number,
            since: row.at,
            started_at: None,
        };
        match from {
            // A repair may write the first row again.
            None if self.is_created => {}
            None => {
                self.is_created = true;
                self.available_at = self.task.run_at.unwrap_or(row.at).max(row.at);
                self.open = Some(begins(0));
                let root = self.task.trace.root();
                self.add(
                    (Kind::Initialize, 0, 0),
                    Some(root),
                    (row.at, row.at),
                    place,
                );
            }
            Some(_) if self.open.is_none() && to.is_open() => {
                self.executions += 1;
                self.reopened.push(row.id);
                self.available_at = row.at;
                self.open = Some(begins(self.executions));
            }
            Some(_) => {}
        }
        if to == TaskState::InProgress
            && let Some(open) = &mut self.open
        {
            open.started_at.get_or_insert(row.at);
        }
        if !to.is_open()
            && let Some(open) = self.open.take()
        {
            let root = self.task.trace.root();
            let parent = (open.number > 0).then_some(root);
            let began = open.started_at.unwrap_or(open.since);
            self.add((Kind::Task, 0, open.number), parent, (began, row.at), place);
        }
    }

    fn step_changed(&mut self, place: usize, row: &Row, from: StepState, to: StepState) {
        if from == StepState::InProgress {
            self.run_ended(place, row);
        }
        let step = self.steps.entry(row.step_no).or_default();
        if to == StepState::InProgress {
            step.start = Some((row.id, row.at));
            return;
        }
        if from == StepState::Error && to == StepState::Pending {
            step.retries += 1;
            step.again_at = Some(row.at);
            let (number, failed_at) = (step.retries, step.failed_at.unwrap_or(row.at));
            let parent = self.execution(row.id);
            let key = (Kind::Retry, row.step_no, number);
            self.add(key, Some(parent), (failed_at, row.at), place);
            return;
        }
        if to == StepState::Error {
            step.failed_at = Some(row.at);
        }
        if to.is_finished_good() {
            step.done_at.get_or_insert(row.at);
        }
        step.due = row.at.saturating_add(row.wait);
        step.again_at = None;
    }

    fn run_ended(&mut self, place: usize, row: &Row) {
        let step = self.steps.entry(row.step_no).or_default();
        step.runs = step.runs.saturating_add(1);
        let number = row.claim_number.unwrap_or(step.runs);
        let start = step.start.take();
        // What was written by hand, or by a repair, may tell a run twice.
        if !step.numbers.insert(number) {
            return;
        }
        let began = row.started_at.or(start.map(|(_, at)| at));
        let began = began.unwrap_or(row.at).min(row.at);
        let due = self.due(row.step_no, began);
        let id = row.run_id.or(start.map(|(id, _)| id)).unwrap_or(row.id);
        let parent = Some(self.execution(id));
        self.add(
            (Kind::Queued, row.step_no, number),
            parent,
            (due, began),
            place,
        );
        self.add(
            (Kind::Run, row.step_no, number),
            parent,
            (began, row.at),
            place,
        );
    }

    /// From when on the step could run: the task allows it, its parents are done, and its last run is far enough back.
    fn due(&self, step_no: i16, began: i64) -> i64 {
        let own = self.steps.get(&step_no).map_or(i64::MIN, |step| {
            // A claim of a failed step says so at its beginning, and does not make it due.
            let again_at = step.again_at.filter(|again_at| *again_at < began);
            again_at.map_or(step.due, |again_at| again_at.max(step.due))
        });
        let parents = usize::try_from(step_no - 1).ok();
        let parents = parents.and_then(|place| self.task.parents.get(place));
        let done_at = |no: &i16| self.steps.get(no)?.done_at;
        let parents = parents.into_iter().flat_map(|parents| parents.iter());
        parents
            .filter_map(done_at)
            .chain([own, self.available_at])
            .max()
            .unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use StepState::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};

    const TASK: [u8; 16] = [7; 16];

    /// Rows with ids 10, 20, ..., each a second after the one before.
    struct Log(Vec<Row>);

    impl Log {
        fn new() -> Self {
            Self(vec![]).task(None, TaskState::Pending)
        }

        fn now(&self) -> i64 {
            (self.0.len() as i64 + 1) * 1_000_000
        }

        fn row(mut self, step_no: i16, change: Change) -> Self {
            self.0.push(Row {
                id: (self.0.len() as i64 + 1) * 10,
                step_no,
                change,
                at: self.now(),
                started_at: None,
                run_id: None,
                claim_number: None,
                wait: 0,
            });
            self
        }

        fn task(self, from: Option<TaskState>, to: TaskState) -> Self {
            self.row(0, Change::Task(from, to))
        }

        fn step(self, step_no: i16, from: StepState, to: StepState) -> Self {
            self.row(step_no, Change::Step(from, to))
        }

        /// A run that a claim began half a second ago.
        fn ran(self, step_no: i16, claim_number: i32, to: StepState) -> Self {
            let mut log = self.step(step_no, InProgress, to);
            if let Some(row) = log.0.last_mut() {
                row.started_at = Some(row.at - 500_000);
                row.run_id = Some(row.id - 5);
                row.claim_number = Some(claim_number);
            }
            log
        }

        fn waits(mut self, seconds: i64) -> Self {
            if let Some(row) = self.0.last_mut() {
                row.wait = seconds * 1_000_000;
            }
            self
        }

        fn spans(&self) -> Vec<Span> {
            spans(&task(), &self.0)
        }
    }

    /// Two steps, one after the other.
    fn task() -> Task<'static> {
        Task {
            trace: Trace::of(&TASK, None),
            run_at: None,
            parents: &[&[], &[1]],
        }
    }

    fn started() -> Log {
        Log::new().task(Some(TaskState::Pending), TaskState::InProgress)
    }

    fn of_kind(spans: &[Span], kind: Kind) -> Vec<Span> {
        spans
            .iter()
            .copied()
            .filter(|span| span.kind == kind)
            .collect()
    }

    /// When it began and ended, in tenths of seconds.
    fn times(spans: &[Span], kind: Kind) -> Vec<(i64, i64)> {
        of_kind(spans, kind)
            .iter()
            .map(|span| (span.started_at / 100_000, span.ended_at / 100_000))
            .collect()
    }

    #[test]
    fn a_task_is_one_tree() {
        let log = started()
            .ran(1, 1, Complete)
            .ran(2, 1, Complete)
            .task(Some(TaskState::InProgress), TaskState::Complete);
        let (trace, spans) = (task().trace, log.spans());
        let root = of_kind(&spans, Kind::Task)[0];
        assert_eq!((root.id, root.parent), (trace.root(), None));
        let others = spans.iter().filter(|span| span.kind != Kind::Task);
        assert!(others.clone().all(|span| span.parent == Some(trace.root())));
        assert_eq!(others.count(), 5);
        // From the first start to the end.
        assert_eq!(times(&spans, Kind::Task), [(20, 50)]);
        assert_eq!(times(&spans, Kind::Initialize), [(10, 10)]);
        assert_eq!(times(&spans, Kind::Run), [(25, 30), (35, 40)]);
        // The first step was due with the task, the second one when the first was done.
        assert_eq!(times(&spans, Kind::Queued), [(10, 25), (30, 35)]);
        let runs = of_kind(&spans, Kind::Run);
        assert_eq!([runs[0].id, runs[1].id], [trace.run(1, 1), trace.run(2, 1)]);
        assert_eq!([runs[0].row, runs[1].row], [2, 3]);
    }

    #[test]
    fn retries_are_siblings() {
        let log = started()
            .ran(1, 1, Error)
            .waits(0)
            .step(1, Error, Pending)
            .ran(1, 2, Complete);
        let spans = log.spans();
        let runs = of_kind(&spans, Kind::Run);
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[0].parent, runs[1].parent);
        assert_ne!(runs[0].id, runs[1].id);
        // From the failure to the next attempt.
        assert_eq!(times(&spans, Kind::Retry), [(30, 40)]);
    }

    #[test]
    fn a_step_that_waits_is_due_after_its_wait() {
        let log = started()
            .ran(1, 1, Error)
            .waits(1)
            .row(
                0,
                Change::Task(Some(TaskState::InProgress), TaskState::Pending),
            )
            .ran(1, 2, Complete);
        // Failed at 3, waits a second.
        assert_eq!(times(&log.spans(), Kind::Queued), [(10, 25), (40, 45)]);
    }

    #[test]
    fn the_retry_that_a_claim_writes_does_not_make_the_step_due() {
        let mut log = started().ran(1, 1, Error).step(1, Error, Pending);
        let began = log.0[3].at;
        log = log.ran(1, 2, Complete);
        log.0[4].started_at = Some(began);
        assert_eq!(times(&log.spans(), Kind::Queued), [(10, 25), (30, 40)]);
        // An operator has taken it up again, before the claim.
        log.0[4].started_at = Some(began + 100_000);
        assert_eq!(times(&log.spans(), Kind::Queued), [(10, 25), (40, 41)]);
    }

    #[test]
    fn a_run_that_was_given_back_has_a_span_as_well() {
        let log = started().ran(1, 1, Pending).ran(1, 2, Cancelled);
        let runs = of_kind(&log.spans(), Kind::Run);
        assert_eq!([runs[0].claim_number, runs[1].claim_number], [1, 2]);
    }

    #[test]
    fn a_step_that_ends_without_a_run_has_no_span() {
        let log = started()
            .step(1, Pending, ResolvedManually)
            .step(2, Pending, Cancelled);
        assert_eq!(log.spans().len(), 1);
    }

    #[test]
    fn a_task_that_was_taken_up_again_has_an_execution_below_the_root() {
        let log = started()
            .ran(1, 1, Error)
            .task(Some(TaskState::InProgress), TaskState::Error)
            .task(Some(TaskState::Error), TaskState::Pending)
            .step(1, Error, Pending)
            .task(Some(TaskState::Pending), TaskState::InProgress)
            .ran(1, 2, Complete)
            .task(Some(TaskState::InProgress), TaskState::Complete);
        let (trace, spans) = (task().trace, log.spans());
        let tasks = of_kind(&spans, Kind::Task);
        assert_eq!(tasks[0].parent, None);
        assert_eq!(tasks[1].parent, Some(trace.root()));
        assert_eq!(times(&spans, Kind::Task), [(20, 40), (70, 90)]);
        let runs = of_kind(&spans, Kind::Run);
        assert_eq!(
            [runs[0].parent, runs[1].parent],
            [Some(tasks[0].id), Some(tasks[1].id)]
        );
        // It is due since it was taken up again.
        assert_eq!(times(&spans, Kind::Queued)[1], (60, 75));
    }

    #[test]
    fn a_task_that_ends_twice_has_one_execution() {
        let log = started()
            .task(Some(TaskState::InProgress), TaskState::Complete)
            .task(Some(TaskState::Complete), TaskState::Cancelled);
        assert_eq!(times(&log.spans(), Kind::Task), [(20, 30)]);
    }

    #[test]
    fn a_task_that_was_never_started_lasts_since_its_creation() {
        let log = Log::new().task(Some(TaskState::Pending), TaskState::Cancelled);
        assert_eq!(times(&log.spans(), Kind::Task), [(10, 20)]);
    }

    #[test]
    fn a_task_that_runs_later_is_due_later() {
        let log = started().ran(1, 1, Complete);
        let later = Task {
            run_at: Some(2_200_000),
            ..task()
        };
        assert_eq!(times(&spans(&later, &log.0), Kind::Queued), [(22, 25)]);
    }

    #[test]
    fn rows_of_an_earlier_version_are_numbered_by_their_order() {
        let log = started()
            .step(1, Pending, InProgress)
            .step(1, InProgress, Error)
            .step(1, Error, Pending)
            .step(1, Pending, InProgress)
            .step(1, InProgress, Complete);
        let spans = log.spans();
        let runs = of_kind(&spans, Kind::Run);
        assert_eq!([runs[0].claim_number, runs[1].claim_number], [1, 2]);
        assert_eq!(times(&spans, Kind::Run), [(30, 40), (60, 70)]);
    }

    fn any_log() -> impl Strategy<Value = Vec<Row>> {
        let step = (1i16..4, 0usize..6, 0usize..6, any::<bool>(), 0i64..3);
        let task = (0usize..7, 0usize..6);
        let one = (any::<bool>(), step, task);
        prop::collection::vec(one, 0..60).prop_map(|changes| {
            let mut log = Log::new();
            let mut claims = [0; 4];
            for (of_task, (no, from, to, claimed, wait), (was, is)) in changes {
                let (from, to) = (StepState::ALL[from], StepState::ALL[to]);
                log = if of_task {
                    log.task(TaskState::ALL.get(was).copied(), TaskState::ALL[is])
                } else if from == InProgress && claimed {
                    claims[no as usize] += 1;
                    log.ran(no, claims[no as usize], to).waits(wait)
                } else {
                    log.step(no, from, to).waits(wait)
                };
            }
            log.0
        })
    }

    proptest! {
        /// Whatever the log says, also what no engine writes.
        #[test]
        fn each_span_has_an_id_of_its_own_and_no_span_is_an_orphan(rows in any_log()) {
            let of = task();
            let all = spans(&of, &rows);
            let ids: BTreeSet<u64> = all.iter().map(|span| span.id).collect();
            prop_assert_eq!(ids.len(), all.len());
            let ended = of_kind(&all, Kind::Task);
            let is_open = |number| ended.len() == number;
            for span in &all {
                prop_assert!(span.started_at <= span.ended_at);
                let Some(parent) = span.parent else {
                    prop_assert_eq!(span.id, of.trace.root());
                    continue;
                };
                let number = (0i32..100).find(|number| of.trace.span(Kind::Task, 0, *number) == parent);
                let number = number.expect("an execution of the task") as usize;
                prop_assert!(ids.contains(&parent) || is_open(number));
            }
            // Read again when more has happened: what was there stays.
            for upto in 0..rows.len() {
                let before = spans(&of, &rows[..upto]);
                prop_assert_eq!(&before[..], &all[..before.len()]);
            }
        }
    }
}
