//! Loading the configuration, going back, and what is in force.

use std::collections::BTreeMap;

use pgrx::pg_sys;
use serde_json::{Value, json};
use tasker_rules::configuration::component::File;
use tasker_rules::configuration::{Component, Finding, Leaves, Severity};

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::{Session, Statement};
use crate::pg::{rights, snapshot};

crate::pg::call::sql_function! {
    effective_config;
    load_config;
    load_config_set;
    rollback_config;
    set_environment;
    validate_config;
    validate_config_set;
}

// A second loader waits here, and sees what the first has loaded.
static LOCK: Statement = Statement::new(
    "LOCK TABLE tasker_engine.config_files IN SHARE ROW EXCLUSIVE MODE",
    &[],
);

static LOADED: Statement = Statement::new(
    "SELECT f.environment, f.component, f.leaves FROM tasker_engine.config_files f",
    &[],
);

static STATE: Statement =
    Statement::new("SELECT s.environment FROM tasker_engine.config_state s", &[]);

static CURRENT_VERSION: Statement = Statement::new(
    "SELECT coalesce(max(v.version), 0) FROM tasker_engine.config_versions v",
    &[],
);

static NEW_VERSION: Statement = Statement::new(
    "INSERT INTO tasker_engine.config_versions (version, changed_at, changed_by, session, reason, environment, diff, files)
     VALUES ($1, $2, $3,
             concat_ws(' ', session_user, nullif(current_setting('application_name'), ''), host(inet_client_addr())),
             $4, $5, $6, $7)",
    &[
        pg_sys::INT8OID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::JSONBOID,
        pg_sys::JSONBOID,
    ],
);

static REMOVE: Statement = Statement::new(
    "DELETE FROM tasker_engine.config_files f
     USING jsonb_to_recordset($1) AS c (environment text, component text, leaves jsonb)
     WHERE f.environment = c.environment AND f.component = c.component AND c.leaves IS NULL",
    &[pg_sys::JSONBOID],
);

static PUT: Statement = Statement::new(
    "INSERT INTO tasker_engine.config_files AS f (environment, component, leaves, version)
     SELECT c.environment, c.component, c.leaves, $2
     FROM jsonb_to_recordset($1) AS c (environment text, component text, leaves jsonb)
     WHERE c.leaves IS NOT NULL
     ON CONFLICT (environment, component) DO UPDATE SET leaves = EXCLUDED.leaves, version = EXCLUDED.version",
    &[pg_sys::JSONBOID, pg_sys::INT8OID],
);

static PUT_STATE: Statement = Statement::new(
    "INSERT INTO tasker_engine.config_state AS s (environment) VALUES ($1)
     ON CONFLICT (one) DO UPDATE SET environment = EXCLUDED.environment",
    &[pg_sys::TEXTOID],
);

static OF_VERSION: Statement = Statement::new(
    "SELECT DISTINCT ON (c.environment, c.component) c.environment, c.component, c.leaves
     FROM tasker_engine.config_versions v, jsonb_to_recordset(v.files) AS c (environment text, component text, leaves jsonb)
     WHERE v.version <= $1
     ORDER BY c.environment, c.component, v.version DESC",
    &[pg_sys::INT8OID],
);

static VERSION: Statement = Statement::new(
    "SELECT v.environment FROM tasker_engine.config_versions v WHERE v.version = $1",
    &[pg_sys::INT8OID],
);

/// All files that are loaded.
type Files = BTreeMap<File, Leaves>;

fn load_config(call: &mut Call) -> Result<Output> {
    let (files, force) = one_file(call)?;
    load(call, files, force)
}

fn load_config_set(call: &mut Call) -> Result<Output> {
    let (files, force) = several_files(call)?;
    load(call, files, force)
}

fn validate_config(call: &mut Call) -> Result<Output> {
    let (files, force) = one_file(call)?;
    let findings = rights::as_owner(|_| {
        snapshot::with_newest(|_| {
            let session = Session::open()?;
            Ok(checked(&loaded(&session)?, files, force).1)
        })
    })?;
    rows(call, &findings)
}

fn validate_config_set(call: &mut Call) -> Result<Output> {
    let (files, force) = several_files(call)?;
    let findings = rights::as_owner(|_| {
        snapshot::with_newest(|_| {
            let session = Session::open()?;
            Ok(checked(&loaded(&session)?, files, force).1)
        })
    })?;
    rows(call, &findings)
}

/// A file with its text; None removes it.
type Text = (File, Option<String>);

fn one_file(call: &Call) -> Result<(Vec<Text>, bool)> {
    let component: String = call.get(0, "component")?;
    let toml: String = call.get(1, "toml")?;
    let file = File {
        environment: call.opt_text(2),
        component: component_of(&component)?,
    };
    if let Some(name) = &file.environment {
        check_environment(name)?;
    }
    Ok((vec![(file, Some(toml))], call.get(3, "force")?))
}

fn several_files(call: &Call) -> Result<(Vec<Text>, bool)> {
    let files: Jsonb = call.jsonb(0, "files")?;
    let force = call.get(1, "force")?;
    let Ok(Value::Object(files)) = serde_json::from_str(&datum::jsonb_text(files)) else {
        return Err(Error::parameter("files must be an object from path to text")
            .detail("The call gave another kind of JSON.")
            .hint("Such as {\"base/engine.toml\": \"...\", \"environments/test/engine.toml\": \"...\"}."));
    };
    let texts = files
        .into_iter()
        .map(|(path, text)| {
            let file = file_of(&path)?;
            match text {
                Value::Null => Ok((file, None)),
                Value::String(text) => Ok((file, Some(text))),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    Err(Error::parameter(format!("the content of {} is no text", call::shortened(&path)))
                        .hint("Give the text of the TOML file, or null to remove it."))
                }
            }
        })
        .collect::<Result<_>>()?;
    Ok((texts, force))
}

fn component_of(name: &str) -> Result<Component> {
    name.parse().map_err(|_| {
        let known: Vec<&str> = Component::ALL.map(Component::name).to_vec();
        Error::parameter(format!("there is no component \"{}\"", call::shortened(name)))
            .hint(format!("The components are {}.", known.join(", ")))
    })
}

fn file_of(path: &str) -> Result<File> {
    let refused = || {
        Error::parameter(format!("\"{}\" is no path of a file of the configuration", call::shortened(path)))
            .hint("Use base/COMPONENT.toml or environments/ENVIRONMENT/COMPONENT.toml.")
    };
    let (environment, name) = match path.split('/').collect::<Vec<_>>()[..] {
        ["base", name] => (None, name),
        ["environments", environment, name] => (Some(environment.to_owned()), name),
        _ => return Err(refused()),
    };
    let component = component_of(name.strip_suffix(".toml").ok_or_else(refused)?)?;
    if let Some(name) = &environment {
        check_environment(name)?;
    }
    Ok(File { environment, component })
}

/// A name that can be that of a directory.
fn check_environment(name: &str) -> Result<()> {
    let is_plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || "_-".contains(character);
    if !name.is_empty() && name.len() <= 63 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(Error::parameter(format!("\"{}\" is no name of an environment", call::shortened(name)))
        .hint("Use small letters, digits, _ and -, such as production."))
}

/// Checks and stores; returns what was found.
fn load(call: &mut Call, texts: Vec<Text>, force: bool) -> Result<Output> {
    require_change()?;
    let findings = rights::as_owner(|caller| {
        let session = Session::open()?;
        session.run(&LOCK, &[])?;
        let before = loaded(&session)?;
        let (after, findings) = checked(&before, texts, force);
        if findings.iter().all(|finding| finding.severity == Severity::Warning) && before != after {
            let environment = environment(&session)?;
            store(&session, caller, &before, &after, (&environment, &environment), None)?;
        }
        Ok(findings)
    })?;
    rows(call, &findings)
}

fn require_change() -> Result<()> {
    call::require_primary()?;
    call::require_read_committed()
}

/// The files as they would be, and what is wrong with them.
fn checked(before: &Files, texts: Vec<Text>, force: bool) -> (Files, Vec<Finding>) {
    let mut after = before.clone();
    let mut findings = vec![];
    for (file, text) in texts {
        let Some(text) = text else {
            after.remove(&file);
            continue;
        };
        let (leaves, found) = read(&file, &text);
        findings.extend(found);
        after.insert(file, leaves);
    }
    findings.extend(check_set(&after));
    for finding in &mut findings {
        if finding.severity == Severity::Forcible {
            finding.severity = if force { Severity::Warning } else { Severity::Error };
        }
    }
    (after, findings)
}

fn rows(call: &mut Call, findings: &[Finding]) -> Result<Output> {
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error | Severity::Forcible => "error",
            Severity::Warning => "warning",
        };
        call.row(&[
            datum::text(severity),
            datum::text(&finding.path()),
            datum::text(&finding.message),
        ])?;
    }
    Ok(Output::Rows)
}

fn loaded(session: &Session) -> Result<Files> {
    files(session.run(&LOADED, &[])?.iter())
}

fn files<'r, 's: 'r>(rows: impl Iterator<Item = crate::pg::spi::Row<'r, 's>>) -> Result<Files> {
    let mut files = Files::new();
    for row in rows {
        let (environment, component): (String, String) = (row.get(1)?, row.get(2)?);
        let Some(leaves) = row.opt_jsonb(3) else {
            continue;
        };
        let leaves = serde_json::from_str(&datum::jsonb_text(leaves))
            .map_err(|_| Error::corrupt("a file of the configuration is no object"))?;
        // A component of a later version stays as it is.
        if let Ok(component) = component.parse() {
            let environment = (!environment.is_empty()).then_some(environment);
            files.insert(File { environment, component }, leaves);
        }
    }
    Ok(files)
}

fn environment(session: &Session) -> Result<Option<String>> {
    let rows = session.run(&STATE, &[])?;
    Ok(rows.first().and_then(|row| row.opt(1)))
}

/// Makes a version of the difference; the triggers of the tables tell it.
fn store(
    session: &Session,
    caller: pg_sys::Oid,
    before: &Files,
    after: &Files,
    environments: (&Option<String>, &Option<String>),
    reason: Option<&str>,
) -> Result<i64> {
    let rows = session.run(&CURRENT_VERSION, &[])?;
    let version = rows.first().map_or(Ok(0), |row| row.get::<i64>(1))? + 1;
    let mut diff = diff(before, after);
    if environments.0 != environments.1 {
        diff.push(json!({"component": null, "key": "environment", "environment": null, "old": environments.0, "new": environments.1}));
    }
    let changed: Vec<Value> = before
        .keys()
        .chain(after.keys().filter(|file| !before.contains_key(file)))
        .filter(|file| before.get(file) != after.get(file))
        .map(|file| {
            json!({
                "environment": file.environment.as_deref().unwrap_or_default(),
                "component": file.component.name(),
                "leaves": after.get(file),
            })
        })
        .collect();
    let (diff, changed) = (jsonb(diff)?, jsonb(changed)?);
    session.run(
        &NEW_VERSION,
        &[
            datum::int8(version),
            datum::timestamp(call::clock()),
            datum::text(&rights::role_name(caller)),
            datum::opt_text(reason),
            datum::opt_text(environments.1.as_deref()),
            diff.arg(),
            changed.arg(),
        ],
    )?;
    session.run(&REMOVE, &[changed.arg()])?;
    session.run(&PUT, &[changed.arg(), datum::int8(version)])?;
    if environments.0 != environments.1 {
        session.run(&PUT_STATE, &[datum::opt_text(environments.1.as_deref())])?;
    }
    Ok(version)
}

fn jsonb(values: Vec<Value>) -> Result<Jsonb<'static>> {
    datum::jsonb_from_text(&Value::Array(values).to_string())
        .ok_or_else(|| Error::too_large("the configuration is too large"))
}

fn rollback_config(call: &mut Call) -> Result<Output> {
    let version: i64 = call.get(0, "version")?;
    let reason = call.opt_text(1);
    require_change()?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        session.run(&LOCK, &[])?;
        let found = session.run(&VERSION, &[datum::int8(version)])?;
        let to = match found.first() {
            Some(row) => row.opt::<String>(1),
            None if version == 0 => None,
            None => {
                return Err(Error::not_found(format!("there is no version {version} of the configuration"))
                    .hint("SELECT DISTINCT version FROM tasker.config_history lists them."));
            }
        };
        let before = loaded(&session)?;
        let after = files(session.run(&OF_VERSION, &[datum::int8(version)])?.iter())?;
        let from = environment(&session)?;
        let made = store(&session, caller, &before, &after, (&from, &to), reason.as_deref())?;
        Ok(Output::from(made))
    })
}

fn set_environment(call: &mut Call) -> Result<Output> {
    let to = call.opt_text(0);
    if let Some(name) = &to {
        check_environment(name)?;
    }
    require_change()?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        session.run(&LOCK, &[])?;
        let from = environment(&session)?;
        if from != to {
            let files = loaded(&session)?;
            store(&session, caller, &files, &files, (&from, &to), None)?;
        }
        Ok(Output::Null)
    })
}

fn effective_config(_: &mut Call) -> Result<Output> {
    Ok(Output::Rows)
}

// Until the rules have them.
fn read(file: &File, text: &str) -> (Leaves, Vec<Finding>) {
    let mut leaves = Leaves::new();
    let mut section = String::new();
    let mut findings = vec![];
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let path = if section.is_empty() || section == file.component.name() { key.trim().to_owned() } else { format!("{section}.{}", key.trim()) };
            match serde_json::from_str(value.trim()) {
                Ok(value) => {
                    leaves.insert(path, value);
                }
                Err(_) => findings.push(Finding { severity: Severity::Error, file: Some(file.clone()), at: Some((number + 1, 1)), message: "no value".into() }),
            }
        }
    }
    (leaves, findings)
}

fn check_set(_: &Files) -> Vec<Finding> {
    vec![]
}

fn diff(before: &Files, after: &Files) -> Vec<Value> {
    let mut rows = vec![];
    let none = Leaves::new();
    for file in before.keys().chain(after.keys().filter(|file| !before.contains_key(file))) {
        let (old, new) = (before.get(file).unwrap_or(&none), after.get(file).unwrap_or(&none));
        for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
            if old.get(key) != new.get(key) {
                rows.push(json!({"component": file.component.name(), "key": key, "environment": file.environment, "old": old.get(key), "new": new.get(key)}));
            }
        }
    }
    rows
}
