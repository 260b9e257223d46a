"""Runs one claimed step and turns whatever happens into a report."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from . import reports
from .engine import ClaimedStep
from .models import Sequence
from .registry import HandlerRegistry
from .reports import Report
from .results import StepHandlerCallResult

log = logging.getLogger("tasker.steps")

FetchAncestors = Callable[[UUID], dict[str, dict[str, Any]]]


class StepExecutor:
    """Knows handlers, not the database: ``fetch_ancestors`` and ``before_step`` are given to it."""

    def __init__(
        self,
        registry: HandlerRegistry,
        fetch_ancestors: FetchAncestors,
        before_step: Callable[[ClaimedStep], None] = lambda claim: None,
    ) -> None:
        self._registry = registry
        self._fetch_ancestors = fetch_ancestors
        self._before_step = before_step

    def run(self, claim: ClaimedStep) -> Report | None:
        """Run the handler; never raises. ``None`` when the run was cancelled before it began."""
        step = claim.step
        if step.cancelled.is_set():
            return None
        try:
            report = self._process(claim)
        except BaseException as error:  # SystemExit too: the step ends, not the thread
            log.warning(
                "Step %s of %s failed, attempt %d of %d: %s: %s [step %s]",
                step.name, claim.task.full_name, step.attempt, step.retry_limit,
                type(error).__name__, error, step.uuid,
            )
            log.debug("Handler %s", step.handler, exc_info=True)
            report = reports.failed(step, claim.worker_id, error)
        return report

    def _process(self, claim: ClaimedStep) -> Report:
        step = claim.step
        handler = self._registry.create(step.handler)
        handler.handler_config = step.handler_config
        self._before_step(claim)
        sequence = Sequence(claim.parents, lambda: self._fetch_ancestors(step.uuid))
        initial = copy.deepcopy(step.results)
        output = handler.process(claim.task, sequence, step)
        metadata: dict[str, Any] = {}
        if isinstance(output, StepHandlerCallResult):
            if not output.ok:
                log.warning(
                    "Step %s of %s failed, attempt %d of %d: %s: %s [step %s]",
                    step.name, claim.task.full_name, step.attempt, step.retry_limit,
                    output.error_class, output.message, step.uuid,
                )
                return reports.failed_result(step, claim.worker_id, output)
            output, metadata = output.result, output.metadata
        handler.process_results(step, output, initial)
        return reports.completed(step, claim.worker_id, metadata)
