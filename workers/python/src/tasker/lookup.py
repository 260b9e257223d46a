"""Questions of handler threads to the engine, asked on demand over one shared connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import psycopg

from .connection import Backoff, Trouble, classify
from .engine import Session
from .models import StepStatus

R = TypeVar("R")
_ATTEMPTS = 4


class Lookup:
    """Thread-safe. Connects at the first question; a lost connection is tried again shortly.

    A question that stays unanswered raises ``psycopg.Error`` in the handler, whose step is then
    retried as after any other error.
    """

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._session: Session | None = None

    def ancestors(self, step_uuid: UUID) -> dict[str, dict[str, object]]:
        """Step name -> results of all ancestors of a step."""
        return self._ask(lambda session: session.get_dependency_results(step_uuid))

    def step_statuses(self, task_uuid: UUID) -> list[StepStatus]:
        """All steps of a task."""
        return self._ask(lambda session: session.step_statuses(task_uuid))

    def execution_status(self, task_uuid: UUID) -> str | None:
        """The task's execution status."""
        return self._ask(lambda session: session.execution_status(task_uuid))

    def close(self) -> None:
        """Close the connection unless a question is under way."""
        if self._lock.acquire(timeout=0.2):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _ask(self, question: Callable[[Session], R]) -> R:
        backoff = Backoff(first=0.1, cap=2.0)
        with self._lock:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    if self._session is None:
                        self._session = self._connect()
                    return question(self._session)
                except psycopg.Error as error:
                    connection = None if self._session is None else self._session.connection
                    trouble = classify(error, connection)
                    if trouble is Trouble.LOST:
                        self._drop()
                    elif trouble is not Trouble.CONFLICT:
                        raise
                    if attempt == _ATTEMPTS:
                        raise
                    time.sleep(backoff.next())
        raise AssertionError("unreachable")

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
