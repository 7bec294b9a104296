"""The figures of the start pages."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import uuid_utils.compat

from mapping import overview
from tenants.context import NoTenantError, tenant_context
from tests.admin.conftest import SignIn
from tests.conftest import DemoTenant

Send = Callable[..., str]
SSN = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.85}]


def test_counts_by_decision_severity_and_day(acme: DemoTenant, send: Send) -> None:
    with tenant_context(acme.tenant):
        before = overview.tenant_overview()
    for _ in range(3):
        send(acme, "presidio", SSN)
    send(acme, "presidio", [])
    with tenant_context(acme.tenant):
        after = overview.tenant_overview()
    assert after.total - before.total == 4
    assert after.decisions["mapped"] - before.decisions["mapped"] == 3
    assert after.decisions_day["safe"] - before.decisions_day["safe"] == 1
    today = datetime.now(UTC).date()
    assert after.on(today).total() - before.on(today).total() == 4
    assert dict(after.labels)["PII.Identifier.SSN"] >= 3
    assert sum(after.severities.values()) == after.total
    assert after.counted_since is None


def test_unknown_labels_are_listed_with_their_detector(acme: DemoTenant, send: Send) -> None:
    for _ in range(2):
        send(acme, "presidio", [{"entity_type": "EMPLOYEE_BADGE", "score": 0.9}])
    with tenant_context(acme.tenant):
        unknown = {
            (row.detector, row.label): row.count for row in overview.tenant_overview().unknown
        }
    assert unknown[("presidio", "EMPLOYEE_BADGE")] == 2


def test_another_tenants_events_are_not_counted(
    acme: DemoTenant, globex: DemoTenant, send: Send
) -> None:
    with tenant_context(globex.tenant):
        before = overview.tenant_overview().total
    send(acme, "presidio", SSN)
    with tenant_context(globex.tenant):
        assert overview.tenant_overview().total == before


def test_it_reads_no_more_than_the_limit_and_says_so(
    acme: DemoTenant, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        send(acme, "presidio", SSN)
    monkeypatch.setattr(overview, "SCAN_LIMIT", 3)
    with tenant_context(acme.tenant):
        figures = overview.tenant_overview()
    assert figures.total == 3
    assert figures.counted_since is not None


def test_events_older_than_the_period_are_left_out(acme: DemoTenant, send: Send) -> None:
    send(acme, "presidio", SSN)
    later = datetime.now(UTC) + timedelta(days=overview.DAYS)
    with tenant_context(acme.tenant):
        assert overview.tenant_overview(now=later).total == 0
        assert overview.has_events()


def test_an_id_range_holds_what_was_made_in_its_time() -> None:
    now = datetime.now(UTC)
    made = uuid_utils.compat.uuid7()
    assert overview.first_id_at(now - timedelta(seconds=1)) < made
    assert made < overview.first_id_at(now + timedelta(seconds=1))


def test_no_figures_without_a_tenant(db: None) -> None:
    with pytest.raises(NoTenantError):
        overview.tenant_overview()


def test_the_start_page_shows_keys_to_those_alone_who_may_see_them(
    acme: DemoTenant, sign_in: SignIn, send: Send
) -> None:
    from access.keys.models import ApiKey, Scope
    from access.keys.services import create_key

    soon = datetime.now(UTC) + timedelta(days=3)
    create_key(
        tenant=acme.tenant, name="soon-gone", scopes=[Scope.MAP_WRITE], actor="system:tests",
        expires_at=soon,
    )  # fmt: skip
    old = create_key(
        tenant=acme.tenant, name="never-used", scopes=[Scope.MAP_WRITE], actor="system:tests"
    )
    long_ago = datetime.now(UTC) - timedelta(days=60)
    ApiKey.objects.filter(pk=old.key.pk).update(created_at=long_ago)
    send(acme, "presidio", SSN)
    for username, seen in (("admin", True), ("officer", False)):
        page = sign_in(acme, username).get("/admin/").content.decode()
        assert ("soon-gone" in page) is seen
        assert ("never-used" in page) is seen
