"""The one switch between tenants: what it guarantees, in threads, in errors, in transactions."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection, transaction

from access.users.models import User
from audit.models import AuditEntry
from mapping.models import MappingEvent
from tenants import context
from tenants.context import NoTenantError, current_schema, public_context, tenant_context
from tenants.selectors import TenantRef
from tests.conftest import DemoTenant
from tests.support.threads import together

PUBLIC = context.PUBLIC


def in_database() -> str:
    """The schema that PostgreSQL itself takes for the first one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def both() -> tuple[str, str]:
    return current_schema(), in_database()


@pytest.mark.django_db
class TestSwitch:
    def test_begins_in_public(self) -> None:
        assert both() == (PUBLIC, PUBLIC)

    def test_there_and_back(self, acme: DemoTenant, globex: DemoTenant) -> None:
        with tenant_context(acme.tenant):
            assert both() == ("t_acme", "t_acme")
            with tenant_context(TenantRef.of(globex.tenant)):
                assert both() == ("t_globex", "t_globex")
                with public_context():
                    assert both() == (PUBLIC, PUBLIC)
                assert both() == ("t_globex", "t_globex")
            assert both() == ("t_acme", "t_acme")
        assert both() == (PUBLIC, PUBLIC)

    def test_after_an_exception(self, acme: DemoTenant) -> None:
        with pytest.raises(ZeroDivisionError), tenant_context(acme.tenant):
            1 / 0  # noqa: B018
        assert both() == (PUBLIC, PUBLIC)

    def test_a_request_that_is_reset(self, acme: DemoTenant) -> None:
        context.activate(acme.tenant)
        assert both() == ("t_acme", "t_acme")
        context.reset()
        assert both() == (PUBLIC, PUBLIC)

    def test_needs_a_tenant(self, acme: DemoTenant) -> None:
        with pytest.raises(NoTenantError, match="tenant_context"):
            context.require_tenant()
        with tenant_context(acme.tenant):
            assert context.require_tenant() == "t_acme"

    def test_tenants_tables_are_not_reached_from_public(self) -> None:
        from django.db import ProgrammingError

        with pytest.raises(ProgrammingError, match="does not exist"), transaction.atomic():
            MappingEvent.objects.count()

    def test_with_tenant_is_refused(self, acme: DemoTenant) -> None:
        with pytest.raises(TypeError, match=r"tenant_context\(tenant\)"), acme.tenant:
            pass
        assert both() == (PUBLIC, PUBLIC)

    def test_it_is_no_decorator_that_outlives_its_call(
        self, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        """contextlib gives each call of a decorated function a block of its own."""

        @tenant_context(acme.tenant)
        def where() -> str:
            return in_database()

        with tenant_context(globex.tenant):
            assert where() == "t_acme"
            assert in_database() == "t_globex"


@pytest.mark.django_db
class TestRows:
    """The traps of lazy and mutable things: they follow the schema that is active when they run."""

    def test_a_queryset_reads_where_it_is_evaluated(
        self, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        for demo in (acme, globex):
            with tenant_context(demo.tenant):
                User.objects.create(username=f"only-{demo.tenant.slug}")
        with tenant_context(acme.tenant):
            lazy = User.objects.filter(username__startswith="only-")
        with tenant_context(globex.tenant):
            assert [user.username for user in lazy] == ["only-globex"]

    def test_what_was_read_stays_read(self, acme: DemoTenant, globex: DemoTenant) -> None:
        with tenant_context(acme.tenant):
            User.objects.create(username="only-acme")
            kept = list(User.objects.filter(username="only-acme"))
        with tenant_context(globex.tenant):
            assert [user.username for user in kept] == ["only-acme"]
            assert not User.objects.filter(username="only-acme").exists()

    def test_a_missing_table_never_falls_through_to_public(self, acme: DemoTenant) -> None:
        """search_path is `tenant, public`: every shared table of both must be in the tenant too."""
        AuditEntry.objects.create(action="x.public", actor="system:tests")
        with tenant_context(acme.tenant):
            assert not AuditEntry.objects.filter(action="x.public").exists()
            AuditEntry.objects.create(action="x.acme", actor="system:tests")
        assert not AuditEntry.objects.filter(action="x.acme").exists()


@pytest.mark.django_db
class TestTransactions:
    """TENANT_LIMIT_SET_CALLS: the path is set once, and PostgreSQL takes it back on a rollback."""

    def fail(self) -> None:
        User.objects.create(username="twice")
        User.objects.create(username="twice")

    def fail_in(self, demo: DemoTenant) -> None:
        with tenant_context(demo.tenant):
            assert in_database() == demo.tenant.schema_name
            self.fail()

    def test_savepoint_rollback(self, acme: DemoTenant, globex: DemoTenant) -> None:
        with tenant_context(acme.tenant):
            User.objects.create(username="before")
            with pytest.raises(IntegrityError), transaction.atomic():
                self.fail()
            assert both() == ("t_acme", "t_acme")
            assert User.objects.filter(username="before").exists()

    def test_rollback_of_a_switch_inside_a_savepoint(
        self, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        with tenant_context(acme.tenant):
            assert in_database() == "t_acme"
            with pytest.raises(IntegrityError), transaction.atomic():
                self.fail_in(globex)
            assert both() == ("t_acme", "t_acme")
            with transaction.atomic():
                with tenant_context(globex.tenant):
                    User.objects.create(username="inside")
                transaction.set_rollback(False)
            assert both() == ("t_acme", "t_acme")
        with tenant_context(globex.tenant):
            assert User.objects.filter(username="inside").exists()

    def test_a_savepoint_that_ends_in_another_schema_than_it_began(
        self, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        with tenant_context(acme.tenant):
            point = transaction.savepoint()
            context.activate(globex.tenant)
            assert in_database() == "t_globex"
            transaction.savepoint_rollback(point)
            assert both() == ("t_globex", "t_globex")


class TestConnections:
    """Committed data, connections of their own."""

    def test_rollback_of_a_whole_transaction(self, spare: DemoTenant) -> None:
        with tenant_context(spare.tenant):
            with pytest.raises(IntegrityError), transaction.atomic():
                TestTransactions().fail()
            assert both() == ("t_initech", "t_initech")
            assert not User.objects.filter(username="twice").exists()

    def test_a_connection_that_was_lost(self, spare: DemoTenant) -> None:
        with tenant_context(spare.tenant):
            assert in_database() == "t_initech"
            connection.close()
            assert both() == ("t_initech", "t_initech")

    def test_a_new_thread_begins_in_public(self, spare: DemoTenant) -> None:
        with tenant_context(spare.tenant):
            assert together([both]) == [(PUBLIC, PUBLIC)]

    def test_threads_do_not_disturb_each_other(
        self, spare: DemoTenant, django_db_setup: None
    ) -> None:
        from tenants.models import Tenant

        tenants = list(Tenant.objects.filter(slug__in=["acme", "globex", "initech"]))
        errors: list[Any] = []
        meet = threading.Barrier(len(tenants))

        def work(tenant: Tenant) -> Callable[[], None]:
            def run() -> None:
                for _ in range(25):
                    meet.wait(timeout=20)
                    with tenant_context(tenant):
                        meet.wait(timeout=20)
                        if both() != (tenant.schema_name, tenant.schema_name):
                            errors.append((tenant.slug, both()))
                        with public_context():
                            if both() != (PUBLIC, PUBLIC):
                                errors.append((tenant.slug, both()))
                    if both() != (PUBLIC, PUBLIC):
                        errors.append((tenant.slug, both()))

            return run

        together([work(tenant) for tenant in tenants])
        assert errors == []

    def test_content_types_do_not_cross_threads(self, spare: DemoTenant) -> None:
        """Django keeps one cache of content types for the whole process.

        Their ids are alike in new schemas and differ as soon as an app comes later to some.
        """
        in_tenant, in_public = threading.Event(), threading.Event()
        find = ContentType.objects.get_by_natural_key

        def tenant_side() -> int:
            with tenant_context(spare.tenant):
                in_tenant.set()
                assert in_public.wait(timeout=20)
                return find("probe", "thing").pk

        def public_side() -> int:
            assert in_tenant.wait(timeout=20)
            found = find("probe", "thing").pk
            in_public.set()
            return found

        ContentType.objects.create(pk=900_001, app_label="probe", model="thing")
        with tenant_context(spare.tenant):
            ContentType.objects.create(pk=900_002, app_label="probe", model="thing")
        try:
            assert together([tenant_side, public_side]) == [900_002, 900_001]
        finally:
            ContentType.objects.filter(app_label="probe").delete()
            with tenant_context(spare.tenant):
                ContentType.objects.filter(app_label="probe").delete()


@pytest.mark.django_db
def test_tables_are_where_they_belong(acme: DemoTenant, globex: DemoTenant) -> None:
    from django.apps import apps
    from django.conf import settings

    def tables(schema: str) -> set[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
            return {row[0] for row in cursor.fetchall()}

    def of(names: list[str]) -> set[str]:
        configs = [config for config in apps.get_app_configs() if config.name in names]
        found = {
            model._meta.db_table
            for config in configs
            for model in config.get_models(include_auto_created=True)
            if model._meta.managed and not model._meta.proxy
        }
        return {table for table in found if not table.startswith("django_tenants")}

    def plain(names: list[str]) -> list[str]:
        return [name.removesuffix(".apps.SimpleAdminConfig") for name in names]

    shared, own = of(plain(settings.SHARED_APPS)), of(plain(settings.TENANT_APPS))
    django = {"django_migrations"}
    partitions = {t for t in tables("t_acme") if t.startswith("mapping_mappingevent_")}
    assert tables("public") == shared | django
    assert tables("t_acme") - partitions == own | django
    assert tables("t_acme") == tables("t_globex")
    assert {"mapping_mappingevent", "reporting_report", "usage_keyuse"} <= own - shared
    assert {"tenants_tenant", "keys_apikey", "taxonomy_label"} <= shared - own


@pytest.mark.django_db
def test_no_reference_leaves_a_tenants_schema(acme: DemoTenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.conname FROM pg_constraint c "
            "JOIN pg_class a ON a.oid = c.conrelid JOIN pg_class b ON b.oid = c.confrelid "
            "WHERE c.contype = 'f' AND a.relnamespace <> b.relnamespace"
        )
        assert cursor.fetchall() == []
