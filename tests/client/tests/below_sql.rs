//! Tables that the engine writes or walks below SQL: whatever a user adds to them, a call does what the SQL statement
//! would do, or refuses with a sentence that says what to remove.

use std::time::{Duration, Instant};

use tasker_client_tests::worker::{Act, Ask};
use tasker_client_tests::{Database, Session, Template, Uuid, json, shapes};

/// Why an operation of a table takes its SQL statement; None: it goes below SQL.
#[track_caller]
fn why_sql(session: &mut Session, table: &str, operation: &str) -> Option<String> {
    let rows = session.query(
        "SELECT path, reason FROM tasker.table_access() WHERE table_name = $1 AND operation = $2",
        &[&table, &operation],
    );
    assert_eq!(rows.len(), 1, "{table} {operation}");
    let path: String = rows[0].get(0);
    let reason: Option<String> = rows[0].get(1);
    assert_eq!(path == "sql", reason.is_some());
    reason
}

fn register(session: &mut Session) {
    shapes::small_diamond().register(session);
    Template::new("retried")
        .step_with("only", &[], json!({ "default_retry_limit": 3 }))
        .register(session);
    Template::new("urgent")
        .step_with("only", &[], json!({ "priority": 4 }))
        .register(session);
}

/// Creation, claims of one and of many, reports, a retry, a permanent failure, operators, purging.
#[track_caller]
fn life(session: &mut Session) {
    let tasks: Vec<Uuid> = session.all(
        "SELECT tasker.create_tasks($1, array_fill('{}'::jsonb, ARRAY[3]))",
        &[&shapes::small_diamond().name()],
    );
    let retried: Uuid = session.one("SELECT tasker.create_task('retried')", &[]);
    let cancelled: Uuid = session.one("SELECT tasker.create_task('urgent')", &[]);
    session.query("SELECT tasker.cancel_task($1)", &[&cancelled]);
    let broken: Uuid = session.one("SELECT tasker.create_task('urgent')", &[]);
    let mut failed = 0;
    session.work(|claim| {
        if claim.task == broken {
            Act::FailForGood
        } else if claim.task == retried && claim.attempt == 1 {
            failed += 1;
            Act::Fail
        } else {
            Act::Complete(json!({ "from": claim.name }))
        }
    });
    assert_eq!(failed, 1);
    for task in tasks.iter().chain([&retried]) {
        assert_eq!(state(session, *task), "complete");
    }
    assert_eq!(state(session, broken), "error");
    session.query("SELECT tasker.resolve_task_manually($1)", &[&broken]);
    let held = session.one::<Uuid>("SELECT tasker.create_task('retried')", &[]);
    let holder = format!("holder of {held}");
    let claim = session.claim_one(&holder);
    assert_eq!(
        session.count("SELECT count(*) FROM tasker.heartbeat($1)", &[&holder]),
        1
    );
    assert_eq!(
        session.count("SELECT tasker.release_steps($1)", &[&holder]),
        1
    );
    assert_eq!(session.claim_one(&holder).step, claim.step);
    session.query("SELECT tasker.cancel_task($1)", &[&held]);
}

#[track_caller]
fn state(session: &mut Session, task: Uuid) -> String {
    session.one(
        "SELECT state FROM tasker.tasks WHERE task_uuid = $1",
        &[&task],
    )
}

#[track_caller]
fn tables(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind IN ('r', 'p')
           AND NOT c.relispartition ORDER BY 1",
        &[],
    )
}

#[test]
fn columns_that_come_and_go_change_nothing() {
    let database = Database::new();
    let mut old = database.connect();
    register(&mut old);
    life(&mut old);
    let mut tables = tables(&mut old);
    // Its row names the transaction that wrote it, and a stored generated column writes every row again.
    tables.retain(|table| table != "tasker_engine.installation");
    assert!(tables.len() > 15);
    let columns = [
        "note text",
        "number integer NOT NULL DEFAULT 7",
        "doubled integer GENERATED ALWAYS AS (14) STORED",
    ];
    for (round, column) in columns.iter().enumerate() {
        let name = column.split(' ').next().expect("a name");
        let mut changed = 0;
        for table in &tables {
            let added = old.try_query(&format!("ALTER TABLE {table} ADD COLUMN {column}"), &[]);
            changed += usize::from(added.is_ok());
            // PostgreSQL itself refuses it where a function takes the table's rows.
            assert!(
                added.is_ok() || table.ends_with("task_annotations") && round > 0,
                "{table}"
            );
        }
        assert!(changed + 1 >= tables.len());
        // In the session that knew the tables before, and in one that did not.
        life(&mut old);
        life(&mut database.connect());
        let direct = round == 0;
        assert_eq!(
            why_sql(&mut old, "queue_entries", "append").is_none(),
            direct
        );
        for table in &tables {
            old.execute(&format!("ALTER TABLE {table} DROP COLUMN IF EXISTS {name}"));
        }
        life(&mut old);
        life(&mut database.connect());
        assert_eq!(why_sql(&mut old, "queue_entries", "append"), None);
        assert_eq!(why_sql(&mut old, "steps", "update"), None);
    }
}

#[test]
fn columns_in_another_order_change_nothing() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    // A column that leaves and comes back stands last.
    session.execute(
        "ALTER TABLE tasker_engine.claims RENAME COLUMN timeout_at TO gone;
         ALTER TABLE tasker_engine.claims ADD COLUMN timeout_at timestamptz;
         ALTER TABLE tasker_engine.transitions RENAME COLUMN metadata TO old;
         ALTER TABLE tasker_engine.transitions ALTER COLUMN old DROP NOT NULL;
         ALTER TABLE tasker_engine.transitions ADD COLUMN metadata_2 jsonb NOT NULL DEFAULT '{}';
         ALTER TABLE tasker_engine.transitions RENAME COLUMN old TO gone;
         ALTER TABLE tasker_engine.transitions RENAME COLUMN metadata_2 TO metadata;
         ALTER TABLE tasker_engine.transitions ALTER COLUMN gone DROP DEFAULT;",
    );
    life(&mut session);
    assert_eq!(why_sql(&mut session, "claims", "append"), None);
    assert_eq!(why_sql(&mut session, "transitions", "append"), None);
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker_engine.transitions WHERE gone IS NOT NULL OR metadata IS NULL",
            &[]
        ),
        0
    );
}

/// Statement that adds something, the table and operations that then take SQL, a word of the reason, and its removal.
const FINDINGS: &[(&str, &str, &[&str], &str, &str)] = &[
    (
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN COALESCE(NEW, OLD); END';
         CREATE TRIGGER t BEFORE INSERT ON tasker_engine.queue_entries FOR EACH ROW EXECUTE FUNCTION public.nothing()",
        "queue_entries",
        &["append"],
        "INSERT triggers",
        "DROP FUNCTION public.nothing CASCADE",
    ),
    (
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER t AFTER DELETE ON tasker_engine.queue_entries FOR EACH STATEMENT EXECUTE FUNCTION public.nothing()",
        "queue_entries",
        &["delete"],
        "DELETE triggers",
        "DROP FUNCTION public.nothing CASCADE",
    ),
    (
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER t BEFORE UPDATE ON tasker_engine.steps FOR EACH ROW EXECUTE FUNCTION public.nothing()",
        "steps",
        &["update"],
        "UPDATE triggers",
        "DROP FUNCTION public.nothing CASCADE",
    ),
    (
        "ALTER TABLE tasker_engine.transitions ADD CHECK (attempt >= 0)",
        "transitions",
        &["append"],
        "CHECK",
        "ALTER TABLE tasker_engine.transitions DROP CONSTRAINT transitions_attempt_check",
    ),
    (
        "ALTER TABLE tasker_engine.claims ADD CHECK (remaining >= 0) NOT VALID",
        "claims",
        &["append"],
        "CHECK",
        "ALTER TABLE tasker_engine.claims DROP CONSTRAINT claims_remaining_check",
    ),
    (
        "ALTER TABLE tasker_engine.steps ADD UNIQUE (task_uuid, step_no, results) DEFERRABLE",
        "steps",
        &["update"],
        "triggers",
        "ALTER TABLE tasker_engine.steps DROP CONSTRAINT steps_task_uuid_step_no_results_key",
    ),
    (
        "ALTER TABLE tasker_engine.transitions ADD CONSTRAINT distinct_ids EXCLUDE USING btree (id WITH =)",
        "transitions",
        &["append"],
        "exclusion",
        "ALTER TABLE tasker_engine.transitions DROP CONSTRAINT distinct_ids",
    ),
    (
        "CREATE TABLE public.referring (task_uuid uuid, step_no smallint,
             FOREIGN KEY (task_uuid, step_no) REFERENCES tasker_engine.steps)",
        "steps",
        &["update"],
        "triggers",
        "DROP TABLE public.referring",
    ),
    (
        "ALTER TABLE tasker_engine.queue_entries ENABLE ROW LEVEL SECURITY;
         ALTER TABLE tasker_engine.queue_entries FORCE ROW LEVEL SECURITY;
         CREATE POLICY every ON tasker_engine.queue_entries USING (true)",
        "queue_entries",
        &["append", "delete", "read"],
        "row security",
        "DROP POLICY every ON tasker_engine.queue_entries; ALTER TABLE tasker_engine.queue_entries NO FORCE ROW LEVEL SECURITY;
         ALTER TABLE tasker_engine.queue_entries DISABLE ROW LEVEL SECURITY",
    ),
    (
        "CREATE RULE r AS ON INSERT TO tasker_engine.transitions DO ALSO NOTIFY logged",
        "transitions",
        &["append"],
        "rules",
        "DROP RULE r ON tasker_engine.transitions",
    ),
    (
        "CREATE TABLE public.child () INHERITS (tasker_engine.queue_entries)",
        "queue_entries",
        &["append", "delete", "read"],
        "inherits",
        "DROP TABLE public.child; ANALYZE tasker_engine.queue_entries",
    ),
    (
        "CREATE TABLE public.whole (LIKE tasker_engine.queue_entries) PARTITION BY LIST (queue_id);
         ALTER TABLE public.whole ATTACH PARTITION tasker_engine.queue_entries DEFAULT",
        "queue_entries",
        &["append", "delete", "read"],
        "partition",
        "ALTER TABLE public.whole DETACH PARTITION tasker_engine.queue_entries; DROP TABLE public.whole",
    ),
    (
        "ALTER INDEX tasker_engine.queue_entries_order RENAME TO other",
        "queue_entries",
        &["delete", "read"],
        "queue_entries_order",
        "ALTER INDEX tasker_engine.other RENAME TO queue_entries_order",
    ),
    (
        "ALTER TABLE tasker_engine.claims ADD COLUMN serial integer GENERATED ALWAYS AS IDENTITY",
        "claims",
        &["append"],
        "identity",
        "ALTER TABLE tasker_engine.claims DROP COLUMN serial",
    ),
];

#[test]
fn what_only_the_executor_serves_takes_the_sql_statement() {
    let database = Database::new();
    let mut session = database.connect();
    let mut admin = database.connect();
    register(&mut session);
    life(&mut session);
    for (add, table, operations, word, remove) in FINDINGS {
        admin.execute(add);
        for operation in *operations {
            let reason = why_sql(&mut session, table, operation)
                .unwrap_or_else(|| panic!("{table} {operation} is direct after: {add}"));
            assert!(reason.contains(word), "{reason} does not say {word}");
        }
        life(&mut session);
        life(&mut database.connect());
        admin.execute(remove);
        for operation in *operations {
            assert_eq!(
                why_sql(&mut session, table, operation),
                None,
                "after: {remove}"
            );
        }
        life(&mut session);
    }
}

#[test]
fn triggers_see_every_row() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.execute(
        "CREATE TABLE public.seen (relation text, operation text);
         GRANT ALL ON public.seen TO PUBLIC;
         CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO public.seen VALUES (TG_TABLE_NAME, TG_OP); RETURN NULL; END $$;
         CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON tasker_engine.queue_entries FOR EACH ROW EXECUTE FUNCTION public.see();
         CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON tasker_engine.steps FOR EACH ROW EXECUTE FUNCTION public.see();
         CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON tasker_engine.claims FOR EACH ROW EXECUTE FUNCTION public.see();
         CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON tasker_engine.transitions FOR EACH ROW EXECUTE FUNCTION public.see();",
    );
    session.query("SELECT tasker.create_task('retried')", &[]);
    session.work(|_| tasker_client_tests::worker::done());
    let seen: Vec<String> = session.all(
        "SELECT format('%s %s %s', relation, operation, count(*)) FROM public.seen GROUP BY relation, operation ORDER BY 1",
        &[],
    );
    // Created, claimed, started, reported; the log has both of the task's changes and both of the step's, and the creation.
    assert_eq!(
        seen,
        [
            "claims DELETE 1",
            "claims INSERT 1",
            "queue_entries DELETE 1",
            "queue_entries INSERT 1",
            "steps INSERT 1",
            "steps UPDATE 2",
            "transitions INSERT 4",
        ]
    );
}

#[test]
fn a_constraint_added_by_a_user_is_enforced() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.query("SELECT tasker.create_task('retried')", &[]);
    // A column that can be NULL in the engine's schema must not be NULL any more.
    session.execute("ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at SET NOT NULL");
    let failure = session.fails("SELECT * FROM tasker.claim_steps('w')", &[]);
    assert_eq!(failure.code, "23502");
    session.execute(
        "ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at DROP NOT NULL;
         ALTER TABLE tasker_engine.claims ADD CONSTRAINT few CHECK (remaining > 9)",
    );
    let failure = session.fails("SELECT * FROM tasker.claim_steps('w')", &[]);
    assert_eq!(failure.code, "23514");
    session.execute("ALTER TABLE tasker_engine.claims DROP CONSTRAINT few");
    // Unique indexes hold on both ways.
    session.execute("CREATE UNIQUE INDEX once ON tasker_engine.claims (worker_no)");
    assert_eq!(why_sql(&mut session, "claims", "append"), None);
    session.claim_one("w");
    session.query("SELECT tasker.create_task('retried')", &[]);
    let failure = session.fails("SELECT * FROM tasker.claim_steps('w')", &[]);
    assert_eq!(failure.code, "23505");
    session.execute("DROP INDEX tasker_engine.once");
    session.claim_one("w");
}

#[test]
fn a_table_of_another_shape_or_owner_is_refused_with_what_to_do() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.query("SELECT tasker.create_task('retried')", &[]);
    session.execute(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stranger') THEN CREATE ROLE stranger; END IF; END $$",
    );
    let owner: String = session.one(
        "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'tasker_engine.queue_entries'::regclass",
        &[],
    );
    let cases = [
        (
            "ALTER TABLE tasker_engine.queue_entries RENAME COLUMN priority TO level".to_owned(),
            "has no column \"priority\"",
            "ALTER TABLE tasker_engine.queue_entries RENAME COLUMN level TO priority".to_owned(),
        ),
        (
            "ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at TYPE timestamp".to_owned(),
            "is of type timestamp without time zone, not timestamp with time zone",
            "ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at TYPE timestamptz".to_owned(),
        ),
        (
            "CREATE DOMAIN public.moment AS timestamptz; ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at TYPE public.moment"
                .to_owned(),
            "is of type public.moment, not timestamp with time zone",
            "ALTER TABLE tasker_engine.claims ALTER COLUMN timeout_at TYPE timestamptz".to_owned(),
        ),
        (
            "ALTER TABLE tasker_engine.queue_entries OWNER TO stranger".to_owned(),
            "does not belong to the engine",
            format!("ALTER TABLE tasker_engine.queue_entries OWNER TO {owner}"),
        ),
        (
            format!(
                "ALTER TABLE tasker_engine.operational_changes RENAME TO hidden_changes;
                 CREATE TABLE tasker_engine.operational_changes (change_no bigint PRIMARY KEY, to_state bigint);
                 INSERT INTO tasker_engine.operational_changes VALUES (1, 1);
                 ALTER TABLE tasker_engine.operational_changes OWNER TO {owner}"
            ),
            "is of type bigint, not text",
            "DROP TABLE tasker_engine.operational_changes;
             ALTER TABLE tasker_engine.hidden_changes RENAME TO operational_changes"
                .to_owned(),
        ),
        (
            "ALTER TABLE tasker_engine.queue_entries RENAME TO hidden".to_owned(),
            "is missing",
            "ALTER TABLE tasker_engine.hidden RENAME TO queue_entries".to_owned(),
        ),
    ];
    for (change, sentence, back) in cases {
        session.execute(&change);
        for _ in 0..2 {
            let failure = session.fails("SELECT * FROM tasker.claim_steps('w')", &[]);
            assert_eq!(failure.code, "55000", "{change}: {failure}");
            assert!(failure.message.contains(sentence), "{change}: {failure}");
            assert!(!failure.hint.is_empty(), "{change}: {failure}");
        }
        session.execute(&back);
    }
    session.claim_one("w");
}

#[test]
fn indexes_on_changed_columns_stay_complete() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.execute(
        "CREATE INDEX by_state ON tasker_engine.steps USING brin (state) WITH (pages_per_range = 1);
         CREATE INDEX by_claim ON tasker_engine.steps (claim_id);
         CREATE INDEX by_attempts ON tasker_engine.steps (attempts) WHERE state = 'i';
         CREATE INDEX by_worker ON tasker_engine.transitions (worker_no, to_state);
         CREATE INDEX by_task ON tasker_engine.queue_entries (task_uuid)",
    );
    assert_eq!(why_sql(&mut session, "steps", "update"), None);
    session.query(
        "SELECT count(*) FROM tasker.create_tasks('small_diamond', array_fill('{}'::jsonb, ARRAY[200]))",
        &[],
    );
    for _ in 0..6 {
        let claims = session.claim(&Ask::by("w", 120));
        let reports: Vec<_> = claims
            .iter()
            .take(60)
            .map(|claim| claim.done(json!({})))
            .collect();
        session.report_and_claim(&Ask::by("v", 1), &reports);
        for query in [
            "SELECT count(*) FROM tasker_engine.steps WHERE state = 'i'",
            "SELECT count(*) FROM tasker_engine.steps WHERE claim_id > 0",
            "SELECT count(*) FROM tasker_engine.steps WHERE state = 'i' AND attempts = 1",
            "SELECT count(*) FROM tasker_engine.transitions WHERE worker_no > 0 AND to_state = 'c'",
            "SELECT count(*) FROM tasker_engine.queue_entries WHERE task_uuid > '00000000-0000-0000-0000-000000000000'",
        ] {
            session.execute("SET enable_seqscan = on; SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off");
            let all = session.count(query, &[]);
            session.execute("SET enable_seqscan = off; SET enable_indexscan = on; SET enable_bitmapscan = on; SET enable_indexonlyscan = on");
            assert_eq!(session.count(query, &[]), all, "{query}");
            session.execute("RESET enable_seqscan");
        }
    }
}

#[test]
fn indexes_may_be_rebuilt_while_claims_run() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    let until = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        let worker = |name: &'static str| {
            let mut session = database.connect();
            move || {
                let mut done = 0;
                let mut reports = vec![];
                while Instant::now() < until {
                    session.query("SELECT count(*) FROM tasker.create_tasks('retried', array_fill('{}'::jsonb, ARRAY[5]))", &[]);
                    let (_, claims) = session.report_and_claim(&Ask::by(name, 5), &reports);
                    done += reports.len();
                    reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
                }
                done
            }
        };
        let workers = [scope.spawn(worker("a")), scope.spawn(worker("b"))];
        let mut admin = database.connect();
        while Instant::now() < until {
            admin.execute("REINDEX INDEX CONCURRENTLY tasker_engine.queue_entries_order");
            admin.execute("REINDEX TABLE CONCURRENTLY tasker_engine.steps");
            admin.execute("CREATE INDEX CONCURRENTLY extra ON tasker_engine.steps (state)");
            admin.execute("DROP INDEX CONCURRENTLY tasker_engine.extra");
            admin.execute("REINDEX INDEX tasker_engine.queue_entries_order");
        }
        for worker in workers {
            assert!(worker.join().expect("a worker lives") > 0);
        }
    });
    let left = session.count(
        "SELECT count(*) FROM tasker_engine.steps WHERE state = 'p'",
        &[],
    );
    session.execute("SET enable_seqscan = off");
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker_engine.queue_entries WHERE queue_id > 0",
            &[]
        ),
        left
    );
}

#[test]
fn large_results_survive_a_claim() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.query("SELECT tasker.create_task('retried')", &[]);
    let first = session.claim_one("w");
    let state: String = session.one(
        "SELECT tasker.fail_step($1, $2, 'again', retry_after => '0',
                results => jsonb_build_object('much', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 20000) i)))",
        &[&first.step, &first.number],
    );
    assert_eq!(state, "error");
    session.claim_one("w");
    let length: i32 = session.one(
        "SELECT length(results ->> 'much') FROM tasker.workflow_steps WHERE step_uuid = $1",
        &[&first.step],
    );
    assert_eq!(length, 640_000);
}

#[test]
fn a_claim_never_waits_for_a_step_that_is_held() {
    for setting in ["on", "off"] {
        let database = Database::new();
        let mut session = database.connect();
        session.execute(&format!("SET tasker.direct_table_access = {setting}"));
        register(&mut session);
        session.query(
            "SELECT count(*) FROM tasker.create_tasks('retried', array_fill('{}'::jsonb, ARRAY[20]))",
            &[],
        );
        let mut holder = database.connect();
        holder.execute(
            "BEGIN; SELECT FROM tasker_engine.steps ORDER BY task_uuid LIMIT 10 FOR UPDATE",
        );
        session.execute("SET statement_timeout = '20s'");
        let began = Instant::now();
        assert_eq!(session.claim(&Ask::by("w", 20)).len(), 10, "{setting}");
        assert!(session.claim(&Ask::by("w", 20)).is_empty());
        assert!(began.elapsed() < Duration::from_secs(15));
        // Also for a key share lock, which an update of other columns would not wait for.
        holder.execute("ROLLBACK");
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(
            session.claim_soon(&Ask::by("w", 20), 10).len(),
            10,
            "{setting}"
        );
    }
}

#[test]
fn the_setting_forces_sql_for_every_operation() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.execute("SET tasker.direct_table_access = off");
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.table_access() WHERE path = 'direct'",
            &[]
        ),
        0
    );
    life(&mut session);
    session.execute("RESET tasker.direct_table_access");
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.table_access() WHERE path = 'sql'",
            &[]
        ),
        0
    );
}

/// What is stored, without uuids and times: tasks by their order of creation.
const STORED: &str = "
    WITH numbered AS (SELECT task_uuid, row_number() OVER (ORDER BY task_uuid) AS no FROM tasker_engine.tasks)
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT format('task %s %s %s', n.no, t.state, t.open_leaves) AS line
        FROM tasker_engine.tasks t JOIN numbered n USING (task_uuid)
        UNION ALL
        SELECT format('step %s.%s %s claim %s attempts %s parents %s %s %s %s', n.no, s.step_no, s.state, s.claim_number, s.attempts,
                      s.open_parents, s.unreachable, s.available_at IS NULL, s.results)
        FROM tasker_engine.steps s JOIN numbered n USING (task_uuid)
        UNION ALL
        SELECT format('entry %s.%s %s', n.no, r.step_no, r.priority) FROM tasker_engine.queue_entries r JOIN numbered n USING (task_uuid)
        UNION ALL
        SELECT format('claim %s %s %s', c.worker_no, c.remaining,
                      (SELECT string_agg(n.no || '.' || u.s, ' ' ORDER BY n.no, u.s)
                       FROM unnest(c.task_uuids, c.step_nos) u (t, s) JOIN numbered n ON n.task_uuid = u.t))
        FROM tasker_engine.claims c
        UNION ALL
        SELECT format('log %s.%s %s-%s %s %s', n.no, l.step_no, l.from_state, l.to_state, l.attempt, l.metadata)
        FROM tasker_engine.transitions l JOIN numbered n USING (task_uuid)) lines";

/// The same work from the same seed: on both ways the same must be stored. With `mixed` each call takes another way.
fn differential(seed: u64, choose: impl Fn(usize) -> bool) -> String {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut held: Vec<tasker_client_tests::Claim> = vec![];
    let mut tasks: Vec<Uuid> = vec![];
    for call in 0..120 {
        session.execute(&format!(
            "SET tasker.direct_table_access = {}",
            if choose(call) { "on" } else { "off" }
        ));
        match random.u8(0..10) {
            0 | 1 => {
                let name = ["small_diamond", "retried", "urgent"][random.usize(0..3)];
                let count = random.i32(1..5);
                tasks.extend(session.all::<Uuid>(
                    "SELECT tasker.create_tasks($1, array_fill('{}'::jsonb, ARRAY[$2::int]))",
                    &[&name, &count],
                ));
                // Entries of one instant have no order of their own.
                std::thread::sleep(Duration::from_millis(2));
            }
            2..=4 => held.extend(session.claim(&Ask::by("w", 1))),
            5..=7 if !held.is_empty() => {
                let claim = held.remove(random.usize(0..held.len()));
                let report = match random.u8(0..6) {
                    0 => claim.failed(true),
                    1 => claim.failed(false),
                    _ => claim.done(json!({ "by": claim.name })),
                };
                let (_, claims) = session.report_and_claim(&Ask::by("w", 1), &[report]);
                held.extend(claims);
            }
            8 if !tasks.is_empty() => {
                let task = tasks[random.usize(0..tasks.len())];
                let _ = session.attempt::<String>("SELECT tasker.cancel_task($1)", &[&task]);
            }
            9 => {
                session.query("SELECT tasker.release_steps('w')", &[]);
                held.clear();
            }
            _ => {}
        }
    }
    session.one(STORED, &[])
}

#[test]
fn both_ways_store_the_same() {
    for seed in 0..4 {
        let direct = differential(seed, |_| true);
        let sql = differential(seed, |_| false);
        let mixed = differential(seed, |call| call % 2 == 0);
        assert_eq!(direct, sql, "seed {seed}");
        assert_eq!(direct, mixed, "seed {seed}");
        assert!(direct.lines().count() > 50);
    }
}

#[test]
fn sessions_on_different_ways_share_the_work_without_doubling_it() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    session.query(
        "SELECT count(*) FROM tasker.create_tasks('small_diamond', array_fill('{}'::jsonb, ARRAY[300]))",
        &[],
    );
    std::thread::scope(|scope| {
        for (name, setting) in [("a", "on"), ("b", "off"), ("c", "on"), ("d", "off")] {
            let mut session = database.connect();
            scope.spawn(move || {
                session.execute(&format!("SET tasker.direct_table_access = {setting}"));
                let mut idle = 0;
                let mut reports = vec![];
                while idle < 40 {
                    let (refused, claims) = session.report_and_claim(&Ask::by(name, 7), &reports);
                    assert_eq!(refused, []);
                    reports = claims.iter().map(|claim| claim.done(json!({}))).collect();
                    if claims.is_empty() {
                        idle += 1;
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
    });
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.tasks WHERE state = 'complete'",
            &[]
        ),
        300
    );
    assert_eq!(
        session.count(
            "SELECT count(*) FROM tasker.workflow_steps WHERE attempts <> 1 OR claim_number <> 1",
            &[]
        ),
        0
    );
}

#[test]
fn locks_that_do_not_conflict_are_no_hindrance() {
    for setting in ["on", "off"] {
        let database = Database::new();
        let mut session = database.connect();
        session.execute(&format!("SET tasker.direct_table_access = {setting}"));
        register(&mut session);
        session.query(
            "SELECT count(*) FROM tasker.create_tasks('retried', array_fill('{}'::jsonb, ARRAY[6]))",
            &[],
        );
        // A key share lock of another transaction, as a foreign key takes it.
        let mut other = database.connect();
        other.execute(
            "BEGIN; SELECT FROM tasker_engine.steps ORDER BY task_uuid LIMIT 3 FOR KEY SHARE",
        );
        assert_eq!(session.claim(&Ask::by("w", 3)).len(), 3, "{setting}");
        other.execute("COMMIT");
        // Our own lock, and a claim of our own that was rolled back.
        session.execute(
            "BEGIN; SELECT FROM tasker_engine.steps WHERE state = 'p' FOR UPDATE; SAVEPOINT s",
        );
        assert_eq!(session.claim(&Ask::by("w", 3)).len(), 3, "{setting}");
        session.execute("ROLLBACK TO s");
        assert_eq!(session.claim(&Ask::by("w", 3)).len(), 3, "{setting}");
        session.execute("COMMIT");
        assert_eq!(
            session.count(
                "SELECT count(*) FROM tasker.workflow_steps WHERE state = 'in_progress'",
                &[]
            ),
            6
        );
    }
}

#[test]
fn what_is_written_below_sql_is_counted_locked_and_seen_as_by_sql() {
    for setting in ["on", "off"] {
        let database = Database::new();
        let mut session = database.connect();
        session.execute(&format!("SET tasker.direct_table_access = {setting}"));
        register(&mut session);
        // Statistics, which autovacuum lives on.
        session.query("SELECT count(*) FROM tasker.create_tasks('retried', array_fill('{}'::jsonb, ARRAY[7]))", &[]);
        let claims = session.claim(&Ask::by("w", 7));
        assert_eq!(claims.len(), 7);
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let mut other = database.connect();
            let counted: String = other.one(
                "SELECT string_agg(format('%s %s %s %s', relname, n_tup_ins, n_tup_upd, n_tup_del), ', ' ORDER BY relname)
                 FROM pg_stat_user_tables WHERE schemaname = 'tasker_engine' AND relname IN ('queue_entries', 'steps', 'claims')",
                &[],
            );
            if counted == "claims 1 0 0, queue_entries 7 0 7, steps 7 7 0" {
                break;
            }
            assert!(Instant::now() < until, "{setting}: {counted}");
            std::thread::sleep(Duration::from_millis(200));
            session.execute("SELECT 1");
        }
        // A call sees what the calls before it in the same transaction have written, and nothing of them stays after a rollback.
        session.execute("BEGIN");
        session.query("SELECT tasker.create_task('retried')", &[]);
        let logged = session.count("SELECT count(*) FROM tasker_engine.transitions", &[]);
        let claims = session.claim(&Ask::by("w", 5));
        assert_eq!(claims.len(), 1, "{setting}");
        session.complete(&claims[0], &json!({}));
        let locked: Vec<String> = session.all(
            "SELECT DISTINCT c.relname::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
             WHERE l.pid = pg_backend_pid() AND l.mode = 'RowExclusiveLock' AND c.relkind = 'r'
               AND c.relname IN ('queue_entries', 'steps', 'claims', 'transitions') ORDER BY 1",
            &[],
        );
        assert_eq!(
            locked,
            ["claims", "queue_entries", "steps", "transitions"],
            "{setting}"
        );
        session.execute("ROLLBACK");
        assert!(session.claim(&Ask::by("w", 5)).is_empty());
        assert_eq!(
            session.count("SELECT count(*) FROM tasker_engine.transitions", &[]),
            logged - 1
        );
    }
}

#[test]
fn a_walk_over_many_held_rows_can_be_cancelled() {
    let database = Database::new();
    let mut session = database.connect();
    register(&mut session);
    for _ in 0..4 {
        session.query(
            "SELECT count(*) FROM tasker.create_tasks('retried', array_fill('{}'::jsonb, ARRAY[10000]))",
            &[],
        );
    }
    let mut holder = database.connect();
    holder.execute("BEGIN; SELECT FROM tasker_engine.queue_entries FOR UPDATE");
    // The walk meets 40,000 rows that it cannot take. Cancelled, it ends long before its end. A session remembers where it has
    // looked, so each walk is another session's, which has claimed elsewhere before.
    let walk = |timeout: &str| {
        let mut session = database.connect();
        session.query("SELECT * FROM tasker.claim_steps('w', '{elsewhere}')", &[]);
        session.execute(&format!("SET statement_timeout = '{timeout}'"));
        let began = Instant::now();
        let claimed = session.try_claim(&Ask::by("w", 10_000));
        (began.elapsed(), claimed)
    };
    let (whole, claimed) = walk("60s");
    assert!(claimed.expect("nothing is wrong").is_empty());
    let shortest = (0..5)
        .map(|_| {
            let (took, claimed) = walk("2ms");
            claimed.expect_err("it takes longer").is("57014");
            took
        })
        .min()
        .expect("five");
    assert!(shortest < whole / 2, "{shortest:?} of {whole:?}");
    holder.execute("ROLLBACK");
    assert_eq!(session.claim_soon(&Ask::by("w", 10), 10).len(), 10);
}
