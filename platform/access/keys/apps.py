"""App configuration."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    """API keys (public schema)."""

    name = "access.keys"
    label = "keys"
    verbose_name = "API keys"

    def ready(self) -> None:
        """Describe the key to the OpenAPI document, and forget keys when a tenant is suspended."""
        from access.keys import openapi  # noqa: F401
        from access.keys.limiter import forget_keys
        from tenants.signals import tenant_state_changed

        tenant_state_changed.connect(forget_keys, dispatch_uid="keys.forget")
