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

static CALLER: Statement = Statement::new(
    "SELECT p.oid FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner AND r.rolsuper
     WHERE p.oid = 'tasker_engine.call_handler(text,jsonb,oid,text)'::regprocedure",
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

// A subscriber's function again: as it is now.
static REMEMBER_SUBSCRIBER: Statement = Statement::new(
    "INSERT INTO tasker_engine.subscriber_handlers (subscriber_id, handler, role_name, function_owner) VALUES ($1, $2, $3, $4)
     ON CONFLICT (subscriber_id) DO UPDATE
     SET handler = excluded.handler, role_name = excluded.role_name, role_oid = excluded.role_oid,
         function_owner = excluded.function_owner, function_owner_oid = excluded.function_owner_oid
     RETURNING role_oid",
    &[
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
    ],
);

static REFRESH_SUBSCRIBERS: Statement = Statement::new(
    "UPDATE tasker_engine.subscriber_handlers h
     SET role_name = coalesce(n.role_name, h.role_name), function_owner = coalesce(n.function_owner, h.function_owner)
     FROM (SELECT o.subscriber_id, r.rolname AS role_name, f.rolname AS function_owner
           FROM tasker_engine.subscriber_handlers o
           LEFT JOIN pg_roles r ON r.oid = o.role_oid
           LEFT JOIN pg_roles f ON f.oid = o.function_owner_oid
           WHERE r.rolname <> o.role_name OR f.rolname <> o.function_owner
           FOR UPDATE OF o SKIP LOCKED) n
     WHERE h.subscriber_id = n.subscriber_id",
    &[],
);

/// Stores which function gets the events of a subscriber, and that it runs as this role. 42883 if there is none.
pub fn remember_subscriber(
    session: &Session,
    subscriber: i64,
    handler: &str,
    role: pg_sys::Oid,
) -> Result<()> {
    let called = function(handler);
    let rows = session.run(&FUNCTION_OWNERS, &[datum::texts([Some(called)])])?;
    let Some(owner) = rows.first().and_then(|row| row.opt::<String>(1)) else {
        return Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            format!("no function {called}(jsonb) that returns void or jsonb"),
        )
        .detail("A handler has a schema, gets the events as an array, and returns void.")
        .hint("Create a function with one parameter of type jsonb that returns void, and then subscribe again."));
    };
    let superuser = table_owner(session)?;
    let name = rights::role_name(role);
    let rows = rights::work_as(superuser, || {
        session.run(
            &REMEMBER_SUBSCRIBER,
            &[
                datum::int8(subscriber),
                datum::text(handler),
                datum::text(&name),
                datum::text(&owner),
            ],
        )
    })?;
    match rows.first().and_then(|row| row.opt::<pg_sys::Oid>(1)) {
        Some(stored) if stored == role => Ok(()),
        // The table looks roles up by name, as in a restore.
        _ => Err(renamed(&name, "Call subscribe() again.")),
    }
}

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
            return Err(renamed(&name, "Register the template again."));
        }
    }
    Ok(())
}

fn renamed(name: &str, hint: &str) -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("role \"{name}\" was renamed at this moment"),
    )
    .detail("The handlers could not be given to it.")
    .hint(hint)
}

/// The superuser that owns the table of handlers.
fn table_owner(session: &Session) -> Result<pg_sys::Oid> {
    let rows = session.run(&TABLE_OWNER, &[])?;
    rows.first()
        .ok_or_else(|| table_of_another("tasker_engine.sql_handlers"))?
        .get(1)
}

/// Writes the new names of renamed roles into the table, for the next dump; returns how many.
pub fn refresh_roles(session: &Session) -> Result<usize> {
    let owner = table_owner(session)?;
    rights::work_as(owner, || {
        Ok(session.run(&REFRESH, &[])?.len() + session.run(&REFRESH_SUBSCRIBERS, &[])?.len())
    })
}

/// The function that a handler names.
pub fn function(handler: &str) -> &str {
    handler
        .strip_prefix(tasker_rules::template::SQL_PREFIX)
        .unwrap_or(handler)
}

/// The function that calls handlers.
pub fn caller(session: &Session) -> Result<pg_sys::Oid> {
    let rows = session.run(&CALLER, &[])?;
    rows.first().and_then(|row| row.opt(1)).ok_or_else(|| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "tasker_engine.call_handler does not belong to a superuser",
        )
        .detail("It runs with the rights of other roles; another owner could make it do anything.")
        .hint("ALTER FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) OWNER TO a superuser;")
    })
}

pub fn table_of_another(table: &str) -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("{table} does not belong to a superuser"),
    )
    .detail("It says whose rights a handler gets; another owner could write any role into it.")
    .hint(format!(
        "ALTER TABLE {table} OWNER TO a superuser; then GRANT SELECT ON {table} TO tasker_owner;"
    ))
}
