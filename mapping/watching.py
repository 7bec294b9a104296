"""What the platform has chosen last, cheap enough to ask for each request.

A process reads it at most once a second, and no answer rests on one that was read more than two
seconds ago while the database answers. While it does not, what was in force stays in force. The
broker has no part in it.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from django.db import Error as DatabaseError

REFRESH_SECONDS: Final = 1.0
# From this age on nobody goes on with what was read: they wait for who reads, for so long at most.
_TOO_OLD_SECONDS: Final = 1.5
_WAIT_SECONDS: Final = 0.5
Found = TypeVar("Found")


class Watch(Generic[Found]):
    """What was read last. Thread-safe: one thread reads, the others go on with what they have."""

    def __init__(
        self, read: Callable[[], Found], taken: Callable[[Found | None, Found], None]
    ) -> None:
        """`read` asks the database; `taken(before, now)` is told each time, before it holds."""
        self._ask = read
        self._taken = taken
        self._found: Found | None = None
        self._read_at = -math.inf  # when the last reading began, set when it has ended
        self._choices = 0  # made in this process
        self._choices_read = 0  # of them: how many were there before the last reading
        self._lock = threading.Lock()

    def in_force(self) -> Found:
        """What is in force. Raises DatabaseError only if it was never read."""
        if self._fresh() and self._found is not None:
            return self._found
        if self._lock.acquire(timeout=self._patience()):
            try:
                if not self._fresh():
                    self._read()
            finally:
                self._lock.release()
        assert self._found is not None  # noqa: S101 - _read raises instead
        return self._found

    def look_again(self) -> None:
        """Read before the next answer."""
        self._choices += 1

    def _fresh(self) -> bool:
        young = time.monotonic() - self._read_at < REFRESH_SECONDS
        return young and self._choices == self._choices_read and self._found is not None

    def _patience(self) -> float:
        """Seconds to wait for a thread that is reading; -1: until it has read."""
        if self._found is None or self._choices != self._choices_read:
            return -1
        return _WAIT_SECONDS if time.monotonic() - self._read_at > _TOO_OLD_SECONDS else 0

    def _read(self) -> None:
        began, choices = time.monotonic(), self._choices
        try:
            found = self._ask()
        except DatabaseError:
            if self._found is None:
                raise
        else:
            self._taken(self._found, found)
            self._found = found
        self._read_at, self._choices_read = began, choices
