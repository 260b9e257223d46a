"""A real server with tasker_ext, named by TASKER_TEST_DSN, and workers as processes.

The role of the DSN must be able to register templates, create tasks and work them (a superuser or
the extension's owner, say). Every test uses a namespace of its own, apart from the five examples.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import yaml
from examples_support import TEMPLATES

from tasker import Client
from tasker.connection import open_connection

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def dsn() -> str:
    given = os.environ.get("TASKER_TEST_DSN")
    if not given:
        pytest.skip("TASKER_TEST_DSN names no server with tasker_ext")
    return given


@pytest.fixture
def db(dsn: str) -> Iterator[Database]:
    database = Database(dsn)
    yield database
    database.connection.close()


@pytest.fixture
def namespace() -> str:
    return f"it_{secrets.token_hex(6)}"


@pytest.fixture
def worker(dsn: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start ``python -m tasker`` with the integration handlers; killed after the test."""
    started: list[Worker] = []

    def start(
        namespace: str, *options: str, dsn: str = dsn,
        handlers: Sequence[str] = ("integration_handlers", "tasker_examples.workflows"),
        path: Path = HERE,
    ) -> Worker:
        log = tmp_path / f"worker-{len(started)}.log"
        given = [word for name in handlers for word in ("--handlers", name)]
        started.append(Worker(dsn, namespace, log, (*given, *options), path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        print(f"--- {process.log.name}\n{process.log.read_text()}")


class Worker:
    """A worker process."""

    def __init__(
        self, dsn: str, namespace: str, log: Path, options: tuple[str, ...], folder: Path
    ) -> None:
        self.log = log
        path = [PACKAGE / "src", PACKAGE / "examples", folder]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tasker", "--dsn", dsn, "--namespace", namespace,
                 *options],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
                stdout=output, stderr=subprocess.STDOUT,
            )

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = 20) -> int:
        return self.process.wait(timeout)

    def wait_ready(self) -> None:
        """Until the worker has said that it serves."""
        wait_for(lambda: "serves" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()


class Database:
    """What a test asks of the server; survives a restart."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = open_connection(dsn)

    @property
    def client(self) -> Client:
        return Client(self.connection)

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        try:
            return self.connection.execute(query.encode(), parameters).fetchall()
        except psycopg.OperationalError:
            self.connection.close()
            self.connection = open_connection(self.dsn)
            return self.connection.execute(query.encode(), parameters).fetchall()

    def register(self, template: str | dict[str, Any]) -> None:
        text = template if isinstance(template, str) else json.dumps(template)
        self.rows("SELECT tasker.register_template(%s)", text)

    def register_example(self, name: str) -> tuple[str, str]:
        """(namespace, task name) of an example, registered from its YAML unless it is there."""
        text = (TEMPLATES / f"{name}.yaml").read_text()
        template = yaml.safe_load(text)
        key = (template["name"], template["namespace_name"], template["version"])
        try:
            self.rows("SELECT tasker.export_template(%s, %s, %s)", *key)
        except psycopg.errors.NoDataFound:
            self.register(text)
        return template["namespace_name"], template["name"]

    def create(
        self, namespace: str, steps: dict[str, dict[str, Any]], context: dict[str, Any] | None = None
    ) -> UUID:
        """Register a template of ``steps`` (name -> {handler, after, limit, config}), create one."""
        name = f"t_{secrets.token_hex(4)}"
        self.register({
            "name": name, "namespace_name": namespace, "version": "1.0.0",
            "steps": [
                {
                    "name": step,
                    "handler": {"callable": spec.get("handler", "test.quick"),
                                "initialization": spec.get("config", {})},
                    "depends_on_steps": spec.get("after", []),
                    "default_retry_limit": spec.get("limit", 3),
                }
                for step, spec in steps.items()
            ],
        })
        return self.client.create_task(name, context or {}, namespace=namespace)

    def steps(self, task: UUID) -> dict[str, dict[str, Any]]:
        """Step name -> state, results, attempts, claim_number."""
        columns = ("name", "state", "results", "attempts", "claim_number")
        rows = self.rows(
            f"SELECT {', '.join(columns)} FROM tasker.workflow_steps"
            " WHERE task_uuid = %s ORDER BY step_no", task,
        )
        return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}

    def status(self, task: UUID) -> str:
        rows = self.rows("SELECT status FROM tasker.get_task_execution_context(%s)", task)
        return str(rows[0][0])

    def wait_status(self, task: UUID, status: str, timeout: float = 20) -> None:
        wait_for(lambda: self.status(task) == status, timeout,
                 lambda: f"task is {self.status(task)}: {self.steps(task)}")

    def wait_until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        wait_for(condition, timeout)

    def results(self, task: UUID) -> dict[str, Any]:
        return {name: step["results"] for name, step in self.steps(task).items()}


def wait_for(
    condition: Callable[[], bool], timeout: float = 20, explain: Callable[[], str] = lambda: ""
) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"timed out after {timeout} s {explain()}")
        time.sleep(0.02)
