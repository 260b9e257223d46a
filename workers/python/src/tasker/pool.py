"""The handler threads."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("tasker.pool")


class ThreadPool:
    """A fixed number of daemon threads that run jobs in order.

    The threads are daemons because a handler that never returns must not keep a process alive whose
    grace time is over; ``concurrent.futures`` would wait for it at exit.
    """

    def __init__(self, threads: int) -> None:
        """Start ``threads`` threads."""
        self.size = threads
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending = 0
        for number in range(threads):
            threading.Thread(target=self._work, name=f"tasker-step-{number}", daemon=True).start()

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` in one of the threads; it is expected to handle its own errors."""
        with self._lock:
            self._pending += 1
        self._jobs.put(job)

    @property
    def pending(self) -> int:
        """Jobs that are running or waiting."""
        with self._lock:
            return self._pending

    @property
    def has_idle_thread(self) -> bool:
        """True when a job submitted now would start at once."""
        return self.pending < self.size

    def close(self) -> None:
        """Let every thread end after the jobs before it; returns at once."""
        for _ in range(self.size):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException:  # a thread lost here would be missing permanently
                log.exception("A job of the worker itself failed")
            finally:
                with self._lock:
                    self._pending -= 1
