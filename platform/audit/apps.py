"""App configuration."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """Audit trail (every schema). Listed after pgtrigger, because ready() mends what that does."""

    name = "audit"
    verbose_name = "Audit"

    def ready(self) -> None:
        """Let django-tenants' migrate use the same autodetector as makemigrations.

        pgtrigger patches Django's own migrate command; django-tenants replaces that command by
        one with an autodetector of its own, and Django's check commands.E001 refuses the pair.
        """
        from django.core.management.commands import makemigrations
        from django_tenants.management.commands.migrate_schemas import MigrateSchemasCommand

        MigrateSchemasCommand.autodetector = makemigrations.Command.autodetector
