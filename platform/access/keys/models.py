"""API keys. Their use is counted in the tenant's schema: access.usage."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from tenants.models import Tenant


class Scope(models.TextChoices):
    """What a key may do."""

    MAP_WRITE = "map:write", "Map detector outputs"
    EVENTS_READ = "events:read", "Read mapped events"
    REPORTS_READ = "reports:read", "Ask for reports and download them"
    ADMIN = "admin", "Everything, for automation of the tenant"


class ApiKey(models.Model):
    """A secret that acts for one tenant.

    Only the SHA-256 of the secret is kept. That is enough, without a slow hash, because a secret
    has over 200 random bits: there is nothing to guess.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100, help_text="What uses this key, e.g. chat-gateway")
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.BinaryField(max_length=32, editable=False)
    previous_prefix = models.CharField(max_length=16, blank=True, db_index=True, editable=False)
    previous_hash = models.BinaryField(max_length=32, null=True, editable=False)
    previous_until = models.DateTimeField(null=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices))
    items_per_minute = models.PositiveIntegerField(
        null=True, blank=True, help_text="Limit for this key; empty means the configured default"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire")
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "expired"
        return "active"
