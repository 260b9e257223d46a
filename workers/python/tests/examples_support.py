"""The example templates and contexts, for tests with and without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

TEMPLATES = Path(__file__).resolve().parents[3] / "examples" / "templates"


def example_template(name: str) -> dict[str, Any]:
    """A template of ``examples/templates`` as parsed YAML."""
    return yaml.safe_load((TEMPLATES / f"{name}.yaml").read_text())


def fake_steps(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The steps of a template in the form that ``FakeEngine.create_task`` takes."""
    return {
        step["name"]: {
            "handler": step["handler"]["callable"],
            "after": step.get("depends_on_steps", []),
            "limit": step["default_retry_limit"],
        }
        for step in template["steps"]
    }


ORDER_CONTEXT = """
{"customer_info": {"id": 12345, "email": "customer@example.com", "tier": "premium"},
 "order_items": [{"product_id": 101, "quantity": 2, "price": 29.99},
                 {"product_id": 102, "quantity": 1, "price": 149.99}],
 "payment_info": {"method": "credit_card", "token": "tok_test_payment_token_12345",
                  "amount": 209.97},
 "shipping_info": {"address": "1 Main Street", "method": "express"}}
"""
