"""From what a handler returns or raises to what the engine is told."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from tasker import PermanentError, RetryableError, Step, StepHandlerCallResult, json_codec
from tasker.errors import JsonEncodeError
from tasker.reports import (
    Report,
    completed,
    failed,
    failed_result,
    released,
    substitute,
    without_superseded,
)
from tasker.results import as_results_object, result_value


def a_step(**changes: Any) -> Step:
    return Step(uuid.uuid4(), uuid.uuid4(), "step", "handler", 7, **changes)


def element(report: Report) -> dict[str, Any]:
    parsed: dict[str, Any] = json_codec.loads(report.payload)
    assert parsed["step_uuid"] == str(report.step_uuid)
    assert parsed["claim_number"] == report.claim_number
    assert parsed["status"] == report.status
    return parsed


@pytest.mark.parametrize(("value", "stored"), [
    ({"a": 1}, {"a": 1}), (36, {"result": 36}), ([1], {"result": [1]}), (None, {"result": None}),
    ("x", {"result": "x"}), ({}, {}),
])
def test_values_that_are_no_objects_are_wrapped_and_unwrapped(value: Any, stored: Any) -> None:
    assert as_results_object(value) == stored
    assert result_value(stored) == value


def test_an_object_with_more_than_a_result_is_not_unwrapped() -> None:
    assert result_value({"result": 1, "unit": "m"}) == {"result": 1, "unit": "m"}
    assert result_value({"result": 1, "_metadata": {"ms": 3}}) == 1


def test_a_completed_step_reports_its_results_with_metadata_beside() -> None:
    step = a_step(results={"total": Decimal("209.97")})
    parsed = element(completed(step, "w", {"ms": 3}))
    assert parsed["status"] == "complete"
    assert parsed["results"] == {"total": Decimal("209.97"), "_metadata": {"ms": 3}}


def test_results_that_json_cannot_hold_fail_the_step_permanently() -> None:
    parsed = element(completed(a_step(results={"when": object()}), "w"))
    assert (parsed["status"], parsed["retryable"]) == ("error", False)
    assert parsed["error_class"] == "ResultNotStorable"
    assert "$.when" in parsed["error_message"]


def test_a_permanent_error_reports_code_message_and_backtrace() -> None:
    try:
        raise PermanentError("declined", "PAYMENT_DECLINED", {"reason": "card_declined"})
    except PermanentError as error:
        parsed = element(failed(a_step(), "w", error))
    assert parsed["status"] == "error"
    assert parsed["retryable"] is False
    assert parsed["error_class"] == "PAYMENT_DECLINED"
    assert parsed["error_message"] == "declined"
    assert "retry_after_seconds" not in parsed
    assert any("raise PermanentError" in line for line in parsed["backtrace"])
    assert parsed["results"]["error_details"] == {
        "error_code": "PAYMENT_DECLINED", "error_context": {"reason": "card_declined"},
    }


@pytest.mark.parametrize("seconds", [0, 60, 1.5, Decimal("0.25")])
def test_a_retryable_error_reports_its_delay(seconds: Any) -> None:
    parsed = element(failed(a_step(), "w", RetryableError("later", seconds)))
    assert parsed["retryable"] is True and parsed["error_class"] == "RetryableError"
    assert parsed["retry_after_seconds"] == pytest.approx(float(seconds))


def test_a_negative_delay_is_refused() -> None:
    for make in (
        lambda: RetryableError("x", -1),
        lambda: RetryableError("x", float("nan")),
        lambda: RetryableError("x", float("inf")),
        lambda: StepHandlerCallResult.failure("x", retry_after=-1),
    ):
        with pytest.raises(ValueError, match="retry_after"):
            make()


def test_any_other_exception_is_retryable_under_its_class_name() -> None:
    parsed = element(failed(a_step(), "w", ZeroDivisionError("division by zero")))
    assert (parsed["retryable"], parsed["error_class"]) == (True, "ZeroDivisionError")


def test_an_exception_without_a_message_reports_its_class() -> None:
    assert element(failed(a_step(), "w", ValueError()))["error_message"] == "ValueError"


def test_messages_and_details_that_cannot_be_stored_do_not_spoil_the_report() -> None:
    error = RetryableError("bad \x00 byte \ud800", 9, {"when": object()}, error_code="C\x00")
    parsed = element(failed(a_step(), "w", error))
    assert parsed["retry_after_seconds"] == 9
    assert parsed["error_message"] == "bad \ufffd byte ?" and parsed["error_class"] == "C\ufffd"
    assert "object cannot be stored" in parsed["results"]["error_details"]["unreadable"]


@pytest.mark.parametrize(("result", "error_class", "retryable", "delay"), [
    (StepHandlerCallResult.failure("m"), "StepFailure", True, None),
    (StepHandlerCallResult.failure("m", "Kind"), "Kind", True, None),
    (StepHandlerCallResult.failure("m", "Kind", "CODE", retry_after=5), "CODE", True, 5),
    (StepHandlerCallResult.failure("m", retryable=False, retry_after=5), "StepFailure", False, None),
])
def test_a_failure_result_says_what_an_exception_would(
    result: StepHandlerCallResult, error_class: str, retryable: bool, delay: int | None
) -> None:
    parsed = element(failed_result(a_step(), "w", result))
    assert (parsed["error_class"], parsed["retryable"]) == (error_class, retryable)
    assert parsed.get("retry_after_seconds") == delay


def test_a_substitute_is_a_permanent_failure_that_any_server_can_read() -> None:
    original = completed(a_step(results={"a": 1}), "w")
    replacement = substitute(original, "ümlaut \x00")
    parsed = element(replacement)
    assert (parsed["error_class"], parsed["retryable"]) == ("ResultNotStorable", False)
    assert replacement.payload.isascii() and replacement.substitute


def test_only_the_report_of_the_latest_claim_of_a_step_is_sent() -> None:
    step, other = a_step(), a_step()
    old = completed(step, "w")
    step.claim_number = 8
    new, unrelated = completed(step, "w"), completed(other, "w")
    assert without_superseded([old, unrelated, new]) == ([unrelated, new], [old])


def test_events_come_with_the_report_of_a_run_that_succeeds_as_they_were_when_published() -> None:
    step = a_step(results={"n": 1})
    payload = {"total": Decimal("209.970"), "lines": [1]}
    step.publish("orders.paid", payload)
    payload["lines"].append(2)
    step.publish("orders.seen")
    parsed = element(completed(step, "w"))
    assert parsed["results"] == {"n": 1}
    assert parsed["events"] == [
        {"name": "orders.paid", "payload": {"total": Decimal("209.970"), "lines": [1]}},
        {"name": "orders.seen", "payload": {}},
    ]
    assert "events" not in element(completed(a_step(), "w"))


def test_a_run_that_fails_publishes_what_was_meant_for_failures_and_one_given_back_nothing() -> None:
    step = a_step()
    step.publish("orders.paid")
    step.publish("orders.tried", {"n": 1}, on_failure=True)
    tried = [{"name": "orders.tried", "payload": {"n": 1}}]
    assert element(failed(step, "w", ValueError("no")))["events"] == tried
    assert element(failed_result(step, "w", StepHandlerCallResult.failure("no")))["events"] == tried
    step.results = {"when": object()}
    assert element(completed(step, "w"))["events"] == tried
    assert "events" not in element(released(step, "w", "not here"))
    assert "events" not in element(substitute(completed(step, "w"), "too large"))


def test_an_event_that_json_cannot_hold_is_refused_where_it_is_published() -> None:
    step = a_step()
    with pytest.raises(JsonEncodeError, match="when"):
        step.publish("orders.paid", {"when": object()})
    step.publish("orders.large", {"text": "x" * 10_000_000})
    with pytest.raises(JsonEncodeError, match="16,000,000"):
        step.publish("orders.large", {"text": "x" * 10_000_000})
    step.publish("orders.\x00")
    names = [event["name"] for event in element(completed(step, "w"))["events"]]
    assert names == ["orders.large", "orders.\ufffd"]
