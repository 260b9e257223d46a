//! Reads the fields of one step, whatever their spelling.

use serde_json::{Map, Value};

use super::fields::HANDLER_KEYS;
use super::model::{CustomEvent, Priority};
use super::raw::{Located, RawStep};
use super::reader::{Findings, Object, described, kind_of, text_value};
use crate::engine::backoff::{self, Kind};
use crate::events::catalog;
use crate::names;
use crate::number::whole_number;

pub(super) const NAME: &[&str] = &["name"];
pub(super) const DESCRIPTION: &[&str] = &["description"];
pub(super) const HANDLER: &[&str] = &["handler", "handler_class"];
pub(super) const HANDLER_CONFIG: &[&str] = &["handler_config"];
/// Lists of dependencies.
pub(super) const DEPENDS_LIST: &[&str] = &["depends_on_steps", "dependencies", "depends_on"];
/// A single dependency.
pub(super) const DEPENDS_ONE: &[&str] = &["depends_on_step"];
pub(super) const DEPENDENT_SYSTEM: &[&str] = &["dependent_system", "system_dependency"];
pub(super) const QUEUE: &[&str] = &["queue"];
pub(super) const RETRYABLE: &[&str] = &["default_retryable", "retryable"];
pub(super) const RETRY_LIMIT: &[&str] = &["default_retry_limit", "retry_limit"];
pub(super) const RETRY: &[&str] = &["retry"];
pub(super) const TIMEOUT: &[&str] = &["timeout_seconds"];
pub(super) const PRIORITY: &[&str] = &["priority"];
pub(super) const SKIPPABLE: &[&str] = &["skippable"];
pub(super) const RESULTS_SCHEMA: &[&str] = &["results_schema"];
pub(super) const EVENTS: &[&str] = &["custom_events", "publishes_events"];

pub(super) const BACKOFF: &[&str] = &["backoff"];
pub(super) const BACKOFF_BASE: &[&str] = &["backoff_base_ms", "base_ms"];
pub(super) const BACKOFF_MAX: &[&str] = &["max_backoff_ms", "max_ms"];
pub(super) const JITTER: &[&str] = &["jitter"];
pub(super) const RETRY_RETRYABLE: &[&str] = &["retryable"];
pub(super) const RETRY_ATTEMPTS: &[&str] = &["limit", "retry_limit", "max_attempts"];
/// Kinds of steps: there is only one. Another would run at another time than its author meant.
pub(super) const TYPE: &[&str] = &["type"];
pub(super) const ONLY_TYPE: &str = "standard";

/// Keys of an event that is an object.
pub(super) const EVENT_KEYS: &[&str] = &["name", "description", "schema"];

pub(super) fn known_keys() -> Vec<&'static str> {
    [
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
        TYPE,
    ]
    .concat()
}

pub(super) fn known_retry_keys() -> Vec<&'static str> {
    [
        BACKOFF,
        BACKOFF_BASE,
        BACKOFF_MAX,
        JITTER,
        RETRY_RETRYABLE,
        RETRY_ATTEMPTS,
    ]
    .concat()
}

/// Reads one entry of a list of steps; `None` only if it is no object. In an environment only the name is needed.
pub(super) fn step(
    value: &Value,
    path: &str,
    in_environment: bool,
    findings: &mut Findings,
) -> Option<RawStep> {
    let mut object = Object::open(value, path, findings)?;
    object.tell_unknown(&known_keys());
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
    object.word(TYPE, |text| match text {
        ONLY_TYPE => Ok(()),
        other => Err(format!(
            "unknown type of step {}; every step is of the type {ONLY_TYPE}",
            names::shown(other)
        )),
    });
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
    inner.tell_unknown(HANDLER_KEYS);
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
            if !object.findings().goes_on(1) {
                break;
            }
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
    inner.tell_unknown(&known_retry_keys());
    let milliseconds = |inner: &mut Object<'_, '_>, spellings: &[&str]| {
        inner.integer(spellings, 1, i64::from(i32::MAX))
    };
    found.backoff = backoff::Policy {
        kind: inner.word(BACKOFF, |text| {
            text.parse::<Kind>().map_err(|error| error.to_string())
        }),
        base_ms: milliseconds(&mut inner, BACKOFF_BASE),
        max_ms: milliseconds(&mut inner, BACKOFF_MAX),
        jitter: jitter(&mut inner),
    };
    let retryable = inner.boolean(RETRY_RETRYABLE);
    let limit = limits(&mut inner, RETRY_ATTEMPTS);
    if found.retryable.is_some() && retryable.is_some() && found.retryable != retryable {
        inner.findings().error(
            format!("{path}.retryable"),
            "contradicts the step's own default_retryable",
        );
    }
    if found.limit.is_some() && limit.is_some() && found.limit != limit {
        let at = inner.get(RETRY_ATTEMPTS).map_or(path, |(_, at)| at);
        inner
            .findings()
            .error(at, "contradicts the step's own default_retry_limit");
    }
    found.retryable = found.retryable.or(retryable);
    found.limit = found.limit.or(limit);
    found
}

/// A share from 0 to 1, or true for a tenth and false for none.
fn jitter(object: &mut Object<'_, '_>) -> Option<f64> {
    let (value, path) = object.get(JITTER)?;
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
        // Each is compared with all before it.
        if !object.findings().goes_on(1 + events.len() as u64) {
            break;
        }
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
        let name = text_value(item, path, catalog::check_custom, findings)?;
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
    object.tell_unknown(EVENT_KEYS);
    let Some((name, at)) = object.get(&["name"]) else {
        object
            .findings()
            .error(format!("{path}.name"), "the event needs a name");
        return None;
    };
    let name = text_value(name, &at, catalog::check_custom, object.findings());
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
    let (value, path) = object.get(PRIORITY)?;
    let read = match value {
        Value::Number(number) => whole_number(number)
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
