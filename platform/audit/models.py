"""The audit trail."""

import uuid_utils.compat
from django.db import models

from audit.triggers import append_only


class AuditEntry(models.Model):
    """One action of a person, a key or the system. It can be added, never changed or removed."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    at = models.DateTimeField(auto_now_add=True)
    action = models.CharField(max_length=64, help_text="What was done, as noun.verb")
    actor = models.CharField(max_length=200, help_text="Who: user:NAME, key:ID, system:NAME")
    target = models.CharField(max_length=200, blank=True, help_text="Id of what it was done to")
    detail = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["action", "-at"], name="audit_action_at")]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"
