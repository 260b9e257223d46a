//! Reads the fields of a template, whatever their spelling.
//!
//! Three spellings are understood: the canonical one, the one of existing Rails applications (`step_templates`, `handler_class`, ...)
//! and a later one (`task_handler {callable}`, `dependencies`, `retry {retryable, limit}`, `publishes_events`). The first
//! spelling in each list is the canonical one.

use serde_json::{Map, Value};

use super::model::IdentityStrategy;
use super::raw::{Located, RawBody, RawEnvironment, RawStep, RawTemplate};
use super::reader::{Findings, Object, below, described, kind_of, text_value};
use super::step_fields::{step, timeout_seconds};
use crate::engine::identity::Window;
use crate::names;
use crate::number::whole_number;

pub(super) const NAME: &[&str] = &["name"];
pub(super) const NAMESPACE: &[&str] = &["namespace_name", "namespace"];
pub(super) const VERSION: &[&str] = &["version"];
pub(super) const DESCRIPTION: &[&str] = &["description"];
pub(super) const TASK_HANDLER: &[&str] = &["task_handler", "task_handler_class"];
pub(super) const MODULE: &[&str] = &["module_namespace"];
pub(super) const INPUT_SCHEMA: &[&str] = &["input_schema", "schema"];
pub(super) const IDENTITY: &[&str] = &["identity_strategy"];
pub(super) const IDENTITY_WINDOW: &[&str] = &["identity_window"];
pub(super) const DEPENDENT_SYSTEM: &[&str] = &["default_dependent_system"];
pub(super) const QUEUE: &[&str] = &["queue"];
pub(super) const TIMEOUT: &[&str] = &["timeout_seconds"];
pub(super) const NAMED_STEPS: &[&str] = &["named_steps"];
pub(super) const CONCURRENT: &[&str] = &["concurrent"];
pub(super) const STEPS: &[&str] = &["steps", "step_templates"];
pub(super) const ENVIRONMENTS: &[&str] = &["environments"];
/// Keys of a handler that is an object.
pub(super) const HANDLER_KEYS: &[&str] = &["callable", "initialization"];
/// The work of reading a step.
const STEP: u64 = 16;
/// Known keys that the engine keeps without reading them.
pub(super) const CARRIED: &[&str] = &["metadata", "system_dependencies", "domain_events"];

pub(super) fn known_keys() -> Vec<&'static str> {
    [
        NAME,
        NAMESPACE,
        VERSION,
        DESCRIPTION,
        TASK_HANDLER,
        MODULE,
        INPUT_SCHEMA,
        IDENTITY,
        IDENTITY_WINDOW,
        DEPENDENT_SYSTEM,
        QUEUE,
        TIMEOUT,
        NAMED_STEPS,
        CONCURRENT,
        STEPS,
        ENVIRONMENTS,
        CARRIED,
    ]
    .concat()
}

/// Reads the whole template; `None` only if it is not an object.
pub(super) fn template(value: &Value, findings: &mut Findings) -> Option<RawTemplate> {
    let mut object = Object::open(value, "", findings)?;
    object.tell_unknown(&known_keys());
    let name = object.text(NAME, names::check_task);
    if name.is_none() && object.get(NAME).is_none() {
        object.findings().error("name", "the template needs a name");
    }
    let namespace = object.text(NAMESPACE, names::check_namespace);
    let version = version(&mut object);
    let module = object.text(MODULE, names::check_handler);
    let body = body(&mut object, module.as_deref(), false);
    let environments = environments(&mut object, module.as_deref());
    Some(RawTemplate {
        name,
        namespace,
        version,
        body,
        environments,
    })
}

fn version(object: &mut Object<'_, '_>) -> Option<String> {
    let (value, path) = object.get(VERSION)?;
    if let Value::Number(_) = value {
        let found = described(value);
        let message = format!("expected three numbers such as 1.0.0, found {found}");
        object.findings().error(path, message);
        return None;
    }
    object.text(VERSION, names::check_version)
}

fn body(object: &mut Object<'_, '_>, module: Option<&str>, in_environment: bool) -> RawBody {
    let (task_handler, task_handler_config) = task_handler(object, module);
    if let Some(false) = object.boolean(CONCURRENT) {
        let path = below(object.path(), "concurrent");
        object.findings().warning(
            path,
            "has no effect: independent steps always run at the same time",
        );
    }
    let mut carried = Map::new();
    for key in CARRIED {
        if let Some((value, _)) = object.get(&[key]) {
            carried.insert((*key).to_owned(), value.clone());
        }
    }
    let (steps, steps_path, steps_unreadable) = steps(object, in_environment);
    RawBody {
        steps_path,
        steps_unreadable,
        description: object.text(DESCRIPTION, names::check_description),
        task_handler,
        task_handler_config,
        input_schema: object.get(INPUT_SCHEMA).map(|(value, path)| Located {
            value: value.clone(),
            path,
        }),
        identity_strategy: object.word(IDENTITY, |text| match text {
            // The word that existing Rails applications use for it.
            "default" => Ok(IdentityStrategy::Unique),
            other => other.parse(),
        }),
        identity_window: identity_window(object),
        default_dependent_system: object.text(DEPENDENT_SYSTEM, names::check_dependent_system),
        queue: object.text(QUEUE, names::check_queue),
        timeout_seconds: timeout_seconds(object, TIMEOUT),
        named_steps: named_steps(object),
        steps,
        carried,
    }
}

/// `off`, or a duration: a number of seconds, or a text with a unit.
fn identity_window(object: &mut Object<'_, '_>) -> Option<Window> {
    let (value, path) = object.get(IDENTITY_WINDOW)?;
    let read = match value {
        Value::Number(number) => whole_number(number).and_then(Window::from_seconds),
        Value::String(text) => match text.parse() {
            Ok(window) => Some(window),
            Err(message) => {
                object.findings().error(path, message);
                return None;
            }
        },
        _ => None,
    };
    if read.is_none() {
        let message = format!(
            "expected off, a number of seconds or a text such as 10 minutes or 1 day, found {}",
            described(value)
        );
        object.findings().error(path, message);
    }
    read
}

/// `task_handler` is an object or a text; `task_handler_class` a text below `module_namespace`.
fn task_handler(
    object: &mut Object<'_, '_>,
    module: Option<&str>,
) -> (Option<String>, Option<Map<String, Value>>) {
    let Some((value, path)) = object.get(TASK_HANDLER) else {
        return (None, None);
    };
    if value.is_object() {
        let Some(mut inner) = Object::open(value, &path, object.findings()) else {
            return (None, None);
        };
        inner.tell_unknown(HANDLER_KEYS);
        (
            inner.text(&["callable"], names::check_handler),
            inner.map(&["initialization"]),
        )
    } else {
        let class = text_value(value, &path, names::check_handler, object.findings());
        let full = class.map(|class| match module {
            Some(module) => format!("{module}::{class}"),
            None => class,
        });
        (full, None)
    }
}

fn named_steps(object: &mut Object<'_, '_>) -> Option<Vec<String>> {
    let (items, path) = object.list(NAMED_STEPS, "")?;
    let mut named = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if !object.findings().goes_on(1) {
            break;
        }
        let path = format!("{path}[{index}]");
        named.extend(text_value(
            item,
            &path,
            names::check_step,
            object.findings(),
        ));
    }
    Some(named)
}

/// The steps, and whether all of them could be read.
fn steps(object: &mut Object<'_, '_>, in_environment: bool) -> (Vec<RawStep>, String, bool) {
    let Some((items, path)) = object.list(STEPS, "") else {
        let unreadable = object.get(STEPS).is_some();
        return (Vec::new(), below(object.path(), STEPS[0]), unreadable);
    };
    let mut read = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if !object.findings().goes_on(STEP) {
            break;
        }
        let path = format!("{path}[{index}]");
        read.extend(step(item, &path, in_environment, object.findings()));
    }
    let unreadable = read.len() < items.len();
    (read, path, unreadable)
}

fn environments(object: &mut Object<'_, '_>, module: Option<&str>) -> Vec<RawEnvironment> {
    let Some((value, path)) = object.get(ENVIRONMENTS) else {
        return Vec::new();
    };
    let Value::Object(map) = value else {
        let message = format!(
            "expected an object from environment name to overrides, found {}",
            kind_of(value)
        );
        object.findings().error(path, message);
        return Vec::new();
    };
    let findings = object.findings();
    let mut environments = Vec::new();
    for (name, value) in map {
        // An empty section of YAML is null.
        if value.is_null() {
            continue;
        }
        let path = below(&path, name);
        if let Err(message) = names::check_environment(name) {
            findings.error(path.as_str(), message);
        }
        let Some(mut inner) = Object::open(value, &path, findings) else {
            continue;
        };
        inner.tell_unknown(&known_keys());
        for fixed in [NAME, NAMESPACE, VERSION, ENVIRONMENTS] {
            if let Some((_, at)) = inner.get(fixed) {
                inner
                    .findings()
                    .warning(at, "cannot differ between environments and is ignored");
            }
        }
        let own_module = inner.text(MODULE, names::check_handler);
        let body = body(&mut inner, own_module.as_deref().or(module), true);
        environments.push(RawEnvironment {
            name: name.clone(),
            body,
        });
    }
    environments
}
