"""Connections to the server, and what a database error means for a worker."""

from __future__ import annotations

import enum
import os
import random
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from . import json_codec
from .errors import ConfigurationError

_DEFAULTS: tuple[tuple[str, str, str], ...] = (
    # libpq parameter, its environment variable, default of this package
    ("application_name", "PGAPPNAME", "tasker-worker"),
    ("connect_timeout", "PGCONNECT_TIMEOUT", "10"),
    ("keepalives_idle", "", "15"),
    ("keepalives_interval", "", "5"),
    ("keepalives_count", "", "3"),
    ("tcp_user_timeout", "", "30000"),
)

_TRY_AGAIN = frozenset({"40001", "40P01", "55P03", "57014"})
_GONE = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25006"})
_WRONG_CALL = frozenset({"22004", "22023"})


class Trouble(enum.Enum):
    """What to do about a database error."""

    CONFLICT = "conflict"
    """Rolled back because of others or for want of room (deadlock, timeout, disk full): say the
    same again a little later, on the same connection."""
    LOST = "lost"
    """The server or the connection is gone: connect again; whether the call happened is unknown."""
    DATA = "data"
    """A value in the call is beyond what the server can take; nothing of the call happened."""
    SETUP = "setup"
    """Extension, privilege or arguments are wrong: repeating does not help by itself."""


def classify(error: psycopg.Error, connection: psycopg.Connection[Any] | None = None) -> Trouble:
    """Sort an error by what a worker does about it."""
    state = error.sqlstate
    if state is None and isinstance(error, (psycopg.DataError, psycopg.ProgrammingError)):
        return Trouble.DATA  # the client itself could not write the call
    if (connection is not None and connection.closed) or state is None or state in _GONE:
        return Trouble.LOST
    if state in _TRY_AGAIN or state[:2] in ("53", "58"):
        return Trouble.CONFLICT
    if state[:2] == "08":
        return Trouble.LOST
    if state[:2] in ("22", "54") and state not in _WRONG_CALL:
        return Trouble.DATA
    return Trouble.SETUP


class Backoff:
    """Growing, jittered delays between attempts: full jitter up to ``first * 2^n``, capped."""

    def __init__(self, first: float = 0.1, cap: float = 15.0) -> None:
        """``first`` and ``cap`` are in seconds."""
        self._first = first
        self._cap = cap
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait before the next attempt; never less than a tenth of the bound."""
        bound = min(self._cap, self._first * 2 ** min(self._failures, 30))
        self._failures += 1
        return random.uniform(0.1 * bound, bound)

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._failures = 0


def open_connection(dsn: str) -> psycopg.Connection[Any]:
    """An autocommit connection in READ COMMITTED with exact JSON; raises ``psycopg.Error``.

    Its encoding is UTF-8 whatever the environment says: JSON of any language goes through it.
    """
    given = conninfo_to_dict(dsn)
    missing = {
        name: value
        for name, variable, value in _DEFAULTS
        if name not in given and not (variable and variable in os.environ)
    }
    connection = psycopg.connect(
        make_conninfo(dsn, **missing, client_encoding="UTF8"), autocommit=True
    )
    try:
        json_codec.register(connection)
        connection.execute("SET default_transaction_isolation TO 'read committed'")
    except BaseException:
        connection.close()
        raise
    return connection


def check_extension(connection: psycopg.Connection[Any]) -> None:
    """Raise :class:`ConfigurationError`, in one line, when this role cannot work here."""
    row = connection.execute(
        """
        SELECT current_database(), current_user,
               bool_or(has_schema_privilege(n.oid, 'USAGE')),
               bool_or(has_function_privilege(p.oid, 'EXECUTE'))
          FROM pg_catalog.pg_proc p
          JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
         WHERE n.nspname = 'tasker' AND p.proname = 'report_and_claim'
        """
    ).fetchone()
    assert row is not None
    database, role, may_use, may_execute = row
    if may_execute is None:
        raise ConfigurationError(
            f"Database {database!r} has no tasker_ext: connect to the right database "
            "or run CREATE EXTENSION tasker_ext there"
        )
    if not (may_use and may_execute):
        raise ConfigurationError(
            f"Role {role!r} cannot claim steps in database {database!r}: "
            f"GRANT tasker_worker TO {role}"
        )


def channel_name(namespace: str) -> str:
    """The channel on which the engine announces work of a namespace: at most 63 bytes."""
    return f"tasker_{namespace}".encode()[:63].decode("utf-8", "ignore")


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; of a server's error also DETAIL and HINT."""
    text = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        diag = error.diag
        parts = (diag.message_primary, diag.message_detail, diag.message_hint)
        text = "; ".join(part for part in parts if part)
    return " ".join(text.split()) or type(error).__name__
