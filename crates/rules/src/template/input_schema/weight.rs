//! How many subschemas one look at a value can lead to: `allOf`, `anyOf`, `$ref` and their kind apply several to the same
//! value, and some of these never look at it, so that counting looks alone would not bound them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::template::meter::look;

/// Applicators of one subschema, of several, and of one per name, that stay at the same value.
const ONE: &[&str] = &["not", "if", "then", "else"];
const SEVERAL: &[&str] = &["allOf", "anyOf", "oneOf"];
const NAMED: &[&str] = &["dependentSchemas", "dependencies"];
const REFERENCES: &[&str] = &["$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords that look at every value, whatever it is, before any applicator.
const LOOKING: &[&str] = &["type", "const"];

/// A chain of references longer than this is beyond any sense, and beyond the stack.
const DEEPEST: usize = 200;
pub(super) const BEYOND: u64 = u64::MAX / 4;
/// A published draft, or a target that only the validator finds.
const FOREIGN: u64 = 1_000;
/// Embedded schemas in which a pointer is looked for.
const MOST_EMBEDDED: usize = 100;

/// The most subschemas between two looks at a document, saturating.
pub(super) fn of(schema: &Value) -> u64 {
    let mut weights = Weights {
        root: schema,
        named: HashMap::new(),
        known: HashMap::new(),
    };
    weights.collect_names(schema);
    let mut heaviest = 1;
    let mut open = vec![schema];
    // Any object can be the target of a $ref, so each counts; one that is no schema weighs nothing.
    while let Some(value) = open.pop() {
        look(1);
        match value {
            Value::Object(map) => {
                heaviest = heaviest.max(weights.of(value, 0));
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    heaviest
}

struct Weights<'s> {
    root: &'s Value,
    /// Subschemas by anchor and by the last part of their `$id`.
    named: HashMap<&'s str, Vec<&'s Value>>,
    /// By address; `None` while it is being counted.
    known: HashMap<*const Value, Option<u64>>,
}

impl<'s> Weights<'s> {
    fn collect_names(&mut self, schema: &'s Value) {
        let mut open = vec![schema];
        while let Some(value) = open.pop() {
            look(1);
            match value {
                Value::Object(map) => {
                    for key in ["$anchor", "$dynamicAnchor", "$id", "id"] {
                        if let Some(Value::String(name)) = map.get(key) {
                            let name = name.trim_start_matches('#').trim_end_matches('#');
                            self.named.entry(last_part(name)).or_default().push(value);
                        }
                    }
                    open.extend(map.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }

    fn of(&mut self, value: &'s Value, depth: usize) -> u64 {
        let Value::Object(map) = value else {
            return 1;
        };
        match self.known.get(&std::ptr::from_ref(value)) {
            Some(Some(weight)) => return *weight,
            // Every cycle looks at the value where it closes.
            Some(None) => return 1,
            None if depth >= DEEPEST => return BEYOND,
            None => {}
        }
        self.known.insert(std::ptr::from_ref(value), None);
        let mut weight = 1_u64;
        for child in self.children(map) {
            look(1);
            weight = weight.saturating_add(match child {
                Child::Schema(child) => self.seen_from_above(child, depth + 1),
                Child::Foreign => FOREIGN,
            });
        }
        let weight = weight.min(BEYOND);
        self.known.insert(std::ptr::from_ref(value), Some(weight));
        weight
    }

    /// One that looks at the value itself pays for what is below it.
    fn seen_from_above(&mut self, schema: &'s Value, depth: usize) -> u64 {
        let weight = self.of(schema, depth);
        let looks = schema
            .as_object()
            .is_some_and(|map| LOOKING.iter().any(|key| map.contains_key(*key)));
        if looks && weight < BEYOND { 1 } else { weight }
    }

    fn children(&self, map: &'s Map<String, Value>) -> Vec<Child<'s>> {
        let mut children = Vec::new();
        let get = |key: &&str| map.get(*key);
        children.extend(ONE.iter().filter_map(get).map(Child::Schema));
        for items in SEVERAL.iter().filter_map(get).filter_map(Value::as_array) {
            children.extend(items.iter().map(Child::Schema));
        }
        for named in NAMED.iter().filter_map(get).filter_map(Value::as_object) {
            children.extend(named.values().map(Child::Schema));
        }
        for reference in REFERENCES.iter().filter_map(get).filter_map(Value::as_str) {
            children.extend(self.targets(reference));
        }
        children
    }

    fn targets(&self, reference: &str) -> Vec<Child<'s>> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        look(MOST_EMBEDDED);
        let roots = if base.is_empty() {
            vec![self.root]
        } else {
            self.named.get(last_part(base)).cloned().unwrap_or_default()
        };
        let found: Vec<&'s Value> = if fragment.is_empty() {
            roots
        } else if fragment.starts_with('/') {
            let pointer = percent_decoded(fragment);
            // Without a base the pointer may begin at any embedded schema with an $id.
            let embedded = self.named.values().flatten().copied().take(MOST_EMBEDDED);
            roots
                .iter()
                .copied()
                .chain(embedded)
                .filter_map(|root| root.pointer(&pointer))
                .collect()
        } else {
            self.named
                .get(last_part(fragment))
                .cloned()
                .unwrap_or_default()
        };
        if found.is_empty() {
            return vec![Child::Foreign];
        }
        found.into_iter().map(Child::Schema).collect()
    }
}

enum Child<'s> {
    Schema(&'s Value),
    Foreign,
}

fn last_part(name: &str) -> &str {
    name.trim_end_matches('/')
        .rsplit(['/', ':'])
        .next()
        .unwrap_or(name)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn doubling(levels: usize, leaf: Value) -> Value {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = format!("#/%24defs/n{}", level + 1);
            defs.insert(
                format!("n{level}"),
                json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
            );
        }
        defs.insert(format!("n{levels}"), leaf);
        json!({"$ref": "#/$defs/n0", "$defs": defs})
    }

    #[test]
    fn references_used_twice_weigh_what_they_expand_to() {
        assert!(of(&doubling(10, json!(true))) > 1 << 10);
        assert!(of(&doubling(60, json!({}))) > 1 << 50);
        assert!(of(&doubling(80, json!(false))) >= BEYOND);
    }

    #[test]
    fn usual_schemas_are_light() {
        assert!(
            of(
                &json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
            ) < 4
        );
        let tree = json!({
            "properties": {"t": {"$ref": "#/$defs/n"}},
            "$defs": {"n": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/n"}}, {"type": "string"}]}},
        });
        assert!(of(&tree) < 10);
        assert!(of(&json!({"$ref": "http://json-schema.org/draft-07/schema#"})) > 100);
    }

    #[test]
    fn a_chain_of_references_is_too_deep() {
        let mut defs = Map::new();
        for level in 0..100_000 {
            defs.insert(
                format!("n{level}"),
                json!({"$ref": format!("#/$defs/n{}", level + 1)}),
            );
        }
        assert!(of(&json!({"$ref": "#/$defs/n0", "$defs": defs})) >= BEYOND);
    }

    #[test]
    fn cycles_end() {
        assert!(of(&json!({"anyOf": [{"type": "string"}, {"$ref": "#"}]})) < 10);
        assert!(of(&json!({"$dynamicAnchor": "n", "allOf": [{"$dynamicRef": "#n"}]})) < 10);
    }
}
