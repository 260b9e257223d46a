//! What the payload of an event says of errors, times and performance, under the names that subscribers of earlier engines use.
//!
//! A value that the payload does not have is missing here, and not 0: nothing was measured.

use serde_json::{Number, Value, json};

use super::time::microseconds;

/// Gives the value of a key of a payload; of one in objects, the keys joined by dots.
pub type Payload<'p> = &'p dyn Fn(&str) -> Option<Value>;

/// Names with their values; None: the payload does not say it.
pub type Measures = Vec<(&'static str, Option<Value>)>;

/// What a word in a class of errors means, in the order in which it is looked for. Letters may be of either case.
const CATEGORIES: [(&str, &[&str]); 8] = [
    ("timeout", &["timeout"]),
    ("network", &["connection", "network"]),
    ("not_found", &["notfound", "missing", "404"]),
    ("auth", &["unauthorized", "forbidden", "401", "403"]),
    ("rate_limit", &["ratelimit", "toomanyrequests", "429"]),
    ("client_error", &["badrequest", "invalid", "400"]),
    ("server_error", &["servererror", "internalerror", "500"]),
    ("runtime", &["standarderror", "runtimeerror"]),
];
const OTHER: &str = "other";
const UNKNOWN: &str = "unknown";

/// The category of an error: that of its class, or, where the class names none, that of an HTTP status in the message.
pub fn error_type(class: Option<&str>, message: Option<&str>) -> &'static str {
    let class = class.unwrap_or_default().trim().to_lowercase();
    let of_class = CATEGORIES
        .iter()
        .find(|(_, words)| words.iter().any(|word| class.contains(word)));
    let of_status = || message.and_then(status).and_then(category_of_status);
    match of_class {
        Some((category, _)) => category,
        None => of_status().unwrap_or(if class.is_empty() { UNKNOWN } else { OTHER }),
    }
}

const fn category_of_status(status: u16) -> Option<&'static str> {
    Some(match status {
        408 | 504 => "timeout",
        404 | 410 => "not_found",
        401 | 403 | 407 => "auth",
        429 => "rate_limit",
        400..=499 => "client_error",
        500..=599 => "server_error",
        _ => return None,
    })
}

/// The HTTP status that a text names: three digits behind `http`, `status` or `code`, with a word or a sign between at most. A number
/// alone is none: "500 rows" is no error of a server.
fn status(text: &str) -> Option<u16> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|sign: char| !(sign.is_alphanumeric() || matches!(sign, '/' | '.')))
        .map(|word| word.trim_matches(|sign| matches!(sign, '/' | '.')))
        .filter(|word| !word.is_empty())
        .collect();
    let introduces = |word: &str| {
        matches!(word, "http" | "https" | "status" | "statuscode" | "code")
            || word.starts_with("http/")
    };
    words.iter().enumerate().find_map(|(place, word)| {
        let digits = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        let before = &words[place.saturating_sub(2)..place];
        let said = digits && before.iter().any(|word| introduces(word));
        said.then(|| word.parse().ok()).flatten()
    })
}

fn text(payload: Payload, key: &str) -> Option<String> {
    match payload(key)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn number(payload: Payload, key: &str) -> Option<Value> {
    payload(key).filter(Value::is_number)
}

fn flag(payload: Payload, key: &str) -> Option<bool> {
    payload(key)?.as_bool()
}

/// The first of these that is a number.
fn first_number(payload: Payload, keys: &[&str]) -> Option<Value> {
    keys.iter().find_map(|key| number(payload, key))
}

/// Of a failure: what went wrong, and whether the step runs again.
pub fn of_error(payload: Payload) -> Measures {
    let class = text(payload, "exception_class").or_else(|| text(payload, "error_class"));
    let message = text(payload, "error_message");
    let category = error_type(class.as_deref(), message.as_deref());
    let attempt = number(payload, "attempt_number");
    let limit = number(payload, "retry_limit").and_then(|limit| limit.as_f64());
    let reached = || Some(attempt.as_ref()?.as_f64()? >= limit?);
    let last = flag(payload, "final_failure").or_else(reached);
    vec![
        ("error_message", message.map(Value::from)),
        ("error_class", class.map(Value::from)),
        ("error_type", Some(category.into())),
        ("is_retryable", flag(payload, "retryable").map(Value::from)),
        ("final_failure", last.map(Value::from)),
        ("attempt_number", attempt),
    ]
}

/// Of a run or a task that ended: its times, and how many steps it has.
pub fn of_timing(payload: Payload) -> Measures {
    let time = |key| text(payload, key).map(Value::from);
    vec![
        (
            "execution_duration",
            first_number(payload, &["execution_duration", "total_execution_duration"]),
        ),
        ("started_at", time("started_at")),
        ("completed_at", time("completed_at")),
        (
            "step_count",
            first_number(payload, &["total_steps", "step_count"]),
        ),
        ("completed_steps", number(payload, "completed_steps")),
        ("failed_steps", number(payload, "failed_steps")),
    ]
}

/// Of a run: what the engine knows of waiting and working, and what its worker reported of memory and processor.
pub fn of_performance(payload: Payload) -> Measures {
    let reported = |key: &str| {
        let in_results = format!("data.results.{key}");
        let in_metadata = format!("data.results.metadata.{key}");
        first_number(payload, &[key, &in_results, &in_metadata])
    };
    vec![
        ("memory_usage", reported("memory_usage")),
        ("cpu_time", reported("cpu_time")),
        ("queue_time", reported("queue_time")),
        (
            "processing_time",
            first_number(payload, &["processing_time", "execution_duration"]),
        ),
        (
            "retry_delay",
            first_number(
                payload,
                &["retry_delay", "backoff_seconds", "delay_seconds"],
            )
            .or_else(|| until_retry(payload)),
        ),
    ]
}

/// Seconds from the event to the retry that it announces.
fn until_retry(payload: Payload) -> Option<Value> {
    let at = |key| microseconds(&text(payload, key)?);
    let wait = at("retry_at")?.checked_sub(at("timestamp")?)?;
    Number::from_f64(wait.max(0) as f64 / 1e6).map(Value::Number)
}

/// Tags for systems that take `key:value`: task, step, environment, source, retryable, attempt, priority, as far as the payload
/// has them. `retryable` is there only if it is true.
pub fn tags(payload: Payload) -> Vec<String> {
    let shown = |value: Value| match value {
        Value::String(text) => (!text.is_empty()).then_some(text),
        Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let value = |keys: &[&str]| keys.iter().find_map(|key| payload(key)).and_then(shown);
    let retryable = flag(payload, "retryable").filter(|retryable| *retryable);
    [
        ("task", value(&["task_name"])),
        ("step", value(&["step_name"])),
        ("environment", value(&["environment"])),
        ("source", value(&["source_system", "source"])),
        ("retryable", retryable.map(|yes| json!(yes).to_string())),
        ("attempt", value(&["attempt_number"])),
        ("priority", value(&["priority"])),
    ]
    .into_iter()
    .filter_map(|(tag, value)| Some(format!("{tag}:{}", value?)))
    .collect()
}
