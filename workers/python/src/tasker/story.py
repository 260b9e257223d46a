"""What the log tells at INFO about a step: claimed, done, failed and what comes next."""

from __future__ import annotations

import logging

from .engine import ClaimedStep
from .reports import Failure, Report

log = logging.getLogger("tasker.steps")
_LONGEST_MESSAGE = 500


def claimed(claim: ClaimedStep) -> None:
    """The engine has handed out a step."""
    step = claim.step
    log.info("Step %s of %s is claimed, attempt %d of %d [step %s]",
             step.name, claim.task.full_name, step.attempt, step.retry_limit, step.uuid)


def ended(claim: ClaimedStep, report: Report, seconds: float | None = None) -> None:
    """A run has ended, after ``seconds``; without them the server has refused its first report."""
    step, failure = claim.step, report.failure
    took = "" if seconds is None else f" in {seconds * 1000:.0f} ms"
    if failure is None:
        if report.status == "complete":
            log.info("Step %s of %s is done%s [step %s]",
                     step.name, claim.task.full_name, took, step.uuid)
        return
    level = logging.INFO if _comes_again(claim, failure) else logging.WARNING
    message = " ".join(failure.message[:_LONGEST_MESSAGE].split())
    log.log(level, "Step %s of %s failed%s, attempt %d of %d, %s: %s: %s [step %s]",
            step.name, claim.task.full_name, took, step.attempt, step.retry_limit,
            _next(claim, failure), failure.error_class, message, step.uuid)


def given_back(claim: ClaimedStep, report: Report) -> None:
    """This worker cannot run the step."""
    step = claim.step
    log.info("Step %s of %s is given back, no handler %s here [step %s]",
             step.name, claim.task.full_name, step.handler, report.step_uuid)


def _comes_again(claim: ClaimedStep, failure: Failure) -> bool:
    return failure.retryable and not claim.step.last_attempt


def _next(claim: ClaimedStep, failure: Failure) -> str:
    """The engine decides; this is what it does unless the step was changed meanwhile."""
    if not failure.retryable:
        return "gave up because the error is permanent"
    if claim.step.last_attempt:
        return "gave up after the last attempt"
    if failure.retry_after is None:
        return "again after its backoff"
    return f"again in {failure.retry_after:g} s"
