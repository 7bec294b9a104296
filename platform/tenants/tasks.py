"""Celery tasks of a tenant's life, and the base class for every task that works in a tenant."""

import uuid
from typing import Any

import structlog
from celery import Task, shared_task

from pillars import queue
from tenants import context, selectors, services
from tenants.models import Tenant, TenantState

log = structlog.get_logger("tenants.tasks")


class TenantTask(Task):
    """A task that runs inside one tenant, named by its first argument `tenant_id`.

    The tenant is always explicit, never taken from where the task was sent. A tenant that is not
    active any more ends the task quietly.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        context.reset()
        tenant = Tenant.objects.filter(
            pk=uuid.UUID(str(kwargs["tenant_id"])), state=TenantState.ACTIVE
        ).first()
        if tenant is None:
            log.warning("tenant_task_skipped", task=self.name, tenant_id=str(kwargs["tenant_id"]))
            return None
        with context.tenant_context(selectors.TenantRef.of(tenant)):
            return super().__call__(*args, **kwargs)


@shared_task(name="tenants.provision")
def provision_tenant_task(*, tenant_id: str) -> None:
    """Set a tenant up (see services.provision_tenant)."""
    context.reset()
    services.provision_tenant(tenant_id=uuid.UUID(tenant_id))


@shared_task(name="tenants.sweep")
def sweep_tenants() -> int:
    """Send the set-up of waiting tenants again: the broker may have been away. Returns how many."""
    context.reset()
    waiting = services.tenants_to_provision()
    for tenant_id in waiting:
        queue.dispatch("tenants.provision", tenant_id=str(tenant_id))
    return len(waiting)
