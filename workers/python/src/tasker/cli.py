"""The command line: ``python -m tasker`` or ``tasker-worker``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import psycopg

from .connection import one_line
from .errors import ConfigurationError
from .registry import HandlerRegistry, default_registry
from .runner import Runner
from .settings import WorkerSettings


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="tasker-worker", description="Run step handlers for the tasker_ext workflow engine."
    )
    add = parser.add_argument
    add("--dsn", default=os.environ.get("TASKER_DSN", ""),
        help="connection string or URI (TASKER_DSN; PG* variables fill the rest)")
    add("--namespace", action="append", metavar="NAME",
        help="namespace to claim from; repeatable (TASKER_NAMESPACES, comma separated; 'default')")
    add("--handlers", action="append", metavar="MODULE[:ATTR]",
        help="where handlers are registered; repeatable (TASKER_HANDLERS, comma separated)")
    add("--queue", action="append", metavar="NAME", help="queue to claim from; repeatable")
    add("--threads", type=int, default=4, help="handlers at the same time (4)")
    add("--batch", type=int, default=10, help="steps asked for in one claim (10)")
    add("--lease", type=float, default=30.0, help="seconds until a silent worker is replaced (30)")
    add("--poll", type=float, default=1.0, help="seconds between claims when idle (1.0)")
    add("--grace", type=float, default=30.0, help="seconds to finish running steps at the end (30)")
    add("--no-listen", action="store_true", help="do not LISTEN for wake-ups, only poll")
    add("--once", action="store_true", help="claim one batch, run it, end")
    add("--until-idle", action="store_true", help="end when nothing is claimable")
    add("--logs", default="info", metavar="LEVEL",
        help="level from which records of handlers are sent with reports, or off (info)")
    add("--verbose", "-v", action="store_true", help="debug log, tracebacks")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker; returns the exit code.

    0 after an orderly end; 1 with one line on stderr for a wrong setting, an unreachable server, a
    missing extension or a missing privilege; 2 for a wrong command line.
    """
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        runner = Runner(_settings(options), _registry(options))
        _install_signals(runner)
        runner.run()
    except (ConfigurationError, psycopg.Error) as error:
        if options.verbose:
            logging.exception("The worker cannot start")
        print(f"tasker-worker: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _settings(options: argparse.Namespace) -> WorkerSettings:
    return WorkerSettings(
        dsn=options.dsn,
        namespaces=tuple(options.namespace or _listed("TASKER_NAMESPACES") or ["default"]),
        queues=tuple(options.queue) if options.queue else None,
        threads=options.threads,
        batch=options.batch,
        lease=options.lease,
        poll=options.poll,
        grace=options.grace,
        listen=not options.no_listen,
        once=options.once,
        until_idle=options.until_idle,
        logs=options.logs,
    )


def _registry(options: argparse.Namespace) -> HandlerRegistry:
    targets = options.handlers or _listed("TASKER_HANDLERS")
    if not targets:
        raise ConfigurationError("Name the handlers to run: --handlers module[:attr]")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    for target in targets:
        default_registry.load(target)
    if not default_registry.names():
        raise ConfigurationError(f"Nothing is registered after loading {', '.join(targets)}")
    return default_registry


def _listed(variable: str) -> list[str]:
    return [item.strip() for item in os.environ.get(variable, "").split(",") if item.strip()]


def _install_signals(runner: Runner) -> None:
    """The first SIGTERM or SIGINT ends in order, the second gives back at once, the third ends."""

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 2:
            os._exit(128 + number)
        runner.stop()

    received: list[int] = []
    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
