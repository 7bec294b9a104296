"""What a process has found for each tenant: thresholds, decisions.

A request costs a look-up in a dictionary. Whether there is something newer is asked every
`mapping.knowledge_refresh_seconds`, by one thread, in one query; the others go on with what they
have. While the database is away, what was in force stays in force.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from django.conf import settings
from django.db import Error as DatabaseError

from tenants.context import HasSchema, tenant_context

_REFRESH_SECONDS = settings.CONFIG.mapping.knowledge_refresh_seconds
Found = TypeVar("Found")


@dataclass(slots=True)
class _Slot(Generic[Found]):
    """What was found last for a tenant. `choices`: made in this process, and seen by it."""

    found: Found | None = None
    number: int | None = None
    choices: int = 0
    choices_seen: int = 0
    checked_at: float = -math.inf
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def told(self) -> bool:
        """Whether it holds every choice that was made in this process."""
        return self.choices == self.choices_seen

    @property
    def fresh(self) -> bool:
        """Whether it need not be looked for."""
        return time.monotonic() - self.checked_at < _REFRESH_SECONDS and self.told


class PerTenant(Generic[Found]):
    """Thread-safe."""

    def __init__(self, newest: Callable[[], int | None], build: Callable[[], Found]) -> None:
        """Both run in the tenant's schema. `newest` gives a number that grows with each choice."""
        self._newest = newest
        self._build = build
        self._slots: dict[str, _Slot[Found]] = {}  # by schema

    def of(self, tenant: HasSchema) -> Found:
        """What holds for the tenant. Raises DatabaseError if it was never found yet."""
        slot = self._slots.get(tenant.schema_name)
        if slot is None:
            slot = self._slots.setdefault(tenant.schema_name, _Slot())
        known = slot.found
        if known is not None and slot.fresh:
            return known
        blocking = known is None or not slot.told
        if not slot.lock.acquire(blocking=blocking) and known is not None:
            return known
        try:
            if slot.found is not None and slot.fresh:
                return slot.found  # another thread has just found it
            return self._find(slot, tenant)
        finally:
            slot.lock.release()

    def look_again(self, schema: str) -> None:
        """Ask the database before the next answer for this tenant."""
        slot = self._slots.get(schema)
        if slot is not None:
            slot.choices += 1

    def forget(self) -> None:
        """Drop all that was found."""
        self._slots = {}

    def _find(self, slot: _Slot[Found], tenant: HasSchema) -> Found:
        began, choices = time.monotonic(), slot.choices
        found = slot.found
        try:
            with tenant_context(tenant):
                number = self._newest()
                if found is None or number != slot.number:
                    found = self._build()
                    slot.found, slot.number = found, number
        except DatabaseError:
            if found is None:
                raise
        slot.checked_at, slot.choices_seen = began, choices
        return found
