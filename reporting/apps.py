"""App configuration."""

from django.apps import AppConfig


class ReportingConfig(AppConfig):
    """Coverage reports (tenant schema)."""

    name = "reporting"
    verbose_name = "Reports"

    def ready(self) -> None:
        """Say what a change of the knowledge would do to reports."""
        from reporting.impact import count_for_change_set
        from taxonomy.changes.signals import impact_asked

        impact_asked.connect(count_for_change_set, dispatch_uid="reporting.impact")
