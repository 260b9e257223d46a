"""The five example workflows from template to result, against a server."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from examples_support import ORDER_CONTEXT

from tasker import TaskExecutionContext, json_codec

Start = Callable[..., Any]


@pytest.fixture
def run(db: Any, worker: Start) -> Callable[..., Any]:
    """Run one example to ``status``; returns (task uuid, step name -> results)."""

    def run_example(name: str, context: dict[str, Any], status: str = "complete") -> Any:
        namespace, task_name = db.register_example(name)
        task = db.client.create_task(task_name, context, namespace=namespace)
        worker(namespace, "--poll", "0.1")
        db.wait_status(task, status)
        return task, db.results(task)

    return run_example


def numbers(results: dict[str, Any]) -> dict[str, int]:
    assert all(type(result["result"]) is int for result in results.values())
    return {name: result["result"] for name, result in results.items()}


@pytest.mark.parametrize(("n", "expected"), [
    (6, [36, 1296, 1679616, 2821109907456]),
    (8, [64, 4096, 16777216, 281474976710656]),
])
def test_linear_squares_the_number_in_every_step(
    db: Any, run: Any, n: int, expected: list[int]
) -> None:
    task, results = run("linear", {"even_number": n})
    assert list(numbers(results).values()) == expected
    assert db.client.get_task_execution_context(task) == TaskExecutionContext(
        status="complete", total_steps=4, pending_steps=0, in_progress_steps=0, completed_steps=4,
        failed_steps=0, ready_steps=0, execution_status="all_complete",
        recommended_action=None, completion_percentage=Decimal("100.00"),
        health_status="healthy",
    )
    assert [step["attempts"] for step in db.steps(task).values()] == [1] * 4


def test_an_odd_number_fails_the_first_step_permanently(db: Any, run: Any) -> None:
    task, results = run("linear", {"even_number": 7}, "error")
    assert results["linear_step_1"]["error_class"] == "EVEN_NUMBER_REQUIRED"
    states = [step["state"] for step in db.steps(task).values()]
    assert states == ["error", "pending", "pending", "pending"]


@pytest.mark.parametrize(("n", "end"), [(4, 4294967296), (10, 10000000000000000)])
def test_diamond_squares_the_product_of_both_branches(run: Any, n: int, end: int) -> None:
    _, results = run("diamond", {"even_number": n})
    assert list(numbers(results).values()) == [n**2, n**4, n**4, end]


def test_tree_converges_to_the_squared_product_of_its_leaves(run: Any) -> None:
    _, results = run("tree", {"even_number": 6})
    found = numbers(results)
    assert [found[f"tree_leaf_{leaf}"] for leaf in "defg"] == [6**8] * 4
    assert found["tree_final_convergence"] == (6**8) ** 8


def test_mixed_dag_finalizes_the_results_of_all_branches(run: Any) -> None:
    _, results = run("mixed_dag", {"even_number": 6})
    found = numbers(results)
    assert found["dag_validate"] == 6**16
    assert found["dag_transform"] == found["dag_analyze"] == 6**8
    assert found["dag_finalize"] == 6**64


@pytest.mark.parametrize("n", [2 * 10**9, 2**31, 10**40])
def test_results_beyond_int64_and_2_to_53_stay_exact(run: Any, n: int) -> None:
    _, results = run("tree", {"even_number": n})
    assert numbers(results)["tree_final_convergence"] == n**64


def order(**changes: Any) -> dict[str, Any]:
    context: dict[str, Any] = json_codec.loads(ORDER_CONTEXT)
    return context | changes


def test_order_fulfillment_charges_and_ships_the_sums_of_its_items(db: Any, run: Any) -> None:
    task, results = run("order_fulfillment", order())
    assert str(results["validate_order"]["order_total"]) == "209.97"
    assert [str(i["line_total"]) for i in results["validate_order"]["items"]] == ["59.98", "149.99"]
    assert results["reserve_inventory"]["items_reserved"] == 2
    assert results["reserve_inventory"]["reservation_id"].startswith("RES-")
    assert str(results["process_payment"]["amount_charged"]) == "209.97"
    assert str(results["process_payment"]["gateway_fee"]) == "6.09"
    assert results["ship_order"]["carrier"] == "FedEx Express"
    assert str(results["ship_order"]["shipping_cost"]) == "16.25"
    limits = db.rows(
        "SELECT retry_limit FROM tasker.workflow_steps WHERE task_uuid = %s ORDER BY step_no", task
    )
    assert [limit for limit, in limits] == [1, 3, 2, 5]


def test_a_declined_card_ends_the_task_in_error(db: Any, run: Any) -> None:
    payment = {"method": "credit_card", "token": "tok_test_card_declined"}
    task, results = run("order_fulfillment", order(payment_info=payment), "error")
    assert results["process_payment"]["error_class"] == "PAYMENT_DECLINED"
    states = [step["state"] for step in db.steps(task).values()]
    assert states == ["complete", "complete", "error", "pending"]


@pytest.mark.parametrize(("changes", "place"), [
    ({"customer_info": {"email": "a@b"}}, "customer_info"),
    ({"customer_info": {"id": "12345", "email": "a@b"}}, "id"),
    ({"order_items": []}, "order_items"),
    ({"payment_info": {"method": "cash"}}, "method"),
    ({"shipping_info": {"method": "pigeon"}}, "method"),
])
def test_a_context_that_breaks_the_schema_creates_nothing(
    db: Any, changes: dict[str, Any], place: str
) -> None:
    namespace, name = db.register_example("order_fulfillment")
    key = f"refused-{place}-{id(changes)}"
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        db.client.create_task(name, order(**changes), namespace=namespace, idempotency_key=key)
    assert place in str(caught.value)
