"""What handlers log is kept and goes with the report of their run."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_engine import FakeEngine

from tasker import ConfigurationError, HandlerRegistry, RunContext, Step, Task, WorkerSettings
from tasker.engine import ClaimedStep
from tasker.executor import StepExecutor
from tasker.reports import Report
from tasker.run_log import MAX_BYTES, MAX_LINES, Installed, keep

log = logging.getLogger("app.orders")
Handler = Callable[[Task, Any, Step], Any]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    log.setLevel(logging.DEBUG)
    Installed.begin()
    yield
    Installed.end()
    log.setLevel(logging.NOTSET)


def claim() -> ClaimedStep:
    task = Task(uuid.uuid4(), "shop", "order", "1.0.0", {}, "tsk_1_abcdef", "00-a-b-01")
    step = Step(uuid.uuid4(), task.uuid, "pay", "pay", claim_number=7, attempt=2)
    return ClaimedStep(task, step, {}, "w")


def run(handler: Handler, level: int | None = logging.INFO) -> tuple[Report, list[dict[str, Any]]]:
    registry = HandlerRegistry()
    registry.register("pay", handler)
    report = StepExecutor(registry, lambda _: {}, log_level=level).run(claim())
    assert report is not None
    return report, json.loads(report.payload).get("logs", [])


def test_records_of_a_handler_go_with_its_report() -> None:
    def handler(task: Task, sequence: Any, step: Step) -> str:
        log.info("paid %s", 12, extra={"order": {"n": 1}, "thing": object})
        log.debug("not this")
        return "ok"

    report, logs = run(handler)
    assert report.status == "complete"
    assert len(logs) == 1
    line = logs[0]
    assert line["message"] == "paid 12" and line["level"] == logging.INFO
    assert line["at"] == pytest.approx(__import__("time").time(), abs=60)
    assert line["fields"]["logger"] == "app.orders" and line["fields"]["order"] == {"n": 1}
    assert "object" in line["fields"]["thing"]
    assert not line["fields"].keys() & {"task_uuid", "step_uuid", "attempt", "args", "levelno"}


def test_a_failed_run_has_its_log_with_the_traceback() -> None:
    def handler(task: Task, sequence: Any, step: Step) -> None:
        try:
            raise ValueError("inner")
        except ValueError:
            log.exception("it broke")
        raise RuntimeError("outer")

    report, logs = run(handler)
    assert report.status == "error"
    assert [line["message"] for line in logs] == ["it broke"]
    assert "ValueError: inner" in logs[0]["fields"]["exception"]


def test_nothing_is_sent_when_nothing_was_logged_or_logs_are_off() -> None:
    report, _ = run(lambda task, sequence, step: 1)
    assert "logs" not in json.loads(report.payload)
    report, _ = run(lambda task, sequence, step: log.error("x"), level=None)
    assert "logs" not in json.loads(report.payload)
    _, logs = run(lambda task, sequence, step: log.debug("x"), level=logging.DEBUG)
    assert len(logs) == 1


def test_the_level_is_a_setting() -> None:
    assert WorkerSettings(logs="error").log_level == logging.ERROR
    assert WorkerSettings(logs="off").log_level is None
    with pytest.raises(ConfigurationError, match="logs is one of"):
        WorkerSettings(logs="loud")


def test_every_record_has_the_ids_of_its_run() -> None:
    stream = io.StringIO()
    shown = logging.StreamHandler(stream)
    shown.setFormatter(logging.Formatter("%(message)s %(step_uuid)s %(correlation_id)s %(attempt)s"))
    own = logging.StreamHandler(stream)
    own.setFormatter(logging.Formatter("own %(task_uuid)s"))
    own.addFilter(RunContext())
    logging.getLogger().addHandler(shown)
    log.addHandler(own)
    uuids: list[Any] = []

    def handler(task: Task, sequence: Any, step: Step) -> None:
        uuids.extend([step.uuid, task.uuid])
        log.info("in")
        log.info("mine", extra={"attempt": "seven"})

    try:
        _, logs = run(handler)
        log.info("out")
    finally:
        logging.getLogger().removeHandler(shown)
        log.removeHandler(own)
    step, task = uuids
    assert stream.getvalue().splitlines() == [
        f"own {task}", f"in {step} tsk_1_abcdef 2",
        f"own {task}", f"mine {step} tsk_1_abcdef seven",
        "own None", "out None None None",
    ]
    assert logs[1]["fields"]["attempt"] == "seven"


def test_lines_and_bytes_are_bounded_and_the_last_line_says_so() -> None:
    def many(task: Task, sequence: Any, step: Step) -> None:
        for number in range(MAX_LINES + 20):
            log.info("line %d", number)

    _, logs = run(many)
    assert len(logs) == MAX_LINES
    assert logs[-2]["message"] == "line 998"
    assert logs[-1]["message"].startswith("cut: 21 more lines")

    def exactly(task: Task, sequence: Any, step: Step) -> None:
        for number in range(MAX_LINES):
            log.info("line %d", number)

    _, logs = run(exactly)
    assert [logs[-1]["message"], len(logs)] == ["line 999", MAX_LINES]

    def large(task: Task, sequence: Any, step: Step) -> None:
        for _ in range(10):
            log.info("é" * 30_000)

    report, logs = run(large)
    assert len(logs) == 5 and logs[-1]["message"].startswith("cut: 6 more lines")
    assert len(report.payload.encode()) < MAX_BYTES + 1000


def test_tasks_of_asyncio_and_threads_with_the_context_belong_to_the_run() -> None:
    def handler(task: Task, sequence: Any, step: Step) -> None:
        async def work() -> None:
            await asyncio.gather(*(asyncio.to_thread(log.info, "async") for _ in range(3)))

        asyncio.run(work())
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=context.run, args=(log.info, "with")),
            threading.Thread(target=log.info, args=("without",)),
        ]
        for thread in threads:
            thread.start()
            thread.join()

    _, logs = run(handler)
    messages = [line["message"] for line in logs]
    assert messages[:4] == ["async", "async", "async", "with"]


def test_runs_at_the_same_time_have_logs_of_their_own() -> None:
    barrier = threading.Barrier(4)
    found: dict[int, list[dict[str, Any]]] = {}

    def work(number: int) -> None:
        def handler(task: Task, sequence: Any, step: Step) -> None:
            barrier.wait(10)
            for _ in range(50):
                log.info("of %d", number)

        found[number] = run(handler)[1]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for number in range(4):
        assert [line["message"] for line in found[number]] == [f"of {number}"] * 50


def test_a_record_that_cannot_be_written_fails_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    monkeypatch.setattr(logging, "raiseExceptions", False)

    def handler(task: Task, sequence: Any, step: Step) -> None:
        log.info("%d", "no number")
        log.info("nul \x00 \ud800", extra={"bad": float("nan")})
        log.info("x", extra={"bad": Bad()})
        log.info("good")

    report, logs = run(handler)
    assert report.status == "complete"
    messages = [line["message"] for line in logs]
    assert messages[0] == "%d" and messages[1].startswith("nul \ufffd") and messages[-1] == "good"


def test_a_record_after_the_report_is_lost() -> None:
    late: list[Callable[[], None]] = []

    def handler(task: Task, sequence: Any, step: Step) -> None:
        context = contextvars.copy_context()
        late.append(lambda: context.run(log.info, "late"))

    report, logs = run(handler)
    late[0]()
    assert logs == [] and "late" not in report.payload
    # It takes no memory either: a thread can live as long as the process.
    with keep(claim(), logging.INFO) as kept:
        assert kept.close() is None
        log.info("late")
        assert kept.close() is None


def test_a_worker_sends_them_and_leaves_the_root_logger_as_it_was(
    engine: FakeEngine, registry: HandlerRegistry, start: Callable[..., Any]
) -> None:
    Installed.end()
    try:
        before = list(logging.getLogger().handlers)
        registry.register("talks", lambda task, sequence, step: log.warning("from a worker"))
        engine.create_task({"a": {"handler": "talks"}})
        sent: list[str] = []
        engine.before = lambda call, detail: sent.extend(
            report.payload for part in detail if isinstance(part, list)
            for report in part if isinstance(report, Report)
        )
        runner = start(until_idle=True)
        engine.wait_for(lambda: engine.states()["a"] == "complete")
        runner.stop()
        assert any('"message":"from a worker"' in payload for payload in sent), sent
        engine.wait_for(lambda: logging.getLogger().handlers == before)
    finally:
        Installed.begin()
