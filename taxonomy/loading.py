"""Building blocks of the services: editions from documents, and releases of editions.

Everything here runs in a transaction of the public schema that holds `lock()`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from taxonomy.documents import Document, digest
from taxonomy.errors import KnowledgeFileError
from taxonomy.models import (
    Control,
    CrosswalkEdition,
    CrosswalkRow,
    DetectorLabel,
    DetectorMap,
    Disposition,
    Edition,
    FrameworkEdition,
    KnowledgeRelease,
    Label,
    MigrationPlanEdition,
    ReleasedCrosswalk,
    ReleasedDetector,
    ReleasedFramework,
    ReleaseSource,
    TaxonomyEdition,
)
from taxonomy.selectors import KnowledgeDocuments
from taxonomy.signals import knowledge_checked
from taxonomy.validation import branches, canonical_labels, identity

# Any constant: one change of what is in force at a time, whoever makes it.
_LOCK = 7_421_001
Frameworks = dict[tuple[str, ...], FrameworkEdition]  # (framework, edition) -> row


def lock() -> None:
    """Wait until nobody else loads or publishes; held until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def ask_other_apps(candidate: KnowledgeDocuments) -> None:
    """Let the other apps check a release before it is made. Raises KnowledgeFileError."""
    answers = knowledge_checked.send(sender=KnowledgeRelease, documents=candidate)
    problems = [problem for _, found in answers for problem in found or ()]
    if problems:
        raise KnowledgeFileError(problems)


def next_serial(in_force: KnowledgeRelease | None) -> int:
    """The serial of the release after this one."""
    return 1 if in_force is None else in_force.serial + 1


def editions_of(release: KnowledgeRelease) -> list[Edition]:
    """Every edition of a release: the taxonomy, then frameworks, crosswalks and detectors."""
    return [
        release.taxonomy,
        *release.frameworks.all(),
        *release.crosswalks.select_related("framework"),
        *release.detectors.all(),
    ]


def create_release(
    editions: Sequence[Edition],
    *,
    after: KnowledgeRelease | None,
    actor: str,
    source: ReleaseSource = ReleaseSource.FILES,
) -> KnowledgeRelease:
    """Put a set of editions in force; exactly one of them is a taxonomy."""
    taxonomy = next(row for row in editions if isinstance(row, TaxonomyEdition))
    files_serial = None
    if source == ReleaseSource.ADMIN and after is not None:
        files_serial = after.files_serial or after.serial
    release = KnowledgeRelease.objects.create(
        serial=next_serial(after),
        taxonomy=taxonomy,
        sha256=release_digest(editions),
        loaded_by=actor,
        source=source,
        files_serial=files_serial,
    )
    ReleasedDetector.objects.bulk_create(
        ReleasedDetector(release=release, detector_map=row)
        for row in editions
        if isinstance(row, DetectorMap)
    )
    ReleasedFramework.objects.bulk_create(
        ReleasedFramework(release=release, framework=row)
        for row in editions
        if isinstance(row, FrameworkEdition)
    )
    ReleasedCrosswalk.objects.bulk_create(
        ReleasedCrosswalk(release=release, crosswalk=row)
        for row in editions
        if isinstance(row, CrosswalkEdition)
    )
    return release


def release_digest(editions: Iterable[Edition]) -> str:
    """The digest of a release: of the sorted digests of its editions."""
    return digest(sorted(row.sha256 for row in editions))


@dataclass(slots=True)
class Loaded:
    """Rows by document's name, and which documents were new."""

    rows: dict[str, Edition] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def load_editions(documents: list[Document]) -> Loaded:
    """Rows for all documents, made where they are new. Raises KnowledgeFileError."""
    problems = unbumped(documents)
    if problems:
        raise KnowledgeFileError(problems)
    loaded = Loaded()
    frameworks: Frameworks = {}
    for document in documents:  # frameworks come before the crosswalks that point at them
        existing = _existing(document)
        row = existing or create_edition(document, frameworks)
        (loaded.unchanged if existing else loaded.added).append(document.name)
        loaded.rows[document.name] = row
        if isinstance(row, FrameworkEdition):
            frameworks[row.framework, row.edition] = row
    return loaded


def unbumped(documents: list[Document]) -> list[str]:
    """Files that changed and kept their version: what is loaded never changes."""
    problems: list[str] = []
    for document in documents:
        existing = _existing(document)
        if existing is not None and existing.sha256 != document.sha256:
            field_name = "edition" if document.kind == "taxonomy" else "version"
            problems.append(
                f"{document.place((field_name,))}: {identity(document)[-1]} is loaded already "
                f"with another content. Give the changed file a new {field_name}."
            )
    return problems


def _existing(document: Document) -> Edition | None:
    key = identity(document)
    if document.kind == "taxonomy":
        return TaxonomyEdition.objects.filter(edition=key[0]).first()
    if document.kind == "detector":
        return DetectorMap.objects.filter(detector=key[0], version=key[1]).first()
    if document.kind == "migration":
        return MigrationPlanEdition.objects.filter(old=key[0], new=key[1], version=key[2]).first()
    if document.kind == "framework":
        return FrameworkEdition.objects.filter(
            framework=key[0], edition=key[1], version=key[2]
        ).first()
    return CrosswalkEdition.objects.filter(
        framework__framework=key[0], framework__edition=key[1], version=key[2]
    ).first()


def _create_taxonomy(document: Document, _: Frameworks) -> Edition:
    edition = TaxonomyEdition.objects.create(
        edition=document.data["edition"], document=document.data, sha256=document.sha256
    )
    Label.objects.bulk_create(
        Label(
            edition=edition,
            name=name,
            parent=branches(name)[1],
            position=position,
            meaning=label["meaning"],
            boundary=label.get("boundary", ""),
            severity=label["severity"],
            aliases=label["aliases"],
        )
        for position, (name, label) in enumerate(document.data["labels"].items())
    )
    return edition


def _create_detector(document: Document, _: Frameworks) -> Edition:
    data = document.data
    detector_map = DetectorMap.objects.create(
        detector=data["detector"],
        vendor=data.get("vendor") or "",
        version=data["version"],
        document=data,
        sha256=document.sha256,
    )
    DetectorLabel.objects.bulk_create(
        _detector_label(detector_map, label, meaning) for label, meaning in data["labels"].items()
    )
    return detector_map


def _detector_label(
    detector_map: DetectorMap, label: str, meaning: dict[str, Any]
) -> DetectorLabel:
    disposition = Disposition.MAPPED
    if "not_a_finding" in meaning:
        disposition = Disposition.NOT_A_FINDING
    elif "unmapped" in meaning:
        disposition = Disposition.UNMAPPED
    return DetectorLabel(
        detector_map=detector_map,
        label=label,
        canonical=canonical_labels(meaning),
        severity=meaning.get("severity") or "",
        disposition=disposition,
        reason=str(meaning.get("not_a_finding") or meaning.get("unmapped") or ""),
    )


def _create_framework(document: Document, _: Frameworks) -> Edition:
    data = document.data
    edition = FrameworkEdition.objects.create(
        framework=data["framework"],
        edition=data["edition"],
        version=data["version"],
        name=data["name"],
        short_name=data["short_name"],
        publisher=data["publisher"],
        licence=f"{data['licence']['holder']}. {data['licence']['note']}",
        document=data,
        sha256=document.sha256,
    )
    Control.objects.bulk_create(
        Control(
            edition=edition,
            code=control["code"],
            title=control["title"],
            group=control["group"],
            position=position,
        )
        for position, control in enumerate(data["controls"])
    )
    return edition


def _create_crosswalk(document: Document, frameworks: Frameworks) -> Edition:
    data = document.data
    framework = frameworks[data["framework"], data["edition"]]
    controls = {control.code: control for control in framework.controls.all()}
    crosswalk = CrosswalkEdition.objects.create(
        framework=framework, version=data["version"], document=data, sha256=document.sha256
    )
    CrosswalkRow.objects.bulk_create(
        CrosswalkRow(crosswalk=crosswalk, **{**row, "control": controls[row["control"]]})
        for row in data["rows"]
    )
    return crosswalk


def _create_plan(document: Document, _: Frameworks) -> Edition:
    data = document.data
    return MigrationPlanEdition.objects.create(
        old=data["from"],
        new=data["to"],
        version=data["version"],
        document=data,
        sha256=document.sha256,
    )


_CREATE = {
    "taxonomy": _create_taxonomy,
    "detector": _create_detector,
    "framework": _create_framework,
    "crosswalk": _create_crosswalk,
    "migration": _create_plan,
}


def create_edition(document: Document, frameworks: Frameworks) -> Edition:
    """The rows of a document. `frameworks`: those that a crosswalk may point at."""
    return _CREATE[document.kind](document, frameworks)
