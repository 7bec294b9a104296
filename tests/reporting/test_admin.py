"""Reports in a tenant's admin, as the compliance officer sees them."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.models import AuditEntry
from reporting.models import Report, ReportState
from reporting.services import build_report, request_report
from tenants.context import tenant_context

pytestmark = pytest.mark.django_db
TODAY = datetime.now(UTC).date()
LIST = "/admin/reporting/report/"
ADD = f"{LIST}add/"
FORM = {
    "framework": "soc2@2017",
    "period_start": (TODAY - timedelta(days=6)).isoformat(),
    "period_end": TODAY.isoformat(),
}


@pytest.fixture
def officer(acme: Any, in_browser: Any) -> Any:
    """The compliance officer of the first tenant."""
    return in_browser(acme, "officer")


def report_of(demo: Any, *, built: bool = True) -> Report:
    with tenant_context(demo.tenant):
        report = request_report(
            framework="soc2", period_start=TODAY, period_end=TODAY, actor="user:officer"
        )
        if not built:
            return report
        done = build_report(report_id=report.id)
        assert done is not None
        return done


class TestRequest:
    def test_form_offers_frameworks_and_the_last_30_days(self, officer: Any) -> None:
        page = officer.get(ADD).content.decode()
        for part in (
            "SOC 2 2017", "ISO 27001 2022", "HIPAA 2013", "Request report",
            f'value="{TODAY - timedelta(days=29)}"', f'value="{TODAY}"', 'type="date"',
        ):  # fmt: skip
            assert part in page, part

    def test_request_waits_then_reloads(self, officer: Any, acme: Any) -> None:
        response = officer.post(ADD, FORM, follow=True)
        assert response.status_code == 200
        page = response.content.decode()
        assert "The report is being made." in page
        assert "data-report-unfinished" in page
        with tenant_context(acme.tenant):
            report = Report.objects.get()
            assert (report.state, report.requested_by) == ("queued", "user:officer")
            assert report.period_start == TODAY - timedelta(days=6)

    def test_the_button_of_the_list_leads_to_the_form(self, officer: Any) -> None:
        assert f"{LIST}request/" in officer.get(LIST).content.decode()
        assert officer.get(f"{LIST}request/")["Location"] == ADD

    def test_errors_are_at_their_field(self, officer: Any, acme: Any) -> None:
        response = officer.post(ADD, {**FORM, "period_end": TODAY + timedelta(days=3)})
        assert response.context["form"].errors == {
            "period_end": ["The last day may be today (UTC), not later."]
        }
        assert "not later" in response.content.decode()
        response = officer.post(ADD, {**FORM, "framework": "pci@4"})
        assert set(response.context["form"].errors) == {"framework"}
        with tenant_context(acme.tenant):
            assert not Report.objects.exists()

    def test_without_the_permission(self, acme: Any, client: Any, in_browser: Any) -> None:
        from access.users.models import User

        with tenant_context(acme.tenant):
            User.objects.create_user("guest", is_staff=True)
        guest = in_browser(acme, "guest")
        report = report_of(acme)
        assert guest.get(ADD).status_code == 403
        assert guest.post(ADD, FORM).status_code == 403
        assert guest.get(LIST).status_code == 403
        for page in ("change", "pdf", "csv", "json"):
            assert guest.get(f"{LIST}{report.pk}/{page}/").status_code in (403, 404), page


class TestPages:
    def test_list(self, officer: Any, acme: Any) -> None:
        done, waiting = report_of(acme), report_of(acme, built=False)
        page = officer.get(LIST).content.decode()
        for part in (
            "SOC 2 2017", "Done", "Waiting", "officer", "Request report",
            f"{LIST}{done.pk}/pdf/", f"{LIST}{done.pk}/csv/", f"{LIST}{done.pk}/json/",
        ):  # fmt: skip
            assert part in page, part
        assert f"{LIST}{waiting.pk}/pdf/" not in page

    def test_list_does_not_load_the_files(
        self, officer: Any, acme: Any, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(3):
            report_of(acme)
        with django_assert_max_num_queries(20) as captured:
            officer.get(LIST)
        assert not any('"content"' in query["sql"] for query in captured.captured_queries)

    def test_done(self, officer: Any, acme: Any) -> None:
        report = report_of(acme)
        page = officer.get(f"{LIST}{report.pk}/change/").content.decode()
        assert "data-report-unfinished" not in page
        for part in ("Controls with evidence", "soc2@2017", str(report.pk), "All files are ready"):
            assert part in page, part
        with tenant_context(acme.tenant):
            for file in report.files.all():
                assert file.sha256 in page
                assert f"{LIST}{report.pk}/{file.format}/" in page
        assert 'name="_save"' not in page
        assert "deletelink" not in page

    def test_failed(self, officer: Any, acme: Any) -> None:
        report = report_of(acme, built=False)
        with tenant_context(acme.tenant):
            Report.objects.filter(pk=report.pk).update(
                state=ReportState.FAILED, state_detail="It took too long.", finished_at=None
            )
        page = officer.get(f"{LIST}{report.pk}/change/").content.decode()
        assert "Failed" in page
        assert "It took too long." in page
        assert f"{LIST}{report.pk}/pdf/" not in page

    def test_nothing_can_be_changed(self, officer: Any, acme: Any) -> None:
        report = report_of(acme, built=False)
        assert officer.post(f"{LIST}{report.pk}/change/", {"state": "done"}).status_code == 403
        assert officer.post(f"{LIST}{report.pk}/delete/", {"post": "yes"}).status_code == 403
        with tenant_context(acme.tenant):
            report.refresh_from_db()
            assert report.state == "queued"

    def test_unknown(self, officer: Any) -> None:
        for name in (uuid.uuid4(), "nonsense"):
            assert officer.get(f"{LIST}{name}/change/").status_code == 404
            assert officer.get(f"{LIST}{name}/pdf/").status_code == 404


class TestDownload:
    @pytest.mark.parametrize("file_format", ["pdf", "csv", "json"])
    def test_file(self, officer: Any, acme: Any, file_format: str) -> None:
        report = report_of(acme)
        response = officer.get(f"{LIST}{report.pk}/{file_format}/")
        assert response.status_code == 200
        name = f"pillars-soc2-2017_acme_{TODAY}_{TODAY}.{file_format}"
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response["X-Content-Type-Options"] == "nosniff"
        with tenant_context(acme.tenant):
            file = report.files.get(format=file_format)
            assert response.content == bytes(file.content)
            assert response["ETag"] == f'"{file.sha256}"'
            entry = AuditEntry.objects.get(action="report.downloaded")
            assert entry.actor == "user:officer"

    def test_not_yet(self, officer: Any, acme: Any) -> None:
        report = report_of(acme, built=False)
        response = officer.get(f"{LIST}{report.pk}/pdf/", follow=True)
        assert "not finished yet" in response.content.decode()


class TestIsolation:
    def test_another_tenants_officer(self, acme: Any, globex: Any, in_browser: Any) -> None:
        report = report_of(acme)
        stranger = in_browser(globex, "officer")
        assert str(report.pk) not in stranger.get(LIST).content.decode()
        for page in ("change", "pdf", "csv", "json"):
            assert stranger.get(f"{LIST}{report.pk}/{page}/").status_code == 404, page

    def test_the_session_of_one_tenant_is_none_at_another(
        self, acme: Any, globex: Any, in_browser: Any
    ) -> None:
        report = report_of(acme)
        stranger = in_browser(globex, "officer")
        response = stranger.get(f"{LIST}{report.pk}/pdf/", HTTP_HOST=acme.host)
        assert response.status_code == 302
        assert "/login/" in response["Location"]

    def test_not_on_the_platforms_site(self, acme: Any, client: Any) -> None:
        assert client.get(LIST, HTTP_HOST="localhost").status_code in (302, 404)
