"""Numbers stay exact, and what jsonb cannot hold is refused before it is sent."""

from __future__ import annotations

from decimal import Decimal
from json import JSONDecodeError

import pytest

from tasker import json_codec
from tasker.errors import JsonEncodeError


INTEGERS = [0, -1, 2**53 + 1, 2**63, -(2**63) - 1, 10**64, 10**5000 + 1, -(10**5000)]
REFUSED = ["a\x00b", {"\x00": 1}, "\ud800", 10**131072, Decimal("1E+131072"), Decimal("1E-16384")]


@pytest.mark.parametrize("number", INTEGERS, ids=range(len(INTEGERS)))
def test_integers_of_any_size_survive_a_round_trip(number: int) -> None:
    back = json_codec.loads(json_codec.dumps(number))
    assert back == number and type(back) is int


@pytest.mark.parametrize("text", ["209.97", "0.1", "16.250", "1E+3", "-0.0", "1.00000000000000000001"])
def test_decimals_keep_their_digits_both_ways(text: str) -> None:
    value = json_codec.loads(text)
    assert type(value) is Decimal and str(value) == str(Decimal(text))
    assert json_codec.dumps(value) == text


def test_floats_of_handlers_are_written_as_repr() -> None:
    assert json_codec.dumps([0.1, 1e300, 5e-324]) == "[0.1,1e+300,5e-324]"


@pytest.mark.parametrize("value", [
    float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("-Infinity"), Decimal("sNaN"),
])
def test_nan_and_infinity_are_refused_naming_the_place(value: object) -> None:
    with pytest.raises(JsonEncodeError, match=r"^\$\.items\[1\]\.price: .*not a JSON number"):
        json_codec.dumps({"items": [0, {"price": value}]})


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "-Infinity", "{", ""])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(JSONDecodeError):
        json_codec.loads(text)


@pytest.mark.parametrize("value", REFUSED, ids=range(len(REFUSED)))
def test_what_jsonb_cannot_store_is_refused(value: object) -> None:
    with pytest.raises(JsonEncodeError):
        json_codec.dumps(value)


def test_the_largest_and_smallest_numbers_of_jsonb_are_accepted() -> None:
    assert len(json_codec.dumps(10**131071)) == 131072
    assert json_codec.dumps(Decimal("1E-16383")) == "1E-16383"


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", {1: "one"}, {"a": [set()]}])
def test_other_types_and_keys_are_refused(value: object) -> None:
    with pytest.raises(JsonEncodeError):
        json_codec.dumps(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append({"again": endless})
    with pytest.raises(JsonEncodeError, match=r"^\$\[0\]\.again: the value contains itself"):
        json_codec.dumps(endless)


def test_the_same_value_at_two_places_does_not_contain_itself() -> None:
    shared = {"a": [1]}
    assert json_codec.dumps([shared, shared]) == '[{"a":[1]},{"a":[1]}]'


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_a_value_is_as_deep_as_it_can_be_read_again_and_no_deeper() -> None:
    deepest = nested(json_codec.MAX_DEPTH)
    assert json_codec.loads(json_codec.dumps(deepest)) == deepest
    with pytest.raises(JsonEncodeError, match=r"^\$\[0\]\[0\].*nested too deeply") as refused:
        json_codec.dumps(nested(100_000))
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("value", [
    {"a": "x" * 101}, {"a": ["é" * 51]}, {"a": [1] * 60}, {"a": {str(n): 1 for n in range(20)}},
])
def test_a_text_beyond_its_limit_is_refused_naming_the_place(value: object) -> None:
    with pytest.raises(JsonEncodeError, match=r"^\$\.a.*longer than 100 bytes"):
        json_codec.dumps(value, limit=100)


def test_an_integer_of_a_million_digits_is_refused_without_writing_it() -> None:
    with pytest.raises(JsonEncodeError, match="beyond jsonb"):
        json_codec.dumps(1 << 400_000_000)


def test_structures_strings_and_constants_are_plain_json() -> None:
    value = {"a": [True, False, None, (1, 2)], "b": {}, "c": [], "d": 'é "q" \n \u2028 \x01'}
    text = json_codec.dumps(value)
    assert json_codec.loads(text) == {**value, "a": [True, False, None, [1, 2]]}
    assert text.startswith('{"a":[true,false,null,[1,2]],"b":{},"c":[]')


def test_clean_text_keeps_everything_postgres_can_store() -> None:
    assert json_codec.clean_text("ünï\x00\ud800") == "ünï\ufffd?"
