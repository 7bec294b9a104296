"""The engine in force, and reads of events."""

import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import QuerySet

from mapping.engine import Engine, KnowledgeError
from mapping.knowledge import compile_documents
from mapping.models import MappingEvent, MigratedLabels
from mapping.versions import AnswerVersions, Versions, versions_of
from taxonomy.selectors import current_documents, current_serial
from tenants.context import public_context, require_tenant


class NoKnowledgeError(RuntimeError):
    """No taxonomy has been loaded yet."""


@dataclass(frozen=True, slots=True)
class EngineInForce:
    """A compiled knowledge release. `serial` identifies the release."""

    serial: int
    engine: Engine
    versions: Versions  # shared by all: not to be changed

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
        serial = current_serial()
        if serial is None or (_current is not None and _current.serial == serial):
            return
        documents = current_documents()
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
    )


def versions_in_force() -> Versions:
    """Every version behind an answer given now. Raises NoKnowledgeError.

    Costs nothing: it was made with the engine.
    """
    return engine_in_force().versions


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
    matches = "(l = %s OR starts_with(l, %s))"
    event = "mapping_mappingevent"
    return found.extra(
        where=[
            f"(EXISTS (SELECT 1 FROM unnest({event}.labels) l WHERE {matches}) OR EXISTS ("
            "SELECT 1 FROM mapping_migratedlabels m, unnest(m.labels) l "
            f"WHERE m.event_id = {event}.id AND m.shown AND {matches}))"
        ],
        params=[label, f"{label}."] * 2,
    )


def migrated_labels(event_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, MigratedLabels]:
    """What events are shown with instead of their own labels, for those that a plan has carried."""
    require_tenant()
    rows = MigratedLabels.objects.filter(event_id__in=list(event_ids), shown=True)
    return {row.event_id: row for row in rows.select_related("run")}
