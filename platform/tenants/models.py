"""The tenant register. It lives in the public schema; a tenant's data lives in its own."""

import uuid
from typing import Any, NoReturn

from django.core.validators import RegexValidator
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

SLUG_PATTERN = r"^[a-z][a-z0-9-]{1,38}[a-z0-9]$"
RESERVED_SLUGS = frozenset({"admin", "api", "docs", "health", "metrics", "public", "static", "www"})


class TenantState(models.TextChoices):
    """Where a tenant stands. Only an active one is served."""

    PENDING = "pending", "Waiting to be set up"
    PROVISIONING = "provisioning", "Being set up"
    ACTIVE = "active", "Active"
    FAILED = "failed", "Set-up failed"
    SUSPENDED = "suspended", "Suspended"
    DELETED = "deleted", "Deleted"


class Tenant(TenantMixin):
    """An organisation served by this platform, with a PostgreSQL schema of its own."""

    # Provisioning is a task with a visible state: saving a row never creates or drops a schema.
    auto_create_schema = False
    auto_drop_schema = False

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(
        max_length=40,
        unique=True,
        validators=[
            RegexValidator(SLUG_PATTERN, "3 to 40 of a-z, 0-9 and hyphen, starting with a letter.")
        ],
        help_text="Short name; part of the tenant's host name. It cannot be changed later.",
    )
    name = models.CharField(max_length=200)
    state = models.CharField(
        max_length=12, choices=TenantState.choices, default=TenantState.PENDING, editable=False
    )
    state_detail = models.CharField(max_length=200, blank=True, editable=False)
    state_changed_at = models.DateTimeField(auto_now_add=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        """Whether requests for this tenant are served."""
        return self.state == TenantState.ACTIVE

    def __enter__(self) -> NoReturn:
        # django-tenants keeps one list of previous tenants for all threads: it leaks between them.
        raise TypeError("Use tenants.context.tenant_context(tenant).")

    def __exit__(self, *args: Any) -> None:
        """Never reached: __enter__ refuses."""


class Domain(DomainMixin):
    """A host name at which a tenant's admin and API are reached."""

    class Meta:
        ordering = ("domain",)
