"""Shared fixtures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_engine import FakeEngine

from tasker import HandlerRegistry, Runner, WorkerSettings


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
