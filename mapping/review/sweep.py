"""Counts labels that no rule maps, out of the stored events, in the tenant that is active.

Events are stored by requests alone, in one statement; this is done afterwards and again and again.
Events are read in the order of their ids, which begin with the time, and the cursor says how far.
They are not committed in that order: so each time the last LAG before the cursor is read again,
and ReviewSeen names the events there that are counted already. A batch of counts, the names and
the cursor are one transaction: a process that is killed leaves neither gaps nor doubles.

An event is missed only if its INSERT begins more than LAG after its id was made, which no request
survives: the database gives up a statement after 30 seconds. Transactions may be longer: the
cursor waits for the oldest one that has written something.
"""

import math
import time
import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from mapping.engine.types import NEEDS_REVIEW, UNKNOWN
from mapping.models import (
    Decision,
    ReviewCursor,
    ReviewItem,
    ReviewReason,
    ReviewSeen,
    ReviewState,
)
from mapping.overview import first_id_at
from mapping.review.counting import Counts, Sighting, admitted, store
from mapping.review.in_force import compiled_decisions
from tenants.context import require_tenant

LAG = timedelta(minutes=5)
CHUNK = 20_000  # events that one transaction looks at
_START = uuid.UUID(int=0)
_OPEN = (UNKNOWN, NEEDS_REVIEW)  # labels of findings that say that a person is wanted
# How findings are made whose confidence is a model's, and which a person can decide.
GUESSED = frozenset({"model", "retrieval", "parent"})
MOST_CANDIDATES = 5

_END_OF_CHUNK = """
SELECT id FROM mapping_mappingevent WHERE id > %s ORDER BY id OFFSET %s LIMIT 1
"""
_RELEVANT = """
SELECT e.id, e.received_at, e.detector, e.detector_version, e.decision, e.release, e.findings
FROM mapping_mappingevent AS e
WHERE e.id > %(after)s AND (%(upto)s::uuid IS NULL OR e.id <= %(upto)s)
    AND e.decision <> 'error'
    AND (e.decision IN ('fallback', 'review') OR e.confidence < %(threshold)s
        OR e.labels && %(open)s::varchar[] OR e.findings @> '[{"method": "parent"}]')
    AND NOT EXISTS (SELECT FROM mapping_reviewseen AS s WHERE s.event_id = e.id)
ORDER BY e.id
"""
_OLDEST_WRITER = """
SELECT min(xact_start) FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
"""


class _Event(NamedTuple):
    id: uuid.UUID
    received_at: datetime
    detector: str
    detector_version: str | None
    decision: str
    release: int
    findings: list[dict[str, Any]]


def sweep(*, seconds: float = math.inf) -> int:
    """Count the events that came since the last time, for about so long. Returns how many.

    0 also where another process is at it.
    """
    require_tenant()
    ReviewCursor.objects.get_or_create(pk=1, defaults={"position": _START})
    until = time.monotonic() + seconds
    counted, after, generation = 0, _START, -1
    while True:
        step = _step(after, generation)
        if step is None:
            return counted
        counted += step.counted
        after, generation = step.after, step.generation
        if step.exhausted or (step.beyond and time.monotonic() > until):
            return counted


class _Step(NamedTuple):
    counted: int
    after: uuid.UUID
    generation: int
    exhausted: bool
    beyond: bool  # the cursor has moved on


@transaction.atomic
def _step(after: uuid.UUID, generation: int) -> _Step | None:
    """One chunk of events. None where another process holds the cursor."""
    cursor = ReviewCursor.objects.select_for_update(skip_locked=True).filter(pk=1).first()
    if cursor is None:
        return None
    if cursor.generation != generation:  # the first step, or all is counted anew
        after = _START
    # Another process may have counted meanwhile, and forgotten what it saw before this.
    after = max(after, _earlier(cursor.position))
    now = _horizon()  # before it reads: what is committed later is found by the next sweep
    upto = _end_of_chunk(after)
    events = _events(after, upto)
    position = max(cursor.position, upto or first_id_at(now))
    _count(events)
    keep = _earlier(position)
    ReviewSeen.objects.filter(event_id__lt=keep).delete()
    ReviewSeen.objects.bulk_create(ReviewSeen(event_id=e.id) for e in events if e.id >= keep)
    beyond = position > cursor.position
    cursor.position = position
    cursor.save()
    return _Step(len(events), upto or after, cursor.generation, upto is None, beyond)


def _horizon() -> datetime:
    """Up to when everything is committed: now, or since when the oldest writer is at work."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_WRITER)
        oldest = cursor.fetchone()[0]
    return now if oldest is None else min(now, oldest)


def _earlier(position: uuid.UUID) -> uuid.UUID:
    """The lowest id that is LAG before this one."""
    lag = LAG // timedelta(milliseconds=1)
    return uuid.UUID(int=max((position.int >> 80) - lag, 0) << 80)


def _end_of_chunk(after: uuid.UUID) -> uuid.UUID | None:
    """The last id of the next chunk; None if fewer events than a chunk are left."""
    with connection.cursor() as cursor:
        cursor.execute(_END_OF_CHUNK, [after, CHUNK - 1])
        row = cursor.fetchone()
    return row[0] if row else None


def _events(after: uuid.UUID, upto: uuid.UUID | None) -> list[_Event]:
    threshold = settings.CONFIG.mapping.confidence_threshold
    with connection.cursor() as cursor:
        cursor.execute(
            _RELEVANT,
            {"after": after, "upto": upto, "threshold": threshold, "open": list(_OPEN)},
        )
        return [_Event._make((*row[:6], orjson.loads(row[6]))) for row in cursor.fetchall()]


def _count(events: list[_Event]) -> None:
    counts: Counts = {}
    for event in events:
        for key, found in _sightings(event).items():
            counts[key] = counts[key].merged(found) if key in counts else found
    if counts:
        store(admitted(counts), compiled_decisions())


def _sightings(event: _Event) -> Counts:
    """The labels of an event that a person can decide on, each once."""
    found: Counts = {}
    for finding in event.findings:
        reason = _reason(finding, event.decision)
        if reason is None:
            continue
        label, digest = finding.get("source_label") or "", finding.get("source_digest") or ""
        key = (event.detector, event.detector_version or "", label, digest)
        confidence = float(finding["confidence"])
        sighting = Sighting(
            1, event.received_at, event.received_at, confidence, confidence, reason,
            _candidates(finding), event.release,
        )  # fmt: skip
        if key not in found or confidence < found[key].lowest:
            found[key] = sighting
    return found


def _reason(finding: dict[str, Any], decision: str) -> ReviewReason | None:
    if not (finding.get("source_label") or finding.get("source_digest")):
        return None
    if finding["canonical"] == UNKNOWN:
        return ReviewReason.FALLBACK
    method = finding["method"]
    # The event says what the thresholds of its labels said; beside a sure finding it says nothing.
    threshold = settings.CONFIG.mapping.confidence_threshold
    unsure = decision == Decision.REVIEW or finding["confidence"] < threshold
    unsure = unsure or finding["canonical"] == NEEDS_REVIEW
    if method == "parent" or (method in GUESSED and unsure):
        return ReviewReason.REVIEW
    return None


def _candidates(finding: dict[str, Any]) -> list[tuple[str, float]]:
    """What the model thought likely; where it says nothing, what it chose."""
    given = finding.get("candidates") or []
    if not given and finding["canonical"] not in _OPEN:
        given = [[finding["canonical"], finding["confidence"]]]
    likely = sorted(((str(name), float(share)) for name, share in given), key=lambda c: -c[1])
    return likely[:MOST_CANDIDATES]


@transaction.atomic
def start_anew() -> None:
    """Forget all counts, so that the next sweeps count every event that is kept.

    What was decided or dismissed stays so; open items that come no more are gone.
    """
    require_tenant()
    ReviewCursor.objects.get_or_create(pk=1, defaults={"position": _START})
    cursor = ReviewCursor.objects.select_for_update().get(pk=1)
    ReviewItem.objects.filter(state=ReviewState.OPEN).delete()
    ReviewItem.objects.update(events=0)
    ReviewSeen.objects.all().delete()
    cursor.position, cursor.generation = _START, cursor.generation + 1
    cursor.save()
