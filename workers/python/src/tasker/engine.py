"""The SQL functions of the engine, typed: the one place of the worker that talks SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from .connection import check_extension, open_connection
from .models import Step, StepStatus, Task
from .plugins import Plugin
from .reports import REFUSALS, Report, encode_batch
from .settings import WorkerSettings

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
        self, worker_id: str, reports: list[Report], max_steps: int
    ) -> tuple[list[ClaimedStep], list[Refusal]]:
        """Report and claim up to ``max_steps`` (at least 1) in one transaction."""

    def report_steps(self, worker_id: str, reports: list[Report]) -> list[Refusal]:
        """Report without claiming; returns only what was refused."""

    def heartbeat(self, worker_id: str) -> list[tuple[UUID, str]]:
        """Extend all leases; (step_uuid, extended | cancelled | lost) for each."""

    def release_steps(self, worker_id: str) -> int:
        """Give back what is not finished; returns how many steps."""

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
        self._lease = timedelta(seconds=settings.lease)
        self._namespaces = list(settings.namespaces)
        self._queues = None if settings.queues is None else list(settings.queues)
        self._connection = open_connection(settings.dsn)
        self._cursor = self._connection.cursor(row_factory=dict_row)

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection of this session."""
        return self._connection

    def check(self) -> None:
        """Raise ``ConfigurationError`` when the extension or the privilege is missing."""
        check_extension(self._connection)

    def report_and_claim(
        self, worker_id: str, reports: list[Report], max_steps: int
    ) -> tuple[list[ClaimedStep], list[Refusal]]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT * FROM tasker.report_and_claim(worker_id => %s, reports => %s::jsonb,"
            " namespaces => %s::text[], max_steps => %s::integer, lease => %s::interval,"
            " dependency_results => 'parents', queues => %s::text[])",
            worker_id, encode_batch(reports), self._namespaces, max_steps, self._lease,
            self._queues,
        )
        claimed = [_claimed_step(row, worker_id) for row in rows if row["outcome"] == "claimed"]
        self.draining = any(row["outcome"] == DRAINING for row in rows)
        # Outcomes that this version does not know concern no report of its own.
        return claimed, [_refusal(row) for row in rows if row["outcome"] in REFUSALS]

    def report_steps(self, worker_id: str, reports: list[Report]) -> list[Refusal]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT * FROM tasker.report_steps(worker_id => %s, reports => %s::jsonb)",
            worker_id, encode_batch(reports),
        )
        return [_refusal(row) for row in rows if row["outcome"] in REFUSALS]

    def heartbeat(self, worker_id: str) -> list[tuple[UUID, str]]:
        """See :class:`Session`."""
        rows = self._rows(
            "SELECT * FROM tasker.heartbeat(worker_id => %s, lease => %s::interval)",
            worker_id, self._lease,
        )
        # A row without a step tells of the whole engine, as every claim does.
        return [(row["step_uuid"], row["status"]) for row in rows if row["step_uuid"] is not None]

    def release_steps(self, worker_id: str) -> int:
        """See :class:`Session`."""
        rows = self._rows("SELECT tasker.release_steps(worker_id => %s) AS released", worker_id)
        return int(rows[0]["released"])

    def register_handlers(self, worker_id: str, handlers: list[str], plugin: Plugin) -> None:
        """See :class:`Session`."""
        self._rows(
            "SELECT tasker.register_handlers(worker_id => %s, handlers => %s::text[],"
            " namespaces => %s::text[], plugin => %s, plugin_version => %s, metadata => %s::jsonb)",
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
        return rows[0]["results"] or {}

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


def _claimed_step(row: dict[str, Any], worker_id: str) -> ClaimedStep:
    task = Task(
        uuid=row["task_uuid"],
        namespace=row["namespace"],
        name=row["task_name"],
        version=row["version"],
        context=row["context"] or {},
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
    )
    step = Step(
        uuid=row["step_uuid"],
        task_uuid=row["task_uuid"],
        name=row["step_name"],
        handler=row["handler"],
        claim_number=row["claim_number"],
        attempt=row["attempt"],
        retry_limit=row["retry_limit"],
        handler_config=row["handler_config"] or {},
        queue=row["queue"],
        lease_expires_at=row["lease_expires_at"],
    )
    return ClaimedStep(task, step, row["dependency_results"] or {}, worker_id)


def _refusal(row: dict[str, Any]) -> Refusal:
    return Refusal(row["step_uuid"], row["outcome"])
