"""App configuration."""

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class UsersConfig(AppConfig):
    """Users and roles (every schema)."""

    name = "access.users"
    label = "users"
    verbose_name = "People"

    def ready(self) -> None:
        """Keep the roles of every schema up to date: at its set-up, and whenever it is migrated."""
        from access.users.services import give_tenant_its_roles
        from tenants.signals import tenant_schema_ready

        tenant_schema_ready.connect(give_tenant_its_roles, dispatch_uid="users.roles")
        post_migrate.connect(_after_all_apps, dispatch_uid="users.roles.migrated")


def _after_all_apps(*, sender: AppConfig, **_kwargs: Any) -> None:
    """Roles name permissions of all apps, which are made app by app: wait for the last one."""
    from access.users.services import ensure_roles

    last = [config for config in apps.get_app_configs() if config.models_module][-1]
    if sender is last:
        ensure_roles()
