//! `create_task`, `create_tasks` and `rerun_task`.

use super::reports::check_count;
use crate::error::{Error, Result};
use crate::orchestration::Engine;
use crate::orchestration::create::{self, TaskRequest};
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::Session;

crate::pg::call::sql_function! {
    create_task;
    create_tasks;
    rerun_task;
    most_tags;
}

fn request<'c>(
    call: &Call<'c>,
    contexts: Vec<Jsonb<'c>>,
    idempotency_keys: Vec<Option<String>>,
) -> Result<TaskRequest<'c>> {
    let (traceparent, tracestate) = create::context(call.opt_text(13), call.opt_text(14));
    Ok(TaskRequest {
        name: call.get(0, "name")?,
        contexts,
        namespace: call.get(2, "namespace")?,
        version: call.opt_text(3),
        initiator: call.get(4, "initiator")?,
        source_system: call.get(5, "source_system")?,
        reason: call.get(6, "reason")?,
        tags: call.jsonb(7, "tags")?,
        bypass_steps: call.jsonb(8, "bypass_steps")?,
        priority: call.get(9, "priority")?,
        run_at: call.opt(10),
        idempotency_keys,
        correlation_id: call.opt_text(12),
        traceparent,
        tracestate,
    })
}

fn create_task(call: &mut Call) -> Result<Output> {
    let context = call.jsonb(1, "context")?;
    let key = call.opt_text(11);
    let request = request(call, vec![context], vec![key])?;
    let created = {
        let session = Session::open()?;
        let mut engine = Engine::open_to_create(&session)?;
        let created = create::create(&mut engine, &request)?;
        engine.close()?;
        created
    };
    let task = created
        .first()
        .ok_or_else(|| Error::corrupt("one context makes one task"))?;
    Ok(Output::Uuid(task.task_uuid))
}

fn create_tasks(call: &mut Call) -> Result<Output> {
    let contexts = call.opt_jsonbs(1).ok_or_else(|| Error::null("contexts"))?;
    check_count(contexts.len(), "contexts")?;
    let contexts = contexts
        .into_iter()
        .map(|context| context.ok_or_else(|| Error::null("an element of contexts")))
        .collect::<Result<Vec<_>>>()?;
    let keys = call.opt_array::<String>(11).unwrap_or_default();
    let request = request(call, contexts, keys)?;
    let session = Session::open()?;
    let mut engine = Engine::open_to_create(&session)?;
    for task in create::create(&mut engine, &request)? {
        call.row(&[datum::uuid(&task.task_uuid)])?;
    }
    engine.close()?;
    Ok(Output::Rows)
}

fn rerun_task(call: &mut Call) -> Result<Output> {
    let (task, from_step) = (call.uuid(0, "task_uuid")?, call.opt_text(1));
    let context = call.opt_jsonb(2);
    let session = Session::open()?;
    let mut engine = Engine::open_to_create(&session)?;
    let new = create::rerun(&mut engine, task, from_step.as_deref(), context)?;
    engine.close()?;
    Ok(Output::Uuid(new))
}

fn most_tags(_: &mut Call) -> Result<Output> {
    Ok(Output::from(create::MOST_TAGS.cast_signed()))
}
