//! Whether a value is one that a key takes, and what to say if not.

use serde_json::Value;

use super::key::{Key, Shape};
use crate::names::{nearest, shown};

impl Shape {
    /// Errors: what the value is instead, as it follows `must be ...; `.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let good = match (self, value) {
            (Self::Bool, Value::Bool(_)) | (Self::Text, Value::String(_)) => true,
            (Self::Int(least, most), Value::Number(number)) => number
                .as_i64()
                .is_some_and(|number| (*least..=*most).contains(&number)),
            (Self::Float(least, most), Value::Number(number)) => number
                .as_f64()
                .is_some_and(|number| (*least..=*most).contains(&number)),
            (Self::Name, Value::String(text)) => !text.trim().is_empty(),
            (Self::Choice(choices), Value::String(text)) => {
                if !choices.contains(&text.as_str())
                    && let Some(word) = nearest(text, choices.iter().copied())
                {
                    return Err(format!("it is {}; did you mean {word:?}?", shown(text)));
                }
                choices.contains(&text.as_str())
            }
            (Self::Names, Value::Array(elements)) => {
                return each(&Self::Name, elements);
            }
            (Self::Numbers(least, most), Value::Array(elements)) => {
                return each(&Self::Float(*least, *most), elements);
            }
            _ => false,
        };
        if good {
            Ok(())
        } else {
            Err(format!("it is {}", what(value)))
        }
    }

    /// The allowed values, as they follow `must be `.
    pub fn allowed(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int(least, most) => {
                format!("a whole number{}", range(*least, *most, i64::MIN, i64::MAX))
            }
            Self::Float(least, most) => {
                format!("a number{}", range(*least, *most, f64::MIN, f64::MAX))
            }
            Self::Text => "a text in quotes".to_owned(),
            Self::Name => "a text in quotes that is not empty".to_owned(),
            Self::Choice(choices) => {
                let choices: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
                format!("one of {}", choices.join(", "))
            }
            Self::Names => "a list of texts that are not empty".to_owned(),
            Self::Numbers(least, most) => {
                format!(
                    "a list of numbers{}",
                    range(*least, *most, f64::MIN, f64::MAX)
                )
            }
        }
    }

    /// Whether the mask can replace a value.
    pub fn takes_text(&self) -> bool {
        matches!(self, Self::Text | Self::Name)
    }
}

impl Key {
    /// The allowed values with the unit, as they follow `must be `.
    pub fn allowed(&self) -> String {
        match self.unit {
            "" => self.shape.allowed(),
            unit => format!("{} ({unit})", self.shape.allowed()),
        }
    }

    /// The value when no file and no setting says one.
    pub fn default_value(&self) -> Option<Value> {
        serde_json::from_str(self.default).ok()
    }
}

fn each(shape: &Shape, elements: &[Value]) -> Result<(), String> {
    match elements
        .iter()
        .zip(1..)
        .find(|(element, _)| shape.check(element).is_err())
    {
        None => Ok(()),
        Some((element, number)) => Err(format!("element {number} is {}", what(element))),
    }
}

/// Numbers that stand for no limit are left out.
fn range<N: PartialOrd + std::fmt::Display>(least: N, most: N, lowest: N, highest: N) -> String {
    match (least > lowest, most < highest) {
        (true, true) => format!(" from {least} to {most}"),
        (true, false) => format!(" of {least} or more"),
        (false, true) => format!(" of {most} or less"),
        (false, false) => String::new(),
    }
}

/// A value for a message. A long list is not shown.
fn what(value: &Value) -> String {
    match value {
        Value::String(text) if text.trim().is_empty() => "an empty text".to_owned(),
        Value::String(text) => format!("the text {}", shown(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a section".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_fits_its_shape_or_the_message_says_what_it_is() {
        let seconds = Shape::Int(1, 300);
        assert_eq!(seconds.check(&json!(300)), Ok(()));
        assert_eq!(seconds.allowed(), "a whole number from 1 to 300");
        for (shape, value, says) in [
            (seconds, json!(0), "it is 0"),
            (seconds, json!(1.5), "it is 1.5"),
            (seconds, json!("5"), "it is the text \"5\""),
            (seconds, json!(" "), "it is an empty text"),
            (Shape::Bool, json!(1), "it is 1"),
            (Shape::Bool, json!([1]), "it is a list"),
            (Shape::Float(0.0, 1.0), json!(1.01), "it is 1.01"),
            (Shape::Name, json!("  "), "it is an empty text"),
            (Shape::Text, json!(true), "it is true"),
            (
                Shape::Choice(&["json", "logfmt"]),
                json!("JSON"),
                "it is \"JSON\"; did you mean \"json\"?",
            ),
            (
                Shape::Choice(&["json", "logfmt"]),
                json!("xml?"),
                "it is the text \"xml?\"",
            ),
            (Shape::Names, json!(["a", 5]), "element 2 is 5"),
            (Shape::Names, json!(["a", ""]), "element 2 is an empty text"),
            (
                Shape::Numbers(1.0, 9.0),
                json!([1, 2.5, 0]),
                "element 3 is 0",
            ),
            (Shape::Numbers(1.0, 9.0), json!(1), "it is 1"),
        ] {
            assert_eq!(
                shape.check(&value),
                Err(says.to_owned()),
                "{shape:?} {value}"
            );
        }
        for (shape, value) in [
            (Shape::Bool, json!(false)),
            (Shape::Float(0.0, 1.0), json!(1)),
            (Shape::Text, json!("")),
            (Shape::Name, json!("a")),
            (Shape::Choice(&["json", "logfmt"]), json!("logfmt")),
            (Shape::Names, json!([])),
            (Shape::Numbers(1.0, 9.0), json!([1, 9.0])),
        ] {
            assert_eq!(shape.check(&value), Ok(()), "{shape:?} {value}");
        }
    }

    #[test]
    fn the_allowed_values_are_said_without_limits_that_are_none() {
        for (shape, says) in [
            (Shape::Int(i64::MIN, i64::MAX), "a whole number"),
            (Shape::Int(0, i64::MAX), "a whole number of 0 or more"),
            (Shape::Float(0.1, 1.0), "a number from 0.1 to 1"),
            (Shape::Float(f64::MIN, 1.0), "a number of 1 or less"),
            (
                Shape::Numbers(0.0, f64::INFINITY),
                "a list of numbers of 0 or more",
            ),
            (Shape::Choice(&["a", "b"]), "one of \"a\", \"b\""),
        ] {
            assert_eq!(shape.allowed(), says);
        }
    }
}
