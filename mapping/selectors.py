"""The knowledge in force, for a tenant or for all, and reads of events."""

import uuid
from collections.abc import Iterable

from django.db.models import QuerySet

from mapping.engines import EngineInForce, Engines, NoKnowledgeError, pinned_serial
from mapping.errors import UnknownEditionError
from mapping.mode import mode_in_force
from mapping.models import MappingEvent, MigratedLabels
from mapping.resolvers import resolver_of
from mapping.serving.in_force import served_versions, serving_in_force
from mapping.versions import Versions, VersionsNow
from taxonomy.errors import NoReleaseError
from taxonomy.models import KnowledgeRelease
from taxonomy.selectors import KnowledgeDocuments, current_serial, documents_of
from tenants.context import HasSchema, public_context, require_tenant

__all__ = [
    "EngineInForce",
    "NoKnowledgeError",
    "check_edition",
    "documents_in_force",
    "engine_in_force",
    "events",
    "forget_engine",
    "look_again",
    "migrated_labels",
    "release_in_force",
    "serial_in_force",
    "versions_in_force",
    "versions_now",
    "with_label",
]
_engines = Engines()


def engine_in_force(tenant: HasSchema | None = None) -> EngineInForce:
    """The engine for the release that a tenant works with; without a tenant, for the newest.

    Asks the database every `mapping.knowledge_refresh_seconds` alone. Raises NoKnowledgeError if
    no knowledge was ever loaded.
    """
    return _engines.newest() if tenant is None else _engines.of(tenant)


def serial_in_force() -> int | None:
    """Serial of the release that the active tenant works with; None if none was ever loaded."""
    require_tenant()
    return pinned_serial() or current_serial()


def release_in_force() -> KnowledgeRelease | None:
    """The release that the active tenant works with; None if none was ever loaded."""
    serial = serial_in_force()
    if serial is None:
        return None
    return KnowledgeRelease.objects.select_related("taxonomy").filter(serial=serial).first()


def documents_in_force() -> KnowledgeDocuments:
    """The files of the release that the active tenant works with. Raises NoReleaseError."""
    serial = serial_in_force()
    if serial is None:
        raise NoReleaseError("No knowledge is loaded. Run `manage.py load_config`.")
    with public_context():
        return documents_of(serial)


def versions_in_force(tenant: HasSchema | None = None) -> Versions:
    """Every version behind an answer given now. Raises NoKnowledgeError.

    By the release that the tenant works with; without a tenant, by the newest. Costs nothing: it
    was made with the engine.
    """
    return engine_in_force(tenant).versions


def versions_now(tenant: HasSchema | None = None) -> VersionsNow:
    """The same with the mapping mode in force. Raises NoKnowledgeError, DatabaseError."""
    versions, mode = versions_in_force(tenant), mode_in_force().mode
    serving = serving_in_force()
    rules_only = mode == "rules_only"
    resolver = None if rules_only else resolver_of(versions["release"], serving.live)
    found = VersionsNow(**versions, mode=mode, served=served_versions(serving))
    if resolver is not None:
        found["model"], found["calibrator"] = resolver.versions(with_model=True)
    return found


def check_edition(edition: str, tenant: HasSchema) -> None:
    """Whether a tenant can be answered in a taxonomy edition; UnknownEditionError if not."""
    in_force = engine_in_force(tenant)
    current = in_force.engine.knowledge.versions.taxonomy
    if edition != current and edition not in in_force.ways_back:
        raise UnknownEditionError([*sorted(in_force.ways_back), current])


def forget_engine() -> None:
    """Drop the compiled releases of this process (after loading another one in it)."""
    global _engines
    _engines = Engines()


def look_again(schema: str) -> None:
    """Let this process see a tenant's new choice of a release at its next request."""
    _engines.look_again(schema)


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
