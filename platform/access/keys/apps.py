"""App configuration."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    """API keys (public schema)."""

    name = "access.keys"
    label = "keys"
    verbose_name = "API keys"

    def ready(self) -> None:
        """Describe the key to the OpenAPI document; follow what becomes of a tenant."""
        from access.keys import openapi  # noqa: F401
        from access.keys.limiter import forget_keys
        from access.keys.services import end_keys_of_deleted
        from tenants.signals import tenant_state_changed

        # In this order: what is forgotten must not be read again as it was.
        tenant_state_changed.connect(end_keys_of_deleted, dispatch_uid="keys.end")
        tenant_state_changed.connect(forget_keys, dispatch_uid="keys.forget")
