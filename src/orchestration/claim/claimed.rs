//! The steps of a claim with the data that workers need.

use std::collections::BTreeMap;

use pgrx::pg_sys;
use rustc_hash::{FxHashMap, FxHashSet};
use tasker_rules::engine::state::TaskState;
use tasker_rules::events::trace::ids::Trace;

use super::unfit::{self, Unfit};
use super::{Claimed, Dependencies};
use crate::error::{Error, Result};
use crate::orchestration::{Engine, StepKey, operational, timeouts};
use crate::pg::datum::{self, Arg, Jsonb, Timestamp, Uuid};
use crate::pg::spi::{Rows, Statement};
use crate::registry::Tracing;
use crate::settings;

/// The steps of one claim call with the data that workers need, in claim order. The jsonb values live as long as the session.
pub struct ClaimedSteps<'s> {
    pub steps: Vec<Claimed>,
    /// Set if the operational state forbids claims.
    pub closed: Option<operational::Current>,
    claimed_at: Timestamp,
    lease_expires_at: Timestamp,
    tasks: FxHashMap<Uuid, TaskData<'s>>,
    results: FxHashMap<StepKey, Jsonb<'s>>,
    /// The steps that cannot be handed out.
    unfit: Vec<(StepKey, Unfit)>,
}

struct TaskData<'s> {
    context: Arg<'s>,
    correlation_id: Arg<'s>,
    trace: Trace,
    tracestate: Arg<'s>,
}

// The context is behind correlation_id: PostgreSQL reaches a column behind a long value only by walking over it.
static READ_TASKS: Statement = Statement::new(
    "SELECT t.task_uuid, t.state, t.correlation_id, t.context, t.traceparent, t.tracestate
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
     RETURNING t.task_uuid, t.named_task_id",
    &[pg_sys::UUIDARRAYOID, pg_sys::TIMESTAMPTZOID],
);

static PARENT_RESULTS: Statement = Statement::new(
    "SELECT u.ord, u.name, coalesce(s.results, '{}')
     FROM unnest($1, $2, $3) WITH ORDINALITY AS u (task_uuid, step_no, name, ord)
     JOIN tasker_engine.steps s ON s.task_uuid = u.task_uuid AND s.step_no = u.step_no",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
    ],
);

// A row per parent, as it is stored: the sizes are known before anything is unpacked and put together. `step_nos` is an array
// literal per step: arrays of arrays of different lengths do not exist in SQL.
static SEVERAL_RESULTS: Statement = Statement::new(
    "SELECT u.ord, r.name, r.results
     FROM unnest($1, $2) WITH ORDINALITY AS u (task_uuid, step_nos, ord),
          LATERAL (SELECT n.name, coalesce(s.results, '{}') AS results
                   FROM tasker_engine.steps s
                   JOIN tasker.named_tasks_named_steps n
                     ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
                   WHERE s.task_uuid = u.task_uuid AND s.step_no = ANY (u.step_nos::smallint[])
                     AND s.state IN ('c', 'r')
                   OFFSET 0) r",
    &[pg_sys::UUIDARRAYOID, pg_sys::TEXTARRAYOID],
);

impl<'s> ClaimedSteps<'s> {
    pub(super) fn new(
        steps: Vec<Claimed>,
        closed: Option<operational::Current>,
        claimed_at: Timestamp,
        lease_expires_at: Timestamp,
    ) -> Self {
        Self {
            steps,
            closed,
            claimed_at,
            lease_expires_at,
            tasks: FxHashMap::default(),
            results: FxHashMap::default(),
            unfit: Vec::new(),
        }
    }

    pub(super) fn read_tasks(&mut self, engine: &mut Engine<'s>) -> Result<()> {
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
                    context: row.arg(4),
                    correlation_id: row.arg(3),
                    trace: Trace::of(&task, row.opt::<String>(5).as_deref()),
                    tracestate: row.arg(6),
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
                .map(|row| Ok((row.get(1)?, row.get(2)?)))
                .collect::<Result<Vec<(Uuid, i32)>>>()?;
            for (task, template) in &started {
                engine
                    .log
                    .task(*template, *task, TaskState::Pending, TaskState::InProgress);
            }
            let started = started.into_iter().map(|(task, _)| task);
            self.start_clocks(engine, &started.collect())?;
        }
        Ok(())
    }

    /// The clocks of those of the started tasks whose templates have a timeout.
    fn start_clocks(&self, engine: &Engine, started: &FxHashSet<Uuid>) -> Result<()> {
        let clocks: BTreeMap<Uuid, i64> = self
            .steps
            .iter()
            .filter(|step| started.contains(&step.key.task))
            .filter_map(|step| Some((step.key.task, step.template.timeout_us?)))
            .collect();
        timeouts::start_clocks(engine, &clocks)
    }

    /// When the first of the steps will have run too long.
    pub(super) fn timeout_at(&self) -> Result<Option<Timestamp>> {
        let mut first: Option<Timestamp> = None;
        for claimed in &self.steps {
            if let Some(timeout) = claimed.template.step(claimed.key.no)?.timeout_us {
                let at = self.claimed_at + timeout;
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        }
        Ok(first)
    }

    pub(super) fn read_results(
        &mut self,
        engine: &Engine<'s>,
        dependencies: Dependencies,
    ) -> Result<()> {
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
            self.put_together(&rows, |ord| single[ord].0)?;
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
            self.put_together(&rows, |ord| several[ord].0)?;
        }
        Ok(())
    }

    /// The results of each step from rows (place, name of the other step, its results), if they fit into one document.
    fn put_together(&mut self, rows: &Rows<'s>, step_of: impl Fn(usize) -> usize) -> Result<()> {
        let mut members: BTreeMap<usize, Vec<(String, Jsonb<'s>)>> = BTreeMap::new();
        for row in rows.iter() {
            let step = step_of(row.get::<i64>(1)? as usize - 1);
            members
                .entry(step)
                .or_default()
                .push((row.get(2)?, row.jsonb(3)?));
        }
        let most = settings::max_dependency_results_size();
        for (step, members) in members {
            let key = self.steps[step].key;
            let sizes = members
                .iter()
                .map(|(name, results)| name.len() + datum::size(*results));
            let size: usize = sizes.sum();
            if size > most {
                self.unfit.push((key, Unfit::Results { size, most }));
            } else {
                let members: Vec<(&str, Jsonb)> = members
                    .iter()
                    .map(|(name, results)| (name.as_str(), *results))
                    .collect();
                self.results.insert(key, datum::jsonb_object(&members));
            }
        }
        Ok(())
    }

    /// Fails the steps that no worker could get, permanently: left in the queue, they would stop every claim. The others go out,
    /// to a client unless they stay in the database.
    pub(super) fn drop_unfit(&mut self, engine: &mut Engine<'s>, to_client: bool) -> Result<()> {
        let other_encoding = to_client && datum::client_has_other_encoding();
        let known: FxHashSet<StepKey> = self.unfit.iter().map(|(key, _)| *key).collect();
        for claimed in &self.steps {
            if known.contains(&claimed.key) {
                continue;
            }
            let documents: Vec<Jsonb> = self
                .tasks
                .get(&claimed.key.task)
                .and_then(|task| task.context.as_jsonb())
                .into_iter()
                .chain(self.results.get(&claimed.key).copied())
                .collect();
            let why = if let Some(why) = &claimed.template.unreadable {
                Some(Unfit::Template(why.clone()))
            } else if claimed.claim_number == unfit::MOST_CLAIMS {
                Some(Unfit::Claims)
            } else if datum::texts_are_too_long(&documents) {
                Some(Unfit::Text)
            } else if other_encoding && !unfit::can_read(claimed, &documents)? {
                Some(Unfit::Encoding)
            } else {
                None
            };
            self.unfit.extend(why.map(|why| (claimed.key, why)));
        }
        if self.unfit.is_empty() {
            return Ok(());
        }
        unfit::fail(engine, &self.steps, &self.unfit)?;
        let unfit: FxHashSet<StepKey> = self.unfit.drain(..).map(|(key, _)| key).collect();
        self.steps.retain(|step| !unfit.contains(&step.key));
        Ok(())
    }

    /// The columns of claim_steps for each step, in claim order. `empty` stands for "no results".
    pub fn rows(&self, empty: Jsonb<'s>) -> Result<Vec<[Arg<'_>; 18]>> {
        let mut texts = Texts::default();
        let tracing = Tracing::current()?;
        self.steps
            .iter()
            .map(|claimed| {
                let template = &claimed.template;
                let step = template.step(claimed.key.no)?;
                let task = self
                    .tasks
                    .get(&claimed.key.task)
                    .ok_or_else(|| Error::corrupt("a claimed step has no task"))?;
                let results = self.results.get(&claimed.key).copied().unwrap_or(empty);
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
                    datum::text(&tracing.of_run(
                        &task.trace,
                        &claimed.key.task,
                        claimed.key.no,
                        claimed.claim_number,
                    )),
                    task.tracestate,
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
