//! JSON values whose every look costs: how a validation is counted, and ended from any depth.
//!
//! The validator sees the document through this representation alone. A keyword of our own in each subschema would count
//! less: it runs after all others, so never below a keyword that failed, and sees neither comparisons nor loops.

use std::borrow::Cow;

use jsonschema::json::{self, Json, NodeIdentity};
use jsonschema::types::JsonType;
use serde_json::{Map, Number, Value};

use super::equal;
use crate::template::meter::{end, longest_name, look};

/// Bytes of a text that cost as much as one look.
const BYTES_PER_LOOK: usize = 64;

fn look_at_name(name: &str) {
    look_at_text(name);
    if name.len() > longest_name() {
        end();
    }
}

fn look_at_text(text: &str) {
    look(1 + text.len() / BYTES_PER_LOOK);
}

pub(super) struct Counted;

#[derive(Clone, Copy)]
pub(super) struct Node<'a>(pub(super) &'a Value);

pub(super) struct Object<'a>(&'a Map<String, Value>);

pub(super) struct Array<'a>(&'a [Value]);

pub(super) struct Members<'a>(serde_json::map::Iter<'a>);

pub(super) struct Elements<'a>(std::slice::Iter<'a, Value>);

impl Json for Counted {
    type Node<'a> = Node<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut Value, string: &str, f: impl FnOnce(Node<'_>) -> T) -> T {
        look_at_text(string);
        *buffer = Value::String(string.to_owned());
        f(Node(buffer))
    }
}

impl<'a> json::Node<'a, Counted> for Node<'a> {
    type Object = Object<'a>;
    type Array = Array<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Object<'a>> {
        look(1);
        self.0.as_object().map(Object)
    }

    fn as_array(&self) -> Option<Array<'a>> {
        look(1);
        self.0.as_array().map(|items| Array(items))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let text = self.0.as_str()?;
        look_at_text(text);
        Some(Cow::Borrowed(text))
    }

    fn as_number(&self) -> Option<&'a Number> {
        let number = self.0.as_number()?;
        look_at_text(number.as_str());
        Some(number)
    }

    fn as_boolean(&self) -> Option<bool> {
        look(1);
        self.0.as_bool()
    }

    fn is_null(&self) -> bool {
        look(1);
        self.0.is_null()
    }

    fn json_type(&self) -> JsonType {
        look(1);
        match self.0 {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(_) => JsonType::Number,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        equal::equal(self.0, expected)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        look(1);
        Cow::Borrowed(self.0)
    }

    fn identity(&self) -> Option<NodeIdentity> {
        look(1);
        Some(NodeIdentity::new(std::ptr::from_ref(self.0) as usize))
    }
}

impl<'a> json::Object<'a, Counted> for Object<'a> {
    type Node = Node<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Node<'a>> {
        look(1);
        self.0.get(key.as_str()).map(Node)
    }

    fn members(&self) -> Members<'a> {
        Members(self.0.iter())
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.0.next()?;
        look_at_name(name);
        Some((name.as_str(), Node(value)))
    }
}

impl<'a> json::Array<'a, Counted> for Array<'a> {
    type Node = Node<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> Elements<'a> {
        Elements(self.0.iter())
    }

    fn is_unique(&self) -> bool {
        equal::is_unique(self.0)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        look(1);
        self.0.next().map(Node)
    }
}
