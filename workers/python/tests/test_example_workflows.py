"""The five example workflows and their expected results, through the whole worker."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from examples_support import ORDER_CONTEXT, example_template, fake_steps
from fake_engine import FakeEngine
from tasker_examples import workflows
from tasker_examples.workflows import order_fulfillment as shop

from tasker import (
    PermanentError,
    RetryableError,
    Runner,
    Sequence,
    Step,
    Task,
    WorkerSettings,
    default_registry,
    json_codec,
)

assert workflows


def run_workflow(name: str, context: dict[str, Any]) -> dict[str, Any]:
    """Run a template on the fake engine; step name -> the step's final record."""
    engine = FakeEngine()
    template = example_template(name)
    task = engine.create_task(
        fake_steps(template), context, template["namespace_name"], template["name"]
    )
    settings = WorkerSettings(until_idle=True, listen=False, threads=4)
    Runner(settings, default_registry, engine.connect).run()
    return engine.of_task(task)


def values(steps: dict[str, Any]) -> dict[str, Any]:
    assert {step.state for step in steps.values()} == {"complete"}
    return {name: step.results["result"] for name, step in steps.items()}


@pytest.mark.parametrize(("n", "results"), [
    (6, [36, 1296, 1679616, 2821109907456]),
    (8, [64, 4096, 16777216, 281474976710656]),
    (0, [0, 0, 0, 0]),
    (-2, [4, 16, 256, 65536]),
    (10**20, [10**40, 10**80, 10**160, 10**320]),
])
def test_linear_squares_the_number_in_every_step(n: int, results: list[int]) -> None:
    steps = values(run_workflow("linear", {"even_number": n}))
    assert list(steps.values()) == results
    assert all(type(value) is int for value in steps.values())


@pytest.mark.parametrize("context", [
    {"even_number": 7}, {}, {"even_number": "6"}, {"even_number": Decimal("6.5")},
    {"even_number": True}, {"even_number": None}, {"even_number": 10**5000 + 1},
], ids=range(7))
@pytest.mark.parametrize("name", ["linear", "diamond", "tree", "mixed_dag"])
def test_the_first_step_fails_permanently_without_an_even_number(
    name: str, context: dict[str, Any]
) -> None:
    first, *others = run_workflow(name, context).values()
    assert (first.state, first.retryable, first.attempts) == ("error", False, 1)
    assert first.results["error_class"] == "EVEN_NUMBER_REQUIRED"
    assert {step.state for step in others} == {"pending"}


@pytest.mark.parametrize(("n", "end"), [(4, 4294967296), (10, 10000000000000000)])
def test_diamond_squares_the_product_of_both_branches(n: int, end: int) -> None:
    steps = values(run_workflow("diamond", {"even_number": n}))
    assert list(steps.values()) == [n**2, n**4, n**4, end]


@pytest.mark.parametrize("n", [2, 6, 10])
def test_tree_converges_to_the_squared_product_of_its_leaves(n: int) -> None:
    steps = values(run_workflow("tree", {"even_number": n}))
    leaves = [steps[f"tree_leaf_{leaf}"] for leaf in "defg"]
    assert leaves == [n**8] * 4
    d, e, f, g = leaves
    assert steps["tree_final_convergence"] == (d * e * f * g) ** 2 == n**64


@pytest.mark.parametrize("n", [2, 6, 10])
def test_mixed_dag_finalizes_the_results_of_all_branches(n: int) -> None:
    steps = values(run_workflow("mixed_dag", {"even_number": n}))
    left, right = steps["dag_process_left"], steps["dag_process_right"]
    assert left == right == n**4
    assert steps["dag_validate"] == (left * right) ** 2
    assert steps["dag_transform"] == left**2 and steps["dag_analyze"] == right**2
    v, t, a = steps["dag_validate"], steps["dag_transform"], steps["dag_analyze"]
    assert steps["dag_finalize"] == (v * t * a) ** 2 == n**64


def order(**changes: Any) -> dict[str, Any]:
    context: dict[str, Any] = json_codec.loads(ORDER_CONTEXT)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = context
        for key in parents:
            target = target[int(key) if key.isdigit() else key]
        target[last] = value
    return context


def test_order_fulfillment_charges_and_ships_the_sums_of_its_items() -> None:
    before = datetime.now(timezone.utc)
    steps = run_workflow("order_fulfillment", order())
    assert {step.state for step in steps.values()} == {"complete"}
    validated = steps["validate_order"].results
    assert validated["customer_validated"] is True and validated["validation_status"] == "complete"
    assert validated["order_total"] == Decimal("209.97")
    assert [(i["name"], i["line_total"]) for i in validated["items"]] == [
        ("Premium Widget A", Decimal("59.98")), ("Deluxe Widget B", Decimal("149.99")),
    ]
    reserved = steps["reserve_inventory"].results
    assert reserved["items_reserved"] == 2 and reserved["reservation_status"] == "confirmed"
    assert reserved["total_reserved_value"] == Decimal("209.97")
    assert reserved["reservation_id"].startswith("RES-")
    lasts = datetime.fromisoformat(reserved["expires_at"]) - before
    assert timedelta(minutes=15) <= lasts <= timedelta(minutes=15, seconds=10)
    paid = steps["process_payment"].results
    assert paid["payment_processed"] is True and paid["payment_status"] == "completed"
    assert str(paid["amount_charged"]) == "209.97" and str(paid["gateway_fee"]) == "6.09"
    shipped = steps["ship_order"].results
    assert shipped["shipping_status"] == "label_created"
    assert shipped["carrier"] == "FedEx Express" and str(shipped["shipping_cost"]) == "16.25"
    assert shipped["reservation_id"] == reserved["reservation_id"]


@pytest.mark.parametrize(("method", "carrier", "cost"), [
    ("standard", "UPS Ground", "10.24"), ("express", "FedEx Express", "16.25"),
    ("overnight", "FedEx", "26.25"),
])
def test_every_shipping_method_has_its_carrier_and_cost(
    method: str, carrier: str, cost: str
) -> None:
    shipped = run_workflow("order_fulfillment", order(shipping_info__method=method))["ship_order"]
    assert shipped.results["carrier"] == carrier
    assert str(shipped.results["shipping_cost"]) == cost


def test_shipping_up_to_one_pound_costs_the_base_price() -> None:
    items = [{"product_id": 101, "quantity": 2, "price": Decimal("29.99")}]
    shipped = run_workflow("order_fulfillment", order(order_items=items))["ship_order"]
    assert str(shipped.results["shipping_cost"]) == "15.00"


ITEM = {"product_id": 101, "quantity": 1, "price": Decimal("1.00")}


@pytest.mark.parametrize(("changes", "code"), [
    ({"customer_info": {"email": "a@b"}}, "MISSING_CUSTOMER_ID"),
    ({"customer_info__email": ""}, "MISSING_CUSTOMER_EMAIL"),
    ({"order_items": []}, "MISSING_ORDER_ITEMS"),
    ({"order_items": None}, "MISSING_ORDER_ITEMS"),
    ({"order_items": ["widget"]}, "INVALID_ORDER_ITEM"),
    ({"order_items": [{"product_id": 101, "quantity": 1}]}, "INVALID_ORDER_ITEM"),
    ({"order_items": [ITEM | {"quantity": Decimal("1.5")}]}, "INVALID_ORDER_ITEM"),
    ({"order_items": [ITEM | {"price": "29.99"}]}, "INVALID_ORDER_ITEM"),
    ({"order_items": [ITEM | {"quantity": 0}]}, "INVALID_QUANTITY"),
    ({"order_items": [ITEM | {"quantity": -1}]}, "INVALID_QUANTITY"),
    ({"order_items": [ITEM | {"price": Decimal("-0.01")}]}, "INVALID_PRICE"),
    ({"order_items": [ITEM | {"product_id": 999}]}, "PRODUCT_NOT_FOUND"),
    ({"order_items": [ITEM | {"price": Decimal("50000.01")}]}, "ORDER_TOTAL_TOO_HIGH"),
])
def test_unusable_orders_fail_permanently_under_their_code(
    changes: dict[str, Any], code: str
) -> None:
    steps = run_workflow("order_fulfillment", order(**changes))
    first = steps["validate_order"]
    assert (first.state, first.retryable) == ("error", False)
    assert first.results["error_class"] == code
    assert steps["reserve_inventory"].state == "pending"


def test_a_total_of_exactly_50000_is_accepted() -> None:
    context = order(order_items=[ITEM | {"price": Decimal("50000")}])
    assert run_workflow("order_fulfillment", context)["ship_order"].state == "complete"


@pytest.mark.parametrize("reason", ["card_declined", "insufficient_funds", "invalid_card"])
def test_declined_payments_fail_permanently(reason: str) -> None:
    steps = run_workflow("order_fulfillment", order(payment_info__token=f"tok_test_{reason}"))
    payment = steps["process_payment"]
    assert (payment.state, payment.retryable, payment.attempts) == ("error", False, 1)
    assert payment.results["error_class"] == "PAYMENT_DECLINED"
    assert payment.results["error_details"]["error_context"] == {"reason": reason}
    assert steps["ship_order"].state == "pending"


@pytest.mark.parametrize(("token", "seconds"), [
    ("tok_test_rate_limited", 60), ("tok_test_gateway_error", 30),
])
def test_a_busy_gateway_is_retried_later(token: str, seconds: int) -> None:
    steps = run_workflow("order_fulfillment", order(payment_info__token=token))
    payment = steps["process_payment"]
    assert (payment.state, payment.retryable, payment.retry_limit) == ("error", True, 2)
    assert payment.results["retry_after_seconds"] == seconds


def test_too_little_stock_is_a_retryable_error() -> None:
    items = [{"product_id": 103, "quantity": 26, "price": Decimal("1")}]
    task = Task(uuid.uuid4(), "fulfillment", "process_order", "1.0.0", order(order_items=items))
    step = Step(uuid.uuid4(), task.uuid, "s", "h", 1)
    validated = shop.ValidateOrder().process(task, Sequence({}), step)
    with pytest.raises(RetryableError, match="Only 25"):
        shop.ReserveInventory().process(task, Sequence({"validate_order": validated}), step)


def test_an_unknown_shipping_method_fails_permanently() -> None:
    task = Task(uuid.uuid4(), "fulfillment", "process_order", "1.0.0", {})
    parents = {"validate_order": {"items": []}, "reserve_inventory": {"reservation_id": "RES-1"}}
    with pytest.raises(PermanentError):
        shop.ShipOrder().process(task, Sequence(parents), Step(uuid.uuid4(), task.uuid, "s", "h", 1))


@pytest.mark.parametrize(("start", "days", "end"), [
    (date(2026, 1, 1), 2, date(2026, 1, 5)), (date(2026, 1, 2), 1, date(2026, 1, 5)),
    (date(2026, 1, 3), 2, date(2026, 1, 6)), (date(2026, 1, 5), 5, date(2026, 1, 12)),
])
def test_business_days_skip_weekends(start: date, days: int, end: date) -> None:
    assert shop.add_business_days(start, days) == end


@pytest.mark.parametrize(
    "name", ["linear", "diamond", "tree", "mixed_dag", "order_fulfillment"]
)
def test_every_handler_that_a_template_names_is_registered(name: str) -> None:
    wanted = {step["handler"]["callable"] for step in example_template(name)["steps"]}
    assert wanted <= set(default_registry.names())
