"""What a handler sees: its task, its step and the results of the steps before it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from . import json_codec
from .errors import JsonEncodeError, NotAnAncestor
from .results import result_value


MAX_EVENTS_LENGTH = 16_000_000
"""How many characters of JSON the events of one run have at most."""


@dataclass(frozen=True)
class Task:
    """The task that the running step belongs to."""

    uuid: UUID
    namespace: str
    name: str
    version: str
    context: dict[str, Any]
    """The JSON object given at creation; integers are ``int``, other numbers ``Decimal``."""
    correlation_id: str | None = None
    traceparent: str | None = None
    """W3C trace context that names the span of this run: the parent of the handler's spans, and
    what to pass on to systems that the handler calls."""
    tracestate: str | None = None
    """W3C tracestate of the creator, to be passed on with ``traceparent``."""

    @property
    def full_name(self) -> str:
        """``namespace.name@version``."""
        return f"{self.namespace}.{self.name}@{self.version}"


@dataclass
class Step:
    """One claimed run of a step."""

    uuid: UUID
    task_uuid: UUID
    name: str
    handler: str
    """The handler name that the template gives."""
    claim_number: int
    """The fence of this run: a report under an older number is refused by the engine."""
    attempt: int = 1
    """1 for the first run since the last reset."""
    retry_limit: int = 3
    """Total number of attempts that the step gets."""
    handler_config: dict[str, Any] = field(default_factory=dict)
    """``handler.initialization`` of the template."""
    queue: str = "default"
    lease_expires_at: datetime | None = None
    """End of the lease as claimed; the worker extends it while it holds the step."""
    results: dict[str, Any] = field(default_factory=dict)
    """What will be reported. ``process`` may fill it itself instead of returning a value."""
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    """Set when the engine says that this run no longer counts (task cancelled, lease lost).
    A long handler looks at ``step.cancelled.is_set()`` and returns early; whatever it returns then
    is not stored."""
    _events: list[tuple[str, bool]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def publish(
        self, name: str, payload: Mapping[str, Any] | None = None, *, on_failure: bool = False
    ) -> None:
        """Publish an event about this step, such as ``step.publish("orders.paid", {"total": 12})``.

        It goes to the engine with the report of this run, in the same transaction: readers get it
        if the run succeeds and its report is accepted, and then once. With ``on_failure`` they also
        get it if the run fails; a run that is repeated then publishes again. The payload is
        read here: later changes of it do not count.

        Raises :class:`~tasker.errors.JsonEncodeError` for a payload that JSON cannot hold. What the
        engine refuses (a name without a dot, a payload that breaks the schema of the event) does
        not fail the step: ``refused_events`` in its log row says why.
        """
        text = json_codec.dumps(
            {"name": json_codec.clean_text(name), "payload": {} if payload is None else payload},
            MAX_EVENTS_LENGTH,
        )
        if sum(len(event) for event, _ in self._events) + len(text) > MAX_EVENTS_LENGTH:
            raise JsonEncodeError(
                f"the events of one run have more than {MAX_EVENTS_LENGTH:,} characters"
            )
        self._events.append((text, on_failure))

    def published(self, succeeded: bool) -> list[str]:
        """The JSON texts of the events that the report of this run has, if it ends this way."""
        return [event for event, on_failure in self._events if succeeded or on_failure]

    @property
    def last_attempt(self) -> bool:
        """True when a failure of this run will be permanent."""
        return self.attempt >= self.retry_limit


class Sequence:
    """The results of the steps on which the running step depends, directly or not.

    The results of the parents come with the claim. Those of other ancestors are fetched once, when
    first asked for.
    """

    def __init__(
        self,
        parents: Mapping[str, Mapping[str, Any]],
        fetch_ancestors: Callable[[], Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> None:
        """``fetch_ancestors`` returns name -> results of all ancestors, parents included."""
        self._parents = {name: dict(results or {}) for name, results in parents.items()}
        self._fetch = fetch_ancestors
        self._ancestors: dict[str, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    @property
    def parents(self) -> dict[str, dict[str, Any]]:
        """Step name -> results of the direct parents."""
        return self._parents

    def get_results(self, step_name: str) -> dict[str, Any]:
        """The stored results object of an ancestor.

        Raises :class:`~tasker.errors.NotAnAncestor` (a ``KeyError``) when the running step does not
        depend on ``step_name``, and what the database raises when the fetch fails.
        """
        found = self._parents.get(step_name)
        if found is None:
            found = self.all_results().get(step_name)
        if found is None:
            known = ", ".join(sorted(self.all_results())) or "none"
            raise NotAnAncestor(
                f"The running step does not depend on a step named {step_name!r}; "
                f"steps before it: {known}"
            )
        return found

    def get_value(self, step_name: str) -> Any:
        """What the ancestor's handler returned: ``{"result": v}`` is unwrapped to ``v``."""
        return result_value(self.get_results(step_name))

    def parent_values(self) -> dict[str, Any]:
        """Step name -> unwrapped value of every parent; for handlers that join them all."""
        return {name: result_value(results) for name, results in self._parents.items()}

    def all_results(self) -> dict[str, dict[str, Any]]:
        """Step name -> results of all ancestors, parents included."""
        with self._lock:
            if self._ancestors is None:
                fetched = self._fetch() if self._fetch is not None else {}
                merged = {name: dict(results or {}) for name, results in fetched.items()}
                self._ancestors = merged | self._parents
            return self._ancestors


@dataclass(frozen=True)
class StepStatus:
    """One step of a task as the engine sees it, for the hooks of a ``TaskHandler``."""

    uuid: UUID
    name: str
    state: str
    ready: bool
    attempts: int
    retry_limit: int
    total_parents: int
    completed_parents: int
