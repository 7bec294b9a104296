"""How many of a tenant's events the difference between two releases touches."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from mapping.overview import first_id_at
from taxonomy.changes.impact import affected_by
from taxonomy.objects import Difference
from taxonomy.selectors import KnowledgeDocuments
from tenants.context import require_tenant

SCAN_LIMIT = 100_000
QUERY_MILLISECONDS = 8_000

_COUNT = """
WITH recent AS MATERIALIZED (
    SELECT id, received_at, detector, labels, findings
    FROM mapping_mappingevent
    WHERE id >= %(first_id)s AND received_at >= %(since)s
    ORDER BY id DESC LIMIT %(limit)s
), shown AS MATERIALIZED (
    SELECT recent.received_at, detector, findings, coalesce(m.labels, recent.labels) AS labels
    FROM recent LEFT JOIN mapping_migratedlabels AS m ON m.event_id = recent.id AND m.shown
), differing AS MATERIALIZED (
    SELECT detector, label
    FROM unnest(%(detectors)s::text[], %(detector_labels)s::text[]) AS given(detector, label)
), judged AS (
    SELECT received_at,
           labels && %(labels)s::varchar[] AS by_label,
           EXISTS (
               SELECT 1 FROM jsonb_array_elements(findings) AS finding
               JOIN differing ON differing.label = finding->>'source_label'
               WHERE differing.detector = shown.detector
           ) AS by_detector_label,
           detector = ANY(%(whole_detectors)s::text[]) AS by_detector,
           labels && %(row_labels)s::varchar[] AS by_row
    FROM shown
)
SELECT count(*), count(*) FILTER (WHERE by_label), count(*) FILTER (WHERE by_detector_label),
       count(*) FILTER (WHERE by_detector), count(*) FILTER (WHERE by_row),
       count(*) FILTER (WHERE by_label OR by_detector_label OR by_detector OR by_row),
       min(received_at)
FROM judged
"""


@dataclass(frozen=True, slots=True)
class ReleaseImpact:
    """Events of the last `days`, and how many of them are shown with something that differs.

    `by_label`: a canonical label; `by_detector_label`: a detector's label; `by_detector`: a
    detector whose file differs otherwise; `by_row`: a label whose crosswalk rows differ.
    `counted_since` is set where SCAN_LIMIT cut the days short.
    """

    days: int
    events: int
    by_label: int
    by_detector_label: int
    by_detector: int
    by_row: int
    touched: int
    counted_since: datetime | None


def release_impact(
    differences: Iterable[Difference], documents: KnowledgeDocuments
) -> ReleaseImpact:
    """Count over the active tenant's newest events, migrated ones by what they are shown with.

    `documents` are those of the release in force.
    Raises django.db.OperationalError if it takes longer than QUERY_MILLISECONDS.
    """
    require_tenant()
    affected = affected_by((one.key for one in differences), documents)
    days = settings.CONFIG.governance.impact_days
    since = timezone.now() - timedelta(days=days)
    pairs = sorted(affected.detector_labels)
    parameters: dict[str, Any] = {
        "since": since,
        "first_id": first_id_at(since - timedelta(minutes=1)),
        "limit": SCAN_LIMIT,
        "labels": sorted(affected.labels),
        "detectors": [detector for detector, _ in pairs],
        "detector_labels": [label for _, label in pairs],
        "whole_detectors": sorted(affected.detectors),
        "row_labels": sorted(set().union(*affected.crosswalks.values())),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {QUERY_MILLISECONDS}")
        cursor.execute(_COUNT, parameters)
        events, by_label, by_detector_label, by_detector, by_row, touched, oldest = (
            cursor.fetchone()
        )
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    return ReleaseImpact(
        days, events, by_label, by_detector_label, by_detector, by_row, touched,
        counted_since=oldest if events >= SCAN_LIMIT else None,
    )  # fmt: skip
