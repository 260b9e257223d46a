"""An engine in memory, as far as the runner can tell: claims, fences, leases, retries.

It follows the engine's rules for what a worker sees (claim numbers, duplicates, stale reports,
release without counting an attempt) and lets a test break calls before or after they take effect.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tasker import json_codec
from tasker.engine import ClaimedStep, Refusal
from tasker.models import Step, StepStatus, Task
from tasker.plugins import Plugin
from tasker.reports import REFUSALS, Report, encode_batch


@dataclass
class FakeStep:
    uuid: uuid.UUID
    task: Task
    name: str
    handler: str
    parents: list[str]
    retry_limit: int = 3
    config: dict[str, Any] = field(default_factory=dict)
    state: str = "pending"
    attempts: int = 0
    retryable: bool = True
    claim_number: int = 0
    worker_id: str | None = None
    available_at: float = 0.0
    lease_until: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    ended_claims: set[int] = field(default_factory=set)


class FakeEngine:
    """Shared state; ``connect`` opens sessions. Retries are due at once unless retry_after says."""

    def __init__(self, lease: float = 30.0) -> None:
        self.lock = threading.RLock()
        self.lease = lease
        self.steps: dict[uuid.UUID, FakeStep] = {}
        self.handlers: dict[str, list[str]] = {}
        self.draining = False
        self.any_handler = False
        self.begun: list[uuid.UUID] = []
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[str, Any]] = []
        self.before: Callable[[str, Any], None] = lambda call, detail: None
        self.after: Callable[[str, Any], None] = lambda call, detail: None
        self.on_connect: Callable[[], None] = lambda: None
        self.announce: Callable[[], None] = lambda: None
        self.fits_schema: Callable[[dict[str, Any]], bool] = lambda results: True

    # -- for tests ---------------------------------------------------------------------------

    def create_task(
        self,
        steps: dict[str, dict[str, Any]] | list[str],
        context: dict[str, Any] | None = None,
        namespace: str = "default",
        name: str = "task",
    ) -> uuid.UUID:
        """``steps``: name -> {handler, after, limit, config}; or names of independent steps."""
        if isinstance(steps, list):
            steps = {step: {} for step in steps}
        with self.lock:
            task = Task(uuid.uuid4(), namespace, name, "1.0.0", context or {})
            for step_name, spec in steps.items():
                step = FakeStep(
                    uuid.uuid4(), task, step_name, spec.get("handler", step_name),
                    spec.get("after", []), spec.get("limit", 3), spec.get("config", {}),
                )
                self.steps[step.uuid] = step
        return task.uuid

    def of_task(self, task_uuid: uuid.UUID) -> dict[str, FakeStep]:
        return {s.name: s for s in self.steps.values() if s.task.uuid == task_uuid}

    def step(self, name: str) -> FakeStep:
        return next(s for s in self.steps.values() if s.name == name)

    def states(self) -> dict[str, str]:
        return {s.name: s.state for s in self.steps.values()}

    def wait_for(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"timed out; states {self.states()}"
            time.sleep(0.002)

    def steal(self, step: FakeStep) -> None:
        """As when the lease has ended and another worker holds the step now."""
        with self.lock:
            step.claim_number += 1
            step.worker_id = "another"

    # -- the engine --------------------------------------------------------------------------

    def connect(self) -> FakeSession:
        self.on_connect()
        return FakeSession(self)

    def ready(self, step: FakeStep) -> bool:
        if step.state not in ("pending", "error") or step.available_at > time.monotonic():
            return False
        if step.attempts and not (step.retryable and step.attempts < step.retry_limit):
            return False
        siblings = self.of_task(step.task.uuid)
        return all(siblings[parent].state == "complete" for parent in step.parents)

    def claim(self, worker_id: str, max_steps: int, handlers: list[str] | None = None) -> list[ClaimedStep]:
        claimed: list[ClaimedStep] = []
        if self.draining:
            return claimed
        ready = [s for s in self.steps.values() if self.ready(s)
                 and (handlers is None or self.any_handler or s.handler in handlers)]
        for step in ready[:max_steps]:
            step.state, step.worker_id = "in_progress", worker_id
            step.attempts += 1
            step.claim_number += 1
            step.lease_until = time.monotonic() + self.lease
            siblings = self.of_task(step.task.uuid)
            claimed.append(
                ClaimedStep(
                    step.task,
                    Step(step.uuid, step.task.uuid, step.name, step.handler, step.claim_number,
                         step.attempts, step.retry_limit, step.config),
                    {parent: dict(siblings[parent].results) for parent in step.parents},
                    worker_id,
                )
            )
        return claimed

    def report(self, reports: list[Report]) -> list[tuple[uuid.UUID, str]]:
        outcomes, seen = [], set()
        for element in json_codec.loads(encode_batch(reports)):
            step = self.steps[uuid.UUID(element["step_uuid"])]
            number = element["claim_number"]
            if step.uuid in seen or number in step.ended_claims:
                outcomes.append((step.uuid, "duplicate"))
            elif number != step.claim_number or step.state != "in_progress":
                outcomes.append((step.uuid, "stale"))
            elif element["status"] == "complete" and not self.fits_schema(element["results"]):
                outcomes.append((step.uuid, "invalid"))
            else:
                outcomes.append((step.uuid, self._end(step, element)))
            seen.add(step.uuid)
        return outcomes

    def _end(self, step: FakeStep, element: dict[str, Any]) -> str:
        step.ended_claims.add(element["claim_number"])
        if element["status"] == "released":
            step.state, step.worker_id = "pending", None
            step.attempts -= 1
            step.available_at = time.monotonic() + float(element["retry_after_seconds"])
            return "released"
        step.state = element["status"]
        step.worker_id = None
        step.results = dict(element.get("results", {}))
        if step.state == "error":
            step.retryable = element["retryable"]
            step.available_at = time.monotonic() + float(element.get("retry_after_seconds", 0))
            for key in ("error_message", "error_class", "backtrace", "retry_after_seconds"):
                if key in element:
                    step.results[key] = element[key]
        return step.state

    def heartbeat(self, worker_id: str) -> list[tuple[uuid.UUID, str]]:
        answers = []
        for step in self.steps.values():
            if step.worker_id == worker_id and step.state == "in_progress":
                step.lease_until = time.monotonic() + self.lease
                answers.append((step.uuid, "extended"))
            elif step.worker_id == worker_id and step.state == "cancelled":
                answers.append((step.uuid, "cancelled"))
        return answers

    def release(self, worker_id: str) -> int:
        held = [s for s in self.steps.values()
                if s.worker_id == worker_id and s.state == "in_progress"]
        for step in held:
            step.state, step.worker_id = "pending", None
            step.attempts -= 1
        return len(held)


class FakeSession:
    connection = None
    draining = False

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.closed = False

    def _call(self, name: str, detail: Any, effect: Callable[[], Any]) -> Any:
        if self.closed:
            raise psycopg.OperationalError("the connection is closed")
        with self.engine.lock:
            self.engine.calls[name] += 1
            self.engine.log.append((name, detail))
            self.engine.before(name, detail)
            result = effect()
            self.engine.after(name, detail)
            return result

    def report_and_claim(
        self, worker_id: str, reports: list[Report], max_steps: int,
        handlers: list[str], begun: list[uuid.UUID],
    ) -> tuple[list[ClaimedStep], list[Refusal]]:
        def effect() -> tuple[list[ClaimedStep], list[Refusal]]:
            outcomes = self.engine.report(reports)
            refused = [Refusal(u, o) for u, o in outcomes if o in REFUSALS]
            self.draining = self.engine.draining
            self.engine.begun += begun
            return self.engine.claim(worker_id, max_steps, handlers), refused

        assert max_steps >= 1
        return self._call("report_and_claim", (worker_id, list(reports), max_steps), effect)

    def report_steps(self, worker_id: str, reports: list[Report]) -> list[Refusal]:
        def effect() -> list[Refusal]:
            outcomes = self.engine.report(reports)
            return [Refusal(u, o) for u, o in outcomes if o in REFUSALS]

        return self._call("report_steps", (worker_id, list(reports)), effect)

    def why_invalid(self, report: Report) -> str | None:
        return self._call("why_invalid", report, lambda: "the results break the schema at /n")

    def heartbeat(self, worker_id: str, begun: list[uuid.UUID]) -> list[tuple[uuid.UUID, str]]:
        def effect() -> list[tuple[uuid.UUID, str]]:
            self.engine.begun += begun
            return self.engine.heartbeat(worker_id)

        return self._call("heartbeat", worker_id, effect)

    def end_worker(self, worker_id: str) -> int:
        return self._call("end_worker", worker_id, lambda: self.engine.release(worker_id))

    def register_handlers(self, worker_id: str, handlers: list[str], plugin: Plugin) -> None:
        def announce() -> None:
            self.engine.handlers[worker_id] = self.engine.handlers.get(worker_id, []) + handlers

        self._call("register_handlers", worker_id, announce)

    def unregister_handlers(self, worker_id: str) -> None:
        self._call("unregister_handlers", worker_id,
                   lambda: self.engine.handlers.pop(worker_id, None))

    def get_dependency_results(self, step_uuid: uuid.UUID) -> dict[str, dict[str, Any]]:
        def ancestors() -> dict[str, dict[str, Any]]:
            step = self.engine.steps[step_uuid]
            siblings = self.engine.of_task(step.task.uuid)
            found: dict[str, dict[str, Any]] = {}
            todo = list(step.parents)
            while todo:
                name = todo.pop()
                found[name] = dict(siblings[name].results)
                todo += siblings[name].parents
            return found

        return self._call("get_dependency_results", step_uuid, ancestors)

    def step_statuses(self, task_uuid: uuid.UUID) -> list[StepStatus]:
        return self._call("step_statuses", task_uuid, lambda: [
            StepStatus(s.uuid, s.name, s.state, self.engine.ready(s), s.attempts, s.retry_limit,
                       len(s.parents), 0)
            for s in self.engine.of_task(task_uuid).values()
        ])

    def execution_status(self, task_uuid: uuid.UUID) -> str | None:
        return self._call("execution_status", task_uuid, lambda: (
            "all_complete"
            if all(s.state == "complete" for s in self.engine.of_task(task_uuid).values())
            else "processing"
        ))

    def close(self) -> None:
        self.closed = True
