"""Under which worker id this process claims, and which it has given up."""

from __future__ import annotations

from .settings import new_worker_id


class Identity:
    """The current worker id and the retired ones that may still hold steps.

    A heartbeat extends everything that a worker id holds. When the answer to a claim is lost, the
    engine may hold steps for us that we never heard of, and every heartbeat would keep them from
    others. So the process goes on under a fresh id; the old one is kept alive while steps known to
    be held under it are running, and after the last of them it gives back the rest.
    """

    def __init__(self) -> None:
        self.current = new_worker_id()
        self._retired: list[str] = []

    def retire(self) -> None:
        """Claim under a fresh id from now on."""
        self._retired.append(self.current)
        self.current = new_worker_id()

    def releasable(self, held: set[str]) -> list[str]:
        """Retired ids under which nothing known is held any more."""
        return [worker_id for worker_id in self._retired if worker_id not in held]

    def forget(self, worker_id: str) -> None:
        """The engine has taken back all that was left under a retired id."""
        self._retired.remove(worker_id)

    def all(self) -> list[str]:
        """Every id that may hold something."""
        return [*self._retired, self.current]
