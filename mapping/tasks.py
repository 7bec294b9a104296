"""Upkeep of the event tables."""

import structlog
from celery import shared_task

from audit.services import record
from mapping.partitions import drop_expired, ensure_partitions
from pillars import queue
from tenants.context import reset
from tenants.selectors import active_tenants
from tenants.tasks import TenantTask

log = structlog.get_logger("mapping.tasks")


@shared_task(name="mapping.maintain")
def maintain_all_tenants() -> None:
    """One task for each tenant: new partitions ahead, expired ones away."""
    reset()
    for tenant_id in active_tenants().values_list("id", flat=True):
        queue.dispatch("mapping.maintain_tenant", tenant_id=str(tenant_id))


@shared_task(base=TenantTask, name="mapping.maintain_tenant")
def maintain_tenant(*, tenant_id: str) -> None:
    """Create the partitions of the months ahead; drop what retention no longer allows."""
    ensure_partitions()
    dropped = drop_expired()
    if dropped:
        record(action="events.expired", actor="system:retention", detail={"partitions": dropped})
        log.info("events_expired", tenant_id=tenant_id, count=len(dropped))
