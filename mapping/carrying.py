"""Reads events and writes what they are shown with: one batch, in the tenant that is active.

Everything here runs in the caller's transaction. Events themselves are never changed.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from django.db import connection, transaction

from mapping.models import MigratedLabels, MigrationRun
from mapping.relabel import After, Before, Pair, Relabelling, own_pairs
from mapping.tallies import Tally

NO_ID = uuid.UUID(int=0)
LAST_ID = uuid.UUID(int=2**128 - 1)

# The newest row of an earlier run says how an event was shown before this one; `o` is this run's.
_READ = """
SELECT e.id, e.received_at, e.detector, e.labels::text[], e.findings::text, e.taxonomy_version,
    p.id, p.taxonomy, p.given, p.became, p.canonical,
    o.labels, o.canonical, o.given, o.became, o.shown
FROM mapping_mappingevent AS e
LEFT JOIN LATERAL (
    SELECT * FROM mapping_migratedlabels AS m
    WHERE m.event_id = e.id AND m.run_id < %(run)s AND m.run_id <> %(undone)s
    ORDER BY m.run_id DESC LIMIT 1
) AS p ON true
LEFT JOIN mapping_migratedlabels AS o ON o.event_id = e.id AND o.run_id = %(run)s
"""
_NEXT = _READ + "WHERE e.id > %(after)s ORDER BY e.id LIMIT %(size)s"
_THESE = _READ + "WHERE e.id = ANY(%(ids)s) ORDER BY e.id"
# Committed after the cursor had passed their place: an event's id is made before its transaction.
_LATE = """
SELECT e.id FROM mapping_mappingevent AS e
WHERE (e.taxonomy_version = %(source)s OR starts_with(e.taxonomy_version, %(source)s || '.'))
    AND NOT EXISTS (SELECT FROM mapping_migratedlabels AS m WHERE m.event_id = e.id AND m.shown)
LIMIT %(size)s
"""
_COLUMNS = (
    "event_id", "received_at", "run_id", "given_taxonomy", "taxonomy", "labels", "canonical",
    "given", "became", "lossy", "shown",
)  # fmt: skip
_WRITE = (
    f"INSERT INTO mapping_migratedlabels ({', '.join(_COLUMNS)}) "  # noqa: S608 - own names
    f"SELECT {', '.join(_COLUMNS)} "
    "FROM jsonb_populate_recordset(NULL::mapping_migratedlabels, %s) "
    "ON CONFLICT (event_id, run_id) DO NOTHING"
)


class Written(NamedTuple):
    """What the run has stored for an event."""

    labels: tuple[str, ...]
    canonical: tuple[str | None, ...]
    pairs: tuple[Pair, ...]
    shown: bool


class EventRow(NamedTuple):
    """An event as it was before the run, and what the run has stored for it so far."""

    id: uuid.UUID
    received_at: datetime
    given_taxonomy: str
    taxonomy: str  # edition of the labels that it was shown with
    before: Before
    earlier: int | None  # id of the row of an earlier run
    written: Written | None


@contextmanager
def long_query() -> Iterator[Any]:
    """A cursor for a query that reads a whole table, which may take longer than a request may."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', '10min', true)")
        yield cursor


def next_events(
    *, after: uuid.UUID | None, size: int, run: uuid.UUID = LAST_ID, undone: uuid.UUID | None = None
) -> list[EventRow]:
    """The next events in the order of ids, as they were before `run` and without `undone`."""
    return _read(_NEXT, run, undone, after=after or NO_ID, size=size)


def late_events(*, run: MigrationRun, size: int) -> list[EventRow]:
    """Events of the run's edition that it has passed by without seeing them."""
    with long_query() as cursor:
        cursor.execute(_LATE, {"source": run.source, "size": size})
        ids = [row[0] for row in cursor.fetchall()]
    return _read(_THESE, run.pk, run.undoes_id, ids=ids) if ids else []


def _read(
    statement: str, run: uuid.UUID, undone: uuid.UUID | None, **parameters: Any
) -> list[EventRow]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"run": run, "undone": undone or NO_ID, **parameters})
        return [_event(row) for row in cursor.fetchall()]


def _event(row: tuple[Any, ...]) -> EventRow:
    event_id, received_at, detector, labels, findings, edition = row[:6]
    earlier, taxonomy, given, became, canonical = row[6:11]
    found = [(f.get("source_label"), f.get("canonical")) for f in orjson.loads(findings)]
    pairs = own_pairs(labels)
    if earlier is not None:
        pairs = _pairs(given, became)
        found = [(name, label) for (name, _), label in zip(found, canonical, strict=True)]
    written = None
    if row[11] is not None:
        written = Written(
            tuple(row[11]), tuple(row[12]), tuple(_pairs(row[13], row[14])), bool(row[15])
        )
    before = Before(detector, pairs, found)
    return EventRow(event_id, received_at, edition, taxonomy or edition, before, earlier, written)


def _pairs(given: Sequence[str], became: Sequence[str | None]) -> list[Pair]:
    return [Pair(label, target) for label, target in zip(given, became, strict=True)]


def carry(run: MigrationRun, rules: Relabelling, rows: Sequence[EventRow]) -> Tally:
    """Store what these events are shown with from now on, and take back what `run.undoes` said."""
    tally = Tally()
    if run.undoes_id is not None:
        tally.undone = _take_back(run, rules, rows)
    concerned = [row for row in rows if row.written is None and rules.concerns(row.taxonomy)]
    hidden = [row.earlier for row in concerned if row.earlier is not None]
    if hidden:
        MigratedLabels.objects.filter(pk__in=hidden).update(shown=False)
    records = []
    for row in concerned:
        after = rules.event(row.before)
        tally.add(after)
        records.append(_record(run, row, after))
    if records:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, [orjson.dumps(records).decode()])
    return tally


def _record(run: MigrationRun, row: EventRow, after: After) -> dict[str, Any]:
    return {
        "event_id": row.id,
        "received_at": row.received_at,
        "run_id": run.pk,
        "given_taxonomy": row.given_taxonomy,
        "taxonomy": run.target,
        "labels": after.labels,
        "canonical": after.canonical,
        "given": [pair.given for pair in after.pairs],
        "became": [pair.label for pair in after.pairs],
        "lossy": after.lossy,
        "shown": True,
    }


def _take_back(run: MigrationRun, rules: Relabelling, rows: Sequence[EventRow]) -> int:
    """Remove the rows of the run that this one undoes; what stood under them is shown again."""
    ids = [row.id for row in rows]
    removed = MigratedLabels.objects.filter(run_id=run.undoes_id, event_id__in=ids)
    count = removed._raw_delete(removed.db)
    uncovered = [
        row.earlier
        for row in rows
        if row.earlier is not None and row.written is None and not rules.concerns(row.taxonomy)
    ]
    if uncovered:
        MigratedLabels.objects.filter(pk__in=uncovered, shown=False).update(shown=True)
    return int(count)


def all_events(
    *, size: int, run: uuid.UUID = LAST_ID, undone: uuid.UUID | None = None
) -> Iterator[list[EventRow]]:
    """All events in batches, read alone."""
    after: uuid.UUID | None = None
    while rows := next_events(after=after, size=size, run=run, undone=undone):
        yield rows
        after = rows[-1].id


def strays(run: MigrationRun) -> int:
    """Rows of a run whose event is not there."""
    with long_query() as cursor:
        cursor.execute(
            "SELECT count(*) FROM mapping_migratedlabels AS m WHERE m.run_id = %s AND NOT EXISTS "
            "(SELECT FROM mapping_mappingevent AS e WHERE e.id = m.event_id)",
            [run.pk],
        )
        return int(cursor.fetchone()[0])
