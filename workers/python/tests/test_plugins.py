"""Which plugin a handler belongs to."""

from __future__ import annotations

from importlib import metadata

import pytest

from tasker import HandlerRegistry
from tasker.plugins import Plugin, plugin_of


def named(module: str) -> type:
    return type("Handler", (), {"__module__": module})


def test_a_module_of_an_installed_package_stands_for_the_package() -> None:
    version = metadata.version("pytest")
    assert plugin_of(pytest.fixture) == Plugin("pytest", version)


def test_a_version_that_is_not_semantic_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2024.1rc1")
    assert plugin_of(pytest.fixture) == Plugin("pytest", None)


@pytest.mark.parametrize(("module", "plugin"), [
    ("shop.handlers.orders", Plugin("shop", None)),
    ("shop", Plugin("shop", None)),
    ("__main__", Plugin(None, None)),
])
def test_another_module_stands_for_itself_and_the_main_program_for_nothing(
    module: str, plugin: Plugin
) -> None:
    assert plugin_of(named(module)) == plugin


def test_a_registry_sorts_its_handlers_by_plugin() -> None:
    registry = HandlerRegistry()

    def one(task: object, sequence: object, step: object) -> None: ...
    def two(task: object, sequence: object, step: object) -> None: ...
    def three(task: object, sequence: object, step: object) -> None: ...

    one.__module__, two.__module__, three.__module__ = "shop.a", "bank", "shop.b"
    for name, handler in (("c", three), ("a", one), ("b", two)):
        registry.register(name, handler)
    assert registry.plugins() == {Plugin("bank", None): ["b"], Plugin("shop", None): ["a", "c"]}
