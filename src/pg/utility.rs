//! Finds commands that need a database, or the extension, for themselves, and COMMIT PREPARED, by PostgreSQL's hook for utility
//! statements.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys;

std::thread_local! {
    static NEXT: Cell<pg_sys::ProcessUtility_hook_type> = const { Cell::new(None) };
    static MAKE_WAY: Cell<Option<fn(u32)>> = const { Cell::new(None) };
    static AFTER_COMMIT_PREPARED: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Sets the function that is called after COMMIT PREPARED, in the transaction of that command.
pub fn after_commit_prepared(after: fn()) {
    AFTER_COMMIT_PREPARED.set(Some(after));
}

/// Sets the function that is called with a database before a command that needs it without our processes, if the user may run
/// that command. Call this while PostgreSQL preloads libraries; children inherit it.
pub fn before_a_database_is_wanted_alone(make_way: fn(u32)) {
    MAKE_WAY.set(Some(make_way));
    // SAFETY: PostgreSQL's own variable, set in the one thread of the postmaster.
    unsafe {
        NEXT.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

// The signature is PostgreSQL's.
#[allow(clippy::too_many_arguments)]
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
        if let (Some(database), Some(make_way)) =
            (wanted_alone((*statement).utilityStmt), MAKE_WAY.get())
        {
            make_way(database);
        }
        let commits_prepared = commits_prepared((*statement).utilityStmt);
        match NEXT.get() {
            // An error of the other library must not pass over frames of ours, so the boundary stops it.
            #[expect(ffi_unwind_calls)]
            Some(next) => pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                next(
                    statement,
                    query,
                    read_only_tree,
                    context,
                    parameters,
                    environment,
                    destination,
                    completion,
                )
            }),
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
        if let (true, Some(after)) = (commits_prepared, AFTER_COMMIT_PREPARED.get()) {
            after();
        }
    }
}

unsafe fn commits_prepared(node: *mut pg_sys::Node) -> bool {
    // SAFETY: a node's tag says what it is.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && (*(node as *mut pg_sys::TransactionStmt)).kind
                == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED
    }
}

/// The database that the command needs without our processes, if the user may run the command.
unsafe fn wanted_alone(node: *mut pg_sys::Node) -> Option<u32> {
    // SAFETY: a node's tag says what it is; names are NUL-terminated.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => database((*(node as *mut pg_sys::DropdbStmt)).dbname),
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                // SET TABLESPACE; other options work beside sessions.
                let alter = node as *mut pg_sys::AlterDatabaseStmt;
                option((*alter).options, c"tablespace").and_then(|_| database((*alter).dbname))
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node as *mut pg_sys::RenameStmt;
                ((*rename).renameType == pg_sys::ObjectType::OBJECT_DATABASE)
                    .then(|| database((*rename).subname))
                    .flatten()
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                option((*(node as *mut pg_sys::CreatedbStmt)).options, c"template")
                    .and_then(|element| database(pg_sys::defGetString(element)))
            }
            pg_sys::NodeTag::T_DropStmt => {
                let drop = node as *mut pg_sys::DropStmt;
                ((*drop).removeType == pg_sys::ObjectType::OBJECT_EXTENSION
                    && elements((*drop).objects)
                        .any(|object| names_extension(object as *mut pg_sys::Node)))
                .then(own_database)
                .flatten()
            }
            pg_sys::NodeTag::T_AlterExtensionStmt => {
                let name = (*(node as *mut pg_sys::AlterExtensionStmt)).extname;
                (CStr::from_ptr(name) == EXTENSION)
                    .then(own_database)
                    .flatten()
            }
            _ => None,
        }
    }
}

const EXTENSION: &CStr = c"tasker_ext";

unsafe fn names_extension(object: *mut pg_sys::Node) -> bool {
    // SAFETY: DROP EXTENSION names each by a String node.
    unsafe {
        (*object).type_ == pg_sys::NodeTag::T_String && {
            #[cfg(feature = "pg14")]
            let name = (*(object as *mut pg_sys::Value)).val.str_;
            #[cfg(not(feature = "pg14"))]
            let name = (*(object as *mut pg_sys::String)).sval;
            CStr::from_ptr(name) == EXTENSION
        }
    }
}

unsafe fn elements(list: *mut pg_sys::List) -> impl Iterator<Item = *mut std::ffi::c_void> {
    // SAFETY: a list of pointers, as the grammar makes it; NULL is the empty one.
    let list = unsafe { list.as_ref() };
    (0..list.map_or(0, |list| list.length as usize)).filter_map(move |index| {
        // SAFETY: below its length.
        list.map(|list| unsafe { (*list.elements.add(index)).ptr_value })
    })
}

unsafe fn option(options: *mut pg_sys::List, wanted: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: a list of DefElem.
    unsafe {
        elements(options)
            .map(|element| element as *mut pg_sys::DefElem)
            .find(|element| CStr::from_ptr((**element).defname) == wanted)
    }
}

/// The database of that name, if the user owns it: a command that will be refused sends no process away. (Other roles can copy
/// a template that is marked so; such a database has no coordinator.)
unsafe fn database(name: *const std::ffi::c_char) -> Option<u32> {
    // SAFETY: a look into the shared catalog; missing_ok.
    unsafe {
        if name.is_null() {
            return None;
        }
        let oid = pg_sys::get_database_oid(name, true);
        (oid != pg_sys::InvalidOid && owns(pg_sys::DatabaseRelationId, oid)).then(|| oid.to_u32())
    }
}

/// This database, if the user owns the extension.
fn own_database() -> Option<u32> {
    // SAFETY: a lookup in the catalog; missing_ok.
    unsafe {
        let oid = pg_sys::get_extension_oid(EXTENSION.as_ptr(), true);
        (oid != pg_sys::InvalidOid && owns(pg_sys::ExtensionRelationId, oid))
            .then(|| pg_sys::MyDatabaseId.to_u32())
    }
}

unsafe fn owns(class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    // SAFETY: plain look-ups.
    unsafe {
        let user = pg_sys::GetUserId();
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return if class == pg_sys::DatabaseRelationId {
            pg_sys::pg_database_ownercheck(object, user)
        } else {
            pg_sys::pg_extension_ownercheck(object, user)
        };
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::object_ownercheck(class, object, user);
    }
}
