"""App configuration."""

from django.apps import AppConfig


class PillarsConfig(AppConfig):
    """The project's own commands, checks and templates."""

    name = "pillars"
    verbose_name = "Pillars"

    def ready(self) -> None:
        """Register the start-up checks."""
        from pillars import checks  # noqa: F401
