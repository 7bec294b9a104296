"""A circuit breaker: after failures a server is left alone, then tried by one call.

Small and our own because the known packages hold a lock while the guarded call runs, which would
put the calls of all threads in a row.
"""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final, Literal, TypeAlias

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]
_WINDOW: Final = 20  # calls over which the share of failures is taken
_SHARE: Final = 0.5


class Breaker:
    """Opens after `failures` in a row, or when half of the last 20 calls have failed.

    Thread-safe. Each `enter()` that returned True is followed by exactly one `leave()`.
    """

    def __init__(
        self,
        *,
        failures: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[BreakerState], None] = lambda state: None,
    ) -> None:
        self._most = failures
        self._seconds = seconds
        self._clock = clock
        self._changed = changed
        self._lock = Lock()
        self._state: BreakerState = "closed"
        self._in_a_row = 0
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        self._opened_at = 0.0
        self._generation = 0

    @property
    def state(self) -> BreakerState:
        """`open` also when its time is over and the next call will try the server."""
        return self._state

    def enter(self) -> int | None:
        """A ticket for `leave()`; None while the server is left alone or another call tries it."""
        with self._lock:
            if self._state == "open" and self._clock() - self._opened_at >= self._seconds:
                self._become("half_open")
                return self._generation
            return self._generation if self._state == "closed" else None

    def leave(self, ticket: int, *, failed: bool | None, for_sure: bool = False) -> None:
        """Note how a call ended; None: the server was not asked. `for_sure`: open at once.

        A call that was begun before the breaker last changed says nothing about the server now.
        """
        with self._lock:
            if ticket != self._generation:
                return
            if self._state == "half_open":
                self._become("closed" if failed is False else "open")
                return
            if failed is None:
                return
            self._recent.append(failed)
            self._in_a_row = self._in_a_row + 1 if failed else 0
            full = len(self._recent) == _WINDOW
            often = full and sum(self._recent) >= _SHARE * _WINDOW
            if failed and (for_sure or often or self._in_a_row >= self._most):
                self._become("open")

    def _become(self, state: BreakerState) -> None:
        self._state = state
        self._generation += 1
        self._in_a_row = 0
        self._recent.clear()
        if state == "open":
            self._opened_at = self._clock()
        self._changed(state)
