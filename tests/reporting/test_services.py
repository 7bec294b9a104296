"""The life of a report: asked for, taken, done or failed, never changed, deleted by retention."""

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.utils import timezone

from audit.models import AuditEntry
from reporting import services
from reporting.errors import NoSuchFileError, NotReadyError, ReportRequestError
from reporting.models import Report, ReportFile, ReportState
from reporting.selectors import overdue, report_file
from reporting.tasks import build, sweep
from tenants.context import NoTenantError, tenant_context
from tests.reporting.conftest import event

pytestmark = pytest.mark.django_db
TODAY = datetime.now(UTC).date()
_REFUSALS = "Cannot update|by retention alone|cannot be removed|is finished"


@pytest.fixture
def inside(acme: Any) -> Iterator[Any]:
    """Run the test in the first tenant."""
    with tenant_context(acme.tenant):
        yield acme


def ask(**changes: Any) -> Report:
    wanted: dict[str, Any] = {
        "framework": "soc2", "period_start": TODAY - timedelta(days=6), "period_end": TODAY,
        "actor": "user:officer", **changes,
    }  # fmt: skip
    return services.request_report(**wanted)


class TestRequest:
    def test_row_audit_and_message(
        self, inside: Any, monkeypatch: Any, django_capture_on_commit_callbacks: Any
    ) -> None:
        sent: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(
            "pillars.queue.dispatch", lambda task, **kwargs: sent.append((task, kwargs)) or True
        )
        with django_capture_on_commit_callbacks(execute=True):
            report = ask()
            assert sent == []  # not before the row is there to be found
        assert (report.state, report.framework, report.edition) == ("queued", "soc2", "2017")
        assert sent == [
            (
                "reporting.build",
                {"tenant_id": str(inside.tenant.id), "report_id": str(report.id)},
            )
        ]
        entry = AuditEntry.objects.get(action="report.requested", target=str(report.id))
        assert entry.actor == "user:officer"
        assert entry.detail["framework"] == "soc2@2017"

    def test_one_edition_may_be_named(self, inside: Any) -> None:
        assert ask(framework="iso27001@2022").edition == "2022"

    @pytest.mark.parametrize(
        ("changes", "field", "says"),
        [
            ({"framework": "soc3"}, "framework", "Known ones: .*hipaa, iso27001.*, soc2"),
            ({"framework": "soc2@2016"}, "framework", "no such framework"),
            ({"period_end": TODAY + timedelta(days=1)}, "period_end", "not later"),
            ({"period_start": TODAY, "period_end": TODAY - timedelta(days=1)}, "period_end",
             "before the first day"),
            ({"period_start": TODAY - timedelta(days=400)}, "period_end", "400 days, not 401"),
            ({"period_start": date(1999, 12, 31)}, "period_start", "2000-01-01"),
        ],
    )  # fmt: skip
    def test_refused(self, inside: Any, changes: dict[str, Any], field: str, says: str) -> None:
        with pytest.raises(ReportRequestError, match=says) as caught:
            ask(**changes)
        assert caught.value.field == field
        assert not Report.objects.exists()

    def test_longest_and_shortest_period(self, inside: Any) -> None:
        assert ask(period_start=TODAY - timedelta(days=399)).state == "queued"
        assert ask(period_start=TODAY).state == "queued"

    def test_needs_a_tenant(self, db: None) -> None:
        with pytest.raises(NoTenantError):
            ask()


class TestBuild:
    def test_done(self, inside: Any) -> None:
        report = services.build_report(report_id=ask().id)
        assert report is not None
        assert (report.state, report.state_detail, report.attempts) == ("done", "", 1)
        assert report.started_at <= report.finished_at
        assert report.release == report.versions["release"]
        assert report.versions["framework"] == "soc2@2017"
        assert report.summary["controls"] == 61
        assert {file.format for file in report.files.all()} == {"pdf", "csv", "json"}
        entry = AuditEntry.objects.get(action="report.finished", target=str(report.id))
        for file in report.files.all():
            assert entry.detail["sha256"][file.format] == file.sha256
            assert file.size == len(bytes(file.content))

    def test_twice_is_once(self, inside: Any) -> None:
        report_id = ask().id
        assert services.build_report(report_id=report_id) is not None
        assert services.build_report(report_id=report_id) is None
        assert ReportFile.objects.filter(report_id=report_id).count() == 3

    def test_another_worker_has_it(self, inside: Any) -> None:
        report = ask()
        Report.objects.filter(pk=report.pk).update(
            state=ReportState.RUNNING, started_at=timezone.now() - timedelta(minutes=14)
        )
        assert services.build_report(report_id=report.id) is None

    def test_its_worker_died(self, inside: Any) -> None:
        report = ask()
        Report.objects.filter(pk=report.pk).update(
            state=ReportState.RUNNING, started_at=timezone.now() - timedelta(minutes=16), attempts=1
        )
        built = services.build_report(report_id=report.id)
        assert built is not None
        assert (built.state, built.attempts) == ("done", 2)

    def test_given_up_after_three_attempts(self, inside: Any) -> None:
        report = ask()
        Report.objects.filter(pk=report.pk).update(
            state=ReportState.RUNNING, started_at=timezone.now() - timedelta(minutes=16), attempts=3
        )
        assert services.build_report(report_id=report.id) is None
        report.refresh_from_db()
        assert (report.state, report.files.count()) == ("failed", 0)
        assert "3 attempts" in report.state_detail

    def test_the_slower_of_two_workers_stores_nothing(self, inside: Any) -> None:
        report = ask()
        mine = services._claim(report.id)
        assert mine is not None
        made = services._make(mine)
        Report.objects.filter(pk=report.pk).update(started_at=timezone.now())  # taken over
        assert services._finish(mine, made) is None
        assert not ReportFile.objects.exists()

    def test_framework_left_the_knowledge(self, inside: Any) -> None:
        report = ask()
        Report.objects.filter(pk=report.pk).update(edition="1999")
        failed = services.build_report(report_id=report.id)
        assert failed is not None
        assert failed.state == "failed"
        assert "soc2@1999 is not in the knowledge" in failed.state_detail
        assert AuditEntry.objects.filter(action="report.failed", target=str(report.id)).exists()

    def test_an_unforeseen_error_ends_as_failed(self, inside: Any, monkeypatch: Any) -> None:
        def broken(*_args: Any) -> bytes:
            raise RuntimeError("some text that quotes data")

        monkeypatch.setattr(services, "render_csv", broken)
        report = ask()
        with pytest.raises(RuntimeError):
            services.build_report(report_id=report.id)
        report.refresh_from_db()
        assert report.state == "failed"
        assert "RuntimeError" in report.state_detail
        assert "quotes data" not in report.state_detail

    def test_a_database_that_is_away_leaves_it_waiting(self, inside: Any, monkeypatch: Any) -> None:
        def away(**_kwargs: Any) -> None:
            raise DatabaseError("gone")

        monkeypatch.setattr(services, "count_events", away)
        report = ask()
        with pytest.raises(DatabaseError):
            services.build_report(report_id=report.id)
        report.refresh_from_db()
        assert report.state == "queued"
        monkeypatch.undo()
        again = services.build_report(report_id=report.id)
        assert again is not None
        assert again.state == "done"

    def test_pango_is_missing(self, inside: Any, monkeypatch: Any) -> None:
        import builtins

        real = builtins.__import__

        def without_pango(name: str, *args: Any, **kwargs: Any) -> Any:
            if name.startswith("weasyprint"):
                raise OSError("cannot load library 'libpango-1.0-0'")
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without_pango)
        report = services.build_report(report_id=ask().id)
        assert report is not None
        assert report.state == "done"
        assert "apt-get install libpango" in report.state_detail
        assert {file.format for file in report.files.all()} == {"csv", "json"}
        with pytest.raises(NoSuchFileError, match="pango"):
            report_file(report_id=report.id, file_format="pdf")


class TestFinal:
    @pytest.fixture
    def done(self, inside: Any) -> Report:
        report = ask(period_start=TODAY)
        for name in ("pdf", "csv", "json"):
            ReportFile.objects.create(report=report, format=name, content=b"x", sha256="0", size=1)
        report.state = ReportState.DONE
        report.save()
        return report

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE reporting_report SET summary = '{}'",
            "UPDATE reporting_report SET state = 'queued'",
            "DELETE FROM reporting_report",
            "TRUNCATE reporting_report CASCADE",
            "UPDATE reporting_reportfile SET sha256 = ''",
            "DELETE FROM reporting_reportfile",
            "TRUNCATE reporting_reportfile",
            "INSERT INTO reporting_reportfile "
            "(report_id, format, content, sha256, size, created_at) "
            "SELECT id, 'xls', '', '', 0, now() FROM reporting_report",
        ],
    )
    def test_raw_sql_is_refused(self, done: Report, statement: str) -> None:
        with connection.cursor() as cursor:
            # The foreign key is checked at the end; TRUNCATE wants that to be over.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            with pytest.raises(ProgrammingError, match=_REFUSALS), transaction.atomic():
                cursor.execute(statement)
        assert ReportFile.objects.filter(report=done).count() == 3

    def test_the_orm_is_refused_too(self, done: Report) -> None:
        done.summary = {}
        with pytest.raises(ProgrammingError), transaction.atomic():
            done.save()
        with pytest.raises(ProgrammingError), transaction.atomic():
            done.delete()

    def test_retention_says_so_but_the_report_is_young(self, done: Report) -> None:
        services._say_retention("reports")
        with pytest.raises(ProgrammingError), transaction.atomic():
            done.delete()


class TestRetention:
    def old_report(self, days: int) -> Report:
        moment = timezone.now() - timedelta(days=days)
        report = ask(period_start=TODAY)
        Report.objects.filter(pk=report.pk).update(requested_at=moment)
        ReportFile.objects.create(
            report=report, format="csv", content=b"x", sha256="0", size=1, created_at=moment
        )
        Report.objects.filter(pk=report.pk).update(state=ReportState.DONE, finished_at=moment)
        return report

    def test_old_ones_go_and_others_stay(self, inside: Any, settings: Any) -> None:
        days = settings.CONFIG.retention.reports_days
        old, young = self.old_report(days + 1), self.old_report(days - 1)
        waiting = ask()
        assert services.expire_reports() == 1
        assert set(Report.objects.values_list("id", flat=True)) == {young.id, waiting.id}
        assert not ReportFile.objects.filter(report_id=old.id).exists()
        entry = AuditEntry.objects.get(action="reports.expired")
        assert entry.detail == {"count": 1, "reports": [str(old.id)]}
        # The permission ended with the work.
        with pytest.raises(ProgrammingError), transaction.atomic():
            young.delete()

    def test_nothing_to_do_leaves_no_trace(self, inside: Any) -> None:
        assert services.expire_reports() == 0
        assert not AuditEntry.objects.filter(action="reports.expired").exists()


class TestTasks:
    def test_build_enters_the_tenant(self, acme: Any) -> None:
        with tenant_context(acme.tenant):
            report = ask()
        build(tenant_id=str(acme.tenant.id), report_id=str(report.id))
        with tenant_context(acme.tenant):
            report.refresh_from_db()
            assert report.state == "done"

    def test_build_in_the_wrong_tenant_finds_nothing(self, acme: Any, globex: Any) -> None:
        with tenant_context(acme.tenant):
            report = ask()
        build(tenant_id=str(globex.tenant.id), report_id=str(report.id))
        with tenant_context(acme.tenant):
            report.refresh_from_db()
            assert report.state == "queued"

    def test_sweep_sends_what_was_lost(self, acme: Any, globex: Any, monkeypatch: Any) -> None:
        sent: list[dict[str, Any]] = []
        monkeypatch.setattr("pillars.queue.dispatch", lambda _task, **kwargs: sent.append(kwargs))
        lost: list[tuple[str, str]] = []
        for demo in (acme, globex):
            with tenant_context(demo.tenant):
                fresh, waiting, dead = ask(), ask(), ask()
                assert overdue() == []
                long_ago = timezone.now() - timedelta(minutes=20)
                Report.objects.filter(pk__in=[waiting.pk, dead.pk]).update(requested_at=long_ago)
                Report.objects.filter(pk=dead.pk).update(
                    state=ReportState.RUNNING, started_at=long_ago
                )
                assert fresh.id not in overdue()
            lost += [(str(demo.tenant.id), str(row.id)) for row in (waiting, dead)]
        assert sweep() == 4
        assert sorted((row["tenant_id"], row["report_id"]) for row in sent) == sorted(lost)


class TestFiles:
    def test_not_ready(self, inside: Any) -> None:
        with pytest.raises(NotReadyError):
            report_file(report_id=ask().id, file_format="pdf")

    def test_no_such_report(self, inside: Any) -> None:
        with pytest.raises(Report.DoesNotExist):
            report_file(report_id=uuid.uuid4(), file_format="pdf")

    def test_no_such_format(self, inside: Any) -> None:
        report = services.build_report(report_id=ask().id)
        assert report is not None
        with pytest.raises(NoSuchFileError):
            report_file(report_id=report.id, file_format="docx")


def test_one_tenants_report_counts_its_own_events_alone(
    acme: Any, globex: Any, add_events: Any, make_report: Any
) -> None:
    day = TODAY.isoformat()
    now = datetime.now(UTC)
    early = now.replace(hour=0, minute=0, second=0, microsecond=0)
    add_events(acme.tenant, *[event(early, "presidio", ["PII.Contact.Email"]) for _ in range(3)])
    add_events(globex.tenant, *[event(early, "presidio", ["PII.Contact.Email"]) for _ in range(5)])
    ours, theirs = (make_report(demo.tenant, "soc2", day, day) for demo in (acme, globex))
    assert ours.document["totals"]["events"] == 3
    assert theirs.document["totals"]["events"] == 5
    assert ours.document["report"]["tenant"]["slug"] == "acme"
    with tenant_context(globex.tenant):
        assert not Report.objects.filter(pk=ours.report.pk).exists()
        with pytest.raises(Report.DoesNotExist):
            report_file(report_id=ours.report.id, file_format="json")
