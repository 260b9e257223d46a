"""Settings of a worker process."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from dataclasses import dataclass

from .errors import ConfigurationError


_LEVELS = {
    name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")
}


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker claims and runs steps; times are in seconds.

    Raises :class:`~tasker.errors.ConfigurationError` for values that make no sense.
    """

    dsn: str = ""
    """libpq connection string or URI; what it leaves out comes from the ``PG*`` variables."""
    namespaces: tuple[str, ...] = ("default",)
    """Namespaces to claim from, asked in rotation by the engine."""
    queues: tuple[str, ...] | None = None
    """Queues to claim from; ``None`` = the default queues."""
    threads: int = 4
    """Handlers that run at the same time."""
    batch: int = 10
    """Steps asked for in one claim. Steps claimed beyond ``threads`` wait in this process, under
    their lease: larger is faster for short steps, 1 is fairest for long ones."""
    lease: float = 30.0
    """How long the engine waits for a silent worker before another takes its steps over."""
    poll: float = 1.0
    """Mean time between claims while nothing happens (jittered by a quarter)."""
    grace: float = 30.0
    """How long running steps may still take after SIGTERM or SIGINT."""
    listen: bool = True
    """Listen for wake-ups of the engine on a connection of its own."""
    once: bool = False
    """Claim one batch, run and report it, and stop."""
    until_idle: bool = False
    """Stop as soon as nothing is claimable and nothing is held."""
    logs: str = "info"
    """From which level on records of a handler are sent with the report of its run: debug, info,
    warning, error, critical, or off. What the logger of a record drops is not sent."""

    def __post_init__(self) -> None:
        if not self.namespaces or not all(self.namespaces):
            raise ConfigurationError("At least one namespace is needed, and none may be empty")
        if self.queues is not None and not (self.queues and all(self.queues)):
            raise ConfigurationError("queues is None or names at least one queue")
        for name in ("threads", "batch"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1")
        for name in ("lease", "poll"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} must be more than 0 seconds")
        if self.logs != "off" and self.logs not in _LEVELS:
            raise ConfigurationError(f"logs is one of {', '.join(_LEVELS)}, off")
        if not self.grace >= 0:
            raise ConfigurationError("grace must be 0 or more seconds")

    @property
    def log_level(self) -> int | None:
        """The level as a number; ``None`` sends nothing."""
        return _LEVELS.get(self.logs)

    @property
    def capacity(self) -> int:
        """The most steps that this process holds at a time, running or waiting."""
        return max(self.threads, self.batch)


def new_worker_id() -> str:
    """``host-pid-random``: never the same twice, and it leads the operator to the process."""
    host = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
