"""What the client tells whoever wants to count."""

from typing import Protocol

from mapping.inference.breaker import BreakerState
from mapping.inference.failures import Outcome


class Observer(Protocol):
    """Told from the calling thread; must not raise."""

    def called(self, *, backend: str, outcome: Outcome, seconds: float) -> None:
        """A call of `choose` has ended."""
        ...

    def breaker(self, *, backend: str, state: BreakerState) -> None:
        """The circuit breaker has changed its state."""
        ...


class NoObserver:
    """Counts nothing."""

    def called(self, *, backend: str, outcome: Outcome, seconds: float) -> None:
        """Ignored."""

    def breaker(self, *, backend: str, state: BreakerState) -> None:
        """Ignored."""
