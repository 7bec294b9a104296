"""The thresholds in force for a tenant, kept in this process (order: mapping.engine.thresholds).

A request costs a look-up in a dictionary. Whether the tenant has chosen anew is asked every
`mapping.knowledge_refresh_seconds`, by one thread, in one query; the others go on with what they
have. While the database is away, what was in force stays in force.
"""

import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.conf import settings
from django.db import Error as DatabaseError

from mapping.engine import Layer, Thresholds
from mapping.models import ThresholdOverride, ThresholdScope
from tenants.context import HasSchema, require_tenant, tenant_context

__all__ = [
    "Thresholds",
    "forget_thresholds",
    "look_again",
    "newest_number",
    "overrides_in_force",
    "platform_layer",
    "tenant_layer",
    "thresholds_in_force",
]
_REFRESH_SECONDS = settings.CONFIG.mapping.knowledge_refresh_seconds


@dataclass(slots=True)
class _Slot:
    """What was found last for a tenant. `choices`: made in this process, and seen by it."""

    thresholds: Thresholds | None = None
    number: int = 0
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


class ThresholdsInForce:
    """Thread-safe."""

    def __init__(self) -> None:
        self._slots: dict[str, _Slot] = {}  # by schema

    def of(self, tenant: HasSchema) -> Thresholds:
        """The tenant's thresholds. Raises DatabaseError if they were never found yet."""
        slot = self._slots.get(tenant.schema_name)
        if slot is None:
            slot = self._slots.setdefault(tenant.schema_name, _Slot())
        known = slot.thresholds
        if known is not None and slot.fresh:
            return known
        blocking = known is None or not slot.told
        if not slot.lock.acquire(blocking=blocking) and known is not None:
            return known
        try:
            if slot.thresholds is not None and slot.fresh:
                return slot.thresholds  # another thread has just found them
            return _find(slot, tenant)
        finally:
            slot.lock.release()

    def look_again(self, schema: str) -> None:
        """Ask the database before the next answer for this tenant."""
        slot = self._slots.get(schema)
        if slot is not None:
            slot.choices += 1


def _find(slot: _Slot, tenant: HasSchema) -> Thresholds:
    began, choices = time.monotonic(), slot.choices
    found = slot.thresholds
    try:
        with tenant_context(tenant):
            number = newest_number()
            if found is None or number != slot.number:
                found = Thresholds(platform_layer(), tenant_layer(overrides_in_force()))
                slot.thresholds, slot.number = found, number
    except DatabaseError:
        if found is None:
            raise
    slot.checked_at, slot.choices_seen = began, choices
    return found


_in_force = ThresholdsInForce()


def thresholds_in_force(tenant: HasSchema) -> Thresholds:
    """What holds for the tenant, for Engine.map and whatever else takes a mapping or leaves it."""
    return _in_force.of(tenant)


def look_again(schema: str) -> None:
    """Let this process see a tenant's new threshold at its next request."""
    _in_force.look_again(schema)


def forget_thresholds() -> None:
    """Drop what this process has found (for tests, which change settings and undo choices)."""
    global _in_force
    _in_force = ThresholdsInForce()


def platform_layer() -> Layer:
    """What pillars.yaml says."""
    config = settings.CONFIG.mapping
    return Layer(config.confidence_threshold, config.detector_thresholds, config.branch_thresholds)


def newest_number() -> int:
    """Number of the active tenant's last choice; 0 if it never made one."""
    require_tenant()
    numbers = ThresholdOverride.objects.order_by("-number").values_list("number", flat=True)
    return numbers.first() or 0


def overrides_in_force() -> list[ThresholdOverride]:
    """The active tenant's choices in force: every label, then branches, then detectors, by name."""
    require_tenant()
    last = ThresholdOverride.objects.order_by("scope", "subject", "-number")
    found = [one for one in last.distinct("scope", "subject") if one.value is not None]
    order = (ThresholdScope.TENANT, ThresholdScope.BRANCH, ThresholdScope.DETECTOR)
    return sorted(found, key=lambda one: (order.index(ThresholdScope(one.scope)), one.subject))


def tenant_layer(overrides: Iterable[ThresholdOverride]) -> Layer:
    """Choices in force as the engine takes them."""
    by_scope: dict[str, dict[str, float]] = {scope: {} for scope in ThresholdScope.values}
    for one in overrides:
        if one.value is not None:
            by_scope[one.scope][one.subject] = one.value
    return Layer(
        by_scope[ThresholdScope.TENANT].get(""),
        by_scope[ThresholdScope.DETECTOR],
        by_scope[ThresholdScope.BRANCH],
    )
