//! Statements that read some rows behind an id, with four limits: one that is a parameter would be a guess for the planner, and most
//! polls want few events.

use std::collections::VecDeque;

use tasker_rules::events::position::Unseen;

use crate::error::Result;
use crate::pg::datum;
use crate::pg::spi::{Rows, Session, Statement};

/// The most rows that are read at once.
pub const PAGE: usize = 1000;

/// Where almost nothing is new, a statement passes by this many ids at most.
const PASSED_BY: i64 = 100_000;

/// Some rows of a source.
pub struct Page<T> {
    pub rows: VecDeque<T>,
    /// There is no other up to this id; `None`: there are no more.
    pub last: Option<i64>,
    /// How many were passed by, which cannot matter to the reader.
    pub others: usize,
}

/// What a statement has read.
pub struct Read<'s> {
    pub rows: Rows<'s>,
    pub last: Option<i64>,
    /// How many ids it has passed by.
    pub passed_by: usize,
}

/// The same statement with the limits of [`Pages::SIZES`], and one that reads what is new where that is little.
pub struct Pages {
    pub by_size: [Statement; 4],
    pub unseen: Statement,
}

/// The statements that a macro makes for a limit; their parameter is the id.
macro_rules! pages {
    ($statement:ident) => {
        Pages {
            by_size: [
                Statement::new($statement!(16), &[pg_sys::INT8OID]),
                Statement::new($statement!(64), &[pg_sys::INT8OID]),
                Statement::new($statement!(256), &[pg_sys::INT8OID]),
                Statement::new($statement!(1000), &[pg_sys::INT8OID]),
            ],
            unseen: Statement::new(
                $statement!(
                    "id > $1 AND id <= $2 AND (xid >= $3 OR xid = ANY ($4))",
                    "$5"
                ),
                &[
                    pg_sys::INT8OID,
                    pg_sys::INT8OID,
                    pg_sys::XID8OID,
                    pg_sys::XID8ARRAYOID,
                    pg_sys::INT8OID,
                ],
            ),
        }
    };
}
pub(super) use pages;

impl Pages {
    const SIZES: [usize; 4] = [16, 64, 256, PAGE];

    /// About this many rows behind an id, ascending, and up to which id there is no other; `None`: there are no more. Where it is said what
    /// is new, only that.
    pub fn read<'s>(
        &self,
        session: &'s Session,
        behind: i64,
        rows: usize,
        unseen: Option<&Unseen>,
    ) -> Result<Read<'s>> {
        let (statement, limit) = self.of(rows);
        if let Some(unseen) = unseen.filter(|unseen| behind < unseen.upto) {
            let upto = unseen.upto.min(behind.saturating_add(PASSED_BY));
            let args = [
                datum::int8(behind),
                datum::int8(upto),
                datum::xid8(unseen.xmax),
                datum::xid8s(unseen.running.iter().copied()),
                datum::int8(limit as i64),
            ];
            let rows = session.read(&self.unseen, &args)?;
            let last = Self::last(&rows, limit)?.unwrap_or(upto);
            return Ok(Read {
                rows,
                last: Some(last),
                passed_by: (last - behind) as usize,
            });
        }
        let rows = session.read(statement, &[datum::int8(behind)])?;
        let last = Self::last(&rows, limit)?;
        Ok(Read {
            rows,
            last,
            passed_by: 0,
        })
    }

    /// The id of the last row, if there may be more.
    fn last(rows: &Rows, limit: usize) -> Result<Option<i64>> {
        let last = rows.iter().last().filter(|_| rows.len() == limit);
        last.map(|row| row.get(1)).transpose()
    }

    /// The smallest statement that reads at least half of this, and its limit: rows that are read for nothing cost more than another page.
    fn of(&self, rows: usize) -> (&Statement, usize) {
        let fits = |size: &usize| 2 * size >= rows;
        let last = Self::SIZES.len() - 1;
        let place = Self::SIZES.iter().position(fits).unwrap_or(last);
        (&self.by_size[place], Self::SIZES[place])
    }
}
