"""Runs one claimed step and turns whatever happens into a report."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from . import reports, run_log, story
from .engine import ClaimedStep
from .handler import StepHandler
from .models import Sequence
from .registry import HandlerRegistry
from .reports import Report
from .results import StepHandlerCallResult

log = logging.getLogger("tasker.steps")

FetchAncestors = Callable[[UUID], dict[str, dict[str, Any]]]


class StepExecutor:
    """Knows handlers, not the database: ``fetch_ancestors`` and ``before_step`` are given to it.

    Records of handlers of at least ``log_level`` go with the report; ``None``: none does.
    """

    def __init__(
        self,
        registry: HandlerRegistry,
        fetch_ancestors: FetchAncestors,
        before_step: Callable[[ClaimedStep], None] = lambda claim: None,
        log_level: int | None = logging.INFO,
    ) -> None:
        self._registry = registry
        self._fetch_ancestors = fetch_ancestors
        self._before_step = before_step
        self._log_level = log_level

    def run(self, claim: ClaimedStep) -> Report | None:
        """Run the handler; never raises. ``None`` when the run was cancelled before it began."""
        if claim.step.cancelled.is_set():
            return None
        if not self._registry.has(claim.step.handler):
            # Another worker has it, or will: a newer version, another service.
            report = reports.released(
                claim.step, claim.worker_id, f"no handler named {claim.step.handler!r} in this worker"
            )
            story.given_back(claim, report)
            return report
        began = time.monotonic()
        permanent: tuple[type[BaseException], ...] = StepHandler.permanent_errors
        with run_log.keep(claim, self._log_level) as logs:
            try:
                if claim.fault is not None:
                    raise claim.fault
                handler = self._registry.create(claim.step.handler)
                permanent = handler.permanent_errors
                report = self._process(claim, handler)
            except BaseException as error:  # SystemExit too: the step ends, not the thread
                log.debug("Handler %s", claim.step.handler, exc_info=True)
                report = reports.failed(claim.step, claim.worker_id, error, permanent)
        report = reports.with_logs(report, logs.close())
        story.ended(claim, report, time.monotonic() - began)
        return report

    def _process(self, claim: ClaimedStep, handler: StepHandler) -> Report:
        step = claim.step
        handler.handler_config = step.handler_config
        claim.begun.set()
        self._before_step(claim)
        sequence = Sequence(claim.parents, lambda: self._fetch_ancestors(step.uuid))
        initial = copy.deepcopy(step.results)
        output = handler.process(claim.task, sequence, step)
        metadata: dict[str, Any] = {}
        if isinstance(output, StepHandlerCallResult):
            if not output.ok:
                return reports.failed_result(step, claim.worker_id, output)
            output, metadata = output.result, output.metadata
        handler.process_results(step, output, initial)
        return reports.completed(step, claim.worker_id, metadata)
