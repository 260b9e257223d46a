//! `tasker config`: load, check, show, diff; messages with line and column, exit status, variables and environments.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tasker_client_tests::exporter::tasker;
use tasker_client_tests::{Database, Value};

/// A directory that goes with the value.
struct Files(PathBuf);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("tasker-config-{}-{number}", std::process::id()));
        let files_of = Self(folder);
        for (path, text) in files {
            files_of.write(path, text);
        }
        files_of
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(tasker());
    command.arg("config").args(arguments).stdin(Stdio::null());
    for name in [
        "TASKER_ENV",
        "RAILS_ENV",
        "RACK_ENV",
        "APP_ENV",
        "TASKER_CONFIG_DSN",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command.output().expect("tasker runs")
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn dsn(database: &Database) -> String {
    format!(
        "host={} port=5432 user=postgres dbname={}",
        database.server().folder().display(),
        database.name()
    )
}

const BACKOFF: &str = "[system.backoff]\nmax_backoff_seconds = ";

fn in_force(database: &Database, environment: &str) -> (Value, String) {
    let row = database
        .connect()
        .query(
            "SELECT value, origin FROM tasker.effective_config($1)
             WHERE component = 'system' AND key = 'backoff.max_backoff_seconds'",
            &[&environment],
        )
        .remove(0);
    (row.get(0), row.get(1))
}

#[test]
fn check_says_what_is_wrong_and_where_and_needs_no_database() {
    let files = Files::new(&[
        (
            "base/system.toml",
            "[system.backoff]\nmax_backof_seconds = 3\njitter_enabled = 5\n",
        ),
        ("base/engine.toml", "[engine\n"),
    ]);
    let dir = files.path().display().to_string();
    let (code, text) = said(&run(&["check", &dir], &[]));
    assert_eq!(code, 1, "{text}");
    for part in [
        "base/system.toml:2:1: error: ",
        "did you mean",
        "max_backoff_seconds",
        "base/system.toml:3:",
        "base/engine.toml:1:",
        "nothing is loaded",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    files.write("base/system.toml", &format!("{BACKOFF}60\n"));
    files.write("base/engine.toml", "");
    let (code, text) = said(&run(&["check", &dir], &[]));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn what_cannot_be_done_is_another_exit_status_than_errors_in_files() {
    let (code, text) = said(&run(&["check", "/nowhere"], &[]));
    assert_eq!((code, text.contains("base")), (2, true), "{text}");
    assert_eq!(said(&run(&["chek", "/nowhere"], &[])).0, 2);
    let files = Files::new(&[("base/system.toml", BACKOFF), ("base/sytem.toml", "")]);
    let dir = files.path().display().to_string();
    let (code, text) = said(&run(&["check", &dir], &[]));
    assert_eq!(code, 2);
    assert!(text.contains("did you mean system"), "{text}");
    let files = Files::new(&[("base/system.toml", &format!("{BACKOFF}60\n"))]);
    let dir = files.path().display().to_string();
    let (code, text) = said(&run(
        &["load", &dir, "--dsn", "host=/nowhere user=none"],
        &[],
    ));
    assert_eq!(code, 2, "{text}");
}

#[test]
fn load_show_and_diff_agree_with_the_database() {
    let database = Database::new();
    let dsn = dsn(&database);
    let files = Files::new(&[
        ("base/system.toml", &format!("{BACKOFF}60\n")),
        ("environments/test/system.toml", &format!("{BACKOFF}7\n")),
    ]);
    let dir = files.path().display().to_string();
    let (code, text) = said(&run(
        &["diff", &dir, "--dsn", &dsn, "--environment", "test"],
        &[],
    ));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("system.backoff.max_backoff_seconds: 300 -> 7"),
        "{text}"
    );
    let (code, text) = said(&run(
        &["load", &dir, "--dsn", &dsn, "--environment", "test"],
        &[],
    ));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 files are loaded"), "{text}");
    assert_eq!(
        in_force(&database, "test"),
        (Value::from(7), "environment".to_owned())
    );
    assert_eq!(
        in_force(&database, "other"),
        (Value::from(60), "base".to_owned())
    );
    let (_, text) = said(&run(
        &["diff", &dir, "--dsn", &dsn, "--environment", "test"],
        &[],
    ));
    assert!(text.contains("0 values change"), "{text}");
    // The environment comes from the first variable that is set.
    let output = run(
        &["show", "--dsn", &dsn, "--json"],
        &[("RACK_ENV", "other"), ("RAILS_ENV", "TEST")],
    );
    let shown: Value = serde_json_of(&output);
    assert_eq!(shown["environment"], "test");
    let rows = shown["values"].as_array().expect("a list");
    let row = rows
        .iter()
        .find(|row| row["key"] == "backoff.max_backoff_seconds")
        .expect("the key");
    assert_eq!(
        (&row["value"], &row["origin"]),
        (&Value::from(7), &Value::from("environment"))
    );
}

#[test]
fn with_an_error_in_one_file_nothing_is_loaded() {
    let database = Database::new();
    let files = Files::new(&[
        ("base/system.toml", &format!("{BACKOFF}60\n")),
        ("base/engine.toml", "[engine]\nno_such_key = 1\n"),
    ]);
    let dir = files.path().display().to_string();
    let (code, text) = said(&run(&["load", &dir, "--dsn", &dsn(&database)], &[]));
    assert_eq!(code, 1, "{text}");
    assert_eq!(in_force(&database, "development").1, "default");
}

#[test]
fn a_variable_is_replaced_here_and_an_unset_one_without_a_default_is_an_error() {
    let database = Database::new();
    let files = Files::new(&[(
        "base/telemetry.toml",
        "[telemetry]\nservice_name = \"${SHOP_NAME}\"\n",
    )]);
    let dir = files.path().display().to_string();
    let (code, text) = said(&run(&["check", &dir], &[]));
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("SHOP_NAME") && text.contains("telemetry.toml:2:"),
        "{text}"
    );
    let (code, text) = said(&run(&["check", &dir], &[("SHOP_NAME", "shop")]));
    assert_eq!(code, 0, "{text}");
    let (code, text) = said(&run(
        &["load", &dir, "--dsn", &dsn(&database)],
        &[("SHOP_NAME", "shop")],
    ));
    assert_eq!(code, 0, "{text}");
    let names: Vec<String> = database.connect().all(
        "SELECT value #>> '{}' FROM tasker.effective_config() WHERE component = 'telemetry' AND key = 'service_name'",
        &[],
    );
    assert_eq!(names, ["shop"]);
}

#[test]
fn json_is_one_object_with_all_findings() {
    let files = Files::new(&[(
        "base/system.toml",
        "[system.backoff]\nmax_backof_seconds = 3\n",
    )]);
    let dir = files.path().display().to_string();
    let output = run(&["check", &dir, "--json"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json_of(&output);
    assert_eq!(found["ok"], false);
    let finding = &found["findings"][0];
    assert_eq!(finding["severity"], "error");
    assert!(
        finding["path"]
            .as_str()
            .expect("a path")
            .ends_with("base/system.toml:2:1"),
        "{finding}"
    );
}

#[test]
fn authorization_that_is_off_in_production_needs_force() {
    let files = Files::new(&[("base/auth.toml", "[auth]\nauthorization_enabled = false\n")]);
    let dir = files.path().display().to_string();
    let arguments = ["check", dir.as_str(), "--environment", "production"];
    assert_eq!(said(&run(&arguments, &[])).0, 1);
    let forced = [&arguments[..], &["--force"]].concat();
    assert_eq!(said(&run(&forced, &[])).0, 0);
}

#[test]
fn the_files_of_this_repository_are_fine_in_each_environment() {
    let dir = tasker_client_tests::server::root().join("config/tasker");
    let dir = dir.display().to_string();
    for environment in ["development", "test", "production"] {
        let variables = [("DATABASE_URL", "postgres://x"), ("TASKER_SECRET", "x")];
        let (code, text) = said(&run(
            &["check", &dir, "--environment", environment],
            &variables,
        ));
        assert_eq!(code, 0, "{text}");
    }
}

fn serde_json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}
