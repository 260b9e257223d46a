//! The hints that recommend a call: how each is raised, and how it is followed.

/// Where the text of a hint comes from.
pub enum Hint {
    /// The HINT of a refused statement.
    Refusal(&'static str),
    /// The first column of a query, such as `hint` of a view.
    Row(&'static str),
    /// The source: the situation is hard to make, and the statement needs no situation.
    Source,
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
    reads("Let its owner call grant_subscriber()", Hint::Source, &[]),
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
    reads(
        "Raise max_worker_processes to {wanted}",
        Hint::Source,
        &[("max_worker_processes", "SHOW {}")],
    ),
    reads(
        "Raise max_worker_processes to {} (needs a restart), or drop",
        Hint::Source,
        &[("max_worker_processes", "SHOW {}")],
    ),
    reads(
        "Raise tasker.memory_budget_mb",
        Hint::Source,
        &[
            ("tasker.memory_budget_mb", "SHOW {}"),
            ("tasker.executor_memory_mb", "SHOW {}"),
        ],
    ),
    reads(
        "raise max_connections",
        Hint::Source,
        &[("max_connections", "SHOW {}")],
    ),
    reads(
        "SELECT message, hint FROM tasker.validate_resources()",
        Hint::Source,
        &[
            (
                "SELECT message, hint FROM tasker.validate_resources()",
                "{}",
            ),
            ("max_worker_processes", "SHOW {}"),
        ],
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
    reads(
        "SELECT * FROM tasker.stuck_tasks WHERE reason = 'failed';",
        Hint::Source,
        &[(
            "SELECT * FROM tasker.stuck_tasks WHERE reason = 'failed';",
            "{}",
        )],
    ),
    reads(
        "SELECT * FROM tasker.get_error_patterns();",
        Hint::Source,
        &[("SELECT * FROM tasker.get_error_patterns();", "{}")],
    ),
    reads(
        "SELECT duty, problem FROM tasker.maintenance_duties",
        Hint::Source,
        &[(
            "SELECT duty, problem FROM tasker.maintenance_duties WHERE problem IS NOT NULL;",
            "{}",
        )],
    ),
    reads(
        "SELECT * FROM tasker.check_integrity(); then",
        Hint::Source,
        &[
            ("SELECT * FROM tasker.check_integrity();", "{}"),
            (
                "tasker.repair_integrity(dry_run => false)",
                "SELECT * FROM {}",
            ),
        ],
    ),
    reads(
        "SELECT * FROM tasker.stale_claims; check",
        Hint::Source,
        &[("SELECT * FROM tasker.stale_claims;", "{}")],
    ),
    reads(
        "SELECT * FROM tasker.subscribers; poll",
        Hint::Source,
        &[("SELECT * FROM tasker.subscribers;", "{}")],
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
    reads(
        "Use a smaller document, or raise tasker.max_working_memory_mb",
        Hint::Source,
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
    reads(
        "Use a simpler schema, or raise tasker.max_working_memory_mb",
        Hint::Source,
        &[("tasker.max_working_memory_mb", "SET {} = 512")],
    ),
    reads(
        "Use fewer or simpler schemas and patterns, or raise tasker.max_working_memory_mb",
        Hint::Source,
        &[("tasker.max_working_memory_mb", "SET {} = 512")],
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
    reads(
        "tasker.operational_state() shows when the state changes",
        Hint::Source,
        &[("tasker.operational_state()", "SELECT * FROM {}")],
    ),
    reads(
        "Use the step_uuid that claim_steps returned",
        Hint::Refusal("SELECT tasker.complete_step('{task}', 1)"),
        &[("claim_steps", "SELECT step_uuid FROM tasker.{}('w')")],
    ),
    reads(
        "or fail the step: tasker.fail_step",
        Hint::Source,
        &[
            ("or fail the step", "SELECT tasker.claim_steps('w')"),
            ("tasker.fail_step", "SELECT {}('{step}', 1, 'too complex')"),
        ],
    ),
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
        Hint::Source,
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
    reads(
        "otherwise call tasker.run_maintenance() and tasker.run_steps()",
        Hint::Source,
        &[
            ("tasker.run_maintenance()", "SELECT * FROM {}"),
            ("tasker.run_steps()", "SELECT * FROM {}"),
            ("shared_preload_libraries", "SHOW {}"),
        ],
    ),
    reads(
        "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
        Hint::Source,
        &[
            (
                "ENCODING 'UTF8' TEMPLATE template0",
                "CREATE DATABASE hints_made {}",
            ),
            ("install the extension there", "DROP DATABASE hints_made"),
        ],
    ),
];

/// Hints that other tests execute, and where.
pub const ELSEWHERE: [(&str, &str); 15] = [
    ("SELECT task_uuid FROM tasker.tasks lists", HERE),
    (
        "SELECT step_uuid, name FROM tasker.workflow_steps WHERE task_uuid = ... lists",
        HERE,
    ),
    (
        "SELECT * FROM tasker.get_step_readiness_status(task_uuid) shows",
        HERE,
    ),
    ("tasker.retry_task or tasker.retry_step runs it again", HERE),
    (
        "A cancelled step is final. transition_task(task_uuid, 'error')",
        REFUSED,
    ),
    (
        "A task in error does not run. Call resolve_task_manually",
        REFUSED,
    ),
    (
        "Call resolve_task_manually, which ends it; a cancelled step is final",
        REFUSED,
    ),
    (
        "SELECT tasker.cancel_task('{uuid}', cancel_completed => true)",
        REFUSED,
    ),
    (
        "transition_step(step_uuid, 'pending') takes a step from its worker",
        REFUSED,
    ),
    (
        "Wait for workers, or call resolve_step_manually for each step",
        REFUSED,
    ),
    (
        "run SELECT * FROM tasker.resume_after_restore()",
        "the_hint_before_a_resumption_resumes",
    ),
    (
        "Run ALTER EXTENSION tasker_ext UPDATE.",
        "the_hint_of_a_schema_of_an_older_version_updates_it",
    ),
    (
        "Call tasker.resolve_step_manually or tasker.cancel_task, and create another task",
        "the_hint_of_a_step_that_was_claimed_too_often_ends_it",
    ),
    (
        "Register it again under a higher version.",
        "the_hint_of_a_template_that_cannot_be_read_registers_a_higher_version",
    ),
    (
        "Rename the schema (ALTER SCHEMA %1$I RENAME TO",
        "tests/client/tests/installing.rs",
    ),
];
const HERE: &str = "tests/client/tests/hints.rs";
const REFUSED: &str = "each_call_that_a_refused_operation_recommends_is_allowed";

const OTHER_VERSION: &str = "it needs the library of another version: tests/client/tests/upgrading";

/// Hints that a session of a test cannot execute, and why.
pub const NOT_HERE: [(&str, &str); 3] = [
    (
        "Restart the server, so that it loads the library",
        OTHER_VERSION,
    ),
    (
        "CREATE ROLE tasker_owner NOLOGIN",
        "roles belong to the whole server, and other tests use it at the same time",
    ),
    (
        "Register the template again.",
        "it needs a role that is renamed within the call",
    ),
];
