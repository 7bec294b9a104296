"""Retention of stored answers."""

from celery import shared_task

from access.idempotency.services import delete_expired
from pillars import queue
from tenants.context import reset
from tenants.selectors import active_tenants
from tenants.tasks import TenantTask


@shared_task(name="idempotency.expire")
def expire_in_all_tenants() -> None:
    """One task for each tenant."""
    reset()
    for tenant_id in active_tenants().values_list("id", flat=True):
        queue.dispatch("idempotency.expire_in_tenant", tenant_id=str(tenant_id))


@shared_task(base=TenantTask, name="idempotency.expire_in_tenant")
def expire_in_tenant(*, tenant_id: str) -> int:
    """Delete a tenant's answers that nobody may ask for any more."""
    return delete_expired()
