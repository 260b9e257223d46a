//! The rows of both sources in the order of their ids.

use std::collections::VecDeque;

use super::facts::{self, Fact};
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

/// A page of each source.
pub struct Merge<'s> {
    session: &'s Session,
    pub log: Reader<'s>,
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
    fn new(behind: i64) -> Self {
        Self {
            page: VecDeque::new(),
            behind,
            more: true,
        }
    }

    /// Reads a page when the last one is used up: what comes next is known only then.
    fn fill(&mut self, mut read: impl FnMut(i64) -> Result<(Vec<T>, Option<i64>)>) -> Result<()> {
        while self.page.is_empty() && self.more {
            let (page, last) = read(self.behind)?;
            self.page = page.into();
            self.more = last.is_some();
            self.behind = last.unwrap_or(self.behind);
        }
        Ok(())
    }
}

impl<'s> Merge<'s> {
    pub fn new(session: &'s Session, log: Reader<'s>, behind: i64) -> Self {
        Self {
            session,
            log,
            logged: Source::new(behind),
            facts: Source::new(behind),
        }
    }

    /// The row with the next id; None: there is none. About this many are wanted.
    pub fn next(&mut self, rows: usize) -> Result<Option<Row>> {
        let log = &mut self.log;
        self.logged.fill(|behind| log.page(behind, rows))?;
        let session = self.session;
        self.facts
            .fill(|behind| facts::page(session, behind, rows))?;
        let logged = self.logged.page.front().map(|row| row.id);
        let fact = self.facts.page.front().map(|fact| fact.id);
        Ok(match (logged, fact) {
            (Some(logged), Some(fact)) if fact < logged => self.fact(),
            (None, Some(_)) => self.fact(),
            _ => self.logged.page.pop_front().map(Row::Logged),
        })
    }

    fn fact(&mut self) -> Option<Row> {
        self.facts.page.pop_front().map(Row::Fact)
    }
}
