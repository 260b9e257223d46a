"""How one run of a step ended, in the form that the engine takes."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from . import json_codec
from .errors import JsonEncodeError, PermanentError, RetryableError, TaskerError
from .models import Step
from .results import METADATA_KEY, StepHandlerCallResult, as_results_object

_MAX_BACKTRACE_LINES = 60

REFUSALS = frozenset({"duplicate", "stale", "unknown_step", "invalid"})
"""Outcomes that mean: this report changed nothing."""


@dataclass(frozen=True)
class Report:
    """One element of ``reports``, already encoded, so that a batch cannot fail for one of them."""

    step_uuid: UUID
    task_uuid: UUID
    step_name: str
    claim_number: int
    worker_id: str
    status: str
    """``complete`` or ``error``."""
    payload: str
    """The JSON text of the element."""
    substitute: bool = False
    """True when it stands for a report that the server refused to read."""


def completed(step: Step, worker_id: str, metadata: dict[str, Any] | None = None) -> Report:
    """The step succeeded with ``step.results``.

    Results that JSON cannot hold make it a permanent failure of class ``JsonEncodeError``.
    """
    results = as_results_object(step.results)
    if metadata:
        results[METADATA_KEY] = metadata
    try:
        return _report(step, worker_id, "complete", {"results": results})
    except JsonEncodeError as error:
        return failed(step, worker_id, PermanentError(
            f"The step's results cannot be stored: {error}", error_code="JsonEncodeError"
        ))


def failed(step: Step, worker_id: str, error: BaseException) -> Report:
    """The handler raised ``error``; anything but ``PermanentError`` may be retried."""
    details: dict[str, Any] = {}
    if isinstance(error, TaskerError):
        if error.error_code:
            details["error_code"] = json_codec.clean_text(error.error_code)
        if error.context:
            details["error_context"] = error.context
    return _failure(
        step,
        worker_id,
        message=str(error) or type(error).__name__,
        error_class=error.error_class if isinstance(error, TaskerError) else type(error).__name__,
        retryable=not isinstance(error, PermanentError),
        retry_after=error.retry_after if isinstance(error, RetryableError) else None,
        results={"error_details": details} if details else {},
        backtrace=_backtrace(error),
    )


def failed_result(step: Step, worker_id: str, result: StepHandlerCallResult) -> Report:
    """The handler returned ``StepHandlerCallResult.failure(...)``."""
    results: dict[str, Any] = {}
    if result.error_code:
        results["error_details"] = {"error_code": result.error_code}
    if result.metadata:
        results[METADATA_KEY] = result.metadata
    return _failure(
        step,
        worker_id,
        message=result.message or "failed",
        error_class=result.error_class or "StepFailure",
        retryable=result.retryable,
        retry_after=result.retry_after,
        results=results,
        backtrace=None,
    )


def substitute(report: Report, reason: str) -> Report:
    """A permanent failure in place of a report that the server could not take."""
    payload = {
        "step_uuid": str(report.step_uuid),
        "claim_number": report.claim_number,
        "status": "error",
        "error_message": f"The server refused the report of this step: {_ascii(reason)}",
        "error_class": "ReportRefused",
        "retryable": False,
    }
    return Report(
        report.step_uuid, report.task_uuid, report.step_name, report.claim_number,
        report.worker_id, "error", json_codec.dumps(payload), substitute=True,
    )


def without_superseded(reports: list[Report]) -> tuple[list[Report], list[Report]]:
    """(reports to send, reports of runs that a later claim of the same step has replaced).

    The engine takes the first report of a step in a batch, which would be the wrong one.
    """
    latest: dict[UUID, int] = {}
    for report in reports:
        latest[report.step_uuid] = max(latest.get(report.step_uuid, 0), report.claim_number)
    keep = [r for r in reports if r.claim_number == latest[r.step_uuid]]
    return keep, [r for r in reports if r.claim_number != latest[r.step_uuid]]


def encode_batch(reports: list[Report]) -> str:
    """The JSON array that ``report_steps`` and ``report_and_claim`` take."""
    return "[" + ",".join(report.payload for report in reports) + "]"


def _failure(
    step: Step,
    worker_id: str,
    *,
    message: str,
    error_class: str,
    retryable: bool,
    retry_after: float | None,
    results: dict[str, Any],
    backtrace: list[str] | None,
) -> Report:
    body: dict[str, Any] = {
        "error_message": json_codec.clean_text(message),
        "error_class": json_codec.clean_text(error_class),
        "retryable": retryable,
    }
    if retry_after is not None and retryable:
        body["retry_after_seconds"] = retry_after
    if backtrace:
        body["backtrace"] = backtrace
    if results:
        body["results"] = results
    try:
        return _report(step, worker_id, "error", body)
    except JsonEncodeError as error:  # details of the application's own making
        body["results"] = {"error_details": {"unreadable": json_codec.clean_text(str(error))}}
        return _report(step, worker_id, "error", body)


def _report(step: Step, worker_id: str, status: str, body: dict[str, Any]) -> Report:
    element = {
        "step_uuid": str(step.uuid),
        "claim_number": step.claim_number,
        "status": status,
        **body,
    }
    return Report(
        step.uuid, step.task_uuid, step.name, step.claim_number, worker_id, status,
        json_codec.dumps(element),
    )


def _backtrace(error: BaseException) -> list[str]:
    lines = [
        json_codec.clean_text(line)
        for entry in traceback.format_exception(error)
        for line in entry.rstrip("\n").split("\n")
    ]
    return lines[-_MAX_BACKTRACE_LINES:]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii").replace("\x00", "?")[:1000]
