//! The hints that recommend a call: how each is raised, and how it is followed.

/// Where the text of a hint comes from.
pub enum Hint {
    /// The HINT of a refused statement.
    Refusal(&'static str),
    /// The first column of a query, such as `hint` of a view.
    Row(&'static str),
    /// The HINT of what a statement says aside.
    Notice(&'static str),
    /// The source, with the reason why no session can be told this.
    Source(&'static str),
}

/// `{task}` and `{step}` stand for a task of two steps and its first step.
pub struct Case {
    /// Words of the hint, as the source has them.
    pub source: &'static str,
    pub before: &'static [&'static str],
    pub hint: Hint,
    /// Words of the hint, and the call that they say; `{}` stands for the words.
    pub says: &'static [(&'static str, &'static str)],
    /// Whether the refused statement is allowed afterwards.
    pub helps: bool,
}

const fn reads(
    source: &'static str,
    hint: Hint,
    says: &'static [(&'static str, &'static str)],
) -> Case {
    Case {
        source,
        before: &[],
        hint,
        says,
        helps: false,
    }
}

const fn helps(
    source: &'static str,
    before: &'static [&'static str],
    call: &'static str,
    says: &'static [(&'static str, &'static str)],
) -> Case {
    Case {
        source,
        before,
        hint: Hint::Refusal(call),
        says,
        helps: true,
    }
}

/// What the hint reads has rows, and afterwards the query gives this hint no more.
const LISTS: &str = "SELECT 1 / count(*) FROM ({}) listed";

const fn row(
    source: &'static str,
    before: &'static [&'static str],
    query: &'static str,
    says: &'static [(&'static str, &'static str)],
    helps: bool,
) -> Case {
    Case {
        source,
        before,
        hint: Hint::Row(query),
        says,
        helps,
    }
}

const OTHER: &str = "SELECT tasker.register_template('{\"name\": \"other\", \"steps\": [{\"name\": \"only\", \"handler\": \"test.only\"}]}')";
const OTHER_CHANGED: &str = "SELECT tasker.register_template('{\"name\": \"other\", \"steps\": [{\"name\": \"changed\", \"handler\": \"test.only\"}]}')";
const TWO_CHANGED: &str = "SELECT tasker.register_template('{\"name\": \"two\", \"steps\": [{\"name\": \"changed\", \"handler\": \"test.only\"}]}', replace => true)";
const TWO_HIGHER: &str = "SELECT tasker.register_template('{\"name\": \"two\", \"version\": \"9.0.0\", \"steps\": [{\"name\": \"changed\", \"handler\": \"test.only\"}]}')";
const MAKE_ONE: &str = "CREATE FUNCTION public.one(step jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('one', 1) $$";
const INSIDE: &str = "SELECT tasker.register_template('{\"name\": \"inside\", \"steps\": [{\"name\": \"only\", \"handler\": \"sql:public.one\", \"default_retry_limit\": 1}]}')";
const CREATE_INSIDE: &str = "SELECT tasker.create_task('inside')";
const RUN: &str = "SELECT * FROM tasker.run_steps()";
/// The hint of the newest step inside the database that failed.
const STEP_HINT: &str = "SELECT results ->> 'hint' FROM tasker.workflow_steps WHERE state = 'error' AND name = 'only' ORDER BY step_uuid DESC LIMIT 1";
/// Another task, which runs to its end; an error if it does not.
const ANOTHER_RUNS: &str = "DO $$ DECLARE made uuid; BEGIN
    made := tasker.create_task('inside', jsonb_build_object('at', clock_timestamp()));
    PERFORM tasker.run_steps();
    IF (SELECT state FROM tasker.tasks WHERE task_uuid = made) <> 'complete' THEN
        RAISE EXCEPTION '%', (SELECT results FROM tasker.workflow_steps WHERE task_uuid = made);
    END IF;
END $$";

/// The two executors of the pool `default` need 100 MB.
const LITTLE_MEMORY: &[&str] = &["SET tasker.memory_budget_mb = 60"];
const MEMORY_HINT: &str =
    "SELECT hint FROM tasker.validate_resources() WHERE message ~ 'memory_budget'";
const FIVE_FAILED: &[&str] = &[
    "SELECT tasker.create_task('two', jsonb_build_object('no', n)) FROM generate_series(1, 5) n",
    "SELECT tasker.fail_step(step_uuid, claim_number, 'broken', retryable => false) FROM tasker.claim_steps('w', max_steps => 10)",
];
const ONE_IS_BEHIND: &[&str] = &[
    "SELECT tasker.subscribe('heard', start_at => 'beginning')",
    "SET tasker.max_subscriber_lag = '1 s'",
    "SELECT pg_sleep(1)",
];
const LAG_HINT: &str = "SELECT hint FROM tasker.health_status() WHERE measure = 'subscribers'";
/// A pattern that looks around is for short texts.
const COMPLEX: &[&str] = &[
    r##"SELECT tasker.register_template('{"name": "complex", "steps": [
        {"name": "first", "handler": "test.a", "results_schema": {"properties": {"a": {"pattern": "^(a|b(?=.*d))*\\1c"}}}},
        {"name": "second", "handler": "test.b"}]}')"##,
    "SELECT tasker.create_task('complex')",
    "SELECT tasker.claim_steps('w', max_steps => 10)",
];
const COMPLEX_RESULTS: &str = "SELECT tasker.complete_step(step_uuid, 1, jsonb_build_object('a', repeat('ab', 50000) || 'd')) FROM tasker.workflow_steps WHERE name = 'first'";

pub const CASES: &[Case] = &[
    reads(
        "list_tasks() and cancel_tasks() take 'open' too",
        Hint::Refusal("SELECT * FROM tasker.list_tasks('Open')"),
        &[
            ("list_tasks()", "SELECT * FROM tasker.list_tasks('open')"),
            ("'in_progress'", "SELECT * FROM tasker.list_tasks({})"),
            (
                "cancel_tasks()",
                "SELECT * FROM tasker.cancel_tasks('open')",
            ),
        ],
    ),
    reads(
        "SELECT name FROM pg_timezone_names lists them",
        Hint::Refusal("SELECT * FROM tasker.next_runs('@daily', 'Nowhere/X')"),
        &[
            ("SELECT name FROM pg_timezone_names", "{}"),
            (
                "Europe/Berlin",
                "SELECT * FROM tasker.next_runs('@daily', '{}')",
            ),
        ],
    ),
    reads(
        "SELECT * FROM tasker.next_runs(cron, time_zone) shows",
        Hint::Refusal("SELECT tasker.schedule_task('never', '0 0 31 2 *', 'two')"),
        &[("SELECT * FROM tasker.next_runs(", "{}'0 0 31 1 *', 'UTC')")],
    ),
    reads(
        "SELECT schedule_name FROM tasker.schedules lists",
        Hint::Refusal("SELECT tasker.pause_schedule('gone')"),
        &[("SELECT schedule_name FROM tasker.schedules", "{}")],
    ),
    Case {
        source: "SELECT rolname FROM pg_roles lists",
        before: &["SELECT tasker.subscribe('heard')"],
        hint: Hint::Refusal("SELECT tasker.grant_subscriber('heard', 'no_such_role')"),
        says: &[("SELECT rolname FROM pg_roles", "{}")],
        helps: false,
    },
    reads(
        "SELECT name FROM tasker.event_catalog lists the names",
        Hint::Refusal("SELECT tasker.event_share('', 'trace')"),
        &[("SELECT name FROM tasker.event_catalog", "{}")],
    ),
    reads(
        "tasker.event_catalog lists them",
        Hint::Refusal("SET tasker.filtered_events = ','"),
        &[("tasker.event_catalog", "TABLE {}")],
    ),
    reads(
        "SELECT * FROM tasker.load_subscriptions(yaml,",
        Hint::Refusal("SELECT tasker.load_subscriptions('', '[]')"),
        &[(
            "SELECT * FROM tasker.load_subscriptions(",
            "{}'subscriptions:', '{\"AuditSubscriber\": \"sql:shop.audit\"}')",
        )],
    ),
    Case {
        source: "SELECT tasker.seek_subscriber(subscriber,",
        before: &["SELECT tasker.subscribe('heard')"],
        hint: Hint::Refusal("SELECT tasker.seek_subscriber('heard', 'sometime')"),
        says: &[(
            "SELECT tasker.seek_subscriber(",
            "{}'heard', '2026-01-31 12:00+00')",
        )],
        helps: false,
    },
    reads(
        "SELECT * FROM tasker.run_subscribers(100), for example",
        Hint::Refusal("SELECT tasker.run_subscribers(0)"),
        &[("SELECT * FROM tasker.run_subscribers(100)", "{}")],
    ),
    reads(
        "SELECT subscriber FROM tasker.subscribers lists",
        Hint::Refusal("SELECT tasker.pause_subscriber('gone')"),
        &[
            ("SELECT subscriber FROM tasker.subscribers", "{}"),
            ("subscribe()", "SELECT tasker.subscribe('gone')"),
        ],
    ),
    Case {
        source: "Leave it NULL for the backoff of the settings",
        before: &["SELECT tasker.subscribe('heard')"],
        hint: Hint::Refusal("SELECT tasker.nack_events('heard', '{}', '-1 s')"),
        says: &[("tasker.default_backoff_seconds", "SHOW {}")],
        helps: false,
    },
    Case {
        source: "Use extend_events() while the work",
        before: &["SELECT tasker.subscribe('heard')"],
        hint: Hint::Refusal("SELECT tasker.poll_events('heard', 1, '2 days')"),
        says: &[(
            "extend_events()",
            "SELECT tasker.extend_events('heard', '{1}', '1 minute')",
        )],
        helps: false,
    },
    helps(
        "Let its owner call grant_subscriber()",
        &[
            "SELECT tasker.subscribe('heard')",
            "CREATE ROLE hints_hearer; GRANT tasker_reader TO hints_hearer",
        ],
        "SET ROLE hints_hearer; SELECT tasker.poll_events('heard'); RESET ROLE",
        &[(
            "grant_subscriber()",
            "SELECT tasker.grant_subscriber('heard', 'hints_hearer')",
        )],
    ),
    helps(
        "GRANT tasker_operator TO %I",
        &[
            "CREATE ROLE hints_plain LOGIN; GRANT USAGE ON SCHEMA tasker TO hints_plain; GRANT EXECUTE ON FUNCTION tasker.schedule_task TO hints_plain",
        ],
        "SET SESSION AUTHORIZATION hints_plain; SELECT tasker.schedule_task('mine', '@daily', 'two')",
        &[("GRANT tasker_operator TO hints_plain", "{}")],
    ),
    reads(
        "SELECT name FROM tasker.executor_pools lists",
        Hint::Refusal("SELECT tasker.remove_executor_pool('gone')"),
        &[("SELECT name FROM tasker.executor_pools", "{}")],
    ),
    row(
        "lower max_executors with tasker.configure_executor_pool",
        &["SELECT tasker.configure_executor_pool('large', 1, 900)"],
        "SELECT hint FROM tasker.validate_resources() WHERE hint ~ 'configure_executor_pool'",
        &[
            ("tasker.configure_executor_pool", "SELECT {}('large', 1, 2)"),
            ("max_worker_processes", "SHOW {}"),
        ],
        true,
    ),
    row(
        "Set both with tasker.configure_executor_pool.",
        &[
            "SELECT tasker.configure_executor_pool('odd', 1, 2)",
            "UPDATE tasker_engine.executor_pools SET min_executors = 3 WHERE name = 'odd'",
        ],
        "SELECT hint FROM tasker.validate_resources() WHERE pool = 'odd'",
        &[("tasker.configure_executor_pool", "SELECT {}('odd', 3, 4)")],
        true,
    ),
    row(
        "Raise max_executors, or switch the pool off",
        &["SELECT tasker.configure_executor_pool('never', 0, 0)"],
        "SELECT hint FROM tasker.validate_resources() WHERE pool = 'never'",
        &[(
            "enabled => false",
            "SELECT tasker.configure_executor_pool('never', {})",
        )],
        true,
    ),
    row(
        "Raise max_executors, or switch the pool off",
        &["SELECT tasker.configure_executor_pool('never', 0, 0)"],
        "SELECT hint FROM tasker.validate_resources() WHERE pool = 'never'",
        &[(
            "max_executors",
            "SELECT tasker.configure_executor_pool('never', {} => 1)",
        )],
        true,
    ),
    row(
        "Raise tasker.memory_budget_mb",
        LITTLE_MEMORY,
        MEMORY_HINT,
        &[("tasker.memory_budget_mb", "SET {} = 200")],
        true,
    ),
    row(
        "set tasker.executor_memory_mb to what an executor really uses",
        LITTLE_MEMORY,
        MEMORY_HINT,
        &[("tasker.executor_memory_mb", "SET {} = 20")],
        true,
    ),
    row(
        "or lower the limits of the pools.",
        LITTLE_MEMORY,
        MEMORY_HINT,
        &[(
            "lower the limits of the pools",
            "SELECT tasker.configure_executor_pool('default', 1, 1)",
        )],
        true,
    ),
    helps(
        "A worker has one version of a plugin",
        &["SELECT tasker.register_handlers('w', '{a}', plugin => 'p', plugin_version => '1.0.0')"],
        "SELECT tasker.register_handlers('w', '{b}', plugin => 'p', plugin_version => '2.0.0')",
        &[("tasker.unregister_handlers", "SELECT {}('w')")],
    ),
    row(
        "SELECT * FROM tasker.workers lists those that work",
        &[],
        "SELECT hint FROM tasker.unannounced_handlers",
        &[("SELECT * FROM tasker.workers", "{}")],
        false,
    ),
    row(
        "or tasker.run_maintenance(), takes the step over",
        &[
            "SELECT tasker.claim_steps('gone', lease => '10 ms')",
            "SELECT pg_sleep(0.05)",
        ],
        "SELECT hint FROM tasker.stale_claims",
        &[("tasker.run_maintenance()", "SELECT * FROM {}")],
        true,
    ),
    row(
        "Nothing is handed out: SELECT * FROM tasker.operational_state_changes",
        &["SELECT tasker.set_operational_state('emergency')"],
        "SELECT hint FROM tasker.health_status() WHERE measure = 'operational_state'",
        &[(
            "SELECT * FROM tasker.operational_state_changes ORDER BY change_no DESC LIMIT 5;",
            "{}",
        )],
        false,
    ),
    row(
        "SELECT * FROM tasker.stuck_tasks WHERE reason = 'failed';",
        FIVE_FAILED,
        "SELECT hint FROM tasker.health_status() WHERE measure = 'task_errors'",
        &[
            (
                "SELECT * FROM tasker.stuck_tasks WHERE reason = 'failed'",
                LISTS,
            ),
            (
                "tasker.stuck_tasks",
                "SELECT tasker.retry_task(task_uuid) FROM {}",
            ),
        ],
        true,
    ),
    row(
        "SELECT * FROM tasker.get_error_patterns();",
        FIVE_FAILED,
        "SELECT hint FROM tasker.health_status() WHERE measure = 'step_errors'",
        &[("SELECT * FROM tasker.get_error_patterns()", LISTS)],
        false,
    ),
    row(
        "SELECT duty, problem FROM tasker.maintenance_duties",
        &[
            "ALTER FUNCTION tasker_engine.duty_totals() RENAME TO aside; CREATE FUNCTION tasker_engine.duty_totals() RETURNS bigint LANGUAGE sql AS $$ SELECT 1 / count(*) FROM pg_class WHERE false $$; ALTER FUNCTION tasker_engine.duty_totals() OWNER TO tasker_owner",
            "SELECT * FROM tasker.run_maintenance()",
        ],
        "SELECT hint FROM tasker.health_status() WHERE measure = 'duties'",
        &[
            (
                "SELECT duty, problem FROM tasker.maintenance_duties WHERE problem IS NOT NULL",
                LISTS,
            ),
            (
                "duty",
                "DROP FUNCTION tasker_engine.duty_totals(); ALTER FUNCTION tasker_engine.aside() RENAME TO duty_totals",
            ),
            ("duty", "SELECT * FROM tasker.run_maintenance()"),
        ],
        true,
    ),
    row(
        "SELECT * FROM tasker.check_integrity(); then",
        &[
            "DELETE FROM tasker_engine.queue_entries",
            "SELECT tasker_engine.duty_integrity(), tasker_engine.duty_integrity()",
        ],
        "SELECT hint FROM tasker.health_status() WHERE measure = 'integrity'",
        &[
            ("SELECT * FROM tasker.check_integrity()", LISTS),
            (
                "tasker.repair_integrity(dry_run => false)",
                "SELECT * FROM {}",
            ),
            // The measure is that of the last round.
            (
                "tasker.repair_integrity",
                "SELECT tasker_engine.duty_integrity(), tasker_engine.duty_integrity()",
            ),
        ],
        true,
    ),
    row(
        "SELECT * FROM tasker.stale_claims; check",
        &[
            "SELECT tasker.claim_steps('gone')",
            "UPDATE tasker_engine.claims SET claimed_at = claimed_at - interval '1 hour', lease_expires_at = lease_expires_at - interval '1 hour'",
        ],
        "SELECT hint FROM tasker.health_status() WHERE measure = 'stale_claims'",
        &[
            ("SELECT * FROM tasker.stale_claims", LISTS),
            (
                "a worker claims from these queues",
                "SELECT 1 / count(*) FROM tasker.claim_steps('w', queues => ARRAY(SELECT queue FROM tasker.stale_claims))",
            ),
        ],
        true,
    ),
    row(
        "SELECT * FROM tasker.subscribers; poll",
        ONE_IS_BEHIND,
        LAG_HINT,
        &[
            ("SELECT * FROM tasker.subscribers", LISTS),
            (
                "poll those that are behind",
                "SELECT tasker.poll_events(subscriber) FROM tasker.subscribers",
            ),
            (
                "poll those that are behind",
                "SELECT tasker.ack_events('heard', ARRAY(SELECT event_id FROM tasker.read_events() WHERE event_id IS NOT NULL))",
            ),
        ],
        true,
    ),
    row(
        "or remove them: what they have not read is purged then",
        ONE_IS_BEHIND,
        LAG_HINT,
        &[("or remove them", "SELECT tasker.unsubscribe('heard')")],
        true,
    ),
    row(
        "Start workers that call tasker.claim_steps",
        &[],
        "SELECT hint FROM tasker.health_status() WHERE measure = 'workers'",
        &[("tasker.claim_steps", "SELECT {}('w')")],
        true,
    ),
    reads(
        "SELECT * FROM tasker.maintenance_duties;",
        Hint::Refusal("SELECT tasker_engine.run_duty('nothing')"),
        &[("SELECT * FROM tasker.maintenance_duties;", "{}")],
    ),
    reads(
        "SELECT name FROM tasker.task_namespaces lists",
        Hint::Refusal("SELECT * FROM tasker.purge_tasks('1 day', namespace => 'gone')"),
        &[("SELECT name FROM tasker.task_namespaces", "{}")],
    ),
    reads(
        "SELECT full_name FROM tasker.registered_templates",
        Hint::Refusal("SELECT tasker.delete_template('gone', 'default', '1.0.0')"),
        &[("SELECT full_name FROM tasker.registered_templates", "{}")],
    ),
    reads(
        "New tasks take the highest version: register one above it",
        Hint::Refusal("SELECT tasker.delete_template('two', 'default', '0.1.0')"),
        &[("register one above it", TWO_HIGHER)],
    ),
    helps(
        "tasker.delete_template removes a version that no task uses",
        &[
            "SELECT tasker.register_template('{\"name\": \"other\", \"namespace_name\": \"apart\", \"steps\": [{\"name\": \"only\", \"handler\": \"test.only\"}]}')",
        ],
        "SELECT tasker.delete_namespace('apart')",
        &[
            ("tasker.pause_namespace", "SELECT {}('apart')"),
            (
                "tasker.delete_template",
                "SELECT {}('other', 'apart', '0.1.0')",
            ),
        ],
    ),
    helps(
        "tasker.find_or_create_dependent_system makes one",
        &[],
        "SELECT tasker.find_or_create_dependent_system_object_map('a', '1', 'b', '2')",
        &[(
            "tasker.find_or_create_dependent_system",
            "SELECT {}('a'), {}('b')",
        )],
    ),
    helps(
        "or take some away first: tasker.untag_task",
        &[
            "SELECT tasker.tag_task('{task}', (SELECT jsonb_agg('old ' || i) FROM generate_series(1, 60) i))",
        ],
        "SELECT tasker.tag_task('{task}', (SELECT jsonb_agg('new ' || i) FROM generate_series(1, 60) i))",
        &[(
            "tasker.untag_task",
            "SELECT {}('{task}', (SELECT jsonb_agg('old ' || i) FROM generate_series(1, 60) i))",
        )],
    ),
    helps(
        "ALTER FUNCTION tasker_engine.call_handler(",
        &[
            MAKE_ONE,
            INSIDE,
            CREATE_INSIDE,
            "ALTER FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) OWNER TO tasker_owner",
        ],
        RUN,
        &[(
            "ALTER FUNCTION tasker_engine.call_handler(text, jsonb, oid, text) OWNER TO",
            "{} postgres",
        )],
    ),
    helps(
        "ALTER TABLE {table} OWNER TO a superuser",
        &[
            MAKE_ONE,
            INSIDE,
            CREATE_INSIDE,
            "ALTER TABLE tasker_engine.sql_handlers OWNER TO tasker_owner",
        ],
        RUN,
        &[
            (
                "ALTER TABLE tasker_engine.sql_handlers OWNER TO",
                "{} postgres",
            ),
            (
                "GRANT SELECT ON tasker_engine.sql_handlers TO tasker_owner;",
                "{}",
            ),
        ],
    ),
    row(
        "Register the template, under a higher version if tasks use this one",
        &[
            MAKE_ONE,
            INSIDE,
            CREATE_INSIDE,
            "DELETE FROM tasker_engine.sql_handlers",
            RUN,
        ],
        STEP_HINT,
        &[
            (
                "under a higher version",
                "SELECT tasker.register_template('{\"name\": \"inside\", \"version\": \"9.0.0\", \"steps\": [{\"name\": \"only\", \"handler\": \"sql:public.one\"}]}')",
            ),
            ("Register the template", ANOTHER_RUNS),
        ],
        false,
    ),
    row(
        "Register the template again with replace => true, as the role",
        &[
            MAKE_ONE,
            "CREATE ROLE hints_gone; GRANT tasker_admin TO hints_gone; SET SESSION AUTHORIZATION hints_gone",
            INSIDE,
            "RESET SESSION AUTHORIZATION; ALTER ROLE hints_gone RENAME TO hints_away",
            "DROP ROLE hints_away",
            CREATE_INSIDE,
            RUN,
        ],
        STEP_HINT,
        &[
            (
                "replace => true",
                "SELECT tasker.register_template('{\"name\": \"inside\", \"steps\": [{\"name\": \"only\", \"handler\": \"sql:public.one\", \"default_retry_limit\": 1}]}', {})",
            ),
            ("Register the template again", ANOTHER_RUNS),
        ],
        false,
    ),
    Case {
        source: "or leave the table out and register the template again",
        before: &[
            MAKE_ONE,
            INSIDE,
            "CREATE TABLE public.kept AS SELECT * FROM tasker_engine.sql_handlers",
            "DELETE FROM tasker_engine.sql_handlers",
            "CREATE ROLE hints_restorer; GRANT USAGE ON SCHEMA tasker_engine TO hints_restorer; GRANT INSERT ON tasker_engine.sql_handlers TO hints_restorer; GRANT SELECT ON public.kept TO hints_restorer",
        ],
        hint: Hint::Refusal(
            "SET SESSION AUTHORIZATION hints_restorer; INSERT INTO tasker_engine.sql_handlers SELECT * FROM public.kept",
        ),
        says: &[
            (
                "as a superuser",
                "INSERT INTO tasker_engine.sql_handlers SELECT * FROM public.kept",
            ),
            ("Restore as a superuser", ANOTHER_RUNS),
            (
                "leave the table out",
                "DELETE FROM tasker_engine.sql_handlers",
            ),
            ("register the template again", INSIDE),
            ("the template again", ANOTHER_RUNS),
            ("or as a member", "DELETE FROM tasker_engine.sql_handlers"),
            (
                "as a member of that role",
                "GRANT postgres TO hints_restorer",
            ),
        ],
        helps: true,
    },
    row(
        "CREATE FUNCTION %s(step jsonb) RETURNS jsonb",
        &[
            MAKE_ONE,
            INSIDE,
            CREATE_INSIDE,
            "DROP FUNCTION public.one(jsonb)",
            RUN,
        ],
        STEP_HINT,
        &[
            (
                "CREATE FUNCTION public.one(step jsonb) RETURNS jsonb",
                "{} LANGUAGE sql AS $$ SELECT jsonb_build_object('one', 1) $$",
            ),
            ("CREATE FUNCTION", ANOTHER_RUNS),
        ],
        false,
    ),
    row(
        "ALTER FUNCTION %s(jsonb) OWNER TO %I",
        &[
            MAKE_ONE,
            INSIDE,
            CREATE_INSIDE,
            "CREATE ROLE hints_taker; ALTER FUNCTION public.one(jsonb) OWNER TO hints_taker",
            RUN,
        ],
        STEP_HINT,
        &[
            ("ALTER FUNCTION public.one(jsonb) OWNER TO postgres", "{}"),
            ("ALTER FUNCTION", ANOTHER_RUNS),
            (
                "ALTER FUNCTION public.one(jsonb)",
                "{} OWNER TO hints_taker",
            ),
            (
                "register_template with replace => true",
                "SELECT tasker.register_template('{\"name\": \"inside\", \"steps\": [{\"name\": \"only\", \"handler\": \"sql:public.one\", \"default_retry_limit\": 1}]}', replace => true)",
            ),
            ("replace => true", ANOTHER_RUNS),
        ],
        false,
    ),
    reads(
        "SELECT name, skippable FROM tasker.named_tasks_named_steps",
        Hint::Refusal("SELECT tasker.create_task('two', bypass_steps => '[\"gone\"]')"),
        &[(
            "SELECT name, skippable FROM tasker.named_tasks_named_steps",
            "{}",
        )],
    ),
    helps(
        "or raise tasker.max_context_size",
        &["SET tasker.max_context_size = '1kB'"],
        "SELECT tasker.create_task('two', jsonb_build_object('a', repeat('x', 3000)))",
        &[("tasker.max_context_size", "SET {} = '1MB'")],
    ),
    helps(
        "or raise tasker.max_results_size",
        &[
            "SET tasker.max_results_size = '1kB'",
            "SELECT tasker.claim_steps('w')",
        ],
        "SELECT tasker.complete_step('{step}', 1, jsonb_build_object('a', repeat('x', 3000)))",
        &[("tasker.max_results_size", "SET {} = '1MB'")],
    ),
    helps(
        "Use a smaller document, or raise tasker.max_working_memory_mb",
        &[
            "SELECT tasker.register_template('{\"name\": \"hashed\", \"identity_strategy\": \"hash\", \"steps\": [{\"name\": \"only\", \"handler\": \"test.only\"}]}')",
            "SET tasker.max_working_memory_mb = 16",
        ],
        "SELECT tasker.create_task('hashed', (SELECT jsonb_build_object('a', jsonb_agg('[]'::jsonb)) FROM generate_series(1, 200000) n))",
        &[("tasker.max_working_memory_mb", "SET {} = 512")],
    ),
    helps(
        "or raise tasker.max_event_bytes",
        &["SET tasker.max_event_bytes = '1kB'"],
        "SELECT tasker.publish_event('orders.x', jsonb_build_object('long', repeat('x', 2000)))",
        &[("tasker.max_event_bytes", "SET {} = '1MB'")],
    ),
    helps(
        "The payload_schema in tasker.event_catalog describes it; tasker.register_event replaces it",
        &["SELECT tasker.register_event('orders.x', payload_schema => 'false')"],
        "SELECT tasker.publish_event('orders.x')",
        &[
            (
                "tasker.event_catalog",
                "SELECT payload_schema FROM {} WHERE name = 'orders.x'",
            ),
            ("tasker.register_event", "SELECT {}('orders.x')"),
        ],
    ),
    reads(
        "For example orders.shipped; tasker.event_catalog lists the names of the engine",
        Hint::Refusal("SELECT tasker.publish_event('shipped')"),
        &[
            ("orders.shipped", "SELECT tasker.publish_event('{}')"),
            ("tasker.event_catalog", "SELECT name FROM {}"),
        ],
    ),
    reads(
        "SELECT * FROM tasker.list_tasks() lists tasks",
        Hint::Refusal("SELECT tasker.publish_event('orders.x', step_uuid => gen_random_uuid())"),
        &[("SELECT * FROM tasker.list_tasks()", "{}")],
    ),
    helps(
        "Use a simpler schema, or raise tasker.max_working_memory_mb",
        &["SET tasker.max_working_memory_mb = 16"],
        "SELECT tasker.register_event('orders.x', payload_schema => (SELECT jsonb_build_object('anyOf', jsonb_agg(jsonb_build_object('pattern', '^(?:[a-z0-9]{1,100}){' || n || '}$'))) FROM generate_series(50, 89) n))",
        &[("tasker.max_working_memory_mb", "SET {} = 1024")],
    ),
    helps(
        "Use fewer or simpler schemas and patterns, or raise tasker.max_working_memory_mb",
        &["SET tasker.max_working_memory_mb = 16"],
        "SELECT tasker.register_template((SELECT jsonb_build_object('name', 'patterns', 'steps', '[{\"name\": \"only\", \"handler\": \"test.only\"}]'::jsonb, 'input_schema', jsonb_build_object('anyOf', jsonb_agg(jsonb_build_object('pattern', '^(?:[a-z0-9]{1,100}){' || n || '}$')))) FROM generate_series(50, 89) n)::text)",
        &[("tasker.max_working_memory_mb", "SET {} = 1024")],
    ),
    helps(
        "or call SELECT tasker.cancel_task('{uuid}').",
        &[],
        "SELECT tasker.rerun_task('{task}')",
        &[("SELECT tasker.cancel_task('{task}')", "{}")],
    ),
    helps(
        "Register it with tasker.register_template",
        &[],
        "SELECT tasker.create_task('other')",
        &[
            ("tasker.named_tasks", "SELECT * FROM {}"),
            ("tasker.register_template", OTHER),
        ],
    ),
    helps(
        "or set force => true",
        &["SELECT tasker.set_operational_state('emergency')"],
        "SELECT tasker.set_operational_state('startup')",
        &[(
            "force => true",
            "SELECT tasker.set_operational_state('startup', {})",
        )],
    ),
    Case {
        source: "tasker.operational_state() shows when the state changes",
        before: &[
            "SELECT tasker.claim_steps('w')",
            "SELECT tasker.set_operational_state('emergency')",
        ],
        hint: Hint::Notice("SELECT tasker.claim_steps('w')"),
        says: &[
            (
                "Finish and report what you hold",
                "SELECT tasker.complete_step('{step}', 1)",
            ),
            (
                "tasker.operational_state()",
                "SELECT 1 / count(*) FROM {} AS state WHERE state = 'emergency'",
            ),
            (
                "when the state changes",
                "SELECT tasker.set_operational_state('normal', force => true)",
            ),
            (
                "tasker.operational_state()",
                "SELECT 1 / count(*) FROM {} AS state WHERE state = 'normal'",
            ),
        ],
        helps: true,
    },
    reads(
        "Use the step_uuid that claim_steps returned",
        Hint::Refusal("SELECT tasker.complete_step('{task}', 1)"),
        &[("claim_steps", "SELECT step_uuid FROM tasker.{}('w')")],
    ),
    Case {
        source: "or fail the step: tasker.fail_step",
        before: COMPLEX,
        hint: Hint::Refusal(COMPLEX_RESULTS),
        says: &[
            (
                "Report simpler results",
                "SELECT tasker.complete_step(step_uuid, 1, jsonb_build_object()) FROM tasker.workflow_steps WHERE name = 'first'",
            ),
            (
                "tasker.fail_step",
                "SELECT {}(step_uuid, 1, 'too complex') FROM tasker.workflow_steps WHERE name = 'second'",
            ),
        ],
        helps: false,
    },
    reads(
        "or use BEGIN ISOLATION LEVEL READ COMMITTED",
        Hint::Refusal("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT tasker.claim_steps('w')"),
        &[
            ("in a transaction of its own", "ROLLBACK"),
            (
                "BEGIN ISOLATION LEVEL READ COMMITTED",
                "{}; SELECT tasker.claim_steps('w'); COMMIT",
            ),
        ],
    ),
    helps(
        "COMMIT PREPARED or ROLLBACK PREPARED first",
        &[
            "CREATE ROLE hints_new; GRANT tasker_worker TO hints_new; SET SESSION AUTHORIZATION hints_new",
            "BEGIN; SELECT tasker.claim_steps('new'); PREPARE TRANSACTION 'hints'",
        ],
        "SELECT tasker.claim_steps('new')",
        &[
            ("pg_prepared_xacts", "SELECT * FROM {}"),
            ("COMMIT PREPARED", "{} 'hints'"),
        ],
    ),
    reads(
        "Call it as SELECT * FROM tasker.function(...)",
        Hint::Source(
            "PostgreSQL itself refuses a function that returns rows wherever rows are not accepted, before it calls it",
        ),
        &[("SELECT * FROM tasker.", "{}claim_steps('w')")],
    ),
    reads(
        "then ALTER SCHEMA {schema} RENAME TO tasker",
        Hint::Refusal(
            "ALTER SCHEMA tasker RENAME TO moved; CREATE SCHEMA tasker; SELECT moved.create_task('two')",
        ),
        &[
            (
                "Rename or drop another schema tasker",
                "ALTER SCHEMA tasker RENAME TO moved; CREATE SCHEMA tasker",
            ),
            ("drop another schema tasker", "DROP SCHEMA tasker"),
            ("ALTER SCHEMA moved RENAME TO tasker", "{}"),
            ("tasker", "SELECT tasker.create_task('two')"),
        ],
    ),
    helps(
        "ALTER FUNCTION tasker.name_of_the_function SET",
        &["ALTER FUNCTION tasker.cancel_task RESET search_path"],
        "SELECT tasker.cancel_task('{task}')",
        &[(
            "SET search_path = pg_catalog, pg_temp;",
            "ALTER FUNCTION tasker.cancel_task {}",
        )],
    ),
    helps(
        "ALTER TABLE {title} OWNER TO",
        &["ALTER TABLE tasker_engine.queue_entries OWNER TO postgres"],
        "SELECT tasker.claim_steps('w')",
        &[(
            "ALTER TABLE tasker_engine.queue_entries OWNER TO tasker_owner;",
            "{}",
        )],
    ),
    helps(
        "give a renamed column its name back with ALTER TABLE",
        &["ALTER TABLE tasker_engine.queue_entries RENAME COLUMN priority TO level"],
        "SELECT tasker.claim_steps('w')",
        &[(
            "ALTER TABLE",
            "{} tasker_engine.queue_entries RENAME COLUMN level TO priority",
        )],
    ),
    helps(
        "ALTER TABLE ... RENAME TO gives it its name back",
        &["ALTER TABLE tasker_engine.queue_entries RENAME TO hidden"],
        "SELECT tasker.claim_steps('w')",
        &[(
            "RENAME TO",
            "ALTER TABLE tasker_engine.hidden {} queue_entries",
        )],
    ),
    helps(
        "Rename what is there, and give the table its name back",
        &[
            "ALTER TABLE tasker_engine.queue_entries RENAME TO hidden; CREATE VIEW tasker_engine.queue_entries AS SELECT 1 AS one; ALTER VIEW tasker_engine.queue_entries OWNER TO tasker_owner",
        ],
        "SELECT tasker.claim_steps('w')",
        &[
            (
                "Rename what is there",
                "ALTER VIEW tasker_engine.queue_entries RENAME TO aside",
            ),
            (
                "RENAME TO",
                "ALTER TABLE tasker_engine.hidden {} queue_entries",
            ),
        ],
    ),
    helps(
        "ALTER TABLE {title} ALTER COLUMN",
        &["ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at TYPE timestamp"],
        "SELECT tasker.claim_steps('w')",
        &[(
            "ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at TYPE timestamp with time zone;",
            "{}",
        )],
    ),
    reads(
        "SELECT * FROM tasker.validate_template(...)",
        Hint::Refusal("SELECT tasker.register_template('{\"name\": \"other\"}')"),
        &[(
            "SELECT * FROM tasker.validate_template(",
            "{}'{\"name\": \"other\"}')",
        )],
    ),
    helps(
        "or use replace => true while no task uses this one",
        &[OTHER],
        OTHER_CHANGED,
        &[(
            "replace => true",
            "SELECT tasker.register_template('{\"name\": \"other\", \"steps\": [{\"name\": \"changed\", \"handler\": \"test.only\"}]}', {})",
        )],
    ),
    reads(
        "Register the change under a higher version",
        Hint::Refusal(TWO_CHANGED),
        &[("under a higher version", TWO_HIGHER)],
    ),
    row(
        "tasker.resolve_task_manually ends the task.",
        &["SELECT tasker.transition_task('{task}', 'error')"],
        "SELECT hint FROM tasker.stuck_tasks",
        &[("tasker.resolve_task_manually", "SELECT {}('{task}')")],
        true,
    ),
    row(
        "tasker.retry_task takes up what was held",
        &["SELECT tasker.transition_task('{task}', 'error')"],
        "SELECT hint FROM tasker.stuck_tasks",
        &[("tasker.retry_task", "SELECT {}('{task}')")],
        true,
    ),
];

/// Hints that other tests execute: the file in tests/client/tests, and the test in it.
pub const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "CREATE FUNCTION %s(events jsonb)",
        "subscriber_handlers.rs",
        "the_error_of_a_function_that_is_gone_speaks_of_a_subscriber",
    ),
    (
        "register_template with replace => true",
        SOURCES,
        "what_each_hint_recommends_is_done_as_it_says",
    ),
    ("SELECT task_uuid FROM tasker.tasks lists", HERE, STATEMENTS),
    (
        "SELECT step_uuid, name FROM tasker.workflow_steps WHERE task_uuid = ... lists",
        HERE,
        STATEMENTS,
    ),
    (
        "SELECT * FROM tasker.get_step_readiness_status(task_uuid) shows",
        HERE,
        STATEMENTS,
    ),
    (
        "tasker.retry_task or tasker.retry_step runs it again",
        HERE,
        "each_call_in_the_hint_of_a_failed_task_brings_it_on",
    ),
    (
        "A cancelled step is final. transition_task(task_uuid, 'error')",
        HERE,
        REFUSED,
    ),
    (
        "A task in error does not run. Call resolve_task_manually",
        HERE,
        REFUSED,
    ),
    (
        "Call resolve_task_manually, which ends it; a cancelled step is final",
        HERE,
        REFUSED,
    ),
    (
        "SELECT tasker.cancel_task('{uuid}', cancel_completed => true)",
        HERE,
        REFUSED,
    ),
    (
        "transition_step(step_uuid, 'pending') takes a step from its worker",
        HERE,
        REFUSED,
    ),
    (
        "Wait for workers, or call resolve_step_manually for each step",
        HERE,
        REFUSED,
    ),
    (
        "run SELECT * FROM tasker.resume_after_restore()",
        SOURCES,
        "the_hint_before_a_resumption_resumes",
    ),
    (
        "Run ALTER EXTENSION tasker_ext UPDATE.",
        SOURCES,
        "the_hint_of_a_schema_of_an_older_version_updates_it",
    ),
    (
        "Call tasker.resolve_step_manually or tasker.cancel_task, and create another task",
        SOURCES,
        "the_hint_of_a_step_that_was_claimed_too_often_ends_it",
    ),
    (
        "Register it again under a higher version.",
        SOURCES,
        "the_hint_of_a_template_that_cannot_be_read_registers_a_higher_version",
    ),
    (
        "Restart the server, so that it loads the library that is installed; without shared_preload_libraries open a new session.",
        SERVERS,
        "the_hint_of_an_old_library_that_is_preloaded_restarts_the_server",
    ),
    (
        "run CREATE ROLE tasker_owner NOLOGIN",
        SERVERS,
        "the_hint_of_a_missing_owner_gives_the_engine_its_owner_back",
    ),
    (
        "Register the template again.",
        SERVERS,
        "the_hint_of_a_role_that_is_renamed_within_the_call_calls_again",
    ),
    (
        "Call subscribe() again.",
        SERVERS,
        "the_hint_of_a_role_that_is_renamed_within_the_call_calls_again",
    ),
    (
        "Raise max_worker_processes to {wanted}",
        SERVERS,
        OF_SETTINGS,
    ),
    (
        "Add tasker_ext to shared_preload_libraries",
        SERVERS,
        OF_SETTINGS,
    ),
    ("raise max_connections", SERVERS, OF_SETTINGS),
    (
        "otherwise call tasker.run_maintenance() and tasker.run_steps()",
        SERVERS,
        OF_SETTINGS,
    ),
    (
        "Raise max_worker_processes to {} (needs a restart), or drop",
        "background.rs",
        NINE,
    ),
    (
        "SELECT message, hint FROM tasker.validate_resources()",
        "background.rs",
        NINE,
    ),
    (
        "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
        "installing.rs",
        "a_database_that_is_not_utf8_is_refused_and_keeps_nothing",
    ),
    (
        "Rename the schema (ALTER SCHEMA %1$I RENAME TO",
        "installing.rs",
        "a_schema_with_something_in_it_is_refused_by_name",
    ),
];
const HERE: &str = "hints.rs";
const SOURCES: &str = "hints/sources.rs";
const SERVERS: &str = "hints/servers.rs";
const STATEMENTS: &str = "statements_in_the_hints_of_refused_operations_run";
const REFUSED: &str = "each_call_that_a_refused_operation_recommends_is_allowed";
const OF_SETTINGS: &str = "the_hints_about_settings_of_the_server_are_true_after_a_restart";
const NINE: &str = "with_nine_databases_the_reserved_slots_stay_free_and_what_waits_is_named";
