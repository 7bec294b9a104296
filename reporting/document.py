"""The report as one plain document: the JSON file holds it, CSV and PDF are made from it."""

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from reporting import wording
from reporting.counting import MOST_ROWS, Counts
from reporting.coverage import (
    EVIDENCE,
    NOT_EVALUABLE,
    NOT_EVALUATED,
    SEVERITIES,
    Bucket,
    ControlCoverage,
    Coverage,
)
from reporting.knowledge import FrameworkKnowledge

SCHEMA = "urn:pillars:schema:coverage-report:1"
UNMAPPED_OUTCOMES = ("uncategorised", "unknown", "review", "error")


@dataclass(frozen=True, slots=True)
class Heading:
    """Whose report it is and what was asked for."""

    report_id: uuid.UUID
    tenant_id: uuid.UUID
    tenant_slug: str
    tenant_name: str
    first: date
    last: date
    requested_by: str
    requested_at: datetime
    generated_at: datetime
    pillars_version: str
    events_kept_days: int


def build_document(
    *, heading: Heading, knowledge: FrameworkKnowledge, coverage: Coverage
) -> dict[str, Any]:
    """Everything the report says. Equal input gives an equal document."""
    counts = coverage.counts
    return {
        "schema": SCHEMA,
        "report": {
            "id": str(heading.report_id),
            "tenant": {
                "id": str(heading.tenant_id),
                "slug": heading.tenant_slug,
                "name": heading.tenant_name,
            },
            "requested_by": heading.requested_by,
            "requested_at": moment(heading.requested_at),
            "generated_at": moment(heading.generated_at),
        },
        "period": {
            "first_day": heading.first.isoformat(),
            "last_day": heading.last.isoformat(),
            "days": (heading.last - heading.first).days + 1,
            "time_zone": "UTC",
            "counted_by": "received_at",
        },
        "framework": _framework(knowledge),
        "versions": versions(heading, knowledge, counts),
        "statement": wording.STATEMENT,
        "summary": summary(knowledge, coverage),
        "notes": [
            {"code": code, "text": text} for code, text in _notes(heading, knowledge, coverage)
        ],
        "totals": _totals(counts),
        "trend": {"unit": coverage.unit, "buckets": [_bucket(b) for b in coverage.trend]},
        "controls": [_control(knowledge, control) for control in coverage.controls],
        "lineage": counts.lineage,
        "unmapped": counts.unmapped,
        "detectors": [_detector(row) for row in counts.detectors],
        "expected_detectors_not_seen": coverage.expected_not_seen,
        "method": list(wording.METHOD),
    }


def moment(value: datetime) -> str:
    """A moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def versions(heading: Heading, knowledge: FrameworkKnowledge, counts: Counts) -> dict[str, Any]:
    """The version tags: what the report was made with, and what its events were mapped with.

    `in_force` is the whole snapshot (mapping.versions) of when the report was made.
    """
    return {
        "pillars": heading.pillars_version,
        "release": knowledge.release,
        "taxonomy": knowledge.taxonomy,
        "framework": knowledge.key,
        "crosswalk": knowledge.crosswalk,
        "in_force": knowledge.versions,
        "events": {
            "releases": _distinct(counts, "release"),
            "taxonomies": _distinct(counts, "taxonomy"),
            "models": _distinct(counts, "model"),
            "calibrators": _distinct(counts, "calibrator"),
            "detector_maps": {
                row["detector"]: sorted(row["map_versions"])
                for row in counts.detectors
                if row["map_versions"]
            },
        },
    }


def _distinct(counts: Counts, name: str) -> list[Any]:
    return sorted({row[name] for row in counts.releases if row[name] is not None})


def summary(knowledge: FrameworkKnowledge, coverage: Coverage) -> dict[str, Any]:
    """The few numbers of the first page."""
    counts = coverage.counts
    states = [control.state for control in coverage.controls]
    grave = sum(
        bucket.severities["critical"] + bucket.severities["high"] for bucket in coverage.trend
    )
    return {
        "events": counts.total,
        "events_with_evidence": counts.outcomes["evidence"],
        "events_with_evidence_high_or_critical": grave,
        "events_not_mapped": sum(counts.outcomes[name] for name in UNMAPPED_OUTCOMES),
        "safe_checks": counts.outcomes["safe"],
        "controls": len(states),
        "controls_with_evidence": states.count(EVIDENCE),
        "controls_with_direct_evidence": sum(c.direct_events > 0 for c in coverage.controls),
        "controls_not_evaluated": states.count(NOT_EVALUATED),
        "controls_not_evaluable_by_detectors": states.count(NOT_EVALUABLE),
        "detectors": counts.detector_names,
        "days_without_events": len(coverage.silent_days),
    }


def _framework(knowledge: FrameworkKnowledge) -> dict[str, Any]:
    return {
        "id": knowledge.key,
        "framework": knowledge.framework,
        "edition": knowledge.edition,
        "name": knowledge.name,
        "short_name": knowledge.short_name,
        "publisher": knowledge.publisher,
        "licence": knowledge.licence,
        "complete": knowledge.complete,
    }


def _totals(counts: Counts) -> dict[str, Any]:
    listed = sum(row["events"] for row in counts.detectors)
    return {
        "events": counts.total,
        "by_outcome": counts.outcomes,
        "by_environment": {
            name or "not_stated": events for name, events in sorted(counts.environments.items())
        },
        "detectors_not_listed": {
            "names": counts.detector_names - len(counts.detectors),
            "events": counts.total - listed,
        },
        "unmapped_rows_not_listed": counts.unmapped_rows - len(counts.unmapped),
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "first_day": bucket.start.isoformat(),
        "last_day": bucket.end.isoformat(),
        "events": bucket.events,
        "by_outcome": bucket.outcomes,
        "evidence_by_severity": bucket.severities,
    }


def _control(knowledge: FrameworkKnowledge, control: ControlCoverage) -> dict[str, Any]:
    return {
        "id": f"{knowledge.key}:{control.code}",
        "code": control.code,
        "title": control.title,
        "group": control.group,
        "state": control.state,
        "reason": control.reason,
        "events": control.events,
        "direct_events": control.direct_events,
        "supporting_events": control.supporting_events,
        "by_severity": control.by_severity,
        "first_seen": moment(control.first_seen) if control.first_seen else None,
        "last_seen": moment(control.last_seen) if control.last_seen else None,
        "strongest": asdict(control.strongest) if control.strongest else None,
        "labels": [asdict(label) for label in control.labels],
        "detectors": [{"detector": name, "events": n} for name, n in control.detectors.items()],
        "able_detectors": control.able_detectors,
    }


def _detector(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "detector": row["detector"],
        "map_versions": sorted(row["map_versions"]),
        "events": row["events"],
        "evidence": row["evidence"],
        "no_control": row["no_control"],
        "safe": row["safe"],
        "unmapped": row["unmapped"],
        "error": row["error"],
        "first_seen": moment(row["first_seen"]),
        "last_seen": moment(row["last_seen"]),
    }


def _notes(
    heading: Heading, knowledge: FrameworkKnowledge, coverage: Coverage
) -> Iterator[tuple[str, str]]:
    """What a reader must know before believing a number. Only what holds for this report."""
    counts = coverage.counts
    if counts.total == 0:
        yield (
            "no_events",
            ("No detector reported anything in this period. Nothing can be said of any control."),
        )
    elif coverage.silent_days:
        yield (
            "days_without_events",
            (
                f"On {len(coverage.silent_days)} of the days no detector reported anything: "
                f"{_ranges(coverage.silent_days)}."
            ),
        )
    if coverage.expected_not_seen:
        yield (
            "expected_detectors_not_seen",
            (
                "Callers said that they expect these detectors, but they reported nothing: "
                f"{_listed(coverage.expected_not_seen)}."
            ),
        )
    yield from _version_notes(knowledge, coverage)
    yield from _period_notes(heading)
    if not knowledge.complete:
        yield (
            "framework_in_part",
            ("Pillars lists selected provisions of this framework, not all of it."),
        )
    if counts.detector_names > MOST_ROWS:
        yield (
            "detectors_not_listed",
            (
                f"Callers used {counts.detector_names} detector names; the {MOST_ROWS} with the most "  # noqa: E501 - one sentence
                "events are listed, the others are in the totals alone."
            ),
        )


def _period_notes(heading: Heading) -> Iterator[tuple[str, str]]:
    if heading.last >= heading.generated_at.astimezone(UTC).date():
        yield (
            "last_day_not_over",
            (
                "The last day of the period was not over when the report was made: events received "
                f"after {moment(heading.generated_at)} are not in it."
            ),
        )
    kept_since = heading.generated_at.astimezone(UTC).date() - timedelta(
        days=heading.events_kept_days
    )
    if heading.first < kept_since:
        yield (
            "events_no_longer_kept",
            (
                f"Events are kept for {heading.events_kept_days} days: those received before "
                f"{kept_since.isoformat()} may have been deleted."
            ),
        )


def _version_notes(knowledge: FrameworkKnowledge, coverage: Coverage) -> Iterator[tuple[str, str]]:
    for row in coverage.counts.migrated:
        yield (
            "labels_migrated",
            (
                f"{row['events']} events were given labels of taxonomy {row['given_taxonomy']} and "
                f"are counted by those of {row['taxonomy']} to which migration plan {row['plan']} "
                "leads. `lineage` lists both."
            ),
        )
    editions = _distinct(coverage.counts, "taxonomy")
    if len(editions) > 1:
        yield (
            "several_taxonomy_editions",
            (
                f"Events of this period were mapped under several taxonomy editions: "
                f"{', '.join(editions)}. All are counted by the crosswalk for {knowledge.taxonomy}."
            ),
        )
    elif editions and editions != [knowledge.taxonomy]:
        yield (
            "other_taxonomy_edition",
            (
                f"Events of this period were mapped under taxonomy edition {editions[0]} and are "
                f"counted by the crosswalk for {knowledge.taxonomy}."
            ),
        )
    if coverage.strangers:
        names = [f"{label} ({events})" for label, events in sorted(coverage.strangers.items())]
        yield (
            "labels_not_in_taxonomy",
            (
                f"Labels of another edition, which this crosswalk cannot place, with their events: "
                f"{_listed(names)}. They are evidence for nothing here."
            ),
        )


def _listed(names: list[str], most: int = 20) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _ranges(days: list[date], most: int = 12) -> str:
    """Consecutive days as ranges: 2026-11-01, 2026-11-03 to 2026-11-05."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return _listed(
        [
            run[0].isoformat()
            if len(run) == 1
            else f"{run[0].isoformat()} to {run[-1].isoformat()}"
            for run in runs
        ],
        most,
    )


__all__ = ["SEVERITIES", "Heading", "build_document", "moment", "summary", "versions"]
