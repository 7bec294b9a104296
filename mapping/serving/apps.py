"""App configuration."""

from django.apps import AppConfig


class ServingConfig(AppConfig):
    """Which version of the model answers, for the whole platform (public schema)."""

    name = "mapping.serving"
    label = "serving"
    verbose_name = "Served models"
