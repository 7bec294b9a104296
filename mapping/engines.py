"""The compiled releases of this process, and which of them each tenant uses.

A request costs two look-ups in dictionaries. What the database says is looked for again every
`mapping.knowledge_refresh_seconds`, by one thread; the others go on with what they have. While
the database is away, what was in force stays in force.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog
from django.conf import settings
from django.db import Error as DatabaseError

from mapping.engine import Engine, Knowledge, KnowledgeError
from mapping.knowledge import compile_documents
from mapping.models import KnowledgePin
from mapping.versions import AnswerVersions, Versions, versions_of
from taxonomy.errors import NoReleaseError
from taxonomy.migration import WayBack
from taxonomy.selectors import (
    KnowledgeDocuments,
    current_serial,
    documents_of,
    plans_marker,
    ways_back,
)
from tenants.context import HasSchema, public_context, tenant_context

log = structlog.get_logger("mapping.engines")
_REFRESH_SECONDS = settings.CONFIG.mapping.knowledge_refresh_seconds
MOST_ENGINES = 16  # releases that a process keeps compiled at once


class NoKnowledgeError(RuntimeError):
    """No taxonomy has been loaded yet, or this version of Pillars cannot use it."""


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


@dataclass(slots=True)
class _Slot:
    """What was found last: for all, or for a tenant (None: it follows the newest)."""

    engine: EngineInForce | None = None
    known: bool = False
    stale: bool = False  # a choice was made in this process: nobody goes on with what was found
    checked_at: float = -math.inf
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fresh(self) -> bool:
        """Whether it need not be looked for."""
        young = time.monotonic() - self.checked_at < _REFRESH_SECONDS
        return self.known and young and not self.stale


class Engines:
    """Thread-safe. Tenants on the same release share one engine."""

    def __init__(self, most: int = MOST_ENGINES) -> None:
        self._most = most
        self._newest = _Slot()
        self._tenants: dict[str, _Slot] = {}  # by schema
        self._compiled: dict[int, EngineInForce] = {}  # by serial
        self._refused: dict[int, float] = {}  # serial of a release that cannot be used -> when
        self._compiling = threading.Lock()

    def newest(self) -> EngineInForce:
        """The newest release. Raises NoKnowledgeError."""
        found = _current(self._newest, self._find_newest)
        assert found is not None  # noqa: S101 - _find_newest raises instead
        return found

    def of(self, tenant: HasSchema) -> EngineInForce:
        """The release that the tenant has chosen, else the newest. Raises NoKnowledgeError."""
        slot = self._tenants.get(tenant.schema_name)
        if slot is None:
            slot = self._tenants.setdefault(tenant.schema_name, _Slot())
        return _current(slot, lambda: self._find_pinned(tenant)) or self.newest()

    def look_again(self, schema: str) -> None:
        """Ask the database before the next answer for this tenant: its choice has changed."""
        slot = self._tenants.get(schema)
        if slot is not None:
            slot.stale = True

    def _find_newest(self) -> EngineInForce:
        with public_context():
            serial = current_serial()
        if serial is None:
            raise NoKnowledgeError("No taxonomy is loaded. Run `manage.py load_config`.")
        return self._compile(serial)

    def _find_pinned(self, tenant: HasSchema) -> EngineInForce | None:
        with tenant_context(tenant):
            serial = pinned_serial()
        return None if serial is None else self._compile(serial)

    def _compile(self, serial: int) -> EngineInForce:
        with self._compiling:
            found = self._compiled.get(serial)
            if found is not None:
                self._compiled[serial] = found = _with_new_plans(found)
                return found
            if time.monotonic() - self._refused.get(serial, -math.inf) < _REFRESH_SECONDS:
                raise NoKnowledgeError(_unusable(serial))
            try:
                found = _compiled(serial)
            except NoKnowledgeError:
                self._refused[serial] = time.monotonic()
                raise
            while len(self._compiled) >= self._most:
                self._forget_quietest()
            self._compiled[serial] = found
            return found

    def _forget_quietest(self) -> None:
        """Forget the release whose tenants have been quiet for the longest time, and them."""
        seen = dict.fromkeys(self._compiled, -math.inf)
        slots = dict(self._tenants)
        for slot in (self._newest, *slots.values()):
            if slot.engine is not None and slot.engine.serial in seen:
                serial = slot.engine.serial
                seen[serial] = max(seen[serial], slot.checked_at)
        quiet = min(seen, key=seen.__getitem__)
        log.info("release_forgotten", serial=quiet, most=self._most)
        del self._compiled[quiet]
        for schema, slot in slots.items():
            if slot.engine is not None and slot.engine.serial == quiet:
                self._tenants.pop(schema, None)
        if self._newest.engine is not None and self._newest.engine.serial == quiet:
            self._newest = _Slot()


def pinned_serial() -> int | None:
    """The release that the active tenant has chosen; None: it follows the newest."""
    return KnowledgePin.objects.order_by("-number").values_list("release", flat=True).first()


def _current(slot: _Slot, find: Callable[[], EngineInForce | None]) -> EngineInForce | None:
    """What the slot holds, found anew if that is too long ago.

    What cannot be found now (the database is away, the release cannot be used) changes nothing,
    unless nothing is known yet: then another release than the chosen one must not answer.
    """
    if slot.fresh:
        return slot.engine
    if not slot.lock.acquire(blocking=slot.stale or not slot.known):
        return slot.engine
    try:
        if slot.fresh:
            return slot.engine  # another thread has just found it
        slot.checked_at = time.monotonic()
        slot.stale = False  # before it looks: a choice made meanwhile is looked for once more
        slot.engine = find()
        slot.known = True
    except (DatabaseError, NoKnowledgeError):
        if not slot.known:
            raise
    finally:
        slot.lock.release()
    return slot.engine


def _with_new_plans(found: EngineInForce) -> EngineInForce:
    """The same release, with the ways back that plans loaded since have opened."""
    with public_context():
        plans = plans_marker()
        if plans == found.plans:
            return found
        return replace(found, ways_back=ways_back(found.versions["taxonomy"]), plans=plans)


def _compiled(serial: int) -> EngineInForce:
    """Compile a release. Raises NoKnowledgeError if it is not there or cannot be used."""
    try:
        with public_context():
            documents, plans = documents_of(serial), plans_marker()
            back = ways_back(documents.taxonomy["edition"])
        knowledge = compile_documents(documents)
    except (KnowledgeError, NoReleaseError) as error:
        log.error("release_not_usable", serial=serial, exc_info=True)
        raise NoKnowledgeError(_unusable(serial)) from error
    return _in_force(documents, knowledge, back, plans)


def engine_of_files(documents: KnowledgeDocuments) -> EngineInForce:
    """For parsed files that are in no release. Raises KnowledgeError. Needs no database."""
    return _in_force(documents, compile_documents(documents), {}, 0)


def _in_force(
    documents: KnowledgeDocuments, knowledge: Knowledge, back: Mapping[str, WayBack], plans: int
) -> EngineInForce:
    threshold = settings.CONFIG.mapping.confidence_threshold
    return EngineInForce(
        documents.serial,
        Engine(knowledge, threshold=threshold),
        versions_of(documents, knowledge.versions),
        back,
        plans,
    )


def _unusable(serial: int) -> str:
    return f"Release {serial} of the knowledge cannot be used: the log says why. Choose another."
