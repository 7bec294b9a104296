"""People: who is added may log in, every change leaves a trace, nobody climbs by the form."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db.models.signals import post_migrate
from django.test import Client

from access.users.models import User
from access.users.roles import (
    APPROVER,
    COMPLIANCE_OFFICER,
    CURATOR,
    MODEL_APPROVER,
    MODEL_ENGINEER,
    OPERATOR,
    PLATFORM_ROLES,
    TENANT_ROLES,
)
from audit.models import AuditEntry
from tenants.context import tenant_context
from tenants.services import suspend_tenant
from tests.admin.conftest import SignIn
from tests.conftest import PASSWORD, DemoTenant

USERS = "/admin/users/user/"


def add(client: Client, username: str) -> None:
    form = {"username": username, "password1": PASSWORD, "password2": PASSWORD}
    answer = client.post(f"{USERS}add/", {**form, "usable_password": "true"})
    assert answer.status_code == 302, answer.content.decode()[-2000:]


def test_an_added_person_can_log_in_and_is_in_the_trail(acme: DemoTenant, sign_in: SignIn) -> None:
    add(sign_in(acme), "berta")
    sign_in(acme, "berta")
    with tenant_context(acme.tenant):
        entry = AuditEntry.objects.get(action="user.created", target="user:berta")
    assert (entry.actor, entry.detail["roles"], entry.detail["login"]) == ("user:admin", [], True)


def test_a_changed_role_is_in_the_trail(acme: DemoTenant, sign_in: SignIn) -> None:
    client = sign_in(acme)
    add(client, "berta")
    with tenant_context(acme.tenant):
        person = User.objects.get(username="berta")
        role = Group.objects.get(name=COMPLIANCE_OFFICER)
    form = {"username": "berta", "is_active": "on", "is_staff": "on", "groups": [role.pk]}
    assert client.post(f"{USERS}{person.pk}/change/", form).status_code == 302
    with tenant_context(acme.tenant):
        entry = AuditEntry.objects.filter(action="user.changed", target="user:berta").first()
    assert entry is not None
    assert entry.detail["roles"] == [COMPLIANCE_OFFICER]


def test_an_administrator_makes_no_superuser(acme: DemoTenant, sign_in: SignIn) -> None:
    client = sign_in(acme)
    with tenant_context(acme.tenant):
        me = User.objects.get(username="admin")
    form = {"username": "admin", "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    client.post(f"{USERS}{me.pk}/change/", form)
    with tenant_context(acme.tenant):
        assert not User.objects.get(username="admin").is_superuser


@pytest.mark.parametrize(("host", "status"), [("acme.localhost", 403), ("nobody.localhost", 404)])
def test_people_are_shown_a_page_where_there_is_no_tenant(
    acme: DemoTenant, host: str, status: int
) -> None:
    suspend_tenant(tenant=acme.tenant, actor="system:tests", reason="test")
    client = Client(headers={"host": host})
    page, problem = client.get("/admin/"), client.get("/map")
    assert (page.status_code, problem.status_code) == (status, status)
    assert page.headers["Content-Type"].startswith("text/html")
    assert problem.headers["Content-Type"] == "application/problem+json"


def test_a_migration_brings_the_roles_of_every_schema_up_to_date(acme: DemoTenant) -> None:
    """A new version grants new permissions to the roles of tenants that are there already."""
    last = [config for config in apps.get_app_configs() if config.models_module][-1]

    def migrated() -> dict[str, int]:
        Group.objects.all().delete()
        post_migrate.send(sender=last, app_config=last, verbosity=0, using="default")
        return {group.name: group.permissions.count() for group in Group.objects.all()}

    assert migrated().keys() == PLATFORM_ROLES.keys() == {
        CURATOR, APPROVER, OPERATOR, MODEL_ENGINEER, MODEL_APPROVER,
    }  # fmt: skip
    with tenant_context(acme.tenant):
        found = migrated()
    assert found.keys() == TENANT_ROLES.keys()
    assert all(found.values())
