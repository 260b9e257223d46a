//! Events that were handed out before, read once more: a row of the log gives the same again.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use tasker_rules::events::pattern::Selection;

use super::pages::PAGE;
use super::rows::Reader;
use super::{Event, facts, gaps};
use crate::error::{Error, Result};
use crate::pg::budget;
use crate::pg::spi::Session;

/// An event by its id, and the row of the log that gives it: the start of a run is given by the row that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub event: i64,
    pub row: i64,
}

/// Those of the events that still exist, by their id. Purge may have deleted others.
pub fn again(session: &Session, keys: &[Key]) -> Result<FxHashMap<i64, Event>> {
    let wanted: BTreeSet<i64> = keys.iter().map(|key| key.event).collect();
    let rows: BTreeSet<i64> = keys.iter().map(|key| key.row).collect();
    let rows: Vec<i64> = rows.into_iter().collect();
    // What the subscriber wants may have changed since.
    let all = Selection::parse(["*"]).map_err(|bad| Error::corrupt(bad.to_string()))?;
    let mut reader = Reader::new(session, &all)?;
    let mut found = FxHashMap::default();
    for ids in rows.chunks(PAGE) {
        budget::check_for_cancel();
        for row in &reader.of_ids(ids)? {
            let story = reader.story(row)?;
            for index in 0..story.events.len() {
                if wanted.contains(&Reader::id(row, &story, index)) {
                    let event = reader.event(row, &story, index)?;
                    found.insert(event.id, event);
                }
            }
        }
        for fact in facts::of_ids(session, ids)? {
            let event = fact.event()?;
            found.insert(event.id, event);
        }
    }
    if found.len() < wanted.len() {
        let gaps = gaps::of_ids(session, &rows)?;
        found.extend(gaps.into_iter().map(|event| (event.id, event)));
    }
    Ok(found)
}
