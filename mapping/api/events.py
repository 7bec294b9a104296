"""Filters, pages and the JSON of GET /events."""

from collections.abc import Mapping
from typing import Annotated, Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from mapping.api.schemas import MomentInUtc, PlainText, validation_errors
from mapping.models import Decision, MappingEvent, MigratedLabels
from mapping.selectors import events, with_label
from pillars.api.pages import CursorPages
from pillars.problems import Problem
from taxonomy.models import Severity


def _digits(value: Any) -> Any:
    """Only what the pages read as the same number: pydantic would take `1.0` and `1_0` too."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return value
    raise PydanticCustomError("digits", "Give a whole number from 1 to 1000")


Text = Annotated[PlainText, StringConstraints(min_length=1, max_length=128)]


class EventFilter(BaseModel):
    """Query parameters of GET /events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: Text | None = None
    label: Text | None = Field(default=None, description="A canonical label, or a branch: PII")
    decision: Decision | None = None
    severity: Severity | None = None
    since: MomentInUtc | None = Field(default=None, description="Received at or after")
    until: MomentInUtc | None = Field(default=None, description="Received before")
    cursor: str | None = Field(default=None, description="From the `next` address")
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(_digits)] | None = None


_TEXT = TypeAdapter(Text).json_schema()
EVENT_PARAMETERS = [
    OpenApiParameter("detector", _TEXT, description="Name of the detector"),
    OpenApiParameter("label", _TEXT, description="A canonical label, or a branch such as PII"),
    OpenApiParameter("decision", str, enum=list(Decision.values)),
    OpenApiParameter("severity", str, enum=list(Severity.values)),
    OpenApiParameter(
        "since", {"type": "string", "format": "date-time"}, description="From (incl.)"
    ),
    OpenApiParameter("until", {"type": "string", "format": "date-time"}, description="To (excl.)"),
    OpenApiParameter("cursor", str, description="From `next` or `previous` of another page"),
    OpenApiParameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": 1000}, description="Events a page"
    ),
]


def filtered_events(params: Mapping[str, str]) -> QuerySet[MappingEvent]:
    """Events of the active tenant that the query parameters ask for. Raises a Problem."""
    try:
        wanted = EventFilter.model_validate(dict(params.items()))
    except ValidationError as error:
        raise Problem("validation_failed", errors=validation_errors(error)) from None
    found = events()
    if wanted.detector:
        # Detectors with a file are kept by its name, in lower case; others as they were named.
        name = wanted.detector.strip()
        found = found.filter(detector__in={name, name.lower()})
    if wanted.decision:
        found = found.filter(decision=wanted.decision)
    if wanted.severity:
        found = found.filter(severity=wanted.severity)
    if wanted.since:
        found = found.filter(received_at__gte=wanted.since)
    if wanted.until:
        found = found.filter(received_at__lt=wanted.until)
    if wanted.label:
        found = with_label(found, wanted.label)
    return found


class EventPages(CursorPages):
    """Pages of events."""

    page_size = 100
    max_page_size = 1000


def event_json(event: MappingEvent, migrated: MigratedLabels | None) -> dict[str, Any]:
    """One stored event. `controls` follow from its labels and release: see the reports.

    `taxonomy` are the labels that it was given, `migrated` those that a plan shows instead.
    """
    return {
        "event_id": event.id,
        "received_at": event.received_at,
        "occurred_at": event.occurred_at,
        "detector": event.detector,
        "detector_version": event.detector_version,
        "vendor": event.vendor,
        "decision": event.decision,
        "severity": event.severity,
        "confidence": event.confidence,
        "taxonomy": event.labels,
        "migrated": _migrated_json(migrated),
        "scores": event.scores,
        "findings": event.findings,
        "output_shape": event.output_shape,
        "environment": event.environment,
        "expected_detectors": event.expected_detectors,
        "route": event.route,
        "raw_ref": event.raw_ref,
        "metadata": event.metadata,
        "request_id": event.request_id,
        "api_key_id": event.api_key_id,
        "version_info": {
            "release": event.release,
            "taxonomy": event.taxonomy_version,
            "detector_map": event.detector_map_version,
            "model": event.model_version,
            "calibrator": event.calibrator_version,
        },
    }


def _migrated_json(migrated: MigratedLabels | None) -> dict[str, Any] | None:
    if migrated is None:
        return None
    run = migrated.run
    return {
        "taxonomy": migrated.taxonomy,
        "labels": migrated.labels,
        "findings": migrated.canonical,
        "plan": {"from": run.source, "to": run.target, "version": run.plan_version},
    }
