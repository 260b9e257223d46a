//! Loading the configuration, going back, and what is in force.

use std::collections::BTreeMap;

use pgrx::pg_sys;
use serde_json::{Value, json};
use tasker_rules::configuration::check::place;
use tasker_rules::configuration::component::environment_name;
use tasker_rules::configuration::{
    File, Finding, Home, Key, Origin, Resolved, Rules, Secrets, Set, Severity, Shape, diff,
    has_error, read,
};

use crate::error::{Error, Result};
use crate::pg::call::{self, Call, Output};
use crate::pg::datum::{self, Jsonb};
use crate::pg::spi::{Row, Session, Statement};
use crate::pg::{rights, snapshot};
use crate::settings;

crate::pg::call::sql_function! {
    effective_config;
    load_config;
    load_config_set;
    rollback_config;
    set_environment;
    validate_config;
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

static STATE: Statement = Statement::new(
    "SELECT s.environment FROM tasker_engine.config_state s",
    &[],
);

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

// What functions have set. It stands above the files.
static BY_FUNCTIONS: Statement = Statement::new(
    "SELECT 'executor_pools.' || p.name || '.' || k.key, k.value
     FROM tasker_engine.executor_pools p,
          LATERAL (VALUES ('min_executors', to_jsonb(p.min_executors)), ('max_executors', to_jsonb(p.max_executors)),
                          ('batch_size', to_jsonb(p.batch_size))) AS k (key, value)
     WHERE k.value IS NOT NULL",
    &[],
);

/// A file with its text; None removes it.
type Text = (File, Option<String>);

fn load_config(call: &mut Call) -> Result<Output> {
    let (texts, force) = one_file(call)?;
    load(call, texts, force)
}

fn load_config_set(call: &mut Call) -> Result<Output> {
    let (texts, force) = several_files(call)?;
    load(call, texts, force)
}

/// With the parameters of load_config, or with those of load_config_set.
fn validate_config(call: &mut Call) -> Result<Output> {
    let (texts, force) = match call.parameter_count() {
        4 => one_file(call)?,
        _ => several_files(call)?,
    };
    validate(call, texts, force)
}

fn one_file(call: &Call) -> Result<(Vec<Text>, bool)> {
    let component: String = call.get(0, "component")?;
    let toml: String = call.get(1, "toml")?;
    let file = File::new(&component, call.opt_text(2).as_deref()).map_err(refused)?;
    Ok((vec![(file, Some(toml))], call.get(3, "force")?))
}

fn several_files(call: &Call) -> Result<(Vec<Text>, bool)> {
    let files: Jsonb = call.jsonb(0, "files")?;
    let force = call.get(1, "force")?;
    let Ok(Value::Object(files)) = serde_json::from_str(&datum::jsonb_text(files)) else {
        return Err(
            Error::parameter("files must be an object from path to text")
                .detail("The call gave another kind of JSON.")
                .hint("Such as {\"base/engine.toml\": \"...\"}."),
        );
    };
    let texts = files
        .into_iter()
        .map(|(path, text)| {
            let file = path.parse().map_err(refused)?;
            match text {
                Value::Null => Ok((file, None)),
                Value::String(text) => Ok((file, Some(text))),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(
                    Error::parameter(format!("the content of {file} is no text"))
                        .hint("Give the text of the TOML file, or null to remove it."),
                ),
            }
        })
        .collect::<Result<_>>()?;
    Ok((texts, force))
}

/// A name that cannot be.
fn refused(sentence: String) -> Error {
    Error::parameter(sentence).hint(
        "Name a component such as engine, an environment such as production, or a path such as environments/production/engine.toml.",
    )
}

fn validate(call: &mut Call, texts: Vec<Text>, force: bool) -> Result<Output> {
    let environment = settings::environment();
    let findings = rights::as_owner(|_| {
        snapshot::with_newest(|_| {
            let session = Session::open()?;
            let before = files(session.read(&LOADED, &[])?.iter())?;
            Ok(checked(&before, texts, environment.as_deref()).1)
        })
    })?;
    rows(call, &findings, force)
}

/// Checks and stores; returns what was found.
fn load(call: &mut Call, texts: Vec<Text>, force: bool) -> Result<Output> {
    require_change()?;
    let findings = rights::as_owner(|caller| {
        let session = Session::open()?;
        session.run(&LOCK, &[])?;
        let before = files(session.run(&LOADED, &[])?.iter())?;
        let current = settings::environment();
        let (after, findings) = checked(&before, texts, current.as_deref());
        if !has_error(&findings, force) && before != after {
            let environment = environment(&session)?;
            let environments = (&environment, &environment);
            store(&session, caller, &before, &after, environments, None)?;
        }
        Ok(findings)
    })?;
    rows(call, &findings, force)
}

fn require_change() -> Result<()> {
    call::require_primary()?;
    if call::statements_see_commits() {
        return Ok(());
    }
    Err(Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        "changes of the configuration need the isolation level READ COMMITTED",
    )
    .detail("With one snapshot for the whole transaction a loader would not see what another one has loaded.")
    .hint("Run the call in a transaction of its own, or use BEGIN ISOLATION LEVEL READ COMMITTED."))
}

/// The files as they would be, and what is wrong with them.
fn checked(before: &Set, texts: Vec<Text>, environment: Option<&str>) -> (Set, Vec<Finding>) {
    let (parameters, mask) = settings::filter();
    let text = |text: Option<std::ffi::CString>| {
        text.map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let (parameters, mask) = (text(parameters), text(mask));
    let secrets = Secrets::new(settings::names(&parameters), &mask);
    let rules = Rules {
        keys: settings::keys(),
        secrets: &secrets,
        variables: None,
    };
    let mut after = before.clone();
    let (mut findings, mut places) = (vec![], BTreeMap::new());
    for (file, text) in texts {
        let Some(text) = text else {
            after.files.remove(&file);
            continue;
        };
        let found = read(&file, &text, &rules);
        findings.extend(found.findings);
        places.insert(file.clone(), found.places);
        after.files.insert(file, found.leaves);
    }
    let mut together = after.check(settings::keys(), environment);
    place(&mut together, &places);
    findings.extend(together);
    (after, findings)
}

fn rows(call: &mut Call, findings: &[Finding], force: bool) -> Result<Output> {
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Forcible if !force => "error",
            Severity::Forcible | Severity::Warning => "warning",
        };
        call.row(&[
            datum::text(severity),
            datum::text(&finding.path()),
            datum::text(&finding.message),
        ])?;
    }
    Ok(Output::Rows)
}

/// Rows of environment, component and leaves.
fn files<'r, 's: 'r>(rows: impl Iterator<Item = Row<'r, 's>>) -> Result<Set> {
    let mut set = Set::default();
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
            let file = File {
                environment,
                component,
            };
            set.files.insert(file, leaves);
        }
    }
    Ok(set)
}

/// What set_environment has set.
fn environment(session: &Session) -> Result<Option<String>> {
    let rows = session.run(&STATE, &[])?;
    Ok(rows.first().and_then(|row| row.opt(1)))
}

/// Makes a version of the difference; the triggers of the tables tell it.
fn store(
    session: &Session,
    caller: pg_sys::Oid,
    before: &Set,
    after: &Set,
    environments: (&Option<String>, &Option<String>),
    reason: Option<&str>,
) -> Result<i64> {
    let rows = session.run(&CURRENT_VERSION, &[])?;
    let version = rows.first().map_or(Ok(0), |row| row.get::<i64>(1))? + 1;
    let mut changes: Vec<Value> = diff(before, after)
        .into_iter()
        .map(|change| json!(change))
        .collect();
    if environments.0 != environments.1 {
        changes.push(json!({
            "component": null, "key": "environment", "environment": null, "old": environments.0, "new": environments.1,
        }));
    }
    let removed = before
        .files
        .keys()
        .filter(|file| !after.files.contains_key(file));
    let changed: Vec<Value> = removed
        .chain(after.files.keys())
        .filter(|file| before.files.get(file) != after.files.get(file))
        .map(|file| {
            json!({
                "environment": file.environment.as_deref().unwrap_or_default(),
                "component": file.component.name(),
                "leaves": after.files.get(file),
            })
        })
        .collect();
    let (changes, changed) = (array(changes)?, array(changed)?);
    session.run(
        &NEW_VERSION,
        &[
            datum::int8(version),
            datum::timestamp(call::clock()),
            datum::text(&rights::role_name(caller)),
            datum::opt_text(reason),
            datum::opt_text(environments.1.as_deref()),
            changes.arg(),
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

fn array(values: Vec<Value>) -> Result<Jsonb<'static>> {
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
                return Err(Error::not_found(format!(
                    "there is no version {version} of the configuration"
                ))
                .hint("SELECT DISTINCT version FROM tasker.config_history lists them."));
            }
        };
        let before = files(session.run(&LOADED, &[])?.iter())?;
        let after = files(session.run(&OF_VERSION, &[datum::int8(version)])?.iter())?;
        let from = environment(&session)?;
        let environments = (&from, &to);
        let made = store(
            &session,
            caller,
            &before,
            &after,
            environments,
            reason.as_deref(),
        )?;
        Ok(Output::from(made))
    })
}

fn set_environment(call: &mut Call) -> Result<Output> {
    let to = call
        .opt_text(0)
        .map(|name| environment_name(&name))
        .transpose()
        .map_err(refused)?;
    require_change()?;
    rights::as_owner(|caller| {
        let session = Session::open()?;
        session.run(&LOCK, &[])?;
        let set = files(session.run(&LOADED, &[])?.iter())?;
        let from = environment(&session)?;
        if from == to {
            return Ok(Output::Null);
        }
        if let Some(name) = &to {
            require_fit(&set, name)?;
        }
        store(&session, caller, &set, &set, (&from, &to), None)?;
        Ok(Output::Null)
    })
}

/// What the base says may be refused in an environment.
fn require_fit(set: &Set, environment: &str) -> Result<()> {
    let findings = set.check(settings::keys(), Some(environment));
    let Some(finding) = findings
        .iter()
        .find(|finding| finding.severity != Severity::Warning)
    else {
        return Ok(());
    };
    Err(Error::state(format!(
        "the files that are loaded are not fit for environment {environment}"
    ))
    .detail(format!("{}: {}.", finding.path(), finding.message))
    .hint("Load others with tasker.load_config_set."))
}

/// A value with where it comes from.
struct InForce {
    value: Option<Value>,
    origin: &'static str,
    file: Option<String>,
}

/// What decides which values are in force.
struct Sources {
    environment: Option<String>,
    resolved: Resolved,
    /// By component and key.
    by_functions: BTreeMap<String, Value>,
}

impl Sources {
    fn in_force(&self, key: &Key, path: &str) -> InForce {
        let without_file = |value, origin| InForce {
            value,
            origin,
            file: None,
        };
        if let Home::Setting(name) = key.home
            && let Some(spoken) = settings::spoken(name)
        {
            return InForce {
                value: Some(as_shape(key.shape, spoken.value)),
                origin: spoken.origin,
                file: spoken.file,
            };
        }
        if let Some(value) = self.by_functions.get(&format!("{}.{path}", key.component)) {
            return without_file(Some(value.clone()), "function");
        }
        let Some((value, origin)) = self.resolved.get(key.component, path) else {
            return without_file(key.default_value(), "default");
        };
        let file = File {
            environment: match origin {
                Origin::Base => None,
                Origin::Environment => self.environment.clone(),
            },
            component: key.component,
        };
        InForce {
            value: Some(value.clone()),
            origin: origin.name(),
            file: Some(file.to_string()),
        }
    }

    /// The names that a key has: more or fewer than one if a part of it stands for any name.
    fn names_of(&self, key: &'static Key) -> Vec<String> {
        if !key.path.split('.').any(|part| part == "*") {
            return vec![key.path.to_owned()];
        }
        let prefix = format!("{}.", key.component);
        let of_functions = self
            .by_functions
            .keys()
            .filter_map(|full| full.strip_prefix(&prefix));
        let of_files = self.resolved.of(key.component).map(|(path, ..)| path);
        let is_it = |path: &&str| {
            let found = settings::keys().find(key.component, path);
            found.is_some_and(|found| std::ptr::eq(found, key))
        };
        let mut names: Vec<String> = of_files
            .chain(of_functions)
            .filter(is_it)
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn effective_config(call: &mut Call) -> Result<Output> {
    let environment = match call.opt_text(0) {
        Some(name) => Some(environment_name(&name).map_err(refused)?),
        None => settings::environment().map(|name| name.to_lowercase()),
    };
    let sources = snapshot::with_newest(|_| {
        let session = Session::open()?;
        let set = files(session.read(&LOADED, &[])?.iter())?;
        let mut by_functions = BTreeMap::new();
        for row in session.read(&BY_FUNCTIONS, &[])?.iter() {
            let value = serde_json::from_str(&datum::jsonb_text(row.jsonb(2)?))
                .map_err(|_| Error::corrupt("what a function has set is no JSON"))?;
            by_functions.insert(row.get::<String>(1)?, value);
        }
        Ok(Sources {
            resolved: set.resolve(environment.as_deref()),
            environment,
            by_functions,
        })
    })?;
    for key in settings::keys().iter() {
        for path in sources.names_of(key) {
            let found = sources.in_force(key, &path);
            call.row(&[
                datum::text(key.component.name()),
                datum::text(&path),
                datum::opt_jsonb(found.value.as_ref().and_then(to_jsonb)),
                datum::opt_text((!key.unit.is_empty()).then_some(key.unit)),
                datum::text(found.origin),
                datum::opt_text(found.file.as_deref()),
                datum::opt_jsonb(key.default_value().as_ref().and_then(to_jsonb)),
                datum::opt_text(key.needs.name()),
            ])?;
        }
    }
    Ok(Output::Rows)
}

fn to_jsonb(value: &Value) -> Option<Jsonb<'static>> {
    datum::jsonb_from_text(&value.to_string())
}

/// A setting writes a list with commas.
fn as_shape(shape: Shape, value: Value) -> Value {
    let items = |make: fn(&str) -> Value| {
        let text = value.as_str().unwrap_or_default();
        let items = settings::names(text).filter(|item| !item.is_empty());
        Value::Array(items.map(make).collect())
    };
    match shape {
        Shape::Names => items(|item| json!(item)),
        Shape::Numbers(..) => {
            items(|item| serde_json::from_str(item).unwrap_or_else(|_| json!(item)))
        }
        Shape::Bool
        | Shape::Int(..)
        | Shape::Float(..)
        | Shape::Text
        | Shape::Name
        | Shape::Choice(_) => value,
    }
}
