"""Verbs on people and roles."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import Q

from access.users.models import User
from access.users.roles import PLATFORM_ROLES, TENANT_ROLES
from audit.services import record
from tenants.context import PUBLIC, current_schema


def _permissions(names: Iterable[str]) -> Q:
    wanted = Q(pk__in=())
    for name in names:
        app, _, codename = name.partition(".")
        if codename.startswith("*:"):
            verb = codename.removeprefix("*:")
            wanted |= Q(content_type__app_label=app, codename__startswith=f"{verb}_")
        else:
            wanted |= Q(content_type__app_label=app, codename=codename)
    return wanted


@transaction.atomic
def ensure_roles() -> None:
    """Create the roles of the schema that is active, or bring them up to date."""
    roles = PLATFORM_ROLES if current_schema() == PUBLIC else TENANT_ROLES
    for role, names in roles.items():
        group, _ = Group.objects.get_or_create(name=role)
        group.permissions.set(Permission.objects.filter(_permissions(names)))


def give_tenant_its_roles(**_kwargs: Any) -> None:
    """Receiver of tenant_schema_ready."""
    ensure_roles()


@transaction.atomic
def ensure_user(
    *,
    username: str,
    password: str,
    role: str | None = None,
    superuser: bool = False,
    email: str = "",
    actor: str,
) -> User:
    """Create a person who may log in, or set the password of the one who exists.

    Runs in the schema that is active. `role` is one of access.users.roles.
    """
    user, created = User.objects.get_or_create(
        username=username, defaults={"email": email, "is_staff": True}
    )
    user.is_superuser = superuser
    user.is_staff = True
    user.set_password(password)
    user.save()
    if role is not None:
        user.groups.add(Group.objects.get(name=role))
    record(
        action="user.created" if created else "user.password_set",
        actor=actor,
        target=f"user:{username}",
        detail={"role": role} if role else {},
    )
    return user
