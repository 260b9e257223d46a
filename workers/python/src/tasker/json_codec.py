"""JSON without loss: what PostgreSQL stores in ``jsonb`` is what the handler sees, and back.

``jsonb`` keeps numbers as ``numeric``. Python's ``json`` would turn ``209.97`` into a binary float
and refuse integers of more than 4,300 digits; this codec does neither:

==================  ===========================================
JSON                Python
==================  ===========================================
``36``              ``int``, of any size
``209.97``, ``1e3`` ``decimal.Decimal``, with its exact digits
==================  ===========================================

On the way out ``int`` and ``Decimal`` keep all their digits, and a ``float`` made by a handler is
written as its shortest ``repr``. What ``jsonb`` could not store exactly (NaN, infinities, NUL
characters, lone surrogates, numbers beyond ``numeric``) is refused here, naming its place, so that
one step's value can never spoil the batch in which it is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import psycopg
from psycopg.types.json import set_json_dumps, set_json_loads

from .errors import JsonEncodeError

# The limits of PostgreSQL's numeric: digits before and after the decimal point.
_MAX_INTEGER_DIGITS = 131072
_MAX_FRACTION_DIGITS = 16383
# Python refuses int <-> str conversions beyond 4,300 digits; Decimal has no such limit.
_PLAIN_INT_DIGITS = 4000
_PLAIN_INT_LIMIT = 10**_PLAIN_INT_DIGITS
MAX_DEPTH = 900
"""Levels of arrays and objects. What is deeper could be stored, but not be read by a worker again."""
_LONGEST_PATH = 200
_JOIN_AT = 100_000


def loads(text: str | bytes) -> Any:
    """Parse JSON; integers become ``int``, all other numbers ``Decimal``.

    Raises ``json.JSONDecodeError`` for text that is not JSON (NaN and Infinity included).
    """
    return json.loads(
        text, parse_int=_parse_int, parse_float=Decimal, parse_constant=_refuse_constant
    )


def dumps(value: Any, limit: int | None = None) -> str:
    """Write ``value`` as compact JSON text, every number exact.

    Accepts ``dict``/``Mapping`` with string keys, ``list``, ``tuple``, ``str``, ``int``, ``bool``,
    ``float``, ``Decimal`` and ``None``. Raises :class:`~tasker.errors.JsonEncodeError` for anything
    else, naming the place: ``$.items[3].price: NaN is not a JSON number``. So it does for a value
    that contains itself, that has more than ``MAX_DEPTH`` levels, or whose text is longer than
    ``limit`` bytes.
    """
    return _Writer(limit).write(value)


def register(connection: psycopg.Connection[Any]) -> None:
    """Make ``connection`` (and no other) read and write ``json`` and ``jsonb`` with this codec."""
    set_json_loads(loads, connection)
    set_json_dumps(dumps, connection)


def clean_text(text: str) -> str:
    """``text`` with the characters that PostgreSQL cannot store replaced by U+FFFD."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _parse_int(digits: str) -> int:
    return int(digits) if len(digits) <= _PLAIN_INT_DIGITS else int(Decimal(digits))


def _refuse_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not a JSON number", name, 0)


class _Writer:
    """Writes one value. Needs no recursion, so that it says itself how deep is too deep."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._size = 0
        self._parts: list[str] = []
        self._path: list[str] = []
        self._fresh = False  # the innermost container has no element yet

    def write(self, value: Any) -> str:
        # Open containers, innermost last: the container, what is left of it, its closing bracket.
        opened: list[tuple[Any, Iterator[tuple[Any, Any]], str]] = []
        inside: set[int] = set()
        if self._scalar(value):
            return "".join(self._parts)
        self._open(value, opened, inside)
        while opened:
            container, rest, closing = opened[-1]
            found = next(rest, None)
            if found is None:
                self._put(closing)
                self._fresh = False
                opened.pop()
                inside.discard(id(container))
                if self._path:
                    self._path.pop()
                continue
            place, item = found
            if not self._fresh:
                self._put(",")
            self._fresh = False
            if closing == "}":
                if not isinstance(place, str):
                    raise self._error(f"the key {shown(place)} is not a string")
                self._put(self._string(place))
                self._put(":")
                self._path.append(f".{place}")
            else:
                self._path.append(f"[{place}]")
            if self._scalar(item):
                self._path.pop()
            else:
                self._open(item, opened, inside)
        return "".join(self._parts)

    def _open(
        self, value: Any, opened: list[tuple[Any, Iterator[tuple[Any, Any]], str]], inside: set[int]
    ) -> None:
        if id(value) in inside:
            raise self._error("the value contains itself")
        if len(opened) >= MAX_DEPTH:
            raise self._error(f"the value is nested too deeply, in more than {MAX_DEPTH} levels")
        inside.add(id(value))
        self._fresh = True
        if isinstance(value, Mapping):
            self._put("{")
            opened.append((value, iter(value.items()), "}"))
        else:
            self._put("[")
            opened.append((value, iter(enumerate(value)), "]"))

    def _scalar(self, value: Any) -> bool:
        """Write ``value`` unless it is a container; False when it is one."""
        if value is None:
            self._put("null")
        elif value is True:
            self._put("true")
        elif value is False:
            self._put("false")
        elif isinstance(value, str):
            self._put(self._string(value))
        elif isinstance(value, int):
            self._put(self._integer(value))
        elif isinstance(value, Decimal):
            self._put(self._decimal(value))
        elif isinstance(value, float):
            if value != value or value in (float("inf"), float("-inf")):
                raise self._error(f"{value!r} is not a JSON number")
            self._put(float.__repr__(value))
        elif isinstance(value, (Mapping, list, tuple)):
            return False
        else:
            raise self._error(f"{type(value).__name__} cannot be stored as JSON")
        return True

    def _put(self, text: str) -> None:
        if self._limit is not None:
            self._size += len(text) if text.isascii() else len(text.encode("utf-8"))
            if self._size > self._limit:
                raise self._too_long()
        self._parts.append(text)
        if len(self._parts) > _JOIN_AT:  # short parts need many times the memory of their text
            self._parts = ["".join(self._parts)]

    def _string(self, text: str) -> str:
        if self._limit is not None and self._size + len(text) > self._limit:
            raise self._too_long()  # before the text is copied
        if "\x00" in text:
            raise self._error("PostgreSQL cannot store the character NUL in jsonb")
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise self._error("the text contains a lone surrogate") from None
        return encode_basestring(text)

    def _integer(self, number: int) -> str:
        if -_PLAIN_INT_LIMIT < number < _PLAIN_INT_LIMIT:
            return int.__repr__(number)
        # log10(2) from below; the exact digits of a number far too long would take minutes.
        if number.bit_length() * 0.3010299 > _MAX_INTEGER_DIGITS + 1:
            raise self._error(f"an integer of {number.bit_length()} bits is beyond jsonb")
        digits = str(Decimal(int(number)))
        if len(digits.lstrip("-")) > _MAX_INTEGER_DIGITS:
            raise self._error(f"an integer of {len(digits)} digits is beyond jsonb")
        return digits

    def _decimal(self, number: Decimal) -> str:
        if not number.is_finite():
            raise self._error(f"{number} is not a JSON number")
        exponent = number.as_tuple().exponent
        if number.adjusted() >= _MAX_INTEGER_DIGITS or (
            isinstance(exponent, int) and -exponent > _MAX_FRACTION_DIGITS
        ):
            raise self._error(f"{number:.6E} is beyond the numbers that jsonb can store")
        return str(number)

    def _too_long(self) -> JsonEncodeError:
        return self._error(f"the JSON text is longer than {self._limit:,} bytes")

    def _error(self, problem: str) -> JsonEncodeError:
        path = "$" + "".join(self._path)
        if len(path) > _LONGEST_PATH:
            path = f"{path[:_LONGEST_PATH // 2]}...{path[-_LONGEST_PATH // 2:]}"
        return JsonEncodeError(clean_text(f"{path}: {problem}"))


def shown(value: Any) -> str:
    """A short ``repr``, or the type where it has none."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."
