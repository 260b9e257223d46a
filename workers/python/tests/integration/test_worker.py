"""Failures, leases, signals and wake-ups of worker processes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tasker.connection import channel_name

Start = Callable[..., Any]


def wait_for(condition: Callable[[], bool], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {timeout} s"
        time.sleep(0.02)


# -- outcomes ---------------------------------------------------------------------------------


def test_a_step_gets_context_configuration_and_ancestors(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(namespace, {
        "a": {}, "b": {"after": ["a"]},
        "c": {"handler": "test.echo", "after": ["b"], "config": {"url": "x", "big": 2**70}},
    }, {"n": 1})
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "complete")
    echoed = db.results(task)["c"]
    assert echoed["context"] == {"n": 1} and echoed["config"] == {"url": "x", "big": 2**70}
    assert echoed["ancestors"] == {"a": {"result": 1}, "b": {"result": 1}}
    assert echoed["task"].startswith(f"{namespace}.") and echoed["task"].endswith("@1.0.0")


def test_a_retry_waits_for_retry_after(db: Any, worker: Start, namespace: str) -> None:
    task = db.create(namespace, {"s": {"handler": "test.retry_once"}})
    worker(namespace, "--poll", "0.1")
    wait_for(lambda: db.steps(task)["s"]["state"] == "error")
    failed_at = time.monotonic()
    assert db.results(task)["s"]["error_details"] == {"error_context": {"attempt": 1}}
    db.wait_status(task, "complete")
    assert 0.8 <= time.monotonic() - failed_at <= 5
    assert db.steps(task)["s"]["attempts"] == 2 and db.results(task)["s"] == {"result": 2}


def test_what_a_handler_logs_is_kept_with_the_claim_of_its_run(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.talk"}, "quiet": {}})
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "complete")
    rows = db.rows(
        "SELECT l.attempt, l.line, l.level, l.message, l.fields, l.claim_number, s.name"
        " FROM tasker.step_logs l JOIN tasker.workflow_steps s USING (step_uuid)"
        " WHERE l.task_uuid = %s ORDER BY l.claim_number, l.line", task,
    )
    assert [tuple(row[:4]) for row in rows] == [
        (1, 1, "info", "attempt 1"),
        (1, 2, "error", "password=[FILTERED] is wrong"),
        (2, 1, "info", "attempt 2"),
    ]
    assert rows[0][4] == {"logger": "app.talk", "card": {"token": "[FILTERED]"}}
    assert "ValueError: inner" in rows[1][4]["exception"]
    assert rows[0][5] < rows[2][5] and {row[6] for row in rows} == {"s"}


def test_a_permanent_error_blocks_the_task_at_once(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.permanent"}, "t": {"after": ["s"]}})
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "error")
    step = db.steps(task)["s"]
    assert step["attempts"] == 1
    assert step["results"]["error_class"] == "NEVER" and step["results"]["error_message"] == "never"
    assert any("PermanentError" in line for line in step["results"]["backtrace"])
    context = db.client.get_task_execution_context(task)
    assert context.execution_status == "blocked_by_failures" and context.health_status == "blocked"


def test_a_failure_returned_as_a_value_counts_like_an_exception(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.failure_result"}})
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "error")
    assert db.results(task)["s"]["error_class"] == "BY_VALUE"


def test_a_step_of_another_service_waits_for_it(db: Any, worker: Start, namespace: str) -> None:
    other = db.create(namespace, {"s": {"handler": "test.nowhere"}})
    mine = db.create(namespace, {"s": {}})
    worker(namespace, "--poll", "0.1")
    db.wait_status(mine, "complete")
    step = db.steps(other)["s"]
    assert (step["state"], step["attempts"]) == ("pending", 0)


def test_a_rolling_deploy_with_old_and_new_handlers_fails_no_step(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    """1,000 steps, half of them for a handler that only the new version has."""
    for version, names in (("old", ["both"]), ("new", ["both", "new"])):
        (tmp_path / f"{version}_handlers.py").write_text("".join(
            f"from tasker import step_handler\n"
            f"step_handler('deploy.{name}')(lambda task, sequence, step: '{version}')\n"
            for name in names
        ))
    tasks = [
        db.create(namespace, {
            f"s{n}": {"handler": f"deploy.{'new' if n % 2 else 'both'}"} for n in range(100)
        }) for _ in range(10)
    ]
    for version in ("old", "new"):
        worker(namespace, "--poll", "0.1", handlers=[f"{version}_handlers"], path=tmp_path)
    for task in tasks:
        db.wait_status(task, "complete", 120)
        steps = db.steps(task).values()
        assert {(step["state"], step["attempts"]) for step in steps} == {("complete", 1)}


def test_hooks_of_a_task_handler_are_called(db: Any, worker: Start, tmp_path: Path) -> None:
    namespace = "integration_hooks"
    try:
        db.rows("SELECT tasker.export_template('hooked', %s, '1.0.0')", namespace)
    except psycopg.errors.NoDataFound:
        db.register({
            "name": "hooked", "namespace_name": namespace, "version": "1.0.0",
            "steps": [
                {"name": "a", "handler": {"callable": "test.quick"}},
                {"name": "b", "handler": {"callable": "test.quick"}, "depends_on_steps": ["a"]},
            ],
        })
    task = db.client.create_task("hooked", {"directory": str(tmp_path)}, namespace=namespace)
    worker(namespace, "--poll", "0.1")
    db.wait_status(task, "complete")
    wait_for((tmp_path / "annotated").exists)
    wait_for(lambda: (tmp_path / "annotated").read_text() == "complete")
    assert (tmp_path / "established").read_text() == "a,b"


# -- leases -----------------------------------------------------------------------------------


def test_a_killed_workers_step_is_taken_over_after_its_lease(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.hold"}}, {"directory": str(tmp_path)})
    first = worker(namespace, "--lease", "1", "--poll", "0.1")
    wait_for((tmp_path / "s.started").exists)
    first.kill()
    (tmp_path / "go").touch()
    worker(namespace, "--lease", "1", "--poll", "0.1")
    db.wait_status(task, "complete", 15)
    step = db.steps(task)["s"]
    assert (step["attempts"], step["claim_number"]) == (2, 2)


def test_a_step_longer_than_its_lease_is_kept_by_heartbeats(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.sleep"}}, {"seconds": 3.5})
    worker(namespace, "--lease", "1", "--poll", "0.1")
    wait_for(lambda: db.steps(task)["s"]["state"] == "in_progress")
    worker(namespace, "--lease", "1", "--poll", "0.1")  # would take it over
    db.wait_status(task, "complete", 15)
    step = db.steps(task)["s"]
    assert (step["attempts"], step["claim_number"]) == (1, 1)


def test_a_running_step_is_told_of_its_cancellation(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    task = db.create(
        namespace, {"s": {"handler": "test.until_cancelled"}}, {"directory": str(tmp_path)}
    )
    process = worker(namespace, "--lease", "1", "--poll", "0.1")
    wait_for((tmp_path / "s.started").exists)
    assert db.client.cancel_task(task, "test") == "cancelled"
    wait_for((tmp_path / "cancelled").exists, 5)
    wait_for(lambda: "was refused: stale" in process.log.read_text(), 5)
    assert db.steps(task)["s"]["state"] == "cancelled"


# -- signals ----------------------------------------------------------------------------------


def test_sigterm_reports_what_finishes_and_gives_back_the_rest(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    held = db.create(namespace, {"held": {"handler": "test.hold"}}, {"directory": str(tmp_path)})
    process = worker(namespace, "--threads", "1", "--batch", "2", "--poll", "0.1")
    wait_for((tmp_path / "held.started").exists)
    waiting = db.create(namespace, {"waiting": {}})
    wait_for(lambda: db.steps(waiting)["waiting"]["state"] == "in_progress")
    process.terminate()
    time.sleep(0.3)
    (tmp_path / "go").touch()
    assert process.wait() == 0
    assert db.status(held) == "complete"
    step = db.steps(waiting)["waiting"]
    assert (step["state"], step["attempts"]) == ("pending", 0)


def test_sigterm_releases_what_outlasts_the_grace_time(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.hold"}}, {"directory": str(tmp_path)})
    process = worker(namespace, "--grace", "0.2", "--poll", "0.1")
    wait_for((tmp_path / "s.started").exists)
    began = time.monotonic()
    process.terminate()
    assert process.wait() == 0
    assert time.monotonic() - began < 5
    step = db.steps(task)["s"]
    assert (step["state"], step["attempts"]) == ("pending", 0)


def test_a_second_signal_gives_back_what_is_held_and_ends(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    task = db.create(namespace, {"s": {"handler": "test.hold"}}, {"directory": str(tmp_path)})
    process = worker(namespace, "--grace", "600", "--poll", "0.1")
    wait_for((tmp_path / "s.started").exists)
    process.terminate()
    wait_for(lambda: "Stopping" in process.log.read_text())
    process.terminate()
    assert process.wait(60) == 0
    step = db.steps(task)["s"]
    assert (step["state"], step["attempts"]) == ("pending", 0)


# -- waking up --------------------------------------------------------------------------------


def test_new_work_wakes_an_idle_worker_long_before_its_poll(
    db: Any, worker: Start, namespace: str
) -> None:
    first = db.create(namespace, {"s": {}})
    process = worker(namespace, "--poll", "60")
    process.wait_ready()
    db.wait_status(first, "complete")
    for _ in range(3):
        time.sleep(0.5)  # idle, and registered as such
        task = db.create(namespace, {"s": {}})
        db.wait_status(task, "complete", 5)


def test_a_worker_without_listen_polls(db: Any, worker: Start, namespace: str) -> None:
    process = worker(namespace, "--poll", "0.2", "--no-listen")
    process.wait_ready()
    db.wait_status(db.create(namespace, {"s": {}}), "complete", 5)


def test_the_listening_channel_is_the_namespaces(db: Any, worker: Start, namespace: str) -> None:
    process = worker(namespace, "--poll", "60")
    process.wait_ready()
    task = db.create(namespace, {"s": {}})
    time.sleep(0.3)
    db.rows("SELECT pg_notify(%s, '')", channel_name(namespace))
    db.wait_status(task, "complete", 5)


# -- troubles of the server -------------------------------------------------------------------


def test_a_worker_survives_the_end_of_its_backends(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    name = f"victim_{namespace}"
    task = db.create(namespace, {
        "s": {"handler": "test.hold"}, "t": {"after": ["s"]},
    }, {"directory": str(tmp_path)})
    worker(namespace, "--poll", "0.1", dsn=make_conninfo(db.dsn, application_name=name))
    wait_for((tmp_path / "s.started").exists)
    killed = db.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", name
    )
    assert len(killed) >= 1
    (tmp_path / "go").touch()
    db.wait_status(task, "complete")
    assert [s["attempts"] for s in db.steps(task).values()] == [1, 1]


def test_a_worker_survives_a_restart_of_the_server(
    db: Any, worker: Start, namespace: str, tmp_path: Path
) -> None:
    restart = os.environ.get("TASKER_TEST_RESTART")
    if not restart:
        pytest.skip("TASKER_TEST_RESTART holds no command that restarts the server")
    task = db.create(namespace, {
        "s": {"handler": "test.hold"}, "t": {"after": ["s"]},
    }, {"directory": str(tmp_path)})
    process = worker(namespace, "--poll", "0.1")
    wait_for((tmp_path / "s.started").exists)
    subprocess.run(restart, shell=True, check=True, timeout=60, stdout=subprocess.DEVNULL)
    (tmp_path / "go").touch()
    db.wait_status(task, "complete", 60)
    assert [s["attempts"] for s in db.steps(task).values()] == [1, 1]
    process.terminate()
    assert process.wait() == 0


def test_two_workers_share_many_tasks_and_run_every_step_once(
    db: Any, worker: Start
) -> None:
    namespace, name = db.register_example("diamond")
    tasks = db.client.create_tasks(name, [{"even_number": 4}] * 60, namespace=namespace)
    assert len(set(tasks)) == 60
    for _ in range(2):
        worker(namespace, "--poll", "0.1", "--batch", "7", "--threads", "3")
    for task in tasks:
        db.wait_status(task, "complete", 40)
        steps = db.steps(task)
        assert steps["diamond_end"]["results"] == {"result": 4294967296}
        assert {step["attempts"] for step in steps.values()} == {1}


# -- what cannot start ------------------------------------------------------------------------


def test_a_database_without_the_extension_is_named(db: Any, worker: Start) -> None:
    name = f"tasker_none_{os.getpid()}"
    try:
        db.rows(f"CREATE DATABASE {name} TEMPLATE template0")
    except psycopg.errors.InsufficientPrivilege:
        pytest.skip("the role cannot create a database")
    except psycopg.ProgrammingError:
        pass  # created; there are no rows to fetch
    try:
        process = worker("default", dsn=make_conninfo(db.dsn, dbname=name))
        assert process.wait() == 1
        assert "CREATE EXTENSION tasker_ext" in process.log.read_text()
        assert "Traceback" not in process.log.read_text()
    finally:
        db.connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_role_without_the_privilege_is_named(db: Any, worker: Start) -> None:
    role = f"tasker_stranger_{os.getpid()}"
    try:
        db.connection.execute(f"CREATE ROLE {role}")
    except psycopg.errors.InsufficientPrivilege:
        pytest.skip("the role cannot create a role")
    try:
        process = worker("default", dsn=make_conninfo(db.dsn, options=f"-c role={role}"))
        assert process.wait() == 1
        assert f"GRANT tasker_worker TO {role}" in process.log.read_text()
    finally:
        db.connection.execute(f"DROP ROLE {role}")


# -- what it can run --------------------------------------------------------------------------


def test_a_worker_announces_its_handlers_while_it_runs(
    db: Any, worker: Start, namespace: str
) -> None:
    db.create(namespace, {"a": {"handler": "test.echo"}, "b": {"handler": "test.missing"}})
    missing = "SELECT step_name FROM tasker.unannounced_handlers WHERE namespace_name = %s"
    assert sorted(db.rows(missing, namespace)) == [("a",), ("b",)]
    process = worker(namespace, "--poll", "0.1")
    wait_for(lambda: db.rows(missing, namespace) == [("b",)])
    plugins = "SELECT plugin, plugin_version FROM tasker.worker_handlers WHERE handler = %s AND live"
    # A module that no installed package brings stands for itself.
    assert [name for name, version in db.rows(plugins, "test.echo")] != [None]
    process.terminate()
    assert process.wait() == 0
    assert sorted(db.rows(missing, namespace)) == [("a",), ("b",)]


def test_a_worker_finishes_what_it_holds_while_the_system_drains(
    db: Any, worker: Start, namespace: str
) -> None:
    task = db.create(
        namespace, {"a": {"handler": "test.sleep"}, "b": {"after": ["a"]}}, {"seconds": 1.5}
    )
    started = worker(namespace, "--poll", "0.1", "--lease", "1")
    wait_for(lambda: db.steps(task)["a"]["state"] == "in_progress")
    db.rows("SELECT tasker.set_operational_state('graceful_shutdown', 'test')")
    try:
        wait_for(lambda: db.steps(task)["a"]["state"] == "complete")
        wait_for(lambda: "hands out no work" in started.log.read_text())
        time.sleep(0.5)
        assert db.steps(task)["b"]["state"] == "pending"
    finally:
        db.rows("SELECT tasker.set_operational_state('normal', force => true)")
    db.wait_status(task, "complete")
    log = started.log.read_text()
    assert "ERROR" not in log and "refused" not in log and "Heartbeat failed" not in log
