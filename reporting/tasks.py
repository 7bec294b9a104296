"""Background work of reports: make them, send lost ones again, delete what is too old."""

import uuid

from celery import shared_task

from pillars import queue
from reporting import services
from reporting.selectors import overdue
from tenants.context import reset, tenant_context
from tenants.selectors import TenantRef, active_tenants
from tenants.tasks import TenantTask


@shared_task(base=TenantTask, name="reporting.build")
def build(*, tenant_id: str, report_id: str) -> None:
    """Make one report (see services.build_report)."""
    services.build_report(report_id=uuid.UUID(report_id))


@shared_task(name="reporting.sweep")
def sweep() -> int:
    """Send reports again that nobody has taken, or whose worker died. Returns how many."""
    reset()
    sent = 0
    for tenant in [TenantRef.of(tenant) for tenant in active_tenants()]:
        with tenant_context(tenant):
            waiting = overdue()
        for report_id in waiting:
            queue.dispatch("reporting.build", tenant_id=str(tenant.id), report_id=str(report_id))
        sent += len(waiting)
    return sent


@shared_task(name="reporting.expire")
def expire_in_all_tenants() -> None:
    """One task for each tenant."""
    reset()
    for tenant_id in active_tenants().values_list("id", flat=True):
        queue.dispatch("reporting.expire_in_tenant", tenant_id=str(tenant_id))


@shared_task(base=TenantTask, name="reporting.expire_in_tenant")
def expire_in_tenant(*, tenant_id: str) -> int:
    """Delete a tenant's reports that retention no longer allows."""
    return services.expire_reports()
