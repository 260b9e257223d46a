//! The registry as data: templates, handlers, namespaces with their numbers, and what workers announce.

use std::sync::Mutex;

use tasker_client_tests::race::together;
use tasker_client_tests::worker::{Ask, done};
use tasker_client_tests::{Database, Session, Value, inside, json, shapes};

/// Namespace shop: order 0.1.0 and 0.2.0 (shop.reserve, shop.charge), audit (sql:..., shop.charge); default: ping (ping).
fn registered() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    for version in ["0.1.0", "0.2.0"] {
        shapes::Template::new("order")
            .with("namespace_name", json!("shop"))
            .with("version", json!(version))
            .with("description", json!("an order"))
            .step_with("reserve", &[], json!({"handler": "shop.reserve"}))
            .step_with(
                "charge",
                &["reserve"],
                json!({"handler": "shop.charge", "queue": "money"}),
            )
            .register(&mut session);
    }
    shapes::Template::new("audit")
        .with("namespace_name", json!("shop"))
        .step_with("count", &[], json!({"handler": "sql:pg_catalog.now"}))
        .step_with("charge", &["count"], json!({"handler": "shop.charge"}))
        .register(&mut session);
    shapes::Template::new("ping")
        .step_with("ping", &[], json!({"handler": "ping"}))
        .register(&mut session);
    (database, session)
}

#[track_caller]
fn announce(session: &mut Session, worker: &str, handlers: &[&str]) -> i32 {
    session.one(
        "SELECT tasker.register_handlers($1, $2)",
        &[&worker, &handlers],
    )
}

/// `full name.step` of the steps that no worker announces.
#[track_caller]
fn unannounced(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT task_name || '@' || version || '.' || step_name FROM tasker.unannounced_handlers ORDER BY 1",
        &[],
    )
}

#[track_caller]
fn text(session: &mut Session, sql: &str) -> String {
    session.one(sql, &[])
}

// ---- announcing ------------------------------------------------------------------------------------------------------

#[test]
fn what_a_live_worker_announces_is_not_reported_as_missing() {
    let (_database, mut session) = registered();
    let all = [
        "audit@0.1.0.charge",
        "order@0.1.0.charge",
        "order@0.1.0.reserve",
        "order@0.2.0.charge",
        "order@0.2.0.reserve",
        "ping@0.1.0.ping",
    ];
    assert_eq!(
        unannounced(&mut session),
        all,
        "no worker announces: all, except sql:"
    );
    assert_eq!(
        text(
            &mut session,
            "SELECT DISTINCT hint FROM tasker.unannounced_handlers"
        ),
        "No live worker announces anything. Workers need not: SELECT * FROM tasker.workers lists those that work."
    );
    assert_eq!(
        announce(&mut session, "w1", &["shop.charge", "ping", "shop.charge"]),
        2
    );
    assert_eq!(
        unannounced(&mut session),
        ["order@0.1.0.reserve", "order@0.2.0.reserve"]
    );
    assert_eq!(
        text(
            &mut session,
            "SELECT hint FROM tasker.unannounced_handlers WHERE latest"
        ),
        "Start a worker that has shop.reserve and claims queue default of namespace shop."
    );
    // Only for a namespace that does not need it.
    session.query(
        "SELECT tasker.register_handlers('w2', '{shop.reserve}', '{default}')",
        &[],
    );
    assert_eq!(
        text(
            &mut session,
            "SELECT hint FROM tasker.unannounced_handlers WHERE latest"
        ),
        "Live workers announce shop.reserve, but not for namespace shop."
    );
    session.query(
        "SELECT tasker.register_handlers('w2', '{shop.reserve}', '{default,shop}')",
        &[],
    );
    assert_eq!(unannounced(&mut session), [""; 0]);
    // Announcing does not change what a worker can claim.
    session.query("SELECT tasker.create_task('ping')", &[]);
    assert_eq!(session.claim(&Ask::by("says nothing", 1)).len(), 1);
}

#[test]
fn what_a_worker_announced_that_is_gone_does_not_count() {
    let (_database, mut session) = registered();
    session.query("SELECT tasker.register_handlers('w1', '{ping,shop.reserve,shop.charge}', NULL, 'kit', '1.0.0')", &[]);
    assert_eq!(unannounced(&mut session), [""; 0]);
    inside::silence(&mut session, "w1", 119);
    assert_eq!(
        unannounced(&mut session),
        [""; 0],
        "seen within two minutes"
    );
    inside::silence(&mut session, "w1", 121);
    assert_eq!(unannounced(&mut session).len(), 6);
    assert_eq!(session.count("SELECT count(*) FROM tasker.plugins", &[]), 0);
    assert_eq!(
        text(
            &mut session,
            "SELECT concat_ws(' ', live_workers, plugins, last_seen_at IS NOT NULL) FROM tasker.handlers WHERE handler = 'ping'"
        ),
        "0 {} t"
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.worker_handlers WHERE NOT live",
            &[]
        ),
        3
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.unannounced_handlers WHERE last_seen_at IS NOT NULL",
            &[]
        ),
        6
    );
    // A long step: only heartbeats, which keep the lease.
    session.query("SELECT tasker.create_task('ping')", &[]);
    session.claim(&Ask {
        lease: "1 hour",
        ..Ask::by("w1", 1)
    });
    inside::silence(&mut session, "w1", 121);
    assert_eq!(unannounced(&mut session), [""; 0]);
}

#[test]
fn unregister_handlers_takes_back_some_or_all() {
    let (_database, mut session) = registered();
    announce(&mut session, "w1", &["a", "b", "c"]);
    announce(&mut session, "w2", &["a"]);
    let mut gone = |call: &str| -> i32 {
        session.one(&format!("SELECT tasker.unregister_handlers({call})"), &[])
    };
    assert_eq!(gone("'w1', '{a,nothing}'"), 1);
    assert_eq!(gone("'w1'"), 2);
    assert_eq!(gone("'w1'"), 0);
    assert_eq!(gone("'unknown'"), 0);
    let left: Vec<String> = session.all(
        "SELECT worker_id || ' ' || handler FROM tasker.worker_handlers",
        &[],
    );
    assert_eq!(left, ["w2 a"]);
    for (call, code) in [("NULL", "22004"), ("''", "22023")] {
        session
            .fails(&format!("SELECT tasker.unregister_handlers({call})"), &[])
            .is(code);
    }
}

#[test]
fn an_announcement_says_all_or_is_refused() {
    let (_database, mut session) = registered();
    session.query(
        "SELECT tasker.register_handlers(worker_id => 'w1', handlers => '{ping}', namespaces => '{default}',
                                         plugin => 'kit', plugin_version => '2.0.0-rc.1+5', metadata => '{\"language\": \"ruby\"}')",
        &[],
    );
    assert_eq!(
        text(
            &mut session,
            "SELECT concat_ws(' ', worker_id, handler, namespaces, plugin, plugin_version, metadata, live) FROM tasker.worker_handlers"
        ),
        "w1 ping {default} kit 2.0.0-rc.1+5 {\"language\": \"ruby\"} t"
    );
    let before = inside::fingerprint(&mut session);
    let long = "x".repeat(300);
    for (arguments, code) in [
        ("NULL, '{a}'".to_owned(), "22004"),
        ("'w', NULL".to_owned(), "22004"),
        ("'w', '{a,NULL}'".to_owned(), "22004"),
        ("'w', '{a}', '{NULL}'".to_owned(), "22004"),
        ("'w', '{a}', metadata => NULL".to_owned(), "22004"),
        ("' ', '{a}'".to_owned(), "22023"),
        (format!("'{long}', '{{a}}'"), "22023"),
        ("'w', '{a,\"\"}'".to_owned(), "22023"),
        ("'w', ARRAY[E'a\\tb']".to_owned(), "22023"),
        (format!("'w', '{{{long}}}'"), "22023"),
        ("'w', '{a}', '{}'".to_owned(), "22023"),
        (format!("'w', '{{a}}', '{{{long}}}'"), "22023"),
        ("'w', '{a}', plugin => ''".to_owned(), "22023"),
        (format!("'w', '{{a}}', plugin => '{long}'"), "22023"),
        (
            "'w', '{a}', plugin => 'kit', plugin_version => '1.0'".to_owned(),
            "22023",
        ),
        (
            "'w', '{a}', plugin => 'kit', plugin_version => 'latest'".to_owned(),
            "22023",
        ),
        ("'w', '{a}', plugin_version => '1.0.0'".to_owned(), "22023"),
        ("'w', '{a}', metadata => '[]'".to_owned(), "22023"),
    ] {
        let failure = session.fails(
            &format!("SELECT tasker.register_handlers({arguments})"),
            &[],
        );
        assert_eq!(failure.code, code, "{arguments}: {failure}");
        assert!(!failure.hint.is_empty(), "{arguments}");
    }
    assert_eq!(inside::fingerprint(&mut session), before);
    assert_eq!(announce(&mut session, "w", &[]), 0);
}

#[test]
fn a_worker_has_one_version_of_a_plugin() {
    let (_database, mut session) = registered();
    let call = |handlers: &str, version: &str| {
        format!(
            "SELECT tasker.register_handlers('w1', '{handlers}', plugin => 'kit', plugin_version => {version})"
        )
    };
    session.query(&call("{a,b}", "'1.0.0'"), &[]);
    session.query(&call("{c}", "'1.0.0'"), &[]);
    for version in ["'1.1.0'", "NULL"] {
        session
            .fails(&call("{a,b}", version), &[])
            .is("23505")
            .message_says(&["w1", "kit"])
            .detail_says(&["1.0.0"]);
    }
    // All of it at once is another version of the worker's own: it was loaded again.
    session.query(&call("{a,b,c}", "'1.1.0'"), &[]);
    let other: Vec<String> = session.all(
        "SELECT DISTINCT plugin_version FROM tasker.worker_handlers",
        &[],
    );
    assert_eq!(other, ["1.1.0"]);
}

#[test]
fn plugins_shows_versions_that_disagree() {
    let (_database, mut session) = registered();
    for (worker, plugin, version, handlers) in [
        ("w1", "kit", Some("1.0.0"), vec!["a", "b"]),
        ("w2", "kit", Some("1.0.0"), vec!["b", "c"]),
        ("w3", "kit", Some("1.1.0"), vec!["a"]),
        ("w4", "kit", None, vec!["a"]),
        ("w1", "tool", Some("0.1.0"), vec!["t"]),
    ] {
        session.query(
            "SELECT tasker.register_handlers($1, $2, plugin => $3, plugin_version => $4)",
            &[&worker, &handlers, &plugin, &version],
        );
    }
    announce(&mut session, "w5", &["a"]);
    let plugins = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', name, coalesce(version, '-'), handlers, live_workers, worker_ids, other_versions) FROM tasker.plugins ORDER BY 1",
            &[],
        )
    };
    assert_eq!(
        plugins(&mut session),
        [
            "kit - {a} 1 {w4} {1.0.0,1.1.0}",
            "kit 1.0.0 {a,b,c} 2 {w1,w2} {1.1.0,\"no version\"}",
            "kit 1.1.0 {a} 1 {w3} {1.0.0,\"no version\"}",
            "tool 0.1.0 {t} 1 {w1} {}",
        ]
    );
    assert_eq!(
        text(
            &mut session,
            "SELECT concat_ws(' ', plugins, plugin_conflicts, announcing_workers) FROM tasker.registry_statistics"
        ),
        "2 1 5"
    );
    inside::silence(&mut session, "w3", 600);
    inside::silence(&mut session, "w4", 600);
    assert_eq!(
        plugins(&mut session),
        ["kit 1.0.0 {a,b,c} 2 {w1,w2} {}", "tool 0.1.0 {t} 1 {w1} {}"]
    );
    assert_eq!(
        text(
            &mut session,
            "SELECT concat_ws(' ', plugins, plugin_conflicts, announcing_workers) FROM tasker.registry_statistics"
        ),
        "2 0 3"
    );
}

#[test]
fn announcements_of_workers_gone_for_a_day_are_cleared_by_the_next_one() {
    let (_database, mut session) = registered();
    announce(&mut session, "old", &["a", "b"]);
    announce(&mut session, "recent", &["a"]);
    inside::silence(&mut session, "old", 90_000);
    inside::silence(&mut session, "recent", 80_000);
    announce(&mut session, "new", &["a"]);
    let left: Vec<String> = session.all(
        "SELECT worker_id FROM tasker.worker_handlers ORDER BY 1",
        &[],
    );
    assert_eq!(left, ["new", "recent"]);
}

#[test]
fn many_workers_announce_at_once_and_one_worker_from_two_sessions() {
    let (database, mut session) = registered();
    for number in 0..20 {
        announce(&mut session, &format!("old {number}"), &["a", "b", "c"]);
        inside::silence(&mut session, &format!("old {number}"), 90_000);
    }
    let sessions: Vec<Mutex<Session>> = (0..16).map(|_| Mutex::new(database.connect())).collect();
    let refused = together(16, |number| {
        let own = &mut sessions[number].lock().expect("one owner");
        (0..30)
            .filter(|round| {
                // Four workers, each from four sessions; two versions of one plugin never stand side by side.
                let handlers = [["a", "b"], ["b", "c"], ["c", "a"]][(number + round) % 3];
                let version = ["1.0.0", "2.0.0"][(number / 4 + round) % 2];
                let worker = format!("w{}", number % 4);
                own.attempt::<i32>(
                    "SELECT tasker.register_handlers($1, $2, plugin => 'kit', plugin_version => $3)",
                    &[&worker, &&handlers[..], &version],
                )
                .map_err(|failure| failure.is("23505"))
                .is_err()
            })
            .count()
    });
    assert!(
        refused.iter().sum::<usize>() > 0,
        "no two versions ever met"
    );
    assert_eq!(
        inside::announcements(&mut session),
        session.count(
            "SELECT count(*) FROM tasker.worker_handlers WHERE worker_id LIKE 'w%'",
            &[]
        )
    );
    let mixed: Vec<String> = session.all(
        "SELECT worker_id FROM tasker.worker_handlers GROUP BY worker_id HAVING count(DISTINCT plugin_version) > 1",
        &[],
    );
    assert_eq!(mixed, [""; 0]);
}

// ---- what is registered ----------------------------------------------------------------------------------------------

#[test]
fn handlers_shows_the_templates_that_use_a_handler_and_the_workers_that_have_it() {
    let (_database, mut session) = registered();
    announce(&mut session, "w1", &["shop.charge", "unused"]);
    announce(&mut session, "w2", &["shop.charge"]);
    session.query(
        "SELECT tasker.register_handlers('w3', '{shop.charge}', plugin => 'kit')",
        &[],
    );
    let all: Vec<String> = session.all(
        "SELECT concat_ws(' ', handler, namespaces, templates, steps, live_workers, plugins, last_seen_at IS NOT NULL) FROM tasker.handlers ORDER BY handler",
        &[],
    );
    assert_eq!(
        all,
        [
            "ping {default} {default.ping@0.1.0} 1 0 {} f",
            "shop.charge {shop} {shop.audit@0.1.0,shop.order@0.1.0,shop.order@0.2.0} 3 3 {kit} t",
            "shop.reserve {shop} {shop.order@0.1.0,shop.order@0.2.0} 2 0 {} f",
            "sql:pg_catalog.now {shop} {shop.audit@0.1.0} 1 0 {} f",
            "unused {} {} 0 1 {} t",
        ]
    );
}

#[test]
fn handlers_in_namespace() {
    let (_database, mut session) = registered();
    announce(&mut session, "w1", &["unused", "ping"]);
    let mut names = |namespace: &str| -> Vec<String> {
        session.all(
            "SELECT handler FROM tasker.handlers_in_namespace($1) WHERE handler NOT LIKE 'sql:%' ORDER BY handler DESC LIMIT 5",
            &[&namespace],
        )
    };
    assert_eq!(names("shop"), ["shop.reserve", "shop.charge"]);
    assert_eq!(names("default"), ["ping"]);
    assert_eq!(names("nowhere"), [""; 0]);
    session
        .fails("SELECT * FROM tasker.handlers_in_namespace(NULL)", &[])
        .is("22004");
}

#[test]
fn registered_templates_shows_versions_handlers_and_tasks() {
    let (_database, mut session) = registered();
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop')",
        &[],
    );
    session.query(
        "SELECT tasker.cancel_task(tasker.create_task('order', namespace => 'shop'))",
        &[],
    );
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop', version => '0.1.0')",
        &[],
    );
    let all: Vec<String> = session.all(
        "SELECT concat_ws(' ', full_name, qualified_name, latest, steps, handlers, used, tasks_by_state, coalesce(description, '-'))
         FROM tasker.registered_templates ORDER BY full_name",
        &[],
    );
    assert_eq!(
        all,
        [
            "default.ping@0.1.0 default.ping t 1 {ping} f {} -",
            "shop.audit@0.1.0 shop.audit t 2 {shop.charge,sql:pg_catalog.now} f {} -",
            "shop.order@0.1.0 shop.order f 2 {shop.charge,shop.reserve} t {\"pending\": 1} an order",
            "shop.order@0.2.0 shop.order t 2 {shop.charge,shop.reserve} t {\"pending\": 1, \"cancelled\": 1} an order",
        ]
    );
    let newest: bool = session.one(
        "SELECT t.last_requested_at = (SELECT max(k.requested_at) FROM tasker.tasks k WHERE k.version = '0.2.0')
         FROM tasker.registered_templates t WHERE t.full_name = 'shop.order@0.2.0'",
        &[],
    );
    assert!(newest);
    let configuration: Value = session.one(
        "SELECT configuration FROM tasker.registered_templates WHERE name = 'ping'",
        &[],
    );
    assert_eq!(configuration["steps"][0]["handler"]["callable"], "ping");
}

#[test]
fn counting_tasks_costs_nothing_where_it_is_not_asked_for() {
    let (_database, mut session) = registered();
    for (query, reads) in [
        (
            "SELECT full_name, steps, handlers, latest FROM tasker.registered_templates",
            false,
        ),
        (
            "SELECT tasks_by_state FROM tasker.registered_templates",
            true,
        ),
        (
            "SELECT name, templates, versions, handlers, live_workers FROM tasker.registered_namespaces",
            false,
        ),
        ("SELECT open_tasks FROM tasker.registered_namespaces", true),
        (
            "SELECT namespace_name, step_name, handler, hint FROM tasker.unannounced_handlers",
            false,
        ),
        ("SELECT waiting FROM tasker.unannounced_handlers", true),
        ("SELECT * FROM tasker.registry_statistics", false),
    ] {
        let plan: Vec<String> = session.all(&format!("EXPLAIN (COSTS OFF) {query}"), &[]);
        let plan = plan.join("\n");
        assert_eq!(plan.contains("on tasks"), reads, "{query}\n{plan}");
    }
}

#[test]
fn registered_namespaces_always_has_default() {
    let database = Database::new();
    let mut session = database.connect();
    let all = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT concat_ws(' ', name, is_default, paused, templates, versions, handlers, queues, live_workers, open_tasks, coalesce(description, '-'))
             FROM tasker.registered_namespaces ORDER BY name",
            &[],
        )
    };
    assert_eq!(all(&mut session), ["default t f 0 0 0 {} 0 0 -"]);
    drop(session);
    let (_database, mut session) = registered();
    session.query(
        "SELECT tasker.find_or_create_namespace('empty', 'for later')",
        &[],
    );
    session.query("SELECT tasker.pause_namespace('shop')", &[]);
    session.query(
        "SELECT tasker.create_tasks('ping', ARRAY['{}', '{}']::jsonb[])",
        &[],
    );
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop')",
        &[],
    );
    let claim = session.claim_one("w1");
    session.complete(&claim, &json!({}));
    assert_eq!(
        all(&mut session),
        [
            "default t f 1 1 1 {default} 1 1 -",
            "empty f f 0 0 0 {} 0 0 for later",
            "shop f t 2 3 3 {default,money,sql} 0 1 -",
        ]
    );
    inside::silence(&mut session, "w1", 600);
    assert_eq!(all(&mut session)[0], "default t f 1 1 1 {default} 0 1 -");
}

#[test]
fn registry_statistics_is_one_row() {
    let (_database, mut session) = registered();
    announce(&mut session, "w1", &["ping", "unused"]);
    session.claim(&Ask::by("w2", 1));
    assert_eq!(
        text(&mut session, "SELECT concat_ws(' ', namespaces, templates, versions, steps, handlers, announced_handlers, unannounced_steps,
                                              live_workers, announcing_workers, plugins, plugin_conflicts) FROM tasker.registry_statistics"),
        "2 3 4 7 4 2 5 2 1 0 0"
    );
}

#[test]
fn waiting_tells_whether_work_needs_the_handler_now() {
    let (_database, mut session) = registered();
    let waiting = |session: &mut Session| -> Vec<String> {
        session.all(
            "SELECT version || ' ' || step_name || ' ' || coalesce(waiting, '-') FROM tasker.unannounced_handlers WHERE task_name = 'order' ORDER BY 1",
            &[],
        )
    };
    assert_eq!(
        waiting(&mut session),
        [
            "0.1.0 charge -",
            "0.1.0 reserve -",
            "0.2.0 charge -",
            "0.2.0 reserve -"
        ]
    );
    session.query(
        "SELECT tasker.create_task('order', namespace => 'shop')",
        &[],
    );
    assert_eq!(
        waiting(&mut session),
        [
            "0.1.0 charge -",
            "0.1.0 reserve -",
            "0.2.0 charge pending",
            "0.2.0 reserve ready"
        ]
    );
    let claim = session
        .claim(&Ask {
            namespaces: vec!["shop"],
            ..Ask::default()
        })
        .remove(0);
    assert_eq!(
        waiting(&mut session)[2..],
        ["0.2.0 charge pending", "0.2.0 reserve -"],
        "it runs"
    );
    session.complete(&claim, &json!({}));
    assert_eq!(
        waiting(&mut session)[2..],
        ["0.2.0 charge ready", "0.2.0 reserve -"]
    );
    let claim = session
        .claim(&Ask {
            namespaces: vec!["shop"],
            queues: Some(vec!["money"]),
            ..Ask::default()
        })
        .remove(0);
    session.fail_and_wait(&claim);
    assert_eq!(
        waiting(&mut session)[2..],
        ["0.2.0 charge ready", "0.2.0 reserve -"],
        "a retry to come"
    );
    session.query(
        "SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks",
        &[],
    );
    session.query(
        "SELECT tasker.claim_steps('w', '{shop}', queues => '{money,default}')",
        &[],
    );
    assert_eq!(waiting(&mut session)[3..], ["0.2.0 reserve -"]);
    session.query("SELECT tasker.create_task('ping')", &[]);
    session.work(|_| done());
}

// ---- rights ----------------------------------------------------------------------------------------------------------

#[test]
fn workers_announce_and_readers_look() {
    let (database, _session) = registered();
    let mut own = database.connect();
    let announce = [
        "SELECT tasker.register_handlers('w', '{a}')",
        "SELECT tasker.unregister_handlers('w')",
    ];
    let look = [
        "SELECT * FROM tasker.worker_handlers",
        "SELECT * FROM tasker.plugins",
        "SELECT * FROM tasker.handlers",
        "SELECT * FROM tasker.handlers_in_namespace('shop')",
        "SELECT * FROM tasker.registered_templates",
        "SELECT * FROM tasker.registered_namespaces",
        "SELECT * FROM tasker.unannounced_handlers",
        "SELECT * FROM tasker.registry_statistics",
    ];
    for (role, announces, looks) in [
        ("reader", false, true),
        ("worker", true, false),
        ("operator", false, true),
        ("admin", true, true),
    ] {
        own.execute(&format!("SET ROLE tasker_{role}"));
        for (calls, allowed) in [(&announce[..], announces), (&look[..], looks)] {
            for call in calls {
                match own.attempt_rows(call) {
                    Ok(_) => assert!(allowed, "{role} may {call}"),
                    Err(failure) => {
                        assert!(!allowed, "{role} cannot {call}: {failure}");
                        failure.is("42501");
                    }
                }
            }
        }
        own.execute("RESET ROLE");
    }
}
