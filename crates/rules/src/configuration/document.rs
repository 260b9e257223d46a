//! The text of a file: its values and sections with their places. It knows no keys.

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::names::shown;

/// The largest file, in bytes.
pub const MOST_BYTES: usize = 1 << 20;
/// The most parts of a key and the most levels of inline tables. Both together limit how deep a table is: its drop is recursive.
const MOST_LEVELS: usize = 16;

/// Line and column in characters, from 1.
pub type Place = (usize, usize);

/// A value or a section of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The parts of its name: `["backoff", "buffer_seconds"]`.
    pub parts: Vec<String>,
    /// Where its name is.
    pub at: Place,
    /// Where its value is.
    pub value_at: Place,
    /// What it is.
    pub content: Content,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A table. Its members are items too.
    Section,
    /// A text, a number, true or false, or a list.
    Value(Value),
    /// Something that no key takes, as a sentence: `it is a date`.
    Unfit(&'static str),
}

/// A file that was read, as far as it could be.
#[derive(Debug, Default)]
pub struct Document {
    /// In the order of the file.
    pub items: Vec<Item>,
    /// What is no TOML.
    pub problems: Vec<(Place, String)>,
}

/// Reads a file. After a mistake it goes on, so that all of them are found at once.
pub fn parse(text: &str) -> Document {
    let places = Places::new(text);
    if text.len() > MOST_BYTES {
        let problem = format!(
            "the file has {} bytes; at most {MOST_BYTES} are allowed",
            text.len()
        );
        return refused((1, 1), problem);
    }
    if let Some(offset) = too_deep(text) {
        let problem = format!(
            "a key has at most {MOST_LEVELS} parts, and a list or table at most {MOST_LEVELS} levels"
        );
        return refused(places.of(offset), problem);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let problem = (
            places.of(span.start),
            problem(error.message(), text.get(span)),
        );
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    let mut items = Vec::new();
    walk(table.get_ref(), &[], &places, &mut items);
    // A mistake in a line can change what the line says: its values would give findings that mean nothing.
    items.retain(|item| {
        let broken = |place: Place| problems.iter().any(|(at, _)| at.0 == place.0);
        !broken(item.at) && !broken(item.value_at)
    });
    items.sort_by_key(|item| item.at);
    problems.sort();
    Document { items, problems }
}

/// What the parser says, in words for the author of a file.
fn problem(message: &str, place: Option<&str>) -> String {
    match message
        .split_once(',')
        .map_or(message, |(message, _)| message)
    {
        "duplicate key" => format!(
            "{} stands twice; a file has a key and a section only once",
            place
                .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
                .map_or_else(|| "a name".to_owned(), shown)
        ),
        "invalid boolean" | "string values must be quoted" => {
            "no TOML: a value is missing, or a text is not in quotes".to_owned()
        }
        "invalid basic string" | "invalid literal string" => {
            "no TOML: a text has no end, or a character that it cannot have".to_owned()
        }
        _ => format!("no TOML: {message}"),
    }
}

fn refused(at: Place, problem: String) -> Document {
    Document {
        items: Vec::new(),
        problems: vec![(at, problem)],
    }
}

/// Where a key has too many parts, or an inline table too many levels.
fn too_deep(text: &str) -> Option<usize> {
    let (mut dots, mut levels) = (0_usize, 0_usize);
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::LeftCurlyBracket | TokenKind::LeftSquareBracket => {
                (dots, levels) = (0, levels + 1);
            }
            TokenKind::RightCurlyBracket | TokenKind::RightSquareBracket => {
                (dots, levels) = (0, levels.saturating_sub(1));
            }
            TokenKind::Comma | TokenKind::Equals | TokenKind::Newline => dots = 0,
            _ => {}
        }
        if dots >= MOST_LEVELS || levels > MOST_LEVELS {
            return Some(token.span().start());
        }
    }
    None
}

fn walk(table: &DeTable, above: &[String], places: &Places, items: &mut Vec<Item>) {
    for (key, value) in table.iter() {
        let mut parts = above.to_vec();
        parts.push(key.get_ref().to_string());
        let content = match value.get_ref() {
            DeValue::Table(inner) => {
                walk(inner, &parts, places, items);
                Content::Section
            }
            other => json(other).map_or_else(Content::Unfit, Content::Value),
        };
        items.push(Item {
            parts,
            at: places.of(key.span().start),
            value_at: places.of(value.span().start),
            content,
        });
    }
}

fn json(value: &DeValue) -> Result<Value, &'static str> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| "it is a number beyond 64 bits")?
            .into(),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .ok_or("it is no finite number")?
            .into(),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => return Err("it is a date or a time"),
        DeValue::Array(elements) => elements
            .iter()
            .map(|element: &Spanned<DeValue>| json(element.get_ref()))
            .collect::<Result<_, _>>()?,
        DeValue::Table(_) => return Err("it is a list of sections"),
    })
}

/// Turns offsets into places.
struct Places<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Self {
        let after = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(after).collect(),
        }
    }

    fn of(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|begin| *begin <= offset);
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(begin..offset).unwrap_or_default();
        (line.max(1), before.chars().count() + 1)
    }
}
