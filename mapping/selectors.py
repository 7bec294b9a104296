"""The engine in force, and reads of events."""

import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import QuerySet

from mapping.engine import Engine, KnowledgeError
from mapping.errors import UnknownEditionError
from mapping.knowledge import compile_documents
from mapping.models import MappingEvent, MigratedLabels
from mapping.versions import AnswerVersions, Versions, versions_of
from taxonomy.migration import WayBack
from taxonomy.selectors import current_documents, current_serial, plans_marker, ways_back
from tenants.context import public_context, require_tenant


class NoKnowledgeError(RuntimeError):
    """No taxonomy has been loaded yet."""


@dataclass(frozen=True, slots=True)
class EngineInForce:
    """A compiled knowledge release. `serial` identifies the release.

    `ways_back` says, for each earlier taxonomy edition that loaded plans lead here from, how each
    label is called there: for callers that pin it.
    """

    serial: int
    engine: Engine
    versions: Versions  # shared by all: not to be changed
    ways_back: Mapping[str, WayBack]
    plans: int  # which plans were loaded then (see plans_marker)

    def answer_versions(self, detector_map: str | None) -> AnswerVersions:
        """The versions that gave an answer. `detector_map`: that of the detector's file."""
        versions = self.versions
        return AnswerVersions(
            release=versions["release"],
            taxonomy=versions["taxonomy"],
            detector_map=detector_map,
            frameworks=self.engine.knowledge.versions.frameworks,
            model=versions["model"],
            calibrator=versions["calibrator"],
        )


log = structlog.get_logger("mapping.selectors")
_current: EngineInForce | None = None
_checked_at = 0.0
_lock = threading.Lock()
_REFRESH_SECONDS = settings.CONFIG.mapping.knowledge_refresh_seconds


def engine_in_force() -> EngineInForce:
    """The engine for the newest release, looked for every `mapping.knowledge_refresh_seconds`.

    One thread looks, the others go on with what they have. While the database is away the last
    release stays in force. Raises NoKnowledgeError if none was ever loaded.
    """
    global _checked_at
    now = time.monotonic()
    if _current is not None and now - _checked_at < _REFRESH_SECONDS:
        return _current
    if not _lock.acquire(blocking=_current is None):
        return _required()
    try:
        _checked_at = now
        _refresh()
    except DatabaseError:
        if _current is None:
            raise
    finally:
        _lock.release()
    return _required()


def _required() -> EngineInForce:
    if _current is None:
        raise NoKnowledgeError("No taxonomy is loaded. Run `manage.py load_config`.")
    return _current


def _refresh() -> None:
    global _current
    with public_context():
        serial, plans = current_serial(), plans_marker()
        if serial is None or (
            _current is not None and (_current.serial, _current.plans) == (serial, plans)
        ):
            return
        documents = current_documents()
        back = ways_back(documents.taxonomy["edition"])
    try:
        knowledge = compile_documents(documents)
    except KnowledgeError:
        # load_config refuses such a release; one that came another way must not stop /map.
        log.error("release_not_usable", serial=documents.serial, exc_info=True)
        return
    threshold = settings.CONFIG.mapping.confidence_threshold
    _current = EngineInForce(
        documents.serial,
        Engine(knowledge, threshold=threshold),
        versions_of(documents, knowledge.versions),
        back,
        plans,
    )


def versions_in_force() -> Versions:
    """Every version behind an answer given now. Raises NoKnowledgeError.

    Costs nothing: it was made with the engine.
    """
    return engine_in_force().versions


def check_edition(edition: str) -> None:
    """Whether answers can be given in a taxonomy edition. Raises UnknownEditionError if not."""
    in_force = engine_in_force()
    current = in_force.engine.knowledge.versions.taxonomy
    if edition != current and edition not in in_force.ways_back:
        raise UnknownEditionError([*sorted(in_force.ways_back), current])


def forget_engine() -> None:
    """Drop the compiled release of this process (after loading another one in it)."""
    global _current, _checked_at
    _current, _checked_at = None, 0.0


def events() -> QuerySet[MappingEvent]:
    """Events of the tenant that is active, newest first."""
    require_tenant()
    return MappingEvent.objects.all()


def with_label(found: QuerySet[MappingEvent], label: str) -> QuerySet[MappingEvent]:
    """Events with a canonical label or one of the branch that it names: given, or shown now."""
    return found.extra(
        where=[
            """(
            EXISTS (
                SELECT 1 FROM unnest(mapping_mappingevent.labels) AS l
                WHERE l = %s OR starts_with(l, %s)
            ) OR EXISTS (
                SELECT 1 FROM mapping_migratedlabels AS m, unnest(m.labels) AS l
                WHERE m.event_id = mapping_mappingevent.id AND m.shown
                    AND (l = %s OR starts_with(l, %s))
            ))"""
        ],
        params=[label, f"{label}.", label, f"{label}."],
    )


def migrated_labels(event_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, MigratedLabels]:
    """What events are shown with instead of their own labels, for those that a plan has carried."""
    require_tenant()
    rows = MigratedLabels.objects.filter(event_id__in=list(event_ids), shown=True)
    return {row.event_id: row for row in rows.select_related("run")}
