"""The steps that this process holds: claimed, and not yet acknowledged as reported."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from uuid import UUID

from .engine import ClaimedStep

Key = tuple[UUID, int]


class Holdings:
    """Thread-safe table of held claims, by (step_uuid, claim_number)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[Key, ClaimedStep] = {}
        self._said: set[Key] = set()

    def add(self, claims: Iterable[ClaimedStep]) -> None:
        """Take claims into hand."""
        with self._lock:
            self._claims.update((claim.key, claim) for claim in claims)

    def remove(self, keys: Iterable[Key]) -> None:
        """Put claims out of hand; unknown keys are ignored."""
        with self._lock:
            for key in keys:
                self._claims.pop(key, None)
                self._said.discard(key)

    def __len__(self) -> int:
        with self._lock:
            return len(self._claims)

    def unsaid(self, worker_id: str) -> list[ClaimedStep]:
        """Held claims whose handlers were called, which the engine does not know yet."""
        with self._lock:
            return [
                claim for key, claim in self._claims.items()
                if claim.worker_id == worker_id and claim.begun.is_set() and key not in self._said
            ]

    def said(self, claims: Iterable[ClaimedStep]) -> None:
        """The engine knows that these have begun."""
        with self._lock:
            self._said.update(claim.key for claim in claims if claim.key in self._claims)

    def worker_ids(self) -> set[str]:
        """The worker ids under which something is held."""
        with self._lock:
            return {claim.worker_id for claim in self._claims.values()}

    def of(self, worker_id: str) -> list[ClaimedStep]:
        """What is held under a worker id, at this moment."""
        with self._lock:
            return [c for c in self._claims.values() if c.worker_id == worker_id]
