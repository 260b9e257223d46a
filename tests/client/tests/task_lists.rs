//! Lists of tasks: filters, pages, and what a page reads at most.

use tasker_client_tests::{Database, Session, Template, Uuid, inside, json, started};

fn one_step(name: &str) -> Template {
    Template::new(name).step("only", &[])
}

/// The tasks of a page, and where the next one begins if it says so.
fn page(session: &mut Session, filters: &str) -> (Vec<Uuid>, Option<Uuid>) {
    let rows = session.query(
        &format!("SELECT task_uuid, next_after, full_name FROM tasker.list_tasks({filters})"),
        &[],
    );
    let (mut tasks, mut next) = (vec![], None);
    for row in rows {
        let (task, after): (Option<Uuid>, Option<Uuid>) = (row.get(0), row.get(1));
        assert!(
            next.is_none(),
            "{filters}: only the last row has next_after"
        );
        assert_eq!(task.is_none(), row.get::<_, Option<String>>(2).is_none());
        assert_ne!(task.is_some(), after.is_some(), "{filters}");
        tasks.extend(task);
        next = after;
    }
    (tasks, next)
}

/// All pages of a list.
fn all_pages(session: &mut Session, filters: &str, limit: usize) -> Vec<Uuid> {
    let (mut all, mut after): (Vec<Uuid>, Option<Uuid>) = (vec![], None);
    loop {
        let place = after.map_or("NULL".into(), |after| format!("'{after}'"));
        let (tasks, next) = page(
            session,
            &format!("{filters}, limit_count => {limit}, after => {place}"),
        );
        let full = tasks.len() == limit;
        all.extend(&tasks);
        after = next.or(tasks.last().copied().filter(|_| full));
        if after.is_none() {
            return all;
        }
    }
}

/// What a condition on the public view says.
fn expected(session: &mut Session, condition: &str) -> Vec<Uuid> {
    session.all(
        &format!("SELECT task_uuid FROM tasker.tasks WHERE {condition} ORDER BY task_uuid DESC"),
        &[],
    )
}

/// Tasks of two namespaces and several versions in every state, with all that a filter looks at.
fn varied() -> (Database, Session) {
    let (database, mut session, _) = started(&one_step("pay"));
    session.query(
        "SELECT tasker.cancel_task(task_uuid) FROM tasker.tasks",
        &[],
    );
    one_step("pay")
        .with("version", json!("2.0.0"))
        .register(&mut session);
    one_step("pay")
        .with("namespace", json!("shop"))
        .register(&mut session);
    one_step("ship")
        .with("namespace", json!("shop"))
        .register(&mut session);
    for (template, namespace) in [("pay", "default"), ("pay", "shop"), ("ship", "shop")] {
        for number in 0..12 {
            session.query(
                "SELECT tasker.create_task($1, $2, namespace => $3, tags => $4, correlation_id => $5, idempotency_key => $6)",
                &[
                    &template,
                    &json!({"number": number, "deep": {"even": number % 2 == 0}}),
                    &namespace,
                    &if number % 3 == 0 { json!(["night", "eu", 7]) } else { json!([]) },
                    &(number % 4 == 0).then(|| format!("order-{}", number % 8)),
                    &(number % 2 == 0).then(|| format!("key {number}")),
                ],
            );
        }
    }
    session.query(
        "WITH claimed AS MATERIALIZED (
             SELECT c.*, row_number() OVER () % 4 AS turn FROM tasker.claim_steps('worker', ARRAY['default', 'shop'], 30) c)
         SELECT tasker.report_steps('worker', jsonb_agg(CASE WHEN c.turn < 2
             THEN jsonb_build_object('step_uuid', c.step_uuid, 'claim_number', c.claim_number, 'status', 'error', 'retryable', false,
                                     'error_class', CASE c.turn WHEN 0 THEN 'Timeout' ELSE 'Refused' END, 'error_message', 'it broke')
             ELSE jsonb_build_object('step_uuid', c.step_uuid, 'claim_number', c.claim_number, 'status', 'complete') END))
         FROM claimed c",
        &[],
    );
    for state in ["error", "complete"] {
        for _ in 0..2 {
            session.query(
                "SELECT CASE state WHEN 'error' THEN tasker.resolve_task_manually(task_uuid)
                                   ELSE tasker.cancel_task(task_uuid, cancel_completed => true) END
                 FROM tasker.tasks WHERE state = $1 ORDER BY task_uuid LIMIT 1",
                &[&state],
            );
        }
    }
    (database, session)
}

/// Tasks whose failed step has the class.
fn class(class: &str) -> String {
    format!(
        "task_uuid IN (SELECT task_uuid FROM tasker.failed_steps WHERE error_class = '{class}')
         AND state IN ('error', 'resolved_manually')"
    )
}

#[test]
fn each_filter_selects_what_the_public_view_says() {
    let (_database, mut session) = varied();
    let middle = "(SELECT requested_at FROM tasker.tasks ORDER BY task_uuid OFFSET 17 LIMIT 1)";
    let cases: Vec<(String, String)> = [
        ("state => NULL", "true"),
        ("state => 'pending'", "state = 'pending'"),
        ("state => 'error'", "state = 'error'"),
        ("state => 'complete'", "state = 'complete'"),
        ("state => 'cancelled'", "state = 'cancelled'"),
        (
            "state => 'resolved_manually'",
            "state = 'resolved_manually'",
        ),
        ("state => 'open'", "state IN ('pending', 'in_progress')"),
        ("namespace => 'shop'", "namespace_name = 'shop'"),
        ("namespace => 'nowhere'", "false"),
        ("name => 'pay'", "name = 'pay'"),
        (
            "namespace => 'shop', name => 'pay', version => '0.1.0'",
            "namespace_name = 'shop' AND name = 'pay'",
        ),
        ("version => '2.0.0'", "version = '2.0.0'"),
        ("tag => 'night'", "tags ? 'night'"),
        ("tag => '7'", "false"),
        ("tag => 'nigh'", "false"),
        ("correlation_id => 'order-4'", "correlation_id = 'order-4'"),
        ("correlation_id => 'order'", "false"),
        ("idempotency_key => 'key 2'", "idempotency_key = 'key 2'"),
        (
            "idempotency_key => 'key 2', namespace => 'shop', name => 'ship'",
            "idempotency_key = 'key 2' AND name = 'ship'",
        ),
        (
            "context_contains => '{\"deep\": {\"even\": true}}'",
            "context @> '{\"deep\": {\"even\": true}}'",
        ),
        (
            "tag => 'eu', state => 'error', namespace => 'shop'",
            "tags ? 'eu' AND state = 'error' AND namespace_name = 'shop'",
        ),
    ]
    .into_iter()
    .map(|(filters, condition)| (filters.to_owned(), condition.to_owned()))
    .chain([
        ("error_class => 'Timeout'".into(), class("Timeout")),
        (
            "error_class => 'Refused', state => 'error'".into(),
            format!("{} AND state = 'error'", class("Refused")),
        ),
        ("error_class => 'Timeou'".into(), "false".into()),
        (
            format!("since => {middle}"),
            format!("requested_at >= {middle}"),
        ),
        (
            format!("until => {middle}"),
            format!("requested_at < {middle}"),
        ),
    ])
    .collect();
    for (filters, condition) in cases {
        let wanted = expected(&mut session, &condition);
        assert_eq!(
            wanted.is_empty(),
            condition == "false",
            "{filters} shows something"
        );
        assert_eq!(
            page(&mut session, &filters),
            (wanted.clone(), None),
            "{filters}"
        );
        assert_eq!(
            all_pages(&mut session, &filters, 4),
            wanted,
            "{filters}, in pages"
        );
    }
}

#[test]
fn a_row_shows_the_request_and_the_failure() {
    let (_database, mut session) = varied();
    let differing = session.count(
        "SELECT count(*) FROM tasker.list_tasks() l JOIN tasker.tasks t USING (task_uuid)
         LEFT JOIN tasker.failed_steps f ON f.task_uuid = t.task_uuid AND t.state IN ('error', 'resolved_manually')
         WHERE (l.full_name, l.task_state, l.priority, l.requested_at, l.started_at, l.completed_at, l.initiator, l.source_system, l.reason,
                l.tags, l.task_correlation_id, l.task_idempotency_key, l.error_step, l.task_error_class)
               IS DISTINCT FROM
               (t.full_name, t.state, t.priority, t.requested_at, t.started_at, t.completed_at, t.initiator, t.source_system, t.reason,
                t.tags, t.correlation_id, t.idempotency_key, f.name, f.error_class)",
        &[],
    );
    assert_eq!(differing, 0);
    assert!(
        session.count(
            "SELECT count(*) FROM tasker.task_overview WHERE idempotency_key = 'key 2'",
            &[]
        ) == 3
    );
}

#[test]
fn a_page_that_stops_at_its_bound_says_where_to_go_on() {
    let (_database, mut session, _) = started(&one_step("pay"));
    let first = session.create_with("pay", &json!({"wanted": 1}));
    session.create_many("pay", 3100);
    for (filters, pages) in [
        ("context_contains => '{\"wanted\": 1}'", 4),
        ("name => 'pay', context_contains => '{\"wanted\": 1}'", 4),
    ] {
        let (mut after, mut read) = ("NULL".to_owned(), 0);
        let found = loop {
            read += 1;
            let (tasks, next) = page(&mut session, &format!("{filters}, after => {after}"));
            match next {
                Some(next) => {
                    assert!(tasks.is_empty(), "{filters}");
                    after = format!("'{next}'");
                }
                None => break tasks,
            }
        };
        assert_eq!((found, read), (vec![first], pages), "{filters}");
    }
    assert_eq!(page(&mut session, "namespace => 'nowhere'"), (vec![], None));
    // What an index finds needs no second page.
    session.query("SELECT tasker.tag_task($1, '[\"rare\"]')", &[&first]);
    assert_eq!(page(&mut session, "tag => 'rare'"), (vec![first], None));
}

/// Tasks of three templates of one namespace, of which one has few and one has most, and the tasks of another namespace between them.
fn uneven() -> (Database, Session) {
    let database = Database::new();
    let mut session = database.connect();
    for (name, namespace) in [
        ("many", "shop"),
        ("some", "shop"),
        ("few", "shop"),
        ("many", "other"),
    ] {
        one_step(name)
            .with("namespace", json!(namespace))
            .register(&mut session);
    }
    for (name, namespace, count) in [
        ("few", "shop", 3),
        ("some", "shop", 500),
        ("many", "shop", 400),
        ("few", "shop", 1),
        ("many", "other", 100),
        ("many", "shop", 1200),
        ("some", "shop", 30),
        ("few", "shop", 2),
        ("many", "shop", 700),
        ("some", "shop", 40),
    ] {
        session.query(
            "SELECT tasker.create_tasks($1, (SELECT array_agg(jsonb_build_object('wanted', n % 29 = 1)) FROM generate_series(1, $3) n), $2)",
            &[&name, &namespace, &count],
        );
    }
    (database, session)
}

#[test]
fn pages_over_templates_of_different_size_show_each_task_once_in_order() {
    let (_database, mut session) = uneven();
    for (filters, condition) in [
        ("namespace => 'shop'", "namespace_name = 'shop'"),
        ("name => 'many'", "name = 'many'"),
        (
            "namespace => 'shop', context_contains => '{\"wanted\": true}'",
            "namespace_name = 'shop' AND context @> '{\"wanted\": true}'",
        ),
        (
            "namespace => 'shop', name => 'few', context_contains => '{\"wanted\": true}'",
            "name = 'few' AND context @> '{\"wanted\": true}'",
        ),
    ] {
        let wanted = expected(&mut session, condition);
        assert!(wanted.len() > 2, "{filters}");
        for limit in [7, 100, 1500, 10_000] {
            assert_eq!(
                all_pages(&mut session, filters, limit),
                wanted,
                "{filters}, {limit} in a page"
            );
        }
    }
}

#[test]
fn a_tag_that_is_given_or_taken_later_counts() {
    let (_database, mut session, task) = started(&one_step("pay"));
    let tagged = |session: &mut Session, tag: &str| page(session, &format!("tag => '{tag}'")).0;
    session.query(
        "SELECT tasker.tag_task($1, '[\"a\", \"b\", \"a\"]')",
        &[&task],
    );
    assert_eq!(tagged(&mut session, "a"), [task]);
    session.query("SELECT tasker.tag_task($1, '[\"b\", \"c\"]')", &[&task]);
    session.query("SELECT tasker.untag_task($1, '[\"a\"]')", &[&task]);
    assert!(tagged(&mut session, "a").is_empty());
    assert_eq!(tagged(&mut session, "b"), [task]);
    assert_eq!(tagged(&mut session, "c"), [task]);
    let long = "x".repeat(300);
    session.query(
        "SELECT tasker.tag_task($1, jsonb_build_array($2::text))",
        &[&task, &long],
    );
    assert_eq!(tagged(&mut session, &long), [task]);
    assert!(tagged(&mut session, &format!("{}y", &long[1..])).is_empty());
    session.query("SELECT tasker.cancel_task($1)", &[&task]);
    session.query("SELECT * FROM tasker.purge_tasks(interval '0')", &[]);
    assert_eq!(inside::tag_rows(&mut session), 0);
}

#[test]
fn what_cannot_be_a_page_is_refused() {
    let (_database, mut session, _) = started(&one_step("pay"));
    for limit in ["0", "-1", "10001"] {
        session
            .fails(
                &format!("SELECT tasker.list_tasks(limit_count => {limit})"),
                &[],
            )
            .is("22023")
            .says(&["limit_count", limit, "1 to 10000"]);
    }
    session
        .fails("SELECT tasker.list_tasks(limit_count => NULL)", &[])
        .is("22004");
    session
        .fails("SELECT tasker.list_tasks(state => 'stuck')", &[])
        .is("22023")
        .hint_says(&["in_progress", "'open'"]);
}
