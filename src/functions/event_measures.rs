//! What the payload of an event says of errors, times and performance. Only the keys that are asked for are read.

use serde_json::Value;
use tasker_rules::events::measures::{self, Measures, Payload};

use crate::error::{Error, Result};
use crate::pg::call::{Call, Output};
use crate::pg::datum::{self, Field, Object, OwnedJsonb};

crate::pg::call::sql_function! {
    error_type;
    extract_error_metrics;
    extract_timing_metrics;
    extract_performance_metrics;
    metric_tags;
}

fn error_type(call: &mut Call) -> Result<Output> {
    let (class, message) = (call.opt_text(0), call.opt_text(1));
    let category = measures::error_type(class.as_deref(), message.as_deref());
    Ok(Output::from(category))
}

fn extract_error_metrics(call: &mut Call) -> Result<Output> {
    extract(call, measures::of_error)
}

fn extract_timing_metrics(call: &mut Call) -> Result<Output> {
    extract(call, measures::of_timing)
}

fn extract_performance_metrics(call: &mut Call) -> Result<Output> {
    extract(call, measures::of_performance)
}

fn metric_tags(call: &mut Call) -> Result<Output> {
    let Some(tags) = with_payload(call, measures::tags)? else {
        return Ok(Output::Null);
    };
    let tags = datum::texts(tags.iter().map(|tag| Some(tag.as_str())));
    Ok(Output::array(&tags))
}

fn extract(call: &Call, measure: impl Fn(Payload) -> Measures) -> Result<Output> {
    let Some(measures) = with_payload(call, measure)? else {
        return Ok(Output::Null);
    };
    let nothing = Value::Null;
    let entries = measures
        .iter()
        .map(|(key, value)| (*key, value.as_ref().unwrap_or(&nothing)));
    let object = datum::object_of(entries)
        .ok_or_else(|| Error::corrupt("what a payload says fits into an object"))?;
    Ok(Output::Jsonb(OwnedJsonb::copy(object)))
}

/// None for NULL.
fn with_payload<T>(call: &Call, of: impl Fn(Payload) -> T) -> Result<Option<T>> {
    let Some(payload) = call.opt_jsonb(0) else {
        return Ok(None);
    };
    let object = Object::of(payload).ok_or_else(|| {
        Error::parameter("payload must be a JSON object")
            .detail("The document given is an array or a single value.")
            .hint("Give the payload of an event.")
    })?;
    Ok(Some(of(&|path| {
        let mut keys = path.split('.');
        let first = object.get(keys.next()?)?;
        let found = keys.try_fold(first, |field, key| Object::of(field.to_jsonb())?.get(key))?;
        single(&found)
    })))
}

/// A text, a number or a flag.
fn single(field: &Field) -> Option<Value> {
    let text = || field.as_str().map(Value::from);
    let flag = || field.as_bool().map(Value::from);
    let number = || serde_json::from_str(&field.as_number()?).ok();
    text().or_else(flag).or_else(number)
}
