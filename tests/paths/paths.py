"""Walks every path on which the engine works below SQL, in sessions that live through all of it, and checks what comes out.

usage: paths.py DSN [--discard] [--race SECONDS] [--slow FACTOR] [--brief] [--keep] [--only PATH,PATH]

The database has nothing but the extension. --discard: the sessions' caches forget at every chance (only a server with
assertions can). --race: how long executors run beside cancellations. --slow: multiplies what is waited for at most. --brief: each path once, and some again after a
reinstall. --keep: without the reinstall.
"""

import argparse
import json
import time
import traceback

import psycopg
from psycopg.rows import namedtuple_row

HANDLERS = """
CREATE SCHEMA app;
CREATE TABLE app.effects (step_uuid uuid);
CREATE FUNCTION app.effect(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.effects VALUES ((step->>'step_uuid')::uuid);
    IF step->'context' ? 'fail' AND step->>'attempt' = '1' THEN RAISE EXCEPTION 'not yet'; END IF;
    RETURN jsonb_build_object('long', repeat('x', 10));
END $$;
"""


class World:
    """Two sessions, and a namespace of its own for each path, so that none meets what another left."""

    def __init__(self, options):
        self.options = options
        self.number = 0
        self.a, self.b = self.connect(), self.connect()

    def connect(self):
        connection = psycopg.connect(self.options.dsn, autocommit=True, row_factory=namedtuple_row)
        return self.forgetful(connection)

    def forgetful(self, connection, on=True):
        if self.options.discard:
            connection.execute(f"SET debug_discard_caches = {on:d}")
        return connection

    def enter(self):
        self.number += 1
        self.namespace = f"n{self.number}"

    def template(self, name, steps, **fields):
        """Steps by name with their parents; names begin with the namespace, so that a stale cache gives itself away."""
        document = {"name": name, "namespace_name": self.namespace, **fields}
        document["steps"] = [
            {"name": f"{self.namespace}_{step}", "handler": {"callable": fields.get("calls", "test.h")},
             "depends_on_steps": [f"{self.namespace}_{parent}" for parent in parents],
             "default_retry_limit": 3, "skippable": step == "left", "retry": {"backoff": "none"}}
            for step, parents in steps.items()
        ]
        document.pop("calls", None)
        self.one(self.a, "SELECT tasker.register_template(%s)", json.dumps(document))

    def create(self, name, amount=1, more=""):
        sql = f"SELECT tasker.create_tasks(%s, array_fill('{{}}'::jsonb, ARRAY[%s]), namespace => %s{more})"
        return [row[0] for row in self.rows(self.a, sql, name, amount, self.namespace)]

    def rows(self, connection, sql, *values):
        cursor = connection.execute(sql, values)
        return cursor.fetchall() if cursor.description else []

    def one(self, connection, sql, *values):
        [row] = self.rows(connection, sql, *values)
        return row[0]

    def claim(self, connection=None, most=100, worker=None, lease="10 minutes", call="claim_steps(%s, %s, %s, %s, 'ancestors')"):
        return self.rows(connection or self.a, f"SELECT * FROM tasker.{call}", worker or self.namespace, [self.namespace], most, lease)

    def complete(self, claims, worker=None, connection=None):
        reports = [{"step_uuid": str(c.step_uuid), "claim_number": c.claim_number, "status": "complete", "results": {"from": c.step_name},
                    "logs": ["a line", {"at": 1764535140, "message": "token=1", "fields": {"a": [{"token": 1}]}}]}
                   for c in claims]
        outcomes = self.rows(connection or self.a, "SELECT outcome FROM tasker.report_steps(%s, %s)", worker or self.namespace, json.dumps(reports))
        return [outcome for outcome, in outcomes]

    def work(self):
        """Claims and completes until nothing is ready; the names in the order of their runs."""
        names = []
        while claims := self.claim():
            equal(set(self.complete(claims)), {"complete"})
            names += [c.step_name.removeprefix(self.namespace + "_") for c in claims]
        return names

    def states(self, tasks):
        return sorted({row[0] for row in self.rows(self.a, "SELECT state FROM tasker.tasks WHERE task_uuid = ANY (%s)", tasks)})

    def until(self, what, done, seconds=20):
        deadline = time.monotonic() + seconds * self.options.slow
        while not (found := done()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}")
            time.sleep(0.02)
        return found


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def refused(code, run):
    try:
        run()
    except psycopg.Error as error:
        equal(error.sqlstate, code)
    else:
        raise AssertionError(f"not refused with {code}")


DIAMOND = {"start": [], "left": ["start"], "right": ["start"], "end": ["left", "right"]}


# --- The paths of the two sessions.


def direct(w):
    w.template("diamond", DIAMOND)
    tasks = w.create("diamond", 3)
    equal(len(w.work()), 12)
    equal(w.states(tasks), ["complete"])
    results = "SELECT tasker.get_dependency_results(step_uuid) FROM tasker.workflow_steps WHERE task_uuid = %s ORDER BY step_no DESC LIMIT 1"
    equal(sorted(w.one(w.a, results, tasks[0])), [f"{w.namespace}_{name}" for name in ("left", "right", "start")])
    log = "SELECT count(*) FROM tasker_engine.transitions WHERE task_uuid = ANY (%s)"
    equal(w.one(w.a, log, tasks), 3 * (3 + 4 * 2))


def one_by_one(w):
    w.template("diamond", DIAMOND)
    [task] = w.create("diamond")
    reports, names = [], []
    while True:
        rows = w.rows(w.a, "SELECT * FROM tasker.report_and_claim(%s, %s, %s)", w.namespace, json.dumps(reports), [w.namespace])
        claims = [row for row in rows if row.outcome == "claimed"]
        if not claims:
            break
        names += [c.step_name for c in claims]
        reports = [{"step_uuid": str(c.step_uuid), "claim_number": c.claim_number, "status": "complete"} for c in claims]
    equal(len(names), 4)
    equal(w.states([task]), ["complete"])


def creation(w):
    w.template("diamond", DIAMOND)
    sql = "SELECT tasker.create_task('diamond', context => %s, namespace => %s, idempotency_key => 'key', tags => '[\"red\"]', priority => 4)"
    context = json.dumps({"long": "long " * 4000})  # past the size that stays in the row
    task = w.one(w.a, sql, context, w.namespace)
    equal(w.one(w.a, sql, context, w.namespace), task)
    later = w.create("diamond", 1, ", run_at => clock_timestamp() + interval '1 hour'")
    bypassed = w.create("diamond", 1, f", bypass_steps => '[\"{w.namespace}_left\"]'")
    equal(len(w.work()), 7)
    equal(w.states([task, *bypassed]), ["complete"])
    equal(w.states(later), ["pending"])


def contended(w):
    """Rows that another session holds are left; those of this session's own savepoints are not."""
    w.template("one", {"a": []})
    tasks = w.create("one", 6)
    for strength in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"):
        held = tasks[0]
        with w.b.transaction(force_rollback=True):
            w.rows(w.b, f"SELECT FROM tasker_engine.steps WHERE task_uuid = %s FOR {strength}", held)
            with w.a.transaction(force_rollback=True):
                found = {c.task_uuid for c in w.claim()}
                equal(found | {held}, set(tasks))
                if strength != "KEY SHARE":
                    equal(held in found, False)
    with w.b.transaction(force_rollback=True):
        w.rows(w.b, "SELECT FROM tasker_engine.queue_entries WHERE task_uuid = ANY (%s) FOR UPDATE", tasks[:2])
        w.rows(w.b, "SELECT FROM tasker_engine.tasks WHERE task_uuid = %s FOR UPDATE", tasks[2])
        got = w.claim(most=2) + w.claim()
        equal({c.task_uuid for c in got} & set(tasks[:2]), set())
        w.complete([c for c in got if c.task_uuid != tasks[2]])
    # Two lockers make a multixact.
    c = w.connect()
    [extra] = w.create("one")
    w.one(w.a, "SELECT tasker.release_steps(%s)", w.namespace)
    with w.b.transaction(force_rollback=True), c.transaction(force_rollback=True):
        for other in (w.b, c):
            w.rows(other, "SELECT FROM tasker_engine.steps WHERE task_uuid = %s FOR SHARE", extra)
        equal(extra in {c.task_uuid for c in w.claim()}, False)
    c.close()
    w.one(w.a, "SELECT tasker.release_steps(%s)", w.namespace)
    w.until("what was held is claimed", lambda: (w.work(), w.states([*tasks, extra]) == ["complete"])[1])


def own_locks(w):
    """What this transaction itself has locked or changed can be claimed; a savepoint that ends undoes its claims."""
    w.template("one", {"a": []})
    w.create("one", 3)
    with w.a.transaction():
        w.rows(w.a, "SELECT FROM tasker_engine.steps FOR UPDATE")
        with w.a.transaction(force_rollback=True):
            equal(len(w.claim()), 3)
        w.until("what the savepoint claimed is there again", lambda: len(w.claim(most=2)) == 2)
        w.rows(w.a, "SELECT step_uuid FROM tasker.claim_steps(%s, %s, 5) LIMIT 1", w.namespace, [w.namespace])
        equal(w.one(w.a, "SELECT tasker.release_steps(%s)", w.namespace), 3)
        [failing, *_] = w.until("what was released is there again", w.claim)
        w.rows(w.a, "SELECT tasker.fail_step(%s, %s, 'broke', retry_after => '0')", failing.step_uuid, failing.claim_number)
        equal([c.attempt for c in w.claim()], [2])
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        with w.a.transaction(force_rollback=True):
            w.a.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            refused("25001", w.claim)


def aging(w):
    w.template("one", {"a": []})
    w.claim()
    [low] = w.create("one", 1, ", priority => 1")
    w.create("one", 40, ", priority => 4")
    w.a.execute("SET tasker.priority_aging_seconds = 1")
    time.sleep(1.2)
    level = "SELECT priority FROM tasker_engine.queue_entries WHERE task_uuid = %s"
    w.until("the entry moves up", lambda: (w.complete(w.claim(most=1)), w.one(w.a, level, low) > 1)[1])
    w.a.execute("RESET tasker.priority_aging_seconds")
    w.work()
    equal(w.states([low]), ["complete"])


def paused(w):
    w.template("one", {"a": []})
    tasks = w.create("one", 2)
    w.one(w.b, "SELECT tasker.pause_namespace(%s)", w.namespace)
    equal(w.claim(), [])
    w.one(w.b, "SELECT tasker.resume_namespace(%s)", w.namespace)
    equal(len(w.work()), 2)
    equal(w.states(tasks), ["complete"])
    w.one(w.b, "SELECT tasker.set_operational_state('graceful_shutdown', force => true)")
    equal(w.claim(), [])
    w.one(w.b, "SELECT tasker.set_operational_state('normal', force => true)")


def leases(w):
    w.template("one", {"a": []})
    [task] = w.create("one")
    [lost] = w.claim(lease="20 ms", worker="lost")
    time.sleep(0.1)
    [found] = w.until("the lease is taken over", lambda: w.claim(w.b, worker="found"))
    equal((found.task_uuid, found.claim_number), (task, lost.claim_number + 1))
    equal(w.complete([lost], "lost"), ["stale"])
    equal([row.status for row in w.rows(w.a, "SELECT * FROM tasker.heartbeat('found')")], ["extended"])
    equal(w.one(w.b, "SELECT tasker.release_steps('found')"), 1)
    [again] = w.claim()
    equal(w.complete([again]), ["complete"])
    equal(w.complete([again]), ["duplicate"])


def waking(w):
    w.template("one", {"a": []})
    equal(w.claim(worker="sleeper"), [])
    channel = w.one(w.b, "SELECT tasker.notify_channel(%s)", w.namespace)
    w.b.execute(f'LISTEN "{channel}"')
    w.create("one")
    woken = list(w.b.notifies(timeout=10 * w.options.slow, stop_after=1))
    equal([notify.channel for notify in woken], [channel])
    w.b.execute("UNLISTEN *")
    equal(w.work(), ["a"])


def failure(w):
    w.template("diamond", DIAMOND)
    tasks = w.create("diamond", 2)
    w.complete(w.claim())
    [left, right, other_left, other_right] = sorted(w.claim(), key=lambda c: (c.task_uuid, c.step_name))
    reports = [{"step_uuid": str(left.step_uuid), "claim_number": left.claim_number, "status": "error", "error_message": "broke", "retryable": False},
               {"step_uuid": str(other_left.step_uuid), "claim_number": other_left.claim_number, "status": "error", "error_message": "broke", "retry_after_seconds": 0}]
    outcomes = sorted(row.outcome for row in w.rows(w.a, "SELECT * FROM tasker.report_steps(%s, %s)", w.namespace, json.dumps(reports)))
    equal(len(outcomes), 2)
    equal(w.complete([right, other_right]), ["complete", "complete"])
    w.work()
    equal([w.states([task]) for task in sorted(tasks)], [["error"], ["complete"]])
    w.one(w.a, "SELECT tasker.retry_step(%s)", left.step_uuid)
    equal(w.work(), ["left", "end"])
    equal(w.states(tasks), ["complete"])


def operators(w):
    w.template("diamond", DIAMOND)
    one, two, three, four = w.create("diamond", 4)
    claims = {c.task_uuid: c for c in w.claim()}
    w.one(w.b, "SELECT tasker.cancel_task(%s, 'enough')", one)
    equal(w.complete([claims[one]]), ["stale"])
    w.one(w.b, "SELECT tasker.cancel_step(%s)", claims[two].step_uuid)
    for task in (three, four):
        w.one(w.b, "SELECT tasker.fail_step(%s, %s, 'broke', retryable => false)", claims[task].step_uuid, claims[task].claim_number)
    w.one(w.b, "SELECT tasker.resolve_step_manually(%s, '{}')", claims[three].step_uuid)
    w.one(w.b, "SELECT tasker.set_retry_limit(%s, 5)", claims[four].step_uuid)
    w.one(w.b, "SELECT tasker.retry_task(%s)", four)
    equal(w.one(w.b, "SELECT tasker.try_transition_task(%s, 'pending')", one), False)
    w.work()
    equal(w.states([three, four]), ["complete"])
    w.one(w.b, "SELECT tasker.resolve_task_manually(%s)", two)
    equal(w.states([one, two]), ["cancelled", "resolved_manually"])


def maintenance(w):
    w.template("one", {"a": []})
    tasks = w.create("one", 3)
    w.work()
    w.one(w.a, "SELECT tasker.schedule_task(%s, '* * * * *', 'one', namespace => %s)", w.namespace, w.namespace)
    w.a.execute("UPDATE tasker_engine.schedules SET next_run_at = next_run_at - interval '1 minute'")
    scheduled = "SELECT last_task_uuid FROM tasker.schedules WHERE schedule_name = %s"
    task = w.until("the schedule creates a task", lambda: (w.maintain(), w.one(w.a, scheduled, w.namespace))[1])
    equal(w.work(), ["a"])
    equal(w.states([task]), ["complete"])
    w.one(w.a, "SELECT tasker.unschedule_task(%s)", w.namespace)
    w.rows(w.a, "SELECT tasker.set_retention(%s, completed => '1 day')", w.namespace)
    gone = w.rows(w.a, "SELECT * FROM tasker.purge_tasks('0 seconds', namespace => %s)", w.namespace)[0]
    equal((gone.tasks, gone.steps), (4, 4))
    equal(w.states(tasks), [])
    w.rows(w.a, "SELECT * FROM tasker.force_release_stale_claims(dry_run => false)")


def metrics(w):
    """With shared memory at the commit, without it by the next call ten seconds later."""
    name = "SELECT sum(value) FROM tasker.metrics WHERE name = 'tasker_tasks_created_total'"
    w.template("one", {"a": []})
    before = w.one(w.a, name) or 0
    w.create("one", 2)
    if w.one(w.a, "SHOW shared_preload_libraries") == "":
        time.sleep(10.1)
        w.create("one", 2)
        w.create("one", 2)
    w.work()
    equal((w.one(w.a, name) or 0) > before, True)
    w.one(w.a, "SELECT count(*) FROM tasker.metrics_prometheus(true, true)")
    for form in ("prometheus", "json", "csv"):
        w.one(w.a, f"SELECT tasker.export_metrics('{form}')")
    w.one(w.a, "SELECT tasker.record_export('spans', 'export_failed')")
    w.one(w.a, "SELECT tasker.processor_seconds()")
    w.maintain()
    w.one(w.a, "SELECT tasker.reset_metrics()")


def handlers(w):
    """Handlers inside the database, run by the session itself."""
    w.a.execute("UPDATE tasker_engine.executor_pools SET enabled = false")
    w.template("sql", {"a": [], "b": ["a"]}, calls="sql:app.effect")
    tasks = w.create("sql", 2)
    failing = w.one(w.a, "SELECT tasker.create_task('sql', '{\"fail\": true}', %s)", w.namespace)
    w.until("all ran", lambda: (w.rows(w.a, "SELECT * FROM tasker.run_steps()"), w.states([*tasks, failing]) == ["complete"])[1])
    w.a.execute("UPDATE tasker_engine.executor_pools SET enabled = true")


def reading(w):
    """Every view, and every function that only reads and needs no argument or a task. Hundreds of plans: with the usual memory."""
    w.forgetful(w.a, False)
    w.template("diamond", DIAMOND)
    [task] = w.create("diamond")
    w.complete(w.claim())
    for view, in w.rows(w.a, "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'v' AND relnamespace = 'tasker'::regnamespace ORDER BY 1"):
        w.rows(w.a, f"SELECT * FROM {view} LIMIT 5")
    functions = """
        SELECT p.oid::regproc::text, pronargs - pronargdefaults AS needed FROM pg_proc p
        WHERE pronamespace = 'tasker'::regnamespace AND provolatile = 's' AND prokind = 'f'
          AND (pronargs = pronargdefaults OR pronargs - pronargdefaults = 1 AND proargnames[1] = 'task_uuid') ORDER BY 1"""
    for function, needed in w.rows(w.a, functions):
        w.rows(w.a, f"SELECT * FROM {function}({'%s' if needed else ''}) LIMIT 5", *[task] * needed)
    w.work()


def refusals(w):
    """An error in the middle leaves nothing behind that the next call would meet."""
    w.template("diamond", DIAMOND)
    tasks = w.create("diamond", 3)
    refused("P0002", lambda: w.create("unknown"))
    refused("22023", lambda: w.claim(most=-1))
    with w.b.transaction(force_rollback=True):
        w.rows(w.b, "SELECT FROM tasker_engine.steps WHERE task_uuid = ANY (%s) FOR UPDATE", tasks)
        w.a.execute("SET lock_timeout = '50 ms'")
        refused("55P03", lambda: w.one(w.a, "SELECT tasker.cancel_task(%s)", tasks[0]))
        w.a.execute("SET lock_timeout = 0")
    block = """
        DO $$ BEGIN
            FOR i IN 1..3 LOOP
                BEGIN
                    PERFORM FROM tasker.claim_steps('{0}', ARRAY['{0}'], 2);
                    IF i < 3 THEN PERFORM 1/0; END IF;
                EXCEPTION WHEN division_by_zero THEN NULL;
                END;
            END LOOP;
        END $$"""
    w.a.execute(block.replace("{0}", w.namespace))
    w.one(w.a, "SELECT tasker.release_steps(%s)", w.namespace)
    w.until("all is done", lambda: (w.work(), w.states(tasks) == ["complete"])[1])


PATHS = [direct, one_by_one, creation, contended, own_locks, aging, paused, leases, waking, failure, operators, maintenance, metrics, handlers,
         reading, refusals]
# What is walked again beside each thing that an administrator may add.
CORE = [direct, contended, failure, maintenance]


# --- What an administrator may add, and take away again.

TABLES = "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind = 'r' AND relnamespace IN ('tasker'::regnamespace, 'tasker_engine'::regnamespace)"

ADDED = {
    "indexes": ("CREATE INDEX extra_btree ON tasker_engine.steps (state, available_at);"
                "CREATE INDEX extra_brin ON tasker_engine.steps USING brin (state);"
                "CREATE INDEX extra_ready ON tasker_engine.queue_entries (task_uuid);"
                "CREATE INDEX extra_log ON tasker_engine.transitions (to_state);"
                "CREATE INDEX extra_claims ON tasker_engine.claims (lease_expires_at)",
                "DROP INDEX tasker_engine.extra_btree, tasker_engine.extra_brin, tasker_engine.extra_ready, tasker_engine.extra_log,"
                " tasker_engine.extra_claims"),
    "a trigger": ("CREATE TABLE app.seen (id bigint);"
                  "CREATE FUNCTION app.see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
                  " 'BEGIN INSERT INTO app.seen VALUES (NEW.id); RETURN NEW; END';"
                  "CREATE TRIGGER see AFTER INSERT ON tasker_engine.transitions FOR EACH ROW EXECUTE FUNCTION app.see()",
                  "DROP TRIGGER see ON tasker_engine.transitions; DROP FUNCTION app.see; DROP TABLE app.seen"),
    "a publication": ("CREATE PUBLICATION everything FOR ALL TABLES", "DROP PUBLICATION everything"),
    "a column": ("ALTER TABLE {table} ADD COLUMN note text", None),
    "a dropped column": ("ALTER TABLE {table} DROP COLUMN note", None),
}


def add(w, sql):
    if "{table}" not in sql:
        return w.a.execute(sql)
    for table, in w.rows(w.a, TABLES):
        w.a.execute(sql.format(table=table))


def trigger_saw_all(w):
    before = w.one(w.a, "SELECT coalesce(max(id), 0) FROM tasker_engine.transitions")
    direct(w)
    missed = "SELECT count(*) FROM tasker_engine.transitions t WHERE id > %s AND NOT EXISTS (SELECT FROM app.seen s WHERE s.id = t.id)"
    equal(w.one(w.a, missed, before), 0)


# --- Executors beside an operator.


def executors(w):
    """Four executors beside one session that cancels what they are about to start."""
    w.rows(w.a, "SELECT tasker.configure_executor_pool('default', min_executors => 4, max_executors => 4)")
    count = "SELECT count(*) FROM tasker.background_workers WHERE kind = 'executor' AND state <> 'starting'"
    w.until("four executors are at work", lambda: w.one(w.a, count) == 4, 60)
    w.template("sql", {"a": [], "b": ["a"], "c": ["b"]}, calls="sql:app.effect")
    end = time.monotonic() + w.options.race
    while True:
        tasks = w.create("sql", 200)
        for task in tasks:
            w.one(w.b, "SELECT tasker.cancel_task(%s)", task)
        open_ = "SELECT count(*) FROM tasker.tasks WHERE task_uuid = ANY (%s) AND state NOT IN ('complete', 'cancelled')"
        w.until("all have ended", lambda: w.one(w.a, open_, tasks) == 0, 60)
        if time.monotonic() > end:
            break
    w.rows(w.a, "SELECT tasker.configure_executor_pool('default', min_executors => 1, max_executors => 4)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn")
    parser.add_argument("--discard", action="store_true")
    parser.add_argument("--race", type=float, default=2)
    parser.add_argument("--slow", type=float, default=1)
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only", help="some paths, by their names")
    options = parser.parse_args()
    failed = []
    w = World(options)
    w.maintain = lambda: w.rows(w.a, "SELECT * FROM tasker.run_maintenance()")

    def walk(path, when):
        if options.only and path.__name__ not in options.only.split(","):
            return
        w.enter()
        began = time.monotonic()
        w.forgetful(w.a)
        w.forgetful(w.b)
        try:
            path(w)
            print(f"ok      {path.__name__}, {when} ({time.monotonic() - began:.1f} s)", flush=True)
        except (psycopg.Error, AssertionError, ValueError) as error:
            failed.append(f"{path.__name__}, {when}")
            line = traceback.extract_tb(error.__traceback__)[1].lineno
            print(f"FAILED  {path.__name__}, {when} (line {line}): {type(error).__name__}: {error}", flush=True)
            if w.a.broken or w.b.broken:  # the server went down: go on with what can still be seen
                w.until("the server is back", lambda: reconnect(w), 60)
        w.forgetful(w.a, False)

    w.a.execute(HANDLERS)
    for path in PATHS:
        walk(path, "first")
    for path in [] if options.brief else PATHS:
        walk(path, "again")
    for thing, (make, undo) in ({} if options.brief else ADDED).items():
        add(w, make)
        for path in [*CORE, *[trigger_saw_all][:thing == "a trigger"]]:
            walk(path, f"beside {thing}")
        if undo:
            add(w, undo)
    if not options.keep:
        w.a.execute("DROP EXTENSION tasker_ext CASCADE")
        w.a.execute("CREATE EXTENSION tasker_ext")
        w.number += 100
        for path in CORE if options.brief else PATHS:
            walk(path, "after a reinstall")
    if "tasker_ext" in w.one(w.a, "SHOW shared_preload_libraries"):
        walk(executors, "beside cancellations")
    print(f"{len(failed)} failed" + "".join(f"\n  {name}" for name in failed))
    return 1 if failed else 0


def reconnect(w):
    try:
        w.a, w.b = w.connect(), w.connect()
        return True
    except psycopg.OperationalError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
