"""What runs without a request: tasks, exports and counters of one tenant never touch another."""

import inspect
import io
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pypdf import PdfReader

from access.keys import limiter
from access.keys.tasks import flush_key_use
from access.usage.models import KeyUse
from pillars.celery import app
from tenants.context import PUBLIC, current_schema, tenant_context
from tenants.export import export_tenant
from tenants.tasks import TenantTask
from tests.isolation.world import Side, World, contents

app.loader.import_default_modules()
TASKS = sorted(name for name, task in app.tasks.items() if isinstance(task, TenantTask))


def arguments(name: str, tenant: Side, other: Side) -> dict[str, Any]:
    """For a tenant, and wherever a row is named, the other's row."""
    known = {
        "tenant_id": str(tenant.tenant.id),
        "report_id": str(other.ids["reporting.report"]),
        "run_id": str(other.ids["mapping.migrationrun"]),
    }
    wanted = inspect.signature(app.tasks[name].run).parameters
    unknown = set(wanted) - set(known)
    assert not unknown, f"{name}: tell tests/isolation/test_background.py what {unknown} may be"
    return {key: known[key] for key in wanted}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_works_in_its_tenant_alone(world: World, name: str) -> None:
    before = contents(world.acme)
    with world.undone():
        app.tasks[name](**arguments(name, world.globex, world.acme))
        assert contents(world.acme) == before
    assert current_schema() == PUBLIC


def test_there_are_such_tasks() -> None:
    assert set(TASKS) >= {"mapping.maintain_tenant", "reporting.build"}


def test_a_task_cannot_be_sent_into_another_tenant_by_its_arguments(world: World) -> None:
    """A report's id of acme, sent for globex, is not found: nothing is built."""
    from reporting.services import build_report

    with world.undone(), tenant_context(world.globex.tenant):
        assert build_report(report_id=world.acme.ids["reporting.report"]) is None


def test_an_export_holds_its_tenant_alone(world: World, tmp_path: Path) -> None:
    from django.db import connection

    # The export wants a transaction of its own kind, which cannot begin inside this one.
    with world.undone(), connection.execute_wrapper(_without_isolation_level):
        archive = export_tenant(tenant=world.globex.tenant, directory=tmp_path)
    with zipfile.ZipFile(archive) as file:
        everything = b"".join(file.read(name) for name in file.namelist()).decode()
    assert world.globex.mark in everything
    assert world.globex.tenant.slug in everything
    for word in world.acme.names:
        assert word not in everything.lower()


def _without_isolation_level(execute: Any, sql: str, *rest: Any) -> Any:
    if "ISOLATION LEVEL" not in sql:
        return execute(sql, *rest)
    return None


def test_a_report_is_made_of_its_tenants_events_alone(world: World) -> None:
    """globex has two checks with a finding, acme one more of another detector: none of it shows."""
    from reporting.services import build_report, request_report

    ssn = [{"entity_type": "US_SSN", "score": 0.85}]
    with world.undone():
        for side, detector, output, times in (
            (world.globex, "presidio", ssn, 2),
            # No file that is shipped: reports name those, whoever used them.
            (world.acme, "in-house-guard", {"label": "violence", "score": 0.9}, 1),
        ):
            for _ in range(times):
                answer = Client().post(
                    "/map",
                    {"detector": detector, "output": output},
                    content_type="application/json",
                    headers={"host": "localhost", "authorization": f"Bearer {side.key}"},
                )
                assert answer.status_code == 200
                assert answer.json()["provenance"]["detector"] == detector
        today = datetime.now(UTC).date()
        with tenant_context(world.globex.tenant):
            asked = request_report(
                framework="soc2", period_start=today - timedelta(days=1), period_end=today,
                actor="user:chief",
            )  # fmt: skip
            report = build_report(report_id=asked.id)
            assert report is not None
            assert report.state == "done", report.state_detail
            files = {file.format: bytes(file.content) for file in report.files.all()}
        assert report.summary["events"] == 3  # the planted one and two findings
    texts = {name: files[name].decode().lower() for name in ("json", "csv")}
    pages = PdfReader(io.BytesIO(files["pdf"])).pages if "pdf" in files else []
    texts["pdf"] = " ".join(page.extract_text() for page in pages).lower()
    for name, text in texts.items():
        for word in (*world.acme.names, "in-house-guard"):
            assert word not in text, name
    assert "presidio" in texts["json"]
    assert world.globex.tenant.name.lower() in texts["json"]


def test_metrics_name_no_tenant(world: World) -> None:
    client = Client()
    for side in (world.acme, world.globex):
        client.get("/events", headers={"host": side.host, "authorization": f"Bearer {side.key}"})
    text = client.get("/metrics", headers={"host": "localhost"}).content.decode().lower()
    assert 'route="/events"' in text
    for side in (world.acme, world.globex):
        for word in side.names:
            assert word not in text


def test_use_of_keys_is_counted_in_the_keys_tenant(world: World) -> None:
    limiter.store().delete(limiter.USE_KEY, f"{limiter.USE_KEY}:pending")
    client = Client()
    for side, times in ((world.acme, 2), (world.globex, 3)):
        for _ in range(times):
            headers = {"host": "localhost", "authorization": f"Bearer {side.key}"}
            assert client.get("/events", headers=headers).status_code == 200
    stranger = f"{uuid.uuid4()}:{uuid.uuid4()}:20260101"
    limiter.store().hset(limiter.USE_KEY, f"{stranger}:r", 5)
    with world.undone():
        flush_key_use()
        for side, times in ((world.acme, 2), (world.globex, 3)):
            with tenant_context(side.tenant):
                used = KeyUse.objects.filter(key_id=side.ids["keys.apikey"], requests__gt=0)
                assert [use.requests for use in used] == [times]
                assert set(KeyUse.objects.values_list("key_id", flat=True)) == {
                    side.ids["keys.apikey"]
                }
    assert limiter.store().exists(limiter.USE_KEY, f"{limiter.USE_KEY}:pending") == 0
