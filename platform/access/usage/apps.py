"""App configuration."""

from django.apps import AppConfig


class UsageConfig(AppConfig):
    """Use of API keys (tenant schema)."""

    name = "access.usage"
    label = "usage"
    verbose_name = "Use of API keys"
