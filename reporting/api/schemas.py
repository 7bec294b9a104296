"""What the reports API accepts and answers."""

import uuid
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from reporting.models import Report


class ReportRequest(BaseModel):
    """A coverage report to be made."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "framework": "soc2",
                    "period_start": "2026-10-01",
                    "period_end": "2026-10-31",
                }
            ]
        },
    )

    framework: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}(@[A-Za-z0-9][A-Za-z0-9._-]{0,39})?$"),
    ] = Field(description="A framework, `soc2`, or one edition of it, `soc2@2017`")
    period_start: date = Field(description="First day (UTC)")
    period_end: date = Field(description="Last day (UTC); it belongs to the period")


class PageRequest(BaseModel):
    """Query parameters of GET /reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=100)] | None = None


class ReportFileView(BaseModel):
    """A file that can be downloaded."""

    format: Literal["pdf", "csv", "json"]
    size: int = Field(description="Bytes")
    sha256: str
    url: str


class ReportView(BaseModel):
    """A report as it stands."""

    id: uuid.UUID
    framework: str
    edition: str
    period_start: date
    period_end: date
    state: Literal["queued", "running", "done", "failed"]
    state_detail: str = Field(description="Why it failed, or what is missing and why")
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    versions: dict[str, Any] = Field(description="Version tags; empty until it is done")
    summary: dict[str, Any] = Field(description="A few numbers; empty until it is done")
    files: list[ReportFileView]


class ReportPage(BaseModel):
    """A page of reports, newest first."""

    next: str | None
    previous: str | None
    results: list[ReportView]


def report_view(report: Report, collection: str) -> ReportView:
    """A report with the addresses of its files below `collection`, the address of /reports."""
    return ReportView(
        id=report.id,
        framework=report.framework,
        edition=report.edition,
        period_start=report.period_start,
        period_end=report.period_end,
        state=report.state,
        state_detail=report.state_detail,
        requested_by=report.requested_by,
        requested_at=report.requested_at,
        started_at=report.started_at,
        finished_at=report.finished_at,
        versions=report.versions,
        summary=report.summary,
        files=[
            ReportFileView(
                format=file.format,
                size=file.size,
                sha256=file.sha256,
                url=f"{collection}/{report.id}/{file.format}",
            )
            for file in report.files.all()
        ],
    )
