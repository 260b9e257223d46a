"""Which plugin brings a handler: the installed package of its module, else the module itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, NamedTuple

SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class Plugin(NamedTuple):
    """A package or module that brings handlers."""

    name: str | None
    """Name of the distribution, or of the top-level module; ``None`` for the main program."""
    version: str | None
    """Its version, where it is a semantic one."""


def plugin_of(handler: Callable[..., Any]) -> Plugin:
    """The plugin that a handler class or function comes from."""
    top = (getattr(handler, "__module__", None) or "__main__").partition(".")[0]
    if top == "__main__":
        return Plugin(None, None)
    distributions = _distributions().get(top)
    if not distributions:
        return Plugin(top, None)
    version = metadata.version(distributions[0])
    return Plugin(distributions[0], version if SEMANTIC.fullmatch(version) else None)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
