//! Reads the fields of one step, whatever their spelling.

use serde_json::{Map, Value};

use super::model::{CustomEvent, Priority};
use super::raw::{Located, RawStep};
use super::reader::{Findings, Object, described, kind_of, text_value};
use crate::engine::backoff::{self, Kind};
use crate::names;

const NAME: &[&str] = &["name"];
const DESCRIPTION: &[&str] = &["description"];
const HANDLER: &[&str] = &["handler", "handler_class"];
const HANDLER_CONFIG: &[&str] = &["handler_config"];
/// Lists of dependencies.
const DEPENDS_LIST: &[&str] = &["depends_on_steps", "dependencies", "depends_on"];
/// A single dependency.
const DEPENDS_ONE: &[&str] = &["depends_on_step"];
const DEPENDENT_SYSTEM: &[&str] = &["dependent_system", "system_dependency"];
const QUEUE: &[&str] = &["queue"];
const RETRYABLE: &[&str] = &["default_retryable", "retryable"];
const RETRY_LIMIT: &[&str] = &["default_retry_limit", "retry_limit"];
const RETRY: &[&str] = &["retry"];
const TIMEOUT: &[&str] = &["timeout_seconds"];
const PRIORITY: &[&str] = &["priority"];
const SKIPPABLE: &[&str] = &["skippable"];
const RESULTS_SCHEMA: &[&str] = &["results_schema"];
const EVENTS: &[&str] = &["custom_events", "publishes_events"];

const RETRY_KEYS: &[&str] = &[
    "backoff",
    "backoff_base_ms",
    "base_ms",
    "max_backoff_ms",
    "max_ms",
    "jitter",
    "retryable",
    "limit",
    "retry_limit",
];

/// Reads one entry of a list of steps; `None` only if it is no object. In an environment only the name is needed.
pub(super) fn step(
    value: &Value,
    path: &str,
    in_environment: bool,
    findings: &mut Findings,
) -> Option<RawStep> {
    let mut object = Object::open(value, path, findings)?;
    object.warn_unknown(
        &[
            NAME,
            DESCRIPTION,
            HANDLER,
            HANDLER_CONFIG,
            DEPENDS_LIST,
            DEPENDS_ONE,
            DEPENDENT_SYSTEM,
            QUEUE,
            RETRYABLE,
            RETRY_LIMIT,
            RETRY,
            TIMEOUT,
            PRIORITY,
            SKIPPABLE,
            RESULTS_SCHEMA,
            EVENTS,
        ]
        .concat(),
    );
    let name = object.text(NAME, names::check_step);
    if name.is_none() && object.get(NAME).is_none() {
        object
            .findings()
            .error(format!("{path}.name"), "the step needs a name");
    }
    let (handler, initialization) = handler(&mut object);
    if !in_environment
        && handler.is_none()
        && object
            .get(HANDLER)
            .is_none_or(|(value, _)| no_callable(value))
    {
        object.findings().error(
            format!("{path}.handler.callable"),
            "the step needs a handler",
        );
    }
    let retry = retry(&mut object);
    Some(RawStep {
        path: path.to_owned(),
        name,
        description: object.text(DESCRIPTION, names::check_description),
        handler,
        initialization,
        depends_on: dependencies(&mut object),
        dependent_system: object.text(DEPENDENT_SYSTEM, names::check_dependent_system),
        queue: object.text(QUEUE, names::check_queue),
        retryable: retry.retryable,
        retry_limit: retry.limit,
        backoff: retry.backoff,
        timeout_seconds: timeout_seconds(&mut object, TIMEOUT),
        priority: priority(&mut object),
        skippable: object.boolean(SKIPPABLE),
        results_schema: object.get(RESULTS_SCHEMA).map(|(value, path)| Located {
            value: value.clone(),
            path,
        }),
        custom_events: custom_events(&mut object),
    })
}

fn no_callable(handler: &Value) -> bool {
    handler
        .as_object()
        .is_some_and(|map| map.get("callable").is_none_or(Value::is_null))
}

/// The callable and the initialization, which `handler_config` may hold as well.
fn handler(object: &mut Object<'_, '_>) -> (Option<String>, Option<Map<String, Value>>) {
    let outer = object.map(HANDLER_CONFIG);
    let Some((value, path)) = object.get(HANDLER) else {
        return (None, outer);
    };
    if !value.is_object() {
        return (
            text_value(value, &path, names::check_handler, object.findings()),
            outer,
        );
    }
    let Some(mut inner) = Object::open(value, &path, object.findings()) else {
        return (None, outer);
    };
    inner.warn_unknown(&["callable", "initialization"]);
    let callable = inner.text(&["callable"], names::check_handler);
    let initialization = inner.map(&["initialization"]);
    if let (Some(inside), Some(outside)) = (&initialization, &outer)
        && inside != outside
    {
        let at = format!("{}.handler_config", object.path());
        object.findings().error(
            at,
            "conflicts with its synonym handler.initialization; give one of them",
        );
    }
    (callable, initialization.or(outer))
}

/// All dependencies, in the order written. `None` if no key for them is there at all.
fn dependencies(object: &mut Object<'_, '_>) -> Option<Vec<Located<String>>> {
    let one = object.get(DEPENDS_ONE).and_then(|(value, path)| {
        if value.is_array() {
            object.findings().error(
                path,
                "expected one step name, found a list; use depends_on_steps",
            );
            return None;
        }
        let name = text_value(value, &path, names::check_step, object.findings())?;
        Some(Located { value: name, path })
    });
    let list = object.list(DEPENDS_LIST, "; write [name] or use depends_on_step");
    if one.is_none() && list.is_none() {
        return None;
    }
    let mut all: Vec<Located<String>> = Vec::new();
    if let Some((items, list_path)) = list {
        for (index, item) in items.iter().enumerate() {
            let path = format!("{list_path}[{index}]");
            let Some(name) = text_value(item, &path, names::check_step, object.findings()) else {
                continue;
            };
            all.push(Located { value: name, path });
        }
    }
    if let Some(one) = one {
        // The two keys are united, so naming a step in both is not a second edge.
        if all.iter().any(|other| other.value == one.value) {
            let message = format!(
                "{} is in the list of dependencies too",
                names::shown(&one.value)
            );
            object.findings().warning(one.path, message);
        } else {
            all.insert(0, one);
        }
    }
    Some(all)
}

/// Retry settings from the step itself and from its `retry` object.
#[derive(Default)]
struct Retry {
    retryable: Option<bool>,
    limit: Option<i16>,
    backoff: backoff::Policy,
}

fn retry(object: &mut Object<'_, '_>) -> Retry {
    let limits = |object: &mut Object<'_, '_>, spellings: &[&str]| {
        object
            .integer(spellings, 0, i64::from(i16::MAX))
            .and_then(|limit| i16::try_from(limit).ok())
    };
    let mut found = Retry {
        retryable: object.boolean(RETRYABLE),
        limit: limits(object, RETRY_LIMIT),
        backoff: backoff::Policy::default(),
    };
    let Some((value, path)) = object.get(RETRY) else {
        return found;
    };
    let Some(mut inner) = Object::open(value, &path, object.findings()) else {
        return found;
    };
    inner.warn_unknown(RETRY_KEYS);
    let milliseconds = |inner: &mut Object<'_, '_>, spellings: &[&str]| {
        inner.integer(spellings, 1, i64::from(i32::MAX))
    };
    found.backoff = backoff::Policy {
        kind: inner.word(&["backoff"], |text| {
            text.parse::<Kind>().map_err(|error| error.to_string())
        }),
        base_ms: milliseconds(&mut inner, &["backoff_base_ms", "base_ms"]),
        max_ms: milliseconds(&mut inner, &["max_backoff_ms", "max_ms"]),
        jitter: jitter(&mut inner),
    };
    let retryable = inner.boolean(&["retryable"]);
    let limit = limits(&mut inner, &["limit", "retry_limit"]);
    if found.retryable.is_some() && retryable.is_some() && found.retryable != retryable {
        inner.findings().error(
            format!("{path}.retryable"),
            "contradicts the step's own default_retryable",
        );
    }
    if found.limit.is_some() && limit.is_some() && found.limit != limit {
        inner.findings().error(
            format!("{path}.limit"),
            "contradicts the step's own default_retry_limit",
        );
    }
    found.retryable = found.retryable.or(retryable);
    found.limit = found.limit.or(limit);
    found
}

/// A share from 0 to 1, or true for a tenth and false for none.
fn jitter(object: &mut Object<'_, '_>) -> Option<f64> {
    let (value, path) = object.get(&["jitter"])?;
    let share = match value {
        Value::Bool(true) => Some(0.1),
        Value::Bool(false) => Some(0.0),
        Value::Number(number) => number.as_f64().filter(|share| (0.0..=1.0).contains(share)),
        _ => None,
    };
    if share.is_none() {
        let message = format!(
            "expected a share from 0 to 1 or true or false, found {}",
            described(value)
        );
        object.findings().error(path, message);
    }
    share
}

fn custom_events(object: &mut Object<'_, '_>) -> Option<Vec<CustomEvent>> {
    let (items, list_path) = object.list(EVENTS, "")?;
    let mut events: Vec<CustomEvent> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{list_path}[{index}]");
        let Some(event) = custom_event(item, &path, object.findings()) else {
            continue;
        };
        if events.iter().any(|other| other.name == event.name) {
            object.findings().warning(
                path,
                format!("event {} is declared twice", names::shown(&event.name)),
            );
        } else {
            events.push(event);
        }
    }
    Some(events)
}

/// An event is a name or an object with a name.
fn custom_event(item: &Value, path: &str, findings: &mut Findings) -> Option<CustomEvent> {
    if let Value::String(_) = item {
        let name = text_value(item, path, names::check_custom_event, findings)?;
        return Some(CustomEvent {
            name,
            description: None,
        });
    }
    if !item.is_object() {
        findings.error(
            path,
            format!(
                "expected an event name or an object with one, found {}",
                kind_of(item)
            ),
        );
        return None;
    }
    let mut object = Object::open(item, path, findings)?;
    object.warn_unknown(&["name", "description", "schema"]);
    let Some((name, at)) = object.get(&["name"]) else {
        object
            .findings()
            .error(format!("{path}.name"), "the event needs a name");
        return None;
    };
    let name = text_value(name, &at, names::check_custom_event, object.findings());
    let description = object.text(DESCRIPTION, names::check_description);
    name.map(|name| CustomEvent { name, description })
}

/// Reads how long something may take: whole seconds, at least one.
pub(super) fn timeout_seconds(object: &mut Object<'_, '_>, spellings: &[&str]) -> Option<i32> {
    object
        .integer(spellings, 1, i64::from(i32::MAX))
        .and_then(|seconds| i32::try_from(seconds).ok())
}

/// Reads a priority: a number from 1 to 4 or its word.
pub(super) fn priority(object: &mut Object<'_, '_>) -> Option<Priority> {
    let (value, path) = object.get(&["priority"])?;
    let read = match value {
        Value::Number(number) => number
            .as_i64()
            .and_then(Priority::from_level)
            .ok_or_else(|| {
                format!(
                    "expected a priority from 1 (low) to 4 (urgent), found {}",
                    described(value)
                )
            }),
        Value::String(text) => text.parse(),
        other => Err(format!(
            "expected a priority from 1 (low) to 4 (urgent), found {}",
            kind_of(other)
        )),
    };
    read.map_err(|message| object.findings().error(path, message))
        .ok()
}
