"""Reads of the knowledge that other apps share."""

from typing import Any, NamedTuple

from taxonomy.errors import NoReleaseError
from taxonomy.models import CrosswalkRow, KnowledgeRelease, Relationship
from taxonomy.validation import branches


class KnowledgeDocuments(NamedTuple):
    """The files of a release, as plain JSON values."""

    serial: int
    taxonomy: dict[str, Any]
    detectors: list[dict[str, Any]]
    frameworks: list[dict[str, Any]]
    crosswalks: list[dict[str, Any]]


def current_serial() -> int | None:
    """Serial of the release in force; None if nothing was ever loaded."""
    return KnowledgeRelease.objects.values_list("serial", flat=True).first()


def current_release() -> KnowledgeRelease | None:
    """The release in force; None if nothing was ever loaded."""
    return KnowledgeRelease.objects.select_related("taxonomy").first()


def current_documents() -> KnowledgeDocuments:
    """The files of the release in force. Raises NoReleaseError if nothing was ever loaded."""
    serial = current_serial()
    if serial is None:
        raise NoReleaseError("No knowledge is loaded. Run `manage.py load_config`.")
    return documents_of(serial)


def documents_of(serial: int) -> KnowledgeDocuments:
    """The files of a release, present or past. Raises NoReleaseError if there is none."""
    release = KnowledgeRelease.objects.select_related("taxonomy").filter(serial=serial).first()
    if release is None:
        raise NoReleaseError(f"There is no release {serial} of the knowledge.")

    def documents(editions: Any) -> list[dict[str, Any]]:
        return list(editions.values_list("document", flat=True))

    return KnowledgeDocuments(
        serial=release.serial,
        taxonomy=release.taxonomy.document,
        detectors=documents(release.detectors),
        frameworks=documents(release.frameworks),
        crosswalks=documents(release.crosswalks),
    )


def controls_for(label: str, release: KnowledgeRelease) -> list[CrosswalkRow]:
    """The crosswalk rows that hold for a label in a release, in the order of their controls.

    Where the label and a branch above it name the same control, the nearer row holds.
    """
    line = branches(label)
    rows = CrosswalkRow.objects.filter(
        crosswalk__releasedcrosswalk__release=release, label__in=line
    ).select_related("control__edition")
    nearest: dict[tuple[str, str], CrosswalkRow] = {}
    for row in sorted(rows, key=lambda row: line.index(row.label)):
        nearest.setdefault((str(row.control.edition), row.control.code), row)
    found = [row for row in nearest.values() if row.relationship != Relationship.NOT_RELATED]
    return sorted(found, key=lambda row: (str(row.control.edition), row.control.position))
