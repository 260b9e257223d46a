"""Step handlers that the integration tests run in worker processes of their own."""

from __future__ import annotations

import logging
import time
from decimal import Decimal
from pathlib import Path

from tasker import (
    PermanentError,
    RetryableError,
    Sequence,
    Step,
    StepHandlerCallResult,
    StepStatus,
    Task,
    TaskHandler,
    step_handler,
    task_handler,
)


@step_handler("test.quick")
def quick(task: Task, sequence: Sequence, step: Step) -> int:
    return 1


@step_handler("test.echo")
def echo(task: Task, sequence: Sequence, step: Step) -> dict[str, object]:
    """The context, the configuration and what comes from every step before."""
    return {
        "context": task.context,
        "config": step.handler_config,
        "ancestors": sequence.all_results(),
        "task": task.full_name,
        "correlation_id": task.correlation_id,
        "traceparent": task.traceparent,
        "tracestate": task.tracestate,
    }


@step_handler("test.hold")
def hold(task: Task, sequence: Sequence, step: Step) -> str:
    """Touches ``<directory>/<step>.started``, then waits for ``<directory>/go``."""
    directory = Path(task.context["directory"])
    (directory / f"{step.name}.started").touch()
    while not (directory / "go").exists():
        time.sleep(0.01)
    return "held"


@step_handler("test.sleep")
def sleep(task: Task, sequence: Sequence, step: Step) -> str:
    time.sleep(float(task.context["seconds"]))
    return "slept"


log = logging.getLogger("app.talk")


@step_handler("test.talk")
def talk(task: Task, sequence: Sequence, step: Step) -> None:
    """Logs at several levels, with a secret, and fails at the first attempt."""
    log.debug("not kept")
    log.info("attempt %d", step.attempt, extra={"card": {"token": "4711"}})
    if step.attempt == 1:
        try:
            raise ValueError("inner")
        except ValueError:
            log.exception("password=hunter2 is wrong")
        raise RetryableError("not yet", retry_after=0)


@step_handler("test.retry_once")
def retry_once(task: Task, sequence: Sequence, step: Step) -> int:
    if step.attempt == 1:
        raise RetryableError("not yet", retry_after=1, context={"attempt": 1})
    return step.attempt


@step_handler("test.permanent")
def permanent(task: Task, sequence: Sequence, step: Step) -> None:
    raise PermanentError("never", error_code="NEVER", context={"why": "test"})


@step_handler("test.failure_result")
def failure_result(task: Task, sequence: Sequence, step: Step) -> StepHandlerCallResult:
    return StepHandlerCallResult.failure("by value", error_code="BY_VALUE", retryable=False)


@step_handler("test.until_cancelled")
def until_cancelled(task: Task, sequence: Sequence, step: Step) -> str:
    directory = Path(task.context["directory"])
    (directory / f"{step.name}.started").touch()
    if step.cancelled.wait(20):
        (directory / "cancelled").touch()
    return "too late"


@step_handler("test.publish")
def publish(task: Task, sequence: Sequence, step: Step) -> int:
    step.publish(f"{task.namespace}.tried", {"attempt": step.attempt}, on_failure=True)
    step.publish(f"{task.namespace}.paid", {"total": Decimal("209.970")})
    step.publish("nodot")
    if step.attempt == 1:
        raise RetryableError("not yet", retry_after=0)
    return step.attempt


@task_handler("integration_hooks", "hooked")
class Hooks(TaskHandler):
    def establish_step_dependencies_and_defaults(
        self, task: Task, steps: list[StepStatus]
    ) -> None:
        names = ",".join(sorted(step.name for step in steps))
        (Path(task.context["directory"]) / "established").write_text(names)

    def update_annotations(
        self, task: Task, sequence: Sequence, steps: list[StepStatus]
    ) -> None:
        states = ",".join(sorted({step.state for step in steps}))
        (Path(task.context["directory"]) / "annotated").write_text(states)


UNSTORABLE = {
    "nul": lambda: {"text": "a\x00b"},
    "nan": lambda: {"price": float("nan")},
    "bytes": lambda: {"data": b"bytes"},
    "long": lambda: {"blob": "x" * 300_000_000},
    # A short text that is too large as jsonb: only the server can tell.
    "numbers": lambda: {"n": [0] * 40_000_000},
}


@step_handler("test.unstorable")
def unstorable(task: Task, sequence: Sequence, step: Step) -> object:
    return UNSTORABLE[step.handler_config["kind"]]()


@step_handler("test.unspeakable")
def unspeakable(task: Task, sequence: Sequence, step: Step) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    raise PermanentError("wrapped", error_code=404) from Unspeakable()  # type: ignore[arg-type]
