//! Handlers that are functions of this database: which function a step calls, and as which role. The
//! table tasker_engine.sql_handlers stores this. It belongs to a superuser, because another owner could use the rights of any role.

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::pg::datum;
use crate::pg::rights;
use crate::pg::spi::{Session, Statement};

static TABLE_OWNER: Statement = Statement::new(
    "SELECT r.oid FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner AND r.rolsuper
     WHERE c.oid = 'tasker_engine.sql_handlers'::regclass",
    &[],
);

static FUNCTION_OWNERS: Statement = Statement::new(
    "SELECT tasker_engine.function_owner(u.function)::text
     FROM unnest($1) WITH ORDINALITY AS u (function, place) ORDER BY u.place",
    &[pg_sys::TEXTARRAYOID],
);

// An entry with an existing role stays: a registration cannot take a handler away from its role.
static REMEMBER: Statement = Statement::new(
    "INSERT INTO tasker_engine.sql_handlers AS h (named_task_id, step_no, handler, role_name, function_owner)
     SELECT $1, u.step_no, u.handler, $5, coalesce(u.function_owner, $5)
     FROM unnest($2, $3, $4) AS u (step_no, handler, function_owner)
     ON CONFLICT (named_task_id, step_no) DO UPDATE
     SET role_name = excluded.role_name, role_oid = excluded.role_oid,
         function_owner = excluded.function_owner, function_owner_oid = excluded.function_owner_oid
     WHERE h.role_oid = excluded.role_oid
        OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = h.role_oid)
     RETURNING h.role_oid",
    &[
        pg_sys::INT4OID,
        pg_sys::INT2ARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTARRAYOID,
        pg_sys::TEXTOID,
    ],
);

// Rows that another session holds wait for the next round.
static REFRESH: Statement = Statement::new(
    "UPDATE tasker_engine.sql_handlers h
     SET role_name = coalesce(n.role_name, h.role_name), function_owner = coalesce(n.function_owner, h.function_owner)
     FROM (SELECT o.named_task_id, o.step_no, r.rolname AS role_name, f.rolname AS function_owner
           FROM tasker_engine.sql_handlers o
           LEFT JOIN pg_roles r ON r.oid = o.role_oid
           LEFT JOIN pg_roles f ON f.oid = o.function_owner_oid
           WHERE r.rolname <> o.role_name OR f.rolname <> o.function_owner
           FOR UPDATE OF o SKIP LOCKED) n
     WHERE h.named_task_id = n.named_task_id AND h.step_no = n.step_no",
    &[],
);

/// Stores which function each step calls, and as which role, when the template is registered. Written as the table's owner,
/// since no role is granted an INSERT for this. A version that is registered again gives its role the functions as they are now,
/// and gives handlers of a dropped role to the caller.
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

/// The superuser that owns the table of handlers.
fn table_owner(session: &Session) -> Result<pg_sys::Oid> {
    let rows = session.run(&TABLE_OWNER, &[])?;
    rows.first().ok_or_else(table_of_another)?.get(1)
}

/// Writes the new names of renamed roles into the table, for the next dump; returns how many.
pub fn refresh_roles(session: &Session) -> Result<usize> {
    let owner = table_owner(session)?;
    rights::work_as(owner, || Ok(session.run(&REFRESH, &[])?.len()))
}

/// The function that a handler names.
pub fn function(handler: &str) -> &str {
    handler
        .strip_prefix(tasker_rules::template::SQL_PREFIX)
        .unwrap_or(handler)
}

pub fn table_of_another() -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "tasker_engine.sql_handlers does not belong to a superuser",
    )
    .detail("It says whose rights a handler gets; another owner could write any role into it.")
    .hint("ALTER TABLE tasker_engine.sql_handlers OWNER TO a superuser; then GRANT SELECT ON tasker_engine.sql_handlers TO tasker_owner;")
}
