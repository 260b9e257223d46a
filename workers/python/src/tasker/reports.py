"""How one run of a step ended, in the form that the engine takes."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from . import json_codec
from .errors import JsonEncodeError, PermanentError, TaskerError
from .models import Step
from .results import METADATA_KEY, StepHandlerCallResult, as_results_object

_MAX_BACKTRACE_LINES = 60
_MAX_LINE_LENGTH = 2000
_CLASS_LENGTH = 255
_LONGEST_DELAY = 1e9
RELEASE_SECONDS = 5
"""How long no worker claims a step that was given back."""

NOT_STORABLE = "ResultNotStorable"
"""Error class of a run whose outcome the engine cannot store."""
MAX_RESULT_BYTES = 200_000_000
"""The longest JSON text of results. ``jsonb`` ends at 256 MiB, and a number needs more there."""
MAX_MESSAGE_LENGTH = 1_000_000
"""The longest error message, in characters."""
MAX_BATCH_LENGTH = 16_000_000
"""About how many characters of reports go into one call; a longer report goes alone."""

REFUSALS = frozenset({"duplicate", "stale", "unknown_step", "invalid"})
"""Outcomes that mean: this report changed nothing."""


@dataclass(frozen=True)
class Failure:
    """What a failed run says about itself."""

    message: str
    error_class: str
    retryable: bool
    retry_after: float | None


@dataclass(frozen=True)
class Report:
    """One element of ``reports``, already encoded, so that a batch cannot fail for one of them."""

    step_uuid: UUID
    task_uuid: UUID
    step_name: str
    claim_number: int
    worker_id: str
    status: str
    """``complete``, ``error`` or ``released``."""
    payload: str
    """The JSON text of the element."""
    substitute: bool = False
    """True when it stands for a report that the server refused to read."""
    failure: Failure | None = None
    """Why the run failed; ``None`` for a success."""

    @property
    def size(self) -> int:
        """Length of the payload, in characters."""
        return len(self.payload)


def completed(step: Step, worker_id: str, metadata: dict[str, Any] | None = None) -> Report:
    """The step succeeded with ``step.results``.

    Results that cannot be stored make it a permanent failure of class ``ResultNotStorable``.
    """
    results = as_results_object(step.results)
    if metadata:
        results[METADATA_KEY] = metadata
    try:
        text = json_codec.dumps(results, MAX_RESULT_BYTES)
    except JsonEncodeError as error:
        return _not_storable(step, worker_id, str(error))
    return _report(step, worker_id, "complete", {}, text)


def failed(
    step: Step,
    worker_id: str,
    error: BaseException,
    permanent: tuple[type[BaseException], ...] = (PermanentError,),
) -> Report:
    """The handler raised ``error``, which may be retried unless it is one of ``permanent``.

    Never raises, whatever the error's own methods do.
    """
    name = type(error).__name__
    details: dict[str, Any] = {}
    retry_after = None
    if isinstance(error, TaskerError):
        if error.error_code:
            details["error_code"] = name = text_of(error.error_code)
        if error.context:
            details["error_context"] = error.context
        retry_after = getattr(error, "retry_after", None)
    return _failure(
        step,
        worker_id,
        message=text_of(error) or name,
        error_class=name,
        retryable=not isinstance(error, (PermanentError, *permanent)),
        retry_after=retry_after,
        results={"error_details": details} if details else {},
        backtrace=_backtrace(error),
    )


def failed_result(step: Step, worker_id: str, result: StepHandlerCallResult) -> Report:
    """The handler returned ``StepHandlerCallResult.failure(...)``."""
    results: dict[str, Any] = {}
    if result.error_code:
        results["error_details"] = {"error_code": text_of(result.error_code)}
    if result.metadata:
        results[METADATA_KEY] = result.metadata
    return _failure(
        step,
        worker_id,
        message=text_of(result.message or "failed"),
        error_class=text_of(result.error_class or "StepFailure"),
        retryable=bool(result.retryable),
        retry_after=result.retry_after,
        results=results,
        backtrace=None,
    )


def released(step: Step, worker_id: str, reason: str) -> Report:
    """This worker cannot run the step: the engine gives it to another, and no attempt counts."""
    return _report(step, worker_id, "released", {
        "retry_after_seconds": RELEASE_SECONDS, "reason": json_codec.clean_text(reason),
    })


def substitute(report: Report, reason: str) -> Report:
    """A permanent failure in place of a report that the server could not take."""
    message = f"The server refused the report of this step: {_ascii(reason)}"
    payload = {
        "step_uuid": str(report.step_uuid),
        "claim_number": report.claim_number,
        "status": "error",
        "error_message": message,
        "error_class": NOT_STORABLE,
        "retryable": False,
    }
    return Report(
        report.step_uuid, report.task_uuid, report.step_name, report.claim_number,
        report.worker_id, "error", json_codec.dumps(payload), substitute=True,
        failure=Failure(message, NOT_STORABLE, False, None),
    )


def with_logs(report: Report, logs: str | None) -> Report:
    """The report with the log of its run, a JSON array; ``None``: nothing was logged."""
    if logs is None:
        return report
    return replace(report, payload=f'{report.payload[:-1]},"logs":{logs}}}')


def without_superseded(reports: list[Report]) -> tuple[list[Report], list[Report]]:
    """(reports to send, reports of runs that a later claim of the same step has replaced).

    The engine takes the first report of a step in a batch, which would be the wrong one.
    """
    latest: dict[UUID, int] = {}
    for report in reports:
        latest[report.step_uuid] = max(latest.get(report.step_uuid, 0), report.claim_number)
    keep = [r for r in reports if r.claim_number == latest[r.step_uuid]]
    return keep, [r for r in reports if r.claim_number != latest[r.step_uuid]]


def split(reports: list[Report]) -> list[Report]:
    """The first reports that together fit into one call; at least one where there is any."""
    room = MAX_BATCH_LENGTH
    for count, report in enumerate(reports):
        room -= report.size
        if room < 0:
            return reports[: max(count, 1)]
    return reports


def encode_batch(reports: list[Report]) -> str:
    """The JSON array that ``report_steps`` and ``report_and_claim`` take."""
    return "[" + ",".join(report.payload for report in reports) + "]"


def text_of(value: Any) -> str:
    """``str(value)`` that PostgreSQL can store; never raises."""
    try:
        return json_codec.clean_text(str(value))
    except BaseException:  # a __str__ of the application may do anything
        return f"{type(value).__name__} whose text cannot be read"


def _not_storable(step: Step, worker_id: str, reason: str) -> Report:
    return _failure(
        step,
        worker_id,
        message=f"What the handler returned cannot be stored: {reason}",
        error_class=NOT_STORABLE,
        retryable=False,
        retry_after=None,
        results={},
        backtrace=None,
    )


def _failure(
    step: Step,
    worker_id: str,
    *,
    message: str,
    error_class: str,
    retryable: bool,
    retry_after: Any,
    results: dict[str, Any],
    backtrace: list[str] | None,
) -> Report:
    if len(message) > MAX_MESSAGE_LENGTH:
        return _not_storable(step, worker_id, (
            f"$.error_message: {len(message):,} characters, more than {MAX_MESSAGE_LENGTH:,}; "
            f"it is of class {error_class[:_CLASS_LENGTH]} and begins: {message[:1000]}"
        ))
    body: dict[str, Any] = {
        "error_message": message,
        "error_class": json_codec.clean_text(error_class)[:_CLASS_LENGTH],
        "retryable": retryable,
    }
    seconds = _seconds(retry_after) if retryable else None
    if seconds is not None:
        body["retry_after_seconds"] = seconds
    if backtrace:
        body["backtrace"] = backtrace
    failure = Failure(message, body["error_class"], retryable, seconds)
    try:
        text = json_codec.dumps(results, MAX_RESULT_BYTES) if results else None
    except Exception as error:  # details of the application's own making
        text = json_codec.dumps({"error_details": {"unreadable": text_of(error)}})
    return _report(step, worker_id, "error", body, text, failure)


def _seconds(value: Any) -> float | None:
    """A delay that the engine understands; ``None`` leaves the delay to it."""
    try:
        seconds = float(value)
    except Exception:
        return None
    return min(max(seconds, 0.0), _LONGEST_DELAY) if seconds == seconds else None


def _report(
    step: Step,
    worker_id: str,
    status: str,
    body: dict[str, Any],
    results: str | None = None,
    failure: Failure | None = None,
) -> Report:
    """``results`` is JSON text already, so that places in its errors begin with the result."""
    element = {
        "step_uuid": str(step.uuid),
        "claim_number": step.claim_number,
        "status": status,
        **body,
    }
    payload = json_codec.dumps(element)
    if results is not None:
        payload = f'{payload[:-1]},"results":{results}}}'
    events = [] if status == "released" else step.published(status == "complete")
    if events:
        payload = f'{payload[:-1]},"events":[{",".join(events)}]}}'
    return Report(
        step.uuid, step.task_uuid, step.name, step.claim_number, worker_id, status, payload,
        failure=failure,
    )


def _backtrace(error: BaseException) -> list[str]:
    try:
        lines = [
            text_of(line[:_MAX_LINE_LENGTH])
            for entry in traceback.format_exception(error)
            for line in entry.rstrip("\n").split("\n")
        ]
    except BaseException:  # it formats the error, and so may do anything
        return []
    return lines[-_MAX_BACKTRACE_LINES:]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("\x00", "?")[:1000]
