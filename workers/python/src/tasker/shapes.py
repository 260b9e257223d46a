"""Whether the worker can call a handler: asked when it is registered, not after its side effects."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .errors import ConfigurationError
from .handler import TaskHandler


def check_handler(name: str, handler: Any) -> None:
    """Raise :class:`ConfigurationError` unless a run can call ``handler``, a class or a function."""
    if not inspect.isclass(handler):
        _check(f"The handler {name!r}", handler, ("task", "sequence", "step"))
        return
    _check(f"The class of the handler {name!r}", handler, ())
    _check_method(name, handler, "process", ("task", "sequence", "step"))
    _check_method(name, handler, "process_results", ("step", "output", "initial_results"))


def check_task_handler(name: str, handler: type[TaskHandler]) -> None:
    """The same for the hooks of a task handler."""
    _check(f"The class of the task handler {name!r}", handler, ())
    _check_method(
        name, handler, "establish_step_dependencies_and_defaults", ("task", "steps")
    )
    _check_method(name, handler, "update_annotations", ("task", "sequence", "steps"))


def _check_method(
    name: str, owner: type[object], method: str, arguments: tuple[str, ...]
) -> None:
    found = inspect.getattr_static(owner, method)
    if not isinstance(found, (staticmethod, classmethod)):
        arguments = ("self", *arguments)
    _check(f"{method} of the handler {name!r}", getattr(owner, method), arguments)


def _check(what: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    called = function
    if not inspect.isroutine(function) and not inspect.isclass(function):
        called = type(function).__call__  # of a functools.partial, inspect sees the function itself
    for found in (function, called):
        if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
            raise ConfigurationError(
                f"{what} is a coroutine function, which the worker does not await: define it by def, "
                "and call asyncio.run in it"
            )
        if inspect.isgeneratorfunction(found):
            raise ConfigurationError(
                f"{what} is a generator, whose body would never run: return a value instead of yield"
            )
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # some functions in C do not tell
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        expected = ", ".join(arguments) or "no arguments"
        raise ConfigurationError(
            f"{what} cannot be called with ({expected}): {error}; it has the signature {signature}"
        ) from None
