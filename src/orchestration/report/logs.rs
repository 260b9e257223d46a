//! The log of a run that comes with its report: stored if the report is accepted. What cannot be read becomes a line or is left out,
//! and harms nothing. docs/logging.md#logs-of-steps.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tasker_rules::events::filter_parameters::Mask;
use tasker_rules::events::log_line::Level;
use tasker_rules::events::step_log::{self, Kept, MOST_BYTES, MOST_LINES};

use super::Report;
use super::hold::Held;
use crate::error::Result;
use crate::logging;
use crate::orchestration::{Engine, StepKey};
use crate::pg::append::append;
use crate::pg::budget;
use crate::pg::datum::{self, Arg, Field, Jsonb, Object, Timestamp};
use crate::storage;

/// Stores the logs of the accepted reports. Nothing is done for reports without them.
pub(super) fn store(
    engine: &Engine,
    reports: &[Report],
    held: &BTreeMap<usize, Held>,
) -> Result<()> {
    let with_logs = held
        .iter()
        .filter_map(|(index, held)| Some((&reports[*index], held, reports[*index].logs?)));
    let (mut mask, mut rows) = (None, vec![]);
    for (report, held, logs) in with_logs {
        let mask = mask.get_or_insert_with(logging::mask);
        let run = Run {
            key: &report.key,
            claim_number: report.claim_number,
            attempt: held.attempts,
        };
        read(logs, engine.now, mask, |line| {
            rows.push(run.row(&line));
        });
        // A call can bring ten thousand logs.
        if rows.len() > MOST_LINES {
            append(&storage::STEP_LOGS, &rows)?;
            rows.clear();
        }
    }
    append(&storage::STEP_LOGS, &rows)
}

struct Run<'r> {
    key: &'r StepKey,
    claim_number: i32,
    attempt: i16,
}

impl<'r> Run<'r> {
    fn row<'l>(&self, line: &Line<'l>) -> [Arg<'l>; 9]
    where
        'r: 'l,
    {
        [
            datum::uuid(&self.key.task),
            datum::timestamp(line.at),
            datum::int4(self.claim_number),
            datum::int4(line.number),
            datum::int2(self.key.no),
            datum::int2(self.attempt),
            datum::text(line.level.name()),
            datum::text(&line.message),
            datum::opt_jsonb(line.fields),
        ]
    }
}

struct Line<'l> {
    number: i32,
    at: Timestamp,
    level: Level,
    message: Cow<'l, str>,
    fields: Option<Jsonb<'l>>,
}

/// The lines that are kept, with what must not be written down masked, and one that says what was cut.
fn read<'l>(logs: Jsonb<'l>, now: Timestamp, mask: &Mask, mut tell: impl FnMut(Line<'l>)) {
    let elements: Box<dyn Iterator<Item = Field<'l>>> = if datum::is_array(logs) {
        Box::new(datum::array_fields(logs))
    } else {
        Box::new(datum::field_of(logs).into_iter())
    };
    let (mut kept, mut number, mut left_out) = (Kept::default(), 0, 0);
    for element in elements {
        budget::check_for_cancel();
        if element.is_null() {
            continue;
        }
        if !kept.has_room() {
            left_out += 1;
            continue;
        }
        number += 1;
        let said = Said::of(element, now);
        let size = said.fields.map_or(0, datum::size);
        let fields = said
            .fields
            .filter(|fields| datum::is_shallow(*fields))
            .map(|fields| {
                datum::masked(fields, |key| mask.hides(key), mask.mask()).unwrap_or(fields)
            });
        let (message, fits) = kept.take(&said.message, size);
        tell(Line {
            number,
            at: said.at,
            level: said.level,
            message: Cow::Owned(mask.text(message).into_owned()),
            fields: fields.filter(|_| fits),
        });
    }
    if let Some(message) = kept.said(left_out) {
        tell(Line {
            number: number + 1,
            at: now,
            level: Level::Warn,
            message: Cow::Owned(message),
            fields: None,
        });
    }
}

/// What an element says.
struct Said<'l> {
    at: Timestamp,
    level: Level,
    message: Cow<'l, str>,
    fields: Option<Jsonb<'l>>,
}

impl<'l> Said<'l> {
    fn of(element: Field<'l>, now: Timestamp) -> Self {
        let document = || element.to_jsonb();
        match element.as_str() {
            Some(text) => Self::text(Cow::Borrowed(text), now),
            None => Object::of(document()).map_or_else(
                || Self::text(Cow::Owned(element.to_text()), now),
                |object| Self::object(&object, now),
            ),
        }
    }

    fn text(message: Cow<'l, str>, now: Timestamp) -> Self {
        Self {
            at: now,
            level: Level::Info,
            message,
            fields: None,
        }
    }

    /// Keys that an element should not have, and values that cannot be read, are kept among its fields.
    fn object(object: &Object<'l>, now: Timestamp) -> Self {
        let mut said = Self::text(Cow::Borrowed(""), now);
        let mut others: Vec<(&str, Jsonb)> = vec![];
        let mut size = 0;
        for key in object.keys() {
            let Some(value) = object.get(key).filter(|value| !value.is_null()) else {
                continue;
            };
            let read = match key {
                "at" => time(value).map(|at| said.at = at),
                "level" => level(value).map(|level| said.level = level),
                "message" => {
                    said.message = value
                        .as_str()
                        .map_or_else(|| Cow::Owned(value.to_text()), Cow::Borrowed);
                    Some(())
                }
                "fields" => Some(value.to_jsonb())
                    .filter(|fields| datum::is_object(*fields))
                    .map(|fields| said.fields = Some(fields)),
                _ => None,
            };
            if read.is_none() && size <= MOST_BYTES {
                let value = value.to_jsonb();
                size += key.len() + datum::size(value);
                others.push((key, value));
            }
        }
        if !others.is_empty() {
            let others = datum::jsonb_object(&others);
            said.fields = Some(match said.fields {
                Some(fields) => datum::jsonb_concat(others, fields),
                None => others,
            });
        }
        said.fields = said
            .fields
            .filter(|fields| datum::element_count(*fields) > 0);
        said
    }
}

fn time(value: Field) -> Option<Timestamp> {
    match value.as_str() {
        Some(text) => step_log::time_of_text(text),
        None => step_log::time_of_number(value.as_number()?.parse().ok()?),
    }
}

fn level(value: Field) -> Option<Level> {
    match value.as_str() {
        Some(word) => Level::of_word(word.trim()),
        None => Some(Level::of_number(value.as_number()?.parse().ok()?)),
    }
}
