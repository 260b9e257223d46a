"""The loop of a worker: one thread that reports and claims, others that run handlers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from . import reports, run_log, story
from .connection import Backoff, Trouble, classify, one_line
from .engine import ClaimedStep, PostgresSession, Refusal, Session
from .executor import StepExecutor
from .heartbeat import Heartbeat
from .holdings import Holdings
from .hooks import TaskHooks
from .identity import Identity
from .inbox import Inbox, News
from .listener import Listener
from .lookup import Lookup
from .pacer import Pacer
from .pool import ThreadPool
from .registry import HandlerRegistry, default_registry
from .reports import Report
from .settings import WorkerSettings

log = logging.getLogger("tasker.worker")

LINGER = 0.002
"""Seconds that a finished report may wait for others while every thread has more work to do."""

_FAR = 60.0
_FINAL_FLUSH = 5.0


class Runner:
    """A worker process: claims steps, runs their handlers, reports.

    ``run`` blocks until ``stop`` is called (from any thread or a signal handler), or until the
    settings ``once`` or ``until_idle`` are fulfilled.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        registry: HandlerRegistry = default_registry,
        connect: Callable[[], Session] | None = None,
    ) -> None:
        """``connect`` opens a session with the engine; given only by tests."""
        self._settings = settings
        self._registry = registry
        self._announced: tuple[str, Session] | None = None
        self._connect = connect or (lambda: PostgresSession(settings))
        self._inbox = Inbox()
        self._holdings = Holdings()
        self._identity = Identity()
        self._lookup = Lookup(self._connect)
        self._hooks = TaskHooks(registry, self._lookup)
        self._executor = StepExecutor(
            registry, self._lookup.ancestors, self._hooks.before_step, settings.log_level,
        )
        self._pool: ThreadPool | None = None
        self._pacer = Pacer(settings.poll)
        self._backoff = Backoff()
        self._session: Session | None = None
        self._unacknowledged: list[tuple[ClaimedStep, Report]] = []
        self._woken = False
        self._draining = False
        self._claiming = True
        self._drain_until: float | None = None
        self._worked = False
        self._idle = False
        self._failure: BaseException | None = None

    @property
    def worker_id(self) -> str:
        """The worker id of the next claim."""
        return self._identity.current

    def stop(self) -> None:
        """Claim no more, let running steps finish within the grace time, report, release, end.

        Called again, it no longer waits: what runs is given back at once.
        """
        self._inbox.stop()

    def run(self) -> None:
        """Work until stopped.

        Raises ``ConfigurationError`` or ``psycopg.Error`` when the first connection or the first
        claim fails; later troubles are logged and overcome.
        """
        loop = threading.Thread(target=self._guarded_loop, name="tasker-loop", daemon=True)
        run_log.Installed.begin()
        try:
            loop.start()
            loop.join()
        finally:
            run_log.Installed.end()
        if self._failure is not None:
            raise self._failure

    # -- the loop thread ---------------------------------------------------------------------

    def _guarded_loop(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._failure = error
            self._give_back_all()
        finally:
            if self._session is not None:
                self._session.close()
            self._lookup.close()
            if self._pool is not None:
                self._pool.close()

    def _loop(self) -> None:
        settings = self._settings
        self._session = self._connect()
        if isinstance(self._session, PostgresSession):
            self._session.check()
        self._pool = ThreadPool(settings.threads)
        heartbeat = Heartbeat(self._connect, self._holdings, settings.lease)
        heartbeat.start()
        listener = None
        if settings.listen and not (settings.once or settings.until_idle):
            listener = Listener(
                settings.dsn, settings.namespaces, lambda: self._identity.current, self._inbox.wake,
            )
            listener.start()
        log.info(
            "Worker %s serves %s with %d threads",
            self.worker_id, ", ".join(settings.namespaces), settings.threads,
        )
        try:
            while not self._inbox.stopping and not self._done():
                self._absorb(self._inbox.take(self._patience()))
                self._gather()
                if not self._inbox.stopping and self._has_reason_to_talk():
                    self._talk()
            self._drain()
        finally:
            heartbeat.stop()
            if listener is not None:
                listener.stop()

    def _patience(self) -> float:
        """How long there is nothing to do unless something happens."""
        if self._unacknowledged:
            return 0.0
        if self._room() > 0:
            return 0.0 if self._woken else self._pacer.wait
        return _FAR

    def _has_reason_to_talk(self) -> bool:
        if self._unacknowledged:
            return True
        return self._room() > 0 and (self._woken or self._pacer.due)

    def _done(self) -> bool:
        """Whether ``once`` or ``until_idle`` is fulfilled."""
        if len(self._holdings):
            return False
        return (self._settings.once and not self._claiming) or (
            self._settings.until_idle and self._idle
        )

    def _room(self) -> int:
        """How many steps more may be claimed; finished ones make room for others."""
        if not self._claiming:
            return 0
        return self._settings.capacity - self._unfinished()

    def _unfinished(self) -> int:
        return len(self._holdings) - len(self._unacknowledged)

    def _absorb(self, news: News) -> None:
        self._woken = self._woken or news.woken
        for claim, report in news.finished:
            if report is None:
                log.info("Step %s was not run any more [step %s]", claim.step.name, claim.step.uuid)
                self._holdings.remove([claim.key])
            else:
                self._unacknowledged.append((claim, report))

    def _gather(self) -> None:
        """Let more results come together, but only while no thread is waiting for work."""
        if not self._unacknowledged:
            return
        deadline = time.monotonic() + LINGER
        while (
            self._unfinished() > self._settings.threads
            and len(self._unacknowledged) < self._settings.batch
            and (left := deadline - time.monotonic()) > 0
        ):
            self._absorb(self._inbox.take(left))

    # -- talking to the engine ---------------------------------------------------------------

    def _talk(self) -> None:
        """Report what is finished and claim what there is room for, in one round trip."""
        asked = 0
        try:
            session = self._session or self._reconnect()
            if session is None:
                return
            self._announce(session)
            self._give_back_retired(session)
            self._report_under_old_ids(session)
            asked = self._room()
            self._exchange(session, asked)
            self._worked = True
            self._backoff.reset()
        except psycopg.Error as error:
            self._overcome(error, ambiguous=asked > 0)
        except Exception:
            # What the call did is unknown; under a fresh id the engine takes back what it handed out.
            log.exception("A call of the engine failed in the worker itself")
            self._identity.retire()
            self._drop_session()
            self._pause(self._backoff.next())

    def _announce(self, session: Session) -> None:
        """Tell the engine what this worker runs, once per connection and worker id.

        It helps operators to find missing handlers. The worker continues without it if the engine
        has no such function or does not let this role call it.
        """
        if self._announced == (self._identity.current, session):
            return
        try:
            for plugin, names in self._registry.plugins().items():
                session.register_handlers(self._identity.current, names, plugin)
        except psycopg.Error as error:
            if classify(error, session.connection) is Trouble.LOST:
                raise
            log.info("The engine does not list the handlers: %s", one_line(error))
        self._announced = (self._identity.current, session)

    def _withdraw(self, session: Session, worker_id: str) -> None:
        try:
            session.unregister_handlers(worker_id)
        except psycopg.Error as error:
            log.debug("The engine still lists the handlers: %s", one_line(error))

    def _exchange(self, session: Session, asked: int) -> None:
        sent = self._sendable(self._identity.current)
        batch = [report for _, report in sent]
        if asked < 1:
            if batch:
                self._acknowledge(sent, session.report_steps(self._identity.current, batch))
            return
        woken, self._woken = self._woken, False
        try:
            # What is reported with this call ends in it; what still runs has begun.
            ended = {claim.key for claim, _ in sent}
            unsaid = self._holdings.unsaid(self._identity.current)
            begun = [claim for claim in unsaid if claim.key not in ended]
            claimed, refusals = session.report_and_claim(
                self._identity.current, batch, asked, self._registry.names(),
                [claim.step.uuid for claim in begun],
            )
            self._holdings.said(begun)
        except psycopg.Error:
            self._woken = woken
            raise
        self._holdings.add(claimed)
        for claim in claimed:
            story.claimed(claim)
            self._submit(claim)
        self._pacer.claimed(len(claimed), woken, session.draining)
        self._tell_draining(session.draining)
        self._idle = not claimed
        self._claiming = not self._settings.once
        self._acknowledge(sent, refusals)

    def _tell_draining(self, draining: bool) -> None:
        """Logs it once; the worker finishes and reports what it holds, as usual."""
        if draining != self._draining:
            self._draining = draining
            log.info("The engine hands out no work for now, asking seldom" if draining
                     else "The engine hands out work again")

    def _submit(self, claim: ClaimedStep) -> None:
        assert self._pool is not None

        def job() -> None:
            report = None  # claimed, never begun: end_worker gives it back
            try:
                if not self._inbox.stopping:
                    report = self._executor.run(claim)
            except BaseException as error:  # a run without a report would stay held
                log.exception("The worker itself failed in step %s", claim.step.name)
                report = reports.failed(claim.step, claim.worker_id, RuntimeError(reports.text_of(error)))
            finally:
                self._inbox.finished(claim, report)

        self._pool.submit(job)

    def _sendable(self, worker_id: str) -> list[tuple[ClaimedStep, Report]]:
        """The unacknowledged reports of a worker id, those of superseded runs dropped."""
        mine = [item for item in self._unacknowledged if item[1].worker_id == worker_id]
        keep, superseded = reports.without_superseded([report for _, report in mine])
        for report in superseded:
            log.warning("Dropped the report of a lost run of step %s [step %s, claim %d]",
                        report.step_name, report.step_uuid, report.claim_number)
        dropped = {id(report) for report in superseded}
        self._forget([item for item in mine if id(item[1]) in dropped])
        kept = {id(report) for report in reports.split(keep)}
        return [item for item in mine if id(item[1]) in kept]

    def _report_under_old_ids(self, session: Session) -> None:
        old = {r.worker_id for _, r in self._unacknowledged} - {self._identity.current}
        for worker_id in sorted(old):
            sent = self._sendable(worker_id)
            self._acknowledge(sent, session.report_steps(worker_id, [r for _, r in sent]))

    def _acknowledge(
        self, sent: list[tuple[ClaimedStep, Report]], refusals: list[Refusal]
    ) -> None:
        self._forget(sent)
        refused = {refusal.step_uuid: refusal.outcome for refusal in refusals}
        for claim, report in sent:
            outcome = refused.pop(report.step_uuid, None)
            if outcome is None:
                if report.status == "complete" and self._hooks.wants_completion(claim):
                    self._submit_hook(claim)
                continue
            # A duplicate is our own report, whose answer was lost on the way.
            level = logging.INFO if outcome == "duplicate" else logging.WARNING
            log.log(level, "The report of step %s was refused: %s [step %s, claim %d]",
                    report.step_name, outcome, report.step_uuid, report.claim_number)
            if outcome == "invalid":
                self._replace_invalid(claim, report)
        for step_uuid, outcome in refused.items():
            log.error("The engine refused a report as %s [step %s]", outcome, step_uuid)
            self._identity.retire()

    def _replace_invalid(self, claim: ClaimedStep, report: Report) -> None:
        """The step is still ours, and the same handler would return the same again: it fails."""
        if report.substitute:
            self._identity.retire()  # the engine takes the step back with the worker id
            return
        reason: str | None = "the engine says that it is invalid"
        if report.status == "complete" and self._session is not None:
            reason = self._session.why_invalid(report)
        if reason is not None:
            self._keep_instead(claim, reports.substitute(report, reason))

    def _keep_instead(self, claim: ClaimedStep, report: Report) -> None:
        self._holdings.add([claim])
        self._unacknowledged.append((claim, report))
        story.ended(claim, report)

    def _submit_hook(self, claim: ClaimedStep) -> None:
        assert self._pool is not None
        self._pool.submit(lambda: self._hooks.after_report(claim))

    def _forget(self, items: list[tuple[ClaimedStep, Report]]) -> None:
        gone = {id(report) for _, report in items}
        self._unacknowledged = [i for i in self._unacknowledged if id(i[1]) not in gone]
        self._holdings.remove(claim.key for claim, _ in items)

    # -- trouble -----------------------------------------------------------------------------

    def _overcome(self, error: psycopg.Error, ambiguous: bool) -> None:
        """Decide how to go on after a failed call; raises when it cannot."""
        connection = None if self._session is None else self._session.connection
        trouble = classify(error, connection)
        if trouble is Trouble.SETUP and not self._worked:
            raise error
        if trouble is Trouble.DATA and self._unacknowledged:
            self._isolate()
            return
        if trouble is Trouble.CONFLICT:
            log.info("Trying again: %s", one_line(error))
            self._pause(min(self._backoff.next(), 1.0))
            return
        if trouble is Trouble.LOST:
            log.warning("Lost the server: %s", one_line(error))
            if ambiguous:
                self._identity.retire()
        else:
            log.error("The engine refused a call: %s", one_line(error))
        self._drop_session()
        self._pause(self._backoff.next())

    def _reconnect(self) -> Session | None:
        """A new session, or ``None`` when the process is to end before there is one."""
        while True:
            try:
                self._session = self._connect()
                log.info("Connected again")
                return self._session
            except psycopg.Error as error:
                log.warning("Cannot connect: %s", one_line(error))
            if self._pause(self._backoff.next()):
                return None

    def _isolate(self) -> None:
        """A batch was refused for something in it: send each report alone.

        A report that the server cannot read becomes a permanent failure saying so. If even that is
        refused, it is dropped, and the engine takes the step back with the retired worker id.
        """
        session = self._session
        if session is None:
            return
        for claim, report in list(self._unacknowledged):
            try:
                refusals = session.report_steps(report.worker_id, [report])
                self._acknowledge([(claim, report)], refusals)
            except psycopg.Error as error:
                if classify(error, session.connection) is not Trouble.DATA:
                    self._overcome(error, ambiguous=False)
                    return
                log.error("The report of step %s cannot be stored: %s [step %s]",
                          report.step_name, one_line(error), report.step_uuid)
                self._forget([(claim, report)])
                if report.substitute:
                    self._identity.retire()
                else:
                    self._keep_instead(claim, reports.substitute(report, one_line(error)))

    def _give_back_retired(self, session: Session) -> None:
        for worker_id in self._identity.releasable(self._holdings.worker_ids()):
            released = session.end_worker(worker_id)
            self._withdraw(session, worker_id)
            self._identity.forget(worker_id)
            if released:
                log.info("Gave back %d steps whose claim was never answered", released)

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _pause(self, seconds: float) -> bool:
        """Sleep; True when the process is to end instead."""
        if self._drain_until is None:
            return self._inbox.wait_stop(seconds)
        left = self._drain_until - time.monotonic()
        time.sleep(max(0.0, min(seconds, left)))
        return time.monotonic() >= self._drain_until

    # -- the end -----------------------------------------------------------------------------

    def _drain(self) -> None:
        """Let what runs finish, report it, give back the rest."""
        assert self._pool is not None
        self._claiming = False
        while self._unfinished() or self._pool.pending:
            if self._inbox.stopping and self._drain_until is None:
                grace = self._settings.grace
                self._drain_until = time.monotonic() + grace
                log.info("Stopping: %d steps held, grace %g s", len(self._holdings), grace)
            if self._inbox.hurrying:
                log.info("Stopping at once: %d steps held", len(self._holdings))
                break
            if self._drain_until is not None and time.monotonic() >= self._drain_until:
                break
            self._absorb(self._inbox.take(0.02))
            if self._unacknowledged:
                self._talk()
        self._drain_until = time.monotonic() + _FINAL_FLUSH
        self._absorb(self._inbox.take(0.0))
        while self._unacknowledged and time.monotonic() < self._drain_until:
            self._talk()
        self._release()

    def _give_back_all(self) -> None:
        """After an error that ends the loop: what runs may finish, nothing stays held."""
        if not self._worked or self._pool is None:
            return
        log.exception("The worker ends because of an error of its own")
        self._inbox.stop()
        try:
            self._drain()
        except Exception:
            log.exception("Held steps will be taken over when their lease ends")

    def _release(self) -> None:
        try:
            session = self._session or self._reconnect()
            if session is None:
                raise psycopg.OperationalError("the server is away")
            released = sum(session.end_worker(worker_id) for worker_id in self._identity.all())
        except psycopg.Error as error:
            log.warning("Held steps will be taken over when their lease ends: %s",
                        one_line(error))
            return
        for worker_id in self._identity.all():
            self._withdraw(session, worker_id)
        if released:
            log.warning("Gave back %d unfinished steps", released)
        log.info("Worker %s has ended", self.worker_id)


def run_worker(registry: HandlerRegistry = default_registry, **settings: Any) -> None:
    """Run a worker in this thread until it is stopped: ``run_worker(namespaces=("a",))``.

    Keyword arguments are those of :class:`~tasker.settings.WorkerSettings`. Signals are left to the
    caller; ``python -m tasker`` is the complete program.
    """
    Runner(WorkerSettings(**settings), registry).run()
