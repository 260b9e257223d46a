"""Handlers by name: what a worker can run."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from .errors import ConfigurationError, HandlerNotFound
from .handler import StepFunction, StepHandler, TaskHandler
from .models import Sequence, Step, Task
from .plugins import Plugin, plugin_of
from .shapes import check_handler, check_task_handler

H = TypeVar("H", bound="type[StepHandler] | StepFunction")
T = TypeVar("T", bound=type[TaskHandler])


class FunctionHandler(StepHandler):
    """Adapter that lets a plain function stand for a ``StepHandler``."""

    def __init__(self, function: StepFunction) -> None:
        self._function = function

    def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
        """Call the function."""
        return self._function(task, sequence, step)


class HandlerRegistry:
    """Step handlers by the template's ``handler.callable``, task handlers by namespace and name."""

    def __init__(self) -> None:
        self._steps: dict[str, type[StepHandler] | StepFunction] = {}
        self._tasks: dict[tuple[str, str], type[TaskHandler]] = {}

    @overload
    def register(self, name: str, handler: H, *, replace: bool = False) -> H: ...
    @overload
    def register(
        self, name: str, handler: None = None, *, replace: bool = False
    ) -> Callable[[H], H]: ...
    def register(self, name: str, handler: Any = None, *, replace: bool = False) -> Any:
        """Register a ``StepHandler`` class or a function ``(task, sequence, step)``.

        Explicit, ``registry.register("a.b", Handler)``, or as a decorator,
        ``@registry.register("a.b")``. Raises :class:`ConfigurationError` for an empty name, for
        something that is neither or cannot be called so, and for a name taken by another handler unless ``replace``.
        """
        if handler is None:
            return lambda decorated: self.register(name, decorated, replace=replace)
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"A handler name is a non-empty string, not {name!r}")
        is_class = inspect.isclass(handler)
        if is_class and not issubclass(handler, StepHandler):
            raise ConfigurationError(f"{handler.__name__} is not a subclass of StepHandler")
        if not is_class and (isinstance(handler, StepHandler) or not callable(handler)):
            raise ConfigurationError(
                f"Register the handler class or a function for {name!r}, not {handler!r}"
            )
        check_handler(name, handler)
        if not replace and self._steps.get(name, handler) is not handler:
            raise ConfigurationError(f"A handler named {name!r} is already registered")
        self._steps[name] = handler
        return handler

    def register_task_handler(
        self, namespace: str, task_name: str, handler: T | None = None, *, replace: bool = False
    ) -> Any:
        """Register a ``TaskHandler`` class, explicitly or as a decorator.

        Raises the errors of :meth:`register`.
        """
        if handler is None:
            return lambda decorated: self.register_task_handler(
                namespace, task_name, decorated, replace=replace
            )
        if not (inspect.isclass(handler) and issubclass(handler, TaskHandler)):
            raise ConfigurationError(f"{handler!r} is not a subclass of TaskHandler")
        check_task_handler(f"{namespace}.{task_name}", handler)
        key = (namespace, task_name)
        if not replace and self._tasks.get(key, handler) is not handler:
            raise ConfigurationError(
                f"A task handler for {task_name!r} in namespace {namespace!r} is already registered"
            )
        self._tasks[key] = handler
        return handler

    def create(self, name: str) -> StepHandler:
        """A new handler instance for one run; raises :class:`HandlerNotFound`."""
        handler = self._steps.get(name)
        if handler is None:
            raise HandlerNotFound(name, self.names())
        if isinstance(handler, type):
            made: StepHandler = handler()
            return made
        return FunctionHandler(handler)

    def task_handler(self, namespace: str, task_name: str) -> type[TaskHandler] | None:
        """The task handler class for a kind of task, or ``None``."""
        return self._tasks.get((namespace, task_name))

    def has(self, name: str) -> bool:
        """Whether a step handler has this name."""
        return name in self._steps

    def names(self) -> list[str]:
        """All registered handler names, sorted."""
        return sorted(self._steps)

    def plugins(self) -> dict[Plugin, list[str]]:
        """The registered handler names by the plugin that brings them, both sorted."""
        found: dict[Plugin, list[str]] = {}
        for name in self.names():
            found.setdefault(plugin_of(self._steps[name]), []).append(name)
        return dict(sorted(found.items(), key=lambda item: item[0].name or ""))

    def merge(self, other: HandlerRegistry) -> None:
        """Take over everything that ``other`` has registered; errors as ``register``."""
        for name, handler in other._steps.items():
            self.register(name, handler)
        for (namespace, task_name), task_handler in other._tasks.items():
            self.register_task_handler(namespace, task_name, task_handler)

    def load(self, target: str) -> None:
        """Import handlers from ``"module"`` or ``"module:attr"``.

        Without ``attr`` the import itself registers, through the decorators of
        ``default_registry``. ``attr`` is a ``HandlerRegistry``, which is merged, or a function,
        which is called with this registry. Raises :class:`ConfigurationError` saying what is wrong;
        an error inside the module is shown as its cause.
        """
        module_name, _, attribute = target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise ConfigurationError(
                f"Cannot import handlers from {module_name!r}: {type(error).__name__}: {error}"
            ) from error
        if not attribute:
            if self is not default_registry:
                self.merge(default_registry)
            return
        found = getattr(module, attribute, None)
        if isinstance(found, HandlerRegistry):
            if found is not self:
                self.merge(found)
        elif callable(found) and not inspect.isclass(found):
            found(self)
        else:
            raise ConfigurationError(
                f"{target!r} is neither a HandlerRegistry nor a function that takes one"
            )


default_registry = HandlerRegistry()
"""Where ``@step_handler`` and ``@task_handler`` register, and what the command line runs."""


def step_handler(name: str) -> Callable[[H], H]:
    """Register the decorated class or function under ``name`` in ``default_registry``."""
    return default_registry.register(name)


def task_handler(namespace: str, task_name: str) -> Callable[[T], T]:
    """Register the decorated ``TaskHandler`` class in ``default_registry``."""
    decorate: Callable[[T], T] = default_registry.register_task_handler(namespace, task_name)
    return decorate
