//! What the catalog of the configuration says of a setting is what the server says of it.

use std::collections::BTreeMap;

use tasker_client_tests::{Database, Value};
use tasker_rules::configuration::{Home, Key, Shape, catalog};

struct Setting {
    default: String,
    least: Option<f64>,
    most: Option<f64>,
}

/// As the server writes a default.
fn written(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(written).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn problem(key: &Key, setting: &Setting) -> Option<String> {
    let default =
        serde_json::from_str(key.default).map_or_else(|_| String::new(), |value| written(&value));
    let number = |text: &str| text.parse::<f64>().ok();
    let same = match (number(&default), number(&setting.default)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => default == setting.default,
    };
    if !same {
        return Some(format!(
            "default {default}, in the server {}",
            setting.default
        ));
    }
    let range = match key.shape {
        Shape::Int(least, most) => Some((least as f64, most as f64)),
        Shape::Float(least, most) => Some((least, most)),
        _ => None,
    };
    let (least, most) = range?;
    // The server writes six digits.
    let near = |ours: f64, theirs: f64| (ours - theirs).abs() <= theirs.abs() * 1e-5;
    let fits = setting.least.is_some_and(|theirs| near(least, theirs))
        && setting.most.is_some_and(|theirs| near(most, theirs));
    (!fits).then(|| {
        format!(
            "{least} to {most}, in the server {:?} to {:?}",
            setting.least, setting.most
        )
    })
}

#[test]
fn each_setting_has_a_key_with_its_default_and_its_range() {
    let database = Database::new();
    let mut session = database.connect();
    session.execute("SELECT tasker.health_ready()");
    let mut settings: BTreeMap<String, Setting> = session
        .query(
            "SELECT substr(name, 8), coalesce(boot_val, ''), min_val::float8, max_val::float8 FROM pg_catalog.pg_settings WHERE name LIKE 'tasker.%'",
            &[],
        )
        .iter()
        .map(|row| {
            let setting = Setting { default: row.get(1), least: row.get(2), most: row.get(3) };
            (row.get(0), setting)
        })
        .collect();
    let mut problems = vec![];
    for key in catalog::keys() {
        if let Home::Setting(name) = key.home {
            match settings.remove(name) {
                None => problems.push(format!(
                    "{}.{}: there is no setting {name}",
                    key.component, key.path
                )),
                Some(setting) => problems.extend(
                    problem(key, &setting)
                        .map(|problem| format!("{}.{}: {problem}", key.component, key.path)),
                ),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // Functions and this setting decide the environment, no file.
    assert_eq!(settings.into_keys().collect::<Vec<_>>(), ["environment"]);
}
