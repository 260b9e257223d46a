"""The log of a run: what is logged while a handler runs is kept and sent with its report.

The ids of the run are in a context variable. So what belongs to a run is found in its thread, in
tasks of asyncio that it starts, and in other threads if they run in a copy of its context
(``contextvars.copy_context().run``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from . import json_codec
from .engine import ClaimedStep

MAX_LINES = 1000
"""Lines that are kept of a run; when there are more, the last says how many."""
MAX_BYTES = 256 * 1024
"""Bytes of their JSON text."""
_MAX_TRACEBACK = 8000
_CUT = 200
_OWN = "tasker."
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
IDS = ("task_uuid", "step_uuid", "correlation_id", "traceparent", "attempt")
"""What a record of a run says about the run."""

_current: ContextVar[RunLog | None] = ContextVar("tasker_run", default=None)


class RunLog:
    """Lines of one run, bounded; thread-safe."""

    def __init__(self, claim: ClaimedStep, level: int | None) -> None:
        """``level``: from which on records are kept; ``None`` keeps none."""
        self._level = level
        step, task = claim.step, claim.task
        self.ids: dict[str, Any] = dict(zip(IDS, (
            str(step.task_uuid), str(step.uuid), task.correlation_id, task.traceparent, step.attempt,
        )))
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._bytes = 0
        self._left_out = 0
        self._closed = False

    def add(self, record: logging.LogRecord) -> None:
        """Keep a record, while there is room."""
        if self._level is None or record.levelno < self._level:
            return
        with self._lock:
            if self._closed:
                return
            if self._left_out or len(self._lines) >= MAX_LINES:
                self._left_out += 1
                return
        line = _line(record, self.ids)
        size = len(line.encode())
        with self._lock:
            if self._closed:
                return
            room = MAX_BYTES - _CUT - self._bytes
            if self._left_out or len(self._lines) >= MAX_LINES or size > room:
                self._left_out += 1
                return
            self._lines.append(line)
            self._bytes += size + 1

    def close(self) -> str | None:
        """The JSON array for the report; ``None`` when nothing was logged. Later records are lost."""
        with self._lock:
            self._closed = True
            lines, left_out = self._lines, self._left_out
        if left_out and len(lines) == MAX_LINES:
            del lines[-1]
            left_out += 1
        if left_out:
            lines.append(json_codec.dumps({
                "level": logging.WARNING,
                "message": f"cut: {left_out} more lines; a worker keeps {MAX_LINES} lines and {MAX_BYTES} bytes of a run",
            }))
        return f"[{','.join(lines)}]" if lines else None


class RunLogHandler(logging.Handler):
    """Puts the ids of the run on each record, and gives the run its records.

    The worker's own records about steps are not part of a run.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """No lock of the handler: a run has its own."""
        run = _current.get()
        identify(record, run)
        if run is not None and not record.name.startswith(_OWN):
            try:
                run.add(record)
            except Exception:  # a record of the application may do anything
                self.handleError(record)
        return True


class RunContext(logging.Filter):
    """For handlers that are not the root logger's: puts the ids of the run on each record.

    ``handler.addFilter(tasker.RunContext())`` makes ``%(step_uuid)s`` usable in its format. Outside
    of a run the ids are ``None``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes."""
        identify(record, _current.get())
        return True


def identify(record: logging.LogRecord, run: RunLog | None) -> None:
    """The ids of the run as attributes, except where the application has its own of that name."""
    for name in IDS:
        if name not in record.__dict__:
            record.__dict__[name] = None if run is None else run.ids[name]


@contextmanager
def keep(claim: ClaimedStep, level: int | None) -> Iterator[RunLog]:
    """What is logged in this context belongs to the run of ``claim``."""
    run = RunLog(claim, level)
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


class Installed:
    """The handler at the root logger, once per process however many workers run."""

    _lock = threading.Lock()
    _users = 0
    _handler: RunLogHandler | None = None

    @classmethod
    def begin(cls) -> None:
        """A worker starts. It comes first, so that other handlers find the ids."""
        with cls._lock:
            cls._users += 1
            if cls._handler is None:
                cls._handler = RunLogHandler()
                logging.getLogger().handlers.insert(0, cls._handler)

    @classmethod
    def end(cls) -> None:
        """A worker has ended."""
        with cls._lock:
            cls._users -= 1
            if cls._users == 0 and cls._handler is not None:
                logging.getLogger().removeHandler(cls._handler)
                cls._handler = None


def _line(record: logging.LogRecord, ids: dict[str, Any]) -> str:
    try:
        message = record.getMessage()
    except Exception:  # arguments that do not fit
        message = str(record.msg)
    fields: dict[str, Any] = {"logger": record.name}
    for key, value in record.__dict__.items():
        if key not in _STANDARD and not (key in ids and ids[key] == value):
            fields[key] = _plain(value)
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = _traceback(record)
    line = {
        "at": round(record.created, 6), "level": record.levelno,
        "message": json_codec.clean_text(message[:MAX_BYTES // 2]), "fields": fields,
    }
    return json_codec.dumps(line, MAX_BYTES)


def _plain(value: Any) -> Any:
    try:
        json_codec.dumps(value, MAX_BYTES)
        return value
    except Exception:
        return json_codec.clean_text(repr(value)[:1000])


def _traceback(record: logging.LogRecord) -> str:
    text = record.exc_text or logging.Formatter().formatException(record.exc_info)  # type: ignore[arg-type]
    return json_codec.clean_text(text[-_MAX_TRACEBACK:])
