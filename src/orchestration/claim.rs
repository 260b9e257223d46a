//! Claims: handing out ready steps. A claim never waits for a lock; what others hold is left for the next one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use pgrx::pg_sys;
use tasker_rules::engine::state::{StepState, TaskState};

use super::queue_entries::{self, Found};
use super::start::start_steps;
use super::workers::Worker;
use super::{Engine, StepKey, leases, operational, timeouts};
use crate::error::{Error, Result};
use crate::metrics::{self, Metric};
use crate::pg::datum::{self, Arg, Jsonb, Timestamp, Uuid};
use crate::pg::installation::Kept;
use crate::pg::spi::Statement;
use crate::registry::{self, Template};

/// Which results come with a claimed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependencies {
    None,
    Parents,
    Ancestors,
}

/// What a worker asks for.
pub struct ClaimRequest {
    pub worker_id: String,
    pub namespaces: Vec<String>,
    pub queues: Option<Vec<String>>,
    pub max_steps: usize,
    pub lease_us: i64,
    pub dependencies: Dependencies,
}

/// A step handed out.
pub struct Claimed {
    pub key: StepKey,
    pub template: Rc<Template>,
    pub claim_number: i32,
    pub attempt: i16,
    pub retry_limit: i16,
}

/// The steps of one claim call with what belongs to them, in claim order. The jsonb live as long as the session.
pub struct ClaimedSteps<'s> {
    pub steps: Vec<Claimed>,
    /// Set when the state of the system forbids handing anything out.
    pub closed: Option<operational::Current>,
    claimed_at: Timestamp,
    lease_expires_at: Timestamp,
    tasks: HashMap<Uuid, TaskData<'s>>,
    results: HashMap<usize, Jsonb<'s>>,
}

struct TaskData<'s> {
    context: Arg<'s>,
    correlation_id: Arg<'s>,
    traceparent: Arg<'s>,
}

// Of entries whose steps did not start: those that still agree with their step's row.
static STILL_VALID: Statement = Statement::new(
    "SELECT u.ord
     FROM unnest($1, $2, $3) WITH ORDINALITY AS u (task_uuid, step_no, available_at, ord)
     JOIN tasker_engine.steps p ON p.task_uuid = u.task_uuid AND p.step_no = u.step_no
     WHERE p.state = 'p' AND p.available_at IS NULL
        OR p.state IN ('p', 'e') AND p.available_at = u.available_at",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZARRAYOID,
    ],
);

static READ_TASKS: Statement = Statement::new(
    "SELECT t.task_uuid, t.state, t.context, t.correlation_id, t.traceparent
     FROM unnest($1) AS u (task_uuid)
     JOIN tasker_engine.tasks t ON t.task_uuid = u.task_uuid",
    &[pg_sys::UUIDARRAYOID],
);

static START_TASKS: Statement = Statement::new(
    "UPDATE tasker_engine.tasks t
     SET state = 'i', started_at = coalesce(t.started_at, $2)
     WHERE t.ctid = ANY (ARRAY(
         SELECT p.ctid
         FROM unnest($1) AS u (task_uuid)
         JOIN tasker_engine.tasks p ON p.task_uuid = u.task_uuid
         WHERE p.state = 'p'
         FOR UPDATE OF p SKIP LOCKED))
     RETURNING t.task_uuid",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID],
);

static PARENT_RESULTS: Statement = Statement::new(
    "SELECT u.ord, pg_catalog.jsonb_build_object(u.name, coalesce(s.results, '{}'))
     FROM unnest($1, $2, $3) WITH ORDINALITY AS u (task_uuid, step_no, name, ord)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
    ],
);

// `step_nos` is an array literal per step: arrays of arrays of different lengths do not exist in SQL.
static SEVERAL_RESULTS: Statement = Statement::new(
    "SELECT u.ord,
            (SELECT pg_catalog.jsonb_object_agg(n.name, coalesce(s.results, '{}'))
             FROM tasker_engine.steps s
             JOIN tasker.named_tasks_named_steps n
               ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
             WHERE s.task_uuid = u.task_uuid AND s.step_no = ANY (u.step_nos::smallint[])
               AND s.state IN ('c', 'r'))
     FROM unnest($1, $2) WITH ORDINALITY AS u (task_uuid, step_nos, ord)",
    &[pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID],
);

static QUEUE: Statement = Statement::new(
    "SELECT q.queue_id
     FROM tasker.task_namespaces n
     JOIN tasker_engine.queues q ON q.task_namespace_id = n.task_namespace_id AND q.name = $2
     WHERE n.name = $1",
    &[pg_sys::TEXTOID, pg_sys::TEXTOID],
);

/// How often stale or held entries may send a claim back to the queue before it returns fewer steps than asked;
/// as each round goes further, that is behind some twenty thousand of them.
const MOST_ROUNDS: usize = 10;
const FURTHEST_ENTRY: usize = 4096;
const DEFAULT_QUEUE: &str = "default";
/// The id of a queue is looked up by name again after this time: another queue may have the name now.
const QUEUE_KEPT_US: i64 = 1_000_000;

static ROTATION: Kept<usize> = Kept::new();
static QUEUES: Kept<HashMap<(String, String), (i32, Timestamp)>> = Kept::new();

/// The claim in the making: its number is taken before its first step starts.
struct NewClaim<'a> {
    worker: &'a Worker,
    claim_id: i64,
    max: usize,
    steps: Vec<Claimed>,
}

/// Claims up to `max_steps` ready steps for the worker.
pub fn claim<'s>(
    engine: &mut Engine<'s>,
    worker: &Worker,
    request: &ClaimRequest,
) -> Result<ClaimedSteps<'s>> {
    let mut claim = NewClaim {
        worker,
        claim_id: 0,
        max: request.max_steps,
        steps: Vec::new(),
    };
    leases::take_over_expired(engine, false)?;
    let closed = operational::current()?.closed();
    let open = closed.is_none();
    if open {
        gather(engine, request, &mut claim)?;
    }
    if claim.steps.len() < request.max_steps && leases::take_over_expired(engine, true)? && open {
        gather(engine, request, &mut claim)?;
    }
    let mut claimed = ClaimedSteps {
        steps: claim.steps,
        closed,
        claimed_at: engine.now,
        lease_expires_at: engine.now + request.lease_us,
        tasks: HashMap::new(),
        results: HashMap::new(),
    };
    if !claimed.steps.is_empty() {
        let lease = leases::Lease {
            claim_id: claim.claim_id,
            worker_no: worker.no,
            expires_at: claimed.lease_expires_at,
            timeout_at: claimed.timeout_at()?,
        };
        let keys: Vec<StepKey> = claimed.steps.iter().map(|step| step.key).collect();
        leases::open_claim(engine, &lease, &keys)?;
        claimed.read_tasks(engine)?;
        if request.dependencies != Dependencies::None {
            claimed.read_results(engine, request.dependencies)?;
        }
    }
    Ok(claimed)
}

/// Asks the queues in rotation, so that no namespace waits behind another for ever.
fn gather(engine: &mut Engine, request: &ClaimRequest, claim: &mut NewClaim) -> Result<()> {
    // The walk must see what a take-over released.
    engine.queue_entries.flush(engine.now)?;
    let default = [DEFAULT_QUEUE.to_owned()];
    let names = request.queues.as_deref().unwrap_or(&default);
    let first = ROTATION.replace(ROTATION.get().wrapping_add(1));
    for turn in 0..request.namespaces.len() {
        let namespace = &request.namespaces[(first + turn) % request.namespaces.len()];
        for queue in names {
            if claim.steps.len() >= claim.max {
                return Ok(());
            }
            if let Some(queue_id) = queue_id(engine, namespace, queue)? {
                gather_from(engine, queue_id, claim)?;
            }
        }
    }
    Ok(())
}

fn queue_id(engine: &Engine, namespace: &str, queue: &str) -> Result<Option<i32>> {
    let name = (namespace.to_owned(), queue.to_owned());
    if let Some((id, since)) = QUEUES.with(|queues| queues.get(&name).copied())
        && engine.now - since < QUEUE_KEPT_US
    {
        return Ok(Some(id));
    }
    let rows = engine
        .session
        .run(&QUEUE, &[datum::text(namespace), datum::text(queue)])?;
    let id: Option<i32> = rows.first().map(|row| row.get(1)).transpose()?;
    QUEUES.with(|queues| match id {
        Some(id) => queues.insert(name, (id, engine.now)),
        None => queues.remove(&name),
    });
    Ok(id)
}

fn gather_from(engine: &mut Engine, queue_id: i32, claim: &mut NewClaim) -> Result<()> {
    if !queue_entries::is_open(engine.session, queue_id)? {
        engine.queue_entries.emptied(queue_id);
        return Ok(());
    }
    queue_entries::age(engine.session, queue_id, engine.now)?;
    let mut held: HashSet<StepKey> = HashSet::new();
    let mut skip = queue_entries::held_at_head(queue_id, engine.now);
    for _ in 0..MOST_ROUNDS {
        let limit = claim.max - claim.steps.len() + skip;
        let (found, taken) =
            queue_entries::find(engine.session, queue_id, engine.now, limit, skip == 0)?;
        let exhausted = found.len() < limit;
        let mut rest: &[Found] = &found;
        let mut refused = 0;
        while claim.steps.len() < claim.max && !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(claim.max - claim.steps.len()));
            refused += start(engine, now, taken, claim, &mut held)?;
            rest = later;
        }
        if !held.is_empty() {
            queue_entries::remember_held(queue_id, held.len(), engine.now);
        }
        if exhausted {
            engine.queue_entries.emptied(queue_id);
        }
        if exhausted || claim.steps.len() >= claim.max {
            break;
        }
        // The head of the queue is held or stale: go behind it, further each time.
        skip = skip
            .max(refused)
            .max(held.len())
            .saturating_mul(4)
            .min(FURTHEST_ENTRY);
    }
    Ok(())
}

fn entry_args(found: &[&Found]) -> Vec<Arg<'static>> {
    vec![
        datum::uuids(found.iter().map(|found| &found.entry.key.task)),
        datum::int2s(found.iter().map(|found| found.entry.key.no)),
        datum::timestamps(found.iter().map(|found| Some(found.entry.available_at))),
    ]
}

/// Starts the steps of the found entries. An entry that the step's row contradicts is dropped; one whose step
/// somebody holds stays for the next claim and is added to `held`. Returns how many did not start.
fn start(
    engine: &mut Engine,
    found: &[Found],
    taken: bool,
    claim: &mut NewClaim,
    held: &mut HashSet<StepKey>,
) -> Result<usize> {
    let entries: Vec<&Found> = found
        .iter()
        .filter(|found| !held.contains(&found.entry.key))
        .collect();
    if entries.is_empty() {
        return Ok(0);
    }
    if claim.claim_id == 0 {
        claim.claim_id = leases::next_claim_id(claim.worker)?;
    }
    use StepState::{Error, InProgress, Pending};
    let rows = start_steps(engine, &entries, claim.claim_id)?;
    let mut started = vec![false; entries.len()];
    for row in rows {
        let key = entries[row.index].entry.key;
        started[row.index] = true;
        let worker_no = claim.worker.no;
        if row.was == Error {
            engine
                .log
                .step(key, worker_no, row.attempt - 1, Error, Pending);
        }
        engine
            .log
            .step(key, worker_no, row.attempt, Pending, InProgress);
        claim.steps.push(Claimed {
            key,
            template: registry::get(engine.session, row.named_task_id)?,
            claim_number: row.claim_number,
            attempt: row.attempt,
            retry_limit: row.retry_limit,
        });
    }
    metrics::record(|recorder| {
        let started = entries
            .iter()
            .zip(&started)
            .filter(|(_, started)| **started);
        started.for_each(|(found, _)| {
            recorder.observe(Metric::StepWait, engine.now - found.entry.available_at);
        });
    });
    let refused: Vec<&Found> = entries
        .iter()
        .zip(&started)
        .filter(|(_, started)| !**started)
        .map(|(found, _)| *found)
        .collect();
    let valid = still_valid(engine, &refused)?;
    held.extend(valid.iter().map(|found| found.entry.key));
    if taken {
        valid
            .iter()
            .for_each(|found| engine.queue_entries.push(found.entry.clone()));
    } else {
        let gone = entries
            .iter()
            .filter(|found| !held.contains(&found.entry.key));
        queue_entries::remove(engine.session, gone.map(|found| found.tid))?;
    }
    Ok(refused.len())
}

/// Those of the entries that agree with their step's row: their steps did not start because somebody holds them.
fn still_valid<'a>(engine: &Engine, refused: &[&'a Found]) -> Result<Vec<&'a Found>> {
    if refused.is_empty() {
        return Ok(vec![]);
    }
    let rows = engine.session.run(&STILL_VALID, &entry_args(refused))?;
    rows.iter()
        .map(|row| Ok(refused[row.get::<i64>(1)? as usize - 1]))
        .collect()
}

impl<'s> ClaimedSteps<'s> {
    fn read_tasks(&mut self, engine: &mut Engine<'s>) -> Result<()> {
        let tasks: std::collections::BTreeSet<Uuid> =
            self.steps.iter().map(|step| step.key.task).collect();
        let rows = engine.session.run(&READ_TASKS, &[datum::uuids(&tasks)])?;
        let mut pending = Vec::new();
        for row in rows.iter() {
            let task: Uuid = row.get(1)?;
            if row.get::<TaskState>(2)? == TaskState::Pending {
                pending.push(task);
            }
            self.tasks.insert(
                task,
                TaskData {
                    context: row.arg(3),
                    correlation_id: row.arg(4),
                    traceparent: row.arg(5),
                },
            );
        }
        if !pending.is_empty() {
            let started = engine.session.run(
                &START_TASKS,
                &[datum::uuids(&pending), datum::timestamp(engine.now)],
            )?;
            let started = started
                .iter()
                .map(|row| row.get(1))
                .collect::<Result<Vec<Uuid>>>()?;
            for task in &started {
                engine
                    .log
                    .task(*task, TaskState::Pending, TaskState::InProgress);
            }
            self.start_clocks(engine, &started)?;
        }
        Ok(())
    }

    /// The clocks of those of the started tasks whose templates have a timeout.
    fn start_clocks(&self, engine: &Engine, started: &[Uuid]) -> Result<()> {
        let clocks: BTreeMap<Uuid, i64> = self
            .steps
            .iter()
            .filter(|step| started.contains(&step.key.task))
            .filter_map(|step| Some((step.key.task, step.template.timeout_us?)))
            .collect();
        timeouts::start_clocks(engine, &clocks)
    }

    /// When the first of the steps will have run too long.
    fn timeout_at(&self) -> Result<Option<Timestamp>> {
        let mut first: Option<Timestamp> = None;
        for claimed in &self.steps {
            if let Some(timeout) = claimed.template.step(claimed.key.no)?.timeout_us {
                let at = self.claimed_at + timeout;
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        }
        Ok(first)
    }

    fn read_results(&mut self, engine: &Engine<'s>, dependencies: Dependencies) -> Result<()> {
        let mut single = Vec::new();
        let mut several = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let parents = &step.template.step(step.key.no)?.parents;
            match parents.as_slice() {
                [] => {}
                &[parent] if dependencies == Dependencies::Parents => single.push((index, parent)),
                parents => {
                    let wanted = match dependencies {
                        Dependencies::Ancestors => step.template.ancestors(step.key.no),
                        _ => parents.to_vec(),
                    };
                    several.push((index, datum::array_literal(&wanted)));
                }
            }
        }
        if !single.is_empty() {
            let names = single
                .iter()
                .map(|(index, parent)| {
                    Ok(Some(
                        self.steps[*index].template.step(*parent)?.name.as_str(),
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            let rows = engine.session.run(
                &PARENT_RESULTS,
                &[
                    datum::uuids(single.iter().map(|(index, _)| &self.steps[*index].key.task)),
                    datum::int2s(single.iter().map(|(_, parent)| *parent)),
                    datum::texts(names),
                ],
            )?;
            for row in rows.iter() {
                self.results
                    .insert(single[row.get::<i64>(1)? as usize - 1].0, row.jsonb(2)?);
            }
        }
        if !several.is_empty() {
            let rows = engine.session.run(
                &SEVERAL_RESULTS,
                &[
                    datum::uuids(
                        several
                            .iter()
                            .map(|(index, _)| &self.steps[*index].key.task),
                    ),
                    datum::texts(several.iter().map(|(_, numbers)| Some(numbers.as_str()))),
                ],
            )?;
            for row in rows.iter() {
                if let Some(results) = row.opt_jsonb(2) {
                    self.results
                        .insert(several[row.get::<i64>(1)? as usize - 1].0, results);
                }
            }
        }
        Ok(())
    }

    /// The columns of claim_steps for each step, in claim order. `empty` stands for "no results".
    pub fn rows(&self, empty: Jsonb<'s>) -> Result<Vec<[Arg<'_>; 17]>> {
        let mut texts = Texts::default();
        self.steps
            .iter()
            .enumerate()
            .map(|(index, claimed)| {
                let template = &claimed.template;
                let step = template.step(claimed.key.no)?;
                let task = self
                    .tasks
                    .get(&claimed.key.task)
                    .ok_or_else(|| Error::corrupt("a claimed step has no task"))?;
                let results = self.results.get(&index).copied().unwrap_or(empty);
                // The uuid must outlive this closure: it goes into the session's memory.
                let step_uuid = datum::copy_uuid(&claimed.key.uuid());
                Ok([
                    step_uuid,
                    datum::uuid(&claimed.key.task),
                    datum::int4(claimed.claim_number),
                    datum::int4(claimed.attempt.into()),
                    datum::int4(claimed.retry_limit.into()),
                    texts.of(&template.namespace),
                    texts.of(&step.queue),
                    texts.of(&template.name),
                    texts.of(&template.version),
                    texts.of(&step.name),
                    texts.of(&step.handler),
                    step.handler_config.as_jsonb().arg(),
                    task.context,
                    results.arg(),
                    datum::timestamp(step.timeout_us.map_or(self.lease_expires_at, |timeout| {
                        self.lease_expires_at.min(self.claimed_at + timeout)
                    })),
                    task.correlation_id,
                    task.traceparent,
                ])
            })
            .collect()
    }
}

/// The same text datum for the same string: most rows of a claim repeat a few names.
#[derive(Default)]
struct Texts(BTreeMap<usize, Arg<'static>>);

impl Texts {
    fn of(&mut self, text: &str) -> Arg<'static> {
        *self
            .0
            .entry(text.as_ptr() as usize)
            .or_insert_with(|| datum::text(text))
    }
}
