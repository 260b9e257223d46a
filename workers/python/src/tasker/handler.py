"""The classes that application code derives from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .models import Sequence, Step, StepStatus, Task
from .results import as_results_object

StepFunction = Callable[[Task, Sequence, Step], Any]
"""A handler in its shortest form: a function with the arguments of ``StepHandler.process``."""


class StepHandler:
    """Business code of one step.

    A new instance is made, without arguments, for every run, so attributes never leak from one
    step into another. The engine runs a step *at least once*: it may run again after a crash or a
    lost connection, so effects outside the database need an idempotency key (``step.uuid`` is one
    that stays the same over all attempts).
    """

    handler_config: dict[str, Any] = {}
    """``handler.initialization`` of the template; set before ``process`` is called."""

    permanent_errors: tuple[type[BaseException], ...] = (
        TypeError, NameError, AttributeError, NotImplementedError,
    )
    """Exceptions that fail the step permanently, beside ``PermanentError``: errors of programming, which
    come again at every attempt. Set it to ``()`` in a class to have them retried."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
        """Do the work and return the result: a JSON value or a ``StepHandlerCallResult``.

        Raise ``PermanentError`` to give up, ``RetryableError`` to be run again; any other exception
        is retried too while attempts are left, except for ``permanent_errors``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define process()")

    def process_results(
        self, step: Step, output: Any, initial_results: dict[str, Any]
    ) -> None:
        """Turn what ``process`` returned into ``step.results``; override to shape it.

        ``initial_results`` is a copy of ``step.results`` from before the run. As it stands,
        ``output`` is stored unless ``process`` has itself changed ``step.results``.
        """
        if step.results == initial_results:
            step.results = as_results_object(output)


class TaskHandler:
    """Hooks around the steps of one kind of task; register it for (namespace, task name).

    Hooks run in a handler thread of the worker, outside any transaction of the engine. The shape of
    a task is fixed by its template and its rows are private to the extension, so a hook works
    through SQL functions on a connection of its own (see ``tasker.client.Client``).
    """

    def establish_step_dependencies_and_defaults(
        self, task: Task, steps: list[StepStatus]
    ) -> None:
        """Called before this worker runs the first root step that it claims of a task.

        It may check the task, prepare resources, or adjust single steps through
        ``set_retry_limit``, ``cancel_step`` or ``resolve_step_manually`` where the worker's role
        may call them. An exception fails the root step as if its handler had raised it.

        Guarantee: before a root step of the task runs in this process, the hook has returned.
        Once per task and process; again in another worker that runs a root, or after a restart or a
        failed call. Write it idempotent.
        """

    def update_annotations(
        self, task: Task, sequence: Sequence, steps: list[StepStatus]
    ) -> None:
        """Called after the engine accepted the report that completed the task.

        ``sequence`` is that of the step reported last by this worker. It may derive and store what
        the application wants to keep about the finished task. Exceptions are logged, no more: the
        task is complete already.

        Guarantee: best effort. Usually once; twice when two workers report the last steps at
        the same moment; not at all when the process dies between report and hook. What must not be
        missed belongs in a last step of the template.
        """
