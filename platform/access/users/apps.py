"""App configuration."""

from django.apps import AppConfig


class UsersConfig(AppConfig):
    """Users and roles (every schema)."""

    name = "access.users"
    label = "users"
    verbose_name = "People"

    def ready(self) -> None:
        """Give each new tenant its roles."""
        from access.users.services import give_tenant_its_roles
        from tenants.signals import tenant_schema_ready

        tenant_schema_ready.connect(give_tenant_its_roles, dispatch_uid="users.roles")
