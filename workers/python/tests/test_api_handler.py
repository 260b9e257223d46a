"""HTTP answers decide a step's fate; asked of a real server on this machine."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tasker import ApiResponse, ApiStepHandler, PermanentError, RetryableError, Sequence, Step, Task
from tasker.api_handler import parse_retry_after


class Api:
    """A server whose next answer a test sets."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {}, b"{}"
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                api.requests.append(
                    (self.command, self.path, dict(self.headers), self.rfile.read(length))
                )
                self.send_response(api.status)
                for name, value in api.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(api.body)))
                self.end_headers()
                self.wfile.write(api.body)

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    api = Api()
    yield api
    api.server.shutdown()
    api.server.server_close()


@pytest.fixture
def api(server: Api) -> Api:
    server.requests.clear()
    server.answer(200)
    return server


def call(url: str, handler_class: type[ApiStepHandler] = ApiStepHandler, **options: Any) -> Any:
    class Handler(handler_class):  # type: ignore[misc,valid-type]
        timeout_seconds = 0.5

        def request(self, task: Task, sequence: Sequence, step: Step) -> ApiResponse:
            return self.http(options.pop("method", "GET"), url, **options)

    task = Task(uuid.uuid4(), "ns", "t", "1.0.0", {})
    return Handler().process(task, Sequence({}), Step(uuid.uuid4(), task.uuid, "s", "h", 1))


@pytest.mark.parametrize("status", [200, 201, 204, 226])
def test_a_2xx_status_is_a_success_with_the_parsed_body(api: Api, status: int) -> None:
    api.answer(status, b"" if status == 204 else b'{"price": 209.97, "id": 9223372036854775808}')
    expected = None if status == 204 else {"price": Decimal("209.97"), "id": 2**63}
    assert call(api.url) == expected


def test_a_body_that_is_no_json_comes_as_text(api: Api) -> None:
    api.answer(200, "grüß".encode("latin-1"), Content_Type="text/plain; charset=latin-1")
    assert call(api.url) == {"status": 200, "body": "grüß"}


def test_requests_carry_method_headers_and_exact_json(api: Api) -> None:
    call(f"{api.url}/orders?x=1", method="POST", headers={"Idempotency-Key": "k"},
         json_body={"amount": Decimal("209.970")})
    method, path, headers, body = api.requests[0]
    assert (method, path, body) == ("POST", "/orders?x=1", b'{"amount":209.970}')
    assert headers["Idempotency-Key"] == "k" and headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_client_errors_are_permanent_under_their_status(api: Api, status: int) -> None:
    api.answer(status, b"no\x00pe")
    with pytest.raises(PermanentError) as caught:
        call(api.url)
    assert caught.value.error_class == f"HTTP_{status}"
    assert caught.value.context == {"response_status": status, "response_body": "no\ufffdpe"}


@pytest.mark.parametrize("status", [302, 304, 405, 409, 410, 500, 502, 504])
def test_every_other_status_is_retried_with_the_backoff_of_the_step(api: Api, status: int) -> None:
    api.answer(status, b"", Location="/elsewhere", Retry_After="30")
    with pytest.raises(RetryableError) as caught:
        call(api.url)
    assert (caught.value.error_class, caught.value.retry_after) == (f"HTTP_{status}", None)
    assert len(api.requests) == 1, "a redirect must not be followed"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("header", "seconds"), [("30", 30), ("0", 0), ("5000", 300), (" 7 ", 7)])
def test_retry_after_seconds_are_taken_and_capped(
    api: Api, status: int, header: str, seconds: int
) -> None:
    api.answer(status, Retry_After=header)
    with pytest.raises(RetryableError) as caught:
        call(api.url)
    assert (caught.value.error_class, caught.value.retry_after) == (f"HTTP_{status}", seconds)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_as_http_date_counts_from_now(api: Api, status: int) -> None:
    moment = datetime.now(timezone.utc) + timedelta(seconds=60)
    api.answer(status, Retry_After=format_datetime(moment, usegmt=True))
    with pytest.raises(RetryableError) as caught:
        call(api.url)
    assert caught.value.retry_after is not None and 57 <= caught.value.retry_after <= 60


@pytest.mark.parametrize("status", [429, 503])
def test_without_retry_after_the_engine_decides(api: Api, status: int) -> None:
    api.answer(status)
    with pytest.raises(RetryableError) as caught:
        call(api.url)
    assert caught.value.retry_after is None


NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(("header", "seconds"), [
    ("Thu, 01 Jan 2026 12:01:00 GMT", 60), ("Thu, 01 Jan 2026 13:01:00 +0100", 60),
    ("Thu, 01 Jan 2026 12:00:00 GMT", 1), ("Wed, 31 Dec 2025 12:00:00 GMT", 1),
    ("Thursday, 01-Jan-26 12:00:30 GMT", 30), ("Thu Jan  1 12:00:30 2026", 30),
    ("-5", None), ("1.5", None), ("soon", None), ("", None), (None, None), ("٣", None),
])
def test_retry_after_forms(header: str | None, seconds: int | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


def test_a_handler_can_leave_the_cap_to_the_engine(api: Api) -> None:
    class Patient(ApiStepHandler):
        max_retry_after = None

    api.answer(503, Retry_After="5000")
    with pytest.raises(RetryableError) as caught:
        call(api.url, Patient)
    assert caught.value.retry_after == 5000


def test_no_answer_is_retried() -> None:
    with pytest.raises(RetryableError) as caught:
        call("http://127.0.0.1:1/")
    assert caught.value.error_class == "HTTP_CONNECTION"


def test_a_server_that_never_answers_is_given_up_after_the_timeout() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(RetryableError) as caught:
            call(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert caught.value.error_class == "HTTP_CONNECTION"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://x/", "nonsense"])
def test_only_http_urls_are_requested(url: str) -> None:
    with pytest.raises(ValueError, match="Not an http"):
        call(url)
