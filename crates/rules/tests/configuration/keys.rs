//! A catalog for tests: some keys written out, whose messages tests read, and the rest as the files of config/tasker have them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tasker_rules::configuration::document::{self, Content};
use tasker_rules::configuration::keys::fits;
use tasker_rules::configuration::{Component, File, Home, Key, Keys, Needs, Shape};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/tasker")
}

/// Every file below config/tasker with its text.
pub fn originals() -> Vec<(File, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root()).expect("below the root");
            let file = name
                .to_str()
                .expect("a name")
                .parse()
                .expect("a path of a file");
            files.push((file, fs::read_to_string(&path).expect("a text")));
        }
    }
    files.sort();
    files
}

fn key(
    component: Component,
    path: &'static str,
    shape: Shape,
    unit: &'static str,
    home: Home,
) -> Key {
    Key {
        component,
        path,
        shape,
        unit,
        default: "",
        home,
        needs: Needs::Nothing,
        old: &[],
        meaning: "",
        test: "",
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn written_out() -> Vec<Key> {
    use Component::{
        Auth, CircuitBreakers, Database, Engine, ExecutorPools, Orchestration, Pgmq, QueryCache,
        System, Telemetry,
    };
    let most = i64::from(i32::MAX);
    let rate = Shape::Float(0.0, 1.0);
    let engine = Home::Engine;
    let client = Home::Nothing("each client sets up its own connections");
    let breaker = Home::Nothing("circuit breakers come later; nothing does it yet");
    vec![
        key(Auth, "authentication_enabled", Shape::Bool, "", engine),
        key(Auth, "strategy", Shape::Text, "", engine),
        key(
            Auth,
            "current_user_method",
            Shape::Text,
            "",
            Home::Nothing("a method of Ruby; current_user of PostgreSQL does it"),
        ),
        key(
            CircuitBreakers,
            "component_configs.*.failure_threshold",
            Shape::Int(0, most),
            "",
            breaker,
        ),
        key(
            CircuitBreakers,
            "component_configs.*.timeout_seconds",
            Shape::Int(0, most),
            "seconds",
            breaker,
        ),
        key(
            CircuitBreakers,
            "global_settings.min_state_transition_interval_seconds",
            Shape::Float(0.0, f64::MAX),
            "seconds",
            breaker,
        ),
        key(Database, "url", Shape::Text, "", client),
        key(Database, "host", Shape::Text, "", client),
        key(Database, "username", Shape::Text, "", client),
        key(Database, "password", Shape::Text, "", client),
        key(
            Database,
            "pool.max_connections",
            Shape::Int(1, 262_143),
            "",
            client,
        ),
        key(
            Database,
            "pool.min_connections",
            Shape::Int(0, 262_143),
            "",
            client,
        ),
        Key {
            default: "true",
            ..key(Engine, "cache.enabled", Shape::Bool, "", engine)
        },
        key(Engine, "identity_strategy", Shape::Name, "", engine),
        key(
            Engine,
            "dependency_graph.max_depth",
            Shape::Int(1, 1000),
            "steps",
            engine,
        ),
        key(
            ExecutorPools,
            "*.min_executors",
            Shape::Int(0, 1000),
            "",
            engine,
        ),
        key(
            ExecutorPools,
            "*.max_executors",
            Shape::Int(0, 1000),
            "",
            engine,
        ),
        key(
            ExecutorPools,
            "coordinator.scaling_cooldown_seconds",
            Shape::Int(0, 86_400),
            "seconds",
            engine,
        ),
        key(
            ExecutorPools,
            "coordinator.target_utilization",
            rate,
            "a share",
            engine,
        ),
        key(Orchestration, "active_namespaces", Shape::Names, "", engine),
        key(
            Orchestration,
            "queues.worker_queues.*",
            Shape::Name,
            "",
            Home::Nothing("queues come later; nothing does it yet"),
        ),
        key(Pgmq, "batch_size", Shape::Int(0, 1000), "", engine),
        key(Pgmq, "queue_naming_pattern", Shape::Text, "", engine),
        key(
            Pgmq,
            "visibility_timeout_seconds",
            Shape::Int(1, most),
            "seconds",
            engine,
        ),
        key(
            QueryCache,
            "active_workers.ttl_seconds",
            Shape::Int(1, 86_400),
            "seconds",
            engine,
        ),
        key(
            QueryCache,
            "memory_pressure_threshold",
            rate,
            "a share",
            engine,
        ),
        key(
            System,
            "backoff.default_backoff_seconds",
            Shape::Numbers(0.0, 86_400.0),
            "seconds",
            engine,
        ),
        key(
            System,
            "backoff.max_backoff_seconds",
            Shape::Int(1, 86_400),
            "seconds",
            engine,
        ),
        key(System, "backoff.jitter_enabled", Shape::Bool, "", engine),
        key(
            System,
            "backoff.jitter_max_percentage",
            rate,
            "a share",
            engine,
        ),
        key(
            System,
            "execution.max_retries",
            Shape::Int(0, 1000),
            "",
            engine,
        ),
        key(System, "version", Shape::Name, "", engine),
        key(System, "execution.environment", Shape::Text, "", engine),
        key(
            Telemetry,
            "cache.enabled",
            Shape::Bool,
            "",
            Home::CopyOf("engine.cache.enabled"),
        ),
        Key {
            old: &["telemetry.log_format"],
            ..key(
                Telemetry,
                "logging.format",
                Shape::Choice(&["json", "pretty_json", "logfmt"]),
                "",
                engine,
            )
        },
        key(Telemetry, "service_name", Shape::Name, "", engine),
    ]
}

/// Made once for each test: the keys live as long as the program.
pub fn keys() -> Keys {
    let mut keys = written_out();
    let fit = |keys: &[Key], component, path: &str| {
        keys.iter()
            .any(|known| known.component == component && fits(known.path, path))
    };
    let mut seen = BTreeSet::new();
    for (file, text) in originals() {
        for item in document::parse(&text).items {
            let Content::Value(value) = item.content else {
                continue;
            };
            let own = item
                .parts
                .first()
                .is_some_and(|part| part == file.component.name());
            let path = item.parts[usize::from(own)..].join(".");
            if !seen.insert((file.component, path.clone())) || fit(&keys, file.component, &path) {
                continue;
            }
            let shape = match value {
                Value::Bool(_) => Shape::Bool,
                Value::Number(number) if number.is_i64() => Shape::Int(0, i64::MAX),
                Value::Number(_) => Shape::Float(0.0, f64::MAX),
                Value::Array(_) => Shape::Names,
                _ => Shape::Text,
            };
            keys.push(key(file.component, path.leak(), shape, "", Home::Engine));
        }
    }
    Keys::new(
        keys.into_iter()
            .map(|key| -> &'static Key { Box::leak(Box::new(key)) }),
    )
}
