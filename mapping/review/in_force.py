"""The decisions of each tenant as the engine uses them, kept in this process.

A request costs a look-up in a dictionary. Whether there are new ones is asked every
`mapping.knowledge_refresh_seconds`, by one thread, in one query; the others go on with what they
have. While the database is away, what was in force stays in force.
"""

import math
import threading
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.db import Error as DatabaseError

from mapping.engine import DecidedLabel, Decisions
from mapping.review.selectors import approved_decisions, newest_number
from tenants.context import HasSchema, tenant_context

_REFRESH_SECONDS = settings.CONFIG.mapping.knowledge_refresh_seconds


@dataclass(slots=True)
class _Slot:
    """What was found last for a tenant. `stale`: a decision was made in this process."""

    decisions: Decisions | None = None
    number: int | None = None
    stale: bool = False
    checked_at: float = -math.inf
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fresh(self) -> bool:
        """Whether it need not be looked for."""
        return time.monotonic() - self.checked_at < _REFRESH_SECONDS and not self.stale


class DecisionsInForce:
    """Thread-safe."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}  # by schema

    def of(self, tenant: HasSchema) -> Decisions:
        """The tenant's decisions. Raises DatabaseError if they were never found yet."""
        slot = self._slots.get(tenant.schema_name)
        if slot is None:
            slot = self._slots.setdefault(tenant.schema_name, _Slot())
        known = slot.decisions
        if known is not None and slot.fresh:
            return known
        blocking = slot.stale or known is None
        if not slot.lock.acquire(blocking=blocking) and known is not None:
            return known
        try:
            if slot.decisions is not None and slot.fresh:
                return slot.decisions  # another thread has just found them
            return _find(slot, tenant)
        finally:
            slot.lock.release()

    def look_again(self, schema: str) -> None:
        """Ask the database before the next answer for this tenant."""
        slot = self._slots.get(schema)
        if slot is not None:
            slot.stale = True


def _find(slot: _Slot, tenant: HasSchema) -> Decisions:
    slot.checked_at = time.monotonic()
    slot.stale = False  # before it looks: a decision made meanwhile is looked for once more
    decisions = slot.decisions
    try:
        with tenant_context(tenant):
            number = newest_number()
            if decisions is None or number != slot.number:
                decisions = compiled_decisions()
                slot.decisions, slot.number = decisions, number
    except DatabaseError:
        if decisions is None:
            raise
    return decisions


def compiled_decisions() -> Decisions:
    """Those in force of the tenant that is active, from the database."""
    return Decisions(
        DecidedLabel(
            one.detector, one.detector_version, one.label, one.digest, tuple(one.canonical)
        )
        for one in approved_decisions()
    )


_in_force = DecisionsInForce()


def decisions_in_force(tenant: HasSchema) -> Decisions:
    """What the tenant's people decided, for Engine.map."""
    return _in_force.of(tenant)


def look_again(schema: str) -> None:
    """Let this process see a tenant's new decision at its next request."""
    _in_force.look_again(schema)


def forget_decisions() -> None:
    """Drop what this process has found."""
    global _in_force
    _in_force = DecisionsInForce()
