//! Handlers that are functions of this database: `sql:<schema.function>`.
//!
//! Such a function runs with the rights of the role that registered the template, and no more: as a security-restricted
//! operation, the way PostgreSQL itself runs the functions of somebody else's index. Which role and which function is read
//! from tasker_engine.sql_handlers, which belongs to a superuser: the engine's owner could else lend itself any role.

use pgrx::pg_sys;
use tasker_rules::sqlstate;

use crate::background::{process, shared};
use crate::error::{Error, Result};
use crate::orchestration::StepKey;
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Arg, Jsonb, OwnedJsonb, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::pg::{restricted, rights};
use crate::settings;

crate::sql_function! {
    run_step;
    refresh_handler_roles;
    wake_launcher;
}

// The role is the one whose oid is kept; it may have another name now.
static HANDLER: Statement = Statement::new(
    "SELECT n.handler, h.handler, h.role_name, n.timeout_seconds,
            (SELECT r.rolsuper FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
             WHERE c.oid = h.tableoid),
            (SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_roles r ON r.oid = p.proowner AND r.rolsuper
             WHERE p.oid = 'tasker_engine.call_handler(text,jsonb,oid,text)'::pg_catalog.regprocedure),
            (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.oid = h.role_oid),
            h.function_owner_oid, tasker_engine.role_name(h.function_owner_oid, h.function_owner)
     FROM tasker_engine.steps s
     JOIN tasker.named_tasks_named_steps n ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
     LEFT JOIN tasker_engine.sql_handlers h ON h.named_task_id = s.named_task_id AND h.step_no = s.step_no
     WHERE s.task_uuid = $1 AND s.step_no = $2",
    &[pg_sys::UUIDOID, pg_sys::INT2OID],
);

static TABLE_OWNER: Statement = Statement::new(
    "SELECT r.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner AND r.rolsuper
     WHERE c.oid = 'tasker_engine.sql_handlers'::pg_catalog.regclass",
    &[],
);

static FUNCTION_OWNERS: Statement = Statement::new(
    "SELECT tasker_engine.function_owner(u.function)::text
     FROM unnest($1) WITH ORDINALITY AS u (function, place) ORDER BY u.place",
    &[pg_sys::TEXTARRAYOID],
);

// What a version says already of a role that lives stays: a registration cannot take a handler away from its role.
static REMEMBER: Statement = Statement::new(
    "INSERT INTO tasker_engine.sql_handlers AS h (named_task_id, step_no, handler, role_name, function_owner)
     SELECT $1, u.step_no, u.handler, $5, coalesce(u.function_owner, $5)
     FROM unnest($2, $3, $4) AS u (step_no, handler, function_owner)
     ON CONFLICT (named_task_id, step_no) DO UPDATE
     SET role_name = excluded.role_name, role_oid = excluded.role_oid,
         function_owner = excluded.function_owner, function_owner_oid = excluded.function_owner_oid
     WHERE h.role_oid = excluded.role_oid
        OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = h.role_oid)
     RETURNING h.role_oid",
    &[
        pg_sys::INT4OID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTOID,
    ],
);

// Rows that somebody holds wait for the next round.
static REFRESH: Statement = Statement::new(
    "UPDATE tasker_engine.sql_handlers h
     SET role_name = coalesce(n.role_name, h.role_name), function_owner = coalesce(n.function_owner, h.function_owner)
     FROM (SELECT o.named_task_id, o.step_no, r.rolname AS role_name, f.rolname AS function_owner
           FROM tasker_engine.sql_handlers o
           LEFT JOIN pg_catalog.pg_roles r ON r.oid = o.role_oid
           LEFT JOIN pg_catalog.pg_roles f ON f.oid = o.function_owner_oid
           WHERE r.rolname <> o.role_name OR f.rolname <> o.function_owner
           FOR UPDATE OF o SKIP LOCKED) n
     WHERE h.named_task_id = n.named_task_id AND h.step_no = n.step_no",
    &[],
);

static READ: Statement = Statement::new(
    "SELECT r.results, r.sqlstate, r.message, r.detail, r.hint, r.context
     FROM pg_catalog.jsonb_to_record($1) AS r (results jsonb, sqlstate text, message text, detail text, hint text, context text)",
    &[pg_sys::JSONBOID],
);

static COMPLETE: Statement = Statement::new(
    "SELECT tasker.complete_step($1, $2, CASE WHEN pg_catalog.jsonb_typeof($3) = 'object' THEN $3
                                              WHEN $3 IS NULL OR pg_catalog.jsonb_typeof($3) = 'null' THEN '{}'
                                              ELSE pg_catalog.jsonb_build_object('result', $3) END)",
    &[pg_sys::UUIDOID, pg_sys::INT4OID, pg_sys::JSONBOID],
);

static FAIL: Statement = Statement::new(
    "SELECT tasker.fail_step($1, $2, $3, $4, $5, backtrace => pg_catalog.string_to_array($6, E'\\n'),
                             results => pg_catalog.jsonb_strip_nulls(
                                 pg_catalog.jsonb_build_object('detail', $7, 'hint', $8)))",
    &[
        pg_sys::UUIDOID,
        pg_sys::INT4OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::BOOLOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
    ],
);

/// Keeps which function each step calls, and for whom; as the template is registered. Written as the table's owner, since
/// nobody is granted an INSERT for this. A version that is registered again gives its role the functions as they are now,
/// and handlers whose role is gone to the role that calls.
pub fn remember(
    session: &Session,
    named_task_id: i32,
    handlers: &[(i16, &str)],
    role: pg_sys::Oid,
) -> Result<()> {
    if handlers.is_empty() {
        return Ok(());
    }
    let owner = table_owner(session)?;
    let name = rights::role_name(role);
    let functions = handlers.iter().map(|(_, handler)| Some(function(handler)));
    let owners: Vec<Option<String>> = session
        .run(&FUNCTION_OWNERS, &[datum::texts(functions)])?
        .iter()
        .map(|row| row.opt(1))
        .collect();
    let rows = rights::work_as(owner, || {
        session.run(
            &REMEMBER,
            &[
                datum::int4(named_task_id),
                datum::int2s(handlers.iter().map(|(no, _)| *no)),
                datum::texts(handlers.iter().map(|(_, handler)| Some(*handler))),
                datum::texts(owners.iter().map(Option::as_deref)),
                datum::text(&name),
            ],
        )
    })?;
    for row in rows.iter() {
        // The table looks roles up by name, as in a restore.
        if row.opt::<pg_sys::Oid>(1) != Some(role) {
            return Err(Error::new(
                pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
                format!("role \"{name}\" was renamed at this moment"),
            )
            .detail("The template's handlers could not be given to it.")
            .hint("Register the template again."));
        }
    }
    Ok(())
}

/// The superuser to whom the table of handlers belongs.
fn table_owner(session: &Session) -> Result<pg_sys::Oid> {
    let rows = session.run(&TABLE_OWNER, &[])?;
    rows.first().ok_or_else(table_of_another)?.get(1)
}

/// Writes the new names of renamed roles into the table, for the next dump.
fn refresh_handler_roles(_: &mut Call) -> Result<Output> {
    let session = Session::open()?;
    let owner = table_owner(&session)?;
    let renamed = rights::work_as(owner, || Ok(session.run(&REFRESH, &[])?.len()))?;
    Ok(Output::from(renamed as i64))
}

/// The function that a handler names.
fn function(handler: &str) -> &str {
    handler
        .strip_prefix(tasker_rules::template::SQL_PREFIX)
        .unwrap_or(handler)
}

fn table_of_another() -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "tasker_engine.sql_handlers does not belong to a superuser",
    )
    .detail("It says whose rights a handler gets; another owner could write any role into it.")
    .hint("ALTER TABLE tasker_engine.sql_handlers OWNER TO a superuser;")
}

fn wake_launcher(_: &mut Call) -> Result<Output> {
    shared::wake_launcher();
    Ok(Output::from(shared::is_preloaded()))
}

const QUERY_CANCELED: &str = "57014";

/// What a step's handler needs.
struct Handler {
    function: String,
    role: pg_sys::Oid,
    /// Role and name of the function's owner.
    owner: (pg_sys::Oid, String),
    caller: pg_sys::Oid,
    timeout_ms: i32,
}

/// Runs a claimed step and reports it: `run_step(step_uuid, claim_number, argument)`.
fn run_step(call: &mut Call) -> Result<Output> {
    let step: Uuid = call.uuid(0, "step_uuid")?;
    let claim_number: i32 = call.get(1, "claim_number")?;
    let argument = call.jsonb(2, "argument")?;
    let report = match handler(&step)? {
        Ok(handler) => invoke(&handler, argument),
        Err(problem) => Ran::Failed(Failure::of(problem)),
    };
    let session = Session::open()?;
    let (uuid, claim) = (datum::uuid(&step), datum::int4(claim_number));
    let rows = match &report {
        Ran::Returned { outcome, timed_out } => {
            let rows = session.run(&READ, &[outcome.as_jsonb().arg()])?;
            let row = rows
                .first()
                .ok_or_else(|| Error::corrupt("a record has a row"))?;
            match row.opt::<String>(2) {
                None => session.run(&COMPLETE, &[uuid, claim, row.arg(1)])?,
                // Not the step is cancelled but the call of the session that runs it: Ctrl-C, or its own timeout.
                Some(class)
                    if class == QUERY_CANCELED && !timed_out && !process::is_background() =>
                {
                    return Err(Error::new(
                        pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
                        row.get::<String>(3)?,
                    )
                    .detail("The steps that this call has run are as they were before it.")
                    .hint("They are ready still."));
                }
                Some(class) => {
                    let retryable = sqlstate::is_retryable(&class);
                    session.run(
                        &FAIL,
                        &[
                            uuid,
                            claim,
                            row.arg(3),
                            datum::text(&class),
                            datum::boolean(retryable),
                            row.arg(6),
                            row.arg(4),
                            row.arg(5),
                        ],
                    )?
                }
            }
        }
        Ran::Failed(failure) => session.run(
            &FAIL,
            &[
                uuid,
                claim,
                datum::text(&failure.message),
                datum::text(&failure.class),
                datum::boolean(false),
                Arg::NULL,
                datum::opt_text(failure.detail.as_deref()),
                datum::opt_text(failure.hint.as_deref()),
            ],
        )?,
    };
    let state: String = rows
        .first()
        .ok_or_else(|| Error::corrupt("a report has a state"))?
        .get(1)?;
    Ok(Output::Text(state))
}

enum Ran {
    /// What call_handler said: results, or an error; and whether the time of the step was over.
    Returned {
        outcome: OwnedJsonb,
        timed_out: bool,
    },
    /// It could not be called; another attempt would not change that.
    Failed(Failure),
}

struct Failure {
    class: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Failure {
    fn of(error: Error) -> Self {
        Self {
            class: error.sqlstate(),
            message: error.message,
            detail: error.detail,
            hint: error.hint,
        }
    }
}

/// Which function the step calls and for whom; the inner error is the step's, the outer one the caller's.
fn handler(step: &Uuid) -> Result<std::result::Result<Handler, Error>> {
    let key = StepKey::from_uuid(step);
    let session = Session::open()?;
    let rows = session.run(&HANDLER, &[datum::uuid(&key.task), datum::int2(key.no)])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::not_found("no such step"))?;
    let declared: String = row.get(1)?;
    let (Some(kept), Some(role_name)) = (row.opt::<String>(2), row.opt::<String>(3)) else {
        return Ok(Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            format!("handler \"{declared}\" cannot run inside the database"),
        )
        .detail("No function is kept for this step: its handler does not begin with sql:, or its template came in by another way than register_template.")
        .hint("Register the template, under a higher version if tasks use this one; or let a worker process claim the step's queue.")));
    };
    if row.opt::<bool>(5) != Some(true) {
        return Err(table_of_another());
    }
    let caller = row.opt::<pg_sys::Oid>(6).ok_or_else(|| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "tasker_engine.call_handler does not belong to a superuser",
        )
        .detail("It runs with the rights of other roles; another owner could make it do anything.")
        .hint("ALTER FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) OWNER TO a superuser;")
    })?;
    let timeout_ms = match row.opt::<i32>(4) {
        Some(seconds) => seconds.saturating_mul(1000),
        None => settings::handler_timeout_ms(),
    };
    let Some(role) = row.opt::<pg_sys::Oid>(7) else {
        return Ok(Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("role \"{role_name}\" does not exist"),
        )
        .detail("It registered the template, and its handlers run with its rights. A role that was made under its name since is another role.")
        .hint("Register the template again with replace => true, as the role with whose rights they shall run.")));
    };
    Ok(Ok(Handler {
        function: function(&kept).to_owned(),
        role,
        owner: (row.opt(8).unwrap_or(pg_sys::InvalidOid), row.get(9)?),
        caller,
        timeout_ms,
    }))
}

/// Calls the function as its role. Errors come back as data; what settings it made is undone.
fn invoke(handler: &Handler, argument: Jsonb) -> Ran {
    let (owner, owner_name) = &handler.owner;
    let called = restricted::call(
        handler.caller,
        handler.role,
        handler.timeout_ms,
        [
            datum::text(&handler.function),
            argument.arg(),
            datum::oid(*owner),
            datum::text(owner_name),
        ],
    );
    Ran::Returned {
        outcome: called.result,
        timed_out: called.timed_out,
    }
}
