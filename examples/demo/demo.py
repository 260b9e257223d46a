"""Drives the demo: registers the templates, starts two workers, creates two tasks and shows what happens to them.

All it does with the engine is SQL that a person could type into psql; `run` beside this file gives it a server.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

HERE = Path(__file__).resolve().parent
WORKERS = 2
TIME_LIMIT = 60.0  # seconds; the whole thing takes about one
COLORS = {"complete": "32", "in_progress": "33", "error": "31", "cancelled": "31", "pending": "36"}
FINAL = {"complete", "error", "cancelled", "resolved_manually"}


@dataclass(frozen=True)
class Workflow:
    """A task to create, and the results that must come out of it."""

    namespace: str
    name: str
    context: dict[str, Any]
    expected: dict[str, dict[str, Any]]
    """Step name -> some of its results."""


def workflows() -> list[Workflow]:
    """An order that is fulfilled and a chain of calculations."""
    order = json.loads((HERE / "order.json").read_text())
    return [
        Workflow("fulfillment", "process_order", order, {
            "validate_order": {"order_total": 209.97},
            "reserve_inventory": {"items_reserved": 2},
            "process_payment": {"gateway_fee": 6.09},
            "ship_order": {"shipping_cost": 16.25},
        }),
        Workflow("linear_workflow", "mathematical_sequence", {"even_number": 6}, {"linear_step_4": {"result": 2821109907456}}),
    ]


class Failure(Exception):
    """The demo cannot go on; the message is for the person at the terminal."""


def say(text: str = "") -> None:
    print(text, flush=True)


def paint(state: str) -> str:
    return f"\033[{COLORS[state]}m{state}\033[0m" if sys.stdout.isatty() and state in COLORS else state


def register_templates(db: psycopg.Connection[Any], folder: Path) -> None:
    files = sorted(folder.glob("*.yaml"))
    for file in files:
        try:
            db.execute("SELECT tasker.register_template(%s)", [file.read_text()])
        except psycopg.Error as error:
            raise Failure(f"{file.name}: {error}") from error
    say(f"registered {len(files)} templates: {', '.join(file.stem for file in files)}")


@contextmanager
def running_workers(dsn: str, namespaces: list[str], logs: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Worker processes that end with the block: politely, then not."""
    command = [sys.executable, "-m", "tasker", "--dsn", dsn, "--handlers", "tasker_examples.workflows"]
    for namespace in namespaces:
        command += ["--namespace", namespace]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(1, WORKERS + 1):
            with (logs / f"worker-{number}.log").open("wb") as log:
                workers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        say(f"started {WORKERS} Python workers: {', '.join(f'pid {worker.pid}' for worker in workers)}")
        yield workers
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@contextmanager
def running_exporter(tasker: str, dsn: str, log: Path) -> Iterator[str]:
    """The address of `tasker exporter`, which listens on a free port until the block ends."""
    with log.open("wb") as file:
        exporter = subprocess.Popen([tasker, "exporter", "--dsn", dsn, "--listen", "127.0.0.1:0", "--log-format", "json"],
                                    stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + TIME_LIMIT
        while not (started := [entry for entry in map(json.loads, log.read_text().splitlines()) if entry["message"] == "listens"]):
            if exporter.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"tasker exporter does not start: {log.read_text()}")
            time.sleep(0.02)
        yield started[0]["address"]
    finally:
        exporter.terminate()
        exporter.wait()


def show_http(address: str) -> None:
    """What a load balancer and Prometheus get."""
    say(f"\n=== tasker exporter at http://{address} ===")
    # A proxy of the environment has no way to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(path: str) -> str:
        try:
            with opener.open(f"http://{address}{path}", timeout=10) as response:
                return response.read().decode().strip()
        except urllib.error.HTTPError as error:  # a status code like 503
            return error.read().decode().strip()

    # The background processes of the server need a moment to start.
    deadline = time.monotonic() + TIME_LIMIT
    while not json.loads(ready := get("/health/ready"))["ready"]:
        if time.monotonic() > deadline:
            raise Failure(f"not ready: {ready}")
        time.sleep(0.1)
    say(f"GET /health/ready\n{ready}")
    say("\nGET /metrics, some lines")
    wanted = ("tasker_tasks_completed_total ", "tasker_steps_completed_total ", "tasker_step_run_seconds_count", "tasker_up ")
    lines = [line for line in get("/metrics").splitlines() if line.startswith(wanted)]
    say("\n".join(lines))
    if "tasker_up 1" not in lines or len(lines) < len(wanted):
        raise Failure("/metrics lacks a series")


def create_tasks(db: psycopg.Connection[Any]) -> dict[str, Workflow]:
    """task_uuid -> its workflow."""
    tasks = {}
    for workflow in workflows():
        row = db.execute(
            "SELECT tasker.create_task(%s, %s::jsonb, %s, initiator => 'demo')::text",
            [workflow.name, json.dumps(workflow.context), workflow.namespace],
        ).fetchone()
        assert row is not None
        tasks[row[0]] = workflow
        say(f"created task {workflow.namespace}.{workflow.name}: {row[0]}")
    return tasks


TRANSITIONS = """
    SELECT t.created_at, s.task_uuid::text, s.name, t.to_state
      FROM tasker.workflow_steps s
      JOIN tasker.workflow_step_transitions t ON t.step_uuid = s.step_uuid
     WHERE s.task_uuid = ANY (%(tasks)s::uuid[])
     UNION ALL
    SELECT t.created_at, t.task_uuid::text, '', t.to_state
      FROM tasker.task_transitions t
     WHERE t.task_uuid = ANY (%(tasks)s::uuid[])
     ORDER BY created_at
"""


def follow(db: psycopg.Connection[Any], tasks: dict[str, Workflow], workers: list[subprocess.Popen[bytes]]) -> None:
    """One line per change of state, as it happens, until both tasks have ended."""
    say()
    seen: set[Any] = set()
    states = dict.fromkeys(tasks, "")
    start = None
    deadline = time.monotonic() + TIME_LIMIT
    while True:
        for row in db.execute(TRANSITIONS, {"tasks": list(tasks)}).fetchall():
            if row in seen:
                continue
            seen.add(row)
            at, task, step, state = row
            start = start or at
            if not step:
                states[task] = state
            say(f"{(at - start).total_seconds():8.3f} s  {tasks[task].name:<22} {step or '(task)':<18} {paint(state)}")
        if FINAL.issuperset(states.values()):
            return
        if dead := [worker for worker in workers if worker.poll() is not None]:
            raise Failure(f"a worker ended by itself (exit {dead[0].returncode})")
        if time.monotonic() > deadline:
            raise Failure(f"the tasks did not end within {TIME_LIMIT:.0f} seconds")
        time.sleep(0.02)


def show(dsn: str, psql: str, task: str, workflow: Workflow) -> None:
    """What anyone can read of a task with psql, the statements included."""
    say(f"\n=== {workflow.namespace}.{workflow.name} ===")
    subprocess.run([psql, dsn, "-X", "-q", "--echo-queries", "-v", "ON_ERROR_STOP=1", "-v", f"task_uuid={task}", "-f", str(HERE / "report.sql")], check=True)


def check(db: psycopg.Connection[Any], task: str, workflow: Workflow) -> None:
    rows = db.execute("SELECT name, state, results FROM tasker.workflow_steps WHERE task_uuid = %s", [task]).fetchall()
    for name, state, results in rows:
        if state != "complete":
            raise Failure(f"{workflow.name}: step {name} is {state}, not complete: {results}")
        for key, value in workflow.expected.get(name, {}).items():
            if results.get(key) != value:
                raise Failure(f"{workflow.name}: {name} returned {key} = {results.get(key)!r}, not {value!r}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--templates", required=True, type=Path)
    parser.add_argument("--logs", required=True, type=Path)
    parser.add_argument("--psql", required=True)
    parser.add_argument("--tasker", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with psycopg.connect(arguments.dsn, autocommit=True) as db:
        db.execute("CREATE EXTENSION tasker_ext")
        register_templates(db, arguments.templates)
        namespaces = list(dict.fromkeys(workflow.namespace for workflow in workflows()))
        with running_workers(arguments.dsn, namespaces, arguments.logs) as workers:
            tasks = create_tasks(db)
            follow(db, tasks, workers)
        for task, workflow in tasks.items():
            show(arguments.dsn, arguments.psql, task, workflow)
        with running_exporter(arguments.tasker, arguments.dsn, arguments.logs / "exporter.log") as address:
            show_http(address)
        for task, workflow in tasks.items():
            check(db, task, workflow)
    say("\nBoth tasks are complete and every result is as expected. The server is stopped and removed now.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, psycopg.Error, subprocess.CalledProcessError) as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
