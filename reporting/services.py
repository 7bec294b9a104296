"""Verbs on reports: ask for one, make it, hand a file out, delete what is too old.

A row waits (`queued`), is taken by one worker (`running`), and ends as `done` or `failed`. The row
is the outbox: reporting.sweep sends lost ones again, and takes over from workers that died.
"""

import contextlib
import hashlib
import importlib.metadata
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.utils import timezone

from audit.services import record
from pillars import queue
from reporting.counting import count_events
from reporting.coverage import crosswalk_pairs, evaluate
from reporting.document import Heading, build_document
from reporting.errors import (
    PdfUnavailableError,
    ReportBuildError,
    ReportRequestError,
    UnknownFrameworkError,
)
from reporting.knowledge import FrameworkChoice, framework_choices, framework_knowledge
from reporting.models import FINISHED, FileFormat, Report, ReportFile, ReportState
from reporting.render_csv import render_csv
from reporting.render_json import render_json
from reporting.render_pdf import render_pdf
from reporting.selectors import active_tenant, claimable
from reporting.triggers import RETENTION_SETTING, RETENTION_VALUE
from taxonomy.errors import NoReleaseError
from tenants.context import require_tenant

log = structlog.get_logger("reporting")
ACTOR = "system:reporting"
EARLIEST = date(2000, 1, 1)
MOST_ATTEMPTS = 3


def check_request(*, framework: str, period_start: date, period_end: date) -> FrameworkChoice:
    """The framework that is meant, if a report over that period can be asked for.

    `framework` is its key (`soc2`), with or without `@edition`. Raises ReportRequestError, and
    NoReleaseError if no knowledge is loaded.
    """
    choices = framework_choices()
    named = [c for c in choices if framework in (c.framework, f"{c.framework}@{c.edition}")]
    if not named:
        known = ", ".join(dict.fromkeys(choice.framework for choice in choices)) or "none"
        raise ReportRequestError("framework", f"There is no such framework. Known ones: {known}.")
    if period_start > period_end:
        raise ReportRequestError("period_end", "The last day lies before the first day.")
    if period_start < EARLIEST:
        raise ReportRequestError("period_start", f"Choose a day from {EARLIEST} on.")
    if period_end > timezone.now().astimezone(UTC).date():
        raise ReportRequestError("period_end", "The last day may be today (UTC), not later.")
    days, most = (period_end - period_start).days + 1, settings.CONFIG.reports.max_period_days
    if days > most:
        raise ReportRequestError("period_end", f"A report covers up to {most} days, not {days}.")
    return named[-1]


@transaction.atomic
def request_report(*, framework: str, period_start: date, period_end: date, actor: str) -> Report:
    """Ask for a report; a worker makes it. Raises as check_request does."""
    tenant = active_tenant()
    choice = check_request(framework=framework, period_start=period_start, period_end=period_end)
    report = Report.objects.create(
        framework=choice.framework,
        edition=choice.edition,
        period_start=period_start,
        period_end=period_end,
        requested_by=actor[:200],
    )
    record(
        action="report.requested",
        actor=actor,
        target=str(report.id),
        detail={
            "framework": f"{choice.framework}@{choice.edition}",
            "period": [period_start.isoformat(), period_end.isoformat()],
        },
    )
    transaction.on_commit(
        lambda: queue.dispatch(
            "reporting.build", tenant_id=str(tenant.id), report_id=str(report.id)
        )
    )
    return report


@dataclass(frozen=True, slots=True)
class _Made:
    """A report that is made and not yet stored."""

    document: dict[str, Any]
    files: dict[str, bytes]
    missing: str  # why a file is missing


def build_report(*, report_id: uuid.UUID) -> Report | None:
    """Make a report that waits. None if another worker has it, or if it is finished.

    Never called inside a transaction: each step of its state is to be seen. What cannot be made
    ends as `failed` with a reason; a database that is away leaves it waiting.
    """
    report = _claim(report_id)
    if report is None:
        return None
    try:
        made = _make(report)
        return _finish(report, made)
    except DatabaseError:
        with contextlib.suppress(DatabaseError):
            _give_back(report)
        raise
    except ReportBuildError as error:
        return _fail(report, str(error))
    except Exception as error:
        kind = type(error).__name__
        reason = (
            "It took too long. Ask for a shorter period."
            if kind == "SoftTimeLimitExceeded"
            else f"Internal error ({kind}). Ask for it again; if it fails again, report it."
        )
        _fail(report, reason)
        log.error("report_failed", error_type=kind, exc_info=True)
        raise


def _claim(report_id: uuid.UUID) -> Report | None:
    """Take a report for this worker. `started_at` says later on whether it is still ours."""
    require_tenant()
    now = timezone.now()
    taken = Report.objects.filter(claimable(now), pk=report_id).update(
        state=ReportState.RUNNING, started_at=now, attempts=F("attempts") + 1
    )
    if not taken:
        return None
    report = Report.objects.get(pk=report_id)
    if report.attempts > MOST_ATTEMPTS:
        _fail(report, f"Given up after {MOST_ATTEMPTS} attempts: see the worker's log.")
        return None
    return report


def _make(report: Report) -> _Made:
    try:
        knowledge = framework_knowledge(report.framework, report.edition)
    except (UnknownFrameworkError, NoReleaseError):
        raise ReportBuildError(
            f"{report.framework}@{report.edition} is not in the knowledge that is loaded now."
        ) from None
    tenant = active_tenant()
    generated_at = timezone.now()
    counts = count_events(
        start=report.starts_at,
        end=min(report.ends_before, generated_at),
        direct=crosswalk_pairs(knowledge),
    )
    coverage = evaluate(
        knowledge=knowledge, counts=counts, first=report.period_start, last=report.period_end
    )
    heading = Heading(
        report_id=report.id,
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        tenant_name=tenant.name,
        first=report.period_start,
        last=report.period_end,
        requested_by=report.requested_by,
        requested_at=report.requested_at,
        generated_at=generated_at,
        pillars_version=importlib.metadata.version("pillars"),
        events_kept_days=settings.CONFIG.retention.events_days,
    )
    return _render(build_document(heading=heading, knowledge=knowledge, coverage=coverage))


def _render(document: dict[str, Any]) -> _Made:
    files = {
        FileFormat.JSON.value: render_json(document),
        FileFormat.CSV.value: render_csv(document),
    }
    missing = ""
    try:
        files[FileFormat.PDF.value] = render_pdf(document, files["json"], files["csv"])
    except PdfUnavailableError as error:
        missing = f"There is no PDF: {error}"
    return _Made(document, files, missing)


@transaction.atomic
def _finish(report: Report, made: _Made) -> Report | None:
    """Store files and state together; nothing if another worker took the report over."""
    mine = _locked_if_mine(report)
    if mine is None:
        return None
    now = timezone.now()
    ReportFile.objects.bulk_create(
        ReportFile(
            report=mine,
            format=name,
            content=made.files[name],
            sha256=hashlib.sha256(made.files[name]).hexdigest(),
            size=len(made.files[name]),
            created_at=now,
        )
        for name in FileFormat.values
        if name in made.files
    )
    mine.state = ReportState.DONE
    mine.state_detail = made.missing[:500]
    mine.finished_at = now
    mine.versions = made.document["versions"]
    mine.release = mine.versions["release"]
    mine.summary = made.document["summary"]
    mine.save()
    record(
        action="report.finished",
        actor=ACTOR,
        target=str(mine.id),
        detail={"sha256": {file.format: file.sha256 for file in mine.files.defer("content")}},
    )
    return mine


@transaction.atomic
def _fail(report: Report, reason: str) -> Report | None:
    mine = _locked_if_mine(report)
    if mine is None:
        return None
    mine.state = ReportState.FAILED
    mine.state_detail = reason[:500]
    mine.finished_at = timezone.now()
    mine.save()
    record(action="report.failed", actor=ACTOR, target=str(mine.id), detail={"reason": reason})
    return mine


def _give_back(report: Report) -> None:
    Report.objects.filter(
        pk=report.pk, state=ReportState.RUNNING, started_at=report.started_at
    ).update(state=ReportState.QUEUED)


def _locked_if_mine(report: Report) -> Report | None:
    return (
        Report.objects.select_for_update()
        .filter(pk=report.pk, state=ReportState.RUNNING, started_at=report.started_at)
        .first()
    )


def record_download(*, file: ReportFile, actor: str) -> None:
    """Note in the audit trail that somebody got a file."""
    record(
        action="report.downloaded",
        actor=actor,
        target=str(file.report_id),
        detail={"format": file.format, "sha256": file.sha256},
    )


@transaction.atomic
def expire_reports(*, now: datetime | None = None) -> int:
    """Delete reports that finished before the retention period began. Returns how many."""
    require_tenant()
    oldest = (now or timezone.now()) - timedelta(days=settings.CONFIG.retention.reports_days)
    expired = Report.objects.filter(state__in=FINISHED, finished_at__lt=oldest)
    ids = [str(report_id) for report_id in expired.values_list("id", flat=True)]
    if ids:
        _say_retention(RETENTION_VALUE)
        expired.delete()
        _say_retention("")
        record(
            action="reports.expired",
            actor="system:retention",
            detail={"count": len(ids), "reports": ids[:100]},
        )
        log.info("reports_expired", count=len(ids))
    return len(ids)


def _say_retention(value: str) -> None:
    """Tell the database's triggers whether retention is at work; for this transaction alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [RETENTION_SETTING, value])
