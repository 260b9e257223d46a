"""What a handler may return, and how it becomes the results of its step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import check_retry_after

METADATA_KEY = "_metadata"
"""Key under which metadata of a call result is stored beside the step's own results."""


@dataclass(frozen=True)
class StepHandlerCallResult:
    """An explicit outcome; use :meth:`success` or :meth:`failure` to make one.

    Returning a plain value from ``process`` means success with that value. Raising
    ``PermanentError`` or ``RetryableError`` means failure. This class says the same without an
    exception, and carries metadata.
    """

    ok: bool
    result: Any = None
    message: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    retryable: bool = True
    retry_after: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def success(
        cls, result: Any, metadata: Mapping[str, Any] | None = None
    ) -> StepHandlerCallResult:
        """The step is complete with ``result``; ``metadata`` is stored under ``_metadata``."""
        return cls(ok=True, result=result, metadata=dict(metadata or {}))

    @classmethod
    def failure(
        cls,
        message: str,
        error_type: str = "StepFailure",
        error_code: str | None = None,
        retryable: bool = True,
        retry_after: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StepHandlerCallResult:
        """This run failed.

        ``error_code``, else ``error_type``, is the stored error class. ``retry_after`` is in
        seconds (``ValueError`` when negative) and only counts when ``retryable``.
        """
        check_retry_after(retry_after)
        return cls(
            ok=False,
            message=message,
            error_type=error_type,
            error_code=error_code,
            retryable=retryable,
            retry_after=retry_after if retryable else None,
            metadata=dict(metadata or {}),
        )

    @property
    def error_class(self) -> str | None:
        """The error class that the engine stores; ``None`` for a success."""
        return None if self.ok else (self.error_code or self.error_type)


def as_results_object(value: Any) -> dict[str, Any]:
    """The JSON object that is stored for a step's output.

    An object is stored as it is; every other value, ``None`` included, as ``{"result": value}``.
    """
    return dict(value) if isinstance(value, Mapping) else {"result": value}


def result_value(results: Mapping[str, Any]) -> Any:
    """The inverse of :func:`as_results_object`.

    ``{"result": v}`` (metadata aside) gives ``v``; any other object is returned as it is.
    """
    if "result" in results and not results.keys() - {"result", METADATA_KEY}:
        return results["result"]
    return results
