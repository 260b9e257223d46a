//! Workers, callers and operators at random, while backends are terminated and the server is killed: what was acknowledged
//! stays, no step is worked on twice by accepted reports, and everything comes to an end.
//!
//! A ledger keeps what the server has answered. It is compared with the rows at the end; what can be known at once is
//! checked at once. `TASKER_SEED` repeats the choices of each session, though not how they meet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fastrand::Rng;
use postgres::Row;
use tasker_client_tests::database::PATTERN;
use tasker_client_tests::kills::{Client, End, own_server, under_kills};
use tasker_client_tests::server::Server;
use tasker_client_tests::session::Param;
use tasker_client_tests::worker::Ask;
use tasker_client_tests::{
    Claim, Failure, Session, Template, Uuid, Value, inside, json, patience, scaled, shapes,
};

/// Tasks of `kept` stay; those of `fleeting` are purged once they have ended.
const NAMESPACES: [&str; 2] = ["kept", "fleeting"];
/// The templates, each with its namespace.
const TEMPLATES: [(&str, &str); 3] = [
    ("patient", "kept"),
    ("limited", "kept"),
    ("fleeting", "fleeting"),
];
/// Most tasks that one purge deletes.
const BATCH: i32 = 20;

fn register(session: &mut Session) {
    // Each purge writes down what it has deleted, in its own transaction.
    session.execute("CREATE TABLE public.purges (tasks bigint)");
    let named = |template: Template, (name, namespace): (&str, &str)| {
        template
            .with("name", json!(name))
            .with("namespace_name", json!(namespace))
    };
    let quick = json!({"retry": {"backoff": "none"}});
    for template in [
        named(shapes::mixed().patient(), TEMPLATES[0]),
        named(
            shapes::small_diamond().every_step(quick.clone()),
            TEMPLATES[1],
        ),
        named(shapes::chain("", 2).every_step(quick), TEMPLATES[2]),
    ] {
        template.register(session);
    }
}

// --- What a session hears.

enum Answer {
    Rows(Vec<Row>),
    /// Nothing has changed.
    Refused,
    /// Whether anything has changed is not known.
    Lost,
}

/// SQLSTATEs that any call can get here: cancelled, or a claim that met a lock at the last moment.
const ANY_CALL: [&str; 2] = ["57014", "55P03"];

/// Asks. An error that is neither expected here nor the end of the connection fails the test.
#[track_caller]
fn ask(session: &mut Session, refusals: &[&str], sql: &str, params: &[Param]) -> Answer {
    let error = match session.try_query(sql, params) {
        Ok(rows) => return Answer::Rows(rows),
        Err(error) => error,
    };
    match Failure::of(&error) {
        // Terminated, the server stops, has crashed, or starts.
        None => Answer::Lost,
        Some(failure) if failure.code.starts_with("57P0") => Answer::Lost,
        Some(failure)
            if ANY_CALL
                .iter()
                .chain(refusals)
                .any(|code| *code == failure.code) =>
        {
            Answer::Refused
        }
        Some(failure) => panic!("{failure}\nin: {sql}"),
    }
}

// --- The ledger.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Report {
    Complete,
    Failed,
    Released,
}

impl Report {
    /// The outcome of a report that is accepted.
    fn outcome(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "error",
            Self::Released => "released",
        }
    }
}

/// A step and the number of one of its claims.
type Run = (Uuid, i32);

#[derive(Default)]
struct Ledger {
    /// Requested tasks of `kept`: key, template, and the task if the request was answered.
    requested: Vec<(String, &'static str, Option<Uuid>)>,
    /// Tasks of `fleeting`: those of which the creation was acknowledged, and requests without an answer.
    fleeting: usize,
    fleeting_unanswered: usize,
    /// All that was handed out, and the newest claim of each step.
    handed: HashSet<Run>,
    newest: HashMap<Uuid, i32>,
    accepted: HashMap<Run, Report>,
    /// The claim under which each step was acknowledged as complete.
    completed: HashMap<Uuid, i32>,
    /// Tasks that an operator has tried to change, or of which a worker has reported a permanent failure.
    touched: HashSet<Uuid>,
    /// How often something has been accepted.
    counts: BTreeMap<&'static str, usize>,
}

impl Ledger {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A step was handed out: never twice under one number, and numbers grow.
    fn hand_out(&mut self, claim: &Claim) {
        assert!(
            self.handed.insert((claim.step, claim.number)),
            "claim {} of {} was handed out twice",
            claim.number,
            claim.step
        );
        let newest = self.newest.entry(claim.step).or_default();
        *newest = (*newest).max(claim.number);
        assert!(
            claim.attempt <= claim.retry_limit || self.touched.contains(&claim.task),
            "attempt {} of {} in {}",
            claim.attempt,
            claim.retry_limit,
            claim.step
        );
    }

    /// A report was accepted; `newest` is the newest claim that was known when it was sent.
    fn accept(&mut self, run: Run, report: Report, newest: i32) {
        assert!(
            newest <= run.1,
            "claim {} of {} was accepted after claim {newest} was handed out",
            run.1,
            run.0
        );
        let before = self.accepted.insert(run, report);
        assert_eq!(
            before, None,
            "claim {} of {} was accepted twice",
            run.1, run.0
        );
        if report == Report::Complete {
            let before = self.completed.insert(run.0, run.1);
            assert_eq!(before, None, "{} completed twice", run.0);
        }
        self.count(report.outcome());
    }
}

/// What all sessions share.
struct Chaos {
    seed: u64,
    ledger: Mutex<Ledger>,
    /// All tasks so far that are known, for operators.
    tasks: Mutex<Vec<Uuid>>,
    most_tasks: usize,
    workers: AtomicUsize,
}

impl Chaos {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no panic")
    }

    /// Before a change that can take the task to another end than workers would.
    fn touch(&self, task: Uuid) {
        self.ledger().touched.insert(task);
    }

    /// Choices of its own for each session, the same for the same seed.
    fn choices(&self, session: u64) -> Mutex<Rng> {
        Mutex::new(Rng::with_seed(self.seed.wrapping_mul(31) + session))
    }
}

fn pause(rng: &mut Rng, milliseconds: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(rng.u64(milliseconds)));
}

/// The task of a step.
fn task_of(step: Uuid) -> Uuid {
    Uuid::from_u128(step.as_u128() & !0xffff)
}

// --- Callers.

fn create(chaos: &Chaos, rng: &mut Rng, mut session: Session, end: &End) {
    while !end.has_come() {
        pause(rng, 4..16);
        if chaos.tasks.lock().expect("no panic").len() >= chaos.most_tasks {
            continue;
        }
        let (template, namespace) = TEMPLATES[rng.usize(..TEMPLATES.len())];
        let lost = if namespace == "fleeting" {
            create_fleeting(chaos, rng, &mut session)
        } else {
            create_kept(chaos, &mut session, template)
        };
        if lost {
            return;
        }
    }
}

/// Returns whether the answer was lost.
fn create_kept(chaos: &Chaos, session: &mut Session, template: &'static str) -> bool {
    let key = format!("request {}", chaos.ledger().requested.len());
    let answer = ask(
        session,
        &[],
        "SELECT tasker.create_task($1, namespace => 'kept', idempotency_key => $2)",
        &[&template, &key],
    );
    let task: Option<Uuid> = match &answer {
        Answer::Rows(rows) => Some(rows[0].get(0)),
        _ => None,
    };
    chaos.tasks.lock().expect("no panic").extend(task);
    chaos.ledger().requested.push((key, template, task));
    matches!(answer, Answer::Lost)
}

fn create_fleeting(chaos: &Chaos, rng: &mut Rng, session: &mut Session) -> bool {
    let contexts = vec![json!({}); rng.usize(1..4)];
    let answer = ask(
        session,
        &[],
        "SELECT tasker.create_tasks('fleeting', $1, 'fleeting')",
        &[&contexts],
    );
    match answer {
        Answer::Rows(rows) => {
            let tasks = rows.iter().map(|row| row.get::<_, Uuid>(0));
            chaos.tasks.lock().expect("no panic").extend(tasks);
            chaos.ledger().fleeting += rows.len();
            false
        }
        Answer::Refused => false,
        Answer::Lost => {
            chaos.ledger().fleeting_unanswered += contexts.len();
            true
        }
    }
}

// --- Workers.

/// A step that a worker believes to hold, and what it has sent without an answer.
struct Held {
    claim: Claim,
    sent: Option<(Report, Value)>,
}

impl Held {
    fn run(&self) -> Run {
        (self.claim.step, self.claim.number)
    }
}

/// What a worker remembers from one connection to the next.
struct Worker {
    rng: Rng,
    id: String,
    held: Vec<Held>,
    /// Some reports that were accepted.
    accepted: Vec<Value>,
}

const LEASES: [&str; 3] = ["300 milliseconds", "500 milliseconds", "900 milliseconds"];

fn work(chaos: &Chaos, worker: &mut Worker, mut session: Session, end: &End) {
    while !end.has_come() {
        let lost = match worker.rng.u8(..100) {
            0..66 => worker.turn(chaos, &mut session),
            66..76 => worker.heartbeat(chaos, &mut session),
            76..80 => worker.give_back(chaos, &mut session),
            80..84 => worker.end(chaos, &mut session),
            84..87 => {
                // As if its process had been killed: its leases end by themselves.
                *worker = Worker::new(chaos, worker.rng.fork());
                false
            }
            87..90 => {
                pause(&mut worker.rng, 200..700);
                false
            }
            _ => worker.report_alone(chaos, &mut session),
        };
        if lost {
            return;
        }
        pause(&mut worker.rng, 0..4);
    }
}

impl Worker {
    fn new(chaos: &Chaos, rng: Rng) -> Self {
        let number = chaos.workers.fetch_add(1, Ordering::Relaxed);
        Self {
            rng,
            id: format!("worker {number}"),
            held: vec![],
            accepted: vec![],
        }
    }

    fn lease(&mut self) -> &'static str {
        LEASES[self.rng.usize(..LEASES.len())]
    }

    /// Chooses a report for the step, unless one was sent already; a repeated report must say the same.
    fn report(&mut self, chaos: &Chaos, index: usize) -> Value {
        let held = &mut self.held[index];
        if let Some((_, report)) = &held.sent {
            return report.clone();
        }
        let claim = &held.claim;
        let words = format!("claim {}", claim.number);
        let (kind, report) = match self.rng.u8(..50) {
            0..39 => (Report::Complete, claim.done(json!({"words": words}))),
            39..46 => {
                let mut report = claim.failed(true);
                report["error_message"] = json!(words);
                (Report::Failed, report)
            }
            46 => {
                chaos.touch(claim.task);
                let mut report = claim.failed(false);
                report["error_message"] = json!(words);
                (Report::Failed, report)
            }
            _ => {
                let mut report = claim.done(json!({}));
                report["status"] = json!("released");
                report["reason"] = json!(words);
                report["retry_after_seconds"] = json!(self.rng.f64() * 0.1);
                (Report::Released, report)
            }
        };
        held.sent = Some((kind, report.clone()));
        report
    }

    /// Some of what is held, without order: their reports, and the newest claim of each step that is known now.
    fn reports(&mut self, chaos: &Chaos) -> (Vec<Held>, Vec<Value>, Vec<i32>) {
        let held = &mut self.held;
        self.rng.shuffle(held);
        let count = self.rng.usize(..=self.held.len());
        let reports: Vec<Value> = (0..count).map(|index| self.report(chaos, index)).collect();
        let sent: Vec<Held> = self.held.drain(..count).collect();
        let ledger = chaos.ledger();
        let newest = sent
            .iter()
            .map(|held| ledger.newest.get(&held.claim.step).copied().unwrap_or(0))
            .collect();
        (sent, reports, newest)
    }

    /// Writes down what the server has said about one report.
    fn settle(&mut self, chaos: &Chaos, held: &Held, outcome: &str, newest: i32) {
        let Some((kind, report)) = &held.sent else {
            return;
        };
        let mut ledger = chaos.ledger();
        match outcome {
            outcome if outcome == kind.outcome() => {
                ledger.accept(held.run(), *kind, newest);
            }
            // The answer was lost, and the report was accepted then.
            "duplicate" => {
                ledger.accept(held.run(), *kind, held.claim.number);
                ledger.count("duplicate");
            }
            "stale" => ledger.count("stale"),
            "unknown_step" if held.claim.namespace == "fleeting" => ledger.count("unknown_step"),
            other => panic!("{report} was answered {other}"),
        }
        drop(ledger);
        if outcome == kind.outcome() {
            self.accepted.truncate(4);
            self.accepted.insert(0, report.clone());
        }
    }

    fn hold(&mut self, chaos: &Chaos, claims: Vec<Claim>) {
        let mut ledger = chaos.ledger();
        for claim in claims {
            ledger.hand_out(&claim);
            // One report of a step in each call: a refusal names only the step.
            self.held.retain(|held| held.claim.step != claim.step);
            self.held.push(Held { claim, sent: None });
        }
    }
}

/// The calls of a worker. Each returns whether its answer was lost.
impl Worker {
    /// One turn of the usual loop: reports of some steps, new claims, and what has begun.
    fn turn(&mut self, chaos: &Chaos, session: &mut Session) -> bool {
        let (sent, reports, newest) = self.reports(chaos);
        let (lease, most) = (self.lease(), self.rng.i32(1..8));
        let begun = self.begun();
        let answer = ask(
            session,
            &[],
            "SELECT * FROM tasker.report_and_claim($1, $2, '{kept,fleeting}', $3, $4::text::interval, begun => $5)",
            &[&self.id, &Value::Array(reports), &most, &lease, &begun],
        );
        let Answer::Rows(rows) = answer else {
            self.held.extend(sent);
            return matches!(answer, Answer::Lost);
        };
        if self.rng.u8(..25) == 0 {
            // As if the answer had been lost on its way.
            self.held.extend(sent);
            return false;
        }
        let (claimed, refused): (Vec<&Row>, Vec<&Row>) = rows
            .iter()
            .partition(|row| row.get::<_, &str>("outcome") == "claimed");
        let refused: HashMap<Uuid, &str> = refused
            .iter()
            .map(|row| (row.get("step_uuid"), row.get("outcome")))
            .collect();
        for (held, newest) in sent.iter().zip(newest) {
            if let Some((kind, _)) = held.sent {
                let outcome = refused.get(&held.claim.step).copied();
                self.settle(chaos, held, outcome.unwrap_or(kind.outcome()), newest);
            }
        }
        self.hold(chaos, claimed.into_iter().map(Claim::of).collect());
        false
    }

    /// Reports without a claim. Some were accepted before: they must not be accepted again.
    fn report_alone(&mut self, chaos: &Chaos, session: &mut Session) -> bool {
        let (sent, mut reports, newest) = self.reports(chaos);
        reports.extend(self.accepted.iter().cloned());
        let answer = ask(
            session,
            &[],
            "SELECT outcome FROM tasker.report_steps($1, $2)",
            &[&self.id, &Value::Array(reports.clone())],
        );
        let Answer::Rows(rows) = answer else {
            self.held.extend(sent);
            return matches!(answer, Answer::Lost);
        };
        assert_eq!(rows.len(), reports.len(), "one outcome for each report");
        let outcomes: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        for ((held, outcome), newest) in sent.iter().zip(&outcomes).zip(newest) {
            self.settle(chaos, held, outcome, newest);
        }
        for (report, outcome) in reports.iter().zip(&outcomes).skip(sent.len()) {
            assert!(
                ["duplicate", "stale", "unknown_step"].contains(outcome),
                "{report} was accepted before, and again: {outcome}"
            );
        }
        false
    }

    /// Some of the steps that are held.
    fn begun(&mut self) -> Vec<Uuid> {
        let rng = &mut self.rng;
        self.held
            .iter()
            .filter(|_| rng.bool())
            .map(|held| held.claim.step)
            .collect()
    }

    fn heartbeat(&mut self, chaos: &Chaos, session: &mut Session) -> bool {
        let (lease, begun) = (self.lease(), self.begun());
        let answer = ask(
            session,
            &[],
            "SELECT * FROM tasker.heartbeat($1, $2::text::interval, $3)",
            &[&self.id, &lease, &begun],
        );
        let Answer::Rows(rows) = answer else {
            return matches!(answer, Answer::Lost);
        };
        for row in rows {
            let (step, status): (Uuid, &str) = (row.get(0), row.get(1));
            match status {
                "extended" | "locked" => {}
                // Half of the time the worker does not listen: its report must be stale.
                "cancelled" | "lost" if self.rng.bool() => {
                    self.held.retain(|held| held.claim.step != step);
                }
                "cancelled" | "lost" => {}
                other => panic!("heartbeat says {other} of {step}"),
            }
            chaos.ledger().count("heartbeat");
        }
        false
    }

    /// Gives back some steps, all of them, or what it no longer has.
    fn give_back(&mut self, chaos: &Chaos, session: &mut Session) -> bool {
        let (part, kept): (Vec<Held>, Vec<Held>) =
            self.held.drain(..).partition(|_| self.rng.bool());
        self.held = kept;
        let steps = part.iter().map(|held| {
            json!({"step_uuid": held.claim.step.to_string(), "claim_number": held.claim.number})
        });
        let answer = ask(
            session,
            &[],
            "SELECT tasker.release_steps($1, $2, interval '20 milliseconds', 'chaos')",
            &[&self.id, &Value::Array(steps.collect())],
        );
        self.given_back(chaos, &answer)
    }

    fn end(&mut self, chaos: &Chaos, session: &mut Session) -> bool {
        self.held.clear();
        let answer = ask(session, &[], "SELECT tasker.end_worker($1)", &[&self.id]);
        let lost = self.given_back(chaos, &answer);
        if self.rng.bool() {
            *self = Self::new(chaos, self.rng.fork());
        }
        lost
    }

    fn given_back(&mut self, chaos: &Chaos, answer: &Answer) -> bool {
        if let Answer::Rows(rows) = answer
            && rows[0].get::<_, i32>(0) > 0
        {
            chaos.ledger().count("given back");
        }
        matches!(answer, Answer::Lost)
    }
}

// --- Operators.

/// What an operator is told when a call does not fit the state, or the task has been purged.
const NOT_NOW: [&str; 3] = ["55000", "09000", "P0002"];
const STATES: [&str; 6] = [
    "pending",
    "in_progress",
    "error",
    "complete",
    "cancelled",
    "resolved_manually",
];

fn operate(chaos: &Chaos, rng: &mut Rng, mut session: Session, end: &End) {
    while !end.has_come() {
        pause(rng, 2..12);
        let lost = match rng.u8(..44) {
            0..4 => pause_a_namespace(chaos, rng, &mut session),
            4..8 => take_over(chaos, rng, &mut session),
            8..12 => purge(chaos, rng, &mut session),
            12..26 => operate_on_a_task(chaos, rng, &mut session),
            _ => operate_on_a_step(chaos, rng, &mut session),
        };
        if lost {
            return;
        }
    }
}

/// Counts a call that was accepted; returns whether its answer was lost.
fn told(chaos: &Chaos, what: &'static str, answer: &Answer) -> bool {
    if let Answer::Rows(_) = answer {
        chaos.ledger().count(what);
    }
    matches!(answer, Answer::Lost)
}

/// A row of one of the latest tasks, of which every third is for operators; half of the time one in error, if there is any.
fn one_of(chaos: &Chaos, rng: &mut Rng, session: &mut Session, rows: &str) -> Option<Uuid> {
    let tasks = chaos.tasks.lock().expect("no panic");
    let latest: Vec<Uuid> = tasks[tasks.len().saturating_sub(300)..]
        .iter()
        .filter(|task| task.as_u128() >> 16 & 0xff < 0x55)
        .copied()
        .collect();
    drop(tasks);
    let sql = format!("{rows} WHERE task_uuid = ANY ($1) AND (state = 'error' OR $2) ORDER BY 1");
    let Answer::Rows(rows) = ask(session, &[], &sql, &[&latest, &rng.bool()]) else {
        return None;
    };
    let uuid = rng.choice(&rows)?.get(0);
    chaos.touch(task_of(uuid));
    Some(uuid)
}

fn operate_on_a_task(chaos: &Chaos, rng: &mut Rng, session: &mut Session) -> bool {
    let Some(task) = one_of(chaos, rng, session, "SELECT task_uuid FROM tasker.tasks") else {
        return false;
    };
    let (completed_too, state) = (rng.bool(), STATES[rng.usize(..STATES.len())]);
    let (what, sql, param): (_, _, Option<Param>) = match rng.u8(..8) {
        0 => (
            "cancel_task",
            "SELECT tasker.cancel_task($1, 'chaos', $2)",
            Some(&completed_too),
        ),
        1..3 => ("retry_task", "SELECT tasker.retry_task($1)", None),
        3..5 => (
            "resolve_task_manually",
            "SELECT tasker.resolve_task_manually($1)",
            None,
        ),
        _ => (
            "transition_task",
            "SELECT tasker.transition_task($1, $2)",
            Some(&state),
        ),
    };
    let params: Vec<Param> = [&task as Param].into_iter().chain(param).collect();
    told(chaos, what, &ask(session, &NOT_NOW, sql, &params))
}

fn operate_on_a_step(chaos: &Chaos, rng: &mut Rng, session: &mut Session) -> bool {
    let Some(step) = one_of(
        chaos,
        rng,
        session,
        "SELECT step_uuid FROM tasker.workflow_steps",
    ) else {
        return false;
    };
    let (limit, reset) = (rng.i32(0..6), rng.bool());
    let state = STATES[rng.usize(..STATES.len())];
    let (what, sql, param): (_, _, Option<Param>) = match rng.u8(..6) {
        0 => ("cancel_step", "SELECT tasker.cancel_step($1)", None),
        1 => (
            "resolve_step_manually",
            r#"SELECT tasker.resolve_step_manually($1, '{"words": "by hand"}')"#,
            None,
        ),
        2 => (
            "retry_step",
            "SELECT tasker.retry_step($1, $2)",
            Some(&reset),
        ),
        3 => (
            "set_retry_limit",
            "SELECT tasker.set_retry_limit($1, $2)",
            Some(&limit),
        ),
        _ => (
            "transition_step",
            "SELECT tasker.transition_step($1, $2)",
            Some(&state),
        ),
    };
    let params: Vec<Param> = [&step as Param].into_iter().chain(param).collect();
    told(chaos, what, &ask(session, &NOT_NOW, sql, &params))
}

/// Pauses one for a moment. If the session ends meanwhile, another pause or the end of the test resumes it.
fn pause_a_namespace(chaos: &Chaos, rng: &mut Rng, session: &mut Session) -> bool {
    let namespace = NAMESPACES[rng.usize(..NAMESPACES.len())];
    let sql = "SELECT tasker.pause_namespace($1)";
    let paused = ask(session, &[], sql, &[&namespace]);
    if told(chaos, "pause_namespace", &paused) {
        return true;
    }
    pause(rng, 10..100);
    let sql = "SELECT tasker.resume_namespace(name) FROM unnest($1::text[]) name";
    let resumed = ask(session, &[], sql, &[&NAMESPACES.as_slice()]);
    told(chaos, "resume_namespace", &resumed)
}

/// What has taken too long is taken over; what an operator has started by hand is given back.
fn take_over(chaos: &Chaos, rng: &mut Rng, session: &mut Session) -> bool {
    if rng.bool() {
        let sql = "SELECT tasker.release_steps('manual')";
        return matches!(ask(session, &["42501"], sql, &[]), Answer::Lost);
    }
    let sql = "SELECT FROM tasker.force_release_stale_claims('expired', false) WHERE outcome <> 'skipped'";
    let answer = ask(session, &[], sql, &[]);
    match answer {
        Answer::Rows(rows) if rows.is_empty() => false,
        answer => told(chaos, "force_release_stale_claims", &answer),
    }
}

fn purge(chaos: &Chaos, rng: &mut Rng, session: &mut Session) -> bool {
    let sql = "INSERT INTO public.purges SELECT tasks FROM tasker.purge_tasks('0', $1, 'fleeting', include_failed => $2)
               RETURNING tasks > 0";
    let answer = ask(session, &[], sql, &[&BATCH, &rng.bool()]);
    match &answer {
        Answer::Rows(rows) if !rows[0].get::<_, bool>(0) => false,
        answer => told(chaos, "purge_tasks", answer),
    }
}

// --- What goes wrong, and the look at the rows meanwhile.

/// Ends or cancels what another session does, and looks whether the rows agree at this moment.
fn disturb(chaos: &Chaos, rng: &mut Rng, mut session: Session, end: &End) {
    while !end.has_come() {
        pause(rng, 20..80);
        let (what, sql) = match rng.u8(..10) {
            0..3 => ("terminated", "SELECT pg_terminate_backend(pid)"),
            3..6 => ("cancelled call", "SELECT pg_cancel_backend(pid)"),
            _ => {
                if look(&mut session) {
                    return;
                }
                continue;
            }
        };
        let answer = ask(
            &mut session,
            &[],
            &format!(
                "{sql} FROM pg_stat_activity
                 WHERE application_name = 'tasker_client_tests' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
            ),
            &[],
        );
        if told(chaos, what, &answer) {
            return;
        }
    }
}

/// Fails with what disagreed a moment ago, and shows whether it stays.
fn disagree(session: &mut Session, found: &[String]) -> ! {
    let about = "SELECT concat_ws(' ', p.problem, p.task_uuid,
            (SELECT jsonb_agg(to_jsonb(s) - 'results') FROM tasker_engine.steps s
             WHERE s.task_uuid = p.task_uuid AND tasker.step_uuid(s.task_uuid, s.step_no) = p.step_uuid),
            (SELECT jsonb_agg(to_jsonb(e)) FROM tasker_engine.queue_entries e WHERE e.task_uuid = p.task_uuid),
            (SELECT jsonb_agg(to_jsonb(l)) FROM tasker.workflow_step_transitions l WHERE l.step_uuid = p.step_uuid),
            (SELECT jsonb_agg(to_jsonb(t) - 'context') FROM tasker_engine.tasks t WHERE t.task_uuid = p.task_uuid))
        FROM tasker.check_integrity() p";
    println!("rows disagree in the midst of the work: {found:?}");
    for wait in [0, 1] {
        std::thread::sleep(Duration::from_secs(wait));
        if let Answer::Rows(rows) = ask(session, &[], about, &[]) {
            let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            println!("{wait} s later: {rows:?}");
        }
    }
    panic!("rows disagree in the midst of the work: {found:?}");
}

/// Nothing may disagree, also in the midst of the work. Returns whether the answer was lost.
fn look(session: &mut Session) -> bool {
    let sql = "SELECT concat_ws(' ', problem, task_uuid, step_uuid) FROM tasker.check_integrity()";
    match ask(session, &[], sql, &[]) {
        Answer::Rows(rows) => {
            let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if !found.is_empty() {
                disagree(session, &found);
            }
            false
        }
        Answer::Refused => false,
        Answer::Lost => true,
    }
}

// --- After the chaos.

/// Asks again for what was not answered, under its key; all tasks of `kept`, with their templates.
fn requested(session: &mut Session, ledger: &Ledger) -> Vec<(Uuid, &'static str)> {
    let mut tasks = vec![];
    for (key, template, answered) in &ledger.requested {
        let task: Uuid = session.one(
            "SELECT tasker.create_task($1, namespace => 'kept', idempotency_key => $2)",
            &[template, key],
        );
        assert!(
            answered.is_none_or(|answered| answered == task),
            "{key} was acknowledged as {answered:?} and is {task}"
        );
        tasks.push((task, *template));
    }
    let all = session.count(
        "SELECT count(*) FROM tasker.tasks WHERE namespace_name = 'kept'",
        &[],
    );
    assert_eq!(all as usize, tasks.len(), "tasks that were not requested");
    tasks
}

/// Of the tasks that may be purged none is missing that was not.
fn account_for_the_fleeting(session: &mut Session, ledger: &Ledger) {
    let known = session.count(
        "SELECT count(*) + (SELECT coalesce(sum(tasks), 0) FROM public.purges)
         FROM tasker.tasks WHERE namespace_name = 'fleeting'",
        &[],
    ) as usize;
    let requested = ledger.fleeting + ledger.fleeting_unanswered;
    assert!(
        (ledger.fleeting..=requested).contains(&known),
        "{known} are left or were purged of {} created and {requested} requested",
        ledger.fleeting
    );
}

/// Plain workers do the rest.
fn drain(session: &mut Session) {
    session.query(
        "SELECT tasker.resume_namespace(name) FROM unnest($1::text[]) name",
        &[&NAMESPACES.as_slice()],
    );
    session.query("SELECT tasker.release_steps('manual')", &[]);
    let ask = Ask {
        namespaces: NAMESPACES.to_vec(),
        ..Ask::by("last worker", 100)
    };
    let deadline = Instant::now() + patience(60);
    let mut claims: Vec<Claim> = vec![];
    loop {
        let words = |claim: &Claim| json!({"words": format!("claim {}", claim.number)});
        let reports: Vec<Value> = claims
            .iter()
            .map(|claim| claim.done(words(claim)))
            .collect();
        let refused;
        (refused, claims) = session.report_and_claim(&ask, &reports);
        assert!(refused.is_empty(), "{refused:?}");
        if !claims.is_empty() {
            continue;
        }
        let open: Vec<String> = session.all(
            "SELECT concat_ws(' ', name, task_uuid, state) FROM tasker.tasks WHERE state IN ('pending', 'in_progress')",
            &[],
        );
        if open.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            let rows: Vec<String> = session.all(
                "SELECT concat_ws(' ', (to_jsonb(t) - 'context')::text,
                        (SELECT jsonb_agg(to_jsonb(s) - 'results' ORDER BY s.step_no) FROM tasker_engine.steps s WHERE s.task_uuid = t.task_uuid),
                        (SELECT jsonb_agg(to_jsonb(e)) FROM tasker_engine.queue_entries e WHERE e.task_uuid = t.task_uuid),
                        (SELECT array_agg(p.problem) FROM tasker.check_integrity() p))
                 FROM tasker_engine.tasks t WHERE t.state IN ('p', 'i')",
                &[],
            );
            panic!("these do not end: {open:#?}, now {rows:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The log of all steps: the run that each row belongs to, and the state before it.
const LOG: &str = "
    CREATE TEMP TABLE log AS
    SELECT step_uuid, from_state, to_state, metadata,
           count(*) FILTER (WHERE to_state = 'in_progress') OVER steps AS run,
           lag(to_state, 1, 'pending') OVER steps AS before,
           lead(id) OVER steps IS NULL AS is_last
    FROM tasker.workflow_step_transitions
    WINDOW steps AS (PARTITION BY step_uuid ORDER BY id);
    CREATE INDEX ON log (step_uuid, run);
    CREATE TEMP TABLE steps AS SELECT * FROM tasker.workflow_steps;
    CREATE INDEX ON steps (step_uuid);
    ANALYZE log, steps";

/// Every one of these must be empty, each with what it finds.
const NEVER: [(&str, &str); 5] = [
    (
        "changes that do not begin where the change before has ended",
        "SELECT step_uuid::text FROM log WHERE from_state IS DISTINCT FROM before",
    ),
    (
        "steps whose last change is not their state",
        "SELECT step_uuid::text FROM steps s JOIN log l USING (step_uuid) WHERE l.is_last AND l.to_state <> s.state",
    ),
    (
        "steps with another number of claims than runs",
        "SELECT step_uuid::text FROM steps s
         WHERE claim_number <> (SELECT count(*) FROM log l WHERE l.step_uuid = s.step_uuid AND to_state = 'in_progress')",
    ),
    (
        "steps that completed twice",
        "SELECT step_uuid::text FROM log WHERE to_state = 'complete' GROUP BY step_uuid HAVING count(*) > 1",
    ),
    (
        "runs that ended twice",
        "SELECT step_uuid::text FROM log WHERE from_state = 'in_progress' GROUP BY step_uuid, run HAVING count(*) > 1",
    ),
];

/// The log and the steps agree with each other and with what was acknowledged.
fn history_holds(session: &mut Session, ledger: &Ledger, kept: &HashSet<Uuid>) {
    session.execute(LOG);
    for (what, sql) in NEVER {
        assert_eq!(session.all::<String>(sql, &[]), [""; 0], "{what}");
    }
    let (mut steps, mut numbers, mut states) = (vec![], vec![], vec![]);
    for ((step, number), report) in &ledger.accepted {
        if kept.contains(&task_of(*step)) {
            steps.push(*step);
            numbers.push(*number);
            states.push(match report {
                Report::Released => "pending",
                other => other.outcome(),
            });
        }
    }
    let lost: Vec<String> = session.all(
        "SELECT concat_ws(' ', a.step_uuid, a.number, a.state)
         FROM unnest($1::uuid[], $2::integer[], $3::text[]) a (step_uuid, number, state)
         WHERE NOT EXISTS (
             SELECT FROM log l JOIN steps s USING (step_uuid)
             WHERE l.step_uuid = a.step_uuid AND l.run = a.number AND l.from_state = 'in_progress' AND l.to_state = a.state
               AND format('claim %s', a.number) IN (
                   l.metadata ->> 'error_message', l.metadata ->> 'reason',
                   CASE WHEN a.state = 'complete' AND s.state = 'complete' THEN s.results ->> 'words' END))",
        &[&steps, &numbers, &states],
    );
    assert_eq!(lost, [""; 0], "acknowledged reports that are not there");
    for (step, number) in &ledger.completed {
        let newest = ledger.newest.get(step);
        assert!(
            newest.is_none_or(|newest| newest <= number),
            "{step} completed by claim {number} and was handed out again: {newest:?}"
        );
    }
}

/// Tasks that no operator has touched have come to the end that workers have brought them to.
fn untouched_have_ended_well(
    session: &mut Session,
    ledger: &Ledger,
    tasks: &[(Uuid, &'static str)],
) {
    let untouched = |wanted: &str| -> Vec<Uuid> {
        tasks
            .iter()
            .filter(|(task, template)| *template == wanted && !ledger.touched.contains(task))
            .map(|(task, _)| *task)
            .collect()
    };
    let patient = untouched("patient");
    assert!(patient.len() > 20, "{} untouched tasks only", patient.len());
    assert_eq!(
        session.task_states(&patient),
        [format!("complete: {}", patient.len())]
    );
    let wrong: Vec<String> = session.all(
        "SELECT concat_ws(' ', task_uuid, state) FROM tasker.tasks t WHERE task_uuid = ANY ($1)
         AND state <> 'complete' AND NOT (state = 'error' AND EXISTS (
             SELECT FROM steps s WHERE s.task_uuid = t.task_uuid AND s.state = 'error' AND s.attempts = s.retry_limit))",
        &[&untouched("limited")],
    );
    assert_eq!(wrong, [""; 0], "tasks that have ended without a reason");
    let beyond: Vec<String> = session.all(
        "SELECT concat_ws(' ', step_uuid, attempts, retry_limit) FROM steps WHERE attempts > retry_limit AND task_uuid <> ALL ($1)",
        &[&ledger.touched.iter().copied().collect::<Vec<Uuid>>()],
    );
    assert_eq!(beyond, [""; 0], "steps with more attempts than their limit");
}

/// Everything that happens here often enough to prove something.
const HAPPENED: [&str; 22] = [
    "complete",
    "error",
    "released",
    "stale",
    "heartbeat",
    "given back",
    "terminated",
    "cancelled call",
    "cancel_task",
    "retry_task",
    "resolve_task_manually",
    "transition_task",
    "cancel_step",
    "resolve_step_manually",
    "retry_step",
    "set_retry_limit",
    "transition_step",
    "pause_namespace",
    "resume_namespace",
    "force_release_stale_claims",
    "purge_tasks",
    "duplicate",
];

#[test]
fn what_was_acknowledged_survives_operators_terminated_backends_and_kills_of_the_server() {
    let seed = std::env::var("TASKER_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("TASKER_SEED={seed}");
    let server = own_server(&["shared_preload_libraries=tasker_ext"]);
    register(&mut server.connect(PATTERN));
    let chaos = Chaos {
        seed,
        ledger: Mutex::default(),
        tasks: Mutex::default(),
        most_tasks: scaled(1500, 20_000),
        workers: AtomicUsize::new(0),
    };
    run(&chaos, &server);
    let ledger = chaos.ledger();
    println!("{:#?}", ledger.counts);
    let mut session = server.connect(PATTERN);
    let tasks = requested(&mut session, &ledger);
    account_for_the_fleeting(&mut session, &ledger);
    drain(&mut session);
    let kept = tasks.iter().map(|(task, _)| *task).collect();
    history_holds(&mut session, &ledger, &kept);
    untouched_have_ended_well(&mut session, &ledger, &tasks);
    assert_eq!(inside::negative_counters(&mut session), [""; 0]);
    assert_eq!(session.disagreements(), [""; 0]);
    let missing: Vec<&str> = HAPPENED
        .into_iter()
        .filter(|what| !ledger.counts.contains_key(what))
        .collect();
    assert_eq!(missing, [""; 0], "never happened");
}

fn run(chaos: &Chaos, server: &Server) {
    let [callers, operators, disturber, pauses] = [1, 2, 3, 4].map(|number| chaos.choices(number));
    let workers: Vec<Mutex<Worker>> = (10..14)
        .map(|number| Mutex::new(Worker::new(chaos, Rng::with_seed(chaos.seed + number))))
        .collect();
    let rng = |choices: &Mutex<Rng>| choices.lock().expect("no panic").fork();
    let caller = |session, end: &End| create(chaos, &mut rng(&callers), session, end);
    let operator = |session, end: &End| operate(chaos, &mut rng(&operators), session, end);
    let disturber = |session, end: &End| disturb(chaos, &mut rng(&disturber), session, end);
    let workers: Vec<_> = workers
        .iter()
        .map(|worker| {
            move |session, end: &End| {
                work(chaos, &mut worker.lock().expect("no panic"), session, end)
            }
        })
        .collect();
    let mut clients: Vec<Client> = vec![&caller, &operator, &operator, &disturber];
    clients.extend(workers.iter().map(|worker| worker as Client));
    let pause = || Duration::from_millis(rng(&pauses).u64(1000..3000));
    under_kills(server, scaled(4, 60), pause, &clients);
}
