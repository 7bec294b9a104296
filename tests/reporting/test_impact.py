"""Which finished reports a change of the knowledge touches."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from reporting.impact import count_for_change_set
from reporting.models import Report, ReportState
from taxonomy.changes.impact import Affected
from tenants.context import tenant_context
from tests.reporting.conftest import event, store

pytestmark = pytest.mark.django_db
EMAIL = "PII.Contact.Email"


def finished(framework: str, edition: str, first: date, last: date) -> None:
    report = Report.objects.create(
        framework=framework, edition=edition, period_start=first, period_end=last,
        requested_by="user:officer", state=ReportState.RUNNING,
    )  # fmt: skip
    Report.objects.filter(pk=report.pk).update(state=ReportState.DONE, summary={})


@pytest.fixture
def touched(acme: Any) -> Any:
    """Three reports, and one event late on the last day of January: a function that counts."""
    found = [{"source_label": "EMAIL_ADDRESS", "canonical": EMAIL}]
    store(acme.tenant, event("2026-01-31T23:59:59", "presidio", [EMAIL], findings=found))
    january, february = (date(2026, 1, 1), date(2026, 1, 31)), (date(2026, 2, 1), date(2026, 2, 28))
    with tenant_context(acme.tenant):
        finished("soc2", "2017", *january)
        finished("soc2", "2017", *february)
        finished("iso27001", "2022", *january)

    def count(**affected: Any) -> int:
        with tenant_context(acme.tenant):
            since = timezone.now() - timedelta(days=1)
            return count_for_change_set(affected=Affected(**affected), since=since)["reports"]

    return count


@pytest.mark.parametrize(
    ("affected", "reports"),
    [
        ({"labels": {EMAIL}}, 2),
        ({"labels": {"PII.Contact.Phone"}}, 0),
        ({"detector_labels": {("presidio", "EMAIL_ADDRESS")}}, 2),
        ({"detector_labels": {("presidio", "PHONE_NUMBER")}}, 0),
        ({"detectors": {"presidio"}}, 2),
        ({"crosswalks": {"soc2@2017": {EMAIL}}}, 1),
        ({"crosswalks": {"hipaa@2013": {EMAIL}}}, 0),
        ({"crosswalks": {"hipaa@2013": {EMAIL}}, "labels": {EMAIL}}, 2),
    ],
)
def test_reports_whose_period_holds_a_touched_event(
    touched: Any, affected: dict[str, Any], reports: int
) -> None:
    assert touched(**affected) == reports


def test_nothing_affected_touches_nothing(touched: Any) -> None:
    assert touched() == 0
