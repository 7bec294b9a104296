"""Figures for a tenant's start page, out of its newest events.

Every query reads at most SCAN_LIMIT events, newest first, so that the page answers in a moment
however much a tenant sends; where the limit cuts a period off, the result says so.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection

from mapping.models import Decision
from taxonomy.models import Severity
from tenants.context import require_tenant

DAYS = 7
SCAN_LIMIT = 100_000
TOP = 8

_RECENT = """
WITH recent AS MATERIALIZED (
    SELECT id, received_at, detector, decision, severity, labels, findings
    FROM mapping_mappingevent
    WHERE id >= %(first_id)s AND received_at >= %(since)s
    ORDER BY id DESC LIMIT %(limit)s
)
"""
_COUNTS = (
    _RECENT
    + """
SELECT (received_at AT TIME ZONE 'UTC')::date, decision, severity, received_at >= %(day_ago)s,
       count(*), min(received_at)
FROM recent GROUP BY 1, 2, 3, 4
"""
)
_LABELS = (
    _RECENT
    + """
SELECT label, count(*)
FROM recent LEFT JOIN mapping_migratedlabels AS m ON m.event_id = recent.id AND m.shown,
    unnest(coalesce(m.labels, recent.labels)) AS label
WHERE label NOT LIKE 'OTHER.%%' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
)
_UNKNOWN = (
    _RECENT
    + """
SELECT detector, finding->>'source_label', sum((finding->>'count')::bigint), max(received_at)
FROM recent, jsonb_array_elements(findings) AS finding
WHERE 'OTHER.Unknown' = ANY(labels) AND finding->>'canonical' = 'OTHER.Unknown'
      AND finding->>'source_label' IS NOT NULL
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT %(top)s
"""
)


@dataclass(frozen=True, slots=True)
class UnknownLabel:
    """A vendor's label that no rule knows yet."""

    detector: str
    label: str
    count: int
    last_seen: datetime


@dataclass(slots=True)
class Overview:
    """What the last days brought. Counters are by the value of Decision or Severity."""

    today: date
    total: int = 0
    total_day: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    decisions_day: Counter[str] = field(default_factory=Counter)
    severities: Counter[str] = field(default_factory=Counter)
    severities_day: Counter[str] = field(default_factory=Counter)
    by_date: dict[date, Counter[str]] = field(default_factory=dict)
    labels: list[tuple[str, int]] = field(default_factory=list)
    unknown: list[UnknownLabel] = field(default_factory=list)
    # Set if SCAN_LIMIT cut the period off: what is counted begins here.
    counted_since: datetime | None = None

    def on(self, day: date) -> Counter[str]:
        """Events of a day by decision."""
        return self.by_date.get(day, Counter())

    @property
    def dates(self) -> list[date]:
        """The days of the trend, oldest first."""
        return [self.today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]


def first_id_at(moment: datetime) -> uuid.UUID:
    """The lowest UUID of version 7 of that millisecond (RFC 9562): an index range by time."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80)


def tenant_overview(*, now: datetime | None = None) -> Overview:
    """The figures of the tenant that is active."""
    require_tenant()
    now = now or datetime.now(UTC)
    since = datetime.combine(now.date() - timedelta(days=DAYS - 1), datetime.min.time(), UTC)
    parameters: dict[str, Any] = {
        "since": since,
        # An id is made a moment after or before the time beside it.
        "first_id": first_id_at(since - timedelta(minutes=1)),
        "day_ago": now - timedelta(days=1),
        "limit": SCAN_LIMIT,
        "top": TOP,
    }
    overview = Overview(today=now.date())
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, parameters)
        _count(overview, cursor.fetchall())
        if overview.total:
            cursor.execute(_LABELS, parameters)
            overview.labels = [(label, count) for label, count in cursor.fetchall()]
            cursor.execute(_UNKNOWN, parameters)
            overview.unknown = [
                UnknownLabel(detector, label, int(count), seen)
                for detector, label, count, seen in cursor.fetchall()
            ]
    return overview


def _count(overview: Overview, rows: list[tuple[Any, ...]]) -> None:
    for day, decision, severity, in_day, count, _ in rows:
        overview.total += count
        overview.decisions[decision] += count
        overview.severities[severity] += count
        overview.by_date.setdefault(day, Counter())[decision] += count
        if in_day:
            overview.total_day += count
            overview.decisions_day[decision] += count
            overview.severities_day[severity] += count
    if overview.total >= SCAN_LIMIT:
        overview.counted_since = min(row[5] for row in rows)


def has_events() -> bool:
    """Whether the active tenant has any event at all."""
    require_tenant()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM mapping_mappingevent LIMIT 1")
        return cursor.fetchone() is not None


DECISION_ORDER = tuple(Decision.values)
SEVERITY_ORDER = tuple(reversed(Severity.values))
