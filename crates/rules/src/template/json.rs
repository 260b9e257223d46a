//! A JSON text as a value, within a budget: a value takes many times the memory of its text.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::budget::{Budget, Spent};

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// The budget was used up.
    Spent(Spent),
    /// It is not JSON, or nested too deeply.
    Syntax(String),
}

/// Reads a JSON text. Numbers keep all their digits.
pub fn read(text: &str, budget: &Budget) -> Result<Value, Unread> {
    let spent = Cell::new(None);
    let seed = Seed {
        budget,
        spent: &spent,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = seed
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| {
        spent
            .get()
            .map_or_else(|| Unread::Syntax(error.to_string()), Unread::Spent)
    })
}

#[derive(Clone, Copy)]
struct Seed<'b> {
    budget: &'b Budget,
    spent: &'b Cell<Option<Spent>>,
}

impl Seed<'_> {
    fn spend<E: de::Error>(&self) -> Result<(), E> {
        self.budget.spend(1).map_err(|spent| {
            self.spent.set(Some(spent));
            E::custom("too much work")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

/// Bytes of a member with its place in the index.
const MEMBER: usize = size_of::<Value>() + size_of::<String>() + 32;

/// The key under which serde_json hands over a number with all its digits.
const NUMBER: &str = "$serde_json::private::Number";

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            // A vector asks for one more than its capacity, a power of two.
            self.budget.grow(values.len(), size_of::<Value>());
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if key == NUMBER && map.is_empty() {
                let digits: String = members.next_value()?;
                return digits
                    .parse::<Number>()
                    .map(Value::Number)
                    .map_err(de::Error::custom);
            }
            let value = members.next_value_seed(self)?;
            // A map grows between the powers of two: it is asked for at the one before.
            self.budget.grow(map.len(), 2 * MEMBER);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Host;

    #[test]
    fn it_reads_what_serde_json_reads() {
        for text in [
            "{\"a\": [1, -2.50, 1e400, 123456789012345678901234567890, true, null, \"x\\u0041\", {}, []]}",
            "1",
            "\"\"",
            "{\"$serde_json::private::Numbers\": 1}",
        ] {
            let read = read(text, &Budget::unlimited(Host::NONE)).expect("JSON");
            assert_eq!(read, serde_json::from_str::<Value>(text).expect("JSON"));
            assert_eq!(
                read.to_string(),
                serde_json::from_str::<Value>(text)
                    .expect("JSON")
                    .to_string()
            );
        }
    }

    #[test]
    fn it_ends_with_the_budget_and_with_the_depth() {
        let budget = Budget::new(1_000, usize::MAX, Host::NONE);
        let text = format!("[{}1]", "1,".repeat(5_000));
        assert_eq!(read(&text, &budget), Err(Unread::Spent(Spent::Work)));
        let deep = "[".repeat(200) + &"]".repeat(200);
        let budget = Budget::unlimited(Host::NONE);
        assert!(matches!(read(&deep, &budget), Err(Unread::Syntax(_))));
    }
}
