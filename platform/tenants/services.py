"""Verbs on tenants: create, set up, suspend, resume, delete."""

import re
import uuid
from datetime import timedelta

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django_tenants.utils import quote_schema_name, schema_exists

from audit.services import record
from pillars import queue
from tenants.context import public_context, tenant_context
from tenants.errors import TenantError
from tenants.models import RESERVED_SLUGS, Domain, Tenant, TenantState
from tenants.selectors import forget_hosts
from tenants.signals import tenant_schema_ready, tenant_state_changed

log = structlog.get_logger("tenants")
PROVISIONING_STALE = timedelta(minutes=10)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def create_tenant(*, slug: str, name: str, domain: str | None = None, actor: str) -> Tenant:
    """Register a tenant and ask for its schema to be set up. Raises TenantError."""
    if slug in RESERVED_SLUGS:
        raise TenantError(f"The short name {slug!r} is reserved. Choose another one.")
    tenant = Tenant(slug=slug, name=name, schema_name=f"t_{slug.replace('-', '_')}")
    with public_context(), transaction.atomic():
        try:
            tenant.full_clean()
        except ValidationError as error:
            raise TenantError(" ".join(error.messages)) from None
        host = _free_host(domain or f"{slug}.{settings.CONFIG.server.tenant_domain}")
        tenant.save()
        Domain.objects.create(domain=host, tenant=tenant, is_primary=True)
        record(action="tenant.created", actor=actor, target=str(tenant.id), detail={"slug": slug})
        transaction.on_commit(lambda: queue.dispatch("tenants.provision", tenant_id=str(tenant.id)))
    forget_hosts()
    return tenant


def _free_host(name: str) -> str:
    """The host name as requests will name it: in lower case, without port, nobody else's."""
    host = name.strip().lower()
    if not _HOST.fullmatch(host):
        raise TenantError(f"{name!r} is not a host name: write it like tenant.example.org.")
    if host in settings.CONFIG.server.platform_hosts:
        raise TenantError(f"{host} is a host name of the platform. Choose another domain.")
    if Domain.objects.filter(domain=host).exists():
        raise TenantError(f"{host} already leads to a tenant. Choose another domain.")
    return host


def provision_tenant(*, tenant_id: uuid.UUID) -> Tenant:
    """Create the schema, run its migrations and fill in what a tenant starts with.

    Idempotent: after a failure it goes on where it stopped. Only one worker at a time gets to
    work on a tenant. Never called inside a transaction, because a failing migration must not
    leave the connection in the new schema.
    """
    with public_context():
        claimed = _claim(tenant_id)
        tenant = Tenant.objects.get(pk=tenant_id)
        if not claimed:
            return tenant
        try:
            with connection.cursor() as cursor:
                name = quote_schema_name(tenant.schema_name)
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
            _set_state(tenant, TenantState.PROVISIONING, "Creating tables")
            call_command(
                "migrate_schemas", tenant=True, schema_name=tenant.schema_name,
                interactive=False, verbosity=0,
            )  # fmt: skip
            _set_state(tenant, TenantState.PROVISIONING, "Creating roles and partitions")
            with tenant_context(tenant):
                tenant_schema_ready.send(sender=Tenant, tenant=tenant)
            _set_state(tenant, TenantState.ACTIVE, "")
        except Exception as error:
            _set_state(tenant, TenantState.FAILED, f"{type(error).__name__}: see the worker's log")
            log.error("tenant_provisioning_failed", tenant=tenant.slug, exc_info=True)
            raise
    return tenant


def tenants_to_provision() -> list[uuid.UUID]:
    """Tenants that wait for their set-up, or whose set-up was cut off."""
    return list(Tenant.objects.filter(_unfinished()).values_list("id", flat=True))


def _unfinished() -> Q:
    stale = timezone.now() - PROVISIONING_STALE
    return Q(state=TenantState.PENDING) | Q(
        state=TenantState.PROVISIONING, state_changed_at__lt=stale
    )


def _claim(tenant_id: uuid.UUID) -> bool:
    """Take the tenant for this worker; a set-up that has not moved for long is taken over."""
    waiting = _unfinished() | Q(state=TenantState.FAILED)
    return bool(
        Tenant.objects.filter(waiting, pk=tenant_id).update(
            state=TenantState.PROVISIONING,
            state_detail="Creating the schema",
            state_changed_at=timezone.now(),
        )
    )


def suspend_tenant(*, tenant: Tenant, actor: str, reason: str) -> None:
    """Stop serving a tenant. Nothing is deleted. Raises TenantError."""
    _change_state(tenant, (TenantState.ACTIVE,), TenantState.SUSPENDED, actor, reason)


def resume_tenant(*, tenant: Tenant, actor: str) -> None:
    """Serve a suspended tenant again. Raises TenantError."""
    _change_state(tenant, (TenantState.SUSPENDED,), TenantState.ACTIVE, actor, "")


def retry_provisioning(*, tenant: Tenant, actor: str) -> None:
    """Ask again for the set-up of a tenant that failed or waits. Raises TenantError."""
    _change_state(tenant, (TenantState.FAILED, TenantState.PENDING), TenantState.PENDING, actor, "")
    queue.dispatch("tenants.provision", tenant_id=str(tenant.id))


def delete_tenant(*, tenant: Tenant, actor: str) -> None:
    """Drop the tenant's schema for good. The register keeps a row that says that it existed.

    Export first (tenants.export): there is no way back. Raises TenantError unless suspended.
    """
    if tenant.state not in (TenantState.SUSPENDED, TenantState.FAILED, TenantState.PENDING):
        raise TenantError("Suspend the tenant first: an active tenant is never deleted.")
    with public_context(), transaction.atomic():
        if schema_exists(tenant.schema_name):
            with connection.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA {quote_schema_name(tenant.schema_name)} CASCADE")
        Domain.objects.filter(tenant=tenant).delete()
        _set_state(tenant, TenantState.DELETED, "")
        # The name becomes free again; the row stays for the audit trail.
        Tenant.objects.filter(pk=tenant.pk).update(
            slug=f"deleted-{tenant.id.hex[:24]}", schema_name=f"deleted_{tenant.id.hex}"
        )
        record(
            action="tenant.deleted", actor=actor, target=str(tenant.id),
            detail={"slug": tenant.slug},
        )  # fmt: skip
    forget_hosts()
    tenant_state_changed.send(sender=Tenant, tenant=tenant)


def _change_state(
    tenant: Tenant, allowed: tuple[str, ...], state: TenantState, actor: str, reason: str
) -> None:
    with public_context(), transaction.atomic():
        locked = Tenant.objects.select_for_update().get(pk=tenant.pk)
        if locked.state not in allowed:
            raise TenantError(
                f"{locked.name} is {locked.get_state_display().lower()}: "
                f"this needs one that is {' or '.join(allowed)}."
            )
        _set_state(locked, state, reason)
        record(
            action=f"tenant.{state.value}", actor=actor, target=str(tenant.id),
            detail={"reason": reason},
        )  # fmt: skip
        tenant.state = locked.state
    forget_hosts()
    tenant_state_changed.send(sender=Tenant, tenant=tenant)


def _set_state(tenant: Tenant, state: TenantState, detail: str) -> None:
    tenant.state, tenant.state_detail, tenant.state_changed_at = state, detail, timezone.now()
    with public_context():
        Tenant.objects.filter(pk=tenant.pk).update(
            state=state, state_detail=detail, state_changed_at=tenant.state_changed_at
        )
    forget_hosts()
