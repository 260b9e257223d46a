//! What the tests need and the public interface does not offer: looking at everything at once, and moving the clock.
//! Nothing else in this crate names the private schema.

use crate::{Session, Uuid};

/// Created in every test database beside the extension.
pub const HELPERS: &str = r"
CREATE SCHEMA harness;

-- The content of every table of the extension. When a worker was last seen is not a change.
CREATE FUNCTION harness.fingerprint() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    relation regclass;
    part text;
    whole text := '';
BEGIN
    FOR relation IN
        SELECT c.oid FROM pg_class c
        WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine')
          AND c.relkind IN ('r', 'p') AND c.relname <> ALL ('{workers,installation}')
        ORDER BY 1
    LOOP
        EXECUTE format('SELECT count(*) || '':'' || md5(coalesce(string_agg(t::text, E''\n'' ORDER BY t::text), '''')) FROM ONLY %s t', relation)
        INTO part;
        whole := whole || relation || ' ' || part || E'\n';
    END LOOP;
    RETURN whole;
END
$$;

-- Everything that a dump has, also what each call changes: workers, but not when they were seen, and every sequence. The oids of
-- roles are those of one cluster.
CREATE FUNCTION harness.dump_fingerprint() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    relation regclass;
    part text;
    whole text := '';
BEGIN
    FOR relation IN
        SELECT c.oid FROM pg_class c
        WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind = 'r' AND c.relname <> 'installation'
        ORDER BY c.oid::regclass::text
    LOOP
        EXECUTE format('SELECT count(*) || '':'' || md5(coalesce(string_agg(j, E''\n'' ORDER BY j), ''''))
                        FROM (SELECT (to_jsonb(t) - $1)::text AS j FROM ONLY %s t) o', relation)
        INTO part
        USING ARRAY(SELECT a.attname::text FROM pg_attribute a
                    WHERE a.attrelid = relation
                      AND (a.atttypid = 'oid'::regtype OR relation::text = 'tasker_engine.workers' AND a.attname IN ('last_seen_at', 'idle_until')));
        whole := whole || relation || ' ' || part || E'\n';
    END LOOP;
    FOR relation IN
        SELECT c.oid FROM pg_class c
        WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind = 'S' ORDER BY c.oid::regclass::text
    LOOP
        EXECUTE format('SELECT last_value || '' '' || is_called FROM %s', relation) INTO part;
        whole := whole || relation || ' ' || part || E'\n';
    END LOOP;
    RETURN whole;
END
$$;

-- Makes later steps due now: the clock of each step and its entry in the queue.
CREATE FUNCTION harness.make_due(task uuid) RETURNS void LANGUAGE sql AS $$
    WITH moved AS (
        UPDATE tasker_engine.steps s SET available_at = clock_timestamp()
        WHERE s.task_uuid = task AND s.available_at > clock_timestamp() AND s.available_at < 'infinity'
        RETURNING s.task_uuid, s.step_no, s.available_at)
    UPDATE tasker_engine.queue_entries r SET available_at = m.available_at
    FROM moved m
    WHERE r.task_uuid = m.task_uuid AND r.step_no = m.step_no;
$$;

-- A pending step waits as if it had been backed off.
CREATE FUNCTION harness.postpone(step uuid, delay interval) RETURNS void LANGUAGE sql AS $$
    WITH moved AS (
        UPDATE tasker_engine.steps s SET available_at = clock_timestamp() + delay
        FROM tasker.workflow_steps w
        WHERE w.step_uuid = step AND s.task_uuid = w.task_uuid AND s.step_no = w.step_no
        RETURNING s.task_uuid, s.step_no, s.available_at)
    UPDATE tasker_engine.queue_entries r SET available_at = m.available_at
    FROM moved m
    WHERE r.task_uuid = m.task_uuid AND r.step_no = m.step_no;
$$;

-- The last run of a step took this long, as if it had begun earlier.
CREATE FUNCTION harness.set_run(step uuid, duration interval) RETURNS void LANGUAGE sql AS $$
    WITH ended AS (
        UPDATE tasker_engine.transitions l SET started_at = l.created_at - duration
        WHERE l.id = (SELECT max(e.id) FROM tasker_engine.transitions e
                      WHERE e.task_uuid = tasker.step_task_uuid(step) AND e.step_no = tasker.step_number(step)
                        AND e.from_state = 'i')
        RETURNING l.id, l.started_at)
    UPDATE tasker_engine.transitions l SET created_at = ended.started_at
    FROM ended
    WHERE l.id = (SELECT max(b.id) FROM tasker_engine.transitions b
                  WHERE b.task_uuid = tasker.step_task_uuid(step) AND b.step_no = tasker.step_number(step)
                    AND b.to_state = 'i' AND b.id < ended.id);
$$;

-- A complete task took this long, as if it had ended later.
CREATE FUNCTION harness.set_task(task uuid, duration interval) RETURNS void LANGUAGE sql AS $$
    UPDATE tasker_engine.tasks SET completed_at = requested_at + duration WHERE task_uuid = task;
$$;

-- A task and all of its log lie that much further in the past; its uuid stays.
CREATE FUNCTION harness.age(task uuid, by interval) RETURNS void LANGUAGE sql AS $$
    UPDATE tasker_engine.tasks
    SET requested_at = requested_at - by, started_at = started_at - by, completed_at = completed_at - by WHERE task_uuid = task;
    UPDATE tasker_engine.transitions SET created_at = created_at - by, started_at = started_at - by WHERE task_uuid = task;
$$;

-- That much time has passed for a task: its log and its clocks lie further in the past.
CREATE FUNCTION harness.pass(task uuid, by interval) RETURNS void LANGUAGE sql AS $$
    UPDATE tasker_engine.tasks SET run_at = run_at - by WHERE task_uuid = task;
    UPDATE tasker_engine.transitions SET created_at = created_at - by, started_at = started_at - by WHERE task_uuid = task;
    UPDATE tasker_engine.steps SET available_at = available_at - by WHERE task_uuid = task AND available_at < 'infinity';
    UPDATE tasker_engine.queue_entries SET available_at = available_at - by WHERE task_uuid = task;
$$;
";

/// Everything stored, as one comparable text.
#[track_caller]
pub fn fingerprint(session: &mut Session) -> String {
    session.one("SELECT harness.fingerprint()", &[])
}

/// The same with what each call changes: for what a dump must bring.
#[track_caller]
pub fn dump_fingerprint(session: &mut Session) -> String {
    session.one("SELECT harness.dump_fingerprint()", &[])
}

/// Lets every backoff of the task pass.
#[track_caller]
pub fn make_due(session: &mut Session, task: Uuid) {
    session.query("SELECT harness.make_due($1)", &[&task]);
}

/// Lets a pending step wait for some seconds.
#[track_caller]
pub fn postpone(session: &mut Session, step: Uuid, seconds: i32) {
    session.query(
        "SELECT harness.postpone($1, make_interval(secs => $2::int))",
        &[&step, &seconds],
    );
}

/// Lets the last run of a step have lasted some seconds.
#[track_caller]
pub fn set_run(session: &mut Session, step: Uuid, seconds: f64) {
    session.query(
        "SELECT harness.set_run($1, make_interval(secs => $2))",
        &[&step, &seconds],
    );
}

/// Lets a complete task have lasted some seconds.
#[track_caller]
pub fn set_task(session: &mut Session, task: Uuid, seconds: f64) {
    session.query(
        "SELECT harness.set_task($1, make_interval(secs => $2))",
        &[&task, &seconds],
    );
}

/// Moves a task and its log some minutes into the past.
#[track_caller]
pub fn age(session: &mut Session, task: Uuid, minutes: i32) {
    session.query(
        "SELECT harness.age($1, make_interval(mins => $2))",
        &[&task, &minutes],
    );
}

/// As many runs of a step have failed that has not run yet, and two more are allowed.
#[track_caller]
pub fn set_attempts(session: &mut Session, step: Uuid, attempts: i32) {
    session.query(
        "UPDATE tasker_engine.steps SET attempts = $2::integer, retry_limit = $2::integer + 2
         WHERE tasker.step_uuid(task_uuid, step_no) = $1 AND state = 'p'",
        &[&step, &attempts],
    );
}

/// Lets time pass for one task.
#[track_caller]
pub fn let_time_pass(session: &mut Session, task: Uuid, seconds: i32) {
    session.query(
        "SELECT harness.pass($1, make_interval(secs => $2::int))",
        &[&task, &seconds],
    );
}

/// The row of a task in the table of rare states: state, step and error class.
#[track_caller]
pub fn rare_state(session: &mut Session, task: Uuid) -> Option<String> {
    session
        .all(
            "SELECT concat_ws(' ', state, step_no, error_class) FROM tasker_engine.rare_tasks WHERE task_uuid = $1",
            &[&task],
        )
        .pop()
}

/// Locks the row of a task alone, as long as the transaction lasts.
#[track_caller]
pub fn hold_task(session: &mut Session, task: Uuid) {
    session.query(
        "SELECT FROM tasker_engine.tasks WHERE task_uuid = $1 FOR UPDATE",
        &[&task],
    );
}

/// The size of the queue in pages.
#[track_caller]
pub fn pages_of_queue(session: &mut Session) -> i64 {
    session.one(
        "SELECT pg_relation_size('tasker_engine.queue_entries') / 8192",
        &[],
    )
}

/// How many rows the tags of all tasks have.
#[track_caller]
pub fn tag_rows(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker_engine.task_tags", &[])
}

/// A task has these tags, however many.
#[track_caller]
pub fn set_tags(session: &mut Session, task: Uuid, tags: &serde_json::Value) {
    session.query(
        "UPDATE tasker_engine.tasks SET tags = $2 WHERE task_uuid = $1",
        &[&task, tags],
    );
}

/// The steps of a task wait as version 0.1.0 could leave them: held although the task is open.
#[track_caller]
pub fn hold_back(session: &mut Session, task: Uuid) {
    session.query(
        "UPDATE tasker_engine.steps SET available_at = 'infinity' WHERE task_uuid = $1 AND state = 'p'",
        &[&task],
    );
}

/// The claims are gone, and their steps still run.
#[track_caller]
pub fn lose_claims(session: &mut Session) {
    session.query("DELETE FROM tasker_engine.claims", &[]);
}

/// The tables that a call may touch, largest schema first; for locks that stop a call on its way.
#[track_caller]
pub fn tables(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace::regnamespace::text = 'tasker_engine' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
         ORDER BY 1",
        &[],
    )
}

/// The worker was seen last that many seconds ago.
#[track_caller]
pub fn silence(session: &mut Session, worker: &str, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.workers SET idle_until = NULL, last_seen_at = clock_timestamp() - make_interval(secs => $2::int)
         WHERE worker_id = $1",
        &[&worker, &seconds],
    );
}

/// The worker ended that many seconds ago.
#[track_caller]
pub fn ended(session: &mut Session, worker: &str, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.workers SET ended_at = clock_timestamp() - make_interval(secs => $2::int) WHERE worker_id = $1",
        &[&worker, &seconds],
    );
}

/// The row versions of what maintenance has found: another one after each write, also of the same values.
#[track_caller]
pub fn version_of_integrity_checks(session: &mut Session) -> String {
    session.one(
        "SELECT string_agg(concat(c.ctid, ' ', c.xmin), ',') FROM tasker_engine.integrity_checks c",
        &[],
    )
}

/// A row of a worker that was last seen that many seconds ago.
#[track_caller]
pub fn seen_before(session: &mut Session, worker: &str, seconds: i32) {
    session.query(
        "INSERT INTO tasker_engine.workers (worker_id, last_seen_at) VALUES ($1, clock_timestamp() - make_interval(secs => $2::int))",
        &[&worker, &seconds],
    );
}

/// One batch of the duty that removes workers, without its lock.
#[track_caller]
pub fn remove_workers(session: &mut Session) -> i64 {
    session.one("SELECT tasker_engine.duty_workers()", &[])
}

/// How many workers have a row, how many only a name, and how many claims point to neither a row nor anything else.
#[track_caller]
pub fn worker_rows(session: &mut Session) -> [i64; 3] {
    [
        "SELECT count(*) FROM tasker_engine.workers",
        "SELECT count(*) FROM tasker_engine.worker_names",
        "SELECT count(*) FROM tasker_engine.claims c WHERE NOT EXISTS (SELECT FROM tasker_engine.workers w WHERE w.worker_no = c.worker_no)",
    ]
    .map(|sql| session.count(sql, &[]))
}

/// The numbers under which a worker has rows and claims: one.
#[track_caller]
pub fn worker_numbers(session: &mut Session, worker: &str) -> Vec<i32> {
    session.all(
        "SELECT w.worker_no FROM tasker_engine.workers w WHERE w.worker_id = $1
         UNION SELECT c.worker_no FROM tasker_engine.claims c ORDER BY 1",
        &[&worker],
    )
}

/// The row of the worker is gone, as after ROLLBACK PREPARED of the transaction that wrote it.
#[track_caller]
pub fn lose_worker(session: &mut Session, worker: &str) {
    session.query(
        "DELETE FROM tasker_engine.workers WHERE worker_id = $1",
        &[&worker],
    );
}

/// The rows of these workers went that many seconds earlier.
#[track_caller]
pub fn age_names(session: &mut Session, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.worker_names SET left_at = left_at - make_interval(secs => $1::int)",
        &[&seconds],
    );
}

/// As many workers have ended an hour ago.
#[track_caller]
pub fn many_ended(session: &mut Session, count: i32) {
    session.query(
        "INSERT INTO tasker_engine.workers (worker_id, namespaces, last_seen_at, ended_at, claimant_no)
         SELECT 'old ' || n, '{default}', clock_timestamp() - interval '1 hour', clock_timestamp() - interval '1 hour', 0
         FROM generate_series(1, $1) n",
        &[&count],
    );
}

/// As many workers were last seen an hour ago, and have not said that they end.
#[track_caller]
pub fn many_silent(session: &mut Session, count: i32) {
    session.query(
        "INSERT INTO tasker_engine.workers (worker_id, namespaces, last_seen_at, claimant_no)
         SELECT 'silent ' || n, '{default}', clock_timestamp() - interval '1 hour', 0 FROM generate_series(1, $1) n",
        &[&count],
    );
}

/// A subscriber polls and acknowledges until it has read all that there is.
pub fn read_all(session: &mut Session, subscriber: &str) {
    let until = std::time::Instant::now() + crate::patience(30);
    let behind = "SELECT count(*) FROM tasker_engine.subscriber_reads r WHERE r.subscriber = $1 AND r.read_to
                  < greatest((SELECT max(l.id) FROM tasker_engine.transitions l), (SELECT max(e.id) FROM tasker_engine.events e))";
    loop {
        let events: i64 = session.one(
            "SELECT count(event_id) + coalesce(sum(tasker.ack_events($1, ARRAY[event_id])), 0) * 0 FROM tasker.poll_events($1, 1000)",
            &[&subscriber],
        );
        if events == 0 && session.count(behind, &[&subscriber]) == 0 {
            return;
        }
        assert!(std::time::Instant::now() < until, "{subscriber} reads all");
    }
}

/// How many announcements are stored, of whichever worker.
#[track_caller]
pub fn announcements(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker_engine.worker_handlers", &[])
}

/// The operational state was set that many seconds ago.
#[track_caller]
pub fn state_since(session: &mut Session, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.operational_changes SET changed_at = clock_timestamp() - make_interval(secs => $1::int)
         WHERE change_no = (SELECT max(change_no) FROM tasker_engine.operational_changes)",
        &[&seconds],
    );
}

/// Everything that this worker holds was claimed this many seconds earlier; the lease stays.
#[track_caller]
pub fn claimed_earlier(session: &mut Session, worker: &str, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.claims c SET claimed_at = c.claimed_at - make_interval(secs => $2::int)
         FROM tasker_engine.workers w WHERE w.worker_no = c.worker_no AND w.worker_id = $1",
        &[&worker, &seconds],
    );
}

/// The leases of this worker ended this many seconds ago.
#[track_caller]
pub fn lease_ended(session: &mut Session, worker: &str, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.claims c SET lease_expires_at = clock_timestamp() - make_interval(secs => $2::int)
         FROM tasker_engine.workers w WHERE w.worker_no = c.worker_no AND w.worker_id = $1",
        &[&worker, &seconds],
    );
}

/// What workers hold now was claimed that many seconds earlier; the leases end when they would have.
#[track_caller]
pub fn run_for(session: &mut Session, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.claims
         SET claimed_at = claimed_at - make_interval(secs => $1), timeout_at = timeout_at - make_interval(secs => $1)",
        &[&f64::from(seconds)],
    );
}

/// How many claims workers have open, those kept to tell a loss included.
#[track_caller]
pub fn open_claims(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker_engine.claims", &[])
}

/// The clocks of all started tasks have run that many seconds longer.
#[track_caller]
pub fn run_clocks(session: &mut Session, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.task_deadlines SET deadline_at = deadline_at - make_interval(secs => $1)",
        &[&f64::from(seconds)],
    );
}

/// How many tasks have a clock, running or not.
#[track_caller]
pub fn clocks(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker_engine.task_deadlines", &[])
}

/// A schedule's next time is another one.
#[track_caller]
pub fn set_next_run(session: &mut Session, schedule: &str, at: &str) {
    session.query(
        "UPDATE tasker_engine.schedules SET next_run_at = $2::text::timestamptz WHERE schedule_name = $1",
        &[&schedule, &at],
    );
}

/// A schedule has another expression or zone than one that is accepted.
#[track_caller]
pub fn spoil_zone(session: &mut Session, schedule: &str) {
    session.query(
        "UPDATE tasker_engine.schedules SET time_zone = 'Nowhere/At_All' WHERE schedule_name = $1",
        &[&schedule],
    );
}

/// Due schedules, without the lock that keeps maintenance from running twice at once.
#[track_caller]
pub fn run_due_schedules(session: &mut Session) -> i64 {
    session.one("SELECT tasker_engine.duty_schedules()", &[])
}

/// Every batch of tasks that is deleted takes this long.
#[track_caller]
pub fn slow_purges(session: &mut Session, seconds: f64) {
    session.execute(&format!(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END';
         CREATE TRIGGER slow AFTER DELETE ON tasker_engine.tasks FOR EACH STATEMENT EXECUTE FUNCTION public.slow()"
    ));
}

/// One batch of retention, without that lock.
#[track_caller]
pub fn run_retention(session: &mut Session) -> i64 {
    session.one("SELECT tasker_engine.duty_retention()", &[])
}

/// The tables in which the task is mentioned, without that of the ranges of uuids that are to be added up again.
#[track_caller]
pub fn traces(session: &mut Session, task: Uuid) -> Vec<String> {
    tables(session)
        .into_iter()
        .chain(["tasker.task_annotations".to_owned()])
        .filter(|table| table != "tasker_engine.unsettled_tasks")
        .filter(|table| {
            session.count(
                &format!(
                    "SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1::text || '%'"
                ),
                &[&task.to_string()],
            ) > 0
        })
        .collect()
}

/// The walk of retention has passed everything that exists.
#[track_caller]
pub fn sweep_past_all(session: &mut Session) {
    session.query(
        "UPDATE tasker_engine.retention SET swept_to = 'ffffffff-ffff-ffff-ffff-ffffffffffff', sweep_started_at = clock_timestamp()",
        &[],
    );
}

/// It began so early that it starts again.
#[track_caller]
pub fn sweep_again(session: &mut Session) {
    session.query(
        "UPDATE tasker_engine.retention SET sweep_started_at = sweep_started_at - interval '2 hours'",
        &[],
    );
}

/// How many rows the counters of backends have taken, folded ones included.
#[track_caller]
pub fn counter_rows(session: &mut Session) -> i64 {
    session.count("SELECT count(*) FROM tasker_engine.metric_counts", &[])
}

/// What backends have counted in their rows so far lies that much further in the past.
#[track_caller]
pub fn age_counters(session: &mut Session, seconds: i32) {
    session.query(
        "UPDATE tasker_engine.metric_counts SET at = at - make_interval(secs => $1::int)",
        &[&seconds],
    );
}

/// Finalization claims of another second, each of them as slow as this.
#[track_caller]
pub fn slow_claims(session: &mut Session, count: i32, seconds: f64) {
    session.query(
        "SELECT tasker_engine.count_finalization('claim', 'success', clock_timestamp() - make_interval(secs => $2))
         FROM generate_series(1, $1)",
        &[&count, &seconds],
    );
}

/// Every task is complete, as if a worker had run it.
#[track_caller]
pub fn end_all(session: &mut Session) {
    session.execute(
        "UPDATE tasker_engine.tasks SET state = 'c', completed_at = clock_timestamp();
         UPDATE tasker_engine.steps SET state = 'c'",
    );
}

/// Where the rows of the claims stand: another place after every write.
#[track_caller]
pub fn claim_places(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT ctid::text FROM tasker_engine.claims ORDER BY claim_id",
        &[],
    )
}

/// Holds the rows of all steps until the session's transaction ends.
pub fn hold_steps(session: &mut Session) {
    session.execute("BEGIN; SELECT FROM tasker_engine.steps FOR UPDATE");
}

/// Every duty of maintenance last ran this many seconds earlier, and there has been something to do for longer.
#[track_caller]
pub fn duties_ran_earlier(session: &mut Session, seconds: i32) {
    session.query(
        "WITH n AS (UPDATE tasker.task_namespaces SET created_at = created_at - make_interval(secs => $1::int))
         UPDATE tasker_engine.duty_runs SET last_run_at = last_run_at - make_interval(secs => $1::int)",
        &[&seconds],
    );
}

/// Where the rows of the duties stand: another place after every write.
#[track_caller]
pub fn duty_places(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT ctid::text FROM tasker_engine.duty_runs ORDER BY duty",
        &[],
    )
}

/// Which roles the handlers of the database are kept with, as a dump would say it.
pub fn handler_roles(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat_ws(' ', role_name, function_owner) FROM tasker_engine.sql_handlers ORDER BY 1",
        &[],
    )
}

/// Whose the schedules are, as a dump would say it.
pub fn schedule_owners(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT owner_role FROM tasker_engine.schedules ORDER BY schedule_name",
        &[],
    )
}

/// Writes the oid of the bootstrap superuser into every kept role, as a row from another cluster could bring it; `comes` is
/// how: a replication role.
pub fn set_oids(session: &mut Session, comes: &str) {
    session.execute(&format!(
        "SET session_replication_role = {comes};
         UPDATE tasker_engine.sql_handlers SET role_oid = 10, function_owner_oid = 10;
         UPDATE tasker_engine.schedules SET owner_oid = 10;
         RESET session_replication_role"
    ));
}

/// A trigger of a DBA on the table of handlers, which counts rows.
pub fn count_handlers(session: &mut Session) {
    session.execute(
        "CREATE TABLE public.seen (step_no smallint);
         CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO public.seen VALUES (NEW.step_no); RETURN NULL; END $$;
         CREATE TRIGGER see AFTER INSERT ON tasker_engine.sql_handlers FOR EACH ROW EXECUTE FUNCTION public.see()",
    );
}

/// From now on a call that finds a known identity waits behind its INSERT for advisory lock 77.
pub fn wait_behind_identities(session: &mut Session) {
    session.execute(
        "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_advisory_xact_lock_shared(77); RETURN NULL; END $$;
         CREATE TRIGGER wait AFTER INSERT ON tasker_engine.task_identities EXECUTE FUNCTION public.wait()",
    );
}

/// Everything in the queue is lost, as on a replica to which it is not replicated.
#[track_caller]
pub fn lose_queue(session: &mut Session) {
    session.execute("DELETE FROM tasker_engine.queue_entries");
}

/// Writes to the tables past the engine: names without a schema are theirs, and the task is the only parameter.
#[track_caller]
pub fn spoil(session: &mut Session, task: Uuid, statement: &str) {
    session.execute("SET search_path = tasker_engine, pg_catalog");
    let changed = session.attempt_with(&format!("{statement} RETURNING 1"), &[&task]);
    session.execute("RESET search_path");
    assert!(
        matches!(changed, Ok(rows) if rows > 0),
        "{statement} changed nothing: {changed:?}"
    );
}

/// Every entry is there twice.
#[track_caller]
pub fn double_queue(session: &mut Session) {
    session.execute(
        "INSERT INTO tasker_engine.queue_entries SELECT * FROM tasker_engine.queue_entries",
    );
}

/// Entries as an earlier version wrote them.
#[track_caller]
pub fn forget_handler_keys(session: &mut Session) {
    session.execute("UPDATE tasker_engine.queue_entries SET handler_key = NULL");
}

/// The handlers' keys of all entries.
#[track_caller]
pub fn handler_keys(session: &mut Session) -> Vec<Option<i64>> {
    session.all(
        "SELECT handler_key FROM tasker_engine.queue_entries ORDER BY 1",
        &[],
    )
}

/// No entry agrees with its row in the time any more.
#[track_caller]
pub fn shift_queue(session: &mut Session) {
    session.execute(
        "UPDATE tasker_engine.queue_entries SET available_at = available_at - interval '1 second'",
    );
}

/// The entries that agree with the rows of their steps: step, queue, level and time, sorted. A step without a time of its
/// own has none here either.
#[track_caller]
pub fn queue(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT DISTINCT concat_ws(' ', r.task_uuid, r.step_no, r.queue_id, r.priority, s.available_at)
         FROM tasker_engine.queue_entries r JOIN tasker_engine.steps s USING (task_uuid, step_no)
         WHERE s.state = 'p' AND s.available_at IS NULL OR s.state IN ('p', 'e') AND r.available_at = s.available_at
         ORDER BY 1",
        &[],
    )
}

/// No statistics are gathered of what comes now.
#[track_caller]
pub fn without_statistics(session: &mut Session) {
    session.execute(
        "ALTER TABLE tasker_engine.steps SET (autovacuum_enabled = off);
         ALTER TABLE tasker_engine.queue_entries SET (autovacuum_enabled = off);
         ALTER TABLE tasker.named_tasks_named_steps SET (autovacuum_enabled = off);
         ANALYZE tasker_engine.steps, tasker_engine.queue_entries",
    );
}

/// The same of every table.
#[track_caller]
pub fn without_any_statistics(session: &mut Session) {
    session.execute(
        "DO $$
         DECLARE
             relation regclass;
         BEGIN
             FOR relation IN
                 SELECT c.oid FROM pg_class c WHERE c.relnamespace::regnamespace::text IN ('tasker', 'tasker_engine') AND c.relkind = 'r'
             LOOP
                 EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', relation);
             END LOOP;
         END $$",
    );
}

/// The statement that runs a duty of maintenance once.
pub fn duty(name: &str) -> String {
    format!("SELECT tasker_engine.run_duty('{name}')")
}

/// The log's ids given out more than once.
#[track_caller]
pub fn repeated_ids(session: &mut Session) -> i64 {
    session.count(
        "SELECT count(*) - count(DISTINCT id) FROM tasker_engine.transitions",
        &[],
    )
}

/// The processors that asked for the finalization of a task, in order.
#[track_caller]
pub fn finalizers(session: &mut Session, task: Uuid) -> Vec<String> {
    session.all(
        "SELECT processor_id FROM tasker_engine.finalization_attempts WHERE task_uuid = $1 ORDER BY attempted_at",
        &[&task],
    )
}

/// When a coordinator ends, the next one begins at once.
#[track_caller]
pub fn wake_launcher(session: &mut Session) {
    assert!(session.one::<bool>("SELECT tasker_engine.wake_launcher()", &[]));
}

/// Rows with a counter below zero, which no call leaves.
#[track_caller]
pub fn negative_counters(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT concat('steps ', task_uuid, ' ', step_no) FROM tasker_engine.steps
         WHERE attempts < 0 OR open_parents < 0 OR claim_number < 0 OR retry_limit < 0
         UNION ALL SELECT concat('tasks ', task_uuid) FROM tasker_engine.tasks WHERE open_leaves < 0
         UNION ALL SELECT concat('claims ', claim_id) FROM tasker_engine.claims WHERE remaining < 0",
        &[],
    )
}

/// Every open task is complete, as if workers had run it.
#[track_caller]
pub fn end_open(session: &mut Session) {
    session.execute(
        "UPDATE tasker_engine.steps SET state = 'c'
         WHERE task_uuid IN (SELECT task_uuid FROM tasker_engine.tasks WHERE state IN ('p', 'i'));
         UPDATE tasker_engine.tasks SET state = 'c', completed_at = clock_timestamp() WHERE state IN ('p', 'i');
         DELETE FROM tasker_engine.queue_entries",
    );
}

/// The totals of `get_system_health_counts`, from a look at every task and step.
#[track_caller]
pub fn counts_by_reading_all(session: &mut Session) -> String {
    session.one(
        "SELECT concat_ws(' ', t.total, t.p, t.i, t.c, t.e, t.x, t.r, s.total, s.p, s.i, s.c, s.e, s.x, s.r)
         FROM (SELECT count(*) AS total, count(*) FILTER (WHERE state = 'p') AS p, count(*) FILTER (WHERE state = 'i') AS i,
                      count(*) FILTER (WHERE state = 'c') AS c, count(*) FILTER (WHERE state = 'e') AS e,
                      count(*) FILTER (WHERE state = 'x') AS x, count(*) FILTER (WHERE state = 'r') AS r
               FROM tasker_engine.tasks) t,
              (SELECT count(*) AS total, count(*) FILTER (WHERE state = 'p') AS p, count(*) FILTER (WHERE state = 'i') AS i,
                      count(*) FILTER (WHERE state = 'c') AS c, count(*) FILTER (WHERE state = 'e') AS e,
                      count(*) FILTER (WHERE state = 'x') AS x, count(*) FILTER (WHERE state = 'r') AS r
               FROM tasker_engine.steps) s",
        &[],
    )
}

/// All tasks that exist are old enough to be added up.
#[track_caller]
pub fn let_all_settle(session: &mut Session) {
    session.query(
        "INSERT INTO tasker_engine.settling (checked_to, upto, xid)
         VALUES ('00000000-0000-0000-0000-000000000000', 'fffffffe-0000-0000-0000-000000000000', '3')
         ON CONFLICT (one) DO UPDATE SET checked_to = excluded.checked_to, upto = excluded.upto, xid = excluded.xid",
        &[],
    );
}

/// One batch of the duty that adds up tasks; how much it did.
#[track_caller]
pub fn add_up(session: &mut Session) -> i64 {
    session.one("SELECT tasker_engine.duty_totals()", &[])
}

/// Nothing is added up.
#[track_caller]
pub fn forget_totals(session: &mut Session) {
    session.query("DELETE FROM tasker_engine.settled_tasks", &[]);
}

/// So that some old tasks are open: takes one of each group of complete ones back.
#[track_caller]
pub fn open_every(session: &mut Session, distance: i64) -> i64 {
    session.one(
        "WITH back AS (
             SELECT o.task_uuid FROM (SELECT t.task_uuid, row_number() OVER (ORDER BY t.task_uuid) AS n
                                      FROM tasker_engine.tasks t WHERE t.state = 'c') o
             WHERE o.n % $1 = 0),
         steps AS (UPDATE tasker_engine.steps s SET state = 'p' FROM back b WHERE s.task_uuid = b.task_uuid),
         tasks AS (UPDATE tasker_engine.tasks t SET state = 'p', completed_at = NULL FROM back b WHERE t.task_uuid = b.task_uuid)
         SELECT count(*) FROM back",
        &[&distance],
    )
}

/// An open transaction holds the totals locked.
#[track_caller]
pub fn hold_totals(session: &mut Session) {
    session.execute("BEGIN; SELECT FROM tasker_engine.settled_tasks FOR UPDATE");
}

/// How many tasks are in totals that hold.
#[track_caller]
pub fn settled(session: &mut Session) -> i64 {
    session.one(
        "SELECT coalesce(sum(complete_tasks), 0)::bigint FROM tasker_engine.settled_ranges",
        &[],
    )
}

/// Starts of runs that had no row in the log.
#[derive(Debug)]
pub struct Starts {
    pub ended: i64,
    pub going_on: i64,
}

/// Writes a row for each start of a run, as version 0.1.0 did.
#[track_caller]
pub fn store_starts(session: &mut Session) -> Starts {
    let ended = session.one(
        "WITH ended AS (
             UPDATE tasker_engine.transitions l SET run_id = NULL
             FROM (SELECT o.ctid AS place, o.run_id FROM tasker_engine.transitions o WHERE o.run_id IS NOT NULL) o
             WHERE l.ctid = o.place
             RETURNING o.run_id, l.task_uuid, l.started_at, l.worker_no, l.step_no, l.attempt),
         stored AS (
             INSERT INTO tasker_engine.transitions (id, task_uuid, created_at, worker_no, step_no, attempt, from_state, to_state)
             SELECT e.run_id, e.task_uuid, e.started_at, e.worker_no, e.step_no, e.attempt, 'p', 'i' FROM ended e)
         SELECT count(*) FROM ended",
        &[],
    );
    let going_on = session.one(
        "WITH going_on AS (
             UPDATE tasker_engine.steps s SET run_id = NULL
             FROM (SELECT o.ctid AS place, o.run_id FROM tasker_engine.steps o WHERE o.state = 'i' AND o.run_id IS NOT NULL) o
             WHERE s.ctid = o.place
             RETURNING o.run_id, s.task_uuid, s.step_no, s.attempts, s.claim_id),
         stored AS (
             INSERT INTO tasker_engine.transitions (id, task_uuid, created_at, worker_no, step_no, attempt, from_state, to_state)
             SELECT g.run_id, g.task_uuid, c.claimed_at, c.worker_no, g.step_no, g.attempts, 'p', 'i'
             FROM going_on g JOIN tasker_engine.claims c ON c.claim_id = g.claim_id)
         SELECT count(*) FROM going_on",
        &[],
    );
    Starts { ended, going_on }
}

/// Rows that end a run and do not say which, when it began or whose it was.
#[track_caller]
pub fn ends_that_lack_a_run(session: &mut Session) -> Vec<String> {
    session.all(
        "SELECT l::text FROM tasker_engine.transitions l
         WHERE l.from_state = 'i' AND l.step_no > 0
           AND (l.started_at IS NULL OR l.worker_no = 0
                OR l.run_id IS NULL AND NOT EXISTS (
                    SELECT FROM tasker_engine.transitions b
                    WHERE b.task_uuid = l.task_uuid AND b.step_no = l.step_no AND b.to_state = 'i' AND b.id < l.id))",
        &[],
    )
}

/// Rows of the log, newer than the last task, that do not have the id of this transaction.
#[track_caller]
pub fn rows_of_other_transactions(session: &mut Session) -> i64 {
    session.one(
        "SELECT count(*) FROM tasker_engine.transitions l WHERE l.xid <> pg_current_xact_id() AND l.from_state IS NOT NULL",
        &[],
    )
}

/// Published events are older by that time.
pub fn age_events(session: &mut Session, by: &str) {
    session.query(
        "UPDATE tasker_engine.events SET created_at = created_at - $1::text::interval",
        &[&by],
    );
}

/// How many rows what consumers have takes: one for each poll, and one for each event that comes again.
#[track_caller]
pub fn rows_in_flight(session: &mut Session) -> [i64; 2] {
    ["deliveries", "redeliveries"]
        .map(|table| session.count(&format!("SELECT count(*) FROM tasker_engine.{table}"), &[]))
}

/// The leases of all polls end.
#[track_caller]
pub fn end_leases(session: &mut Session) {
    session.query(
        "UPDATE tasker_engine.deliveries SET lease_until = clock_timestamp()",
        &[],
    );
}

/// Dead rows of the engine's tables that the last VACUUM could not remove.
#[track_caller]
pub fn dead_rows(session: &mut Session) -> i64 {
    session.count(
        "SELECT coalesce(sum(t.n_dead_tup), 0) FROM pg_stat_all_tables t WHERE t.schemaname = 'tasker_engine'",
        &[],
    )
}

/// Rows of the log as version 0.1.0 wrote them: without the numbers of claims.
#[track_caller]
pub fn forget_claim_numbers(session: &mut Session) {
    session.query(
        "UPDATE tasker_engine.transitions SET claim_number = NULL WHERE claim_number IS NOT NULL",
        &[],
    );
}

/// The claims whose runs ended, as the log of a step says.
#[track_caller]
pub fn claim_numbers(session: &mut Session, task: Uuid, step_no: i16) -> Vec<i32> {
    session.all(
        "SELECT l.claim_number FROM tasker_engine.transitions l
         WHERE l.task_uuid = $1 AND l.step_no = $2 AND l.from_state = 'i' ORDER BY l.id",
        &[&task, &step_no],
    )
}

/// When the only claim that goes on was made, in microseconds.
#[track_caller]
pub fn claimed_at(session: &mut Session) -> i64 {
    session.one(
        "SELECT (extract(epoch FROM c.claimed_at) * 1e6)::bigint FROM tasker_engine.claims c WHERE c.remaining > 0",
        &[],
    )
}

/// Makes a task as one of version 0.1.0, which took any correlation id and gave none.
#[track_caller]
pub fn set_correlation_id(session: &mut Session, task: Uuid, id: Option<&str>) {
    session.query(
        "UPDATE tasker_engine.tasks SET correlation_id = $2 WHERE task_uuid = $1",
        &[&task, &id],
    );
}

/// Whether events are written to the server's log from a position on.
#[track_caller]
pub fn event_log_has_begun(session: &mut Session) -> bool {
    session.one(
        "SELECT EXISTS (SELECT FROM tasker_engine.event_log_positions)",
        &[],
    )
}
