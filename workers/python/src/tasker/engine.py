"""The SQL functions of the engine, typed: the one place of the worker that talks SQL."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import dict_row

from . import json_codec
from .connection import check_extension, one_line, open_connection
from .errors import ValueNotReadable
from .models import Step, StepStatus, Task
from .plugins import Plugin
from .reports import REFUSALS, Report, encode_batch
from .settings import WorkerSettings

_SECONDS = "pg_catalog.make_interval(secs => %s::pg_catalog.float8)"
"""An interval: its text would depend on the session's settings."""

_ABOUT = '{"sdk": "tasker-worker", "language": "python"}'
"""What an announcement says about this worker."""


@dataclass(frozen=True)
class ClaimedStep:
    """A step that this worker holds, with what its handler needs."""

    task: Task
    step: Step
    parents: dict[str, dict[str, Any]]
    """Step name -> results of the direct parents; empty for a root step."""
    worker_id: str
    fault: Exception | None = None
    """Why a value of it could not be read; it fails with this instead of being run."""
    begun: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    """Set when its handler is about to be called."""

    @property
    def key(self) -> tuple[UUID, int]:
        """(step_uuid, claim_number): one run of one step."""
        return (self.step.uuid, self.step.claim_number)


@dataclass(frozen=True)
class Refusal:
    """A report that changed nothing, and why: duplicate, stale, unknown_step or invalid."""

    step_uuid: UUID | None
    outcome: str


DRAINING = "draining"
"""Outcome and status by which the engine says that it hands out nothing for now."""


class Session(Protocol):
    """One conversation with the engine. Methods raise ``psycopg.Error``."""

    draining: bool
    """Whether the engine said at the last claim that it hands out nothing for now."""

    @property
    def connection(self) -> psycopg.Connection[Any] | None:
        """The connection below, where there is one."""

    def report_and_claim(
        self, worker_id: str, reports: list[Report], max_steps: int,
        handlers: list[str], begun: list[UUID],
    ) -> tuple[list[ClaimedStep], list[Refusal]]:
        """Report and claim up to ``max_steps`` (at least 1) in one transaction.

        Only steps of these ``handlers`` come. ``begun``: held steps whose handlers were called since
        this was last said.
        """

    def report_steps(self, worker_id: str, reports: list[Report]) -> list[Refusal]:
        """Report without claiming; returns only what was refused."""

    def why_invalid(self, report: Report) -> str | None:
        """Report a success that was refused as invalid alone; the reason, or ``None`` if it counts."""

    def heartbeat(self, worker_id: str, begun: list[UUID]) -> list[tuple[UUID, str]]:
        """Extend all leases; (step_uuid, extended | locked | cancelled | lost) for each.

        ``locked``: another transaction holds the lease, which is not extended this time.
        ``begun`` as in :meth:`report_and_claim`.
        """

    def end_worker(self, worker_id: str) -> int:
        """The id is used no more: give back what is not finished; returns how many steps."""

    def register_handlers(self, worker_id: str, handlers: list[str], plugin: Plugin) -> None:
        """Announce what this worker can run, in the namespaces that it claims from."""

    def unregister_handlers(self, worker_id: str) -> None:
        """Take back what was announced."""

    def get_dependency_results(self, step_uuid: UUID) -> dict[str, dict[str, Any]]:
        """Step name -> results of all ancestors."""

    def step_statuses(self, task_uuid: UUID) -> list[StepStatus]:
        """All steps of a task."""

    def execution_status(self, task_uuid: UUID) -> str | None:
        """The task's execution status, ``None`` when the task is unknown."""

    def close(self) -> None:
        """End the conversation; never raises."""


class PostgresSession:
    """The engine behind a PostgreSQL connection, used by one thread at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Connect; raises ``psycopg.Error``."""
        self._settings = settings
        self.draining = False
        self._lease = settings.lease
        self._namespaces = list(settings.namespaces)
        self._queues = None if settings.queues is None else list(settings.queues)
        self._connection = open_connection(settings.dsn)
        self._cursor = self._connection.cursor(row_factory=dict_row)
        # Documents are read row by row: one that cannot be read is the fault of its step alone.
        self._cursor.adapters.register_loader("jsonb", _RawLoader)

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection of this session."""
        return self._connection

    def check(self) -> None:
        """Raise ``ConfigurationError`` when the extension or the privilege is missing."""
        check_extension(self._connection)

    def report_and_claim(
        self, worker_id: str, reports: list[Report], max_steps: int,
        handlers: list[str], begun: list[UUID],
    ) -> tuple[list[ClaimedStep], list[Refusal]]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT outcome, step_uuid, task_uuid, claim_number, attempt, retry_limit, namespace,"
            " queue, task_name, version, step_name, handler, handler_config, context,"
            " dependency_results, correlation_id, traceparent, tracestate,"
            " extract(epoch FROM lease_expires_at) AS lease_ends"
            " FROM tasker.report_and_claim(worker_id => %s, reports => %s::pg_catalog.jsonb,"
            " namespaces => %s::pg_catalog.text[], max_steps => %s::pg_catalog.int4,"
            f" lease => {_SECONDS}, dependency_results => 'parents',"
            " queues => %s::pg_catalog.text[], handlers => %s::pg_catalog.text[],"
            " begun => %s::pg_catalog.uuid[])",
            worker_id, encode_batch(reports), self._namespaces, max_steps, self._lease,
            self._queues, handlers, begun or None,
        )
        claimed = [_claimed_step(row, worker_id) for row in rows if row["outcome"] == "claimed"]
        self.draining = any(row["outcome"] == DRAINING for row in rows)
        # Outcomes that this version does not know concern no report of its own.
        return claimed, [_refusal(row) for row in rows if row["outcome"] in REFUSALS]

    def report_steps(self, worker_id: str, reports: list[Report]) -> list[Refusal]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT * FROM tasker.report_steps(worker_id => %s, reports => %s::pg_catalog.jsonb)",
            worker_id, encode_batch(reports),
        )
        return [_refusal(row) for row in rows if row["outcome"] in REFUSALS]

    def why_invalid(self, report: Report) -> str | None:
        """See :class:`Session`."""
        try:
            self._rows(
                "SELECT tasker.complete_step(step_uuid => %s, claim_number => %s,"
                " results => %s::pg_catalog.jsonb OPERATOR(pg_catalog.->) 'results')",
                report.step_uuid, report.claim_number, report.payload,
            )
        except psycopg.errors.CheckViolation as error:
            return error.diag.message_primary or one_line(error)
        return None

    def heartbeat(self, worker_id: str, begun: list[UUID]) -> list[tuple[UUID, str]]:
        """See :class:`Session`."""
        rows = self._rows(
            f"SELECT * FROM tasker.heartbeat(worker_id => %s, lease => {_SECONDS},"
            " begun => %s::pg_catalog.uuid[])",
            worker_id, self._lease, begun or None,
        )
        # A row without a step tells of the whole engine, as every claim does.
        return [(row["step_uuid"], row["status"]) for row in rows if row["step_uuid"] is not None]

    def end_worker(self, worker_id: str) -> int:
        """See :class:`Session`."""
        rows = self._rows("SELECT tasker.end_worker(worker_id => %s) AS released", worker_id)
        return int(rows[0]["released"])

    def register_handlers(self, worker_id: str, handlers: list[str], plugin: Plugin) -> None:
        """See :class:`Session`."""
        self._rows(
            "SELECT tasker.register_handlers(worker_id => %s, handlers => %s::pg_catalog.text[],"
            " namespaces => %s::pg_catalog.text[], plugin => %s, plugin_version => %s,"
            " metadata => %s::pg_catalog.jsonb)",
            worker_id, handlers, self._namespaces, plugin.name, plugin.version, _ABOUT,
        )

    def unregister_handlers(self, worker_id: str) -> None:
        """See :class:`Session`."""
        self._rows("SELECT tasker.unregister_handlers(worker_id => %s)", worker_id)

    def get_dependency_results(self, step_uuid: UUID) -> dict[str, dict[str, Any]]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT tasker.get_dependency_results(step_uuid => %s) AS results", step_uuid
        )
        results: dict[str, dict[str, Any]] = _document(rows[0], "results")
        return results

    def step_statuses(self, task_uuid: UUID) -> list[StepStatus]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT * FROM tasker.get_step_readiness_status(task_uuid => %s)", task_uuid
        )
        return [
            StepStatus(
                uuid=row["step_uuid"],
                name=row["name"],
                state=row["current_state"],
                ready=row["ready_for_execution"],
                attempts=row["attempts"],
                retry_limit=row["retry_limit"],
                total_parents=row["total_parents"],
                completed_parents=row["completed_parents"],
            )
            for row in rows
        ]

    def execution_status(self, task_uuid: UUID) -> str | None:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT execution_status FROM tasker.get_task_execution_context(task_uuid => %s)",
            task_uuid,
        )
        return rows[0]["execution_status"] if rows else None

    def close(self) -> None:
        """See :class:`Session`."""
        try:
            self._connection.close()
        except psycopg.Error:
            pass

    def _rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        query = statement.encode()  # psycopg asks for a literal or bytes; all are constants here
        return self._cursor.execute(query, parameters, prepare=True).fetchall()


class _RawLoader(Loader):
    """Leaves a document as the bytes of its text."""

    def load(self, data: Buffer) -> bytes:
        """A copy of the bytes."""
        return bytes(data)


def _document(row: dict[str, Any], column: str) -> Any:
    """The value of a jsonb column; NULL is an empty object. Raises :class:`ValueNotReadable`."""
    text = row[column]
    try:
        return {} if text is None else json_codec.loads(text)
    except Exception as error:  # too deep for the interpreter, for instance
        raise ValueNotReadable(
            f"{column} of the step cannot be read, {len(text):,} bytes: "
            f"{type(error).__name__}: {error}"
        ) from error


def _claimed_step(row: dict[str, Any], worker_id: str) -> ClaimedStep:
    documents: dict[str, Any] = {"context": {}, "handler_config": {}, "dependency_results": {}}
    fault: Exception | None = None
    try:
        documents = {column: _document(row, column) for column in documents}
    except ValueNotReadable as error:
        fault = error
    task = Task(
        uuid=row["task_uuid"],
        namespace=row["namespace"],
        name=row["task_name"],
        version=row["version"],
        context=documents["context"],
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
        tracestate=row["tracestate"],
    )
    step = Step(
        uuid=row["step_uuid"],
        task_uuid=row["task_uuid"],
        name=row["step_name"],
        handler=row["handler"],
        claim_number=row["claim_number"],
        attempt=row["attempt"],
        retry_limit=row["retry_limit"],
        handler_config=documents["handler_config"],
        queue=row["queue"],
        lease_expires_at=datetime.fromtimestamp(float(row["lease_ends"]), timezone.utc),
    )
    return ClaimedStep(task, step, documents["dependency_results"], worker_id, fault)


def _refusal(row: dict[str, Any]) -> Refusal:
    return Refusal(row["step_uuid"], row["outcome"])
