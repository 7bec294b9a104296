"""Events written straight into a tenant's table, and reports made from them."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import django
import pytest
import uuid_utils.compat

django.setup()  # the test modules import models; the settings were chosen in tests/conftest.py

KEY_ID = str(uuid.uuid4())


def event(
    when: datetime | str,
    detector: str,
    labels: list[str],
    *,
    decision: str = "mapped",
    severity: str = "medium",
    **more: Any,
) -> dict[str, Any]:
    """The row of an event received at `when` (UTC, an ISO string without an offset is enough)."""
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC) if isinstance(when, str) else when
    return {
        "id": str(uuid_utils.compat.uuid7()),
        "received_at": moment,
        "occurred_at": None,
        "detector": detector,
        "detector_version": None,
        "vendor": None,
        "decision": decision,
        "severity": severity,
        "confidence": 1.0,
        "labels": labels,
        "scores": {},
        "findings": [],
        "output_shape": {},
        "environment": None,
        "expected_detectors": None,
        "route": None,
        "raw_ref": None,
        "metadata": None,
        "request_id": "test",
        "api_key_id": KEY_ID,
        "release": 1,
        "taxonomy_version": "2026.11",
        "detector_map_version": "2026.11.1",
        "model_version": None,
        "calibrator_version": None,
        **more,
    }


def store(tenant: Any, *rows: dict[str, Any]) -> None:
    """Store rows as events of a tenant."""
    from mapping.store import insert_events
    from tenants.context import tenant_context

    with tenant_context(tenant):
        insert_events(list(rows))


@pytest.fixture
def add_events() -> Callable[..., None]:
    """add_events(tenant, row, ...): store rows as events of a tenant."""
    return store


@dataclass(frozen=True)
class MadeReport:
    """A report that was built, with its files' contents."""

    report: Any
    files: dict[str, bytes]

    @property
    def document(self) -> dict[str, Any]:
        """The JSON file."""
        import orjson

        document: dict[str, Any] = orjson.loads(self.files["json"])
        return document

    def control(self, code: str) -> dict[str, Any]:
        """One control of the document."""
        found: dict[str, Any] = next(c for c in self.document["controls"] if c["code"] == code)
        return found


def made_report(tenant: Any, framework: str, first: str, last: str) -> MadeReport:
    """Ask for a report and build it."""
    from datetime import date

    from reporting.services import build_report, request_report
    from tenants.context import tenant_context

    with tenant_context(tenant):
        asked = request_report(
            framework=framework,
            period_start=date.fromisoformat(first),
            period_end=date.fromisoformat(last),
            actor="user:tester",
        )
        report = build_report(report_id=asked.id)
        assert report is not None
        assert report.state == "done", report.state_detail
        files = {file.format: bytes(file.content) for file in report.files.all()}
    return MadeReport(report, files)


@pytest.fixture
def make_report() -> Callable[..., MadeReport]:
    """make_report(tenant, framework, first, last): ask for a report and build it."""
    return made_report


@pytest.fixture(scope="module")
def lasting_tenant(django_db_setup: None, django_db_blocker: Any) -> Iterator[Any]:
    """A tenant outside of the tests' transactions, for a module; dropped afterwards."""
    from django.db import connection

    from tenants.models import Tenant
    from tenants.services import create_tenant
    from tests.support.schemas import set_up

    with django_db_blocker.unblock():
        slug = f"r{uuid.uuid4().hex[:10]}"
        tenant = set_up(create_tenant(slug=slug, name="Lasting Ltd", actor="system:tests"))
        try:
            yield tenant
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f'DROP SCHEMA "{tenant.schema_name}" CASCADE')
            Tenant.objects.filter(pk=tenant.pk).delete()


@pytest.fixture
def in_browser(client: Any, settings: Any) -> Callable[[Any, str], Any]:
    """in_browser(demo, username): the test client at a tenant's admin, logged in."""
    from access.users.models import User
    from tenants.context import tenant_context

    settings.STORAGES = {  # no collected files, hence no manifest of them
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }

    def enter(demo: Any, username: str) -> Any:
        client.defaults["HTTP_HOST"] = demo.host
        with tenant_context(demo.tenant):
            client.force_login(User.objects.get(username=username))
        return client

    return enter
