"""The mapping mode in force: cheap enough to ask for each request (see mapping.watching)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, cast, get_args

import structlog
from django.conf import settings

from mapping.switch.models import ChoiceKind, ModeChoice
from mapping.watching import Watch
from pillars.config.schema import MappingMode
from pillars.observability import metrics
from tenants.context import public_context

Mode: TypeAlias = MappingMode
MODES: tuple[Mode, ...] = get_args(MappingMode)

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


def _take(before: ModeInForce | None, found: ModeInForce) -> None:
    if before is not None and before.mode != found.mode:
        log.warning("mapping_mode_changed", state=found.mode)
    for mode in MODES:
        metrics.MAPPING_MODE.labels(mode).set(mode == found.mode)


def _new_watch() -> Watch[ModeInForce]:
    return Watch(read_mode, _take)


_watch = _new_watch()


def look_again() -> None:
    """Let this process see a new choice at its next request."""
    _watch.look_again()


def forget_mode() -> None:
    """Forget what this process has read (for tests, which undo choices behind its back)."""
    global _watch
    _watch = _new_watch()
