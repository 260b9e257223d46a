//! DROP DATABASE, and CREATE DATABASE from a template, want a database without sessions. The background processes are no
//! obstacle: they are sent away before, and come back if the database is still there.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::shared;
use crate::call;

/// PostgreSQL waits five seconds for the last session to go; the launcher keeps away a little longer.
const HELD_US: i64 = 8_000_000;

thread_local! {
    static NEXT: Cell<pg_sys::ProcessUtility_hook_type> = const { Cell::new(None) };
}

pub fn install() {
    // SAFETY: while libraries are preloaded; children inherit the hook.
    unsafe {
        NEXT.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const std::ffi::c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: PostgreSQL passes a statement; names are NUL-terminated.
    unsafe {
        for name in wanted_alone((*statement).utilityStmt) {
            send_away(name);
        }
        match NEXT.get() {
            Some(next) => next(
                statement,
                query,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            ),
            None => pg_sys::standard_ProcessUtility(
                statement,
                query,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            ),
        }
    }
}

/// The databases that the command needs without sessions.
unsafe fn wanted_alone<'a>(node: *mut pg_sys::Node) -> Vec<&'a CStr> {
    // SAFETY: a node's tag says what it is.
    unsafe {
        let name =
            |pointer: *mut std::ffi::c_char| (!pointer.is_null()).then(|| CStr::from_ptr(pointer));
        let found = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => name((*(node as *mut pg_sys::DropdbStmt)).dbname),
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                // SET TABLESPACE; other options need nobody gone.
                let alter = node as *mut pg_sys::AlterDatabaseStmt;
                option((*alter).options, c"tablespace").and_then(|_| name((*alter).dbname))
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node as *mut pg_sys::RenameStmt;
                ((*rename).renameType == pg_sys::ObjectType::OBJECT_DATABASE)
                    .then(|| name((*rename).subname))
                    .flatten()
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                option((*(node as *mut pg_sys::CreatedbStmt)).options, c"template")
                    .and_then(|element| name(pg_sys::defGetString(element)))
            }
            _ => None,
        };
        found.into_iter().collect()
    }
}

unsafe fn option(options: *mut pg_sys::List, wanted: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: a list of DefElem, as the grammar makes it.
    unsafe {
        if options.is_null() {
            return None;
        }
        (0..(*options).length as usize)
            .map(|index| (*(*options).elements.add(index)).ptr_value as *mut pg_sys::DefElem)
            .find(|element| CStr::from_ptr((**element).defname) == wanted)
    }
}

fn send_away(name: &CStr) {
    // SAFETY: a look into the shared catalog; missing_ok.
    let oid = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    if oid == pg_sys::InvalidOid || !may_want(oid) {
        return;
    }
    let oid = oid.to_u32();
    shared::hold_database(oid, call::clock() + HELD_US);
    for slot in shared::processes() {
        if slot.database == oid {
            super::process::signal(slot.pid, pg_sys::SIGTERM as i32);
        }
    }
}

/// Only who may do it sends anybody away: the owner, or who has the owner's rights. (A template may be copied by others, if
/// it is marked so; such a database has no coordinator.)
fn may_want(database: pg_sys::Oid) -> bool {
    // SAFETY: plain look-ups.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(
            pg_sys::DatabaseRelationId,
            database,
            pg_sys::GetUserId(),
        );
    }
}
