//! Tables that the engine writes or walks below SQL, by the names and types of their columns.
//!
//! Whatever PostgreSQL's executor would have done for the same statement must happen, or must not be needed. A table is
//! inspected once per entry of the relation cache, and each operation then goes below SQL or takes its SQL statement
//! ([`Facts::why_sql`]). Line by line, what the executor would do, and how it is here:
//!
//! - **Privileges**: the table must belong to the engine's owner, with whose rights every call works; another owner is refused.
//! - **Row security** that is forced on the owner, **rules**, **triggers** (also those of foreign keys), **CHECK**
//!   constraints, **generated columns**, **exclusion** and **deferrable** constraints, **inheritance**, **partitions**, and
//!   another **table access method** than heap: the SQL statement. A table of ours that is a partition by design
//!   ([`Table::partition`]) gets rows with its own key.
//! - **Defaults**: every column of ours gets a value. Another column gets NULL; one with a default, an identity or NOT NULL: the
//!   SQL statement. An update carries it over. A **domain** is another type than ours, and is refused.
//! - **NOT NULL**: a row that lacks a value takes the SQL statement, which raises 23502.
//! - **Index entries**: written by the executor's own ExecInsertIndexTuples into every index that the table has; unique ones
//!   raise. **HOT**: heap_update decides by all indexes, and summarizing ones (BRIN, from PostgreSQL 16 on) are served alone.
//! - **TOAST**: heap_multi_insert and heap_update do it.
//! - **Logical decoding**: the heap functions write the records. The executor's own CheckCmdReplicaIdentity refuses an update or
//!   delete that a publication could not carry.
//! - **Serializable conflicts**: the heap and index functions check for them and take predicate locks, as for the executor.
//! - **A row that another transaction has changed or locked**: the executor waits and checks again; here the row is left out.
//! - **Statistics**: the heap and index functions count. Tools that hook into the executor (pg_stat_statements, auto_explain)
//!   see the statement that called us; nothing else is lost.
//! - **Locks, command ids, snapshots**: RowExclusiveLock until the transaction ends, the current command id, and a registered
//!   snapshot of the transaction.
//! - **Cancelling**: every row of a walk checks for interrupts.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::GucSetting;
use pgrx::pg_sys::{self, Datum, Oid, Relation};

use super::datum::{Arg, attribute};
use super::spi::Statement;
use super::{installation, rights};
use crate::error::{Error, Result};

/// Off: every operation takes its SQL statement.
pub static DIRECT_TABLE_ACCESS: GucSetting<bool> = GucSetting::<bool>::new(true);

/// A column of ours: its name and its type.
pub type Column = (&'static CStr, Oid);

/// The index that a table is walked by: a btree whose first keys are these columns (places in the table's list).
pub struct Index {
    pub name: &'static CStr,
    pub keys: &'static [usize],
}

/// The SQL statement of an append.
pub enum Insert {
    /// The engine never appends to it.
    Never,
    /// An array per column, whatever the number of rows.
    Arrays(&'static Statement),
    /// A value per column: for tables with columns that are arrays themselves.
    Values(&'static Statement),
}

/// A table of schema `tasker_engine`.
pub struct Table<const N: usize> {
    pub(super) name: &'static CStr,
    pub(super) columns: [Column; N],
    index: Option<Index>,
    pub(super) insert: Insert,
    uses: &'static [Operation],
    partition: bool,
    facts: RefCell<Option<(u32, Rc<Facts<N>>)>>,
}

// SAFETY: a backend has one thread.
unsafe impl<const N: usize> Sync for Table<N> {}

/// An operation on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Append,
    Update,
    Delete,
    Read,
}

use Operation::{Append, Delete, Read, Update};

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Append => "append",
            Update => "update",
            Delete => "delete",
            Read => "read",
        }
    }
}

const ALL: &[Operation] = &[Append, Update, Delete, Read];
const WRITES: &[Operation] = &[Append, Update, Delete];

/// The facts about a table, valid as long as its entry in the relation cache.
pub struct Facts<const N: usize> {
    oid: Oid,
    index: Oid,
    /// The places of our columns.
    pub(super) attributes: [usize; N],
    pub(super) not_null: [bool; N],
    /// How many columns there are, dropped ones and those of others included.
    pub(super) width: usize,
    findings: Vec<(&'static [Operation], String)>,
    /// Whether an update, and a delete, agrees with what publications need.
    published: [Cell<bool>; 2],
}

impl<const N: usize> Facts<N> {
    /// Why the operation takes its SQL statement; None: it goes below SQL.
    pub fn why_sql(&self, operation: Operation) -> Option<&str> {
        if !DIRECT_TABLE_ACCESS.get() {
            return Some("the setting tasker.direct_table_access is off");
        }
        self.findings
            .iter()
            .find(|(operations, _)| operations.contains(&operation))
            .map(|(_, reason)| reason.as_str())
    }
}

impl<const N: usize> Table<N> {
    pub const fn new(
        name: &'static CStr,
        columns: [Column; N],
        index: Option<Index>,
        insert: Insert,
        uses: &'static [Operation],
    ) -> Self {
        Self {
            name,
            columns,
            index,
            insert,
            uses,
            partition: false,
            facts: RefCell::new(None),
        }
    }

    /// It is a partition, and the engine gives each row the key that belongs there.
    pub const fn partition(mut self) -> Self {
        self.partition = true;
        self
    }

    fn kept(&self) -> Option<Rc<Facts<N>>> {
        let facts = self.facts.borrow();
        let (of, facts) = facts.as_ref()?;
        (*of == installation::current()).then(|| facts.clone())
    }

    /// Opens the table under a lock, which `release` says to give back on close or to keep until the transaction ends.
    pub(super) fn open(&'static self, lock: u32, release: bool) -> Result<Open<N>> {
        // The table was dropped and created again between the lookup and the lock: look it up again.
        for _ in 0..3 {
            let oid = match self.kept() {
                Some(facts) => facts.oid,
                None => named(self.name)?,
            };
            // SAFETY: any oid may be asked for; a relation that is gone is null.
            let relation = unsafe { pg_sys::try_relation_open(oid, lock as pg_sys::LOCKMODE) };
            if relation.is_null() {
                self.forget(pg_sys::InvalidOid);
                continue;
            }
            let relation = OpenRelation {
                relation,
                released: if release { lock } else { pg_sys::NoLock },
            };
            let facts = match self.kept() {
                Some(facts) if facts.oid == oid => facts,
                _ => {
                    let before = INVALIDATIONS.get();
                    let facts = Rc::new(self.inspect(&relation)?);
                    // The lock keeps the facts true for this call; for the next call only if no invalidation arrived meanwhile.
                    if INVALIDATIONS.get() == before {
                        watch(self);
                        *self.facts.borrow_mut() = Some((installation::current(), facts.clone()));
                    }
                    facts
                }
            };
            return Ok(Open { facts, relation });
        }
        Err(missing(self.name))
    }

    /// Finds the facts about the table. Refuses one that is not a table of the engine.
    fn inspect(&self, relation: &OpenRelation) -> Result<Facts<N>> {
        let relation = relation.relation;
        // SAFETY: the relation is open and locked, so its description is valid and stays.
        let (form, description) = unsafe { (&*(*relation).rd_rel, &*(*relation).rd_att) };
        let title = format!("tasker_engine.{}", self.name.to_string_lossy());
        if Some(form.relowner) != rights::owner() {
            return Err(
                Error::state(format!("table {title} does not belong to the engine"))
                    .detail(
                        "The engine reads and writes below SQL only what belongs to its own role.",
                    )
                    .hint(format!(
                        "ALTER TABLE {title} OWNER TO {};",
                        rights::owner_name()
                    )),
            );
        }
        let kind = form.relkind as u8;
        if kind != pg_sys::RELKIND_RELATION && kind != pg_sys::RELKIND_PARTITIONED_TABLE {
            return Err(Error::state(format!("{title} is not a table"))
                .detail("Something else has taken the name of a table of the engine.")
                .hint("Rename what is there, and give the table its name back with ALTER TABLE ... RENAME TO."));
        }
        let mut facts = Facts {
            oid: form_oid(relation),
            index: pg_sys::InvalidOid,
            attributes: [usize::MAX; N],
            not_null: [false; N],
            width: description.natts as usize,
            findings: Vec::new(),
            published: [Cell::new(false), Cell::new(false)],
        };
        self.inspect_columns(&title, description, &mut facts)?;
        self.inspect_relation(relation, form, &mut facts);
        self.inspect_indexes(relation, &mut facts);
        Ok(facts)
    }

    fn inspect_columns(
        &self,
        title: &str,
        description: &pg_sys::TupleDescData,
        facts: &mut Facts<N>,
    ) -> Result<()> {
        for place in 0..facts.width {
            let attribute = attribute(description, place);
            if attribute.attisdropped {
                continue;
            }
            let name = name_of(&attribute.attname);
            let generated = attribute.attgenerated != 0;
            if generated {
                let reason = format!("column \"{}\" is generated", name.to_string_lossy());
                facts.findings.push((&[Append, Update], reason));
            }
            match self.columns.iter().position(|(ours, _)| *ours == name) {
                Some(ours) => {
                    let wanted = self.columns[ours].1;
                    if attribute.atttypid != wanted {
                        return Err(Error::state(format!(
                            "column \"{}\" of table {title} is of type {}, not {}",
                            name.to_string_lossy(),
                            type_name(attribute.atttypid),
                            type_name(wanted)
                        ))
                        .detail("The engine reads it below SQL and knows it by its type.")
                        .hint(format!(
                            "ALTER TABLE {title} ALTER COLUMN {} TYPE {};",
                            name.to_string_lossy(),
                            type_name(wanted)
                        )));
                    }
                    facts.attributes[ours] = place;
                    facts.not_null[ours] = attribute.attnotnull;
                }
                None if attribute.attnotnull
                    || attribute.atthasdef
                    || attribute.attidentity != 0 =>
                {
                    let reason = format!(
                        "column \"{}\" has a default, an identity or NOT NULL",
                        name.to_string_lossy()
                    );
                    facts.findings.push((&[Append], reason));
                }
                None => {}
            }
        }
        match facts
            .attributes
            .iter()
            .position(|place| *place == usize::MAX)
        {
            None => Ok(()),
            Some(ours) => {
                let name = self.columns[ours].0.to_string_lossy();
                Err(Error::state(format!("table {title} has no column \"{name}\""))
                    .detail("The library and the objects of the extension are of different versions, or the column was dropped or renamed by hand.")
                    .hint("Run ALTER EXTENSION tasker_ext UPDATE; give a renamed column its name back with ALTER TABLE."))
            }
        }
    }

    fn inspect_relation(
        &self,
        relation: Relation,
        form: &pg_sys::FormData_pg_class,
        facts: &mut Facts<N>,
    ) {
        let mut find =
            |operations, reason: &str| facts.findings.push((operations, reason.to_owned()));
        let partitioned = form.relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE;
        if partitioned || form.relispartition && !self.partition {
            find(ALL, "the table is partitioned or a partition");
            return;
        }
        if self.partition && !form.relispartition {
            find(ALL, "the table is no partition any more");
        }
        if form.relhassubclass {
            find(ALL, "another table inherits from it");
        }
        if form.relrowsecurity && form.relforcerowsecurity {
            find(ALL, "row security is forced on its owner");
        }
        // SAFETY: as in inspect; each pointer is null or valid while the relation is open.
        unsafe {
            if (*relation).rd_tableam != pg_sys::GetHeapamTableAmRoutine() {
                find(ALL, "its access method is not heap");
            }
            if !(*relation).rd_rules.is_null() {
                find(WRITES, "it has rules");
            }
            if let Some(constraints) = (*(*relation).rd_att).constr.as_ref()
                && constraints.num_check > 0
            {
                find(&[Append, Update], "it has CHECK constraints");
            }
            if let Some(triggers) = (*relation).trigdesc.as_ref() {
                if triggers.trig_insert_before_row
                    || triggers.trig_insert_after_row
                    || triggers.trig_insert_before_statement
                    || triggers.trig_insert_after_statement
                {
                    find(&[Append], "it has INSERT triggers");
                }
                if triggers.trig_update_before_row
                    || triggers.trig_update_after_row
                    || triggers.trig_update_before_statement
                    || triggers.trig_update_after_statement
                {
                    find(&[Update], "it has UPDATE triggers");
                }
                if triggers.trig_delete_before_row
                    || triggers.trig_delete_after_row
                    || triggers.trig_delete_before_statement
                    || triggers.trig_delete_after_statement
                {
                    find(&[Delete], "it has DELETE triggers");
                }
            }
        }
    }

    fn inspect_indexes(&self, relation: Relation, facts: &mut Facts<N>) {
        // SAFETY: the list is a copy of our own; each index is opened under a lock while it is looked at.
        unsafe {
            let list = pg_sys::RelationGetIndexList(relation);
            let count = if list.is_null() {
                0
            } else {
                (*list).length as usize
            };
            for place in 0..count {
                let oid = (*(*list).elements.add(place)).oid_value;
                let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
                let index = pg_sys::index_open(oid, lock);
                let form = &*(*index).rd_index;
                if form.indisexclusion || !form.indimmediate {
                    let reason = format!(
                        "index \"{}\" belongs to an exclusion or deferrable constraint",
                        name_of(&(*(*index).rd_rel).relname).to_string_lossy()
                    );
                    facts.findings.push((&[Append, Update], reason));
                }
                if self.is_walked_by(index, facts) {
                    facts.index = oid;
                }
                pg_sys::index_close(index, lock);
            }
            pg_sys::list_free(list);
        }
        if let Some(index) = &self.index
            && facts.index == pg_sys::InvalidOid
        {
            let reason = format!(
                "it has no valid btree index \"{}\" on the columns that the engine walks by",
                index.name.to_string_lossy()
            );
            facts.findings.push((&[Update, Delete, Read], reason));
        }
    }

    /// # Safety
    /// The index is open.
    unsafe fn is_walked_by(&self, index: Relation, facts: &Facts<N>) -> bool {
        let Some(wanted) = &self.index else {
            return false;
        };
        // SAFETY: an open index has its form, its keys and its options; rd_indoption has an entry per key.
        unsafe {
            let form = &*(*index).rd_index;
            let keys = form.indkey.values.as_slice(form.indnkeyatts as usize);
            name_of(&(*(*index).rd_rel).relname) == wanted.name
                && (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && form.indisvalid
                && keys.len() >= wanted.keys.len()
                && wanted.keys.iter().enumerate().all(|(place, column)| {
                    keys[place] as usize == facts.attributes[*column] + 1
                        && *(*index).rd_indoption.add(place) == 0
                })
        }
    }

    /// The way of each operation as people read it: (operation, why SQL).
    pub fn ways(&'static self) -> Result<Vec<(&'static str, Option<String>)>> {
        let open = self.open(pg_sys::AccessShareLock, true)?;
        Ok(self
            .uses
            .iter()
            .map(|operation| {
                let why = open.facts().why_sql(*operation);
                (operation.as_str(), why.map(str::to_owned))
            })
            .collect())
    }

    pub fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }
}

/// An open table.
pub struct Open<const N: usize> {
    facts: Rc<Facts<N>>,
    relation: OpenRelation,
}

/// It is closed on drop; while an error unwinds, the abort of the transaction does it.
struct OpenRelation {
    relation: Relation,
    released: u32,
}

impl<const N: usize> Open<N> {
    pub(super) fn facts(&self) -> &Facts<N> {
        &self.facts
    }

    pub(super) fn relation(&self) -> Relation {
        self.relation.relation
    }

    pub(super) fn index(&self) -> Oid {
        self.facts().index
    }

    /// Whether the operation goes below SQL. Raises what the executor would raise about a publication.
    pub fn is_direct(&self, operation: Operation) -> bool {
        let facts = self.facts();
        if facts.why_sql(operation).is_some() {
            return false;
        }
        let (published, command) = match operation {
            Update => (&facts.published[0], pg_sys::CmdType::CMD_UPDATE),
            Delete => (&facts.published[1], pg_sys::CmdType::CMD_DELETE),
            Append | Read => return true,
        };
        if !published.get() {
            // SAFETY: the relation is open. A change of a publication or an identity invalidates the facts.
            unsafe { pg_sys::CheckCmdReplicaIdentity(self.relation(), command) };
            published.set(true);
        }
        true
    }
}

impl Drop for OpenRelation {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by Table::open, closed once.
            unsafe { pg_sys::relation_close(self.relation, self.released as pg_sys::LOCKMODE) };
        }
    }
}

// ---- invalidation ---------------------------------------------------------------------------------------------------

trait Watched: Sync {
    fn forget(&self, relation: Oid);
}

impl<const N: usize> Watched for Table<N> {
    fn forget(&self, relation: Oid) {
        if let Ok(mut facts) = self.facts.try_borrow_mut()
            && facts.as_ref().is_some_and(|(_, facts)| {
                // While the index is missing, any new relation can be it.
                let lacks_index = self.index.is_some() && facts.index == pg_sys::InvalidOid;
                relation == pg_sys::InvalidOid
                    || relation == facts.oid
                    || relation == facts.index
                    || lacks_index
            })
        {
            *facts = None;
        }
    }
}

std::thread_local! {
    static WATCHED: RefCell<Vec<&'static dyn Watched>> = const { RefCell::new(Vec::new()) };
    /// How often the relation cache has said that something changed.
    static INVALIDATIONS: Cell<u64> = const { Cell::new(0) };
}

fn watch(table: &'static dyn Watched) {
    WATCHED.with_borrow_mut(|watched| {
        if watched.is_empty() {
            // SAFETY: the function lives as long as the backend, and is registered once.
            unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(invalidated), Datum::from(0)) };
        }
        if !watched.iter().any(|other| std::ptr::addr_eq(*other, table)) {
            watched.push(table);
        }
    });
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn invalidated(_argument: Datum, relation: Oid) {
    INVALIDATIONS.set(INVALIDATIONS.get() + 1);
    WATCHED.with(|watched| {
        if let Ok(watched) = watched.try_borrow() {
            watched.iter().for_each(|table| table.forget(relation));
        }
    });
}

// ---- small things ---------------------------------------------------------------------------------------------------

fn named(name: &CStr) -> Result<Oid> {
    // SAFETY: both look into system caches; the names are NUL-terminated.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(c"tasker_engine".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid)
        .then_some(oid)
        .ok_or_else(|| missing(name))
}

fn missing(name: &CStr) -> Error {
    Error::state(format!(
        "table tasker_engine.{} is missing",
        name.to_string_lossy()
    ))
    .detail(
        "It was dropped or renamed by hand, or the extension is not installed in this database.",
    )
    .hint("ALTER TABLE ... RENAME TO gives it its name back; a dropped table is restored from a backup.")
}

fn form_oid(relation: Relation) -> Oid {
    // SAFETY: the relation is open.
    unsafe { (*relation).rd_id }
}

fn name_of(name: &pg_sys::NameData) -> &CStr {
    // SAFETY: PostgreSQL ends every name with a NUL.
    unsafe { CStr::from_ptr(name.data.as_ptr()) }
}

fn type_name(oid: Oid) -> String {
    // SAFETY: prints any oid; the text is NUL-terminated.
    unsafe { CString::from(CStr::from_ptr(pg_sys::format_type_be(oid))) }
        .to_string_lossy()
        .into_owned()
}

/// Whether each value that a row must have is there.
pub(super) fn is_complete<const N: usize>(facts: &Facts<N>, row: &[Arg; N]) -> bool {
    row.iter()
        .zip(facts.not_null)
        .all(|(value, wanted)| !value.is_null() || !wanted)
}
