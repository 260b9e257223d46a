"""Registration, hooks' contract on results, and how a run becomes a report."""

from __future__ import annotations

import sys
import types
import uuid
from typing import Any

import pytest

from tasker import (
    ConfigurationError,
    HandlerNotFound,
    HandlerRegistry,
    NotAnAncestor,
    PermanentError,
    Sequence,
    Step,
    StepHandler,
    StepHandlerCallResult,
    Task,
    TaskHandler,
    default_registry,
    json_codec,
)
from tasker.engine import ClaimedStep
from tasker.executor import StepExecutor
from tasker.registry import step_handler, task_handler


def claim(handler: str = "h", parents: dict[str, Any] | None = None, **step: Any) -> ClaimedStep:
    task = Task(uuid.uuid4(), "ns", "t", "1.0.0", {"n": 1})
    return ClaimedStep(task, Step(uuid.uuid4(), task.uuid, "s", handler, 1, **step), parents or {}, "w")


def run(registry: HandlerRegistry, claimed: ClaimedStep) -> dict[str, Any]:
    report = StepExecutor(registry, lambda uuid: {}).run(claimed)
    assert report is not None
    parsed: dict[str, Any] = json_codec.loads(report.payload)
    return parsed


def test_classes_and_functions_register_explicitly_or_as_decorators() -> None:
    registry = HandlerRegistry()

    @registry.register("a.class")
    class Handler(StepHandler):
        pass

    registry.register("b.function", lambda task, sequence, step: 1)
    assert isinstance(registry.create("a.class"), Handler)
    assert registry.names() == ["a.class", "b.function"]
    assert run(registry, claim("b.function"))["results"] == {"result": 1}


@pytest.mark.parametrize("wrong", [42, "text", dict, StepHandler()])
def test_what_is_no_handler_cannot_be_registered(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        HandlerRegistry().register("a", wrong)


def test_a_name_is_taken_unless_replaced() -> None:
    registry = HandlerRegistry()
    registry.register("a", StepHandler)
    registry.register("a", StepHandler)  # the same again is no conflict
    with pytest.raises(ConfigurationError, match="'a' is already registered"):
        registry.register("a", lambda t, q, s: 1)
    registry.register("a", lambda t, q, s: 2, replace=True)
    assert run(registry, claim("a"))["results"] == {"result": 2}


def test_a_step_without_a_handler_here_is_given_back_and_not_failed() -> None:
    registry = HandlerRegistry()
    registry.register("known.one", StepHandler)
    with pytest.raises(HandlerNotFound, match="'missing.one'.*known.one"):
        registry.create("missing.one")
    parsed = run(registry, claim("missing.one"))
    assert (parsed["status"], parsed["retry_after_seconds"]) == ("released", 5)
    assert "'missing.one'" in parsed["reason"]


@pytest.fixture
def module() -> Any:
    made = types.ModuleType("handlers_of_a_test")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_load_merges_a_registry_or_calls_a_function(module: Any) -> None:
    module.handlers = HandlerRegistry()
    module.handlers.register("from.registry", StepHandler)
    module.setup = lambda registry: registry.register("from.function", StepHandler)
    registry = HandlerRegistry()
    registry.load("handlers_of_a_test:handlers")
    registry.load("handlers_of_a_test:setup")
    assert registry.names() == ["from.function", "from.registry"]


@pytest.mark.parametrize("target", [
    "no_such_module_here", "handlers_of_a_test:nothing", "handlers_of_a_test:number",
])
def test_load_says_what_is_wrong(module: Any, target: str) -> None:
    module.number = 42
    with pytest.raises(ConfigurationError, match=target.split(":")[0]):
        HandlerRegistry().load(target)


def test_module_decorators_use_the_default_registry() -> None:
    @step_handler("test.decorated")
    def handler(task: Task, sequence: Sequence, step: Step) -> int:
        return 1

    @task_handler("test", "decorated")
    class Hooks(TaskHandler):
        pass

    assert "test.decorated" in default_registry.names()
    assert default_registry.task_handler("test", "decorated") is Hooks
    assert default_registry.task_handler("other", "decorated") is None


def test_every_run_gets_a_new_instance_with_its_configuration() -> None:
    seen: list[tuple[int, Any]] = []
    registry = HandlerRegistry()

    @registry.register("h")
    class Handler(StepHandler):
        def process(self, task: Task, sequence: Sequence, step: Step) -> None:
            seen.append((id(self), self.handler_config))
            seen.append(self)  # type: ignore[arg-type]  # keep it alive, so ids differ

    run(registry, claim(handler_config={"url": "a"}))
    run(registry, claim(handler_config={"url": "b"}))
    (first, one), _, (second, two), _ = seen
    assert first != second and one == {"url": "a"} and two == {"url": "b"}
    assert StepHandler.handler_config == {}


def test_output_is_stored_unless_process_has_set_the_results_itself() -> None:
    registry = HandlerRegistry()

    @registry.register("h")
    class Sets(StepHandler):
        def process(self, task: Task, sequence: Sequence, step: Step) -> int:
            step.results["own"] = True  # in place: the comparison must not be fooled
            return 5

    assert run(registry, claim())["results"] == {"own": True}


def test_process_results_can_be_overridden() -> None:
    registry = HandlerRegistry()

    @registry.register("h")
    class Shapes(StepHandler):
        def process(self, task: Task, sequence: Sequence, step: Step) -> StepHandlerCallResult:
            return StepHandlerCallResult.success(20, {"source": "test"})

        def process_results(self, step: Step, output: Any, initial_results: dict[str, Any]) -> None:
            assert initial_results == {}
            step.results = {"doubled": output * 2}

    assert run(registry, claim())["results"] == {"doubled": 40, "_metadata": {"source": "test"}}


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RecursionError("deep")])
def test_any_exception_of_a_handler_ends_the_step_and_not_the_thread(error: BaseException) -> None:
    registry = HandlerRegistry()

    def handler(task: Task, sequence: Sequence, step: Step) -> None:
        raise error

    registry.register("h", handler)
    parsed = run(registry, claim())
    assert (parsed["error_class"], parsed["retryable"]) == (type(error).__name__, True)


def test_a_run_cancelled_before_it_began_is_not_run() -> None:
    registry = HandlerRegistry()
    registry.register("h", lambda t, q, s: pytest.fail("it ran"))
    cancelled = claim()
    cancelled.step.cancelled.set()
    assert StepExecutor(registry, lambda uuid: {}).run(cancelled) is None


def test_sequence_gives_parents_without_a_fetch_and_ancestors_with_one() -> None:
    fetches: list[int] = []

    def fetch() -> dict[str, Any]:
        fetches.append(1)
        return {"parent": {"result": 1}, "grandparent": {"result": 2}}

    sequence = Sequence({"parent": {"result": 1}}, fetch)
    assert sequence.get_results("parent") == {"result": 1} and not fetches
    assert sequence.get_value("grandparent") == 2
    assert sequence.get_value("grandparent") == 2 and len(fetches) == 1
    assert sequence.parent_values() == {"parent": 1}


def test_results_of_a_step_that_is_no_ancestor_are_a_clear_key_error() -> None:
    sequence = Sequence({"parent": {}}, lambda: {"parent": {}, "root": {}})
    with pytest.raises(NotAnAncestor) as caught:
        sequence.get_results("stranger")
    assert isinstance(caught.value, KeyError)
    assert str(caught.value) == (
        "The running step does not depend on a step named 'stranger'; steps before it: parent, root"
    )


def test_last_attempt_is_known_to_the_handler() -> None:
    assert not claim(attempt=2, retry_limit=3).step.last_attempt
    assert claim(attempt=3, retry_limit=3).step.last_attempt


def test_permanent_error_defaults_to_its_class_name() -> None:
    assert PermanentError("x").error_class == "PermanentError"
    assert PermanentError("x", "CODE").error_class == "CODE"
