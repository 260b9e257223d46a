"""S5: validate_order > reserve_inventory > process_payment > ship_order.

Money and weights are ``Decimal`` from the context to the stored result. There is no real shop
behind it: the catalogue is a constant, and the payment gateway answers by the token.

===============================  ===========================================
``payment_info.token``           the gateway's answer
===============================  ===========================================
``tok_test_card_declined``       PAYMENT_DECLINED, permanent
``tok_test_insufficient_funds``  PAYMENT_DECLINED, permanent
``tok_test_invalid_card``        PAYMENT_DECLINED, permanent
``tok_test_rate_limited``        GATEWAY_RATE_LIMITED, retried after 60 s
``tok_test_gateway_error``       GATEWAY_ERROR, retried after 30 s
anything else                    the order total is charged
===============================  ===========================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, TypeGuard

from tasker import PermanentError, RetryableError, Sequence, Step, StepHandler, Task, step_handler

CENT = Decimal("0.01")
MAX_ORDER_TOTAL = Decimal("50000")
GATEWAY_FEE_RATE = Decimal("0.029")
RESERVATION_TIME = timedelta(minutes=15)
POUNDS_PER_ITEM = Decimal("0.5")
POUNDS_INCLUDED = Decimal("1")
PRICE_PER_EXTRA_POUND = Decimal("2.50")


@dataclass(frozen=True)
class Product:
    """An article of the catalogue."""

    name: str
    stock: int


@dataclass(frozen=True)
class ShippingMethod:
    """What a way of shipping costs up to one pound, and how many business days it takes."""

    carrier: str
    base_price: Decimal
    business_days: int


CATALOGUE = {
    101: Product("Premium Widget A", 100),
    102: Product("Deluxe Widget B", 50),
    103: Product("Standard Widget C", 25),
}

SHIPPING_METHODS = {
    "standard": ShippingMethod("UPS Ground", Decimal("8.99"), 5),
    "express": ShippingMethod("FedEx Express", Decimal("15.00"), 2),
    "overnight": ShippingMethod("FedEx", Decimal("25.00"), 1),
}

DECLINED_TOKENS = {
    "tok_test_card_declined": "card_declined",
    "tok_test_insufficient_funds": "insufficient_funds",
    "tok_test_invalid_card": "invalid_card",
}


@step_handler("fulfillment.validate_order")
class ValidateOrder(StepHandler):
    """Checks customer and items and computes the total from the prices of the order."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, Any]:
        """Validated items with line totals and the order total; permanent errors by code."""
        customer = _object(task.context.get("customer_info"))
        if not customer.get("id"):
            raise PermanentError("The customer has no id", "MISSING_CUSTOMER_ID")
        if not customer.get("email"):
            raise PermanentError("The customer has no email", "MISSING_CUSTOMER_EMAIL")
        items = task.context.get("order_items")
        if not isinstance(items, list) or not items:
            raise PermanentError("The order has no items", "MISSING_ORDER_ITEMS")
        validated = [_validated_item(item, number) for number, item in enumerate(items, 1)]
        total = sum((item["line_total"] for item in validated), Decimal(0))
        if total > MAX_ORDER_TOTAL:
            raise PermanentError(
                f"The order total {total} is above {MAX_ORDER_TOTAL}", "ORDER_TOTAL_TOO_HIGH"
            )
        return {
            "customer_validated": True,
            "customer_id": customer["id"],
            "items": validated,
            "item_count": len(validated),
            "order_total": total,
            "validation_status": "complete",
        }


@step_handler("fulfillment.reserve_inventory")
class ReserveInventory(StepHandler):
    """Reserves every item for fifteen minutes under an id that is the same on every attempt."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, Any]:
        """The reservation; too little stock may be another's reservation and is tried again."""
        order = sequence.get_results("validate_order")
        for item in order["items"]:
            product = CATALOGUE[item["product_id"]]
            if item["quantity"] > product.stock:
                raise RetryableError(
                    f"Only {product.stock} of {product.name} in stock",
                    error_code="INSUFFICIENT_STOCK",
                )
        return {
            "reservation_id": f"RES-{task.uuid.hex[16:28].upper()}",
            "items_reserved": len(order["items"]),
            "total_reserved_value": order["order_total"],
            "reservation_status": "confirmed",
            "expires_at": (datetime.now(timezone.utc) + RESERVATION_TIME).isoformat(),
        }


@step_handler("fulfillment.process_payment")
class ProcessPayment(StepHandler):
    """Charges the validated order total; the task's uuid is the payment's idempotency key."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, Any]:
        """The payment with the gateway's fee; see the module's table for the failures."""
        payment = _object(task.context.get("payment_info"))
        amount = sequence.get_results("validate_order")["order_total"]
        _charge(payment.get("token"))
        return {
            "payment_processed": True,
            "payment_id": f"PAY-{task.uuid.hex[16:28].upper()}",
            "payment_method": payment.get("method"),
            "reservation_id": sequence.get_results("reserve_inventory")["reservation_id"],
            "amount_charged": amount,
            "gateway_fee": _cents(amount * GATEWAY_FEE_RATE),
            "payment_status": "completed",
        }


@step_handler("fulfillment.ship_order")
class ShipOrder(StepHandler):
    """Creates the label from results of two steps that are not its parents."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> dict[str, Any]:
        """Carrier, price and estimated delivery."""
        order = sequence.get_results("validate_order")
        reservation = sequence.get_results("reserve_inventory")
        method_name = _object(task.context.get("shipping_info")).get("method")
        method = SHIPPING_METHODS.get(str(method_name))
        if method is None:
            raise PermanentError(f"No such way of shipping: {method_name!r}", "INVALID_SHIPPING")
        weight = POUNDS_PER_ITEM * sum(item["quantity"] for item in order["items"])
        extra = max(weight - POUNDS_INCLUDED, Decimal(0))
        return {
            "shipping_status": "label_created",
            "tracking_number": f"TRK-{task.uuid.hex[16:28].upper()}",
            "reservation_id": reservation["reservation_id"],
            "carrier": method.carrier,
            "shipping_method": method_name,
            "weight_pounds": weight,
            "shipping_cost": _cents(method.base_price + extra * PRICE_PER_EXTRA_POUND),
            "estimated_delivery": add_business_days(
                datetime.now(timezone.utc).date(), method.business_days
            ).isoformat(),
        }


def add_business_days(start: date, days: int) -> date:
    """``start`` plus ``days`` days that are neither Saturday nor Sunday."""
    day = start
    while days > 0:
        day += timedelta(days=1)
        if day.weekday() < 5:
            days -= 1
    return day


def _validated_item(item: Any, number: int) -> dict[str, Any]:
    fields = _object(item)
    product_id: Any = fields.get("product_id")
    quantity: Any = fields.get("quantity")
    price: Any = fields.get("price")
    if not (_is_integer(product_id) and _is_integer(quantity) and _is_number(price)):
        raise PermanentError(
            f"Item {number} needs product_id, quantity (integers) and price (number)",
            "INVALID_ORDER_ITEM",
        )
    if quantity <= 0:
        raise PermanentError(f"Item {number} has quantity {quantity}", "INVALID_QUANTITY")
    if price < 0:
        raise PermanentError(f"Item {number} has price {price}", "INVALID_PRICE")
    product = CATALOGUE.get(product_id)
    if product is None:
        raise PermanentError(f"Item {number}: no product {product_id}", "PRODUCT_NOT_FOUND")
    return {
        "product_id": product_id,
        "name": product.name,
        "quantity": quantity,
        "unit_price": price,
        "line_total": Decimal(price) * quantity,
    }


def _charge(token: Any) -> None:
    """The gateway, simulated by the names of the tokens."""
    reason = DECLINED_TOKENS.get(token)
    if reason is not None:
        raise PermanentError(
            f"The payment was declined: {reason}", "PAYMENT_DECLINED", {"reason": reason}
        )
    if token == "tok_test_rate_limited":
        raise RetryableError(
            "The gateway limits our rate", 60, error_code="GATEWAY_RATE_LIMITED"
        )
    if token == "tok_test_gateway_error":
        raise RetryableError("The gateway failed", 30, error_code="GATEWAY_ERROR")


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[int | Decimal]:
    return isinstance(value, Decimal) or _is_integer(value)
