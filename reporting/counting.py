"""Counts the events of a period: one SQL statement, so that all numbers are of one moment.

An event that a migration has carried to another taxonomy edition is counted by the labels that it
is shown with; `lineage` says which it was given.

PostgreSQL scans the period's partitions once and folds events into groups of equal labels,
detector and severity; whatever a control needs is counted from those groups, still in the
database, so an event that bears on a control by two of its labels is counted once for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson
from django.db import connection, transaction

from tenants.context import require_tenant

MOST_ROWS = 500  # of detectors, and of what could not be mapped: callers name detectors freely
_TIMEOUT = "10min"

# What became of an event. Only `evidence` counts for a control.
OUTCOMES = ("evidence", "no_control", "safe", "uncategorised", "unknown", "review", "error")

_COUNT = """
WITH crosswalk AS (
    SELECT * FROM unnest(%(labels)s::text[], %(codes)s::text[], %(direct)s::boolean[])
        AS c(label, code, direct)
), event AS (
    SELECT *, CASE
        WHEN decision = 'safe' THEN 'safe'
        WHEN decision = 'review' THEN 'review'
        WHEN decision = 'error' THEN 'error'
        WHEN decision = 'fallback' THEN 'unknown'
        WHEN labels && %(bearing)s::text[] THEN 'evidence'
        WHEN EXISTS (SELECT FROM unnest(labels) AS l WHERE NOT starts_with(l, 'OTHER.'))
            THEN 'no_control'
        ELSE 'uncategorised' END AS outcome
    FROM (
        SELECT coalesce(m.labels, e.labels)::text[] AS labels, detector,
            detector_map_version AS map_version, decision, severity, e.received_at,
            (e.received_at AT TIME ZONE 'UTC')::date AS day, release,
            taxonomy_version AS taxonomy, model_version AS model,
            calibrator_version AS calibrator, coalesce(environment, '') AS environment,
            expected_detectors::text[] AS expected
        FROM mapping_mappingevent AS e LEFT JOIN mapping_migratedlabels AS m
            ON m.event_id = e.id AND m.shown
            AND m.received_at >= %(start)s AND m.received_at < %(end)s
        WHERE e.received_at >= %(start)s AND e.received_at < %(end)s
    ) AS stored
), counted AS MATERIALIZED (
    SELECT GROUPING(labels, day, release, environment, expected) AS kind,
        labels, detector, map_version, severity, outcome, day, release, taxonomy, model, calibrator,
        environment, expected,
        count(*) AS events, min(received_at) AS first_seen, max(received_at) AS last_seen
    FROM event
    GROUP BY GROUPING SETS (
        (labels, detector, map_version, severity, outcome),
        (day, outcome, severity),
        (release, taxonomy, model, calibrator),
        (environment),
        (expected),
        ()
    )
), groups AS MATERIALIZED (
    SELECT row_number() OVER () AS id, * FROM counted WHERE kind = 15
), reached AS MATERIALIZED (
    SELECT g.id, c.code, bool_or(c.direct) AS direct
    FROM groups AS g, unnest(g.labels) AS l(label) JOIN crosswalk AS c USING (label)
    WHERE g.outcome = 'evidence'
    GROUP BY g.id, c.code
), unmapped AS (
    SELECT g.detector, k.label, sum(g.events)::bigint AS events,
        coalesce(sum(g.events) FILTER (WHERE g.outcome IN ('evidence', 'no_control')), 0)::bigint
            AS partly
    FROM groups AS g, LATERAL (
        SELECT l AS label FROM unnest(g.labels) AS l
        WHERE starts_with(l, 'OTHER.') AND l <> 'OTHER.Safe'
        UNION SELECT 'OTHER.NeedsReview' WHERE g.outcome = 'review'
    ) AS k
    GROUP BY g.detector, k.label
), migrated AS (
    SELECT m.given_taxonomy, m.taxonomy, r.plan_version AS plan, m.given, m.became
    FROM mapping_migratedlabels AS m JOIN mapping_migrationrun AS r ON r.id = m.run_id
    WHERE m.shown AND m.received_at >= %(start)s AND m.received_at < %(end)s
), lineage AS (
    SELECT given_taxonomy, p.given, taxonomy, p.became, plan, count(*) AS events
    FROM migrated AS m, unnest(m.given, m.became) AS p(given, became)
    GROUP BY 1, 2, 3, 4, 5
), detectors AS (
    SELECT detector, array_remove(array_agg(DISTINCT map_version), NULL) AS map_versions,
        sum(events)::bigint AS events,
        coalesce(sum(events) FILTER (WHERE outcome = 'evidence'), 0)::bigint AS evidence,
        coalesce(sum(events) FILTER (WHERE outcome = 'no_control'), 0)::bigint AS no_control,
        coalesce(sum(events) FILTER (WHERE outcome = 'safe'), 0)::bigint AS safe,
        coalesce(sum(events) FILTER (WHERE outcome = 'error'), 0)::bigint AS error,
        coalesce(sum(events) FILTER (
            WHERE outcome IN ('uncategorised', 'unknown', 'review')), 0)::bigint AS unmapped,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM groups GROUP BY detector
)
SELECT jsonb_build_object(
    'total', (SELECT events FROM counted WHERE kind = 31),
    'outcomes', (SELECT jsonb_object_agg(outcome, events) FROM (
        SELECT outcome, sum(events)::bigint AS events FROM groups GROUP BY outcome) AS o),
    'days', (SELECT jsonb_agg(jsonb_build_array(day, outcome, severity, events)
        ORDER BY day, outcome, severity) FROM counted WHERE kind = 23),
    'releases', (SELECT jsonb_agg(jsonb_build_object('release', release, 'taxonomy', taxonomy,
        'model', model, 'calibrator', calibrator, 'events', events)
        ORDER BY release, taxonomy, model, calibrator) FROM counted WHERE kind = 27),
    'environments', (SELECT jsonb_object_agg(environment, events) FROM counted WHERE kind = 29),
    'expected', (SELECT jsonb_agg(name ORDER BY name) FROM (
        SELECT DISTINCT name FROM counted, unnest(expected) AS name WHERE kind = 30
        ORDER BY name LIMIT %(most)s) AS e),
    'controls', (SELECT jsonb_agg(to_jsonb(c)) FROM (
        SELECT r.code, r.direct, g.severity, sum(g.events)::bigint AS events,
            min(g.first_seen) AS first_seen, max(g.last_seen) AS last_seen
        FROM reached AS r JOIN groups AS g USING (id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) AS c),
    'control_detectors', (SELECT jsonb_agg(to_jsonb(c)) FROM (
        SELECT r.code, g.detector, sum(g.events)::bigint AS events
        FROM reached AS r JOIN groups AS g USING (id) GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2) AS c),
    'labels', (SELECT jsonb_agg(to_jsonb(l)) FROM (
        SELECT label, sum(events)::bigint AS events, min(first_seen) AS first_seen,
            max(last_seen) AS last_seen
        FROM groups, unnest(labels) AS label
        WHERE outcome IN ('evidence', 'no_control') AND NOT starts_with(label, 'OTHER.')
        GROUP BY label ORDER BY label) AS l),
    'migrated', (SELECT jsonb_agg(to_jsonb(m)) FROM (
        SELECT given_taxonomy, taxonomy, plan, count(*) AS events FROM migrated
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) AS m),
    'lineage', (SELECT jsonb_agg(to_jsonb(l)) FROM (
        SELECT * FROM lineage ORDER BY given_taxonomy, given, taxonomy, became, plan) AS l),
    'unmapped', (SELECT jsonb_agg(to_jsonb(u)) FROM (
        SELECT * FROM unmapped ORDER BY events DESC, detector, label LIMIT %(most)s) AS u),
    'unmapped_rows', (SELECT count(*) FROM unmapped),
    'detectors', (SELECT jsonb_agg(to_jsonb(d)) FROM (
        SELECT * FROM detectors ORDER BY events DESC, detector LIMIT %(most)s) AS d),
    'detector_names', (SELECT count(*) FROM detectors)
)::text
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the statement found. Row members are named as its columns are."""

    total: int
    outcomes: dict[str, int]
    days: list[tuple[date, str, str, int]]  # day, outcome, severity, events
    releases: list[dict[str, Any]]
    environments: dict[str, int]  # "" where the caller named none
    expected: list[str]
    controls: list[dict[str, Any]]
    control_detectors: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    migrated: list[dict[str, Any]]  # events by the edition given and shown, and plan
    lineage: list[dict[str, Any]]  # events by the label given and shown; `became` None if retired
    unmapped: list[dict[str, Any]]
    unmapped_rows: int
    detectors: list[dict[str, Any]]
    detector_names: int


def count_events(
    *, start: datetime, end: datetime, direct: Mapping[tuple[str, str], bool]
) -> Counts:
    """Count the active tenant's events received in [start, end).

    `direct` lists the crosswalk as (label, code of a control) -> whether the evidence is direct.
    """
    require_tenant()
    pairs = sorted(direct)
    parameters: dict[str, Any] = {
        "start": start,
        "end": end,
        "labels": [label for label, _ in pairs],
        "codes": [code for _, code in pairs],
        "direct": [direct[pair] for pair in pairs],
        "bearing": sorted({label for label, _ in pairs}),
        "most": MOST_ROWS,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        # A report may take longer than a request may; the limit ends with the transaction.
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_TIMEOUT])
        cursor.execute(_COUNT, parameters)
        found = orjson.loads(cursor.fetchone()[0])
    return _counts(found)


def _counts(found: dict[str, Any]) -> Counts:
    """Empty aggregates are NULL in SQL."""
    days = [(date.fromisoformat(day), *rest) for day, *rest in found["days"] or ()]
    return Counts(
        total=found["total"],
        outcomes={name: (found["outcomes"] or {}).get(name, 0) for name in OUTCOMES},
        days=days,
        releases=found["releases"] or [],
        environments=found["environments"] or {},
        expected=found["expected"] or [],
        controls=_with_moments(found["controls"]),
        control_detectors=found["control_detectors"] or [],
        labels=_with_moments(found["labels"]),
        migrated=found["migrated"] or [],
        lineage=found["lineage"] or [],
        unmapped=found["unmapped"] or [],
        unmapped_rows=found["unmapped_rows"],
        detectors=_with_moments(found["detectors"]),
        detector_names=found["detector_names"],
    )


def _with_moments(rows: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    moments = ("first_seen", "last_seen")
    return [
        {**row, **{name: datetime.fromisoformat(row[name]) for name in moments}}
        for row in rows or ()
    ]
