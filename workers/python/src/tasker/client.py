"""For application code: create tasks, look at them, cancel them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from . import json_codec
from .connection import open_connection


@dataclass(frozen=True)
class TaskExecutionContext:
    """How far a task is, as the engine sees it."""

    status: str
    """State of the task: pending, in_progress, complete, error, cancelled, resolved_manually."""
    total_steps: int
    pending_steps: int
    in_progress_steps: int
    completed_steps: int
    failed_steps: int
    ready_steps: int
    execution_status: str
    """has_ready_steps, processing, blocked_by_failures, all_complete, waiting_for_dependencies."""
    recommended_action: str | None
    completion_percentage: Decimal
    """0 to 100, two decimals."""
    health_status: str


_GET_CONTEXT = sql.SQL(
    "SELECT {} FROM tasker.get_task_execution_context(task_uuid => %s)"
).format(sql.SQL(", ").join(map(sql.Identifier, TaskExecutionContext.__dataclass_fields__)))


class Client:
    """Thin typed calls of the engine's functions.

    Works on a connection of the caller, inside the caller's transaction: a task created together
    with business rows exists exactly if they do. Errors are psycopg's, named by SQLSTATE: for
    instance ``errors.UniqueViolation`` (duplicate request), ``errors.CheckViolation`` (the context
    breaks the template's schema), ``errors.NoDataFound`` (unknown template or task),
    ``errors.ObjectNotInPrerequisiteState`` (not allowed in this state).
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Use ``connection`` as it is; neither commits nor closes it."""
        self._connection = connection

    @classmethod
    def connect(cls, dsn: str = "") -> Client:
        """A client with an autocommit connection of its own; use it in a ``with`` statement."""
        return cls(open_connection(dsn))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def create_task(
        self,
        name: str,
        context: Mapping[str, Any] | None = None,
        *,
        namespace: str | None = None,
        version: str | None = None,
        initiator: str | None = None,
        source_system: str | None = None,
        reason: str | None = None,
        tags: Sequence[str] | None = None,
        bypass_steps: Sequence[str] | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        idempotency_key: str | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> UUID:
        """Create a task and return its uuid.

        ``None`` leaves an argument to the engine's default (namespace ``default``, the highest
        version, priority 2, at once). ``context`` may hold ``Decimal`` and integers of any size.
        With an ``idempotency_key`` met before, the existing task's uuid is returned. Give ``run_at``
        with a time zone: PostgreSQL reads a naive one in the ``TimeZone`` of the session.
        """
        row = self._call(
            "create_task",
            name=name,
            context=_jsonb(context or {}),
            namespace=namespace,
            version=version,
            initiator=initiator,
            source_system=source_system,
            reason=reason,
            tags=None if tags is None else _jsonb(list(tags)),
            bypass_steps=None if bypass_steps is None else _jsonb(list(bypass_steps)),
            priority=priority,
            run_at=run_at,
            idempotency_key=idempotency_key,
            correlation_id=correlation_id,
            traceparent=traceparent,
            tracestate=tracestate,
        ).fetchone()
        assert row is not None
        created: UUID = row[0]
        return created

    def create_tasks(
        self,
        name: str,
        contexts: Sequence[Mapping[str, Any]],
        *,
        namespace: str | None = None,
        version: str | None = None,
        initiator: str | None = None,
        source_system: str | None = None,
        reason: str | None = None,
        tags: Sequence[str] | None = None,
        bypass_steps: Sequence[str] | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        idempotency_keys: Sequence[str | None] | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> list[UUID]:
        """Create one task per context, all or none; the uuids come in the order of ``contexts``."""
        rows = self._call(
            "create_tasks",
            name=name,
            contexts=[_jsonb(context) for context in contexts],
            namespace=namespace,
            version=version,
            initiator=initiator,
            source_system=source_system,
            reason=reason,
            tags=None if tags is None else _jsonb(list(tags)),
            bypass_steps=None if bypass_steps is None else _jsonb(list(bypass_steps)),
            priority=priority,
            run_at=run_at,
            idempotency_keys=None if idempotency_keys is None else list(idempotency_keys),
            correlation_id=correlation_id,
            traceparent=traceparent,
            tracestate=tracestate,
        ).fetchall()
        return [row[0] for row in rows]

    def get_task_execution_context(self, task_uuid: UUID) -> TaskExecutionContext | None:
        """How far the task is; ``None`` when it is unknown."""
        with self._connection.cursor(row_factory=class_row(TaskExecutionContext)) as cursor:
            return cursor.execute(_GET_CONTEXT, [task_uuid]).fetchone()

    def cancel_task(self, task_uuid: UUID, reason: str | None = None) -> str:
        """Cancel a task with its pending and running steps; returns the new state.

        Raises ``errors.NoDataFound`` for an unknown task and
        ``errors.ObjectNotInPrerequisiteState`` for one in a state that cannot be left so.
        """
        row = self._call("cancel_task", task_uuid=task_uuid, reason=reason).fetchone()
        assert row is not None
        return str(row[0])

    def annotate_task(self, task_uuid: UUID, type_name: str, annotation: Any) -> int:
        """Write a note on a task, any JSON value, and return its number.

        The kind of note is made if it is missing. Raises ``errors.NoDataFound`` for an unknown task.
        """
        row = self._call(
            "annotate_task", task_uuid=task_uuid, type_name=type_name, annotation=_jsonb(annotation)
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _call(self, function: str, **arguments: Any) -> psycopg.Cursor[Any]:
        given = {name: value for name, value in arguments.items() if value is not None}
        statement = sql.SQL("SELECT * FROM tasker.{}({})").format(
            sql.Identifier(function),
            sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(name), _placeholder(name))
                for name in given
            ),
        )
        return self._connection.execute(statement, list(given.values()))


_PLACEHOLDERS = {
    "contexts": sql.SQL("%s::jsonb[]"),
    "idempotency_keys": sql.SQL("%s::text[]"),
    "priority": sql.SQL("%s::integer"),
}


def _placeholder(name: str) -> sql.SQL:
    return _PLACEHOLDERS.get(name, sql.SQL("%s"))


def _jsonb(value: Any) -> Jsonb:
    return Jsonb(value, dumps=json_codec.dumps)
