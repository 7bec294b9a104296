"""Reports and their files, in the tenant's schema."""

from datetime import UTC, datetime, time, timedelta

import uuid_utils.compat
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from reporting.triggers import files_are_final, finished_is_final, only_retention_deletes


class ReportState(models.TextChoices):
    """Where a report stands."""

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being made"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


FINISHED = (ReportState.DONE, ReportState.FAILED)


class Report(models.Model):
    """A coverage report over a period, for one edition of a framework.

    Days are days of UTC and both ends belong to the period. Once it is done or failed it is never
    changed: whoever wants other numbers asks for another report.
    """

    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7, editable=False)
    framework = models.CharField(max_length=40, help_text="Key of the framework, e.g. soc2")
    edition = models.CharField(max_length=40, help_text="Edition of the framework, e.g. 2017")
    period_start = models.DateField("first day", help_text="UTC")
    period_end = models.DateField("last day", help_text="UTC; it belongs to the period")
    state = models.CharField(max_length=8, choices=ReportState.choices, default=ReportState.QUEUED)
    state_detail = models.CharField(
        max_length=500, blank=True, help_text="Why it failed, or what is missing and why"
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    requested_by = models.CharField(max_length=200, help_text="user:NAME or key:ID")
    requested_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    release = models.PositiveIntegerField(
        null=True, help_text="Serial of the knowledge release that it was made with"
    )
    versions = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    summary = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    class Meta:
        ordering = ("-id",)
        indexes = [
            models.Index(
                fields=["state"],
                name="report_unfinished",
                condition=models.Q(state__in=["queued", "running"]),
            )
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(period_start__lte=models.F("period_end")),
                name="report_period_in_order",
            )
        ]
        triggers = [*finished_is_final(), *only_retention_deletes("requested_at")]

    def __str__(self) -> str:
        return f"{self.framework}@{self.edition} {self.period_start} to {self.period_end}"

    @property
    def is_finished(self) -> bool:
        """Done or failed: nothing changes any more."""
        return self.state in FINISHED

    @property
    def starts_at(self) -> datetime:
        """First moment of the period."""
        return datetime.combine(self.period_start, time.min, UTC)

    @property
    def ends_before(self) -> datetime:
        """First moment after the period."""
        return datetime.combine(self.period_end + timedelta(days=1), time.min, UTC)


class FileFormat(models.TextChoices):
    """What a report is downloaded as."""

    PDF = "pdf", "PDF"
    CSV = "csv", "CSV"
    JSON = "json", "JSON"


class ReportFile(models.Model):
    """One file of a finished report."""

    id = models.BigAutoField(primary_key=True)
    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="files")
    format = models.CharField(max_length=4, choices=FileFormat.choices)
    content = models.BinaryField()
    sha256 = models.CharField("SHA-256", max_length=64)
    size = models.PositiveIntegerField(help_text="Bytes")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("report", "id")
        constraints = [
            models.UniqueConstraint(fields=["report", "format"], name="one_file_a_format")
        ]
        triggers = [*files_are_final(), *only_retention_deletes("created_at")]

    def __str__(self) -> str:
        return f"{self.report_id}.{self.format}"
