"""Keeps the counts of labels that wait for a person, within the limits of the configuration."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

import orjson
import uuid_utils
from django.conf import settings
from django.db import connection

from mapping.engine import Decisions
from mapping.models import ReviewItem, ReviewReason, ReviewState
from tenants.context import require_tenant

# Detector, its version or "", label or "", keyed hash or "".
Key: TypeAlias = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Sighting:
    """How often a label came, and how it looked the last time."""

    events: int
    first: datetime
    last: datetime
    lowest: float
    confidence: float
    reason: ReviewReason
    candidates: list[tuple[str, float]]
    release: int

    def merged(self, other: "Sighting") -> "Sighting":
        """Both together."""
        newest = other if other.last >= self.last else self
        return replace(
            newest,
            events=self.events + other.events,
            first=min(self.first, other.first),
            lowest=min(self.lowest, other.lowest),
            candidates=newest.candidates or self.candidates or other.candidates,
        )


Counts: TypeAlias = dict[Key, Sighting]

_STORE = """
INSERT INTO {table} AS item (
    id, detector, detector_version, label, digest, reason, state, events, first_seen, last_seen,
    lowest_confidence, last_confidence, candidates, release
)
SELECT id, detector, detector_version, label, digest, reason, state, events, first_seen, last_seen,
    lowest_confidence, last_confidence, candidates, release
FROM jsonb_populate_recordset(NULL::{table}, %s)
ON CONFLICT (detector, detector_version, label, digest) DO UPDATE SET
    events = item.events + EXCLUDED.events,
    first_seen = least(item.first_seen, EXCLUDED.first_seen),
    last_seen = greatest(item.last_seen, EXCLUDED.last_seen),
    lowest_confidence = least(item.lowest_confidence, EXCLUDED.lowest_confidence),
    reason = CASE WHEN EXCLUDED.last_seen >= item.last_seen
        THEN EXCLUDED.reason ELSE item.reason END,
    last_confidence = CASE WHEN EXCLUDED.last_seen >= item.last_seen
        THEN EXCLUDED.last_confidence ELSE item.last_confidence END,
    release = CASE WHEN EXCLUDED.last_seen >= item.last_seen
        THEN EXCLUDED.release ELSE item.release END,
    candidates = CASE WHEN EXCLUDED.candidates <> '[]' AND EXCLUDED.last_seen >= item.last_seen
        THEN EXCLUDED.candidates ELSE item.candidates END
"""


def admitted(counts: Counts) -> Counts:
    """The counts, with what is beyond the limits summed up in one row for each detector.

    A caller can send any number of texts, versions and detectors' names: the queue stays one that
    people can read. Rows that are there already are never beyond a limit.
    """
    known = _known(counts)
    limits = settings.CONFIG.review
    room = _Room(limits.labels_per_detector, limits.detectors)
    kept: Counts = {}
    for key, sighting in counts.items():
        place = key if key in known or room.takes(key) else room.overflow(key)
        kept[place] = kept[place].merged(sighting) if place in kept else sighting
    return kept


def _known(counts: Iterable[Key]) -> set[Key]:
    keys = list(counts)
    found = ReviewItem.objects.filter(
        detector__in={k[0] for k in keys}, label__in={k[2] for k in keys},
        digest__in={k[3] for k in keys},
    )  # fmt: skip
    fields = ("detector", "detector_version", "label", "digest")
    return set(found.values_list(*fields)) & set(keys)


class _Room:
    """How many more rows there may be. Labels by name and by hash are counted apart."""

    def __init__(self, labels: int, detectors: int) -> None:
        self._labels, self._detectors = labels, detectors
        self._rows: dict[tuple[str, bool], int] = {}
        self._names: set[str] | None = None

    def takes(self, key: Key) -> bool:
        """Whether there is room for a new row; then it is taken."""
        if not self._takes_detector(key[0]):
            return False
        kind = (key[0], bool(key[3]))
        if kind not in self._rows:
            rows = ReviewItem.objects.filter(detector=key[0])
            named = rows.exclude(digest="") if key[3] else rows.exclude(label="")
            self._rows[kind] = named.count()
        if self._rows[kind] >= self._labels:
            return False
        self._rows[kind] += 1
        return True

    def overflow(self, key: Key) -> Key:
        """The row that counts it instead."""
        return (key[0] if self._takes_detector(key[0]) else "", "", "", "")

    def _takes_detector(self, name: str) -> bool:
        if self._names is None:
            rows = ReviewItem.objects.exclude(detector="")
            self._names = set(rows.order_by().values_list("detector", flat=True).distinct())
        if name not in self._names and len(self._names) >= self._detectors:
            return False
        self._names.add(name)
        return True


def store(counts: Mapping[Key, Sighting], decisions: Decisions) -> None:
    """Add counts to the items; new ones are open unless something was decided for them."""
    rows = [_row(key, sighting, decisions) for key, sighting in counts.items()]
    table = f"{connection.ops.quote_name(require_tenant())}.{ReviewItem._meta.db_table}"
    with connection.cursor() as cursor:
        cursor.execute(_STORE.format(table=table), [orjson.dumps(rows).decode()])


def _row(key: Key, sighting: Sighting, decisions: Decisions) -> dict[str, Any]:
    detector, version, label, digest = key
    decided = decisions.find(detector, version or None, label or None, digest or None)
    return {
        "id": str(uuid_utils.uuid7()),
        "detector": detector,
        "detector_version": version,
        "label": label,
        "digest": digest,
        "reason": sighting.reason,
        "state": ReviewState.OPEN if decided is None else ReviewState.DECIDED,
        "events": sighting.events,
        "first_seen": sighting.first,
        "last_seen": sighting.last,
        "lowest_confidence": sighting.lowest,
        "last_confidence": sighting.confidence,
        "candidates": sighting.candidates if label or digest else [],
        "release": sighting.release,
    }
