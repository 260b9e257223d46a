"""What a handler raises to decide the fate of its step, and what the SDK itself raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TaskerError(Exception):
    """Base of every error of this package.

    ``message`` is for the person who reads the failed step. ``error_code`` is the name reported as
    the step's error class; without it the Python class name is reported. ``context`` is a JSON
    object of details that is stored with the failed step under ``error_details.error_context``.
    """

    def __init__(
        self,
        message: str,
        error_code: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code
        # An error that cannot be made would be another error than the handler meant.
        self.context: dict[str, Any] = (
            dict(context) if isinstance(context, Mapping) else {"context": context}
        ) if context else {}

    @property
    def error_class(self) -> str:
        """The error class that the engine stores: ``error_code``, else the class name."""
        return self.error_code or type(self).__name__


class PermanentError(TaskerError):
    """The step cannot succeed however often it runs: no further attempt is made.

    Example: ``raise PermanentError("card declined", error_code="PAYMENT_DECLINED")``.
    """


class RetryableError(TaskerError):
    """The step may succeed later: the engine runs it again while attempts are left.

    ``retry_after`` is in seconds (``0`` = at once) and replaces the step's own backoff; the engine
    caps it (300 s unless configured otherwise). ``None`` leaves the delay to the engine.
    """

    def __init__(
        self,
        message: str,
        retry_after: float | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        error_code: str | None = None,
    ) -> None:
        check_retry_after(retry_after)
        super().__init__(message, error_code, context)
        self.retry_after = retry_after


def check_retry_after(seconds: float | None) -> None:
    """Raise ``ValueError`` unless ``seconds`` is ``None`` or a finite number, zero or more."""
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise ValueError(f"retry_after must be zero or more seconds, not {seconds!r}")


class HandlerNotFound(PermanentError):
    """The step names a handler that this worker has not registered."""

    def __init__(self, handler: str, registered: list[str]) -> None:
        known = ", ".join(registered) if registered else "none"
        super().__init__(f"No handler named {handler!r} is registered; registered: {known}")


class ValueNotReadable(PermanentError):
    """A value of a claimed step cannot be turned into Python, in this process at least."""


class NotAnAncestor(TaskerError, KeyError):
    """Results were asked of a step on which the running step does not depend."""

    def __str__(self) -> str:  # KeyError would quote the whole message
        return self.message


class JsonEncodeError(TaskerError, ValueError):
    """A value cannot be stored as JSON exactly; the message names its place and type."""


class ConfigurationError(TaskerError):
    """A setting, a ``--handlers`` argument or a registration is wrong."""
