"""When the loop claims again while nothing else happens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

SECOND_LOOK = 0.1
"""Seconds after which a claim is repeated, once, when a wake-up yielded nothing: the announcing
transaction may have become visible a moment later, or another worker's claim was in the way."""


DRAINING_FACTOR = 5
"""How many times longer a poll waits while the engine hands out nothing for now. It wakes idle
workers when it does again."""


class Pacer:
    """Pure timing: polls with jitter, and looks twice after a wake-up for nothing."""

    def __init__(
        self,
        poll: float,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """``poll`` is the mean time between claims in seconds."""
        self._poll = poll
        self._clock = clock
        self._uniform = uniform
        self._due = clock()

    @property
    def wait(self) -> float:
        """Seconds until the next claim is due; 0 when it is."""
        return max(0.0, self._due - self._clock())

    @property
    def due(self) -> bool:
        """Whether a claim is due."""
        return self._clock() >= self._due

    def claim_now(self) -> None:
        """A claim is due at once."""
        self._due = self._clock()

    def claimed(self, count: int, woken: bool, draining: bool = False) -> None:
        """A claim was made: ``count`` steps came, ``woken`` if a wake-up had caused it.

        ``draining``: the engine said that it hands out nothing for now.
        """
        delay = self._poll * self._uniform(0.75, 1.25)
        if draining:
            delay *= DRAINING_FACTOR
        elif woken and count == 0:
            delay = min(delay, SECOND_LOOK)
        self._due = self._clock() + delay

    def postpone(self, seconds: float) -> None:
        """After trouble: not before ``seconds`` from now."""
        self._due = self._clock() + seconds
