//! Configuration: files that are good, files that are broken, and files together.

#[path = "configuration/keys.rs"]
mod keys;
#[path = "configuration/laws.rs"]
mod laws;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use keys::{keys, originals};
use serde_json::{Value, json};
use tasker_rules::configuration::{
    Component, File, Finding, Keys, Origin, Rules, Secrets, Set, Severity, check, read,
};

fn variable(name: &str) -> Option<String> {
    (name == "DATABASE_URL").then(|| "postgresql://tasker:tasker@localhost/tasker".to_owned())
}

/// The set of these files, and what was found in each and in all together.
fn load(files: &[(File, String)], keys: &Keys, loader: bool) -> (Set, Vec<Finding>) {
    let secrets = Secrets::default();
    let rules = Rules {
        keys,
        secrets: &secrets,
        variables: loader.then_some(&variable),
    };
    let (mut set, mut findings, mut places) = (Set::default(), Vec::new(), BTreeMap::new());
    for (file, text) in files {
        let read = read(file, text, &rules);
        set.files.insert(file.clone(), read.leaves);
        findings.extend(read.findings);
        places.insert(file.clone(), read.places);
    }
    let mut together = set.check(keys, None);
    check::place(&mut together, &places);
    findings.extend(together);
    (set, findings)
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Forcible => "forcible error",
                Severity::Warning => "warning",
            };
            format!("{severity} {} {}", finding.path(), finding.message)
        })
        .collect()
}

fn get(
    set: &Set,
    environment: Option<&str>,
    component: Component,
    path: &str,
) -> Option<(Value, Origin)> {
    let resolved = set.resolve(environment);
    let (value, origin) = resolved.get(component, path)?;
    Some((value.clone(), origin))
}

#[test]
fn the_files_of_this_repository_load_without_an_error() {
    let (set, findings) = load(&originals(), &keys(), true);
    assert_eq!(set.files.len(), 29);
    assert_eq!(set.environments(), ["development", "production", "test"]);
    let errors: Vec<_> = lines(&findings)
        .into_iter()
        .filter(|line| !line.starts_with("warning"))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn each_key_of_the_files_is_read_back_with_its_value_and_origin() {
    let (set, _) = load(&originals(), &keys(), true);
    for (environment, count) in [
        (None, 205),
        (Some("development"), 211),
        (Some("test"), 207),
        (Some("production"), 205),
    ] {
        let resolved = set.resolve(environment);
        assert_eq!(resolved.iter().count(), count, "{environment:?}");
        for (component, path, value, origin) in resolved.iter() {
            let file = File {
                environment: match origin {
                    Origin::Base => None,
                    Origin::Environment => environment.map(str::to_owned),
                },
                component,
            };
            assert_eq!(set.get(&file, path), Some(value), "{file} {path}");
        }
    }
    use Component::{Database, ExecutorPools, Orchestration, System, Telemetry};
    let base = |value: Value| Some((value, Origin::Base));
    let over = |value: Value| Some((value, Origin::Environment));
    let of = |environment, component, path| get(&set, environment, component, path);
    assert_eq!(
        of(None, System, "backoff.default_backoff_seconds"),
        base(json!([1, 2, 4, 8, 16, 32]))
    );
    assert_eq!(
        of(
            Some("development"),
            System,
            "backoff.default_backoff_seconds"
        ),
        over(json!([1, 2, 5]))
    );
    // There is no system.toml for production.
    assert_eq!(
        of(Some("production"), System, "backoff.max_backoff_seconds"),
        base(json!(300))
    );
    assert_eq!(
        of(
            Some("test"),
            ExecutorPools,
            "coordinator.scaling_cooldown_seconds"
        ),
        over(json!(2))
    );
    assert_eq!(
        of(Some("test"), ExecutorPools, "coordinator.max_db_pool_usage"),
        base(json!(0.85))
    );
    assert_eq!(
        of(Some("test"), Orchestration, "queues.worker_queues.default"),
        base(json!("default_queue"))
    );
    assert_eq!(
        of(Some("production"), Telemetry, "sample_rate"),
        over(json!(0.1))
    );
    assert_eq!(
        of(Some("staging"), Telemetry, "sample_rate"),
        base(json!(1.0))
    );
    // Neither the address nor the password is kept.
    assert_eq!(of(None, Database, "url"), base(json!("[FILTERED]")));
    assert_eq!(
        of(Some("production"), Database, "password"),
        over(json!("[FILTERED]"))
    );
}

#[test]
fn a_file_that_breaks_its_own_rule_wins_with_a_warning() {
    let (_, findings) = load(&originals(), &keys(), true);
    let warnings = lines(&findings);
    let wanted = "warning environments/test/executor_pools.toml:8:28 coordinator.scaling_cooldown_seconds: the limit is \
                  10 or more; the file wins, and 2 holds";
    assert!(warnings.iter().any(|line| line == wanted), "{warnings:#?}");
    let connections = "warning environments/development/database.toml:12:19 pool.max_connections: is 50 in development, and the pools of \
                       executor_pools.toml have 46 executors at most (92 %); more than 85 % leaves little for others";
    assert!(
        warnings.iter().any(|line| line == connections),
        "{warnings:#?}"
    );
}

#[test]
fn the_server_refuses_a_file_while_a_variable_is_not_replaced() {
    let (set, findings) = load(&originals(), &keys(), false);
    let errors: Vec<_> = lines(&findings)
        .into_iter()
        .filter(|line| line.starts_with("error"))
        .collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(
        errors[0].starts_with("error base/database.toml:6:7 url: ${DATABASE_URL} is not replaced"),
        "{errors:#?}"
    );
    assert_eq!(get(&set, None, Component::Database, "url"), None);
}

/// Each file of tests/configuration/broken takes the place of a file of config/tasker, which its first line names, and has what is
/// found beside it. `TASKER_WRITE=1` writes those files.
#[test]
fn broken_files_have_the_messages_that_an_operator_needs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configuration/broken");
    let keys = keys();
    let originals = originals();
    let (_, usual) = load(&originals, &keys, true);
    let usual: Vec<_> = lines(&usual)
        .iter()
        .map(|line| without_place(line))
        .collect();
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the broken files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    names.sort();
    assert!(names.len() >= 40, "{} broken files", names.len());
    let mut wrong = String::new();
    for name in names {
        let text = fs::read_to_string(&name).expect("a text");
        let path = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .expect("the path of the file");
        let file: File = path.parse().expect("the path of a file");
        let server = name
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("server_"));
        let mut files: Vec<_> = originals
            .iter()
            // The server has no variables, and that of database.toml would be refused too.
            .filter(|(other, _)| {
                *other != file && !(server && other.component == Component::Database)
            })
            .cloned()
            .collect();
        files.push((file.clone(), text));
        let (_, findings) = load(&files, &keys, !server);
        let mut found = String::new();
        for (finding, line) in findings.iter().zip(lines(&findings)) {
            if finding.file.as_ref() == Some(&file) || !usual.contains(&without_place(&line)) {
                writeln!(found, "{line}").expect("a string");
            }
        }
        let beside = name.with_extension("expected");
        if std::env::var_os("TASKER_WRITE").is_some() {
            fs::write(&beside, &found).expect("a file");
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if expected != found || found.is_empty() {
            writeln!(
                wrong,
                "{}: expected\n{expected}found\n{found}",
                name.display()
            )
            .expect("a string");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A finding in a file has another place in a file that replaces it.
fn without_place(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').collect();
    for word in &mut words {
        if let Some((file, _)) = word.split_once(".toml:") {
            *word = file;
        }
    }
    words.join(" ")
}

/// The keys of the product, not those of the tests.
#[test]
fn the_catalog_has_every_key_of_the_files_and_finds_no_error_in_them() {
    let keys = Keys::new(tasker_rules::configuration::catalog::keys());
    let (set, findings) = load(&originals(), &keys, true);
    let errors: Vec<_> = lines(&findings)
        .into_iter()
        .filter(|line| !line.starts_with("warning"))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for (environment, count) in [
        (None, 205),
        (Some("development"), 211),
        (Some("test"), 207),
        (Some("production"), 205),
    ] {
        assert_eq!(
            set.resolve(environment).iter().count(),
            count,
            "{environment:?}"
        );
    }
}
