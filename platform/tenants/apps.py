"""App configuration."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Tenant register (public schema)."""

    name = "tenants"
    verbose_name = "Tenants"
