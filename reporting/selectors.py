"""Reads of reports. All run in the tenant that is active."""

import uuid
from datetime import datetime, timedelta

from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone

from reporting.errors import NoSuchFileError, NotReadyError
from reporting.models import FileFormat, Report, ReportFile, ReportState
from tenants.context import require_tenant
from tenants.models import Tenant
from tenants.selectors import TenantRef

# A worker that has not finished after this long is dead: Celery's time limit is shorter.
RUNNING_STALE = timedelta(minutes=15)
QUEUED_STALE = timedelta(seconds=20)


def reports() -> QuerySet[Report]:
    """Reports, newest first, with their files' names, sizes and digests but not the contents."""
    require_tenant()
    files = ReportFile.objects.defer("content")
    return Report.objects.prefetch_related(Prefetch("files", queryset=files))


def report_file(*, report_id: uuid.UUID, file_format: str) -> ReportFile:
    """One file of a finished report.

    Raises Report.DoesNotExist, NotReadyError while it is made, NoSuchFileError if it has none.
    """
    require_tenant()
    report = Report.objects.get(pk=report_id)
    if not report.is_finished:
        raise NotReadyError
    if file_format not in FileFormat.values:
        raise NoSuchFileError("A report is downloaded as pdf, csv or json.")
    file = report.files.select_related("report").filter(format=file_format).first()
    if file is None:
        raise NoSuchFileError(report.state_detail or "The report has no such file.")
    return file


def file_name(file: ReportFile, tenant: TenantRef) -> str:
    """What the file is called when it is downloaded."""
    report = file.report
    return (
        f"pillars-{report.framework}-{report.edition}_{tenant.slug}_"
        f"{report.period_start}_{report.period_end}.{file.format}"
    )


def claimable(now: datetime) -> Q:
    """Reports that a worker may take: waiting ones, and those whose worker died."""
    return Q(state=ReportState.QUEUED) | Q(
        state=ReportState.RUNNING, started_at__lt=now - RUNNING_STALE
    )


def overdue() -> list[uuid.UUID]:
    """Reports whose message seems to be lost, or whose worker died."""
    require_tenant()
    now = timezone.now()
    waiting = claimable(now) & Q(requested_at__lt=now - QUEUED_STALE)
    return list(Report.objects.filter(waiting).order_by("id").values_list("id", flat=True)[:100])


def active_tenant() -> TenantRef:
    """The tenant that is active, from the register."""
    return TenantRef.of(Tenant.objects.get(schema_name=require_tenant()))
