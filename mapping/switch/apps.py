"""App configuration."""

from django.apps import AppConfig


class SwitchConfig(AppConfig):
    """Choices of the mapping mode, for the whole platform (public schema)."""

    name = "mapping.switch"
    label = "switch"
    verbose_name = "Mapping mode"
