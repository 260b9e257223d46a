//! Whether a payload holds what a subscriber asks for: containment, as the operator `@>` of jsonb means it.

use serde_json::{Number, Value};

use crate::number::Decimal;

/// Whether the payload contains the filter: each key of the filter with a value that contains its value.
pub fn contains(payload: &Value, filter: &Value) -> bool {
    match (payload, filter) {
        (Value::Object(payload), Value::Object(filter)) => filter.iter().all(|(key, wanted)| {
            payload
                .get(key)
                .is_some_and(|value| contains(value, wanted))
        }),
        // Order and repetition do not count.
        (Value::Array(items), Value::Array(wanted)) => wanted
            .iter()
            .all(|wanted| items.iter().any(|item| contains(item, wanted))),
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        _ => payload == filter,
    }
}

/// jsonb compares numbers by value: 1 and 1.0 are the same.
fn same_number(one: &Number, other: &Number) -> bool {
    one == other || Decimal::of(one).is_some_and(|one| Some(one) == Decimal::of(other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_contains_a_filter_as_jsonb_says() {
        let payload = json!({
            "step_name": "pay", "attempt_number": 2, "execution_duration": 1.0,
            "step_names": ["a", "b", {"c": 1, "d": 2}], "data": {"results": {"paid": true}}, "none": null
        });
        for filter in [
            json!({}),
            json!({"step_name": "pay"}),
            json!({"attempt_number": 2.0, "execution_duration": 1}),
            json!({"step_names": ["b", "b", "a"]}),
            json!({"step_names": [{"d": 2}]}),
            json!({"data": {"results": {}}}),
            json!({"none": null}),
        ] {
            assert!(contains(&payload, &filter), "{filter}");
        }
        for filter in [
            json!({"step_name": "ship"}),
            json!({"step_name": ["pay"]}),
            json!({"attempt_number": "2"}),
            json!({"step_names": ["z"]}),
            json!({"step_names": "a"}),
            json!({"data": {"results": {"paid": false}}}),
            json!({"missing": null}),
        ] {
            assert!(!contains(&payload, &filter), "{filter}");
        }
    }
}
