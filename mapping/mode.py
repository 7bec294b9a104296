"""The mapping mode in force: cheap enough to ask for each request.

A process reads the platform's last choice at most once a second, and no answer rests on one that
was read more than two seconds ago while the database answers. While it does not, what was in force
stays in force. The broker has no part in it.
"""

import math
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, cast, get_args

import structlog
from django.conf import settings
from django.db import Error as DatabaseError

from mapping.switch.models import ChoiceKind, ModeChoice
from pillars.config.schema import MappingMode
from pillars.observability import metrics
from tenants.context import public_context

Mode: TypeAlias = MappingMode
MODES: tuple[Mode, ...] = get_args(MappingMode)
_REFRESH_SECONDS = 1.0
# From this age on nobody goes on with what was read: they wait for who reads, for so long at most.
_TOO_OLD_SECONDS = 1.5
_WAIT_SECONDS = 0.5

log = structlog.get_logger("mapping.mode")


@dataclass(frozen=True, slots=True)
class ModeInForce:
    """Which mode maps, and who said so. Of the file: since and by are None, reason is empty."""

    mode: Mode
    since: datetime | None
    by: str | None  # user:NAME or system:NAME
    reason: str
    source: Literal["database", "file"]
    kill_switch: bool = False  # rules_only until somebody turns the switch off


class _Watch:
    """What was read last. Thread-safe: one thread reads, the others go on with what they have."""

    def __init__(self) -> None:
        self._found: ModeInForce | None = None
        self._read_at = -math.inf  # when the last reading began, set when it has ended
        self._choices = 0  # made in this process
        self._choices_read = 0  # of them: how many were there before the last reading
        self._lock = threading.Lock()

    def in_force(self) -> ModeInForce:
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
        young = time.monotonic() - self._read_at < _REFRESH_SECONDS
        return young and self._choices == self._choices_read and self._found is not None

    def _patience(self) -> float:
        """Seconds to wait for a thread that is reading; -1: until it has read."""
        if self._found is None or self._choices != self._choices_read:
            return -1
        return _WAIT_SECONDS if time.monotonic() - self._read_at > _TOO_OLD_SECONDS else 0

    def _read(self) -> None:
        began, choices = time.monotonic(), self._choices
        try:
            found = read_mode()
        except DatabaseError:
            if self._found is None:
                raise
        else:
            self._take(found)
        self._read_at, self._choices_read = began, choices

    def _take(self, found: ModeInForce) -> None:
        if self._found is not None and self._found.mode != found.mode:
            log.warning("mapping_mode_changed", state=found.mode)
        self._found = found
        for mode in MODES:
            metrics.MAPPING_MODE.labels(mode).set(mode == found.mode)


_watch = _Watch()


def mode_in_force() -> ModeInForce:
    """The mode in force, at most two seconds old.

    Raises DatabaseError if this process has never been able to read the choices: then it must not
    guess, because the kill switch may be on.
    """
    return _watch.in_force()


def read_mode() -> ModeInForce:
    """The mode in force now, from the database. For pages and commands."""
    with public_context():
        choice = ModeChoice.objects.order_by("-number").first()
    if choice is None:
        return ModeInForce(settings.CONFIG.mapping.mode, None, None, "", "file")
    return ModeInForce(
        mode=cast(Mode, choice.mode or settings.CONFIG.mapping.mode),
        since=choice.made_at,
        by=choice.made_by,
        reason=choice.reason,
        source="file" if choice.mode is None else "database",
        kill_switch=choice.kind == ChoiceKind.KILL_ON,
    )


def look_again() -> None:
    """Let this process see a new choice at its next request."""
    _watch.look_again()


def forget_mode() -> None:
    """Forget what this process has read (for tests, which undo choices behind its back)."""
    global _watch
    _watch = _Watch()
