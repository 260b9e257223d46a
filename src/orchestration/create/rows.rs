//! The rows of new tasks.

use std::collections::BTreeSet;

use pgrx::pg_sys;
use tasker_rules::engine::correlation;
use tasker_rules::engine::state::{StepState, TaskState};
use tasker_rules::events::rows::Change;
use tasker_rules::events::topics::Topics;

use super::{Created, TaskRequest};
use crate::error::Result;
use crate::metrics::{self, Metric};
use crate::orchestration::audit::{self, NO_WORKER};
use crate::orchestration::bypass::Bypass;
use crate::orchestration::{Engine, StepKey, finalize, labelled};
use crate::pg::budget;
use crate::pg::datum::{self, Arg, Timestamp, Uuid};
use crate::pg::spi::Statement;
use crate::processes;
use crate::registry::Template;

static INSERT_TASKS: Statement = Statement::new(
    "INSERT INTO tasker_engine.tasks
         (task_uuid, requested_at, named_task_id, open_leaves, priority, initiator, source_system, reason,
          run_at, correlation_id, traceparent, tags, bypass_steps, watched, tracestate, context)
     SELECT u.task_uuid, $3, $4, $5, $6, $7, $8, $9, $10, coalesce($11, u.correlation_id), $12, $13, $14, $15, $16, u.context
     FROM unnest($1, $2, $17) AS u (task_uuid, context, correlation_id)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::JSONBARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4OID,
        pg_sys::INT2OID,
        pg_sys::INT2OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::JSONBOID,
        pg_sys::BOOLOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTARRAYOID,
    ],
);

static INSERT_TAGS: Statement = Statement::new(
    "INSERT INTO tasker_engine.task_tags (tag, task_uuid)
     SELECT g.tag, t.task_uuid
     FROM (SELECT DISTINCT left(e.tag, 255) AS tag FROM jsonb_array_elements_text($2) AS e (tag) WHERE e.tag IS NOT NULL) g
     CROSS JOIN unnest($1) AS t (task_uuid)",
    &[pg_sys::UUIDARRAYOID, pg_sys::JSONBOID],
);

static INSERT_STEPS: Statement = Statement::new(
    "INSERT INTO tasker_engine.steps
         (task_uuid, step_no, named_task_id, open_parents, retry_limit, retryable, priority, checked, state,
          available_at, watched)
     SELECT t.task_uuid, s.step_no, $2, s.open_parents, s.retry_limit, s.retryable, s.priority, s.checked, s.state,
            CASE WHEN s.open_parents = 0 AND s.state = 'p' THEN $10 END, $11
     FROM unnest($1) AS t (task_uuid),
          unnest($3, $4, $5, $6, $7, $8, $9)
              AS s (step_no, open_parents, retry_limit, retryable, priority, checked, state)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4OID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::BOOLARRAYOID,
        pg_sys::CHARARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::BOOLOID,
    ],
);

static INSERT_QUEUE_ENTRIES: Statement = Statement::new(
    "INSERT INTO tasker_engine.queue_entries (available_at, task_uuid, queue_id, priority, step_no, handler_key)
     SELECT $5, t.task_uuid, s.queue_id, s.priority, s.step_no, s.handler_key
     FROM unnest($1) AS t (task_uuid),
          unnest($2, $3, $4, $6) AS s (queue_id, priority, step_no, handler_key)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::INT4ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT8ARRAYOID,
    ],
);

static INSERT_LOG: Statement = Statement::new(
    "INSERT INTO tasker_engine.transitions (task_uuid, created_at, worker_no, step_no, attempt, to_state, metadata)
     SELECT t.task_uuid, $2, $3, 0, 0, 'p', coalesce($4, '{}') FROM unnest($1) AS t (task_uuid)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::INT4OID,
        pg_sys::JSONBOID,
    ],
);

// The steps that keep the results of another task of the same template. Its rows have the rest, but the retry_limit that an
// operator may have changed.
static INSERT_KEPT_STEPS: Statement = Statement::new(
    "INSERT INTO tasker_engine.steps
         (task_uuid, step_no, named_task_id, open_parents, retry_limit, retryable, priority, checked, state, watched, results)
     SELECT t.task_uuid, o.step_no, o.named_task_id, ($4)[o.step_no], ($5)[o.step_no], o.retryable, o.priority, o.checked, 'r', true,
            o.results
     FROM unnest($1) AS t (task_uuid), tasker_engine.steps o
     WHERE o.task_uuid = $2 AND o.step_no = ANY ($3)",
    &[
        pg_sys::UUIDARRAYOID,
        pg_sys::UUIDOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
        pg_sys::INT2ARRAYOID,
    ],
);

/// The values that all rows of a call share; each of `tasks` is new.
struct Rows<'r, 'a> {
    request: &'r TaskRequest<'a>,
    template: &'r Template,
    bypass: &'r Bypass,
    /// The places of the tasks in the request, with their uuids.
    tasks: Vec<(usize, Uuid)>,
    available_at: Timestamp,
}

pub(super) fn insert(
    engine: &mut Engine,
    request: &TaskRequest,
    template: &Template,
    bypass: &Bypass,
    created: &[Created],
) -> Result<()> {
    let new = created
        .iter()
        .enumerate()
        .filter(|(_, task)| !task.existing);
    let rows = Rows {
        request,
        template,
        bypass,
        tasks: new.map(|(index, task)| (index, task.task_uuid)).collect(),
        // A time in the past is now: the queue is kept in the order of arrival.
        available_at: request
            .run_at
            .map_or(engine.now, |run_at| run_at.max(engine.now)),
    };
    if rows.tasks.is_empty() {
        return Ok(());
    }
    rows.insert_tasks(engine)?;
    rows.insert_steps(engine)?;
    rows.insert_kept_steps(engine)?;
    rows.insert_queue_entries(engine)?;
    let log = [
        rows.uuids(),
        datum::timestamp(engine.now),
        datum::int4(NO_WORKER),
        datum::opt_jsonb(audit::both(bypass.origin(), audit::depth())),
    ];
    engine.session.run(&INSERT_LOG, &log)?;
    processes::note_events(|| match bypass.is_empty() {
        true => Topics::of_change(Change::Task(None, TaskState::Pending)),
        false => Topics::ALL,
    });
    let steps = rows.tasks.len() * template.steps().len();
    labelled::record(|counts| {
        counts.created(template.id, rows.tasks.iter().map(|(_, task)| task));
        counts.recorder.count(Metric::StepsCreated, steps);
    })?;
    if !bypass.is_empty() {
        rows.resolve_bypassed(engine)?;
    }
    metrics::write_if_due(engine.now, engine.tick)
}

impl Rows<'_, '_> {
    fn uuids(&self) -> Arg<'static> {
        datum::uuids(self.tasks.iter().map(|(_, task)| task))
    }

    fn priority(&self) -> i16 {
        self.request.priority as i16
    }

    fn insert_tasks(&self, engine: &Engine) -> Result<()> {
        let request = self.request;
        let contexts = self
            .tasks
            .iter()
            .map(|(index, _)| Some(request.contexts[*index]));
        // Of the uuids: it costs no randomness of its own.
        let own: Vec<String> = match request.correlation_id {
            Some(_) => vec![],
            None => self
                .tasks
                .iter()
                .map(|(_, task)| correlation::of_task(task))
                .collect(),
        };
        engine.session.run(
            &INSERT_TASKS,
            &[
                self.uuids(),
                datum::jsonbs(contexts),
                datum::timestamp(engine.now),
                datum::int4(self.template.id),
                datum::int2(self.bypass.open_leaves(self.template)),
                datum::int2(self.priority()),
                datum::text(&request.initiator),
                datum::text(&request.source_system),
                datum::text(&request.reason),
                datum::opt(request.run_at, datum::timestamp),
                datum::opt_text(request.correlation_id.as_deref()),
                datum::opt_text(request.traceparent.as_deref()),
                request.tags.arg(),
                request.bypass_steps.arg(),
                // If a leaf is bypassed, the count of leaves alone does not show the end.
                datum::boolean(!self.bypass.is_empty()),
                datum::opt_text(request.tracestate.as_deref()),
                datum::texts(own.iter().map(|id| Some(id.as_str()))),
            ],
        )?;
        if datum::element_count(request.tags) > 0 {
            let tags = [self.uuids(), request.tags.arg()];
            engine.session.run(&INSERT_TAGS, &tags)?;
        }
        Ok(())
    }

    fn insert_steps(&self, engine: &Engine) -> Result<()> {
        let bypass = self.bypass;
        let all = self.template.steps().iter();
        let steps: Vec<_> = all
            .filter(|step| bypass.source(step.no).is_none())
            .collect();
        engine.session.run(
            &INSERT_STEPS,
            &[
                self.uuids(),
                datum::int4(self.template.id),
                datum::int2s(steps.iter().map(|step| step.no)),
                datum::int2s(steps.iter().map(|step| bypass.open_parents(step))),
                datum::int2s(steps.iter().map(|step| step.retry_limit)),
                datum::booleans(steps.iter().map(|step| step.retryable)),
                datum::int2s(steps.iter().map(|_| self.priority())),
                datum::booleans(steps.iter().map(|step| step.results_schema.is_some())),
                datum::states(steps.iter().map(|step| bypass.first_state(step))),
                datum::timestamp(self.available_at),
                datum::boolean(!bypass.is_empty()),
            ],
        )?;
        Ok(())
    }

    fn insert_kept_steps(&self, engine: &Engine) -> Result<()> {
        let (bypass, steps) = (self.bypass, self.template.steps());
        let Some(rerun) = bypass.rerun.as_ref().filter(|rerun| !rerun.kept.is_empty()) else {
            return Ok(());
        };
        engine.session.run(
            &INSERT_KEPT_STEPS,
            &[
                self.uuids(),
                datum::uuid(&rerun.of),
                datum::int2s(rerun.kept.iter().copied()),
                datum::int2s(steps.iter().map(|step| bypass.open_parents(step))),
                datum::int2s(steps.iter().map(|step| step.retry_limit)),
            ],
        )?;
        Ok(())
    }

    fn insert_queue_entries(&self, engine: &mut Engine) -> Result<()> {
        let steps = self.template.steps().iter();
        let roots: Vec<_> = steps.filter(|step| self.bypass.is_ready(step)).collect();
        let priority = self.priority();
        engine.session.run(
            &INSERT_QUEUE_ENTRIES,
            &[
                self.uuids(),
                datum::int4s(roots.iter().map(|step| step.queue_id)),
                datum::int2s(roots.iter().map(|step| step.priority.unwrap_or(priority))),
                datum::int2s(roots.iter().map(|step| step.no)),
                datum::timestamp(self.available_at),
                datum::int8s(roots.iter().map(|step| step.handler_key)),
            ],
        )?;
        if self.available_at <= engine.now {
            roots.iter().for_each(|step| {
                engine
                    .queue_entries
                    .released(step.queue_id, Some(step.handler_key))
            });
        }
        Ok(())
    }

    /// The transitions of the steps that do not run; a task without others ends at once.
    fn resolve_bypassed(&self, engine: &mut Engine) -> Result<()> {
        let tasks: BTreeSet<Uuid> = self.tasks.iter().map(|(_, task)| *task).collect();
        for no in self.bypass.numbers() {
            budget::check_for_cancel();
            let why = self.bypass.reason(no);
            for task in &tasks {
                let key = StepKey { task: *task, no };
                engine.log.step(
                    self.template.id,
                    key,
                    NO_WORKER,
                    0,
                    StepState::Pending,
                    StepState::ResolvedManually,
                    why,
                );
            }
        }
        finalize::end_finished(engine, &tasks)
    }
}
