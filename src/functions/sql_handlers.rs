//! Handlers that are functions of this database: `sql:<schema.function>`.
//!
//! Such a function runs with the rights of the role that registered the template, and no more: as a security-restricted
//! operation, the way PostgreSQL itself runs the functions of another role's index.

use pgrx::pg_sys;
use tasker_rules::sqlstate;

use crate::error::{Error, Result};
use crate::orchestration::StepKey;
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Arg, Jsonb, OwnedJsonb, Uuid};
use crate::pg::spi::{Session, Statement};
use crate::pg::{backend, restricted};
use crate::registry::handlers;
use crate::settings;

crate::pg::call::sql_function! {
    run_step;
}

// The stored oid identifies the role, which can have another name now.
static HANDLER: Statement = Statement::new(
    "SELECT n.handler, h.handler, h.role_name, n.timeout_seconds,
            (SELECT r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
             WHERE c.oid = h.tableoid),
            (SELECT p.oid FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner AND r.rolsuper
             WHERE p.oid = 'tasker_engine.call_handler(text,jsonb,oid,text)'::regprocedure),
            (SELECT r.oid FROM pg_roles r WHERE r.oid = h.role_oid),
            h.function_owner_oid, tasker_engine.role_name(h.function_owner_oid, h.function_owner)
     FROM tasker_engine.steps s
     JOIN tasker.named_tasks_named_steps n ON n.named_task_id = s.named_task_id AND n.step_no = s.step_no
     LEFT JOIN tasker_engine.sql_handlers h ON h.named_task_id = s.named_task_id AND h.step_no = s.step_no
     WHERE s.task_uuid = $1 AND s.step_no = $2",
    &[pg_sys::UUIDOID, pg_sys::INT2OID],
);

static READ: Statement = Statement::new(
    "SELECT r.results, r.sqlstate, r.message, r.detail, r.hint, r.context
     FROM jsonb_to_record($1) AS r (results jsonb, sqlstate text, message text, detail text, hint text, context text)",
    &[pg_sys::JSONBOID],
);

static COMPLETE: Statement = Statement::new(
    "SELECT tasker.complete_step($1, $2, CASE WHEN jsonb_typeof($3) = 'object' THEN $3
                                              WHEN $3 IS NULL OR jsonb_typeof($3) = 'null' THEN '{}'
                                              ELSE jsonb_build_object('result', $3) END)",
    &[pg_sys::UUIDOID, pg_sys::INT4OID, pg_sys::JSONBOID],
);

static FAIL: Statement = Statement::new(
    "SELECT tasker.fail_step($1, $2, $3, $4, $5, backtrace => string_to_array($6, E'\\n'),
                             results => jsonb_strip_nulls(jsonb_build_object('detail', $7, 'hint', $8)))",
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
                // The call of the session that runs the step was cancelled, not the step: by Ctrl-C or the session's own timeout.
                Some(class)
                    if class == QUERY_CANCELED && !timed_out && !backend::is_background() =>
                {
                    return Err(Error::new(
                        pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
                        row.get::<String>(3)?,
                    )
                    .detail("The steps that this call has run are as they were before it.")
                    .hint("The steps are still ready."));
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
    /// What call_handler returned, results or an error, and whether the time of the step had ended.
    Returned {
        outcome: OwnedJsonb,
        timed_out: bool,
    },
    /// The function could not be called; another attempt would not change that.
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

/// Which function the step calls, and as which role; the inner error is the step's, the outer one the caller's.
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
        return Err(handlers::table_of_another("tasker_engine.sql_handlers"));
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
        .hint("Register the template again with replace => true, as the role with whose rights they must run.")));
    };
    Ok(Ok(Handler {
        function: handlers::function(&kept).to_owned(),
        role,
        owner: (row.opt(8).unwrap_or(pg_sys::InvalidOid), row.get(9)?),
        caller,
        timeout_ms,
    }))
}

/// Calls the function as its role. Returns errors as data, and undoes settings that the function made.
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
