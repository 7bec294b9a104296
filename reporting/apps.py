"""App configuration."""

from django.apps import AppConfig


class ReportingConfig(AppConfig):
    """Coverage reports (tenant schema)."""

    name = "reporting"
    verbose_name = "Reports"
