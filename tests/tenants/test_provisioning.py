"""A tenant's set-up: visible, repeatable, resumable, done by one worker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.utils import timezone

from access.users.roles import TENANT_ROLES
from deploy.local.processes import random_port
from mapping.partitions import existing_partitions
from tenants import services, tasks
from tenants.context import PUBLIC, current_schema, tenant_context
from tenants.errors import TenantError
from tenants.models import Domain, Tenant, TenantState
from tenants.services import (
    PROVISIONING_STALE,
    create_tenant,
    provision_tenant,
    retry_provisioning,
    tenants_to_provision,
)
from tests.support.threads import together

Make = Callable[..., Tenant]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was given to the broker, without a broker."""
    messages: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        "pillars.queue.dispatch", lambda task, **kwargs: bool(messages.append((task, kwargs)))
    )
    return messages


def state_of(tenant: Tenant) -> tuple[str, str]:
    tenant.refresh_from_db()
    return tenant.state, tenant.state_detail


def schema_exists(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [name])
        return cursor.fetchone() is not None


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


class TestRegister:
    def test_registers_and_asks_for_the_set_up(
        self, new_tenant: Make, sent: list[tuple[str, dict[str, Any]]]
    ) -> None:
        tenant = new_tenant("umbrella-corp")
        assert state_of(tenant) == (TenantState.PENDING, "")
        assert tenant.schema_name == "t_umbrella_corp"
        assert not schema_exists(tenant.schema_name)
        domain = Domain.objects.get(tenant=tenant)
        assert (domain.domain, domain.is_primary) == ("umbrella-corp.localhost", True)
        assert sent == [("tenants.provision", {"tenant_id": str(tenant.id)})]
        assert tenant.id in tenants_to_provision()

    @pytest.mark.parametrize(
        "slug",
        ["", "a", "ab", "Abc", "a_b", "-abc", "abc-", "1abc", "a" * 41, "a b", "abc\n", "ümlaut",
         "a;drop schema public", "a.b", "admin", "public", "www", "api", "t'x"],
    )  # fmt: skip
    def test_a_bad_short_name(self, committed: None, slug: str) -> None:
        before = Tenant.objects.count()
        with pytest.raises(TenantError):
            create_tenant(slug=slug, name="Name", actor="system:tests")
        assert Tenant.objects.count() == before

    def test_a_name_or_domain_that_is_taken(self, new_tenant: Make) -> None:
        tenant = new_tenant()
        with pytest.raises(TenantError, match="already exists"):
            create_tenant(slug=tenant.slug, name="X", domain="x.example", actor="system:tests")
        with pytest.raises(TenantError, match="already leads to a tenant"):
            create_tenant(
                slug="other", name="X", domain=f"{tenant.slug}.localhost", actor="system:tests"
            )
        assert not Tenant.objects.filter(slug="other").exists()

    @pytest.mark.parametrize(
        "domain",
        ["localhost", "127.0.0.1", "a b.example", "https://a.example", "a.example:80", "-"],
    )
    def test_a_domain_that_could_never_be_reached(self, committed: None, domain: str) -> None:
        with pytest.raises(TenantError, match="host name"):
            create_tenant(slug="unreachable", name="X", domain=domain, actor="system:tests")
        assert not Tenant.objects.filter(slug="unreachable").exists()

    def test_a_domain_in_capitals_is_reached(self, new_tenant: Make, api: Any) -> None:
        tenant = new_tenant(domain="Shop.Example.ORG")
        provision_tenant(tenant_id=tenant.id)
        assert api("GET", "/health/live", host="shop.example.org:8800").status_code == 200
        assert api("GET", "/health/live", host="SHOP.example.org").status_code == 200

    def test_saving_a_row_makes_no_schema(self, committed: None) -> None:
        tenant = Tenant(slug="bare", name="Bare", schema_name="t_bare")
        tenant.full_clean()
        tenant.save()
        try:
            assert not schema_exists("t_bare")
        finally:
            tenant.delete()

    def test_a_name_that_is_too_long(self, committed: None) -> None:
        with pytest.raises(TenantError, match="200"):
            create_tenant(slug="long-name", name="x" * 201, actor="system:tests")


class TestSetUp:
    def test_gives_a_tenant_what_it_starts_with(self, new_tenant: Make) -> None:
        tenant = provision_tenant(tenant_id=new_tenant().id)
        assert state_of(tenant) == (TenantState.ACTIVE, "")
        with tenant_context(tenant):
            assert set(Group.objects.values_list("name", flat=True)) == set(TENANT_ROLES)
            for group in Group.objects.all():
                assert group.permissions.exists()
            assert len(existing_partitions()) == 3
        assert current_schema() == PUBLIC

    def test_again_changes_nothing(self, spare: Any) -> None:
        before = state_of(spare.tenant)
        changed_at = spare.tenant.state_changed_at
        provision_tenant(tenant_id=spare.tenant.id)
        assert state_of(spare.tenant) == before
        assert spare.tenant.state_changed_at == changed_at

    def test_a_failure_is_visible_and_set_up_goes_on_from_there(self, new_tenant: Make) -> None:
        """A table of the last app is in the way: the migrations before it are done and stay."""
        tenant = new_tenant()
        run(f'CREATE SCHEMA "{tenant.schema_name}"')
        run(f'CREATE TABLE "{tenant.schema_name}".reporting_report (id int)')
        with pytest.raises(DatabaseError, match="already exists"):
            provision_tenant(tenant_id=tenant.id)
        state, detail = state_of(tenant)
        assert state == TenantState.FAILED
        assert "ProgrammingError" in detail
        assert "worker's log" in detail
        assert current_schema() == PUBLIC
        assert tenant.id not in tenants_to_provision()  # a person decides
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT count(*) FROM "{tenant.schema_name}".django_migrations')
            done_before = cursor.fetchone()[0]
        assert done_before > 5

        run(f'DROP TABLE "{tenant.schema_name}".reporting_report')
        retry_provisioning(tenant=tenant, actor="user:operator")
        assert state_of(tenant)[0] == TenantState.PENDING
        provision_tenant(tenant_id=tenant.id)
        assert state_of(tenant) == (TenantState.ACTIVE, "")

    def test_a_failing_receiver(self, new_tenant: Make, monkeypatch: Any) -> None:
        tenant = new_tenant()
        with monkeypatch.context() as patch:
            patch.setattr("mapping.partitions.MONTHS_AHEAD", "broken")
            with pytest.raises(TypeError):
                provision_tenant(tenant_id=tenant.id)
        assert state_of(tenant) == (TenantState.FAILED, "TypeError: see the worker's log")
        assert current_schema() == PUBLIC
        provision_tenant(tenant_id=tenant.id)
        assert state_of(tenant)[0] == TenantState.ACTIVE

    def test_shows_each_step(self, new_tenant: Make, monkeypatch: Any) -> None:
        seen: list[tuple[str, str]] = []
        original = services._set_state

        def note(tenant: Tenant, state: TenantState, detail: str) -> None:
            original(tenant, state, detail)
            stored = Tenant.objects.get(pk=tenant.pk)
            seen.append((stored.state, stored.state_detail))

        monkeypatch.setattr(services, "_set_state", note)
        tenant = new_tenant()
        provision_tenant(tenant_id=tenant.id)
        assert seen == [
            ("provisioning", "Creating tables"),
            ("provisioning", "Creating roles and partitions"),
            ("active", ""),
        ]

    def test_one_of_two_workers_does_it(self, new_tenant: Make, monkeypatch: Any) -> None:
        tenant = new_tenant()
        migrated: list[Any] = []
        original = services.call_command

        def counted(*words: Any, **options: Any) -> Any:
            migrated.append(words)
            return original(*words, **options)

        monkeypatch.setattr(services, "call_command", counted)
        work = [lambda: provision_tenant(tenant_id=tenant.id)] * 3
        together(work)
        assert len(migrated) == 1
        assert state_of(tenant)[0] == TenantState.ACTIVE

    def test_a_set_up_that_was_cut_off_is_taken_over(
        self, new_tenant: Make, sent: list[tuple[str, dict[str, Any]]]
    ) -> None:
        tenant = new_tenant()
        running = Tenant.objects.filter(pk=tenant.pk)
        running.update(state=TenantState.PROVISIONING, state_changed_at=timezone.now())
        sent.clear()
        tasks.sweep_tenants()
        assert ("tenants.provision", {"tenant_id": str(tenant.id)}) not in sent
        provision_tenant(tenant_id=tenant.id)
        assert state_of(tenant)[0] == TenantState.PROVISIONING  # somebody else is at it

        running.update(state_changed_at=timezone.now() - PROVISIONING_STALE - timedelta(seconds=1))
        assert tasks.sweep_tenants() >= 1
        assert ("tenants.provision", {"tenant_id": str(tenant.id)}) in sent
        tasks.provision_tenant_task(tenant_id=str(tenant.id))
        assert state_of(tenant)[0] == TenantState.ACTIVE

    def test_the_sweep_sends_what_the_broker_did_not_take(
        self, new_tenant: Make, sent: list[tuple[str, dict[str, Any]]]
    ) -> None:
        tenant = new_tenant()
        sent.clear()
        tasks.sweep_tenants()
        assert ("tenants.provision", {"tenant_id": str(tenant.id)}) in sent

    def test_registering_does_not_wait_for_a_broker_that_is_away(self, new_tenant: Make) -> None:
        script = (
            "import sys, time; import django; django.setup()\n"
            "from tenants.services import create_tenant\n"
            "started = time.monotonic()\n"
            "create_tenant(slug='no-broker', name='X', actor='system:tests')\n"
            "assert time.monotonic() - started < 2\n"
        )
        broken = {**os.environ, "REDIS_URL": f"redis://127.0.0.1:{random_port()}/0"}
        done = subprocess.run(
            [sys.executable, "-c", script], env=broken, capture_output=True, text=True, check=False
        )
        tenant = Tenant.objects.get(slug="no-broker")
        try:
            assert done.returncode == 0, done.stderr
            assert "broker_unavailable" in done.stdout + done.stderr
            assert tenant.id in tenants_to_provision()
        finally:
            services.delete_tenant(tenant=tenant, actor="system:tests")


class TestTenantTask:
    def test_runs_in_its_tenant_alone(self, spare: Any, new_tenant: Make) -> None:
        from pillars.celery import app

        seen: list[str] = []

        @app.task(base=tasks.TenantTask, name="tests.where")
        def where(*, tenant_id: str) -> None:
            seen.append(current_schema())

        where(tenant_id=str(spare.tenant.id))
        where.apply(kwargs={"tenant_id": str(spare.tenant.id)}, throw=True)
        with tenant_context(spare.tenant):
            where(tenant_id=str(spare.tenant.id))
        assert seen == ["t_initech"] * 3
        waiting = new_tenant()
        where(tenant_id=str(waiting.id))  # not active: skipped
        assert seen == ["t_initech"] * 3
        assert current_schema() == PUBLIC
        for wrong in ({}, {"tenant_id": "no-uuid"}):
            with pytest.raises((KeyError, ValueError)):
                where(**wrong)
        del app.tasks["tests.where"]

    def test_leaves_the_tenant_after_an_exception(self, spare: Any) -> None:
        from pillars.celery import app

        @app.task(base=tasks.TenantTask, name="tests.broken")
        def broken(*, tenant_id: str) -> None:
            raise ValidationError("broken")

        with pytest.raises(ValidationError):
            broken(tenant_id=str(spare.tenant.id))
        assert current_schema() == PUBLIC
        del app.tasks["tests.broken"]


class TestCommands:
    def test_create_and_list(self, committed: None, new_tenant: Make, capsys: Any) -> None:
        slug = new_tenant().slug
        call_command("tenant", "list", "--json")
        rows = {row["slug"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows[slug]["state"] == "pending"
        assert rows[slug]["domains"] == [f"{slug}.localhost"]
        call_command("tenant", "list")
        assert f"{slug}.localhost" in capsys.readouterr().out

    def test_create_waits(self, committed: None, new_tenant: Make, capsys: Any) -> None:
        try:
            call_command("tenant", "create", "from-command", "--name", "From a command", "--wait")
            assert "from-command is ready." in capsys.readouterr().out
            assert Tenant.objects.get(slug="from-command").state == TenantState.ACTIVE
        finally:
            tenant = Tenant.objects.get(slug="from-command")
            Tenant.objects.filter(pk=tenant.pk).update(state=TenantState.SUSPENDED)
            tenant.refresh_from_db()
            services.delete_tenant(tenant=tenant, actor="system:tests")

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["create", "admin", "--name", "X"], "reserved"),
            (["create", "Bad Name", "--name", "X"], "3 to 40"),
            (["suspend", "nobody", "--reason", "x"], "tenant list"),
            (["resume", "initech"], "this needs one that is suspended"),
            (["delete", "initech", "--export", "/tmp", "--yes"], "Suspend the tenant first"),
        ],
    )
    def test_refusals_say_what_to_do(self, spare: Any, words: list[str], message: str) -> None:
        with pytest.raises(CommandError, match=message):
            call_command("tenant", *words)
