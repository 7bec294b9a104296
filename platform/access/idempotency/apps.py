"""App configuration."""

from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    """Answers kept for repeated requests (tenant schema)."""

    name = "access.idempotency"
    label = "idempotency"
    verbose_name = "Idempotency"
