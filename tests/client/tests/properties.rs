//! Random graphs, run at random, against a plain model of the rules.
//!
//! Each case registers a random template, makes a few tasks of it and does random things to them: claims of any size,
//! every kind of report, releases, operator actions. After each of them readiness, contexts and task states must be what
//! the model says, which is written from the documented rules alone: it knows states, attempts and parents, and no queue,
//! counter or flag. A failure names its seed; `TASKER_SEED=... cargo test --test properties` repeats it alone.

use std::collections::BTreeMap;

use fastrand::Rng;
use tasker_client_tests::graphs::{Node, random_graph, template};
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{Claim, Database, Session, Uuid, Value, inside, json, scaled};

// --- The model ----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Pending,
    InProgress,
    Error,
    Complete,
    Cancelled,
    ResolvedManually,
}
use State::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};

impl State {
    fn name(self) -> &'static str {
        match self {
            Pending => "pending",
            InProgress => "in_progress",
            Error => "error",
            Complete => "complete",
            Cancelled => "cancelled",
            ResolvedManually => "resolved_manually",
        }
    }

    fn good(self) -> bool {
        matches!(self, Complete | ResolvedManually)
    }
}

/// What will become of a failed step by itself.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Retry {
    Never,
    Now,
    Later,
}

struct Step {
    uuid: Uuid,
    state: State,
    attempts: i32,
    retry_limit: i32,
    retryable: bool,
    retry: Retry,
    /// Its last run was taken from the worker: the next claim that hands it out returns nothing else.
    lost: bool,
    results: Value,
}

struct Task<'a> {
    uuid: Uuid,
    nodes: &'a [Node],
    state: State,
    steps: Vec<Step>,
}

impl Task<'_> {
    fn good_parents(&self, index: usize) -> usize {
        let parents = self.nodes[index].parents.iter();
        parents
            .filter(|parent| self.steps[**parent].state.good())
            .count()
    }

    fn ready(&self, index: usize) -> bool {
        let step = &self.steps[index];
        let due = step.state == Pending || step.state == Error && step.retry == Retry::Now;
        due && self.good_parents(index) == self.nodes[index].parents.len()
    }

    fn all_good(&self) -> bool {
        self.steps.iter().all(|step| step.state.good())
    }

    /// Whether any step can still run without an operator.
    fn alive(&self) -> bool {
        let mut hopeless = vec![];
        let mut alive = false;
        for (step, node) in self.steps.iter().zip(self.nodes) {
            let no_hope = match step.state {
                Cancelled => true,
                Error => step.retry == Retry::Never,
                Pending => node.parents.iter().any(|parent| hopeless[*parent]),
                _ => false,
            };
            hopeless.push(no_hope);
            alive |= !no_hope && !step.state.good();
        }
        alive
    }

    fn ended(&self) -> bool {
        !matches!(self.state, Pending | InProgress | Error)
    }

    /// Where the steps take the task.
    fn settle(&mut self) {
        let (all_good, alive) = (self.all_good(), self.alive());
        self.state = match self.state {
            Pending | InProgress | Error if all_good => Complete,
            Pending | InProgress if !alive => Error,
            Error if alive => Pending,
            state => state,
        };
    }

    fn claimed(&mut self, index: usize) {
        let step = &mut self.steps[index];
        step.state = InProgress;
        step.attempts += 1;
        step.lost = false;
        if self.state == Pending {
            self.state = InProgress;
        }
    }

    fn completed(&mut self, index: usize, results: Value) {
        self.steps[index].state = Complete;
        self.steps[index].results = results;
        self.settle();
    }

    fn failed(&mut self, index: usize, retryable: bool, after: Retry) {
        let step = &mut self.steps[index];
        step.state = Error;
        step.retryable &= retryable;
        step.retry = if step.retryable && step.attempts < step.retry_limit {
            after
        } else {
            Retry::Never
        };
        self.settle();
    }

    /// Only a run that had begun counts.
    fn lost(&mut self, index: usize, begun: bool) {
        let step = &mut self.steps[index];
        step.state = Error;
        step.lost = true;
        step.attempts -= i32::from(!begun);
        let left = step.retryable && step.attempts < step.retry_limit;
        step.retry = if left || !begun && step.attempts == 0 {
            Retry::Now
        } else {
            Retry::Never
        };
        self.settle();
    }

    fn released(&mut self, index: usize) {
        self.steps[index].state = Pending;
        self.steps[index].attempts -= 1;
    }

    fn start_over(&mut self, index: usize, reset: bool) {
        let step = &mut self.steps[index];
        step.state = Pending;
        step.retryable = self.nodes[index].retryable;
        if reset {
            step.attempts = 0;
        }
    }

    // Operator actions: whether they are allowed, and if so what they change.

    fn cancel_step(&mut self, index: usize) -> bool {
        let allowed = !self.ended() && matches!(self.steps[index].state, Pending | InProgress);
        if allowed {
            self.steps[index].state = Cancelled;
            self.settle();
        }
        allowed
    }

    fn resolve_step(&mut self, index: usize, results: &Value) -> bool {
        let allowed = !self.ended() && matches!(self.steps[index].state, Pending | Error);
        if allowed {
            self.steps[index].state = ResolvedManually;
            self.steps[index].results = results.clone();
            self.settle();
        }
        allowed
    }

    fn retry_step(&mut self, index: usize, reset: bool) -> bool {
        let allowed = !self.ended() && self.steps[index].state == Error;
        if allowed {
            self.start_over(index, reset);
            self.settle();
        }
        allowed
    }

    fn set_retry_limit(&mut self, index: usize, limit: i32) -> bool {
        let ended = self.ended();
        let step = &mut self.steps[index];
        if step.state == Error && ended {
            return false;
        }
        step.retry_limit = limit;
        if step.state == Error {
            step.retry = match (step.retryable && step.attempts < limit, step.retry) {
                (false, _) => Retry::Never,
                (true, Retry::Never) => Retry::Now,
                (true, retry) => retry,
            };
            self.settle();
        }
        true
    }

    fn cancel_task(&mut self) -> bool {
        match self.state {
            Error | Cancelled | Complete => return false,
            Pending | InProgress => {
                for step in &mut self.steps {
                    match step.state {
                        Pending | InProgress => step.state = Cancelled,
                        _ => step.retry = Retry::Never,
                    }
                }
            }
            ResolvedManually => {}
        }
        self.state = Cancelled;
        true
    }

    fn retry_task(&mut self) -> bool {
        let failed: Vec<usize> = (0..self.steps.len())
            .filter(|index| self.steps[*index].state == Error)
            .collect();
        let allowed = self.state == Error && !failed.is_empty();
        if allowed {
            for index in failed {
                self.start_over(index, true);
            }
            self.settle();
        }
        allowed
    }

    fn resolve_task(&mut self) -> bool {
        let allowed = self.state == Error;
        if allowed {
            self.state = ResolvedManually;
        }
        allowed
    }

    // What the extension must answer, as text.

    fn readiness(&self) -> BTreeMap<String, String> {
        let line = |index: usize| {
            let (node, step) = (&self.nodes[index], &self.steps[index]);
            let (all, good) = (node.parents.len(), self.good_parents(index));
            let eligible = match step.state {
                Error => step.retry != Retry::Never,
                _ => step.attempts == 0 || step.retryable && step.attempts < step.retry_limit,
            };
            let text = format!(
                "{} {}/{} parents {good}/{all} satisfied {} eligible {eligible} ready {} retries {}",
                step.state.name(),
                step.attempts,
                step.retry_limit,
                good == all,
                self.ready(index),
                step.state == Error && step.retry != Retry::Never,
            );
            (node.name.clone(), text)
        };
        (0..self.steps.len()).map(line).collect()
    }

    fn context(&self) -> String {
        let count =
            |of: &dyn Fn(State) -> bool| self.steps.iter().filter(|step| of(step.state)).count();
        let total = self.steps.len();
        let (running, good) = (count(&|state| state == InProgress), count(&State::good));
        let (failed, cancelled) = (
            count(&|state| state == Error),
            count(&|state| state == Cancelled),
        );
        let ready = (0..total).filter(|index| self.ready(*index)).count();
        let lost = self.steps.iter().any(|step| {
            step.state == Cancelled || step.state == Error && step.retry == Retry::Never
        });
        let (status, action) = if self.state == Complete {
            ("all_complete", "")
        } else if self.state == Cancelled {
            ("cancelled", "")
        } else if self.state == ResolvedManually {
            ("resolved_manually", "")
        } else if self.state == Error {
            ("blocked_by_failures", "handle_failures")
        } else if ready > 0 {
            ("has_ready_steps", "execute_ready_steps")
        } else if running > 0 {
            ("processing", "wait_for_completion")
        } else if lost && !self.alive() {
            ("blocked_by_failures", "handle_failures")
        } else if good == total {
            ("all_complete", "finalize_task")
        } else {
            ("waiting_for_dependencies", "wait_for_dependencies")
        };
        let health = match status {
            "blocked_by_failures" => "blocked",
            _ if self.ended() => "healthy",
            _ if failed > 0 => "recovering",
            _ => "healthy",
        };
        let hundredths = (good * 20_000 + total) / (2 * total);
        format!(
            "{} total {total} pending {} in_progress {running} completed {good} failed {failed} cancelled {cancelled} ready {ready} \
             {status} {action} {}.{:02} {health}",
            self.state.name(),
            count(&|state| state == Pending),
            hundredths / 100,
            hundredths % 100,
        )
    }
}

// --- The graph ----------------------------------------------------------------------------------------------------------

/// Lengths of the longest and the shortest path from a root to each step.
fn depths(nodes: &[Node]) -> Vec<(i32, i32)> {
    let mut depths: Vec<(i32, i32)> = vec![];
    for node in nodes {
        let parents = || node.parents.iter().map(|parent| depths[*parent]);
        depths.push((
            parents().map(|(longest, _)| longest + 1).max().unwrap_or(0),
            parents()
                .map(|(_, shortest)| shortest + 1)
                .min()
                .unwrap_or(0),
        ));
    }
    depths
}

// --- A case -------------------------------------------------------------------------------------------------------------

struct Case<'a> {
    session: Session,
    rng: Rng,
    namespace: &'a str,
    tasks: Vec<Task<'a>>,
    /// What each worker holds.
    held: Vec<(&'static str, Claim)>,
    /// Claims that were taken away: their reports are stale.
    lost: Vec<Claim>,
    busy_operator: bool,
    /// Results differ, so that a step that gets those of another one is noticed.
    number: u64,
    seed: u64,
    log: Vec<String>,
}

const WORKERS: [&str; 2] = ["worker-a", "worker-b"];

impl Case<'_> {
    #[track_caller]
    fn say(&self, problem: String) -> ! {
        let log = self.log[self.log.len().saturating_sub(25)..].join("\n  ");
        panic!("TASKER_SEED={}\n  {log}\n{problem}", self.seed)
    }

    fn place(&self, step: Uuid) -> (usize, usize) {
        self.tasks
            .iter()
            .enumerate()
            .find_map(|(task, of)| {
                let index = of.steps.iter().position(|known| known.uuid == step)?;
                Some((task, index))
            })
            .unwrap_or_else(|| self.say(format!("a step of another task: {step}")))
    }

    fn name(&self, step: Uuid) -> String {
        let (task, index) = self.place(step);
        format!("{task}.{}", self.tasks[task].nodes[index].name)
    }

    fn compare(&mut self) {
        let wrong = self.session.disagreements();
        if !wrong.is_empty() {
            self.say(format!("rows disagree:\n  {}", wrong.join("\n  ")));
        }
        for task in 0..self.tasks.len() {
            let uuid = self.tasks[task].uuid;
            let rows = self.session.query(
                "SELECT r.name, concat(current_state, ' ', attempts, '/', retry_limit, ' parents ', completed_parents, '/',
                        total_parents, ' satisfied ', dependencies_satisfied::text, ' eligible ', retry_eligible::text,
                        ' ready ', ready_for_execution::text, ' retries ', (current_state = 'error' AND next_retry_at IS NOT NULL)::text)
                 FROM tasker.get_step_readiness_status($1) r",
                &[&uuid],
            );
            let shown: BTreeMap<String, String> =
                rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let wanted = self.tasks[task].readiness();
            if shown != wanted {
                let all: Vec<String> = wanted
                    .iter()
                    .filter(|(name, line)| shown.get(*name) != Some(line))
                    .map(|(name, line)| {
                        format!(
                            "  {task}.{name}\n    model     {line}\n    extension {}",
                            shown.get(name).map_or("-", |line| line)
                        )
                    })
                    .collect();
                self.say(format!("readiness differs:\n{}", all.join("\n")));
            }
            let shown: String = self.session.one(
                "SELECT concat(status, ' total ', total_steps, ' pending ', pending_steps, ' in_progress ', in_progress_steps,
                        ' completed ', completed_steps, ' failed ', failed_steps, ' cancelled ', cancelled_steps, ' ready ', ready_steps,
                        ' ', execution_status, ' ', recommended_action, ' ', completion_percentage::numeric(5, 2), ' ', health_status)
                 FROM tasker.get_task_execution_context($1)",
                &[&uuid],
            );
            let wanted = self.tasks[task].context();
            if shown != wanted {
                self.say(format!("the context of task {task} differs:\n    model     {wanted}\n    extension {shown}"));
            }
        }
    }

    /// The queue is lost and built again: nothing of what it said may be missing.
    fn lose_queue(&mut self) {
        self.log
            .push("the queue is lost and built again".to_owned());
        let before = inside::queue(&mut self.session);
        inside::lose_queue(&mut self.session);
        self.session.query(
            "SELECT * FROM tasker.repair_integrity(dry_run => false)",
            &[],
        );
        let after = inside::queue(&mut self.session);
        if before != after {
            self.say(format!("the queue was {before:?} and is {after:?}"));
        }
    }

    /// Levels and relations: the graph does not change.
    fn compare_graph(&mut self) {
        for task in 0..self.tasks.len() {
            let of = &self.tasks[task];
            let uuid = of.uuid;
            let mut children = vec![0; of.nodes.len()];
            of.nodes
                .iter()
                .flat_map(|node| &node.parents)
                .for_each(|parent| children[*parent] += 1);
            let wanted: BTreeMap<Uuid, String> = depths(of.nodes)
                .into_iter()
                .enumerate()
                .map(|(index, (longest, shortest))| {
                    let mut parents: Vec<String> = of.nodes[index]
                        .parents
                        .iter()
                        .map(|parent| of.steps[*parent].uuid.to_string())
                        .collect();
                    parents.sort_unstable();
                    let text = format!(
                        "level {longest} depth {shortest} parents {} children {} root {} leaf {}",
                        parents.join(","),
                        children[index],
                        parents.is_empty(),
                        children[index] == 0
                    );
                    (of.steps[index].uuid, text)
                })
                .collect();
            let rows = self.session.query(
                "SELECT l.step_uuid, concat('level ', l.dependency_level, ' depth ', d.min_depth_from_root, ' parents ',
                        (SELECT string_agg(p, ',' ORDER BY p) FROM jsonb_array_elements_text(d.parent_step_uuids) p),
                        ' children ', d.child_count, ' root ', d.is_root_step::text, ' leaf ', d.is_leaf_step::text)
                 FROM tasker.calculate_dependency_levels($1) l JOIN tasker.step_dag_relationships d USING (step_uuid)",
                &[&uuid],
            );
            let shown: BTreeMap<Uuid, String> =
                rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            if shown != wanted {
                self.say(format!("levels and relations differ:\n    model     {wanted:?}\n    extension {shown:?}"));
            }
        }
    }

    // --- What workers do.

    fn claim(&mut self) {
        let worker = WORKERS[self.rng.usize(..WORKERS.len())];
        let most = self.rng.i32(1..=12);
        let claims = self.claim_as(worker, most, "30 seconds");
        self.held
            .extend(claims.into_iter().map(|claim| (worker, claim)));
    }

    /// A worker dies; the claim of another one takes over what it held, and all that is ready besides.
    fn die(&mut self) {
        let most = self.rng.i32(1..=12);
        let claims = self.claim_as("worker-c", most, "1 millisecond");
        std::thread::sleep(std::time::Duration::from_millis(3));
        self.log.push("worker-c has died".to_owned());
        let alone = claims.len() == 1;
        for claim in claims {
            let (task, index) = self.place(claim.step);
            self.tasks[task].lost(index, alone);
            self.lost.push(claim);
        }
        let claims = self.claim_as(WORKERS[0], 10_000, "30 seconds");
        self.held
            .extend(claims.into_iter().map(|claim| (WORKERS[0], claim)));
    }

    /// What is ready must be handed out, and nothing else.
    fn claim_as(&mut self, worker: &'static str, most: i32, lease: &str) -> Vec<Claim> {
        let (mut ready, mut alone) = (0, 0);
        for task in &self.tasks {
            for index in (0..task.steps.len()).filter(|index| task.ready(*index)) {
                let step = &task.steps[index];
                let counted = if step.state == Error && step.lost {
                    &mut alone
                } else {
                    &mut ready
                };
                *counted += 1;
            }
        }
        let ask = Ask {
            namespaces: vec![self.namespace],
            lease,
            ..Ask::by(worker, most)
        };
        let claims = self.session.claim(&ask);
        let names: Vec<String> = claims.iter().map(|claim| self.name(claim.step)).collect();
        self.log.push(format!(
            "{worker} claims {most}, {ready} are ready, {alone} alone: {}",
            names.join(" ")
        ));
        let came_alone = claims.len() == 1 && {
            let (task, index) = self.place(claims[0].step);
            self.tasks[task].steps[index].lost
        };
        if !came_alone
            && (claims.len() != ready.min(most as usize) || claims.is_empty() && alone > 0)
        {
            self.say(format!("{} claimed", claims.len()));
        }
        for claim in &claims {
            let (task, index) = self.place(claim.step);
            let of = &self.tasks[task];
            if !of.ready(index) {
                self.say(format!("{} is not ready", self.name(claim.step)));
            }
            let results: Value = of.nodes[index]
                .parents
                .iter()
                .map(|parent| {
                    (
                        of.nodes[*parent].name.clone(),
                        of.steps[*parent].results.clone(),
                    )
                })
                .collect::<serde_json::Map<String, Value>>()
                .into();
            if claim.dependency_results != results {
                self.say(format!(
                    "{} got {}, not {results}",
                    self.name(claim.step),
                    claim.dependency_results
                ));
            }
            self.tasks[task].claimed(index);
            if claim.attempt != self.tasks[task].steps[index].attempts {
                self.say(format!(
                    "{} has attempt {}",
                    self.name(claim.step),
                    claim.attempt
                ));
            }
        }
        claims
    }

    /// Reports some of what is held, each in its own way, with stale reports among them.
    fn report(&mut self) {
        let count = self.rng.usize(1..=8).min(self.held.len());
        let (mut reports, mut reported, mut wanted) = (vec![], vec![], vec![]);
        for _ in 0..count {
            let (_, claim) = self.held.swap_remove(self.rng.usize(..self.held.len()));
            reported.push(claim.step);
            let (task, index) = self.place(claim.step);
            let report = match self.rng.u8(..10) {
                0..6 => {
                    self.number += 1;
                    let results = json!({ "number": self.number });
                    self.tasks[task].completed(index, results.clone());
                    claim.done(results)
                }
                6..8 => {
                    self.tasks[task].failed(index, true, Retry::Now);
                    claim.failed(true)
                }
                8 => {
                    self.tasks[task].failed(index, true, Retry::Later);
                    let mut report = claim.failed(true);
                    report["retry_after_seconds"] = json!(250);
                    report
                }
                _ => {
                    self.tasks[task].failed(index, false, Retry::Now);
                    claim.failed(false)
                }
            };
            wanted.push(self.tasks[task].steps[index].state.name().to_owned());
            self.log
                .push(format!("{} is reported {}", self.name(claim.step), report));
            reports.push(report);
        }
        let accepted = reports.len();
        // Of one step the first report of a batch counts, whatever the second is.
        let lost = self.lost.pop();
        if let Some(claim) = lost.filter(|claim| !reported.contains(&claim.step)) {
            reports.push(claim.done(json!({ "stale": true })));
            wanted.push("stale".to_owned());
        }
        self.send(&reports, &wanted);
        if self.rng.u8(..5) == 0 {
            self.log.push("the same again".to_owned());
            let again = vec!["duplicate".to_owned(); accepted];
            self.send(&reports[..accepted], &again);
        }
    }

    fn send(&mut self, reports: &[Value], wanted: &[String]) {
        let outcomes: Vec<String> = self.session.all(
            "SELECT outcome FROM tasker.report_steps('worker-a', $1)",
            &[&Value::Array(reports.to_vec())],
        );
        if outcomes != wanted {
            self.say(format!("outcomes {outcomes:?}, not {wanted:?}"));
        }
    }

    fn release(&mut self) {
        let worker = WORKERS[self.rng.usize(..WORKERS.len())];
        self.log.push(format!("{worker} gives back what it holds"));
        let (released, kept) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(holder, _)| *holder == worker);
        self.held = kept;
        let released: Vec<(&str, Claim)> = released;
        let count: i32 = self
            .session
            .one("SELECT tasker.release_steps($1)", &[&worker]);
        if count as usize != released.len() {
            self.say(format!("{count} released, not {}", released.len()));
        }
        for (_, claim) in released {
            let (task, index) = self.place(claim.step);
            self.tasks[task].released(index);
            self.lost.push(claim);
        }
    }

    /// What waits for its backoff waits no longer.
    fn wait(&mut self) {
        self.log.push("every backoff passes".to_owned());
        for task in &mut self.tasks {
            inside::make_due(&mut self.session, task.uuid);
            task.steps
                .iter_mut()
                .filter(|step| step.retry == Retry::Later)
                .for_each(|step| step.retry = Retry::Now);
        }
    }

    // --- What operators do, allowed or not.

    fn operate(&mut self) {
        let task = self.rng.usize(..self.tasks.len());
        let index = self.rng.usize(..self.tasks[task].steps.len());
        let (of, uuid) = (self.tasks[task].uuid, self.tasks[task].steps[index].uuid);
        self.number += 1;
        let by_hand = json!({ "by_hand": self.number });
        let limit = self.rng.i32(0..=5);
        let reset = self.rng.bool();
        let seldom = self.rng.u8(..4) == 0;
        let model = &mut self.tasks[task];
        let (what, allowed, answer) = match self.rng.u8(..20) {
            0..3 => (
                "cancel_step",
                model.cancel_step(index),
                self.session
                    .attempt("SELECT tasker.cancel_step($1)", &[&uuid]),
            ),
            3..8 => (
                "resolve_step_manually",
                model.resolve_step(index, &by_hand),
                self.session.attempt(
                    "SELECT tasker.resolve_step_manually($1, $2)",
                    &[&uuid, &by_hand],
                ),
            ),
            8..13 => (
                "retry_step",
                model.retry_step(index, reset),
                self.session
                    .attempt("SELECT tasker.retry_step($1, $2)", &[&uuid, &reset]),
            ),
            13..17 => (
                "set_retry_limit",
                model.set_retry_limit(index, limit),
                self.session
                    .attempt("SELECT tasker.set_retry_limit($1, $2)", &[&uuid, &limit]),
            ),
            17 => (
                "retry_task",
                model.retry_task(),
                self.session.attempt("SELECT tasker.retry_task($1)", &[&of]),
            ),
            // They end much: seldom.
            18 if seldom => (
                "resolve_task_manually",
                model.resolve_task(),
                self.session
                    .attempt("SELECT tasker.resolve_task_manually($1)", &[&of]),
            ),
            19 if seldom => (
                "cancel_task",
                model.cancel_task(),
                self.session
                    .attempt("SELECT tasker.cancel_task($1)", &[&of]),
            ),
            _ => return,
        };
        let answer: Result<String, _> = answer;
        self.log.push(format!(
            "{what} {} (limit {limit}, reset {reset}): {answer:?}",
            self.name(uuid)
        ));
        match answer {
            Ok(_) if allowed => {}
            Err(failure) if !allowed && failure.code == "55000" => {}
            _ => self.say(format!(
                "{what} should be {}",
                if allowed { "allowed" } else { "refused" }
            )),
        }
        self.lose_cancelled();
    }

    /// A worker that held a step that is cancelled now has lost it.
    fn lose_cancelled(&mut self) {
        let tasks = &self.tasks;
        let lost = |claim: &Claim| {
            tasks.iter().any(|task| {
                task.steps
                    .iter()
                    .any(|step| step.uuid == claim.step && step.state == Cancelled)
            })
        };
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(_, claim)| lost(claim));
        self.held = kept;
        self.lost.extend(gone.into_iter().map(|(_, claim)| claim));
    }

    fn act(&mut self) {
        match self.rng.u8(..if self.busy_operator { 30 } else { 20 }) {
            0..7 => self.claim(),
            7 if self.rng.bool() => self.die(),
            8..16 if !self.held.is_empty() => self.report(),
            16 => self.release(),
            17 if self.rng.bool() => self.lose_queue(),
            17 => self.wait(),
            18.. => self.operate(),
            _ => self.claim(),
        }
    }

    /// From here everything succeeds: each task must come to where its steps can take it.
    fn finish(&mut self) {
        self.log.push("from here everything succeeds".to_owned());
        self.wait();
        loop {
            self.claim();
            if self.held.is_empty() {
                break;
            }
            let held = std::mem::take(&mut self.held);
            let mut reports = vec![];
            for (_, claim) in held {
                let (task, index) = self.place(claim.step);
                self.number += 1;
                let results = json!({ "number": self.number });
                self.tasks[task].completed(index, results.clone());
                reports.push(claim.done(results));
            }
            let wanted = vec!["complete".to_owned(); reports.len()];
            self.send(&reports, &wanted);
        }
        for task in &self.tasks {
            if matches!(task.state, Pending | InProgress) {
                self.say(format!("the task is left {}", task.state.name()));
            }
        }
    }
}

fn run(database: &Database, seed: u64) -> (usize, State) {
    let mut rng = Rng::with_seed(seed);
    let mut session = database.connect();
    let nodes = random_graph(&mut rng);
    let name = format!("case_{seed}");
    template(&mut rng, &name, &nodes).register(&mut session);
    let tasks = (0..rng.usize(1..=3)).map(|_| {
        let uuid: Uuid = session.one("SELECT tasker.create_task($1, namespace => $1)", &[&name]);
        let steps = nodes.iter().map(|node| Step {
            uuid: session.step(uuid, &node.name),
            state: Pending,
            attempts: 0,
            retry_limit: node.retry_limit,
            retryable: node.retryable,
            retry: Retry::Never,
            lost: false,
            results: json!({}),
        });
        Task {
            uuid,
            nodes: &nodes,
            state: Pending,
            steps: steps.collect(),
        }
    });
    let tasks = tasks.collect();
    let mut case = Case {
        busy_operator: rng.bool(),
        session,
        rng,
        namespace: &name,
        tasks,
        held: vec![],
        lost: vec![],
        number: 0,
        seed,
        log: vec![],
    };
    case.compare_graph();
    case.compare();
    for _ in 0..(nodes.len() * 2).clamp(20, 150) {
        case.act();
        case.compare();
    }
    case.finish();
    case.compare();
    (nodes.len(), case.tasks[0].state)
}

#[test]
fn random_graphs_run_as_the_model_says() {
    let database = Database::new();
    if let Some(seed) = std::env::var("TASKER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        run(&database, seed);
        return;
    }
    let first = fastrand::u64(..1_000_000_000);
    let ran: Vec<(usize, State)> = (0..scaled(40, 600) as u64)
        .map(|case| run(&database, first + case))
        .collect();
    // Cases that never end well, or badly, or are all tiny, would prove little.
    assert!(
        ran.iter().any(|(_, state)| *state == Complete)
            && ran.iter().any(|(_, state)| *state == Error)
    );
    assert!(ran.iter().any(|(size, _)| *size > 40));
}
