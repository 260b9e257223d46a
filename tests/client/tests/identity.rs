//! Identity of tasks, versions, namespaces.

use tasker_client_tests::worker::done;
use tasker_client_tests::{Database, Session, Uuid, Value, inside, json, shapes};

fn registered(strategy: &str) -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    shapes::chain("one", 1)
        .with("identity_strategy", json!(strategy))
        .register(&mut session);
    (database, session)
}

#[test]
fn the_same_request_twice_is_refused_with_the_existing_task() {
    let (_database, mut session) = registered("hash");
    let task = session.create_with("one", &json!({"a": 1, "b": {"c": [1, 2], "d": null}}));
    let before = inside::fingerprint(&mut session);
    for same in [
        json!({"a": 1, "b": {"c": [1, 2], "d": null}}),
        json!({"b": {"d": null, "c": [1, 2]}, "a": 1}),
    ] {
        session
            .fails("SELECT tasker.create_task('one', $1)", &[&same])
            .is("23505")
            .message_says(&["default.one@0.1.0"])
            .detail_says(&[&task.to_string()]);
        session
            .fails(
                "SELECT * FROM tasker.create_tasks('one', ARRAY['{}'::jsonb, $1])",
                &[&same],
            )
            .is("23505")
            .detail_says(&[&task.to_string()]);
    }
    assert_eq!(
        inside::fingerprint(&mut session),
        before,
        "one of two was created"
    );
}

#[test]
fn a_request_that_differs_makes_another_task() {
    let (_database, mut session) = registered("hash");
    let requests = [
        "'one', '{\"a\": 1}'",
        "'one', '{\"a\": 2}'",
        "'one', '{\"a\": \"1\"}'",
        "'one', '{\"a\": [1]}'",
        "'one', '{}'",
        "'one', '{\"a\": 1}', initiator => 'ann'",
        "'one', '{\"a\": 1}', source_system => 'shop'",
        "'one', '{\"a\": 1}', reason => 'again'",
    ];
    for request in requests {
        session.one::<Uuid>(&format!("SELECT tasker.create_task({request})"), &[]);
    }
    for request in requests {
        session
            .fails(&format!("SELECT tasker.create_task({request})"), &[])
            .is("23505");
    }
    let hashes: Vec<String> = session.all("SELECT identity_hash::text FROM tasker.tasks", &[]);
    let distinct: std::collections::BTreeSet<&String> = hashes.iter().collect();
    assert_eq!(distinct.len(), requests.len());
    assert!(
        hashes
            .iter()
            .all(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{hashes:?}"
    );
}

#[test]
fn two_equal_requests_in_one_call_are_refused_as_a_whole() {
    let (_database, mut session) = registered("hash");
    let before = inside::fingerprint(&mut session);
    let contexts = vec![json!({"a": 1}), json!({"a": 2}), json!({"a": 1})];
    session
        .fails("SELECT * FROM tasker.create_tasks('one', $1)", &[&contexts])
        .is("23505");
    assert_eq!(inside::fingerprint(&mut session), before);
}

#[test]
fn without_a_strategy_equal_requests_make_two_tasks() {
    let (_database, mut session) = registered("unique");
    let context = json!({"a": 1});
    assert_ne!(
        session.create_with("one", &context),
        session.create_with("one", &context)
    );
}

#[test]
fn the_callers_own_key_returns_the_existing_task_under_every_strategy() {
    for strategy in ["unique", "hash"] {
        let (_database, mut session) = registered(strategy);
        let mut create = |key: &str, context: Value| -> Uuid {
            session.one(
                "SELECT tasker.create_task('one', $1, idempotency_key => $2)",
                &[&context, &key],
            )
        };
        let task = create("order-1", json!({"a": 1}));
        assert_eq!(create("order-1", json!({"a": 1})), task);
        assert_eq!(
            create("order-1", json!({"a": 2})),
            task,
            "the key decides, whatever else is said"
        );
        assert_ne!(create("Order-1", json!({"a": 3})), task);
        session.work(|_| done());
        assert_eq!(
            session.one::<Uuid>(
                "SELECT tasker.create_task('one', idempotency_key => 'order-1')",
                &[]
            ),
            task,
            "also when it is complete"
        );
        assert_eq!(session.task_state(task), "complete");
    }
}

#[test]
fn idempotency_keys_in_bulk_return_one_uuid_each_in_the_order_given() {
    let (_database, mut session) = registered("unique");
    let known: Uuid = session.one(
        "SELECT tasker.create_task('one', idempotency_key => 'b')",
        &[],
    );
    let contexts = vec![json!({}); 5];
    let keys = ["a", "b", "c", "a", ""]
        .map(|key| (!key.is_empty()).then_some(key))
        .to_vec();
    let tasks: Vec<Uuid> = session.all(
        "SELECT tasker.create_tasks('one', $1, idempotency_keys => $2)",
        &[&contexts, &keys],
    );
    assert_eq!(tasks.len(), 5);
    assert_eq!(tasks[1], known);
    assert_eq!(tasks[0], tasks[3]);
    let distinct: std::collections::BTreeSet<&Uuid> = tasks.iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(session.claim_all("worker").len(), 4);
}

#[test]
fn one_template_name_in_two_namespaces_means_two_templates() {
    let (_database, mut session) = registered("hash");
    shapes::chain("one", 2)
        .with("namespace_name", json!("other"))
        .with("identity_strategy", json!("hash"))
        .register(&mut session);
    let here = session.create_with("one", &json!({"a": 1}));
    let there: Uuid = session.one(
        "SELECT tasker.create_task('one', '{\"a\": 1}', 'other')",
        &[],
    );
    assert_eq!(
        (session.steps(here).len(), session.steps(there).len()),
        (1, 2)
    );
    let by_key: Vec<Uuid> = ["default", "other"]
        .iter()
        .map(|namespace| {
            session.one(
                "SELECT tasker.create_task('one', '{\"k\": 1}', $1, idempotency_key => 'k')",
                &[namespace],
            )
        })
        .collect();
    assert_ne!(by_key[0], by_key[1]);
}

#[test]
fn without_a_version_the_highest_version_by_number_is_used() {
    let database = Database::new();
    let mut session = database.connect();
    for version in ["0.9.0", "0.10.0", "0.2.11"] {
        shapes::chain("one", 1)
            .with("version", json!(version))
            .register(&mut session);
    }
    session.create("one");
    session.query("SELECT tasker.create_task('one', version => '0.9.0')", &[]);
    let versions: Vec<String> = session
        .claim_all("worker")
        .into_iter()
        .map(|claim| claim.version)
        .collect();
    assert_eq!(versions, ["0.10.0", "0.9.0"]);
    let exported: Value = session.one("SELECT tasker.export_template('one')", &[]);
    assert_eq!(exported["version"], "0.10.0");
    shapes::chain("one", 1)
        .with("version", json!("1.0.0"))
        .register(&mut session);
    session.create("one");
    assert_eq!(session.claim_one("worker").version, "1.0.0");
    // The full name is how messages speak of it.
    let text = shapes::chain("one", 1)
        .with("version", json!("1.0.0"))
        .with("description", json!("another content"))
        .text();
    session
        .fails("SELECT tasker.register_template($1)", &[&text])
        .is("23505")
        .message_says(&["default.one@1.0.0"]);
}

#[test]
fn namespaces_are_case_sensitive_unique_and_kept_while_in_use() {
    let database = Database::new();
    let mut session = database.connect();
    for (namespace, steps) in [("Shop", 1), ("shop", 2)] {
        shapes::chain("one", steps)
            .with("namespace_name", json!(namespace))
            .register(&mut session);
    }
    shapes::chain("two", 1)
        .with("namespace_name", json!("shop"))
        .register(&mut session);
    let names: Vec<String> = session.all("SELECT name::text FROM tasker.task_namespaces WHERE lower(name) = 'shop' ORDER BY name COLLATE \"C\"", &[]);
    assert_eq!(names, ["Shop", "shop"]);
    for (namespace, steps) in [("Shop", 1), ("shop", 2)] {
        let task: Uuid = session.one(
            "SELECT tasker.create_task('one', namespace => $1)",
            &[&namespace],
        );
        assert_eq!(session.steps(task).len(), steps);
    }
    session
        .fails(
            "DELETE FROM tasker.task_namespaces WHERE name = 'Shop'",
            &[],
        )
        .is("23503");
    session
        .fails("SELECT tasker.create_task('one', namespace => 'SHOP')", &[])
        .is("P0002")
        .says(&["SHOP"]);
}

#[test]
fn the_version_is_part_of_the_identity_and_tags_priority_and_time_are_not() {
    let (_database, mut session) = registered("hash");
    shapes::chain("one", 1)
        .with("identity_strategy", json!("hash"))
        .with("version", json!("0.2.0"))
        .register(&mut session);
    let newest = session.create_with("one", &json!({"a": 1}));
    let older: Uuid = session.one(
        "SELECT tasker.create_task('one', '{\"a\": 1}', version => '0.1.0')",
        &[],
    );
    assert_ne!(newest, older);
    for same in [
        "version => '0.2.0'",
        "tags => '[\"x\"]'",
        "priority => 4",
        "run_at => now() + interval '1 day'",
        "correlation_id => 'c'",
    ] {
        session
            .fails(
                &format!("SELECT tasker.create_task('one', '{{\"a\": 1}}', {same})"),
                &[],
            )
            .is("23505")
            .detail_says(&[&newest.to_string()]);
    }
    // The caller's own key counts for the task of that name, whatever its version.
    let mut keyed = |version: &str| -> Uuid {
        session.one(
            "SELECT tasker.create_task('one', version => $1, idempotency_key => 'k')",
            &[&version],
        )
    };
    assert_eq!(keyed("0.1.0"), keyed("0.2.0"));
}

#[test]
fn an_equal_request_passes_when_the_first_was_cancelled_also_for_another_day() {
    for window in [json!(null), json!("off")] {
        let database = Database::new();
        let mut session = database.connect();
        shapes::chain("daily", 1)
            .with("identity_strategy", json!("hash"))
            .with("identity_window", window)
            .register(&mut session);
        let first = session.create_with("daily", &json!({"report": 7}));
        let again = "SELECT tasker.create_task('daily', '{\"report\": 7}', run_at => now() + interval '1 day')";
        session.fails(again, &[]).is("23505");
        session.query("SELECT tasker.cancel_task($1)", &[&first]);
        let second: Uuid = session.one(again, &[]);
        session
            .fails(again, &[])
            .is("23505")
            .detail_says(&[&second.to_string()]);
        let known: Vec<Option<bool>> = session.all(
            "SELECT identity_hash IS NOT NULL FROM tasker.tasks ORDER BY task_uuid = $1 DESC",
            &[&first],
        );
        assert_eq!(known, [Some(false), Some(true)]);
    }
}

/// The time at which a task was requested, as if it had been this long ago.
fn requested_before(session: &mut Session, task: Uuid, ago: &str) {
    session.query(
        &format!("UPDATE tasker_engine.tasks SET requested_at = now() - interval '{ago}' WHERE task_uuid = $1"),
        &[&task],
    );
}

#[test]
fn an_equal_request_passes_after_the_window_which_is_a_minute_unless_another_is_given() {
    let database = Database::new();
    let mut session = database.connect();
    for (number, (window, within, after)) in [
        (json!(null), "20 seconds", Some("60 seconds")),
        (json!(300), "4 minutes", Some("5 minutes")),
        (json!("1 day"), "23 hours", Some("25 hours")),
        (json!("off"), "100 years", None),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("window {number}");
        shapes::chain(&name, 1)
            .with("identity_strategy", json!("hash"))
            .with("identity_window", window)
            .register(&mut session);
        let create = format!("SELECT tasker.create_task('{name}', '{{\"a\": 1}}')");
        let first: Uuid = session.one(&create, &[]);
        requested_before(&mut session, first, within);
        session
            .fails(&create, &[])
            .is("23505")
            .detail_says(&[&first.to_string()])
            .says(&["identity_window"]);
        if let Some(after) = after {
            requested_before(&mut session, first, after);
            let second: Uuid = session.one(&create, &[]);
            assert_ne!(second, first);
            session
                .fails(&create, &[])
                .is("23505")
                .detail_says(&[&second.to_string()]);
        }
    }
}

#[test]
fn of_many_equal_requests_after_the_window_one_passes_each_time() {
    let (database, mut session) = registered("hash");
    let contexts: Vec<Value> = (0..20).map(|number| json!({"order": number})).collect();
    let create = "SELECT tasker.create_tasks('one', $1)";
    session.query(create, &[&contexts]);
    session.query(
        "UPDATE tasker_engine.tasks SET requested_at = now() - interval '2 minutes'",
        &[],
    );
    let made = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (database, made) = (&database, &made);
            let mut contexts = contexts.clone();
            if number % 2 == 1 {
                contexts.reverse();
            }
            scope.spawn(
                move || match database.connect().attempt_with(create, &[&contexts]) {
                    Ok(_) => {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    Err(failure) => {
                        failure.is("23505");
                    }
                },
            );
        }
    });
    assert_eq!(made.into_inner(), 1);
    let counts: Vec<i64> = ["tasks", "task_identities"]
        .iter()
        .map(|table| session.one(&format!("SELECT count(*) FROM tasker_engine.{table}"), &[]))
        .collect();
    assert_eq!(counts, [40, 20]);
}
