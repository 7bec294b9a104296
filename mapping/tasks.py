"""Upkeep of the event tables, and migrations between taxonomy editions."""

import time
import uuid
from datetime import timedelta

import structlog
from celery import shared_task
from django.utils import timezone

from audit.services import record
from mapping.editions import carry_on, overdue_runs
from mapping.models import MigrationRun, RunState
from mapping.partitions import drop_expired, ensure_partitions
from mapping.review.sweep import sweep
from mapping.serving.shadow import forget_old_answers
from pillars import queue
from tenants.context import reset, tenant_context
from tenants.selectors import TenantRef, active_tenants
from tenants.tasks import TenantTask

# A task does batches for so long and then sends itself again, so that others get their turn.
SLICE_SECONDS = 60.0
REVIEW_SECONDS = 20.0  # less than the pause between two sweeps
# A batch takes well under a second: a run that stood still for so long has lost its worker.
STALE = timedelta(minutes=3)

log = structlog.get_logger("mapping.tasks")


@shared_task(name="mapping.maintain")
def maintain_all_tenants() -> None:
    """One task for each tenant: new partitions ahead, expired ones away."""
    reset()
    for tenant_id in active_tenants().values_list("id", flat=True):
        queue.dispatch("mapping.maintain_tenant", tenant_id=str(tenant_id))


@shared_task(base=TenantTask, name="mapping.maintain_tenant")
def maintain_tenant(*, tenant_id: str) -> None:
    """Create the partitions of the months ahead; drop what retention no longer allows, and what
    the shadow has counted long ago."""
    ensure_partitions()
    dropped = drop_expired()
    if dropped:
        record(action="events.expired", actor="system:retention", detail={"partitions": dropped})
        log.info("events_expired", tenant_id=tenant_id, count=len(dropped))
    forget_old_answers()


@shared_task(base=TenantTask, name="mapping.migrate_tenant")
def migrate_tenant(*, tenant_id: str, run_id: str) -> None:
    """Carry a migration on for a while (see editions.carry_on)."""
    until = time.monotonic() + SLICE_SECONDS
    try:
        run = carry_on(run_id=uuid.UUID(run_id), after_batch=lambda _: time.monotonic() < until)
    except MigrationRun.DoesNotExist:
        log.warning("migration_gone", tenant_id=tenant_id)
        return
    if run.state == RunState.RUNNING:
        queue.dispatch("mapping.migrate_tenant", tenant_id=tenant_id, run_id=run_id)


@shared_task(name="mapping.sweep_migrations")
def sweep_migrations() -> int:
    """Send migrations in the background again whose worker died. Returns how many."""
    reset()
    sent = 0
    for tenant in [TenantRef.of(tenant) for tenant in active_tenants()]:
        with tenant_context(tenant):
            waiting = overdue_runs(before=timezone.now() - STALE)
        for run_id in waiting:
            queue.dispatch("mapping.migrate_tenant", tenant_id=str(tenant.id), run_id=str(run_id))
        sent += len(waiting)
    return sent


@shared_task(name="mapping.sweep_reviews")
def sweep_reviews() -> None:
    """One task for each tenant: its new events are counted in its review queue."""
    reset()
    for tenant_id in active_tenants().values_list("id", flat=True):
        queue.dispatch("mapping.sweep_reviews_of_tenant", tenant_id=str(tenant_id))


@shared_task(base=TenantTask, name="mapping.sweep_reviews_of_tenant")
def sweep_reviews_of_tenant(*, tenant_id: str) -> None:
    """Count for a while (see review.sweep); what is left is for the next time."""
    counted = sweep(seconds=REVIEW_SECONDS)
    if counted:
        log.info("reviews_swept", tenant_id=tenant_id, count=counted)
