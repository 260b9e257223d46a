"""Shared fixtures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_engine import FakeEngine

from tasker import HandlerRegistry, Runner, WorkerSettings

TEMPLATES = Path(__file__).resolve().parents[3] / "examples" / "templates"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def registry() -> HandlerRegistry:
    return HandlerRegistry()


@pytest.fixture
def start(engine: FakeEngine, registry: HandlerRegistry) -> Iterator[Callable[..., Runner]]:
    """Start a runner on the fake engine in a thread; it is stopped after the test."""
    started: list[tuple[Runner, threading.Thread]] = []

    def run(**settings: Any) -> Runner:
        defaults: dict[str, Any] = {"poll": 0.02, "grace": 2.0, "listen": False}
        runner = Runner(WorkerSettings(**(defaults | settings)), registry, engine.connect)
        engine.announce = runner._inbox.wake
        thread = threading.Thread(target=runner.run, daemon=True)
        thread.start()
        started.append((runner, thread))
        return runner

    yield run
    for runner, thread in started:
        runner.stop()
        thread.join(10)
        assert not thread.is_alive(), "the runner did not stop"


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
