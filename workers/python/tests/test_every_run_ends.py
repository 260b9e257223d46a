"""Whatever a handler returns or raises, its run ends with one report that the engine takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from fake_engine import FakeEngine

from tasker import (
    HandlerRegistry,
    PermanentError,
    RetryableError,
    Runner,
    Sequence,
    Step,
    StepHandler,
    StepHandlerCallResult,
    Task,
    reports,
)
from tasker.engine import _claimed_step
from tasker.connection import Trouble, classify

Start = Callable[..., Runner]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


def raises(error: BaseException) -> Callable[..., Any]:
    def handler(task: Task, sequence: Sequence, step: Step) -> Any:
        raise error

    return handler


def returns(make: Callable[[], Any]) -> Callable[..., Any]:
    return lambda task, sequence, step: make()


def endless_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(50_000):
        value = [value]
    return value


def endless_mapping() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["me"] = value
    return value


@pytest.mark.parametrize(("make", "place"), [
    (lambda: {"text": "a\x00b"}, "$.text"),
    (lambda: ["\ud800"], "$.result[0]"),
    (lambda: {"price": float("nan")}, "$.price"),
    (endless_list, "$.result[0]"),
    (endless_mapping, "$.me.me: "),
    (deep, "$.result[0]"),
    (lambda: {"when": {1, 2}}, "$.when"),
    (lambda: {"o": object()}, "$.o"),
    (lambda: {1: "one"}, "$"),
    (lambda: {"blob": "x" * 300_000_000}, "$.blob"),
    (lambda: {"blobs": ["x" * 100_000_000] * 3}, "$.blobs[1]"),
    (lambda: StepHandlerCallResult.success(1, {"when": object()}), "$._metadata.when"),
    (lambda: (n for n in [1]), "$.result"),
], ids=["nul", "surrogate", "nan", "cycle", "object-cycle", "depth", "set", "object", "key", "300MB",
        "300MB-in-parts", "metadata", "generator"])
def test_what_cannot_be_stored_fails_the_step_permanently_and_names_the_place(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, make: Callable[[], Any], place: str
) -> None:
    registry.register("bad", returns(make))
    registry.register("good", returns(lambda: 1))
    engine.create_task({"bad": {"handler": "bad"}, "good": {"handler": "good"}})
    start(threads=1, batch=2)
    engine.wait_for(lambda: engine.states() == {"bad": "error", "good": "complete"}, 20)
    bad = engine.step("bad")
    assert (bad.results["error_class"], bad.retryable) == ("ResultNotStorable", False)
    assert f"stored: {place}" in bad.results["error_message"]
    assert bad.attempts == 1


@pytest.mark.parametrize(("error", "error_class", "retryable"), [
    (PermanentError("x", error_code=404), "404", False),  # type: ignore[arg-type]
    (PermanentError("x", error_code=Unspeakable()), None, False),  # type: ignore[arg-type]
    (PermanentError("x", context="text"), "PermanentError", False),  # type: ignore[arg-type]
    (RetryableError("x", context={"again": endless_list()}), "RetryableError", True),
    (Unspeakable(), "Unspeakable", True),
    (Endless(), "Endless", True),
    (Leaving(), "Leaving", True),
    (ValueError("nul \x00 surrogate \ud800"), "ValueError", True),
    (SystemExit(3), "SystemExit", True),
    (MemoryError(), "MemoryError", True),
    (RuntimeError("x" * 10_000_000), "ResultNotStorable", False),
], ids=["code-404", "code-without-text", "context-text", "context-cycle", "no-text", "endless-text",
        "leaving-text", "characters", "exit", "memory", "10MB"])
def test_whatever_a_handler_raises_the_run_ends_with_one_report(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, error: BaseException,
    error_class: str | None, retryable: bool,
) -> None:
    registry.register("bad", raises(error))
    registry.register("good", returns(lambda: 1))
    engine.create_task({"bad": {"handler": "bad", "limit": 1}, "good": {"handler": "good"}})
    runner = start(threads=1, batch=2)
    engine.wait_for(lambda: engine.states() == {"bad": "error", "good": "complete"}, 10)
    bad = engine.step("bad")
    assert bad.retryable == retryable and bad.attempts == 1
    assert error_class is None or bad.results["error_class"] == error_class
    assert len(bad.results["error_message"]) < 10_000
    engine.wait_for(lambda: len(runner._holdings) == 0)


@pytest.mark.parametrize("delay", ["soon", float("nan"), float("inf"), -1, 10**400, object()])
def test_a_delay_that_is_none_does_not_spoil_the_report(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, delay: Any
) -> None:
    result = StepHandlerCallResult(ok=False, message=5, retry_after=delay)  # type: ignore[arg-type]
    registry.register("bad", returns(lambda: result))
    engine.create_task({"s": {"handler": "bad", "limit": 1}})
    start()
    engine.wait_for(lambda: engine.states() == {"s": "error"})
    assert engine.step("s").results["error_message"] == "5"


def test_results_that_break_their_schema_fail_the_step_once_and_tell_the_reason(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    ran: list[str] = []
    registry.register("h", lambda task, sequence, step: ran.append(step.name) or {"n": step.name})
    engine.fits_schema = lambda results: results["n"] != "bad"
    engine.create_task({"bad": {"handler": "h"}, "good": {"handler": "h"}})
    runner = start(threads=2)
    first = runner.worker_id
    engine.wait_for(lambda: engine.states() == {"bad": "error", "good": "complete"})
    bad = engine.step("bad")
    assert (bad.results["error_class"], bad.retryable) == ("ResultNotStorable", False)
    assert "at /n" in bad.results["error_message"]
    assert sorted(ran) == ["bad", "good"] and runner.worker_id == first
    assert engine.calls["end_worker"] == 0


def test_a_long_report_goes_alone(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_BATCH_LENGTH", 2000)
    both = threading.Barrier(4)

    def handler(task: Task, sequence: Sequence, step: Step) -> str:
        both.wait(10)
        return "x" * (5000 if step.name == "long" else 10)

    registry.register("h", handler)
    engine.create_task({name: {"handler": "h"} for name in ("a", "long", "b", "c")})
    start(threads=4)
    engine.wait_for(lambda: set(engine.states().values()) == {"complete"})
    sent = [detail[1] for call, detail in engine.log if "report" in call]
    assert [1] == [len(batch) for batch in sent if any(r.step_name == "long" for r in batch)]


def test_a_value_that_the_client_cannot_send_is_no_lost_connection() -> None:
    assert classify(psycopg.DataError("PostgreSQL text fields cannot contain NUL")) is Trouble.DATA


# -- errors of the worker itself ----------------------------------------------------------------


def row(**changes: Any) -> dict[str, Any]:
    import uuid

    return {
        "step_uuid": uuid.uuid4(), "task_uuid": uuid.uuid4(), "namespace": "n", "task_name": "t",
        "version": "1.0.0", "context": b'{"n": 1}', "correlation_id": None,
        "traceparent": None, "tracestate": None,
        "step_name": "s", "handler": "h", "claim_number": 1, "attempt": 1, "retry_limit": 3,
        "handler_config": None, "queue": "default", "lease_ends": 1767225600, "dependency_results": None,
    } | changes


@pytest.mark.parametrize("column", ["context", "handler_config", "dependency_results"])
@pytest.mark.parametrize("text", [
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b'{"a": "\xff"}',
], ids=["deep", "not-utf8"])
def test_a_value_that_cannot_be_read_fails_its_step_only(
    registry: HandlerRegistry, column: str, text: bytes
) -> None:
    from tasker import json_codec
    from tasker.executor import StepExecutor

    registry.register("h", lambda task, sequence, step: task.context)
    executor = StepExecutor(registry, lambda uuid: {})
    good, bad = (_claimed_step(row(**given), "w") for given in ({}, {column: text}))
    report = executor.run(good)
    assert report is not None and report.status == "complete"
    report = executor.run(bad)
    assert report is not None
    parsed = json_codec.loads(report.payload)
    assert (parsed["error_class"], parsed["retryable"]) == ("ValueNotReadable", False)
    assert column in parsed["error_message"]


def test_an_error_of_the_worker_after_a_claim_gives_back_what_it_never_saw(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    registry.register("h", returns(lambda: 1))
    engine.create_task({"s": {"handler": "h"}})
    broken: list[str] = []

    def after(call: str, detail: Any) -> None:
        if call == "report_and_claim" and not broken:
            broken.append(detail[0])
            raise NotImplementedError("can't parse timestamptz with DateStyle 'German'")

    engine.after = after
    start()
    engine.wait_for(lambda: engine.states() == {"s": "complete"})
    assert ("end_worker", broken[0]) in engine.log
    assert engine.step("s").attempts == 1


def test_an_error_that_ends_the_loop_gives_back_what_is_held(
    engine: FakeEngine, registry: HandlerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasker import WorkerSettings

    registry.register("h", returns(lambda: time.sleep(0.2)))
    engine.create_task({f"s{n}": {"handler": "h"} for n in range(5)})
    runner = Runner(WorkerSettings(threads=1, batch=5, listen=False), registry, engine.connect)

    def broken() -> None:
        raise ZeroDivisionError("a fault of the loop")

    engine.after = lambda call, detail: (
        setattr(runner, "_gather", broken) if call == "report_and_claim" else None
    )
    with pytest.raises(ZeroDivisionError):
        runner.run()
    states = list(engine.states().values())
    assert states.count("in_progress") == 0 and states.count("pending") >= 3
    assert sum(step.attempts for step in engine.steps.values()) == states.count("complete")


# -- programming errors -------------------------------------------------------------------------


def undefined_name() -> None:
    undefined  # type: ignore[name-defined]  # noqa: B018, F821


@pytest.mark.parametrize("fault", [
    lambda: len(5), undefined_name, lambda: (5).nothing,  # type: ignore[arg-type, attr-defined]
], ids=["TypeError", "NameError", "AttributeError"])
def test_programming_errors_are_permanent_unless_the_class_says_otherwise(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, fault: Callable[[], Any]
) -> None:
    class Stubborn(StepHandler):
        permanent_errors = ()

        def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
            fault()

    registry.register("function", lambda task, sequence, step: fault())
    registry.register("class", Stubborn)
    engine.create_task({"once": {"handler": "function"}, "again": {"handler": "class"}})
    start()
    engine.wait_for(lambda: engine.step("again").attempts == 3 and engine.states()["once"] == "error")
    assert engine.step("once").attempts == 1 and engine.step("once").retryable is False
    engine.wait_for(lambda: engine.states()["again"] == "error")
    assert engine.step("again").retryable is True


# -- stop, and the log ----------------------------------------------------------------------------


def test_stop_twice_gives_back_what_is_held_at_once(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    started, release = threading.Event(), threading.Event()
    registry.register("h", lambda task, sequence, step: (started.set(), release.wait(20)))
    engine.create_task({"running": {"handler": "h"}, "waiting": {"handler": "h"}})
    runner = start(threads=1, batch=2, grace=60.0)
    assert started.wait(10)
    runner.stop()
    time.sleep(0.1)
    assert engine.calls["end_worker"] == 0, "the first stop waits for what runs"
    runner.stop()
    engine.wait_for(lambda: engine.states() == {"running": "pending", "waiting": "pending"})
    assert [step.attempts for step in engine.steps.values()] == [0, 0]
    release.set()


def test_the_log_tells_the_story_at_info(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tasker")

    def flaky(task: Task, sequence: Sequence, step: Step) -> int:
        if step.attempt == 1:
            raise RetryableError("not\nyet", retry_after=0.05)
        if step.attempt == 2:
            raise ValueError("nor now")
        return 1

    registry.register("flaky", flaky)
    registry.register("never", raises(PermanentError("no", "NO")))
    registry.register("worn", raises(ValueError("worn out")))
    engine.create_task({
        "flaky": {"handler": "flaky"}, "never": {"handler": "never"}, "worn": {"handler": "worn", "limit": 1},
    })
    start()
    engine.wait_for(lambda: engine.states() == {"flaky": "complete", "never": "error", "worn": "error"})
    told = [record.getMessage() for record in caplog.records if record.name == "tasker.steps"]
    steps = {name: [line for line in told if line.startswith(f"Step {name} ")] for name in engine.states()}

    def tells(line: str, *words: str) -> bool:
        return all(word in line for word in words)

    flaky_lines = steps["flaky"]
    assert len(flaky_lines) == 6
    assert tells(flaky_lines[0], "is claimed", "attempt 1 of 3")
    assert tells(flaky_lines[1], "failed in", " ms", "again in 0.05 s", "RetryableError: not yet")
    assert tells(flaky_lines[3], "again after its backoff", "ValueError: nor now")
    assert tells(flaky_lines[5], "is done in", " ms")
    assert tells(steps["never"][1], "gave up because the error is permanent", "NO: no")
    assert tells(steps["worn"][1], "gave up after the last attempt", "ValueError: worn out")
