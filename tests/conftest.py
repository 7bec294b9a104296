"""Real servers and two tenants for the tests.

PostgreSQL and the broker are started from their wheels into a temporary folder, unless
DATABASE_URL and REDIS_URL name others (which must be throw-away ones: tests create and drop).
"""

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest

_BASE = Path(tempfile.mkdtemp(prefix="pillars-test-"))
_BASE.chmod(0o711)  # PostgreSQL runs as another user when the tests run as root
_servers: list[Any] = []
_tools: dict[str, Path] = {}  # of the embedded PostgreSQL: others may refuse another server


def _hands_the_tests_out() -> bool:
    """With `-n`, this process only hands tests to workers, which have servers of their own."""
    many = any(word.startswith(("-n", "--numprocesses")) for word in sys.argv[1:])
    return many and "PYTEST_XDIST_WORKER" not in os.environ


def _start_servers() -> None:
    from deploy.local.broker import EmbeddedBroker
    from deploy.local.postgres import EmbeddedPostgres

    if "DATABASE_URL" not in os.environ:
        postgres = EmbeddedPostgres(_BASE / "pg", durable=False)
        postgres.start()
        _servers.append(postgres)
        _tools["pg_dump"] = postgres.tool("pg_dump")
        os.environ["DATABASE_URL"] = postgres.url
    if "REDIS_URL" not in os.environ:
        broker = EmbeddedBroker(_BASE / "broker")
        broker.start()
        _servers.append(broker)
        os.environ["REDIS_URL"] = broker.url
    os.environ.setdefault("PILLARS_SECRET_KEY", secrets.token_urlsafe(48))
    os.environ["PILLARS_STATE_DIR"] = str(_BASE / "state")
    (_BASE / "state" / "static").mkdir(parents=True)  # WhiteNoise warns where there is none
    # Most tests are about rules; those about models choose their mode.
    os.environ.setdefault("PILLARS__MAPPING__MODE", "rules_only")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pillars.settings")


@atexit.register
def _stop_servers() -> None:
    for server in reversed(_servers):
        server.stop()
        server.delete()
    shutil.rmtree(_BASE, ignore_errors=True)


if _hands_the_tests_out():
    # Workers inherit the environment, and choose their servers before they read the settings.
    os.environ["DJANGO_SETTINGS_MODULE"] = "pillars.settings"
    django.setup()
    del os.environ["DJANGO_SETTINGS_MODULE"]
else:
    _start_servers()
    django.setup()  # before the test modules, which import models

from tests.support.sharing import share_out  # noqa: E402 - as all that may import models

ACME, GLOBEX, SPARE = "acme", "globex", "initech"
PASSWORD = "a long enough test password"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests for several workers; one alone takes the same order."""
    share_out(items)


@dataclass(frozen=True)
class DemoTenant:
    """A tenant of the tests with a key for each scope set and its people."""

    tenant: Any
    key: str
    read_key: str

    @property
    def host(self) -> str:
        return f"{self.tenant.slug}.localhost"


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """Migrate, load the knowledge and set two tenants up: once, in a database of our own."""
    from django.core.management import call_command

    with django_db_blocker.unblock():
        call_command("migrate_schemas", shared=True, interactive=False, verbosity=0)
        call_command("load_config", verbosity=0)
        for slug, name in ((ACME, "Acme Health"), (GLOBEX, "Globex Bank")):
            _make_tenant(slug, name)
    yield
    with django_db_blocker.unblock():
        from django.db import connections

        connections.close_all()


def _make_tenant(slug: str, name: str) -> None:
    from access.users.roles import ADMINISTRATOR, COMPLIANCE_OFFICER
    from access.users.services import ensure_user
    from tenants.context import tenant_context
    from tenants.models import Tenant
    from tenants.services import create_tenant
    from tests.support import schemas

    if Tenant.objects.filter(slug=slug).exists():
        return
    tenant = schemas.set_up(create_tenant(slug=slug, name=name, actor="system:tests"))
    if slug == ACME and "pg_dump" in _tools:
        schemas.remember(tenant.schema_name, _tools["pg_dump"])
    with tenant_context(tenant):
        for login, role in (("admin", ADMINISTRATOR), ("officer", COMPLIANCE_OFFICER)):
            ensure_user(username=login, password=PASSWORD, role=role, actor="system:tests")


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The database without a transaction around the test: for threads, for what must commit.

    Whoever uses it works in tenants of their own (`spare`, `new_tenant`) and leaves nothing else.
    """
    from django.db import connections

    from tenants.context import reset

    with django_db_blocker.unblock():
        yield
        reset()
        connections.close_all()


@pytest.fixture(scope="session")
def spare_tenant(django_db_setup: None, django_db_blocker: Any) -> Any:
    """A third tenant, for tests that commit."""
    from tenants.models import Tenant

    with django_db_blocker.unblock():
        _make_tenant(SPARE, "Initech")
        return Tenant.objects.get(slug=SPARE)


@pytest.fixture
def spare(spare_tenant: Any, committed: None) -> DemoTenant:
    """The third tenant with fresh keys, all committed."""
    return _with_keys(SPARE)


@pytest.fixture
def new_tenant(committed: None) -> Iterator[Callable[..., Any]]:
    """A function that registers a tenant, committed and not yet set up; dropped afterwards."""
    from tenants.context import reset
    from tenants.models import Tenant, TenantState
    from tenants.services import create_tenant, delete_tenant

    made: list[Any] = []

    def make(slug: str | None = None, **more: Any) -> Any:
        slug = slug or f"t{secrets.token_hex(4)}"
        made.append(create_tenant(slug=slug, name=slug.title(), actor="system:tests", **more))
        return made[-1]

    yield make
    reset()
    for tenant in made:
        tenant.refresh_from_db()
        if tenant.state != TenantState.DELETED:
            Tenant.objects.filter(pk=tenant.pk).update(state=TenantState.SUSPENDED)
            tenant.refresh_from_db()
            delete_tenant(tenant=tenant, actor="system:tests")


@pytest.fixture
def make_demo(db: None) -> Callable[[str], DemoTenant]:
    """A function that gives a test tenant with fresh keys."""

    return _with_keys


def _with_keys(slug: str) -> DemoTenant:
    from access.keys.models import Scope
    from access.keys.services import create_key
    from tenants.models import Tenant

    tenant = Tenant.objects.get(slug=slug)
    everything = [Scope.MAP_WRITE, Scope.EVENTS_READ, Scope.REPORTS_READ]
    key = create_key(tenant=tenant, name="test", scopes=everything, actor="system:tests")
    read = create_key(
        tenant=tenant, name="reader", scopes=[Scope.EVENTS_READ], actor="system:tests"
    )
    return DemoTenant(tenant=tenant, key=key.secret, read_key=read.secret)


@pytest.fixture
def acme(make_demo: Callable[[str], DemoTenant]) -> DemoTenant:
    """The first tenant."""
    return make_demo(ACME)


@pytest.fixture
def globex(make_demo: Callable[[str], DemoTenant]) -> DemoTenant:
    """The second tenant: the stranger in every test of isolation."""
    return make_demo(GLOBEX)


@pytest.fixture
def plain_static(settings: Any) -> None:
    """Names of static files as they are: pages can be shown without collectstatic."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }


@pytest.fixture
def api(client: Any) -> Callable[..., Any]:
    """Call the API through all of Django's layers: api("POST", "/map", key, json=...)."""
    import orjson

    def call(
        method: str, path: str, key: str | None = None, *, json: Any = None, **headers: str
    ) -> Any:
        extra = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        if key is not None:
            extra["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        extra.setdefault("HTTP_HOST", "localhost")
        body = b"" if json is None else orjson.dumps(json)
        return client.generic(method, path, body, content_type="application/json", **extra)

    return call
