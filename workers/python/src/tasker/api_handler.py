"""Steps that call an HTTP API: the answer's status decides whether the step is run again."""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

from . import json_codec
from .errors import PermanentError, RetryableError
from .handler import StepHandler
from .models import Sequence, Step, Task

PERMANENT_STATUSES = frozenset({400, 401, 403, 404, 422})
"""The request itself is wrong: sending it again cannot help."""

OVERLOAD_STATUSES = frozenset({429, 503})
"""The server asks for patience and may say for how long (``Retry-After``)."""

_BODY_EXCERPT = 2000


@dataclass(frozen=True)
class ApiResponse:
    """An HTTP answer, whatever its status. Header names are compared without case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header, or ``None``."""
        wanted = name.lower()
        return next((v for k, v in self.headers.items() if k.lower() == wanted), None)

    def text(self) -> str:
        """The body as text, undecodable bytes replaced."""
        return self.body.decode(_charset(self.header("Content-Type")), "replace")

    def json(self) -> Any:
        """The body parsed as JSON with exact numbers; ``None`` for an empty body.

        Raises ``ValueError`` for a body that is not JSON.
        """
        return json_codec.loads(self.body) if self.body.strip() else None


class ApiStepHandler(StepHandler):
    """A handler that makes one HTTP request; override :meth:`request`, mostly by :meth:`http`.

    ============================  =================================================================
    2xx                           success; :meth:`parse` makes the result
    429, 503                      retried; after ``Retry-After`` (seconds or HTTP date) when given
    400, 401, 403, 404, 422       permanent failure
    every other status            retried with the step's backoff
    no answer (refused, timeout)  retried with the step's backoff, class ``HTTP_CONNECTION``
    ============================  =================================================================

    The error class is ``HTTP_<status>``. Status and body are stored in the step's error details.
    """

    timeout_seconds: float = 30.0
    """How long :meth:`http` waits for the server."""

    max_retry_after: float | None = 300.0
    """Upper bound in seconds for a server's ``Retry-After``; ``None`` leaves it to the engine."""

    def request(self, task: Task, sequence: Sequence, step: Step) -> ApiResponse:
        """Make the request and return the answer, whatever its status."""
        raise NotImplementedError(f"{type(self).__name__} does not define request()")

    def parse(self, response: ApiResponse) -> Any:
        """The step's result: the JSON body, or ``{"status", "body"}`` for anything else."""
        try:
            return response.json()
        except ValueError:
            return {"status": response.status, "body": response.text()}

    def process(self, task: Task, sequence: Sequence, step: Step) -> Any:
        """Make the request and map its answer; raises as the table of the class says."""
        try:
            response = self.request(task, sequence, step)
        except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
            raise RetryableError(
                f"No answer from the API: {error}", error_code="HTTP_CONNECTION"
            ) from error
        self.check(response)
        return self.parse(response)

    def check(self, response: ApiResponse) -> None:
        """Raise the error that belongs to the status; return for 2xx."""
        status = response.status
        if 200 <= status < 300:
            return
        message = f"The API answered {status}"
        details = {
            "response_status": status,
            "response_body": json_codec.clean_text(response.text()[:_BODY_EXCERPT]),
        }
        if status in PERMANENT_STATUSES:
            raise PermanentError(message, f"HTTP_{status}", details)
        wait = None
        if status in OVERLOAD_STATUSES:
            wait = parse_retry_after(response.header("Retry-After"))
        if wait is not None and self.max_retry_after is not None:
            wait = min(wait, self.max_retry_after)
        raise RetryableError(message, wait, details, error_code=f"HTTP_{status}")

    def http(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        json_body: Any = None,
    ) -> ApiResponse:
        """One HTTP request with the standard library; redirects are not followed.

        ``json_body`` is encoded with exact numbers. Raises ``ValueError`` for a URL that is not
        http(s), ``OSError`` when there is no answer within ``timeout_seconds``.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise ValueError(f"Not an http(s) URL: {url!r}")
        sent = dict(headers or {})
        if json_body is not None:
            body = json_codec.dumps(json_body).encode("utf-8")
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(url, data=body, headers=sent, method=method)
        try:
            with _opener.open(request, timeout=self.timeout_seconds) as answer:
                return ApiResponse(answer.status, dict(answer.headers.items()), answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return ApiResponse(answer.code, dict(answer.headers.items()), answer.read())


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header: digits, or an HTTP date (then at least 1).

    ``None`` for a missing or unreadable header: the engine's backoff applies.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), 1e9)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    seconds = (moment - (now or datetime.now(timezone.utc))).total_seconds()
    return float(max(1, math.ceil(seconds)))


class _KeepRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(_KeepRedirects)


def _charset(content_type: str | None) -> str:
    message = Message()
    message["Content-Type"] = content_type or "text/plain"
    charset = message.get_content_charset("utf-8")
    try:
        "".encode(charset)
    except LookupError:
        return "utf-8"
    return charset
