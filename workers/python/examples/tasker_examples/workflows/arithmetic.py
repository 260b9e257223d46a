"""What the four mathematical workflows share. Integers are Python's: exact at any size."""

from __future__ import annotations

from math import prod
from typing import Any, TypeGuard

from tasker import PermanentError, Sequence, Step, StepHandler, Task


class SquareInput(StepHandler):
    """The first step: squares ``even_number`` of the context.

    Fails permanently, with class ``EVEN_NUMBER_REQUIRED``, unless it is an even integer.
    """

    def process(self, task: Task, sequence: Sequence, step: Step) -> int:
        """even_number ^ 2"""
        number = task.context.get("even_number")
        if not _is_integer(number) or number % 2 != 0:
            raise PermanentError(
                "The context needs an even integer as even_number",
                error_code="EVEN_NUMBER_REQUIRED",
            )
        return number**2


class MultiplyAndSquare(StepHandler):
    """A joining step: multiplies the results of all parents and squares the product."""

    def process(self, task: Task, sequence: Sequence, step: Step) -> int:
        """(a * b * ...) ^ 2"""
        values = sequence.parent_values()
        for name, value in values.items():
            if not _is_integer(value):
                raise PermanentError(
                    f"The result of {name} is no integer", error_code="INVALID_INPUT"
                )
        return int(prod(values.values())) ** 2


class Square(MultiplyAndSquare):
    """A step with one parent: squares its result, a product of one factor."""


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
