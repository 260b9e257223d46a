"""Wakes the loop when the engine announces work."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from .connection import Backoff, channel_name, one_line, open_connection

log = logging.getLogger("tasker.listener")
_LOOK_EVERY = 0.5


def concerns(payload: str, worker_id: str) -> bool:
    """Whether a notification is for this worker.

    An empty payload is for every worker; otherwise it is a JSON array of those that can run one of
    the released steps.
    """
    if not payload:
        return True
    try:
        named = json.loads(payload)
    except ValueError:
        return True  # the form of a later version: a claim too many does no harm
    return not isinstance(named, list) or worker_id in named


class Listener:
    """A thread that LISTENs on the channels of the namespaces, on a connection of its own.

    It is a convenience: without it, or while its connection is away, polling finds the work. After
    every (re)connect it wakes the loop once, since announcements may have been missed.
    """

    def __init__(
        self,
        dsn: str,
        namespaces: Sequence[str],
        worker_id: Callable[[], str],
        wake: Callable[[], None],
    ) -> None:
        self._dsn = dsn
        self._worker_id = worker_id
        self._channels = sorted({channel_name(namespace) for namespace in namespaces})
        self._wake = wake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tasker-listener", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End within half a second."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        backoff = Backoff(first=0.2, cap=15.0)
        while not self._stop.is_set():
            try:
                with open_connection(self._dsn) as connection:
                    for channel in self._channels:
                        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    backoff.reset()
                    self._wake()
                    self._listen(connection)
            except psycopg.Error as error:
                if not self._stop.is_set():
                    log.warning("Listening is interrupted, polling goes on: %s", one_line(error))
            except Exception:
                log.exception("Listening is interrupted, polling goes on")
            self._stop.wait(backoff.next())

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stop.is_set():
            for notification in connection.notifies(timeout=_LOOK_EVERY):
                if concerns(notification.payload, self._worker_id()):
                    self._wake()
                if self._stop.is_set():
                    return
