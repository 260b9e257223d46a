//! Tasks and templates as diagrams, which `tasker_rules::operations::diagram` draws.

use pgrx::pg_sys;
use tasker_rules::operations::diagram::{DiagramModel, Format, Node, draw};

use crate::error::{Error, Result};
use crate::orchestration::{Engine, create, locked_task};
use crate::pg::call::{Call, Output, shortened};
use crate::pg::datum;
use crate::pg::spi::{Session, Statement};
use crate::registry::{self, Template};
use crate::settings;

crate::pg::call::sql_function! {
    task_diagram;
    template_diagram;
}

fn format(call: &Call, index: usize) -> Result<Format> {
    call.get::<String>(index, "format")?
        .parse::<Format>()
        .map_err(|_| {
            Error::parameter(format!(
                "unknown diagram format {:?}",
                shortened(&call.opt_text(index).unwrap_or_default())
            ))
            .detail("Diagrams are drawn in five formats.")
            .hint("Use one of mermaid, dot, svg, html, json.")
        })
}

static TASK_OF_DIAGRAM: Statement = Statement::new(
    "SELECT t.named_task_id, tasker_engine.state_name(t.state), t.task_uuid::text FROM tasker_engine.tasks t WHERE t.task_uuid = $1",
    &[pg_sys::UUIDOID],
);

// The duration of a step is that of its last run, up to now if it still runs.
static STEPS_OF_DIAGRAM: Statement = Statement::new(
    "SELECT s.step_no, tasker.step_uuid(s.task_uuid, s.step_no)::text, s.state, s.attempts::integer, s.retry_limit::integer,
            (date_part('epoch', coalesce(run.ended_at, tasker_engine.engine_clock()) - run.began_at) * 1000)::bigint,
            CASE s.state WHEN 'e' THEN s.results ->> 'error_message' WHEN 'i' THEN w.worker_id END,
            s.state = 'e' AND NOT tasker_engine.waits_for_operator(s.state, s.available_at), s.unreachable
     FROM tasker_engine.steps s
     LEFT JOIN LATERAL (
         SELECT b.created_at AS began_at,
                (SELECT e.created_at FROM tasker_engine.step_changes e
                 WHERE e.task_uuid = b.task_uuid AND e.step_no = b.step_no AND e.id > b.id
                 ORDER BY e.id LIMIT 1) AS ended_at
         FROM tasker_engine.step_changes b
         WHERE b.task_uuid = s.task_uuid AND b.step_no = s.step_no AND b.to_state = 'i' AND s.claim_number > 0
         ORDER BY b.id DESC LIMIT 1) run ON true
     LEFT JOIN tasker_engine.claims c ON c.claim_id = s.claim_id AND s.state = 'i'
     LEFT JOIN tasker_engine.workers w ON w.worker_no = c.worker_no
     WHERE s.task_uuid = $1
     ORDER BY s.step_no",
    &[pg_sys::UUIDOID],
);

fn edges(template: &Template) -> Vec<(i16, i16)> {
    template
        .steps()
        .iter()
        .flat_map(|step| step.parents.iter().map(|parent| (*parent, step.no)))
        .collect()
}

fn task_diagram(call: &mut Call) -> Result<Output> {
    let task = call.uuid(0, "task_uuid")?;
    let format = format(call, 1)?;
    let session = Session::open()?;
    let rows = session.read(&TASK_OF_DIAGRAM, &[datum::uuid(&task)])?;
    let row = rows
        .first()
        .ok_or_else(|| locked_task::unknown_task(&task))?;
    let template = registry::get(&session, row.get(1)?)?;
    let state: String = row.get(2)?;
    // Of an ended task nothing waits.
    let open = matches!(state.as_str(), "pending" | "in_progress");
    let task_uuid: String = row.get(3)?;
    let mut nodes = Vec::new();
    for row in session
        .read(&STEPS_OF_DIAGRAM, &[datum::uuid(&task)])?
        .iter()
    {
        let step_no: i16 = row.get(1)?;
        let step_uuid: String = row.get(2)?;
        let name = template.step(step_no)?.name.clone();
        nodes.push(Node {
            step_no,
            url: settings::diagram_step_url(&[
                ("task_uuid", &task_uuid),
                ("step_uuid", &step_uuid),
                ("name", &name),
            ]),
            id: Some(step_uuid),
            name,
            state: Some(row.get(3)?),
            waits_for_retry: open && row.get(8)?,
            unreachable: row.get(9)?,
            attempts: Some(row.get(4)?),
            retry_limit: row.get(5)?,
            duration_ms: row.opt(6),
            note: row.opt(7),
        });
    }
    let title = format!("{}: {}", template.full_name(), state.replace('_', " "));
    let url = settings::diagram_task_url(&[("task_uuid", &task_uuid), ("name", &template.name)]);
    Ok(Output::Text(draw(
        &DiagramModel {
            title,
            url,
            nodes,
            edges: edges(&template),
        },
        format,
    )))
}

fn template_diagram(call: &mut Call) -> Result<Output> {
    let name: String = call.get(0, "name")?;
    let namespace: String = call.get(1, "namespace")?;
    let version = call.opt_text(2);
    let format = format(call, 3)?;
    let session = Session::open()?;
    let engine = Engine::open_any_isolation(&session);
    let id = create::find_template(&engine, &namespace, &name, version.as_deref())?;
    let template = registry::get(engine.session, id)?;
    let nodes = template.steps().iter().map(|step| Node {
        step_no: step.no,
        id: None,
        url: None,
        name: step.name.clone(),
        state: None,
        waits_for_retry: false,
        unreachable: false,
        attempts: None,
        retry_limit: step.retry_limit.into(),
        duration_ms: None,
        note: Some(step.handler.clone()),
    });
    let model = DiagramModel {
        title: template.full_name(),
        url: None,
        nodes: nodes.collect(),
        edges: edges(&template),
    };
    Ok(Output::Text(draw(&model, format)))
}
