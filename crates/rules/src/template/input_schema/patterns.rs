//! Patterns of a new schema: compiled one by one, so that many costly ones end with the budget.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Schema, pattern};
use crate::budget::{Budget, Spent};
use crate::template::meter::look;

/// A pattern is worth at least this much work.
const LEAST_WORK: u64 = 1_000;

/// The longest name that every pattern of `patternProperties` can be matched with in one go.
pub(super) fn longest_name(schema: &Value) -> usize {
    let (mut longest, mut open) = (usize::MAX, vec![schema]);
    while let Some(value) = open.pop() {
        look(1);
        match value {
            Value::Object(map) => {
                if let Some(Value::Object(named)) = map.get("patternProperties") {
                    let longests = named.keys().map(|name| pattern::longest(name));
                    longest = longests.fold(longest, usize::min);
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    longest
}

/// Compiles each pattern by itself. A pattern that is wrong is left for the compilation of the whole, which names its place.
pub(super) fn check(schema: &Value, budget: &Budget) -> Result<(), Spent> {
    let mut patterns = HashSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        budget.spend(1)?;
        match value {
            Value::Object(map) => {
                if let Some(Value::String(pattern)) = map.get("pattern") {
                    patterns.insert(pattern.as_str());
                }
                if let Some(Value::Object(named)) = map.get("patternProperties") {
                    patterns.extend(named.keys().map(String::as_str));
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    let mut together = 0_usize;
    for pattern in patterns {
        budget.spend(LEAST_WORK + pattern.len() as u64)?;
        let before = budget.memory_left();
        let compiled = Schema::compile(&json!({"pattern": pattern}), budget)?;
        together = together.saturating_add(before.saturating_sub(budget.memory_left()));
        drop(compiled);
        if together > budget.memory_left() {
            return Err(Spent::Memory);
        }
    }
    Ok(())
}
