"""What /map and /map/batch accept, parsed by pydantic: fast, and exact about what is wrong."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from mapping.services import MapItem

_LIMITS = settings.CONFIG.limits
_EDITION = r"^[0-9]{4}\.(0[1-9]|1[0-2])(\.[1-9][0-9]{0,8})?$"
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
# No control characters: PostgreSQL takes no NUL, and nobody names a thing with the others.
PlainText = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]


def _plausible(moment: datetime) -> datetime:
    """Clocks go wrong; a date far off would also land outside PostgreSQL's calendar."""
    earliest = datetime(1970, 1, 1, tzinfo=UTC)
    if not earliest <= moment <= datetime.now(UTC) + timedelta(days=1):
        raise PydanticCustomError("time_range", "Give a time between 1970 and tomorrow")
    return moment.astimezone(UTC)


def _in_utc(moment: datetime) -> datetime:
    """PostgreSQL takes no offset of 16 hours or more; in UTC there is none."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time_range", "Give a time in the years 1 to 9999") from None


def _written_time(value: Any) -> Any:
    """RFC 3339 alone: pydantic would take a number, even as text, for seconds since 1970."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        return value
    raise PydanticCustomError("time_form", "Write the time like 2026-01-31T13:45:00+01:00")


def _raw_output(value: Any) -> Any:
    """Any JSON but a bare number, boolean or null."""
    if isinstance(value, str | list | dict):
        return value
    raise PydanticCustomError("output_type", "Give a string, an array or an object")


_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
Moment = Annotated[
    AwareDatetime, Field(strict=False), AfterValidator(_plausible), BeforeValidator(_written_time)
]
RawOutput = Annotated[
    Any,
    AfterValidator(_raw_output),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {}},
                {"type": "object", "additionalProperties": True},
            ]
        }
    ),
]
MomentInUtc = Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_written_time)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PolicyContext(_Model):
    """What the caller's policy expects."""

    expected_detectors: list[Name] | None = Field(default=None, max_length=100)
    environment: Literal["dev", "stage", "prod"] | None = None


class ProvenanceEntry(_Model):
    """One detector that contributed to an aggregated output."""

    detector: Name
    confidence: Probability | None = None
    output: str | None = Field(default=None, description="Read, never stored")
    processing_time_ms: Annotated[float, Field(ge=0)] | None = None


class Metadata(_Model):
    """What an aggregating caller knows about its result."""

    contributing_detectors: list[Name] | None = Field(default=None, max_length=100)
    normalized_scores: dict[Name, Probability] | None = Field(default=None, max_length=1000)
    conflict_resolution_applied: bool | None = None
    aggregation_method: (
        Literal["weighted_average", "majority_vote", "highest_confidence", "most_restrictive"]
        | None
    ) = None
    coverage_achieved: Probability | None = None
    provenance: list[ProvenanceEntry] | None = Field(default=None, max_length=100)


LabelText = Annotated[str, StringConstraints(max_length=_LIMITS.description_chars)]
LabelName = Annotated[str, StringConstraints(min_length=1, max_length=_LIMITS.label_chars)]


class MapRequest(_Model):
    """One detector output to map."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_extra={
            "examples": [
                {"detector": "llama-guard-3", "output": "unsafe\nS1,S10"},
                {
                    "detector": "presidio",
                    "detector_version": "2.2.366",
                    "output": [{"entity_type": "US_SSN", "start": 4, "end": 15, "score": 0.85}],
                },
            ]
        },
    )

    detector: Annotated[
        str, StringConstraints(pattern=r"^\s*[A-Za-z0-9][A-Za-z0-9 ._/@:+-]{0,99}\s*$")
    ] = Field(description="Name of the detector, e.g. presidio")
    output: RawOutput = Field(
        description="The raw output just as the detector emits it. It is neither stored nor logged"
    )
    detector_version: Annotated[PlainText, StringConstraints(max_length=100)] | None = None
    vendor: Annotated[PlainText, StringConstraints(max_length=100)] | None = None
    occurred_at: Moment | None = Field(
        default=None, description="When it happened, with a UTC offset; 1970 to tomorrow"
    )
    raw_ref: Annotated[PlainText, StringConstraints(max_length=512)] | None = Field(
        default=None, description="Where the caller keeps the raw event"
    )
    route: Annotated[PlainText, StringConstraints(max_length=256)] | None = None
    policy_context: PolicyContext | None = None
    metadata: Metadata | None = None
    label_descriptions: dict[LabelName, LabelText] | None = Field(
        default=None,
        max_length=_LIMITS.label_descriptions,
        description="The vendor's own words for labels that Pillars may not know. Never stored",
    )
    taxonomy: Annotated[str, StringConstraints(pattern=_EDITION)] | None = Field(
        default=None,
        description="Taxonomy edition in which to answer, if not the one in force: an earlier one "
        "from which a migration plan leads there. The event is stored as always",
    )
    tenant_id: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None, description="If given, it must be the tenant of the API key"
    )

    def to_item(self) -> MapItem:
        """The service's view of this request."""
        policy = self.policy_context
        return MapItem(
            detector=self.detector,
            output=self.output,
            detector_version=self.detector_version,
            vendor=self.vendor,
            occurred_at=self.occurred_at,
            raw_ref=self.raw_ref,
            route=self.route,
            environment=policy.environment if policy else None,
            expected_detectors=policy.expected_detectors if policy else None,
            metadata=self.metadata.model_dump(exclude={"provenance"}) if self.metadata else None,
            label_descriptions=self.label_descriptions,
            taxonomy=self.taxonomy,
        )


class BatchRequest(_Model):
    """Items to map. Each stands alone: one that is refused does not hold the others back."""

    requests: list[MapRequest] = Field(min_length=1, max_length=_LIMITS.batch_items)


def validation_errors(error: ValidationError) -> list[dict[str, str]]:
    """pydantic's findings as JSON pointers and sentences, without the values that were sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [{"pointer": _pointer(item["loc"]), "detail": _detail(item)} for item in found[:20]]


def _detail(item: ErrorDetails) -> str:
    """pydantic's sentence, except where it would name a class of ours."""
    return "Give an object" if item["type"] == "model_type" else item["msg"]


# Only what looks like the name of a field is said back: other keys are the caller's own text, and
# the answer to a batch is kept for its Idempotency-Key.
_FIELD_NAME = re.compile(r"[a-z_]{1,40}", re.ASCII)


def _pointer(location: Sequence[int | str]) -> str:
    return "".join(
        f"/{part}" if isinstance(part, int) or _FIELD_NAME.fullmatch(part) else "/*"
        for part in location
    )
