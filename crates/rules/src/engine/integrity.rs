//! What the stored rows of a task contradict in each other. A call of the engine changes rows that belong together in one
//! transaction, so no snapshot shows any of this unless something else wrote to the tables, or a part of them was lost.

use super::readiness::{NEVER, can_still_run, entry_agrees, failed_permanently, may_still_start};
use super::state::{StepState, TaskState};

/// A kind of disagreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A step is ready or will be at a known time, and no entry leads a claim to it.
    MissingEntry,
    /// A second entry that agrees with the step.
    DoubleEntry,
    /// An entry that agrees, in another queue or under another handler than those of the template, or where no claim looks.
    WrongEntry,
    /// An entry that agrees with a step whose parents are not done.
    EarlyEntry,
    /// An entry without a step.
    OrphanedEntry,
    /// A step in progress that no claim holds.
    StepWithoutClaim,
    /// A step of an open task that waits until its task is taken up.
    HeldStep,
    /// A step of an ended task that could still start.
    UnheldStep,
    /// The number of parents that a step waits for.
    WrongOpenParents,
    /// Whether a step can never be done.
    WrongUnreachable,
    /// Leaves alone cannot show the end of the task, and the rows do not say so.
    NotWatched,
    /// The number of leaves that the task waits for.
    WrongOpenLeaves,
    /// An open task of which no step can run.
    TaskNotEnded,
    /// A complete task with steps that are not done.
    TaskEndedEarly,
    /// The row among the rare states.
    WrongRareState,
    /// The last change in the log leads to another state than that of the row.
    WrongLog,
    /// A claim that counts fewer steps than it holds.
    WrongClaim,
    /// The steps of the task are not those of its template.
    WrongSteps,
    /// A state that does not exist.
    UnknownState,
    /// Steps without a task.
    StepsWithoutTask,
    /// Log rows without a task.
    LogWithoutTask,
}

impl Fault {
    /// The name, what a repair would do, and what it has done. The last two are the same where it can do nothing.
    pub const fn words(self) -> [&'static str; 3] {
        const LEFT: &str = "left as it is: restore the rows from a backup";
        match self {
            Self::MissingEntry => [
                "missing_queue_entry",
                "add a queue entry",
                "queue entry added",
            ],
            Self::DoubleEntry => [
                "double_queue_entry",
                "remove the queue entry",
                "queue entry removed",
            ],
            Self::WrongEntry => [
                "wrong_queue_entry",
                "remove the queue entry",
                "queue entry removed",
            ],
            Self::EarlyEntry => [
                "early_queue_entry",
                "remove the queue entry",
                "queue entry removed",
            ],
            Self::OrphanedEntry => [
                "orphaned_queue_entry",
                "remove the queue entry",
                "queue entry removed",
            ],
            Self::StepWithoutClaim => [
                "step_without_claim",
                "end the run as if its lease had ended",
                "run ended as if its lease had ended",
            ],
            Self::HeldStep => ["held_step", "let the step start", "step may start"],
            Self::UnheldStep => ["unheld_step", "hold the step", "step held"],
            Self::WrongOpenParents => [
                "wrong_open_parents",
                "count the open parents",
                "open parents counted",
            ],
            Self::WrongUnreachable => ["wrong_unreachable", "correct the mark", "mark corrected"],
            Self::NotWatched => ["not_watched", "set the mark", "mark set"],
            Self::WrongOpenLeaves => [
                "wrong_open_leaves",
                "count the open leaves",
                "open leaves counted",
            ],
            Self::TaskNotEnded => ["task_not_ended", "end the task", "task ended"],
            Self::TaskEndedEarly => ["task_ended_early", "let the task go on", "task goes on"],
            Self::WrongRareState => [
                "wrong_rare_state",
                "correct the row among the rare states",
                "row among the rare states corrected",
            ],
            Self::WrongLog => [
                "wrong_log",
                "log the state of the row",
                "state of the row logged",
            ],
            Self::WrongClaim => [
                "wrong_claim",
                "count the steps of the claim",
                "steps of the claim counted",
            ],
            Self::WrongSteps => ["wrong_steps", LEFT, LEFT],
            Self::UnknownState => ["unknown_state", LEFT, LEFT],
            Self::StepsWithoutTask => ["steps_without_task", LEFT, LEFT],
            Self::LogWithoutTask => ["log_without_task", LEFT, LEFT],
        }
    }

    /// Whether only the queue is wrong: no step has to be locked.
    pub const fn is_of_the_queue(self) -> bool {
        matches!(
            self,
            Self::MissingEntry
                | Self::DoubleEntry
                | Self::WrongEntry
                | Self::EarlyEntry
                | Self::OrphanedEntry
        )
    }

    /// Whether nothing but a backup has what is missing.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::WrongSteps | Self::UnknownState | Self::StepsWithoutTask | Self::LogWithoutTask
        )
    }
}

/// The row of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// None: a code that no state has.
    pub state: Option<TaskState>,
    /// Its template.
    pub named_task_id: i32,
    /// Leaves that are not done.
    pub open_leaves: i16,
    /// Whether its end is found by a look at all steps.
    pub watched: bool,
    /// Whether its request bypasses steps.
    pub bypasses: bool,
}

/// The row of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub no: i16,
    /// None: a code that no state has.
    pub state: Option<StepState>,
    /// Its one clock.
    pub available_at: Option<i64>,
    /// The claim that holds or held it.
    pub claim_id: Option<i64>,
    /// Its template.
    pub named_task_id: i32,
    /// Parents that are not done; kept for steps with several.
    pub open_parents: i16,
    /// Whether a report looks at the task.
    pub watched: bool,
    /// Whether a step that it needs can never be done.
    pub unreachable: bool,
    /// The level of its task.
    pub priority: i16,
}

/// A queue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The step.
    pub no: i16,
    /// From when on a claim may take it.
    pub available_at: i64,
    /// The queue.
    pub queue_id: i32,
    /// The level in it.
    pub priority: i16,
    /// None: written by an earlier version.
    pub handler_key: Option<i64>,
}

/// The last log row of a step, or of the task (number 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The step.
    pub no: i16,
    /// The state that it led to; None: a code that no state has.
    pub state: Option<StepState>,
}

/// All rows about one task, each kind ascending by step.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'r> {
    /// Its own row.
    pub task: Option<Task>,
    /// Its steps.
    pub steps: &'r [Step],
    /// What the queue has, of each step ascending by time; None: not asked.
    pub entries: Option<&'r [Entry]>,
    /// The steps in the rows of claims, with the ids of these.
    pub claims: &'r [(i16, i64)],
    /// The log.
    pub log: &'r [Logged],
    /// The state in the table of rare states; `Some(None)`: stuck.
    pub rare: Option<Option<TaskState>>,
}

/// The template of a task; step numbers count from 1, and parents come first.
pub trait Graph {
    /// How many steps it has.
    fn steps(&self) -> usize;
    /// The parents of a step.
    fn parents(&self, no: i16) -> &[i16];
    /// Whether no step needs this one.
    fn is_leaf(&self, no: i16) -> bool;
    /// The queue of a step.
    fn queue_id(&self, no: i16) -> i32;
    /// The key of a step's handler.
    fn handler_key(&self, no: i16) -> i64;
}

/// A disagreement of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What disagrees.
    pub fault: Fault,
    /// The step; None: the task itself.
    pub step: Option<i16>,
    /// The place of the entry that is too much.
    pub entry: Option<usize>,
}

impl Found {
    const fn of_task(fault: Fault) -> Self {
        Self {
            fault,
            step: None,
            entry: None,
        }
    }

    const fn of_step(fault: Fault, no: i16) -> Self {
        Self {
            fault,
            step: Some(no),
            entry: None,
        }
    }
}

/// Every disagreement of the rows. Without the template, or with steps that do not fit it, only that is found.
pub fn check(rows: &Rows, graph: Option<&impl Graph>) -> Vec<Found> {
    let mut found = vec![];
    let Some(task) = &rows.task else {
        without_task(rows, &mut found);
        return found;
    };
    let Some((graph, state, states)) = fitting(rows, task, graph, &mut found) else {
        orphans(rows, &mut found);
        return found;
    };
    let known = Known {
        rows,
        task,
        state,
        by_hand: states.iter().any(is_by_hand),
        states,
        graph,
        unreachable: vec![],
    }
    .with_unreachable();
    known.check_task(&mut found);
    for index in 0..known.states.len() {
        known.check_step(index, &mut found);
    }
    known.check_log(&mut found);
    known.check_entries(&mut found);
    found
}

const fn is_by_hand(state: &StepState) -> bool {
    matches!(state, StepState::Cancelled | StepState::ResolvedManually)
}

fn without_task(rows: &Rows, found: &mut Vec<Found>) {
    if !rows.steps.is_empty() {
        found.push(Found::of_task(Fault::StepsWithoutTask));
    }
    if !rows.log.is_empty() {
        found.push(Found::of_task(Fault::LogWithoutTask));
    }
    if rows.rare.is_some() {
        found.push(Found::of_task(Fault::WrongRareState));
    }
    // A claim that met one would find no task.
    found.extend(
        rows.entries
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(place, entry)| Found {
                entry: Some(place),
                ..Found::of_step(Fault::OrphanedEntry, entry.no)
            }),
    );
}

/// The template and the states, if steps and template belong together.
fn fitting<'r, G: Graph>(
    rows: &Rows,
    task: &Task,
    graph: Option<&'r G>,
    found: &mut Vec<Found>,
) -> Option<(&'r G, TaskState, Vec<StepState>)> {
    let fits = |graph: &&G| {
        rows.steps.len() == graph.steps()
            && rows.steps.iter().zip(1_i32..).all(|(step, no)| {
                i32::from(step.no) == no && step.named_task_id == task.named_task_id
            })
    };
    let Some(graph) = graph.filter(fits) else {
        found.push(Found::of_task(Fault::WrongSteps));
        return None;
    };
    if task.state.is_none() {
        found.push(Found::of_task(Fault::UnknownState));
    }
    let mut states = Vec::with_capacity(rows.steps.len());
    for step in rows.steps {
        match step.state {
            Some(state) => states.push(state),
            None => found.push(Found::of_step(Fault::UnknownState, step.no)),
        }
    }
    let state = task.state.filter(|_| states.len() == rows.steps.len())?;
    Some((graph, state, states))
}

/// Entries of steps that have no row.
fn orphans(rows: &Rows, found: &mut Vec<Found>) {
    for (place, entry) in rows.entries.unwrap_or_default().iter().enumerate() {
        if rows
            .steps
            .binary_search_by_key(&entry.no, |step| step.no)
            .is_err()
        {
            found.push(Found {
                entry: Some(place),
                ..Found::of_step(Fault::OrphanedEntry, entry.no)
            });
        }
    }
}

struct Known<'r, G> {
    rows: &'r Rows<'r>,
    task: &'r Task,
    state: TaskState,
    states: Vec<StepState>,
    graph: &'r G,
    /// What the states alone say.
    unreachable: Vec<bool>,
    /// Whether a step was cancelled or resolved.
    by_hand: bool,
}

impl<G: Graph> Known<'_, G> {
    fn with_unreachable(mut self) -> Self {
        for step in self.rows.steps {
            let lost = |parent: &i16| {
                let index = *parent as usize - 1;
                self.states[index] == StepState::Cancelled
                    || failed_permanently(self.states[index], self.rows.steps[index].available_at)
                    || self.unreachable[index]
            };
            let any = self.graph.parents(step.no).iter().any(lost);
            let done = self.states[step.no as usize - 1].is_finished_good();
            self.unreachable.push(any && !done);
        }
        self
    }

    fn open_parents(&self, no: i16) -> i16 {
        let open = |parent: &&i16| !self.states[**parent as usize - 1].is_finished_good();
        self.graph.parents(no).iter().filter(open).count() as i16
    }

    /// Cancelled, resolved or failed permanently: the count of leaves does not show the end any more.
    fn is_trouble(&self, index: usize) -> bool {
        is_by_hand(&self.states[index])
            || failed_permanently(self.states[index], self.rows.steps[index].available_at)
    }

    fn check_task(&self, found: &mut Vec<Found>) {
        let mut all = 0..self.states.len();
        let runs = |index: usize| {
            can_still_run(
                self.states[index],
                self.rows.steps[index].available_at,
                self.unreachable[index],
            )
        };
        let good = |state: &StepState| state.is_finished_good();
        let leaves = self.rows.steps.iter().zip(&self.states);
        let open_leaves = leaves
            .filter(|(step, state)| self.graph.is_leaf(step.no) && !good(state))
            .count();
        let mut fault = |fault| found.push(Found::of_task(fault));
        if self.state.is_open() && !all.clone().any(runs) {
            fault(Fault::TaskNotEnded);
        }
        if self.state == TaskState::Complete && !self.states.iter().all(good) {
            fault(Fault::TaskEndedEarly);
        }
        if !self.task.watched && usize::try_from(self.task.open_leaves) != Ok(open_leaves) {
            fault(Fault::WrongOpenLeaves);
        }
        if self.state.is_open() && !self.task.watched && all.any(|index| self.is_trouble(index)) {
            fault(Fault::NotWatched);
        }
        let rare = match self.state {
            TaskState::Error | TaskState::Cancelled | TaskState::ResolvedManually => {
                self.rows.rare == Some(Some(self.state))
            }
            _ => matches!(self.rows.rare, None | Some(None)),
        };
        if !rare {
            fault(Fault::WrongRareState);
        }
    }

    fn check_step(&self, index: usize, found: &mut Vec<Found>) {
        let (row, state) = (&self.rows.steps[index], self.states[index]);
        if !matches!(
            state,
            StepState::Pending | StepState::InProgress | StepState::Error
        ) {
            return;
        }
        let mut fault = |fault| found.push(Found::of_step(fault, row.no));
        if state == StepState::InProgress && !self.is_claimed(row) {
            fault(Fault::StepWithoutClaim);
        }
        let held = row.available_at == Some(NEVER);
        let starts = state == StepState::InProgress
            || may_still_start(state, row.available_at, self.unreachable[index]);
        match self.state {
            TaskState::Pending | TaskState::InProgress if held => fault(Fault::HeldStep),
            TaskState::Error | TaskState::Cancelled | TaskState::ResolvedManually
                if starts && !held =>
            {
                fault(Fault::UnheldStep);
            }
            _ => {}
        }
        if row.unreachable != self.unreachable[index] {
            fault(Fault::WrongUnreachable);
        }
        if self.graph.parents(row.no).len() > 1 && row.open_parents != self.open_parents(row.no) {
            fault(Fault::WrongOpenParents);
        }
        if self.state.is_open() && !row.watched && self.by_hand {
            fault(Fault::NotWatched);
        }
    }

    /// Whether the claim that the step names has it.
    fn is_claimed(&self, step: &Step) -> bool {
        let claims = self.rows.claims;
        let first = claims.partition_point(|(no, _)| *no < step.no);
        claims[first..]
            .iter()
            .take_while(|(no, _)| *no == step.no)
            .any(|(_, claim)| Some(*claim) == step.claim_id)
    }

    fn check_log(&self, found: &mut Vec<Found>) {
        let last = |no: i16| {
            let place = self.rows.log.binary_search_by_key(&no, |logged| logged.no);
            place.ok().map(|place| self.rows.log[place].state)
        };
        let task = Some(Some(self.state.code()));
        if last(0).map(|state| state.map(StepState::code)) != task {
            found.push(Found::of_task(Fault::WrongLog));
        }
        for (step, state) in self.rows.steps.iter().zip(&self.states) {
            let agrees = match last(step.no) {
                Some(logged) => logged == Some(*state),
                // Created so, with its task.
                None => {
                    *state == StepState::Pending
                        || *state == StepState::ResolvedManually && self.task.bypasses
                }
            };
            if !agrees {
                found.push(Found::of_step(Fault::WrongLog, step.no));
            }
        }
    }

    /// Whether a claim must find the step in the queue.
    fn waits_in_queue(&self, index: usize) -> bool {
        let row = &self.rows.steps[index];
        may_still_start(self.states[index], row.available_at, row.unreachable)
            && !row.unreachable
            && row.available_at != Some(NEVER)
            && self.open_parents(row.no) == 0
    }

    fn check_entries(&self, found: &mut Vec<Found>) {
        orphans(self.rows, found);
        // What could start although its task has ended is held again, whatever the queue has.
        let goes_on = self.state.is_open() || self.state == TaskState::Complete;
        let Some(entries) = self.rows.entries.filter(|_| goes_on) else {
            return;
        };
        let mut agreeing = vec![false; self.states.len()];
        for (place, entry) in entries.iter().enumerate() {
            let index = usize::try_from(i32::from(entry.no) - 1).unwrap_or(usize::MAX);
            let Some(row) = self.rows.steps.get(index) else {
                continue;
            };
            if !entry_agrees(self.states[index], row.available_at, entry.available_at) {
                continue;
            }
            let fault = if !self.is_placed(entry) {
                Fault::WrongEntry
            } else if !self.waits_in_queue(index) {
                Fault::EarlyEntry
            } else if std::mem::replace(&mut agreeing[index], true) {
                Fault::DoubleEntry
            } else {
                continue;
            };
            found.push(Found {
                entry: Some(place),
                ..Found::of_step(fault, entry.no)
            });
        }
        for (index, agreeing) in agreeing.into_iter().enumerate() {
            if !agreeing && self.waits_in_queue(index) {
                found.push(Found::of_step(
                    Fault::MissingEntry,
                    self.rows.steps[index].no,
                ));
            }
        }
    }

    /// Whether the claims that want the step come past the entry.
    fn is_placed(&self, entry: &Entry) -> bool {
        entry.queue_id == self.graph.queue_id(entry.no)
            && (1..=4).contains(&entry.priority)
            && entry.available_at != NEVER
            && entry
                .handler_key
                .is_none_or(|key| key == self.graph.handler_key(entry.no))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patience::patience;

    /// start, two branches, end.
    struct Diamond;

    impl Graph for Diamond {
        fn steps(&self) -> usize {
            4
        }

        fn parents(&self, no: i16) -> &[i16] {
            match no {
                1 => &[],
                2 | 3 => &[1],
                _ => &[2, 3],
            }
        }

        fn is_leaf(&self, no: i16) -> bool {
            no == 4
        }

        fn queue_id(&self, _: i16) -> i32 {
            1
        }

        fn handler_key(&self, no: i16) -> i64 {
            i64::from(no)
        }
    }

    const TASK: Task = Task {
        state: Some(TaskState::InProgress),
        named_task_id: 1,
        open_leaves: 1,
        watched: false,
        bypasses: false,
    };

    fn steps(states: [StepState; 4], open_parents: i16) -> Vec<Step> {
        states
            .into_iter()
            .zip(1..)
            .map(|(state, no)| Step {
                no,
                state: Some(state),
                available_at: None,
                claim_id: (state == StepState::InProgress).then_some(7),
                named_task_id: 1,
                open_parents: if no == 4 { open_parents } else { 0 },
                watched: false,
                unreachable: false,
                priority: 2,
            })
            .collect()
    }

    fn logged(steps: &[Step], task: StepState) -> Vec<Logged> {
        let of = |step: &Step| Logged {
            no: step.no,
            state: step.state,
        };
        let moved = steps
            .iter()
            .filter(|step| step.state != Some(StepState::Pending));
        [Logged {
            no: 0,
            state: Some(task),
        }]
        .into_iter()
        .chain(moved.map(of))
        .collect()
    }

    fn entry(no: i16) -> Entry {
        Entry {
            no,
            available_at: 5,
            queue_id: 1,
            priority: 3,
            handler_key: Some(i64::from(no)),
        }
    }

    fn found(task: Task, steps: &[Step], entries: &[Entry]) -> Vec<Fault> {
        let claims = [(3, 7)];
        let log = logged(steps, StepState::InProgress);
        let rows = Rows {
            task: Some(task),
            steps,
            entries: Some(entries),
            claims: &claims,
            log: &log,
            rare: None,
        };
        let mut found: Vec<Fault> = check(&rows, Some(&Diamond))
            .iter()
            .map(|found| found.fault)
            .collect();
        found.sort_unstable();
        found
    }

    use StepState::{Complete, InProgress, Pending};

    #[test]
    fn of_a_task_that_runs_nothing_disagrees() {
        let running = steps([Complete, Pending, InProgress, Pending], 2);
        assert_eq!(found(TASK, &running, &[entry(2)]), []);
        let old = Entry {
            handler_key: None,
            ..entry(2)
        };
        assert_eq!(
            found(TASK, &running, &[old]),
            [],
            "written by an earlier version"
        );
        assert_eq!(
            found(TASK, &running, &[entry(2), entry(1)]),
            [],
            "what is left of an earlier run"
        );
    }

    #[test]
    fn each_entry_is_compared_with_its_step() {
        let running = steps([Complete, Pending, InProgress, Pending], 2);
        assert_eq!(found(TASK, &running, &[]), [Fault::MissingEntry]);
        assert_eq!(
            found(TASK, &running, &[entry(2), entry(2)]),
            [Fault::DoubleEntry]
        );
        assert_eq!(
            found(TASK, &running, &[entry(2), entry(4)]),
            [Fault::EarlyEntry]
        );
        assert_eq!(
            found(TASK, &running, &[entry(2), entry(5)]),
            [Fault::OrphanedEntry]
        );
        assert_eq!(
            found(TASK, &running, &[entry(2), entry(i16::MIN)]),
            [Fault::OrphanedEntry]
        );
        let never = Entry {
            available_at: NEVER,
            ..entry(2)
        };
        assert_eq!(
            found(TASK, &running, &[never]),
            [Fault::MissingEntry, Fault::WrongEntry]
        );
    }

    #[test]
    fn a_permanent_failure_makes_its_descendants_unreachable_and_the_task_watched() {
        let mut failed = steps([Complete, StepState::Error, InProgress, Pending], 2);
        assert_eq!(
            found(TASK, &failed, &[]),
            [Fault::WrongUnreachable, Fault::NotWatched]
        );
        failed[3].unreachable = true;
        assert_eq!(
            found(
                Task {
                    watched: true,
                    ..TASK
                },
                &failed,
                &[]
            ),
            []
        );
        failed[1].available_at = Some(9);
        let retried = [Entry {
            available_at: 9,
            ..entry(2)
        }];
        assert_eq!(found(TASK, &failed, &retried), [Fault::WrongUnreachable]);
    }

    /// Steps that need no other.
    struct Wide(usize);

    impl Graph for Wide {
        fn steps(&self) -> usize {
            self.0
        }

        fn parents(&self, _: i16) -> &[i16] {
            &[]
        }

        fn is_leaf(&self, _: i16) -> bool {
            true
        }

        fn queue_id(&self, _: i16) -> i32 {
            1
        }

        fn handler_key(&self, no: i16) -> i64 {
            i64::from(no)
        }
    }

    #[test]
    fn a_task_of_the_most_steps_is_checked_in_one_pass() {
        let [_, _, like, _] = steps([Complete, Pending, InProgress, Pending], 2)
            .try_into()
            .expect("four");
        let steps: Vec<Step> = (1..=i16::MAX).map(|no| Step { no, ..like }).collect();
        let claims: Vec<(i16, i64)> = steps.iter().map(|step| (step.no, 7)).collect();
        let log = logged(&steps, StepState::InProgress);
        let rows = Rows {
            task: Some(Task {
                open_leaves: i16::MAX,
                ..TASK
            }),
            steps: &steps,
            entries: Some(&[]),
            claims: &claims,
            log: &log,
            rare: None,
        };
        let begin = std::time::Instant::now();
        assert_eq!(check(&rows, Some(&Wide(steps.len()))), []);
        // A look at all steps for each step takes seconds.
        assert!(begin.elapsed() < patience(1), "{:?}", begin.elapsed());
    }

    #[test]
    fn what_does_not_fit_its_template_is_not_compared_further() {
        let running = steps([Complete, Pending, InProgress, Pending], 0);
        assert_eq!(found(TASK, &running[..3], &[]), [Fault::WrongSteps]);
        assert_eq!(
            found(
                Task {
                    named_task_id: 2,
                    ..TASK
                },
                &running,
                &[]
            ),
            [Fault::WrongSteps]
        );
        assert_eq!(
            found(
                Task {
                    state: None,
                    ..TASK
                },
                &running,
                &[]
            ),
            [Fault::UnknownState]
        );
    }
}
