"""Calls the hooks of task handlers at their moments."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from uuid import UUID

from .engine import ClaimedStep
from .handler import TaskHandler
from .lookup import Lookup
from .models import Sequence
from .registry import HandlerRegistry

log = logging.getLogger("tasker.hooks")
_REMEMBERED_TASKS = 10_000


class _Remembered:
    """The last ten thousand keys."""

    def __init__(self) -> None:
        self._keys: OrderedDict[Hashable, None] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def add(self, key: Hashable) -> None:
        self._keys[key] = None
        if len(self._keys) > _REMEMBERED_TASKS:
            self._keys.popitem(last=False)


class TaskHooks:
    """Thread-safe. Costs nothing for tasks without a registered ``TaskHandler``."""

    def __init__(self, registry: HandlerRegistry, lookup: Lookup) -> None:
        self._registry = registry
        self._lookup = lookup
        self._lock = threading.Lock()
        self._established = _Remembered()
        self._task_locks: dict[UUID, tuple[threading.Lock, int]] = {}
        self._annotated = _Remembered()

    def before_step(self, claim: ClaimedStep) -> None:
        """Before a root step: the task's first hook, once per task in this process.

        Other root steps of the same task wait for it. Raises what the hook raises.
        """
        hook = self._handler(claim, "establish_step_dependencies_and_defaults")
        if hook is None or claim.parents:
            return
        task = claim.task
        with self._lock:
            task_lock, users = self._task_locks.get(task.uuid, (threading.Lock(), 0))
            self._task_locks[task.uuid] = (task_lock, users + 1)
        try:
            with task_lock:
                if task.uuid not in self._established:
                    steps = self._lookup.step_statuses(task.uuid)
                    hook.establish_step_dependencies_and_defaults(task, steps)
                    with self._lock:
                        self._established.add(task.uuid)
        finally:
            with self._lock:
                task_lock, users = self._task_locks.pop(task.uuid)
                if users > 1:
                    self._task_locks[task.uuid] = (task_lock, users - 1)

    def wants_completion(self, claim: ClaimedStep) -> bool:
        """Whether :meth:`after_report` has anything to do for this step's task."""
        return self._handler(claim, "update_annotations") is not None

    def after_report(self, claim: ClaimedStep) -> None:
        """After an accepted success: the task's last hook, if that completed the task."""
        hook = self._handler(claim, "update_annotations")
        if hook is None:
            return
        task = claim.task
        try:
            if self._lookup.execution_status(task.uuid) != "all_complete":
                return
            with self._lock:
                if task.uuid in self._annotated:
                    return
                self._annotated.add(task.uuid)
            steps = self._lookup.step_statuses(task.uuid)
            sequence = Sequence(claim.parents, lambda: self._lookup.ancestors(claim.step.uuid))
            hook.update_annotations(task, sequence, steps)
        except Exception:
            log.exception("update_annotations of task %s (%s) failed", task.uuid, task.full_name)

    def _handler(self, claim: ClaimedStep, hook_name: str) -> TaskHandler | None:
        found = self._registry.task_handler(claim.task.namespace, claim.task.name)
        if found is None or getattr(found, hook_name) is getattr(TaskHandler, hook_name):
            return None
        return found()
