"""The one place where handler threads, the listener and signals reach the loop thread."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from .engine import ClaimedStep
from .reports import Report


@dataclass
class News:
    """What has happened since the loop last looked."""

    finished: list[tuple[ClaimedStep, Report | None]] = field(default_factory=list)
    """Runs that ended; without a report when the step was dropped before it ran."""
    woken: bool = False
    """The engine announced work."""
    stopping: bool = False
    """The process must end. Stays true once set."""


class Inbox:
    """Thread-safe; everything but :meth:`take` returns at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._news = News()
        self._nudged = False
        self._stop_taken = False
        self._hurrying = False

    def finished(self, claim: ClaimedStep, report: Report | None) -> None:
        """A handler thread has ended a run."""
        with self._changed:
            self._news.finished.append((claim, report))
            self._changed.notify_all()

    def wake(self) -> None:
        """The engine may have work."""
        with self._changed:
            self._news.woken = True
            self._changed.notify_all()

    def nudge(self) -> None:
        """Make the loop look around, without claiming for it."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ask the loop to end; called again, to end at once."""
        with self._changed:
            self._hurrying = self._news.stopping
            self._news.stopping = True
            self._stop_taken = False
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """True once :meth:`stop` was called."""
        return self._news.stopping

    @property
    def hurrying(self) -> bool:
        """True once :meth:`stop` was called twice."""
        return self._hurrying

    def take(self, timeout: float) -> News:
        """Wait up to ``timeout`` seconds for news and hand it over.

        A stop that was taken before does not cut a later wait short; see :meth:`wait_stop`.
        """
        with self._changed:
            self._changed.wait_for(self._anything_new, max(0.0, timeout))
            news, self._nudged = self._news, False
            self._news = News(stopping=news.stopping)
            self._stop_taken = news.stopping
            return news

    def wait_stop(self, timeout: float) -> bool:
        """Sleep for ``timeout`` seconds unless a stop is or becomes known; True when it is."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._news.stopping:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _anything_new(self) -> bool:
        news = self._news
        return (
            self._nudged
            or bool(news.finished)
            or news.woken
            or (news.stopping and not self._stop_taken)
        )
