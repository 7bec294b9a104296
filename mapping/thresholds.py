"""The thresholds in force for a tenant, kept in this process (order: mapping.engine.thresholds).

How they are kept: mapping.slots.
"""

from collections.abc import Iterable

from django.conf import settings

from mapping.engine import Layer, Thresholds
from mapping.models import ThresholdOverride, ThresholdScope
from mapping.slots import PerTenant
from tenants.context import HasSchema, require_tenant

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


def thresholds_in_force(tenant: HasSchema) -> Thresholds:
    """What holds for the tenant, for Engine.map and whatever else takes a mapping or leaves it."""
    return _in_force.of(tenant)


def look_again(schema: str) -> None:
    """Let this process see a tenant's new threshold at its next request."""
    _in_force.look_again(schema)


def forget_thresholds() -> None:
    """Drop what this process has found (for tests, which change settings and undo choices)."""
    _in_force.forget()


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


def _chosen() -> Thresholds:
    return Thresholds(platform_layer(), tenant_layer(overrides_in_force()))


_in_force = PerTenant(newest_number, _chosen)
