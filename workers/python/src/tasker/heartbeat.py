"""Extends the leases of held steps, and learns which of them no longer count."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

import psycopg

from .connection import Backoff, Trouble, classify, one_line
from .engine import Session
from .holdings import Holdings

log = logging.getLogger("tasker.heartbeat")


class Heartbeat:
    """A thread with a connection of its own, so that a long claim or report never delays it."""

    def __init__(
        self, connect: Callable[[], Session], holdings: Holdings, lease: float
    ) -> None:
        """``lease`` in seconds; a heartbeat goes out every third of it while steps are held."""
        self._connect = connect
        self._holdings = holdings
        self._interval = lease / 3
        self._backoff = Backoff(first=min(0.1, self._interval), cap=self._interval)
        self._session: Session | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tasker-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, waiting a moment for a heartbeat under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def beat(self) -> None:
        """One heartbeat for every worker id that holds something; raises ``psycopg.Error``."""
        for worker_id in sorted(self._holdings.worker_ids()):
            # Taken before the call: an answer says nothing about what is claimed after it.
            held = self._holdings.of(worker_id)
            if self._session is None:
                self._session = self._connect()
            begun = self._holdings.unsaid(worker_id)
            answers = self._session.heartbeat(worker_id, [claim.step.uuid for claim in begun])
            # What another transaction holds is not written; it is said again next time.
            locked = {uuid for uuid, status in answers if status == "locked"}
            self._holdings.said(claim for claim in begun if claim.step.uuid not in locked)
            gone = {uuid: status for uuid, status in answers if status in ("cancelled", "lost")}
            for claim in held:
                status = gone.get(claim.step.uuid)
                if status is not None and not claim.step.cancelled.is_set():
                    log.warning(
                        "Step %s of %s is %s, its run no longer counts [step %s]",
                        claim.step.name, claim.task.full_name, status, claim.step.uuid,
                    )
                    claim.step.cancelled.set()

    def _run(self) -> None:
        wait = self._interval
        while not self._stop.wait(wait):
            try:
                self.beat()
            except psycopg.Error as error:
                connection = None if self._session is None else self._session.connection
                if classify(error, connection) is not Trouble.CONFLICT:
                    self._drop()
                log.warning("Heartbeat failed: %s", one_line(error))
                wait = self._backoff.next()
            except Exception:
                log.exception("Heartbeat failed")
                self._drop()
                wait = self._backoff.next()
            else:
                self._backoff.reset()
                wait = self._interval * random.uniform(0.85, 1.0)
        self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
