//! What holds for every file and every set of files.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use tasker_rules::configuration::diff::Change;
use tasker_rules::configuration::set::{Origin, Set};
use tasker_rules::configuration::{
    Component, File, Keys, Leaves, Read, Rules, Secrets, Severity, diff, has_error, read, same,
    write,
};

fn known() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(super::keys::keys)
}

fn file(path: &str) -> File {
    path.parse().expect("the path of a file")
}

fn read_it(path: &str, text: &str) -> Read {
    let secrets = Secrets::default();
    let rules = Rules {
        keys: known(),
        secrets: &secrets,
        variables: None,
    };
    read(&file(path), text, &rules)
}

fn set(files: &[(&str, &[(&str, Value)])]) -> Set {
    let leaves = |leaves: &[(&str, Value)]| -> Leaves {
        let leaves = leaves.iter();
        leaves
            .map(|(path, value)| ((*path).to_owned(), value.clone()))
            .collect()
    };
    Set {
        files: files
            .iter()
            .map(|(path, said)| (file(path), leaves(said)))
            .collect(),
    }
}

fn messages(set: &Set, current: Option<&str>) -> Vec<String> {
    let findings = set.check(known(), current);
    findings
        .iter()
        .map(|finding| {
            format!(
                "{:?} {} {}",
                finding.severity,
                finding.path(),
                finding.message
            )
        })
        .collect()
}

#[test]
fn a_file_of_an_environment_needs_its_base() {
    let alone = set(&[("environments/test/pgmq.toml", &[("batch_size", json!(1))])]);
    assert_eq!(
        messages(&alone, None),
        [
            "Error environments/test/pgmq.toml base/pgmq.toml is missing: an environment changes a base file, and cannot be without it"
        ]
    );
}

#[test]
fn authorization_is_off_in_production_by_force_only() {
    let base: (&str, &[(&str, Value)]) =
        ("base/auth.toml", &[("authorization_enabled", json!(false))]);
    let severities = |files: &[(&str, &[(&str, Value)])], current| -> Vec<Severity> {
        let findings = set(files).check(known(), current);
        assert_eq!(
            has_error(&findings, false),
            findings
                .iter()
                .any(|one| one.severity == Severity::Forcible)
        );
        assert!(!has_error(&findings, true));
        findings.iter().map(|finding| finding.severity).collect()
    };
    assert_eq!(severities(&[base], None), [Severity::Warning]);
    assert_eq!(severities(&[base], Some("staging")), [Severity::Warning]);
    // The base holds in production too, if production is where the database is.
    assert_eq!(
        severities(&[base], Some("production")),
        [Severity::Warning, Severity::Forcible]
    );
    let on = (
        "environments/production/auth.toml",
        &[("authorization_enabled", json!(true))][..],
    );
    assert_eq!(
        severities(&[base, on], Some("production")),
        [Severity::Warning]
    );
    assert!(severities(&[("base/auth.toml", &[])], Some("production")).is_empty());
}

#[test]
fn an_owner_that_says_nothing_has_its_default() {
    let copy = |value: bool| set(&[("base/telemetry.toml", &[("cache.enabled", json!(value))])]);
    assert!(messages(&copy(true), None).is_empty());
    assert_eq!(messages(&copy(false), None).len(), 1);
}

#[test]
fn only_what_is_said_is_checked_together() {
    let pools = (
        "base/executor_pools.toml",
        &[("mail.max_executors", json!(500))][..],
    );
    // No file says how many connections there are.
    assert!(messages(&set(&[pools]), None).is_empty());
    let connections = (
        "base/database.toml",
        &[("pool.max_connections", json!(500))][..],
    );
    assert_eq!(messages(&set(&[pools, connections]), None).len(), 1);
    let usage = (
        "base/executor_pools.toml",
        &[
            ("mail.max_executors", json!(500)),
            ("coordinator.max_db_pool_usage", json!(1.0)),
        ][..],
    );
    assert!(messages(&set(&[usage, connections]), None).is_empty());
    let none = (
        "base/database.toml",
        &[("pool.max_connections", json!(0))][..],
    );
    assert_eq!(
        messages(&set(&[none]), None),
        ["Error base/database.toml pool.max_connections: must be more than 0"]
    );
}

#[test]
fn tables_merge_and_everything_else_is_replaced_whole() {
    let set = set(&[
        (
            "base/system.toml",
            &[
                ("backoff.list", json!([1, 2, 3])),
                ("backoff.kept", json!(1)),
                ("a", json!(1)),
                ("b.c", json!(1)),
            ],
        ),
        (
            "environments/test/system.toml",
            &[
                ("backoff.list", json!([9])),
                ("backoff.new", json!(2)),
                ("a.x", json!(2)),
                ("b", json!(2)),
            ],
        ),
    ]);
    let all = |environment| -> Vec<String> {
        let resolved = set.resolve(environment);
        let lines = resolved.of(Component::System);
        lines
            .map(|(path, value, origin)| format!("{path} {value} {}", origin.name()))
            .collect()
    };
    assert_eq!(
        all(Some("test")),
        [
            "a.x 2 environment",
            "b 2 environment",
            "backoff.kept 1 base",
            "backoff.list [9] environment",
            "backoff.new 2 environment"
        ]
    );
    assert_eq!(
        all(None),
        [
            "a 1 base",
            "b.c 1 base",
            "backoff.kept 1 base",
            "backoff.list [1,2,3] base"
        ]
    );
    assert_eq!(all(Some("other")), all(None));
    assert!(Set::default().resolve(Some("test")).is_empty());
}

#[test]
fn a_path_names_its_file_or_says_what_is_wrong() {
    assert_eq!(
        file("environments/Test/engine.toml").to_string(),
        "environments/test/engine.toml"
    );
    assert_eq!(file("base/query_cache.toml").environment, None);
    for (path, says) in [
        (
            "base/sytem.toml",
            "there is no component \"sytem\"; did you mean system?",
        ),
        (
            "base/x.toml",
            "there is no component \"x\"; the components are auth, circuit_breakers",
        ),
        (
            "base/engine.yaml",
            "\"base/engine.yaml\" is no path of a configuration file; it must be base/<component>.toml",
        ),
        ("engine.toml", "\"engine.toml\" is no path"),
        (
            "environments/a b/engine.toml",
            "environment \"a b\" has other characters than letters, digits, _ and -",
        ),
        (
            "environments/../engine.toml",
            "environment \"..\" has other characters",
        ),
        ("environments//engine.toml", "environment"),
    ] {
        let refused = path.parse::<File>().expect_err("no file");
        assert!(refused.starts_with(says), "{refused}");
    }
}

#[test]
fn a_file_is_at_most_a_mebibyte_and_not_deep() {
    let large = format!("[pgmq]\n# {}", "x".repeat(1 << 20));
    let message = &read_it("base/pgmq.toml", &large).findings[0].message;
    assert_eq!(
        message,
        "the file has 1048585 bytes; at most 1048576 are allowed"
    );
    // Each of these would need as many frames of a stack as it is deep.
    let inner = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q";
    let deep = [
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", format!("{{ {inner} = ").repeat(10_000)),
        format!("a = {}1{}", "{ a.a.a = ".repeat(79), "}".repeat(79)),
        format!("\"{}\" = 1", "a.".repeat(100_000)),
    ];
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let reader = small.spawn(move || {
        for text in deep {
            assert!(
                read_it("base/system.toml", &text).has_error(),
                "{:.40}",
                text
            );
        }
    });
    reader.expect("a thread").join().expect("no overflow");
}

#[test]
fn a_difference_names_each_key_that_changed() {
    let old = set(&[
        (
            "base/system.toml",
            &[("a", json!(1)), ("b", json!(2.0)), ("c", json!([1, 2]))],
        ),
        ("environments/test/system.toml", &[("a", json!(5))]),
    ]);
    let new = set(&[
        (
            "base/system.toml",
            &[("a", json!(1.0)), ("b", json!(3)), ("c", json!([2, 1]))],
        ),
        ("base/pgmq.toml", &[("x", json!("new"))]),
    ]);
    assert_eq!(
        serde_json::to_value(diff(&old, &new)).expect("JSON"),
        json!([
            {"component": "pgmq", "key": "x", "environment": null, "old": null, "new": "new"},
            {"component": "system", "key": "b", "environment": null, "old": 2.0, "new": 3},
            {"component": "system", "key": "c", "environment": null, "old": [1, 2], "new": [2, 1]},
            {"component": "system", "key": "a", "environment": "test", "old": 5, "new": null},
        ])
    );
}

fn value() -> impl Strategy<Value = Value> {
    let single = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "[a-z\\PC\n\t\"\\\\\u{7f}]{0,8}".prop_map(Value::from),
    ];
    prop_oneof![4 => single.clone(), 1 => vec(single, 0..4).prop_map(Value::from)]
}

fn leaves() -> impl Strategy<Value = Leaves> {
    btree_map("[ab]{1,2}(\\.[ab]){0,2}", value(), 0..6)
        // In one file a name is a value or a section.
        .prop_map(|leaves| {
            let sections: Vec<_> = leaves.keys().map(|path| format!("{path}.")).collect();
            let below = |path: &str| {
                sections
                    .iter()
                    .any(|section| path.starts_with(section.as_str()))
            };
            leaves
                .into_iter()
                .filter(|(path, _)| !below(path))
                .collect()
        })
}

fn sets() -> impl Strategy<Value = Set> {
    let environment = prop_oneof![Just(None), Just(Some("test".to_owned()))];
    let component = prop_oneof![Just(Component::System), Just(Component::Pgmq)];
    let file = (environment, component).prop_map(|(environment, component)| File {
        environment,
        component,
    });
    btree_map(file, leaves(), 0..4).prop_map(|files| Set { files })
}

/// Text that is nearly a file.
fn nearly() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        "[a-z]{1,3}",
        Just("[backoff]\n".to_owned()),
        Just("[system.backoff]\n".to_owned()),
        Just("max_backoff_seconds = ".to_owned()),
        Just("password = ".to_owned()),
        Just("url = \"postgres://u:p@h/d\"\n".to_owned()),
        Just("\"${A}\"".to_owned()),
        Just("'''".to_owned()),
        Just("\"\"\"".to_owned()),
        Just("2026-01-01T00:00:00Z".to_owned()),
        Just("0x1f".to_owned()),
        Just("-inf".to_owned()),
        "[\\[\\]{}=.,#\"' \n\\\\0-9_é+-]{1,3}",
        "\\PC{1,2}",
    ];
    vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

fn paths() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("base/system.toml"),
        Just("base/database.toml"),
        Just("environments/test/executor_pools.toml")
    ]
}

proptest! {
    #[test]
    fn no_text_panics(path in paths(), text in prop_oneof!["\\PC{0,80}", nearly()]) {
        let read = read_it(path, &text);
        let lines = text.split('\n').count();
        for finding in &read.findings {
            let (line, column) = finding.at.expect("a place");
            prop_assert!((1..=lines).contains(&line) && column >= 1, "{finding:?}");
        }
        let set = Set { files: BTreeMap::from([(file(path), read.leaves)]) };
        let _ = set.check(known(), Some("production"));
    }

    #[test]
    fn a_secret_is_in_no_value_and_no_message(
        path in paths(),
        section in "(\\[(system|backoff|database|execution|database\\.pool|x)\\]\n)?",
        key in "(host|url|username|version|password|api_token|max_retries|default_backoff_seconds|pool_size|my_secret|x)",
        secret in prop_oneof![
            Just("postgres://hunter2@h/d"), Just("Redis://:hunter2@h"), Just("https://me:hunter2@h/x"),
            Just("host=h password=hunter2 user=u"), Just("a;jdbc:postgresql://h?user=hunter2"),
        ],
        list in any::<bool>(),
    ) {
        let value = if list { format!("[1, \"a\", \"{secret}\"]") } else { format!("\"{secret}\"") };
        let read = read_it(path, &format!("{section}{key} = {value}\n"));
        let all = format!("{read:?}");
        prop_assert!(!all.contains("hunter2"), "{all}");
        prop_assert!(!read.findings.is_empty());
    }

    #[test]
    fn an_environment_wins_and_the_rest_of_the_base_stays(set in sets()) {
        let (base, test) = (set.resolve(None), set.resolve(Some("test")));
        for (component, path, value, origin) in test.iter() {
            let environment = (origin == Origin::Environment).then(|| "test".to_owned());
            prop_assert_eq!(set.get(&File { environment, component }, path), Some(value));
        }
        for (of, leaves) in &set.files {
            for path in leaves.keys() {
                match &of.environment {
                    Some(_) => prop_assert_eq!(test.get(of.component, path).map(|(_, origin)| origin), Some(Origin::Environment)),
                    None => prop_assert_eq!(base.get(of.component, path).map(|(_, origin)| origin), Some(Origin::Base)),
                }
            }
        }
        // Only a value or a section of the same name hides what the base says.
        for (component, path, ..) in base.iter() {
            let hidden = test.get(component, path).is_none();
            let clash = test.of(component).any(|(other, _, origin)| {
                origin == Origin::Environment
                    && (other.starts_with(&format!("{path}.")) || path.starts_with(&format!("{other}.")))
            });
            prop_assert_eq!(hidden, clash, "{}", path);
        }
    }

    #[test]
    fn an_environment_that_repeats_the_base_changes_no_value(leaves in leaves()) {
        let (base, test) = (file("base/pgmq.toml"), file("environments/test/pgmq.toml"));
        let set = Set { files: BTreeMap::from([(base, leaves.clone()), (test, leaves)]) };
        let values = |environment| -> Vec<_> {
            let resolved = set.resolve(environment);
            resolved.iter().map(|(_, path, value, _)| (path.to_owned(), value.clone())).collect()
        };
        prop_assert_eq!(values(None), values(Some("test")));
    }

    #[test]
    fn a_difference_leads_from_the_old_set_to_the_new_one(old in sets(), new in sets()) {
        prop_assert!(diff(&old, &old).is_empty());
        let mut changed = old.clone();
        for Change { component, key, environment, new, old: before } in diff(&old, &new) {
            let of = File::new(component, environment.as_deref()).expect("a file");
            prop_assert_eq!(old.get(&of, &key), before.as_ref());
            let leaves = changed.files.entry(of).or_default();
            match new {
                Some(value) => leaves.insert(key, value),
                None => leaves.remove(&key),
            };
        }
        prop_assert!(diff(&changed, &new).is_empty());
        prop_assert_eq!(diff(&old, &new).len(), diff(&new, &old).len());
    }

    #[test]
    fn what_is_written_is_read_again(leaves in leaves()) {
        let text = write::toml(Component::Pgmq, &leaves);
        let document = tasker_rules::configuration::document::parse(&text);
        prop_assert!(document.problems.is_empty(), "{text} {:?}", document.problems);
        let again: Leaves = document.items.into_iter().filter_map(|item| match item.content {
            tasker_rules::configuration::document::Content::Value(value) => Some((item.parts[1..].join("."), value)),
            _ => None,
        }).collect();
        prop_assert_eq!(again.len(), leaves.len());
        for (path, value) in &leaves {
            prop_assert!(same(&again[path], value), "{path} {value} {}", again[path]);
        }
    }
}
