"""A handler that the worker cannot call is refused when it is registered."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from tasker import ConfigurationError, HandlerRegistry, StepHandler, TaskHandler


async def coroutine(task: Any, sequence: Any, step: Any) -> None: ...


async def stream(task: Any, sequence: Any, step: Any) -> Any:
    yield 1


def generator(task: Any, sequence: Any, step: Any) -> Any:
    yield 1


class AsyncProcess(StepHandler):
    async def process(self, task: Any, sequence: Any, step: Any) -> None: ...


class GeneratorProcess(StepHandler):
    def process(self, task: Any, sequence: Any, step: Any) -> Any:
        yield 1


class NarrowProcess(StepHandler):
    def process(self, task: Any) -> None: ...  # type: ignore[override]


class NarrowResults(StepHandler):
    def process_results(self, step: Any) -> None: ...  # type: ignore[override]


class NeedsArguments(StepHandler):
    def __init__(self, url: str) -> None: ...


class AsyncCall:
    async def __call__(self, task: Any, sequence: Any, step: Any) -> None: ...


@pytest.mark.parametrize(("handler", "reason"), [
    (lambda: 1, "cannot be called with"),
    (lambda task, step: 1, "cannot be called with"),
    (lambda a, b, c, d: 1, "cannot be called with"),
    (lambda a, b, c, *, d: 1, "cannot be called with"),
    (functools.partial(lambda a, b, c: 1, 1), "cannot be called with"),
    (coroutine, "coroutine"), (stream, "coroutine"), (generator, "generator"),
    (functools.partial(coroutine), "coroutine"), (AsyncCall(), "coroutine"),
    (AsyncProcess, "coroutine"), (GeneratorProcess, "generator"),
    (NarrowProcess, "cannot be called with"), (NarrowResults, "cannot be called with"),
    (NeedsArguments, "cannot be called with"),
])
def test_a_wrong_shape_is_refused_at_registration(handler: Any, reason: str) -> None:
    registry = HandlerRegistry()
    with pytest.raises(ConfigurationError, match=f"'wrong.one'.*{reason}"):
        registry.register("wrong.one", handler)
    assert registry.names() == []


class Plain:
    def __call__(self, task: Any, sequence: Any, step: Any) -> int:
        return 1

    def method(self, task: Any, sequence: Any, step: Any) -> int:
        return 1


class StaticProcess(StepHandler):
    @staticmethod
    def process(task: Any, sequence: Any, step: Any) -> int:  # type: ignore[override]
        return 1


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(task: Any, sequence: Any, step: Any) -> Any:
        return function(task)

    return wrapper


@pytest.mark.parametrize("handler", [
    lambda *arguments: 1, lambda a, b, c, d=1: 1, functools.partial(lambda x, a, b, c: 1, 1),
    Plain(), Plain().method, StaticProcess, wrapping(lambda task: 1), max,
])
def test_every_shape_that_can_be_called_is_taken(handler: Any) -> None:
    registry = HandlerRegistry()
    registry.register("a", handler)
    assert registry.names() == ["a"]


class AsyncHook(TaskHandler):
    async def update_annotations(self, task: Any, sequence: Any, steps: Any) -> None: ...


class NarrowHook(TaskHandler):
    def establish_step_dependencies_and_defaults(self) -> None: ...  # type: ignore[override]


@pytest.mark.parametrize("hooks", [AsyncHook, NarrowHook])
def test_hooks_of_a_wrong_shape_are_refused_at_registration(hooks: Any) -> None:
    with pytest.raises(ConfigurationError, match="'n.t'"):
        HandlerRegistry().register_task_handler("n", "t", hooks)
