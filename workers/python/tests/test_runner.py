"""The worker's loop against an engine in memory that can break at any moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from fake_engine import FakeEngine

from tasker import HandlerRegistry, Runner, Sequence, Step, StepStatus, Task, TaskHandler
from tasker.errors import RetryableError

Start = Callable[..., Runner]


def lost() -> psycopg.Error:
    return psycopg.OperationalError("server closed the connection unexpectedly")


class Gate:
    """A handler that waits until the test lets it go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Semaphore(0)
        self.steps: list[Step] = []

    def __call__(self, task: Task, sequence: Sequence, step: Step) -> str:
        self.steps.append(step)
        self.started.release()
        assert self.open.wait(10)
        return "done"

    def wait_started(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=5), "the handler did not start"


@pytest.fixture
def gate(registry: HandlerRegistry) -> Gate:
    made = Gate()
    registry.register("gate", made)
    registry.register("quick", lambda task, sequence, step: 1)
    return made


def test_steps_run_in_order_once_each(engine: FakeEngine, start: Start, gate: Gate) -> None:
    chain = {f"s{i}": {"handler": "quick", "after": [f"s{i - 1}"] if i else []} for i in range(5)}
    engine.create_task(chain)
    start()
    engine.wait_for(lambda: set(engine.states().values()) == {"complete"})
    assert [s.attempts for s in engine.steps.values()] == [1] * 5


def test_one_round_trip_reports_a_step_and_claims_the_next(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    chain = {f"s{i}": {"handler": "quick", "after": [f"s{i - 1}"] if i else []} for i in range(5)}
    engine.create_task(chain)
    start(until_idle=True, poll=60)
    engine.wait_for(lambda: engine.states()["s4"] == "complete")
    assert engine.calls["report_and_claim"] == 6 and engine.calls["report_steps"] == 0


def test_a_result_is_reported_at_once_while_another_step_still_runs(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"long": {"handler": "gate"}, "short": {"handler": "quick"}})
    start(threads=2, poll=60)
    gate.wait_started()
    began = time.monotonic()
    engine.wait_for(lambda: engine.states()["short"] == "complete")
    assert time.monotonic() - began < 1
    assert engine.states()["long"] == "in_progress"
    gate.open.set()


def test_no_more_is_claimed_than_the_process_can_hold(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({f"s{i}": {"handler": "gate"} for i in range(10)})
    start(threads=2, batch=3)
    gate.wait_started(2)
    time.sleep(0.1)
    assert list(engine.states().values()).count("in_progress") == 3
    assert len(gate.steps) == 2, "only two threads may run handlers"
    gate.open.set()
    engine.wait_for(lambda: set(engine.states().values()) == {"complete"})


def test_handlers_run_at_the_same_time(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    barrier = threading.Barrier(4, timeout=5)
    registry.register("meet", lambda t, q, s: barrier.wait())
    engine.create_task({f"s{i}": {"handler": "meet"} for i in range(4)})
    start(threads=4)
    engine.wait_for(lambda: set(engine.states().values()) == {"complete"})


def test_a_step_that_fails_twice_succeeds_at_the_third_attempt(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    def third_time(task: Task, sequence: Sequence, step: Step) -> int:
        if step.attempt < 3:
            raise RetryableError("not yet", retry_after=0)
        return step.attempt

    registry.register("flaky", third_time)
    engine.create_task({"s": {"handler": "flaky", "limit": 5}})
    start()
    engine.wait_for(lambda: engine.states()["s"] == "complete")
    assert engine.step("s").attempts == 3 and engine.step("s").results == {"result": 3}


def test_ancestors_are_fetched_once_and_only_on_demand(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    registry.register("one", lambda t, q, s: 1)
    registry.register("parent", lambda t, q, s: q.get_value("a") + 1)
    registry.register("grand", lambda t, q, s: q.get_value("a") + q.get_value("a") + q.get_value("b"))
    engine.create_task({
        "a": {"handler": "one"}, "b": {"handler": "parent", "after": ["a"]},
        "c": {"handler": "grand", "after": ["b"]},
    })
    start()
    engine.wait_for(lambda: engine.states()["c"] == "complete")
    assert engine.step("c").results == {"result": 4}
    assert engine.calls["get_dependency_results"] == 1


def test_a_wake_up_claims_before_the_poll_is_due(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    start(poll=60)
    engine.wait_for(lambda: engine.calls["report_and_claim"] == 1)
    engine.create_task({"s": {"handler": "quick"}})
    time.sleep(0.05)
    assert engine.states()["s"] == "pending"
    engine.announce()
    engine.wait_for(lambda: engine.states()["s"] == "complete", 2)


def test_a_wake_up_for_nothing_is_followed_by_one_second_look(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    start(poll=60)
    engine.wait_for(lambda: engine.calls["report_and_claim"] == 1)
    engine.announce()
    engine.wait_for(lambda: engine.calls["report_and_claim"] == 2)
    engine.create_task({"s": {"handler": "quick"}})  # becomes visible a moment too late
    engine.wait_for(lambda: engine.states()["s"] == "complete", 2)
    engine.announce()
    time.sleep(0.4)
    after_two_looks = engine.calls["report_and_claim"]
    time.sleep(0.3)
    assert engine.calls["report_and_claim"] == after_two_looks, "it must not look forever"


def test_polling_finds_work_without_a_wake_up(engine: FakeEngine, start: Start, gate: Gate) -> None:
    start(poll=0.05)
    engine.wait_for(lambda: engine.calls["report_and_claim"] >= 1)
    engine.create_task({"s": {"handler": "quick"}})
    engine.wait_for(lambda: engine.states()["s"] == "complete", 1)


# -- losing the server ------------------------------------------------------------------------


def test_a_report_whose_answer_was_lost_is_sent_again_and_counts_once(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"a": {"handler": "quick"}, "b": {"handler": "quick", "after": ["a"]}})
    broken: list[int] = []

    def after(call: str, detail: Any) -> None:
        if call == "report_and_claim" and detail[1] and not broken:
            broken.append(1)
            raise lost()  # committed, but the worker does not hear of it

    engine.after = after
    start()
    engine.wait_for(lambda: set(engine.states().values()) == {"complete"})
    sent = [r.payload for call, d in engine.log if "report" in call for r in d[1]
            if r.step_name == "a"]
    assert len(sent) == 2 and sent[0] == sent[1], "the same report, under the same claim number"
    assert engine.step("a").attempts == 1


def test_steps_of_a_claim_whose_answer_was_lost_are_given_back_not_kept_alive(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "quick"}})
    first: list[str] = []

    def after(call: str, detail: Any) -> None:
        if call == "report_and_claim" and not first:
            first.append(detail[0])
            raise lost()  # s is in progress for a worker that never heard of it

    engine.after = after
    start()
    engine.wait_for(lambda: engine.states()["s"] == "complete", 3)
    assert ("end_worker", first[0]) in engine.log
    step = engine.step("s")
    assert (step.attempts, step.claim_number) == (1, 2)


def test_orphans_wait_for_the_steps_held_beside_them(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"held": {"handler": "gate"}})
    runner = start(threads=2)
    gate.wait_started()
    old = runner.worker_id

    def after(call: str, detail: Any) -> None:
        if call == "report_and_claim" and detail[0] == old:
            raise lost()

    engine.create_task({"orphan": {"handler": "quick"}})
    engine.after = after
    engine.wait_for(lambda: runner.worker_id != old)
    assert engine.states() == {"held": "in_progress", "orphan": "in_progress"}
    gate.open.set()
    engine.wait_for(lambda: set(engine.states().values()) == {"complete"})
    assert engine.step("held").claim_number == 1, "the running step was not given back"


def test_reports_are_kept_while_the_server_is_away(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "gate"}})
    start()
    gate.wait_started()
    away = True

    def refuse(*_: Any) -> None:
        if away:
            raise lost()

    engine.before = lambda call, detail: refuse()
    engine.on_connect = refuse
    gate.open.set()
    time.sleep(0.3)
    assert engine.states()["s"] == "in_progress"
    away = False
    engine.wait_for(lambda: engine.states()["s"] == "complete")
    assert engine.step("s").attempts == 1


@pytest.mark.parametrize("error", [
    psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure,
])
def test_deadlocks_and_serialization_failures_are_repeated_on_the_same_connection(
    engine: FakeEngine, start: Start, gate: Gate, error: type[psycopg.Error]
) -> None:
    engine.create_task({"s": {"handler": "quick"}})
    failures = iter([1, 2, 3])
    connects: list[int] = []

    def before(call: str, detail: Any) -> None:
        if call == "report_and_claim" and detail[1] and next(failures, None):
            raise error("try again")

    engine.before = before
    engine.on_connect = lambda: connects.append(1)
    start()
    engine.wait_for(lambda: engine.states()["s"] == "complete")
    assert len(connects) == 1


def test_a_report_that_the_server_cannot_store_fails_alone(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"good": {"handler": "quick"}, "bad": {"handler": "gate"}})

    def before(call: str, detail: Any) -> None:
        if "report" in call and any(r.step_name == "bad" and not r.substitute for r in detail[1]):
            raise psycopg.errors.NumericValueOutOfRange("value overflows numeric format")

    engine.before = before
    gate.open.set()
    start(threads=2)
    engine.wait_for(lambda: engine.states() == {"good": "complete", "bad": "error"})
    bad = engine.step("bad")
    assert (bad.results["error_class"], bad.retryable) == ("ResultNotStorable", False)


def test_an_error_of_the_first_claim_ends_the_worker(
    engine: FakeEngine, registry: HandlerRegistry
) -> None:
    from tasker import WorkerSettings

    def before(call: str, detail: Any) -> None:
        raise psycopg.errors.InsufficientPrivilege("permission denied for function")

    engine.before = before
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        Runner(WorkerSettings(listen=False), registry, engine.connect).run()


def test_a_privilege_lost_later_does_not_end_it(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "gate"}})
    start()
    gate.wait_started()
    failures = iter([1, 2])

    def before(call: str, detail: Any) -> None:
        if "report" in call and next(failures, None):
            raise psycopg.errors.InsufficientPrivilege("permission denied for function")

    engine.before = before
    gate.open.set()
    engine.wait_for(lambda: engine.states()["s"] == "complete")


# -- leases -----------------------------------------------------------------------------------


def test_heartbeats_keep_a_long_step(engine: FakeEngine, start: Start, gate: Gate) -> None:
    engine.lease = 0.3
    engine.create_task({"s": {"handler": "gate"}})
    start(lease=0.3)
    gate.wait_started()
    for _ in range(8):
        time.sleep(0.1)
        assert engine.step("s").lease_until > time.monotonic(), "the lease has run out"
    gate.open.set()
    engine.wait_for(lambda: engine.states()["s"] == "complete")


def test_no_heartbeat_is_sent_while_the_worker_holds_no_step(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    start(lease=0.03)
    time.sleep(0.2)
    assert engine.calls["heartbeat"] == 0


def test_heartbeats_survive_a_lost_connection(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "gate"}})
    start(lease=0.15)
    gate.wait_started()
    failures = iter([1, 2])

    def before(call: str, detail: Any) -> None:
        if call == "heartbeat" and next(failures, None):
            raise lost()

    engine.before = before
    engine.wait_for(lambda: engine.calls["heartbeat"] >= 5)
    gate.open.set()


def test_a_cancelled_step_tells_its_handler_and_its_report_is_dropped(
    engine: FakeEngine, start: Start, registry: HandlerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    started = threading.Event()

    def patient(task: Task, sequence: Sequence, step: Step) -> bool:
        started.set()
        return step.cancelled.wait(5)

    registry.register("patient", patient)
    engine.create_task({"s": {"handler": "patient"}})
    caplog.set_level(logging.INFO, "tasker")
    start(lease=0.1)
    assert started.wait(5)
    engine.step("s").state = "cancelled"
    engine.wait_for(lambda: "was refused: stale" in caplog.text)
    assert engine.step("s").state == "cancelled" and engine.step("s").results == {}


def test_a_cancelled_step_that_still_waits_for_a_thread_is_not_run(
    engine: FakeEngine, start: Start, gate: Gate, registry: HandlerRegistry
) -> None:
    ran: list[str] = []
    registry.register("note", lambda t, q, s: ran.append(s.name))
    engine.create_task({"first": {"handler": "gate"}, "waiting": {"handler": "note"}})
    runner = start(threads=1, batch=2, lease=0.1)
    gate.wait_started()
    engine.step("waiting").state = "cancelled"
    engine.wait_for(lambda: any(c.step.cancelled.is_set() for c in runner._holdings.of(runner.worker_id)))
    gate.open.set()
    engine.wait_for(lambda: engine.states()["first"] == "complete" and len(runner._holdings) == 0)
    assert ran == []


def test_a_late_report_of_a_stolen_step_changes_nothing(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "gate"}})
    runner = start()
    gate.wait_started()
    engine.steal(engine.step("s"))
    gate.open.set()
    engine.wait_for(lambda: len(runner._holdings) == 0)
    assert engine.states()["s"] == "in_progress" and engine.step("s").worker_id == "another"


# -- the end ----------------------------------------------------------------------------------


def test_stop_lets_running_steps_finish_and_gives_back_the_waiting_ones(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({f"s{i}": {"handler": "gate"} for i in range(3)})
    runner = start(threads=1, batch=3)
    gate.wait_started()
    runner.stop()
    time.sleep(0.1)
    engine.create_task({"late": {"handler": "quick"}})
    gate.open.set()
    engine.wait_for(lambda: engine.calls["end_worker"] == 1)
    assert engine.states() == {"s0": "complete", "s1": "pending", "s2": "pending", "late": "pending"}
    assert engine.step("s1").attempts == 0, "a step given back has not used an attempt"


def test_stop_releases_what_does_not_finish_within_the_grace_time(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "gate"}})
    runner = start(grace=0.1)
    gate.wait_started()
    began = time.monotonic()
    runner.stop()
    engine.wait_for(lambda: engine.calls["end_worker"] == 1)
    assert 0.1 <= time.monotonic() - began < 2
    assert engine.states()["s"] == "pending"
    gate.open.set()


def test_stop_while_the_server_is_away_ends_after_the_grace_time(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"s": {"handler": "gate"}})
    runner = start(grace=0.2)
    gate.wait_started()

    def refuse(*_: Any) -> None:
        raise lost()

    engine.before, engine.on_connect = refuse, refuse
    runner.stop()  # the fixture waits for the end


def test_a_draining_engine_gets_the_report_of_what_runs_and_is_asked_seldom(
    engine: FakeEngine, start: Start, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tasker.worker")
    engine.create_task({
        "held": {"handler": "gate"}, "next": {"handler": "quick", "after": ["held"]},
    })
    start(poll=0.1)
    gate.wait_started()
    engine.draining = True
    gate.open.set()
    engine.wait_for(lambda: engine.states()["held"] == "complete")
    engine.wait_for(lambda: "hands out no work" in caplog.text)
    began = engine.calls["report_and_claim"]
    time.sleep(0.35)
    assert engine.calls["report_and_claim"] - began <= 1, "it polls as if there were work"
    assert engine.states()["next"] == "pending"
    engine.draining = False
    engine.announce()
    engine.wait_for(lambda: engine.states()["next"] == "complete")
    assert caplog.text.count("hands out no work") == 1 and "work again" in caplog.text


def test_until_idle_ends_when_everything_is_done(
    engine: FakeEngine, registry: HandlerRegistry, gate: Gate
) -> None:
    from tasker import WorkerSettings

    engine.create_task({"a": {"handler": "quick"}, "b": {"handler": "quick", "after": ["a"]}})
    Runner(WorkerSettings(until_idle=True, batch=1), registry, engine.connect).run()
    assert set(engine.states().values()) == {"complete"}


def test_once_runs_one_batch_and_ends(
    engine: FakeEngine, registry: HandlerRegistry, gate: Gate
) -> None:
    from tasker import WorkerSettings

    engine.create_task({f"s{i}": {"handler": "quick"} for i in range(5)})
    Runner(WorkerSettings(once=True, batch=3, threads=1), registry, engine.connect).run()
    assert list(engine.states().values()).count("complete") == 3


# -- task handlers ----------------------------------------------------------------------------


def test_task_hooks_run_once_before_the_roots_and_after_the_end(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    calls: list[tuple[str, Any]] = []
    registry.register("note", lambda t, q, s: calls.append(("step", s.name)))

    @registry.register_task_handler("default", "task")
    class Hooks(TaskHandler):
        def establish_step_dependencies_and_defaults(
            self, task: Task, steps: list[StepStatus]
        ) -> None:
            time.sleep(0.05)  # the other root waits for it
            calls.append(("establish", sorted(step.name for step in steps)))

        def update_annotations(
            self, task: Task, sequence: Sequence, steps: list[StepStatus]
        ) -> None:
            calls.append(("annotate", {step.state for step in steps}))
            assert sequence.get_results("a") and sequence.get_results("b")

    engine.create_task({
        "a": {"handler": "note"}, "b": {"handler": "note"},
        "c": {"handler": "note", "after": ["a", "b"]},
    })
    engine.create_task({"unhooked": {"handler": "note"}}, name="other")
    start(until_idle=True, threads=3)
    engine.wait_for(lambda: ("annotate", {"complete"}) in calls)
    of_task = [call for call in calls if call != ("step", "unhooked")]
    assert of_task[0] == ("establish", ["a", "b", "c"])
    assert [kind for kind, _ in of_task] == ["establish", "step", "step", "step", "annotate"]


def test_a_failing_first_hook_fails_the_root_and_is_called_again(
    engine: FakeEngine, start: Start, registry: HandlerRegistry
) -> None:
    calls: list[int] = []
    registry.register("quick", lambda t, q, s: 1)

    @registry.register_task_handler("default", "task")
    class Hooks(TaskHandler):
        def establish_step_dependencies_and_defaults(
            self, task: Task, steps: list[StepStatus]
        ) -> None:
            calls.append(1)
            if len(calls) == 1:
                raise ValueError("not ready")

    engine.create_task({"a": {"handler": "quick"}})
    start()
    engine.wait_for(lambda: engine.states()["a"] == "complete")
    assert len(calls) == 2 and engine.step("a").attempts == 2


def test_a_worker_announces_its_handlers_once_and_takes_them_back(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task(["a", "b"])
    runner = start()
    engine.wait_for(lambda: engine.calls["report_and_claim"] > 3)
    assert engine.handlers == {runner.worker_id: ["gate", "quick"]}
    assert engine.log[0][0] == "register_handlers" and engine.calls["register_handlers"] == 1
    runner.stop()
    engine.wait_for(lambda: not engine.handlers)


def test_a_worker_announces_again_after_a_lost_connection(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    broken = threading.Event()

    def before(call: str, detail: Any) -> None:
        if call == "report_and_claim" and engine.calls[call] == 3 and not broken.is_set():
            broken.set()
            raise lost()

    engine.before = before
    runner = start()
    first = runner.worker_id
    engine.wait_for(lambda: engine.calls["report_and_claim"] > 5)
    assert runner.worker_id != first
    assert engine.handlers == {runner.worker_id: ["gate", "quick"]}


@pytest.mark.parametrize("refusal", [
    psycopg.errors.UndefinedFunction("function tasker.register_handlers does not exist"),
    psycopg.errors.InsufficientPrivilege("permission denied for function register_handlers"),
    psycopg.errors.InvalidParameterValue("handler is 300 characters long"),
])
def test_a_worker_without_the_right_to_announce_still_works(
    engine: FakeEngine, start: Start, gate: Gate, refusal: psycopg.Error
) -> None:
    def before(call: str, detail: Any) -> None:
        if call.endswith("register_handlers"):
            raise refusal

    engine.before = before
    engine.create_task({"a": {"handler": "quick"}})
    start()
    engine.wait_for(lambda: engine.states()["a"] == "complete")
    assert engine.calls["register_handlers"] == 1


def test_a_worker_claims_only_what_it_has_handlers_for(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"mine": {"handler": "quick"}, "other": {"handler": "of.another"}})
    start()
    engine.wait_for(lambda: engine.states()["mine"] == "complete")
    assert engine.states()["other"] == "pending" and engine.step("other").claim_number == 0


def test_a_claimed_step_without_a_handler_is_returned_without_an_attempt(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.any_handler = True
    engine.create_task({"other": {"handler": "of.another"}})
    start()
    engine.wait_for(lambda: engine.step("other").claim_number == 1)
    engine.wait_for(lambda: engine.states() == {"other": "pending"})
    assert engine.step("other").attempts == 0
    assert engine.step("other").available_at > time.monotonic() + 1


def test_what_has_begun_is_said_once_with_the_next_call(
    engine: FakeEngine, start: Start, gate: Gate
) -> None:
    engine.create_task({"running": {"handler": "gate"}, "waiting": {"handler": "gate"}})
    start(threads=1, batch=3)
    gate.wait_started()
    engine.wait_for(lambda: bool(engine.begun))
    calls = engine.calls["report_and_claim"]
    engine.wait_for(lambda: engine.calls["report_and_claim"] > calls + 2)
    assert engine.begun == [engine.step("running").uuid]
    gate.open.set()


def test_a_heartbeat_says_what_has_begun(engine: FakeEngine, start: Start, gate: Gate) -> None:
    engine.create_task({"running": {"handler": "gate"}, "waiting": {"handler": "gate"}})
    start(threads=1, batch=2, lease=0.2)
    gate.wait_started()
    engine.wait_for(lambda: engine.calls["heartbeat"] >= 2)
    assert engine.begun == [engine.step("running").uuid]
    gate.open.set()
