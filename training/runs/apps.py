"""App configuration."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """Training runs of the platform, with their curves and logs (public schema)."""

    name = "training.runs"
    label = "runs"
    verbose_name = "Training runs"
