//! The rows of both sources in the order of their ids.

use std::collections::VecDeque;

use tasker_rules::events::pattern::Selection;
use tasker_rules::events::position::Unseen;

use super::facts::{self, Fact};
use super::pages::Page;
use super::rows::{Logged, Reader};
use crate::error::Result;
use crate::pg::spi::Session;

/// A row of one of the sources.
pub enum Row {
    Logged(Logged),
    Fact(Fact),
}

impl Row {
    pub fn id(&self) -> i64 {
        match self {
            Self::Logged(row) => row.id,
            Self::Fact(fact) => fact.id,
        }
    }

    pub fn xid(&self) -> u64 {
        match self {
            Self::Logged(row) => row.xid,
            Self::Fact(fact) => fact.xid,
        }
    }
}

/// What comes next.
pub enum Next {
    Row(Row),
    /// No row up to this id: ask again.
    NothingUpTo(i64),
    End,
}

/// How much a call has looked at.
#[derive(Default, Clone, Copy)]
pub struct Looked {
    /// Rows that were read.
    pub rows: usize,
    /// Tenths of the cost of a row: one that cannot matter is passed by for one.
    tenths: usize,
}

impl Looked {
    /// The cost, in rows.
    pub fn cost(self) -> usize {
        self.tenths / 10
    }
}

/// A page of each source.
pub struct Merge<'s> {
    session: &'s Session,
    pub log: Reader<'s>,
    pub looked: Looked,
    unseen: Option<Unseen>,
    logged: Source<Logged>,
    facts: Source<Fact>,
}

struct Source<T> {
    page: VecDeque<T>,
    /// All up to this id was read.
    behind: i64,
    more: bool,
}

impl<T> Source<T> {
    fn new(behind: i64, is_wanted: bool) -> Self {
        Self {
            page: VecDeque::new(),
            behind,
            more: is_wanted,
        }
    }

    /// Reads a page when the last one is used up: what comes next is known only then.
    fn fill(
        &mut self,
        looked: &mut Looked,
        read: impl FnOnce(i64) -> Result<Page<T>>,
    ) -> Result<()> {
        if self.page.is_empty() && self.more {
            let Page { rows, last, others } = read(self.behind)?;
            looked.rows += rows.len() + others;
            looked.tenths += 10 * rows.len() + others + 1;
            self.page = rows;
            self.more = last.is_some();
            self.behind = last.unwrap_or(self.behind);
        }
        Ok(())
    }

    /// Up to which id all rows are known, if that is not the end.
    fn known_to(&self) -> Option<i64> {
        (self.page.is_empty() && self.more).then_some(self.behind)
    }
}

impl<'s> Merge<'s> {
    /// The rows behind an id that the selection may want; where it is said what is new, only that.
    pub fn new(
        session: &'s Session,
        selection: &'s Selection,
        behind: i64,
        unseen: Option<Unseen>,
    ) -> Result<Self> {
        Ok(Self {
            session,
            log: Reader::new(session, selection)?,
            looked: Looked::default(),
            unseen,
            logged: Source::new(behind, selection.wants_rows()),
            facts: Source::new(behind, selection.wants_facts()),
        })
    }

    /// Whether the next call of `next` reads.
    pub fn must_read(&self) -> bool {
        self.logged.known_to().or(self.facts.known_to()).is_some()
    }

    /// The row with the next id. About this many are wanted.
    pub fn next(&mut self, rows: usize) -> Result<Next> {
        let (log, session, unseen) = (&mut self.log, self.session, self.unseen.as_ref());
        let looked = &mut self.looked;
        self.logged
            .fill(looked, |behind| log.page(behind, rows, unseen))?;
        self.facts
            .fill(looked, |behind| facts::page(session, behind, rows, unseen))?;
        let logged = self.logged.page.front().map(|row| row.id);
        let fact = self.facts.page.front().map(|fact| fact.id);
        let known_to = [self.logged.known_to(), self.facts.known_to()];
        let known_to = known_to.into_iter().flatten().min();
        let first = logged.into_iter().chain(fact).min();
        if let Some(known_to) = known_to.filter(|to| first.is_none_or(|first| first > *to)) {
            return Ok(Next::NothingUpTo(known_to));
        }
        let row = if fact.is_some() && fact == first {
            self.facts.page.pop_front().map(Row::Fact)
        } else {
            self.logged.page.pop_front().map(Row::Logged)
        };
        Ok(row.map_or(Next::End, Next::Row))
    }
}
