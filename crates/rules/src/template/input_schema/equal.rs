//! Equality of JSON values as JSON Schema means it: numbers by value, members in any order. Each comparison is counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use jsonschema::json::cmp;
use serde_json::Value;

use crate::template::meter::{grow, look};

// Recursion is bounded by the depth of the documents, as everywhere in the parser and the validator.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            look(1);
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            look(1);
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| equal(one, other)))
        }
        (Value::String(one), Value::String(other)) => {
            look(1 + one.len().min(other.len()) / 64);
            one == other
        }
        _ => {
            look(1);
            cmp::equal(one, other)
        }
    }
}

/// Whether no two items are equal. By hash, so in proportion to their number; with a seed of its own, so that no author can
/// choose values that collide.
pub(super) fn is_unique(items: &[Value]) -> bool {
    let seed = RandomState::new();
    let mut seen: HashMap<u64, Vec<&Value>> = HashMap::new();
    // The table is made at once, so that it never grows.
    grow(
        items.len().next_power_of_two(),
        2 * size_of::<(u64, Vec<&Value>)>(),
    );
    seen.reserve(items.len());
    items.iter().all(|item| {
        let same = seen.entry(hash(item, &seed)).or_default();
        let new = !same.iter().any(|before| equal(before, item));
        same.push(item);
        new
    })
}

fn hash(value: &Value, seed: &RandomState) -> u64 {
    look(1);
    let mut hasher = seed.build_hasher();
    match value {
        Value::Null => 0_u8.hash(&mut hasher),
        Value::Bool(value) => value.hash(&mut hasher),
        Value::Number(number) => {
            look(number.as_str().len() / 64);
            digits(number.as_str()).hash(&mut hasher);
        }
        Value::String(text) => {
            look(text.len() / 64);
            text.hash(&mut hasher);
        }
        Value::Array(items) => {
            items.len().hash(&mut hasher);
            items
                .iter()
                .for_each(|item| hash(item, seed).hash(&mut hasher));
        }
        Value::Object(members) => {
            // Members count in any order.
            let sum = members.iter().fold(0_u64, |sum, (key, value)| {
                let mut member = seed.build_hasher();
                key.hash(&mut member);
                hash(value, seed).hash(&mut member);
                sum.wrapping_add(member.finish())
            });
            (members.len(), sum).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The significant digits of a number, which all spellings of one value share: 1, 1.0, 10e-1.
fn digits(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patience::patience;

    fn unique(text: &str) -> bool {
        let value: Value = serde_json::from_str(text).expect("JSON");
        is_unique(value.as_array().expect("an array"))
    }

    #[test]
    fn equal_numbers_are_equal_in_every_spelling() {
        assert!(!unique("[1, 2, 10e-1]"));
        assert!(!unique("[1.0, 1]"));
        assert!(!unique("[0, -0.0]"));
        assert!(unique(
            "[1, 10, -1, 0.1, \"1\", true, null, [1], {\"a\": 1}]"
        ));
        assert!(!unique(
            "[12345678901234567890123, 12345678901234567890123.0]"
        ));
        assert!(unique("[12345678901234567890123, 12345678901234567890124]"));
    }

    #[test]
    fn members_count_in_any_order_and_items_in_theirs() {
        assert!(!unique(
            "[{\"a\": 1, \"b\": [2]}, {\"b\": [2.0], \"a\": 1}]"
        ));
        assert!(unique("[{\"a\": 1, \"b\": 2}, {\"a\": 2, \"b\": 1}]"));
        assert!(unique("[[1, 2], [2, 1], [1], []]"));
    }

    #[test]
    fn a_hundred_thousand_items_are_quick() {
        let items: Vec<Value> = (0..100_000).map(Value::from).collect();
        let began = std::time::Instant::now();
        assert!(is_unique(&items));
        assert!(began.elapsed() < patience(10));
    }
}
