"""A tenant's choice of a release: what it changes, what it refuses, and for whom alone."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction
from django.utils import timezone

from audit.models import AuditEntry
from mapping import pins
from mapping.models import KnowledgePin, MappingEvent, PinKind
from mapping.pins import PinError, StalePreviewError, tenant_knowledge
from mapping.selectors import (
    documents_in_force,
    engine_in_force,
    forget_engine,
    release_in_force,
    versions_in_force,
)
from reporting.knowledge import framework_knowledge
from tenants.context import NoTenantError, tenant_context
from tests.conftest import DemoTenant
from tests.support.knowledge import next_version, version_of
from tests.support.releases import second_release, third_release

pytestmark = pytest.mark.django_db
ANN = "user:ann"
SSN = [{"entity_type": "US_SSN", "start": 0, "end": 11, "score": 0.85}]


@pytest.fixture(autouse=True)
def _fresh_engines() -> Iterator[None]:
    """What a test releases and pins must not outlive it in this process."""
    forget_engine()
    yield
    forget_engine()


@pytest.fixture
def releases(db: None) -> tuple[int, int]:
    """The serials of the shipped release and of a newer one."""
    return second_release()


@pytest.fixture
def inside(acme: DemoTenant) -> Iterator[DemoTenant]:
    """Run the test in the first tenant."""
    with tenant_context(acme.tenant):
        yield acme


class TestTwoTenantsAtOnce:
    """acme stays with the shipped release, globex follows the newest."""

    @pytest.fixture(autouse=True)
    def _pinned(self, releases: tuple[int, int], acme: DemoTenant) -> None:
        self.old, self.new = releases
        with tenant_context(acme.tenant):
            pins.apply_release(serial=self.old, seen=self.new, actor=ANN)

    def test_each_gets_the_answers_of_its_release(
        self, api: Any, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        for tenant, severity, release in (
            (acme, "high", self.old), (globex, "critical", self.new), (acme, "high", self.old),
        ):  # fmt: skip
            item = {"detector": "presidio", "output": SSN}
            answer = api("POST", "/map", tenant.key, json=item).json()
            assert answer["severity"] == severity
            with tenant_context(tenant.tenant):
                assert MappingEvent.objects.get(pk=answer["event_id"]).release == release
        batch = {"requests": [{"detector": "presidio", "output": [{"entity_type": "ZZ_BADGE"}]}]}
        decisions = [
            api("POST", "/map/batch", tenant.key, json=batch).json()["results"][0]["decision"]
            for tenant in (acme, globex)
        ]
        assert decisions == ["fallback", "mapped"]

    def test_reports_use_the_tenants_release(self, acme: DemoTenant, globex: DemoTenant) -> None:
        for tenant, release, strength in ((acme, self.old, 8), (globex, self.new, 9)):
            with tenant_context(tenant.tenant):
                knowledge = framework_knowledge("soc2", "2017")
            assert knowledge.release == release
            assert knowledge.bearings["PII.Contact.Email"]["CC6.7"].strength == strength

    def test_a_built_report_names_the_tenants_release(self, acme: DemoTenant) -> None:
        from reporting import services

        today = timezone.now().date()
        with tenant_context(acme.tenant):
            report = services.request_report(
                framework="soc2", period_start=today, period_end=today, actor=ANN
            )
            built = services.build_report(report_id=report.id)
        assert built is not None
        assert built.versions["release"] == self.old

    def test_versions_pages_and_documents(self, acme: DemoTenant, globex: DemoTenant) -> None:
        for tenant, release, version in (
            (acme, self.old, version_of("presidio")), (globex, self.new, next_version("presidio")),
        ):  # fmt: skip
            found = versions_in_force(tenant.tenant)
            assert (found["release"], found["detectors"]["presidio"]) == (release, version)
            with tenant_context(tenant.tenant):
                assert release_in_force().serial == documents_in_force().serial == release
        assert engine_in_force().serial == self.new

    def test_a_warm_process_asks_the_database_nothing(
        self, acme: DemoTenant, globex: DemoTenant, django_assert_num_queries: Any
    ) -> None:
        warm = [engine_in_force(tenant.tenant) for tenant in (acme, globex)]
        with django_assert_num_queries(0):
            for _ in range(100):
                for tenant, engine in zip((acme, globex), warm, strict=True):
                    assert engine_in_force(tenant.tenant) is engine

    def test_tenants_on_one_release_share_its_engine(
        self, acme: DemoTenant, globex: DemoTenant
    ) -> None:
        assert engine_in_force(globex.tenant) is engine_in_force()
        with tenant_context(globex.tenant):
            pins.apply_release(serial=self.old, seen=self.new, actor=ANN)
        forget_engine()
        assert engine_in_force(globex.tenant) is engine_in_force(acme.tenant)

    def test_the_process_that_applied_it_sees_it_at_once(
        self, acme: DemoTenant, globex: DemoTenant, django_capture_on_commit_callbacks: Any
    ) -> None:
        assert engine_in_force(acme.tenant).serial == self.old
        other = engine_in_force(globex.tenant)
        with django_capture_on_commit_callbacks(execute=True), tenant_context(acme.tenant):
            pins.follow_newest(seen=self.old, newest=self.new, actor=ANN)
        assert engine_in_force(acme.tenant) is other is engine_in_force(globex.tenant)


class TestChoosing:
    def test_without_a_choice_the_newest_is_followed(
        self, releases: tuple[int, int], inside: DemoTenant
    ) -> None:
        now = tenant_knowledge()
        assert (now.effective, now.newest, now.pinned, now.last) == (
            releases[1], releases[1], False, None,
        )  # fmt: skip
        assert engine_in_force(inside.tenant).serial == releases[1]

    def test_a_pin_holds_while_newer_releases_come(self, inside: DemoTenant) -> None:
        serial = tenant_knowledge().effective
        pins.pin_release(serial=serial, actor=ANN, note="  Audit until June. ")
        assert second_release()[0] == serial
        now = tenant_knowledge()
        assert (now.effective, now.newest, now.pinned) == (serial, serial + 1, True)
        assert now.last.note == "Audit until June."
        forget_engine()
        assert engine_in_force(inside.tenant).serial == serial

    def test_the_history_and_the_audit_trail_keep_every_choice(
        self, releases: tuple[int, int], inside: DemoTenant
    ) -> None:
        old, new = releases
        pins.apply_release(serial=old, seen=new, actor=ANN, note="why")
        pins.follow_newest(seen=old, newest=new, actor="user:bob")
        pins.undo_last(seen=new, actor=ANN)
        rows = KnowledgePin.objects.order_by("number")
        assert [(r.number, r.kind, r.release, r.previous, r.followed) for r in rows] == [
            (1, PinKind.APPLY, old, new, True),
            (2, PinKind.FOLLOW, None, old, False),
            (3, PinKind.UNDO, old, new, True),
        ]
        entries = AuditEntry.objects.filter(action__startswith="knowledge.").order_by("id")
        assert [(e.action, e.actor, e.target) for e in entries] == [
            ("knowledge.applied", ANN, f"release {old}"),
            ("knowledge.followed", "user:bob", f"release {new}"),
            ("knowledge.undone", ANN, f"release {old}"),
        ]
        assert "why" not in str([e.detail for e in entries])

    def test_what_is_refused_and_what_to_do(
        self, releases: tuple[int, int], inside: DemoTenant
    ) -> None:
        old, new = releases
        for attempt, words in (
            (lambda: pins.pin_release(serial=old, actor=ANN), "Look again"),
            (lambda: pins.apply_release(serial=old, seen=old, actor=ANN), "Look again"),
            (lambda: pins.apply_release(serial=99_999, seen=new, actor=ANN), "Choose one of"),
            (lambda: pins.apply_release(serial=new, seen=new, actor=ANN), "in force already"),
            (lambda: pins.follow_newest(seen=new, newest=new, actor=ANN), "followed already"),
            (lambda: pins.undo_last(seen=new, actor=ANN), "no choice that could be undone"),
        ):
            with pytest.raises(PinError, match=words):
                attempt()
        pins.pin_release(serial=new, actor=ANN)
        with pytest.raises(PinError, match="pinned already"):
            pins.pin_release(serial=new, actor=ANN)
        assert KnowledgePin.objects.count() == 1

    def test_a_stale_preview_is_refused(
        self, releases: tuple[int, int], inside: DemoTenant
    ) -> None:
        old, new = releases
        pins.apply_release(serial=old, seen=new, actor="user:bob")
        with pytest.raises(StalePreviewError, match=f"Release {old} is in force by now, not {new}"):
            pins.apply_release(serial=old, seen=new, actor=ANN)
        third = third_release()
        with pytest.raises(StalePreviewError, match=f"Release {third} has come since"):
            pins.follow_newest(seen=old, newest=new, actor=ANN)
        assert tenant_knowledge().effective == old

    def test_only_within_a_tenant(self, releases: tuple[int, int]) -> None:
        with pytest.raises(NoTenantError):
            pins.apply_release(serial=releases[0], seen=releases[1], actor=ANN)


class TestUndoing:
    @pytest.fixture(autouse=True)
    def _applied(self, releases: tuple[int, int], inside: DemoTenant) -> None:
        self.old, self.new = releases
        pins.apply_release(serial=self.old, seen=self.new, actor=ANN)

    def later(self, monkeypatch: pytest.MonkeyPatch, **period: int) -> None:
        moment = timezone.now() + timedelta(**period)
        monkeypatch.setattr(pins.timezone, "now", lambda: moment)

    def test_goes_back_to_following_if_nothing_newer_came(self) -> None:
        pins.undo_last(seen=self.old, actor=ANN)
        now = tenant_knowledge()
        assert (now.effective, now.pinned) == (self.new, False)

    def test_never_brings_a_release_that_nobody_saw(self) -> None:
        third = third_release()
        pins.undo_last(seen=self.old, actor=ANN)
        now = tenant_knowledge()
        assert (now.effective, now.pinned, now.newest) == (self.new, True, third)

    def test_the_window_closes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.later(monkeypatch, hours=71, minutes=59)
        assert tenant_knowledge().undo_until is not None
        self.later(monkeypatch, minutes=2)
        assert tenant_knowledge().undo_until is None
        with pytest.raises(PinError, match=rf"until .* Preview and apply release {self.new}"):
            pins.undo_last(seen=self.old, actor=ANN)
        assert tenant_knowledge().effective == self.old

    def test_only_once(self) -> None:
        pins.undo_last(seen=self.old, actor=ANN)
        with pytest.raises(PinError, match="no choice that could be undone"):
            pins.undo_last(seen=self.new, actor=ANN)

    def test_the_undone_release_can_be_applied_again(self) -> None:
        pins.undo_last(seen=self.old, actor=ANN)
        pins.apply_release(serial=self.old, seen=self.new, actor=ANN)
        assert tenant_knowledge().effective == self.old

    def test_an_undo_without_effect_is_refused(self) -> None:
        pins.undo_last(seen=self.old, actor=ANN)
        pins.pin_release(serial=self.new, actor=ANN)
        third_release()
        with pytest.raises(PinError, match="Undoing would change nothing"):
            pins.undo_last(seen=self.new, actor=ANN)


@pytest.mark.parametrize("sql", ["UPDATE {} SET release = 1", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_database_refuses_to_change_the_history(inside: DemoTenant, sql: str) -> None:
    pins.pin_release(serial=tenant_knowledge().effective, actor=ANN)
    with (
        pytest.raises((InternalError, ProgrammingError), match=r"Cannot update|cannot be removed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql.format("mapping_knowledgepin"))
    assert KnowledgePin.objects.count() == 1
