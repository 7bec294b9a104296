"""App configuration."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Tenant register (public schema)."""

    name = "tenants"
    verbose_name = "Tenants"

    def ready(self) -> None:
        """Keep what Django caches for the whole process apart by tenant."""
        from tenants.contenttypes import keep_content_types_apart

        keep_content_types_apart()
