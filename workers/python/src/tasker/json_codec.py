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
from collections.abc import Mapping
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


def loads(text: str | bytes) -> Any:
    """Parse JSON; integers become ``int``, all other numbers ``Decimal``.

    Raises ``json.JSONDecodeError`` for text that is not JSON (NaN and Infinity included).
    """
    return json.loads(
        text, parse_int=_parse_int, parse_float=Decimal, parse_constant=_refuse_constant
    )


def dumps(value: Any) -> str:
    """Write ``value`` as compact JSON text, every number exact.

    Accepts ``dict``/``Mapping`` with string keys, ``list``, ``tuple``, ``str``, ``int``, ``bool``,
    ``float``, ``Decimal`` and ``None``. Raises :class:`~tasker.errors.JsonEncodeError` for anything
    else, naming the place: ``$.items[3].price: NaN is not a JSON number``.
    """
    parts: list[str] = []
    try:
        _write(value, parts, "$")
    except RecursionError:
        raise JsonEncodeError("the value is nested too deeply or contains itself") from None
    return "".join(parts)


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


def _write(value: Any, out: list[str], path: str) -> None:
    if value is None:
        out.append("null")
    elif value is True:
        out.append("true")
    elif value is False:
        out.append("false")
    elif isinstance(value, str):
        out.append(_string(value, path))
    elif isinstance(value, int):
        out.append(_integer(value, path))
    elif isinstance(value, Decimal):
        out.append(_decimal(value, path))
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise JsonEncodeError(f"{path}: {value!r} is not a JSON number")
        out.append(float.__repr__(value))
    elif isinstance(value, Mapping):
        separator = "{"
        for key, item in value.items():
            if not isinstance(key, str):
                raise JsonEncodeError(f"{path}: the key {key!r} is not a string")
            out.append(separator)
            out.append(_string(key, path))
            out.append(":")
            _write(item, out, f"{path}.{key}")
            separator = ","
        out.append("}" if separator == "," else "{}")
    elif isinstance(value, (list, tuple)):
        separator = "["
        for index, item in enumerate(value):
            out.append(separator)
            _write(item, out, f"{path}[{index}]")
            separator = ","
        out.append("]" if separator == "," else "[]")
    else:
        raise JsonEncodeError(f"{path}: {type(value).__name__} cannot be stored as JSON")


def _string(text: str, path: str) -> str:
    if "\x00" in text:
        raise JsonEncodeError(f"{path}: PostgreSQL cannot store the character NUL in jsonb")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise JsonEncodeError(f"{path}: the text contains a lone surrogate") from None
    return encode_basestring(text)


def _integer(number: int, path: str) -> str:
    if -_PLAIN_INT_LIMIT < number < _PLAIN_INT_LIMIT:
        return int.__repr__(number)
    digits = str(Decimal(int(number)))
    if len(digits.lstrip("-")) > _MAX_INTEGER_DIGITS:
        raise JsonEncodeError(f"{path}: an integer of {len(digits)} digits is beyond jsonb")
    return digits


def _decimal(number: Decimal, path: str) -> str:
    if not number.is_finite():
        raise JsonEncodeError(f"{path}: {number} is not a JSON number")
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _MAX_INTEGER_DIGITS or (
        isinstance(exponent, int) and -exponent > _MAX_FRACTION_DIGITS
    ):
        raise JsonEncodeError(f"{path}: {number:.6E} is beyond the numbers that jsonb can store")
    return str(number)
