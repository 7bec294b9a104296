"""App configuration."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ChangesConfig(AppConfig):
    """Change sets on the knowledge (public schema)."""

    name = "taxonomy.changes"
    label = "changes"
    verbose_name = "Changes"

    def ready(self) -> None:
        """Keep the platform's roles up to date: they grant permissions of this app."""
        post_migrate.connect(_give_the_platform_its_roles, sender=self)


def _give_the_platform_its_roles(**_kwargs: Any) -> None:
    """After the permissions of this app were made; a tenant gets its roles when it is set up."""
    from access.users.services import ensure_roles
    from tenants.context import PUBLIC, current_schema

    if current_schema() == PUBLIC:
        ensure_roles()
