//! The rights that the engine works with, and the role that calls.
//!
//! The caller is the current user at the moment of the call. A function that must know it is SECURITY INVOKER in SQL, because
//! PostgreSQL keeps the caller of a SECURITY DEFINER function to itself, and becomes the owner here.

use std::ffi::{CStr, c_int};

use pgrx::{PgSqlErrorCode as Code, pg_sys};

use crate::error::{Error, Result};

/// The role that owns the engine's objects.
const OWNER: &CStr = c"tasker_owner";

/// The role that owns the engine: background processes have its rights and no more. None: the role does not exist.
pub fn owner() -> Option<pg_sys::Oid> {
    // SAFETY: a lookup in the system cache.
    let role = unsafe { pg_sys::get_role_oid(OWNER.as_ptr(), true) };
    (role != pg_sys::InvalidOid).then_some(role)
}

/// Its name, for messages.
pub fn owner_name() -> String {
    OWNER.to_string_lossy().into_owned()
}

/// The role that called, while the engine's owner works for it. An error aborts the transaction, which restores the caller.
pub struct Caller {
    user: pg_sys::Oid,
    context: i32,
}

/// Runs the body with the rights of the engine's owner; it is given the caller.
pub fn as_owner<T>(body: impl FnOnce(pg_sys::Oid) -> Result<T>) -> Result<T> {
    let caller = become_owner()?;
    let outcome = body(caller.user);
    caller.resume();
    outcome
}

/// Whether the role has the rights of the other one: it is the same, a member that inherits, or a superuser. PostgreSQL asks
/// the same question for privileges and for pg_terminate_backend. A member that does not inherit has them after SET ROLE.
pub fn has_rights_of(role: pg_sys::Oid, other: pg_sys::Oid) -> bool {
    // SAFETY: lookups in the system caches; a role that is gone has none.
    unsafe { pg_sys::has_privs_of_role(role, other) }
}

pub fn is_superuser(role: pg_sys::Oid) -> bool {
    // SAFETY: a lookup in the system cache.
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether the role may handle every claim: members of tasker_operator, and superusers.
pub fn is_operator(role: pg_sys::Oid) -> bool {
    // SAFETY: lookups in the system caches.
    unsafe {
        match pg_sys::get_role_oid(c"tasker_operator".as_ptr(), true) {
            pg_sys::InvalidOid => pg_sys::superuser_arg(role),
            operator => pg_sys::has_privs_of_role(role, operator),
        }
    }
}

/// The name of a role that exists.
pub fn role_name(role: pg_sys::Oid) -> String {
    // SAFETY: raises an error where no role has the oid; the result is a palloc'd text that ends with NUL.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::GetUserNameFromId(role, false)) }
        .to_string_lossy()
        .into_owned()
}

/// Gives the session the rights of the engine's owner.
pub fn become_owner() -> Result<Caller> {
    Ok(become_role(owner().ok_or_else(no_owner)?))
}

/// Runs the body with the rights of a role. An error aborts the transaction, which restores the caller.
pub fn work_as<T>(role: pg_sys::Oid, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let caller = become_role(role);
    let outcome = body();
    caller.resume();
    outcome
}

fn become_role(role: pg_sys::Oid) -> Caller {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: as PostgreSQL calls a SECURITY DEFINER function.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
    }
    Caller { user, context }
}

impl Caller {
    /// The caller has its own rights again.
    pub fn resume(self) {
        // SAFETY: what become_owner found.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) };
    }
}

fn no_owner() -> Error {
    let name = OWNER.to_string_lossy();
    Error::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!("role {name} does not exist"),
    )
    .detail("The engine works with its rights.")
    .hint("If it was renamed, run ALTER ROLE ... RENAME TO tasker_owner. If it was dropped, run CREATE ROLE tasker_owner NOLOGIN, give it what it owned with ALTER ... OWNER TO tasker_owner, and GRANT USAGE ON SCHEMA tasker, tasker_engine TO tasker_owner; GRANT SELECT ON tasker_engine.sql_handlers TO tasker_owner; GRANT SELECT, DELETE ON tasker_engine.subscriber_handlers TO tasker_owner; GRANT EXECUTE ON FUNCTION tasker_engine.function_owner(text) TO tasker_owner;")
}

/// What is wrong with the engine's owner, and the statements that repair it.
pub struct Fault {
    pub detail: String,
    pub hint: String,
}

/// Refuses (0P000) while another role could act as the engine's owner, or the owner has rights beyond its objects.
pub fn require_sound_owner() -> Result<()> {
    let Some(fault) = fault() else {
        return Ok(());
    };
    let name = OWNER.to_string_lossy();
    Err(
        Error::new(UNSOUND, format!("role {name} is not fit to own the engine"))
            .detail(fault.detail)
            .hint(fault.hint),
    )
}

/// Whether it is the refusal of `require_sound_owner`.
pub fn is_refusal(error: &Error) -> bool {
    error.code == UNSOUND
}

const UNSOUND: Code = Code::ERRCODE_INVALID_ROLE_SPECIFICATION;

/// The only rule about the owner. It reads only the system caches.
pub fn fault() -> Option<Fault> {
    let Some(role) = owner() else {
        let missing = no_owner();
        return Some(Fault {
            detail: missing.message,
            hint: missing.hint.unwrap_or_default(),
        });
    };
    let name = OWNER.to_string_lossy();
    let (mut details, mut hints) = (vec![], vec![]);
    let attributes = attributes(role);
    if !attributes.is_empty() {
        details.push(format!("It has {}.", attributes.join(", ")));
        hints.push(format!("ALTER ROLE {name} NO{};", attributes.join(" NO")));
    }
    let members = memberships(role, Side::Members);
    if !members.is_empty() {
        let members = members.join(", ");
        details.push(format!("It has members: {members}."));
        hints.push(format!("REVOKE {name} FROM {members};"));
    }
    let groups = memberships(role, Side::Groups);
    if !groups.is_empty() {
        let groups = groups.join(", ");
        details.push(format!("It is a member of {groups}."));
        hints.push(format!("REVOKE {groups} FROM {name};"));
    }
    (!details.is_empty()).then(|| Fault {
        detail: details.join(" "),
        hint: hints.join(" "),
    })
}

/// The attributes of a role that the engine's owner must not have, in the words of ALTER ROLE.
fn attributes(role: pg_sys::Oid) -> Vec<&'static str> {
    // SAFETY: a lookup in the system cache; the fixed part of the row is read before the cache has it back.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::AUTHOID as c_int, role.into());
        if tuple.is_null() {
            return vec![];
        }
        let row = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>();
        let found = [
            (row.rolcanlogin, "LOGIN"),
            (row.rolsuper, "SUPERUSER"),
            (row.rolcreaterole, "CREATEROLE"),
            (row.rolcreatedb, "CREATEDB"),
            (row.rolreplication, "REPLICATION"),
            (row.rolbypassrls, "BYPASSRLS"),
        ]
        .into_iter()
        .filter_map(|(has, attribute)| has.then_some(attribute))
        .collect();
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}

enum Side {
    Members,
    Groups,
}

/// The members of a role, or the roles that it is a member of; by name, as SQL writes them.
fn memberships(role: pg_sys::Oid, side: Side) -> Vec<String> {
    // pg_auth_members begins with an oid of its own since PostgreSQL 16.
    const FIRST: c_int = if cfg!(any(feature = "pg14", feature = "pg15")) {
        1
    } else {
        2
    };
    let (cache, column) = match side {
        Side::Members => (
            pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as c_int,
            FIRST + 1,
        ),
        Side::Groups => (pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as c_int, FIRST),
    };
    let nothing = pg_sys::Datum::from(0);
    // SAFETY: a list of the system cache, given back after its rows have been read; both columns are oids that are never
    // NULL. A name is copied at once.
    unsafe {
        let list = pg_sys::SearchSysCacheList(cache, 1, role.into(), nothing, nothing);
        let rows = (*list).members.as_slice((*list).n_members as usize);
        let mut names: Vec<String> = rows
            .iter()
            .filter_map(|row| {
                let mut null = false;
                let tuple = &raw mut (**row).tuple;
                let other = pg_sys::SysCacheGetAttr(cache, tuple, column as i16, &mut null);
                let name =
                    pg_sys::GetUserNameFromId(pg_sys::Oid::from_u32(other.value() as u32), true);
                (!name.is_null()).then(|| {
                    CStr::from_ptr(pg_sys::quote_identifier(name))
                        .to_string_lossy()
                        .into_owned()
                })
            })
            .collect();
        pg_sys::ReleaseCatCacheList(list);
        names.sort();
        names.dedup();
        names
    }
}

/// While the extension's script runs: whether privileges that it grants are recorded as the extension's own.
pub fn record_privileges(record: bool) -> Result<()> {
    // SAFETY: the backend's own variables. Whatever ends the script, an error too, sets them back.
    unsafe {
        if pg_sys::CurrentExtensionObject == pg_sys::InvalidOid {
            return Err(Error::state("no extension is being created"));
        }
        pg_sys::creating_extension = record;
    }
    Ok(())
}
